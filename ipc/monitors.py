"""Watching processes come and go: what a monitor says, also over a bus that was started again."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

from ipc.errors import IpcError

AWAY = "lost while the bus was away"


@dataclass(frozen=True)
class Change:
    """A process came up or went down, or (`snapshot_end`) all that are up have been told."""

    name: str
    incarnation: int
    up: bool
    reason: str = ""
    planned: bool = False
    snapshot_end: bool = False


SNAPSHOT_END = Change("", 0, False, snapshot_end=True)


class Roll:
    """Pure: turns what one bus after another tells into changes without repetitions or omissions."""

    def __init__(self) -> None:
        self._up: dict[str, int] = {}
        self._told: set[str] | None = set()  # names in the snapshot that is being told; None outside of one

    def begin(self) -> None:
        """A new bus will tell a new snapshot."""
        self._told = set()

    def changed(self, name: str, incarnation: int, up: bool, reason: str, planned: bool) -> list[Change]:
        """What one message means."""
        if self._told is not None:
            self._told.add(name)
        known = self._up.get(name)
        if not up:
            if known != incarnation:
                return []
            del self._up[name]
            return [Change(name, incarnation, False, reason, planned)]
        if known == incarnation:
            return []
        self._up[name] = incarnation
        changes = [] if known is None else [Change(name, known, False, AWAY)]
        return [*changes, Change(name, incarnation, True)]

    def complete(self) -> list[Change]:
        """The snapshot was told: what it did not name is down."""
        told, self._told = self._told or set(), None
        gone = [(name, n) for name, n in self._up.items() if name not in told]
        for name, _ in gone:
            del self._up[name]
        return [*(Change(name, n, False, AWAY) for name, n in gone), SNAPSHOT_END]


class Monitor:
    """Async iterator of changes of the processes that match `pattern`. Raises Forbidden when that is not allowed."""

    def __init__(self, pattern: str, opener: Any, closer: Any) -> None:
        self.pattern = pattern
        self.id = 0
        self._opener = opener
        self._closer = closer
        self._roll = Roll()
        self._queue: deque[Change] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._failed: IpcError | None = None
        self._opened = False
        self.closed = False

    def begin(self) -> None:
        """The peer asks a (new) bus (called by the peer)."""
        self._roll.begin()

    def push(self, name: str, incarnation: int, up: bool, reason: str, planned: bool) -> None:
        """A change arrived (called by the peer)."""
        self._queue.extend(self._roll.changed(name, incarnation, up, reason, planned))
        self._wake()

    def push_end(self) -> None:
        """The snapshot is complete (called by the peer)."""
        self._queue.extend(self._roll.complete())
        self._wake()

    def fail(self, error: IpcError) -> None:
        """The bus refused (called by the peer)."""
        self._failed = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Monitor:
        return self

    async def __anext__(self) -> Change:
        if not self._opened:
            self._opened = True
            self._opener(self)
        while not self._queue:
            if self._failed is not None:
                raise self._failed
            if self.closed:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._queue.popleft()

    def close(self) -> None:
        """Stop watching."""
        if not self.closed:
            self.closed = True
            self._closer(self)
            self._wake()

    async def aclose(self) -> None:
        """Stop watching; the name that async generators use."""
        self.close()

    async def __aenter__(self) -> Monitor:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.close()
