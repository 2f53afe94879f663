"""The bus without its sockets: who is connected as whom, and which part of the bus a message is for.

A state machine with no I/O, no clock and no thread. `bus` feeds it what arrived and the time; it answers through a
`Port`. Laws: a frame speaks only for the connection that was authenticated and said Hello; after a death was told
nothing of the dead is delivered. What the messages do is in `flights`, `topics` and `watches`, bounds in `delivery`.
"""

from __future__ import annotations

import hmac
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from ipc import wire
from ipc.delivery import Delivery, SendPort
from ipc.errors import LocalProtocolError, RemoteProtocolError
from ipc.flights import Flights
from ipc.guests import Guest, Guests, is_guest
from ipc.inline import Inline
from ipc.limits import Limits
from ipc.notices import Death, read_notice
from ipc.rights import Rights
from ipc.seldom import seldom
from ipc.sessions import Doom, Doors, Registration, Session, client_user
from ipc.topics import EventPort, Topics
from ipc.watches import Watches

log = seldom("ipc.bus")


_OVER = 1000


class Port(SendPort, EventPort, Protocol):
    """What the switch can do to the world."""

    def leaving(self, fd: int) -> None:
        """Who came from the network has said Bye: the connection must end soon, or is ended."""

    def origin(self, fd: int) -> str:
        """The network address at the other end; empty when it is local or gone."""


def _is_client(session: Session) -> bool:
    return session.guest is not None or client_user(session.user) is not None


