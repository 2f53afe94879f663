"""Processes that came to us because their parent died: finding them and ending them.

Used by the zygote and, where the zygote is no PID 1, by the root. Whom to spare is the caller's to say.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection


def children() -> list[int]:
    """Pids of the children of this process, zombies too. Raises OSError where /proc shows another PID namespace."""
    pid = os.getpid()
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return [int(child) for child in file.read().split()]
    except FileNotFoundError:
        if os.readlink("/proc/self") != str(pid):
            raise
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and _parent(name) == pid]  # no PROC_CHILDREN


def count() -> int:
    """How many children this process has, zombies too; without looking at each. Raises OSError as `children` does."""
    pid = os.getpid()
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return file.read().count(b" ")  # each pid is followed by one
    except FileNotFoundError:
        return len(children())


def _parent(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def kill_orphans(spare: Collection[int], seconds: float = 2.0) -> int:
    """SIGKILL and reap every child but those to spare, and what then comes to us in turn. Returns how many."""
    deadline = time.monotonic() + seconds
    killed = 0
    while time.monotonic() < deadline:
        pids = [pid for pid in children() if pid not in spare]
        if not pids:
            break
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        killed += len(pids)
    return killed
