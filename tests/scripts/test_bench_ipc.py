"""The benchmark of the bus: that it runs, has its rows, listens on loopback only, and leaves nothing. Not how fast."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import psutil
import pytest

from tests.scripts.test_bench import BENCH, MARK, strays

COMMAND = [sys.executable, str(BENCH), "ipc", "--smoke", "--json"]
ERLANG = ("erl", "escript", "epmd")
CURVE = {
    "call, p50",
    "call, p99",
    "call, paced p50",
    "call, paced p99",
    "calls a second, 10 at once",
    "calls a second, 100 at once",
    "CPU of the caller for a call",
    "stream of 50 B chunks",
    "stream of 50 kB chunks",
    "events to 10 subscribers",
    "latency of an event to 10 subscribers, p50",
    "latency of an event to 10 subscribers, p99",
    "CPU of a reader for an event to 10 subscribers",
}


def listening(bench: int) -> set[str]:
    """Addresses at which children of this process listen now."""
    found = set()
    for child in psutil.Process(bench).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {one.laddr.ip for one in child.net_connections("inet") if one.status == "LISTEN"}
    return found


def test_curve_stands_beside_plain_and_erlang_is_told_and_nothing_stays(tmp_path: Path) -> None:
    """A run has each row over CURVE with its ratio to plain, and rows of Erlang; it listens on loopback, and nothing stays."""
    mark = uuid.uuid4().hex
    environment = os.environ | {MARK: mark, "HOME": str(tmp_path)}
    heard: set[str] = set()
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as bench:
        try:
            while bench.poll() is None:
                heard |= listening(bench.pid)
                select.select([], [], [], 0.1)
        finally:
            bench.terminate()
        out, err = bench.communicate(timeout=20)
    assert (bench.returncode, err) == (0, "")
    assert heard and heard <= {"127.0.0.1", "::1"}
    assert strays(mark) == []
    assert list(tmp_path.iterdir()) == []  # also no cookie
    rows = {row["name"]: row for row in map(json.loads, out.splitlines())}
    beside = {name.removeprefix("CURVE beside plain: "): row for name, row in rows.items() if name.startswith("CURVE")}
    assert beside.keys() == CURVE
    for name, row in beside.items():
        more = row["unit"].endswith("/s")
        assert min(row["value"], row["floor"]) > 0, name
        assert row["ratio"] == pytest.approx(
            row["floor"] / row["value"] if more else row["value"] / row["floor"], abs=0.02
        ), name
        assert row.get("limit") == (None if "CPU" in name or "p99" in name else "1.3"), name
    erlang = {name: row["value"] for name, row in rows.items() if "Erlang" in name}
    if all(map(shutil.which, ERLANG)):
        assert len(erlang) == 4
        assert min(erlang.values()) > 0
    else:
        assert "not measured" in erlang["call between two Erlang nodes"]


def test_without_erlang_a_row_says_so_and_a_killed_bench_leaves_nothing(tmp_path: Path) -> None:
    """Where `erl` is missing a row says that and what to install; after a SIGKILL all that was started ends by itself."""
    mark = uuid.uuid4().hex
    short = tempfile.mkdtemp(prefix="eb-", dir="/tmp")  # what is killed cannot tidy up; short: it holds unix sockets
    environment = os.environ | {MARK: mark, "PATH": str(tmp_path), "TMPDIR": short}
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, text=True, env=environment) as bench:
        assert bench.stdout is not None
        row = next(row for row in map(json.loads, bench.stdout) if "Erlang" in row["name"])
        deadline = time.monotonic() + 20
        while len(strays(mark)) < 3 and time.monotonic() < deadline:  # the fan-out begins
            select.select([], [], [], 0.02)
        bench.kill()
    assert row["value"] == "not measured: no erl, escript, epmd; on Debian and Ubuntu: apt-get install erlang-base"
    deadline = time.monotonic() + 10
    while left := strays(mark):
        assert time.monotonic() < deadline, left
        select.select([], [], [], 0.05)
    shutil.rmtree(short)
