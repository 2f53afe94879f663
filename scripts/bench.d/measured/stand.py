"""What every measured program shares: commands on standard input, answers on standard output, sizes of processes.

One JSON object a line in, one out: {"do": "start" | "kill" | "burst" | "memory" | "messages" | "stop", ...}. End of input
means that whoever measures is gone: the program ends everything it started, and itself.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

PAUSE = 0.015  # seconds between one restart and the next kill, the same for all
MIB = 1 << 20


def say(answer: Any) -> None:
    """Answer a command."""
    print(json.dumps(answer), flush=True)


def serve(commands: dict[str, Callable[..., Any]], end: Callable[[], None]) -> None:
    """Carry out commands until `stop` or the end of input; then `end`."""
    try:
        for line in sys.stdin:
            command = json.loads(line)
            name = command.pop("do")
            if name == "stop":
                break
            say(commands[name](**command))
    finally:
        end()


def memory(pids: Iterable[int]) -> dict[str, float] | None:
    """Medians over these processes: {private and pss in MiB, cpu in ms}. None where the kernel does not let us look."""
    sizes = [(*size, 1000 * cpu(pid)) for pid in pids if (size := _memory(pid)) is not None]
    if not sizes:
        return None
    return {key: statistics.median(column) for key, *column in zip(("private", "pss", "cpu"), *sizes, strict=True)}


def _memory(pid: int) -> tuple[float, float] | None:
    fields = {}
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:  # gone, or confined and not ours to look at
        return None
    for line in lines:
        name, _, rest = line.partition(":")
        fields[name] = int(rest.split()[0]) / 1024
    return fields["Private_Clean"] + fields["Private_Dirty"], fields["Pss"]


def rss(pid: int) -> float:
    """Resident memory in MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


def cpu(pid: int) -> float:
    """Seconds of CPU that a process and its threads have used, finer than the clock ticks of `stat`."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    return total / 1e9
