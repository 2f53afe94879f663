"""Timers of an event loop: a heap of monotonic times and what to do then. No clock is read here."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Timers:
    """Callbacks by time. A cancelled one stays in the heap until its time and is then skipped."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._serial = 0

    def add(self, at: float, callback: Callable[[], None]) -> int:
        """Call `callback` when the clock reaches `at`; returns a number for `cancel`."""
        self._serial += 1
        self._callbacks[self._serial] = callback
        heapq.heappush(self._heap, (at, self._serial))
        return self._serial

    def cancel(self, number: int) -> None:
        """Forget a timer; also one that has been called."""
        self._callbacks.pop(number, None)

    def due(self, now: float) -> list[Callable[[], None]]:
        """Take out what has come, in order of time."""
        ready = []
        while self._heap and self._heap[0][0] <= now:
            _, number = heapq.heappop(self._heap)
            callback = self._callbacks.pop(number, None)
            if callback is not None:
                ready.append(callback)
        return ready

    def next(self) -> float | None:
        """When the earliest timer comes."""
        while self._heap and self._heap[0][1] not in self._callbacks:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def shift(self, seconds: float) -> None:
        """Let every timer come this much later: nobody was there to see the time pass."""
        self._heap = [(at + seconds, number) for at, number in self._heap]  # the order stays, so it stays a heap
