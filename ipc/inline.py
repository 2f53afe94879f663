"""Events on the main connection, for peers that have only one: who reads what, and what a slow one misses. Pure.

Rights are decided in `switch` before anything comes here. A reader that is too far behind gets no events until it has
caught up, and is then told by an unasked Subscribed that something is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ipc import wire
from ipc.limits import Limits
from ipc.seldom import seldom
from ipc.sessions import Session

log = seldom("ipc.bus")

Queue = Callable[[Session, bytes, Any], None]


class Inline:
    """Readers of prefixes. `queue` sends an encoded message to a session."""

    def __init__(self, epoch: int, limits: Limits, queue: Queue) -> None:
        self._epoch = epoch
        self._limits = limits
        self._queue = queue
        self._readers: dict[str, dict[Session, None]] = {}

    def subscribe(self, session: Session, prefix: str) -> None:
        """From now on nothing below the prefix is missed."""
        self._readers.setdefault(prefix, {})[session] = None
        session.inline[prefix] = None
        self._queue(session, wire.encode(wire.Subscribed(prefix)), None)

    def unsubscribe(self, session: Session, prefix: str) -> None:
        """No more events below the prefix."""
        if session.inline.pop(prefix, prefix) is None:
            readers = self._readers[prefix]
            del readers[session]
            if not readers:
                del self._readers[prefix]

    def drop(self, session: Session) -> None:
        """The session is over."""
        for prefix in list(session.inline):
            self.unsubscribe(session, prefix)

    def event(self, topic: str, session: Session, seq: int, payload: Any) -> None:
        """Give an event of `session` to its readers."""
        if self._readers:
            message = wire.Delivered(topic, session.name, session.incarnation, self._epoch, seq)
            self._spread(topic, message, payload)

    def tail(self, topic: str, tail: wire.Tail) -> None:
        """Say a last seq again."""
        if self._readers:
            self._spread(
                topic, wire.Repeated(topic, tail.by, tail.incarnation, tail.epoch, tail.seq, tail.age_ms), None
            )

    def _spread(self, topic: str, message: wire.ToPeer, payload: Any) -> None:
        header: bytes | None = None
        given: set[Session] = set()
        for readers in self._reading(topic):
            for session in list(readers):
                if session in given:
                    continue  # it reads a longer and a shorter prefix: one event, once
                given.add(session)
                if session.waiting > self._limits.event_budget:
                    self._behind(session)
                    continue
                header = header or wire.encode(message)
                self._queue(session, header, payload)

    def _reading(self, topic: str) -> Iterator[dict[Session, None]]:
        """The readers of each prefix of a topic, shortest first. A prefix is empty or ends with a slash, so that a
        thousand readers of other topics cost nothing."""
        end = 0
        while True:
            readers = self._readers.get(topic[:end])
            if readers is not None:
                yield readers
            end = topic.find("/", end) + 1
            if not end:
                return

    def _behind(self, session: Session) -> None:
        if not session.lagging:
            session.lagging = True
            log.warning("%s does not read its events (%d bytes wait): they are dropped", session.name, session.waiting)

    def read(self, session: Session) -> None:
        """The session has acknowledged something: tell it, when it has caught up, that it missed events."""
        if session.lagging and session.waiting <= self._limits.event_budget // 2:
            session.lagging = False
            for prefix in session.inline:
                self._queue(session, wire.encode(wire.Subscribed(prefix)), None)
