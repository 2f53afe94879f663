"""Kills buses and peers under load and reports what went wrong: `python -m tests.ipc.kills DIRECTORY KILLS SECONDS`.

A program of its own, so that its forkserver ends with it and a longer run needs no test. Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import random
import socket
import sys
import time
from collections import Counter
from typing import Any

from ipc import IpcError, Peer
from ipc.testing import TOKEN, Channel

PEERS = [f"p{n}" for n in range(4)]
WORKERS = 6
PATIENCE = 5.0  # seconds after which a call that has a deadline of 2 counts as hung


def run_bus(directory: str, registrations: list[dict[str, Any]], control: socket.socket, told: Any) -> None:
    from ipc.bus import Bus
    from ipc.rights import ALL

    logging.basicConfig(level=logging.ERROR)
    bus = Bus(directory, registrations=registrations, token=TOKEN, client_allow=ALL)
    bus.run(Channel(control), on_ready=lambda: told.send("ready"))


def run_peer(options: dict[str, Any]) -> None:
    from tests.ipc.child import serve

    logging.basicConfig(level=logging.CRITICAL)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # it says READY, and nobody reads it here
    try:
        asyncio.run(serve(options))
    except IpcError:
        sys.exit(3)


class Killer:
    """The supervisor's part: starts, kills, tells, replaces."""

    def __init__(self, directory: str, seed: int) -> None:
        self.directory = directory
        self.bus_directory = os.path.join(directory, "bus")
        self.diary = os.path.join(directory, "diary")
        self.random = random.Random(seed)
        self.forks = multiprocessing.get_context("forkserver")
        self.forks.set_forkserver_preload(["tests.ipc.child", "ipc.bus", "ipc.peer", "ipc.testing"])
        self.incarnation = 1_700_000_000_000
        self.living: dict[str, dict[str, Any]] = {}
        self.processes: dict[str, Any] = {}
        self.control: socket.socket | None = None
        self.kills: Counter[str] = Counter()

    def tell(self, message: dict[str, Any]) -> None:
        try:
            assert self.control is not None
            self.control.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return  # the bus is dead; the next one is given everything

    def start_bus(self) -> None:
        if self.control is not None:
            self.control.close()
        self.control, theirs = socket.socketpair()
        ready, told = self.forks.Pipe()
        args = (self.bus_directory, list(self.living.values()), theirs, told)
        self.processes["bus"] = self.forks.Process(target=run_bus, args=args, daemon=True)
        self.processes["bus"].start()
        theirs.close()
        assert ready.poll(10), "the bus did not start"
        ready.recv()
        ready.close()
        told.close()

    def register(self, name: str) -> dict[str, Any]:
        from ipc.rights import ALL

        self.incarnation += 1
        credential = f"{self.random.getrandbits(128):032x}"
        self.living[name] = {
            "register": name, "incarnation": self.incarnation, "credential": credential, "allow": ALL,
        }  # fmt: skip
        self.tell({"notice": self.living[name]})
        return self.living[name]

    def start_peer(self, name: str) -> None:
        notice = self.register(name)
        options = {
            "directory": self.bus_directory, "name": name, "credential": notice["credential"],
            "diary": self.diary, "chatter": PEERS, "subscribe": ["talk/"],
        }  # fmt: skip
        self.processes[name] = self.forks.Process(target=run_peer, args=(options,), daemon=True)
        self.processes[name].start()

    def kill(self, name: str) -> None:
        process = self.processes[name]
        process.kill()  # some have ended by themselves: one that meets a dying bus while it starts gives up, as it should
        process.join()
        process.close()
        self.kills["bus" if name == "bus" else "peer"] += 1
        if name == "bus":
            self.start_bus()
            return
        notice = self.living.pop(name)
        self.tell({"down": name, "incarnation": notice["incarnation"], "reason": "signal 9"})
        self.start_peer(name)


