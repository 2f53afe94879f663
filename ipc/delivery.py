"""What the bus sends to one peer, and how much of it may wait: bytes, marks, messages a second. Pure.

Every message to a session goes through here, so no bound can be forgotten. What a message means is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ipc import wire
from ipc.limits import OVERHEAD, Limits
from ipc.seldom import seldom
from ipc.sessions import Session

log = seldom("ipc.bus")


class SendPort(Protocol):
    """What is done to the main socket."""

    def send(self, rid: bytes, header: bytes, payload: Any) -> bool:
        """Queue a message for a connection; False when it is gone."""


class Delivery:
    """The way to every session. `give_up` is told which session has not read for too long.

    `waiting`: bytes sent and not known to be read, of all sessions. `forwarded`, `discarded`: messages.
    """

    def __init__(self, port: SendPort, limits: Limits, give_up: Callable[[Session], None]) -> None:
        self._port = port
        self._limits = limits
        self._give_up = give_up
        self.waiting = 0
        self.forwarded = self.discarded = 0

    def send(self, session: Session, message: wire.ToPeer, payload: Any = None) -> None:
        """Queue a message; a peer that has not read 64 MiB gets no more."""
        self.queue(session, wire.encode(message), payload)

    def queue(self, session: Session, header: bytes, payload: Any) -> None:
        """As `send`, of a message that is encoded already: an event is, once for all its readers."""
        size = len(header) + OVERHEAD + (len(payload) if payload is not None else 0)
        session.sent += size
        self.waiting += size
        self.forwarded += 1
        if session.sent - session.acked > self._limits.hard_budget and session.marked > session.acked:
            self._give_up(session)
            return
        self._port.send(session.rid, header, payload)
        if session.sent - session.marked >= self._limits.mark:
            session.marked = session.sent
            self._port.send(session.rid, wire.encode(wire.Mark(session.sent)), None)

    def ended(self, session: Session) -> None:
        """A session is over: what waited for it is gone."""
        self.waiting -= session.waiting

    def full(self, session: Session) -> bool:
        """Whether so much waits for a session that requests to it are refused."""
        waiting = session.waiting
        return waiting > self._limits.budget or (self.waiting > self._limits.total and waiting > 2 * self._limits.mark)

    def admit(self, session: Session, now: float, size: int = 0) -> bool:
        """Count a message that starts something. False: the peer ignored Slow, the message is dropped.

        `size`: bytes of an event; each KiB counts as one more message, because it is copied for every reader.
        """
        left = session.bucket.take(now, 1.0 + size / 1024)
        if left >= 0:
            return True
        if now >= session.slow_until:
            wait = (session.bucket.burst / 10 - left) / session.bucket.rate
            session.slow_until = now + wait
            log.warning("%s floods the bus: slowed down for %.0f ms", session.name, wait * 1000)
            self.send(session, wire.Slow(int(wait * 1000) + 1, f"{session.name} sends too many messages"))
        if left > -session.bucket.burst / 2:
            return True
        session.dropped += 1
        return False

    def marked(self, session: Session, mark: wire.Mark, _payload: Any, _now: float) -> None:
        """A peer asks how far the bus has read."""
        self.send(session, wire.Ack(mark.total))

    def acked(self, session: Session, ack: wire.Ack, _payload: Any, _now: float) -> None:
        """A peer tells how far it has read."""
        if ack.events:
            session.events_acked = max(session.events_acked, min(ack.total, session.events_marked))
        else:
            total = max(session.acked, min(ack.total, session.marked))
            self.waiting -= total - session.acked
            session.acked = total
