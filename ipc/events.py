"""Reading events: subscriptions, and the law by which a reader knows that something was lost.

`Gaps` is pure; a `Subscription` is a bounded queue between the peer's drain and a coroutine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from ipc.feed import Feed

_QUEUE_BYTES = 16 * 1024 * 1024
_QUEUE_COUNT = 20_000
_SENDERS = 10_000


class Event(msgspec.Struct, frozen=True):
    """One event. `gap`: something before it was lost, or the bus has a new epoch: read again from the source.

    An event with `data` None, `gap` true and `seq` 0 or the last seq stands for the loss alone.
    """

    topic: str
    data: Any
    by: str
    incarnation: int
    epoch: int
    seq: int
    gap: bool


class Gaps:
    """Decides from (epoch, sender, incarnation, topic, seq) whether something was lost."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], tuple[int, int, int]] = {}  # the oldest first

    def event(self, epoch: int, by: str, incarnation: int, topic: str, seq: int) -> bool:
        """Note an event that arrived; true when one before it is missing."""
        key = (by, topic)
        before = self._seen.get(key)
        self._seen[key] = (epoch, incarnation, seq)
        if before is None:
            if len(self._seen) > _SENDERS:
                del self._seen[next(iter(self._seen))]
            return False
        if before[0] != epoch:
            return True
        if before[1] != incarnation:
            return seq != 1
        return seq != before[2] + 1

    def tail(self, epoch: int, by: str, incarnation: int, topic: str, seq: int, younger: bool) -> bool:
        """Note the last seq of a sender; true when it never arrived. `younger`: it is younger than the subscription."""
        key = (by, topic)
        before = self._seen.get(key)
        if before is not None and before[:2] == (epoch, incarnation):
            if seq <= before[2]:
                return False
        elif not younger or (before is not None and before[1] > incarnation):
            return False
        self._seen[key] = (epoch, incarnation, seq)
        return True


class Subscription:
    """Async iterator of the events below `prefix`. Ends when it or its peer is closed.

    A reader that is too slow loses what waits and is told so by a gap, instead of filling memory.
    """

    def __init__(self, prefix: str, closer: Callable[[Subscription], None], loop: asyncio.AbstractEventLoop) -> None:
        self.prefix = prefix
        self.since = loop.time()  # when the bus confirmed it last
        self._closer = closer
        self._gaps = Gaps()
        self._feed: Feed[tuple[Event, int]] = Feed()
        self._bytes = 0
        self._loop = loop
        self.closed = False

    def push(self, event: Event, size: int) -> None:
        """Queue an event (called by the peer)."""
        gap = self._gaps.event(event.epoch, event.by, event.incarnation, event.topic, event.seq)
        if gap:
            event = msgspec.structs.replace(event, gap=True)
        self._put(event, size)

    def push_tail(self, topic: str, by: str, incarnation: int, epoch: int, seq: int, age: float) -> None:
        """A sender's last seq: becomes a gap when it never arrived (called by the peer)."""
        younger = self._loop.time() - age > self.since
        if self._gaps.tail(epoch, by, incarnation, topic, seq, younger):
            self._put(Event(topic, None, by, incarnation, epoch, seq, True), 0)

    def push_gap(self, epoch: int) -> None:
        """The event connection was interrupted (called by the peer)."""
        self.since = self._loop.time()
        self._put(Event(self.prefix, None, "bus", 0, epoch, 0, True), 0)

    def _put(self, event: Event, size: int) -> None:
        if self._bytes + size > _QUEUE_BYTES or len(self._feed) >= _QUEUE_COUNT:
            self._feed.clear()
            self._bytes = 0
            event = Event(self.prefix, None, "bus", 0, event.epoch, 0, True)
            size = 0
        self._bytes += size
        self._feed.put((event, size))

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        feed = self._feed
        event, size = feed.pop() if feed else await feed.take()
        self._bytes -= size
        return event

    def close(self) -> None:
        """Stop reading; the iterator ends after what is queued."""
        if not self.closed:
            self.closed = True
            self._closer(self)
            self._feed.end()

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.close()
