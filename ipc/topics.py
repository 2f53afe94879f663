"""Who reads which events, how far behind they are, and which seqs are said again. Pure, a part of the bus's state.

Rights and rates are decided in `switch` before anything comes here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ipc import wire
from ipc.inline import Inline
from ipc.limits import OVERHEAD, Limits
from ipc.seldom import seldom
from ipc.sessions import Node, Session

log = seldom("ipc.bus")

_TAILS = 1_000  # topics of one sender whose last seq is kept: a peer may invent topics below its prefix


class EventPort(Protocol):
    """What is done to the event socket and its connections."""

    def publish(self, topic: str, header: bytes, payload: Any) -> None:
        """Give an event to every subscription that matches."""

    def subscribe(self, prefix: str) -> None:
        """Accept the subscription that is being handled."""

    def unsubscribe(self, prefix: str) -> None:
        """Drop the subscription that is being handled."""

    def hold(self, fd: int) -> None:
        """Remember which connection is behind a descriptor: its number may be given to another one."""

    def cut(self, fd: int, held: bool = False) -> None:
        """End a connection at once; with `held`, only if it is still the one that was held."""


class Topics:
    """Subscribed prefixes, their readers and the tails of topics. Times are monotonic seconds.

    Bytes are counted for a prefix, not for each reader of each event: what a reader was sent is the sum of its prefixes
    since it began, and it is looked at only when a prefix has grown by a mark.
    """

    def __init__(
        self,
        port: EventPort,
        epoch: int,
        limits: Limits,
        send: Callable[[Session, wire.ToPeer], None],
        now: float,
        inline: Inline,
    ) -> None:
        self._port = port
        self._epoch = epoch
        self._limits = limits
        self._send = send
        self.inline = inline
        self._fds: dict[int, Session] = {}
        self._nodes: dict[str, Node] = {}
        self._lengths: tuple[int, ...] = ()  # of the prefixes
        self._of_length: dict[int, int] = {}  # how many prefixes there are of each length
        self._tails: dict[str, dict[str, tuple[int, int, float]]] = {}  # by sender and topic
        self._tails_at = now

    # Publishing

    def publish(self, session: Session, event: wire.Publish, payload: Any, now: float) -> None:
        """Stamp an event and give it to its readers."""
        self.note_tail(session, event.topic, event.seq, now)
        header = wire.encode(wire.Event(session.name, session.incarnation, self._epoch, event.seq))
        self._spread(event.topic, header, payload)
        self.inline.event(event.topic, session, event.seq, payload)

    def note_tail(self, session: Session, topic: str, seq: int, now: float) -> None:
        """Remember the last seq of a sender on a topic, to be said again."""
        tails = self._tails.setdefault(session.name, {})
        if len(tails) < _TAILS or topic in tails:
            tails[topic] = (session.incarnation, seq, now)

    def _spread(self, topic: str, header: bytes, payload: Any) -> None:
        size = 0
        for length in self._lengths:
            node = self._nodes.get(topic[:length])
            if node is None or length > len(topic):
                continue
            size = size or len(topic) + len(header) + len(payload or b"") + OVERHEAD
            node.total += size
            if node.total >= node.check_at:
                self._check(node)
        if size:  # without a reader there is nothing to do
            self._port.publish(topic, header, payload)

    def _check(self, node: Node) -> None:
        """Ask the readers of a prefix how far they are; cut those that are too far behind."""
        node.check_at = node.total + self._limits.mark
        for session in list(node.readers):
            sent = session.events_sent()
            behind = sent - session.events_acked
            if behind > self._limits.event_budget and session.events_marked > session.events_acked:
                log.warning("%s does not read its events (%d bytes wait): cut", session.name, behind)
                self.cut(session)
            elif sent - session.events_marked >= self._limits.mark:
                session.events_marked = sent
                self._port.publish(session.marks, wire.encode(wire.Mark(sent)), None)

    # Reading

    def adopt(self, session: Session, fd: int) -> bool:
        """Whether `fd` is the event connection of a session; the first one stays."""
        if session.event_fd is None:
            before = self._fds.get(fd)
            if before is not None:
                self.lost(fd)  # its descriptor was given to this connection
            session.event_fd = fd
            self._fds[fd] = session
            self._port.hold(fd)
        return session.event_fd == fd

    def lost(self, fd: int) -> None:
        """An event connection ended; what it subscribed is gone with it."""
        session = self._fds.pop(fd, None)
        if session is not None and session.event_fd == fd:
            self._drop(session)

    def cut(self, session: Session) -> None:
        """End the event connection of a session."""
        if session.event_fd is not None:
            self._fds.pop(session.event_fd, None)
            self._port.cut(session.event_fd, held=True)
        self._drop(session)

    def subscribe(self, session: Session, prefix: str) -> None:
        """Accept a subscription; from now on nothing below it is missed."""
        self._port.subscribe(prefix)
        if prefix != session.marks and prefix not in session.nodes:
            node = self._nodes.get(prefix)
            if node is None:
                node = self._nodes[prefix] = Node(prefix, check_at=self._limits.mark)
                self._count(len(prefix), 1)
            session.nodes[prefix] = node
            node.readers[session] = node.total
        self._send(session, wire.Subscribed(prefix))

    def unsubscribe(self, session: Session, prefix: str) -> None:
        """End a subscription."""
        self._port.unsubscribe(prefix)
        self._leave(session, prefix)

    def _leave(self, session: Session, prefix: str) -> None:
        node = session.nodes.pop(prefix, None)
        if node is None:
            return
        session.events_before += node.total - node.readers.pop(session)
        if not node.readers:
            del self._nodes[prefix]
            self._count(len(prefix), -1)

    def _count(self, length: int, change: int) -> None:
        """A prefix of this length is new or gone."""
        count = self._of_length.get(length, 0) + change
        if count:
            self._of_length[length] = count
        else:
            del self._of_length[length]
        if count == (change > 0):  # the first of its length, or the last
            self._lengths = tuple(sorted(self._of_length))

    def _drop(self, session: Session) -> None:
        for prefix in list(session.nodes):
            self._leave(session, prefix)
        session.event_fd = None
        session.events_before = session.events_marked = session.events_acked = 0

    # Time

    def due(self) -> float | None:
        """When `tick` has something to do; None when nothing is pending."""
        return self._tails_at + 1.0 if self._tails else None

    def tick(self, now: float) -> None:
        """Say the last seqs again, each second, for a while after the last event."""
        if now < self._tails_at + 1.0:
            return
        self._tails_at = now
        for name, tails in list(self._tails.items()):
            for topic, (incarnation, seq, at) in list(tails.items()):
                tail = wire.Tail(name, incarnation, self._epoch, seq, int((now - at) * 1000))
                if any(topic[:length] in self._nodes for length in self._lengths):
                    self._spread(topic, wire.encode(tail), None)
                self.inline.tail(topic, tail)
                if now - at > self._limits.tail:
                    del tails[topic]
            if not tails:
                del self._tails[name]
