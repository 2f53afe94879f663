"""The benchmark of the supervisor: that it runs, says what it promises to say, and leaves nothing. Not how fast."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections import defaultdict
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "scripts" / "bench.py"
COMMAND = [sys.executable, str(BENCH), "supervisor", "--smoke", "--json"]
MARK = "XDG_BENCH_TEST"  # this prefix also reaches the zygote, and so every child


def strays(mark: str) -> list[str]:
    """Command lines of processes that were started with this mark."""
    found = []
    for pid in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if pid.isdigit() and f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace"))
    return found


def test_ours_stands_beside_the_floor_and_the_forkserver_and_leaves_nothing() -> None:
    """Each measure of a run has a row of ours, of the floor and of the forkserver, with ratio and goals; no process stays."""
    mark = uuid.uuid4().hex
    done = subprocess.run(COMMAND, capture_output=True, text=True, env=os.environ | {MARK: mark}, timeout=50)
    assert done.returncode == 0, done.stderr
    assert strays(mark) == []
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    compared = defaultdict(dict)
    for row in rows:
        if row.get("floor") is not None:
            compared[row["measure"]][row["who"]] = row
    assert len(compared) >= 16
    for measure, by_who in compared.items():
        expected = {"floor", "forkserver", "ours, open", "ours, confined"}
        if os.geteuid() and ("memory" in measure or "PSS" in measure or "CPU" in measure):
            expected.remove("ours, confined")  # an ordinary user may not look into it
        assert expected <= by_who.keys(), measure
        for who, row in by_who.items():
            assert row["value"] > 0, (measure, who)
            assert row["ratio"] == pytest.approx(row["value"] / row["floor"], abs=0.02), (measure, who)
            promised = who.startswith("ours") and not measure.startswith("CPU")
            goals = {"1.5x floor", "ahead of forkserver"} if promised else set()
            assert row["goals"].keys() == goals, (measure, who)
            if goals:
                assert row["goals"]["ahead of forkserver"] == (row["value"] < by_who["forkserver"]["value"])
    names = " ".join(row["name"] for row in rows)
    for part in (
        "idle CPU of the root",
        "idle CPU of the zygote",
        "RSS of the root",
        "load average at the end",
        "spares",
    ):
        assert part in names


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_an_interrupted_bench_leaves_nothing(number: signal.Signals) -> None:
    """Whatever ends the bench in the middle of a measurement, all that it had started is gone a moment later."""
    mark = uuid.uuid4().hex
    with subprocess.Popen(
        COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {MARK: mark}
    ) as bench:
        assert bench.stdout is not None
        while b"p50" not in (line := bench.stdout.readline()):  # by then trees are running
            assert line, bench.stderr and bench.stderr.read()
        assert len(strays(mark)) > 3
        bench.send_signal(number)
        bench.communicate(timeout=20)
    assert bench.returncode != 0
    deadline = time.monotonic() + 10
    while left := strays(mark):
        assert time.monotonic() < deadline, left
        select.select([], [], [], 0.05)
