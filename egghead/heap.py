"""What a process has freed goes back to the kernel, at a quiet moment after much work.

glibc keeps freed memory below anything still in use above it: after a storm of streams, or the first reading of many
notes, a process would stay as large as it ever was. `malloc_trim` gives the holes back; it takes milliseconds, in which
nobody in the process gets memory, so it waits until nothing has happened for a while. Another C library has no such
call, and then nothing is done. What Python itself keeps for its small objects is not touched.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

QUIET = 5.0  # seconds without a call of `used` until memory goes back


def give_back() -> bool:
    """Give freed pages back now. False: nothing was given, or this C library cannot."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return bool(trim is not None and trim(0))


class Heap:
    """Waits for the quiet moment. `resting`: whether it is one; one that is not ends with a `used`. Belongs to one loop."""

    def __init__(self, resting: Callable[[], bool] = lambda: True, quiet: float = QUIET) -> None:
        self._resting = resting
        self._quiet = quiet
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def used(self) -> None:
        """Something has come to an end that took memory."""
        loop = asyncio.get_running_loop()
        self._due = loop.time() + self._quiet
        if self._timer is None:
            self._timer = loop.call_at(self._due, self._look)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        if loop.time() < self._due:  # there was work since: one timer for it all
            self._timer = loop.call_at(self._due, self._look)
        elif self._resting():
            give_back()
