"""What a model's words cost between its server and an agent: time to the first, time and CPU for each, memory for a stream.

`scripts/bench llm [--quick | --smoke | --sdks] [--json]`. A local server sends tokens that say when they were sent
(`measured/token_server.py`). Ours is the way agent, bus, process `llm`, HTTP and back (`measured/llm_ends.py`, each end a
process); the floor is an httpx client without anything else, of the same server, by turns with ours. A row is the median
of the rounds. CPU is that of all processes but the server's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE / "measured")]

import llm_sdks
from contender import Contender, closing, nothing_left

RATE = 50  # tokens a second of one stream
WIRES = ("anthropic", "openai")
CONVERSATION = 100_000  # characters that were said before
AGENTS = 100  # peers; more streams than that share them

Row = dict[str, Any]
Figures = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    calls: int = 200
    rounds: int = 2
    seconds: float = 2.0
    widths: tuple[int, ...] = (1, 10, 100)
    storm: int = 500


FULL, QUICK, SMOKE = Plan(), Plan(100, 1, 1.5), Plan(3, 1, 0.2, (1, 5), 10)


def run() -> Iterator[Row]:
    """Rows {name, value, unit, floor, ratio, goals}."""
    parser = argparse.ArgumentParser(prog="scripts/bench llm", description=__doc__)
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--quick", dest="plan", action="store_const", const=QUICK, help="a minute, rougher")
    group.add_argument("--smoke", dest="plan", action="store_const", const=SMOKE, help="a few streams: does it run?")
    parser.add_argument(
        "--sdks", action="store_true", help="the providers' own libraries in our place, and nothing else"
    )
    given = parser.parse_args(sys.argv[1:])
    if given.sdks:
        yield from llm_sdks.rows()
        return
    plan = given.plan or FULL
    directory = tempfile.mkdtemp(prefix="eb-", dir="/tmp")  # short: sockets are in it
    try:
        with nothing_left():
            yield from _all(directory, plan)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _all(directory: str, plan: Plan) -> Iterator[Row]:
    server = Contender("server", ["-m", "token_server"])
    with closing([server]):
        port = str(server.hello["port"])
        ends = Ends(server, directory, port)
        with closing([ends.bus, ends.gateway, ends.agents, ends.bare]):
            yield _load("before")
            yield from _memory(ends, plan)  # first: a heap that has grown has room for streams, and shows none
            for wire in WIRES:
                yield from _first(ends, plan, wire)
                for streams in plan.widths:
                    yield from _each(ends, plan, wire, streams)
                yield from _storm(ends, plan, wire)
            yield from _turns(ends, plan)
            yield _load("after")


class Ends:
    """The processes of one run; each has said that it is ready."""

    def __init__(self, server: Contender, directory: str, port: str) -> None:
        self.bus = _end("bus", directory)
        self.gateway = _end("gateway", directory, port)
        self.agents = _end("agents", directory, str(AGENTS))
        self.bare = _end("bare", port)
        self.ours = {end.name: end.pid for end in (server, self.bus, self.gateway, self.agents)}
        self.theirs = {end.name: end.pid for end in (server, self.bare)}

    def run(self, wire: str, streams: int, seconds: float, do: str = "run") -> Figures:
        given = {"wire": wire, "streams": streams, "rate": RATE, "seconds": seconds}
        return _work(self.agents.ask(do, **given, pids=self.ours))

    def floor(self, wire: str, streams: int, seconds: float) -> Figures:
        given = {"wire": wire, "streams": streams, "rate": RATE, "seconds": seconds}
        return _work(self.bare.ask("run", **given, pids=self.theirs))


def _end(role: str, *options: str) -> Contender:
    end = Contender(role, ["-m", "llm_ends", role, *options])
    assert end.hello["ready"]
    return end


def _work(figures: Figures) -> Figures:
    """With the CPU of a token in microseconds, all but the server's."""
    cores = sum(used for name, used in figures["cpu"].items() if name != "server")
    return figures | {"each": cores * 1e6 / max(1.0, figures["rate"])}


def _first(ends: Ends, plan: Plan, wire: str) -> Iterator[Row]:
    """From the wish to the first token in hand, one call after the other."""
    ours, floors = [], []
    for _ in range(plan.rounds):
        floors.append(ends.bare.ask("first", wire=wire, count=plan.calls))
        ours.append(ends.agents.ask("first", wire=wire, count=plan.calls))
    for percent in (50, 95):
        one, floor = (statistics.median(_percentile(took, percent) for took in all_) for all_ in (ours, floors))
        yield _row(f"{wire}: first token, p{percent}", one, "ms", floor, {"10 ms more": one - floor < 10})


