"""A thousand agents on one node, fifty rooms that talk at once, a log of 100,000 entries, and what a turn costs besides the model.

The model is a local server that answers at once over a real provider's wire (`tests/llm/double.py`), so what is measured is ours.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE / "measured")]

from contender import closing, nothing_left, supervised

from egghead.client import Client
from egghead.client.chat import converse, post
from egghead.client.follow import append_reliably, follow
from egghead.paths import RuntimeDir
from egghead.rooms.log import RoomLog
from egghead.rooms.ulid import ulid
from tests.e2e.cast import agent_note
from tests.e2e.node import Home, Node, until
from tests.llm.double import Asked, Double, Hang, Reply

Row = dict[str, Any]
TOPICS = ["woods", "trails", "rivers", "maps", "birds", "tax", "law", "bread", "code", "music"]
ENDLESS = "tell me a long story"
START = 300.0  # seconds for a node on a busy machine


@dataclass(frozen=True)
class Plan:
    agents: int = 1000
    idle: float = 20.0
    turns: int = 100
    rooms: int = 50
    each: int = 4  # messages in each of the rooms
    entries: int = 100_000


FULL, QUICK, SMOKE = Plan(), Plan(200, 5.0, 40, 20, 2, 20_000), Plan(4, 0.2, 3, 2, 1, 1000)


def run() -> Iterator[Row]:
    parser = argparse.ArgumentParser(prog="scripts/bench rooms", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="plan", action="store_const", const=QUICK, help="200 agents, 20 rooms")
    size.add_argument("--smoke", dest="plan", action="store_const", const=SMOKE, help="a few: does it run?")
    plan = parser.parse_args(sys.argv[1:]).plan or FULL
    base = Path(tempfile.mkdtemp(prefix="eh-", dir="/tmp"))
    try:
        with nothing_left():
            yield from _log(base, plan)
            yield from _node(base, plan)
    finally:
        shutil.rmtree(base, ignore_errors=True)


# ---- the log -----------------------------------------------------------------------------------------------------


def _log(base: Path, plan: Plan) -> Iterator[Row]:
    path = base / "long.jsonl"
    text = "a line as people write it, not very long and not very short, " * 3
    with open(path, "w", encoding="utf-8") as file:
        for seq in range(1, plan.entries + 1):
            stamp = {"seq": seq, "id": ulid(), "at": "2026-01-01T00:00:00.000Z", "by": "clients/ada-1"}
            file.write(json.dumps({**stamp, "kind": "message", "author": "ada", "text": text}) + "\n")
    began = time.perf_counter()
    with open(path, "rb") as raw:
        for line in raw:
            json.loads(line)
    floor = time.perf_counter() - began
    before = _private("self")
    began = time.perf_counter()
    log = RoomLog(str(path))
    opened = time.perf_counter() - began
    grown = _private("self") - before
    began = time.perf_counter()
    page = log.read(plan.entries // 2, 500)
    paged = (time.perf_counter() - began) * 1000
    log.close()
    assert len(page) == min(500, plan.entries - plan.entries // 2)
    name = f"a log of {plan.entries:,} entries"
    yield _row(f"{name}, opened (floor: each line read as JSON)", opened, "s", floor, {"1 s": opened < 1})
    yield _row(f"{name}, memory of the open log", grown, "MiB", goals={"flat, 8 MiB": grown < 8})
    yield _row(f"{name}, a page of 500 from the middle", paged, "ms")


# ---- the node ----------------------------------------------------------------------------------------------------


class _Patient(Node):
    def _read_ready(self, timeout: float = START) -> str:
        return super()._read_ready(timeout)


def _node(base: Path, plan: Plan) -> Iterator[Row]:
    records = base / "notes"
    for number in range(plan.agents):
        topic = TOPICS[number % len(TOPICS)]
        tags = [topic, f"subject{number}"]
        body = f"You know about {topic}, and above all about subject{number}."
        agent_note(records, f"a{number:04d}", "anthropic/double", body, tags=tags, title=f"Agent {number}")
    bare = _bare(plan.agents)
    home = Home(base / "home")
    with Double(_answer) as double:
        home.configure(double.config())
        began = time.perf_counter()
        node = _Patient(home, records)
        try:
            until("all agents running", lambda: len(_agents(node)) >= plan.agents + 2 or None, START)
            ready = time.perf_counter() - began
            goals = {"1.5x the bare supervisor": ready <= 1.5 * bare}
            yield _row(f"{plan.agents} agents, command to all running (floor: bare children)", ready, "s", bare, goals)
            yield from _rest(node, plan)
            yield from asyncio.run(_talk(base, node, double, plan))
        finally:
            node.stop(120)


def _bare(count: int) -> float:
    """Seconds of our supervisor alone for so many confined children, from its command to all ready."""
    began = time.perf_counter()
    contender = supervised("bare", count, kind="dynamic", confined=True)
    with closing([contender]):
        contender.ask("start", how="all")
        return time.perf_counter() - began


def _answer(asked: Asked) -> Reply:
    return ["Once upon a time", Hang()] if asked.last.endswith(ENDLESS) else f"Number {asked.number}."


def _agents(node: Node) -> list[dict[str, Any]]:
    found = node.processes().items()
    return [process for name, process in found if name.startswith("agents/") and process["state"] == "running"]


def _rest(node: Node, plan: Plan) -> Iterator[Row]:
    """What they cost while nobody speaks."""
    pids = [p["pid"] for p in node.processes().values() if p["pid"]]
    pids += [process.pid for process in node.descendants() if process.pid not in pids] + [node.pid]
    before = {pid: _cpu(pid) for pid in pids}
    time.sleep(plan.idle)  # the measurement: they are left alone
    used = 100 * sum(max(0.0, _cpu(pid) - was) for pid, was in before.items()) / plan.idle
    yield _row(f"{plan.agents} agents at rest, CPU of the whole node", used, "%", goals={"2 %": used < 2})
    sizes = sorted(_private(p["pid"]) for p in _agents(node))
    yield _row("private memory of an agent, median", statistics.median(sizes), "MiB", goals={"5 MiB": sizes[-1] <= 5})
    yield _row("private memory of an agent, largest", sizes[-1], "MiB")


async def _talk(base: Path, node: Node, double: Double, plan: Plan) -> list[Row]:
    place = RuntimeDir(next((base / "home" / "run" / "egghead").iterdir()))
    rows: list[Row] = []
    async with await Client.connect(place, json.loads(place.node.read_text())) as client:
        rows += await _open_messages(client, plan)
        rows += await _turns(client, double, plan)
        rows += await _halts(client, plan)
        rows += await _rooms(client, plan)
    return rows


async def _open_messages(client: Client, plan: Plan) -> list[Row]:
    """An open message in a room of all: who is asked, and how long that takes to decide."""
    took, asked = [], []
    for number in range(10):
        topic = TOPICS[number % len(TOPICS)]
        entries = [s.entry async for s in converse(client, "default", f"who knows about {topic}?", "ada") if s.entry]
        planned = next(entry for entry in entries if entry["kind"] == "round_planned")
        took.append(_between(entries[0], planned))
        asked.append(len(planned["order"]))
    name = f"an open message to {plan.agents} agents"
    return [
        _row(f"{name}, message to plan in the log, median", statistics.median(took), "ms"),
        _row(f"{name}, the same, worst of {len(took)}", max(took), "ms", goals={"50 ms": max(took) < 50}),
        _row(f"{name}, asked at most", max(asked), "agents", goals={"open_speakers": max(asked) <= 3}),
    ]


async def _turns(client: Client, double: Double, plan: Plan) -> list[Row]:
    """From the acknowledged message to the request at the model's door, one agent, one turn after the other."""
    took, whole = [], []
    await client.call("lobby", "open", room="small", timeout=60)
    for number in range(plan.turns):
        seen = len(double.asked)
        entry = await post(client, "small", f"@a0001 number {number}", "ada", deadline=30)
        posted = time.perf_counter()
        while len(double.asked) <= seen:
            await asyncio.sleep(0.0005)  # another thread's list
        took.append((time.perf_counter() - posted) * 1000)
        await _round_over(client, "small", entry["id"], entry["seq"])
        whole.append((time.perf_counter() - posted) * 1000)
    late = sorted(took)[min(len(took) - 1, int(len(took) * 0.95))]
    middle = statistics.median(took)
    return [
        _row(f"message to model request, p50 of {len(took)}", middle, "ms", goals={"15 ms": middle < 15}),
        _row("message to model request, p95", late, "ms"),
        _row("message to end of the round, p50", statistics.median(whole), "ms"),
    ]