async def main(directory: str, kills: int, seconds: float) -> dict[str, Any]:
    killer = Killer(directory, seed=kills)
    killer.start_bus()
    caller = Peer(killer.bus_directory, name="caller", credential=killer.register("caller")["credential"])
    await caller.connect()
    for name in PEERS:
        killer.start_peer(name)
    faults: list[str] = []
    counts: Counter[str] = Counter()
    asked: dict[str, int] = {}
    failed_at: dict[str, float] = {}
    stop = asyncio.Event()

    async def ask(name: str, id: str) -> Any:
        asked[id] = caller.epoch  # in the same turn of the loop in which the call is sent
        return await caller.call(name, "note", id=id, timeout=2.0)

    async def load(worker: int) -> None:
        n = 0
        while not stop.is_set():
            n += 1
            name, id = PEERS[n % len(PEERS)], f"{worker}-{n}"
            oldest = killer.living[name]["incarnation"] if name in killer.living else 0
            try:
                got = await asyncio.wait_for(ask(name, id), PATIENCE)
                counts["answered"] += 1
                if got[0] != id or got[1] < oldest:
                    faults.append(f"{id} asked of {name}#{oldest}: {got}")
            except IpcError as error:
                failed_at[id] = time.monotonic()
                counts["failed"] += 1
                counts[type(error).__name__] += 1
                await asyncio.sleep(0.002)  # the rate of the load while nothing answers
            except TimeoutError:
                faults.append(f"{id} hung")

    async def listen() -> None:
        newest: dict[str, tuple[int, int]] = {}
        while not stop.is_set():
            try:
                await caller.wait_connected()
                async for event in await caller.subscribe("talk/"):
                    if event.data is None:
                        counts["gaps"] += 1
                        continue
                    counts["heard"] += 1
                    life = (event.epoch, event.incarnation)
                    if life < newest.get(event.by, life):
                        faults.append(f"a stale {event.by} spoke: {life} after {newest[event.by]}")
                    newest[event.by] = max(life, newest.get(event.by, life))
            except IpcError:
                await asyncio.sleep(0.01)  # it is being started again

    tasks = [asyncio.create_task(load(worker)) for worker in range(WORKERS)]
    listener = asyncio.create_task(listen())
    end = time.monotonic() + seconds
    while sum(killer.kills.values()) < kills and time.monotonic() < end:
        await asyncio.sleep(killer.random.random() * 0.05)  # the rate of the faults
        for name in killer.random.sample(["bus", *PEERS], killer.random.choice([1, 1, 1, 2, 3])):
            await asyncio.to_thread(killer.kill, name)
    stop.set()
    done, hung = await asyncio.wait(tasks, timeout=10)
    faults += [f"task {task} hung" for task in hung] + [repr(t.exception()) for t in done if t.exception()]
    listener.cancel()
    try:
        await caller.wait_connected(5)
        for name in PEERS:
            for _ in range(500):
                try:
                    await caller.call(name, "echo", x=1)
                    break
                except IpcError:
                    await asyncio.sleep(0.01)  # it is being started again
            else:
                faults.append(f"{name} did not come back")
    except IpcError as error:
        faults.append(f"the caller did not come back: {error}")
    await caller.close()
    for process in killer.processes.values():
        process.kill()
        process.join()
    faults += check(killer.diary, asked, failed_at)
    return {"kills": sum(killer.kills.values()), **killer.kills, **counts, "faults": faults[:20]}


def check(diary: str, asked: dict[str, int], failed_at: dict[str, float]) -> list[str]:
    with open(diary) as file:
        lines = [line.split() for line in file.read().splitlines()]
    times = Counter(line[0] for line in lines)
    faults = [f"{id} ran {n} times" for id, n in times.items() if n > 1]
    for id, epoch, at in lines:
        if id in asked and asked[id] != int(epoch):
            faults.append(f"{id} was asked under bus {asked[id]} and ran under {epoch}")
        if id in failed_at and float(at) > failed_at[id]:
            faults.append(f"{id} ran {float(at) - failed_at[id]:.4f} s after its caller was told that it failed")
    return faults


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))))
