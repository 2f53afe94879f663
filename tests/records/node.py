"""The processes `store` and `index` on a real bus, in the loop of the test: what the tree does, without forking."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from egghead.processes import index as index_process
from egghead.processes import store as store_process
from egghead.processes.common import Service, _close, _prepare
from ipc.peer import Peer
from ipc.testing import RunningBus, running_bus


def scratch_of(bus: RunningBus) -> Path:
    """The directory that a node gives its index beside the notes; it goes with the bus."""
    path = Path(bus.directory) / "scratch"
    path.mkdir(exist_ok=True)
    return path


class Context:
    """What the supervisor gives a child, over a real socket pair."""

    level = "none"
    supervisor = "egghead/records"

    def __init__(self, bus: RunningBus, name: str, records: Path) -> None:
        notice = bus.register(name)
        self.name = name
        self.incarnation = notice["incarnation"]
        self.handover = {
            "bus": {"directory": bus.directory, "credential": notice["credential"]},
            "settings": {"records_dir": str(records), "config": {}},
            "scratch": str(scratch_of(bus)),
        }
        self.info: dict[str, Any] | None = None
        self.root, self._channel = socket.socketpair()
        self._channel.setblocking(False)

    def ready(self, **info: Any) -> None:
        self.info = info

    def beat(self) -> None:
        pass

    def fileno(self) -> int:
        return self._channel.fileno()

    def receive(self) -> list[dict[str, Any]]:
        try:
            data = self._channel.recv(65536)
        except BlockingIOError:
            return []
        if not data:
            raise EOFError
        return [json.loads(line) for line in data.splitlines()]

    def close(self) -> None:
        self.root.close()
        self._channel.close()


class Running:
    """One process under test."""

    def __init__(self, bus: RunningBus, name: str, records: Path, setup: Callable[[Service], Awaitable[None]]) -> None:
        self.bus = bus
        self.name = name
        self.context = Context(bus, name, records)
        self.service = Service(self.context)
        self._setup = setup
        self._preparing: asyncio.Task[None] | None = None

    async def start(self) -> Running:
        self._preparing = asyncio.create_task(_prepare(self.service, self._setup))
        await self._preparing
        return self

    async def stop(self) -> None:
        assert self._preparing is not None
        await _close(self.service, self._preparing)
        self.service.control.close()
        self.context.close()

    async def die(self) -> None:
        """Stop, and have the bus told that the process is gone."""
        await self.stop()
        self.bus.down(self.name)


class Node:
    """Bus, index, store, and one peer that may call both."""

    def __init__(self, bus: RunningBus, records: Path, user: Peer) -> None:
        self.bus = bus
        self.records = records
        self.user = user
        self.running: dict[str, Running] = {}

    async def start(self, name: str) -> Running:
        setup = {"index": index_process.setup, "store": store_process.setup}[name]
        self.running[name] = await Running(self.bus, name, self.records, setup).start()
        return self.running[name]

    async def die(self, name: str) -> None:
        await self.running.pop(name).die()

    async def store(self, method: str, **arguments: Any) -> Any:
        return await self.user.call("store", method, timeout=20, **arguments)

    async def index(self, method: str, **arguments: Any) -> Any:
        return await self.user.call("index", method, timeout=20, **arguments)

    async def found(self, query: str) -> list[str]:
        return [hit["id"] for hit in await self.index("search", query=query)]


@contextlib.asynccontextmanager
async def running_node(records: Path) -> AsyncIterator[Node]:
    async with running_bus() as bus:
        user = await bus.peer("tester")
        node = Node(bus, records, user)
        try:
            await node.start("index")
            await node.start("store")
            yield node
        finally:
            for name in ("store", "index"):
                if name in node.running:
                    await node.running[name].stop()