async def _halts(client: Client, plan: Plan) -> list[Row]:
    """From a halt in the log to the end of a turn whose model was in the middle of its answer."""
    took = []
    await client.call("lobby", "open", room="loud", timeout=60)
    heard = await client.peer.subscribe("text/loud/")
    for _ in range(max(3, plan.turns // 5)):
        entry = await post(client, "loud", f"@a0001 {ENDLESS}", "ada", deadline=30)
        while "time" not in str((await asyncio.wait_for(anext(heard), 30)).data):
            pass  # to the last word before it hangs
        [halt] = await append_reliably(client.peer, "loud", [{"kind": "halted", "author": "ada"}], 30)
        async for said in follow(client.peer, "loud", since=entry["seq"]):
            if said["kind"] == "turn_ended":
                took.append(_between(halt, said))
            elif said["kind"] == "round_ended":
                break
    heard.close()
    late = sorted(took)[min(len(took) - 1, int(len(took) * 0.95))]
    return [
        _row(f"a halt to the end of the turn, p50 of {len(took)}", statistics.median(took), "ms"),
        _row("a halt to the end of the turn, p95", late, "ms", goals={"200 ms": late < 200}),
    ]


async def _rooms(client: Client, plan: Plan) -> list[Row]:
    """Many rooms at once, an agent of its own in each."""

    async def one(number: int) -> list[float]:
        took = []
        for _ in range(plan.each):
            began = time.perf_counter()
            text = f"@a{number % plan.agents:04d} go on"
            said = [s async for s in converse(client, f"r{number}", text, "ada", timeout=120)]
            assert any(s.entry and s.entry["kind"] == "message" and s.entry.get("turn") for s in said)
            took.append(time.perf_counter() - began)
        return took

    began = time.perf_counter()
    opened = await asyncio.gather(*(client.call("lobby", "open", room=f"r{n}", timeout=120) for n in range(plan.rooms)))
    opening = time.perf_counter() - began
    began = time.perf_counter()
    took = sorted(t for times in await asyncio.gather(*map(one, range(len(opened)))) for t in times)
    seconds = time.perf_counter() - began
    name = f"{plan.rooms} rooms at once"
    return [
        _row(f"{name}, opened", opening, "s"),
        _row(f"{name}, rounds in a second", len(took) / seconds, "1/s"),
        _row(f"{name}, a round, p50", statistics.median(took) * 1000, "ms"),
        _row(f"{name}, a round, p95", took[int(len(took) * 0.95)] * 1000, "ms"),
    ]


async def _round_over(client: Client, room: str, message: str, seq: int) -> None:
    round_ = None
    async for entry in follow(client.peer, room, since=seq):
        if entry["kind"] == "round_planned" and entry["message"] == message:
            round_ = entry["round"]
        elif entry["kind"] == "round_ended" and entry["round"] == round_:
            return


def _between(first: dict[str, Any], second: dict[str, Any]) -> float:
    times = [datetime.fromisoformat(entry["at"]) for entry in (first, second)]
    return (times[1] - times[0]).total_seconds() * 1000


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has used; 0 for one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _private(pid: int | str) -> float:
    """Private memory in MiB."""
    kept = ("Private_Clean:", "Private_Dirty:")
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(kept)) / 1024


def _row(name: str, value: float, unit: str, floor: float | None = None, goals: dict[str, bool] | None = None) -> Row:
    row: Row = {"name": name, "value": value, "unit": unit, "floor": floor, "ratio": value / floor if floor else None}
    return row | ({"goals": goals} if goals else {})
