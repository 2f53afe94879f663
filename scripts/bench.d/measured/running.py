"""A whole node on generated notes, as its user meets it: `egghead serve` from outside, and a client on its bus."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from egghead.client import Client
from egghead.paths import RuntimeDir
from tests.e2e.node import Home, Node

PATIENCE = 1800.0  # seconds for a first index
SAVES, UPDATES = 25, 15
LOOK = 0.002  # seconds between two looks whether something is found


class PatientNode(Node):
    def _read_ready(self, timeout: float = PATIENCE) -> str:
        return super()._read_ready(timeout)


@contextmanager
def _serving(base: Path, notes: Path) -> Iterator[tuple[PatientNode, float]]:
    """A node, and the seconds from its command to READY."""
    home = base / "home"
    shutil.rmtree(home, ignore_errors=True)
    began = time.perf_counter()
    node = PatientNode(Home(home), notes)
    try:
        yield node, time.perf_counter() - began
    finally:
        node.stop(120)


def measure(base: Path, count: int) -> dict[str, Any]:
    """`first`, `warm` (s, less the start of an empty node), `spent` (CPU s of a first index, by process, less the same),
    `memory` (MiB, proportional), `visible` [p50, p95] and `update` p95 (ms), `burst` (notes/s), `burst_search` (p95 ms),
    `burst_files`."""
    notes, empty = base / "notes", base / "empty"
    empty.mkdir()
    nothing, idle = min((_start(base, empty) for _ in range(2)), key=lambda start: start[0])
    seconds, busy = _start(base, notes)
    first = max(0.001, seconds - nothing)
    spent = {name: busy[name] - idle[name] for name in busy}
    burst = min(10_000, count)
    beside = base / "beside"  # on the same disk, so that they arrive as by one `git checkout`
    from shelf import Shelf

    Shelf(11).write(beside, burst, first=count - count % 1000 + 1000)
    with _serving(base, notes) as (node, began):
        found = asyncio.run(_talk(base, node, notes, beside, burst))
    return {"first": first, "warm": max(0.001, began - nothing), "spent": spent, "burst_files": burst, **found}


def _start(base: Path, notes: Path) -> tuple[float, dict[str, float]]:
    with _serving(base, notes) as (node, seconds):
        return seconds, {name: _spent(node.processes()[name]["pid"]) for name in ("store", "index")}


def _spent(pid: int) -> float:
    """CPU seconds of a process until now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _talk(base: Path, node: PatientNode, notes: Path, beside: Path, burst: int) -> dict[str, Any]:
    place = RuntimeDir(next((base / "home" / "run" / "egghead").iterdir()))
    queries = json.loads((base / "queries").read_text(encoding="utf-8"))
    async with await Client.connect(place, json.loads(place.node.read_text())) as client:
        for words in queries["two words"]:
            await client.call("index", "search", query=" ".join(words) + " ")
        visible = sorted([await _saved(client, notes, number) for number in range(SAVES)])
        updates = []
        record = (await client.call("store", "create", title="One more", body="first"))["record"]
        for number in range(UPDATES):
            began = time.perf_counter()
            await client.call("store", "update", id=record["id"], changes={"body": f"word{number}"})
            updates.append((time.perf_counter() - began) * 1000)
        memory = sum(_proportional(node, name) for name in ("store", "index"))
        rate, searches = await _burst(client, notes, beside, burst, queries["two words"])
    return {
        "visible": [statistics.median(visible), _late(visible)],
        "update": _late(updates),
        "memory": memory,
        "burst": rate,
        "burst_search": _late(searches),
    }


async def _saved(client: Client, notes: Path, number: int) -> float:
    """Milliseconds from an editor's save by rename to the first search that finds what it wrote."""
    word = f"zebra{number}quagga"
    path = notes / "f0" / f"n{number + 1}.md"
    text = path.read_text(encoding="utf-8") + f"\n{word}\n"
    draft = path.with_name(f".{path.name}.swp")
    draft.write_text(text, encoding="utf-8")
    began = time.perf_counter()
    draft.replace(path)
    while True:
        # The words of earlier saves are a slip of the hand away from this one, and are found as such.
        hits = await client.call("index", "search", query=word + " ", limit=1)
        if hits and word in hits[0]["snippet"]:
            return (time.perf_counter() - began) * 1000
        await asyncio.sleep(LOOK)


async def _burst(
    client: Client, notes: Path, beside: Path, count: int, queries: list[list[str]]
) -> tuple[float, list[float]]:
    """Folders full of notes appear: notes indexed in a second, and milliseconds of the searches made meanwhile."""
    wanted = (await client.call("index", "stats"))["notes"] + count
    searches: list[float] = []
    began = time.perf_counter()
    for folder in sorted(beside.iterdir()):
        os.rename(folder, notes / folder.name)
    number = 0
    while True:
        asked = time.perf_counter()
        await client.call("index", "search", query=" ".join(queries[number % len(queries)]) + " ", timeout=60)
        searches.append((time.perf_counter() - asked) * 1000)
        number += 1
        if number % 10 == 0 and (await client.call("index", "stats", timeout=60))["notes"] >= wanted:
            return count / (time.perf_counter() - began), searches
        await asyncio.sleep(0.01)


def _late(times: list[float]) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * 0.95))]


def _proportional(node: PatientNode, name: str) -> float:
    pid = node.processes()[name]["pid"]
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0
