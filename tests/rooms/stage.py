"""Rooms, lobby and coordinator as real processes on a real bus, with the test in the role of the supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from egghead.client.follow import Tail, append_reliably, catch_up
from egghead.rooms.ulid import ulid
from ipc import Peer, Refused, RemoteError
from ipc.testing import RunningBus, running_bus

CHILD = """
import importlib, json, socket, sys
from supervisor.context import Context
boot = json.loads(sys.argv[2])
context = Context(socket.socket(fileno=int(sys.argv[1])), boot, None, "none")
context._channel.setblocking(False)
module, _, function = boot["start"].partition(":")
getattr(importlib.import_module(module), function)(context, **boot["args"])
"""
STARTS = {
    "room": "egghead.processes.room:main",
    "lobby": "egghead.processes.lobby:main",
    "coordinator": "egghead.processes.coordinator:main",
    "child": "tests.rooms.children:main",
}


class Child:
    """One process: its control channel and what it said."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], channel: socket.socket) -> None:
        self.name = name
        self.process = process
        self.channel = channel
        self.ready: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.reader: asyncio.Task[None] | None = None


class Stage:
    """The processes of a test. Use `stage()`."""

    def __init__(self, bus: RunningBus, directory: Path, config: dict[str, Any]) -> None:
        self.bus = bus
        self.directory = directory
        self.records = directory / "records"
        self.records.mkdir()
        self.config = config
        self.children: dict[str, Child] = {}
        self.kinds: dict[str, tuple[str, dict[str, Any]]] = {}
        self.refuse: set[str] = set()  # rooms that the supervisor does not start
        self.parked: set[str] = set()  # rooms that it has given up on
        self.silent: set[str] = set()  # rooms that it starts without a word to the lobby

    async def start(self, name: str, kind: str, **args: Any) -> Child:
        """Start a process and wait for READY."""
        self.kinds[name] = (kind, args)
        notice = self.bus.register(name, "all")
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        boot = {
            "name": name,
            "incarnation": notice["incarnation"],
            "supervisor": "test",
            "start": STARTS[kind],
            "args": args,
            "handover": {
                "bus": {"directory": self.bus.directory, "credential": notice["credential"]},
                "settings": {"records_dir": str(self.records), "config": self.config},
            },
        }
        process = self._spawn(theirs, boot)
        theirs.close()
        child = self.children[name] = Child(name, process, ours)
        child.reader = asyncio.create_task(self._read(child))
        await asyncio.wait_for(asyncio.shield(child.ready), 20)
        return child

    def _spawn(self, channel: socket.socket, boot: dict[str, Any]) -> subprocess.Popen[bytes]:
        with (self.directory / "stderr").open("ab") as errors:
            return subprocess.Popen(
                [sys.executable, "-c", CHILD, str(channel.fileno()), json.dumps(boot)],
                pass_fds=(channel.fileno(),),
                stderr=errors,
            )

    async def store(self, notes: dict[str, dict[str, Any]] | None = None) -> dict[str, dict[str, Any]]:
        """A store with these notes, by id, as far as a lobby needs one; gives them as they are at any time."""
        kept = {} if notes is None else notes

        async def get(call: Any, id: str) -> dict[str, Any]:
            if id not in kept:
                raise Refused("NotFound", id)
            return kept[id]

        async def create(call: Any, **record: Any) -> dict[str, Any]:
            kept[record["id"]] = {**record, "revision": "1"}
            return {"record": kept[record["id"]], "indexed": True}

        async def update(call: Any, id: str, changes: dict[str, Any], revision: str) -> dict[str, Any]:
            kept[id] = {**kept[id], **changes}
            return {"record": kept[id], "indexed": True}

        await self.bus.peer("store", expose={"get": get, "create": create, "update": update})
        return kept

    async def again(self, name: str) -> Child:
        """A new life for a process that was killed."""
        kind, args = self.kinds[name]
        return await self.start(name, kind, **args)

    async def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> int:
        """Kill a process; returns its exit code once the bus has been told."""
        child = self.children.pop(name)
        child.process.send_signal(how)
        code = await asyncio.to_thread(child.process.wait)
        await self._gone(child)
        return code

    async def stop(self, name: str) -> int:
        """Ask a process to end, as the root does; returns its exit code."""
        child = self.children.pop(name)
        child.channel.send(b'{"stop": true}\n')
        code = await asyncio.to_thread(child.process.wait, 15)
        await self._gone(child)
        return code

    async def close(self) -> None:
        """End everything."""
        for name in list(self.children):
            await self.kill(name)

    def stderr(self) -> str:
        """What the processes logged."""
        return (self.directory / "stderr").read_text()

    async def _gone(self, child: Child) -> None:
        if child.reader is not None:
            child.reader.cancel()
            await asyncio.gather(child.reader, return_exceptions=True)
        child.channel.close()
        self.bus.down(child.name)

    async def _read(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        rest = b""
        while True:
            data = await loop.sock_recv(child.channel, 65536)
            if not data:
                if not child.ready.done():
                    child.ready.set_exception(RuntimeError(f"{child.name} ended early:\n{self.stderr()[-3000:]}"))
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                message = json.loads(line)
                if "ready" in message and not child.ready.done():
                    child.ready.set_result(message["ready"])
                elif "request" in message:
                    asyncio.create_task(self._answer(child, message))  # noqa: RUF006 (ends with the test's loop)

    async def _answer(self, child: Child, message: dict[str, Any]) -> None:
        params = message["params"]
        answer: dict[str, Any] = {"answer": message["request"], "result": None}
        if message["method"] == "start_child":
            room = params["spec"]["id"]
            if f"rooms/{room}" in self.children:
                answer = {"answer": message["request"], "error": "already_started", "detail": room}
            elif room in self.parked:
                answer = {"answer": message["request"], "error": "already_present", "detail": room}
            elif room in self.refuse:
                answer = {"answer": message["request"], "error": "error", "detail": "refused by the test"}
            else:
                await self.start(f"rooms/{room}", "room", **params["spec"]["args"])
                if room in self.silent:
                    return
        elif message["method"] == "which_children":
            answer["result"] = [[room, "parked"] for room in sorted(self.parked)]
        elif message["method"] == "unpark":
            self.parked.remove(params["id"])
            await self.start(f"rooms/{params['id']}", "room", room=params["id"])
        elif message["method"] == "terminate_child":
            await self.stop(f"rooms/{params['id']}")
        with contextlib.suppress(OSError):
            child.channel.send(json.dumps(answer).encode() + b"\n")


@contextlib.asynccontextmanager
async def stage(config: dict[str, Any] | None = None) -> AsyncIterator[Stage]:
    """A stage with a running bus and nothing else on it."""
    with tempfile.TemporaryDirectory(prefix="eh-", dir="/tmp") as directory:
        # In a process of its own, as in a node: a bus in this process would share its descriptors with the test's.
        async with running_bus(os.path.join(directory, "bus"), process=True) as bus:
            stage = Stage(bus, Path(directory), config or {})
            try:
                yield stage
            finally:
                await stage.close()


Reply = Callable[[dict[str, Any]], str | None]


class Agent:
    """An agent as the contract describes it, with a function for a mind: takes its turns, answers, may be killed."""

    def __init__(self, stage: Stage, name: str, reply: Reply) -> None:
        self.stage = stage
        self.name = name
        self.reply = reply
        self.peer: Peer | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        self.taken: list[dict[str, Any]] = []
        self.before_answer: Callable[[dict[str, Any]], Awaitable[None]] | None = None

    async def start(self) -> Agent:
        """Come up under a new incarnation."""
        self.peer = await self.stage.bus.peer(f"agents/{self.name}", announce=False)
        subscription = await self.peer.subscribe(f"turns/{self.name}/")
        self._spawn(self._watch(subscription, self.peer))
        await self.peer.announce()
        return self

    async def die(self) -> None:
        """What SIGKILL does: everything in memory is gone."""
        peer, self.peer = self.peer, None
        assert peer is not None
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await peer.close()
        self.stage.bus.peers.remove(peer)
        self.stage.bus.down(f"agents/{self.name}")

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _watch(self, subscription: Any, peer: Peer) -> None:
        tails = {"default": Tail("default")}
        async for event in subscription:
            if event.data is not None:
                room = event.data["room"]
                tails.setdefault(room, Tail(room))
                self._consider(room, event.data["entry"], peer)
            if event.gap:
                for tail in tails.values():
                    async for entry in catch_up(peer, tail):
                        self._consider(tail.room, entry, peer)

    def _consider(self, room: str, entry: dict[str, Any], peer: Peer) -> None:
        mine = entry["kind"] == "turn_started" and entry["agent"] == self.name
        if mine and entry["incarnation"] == peer.incarnation and entry not in self.taken:
            self.taken.append(entry)
            self._spawn(self._take(room, entry, peer))

    async def _take(self, room: str, turn: dict[str, Any], peer: Peer) -> None:
        if self.before_answer is not None:
            await self.before_answer(turn)
        said = self.reply(turn)
        ids = {"id": f"{turn['turn']}.m", "turn": turn["turn"]}
        if said is None:
            entry = {**ids, "kind": "action", "action": "passed"}
        else:
            entry = {**ids, "kind": "message", "author": self.name.title(), "text": said, "usage": {}}
        with contextlib.suppress(RemoteError):  # the turn is over: it was read again after its end
            await append_reliably(peer, room, [entry], 20)


async def until(entries: AsyncIterator[dict[str, Any]], kind: str, **fields: Any) -> list[dict[str, Any]]:
    """The entries up to the first of this kind with these fields."""
    seen = []
    async for entry in entries:
        seen.append(entry)
        if entry["kind"] == kind and all(entry.get(name) == value for name, value in fields.items()):
            return seen
    raise AssertionError("the log ended")


def message(text: str, author: str = "ada") -> dict[str, Any]:
    """A person's message with an id of its own."""
    return {"id": ulid(), "kind": "message", "author": author, "text": text}


async def everything(stage: Stage, room: str = "default") -> list[dict[str, Any]]:
    """The whole log as a reader sees it."""
    peer = await stage.bus.client("reader")
    entries: list[dict[str, Any]] = []
    while True:
        page = await peer.call(f"rooms/{room}", "since", seq=len(entries), limit=100)
        entries += page["entries"]
        if not page["more"]:
            return entries
