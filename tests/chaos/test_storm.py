"""A short storm over a real node: whatever dies, hangs or fills up, the guarantees of the rooms hold."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.storm import FAULTS

ROOT = Path(__file__).parents[2]


@pytest.mark.chaos
@pytest.mark.timeout(240)
def test_a_short_storm_breaks_no_guarantee() -> None:
    """`scripts/chaos` for fifteen seconds: faults came, messages went through, and nothing was lost or doubled."""
    own = ["unshare", "--mount"] if os.geteuid() == 0 and shutil.which("unshare") else []
    command = [*own, sys.executable, "-m", "tests.chaos.storm", "--seconds", "15", "--seed", "11", "--pace", "1"]
    env = os.environ | ({"EGGHEAD_CHAOS_DISK": "own"} if own else {})
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=220)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = re.search(r"faults (\d+)", done.stdout), re.search(r"messages (\d+) acknowledged", done.stdout)
    assert all(figure is not None and int(figure[1]) >= 5 for figure in found), done.stdout
    assert "lost 0, doubled 0, unfinished turns 0, broken guarantees 0" in done.stdout


def test_the_storm_has_every_fault_that_is_promised() -> None:
    """Kills, stops, full and slow disks, edits of records, and the end of the whole node are among the faults."""
    names = {fault.__name__ for fault in FAULTS}
    assert names >= {"kill", "hang", "fill_disk", "slow_disk", "edit_agent", "trash_agent", "burst", "end_node"}
    assert all(weight > 0 and fault.__doc__ for fault, weight in FAULTS.items())
