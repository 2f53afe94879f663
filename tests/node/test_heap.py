"""Freed memory goes back to the kernel at a quiet moment, and not before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# Holes below what is still in use: the top of the heap alone would be given back by itself.
PROGRAM = """
import asyncio, json, os
from egghead.heap import Heap, give_back

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

def grow():
    pieces = [b"x" * (2000 + n % 7) for n in range(20_000)]
    return pieces[::1000]

async def main():
    found, busy, calls = {}, True, 0
    def resting():
        nonlocal calls
        calls += 1
        return not busy
    heap = Heap(resting, quiet=0.05)
    found["begin"], kept = resident(), grow()
    found["grown"] = resident()
    heap.used()
    while not calls:
        await asyncio.sleep(0.01)
    found["busy"], busy = resident(), False
    for _ in range(50):
        heap.used()
    while calls < 2:
        await asyncio.sleep(0.01)
    found["rested"] = resident()
    await asyncio.sleep(0.2)
    found["calls"], found["kept"] = calls, len(kept)
    heap.used()
    heap.close()
    print(json.dumps(found))

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="another C library keeps its heap as it likes")
def test_what_was_freed_goes_back_when_nothing_goes_on() -> None:
    """40 MiB with holes stay while there is work, and go at the first quiet moment; fifty ends of work are one look."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=50, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["grown"] > found["begin"] + 25 and found["busy"] > found["begin"] + 25, found
    assert found["rested"] < found["begin"] + 10, found
    assert (found["calls"], found["kept"]) == (2, 20)