class Switch:
    """State of one bus. Times are monotonic seconds."""

    def __init__(
        self,
        port: Port,
        epoch: int,
        limits: Limits,
        now: float,
        registrations: Iterable[Registration] = (),
        token: str | None = None,
        client_rights: Rights | None = None,
        guests: Iterable[Guest] = (),
    ) -> None:
        self.port = port
        self.epoch = epoch
        self.limits = limits
        self.doors = Doors({registration.name: registration for registration in registrations}, token)
        self.client_rights = client_rights or Rights()
        self.sessions: dict[bytes, Session] = {}
        self.names: dict[str, Session] = {}
        self._fds: dict[int, Session] = {}
        self._event_users: dict[str, Session] = {}
        self._secrets: dict[str, Session] = {}
        self._over: dict[str, int] = {}  # event connections that were cut with their sessions
        self._doomed: dict[Session, None] = {}
        self._connections = itertools.count(1)
        self._clients = itertools.count(1)
        self._delivery = delivery = Delivery(port, limits, self._give_up)
        self._flights = flights = Flights(delivery, self.names, epoch, limits, self.stats, self.present)
        self._guests = Guests(guests)
        self._inline = inline = Inline(epoch, limits, delivery.queue)
        self._topics = Topics(port, epoch, limits, delivery.send, now, inline)
        self._watches = watches = Watches(delivery, self.names, self.doors.registrations, limits, now)
        self._handlers: dict[type, Callable[[Session, Any, Any, float], None]] = {
            wire.Call: flights.call,
            wire.Open: flights.call,
            wire.Cast: flights.cast,
            wire.Result: flights.answer,
            wire.Error: flights.answer,
            wire.End: flights.answer,
            wire.Chunk: flights.chunk,
            wire.Chunks: self._chunks,
            wire.Credit: flights.credit,
            wire.Cancel: flights.cancel,
            wire.Publish: self._publish,
            wire.Tails: self._say_tails,
            wire.Monitor: watches.add,
            wire.Unmonitor: watches.remove,
            wire.Mark: delivery.marked,
            wire.Ack: self._acked,
            wire.Announce: self._announce,
            wire.Bye: self._bye,
            wire.Hello: self._second_hello,
            wire.Subscribe: self._subscribe,
            wire.Unsubscribe: lambda session, message, _payload, _now: inline.unsubscribe(session, message.prefix),
        }

    # Who may connect

    def control(self, message: Any, now: float) -> None:
        """A message of the control channel: a notice or an observed death. Others are not for the bus."""
        try:
            notice = read_notice(message)
        except LocalProtocolError as error:
            log.error("notice ignored: %s", error)
            return
        if isinstance(notice, Registration):
            self.register(notice, now)
        elif isinstance(notice, Death):
            self.down(notice.name, notice.incarnation, notice.reason, notice.planned, now)
        elif notice is not None:
            self.admit(notice, now)

    def register(self, registration: Registration, now: float) -> None:
        """Accept the credential of a process that is about to start; an earlier life of that name is over."""
        older = self.names.get(registration.name)
        known = self.doors.registrations.get(registration.name)
        if known is not None and known.incarnation > registration.incarnation:
            log.error("%s: registration of the old incarnation %d ignored", registration.name, registration.incarnation)
            return
        if older is not None and older.incarnation != registration.incarnation and older.doom is None:
            self._doom(older, Doom(now, "replaced by a newer incarnation"))
        self.doors.registrations[registration.name] = registration

    def down(self, name: str, incarnation: int, reason: str, planned: bool, now: float) -> None:
        """A process is known to be dead: its credential is void, and its session ends when its last words are read."""
        registration = self.doors.registrations.get(name)
        if registration is not None and registration.incarnation == incarnation:
            del self.doors.registrations[name]
        session = self.names.get(name)
        if session is not None and session.incarnation == incarnation:
            self._doom(session, Doom(now + self.limits.grace, reason or "exited", planned))
        self._watches.down(name, incarnation, reason, planned, now)

    def _doom(self, session: Session, doom: Doom) -> None:
        session.doom = doom
        self._doomed[session] = None

    def _give_up(self, session: Session) -> None:
        if session.doom is None:
            log.warning("%s does not read (%d bytes wait): cut", session.name, session.waiting)
            self._doom(session, Doom(0.0, "did not read its messages"))

    def authenticate(self, username: str, password: str) -> str | None:
        """User-Id for the credentials of a handshake, None to refuse them."""
        if username == "events":
            session = self._secrets.get(password)
            return session.event_user if session is not None else None
        return self.doors.user(username, password)

    def admit(self, guests: Iterable[Guest], now: float) -> None:
        """These keys may come in from the network, and no others: who may not any more, or not so, is cut off."""
        self._guests = Guests(guests)
        for session in list(self.sessions.values()):
            if session.guest is not None and not self._guests.same(session.guest):
                log.warning("%s: its key was removed or its rights were changed: cut", session.name)
                self._end(session, "no longer authorised", False, now)

    def authenticate_key(self, key: bytes) -> str | None:
        """User-Id for the public key that a handshake proved, None to refuse it."""
        guest = self._guests.of_key(key)
        return guest.user if guest is not None else None

    # Connections

    def knows(self, fd: int) -> bool:
        """Whether somebody has said Hello on this connection."""
        return fd in self._fds

    def received(self, rid: bytes, user: str, fd: int, frames: Sequence[Any], now: float) -> None:
        """One message of a connection. `user`: its authenticated User-Id. The last frame may be any buffer."""
        session = self.sessions.get(rid)
        try:
            message, _ = wire.decode_to_bus(frames)
        except RemoteProtocolError as error:
            if session is not None and session.user == user:
                self._garbage(session, error, now)
            else:
                log.warning("%s sent garbage and is cut off: %s", user, error)
                self.port.cut(fd)
            return
        if session is None or session.user != user:
            if type(message) is wire.Hello:
                self._hello(rid, user, fd, message, now)
            elif type(message) is not wire.Bye:
                # Frames before Hello are of an earlier life of the process or the bus: executed, they would be ghosts.
                self._delivery.discarded += 1
                self.port.cut(fd)
            return
        self._handlers[type(message)](session, message, frames[1] if len(frames) == 2 else None, now)

    def _garbage(self, session: Session, error: RemoteProtocolError, now: float) -> None:
        log.warning("%s sent garbage and is cut off: %s", session.user, error)
        self._delivery.send(session, wire.Rejected("protocol", str(error), wire.VERSION))
        self._end(session, "sent garbage", False, now)

    def _chunks(self, session: Session, message: wire.Chunks, payload: Any, now: float) -> None:
        try:
            chunks = wire.parts(message, payload)
        except RemoteProtocolError as error:
            self._garbage(session, error, now)
        else:
            self._flights.chunks(session, chunks)

    def _hello(self, rid: bytes, user: str, fd: int, hello: wire.Hello, now: float) -> None:
        def reject(code: str, text: str) -> None:
            log.warning("%s rejected: %s", user, text)
            self.port.send(rid, wire.encode(wire.Rejected(code, text, wire.VERSION)), None)

        if hello.protocol != wire.PROTOCOL or hello.version != wire.VERSION:
            text = (
                f"this bus speaks {wire.PROTOCOL} version {wire.VERSION}, you speak {hello.protocol} {hello.version}: "
                "use the programs of one installation, and restart the node after an upgrade"
            )
            return reject("version", text)
        client = client_user(user)
        guest = self._guests.of_user(user)
        if guest is not None:
            if refused := self._no_room(guest):
                return reject("connected", refused)
            # No local user's name has an @: nobody from the network passes for one.
            wish, _, proof = hello.wish.partition(" ")
            older = self.names.get(wish)
            if older is not None and older.user == user and hmac.compare_digest(older.secret.encode(), proof.encode()):
                # It has vanished and come back before that was seen here; what it says goes on under its name.
                self._end(older, "connected again", False, now)
            name, incarnation, rights = self._client_name(f"{guest.name}@lan", wish), self.epoch, guest.rights
        elif is_guest(user):
            return reject("stale", "the key of this connection is not authorised any more")
        elif client is not None:
            name, incarnation, rights = self._client_name(client, hello.wish), self.epoch, self.client_rights
        else:
            name, _, _ = user.rpartition("#")
            registration = self.doors.registrations.get(name)
            if registration is None or registration.user != user:
                return reject("stale", f"{user} is not the present life of {name}: its credential is void")
            incarnation, rights = registration.incarnation, registration.rights
        other = self._fds.get(fd)
        if other is not None:
            self._end(other, "connection lost", False, now)  # its descriptor was given to this connection
        before = self.names.get(name)
        if before is not None and before.user != user and before.doom is not None:
            # The next life is here: the last one has said its last words.
            self._end(before, before.doom.reason, before.doom.planned, now)
        if name in self.names:
            return reject("connected", f"{name} is connected: a credential is for one connection at a time")
        number = next(self._connections)
        session = Session(rid, user, fd, number, name, incarnation, rights, self.limits)
        session.bucket.at = session.since = now
        session.guest = guest
        frame = self.limits.frame if guest is None else self.limits.guest_frame
        welcome = wire.Welcome(
            wire.VERSION, name, incarnation, self.epoch, session.secret, session.marks, frame, self.limits.window,
        )  # fmt: skip
        if not self.port.send(rid, wire.encode(welcome), None):
            return None
        self.sessions[rid] = self.names[name] = self._fds[fd] = session
        self.port.hold(fd)
        self._event_users[session.event_user] = self._secrets[session.secret] = session
        if hello.announced:
            self._announce(session, None, None, now)
        return None

    def _no_room(self, guest: Guest) -> str:
        """Why one more connection of this guest is too many; empty when it is not."""
        others = [session.guest for session in self.sessions.values() if session.guest is not None]
        if len(others) >= self.limits.guests:
            return f"{len(others)} connections from the network are open, there may be no more"
        own = sum(other.key == guest.key for other in others)
        return f"{own} connections with this key are open, there may be no more" if own >= self.limits.guest else ""

    def _client_name(self, user: str, wish: str) -> str:
        prefix = f"clients/{user}-"
        if (
            wish.startswith(prefix)
            and wish[len(prefix) :].isdecimal()
            and wish.isascii()
            and len(wish) < 100
            and wish not in self.names
        ):
            return wish
        while (name := f"{prefix}{next(self._clients)}") in self.names:
            pass
        return name

    def _second_hello(self, session: Session, hello: wire.Hello, _payload: Any, now: float) -> None:
        self._delivery.send(session, wire.Rejected("protocol", "Hello was said before", wire.VERSION))
        self._end(session, "said Hello twice", False, now)

    def lost(self, fd: int, now: float) -> None:
        """A main connection ended; everything it brought has been given to `received`."""
        session = self._fds.get(fd)
        if session is None:
            return
        if session.doom is not None:
            self._end(session, session.doom.reason, session.doom.planned, now)
        else:
            self._end(session, "connection lost", False, now, told=_is_client(session))

    def events_lost(self, fd: int) -> None:
        """An event connection ended; what it subscribed is gone with it."""
        self._topics.lost(fd)

    def _bye(self, session: Session, _message: Any, _payload: Any, now: float) -> None:
        self._delivery.send(session, wire.Goodbye())
        self._end(session, "closed", True, now, told=True, cut=False)
        if session.guest is not None:
            self.port.leaving(session.fd)

    def _end(
        self, session: Session, reason: str, planned: bool, now: float, told: bool = True, cut: bool = True
    ) -> None:
        """End a session. `told`: the reason is final; otherwise monitors wait a moment for a better one."""
        if self.sessions.pop(session.rid, None) is None:
            return
        del self.names[session.name]
        if self._fds.get(session.fd) is session:
            del self._fds[session.fd]
        del self._event_users[session.event_user], self._secrets[session.secret]
        self._doomed.pop(session, None)
        self._delivery.ended(session)
        if session.event_fd is not None:
            self._over[session.event_user] = session.event_fd
            if len(self._over) > _OVER:
                del self._over[next(iter(self._over))]
        self._topics.cut(session)
        self._inline.drop(session)
        if cut:
            self.port.cut(session.fd, held=True)
        self._flights.ended(session, reason)
        self._watches.ended(session, reason, planned, told, now)

    def _announce(self, session: Session, _message: Any, _payload: Any, now: float) -> None:
        self._watches.up(session, now)

    # Events

    def _publish(self, session: Session, event: wire.Publish, payload: Any, now: float) -> None:
        topic = event.topic
        if not self._delivery.admit(session, now, len(payload)) or len(payload) > self.limits.frame:
            return
        if not session.rights.may_publish(topic) or not topic.endswith("/") or topic[0] == "~":
            log.warning("%s may not publish on %r", session.name, topic)
            self._delivery.send(session, wire.Denied(topic, f"{session.name} may not publish on {topic!r}"), None)
            return
        self._topics.publish(session, event, payload, now)

    def subscription(self, user: str, fd: int, prefix: str, on: bool, now: float) -> None:
        """A subscription frame of an event connection."""
        session = self._event_users.get(user)
        if session is None:
            if self._over.get(user) != fd:  # what was cut with its session may still be read for a while
                self.port.cut(fd)  # the session this credential was made for is over
            return
        if not self._topics.adopt(session, fd):
            log.warning("%s: second event connection refused", session.name)
            self.port.cut(fd)
            return
        if not self._delivery.admit(session, now):
            session.unwanted = self.limits.subscriptions
        elif not on:
            self._topics.unsubscribe(session, prefix)
            return
        elif prefix == session.marks or self._may_read(session, prefix):
            self._topics.subscribe(session, prefix)
            return
        session.unwanted += 1
        if session.unwanted > self.limits.subscriptions:
            # libzmq keeps a refused subscription for as long as its connection lives.
            log.warning("%s floods the bus with subscriptions: cut", session.name)
            self._end(session, "flooded the bus with subscriptions", False, now)

    def _may_read(self, session: Session, prefix: str) -> bool:
        """Whether events below a prefix may be read; if not, the peer is told why."""
        good = session.rights.may_subscribe(prefix) and (prefix == "" or prefix.endswith("/")) and prefix[:1] != "~"
        if good and len(session.nodes) + len(session.inline) < self.limits.subscriptions:
            return True
        why = "too many subscriptions" if good else "`allow` does not name it"
        self._delivery.send(session, wire.Denied(prefix, f"{session.name} may not subscribe to {prefix!r}: {why}"))
        return False

    def _subscribe(self, session: Session, message: wire.Subscribe, _payload: Any, _now: float) -> None:
        if message.prefix in session.inline or self._may_read(session, message.prefix):
            self._inline.subscribe(session, message.prefix)

    def _acked(self, session: Session, ack: wire.Ack, payload: Any, now: float) -> None:
        self._delivery.acked(session, ack, payload, now)
        if session.lagging:
            self._inline.read(session)

    def _say_tails(self, session: Session, message: wire.Tails, _payload: Any, now: float) -> None:
        for topic, seq in message.tails:
            if session.rights.may_publish(topic) and topic.endswith("/") and topic[0] != "~":
                self._topics.note_tail(session, topic, seq, now)

    # Time

    def due(self, now: float) -> float | None:
        """Seconds until `tick` has something to do; None when nothing is pending."""
        times = [session.doom.at for session in self._doomed if session.doom is not None] + self._watches.due()
        topics = self._topics.due()
        if topics is not None:
            times.append(topics)
        return max(0.0, min(times) - now) if times else None

    def tick(self, now: float) -> None:
        """Do what is due. Everything that arrived before must have been given to `received`."""
        for session in list(self._doomed):
            if session.doom is not None and now >= session.doom.at:
                self._end(session, session.doom.reason, session.doom.planned, now)
        self._watches.tick(now)
        self._topics.tick(now)

    # Figures

    def present(self, now: float) -> list[dict[str, Any]]:
        """Who is connected from the network: names, rights, address and for how many seconds."""
        return [
            {
                "name": session.name,
                "guest": session.guest.name,
                "rights": session.guest.label,
                "address": self.port.origin(session.fd),
                "seconds": now - session.since,
            }
            for session in self.names.values()
            if session.guest is not None
        ]

    def stats(self) -> dict[str, Any]:
        """Figures of the bus: messages forwarded and discarded, and one row for each peer (bytes, counts)."""
        return {
            "epoch": self.epoch,
            "forwarded": self._delivery.forwarded,
            "discarded": self._delivery.discarded,
            "waiting_bytes": self._delivery.waiting,
            "in_flight": len(self._flights),
            "peers": [
                {
                    "name": session.name,
                    "incarnation": session.incarnation,
                    "announced": session.announced,
                    "waiting_bytes": session.waiting,
                    "events_behind_bytes": session.events_sent() - session.events_acked,
                    "calls": len(session.calls),
                    "serving": len(session.serving),
                    "subscriptions": len(session.nodes),
                    "monitors": len(session.watches),
                    "throttled": session.dropped,
                }
                for session in self.names.values()
            ],
        }
