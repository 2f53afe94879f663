"""Watching children that are up: heartbeats by shared memory, memory by /proc. Two timers for the whole tree.

Here belong the slots, the sampling and the limits. A child over a limit is killed through the root, with the reason.
"""

from __future__ import annotations

import os
import struct
import time
from typing import TYPE_CHECKING

from supervisor.process import Process
from supervisor.status import pss, statm

if TYPE_CHECKING:
    from supervisor.root import Root

PAGE = os.sysconf("SC_PAGE_SIZE")
MEMORY_INTERVAL = 1.0
MEMORY_SHARE = 0.002  # of one core, for looking at memory, however large the tree
NOTEWORTHY = 1 << 18  # bytes of change that status is written for
PSS_EACH_ROUND = 4  # PSS costs the kernel a walk over the whole process
PSS_FIRST = 32  # so many that have none yet: else a page of `tree` shows two kinds of figures for a while


class Sampler:
    """One page of shared memory for each child with a heartbeat, and a look at memory now and then."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.fd = os.memfd_create("egghead-beats", os.MFD_CLOEXEC)
        self._size = 0
        self._free: list[int] = []
        self._beating: dict[int, Process] = {}
        self._beat_timer: int | None = None
        self._memory_timer: int | None = None
        self._turn = 0

    def slot(self, process: Process) -> tuple[int, int] | None:
        """(file, page) for a child with a heartbeat; None for one without."""
        if process.spec.heartbeat is None:
            return None
        taken = self.take_slot()
        process.slot = taken[1]
        return taken

    def take_slot(self) -> tuple[int, int]:
        """(file, page) that belongs to the caller until it is given back."""
        if not self._free:
            self._free = list(range(self._size, self._size + 64))[::-1]
            self._size += 64
            os.ftruncate(self.fd, self._size * PAGE)
        page = self._free.pop()
        os.pwrite(self.fd, b"\0" * 8, page * PAGE)  # the one before must not beat for this one
        return self.fd, page

    def give_slot(self, page: int) -> None:
        """The page may be given to another."""
        self._free.append(page)

    def watch(self, process: Process) -> None:
        """The child is up: from now on it has to beat, and its memory is looked at."""
        if process.slot is not None:
            self._beating[process.number] = process
            if self._beat_timer is None:
                self._arm_beats()
        if self._memory_timer is None:
            self._memory_timer = self.root.timers.add(time.monotonic() + MEMORY_INTERVAL / 2, self._memory)

    def release(self, process: Process) -> None:
        """The child is gone; its slot can be given to another."""
        self._beating.pop(process.number, None)
        if process.slot is not None:
            self.give_slot(process.slot)
            process.slot = None

    def close(self) -> None:
        os.close(self.fd)

    # ---- heartbeats ----------------------------------------------------------------------------------------------

    def _arm_beats(self) -> None:
        shortest = min((p.spec.heartbeat or 1.0 for p in self._beating.values()), default=None)
        self._beat_timer = None
        if shortest is not None:
            interval = min(5.0, max(0.02, shortest / 4))
            self._beat_timer = self.root.timers.add(time.monotonic() + interval, self._beats)

    def _beats(self) -> None:
        now = time.monotonic()
        for process in list(self._beating.values()):
            limit = process.spec.heartbeat
            if limit is None or process.slot is None or process.stop is not None or process.dead or process.lost:
                continue
            beat = struct.unpack("Q", os.pread(self.fd, 8, process.slot * PAGE))[0] / 1e9
            if now - max(beat, process.ready_at, self.root.awake) > limit:
                self.root.children.kill(process, f"no heartbeat for {limit:g} s", trace=True)
        self._arm_beats()

    # ---- memory --------------------------------------------------------------------------------------------------

    def _memory(self) -> None:
        began = time.perf_counter()
        live = [p for p in self.root.children.processes.values() if p.pid and p.ready and not p.dead]
        before = [(p.memory + p.pss) // NOTEWORTHY for p in live]
        for process in live:
            process.memory = statm(process.pid)
            limit = process.spec.max_memory
            if limit is not None and process.memory > limit and process.stop is None:
                used, most = process.memory >> 20, limit >> 20
                self.root.children.kill(process, f"{used} MiB resident, more than max_memory {most} MiB")
        chosen = [process for process in live if not process.pss][:PSS_FIRST]
        for _ in range(min(PSS_EACH_ROUND - len(chosen), len(live))):
            self._turn += 1
            chosen.append(live[self._turn % len(live)])
        for process in chosen:
            process.pss = pss(process.pid)
        self._memory_timer = None
        if live:
            if before != [(p.memory + p.pss) // NOTEWORTHY for p in live]:
                self.root.changed()  # not for every page: an idle tree writes no status
            cost = time.perf_counter() - began
            wait = max(MEMORY_INTERVAL, cost / MEMORY_SHARE)
            self._memory_timer = self.root.timers.add(time.monotonic() + wait, self._memory)
