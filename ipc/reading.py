"""The reader's side of events in a peer: its subscriptions, their confirmation, and what arrives for them.

Queues and gaps are in `events`, sockets in `link`; this joins them over the life of one connection after another.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from ipc import wire
from ipc.errors import Forbidden, PeerDown, RemoteProtocolError
from ipc.events import Event, Subscription
from ipc.limits import OVERHEAD
from ipc.link import Link
from ipc.seldom import seldom

log = seldom("ipc.peer")


_MATCHING = 1000


class Acker(Protocol):
    """How a mark is answered."""

    def quietly(self, message: wire.ToBus) -> None: ...


class Reader:
    """Subscriptions of one peer."""

    def __init__(self, acker: Acker) -> None:
        self._acker = acker
        self._link: Link | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._welcome: wire.Welcome | None = None
        self._subscriptions: dict[str, list[Subscription]] = {}
        self._matching: dict[str, list[Subscription]] = {}  # by topic; forgotten with every change of the subscriptions
        self._confirmed: set[str] = set()
        self._confirming: dict[str, list[asyncio.Future[None]]] = {}

    def welcomed(self, link: Link, welcome: wire.Welcome) -> None:
        """There is a (new) bus: subscribe again to what was subscribed."""
        self._loop = asyncio.get_running_loop()
        self._link = link
        self._welcome = welcome
        if self._subscriptions:
            self._open()
            for prefix in self._subscriptions:
                link.subscribe(prefix, True)

    def lost(self) -> list[asyncio.Future[None]]:
        """The bus is gone. Returns what waits for its confirmation."""
        if self._link is not None:
            self._link.close_events()
        waiting = [future for futures in self._confirming.values() for future in futures]
        self._confirming = {}
        self._confirmed.clear()
        return waiting

    def close(self) -> None:
        """End all subscriptions."""
        for subscriptions in list(self._subscriptions.values()):
            for subscription in list(subscriptions):
                subscription.close()

    async def subscribe(self, prefix: str, timeout: float) -> Subscription:
        """A subscription that the bus has confirmed. Raises Forbidden, PeerDown("bus")."""
        assert self._loop is not None and self._link is not None
        subscription = Subscription(prefix, self._unsubscribe, self._loop)
        first = prefix not in self._subscriptions
        self._subscriptions.setdefault(prefix, []).append(subscription)
        self._matching.clear()
        if first:
            self._open()
            self._link.subscribe(prefix, True)
        if prefix not in self._confirmed:
            confirmed: asyncio.Future[None] = self._loop.create_future()
            self._confirming.setdefault(prefix, []).append(confirmed)
            try:
                # Not `wait_for`: with Python 3.11 it answers who is cancelled just when the answer comes as if he were not.
                async with asyncio.timeout(timeout):
                    await confirmed
            except BaseException as error:  # raised again: also a cancelled one must not leave half a subscription
                subscription.close()
                if isinstance(error, TimeoutError):
                    raise PeerDown("bus", f"no answer to the subscription of {prefix!r}") from None
                raise
        subscription.since = self._loop.time()
        return subscription

    def _open(self) -> None:
        assert self._link is not None and self._welcome is not None
        if not self._link.has_events:
            self._confirmed.clear()
            self._link.open_events(self._welcome.events_credential)
            if not self._link.inline:
                self._link.subscribe(self._welcome.marks, True)

    def _unsubscribe(self, subscription: Subscription) -> None:
        known = self._subscriptions.get(subscription.prefix, [])
        self._matching.clear()
        if subscription in known:
            known.remove(subscription)
        if not known and self._subscriptions.pop(subscription.prefix, None) is not None:
            self._confirmed.discard(subscription.prefix)
            if self._link is not None:
                self._link.subscribe(subscription.prefix, False)

    def confirmed(self, prefix: str) -> None:
        """The bus delivers events below `prefix` from now on."""
        waiting = self._confirming.pop(prefix, [])
        self._confirmed.add(prefix)
        for future in waiting:
            if not future.done():
                future.set_result(None)
        if not waiting and self._welcome is not None:
            # Nobody asked: the event socket was connected again, and what was sent in between is lost.
            for subscription in self._subscriptions.get(prefix, []):
                subscription.push_gap(self._welcome.epoch)

    def denied(self, prefix: str, text: str) -> None:
        """The bus refuses the subscription (or an event of ours on that topic)."""
        log.warning("%s", text)
        for future in self._confirming.pop(prefix, []):
            if not future.done():
                future.set_exception(Forbidden(text))

    def arrived(self, frames: list[bytes]) -> None:
        """A message on the event connection."""
        try:
            topic, message, payload = wire.decode_event(frames)
            if type(message) is wire.Mark:
                self._acker.quietly(wire.Ack(message.total, True))
                return
            if type(message) is wire.Event:
                self.event(topic, message, payload)
            elif type(message) is wire.Tail:
                self.tail(topic, message)
        except RemoteProtocolError as error:
            log.error("the bus sent what is no event: %s", error)

    def event(self, topic: str, message: wire.Event | wire.Delivered, payload: bytes | None) -> None:
        """An event, from whichever connection. Raises RemoteProtocolError."""
        readers = self._readers(topic)
        if readers:
            self._give(topic, message, payload, readers)

    def tail(self, topic: str, message: wire.Tail | wire.Repeated) -> None:
        """The last seq of a sender, from whichever connection."""
        for subscription in self._readers(topic):
            subscription.push_tail(
                topic, message.by, message.incarnation, message.epoch, message.seq, message.age_ms / 1000
            )

    def _readers(self, topic: str) -> list[Subscription]:
        readers = self._matching.get(topic)
        if readers is None:
            if len(self._matching) >= _MATCHING:
                self._matching.clear()
            readers = self._matching[topic] = [
                s for prefix, known in self._subscriptions.items() if topic.startswith(prefix) for s in known
            ]
        return readers

    @staticmethod
    def _give(
        topic: str, message: wire.Event | wire.Delivered, payload: bytes | None, readers: list[Subscription]
    ) -> None:
        data = wire.unpack(payload)
        event = Event(topic, data, message.by, message.incarnation, message.epoch, message.seq, False)
        size = len(payload or b"") + OVERHEAD
        for subscription in readers:
            subscription.push(event, size)
