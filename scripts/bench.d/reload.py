"""Edit an agent's note, save it, and its next message uses it: from the last write() to the new process ready.

The floor is what nobody can take away: the time that a save must be left alone before it counts (the debounce), and the start
of a process that imports nothing of ours, measured in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from egghead.client import Client
from egghead.client.chat import post
from egghead.paths import RuntimeDir
from egghead.processes.roster import SETTLE
from tests.e2e.node import Home, serving
from tests.llm.double import Double

MODEL = "model: anthropic/double\n"
NOTE = f"---\nclass: agent\ntitle: Scout\ntags: [woods]\n{MODEL}---\nYou know the woods. This is edition {{0}}.\n"
LIMIT = 300.0  # ms, p95, of an idle machine
PATIENCE = 20.0


def run() -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(prog="scripts/bench reload", description=__doc__)
    parser.add_argument("--saves", type=int, default=40, help="how many of each kind (default: 40)")
    parser.add_argument("--quick", dest="saves", action="store_const", const=10, help="10 of each kind")
    given = parser.parse_args(sys.argv[1:])
    base = Path(tempfile.mkdtemp(prefix="eh-", dir="/tmp"))
    try:
        records = base / "notes"
        (records / "agents").mkdir(parents=True)
        note = records / "agents" / "scout.md"
        note.write_text(NOTE.format(0), encoding="utf-8")
        home = Home(base / "home")
        with Double(["Yes."]) as double:
            home.configure(double.config())
            with serving(home, records):
                found, asked = asyncio.run(_all(base, note, double, given.saves))
    finally:
        shutil.rmtree(base, ignore_errors=True)
    least = SETTLE * 1000 + _process()
    rows = []
    for kind, times in found.items():
        middle, late = _middle_and_late(times)
        rows.append(_row(f"{kind}, write() to the new process ready, p50 of {len(times)}", middle, least))
        rows.append(_row(f"{kind}, the same, p95", late, least) | {"goals": {f"{LIMIT:.0f} ms": late <= LIMIT}})
    middle, late = _middle_and_late(asked)
    name = "write() to the model request of a message that is posted when the new process is ready"
    rows.append(_row(f"{name}, p50 of {len(asked)}", middle, least))
    rows.append(_row(f"{name}, p95", late, least))
    return rows


def _middle_and_late(times: list[float]) -> tuple[float, float]:
    ordered = sorted(times)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]


async def _all(base: Path, note: Path, double: Double, saves: int) -> tuple[dict[str, list[float]], list[float]]:
    place = RuntimeDir(next((base / "home" / "run" / "egghead").iterdir()))
    found: dict[str, list[float]] = {}
    async with await Client.connect(place, json.loads(place.node.read_text())) as client:
        ups = _ups(client)
        await asyncio.wait_for(anext(ups), PATIENCE)
        edition = 0
        for kind, save in SAVES.items():
            for _ in range(saves):
                edition += 1
                save(note, NOTE.format(edition))
                written = time.perf_counter()
                await asyncio.wait_for(anext(ups), PATIENCE)
                found.setdefault(kind, []).append((time.perf_counter() - written) * 1000)
        return found, await _next_messages(client, ups, note, double, saves)


async def _next_messages(
    client: Client, ups: AsyncIterator[int], note: Path, double: Double, saves: int
) -> list[float]:
    """Save, say something when the new process is there, and see its model asked with what was saved."""
    took: list[float] = []
    for number in range(saves):
        _in_place(note, NOTE.format(f"m{number}"))
        written = time.perf_counter()
        await asyncio.wait_for(anext(ups), PATIENCE)
        seen = len(double.asked)
        await post(client, "default", f"@scout number {number}", "ada", deadline=PATIENCE)
        while len(double.asked) <= seen:
            await asyncio.sleep(0.0005)  # another thread's list
        took.append((time.perf_counter() - written) * 1000)
        assert f"This is edition m{number}." in double.asked[-1].system
    return took


async def _ups(client: Client) -> AsyncIterator[int]:
    """The incarnations of the agent, each as it comes up."""
    async for change in client.peer.monitor("agents/scout"):
        if change.up and not change.snapshot_end:
            yield change.incarnation


def _in_place(note: Path, text: str) -> None:
    with open(note, "w", encoding="utf-8") as file:
        file.write(text)


def _by_rename(note: Path, text: str) -> None:
    draft = note.with_name(".scout.md.swp")
    draft.write_text(text, encoding="utf-8")
    draft.replace(note)


def _three_times(note: Path, text: str) -> None:
    for part in ("a", "b", ""):
        _in_place(note, text + part)


SAVES: dict[str, Callable[[Path, str], None]] = {
    "saved in place": _in_place,
    "saved by rename": _by_rename,
    "saved three times at once": _three_times,
}


def _process(times: int = 15) -> float:
    """Milliseconds of a process that does nothing."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(["/bin/true"], check=True)
        found.append((time.perf_counter() - began) * 1000)
    return statistics.median(found)


def _row(name: str, value: float, floor: float) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": "ms", "floor": floor, "ratio": value / floor}
