"""Watching processes come and go: what a monitor says, also over a bus that was started again."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ipc import wire
from ipc.errors import IpcError
from ipc.feed import Feed
from ipc.outbox import Outbox

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

    def __init__(self, pattern: str, opener: Callable[[Monitor], None], closer: Callable[[Monitor], None]) -> None:
        self.pattern = pattern
        self.id = 0
        self._opener = opener
        self._closer = closer
        self._roll = Roll()
        self._feed: Feed[Change] = Feed()
        self._opened = False
        self.closed = False

    def begin(self) -> None:
        """The peer asks a (new) bus (called by the peer)."""
        self._roll.begin()

    def push(self, name: str, incarnation: int, up: bool, reason: str, planned: bool) -> None:
        """A change arrived (called by the peer)."""
        self._put(self._roll.changed(name, incarnation, up, reason, planned))

    def push_end(self) -> None:
        """The snapshot is complete (called by the peer)."""
        self._put(self._roll.complete())

    def _put(self, changes: list[Change]) -> None:
        for change in changes:
            self._feed.put(change)

    def fail(self, error: IpcError) -> None:
        """The bus refused (called by the peer)."""
        self._feed.fail(error)

    def __aiter__(self) -> Monitor:
        return self

    async def __anext__(self) -> Change:
        if not self._opened:
            self._opened = True
            self._opener(self)
        return await self._feed.take()  # awaited here: the peer holds a monitor only as long as its reader does

    def close(self) -> None:
        """Stop watching."""
        if not self.closed:
            self.closed = True
            self._closer(self)
            self._feed.end()

    async def aclose(self) -> None:
        """Stop watching; the name that async generators use."""
        self.close()

    async def __aenter__(self) -> Monitor:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.close()


class Monitors:
    """The monitors of one peer, over one bus after another. One that nobody holds any more is dropped."""

    def __init__(self, out: Outbox, ids: Iterator[int]) -> None:
        self._out = out
        self._ids = ids
        self._all: weakref.WeakValueDictionary[int, Monitor] = weakref.WeakValueDictionary()

    def make(self, pattern: str) -> Monitor:
        """A monitor that begins when it is iterated."""
        return Monitor(pattern, self._begin, self._end)

    def _begin(self, monitor: Monitor) -> None:
        monitor.id = next(self._ids)
        self._all[monitor.id] = monitor
        self._out.quietly(wire.Monitor(monitor.id, monitor.pattern))

    def _end(self, monitor: Monitor) -> None:
        if self._all.pop(monitor.id, None) is not None:
            self._out.quietly(wire.Unmonitor(monitor.id))

    def again(self) -> None:
        """There is a new bus: ask it for everything that is watched."""
        for number, monitor in list(self._all.items()):
            monitor.begin()
            self._out.quietly(wire.Monitor(number, monitor.pattern))

    def changed(self, changed: wire.Changed, _payload: bytes | None) -> None:
        """The bus tells a change."""
        monitor = self._all.get(changed.id)
        if monitor is None:
            self._out.quietly(wire.Unmonitor(changed.id))  # it was dropped without being closed
        else:
            monitor.push(changed.name, changed.incarnation, changed.up, changed.reason, changed.planned)

    def complete(self, snapshot: wire.Snapshot, _payload: bytes | None) -> None:
        """The bus has told everything that is up."""
        monitor = self._all.get(snapshot.id)
        if monitor is not None:
            monitor.push_end()

    def fail(self, number: int, error: IpcError) -> None:
        """The bus refuses a monitor, if this is the number of one."""
        monitor = self._all.get(number)
        if monitor is not None:
            monitor.fail(error)

    def close(self, error: IpcError | None) -> None:
        """End all, with an error or without."""
        for monitor in list(self._all.values()):
            if error is not None:
                monitor.fail(error)
            monitor.close()