def _each(ends: Ends, plan: Plan, wire: str, streams: int) -> Iterator[Row]:
    """How late tokens come, and the work for each, with so many streams."""
    ours, floors = [], []
    for _ in range(plan.rounds):
        floors.append(ends.floor(wire, streams, plan.seconds))
        ours.append(ends.run(wire, streams, plan.seconds))
    name = f"{wire}, {streams} streams" if streams > 1 else f"{wire}, 1 stream"
    for key in ("p50", "p95"):
        one, floor = (statistics.median(figures["late"][key] for figures in all_) for all_ in (ours, floors))
        yield _row(f"{name}: token sent to token in hand, {key}", one, "ms", floor)
    one, floor = (statistics.median(figures["each"] for figures in all_) for all_ in (ours, floors))
    goals = {"0.3 ms more": one - floor < 300} if streams >= 100 else None
    yield _row(f"{name}: CPU of a token", one, "µs", floor, goals)


def _storm(ends: Ends, plan: Plan, wire: str) -> Iterator[Row]:
    """All at once: whether what is sent arrives, how late, and who is at his limit."""
    name, offered = f"{wire}, {plan.storm} streams of {RATE} tokens/s", plan.storm * RATE
    # A client that does not keep up on a busy machine takes minutes to leave: not where it is to be quick.
    floor = ends.floor(wire, plan.storm, plan.seconds) if plan is not QUICK else None
    ours = [ends.run(wire, plan.storm, 2 * plan.seconds) for _ in range(plan.rounds)]
    yield from _flood(name, offered, ours, floor)


def _turns(ends: Ends, plan: Plan) -> Iterator[Row]:
    """The same with what an agent does with its words: the turn, and the event for the room."""
    for streams in (plan.widths[-1], plan.storm):
        runs = [ends.run("anthropic", streams, plan.seconds, "turn run") for _ in range(plan.rounds)]
        yield from _flood(f"turns shown in rooms, {streams} of {RATE} tokens/s", streams * RATE, runs, None)


def _flood(name: str, offered: int, ours: list[Figures], floor: Figures | None) -> Iterator[Row]:
    middle = sorted(ours, key=lambda figures: figures["rate"])[len(ours) // 2]
    kept = {f"{offered:,}/s": middle["rate"] > 0.98 * offered}
    yield _row(f"{name}: delivered", middle["rate"], "tokens/s", floor and floor["rate"], kept)
    for key in ("p50", "p95"):
        late = statistics.median(figures["late"][key] for figures in ours)
        yield _row(f"{name}: late, {key}", late, "ms", floor and floor["late"][key])
    yield _row(f"{name}: tokens in one message", middle["rate"] / middle["pieces"], "tokens")
    for process, used in middle["cpu"].items():
        yield _row(f"{name}: CPU of {process}", 100 * used, "% of one")
    busiest = max(middle["cpu"], key=lambda process: middle["cpu"][process])
    share = 100 * sum(middle["cpu"].values()) / (os.cpu_count() or 1)
    yield {"name": f"{name}: busiest", "value": f"{busiest}, all {share:.0f} % of {os.cpu_count()} cores", "unit": ""}


def _memory(ends: Ends, plan: Plan) -> Iterator[Row]:
    """The gateway's own memory with every stream open, and without."""
    ends.agents.ask("first", wire="anthropic", count=3)
    empty = _quiet(ends)
    short, long = (_full(ends, plan.storm, characters) for characters in (8, CONVERSATION))
    after = _quiet(ends)
    for kind in ("private", "pss"):
        name = f"{'PSS' if kind == 'pss' else 'private memory'} of the gateway"
        none, some, much, last = (size["memory"][kind] for size in (empty, short, long, after))
        yield _row(f"{name}, no stream open", none, "MiB")
        yield _row(f"{name}, {plan.storm} streams open", some, "MiB")
        yield _row(f"{name}, a stream", max(0.0, some - none) * 1024 / plan.storm, "KiB")
        each = max(0.0, much - none) * 1024 / plan.storm
        yield _row(f"{name}, a stream after a conversation of {CONVERSATION // 1000} kB", each, "KiB")
        yield _row(f"{name}, after the streams", last, "MiB")


def _full(ends: Ends, streams: int, characters: int) -> Figures:
    """The gateway's figures with so many streams open, each after so much talk."""
    ends.agents.ask("hold", wire="anthropic", streams=streams, rate=1, before=characters)
    size: Figures = ends.gateway.ask("size")
    assert size["open"] == streams, size
    ends.agents.ask("release")
    _quiet(ends)
    return size


def _quiet(ends: Ends) -> Figures:
    """The gateway's figures when the last of its streams has heard that nobody listens."""
    while (size := ends.gateway.ask("size"))["open"]:
        pass
    figures: Figures = size
    return figures


def _percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def _load(when: str) -> Row:
    return {"name": f"load of {os.cpu_count()} cores {when}", "value": os.getloadavg()[0], "unit": ""}


def _row(name: str, value: float, unit: str, floor: float | None = None, goals: dict[str, bool] | None = None) -> Row:
    row: Row = {"name": name, "value": value, "unit": unit, "floor": floor, "ratio": value / floor if floor else None}
    return row | ({"goals": goals} if goals else {})
