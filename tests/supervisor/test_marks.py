"""The marks by which orphans are known belong to one child at a time."""

from __future__ import annotations

import json
import subprocess
import sys

# Children that die at once, whose deaths are not told yet: the kernel would give the number of each to the next but one.
PROGRAM = """
import json, os
from supervisor.zygote.reaping import Life, Lives

lives = Lives()
given, marks = set(), []
for number in range(12):
    marks.append(lives.new_mark(given))
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    if number % 2:
        lives.add(pid, Life(number, marks[-1]))
    else:
        given.add(marks[-1])
descriptors = len(os.listdir("/proc/self/fd"))
told = len(lives.reap())
print(json.dumps({"marks": marks, "told": told, "again": lives.new_mark(), "descriptors": descriptors}))
"""


def test_no_mark_is_given_to_two() -> None:
    """Not while the death of the one that had it is untold, nor twice in one batch; afterwards it is free again."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=True)
    found = json.loads(done.stdout)
    if any(found["marks"]):  # else this user may make no namespace, and nobody has a mark
        assert len(set(found["marks"])) == len(found["marks"])
    assert found["told"] == 6 and (found["again"] in found["marks"] or not found["again"])
    assert found["descriptors"] < 8  # none is kept
