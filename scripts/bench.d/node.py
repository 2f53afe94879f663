"""A whole node as its user feels it: time to READY, memory of an idle agent, `--help`, first words of an answer."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.conftest import FOAM
from tests.e2e.node import COMMAND, Home, serving

NOTES = 100
AGENT = "---\nclass: agent\ntitle: {0}\ntags: [{0}]\n---\nYou know about {0}.\n"


def run() -> list[dict[str, Any]]:
    base = Path(tempfile.mkdtemp(prefix="eh-", dir="/tmp"))
    try:
        return [*_node(base), *_help()]
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _node(base: Path) -> list[dict[str, Any]]:
    records = Path(shutil.copytree(FOAM, base / "notes"))
    (records / "agents").mkdir()
    for name in ("scout", "ranger"):
        (records / "agents" / f"{name}.md").write_text(AGENT.format(name), encoding="utf-8")
    for n in range(NOTES - sum(1 for _ in records.rglob("*.md"))):
        (records / f"more-{n}.md").write_text(f"# More {n}\n\nNote number {n}.\n", encoding="utf-8")
    floor = _seconds([sys.executable, "-c", "import zmq, sqlite3, asyncio, yaml"])
    rows = []
    for kind in ("first start", "start with an index"):
        began = time.perf_counter()
        with serving(Home(base / "home"), records) as node:
            ready = time.perf_counter() - began
            rows.append(_row(f"READY, 100 notes, 3 agents, {kind}", ready, "s", floor, limit=3.0))
            if kind == "first start":
                continue
            rows += _memory(node)
            rows += asyncio.run(_first_words(base))
    return rows


def _memory(node: Any) -> list[dict[str, Any]]:
    rows = []
    for name, process in sorted(node.processes().items()):
        private, pss = _smaps(process["pid"])
        limit = 5.0 if name.startswith("agents/") else None
        rows.append(_row(f"private memory of idle {name}", private, "MiB", None, limit=limit))
        rows.append(_row(f"PSS of idle {name}", pss, "MiB", None))
    bare = subprocess.Popen([sys.executable, "-c", "import time; print(1, flush=True); time.sleep(30)"], stdout=-1)
    assert bare.stdout is not None
    bare.stdout.readline()
    rows.append(_row("private memory of a bare Python", _smaps(bare.pid)[0], "MiB", None))
    bare.kill()
    bare.communicate()
    return rows


def _smaps(pid: int) -> tuple[float, float]:
    """(private, proportional) memory in MiB; 0 where the kernel does not show it."""
    sums = {"Private_Clean": 0, "Private_Dirty": 0, "Pss": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        key, _, rest = line.partition(":")
        if key in sums:
            sums[key] = int(rest.split()[0])
    return (sums["Private_Clean"] + sums["Private_Dirty"]) / 1024, sums["Pss"] / 1024


async def _first_words(base: Path) -> list[dict[str, Any]]:
    from egghead.client import Client
    from egghead.client.chat import converse
    from egghead.paths import RuntimeDir

    place = RuntimeDir(next((base / "home" / "run" / "egghead").iterdir()))
    first, whole = [], []
    async with await Client.connect(place, json.loads(place.node.read_text())) as client:
        for question in ("How do I publish with GitHub Pages?", "What is a placeholder?", "Can I embed a note?") * 3:
            began, seen = time.perf_counter(), None
            async for said in converse(client, "default", question, "bench"):
                if seen is None and said.entry is None:
                    seen = time.perf_counter() - began
            first.append(seen if seen is not None else float("inf"))
            whole.append(time.perf_counter() - began)
    return [
        _row("first words of an answer, median", statistics.median(first), "s", None, limit=0.3),
        _row("first words of an answer, worst", max(first), "s", None),
        _row("whole round, median", statistics.median(whole), "s", None),
    ]


def _help() -> list[dict[str, Any]]:
    floor = _seconds([sys.executable, "-c", "pass"])
    took = _seconds([COMMAND[0], "--help"])
    return [_row("egghead --help above python -c pass", took - floor, "s", floor, limit=0.15)]


def _seconds(command: list[str], times: int = 7) -> float:
    found = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=os.environ)
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def _row(name: str, value: float, unit: str, floor: float | None, limit: float | None = None) -> dict[str, Any]:
    ratio = value / floor if floor else None
    return {"name": name, "value": value, "unit": unit, "floor": floor, "ratio": ratio, "limit": limit}
