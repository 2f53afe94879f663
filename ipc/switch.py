"""The bus without its sockets: every message, connection and death is decided here.

A state machine with no I/O, no clock and no thread. `bus` feeds it what arrived and the time; it answers through a
`Port`. Laws: a frame speaks only for the connection that was authenticated and said Hello; a call is answered once, by
the process it was given to, or failed, never both; after a death was told nothing of the dead is delivered.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from ipc import wire
from ipc.errors import LocalProtocolError, RemoteProtocolError
from ipc.limits import OVERHEAD, Limits
from ipc.rights import Rights, compile_pattern
from ipc.sessions import Doors, Flight, Registration, Session, Watch, client_user
from ipc.topics import EventPort, Topics

log = logging.getLogger("ipc.bus")


class Port(EventPort, Protocol):
    """What the switch can do to the world."""

    def send(self, rid: bytes, header: bytes, payload: Any) -> bool:
        """Queue a message for a connection; False when it is gone."""


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
        self._watches: dict[Watch, None] = {}  # of all sessions, in the order in which they began
        self._topics = Topics(port, epoch, limits, self._send, now)
        self._doomed: dict[Session, tuple[float, str, bool]] = {}
        self._held: dict[str, tuple[float, int, str, bool]] = {}
        self._awaited = set(self.doors.registrations)
        self._settled_at = now + limits.settle
        # Numbers of no other bus: a callee that answers late must not answer somebody else's request.
        self._numbers = itertools.count((epoch % 2**42 << 20) + 1)
        self._connections = itertools.count(1)
        self._clients = itertools.count(1)
        self._waiting = 0
        self.forwarded = self.discarded = 0
        self._handlers: dict[type, Callable[[Session, Any, Any, float], None]] = {
            wire.Call: self._call,
            wire.Open: self._call,
            wire.Cast: self._cast,
            wire.Result: self._answer,
            wire.Error: self._answer,
            wire.End: self._answer,
            wire.Chunk: self._chunk,
            wire.Credit: self._credit,
            wire.Cancel: self._cancel,
            wire.Publish: self._publish,
            wire.Tails: self._say_tails,
            wire.Monitor: self._monitor,
            wire.Unmonitor: self._unmonitor,
            wire.Mark: self._mark,
            wire.Ack: self._ack,
            wire.Announce: self._announce,
            wire.Bye: self._bye,
            wire.Hello: self._second_hello,
        }

    # Who may connect

    def control(self, message: dict[str, Any], now: float) -> None:
        """A message of the control channel: a notice or an observed death. Others are not for the bus."""
        notice = message.get("notice")
        if isinstance(notice, dict):
            try:
                if "register" in notice:
                    self.register(Registration.read(notice), now)
                elif "revoke" in notice:
                    self.down(notice["revoke"], notice["incarnation"], "revoked", False, now)
            except (LocalProtocolError, KeyError) as error:
                log.error("notice ignored: %s", error)
        elif "down" in message:
            self.down(
                str(message["down"]),
                int(message.get("incarnation") or 0),
                str(message.get("reason") or "").encode("utf-8", "replace").decode(),
                bool(message.get("planned")),
                now,
            )

    def register(self, registration: Registration, now: float) -> None:
        """Accept the credential of a process that is about to start; an earlier life of that name is over."""
        older = self.names.get(registration.name)
        known = self.doors.registrations.get(registration.name)
        if known is not None and known.incarnation > registration.incarnation:
            log.error("%s: registration of the old incarnation %d ignored", registration.name, registration.incarnation)
            return
        if older is not None and older.incarnation != registration.incarnation and older not in self._doomed:
            self._doomed[older] = (now, "replaced by a newer incarnation", False)
        self.doors.registrations[registration.name] = registration

    def down(self, name: str, incarnation: int, reason: str, planned: bool, now: float) -> None:
        """A process is known to be dead: its credential is void, and its session ends when its last words are read."""
        registration = self.doors.registrations.get(name)
        if registration is not None and registration.incarnation == incarnation:
            del self.doors.registrations[name]
        session = self.names.get(name)
        if session is not None and session.incarnation == incarnation:
            self._doomed[session] = (now + self.limits.grace, reason or "exited", planned)
        held = self._held.get(name)
        if held is not None and held[1] == incarnation:
            self._held[name] = (now, incarnation, reason or held[2], planned)
            self._tell_held(name)
        self._awaited.discard(name)
        self._settle(now)

    def authenticate(self, username: str, password: str) -> str | None:
        """User-Id for the credentials of a handshake, None to refuse them."""
        if username == "events":
            session = self._secrets.get(password)
            return session.event_user if session is not None else None
        return self.doors.user(username, password)

    # Connections

    def received(self, rid: bytes, user: str, fd: int, frames: Sequence[Any], now: float) -> None:
        """One message of a connection. `user`: its authenticated User-Id. The last frame may be any buffer."""
        session = self.sessions.get(rid)
        try:
            message, _ = wire.decode_to_bus(frames)
        except RemoteProtocolError as error:
            log.warning("%s sent garbage and is cut off: %s", user, error)
            if session is not None and session.user == user:
                self._send(session, wire.Rejected("protocol", str(error), wire.VERSION), None)
                self._end(session, "sent garbage", False, now)
            else:
                self.port.cut(fd)
            return
        if session is None or session.user != user:
            if type(message) is wire.Hello:
                self._hello(rid, user, fd, message, now)
            elif type(message) is not wire.Bye:
                # Frames before Hello are of an earlier life of the process or the bus: executed, they would be ghosts.
                self.discarded += 1
                self.port.cut(fd)
            return
        self._handlers[type(message)](session, message, frames[1] if len(frames) == 2 else None, now)

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
        if client is not None:
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
        if before is not None and before.user != user and before in self._doomed:
            _, reason, planned = self._doomed[before]
            self._end(before, reason, planned, now)  # the next life is here: the last one has said its last words
        if name in self.names:
            return reject("connected", f"{name} is connected: a credential is for one connection at a time")
        number = next(self._connections)
        session = Session(rid, user, fd, number, name, incarnation, rights, self.limits)
        session.bucket.at = now
        welcome = wire.Welcome(
            wire.VERSION, name, incarnation, self.epoch, session.secret, session.marks, self.limits.frame,
            self.limits.window,
        )  # fmt: skip
        if not self.port.send(rid, wire.encode(welcome), None):
            return None
        self.sessions[rid] = self.names[name] = self._fds[fd] = session
        self.port.hold(fd)
        self._event_users[session.event_user] = self._secrets[session.secret] = session
        if hello.announced:
            self._announce(session, None, None, now)
        return None

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
        self._send(session, wire.Rejected("protocol", "Hello was said before", wire.VERSION), None)
        self._end(session, "said Hello twice", False, now)

    def lost(self, fd: int, now: float) -> None:
        """A main connection ended; everything it brought has been given to `received`."""
        session = self._fds.get(fd)
        if session is None:
            return
        doom = self._doomed.get(session)
        if doom is not None:
            self._end(session, doom[1], doom[2], now, told=True)
        else:
            self._end(session, "connection lost", False, now, told=client_user(session.user) is not None)

    def events_lost(self, fd: int) -> None:
        """An event connection ended; what it subscribed is gone with it."""
        self._topics.lost(fd)

    def _bye(self, session: Session, _message: Any, _payload: Any, now: float) -> None:
        self._send(session, wire.Goodbye(), None)
        self._end(session, "closed", True, now, told=True, cut=False)

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
        self._waiting -= session.waiting
        self._topics.cut(session)
        if cut:
            self.port.cut(session.fd, held=True)
        for flight in session.serving.values():
            if flight.caller is not session:
                del flight.caller.calls[flight.id]
                self._send(flight.caller, wire.Failed(flight.id, "peer_down", session.name, reason), None)
        for flight in session.calls.values():
            if flight.target is not session:
                del flight.target.serving[flight.number]
                self._send(flight.target, wire.Cancel(flight.number), None)
        session.serving.clear()
        session.calls.clear()
        for watch in session.watches.values():
            del self._watches[watch]
        session.watches.clear()
        if session.announced:
            self._held[session.name] = (now + self.limits.hold, session.incarnation, reason, planned)
            if told:
                self._tell_held(session.name)

    # Calls and streams

    def _call(self, session: Session, call: wire.Call | wire.Open, payload: Any, now: float) -> None:
        failed = self._why_not(session, call, payload, now)
        if failed is not None:
            self._send(session, failed, None)
            return
        if call.target == "bus":
            self._own(session, call)
            return
        target = self.names[call.target]
        flight = Flight(session, call.id, target, next(self._numbers), type(call) is wire.Open)
        session.calls[call.id] = target.serving[flight.number] = flight
        request = wire.Request(
            flight.number, session.name, session.incarnation, call.method, call.timeout_ms,
            call.credit if isinstance(call, wire.Open) else None,
        )  # fmt: skip
        self._send(target, request, payload)

    def _why_not(self, session: Session, call: wire.Call | wire.Open, payload: Any, now: float) -> wire.Failed | None:
        target = call.target
        if not session.rights.may_call(target, call.method):
            text = f"{session.name} may not call {target}.{call.method}: `allow` does not name it"
            return wire.Failed(call.id, "forbidden", target, text)
        if call.id in session.calls:
            return wire.Failed(call.id, "forbidden", target, f"call id {call.id} is in flight already")
        if len(payload) > self.limits.frame:
            return wire.Failed(call.id, "too_big", target, f"{len(payload)} bytes, the limit is {self.limits.frame}")
        if not self._admit(session, now):
            return wire.Failed(call.id, "overloaded", target, f"{session.name} sends too many messages")
        if len(session.calls) >= self.limits.calls:
            return wire.Failed(
                call.id, "overloaded", target, f"{session.name} has {len(session.calls)} calls in flight"
            )
        if target == "bus":
            return None
        peer = self.names.get(target)
        if peer is None or peer in self._doomed:
            return wire.Failed(call.id, "peer_down", target, "not connected")
        if self._full(peer):
            text = f"{target} does not read: {peer.waiting} bytes wait for it"
            return wire.Failed(call.id, "overloaded", target, text)
        return None

    def _full(self, peer: Session) -> bool:
        waiting = peer.waiting
        return waiting > self.limits.budget or (self._waiting > self.limits.total and waiting > 2 * self.limits.mark)

    def _admit(self, session: Session, now: float, size: int = 0) -> bool:
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
            self._send(session, wire.Slow(int(wait * 1000) + 1, f"{session.name} sends too many messages"), None)
        if left > -session.bucket.burst / 2:
            return True
        session.dropped += 1
        return False

    def _cast(self, session: Session, cast: wire.Cast, payload: Any, now: float) -> None:
        if not session.rights.may_call(cast.target, cast.method) or len(payload) > self.limits.frame:
            log.warning("%s: cast to %s.%s refused", session.name, cast.target, cast.method)
            return
        peer = self.names.get(cast.target)
        if not self._admit(session, now) or peer is None or self._full(peer):
            self.discarded += 1
            return
        self._send(peer, wire.Told(session.name, session.incarnation, cast.method), payload)

    def _answer(
        self, session: Session, message: wire.Result | wire.Error | wire.End, payload: Any, _now: float
    ) -> None:
        flight = session.serving.pop(message.id, None)
        if flight is None:
            self.discarded += 1  # nobody waits: cancelled, timed out, or the caller is gone
            return
        del flight.caller.calls[flight.id]
        answer: wire.Result | wire.Error | wire.End
        if isinstance(message, wire.Error):
            answer = wire.Error(flight.id, message.type, message.message)
        else:
            answer = type(message)(flight.id)
        self._send(flight.caller, answer, payload)

    def _chunk(self, session: Session, chunk: wire.Chunk, payload: Any, _now: float) -> None:
        flight = session.serving.get(chunk.id)
        if flight is None or not flight.stream:
            self.discarded += 1
            return
        self._send(flight.caller, wire.Chunk(flight.id), payload)

    def _credit(self, session: Session, credit: wire.Credit, _payload: Any, _now: float) -> None:
        flight = session.calls.get(credit.id)
        if flight is not None:
            self._send(flight.target, wire.Credit(flight.number, credit.amount), None)

    def _cancel(self, session: Session, cancel: wire.Cancel, _payload: Any, _now: float) -> None:
        flight = session.calls.pop(cancel.id, None)
        if flight is not None:
            del flight.target.serving[flight.number]
            self._send(flight.target, wire.Cancel(flight.number), None)

    # Events

    def _publish(self, session: Session, event: wire.Publish, payload: Any, now: float) -> None:
        topic = event.topic
        if not session.rights.may_publish(topic) or not topic.endswith("/") or topic[0] == "~":
            log.warning("%s may not publish on %r", session.name, topic)
            self._send(session, wire.Denied(topic, f"{session.name} may not publish on {topic!r}"), None)
            return
        if len(payload) > self.limits.frame or not self._admit(session, now, len(payload)):
            return
        self._topics.publish(session, event, payload, now)

    def subscription(self, user: str, fd: int, prefix: str, on: bool) -> None:
        """A subscription frame of an event connection."""
        session = self._event_users.get(user)
        if session is None:
            self.port.cut(fd)  # the session this credential was made for is over
            return
        if not self._topics.adopt(session, fd):
            log.warning("%s: second event connection refused", session.name)
            self.port.cut(fd)
            return
        if not on:
            self._topics.unsubscribe(session, prefix)
            return
        good = prefix == session.marks or (
            session.rights.may_subscribe(prefix) and (prefix == "" or prefix.endswith("/")) and prefix[:1] != "~"
        )
        if not good or len(session.nodes) >= self.limits.subscriptions:
            why = "`allow` does not name it" if good is False else "too many subscriptions"
            self._send(session, wire.Denied(prefix, f"{session.name} may not subscribe to {prefix!r}: {why}"), None)
            return
        self._topics.subscribe(session, prefix)

    def _say_tails(self, session: Session, message: wire.Tails, _payload: Any, now: float) -> None:
        for topic, seq in message.tails[:1000]:
            if session.rights.may_publish(topic) and topic.endswith("/") and topic[0] != "~":
                self._topics.note_tail(session, topic, seq, now)

    # Monitors

    def _monitor(self, session: Session, monitor: wire.Monitor, _payload: Any, now: float) -> None:
        if not session.rights.may_monitor(monitor.pattern):
            text = f"{session.name} may not monitor {monitor.pattern!r}: `allow` does not name it"
            self._send(session, wire.Failed(monitor.id, "forbidden", monitor.pattern, text), None)
            return
        if len(session.watches) >= self.limits.subscriptions:
            text = f"{session.name} has {len(session.watches)} monitors"
            self._send(session, wire.Failed(monitor.id, "overloaded", monitor.pattern, text), None)
            return
        if monitor.id in session.watches:
            return  # it is being told already
        watch = session.watches[monitor.id] = Watch(session, monitor.id, compile_pattern(monitor.pattern))
        self._watches[watch] = None
        for name, other in self.names.items():
            if other.announced and watch.pattern.fullmatch(name):
                self._send(session, wire.Changed(watch.id, name, other.incarnation, True, "", False), None)
        self._settle(now)

    def _unmonitor(self, session: Session, message: wire.Unmonitor, _payload: Any, _now: float) -> None:
        watch = session.watches.pop(message.id, None)
        if watch is not None:
            del self._watches[watch]

    def _announce(self, session: Session, _message: Any, _payload: Any, now: float) -> None:
        if session.announced:
            return
        self._tell_held(session.name)
        session.announced = True
        self._tell(session.name, session.incarnation, True, "", False)
        self._awaited.discard(session.name)
        self._settle(now)

    def _tell(self, name: str, incarnation: int, up: bool, reason: str, planned: bool) -> None:
        for watch in self._watches:
            if watch.pattern.fullmatch(name):
                self._send(watch.session, wire.Changed(watch.id, name, incarnation, up, reason, planned), None)

    def _tell_held(self, name: str) -> None:
        held = self._held.pop(name, None)
        if held is not None:
            self._tell(name, held[1], False, held[2], held[3])

    def _settle(self, now: float) -> None:
        """Say that snapshots are complete, once every process that was known at the start is back or given up."""
        if self._awaited and now >= self._settled_at:
            self._awaited.clear()
        for watch in self._watches:
            if watch.waiting and not any(watch.pattern.fullmatch(name) for name in self._awaited):
                watch.waiting = False
                self._send(watch.session, wire.Snapshot(watch.id), None)

    # Bounds

    def _send(self, session: Session, message: wire.ToPeer, payload: Any = None) -> None:
        header = wire.encode(message)
        size = len(header) + OVERHEAD + (len(payload) if payload is not None else 0)
        session.sent += size
        self._waiting += size
        self.forwarded += 1
        if session.sent - session.acked > self.limits.hard_budget and session.marked > session.acked:
            if session not in self._doomed:
                log.warning("%s does not read (%d bytes wait): cut", session.name, session.waiting)
                self._doomed[session] = (0.0, "did not read its messages", False)
            return
        self.port.send(session.rid, header, payload)
        if session.sent - session.marked >= self.limits.mark:
            session.marked = session.sent
            self.port.send(session.rid, wire.encode(wire.Mark(session.sent)), None)

    def _mark(self, session: Session, mark: wire.Mark, _payload: Any, _now: float) -> None:
        self._send(session, wire.Ack(mark.total), None)

    def _ack(self, session: Session, ack: wire.Ack, _payload: Any, _now: float) -> None:
        if ack.events:
            session.events_acked = max(session.events_acked, min(ack.total, session.events_marked))
        else:
            total = max(session.acked, min(ack.total, session.marked))
            self._waiting -= total - session.acked
            session.acked = total

    # Time

    def due(self, now: float) -> float | None:
        """Seconds until `tick` has something to do; None when nothing is pending."""
        times = [doom[0] for doom in self._doomed.values()] + [held[0] for held in self._held.values()]
        topics = self._topics.due()
        if topics is not None:
            times.append(topics)
        if self._awaited:
            times.append(self._settled_at)
        return max(0.0, min(times) - now) if times else None

    def tick(self, now: float) -> None:
        """Do what is due. Everything that arrived before must have been given to `received`."""
        for session, (at, reason, planned) in list(self._doomed.items()):
            if now >= at:
                self._end(session, reason, planned, now)
        for name, held in list(self._held.items()):
            if now >= held[0]:
                self._tell_held(name)
        if self._awaited and now >= self._settled_at:
            self._settle(now)
        self._topics.tick(now)

    # The bus itself as a target

    def _own(self, session: Session, call: wire.Call | wire.Open) -> None:
        if call.method == "ping":
            self._send(session, wire.Result(call.id), wire.pack(None))
        elif call.method == "stats":
            self._send(session, wire.Result(call.id), wire.pack(self.stats()))
        else:
            text = f"the bus has no method {call.method!r}, only ping and stats"
            self._send(session, wire.Error(call.id, "NoSuchMethod", text), wire.pack({}))

    def stats(self) -> dict[str, Any]:
        """Figures of the bus: messages forwarded and discarded, and one row for each peer (bytes, counts)."""
        return {
            "epoch": self.epoch,
            "forwarded": self.forwarded,
            "discarded": self.discarded,
            "waiting_bytes": self._waiting,
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
