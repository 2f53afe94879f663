"""Processes that call one another as fast as they can and write down what happened; for test_bus_kills.

Every line is {t (CLOCK_MONOTONIC, the same for all processes), what, …}; a line is one write, so that a process that is
killed leaves whole lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from egghead.launch import Launch
from egghead.processes.common import Service, run
from ipc import Call, CallTimeout, IpcError, PeerDown
from supervisor import Context, Root, load_tree

ECHOES, CALLERS = 4, 3
DEADLINE = 3.0  # seconds of each call


class Diary:
    def __init__(self, directory: str, name: str, incarnation: int) -> None:
        self._fd = os.open(f"{directory}/{name}-{incarnation}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, what: str, **fields: Any) -> None:
        line = json.dumps({"t": time.monotonic(), "what": what, **fields})
        os.write(self._fd, (line + "\n").encode())


def echo(context: Context, diary: str) -> None:
    notes = Diary(diary, context.name, context.incarnation)

    async def setup(service: Service) -> None:
        async def say(call: Call, id: str) -> str:
            notes.write("executed", id=id)
            return id

        service.expose({"say": say})
        await service.connect()
        service.start(speak(service), "speak", fatal=False)

    async def speak(service: Service) -> None:
        for n in itertools.count():
            with contextlib.suppress(IpcError):  # the bus is away: an event lost is lost, and its seq tells
                await service.peer.publish(f"talk/{service.name}/", {"n": n, "incarnation": service.incarnation})
            await asyncio.sleep(0.005)  # the rate of the load

    run(context, setup)


def caller(context: Context, diary: str) -> None:
    notes = Diary(diary, context.name, context.incarnation)

    async def setup(service: Service) -> None:
        await service.connect()
        subscription = await service.peer.subscribe("talk/")
        service.start(listen(subscription), "listen")
        service.start(talk(service), "talk")

    async def listen(subscription: Any) -> None:
        async for event in subscription:
            if event.data is not None:
                notes.write("heard", by=event.by, incarnation=event.data["incarnation"], epoch=event.epoch)

    async def talk(service: Service) -> None:
        for n in itertools.count():
            id = f"{service.name}-{service.incarnation}-{n}"
            notes.write("asked", id=id)
            try:
                answer = await service.peer.call(f"echo-{n % ECHOES}", "say", id=id, timeout=DEADLINE)
                notes.write("answered", id=id, right=answer == id)
            except PeerDown:
                notes.write("down", id=id)
            except CallTimeout:
                notes.write("timeout", id=id)
            except IpcError as error:
                notes.write("error", id=id, error=repr(error))
            await asyncio.sleep(0.002)  # the rate of the load

    run(context, setup)


TREE: Mapping[str, Any] = {
    "id": "load",
    "strategy": "one_for_one",
    "intensity": 100000,
    "period": 5,
    "children": [
        {"id": "bus", "start": "egghead.processes.bus:main", "observe": True, "shutdown": 1},
        *(
            {"id": f"echo-{n}", "start": "tests.chaos.peers:echo", "shutdown": 1, "args": {"diary": "${diary}"},
             "allow": {"publish": ["talk/"]}}
            for n in range(ECHOES)
        ),
        *(
            {"id": f"caller-{n}", "start": "tests.chaos.peers:caller", "shutdown": 1, "args": {"diary": "${diary}"},
             "allow": {"call": {"echo-*": ["say"]}, "subscribe": ["talk/"]}}
            for n in range(CALLERS)
        ),
    ],
}  # fmt: skip


def main(directory: str) -> int:
    """`python -m tests.chaos.peers DIR`: runs the tree until it is told to stop. DIR gets bus/, diary/, status.json."""
    base = Path(directory)
    for name in ("bus", "diary"):
        (base / name).mkdir()
    tree_file = base / "tree.yaml"
    tree_file.write_text(json.dumps(TREE), encoding="utf-8")  # JSON is YAML
    tree = load_tree(tree_file, variables={"diary": str(base / "diary")})
    hook = Launch(str(base / "bus"), "0" * 64, {"config": {}}, {})
    return Root(
        tree, hook=hook, on_ready=lambda info: print("READY", flush=True), status_path=base / "status.json"
    ).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
