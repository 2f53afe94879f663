"""500 kills of bus, peers and zygote under load: no hang, no ghost call, no stale speaker."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.chaos.peers import DEADLINE
from tests.e2e.node import gone, until, workers

KILLS = 500
ZYGOTE_KILLS = 20
RATE = 12.0  # kills a second
ROOT = Path(__file__).parents[2]


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_500_kills(short_dir: Path) -> None:
    """Every call ends, once; none runs after its caller was told that it will not; nobody speaks after his successor."""
    with (short_dir / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.peers", str(short_dir)], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors
        )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"READY\n", (short_dir / "stderr").read_text()[-4000:]
        killed = _kill(process, short_dir / "status.json", random.Random(7))
        settled = time.monotonic()
        until("calls are answered again", lambda: _answered_since(short_dir / "diary", settled), 20)
    finally:
        left = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
        process.stdout.close()
    gone(left)
    assert code == 0, (short_dir / "stderr").read_text()[-4000:]
    assert sum(killed.values()) == KILLS and killed["zygote"] == ZYGOTE_KILLS
    _hold(_diaries(short_dir / "diary"))


def _kill(process: subprocess.Popen[bytes], status: Path, choice: random.Random) -> Counter[str]:
    killed: Counter[str] = Counter()
    order = ["zygote"] * ZYGOTE_KILLS + ["worker"] * (KILLS - ZYGOTE_KILLS)
    choice.shuffle(order)
    for kind in order:
        time.sleep(1 / RATE)  # the rate of faults, which is what is being bounded
        assert process.poll() is None

        def strike(kind: str = kind) -> str | None:
            victim = _zygote(process.pid, status) if kind == "zygote" else _worker(status, choice)
            if victim is None:
                return None
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim[1], signal.SIGKILL)
                return victim[0]
            return None

        killed[until(f"a {kind} to kill", strike, 20)] += 1
    return killed


def _worker(status: Path, choice: random.Random) -> tuple[str, int] | None:
    alive = [w for w in workers(json.loads(status.read_text())["tree"]) if w["state"] == "running" and w["pid"]]
    if not alive:
        return None
    # The bus is what everybody depends on: a third of the kills are its.
    chosen = next((w for w in alive if w["name"] == "bus"), None) if choice.random() < 1 / 3 else None
    chosen = chosen or choice.choice(alive)
    return chosen["name"], chosen["pid"]


def _zygote(root: int, status: Path) -> tuple[str, int] | None:
    """The process between the root and the workers that forks them: the parent of a worker."""
    for worker in workers(json.loads(status.read_text())["tree"]):
        if worker["state"] == "running" and worker["pid"]:
            with contextlib.suppress(psutil.Error):
                parent = psutil.Process(worker["pid"]).parent()
                if parent is not None and parent.pid != root and root in [p.pid for p in parent.parents()]:
                    return "zygote", parent.pid
    return None


def _diaries(directory: Path) -> dict[str, list[dict[str, Any]]]:
    return {p.stem: [json.loads(line) for line in p.read_text().splitlines()] for p in sorted(directory.iterdir())}


def _answered_since(directory: Path, moment: float) -> bool:
    """Every living caller got answers from all echoes after `moment`."""
    good = Counter(
        name.rsplit("-", 1)[0]
        for name, lines in _diaries(directory).items()
        for line in lines
        if line["what"] == "answered" and line["t"] > moment
    )
    return len(good) == 3 and min(good.values()) > 20


def _hold(diaries: dict[str, list[dict[str, Any]]]) -> None:
    executed: dict[str, list[float]] = {}
    for lines in diaries.values():
        for line in lines:
            if line["what"] == "executed":
                executed.setdefault(line["id"], []).append(line["t"])
    twice = [id for id, times in executed.items() if len(times) > 1]
    assert not twice, f"executed more than once: {twice[:5]}"
    asked = answered = down = 0
    for name, lines in diaries.items():
        if not name.startswith("caller"):
            continue
        open_: dict[str, float] = {}
        newest: dict[str, int] = {}
        for line in lines:
            if line["what"] == "asked":
                open_[line["id"]] = line["t"]
                asked += 1
            elif line["what"] == "heard":
                assert line["incarnation"] >= newest.get(line["by"], 0), f"{name}: a stale {line['by']} spoke"
                newest[line["by"]] = line["incarnation"]
            else:
                began = open_.pop(line["id"])
                took = line["t"] - began
                assert took < DEADLINE + 1.0, f"{name}: {line} took {took:.1f} s"
                assert line["what"] != "error", line
                if line["what"] == "answered":
                    assert line["right"] and line["id"] in executed
                    answered += 1
                if line["what"] == "down":
                    down += 1
                    late = [t for t in executed.get(line["id"], []) if t > line["t"]]
                    assert not late, f"ghost: {line['id']} was executed {late[0] - line['t']:.3f} s after its PeerDown"
        # Only the call that was in flight when this caller was killed may be without an end.
        assert len(open_) <= 1, (name, open_)
    assert answered > 1000 and down > 10, (asked, answered, down)
