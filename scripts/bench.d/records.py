"""What the note store costs at 10,000 and more notes, side by side with floors and with what a user would use instead.

`scripts/bench records [--quick] [--notes N ...] [--curve] [--others N] [--no-node] [--json]`. Notes are generated (`measured/shelf.py`). Floors and
ours take turns, each as a program of its own on one core (`measured/indexing.py`); the best turn of each counts, since
a busy machine only ever adds. Then a whole node on the same notes. A row's ratio is to the floor of the same run. All
files are below a temporary directory and are removed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE / "measured")]

import memories
import running
from shelf import Shelf

FIRST, SEARCH, FASTER = 2.5, 2.0, 10.0  # times the floor at most, times raw FTS5 at most, times basic-memory at least
TYPING, WARM, VISIBLE, MEMORY = 20.0, 2.0, 50.0, 300.0  # ms p95; s at 100,000; ms p95; MiB at 100,000
CURVE = (1000, 3000, 10_000, 30_000, 100_000, 300_000)
Row = dict[str, Any]


def run() -> Iterator[Row]:
    """Every row: {name, value, unit, floor, ratio, goals}."""
    parser = argparse.ArgumentParser(prog="scripts/bench records", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 notes, one turn, nothing else's programs")
    parser.add_argument("--notes", type=int, nargs="+", metavar="N", help="how many notes (default: 10000 100000)")
    parser.add_argument("--curve", action="store_true", help=f"the library alone at {', '.join(map(str, CURVE))}")
    parser.add_argument("--others", type=int, default=300, metavar="N", help="notes for basic-memory; 0: leave it out")
    parser.add_argument(
        "--others-limit", type=float, default=3600, metavar="SECONDS", help="then it is stopped, and what it has counts"
    )
    parser.add_argument("--no-node", dest="node", action="store_false", help="the library alone")
    given = parser.parse_args(sys.argv[1:])
    counts = given.notes or (CURVE if given.curve else (2000,) if given.quick else (10_000, 100_000))
    kept: list[bool] = []
    yield _load("at the start")
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="eb-", dir="/tmp") as folder:
            base = Path(folder)
            shelf = Shelf()
            shelf.write(base / "notes", count)
            (base / "queries").write_text(
                json.dumps(shelf.queries(15 if given.quick or given.curve else 40)), encoding="utf-8"
            )
            turns = 1 if given.quick or given.curve or count > 20_000 else 3
            for row in _measured(base, count, turns, node=given.node and not given.curve):
                kept += row.get("goals", {}).values()
                yield row
    if given.others and not given.quick and not given.curve:
        for row in _others(given.others, given.others_limit):
            kept += row.get("goals", {}).values()
            yield row
    yield _load("at the end")
    yield {"name": "goals kept", "value": f"{sum(kept)} of {len(kept)}", "unit": ""}


def _load(when: str) -> Row:
    one, five, _ = os.getloadavg()
    return {"name": f"load average {when}, {os.cpu_count()} cores", "value": f"{one:.2f} {five:.2f}", "unit": ""}


def _row(name: str, value: float, unit: str, floor: float | None = None, **goals: bool) -> Row:
    ratio = value / floor if floor else None
    row = {"name": name, "value": round(value, 3), "unit": unit, "goals": goals}
    return row | {"floor": floor and round(floor, 3), "ratio": ratio and round(ratio, 2)}


def _program(*arguments: object) -> dict[str, Any]:
    """A run of `indexing.py` on one core."""
    mine = sorted(os.sched_getaffinity(0))[-1:]
    command = [sys.executable, str(HERE / "measured" / "indexing.py"), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, preexec_fn=lambda: os.sched_setaffinity(0, mine))
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _measured(base: Path, count: int, turns: int, *, node: bool) -> Iterator[Row]:
    notes, db, queries = base / "notes", base / "floor.db", base / "queries"
    least, first, spent = yield from _indexed(base, count, turns)
    warm = _program("warm", notes)
    goal = {"under 2 s": warm["wall"] < WARM} if count >= 100_000 else {}
    yield _row(f"{count}: warm start, nothing changed (floor: stat)", warm["wall"], "s", warm["stat"], **goal)
    yield _row(f"{count}: memory of a warm start, at its peak", warm["peak"], "MiB")
    found = _program("search", notes, db, queries)
    for kind, times in found.items():
        if isinstance(times, dict):
            yield from _searched(f"{count}: {kind}", times)
    yield _row(f"{count}: memory of a searching program, at its peak", found["peak"], "MiB")
    typed = _program("typing", notes, queries)["ours"]
    yield _row(f"{count}: search as you type, p95 of every key", typed[1], "ms", **{"under 20 ms": typed[1] < TYPING})
    try:
        times = memories.ripgrep(notes, json.loads(queries.read_text(encoding="utf-8"))["one word"][:10])
        yield _row(f"{count}: ripgrep, one word, p50", statistics.median(times), "ms")
    except memories.Unavailable as error:
        yield {"name": f"{count}: ripgrep", "value": f"not measured: {error}", "unit": ""}
    if node:
        shutil.rmtree(notes / ".egghead")
        yield from _node(base, count, least, first, spent)


def _indexed(base: Path, count: int, turns: int) -> Iterator[Row]:
    """The first index on one core. Returns seconds: of the floor, of ours on one core, of CPU of ours."""
    notes, db = base / "notes", base / "floor.db"
    floors, ones = [], []
    for _ in range(turns):
        db.unlink(missing_ok=True)
        floors.append(_program("floor", notes, db))
        shutil.rmtree(notes / ".egghead", ignore_errors=True)
        ones.append(_program("ours", notes))
    floor, one = min(floors, key=_wall), min(ones, key=_wall)
    yield _row(f"{count}: floor, read all", floor["read"], "s")
    yield _row(f"{count}: floor, + libyaml over the frontmatter", floor["read"] + floor["yaml"], "s")
    yield _row(f"{count}: floor, + FTS5 inserts in one transaction", floor["wall"], "s")
    # CPU seconds: on a core of one's own that is the time it takes, and on a busy machine it is still the same work.
    goal = {f"{FIRST}x floor": one["spent"] <= FIRST * floor["spent"]}
    yield _row(f"{count}: first index, one core, CPU", one["spent"], "s", floor["spent"], **goal)
    yield _row(f"{count}: first index, one core", one["wall"], "s", floor["wall"])
    yield _row(f"{count}: first index, one core", count / one["wall"], "notes/s", count / floor["wall"])
    yield _row(f"{count}: first index, memory at its peak", one["peak"], "MiB", floor["peak"])
    size = (notes / ".egghead" / "index.db").stat().st_size / 2**20
    yield _row(f"{count}: index on disk", size, "MiB", db.stat().st_size / 2**20)
    return floor["wall"], one["wall"], one["spent"]


def _wall(found: dict[str, Any]) -> float:
    return float(found["wall"])


def _searched(name: str, times: dict[str, list[float]]) -> Iterator[Row]:
    raw, cut, ours = times["raw"], times["cut"], times["ours"]
    yield _row(f"{name}, raw FTS5, 20 rowids by bm25, p50", raw[0], "ms")
    yield _row(f"{name}, raw FTS5, 20 titles and snippet() by bm25, p50", cut[0], "ms", raw[0])
    if "any" in times:
        yield _row(f"{name}, raw FTS5, OR for AND, 20 rowids, p50", times["any"][0], "ms", raw[0])
    held = name.endswith(": two words")
    for floor, what in ((raw, "rowids"), (cut, "titles and snippet()")):
        goal = {f"{SEARCH:g}x raw {what}": ours[0] <= SEARCH * floor[0]} if held else {}
        yield _row(f"{name}, ours p50 (to raw {what})", ours[0], "ms", floor[0], **goal)
    yield _row(f"{name}, ours p95", ours[1], "ms", cut[1])
    yield _row(f"{name}, ours p50, the same words again", times["again"][0], "ms", cut[0])


def _node(base: Path, count: int, floor: float, one: float, spent: float) -> Iterator[Row]:
    """A whole node: what its user waits for."""
    found = running.measure(base, count)
    goal = {"faster than one core": found["first"] < one}
    yield _row(f"{count}: node, first index (start less that of an empty node)", found["first"], "s", floor, **goal)
    # What it takes on two cores that nobody else uses: the CPU of the busier process, whatever else runs here now.
    busier = max(found["spent"].values())
    goal = {"less than one core's CPU": busier < spent}
    yield _row(f"{count}: node, first index, CPU of the busier of store and index", busier, "s", spent, **goal)
    goal = {"under 2 s": found["warm"] < WARM} if count >= 100_000 else {}
    yield _row(f"{count}: node, warm start (less that of an empty node)", found["warm"], "s", **goal)
    small = count > 100_000 or found["memory"] < MEMORY
    yield _row(f"{count}: node, memory of store and index", found["memory"], "MiB", **{"under 300 MiB": small})
    seen = found["visible"]
    yield _row(f"{count}: node, a saved file is found, p50", seen[0], "ms")
    yield _row(f"{count}: node, a saved file is found, p95", seen[1], "ms", **{"under 50 ms": seen[1] < VISIBLE})
    goal = {"under 50 ms": found["update"] < VISIBLE}
    yield _row(f"{count}: node, `update` through the store, until it is indexed, p95", found["update"], "ms", **goal)
    bulk = count / max(0.01, found["first"])
    goal = {"half the bulk rate": found["burst"] >= bulk / 2}
    yield _row(f"{count}: node, {found['burst_files']} files at once", found["burst"], "notes/s", bulk, **goal)
    slow = found["burst_search"]
    yield _row(f"{count}: node, a search meanwhile, p95", slow, "ms", **{"under 100 ms": slow < 100})


def _others(count: int, limit: float) -> Iterator[Row]:
    """basic-memory on notes of its own, and ours on the same; where `limit` seconds are too few for it, on those it got to."""
    try:
        command = memories.program(download=True)
        with tempfile.TemporaryDirectory(prefix="eb-", dir="/tmp") as folder:
            base = Path(folder)
            shelf = Shelf()
            shelf.write(base / "notes", count)
            words = shelf.queries(1)["two words"][0]
            ours = _program("ours", base / "notes")
            theirs = memories.basic_memory(command, base / "notes", base, words, limit)
    except memories.Unavailable as error:
        yield {"name": f"basic-memory on {count} notes", "value": f"not measured: {error}", "unit": ""}
        return
    # Its rate falls as it goes on: where it was stopped, the ratio of the rates is less than that of the times would be.
    indexed, least = int(theirs["indexed"]), "" if theirs["indexed"] >= count else " at least"
    yield _row(f"basic-memory, notes of {count} that it indexed in {theirs['index']:.0f} s", indexed, "notes")
    slow = indexed / theirs["index"]
    yield _row("basic-memory, first index", slow, "notes/s")
    fast = count / ours["wall"]
    goal = {f"{FASTER:g}x faster": fast >= FASTER * slow}
    yield _row(f"ours, first index of {count} notes{least}", fast, "notes/s", slow or None, **goal)
    yield _row(f"basic-memory, memory at its peak{least}", theirs["peak"], "MiB")
    yield _row("ours, memory at its peak", ours["peak"], "MiB", theirs["peak"])
    yield _row(f"basic-memory, a search of {indexed} notes by its command, less its start", theirs["search"], "ms")
