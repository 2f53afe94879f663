"""What supervision costs: kill to ready again, many children to ready, memory of an idle child, the jail.

`run()` gives rows for the frame. The floor of a time is a raw loop that forks a child, which
starts an asyncio loop and sends a byte. Each
measurement runs a real root with a real zygote in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
KILLS = 100


def run() -> list[dict[str, Any]]:
    """Every row: {name, value, unit, floor, ratio}; floor and ratio are None where nothing compares."""
    floor = fork_floor()
    rows: list[dict[str, Any]] = []

    def add(name: str, value: float, unit: str, least: float | None = None) -> None:
        ratio = round(value / least, 2) if least else None
        rows.append(
            {"name": name, "value": round(value, 3), "unit": unit, "floor": least and round(least, 3), "ratio": ratio}
        )

    for confined in (False, True):
        word = "confined" if confined else "open"
        few = measure(20, confined, kills=KILLS)
        add(f"supervisor: kill to ready, {word}, p50 of {KILLS}, 20 children", few["kill_p50"], "ms", floor)
        add(f"supervisor: kill to ready, {word}, p99", few["kill_p99"], "ms", floor)
        add(f"supervisor: private memory of an idle child, {word}", few["private"], "MiB")
        add(f"supervisor: PSS of an idle child, {word}", few["pss"], "MiB")
        many = measure(100, confined, kills=0)
        add(f"supervisor: 100 children to all ready, {word}", many["all_ready"], "ms", 100 * floor)
        add(f"supervisor: RSS of the root, 100 children, {word}", many["root_rss"], "MiB")
    return rows


def fork_floor() -> float:
    """Milliseconds to fork a Python child that starts an asyncio loop and sends a byte from it, p50 of 100.

    The same work as the measured child's, with nobody to supervise it.
    """
    code = """
import asyncio, gc, os, statistics, time
async def ready(fd):
    os.write(fd, b"x")
times = []
gc.collect(); gc.freeze()
for _ in range(100):
    read, write = os.pipe()
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        asyncio.run(ready(write))
        os._exit(0)
    os.read(read, 1)
    times.append(time.perf_counter() - began)
    os.waitpid(pid, 0); os.close(read); os.close(write)
print(statistics.median(times) * 1000)
"""
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def measure(children: int, confined: bool, kills: int) -> dict[str, float]:
    """Run a tree of idle asyncio children in a fresh process and give its figures."""
    command = [sys.executable, "-m", "supervised_tree", str(children), str(int(confined)), str(kills)]
    environment = os.environ | {"PYTHONPATH": f"{HERE.parents[2]}:{HERE.parent / 'measured'}"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    if done.returncode:
        raise RuntimeError(f"the measured tree failed:\n{done.stdout}{done.stderr}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


if __name__ == "__main__":
    for row in run():
        print(row)
