"""What the bus costs: calls, streams, fan-out, deaths, reconnects; beside raw ZeroMQ with the same payloads in the same run.

`scripts/bench ipc [--quick | --smoke] [--json]`. Every end is a process of its own (`measured/ipc_ends.py`). The floor of a
call is a raw ROUTER that forwards between DEALERs which are read on asyncio loops over ZMQ_FD; the floor of fan-out is raw
PUB and SUB; the floor of CURVE is ours over unix sockets. All take turns; a row is the median of the rounds, a ratio the
median of the ratios of each round. What comes over CURVE is a guest, who is never called: one leg of two is encrypted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE / "measured")]

from contender import nothing_left
from ipc_plan import PLANS, Plan

CURVE = "1.3"  # of plain, at most
NETWORK = "network"

Figures = dict[str, float]


def run() -> Iterator[dict[str, Any]]:
    """Rows {name, value, unit, floor, ratio, limit}; a ratio above 1 is worse than the floor."""
    parser = argparse.ArgumentParser(prog="scripts/bench ipc", description=__doc__)
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--quick", dest="size", action="store_const", const="quick", help="about a minute, rougher")
    group.add_argument("--smoke", dest="size", action="store_const", const="smoke", help="a few calls: does it run?")
    size = parser.parse_args(sys.argv[1:]).size or "full"
    os.environ["BENCH_IPC"] = size
    plan = PLANS[size]
    with nothing_left(), tempfile.TemporaryDirectory(prefix="eb-", dir=tempfile.gettempdir()) as directory:
        yield load("before")
        yield from calls(directory, plan)
        for readers in plan.readers:
            yield from events(directory, plan, readers)
        loads = [capacity(directory, plan) for _ in range(plan.rounds)]
        yield row("casts that the bus forwards in a second of its CPU", "rate", loads, unit="1/s", limit="40000")
        downs = [deaths(directory) for _ in range(plan.rounds)]
        yield row("PeerDown after SIGKILL with a call in flight, p50", "p50", downs, unit="ms", limit="50 ms")
        yield row("PeerDown after SIGKILL with a call in flight, p99", "p99", downs, unit="ms", limit="50 ms")
        for peers in plan.flocks:
            backs = [reconnect(directory, plan, peers) for _ in range(plan.rounds)]
            limit = "200 ms" if peers <= 100 else "1000 ms"
            yield row(f"{peers} peers back after a kill of the bus", "ms", backs, unit="ms", limit=limit)
        yield load("after")


def load(when: str) -> dict[str, Any]:
    return {"name": f"load of {os.cpu_count()} cores {when}", "value": os.getloadavg()[0], "unit": ""}


def row(
    name: str,
    key: str,
    ours: list[Figures],
    floors: list[Figures] | None = None,
    unit: str = "µs",
    more: bool = False,
    limit: str | None = None,
) -> dict[str, Any]:
    """One line. `more`: more is better."""
    made: dict[str, Any] = {"name": name, "value": round(statistics.median(one[key] for one in ours), 3), "unit": unit}
    if floors is not None:
        pairs = [(mine[key], floor[key]) for mine, floor in zip(ours, floors, strict=True)]
        made["floor"] = round(statistics.median(floor for _, floor in pairs), 3)
        made["ratio"] = round(statistics.median(floor / mine if more else mine / floor for mine, floor in pairs), 2)
    return made if limit is None else {**made, "limit": limit}


def calls(directory: str, plan: Plan) -> Iterator[dict[str, Any]]:
    """Calls and streams through the bus; beside a raw broker, one read by zmq.asyncio, CURVE, and Erlang nodes."""
    ours, floors, others, guests, nodes = [], [], [], [], []
    missing = [program for program in ("erl", "escript", "epmd") if shutil.which(program) is None]
    for _ in range(plan.rounds):
        floors.append(one(directory, ["raw-broker"], ["raw-echo"], ["raw-caller"]))
        ours.append(one(directory, ["bus"], ["echo"], ["caller"]))
        guests.append(one(directory, ["bus", NETWORK], ["echo"], ["caller", NETWORK]))
        if plan.zmq_asyncio:
            others.append(one(directory, ["raw-broker"], ["zmq-asyncio-echo"], ["zmq-asyncio-caller"]))
        if not missing:
            nodes.append(erlang(directory, plan))
    for key, limit in (("p50", "1.3"), ("p99", None), ("paced p50", "1.3"), ("paced p99", None)):
        yield row(f"call through the bus, {key}", key, ours, floors, limit=limit)
    for key in ("p50", "paced p50") if others else ():
        yield row(f"call, ends of zmq.asyncio and a raw broker as floor, {key}", key, ours, others)
    for width in (10, 100):
        yield row(f"calls a second, {width} at once", f"rate {width}", ours, floors, "1/s", more=True)
    yield row("CPU of the caller for a call", "cpu", ours, floors)
    if others:
        yield row("CPU of the caller for a call, zmq.asyncio as floor", "cpu", ours, others)
    yield row("stream of 50 B chunks", "stream 50", ours, unit="chunks/s")
    yield row("stream of 50 kB chunks", "stream 50000", ours, unit="MB/s")
    for key, limit in (("p50", CURVE), ("p99", None), ("paced p50", CURVE), ("paced p99", None)):
        yield row(f"CURVE beside plain: call, {key}", key, guests, ours, limit=limit)
    for width in (10, 100):
        name = f"CURVE beside plain: calls a second, {width} at once"
        yield row(name, f"rate {width}", guests, ours, "1/s", more=True, limit=CURVE)
    yield row("CURVE beside plain: CPU of the caller for a call", "cpu", guests, ours)
    for size, chunks, unit in ((50, "50 B", "chunks/s"), (50_000, "50 kB", "MB/s")):
        name = f"CURVE beside plain: stream of {chunks} chunks"
        yield row(name, f"stream {size}", guests, ours, unit, more=True, limit=CURVE)
    if missing:
        why = f"not measured: no {', '.join(missing)}; on Debian and Ubuntu: apt-get install erlang-base"
        yield {"name": "call between two Erlang nodes", "value": why, "unit": ""}
    else:
        for key in ("p50", "p99", "paced p50", "paced p99"):
            yield row(f"gen_server:call between two Erlang nodes, for orientation, {key}", key, nodes)


def events(directory: str, plan: Plan, readers: int) -> Iterator[dict[str, Any]]:
    """Fan-out through the bus; beside raw PUB and SUB, SUBs read by zmq.asyncio, and (to few) CURVE."""
    ours, floors, others, guests = [], [], [], []
    for _ in range(plan.rounds):
        floors.append(fan(directory, plan, [], "raw-publisher", readers, "raw-reader"))
        ours.append(fan(directory, plan, ["bus"], "publisher", readers, "reader"))
        if readers <= 10:
            guests.append(fan(directory, plan, ["bus", NETWORK], "publisher", readers, "reader", NETWORK))
        if plan.zmq_asyncio:
            others.append(fan(directory, plan, [], "raw-publisher", readers, "zmq-asyncio-reader"))
    to = f"to {readers} subscribers"
    yield row(f"events {to}", "delivered", ours, floors, "1/s", more=True, limit="1.5")
    if others:
        yield row(f"events {to}, zmq.asyncio as floor", "delivered", ours, others, "1/s", more=True)
    yield row(f"latency of an event {to}, p50", "p50", ours, floors)
    yield row(f"latency of an event {to}, p99", "p99", ours, floors)
    yield row(f"CPU of a reader for an event {to}", "cpu", ours, floors)
    if others:
        yield row(f"CPU of a reader for an event {to}, zmq.asyncio as floor", "cpu", ours, others)
    if guests:
        yield row(f"CURVE beside plain: events {to}", "delivered", guests, ours, "1/s", more=True, limit=CURVE)
        yield row(f"CURVE beside plain: latency of an event {to}, p50", "p50", guests, ours, limit=CURVE)
        yield row(f"CURVE beside plain: latency of an event {to}, p99", "p99", guests, ours)
        yield row(f"CURVE beside plain: CPU of a reader for an event {to}", "cpu", guests, ours)


def spawn(role: str, directory: str, *options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(HERE / "measured" / "ipc_ends.py"), role, directory, *map(str, options)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@contextlib.contextmanager
def stage(directory: str) -> Iterator[Any]:
    """`start(role, *options)` for processes that end with the block; each says ready first."""
    started: list[subprocess.Popen[str]] = []

    def start(role: str, *options: Any) -> subprocess.Popen[str]:
        process = spawn(role, directory, *options)
        started.append(process)
        line = heard(process)
        assert line == "ready", (role, line)
        return process

    try:
        yield start
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def one(directory: str, *ends: list[str]) -> Figures:
    """What the last of these ends measures; each is a role and its options."""
    with stage(directory) as start:
        for end in ends:
            process = start(*end)
        go(process)
        figures: Figures = json.loads(heard(process))
        return figures


def erlang(directory: str, plan: Plan) -> Figures:
    """The figures of a gen_server:call between two nodes, by an epmd of their own; all on 127.0.0.1."""
    with tempfile.TemporaryDirectory(dir=directory) as home, socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
        free.close()
        cookie = Path(home, ".erlang.cookie")
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)  # a node refuses a cookie that others can read
        echo, caller = f"echo{port}@127.0.0.1", f"caller{port}@127.0.0.1"
        return one(
            home,
            ["epmd", port],
            ["erlang", port, "echo", echo],
            ["erlang", port, "caller", caller, echo, str(plan.calls), str(plan.paced)],
        )


def fan(
    directory: str, plan: Plan, middle: list[str], publisher: str, readers: int, reader: str, *options: str
) -> Figures:
    """Events delivered a second, latency and CPU of the readers."""
    with stage(directory) as start:
        if middle:
            start(*middle)
        process = start(publisher, readers)
        others = [start(reader, readers // plan.processes, n, *options) for n in range(plan.processes)]
        go(process)
        began = float(heard(process))
        results = [json.loads(heard(other)) for other in others]
        go(process)
        times = sorted(time for other in others for time in json.loads(heard(other)))
    return {
        "delivered": readers * plan.events / (max(result["end"] for result in results) - began),
        "cpu": statistics.mean(result["cpu"] for result in results),
        "p50": times[len(times) // 2] * 1e6,
        "p99": times[len(times) * 99 // 100] * 1e6,
    }


def capacity(directory: str, plan: Plan) -> Figures:
    """Messages for a second of CPU of both threads of the bus: what it could forward if others left it a core."""
    with stage(directory) as start:
        middle = psutil.Process(start("bus").pid)
        start("echo")
        process = start("hammer")
        before = middle.cpu_times()
        go(process)
        assert heard(process) == "done"
        after = middle.cpu_times()
        return {"rate": plan.casts / (after.user + after.system - before.user - before.system)}


def deaths(directory: str) -> Figures:
    """How long after a SIGKILL a call in flight fails, in ms."""
    with stage(directory) as start:
        start("bus")
        start("victims")
        process = start("mourner")
        go(process)
        figures: Figures = json.loads(heard(process))
        return figures


def reconnect(directory: str, plan: Plan, peers: int) -> Figures:
    """From the moment at which a new bus has bound its sockets until all peers are welcome there, in ms."""
    with stage(directory) as start:
        old = start("bus")
        flocks = [start("flock", peers // plan.processes, n) for n in range(plan.processes)]
        old.kill()
        old.wait()
        start("bus")
        began = time.monotonic()
        return {"ms": (max(float(heard(flock)) for flock in flocks) - began) * 1000}
