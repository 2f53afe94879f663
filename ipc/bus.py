"""The bus process: one synchronous poll loop around `switch`, which reads its sockets and guards and tells it the time.

Sockets, descriptors and the clock meet here; decisions are the switch's, what libzmq is told is in `sockets`.
"""

from __future__ import annotations

import os
import select
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import zmq

from ipc.address import Address
from ipc.connections import Connections, origin
from ipc.curve import fingerprint, text
from ipc.errors import LocalProtocolError, RemoteProtocolError
from ipc.guests import Door, Guest
from ipc.limits import Limits
from ipc.raw import readable, receive_routed, rest, send3
from ipc.rights import Rights
from ipc.seldom import seldom
from ipc.sessions import Registration
from ipc.sockets import Sockets
from ipc.switch import Switch
from ipc.zap import Guesses, Handshake, Refusals, read_handshake, read_subscription

log = seldom("ipc.bus")

_BATCH = 256  # messages read before other sockets are looked at again
_DRAIN = 20_000  # messages read before a death is told, at most: a flood must not put off the news for ever
_LARGE = 32 * 1024  # payloads from this size on are handed through without a copy
_TICK = 1.0  # seconds between calls of `on_tick`, at most


def _descriptor(socket_: zmq.Socket[bytes]) -> int:
    return int(socket_.getsockopt(zmq.FD))


class Control(Protocol):
    """What the bus needs of the channel to its supervisor."""

    def fileno(self) -> int: ...

    def receive(self) -> list[dict[str, Any]]: ...


def _named(credentials: Sequence[bytes]) -> str:
    """The key of a refused handshake, for the log of the person who may want to authorise it."""
    return fingerprint(text(credentials[0])) if credentials and len(credentials[0]) == 32 else "no key"


class Bus:
    """A bus in `directory` (made with mode 0700). `open` binds, `run` serves until it is told to stop.

    `registrations`: notices `{"register": name, "incarnation": n, "credential": hex, "allow": {...}}` of the processes
    that live already, for a bus that is started again. `token`, `client_allow`: for `client:<user>` connections.
    `listener`: a listening TCP socket (the caller's, who keeps it open), and `secret_key` (Z85) the key of this bus for
    it; `guests`: the keys that may come in there (`ipc.guests`). The bus itself opens nothing on the network.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        epoch: int | None = None,
        registrations: Iterable[Mapping[str, Any]] = (),
        token: str | None = None,
        client_allow: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        listener: int | None = None,
        secret_key: str | None = None,
        guests: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        self.address = Address(directory)
        self.epoch = time.time_ns() // 1_000_000 if epoch is None else epoch
        self.limits = limits or Limits()
        self._registrations = [Registration.read(notice) for notice in registrations]
        self._token = token
        self._client_rights = Rights(client_allow)
        self._listener = listener
        self._secret_key = secret_key
        self._guests = [Guest.read(guest) for guest in guests]
        if listener is not None and not secret_key:
            raise LocalProtocolError(
                "a bus on the network needs its secret_key: without CURVE it would speak in the clear"
            )
        self._door = Door(self.limits.strangers, self.limits.patience)
        self._refusals = Refusals()
        self._connections = Connections()
        self._sockets: Sockets | None = None

    def open(self) -> None:
        """Take the directory and bind. Raises AddressTaken (with the pid of the other bus) or OSError."""
        if self._sockets is not None:
            return
        sockets = self._sockets = Sockets(self.address, self.limits, guests=self._listener is not None)
        self._zap, self._router, self._xpub = sockets.zap, sockets.router, sockets.xpub
        self._router_monitor, self._xpub_monitor = sockets.router_monitor, sockets.xpub_monitor
        self._guesses = Guesses(time.monotonic())
        self.switch = Switch(
            self,
            self.epoch,
            self.limits,
            time.monotonic(),
            self._registrations,
            self._token,
            self._client_rights,
            self._guests,
        )
        sockets.bind()
        if self._listener is not None and self._secret_key is not None:
            sockets.bind_network(self._listener, self._secret_key)

    def admit(self, guests: Iterable[Mapping[str, Any]]) -> None:
        """These keys may come in from the network, and no others; connections of others are cut. Before or in `run`."""
        self._guests = [Guest.read(guest) for guest in guests]
        if self._sockets is not None:
            self.switch.admit(self._guests, time.monotonic())

    def close(self) -> None:
        """Close everything; peers see the bus go."""
        sockets, self._sockets = self._sockets, None
        if sockets is not None:
            sockets.close()

    def run(
        self,
        control: Control | None = None,
        on_ready: Callable[[], None] | None = None,
        on_tick: Callable[[], None] | None = None,
        every: float = _TICK,
    ) -> None:
        """Serve until `control` says `{"stop": true}` or ends. Closes the bus.

        `on_ready` is called when peers can connect, `on_tick` at least each `every` seconds.
        """
        self.open()
        try:
            if on_ready is not None:
                on_ready()
            self._loop(control, on_tick, every)
        finally:
            self.close()

    def _loop(self, control: Control | None, on_tick: Callable[[], None] | None, every: float) -> None:
        # libzmq's descriptors and epoll instead of zmq.Poller, which asks every socket twice on every turn. A socket's
        # descriptor tells only of news since the socket was last used: the two that are written to are asked again.
        epoll = select.epoll()
        others = (self._zap, self._router_monitor, self._xpub_monitor)
        for polled in (self._router, self._xpub, *others):
            epoll.register(_descriptor(polled), select.EPOLLIN)
        zap, *monitors = map(_descriptor, others)
        control_fd = -1 if control is None else control.fileno()
        if control is not None:
            epoll.register(control_fd, select.EPOLLIN)
        with epoll:
            self._turns(epoll, control, control_fd, zap, frozenset(monitors), on_tick, every)

    def _turns(
        self,
        epoll: select.epoll,
        control: Control | None,
        control_fd: int,
        zap: int,
        monitors: frozenset[int],
        on_tick: Callable[[], None] | None,
        every: float,
    ) -> None:
        switch, router, xpub = self.switch, self._router, self._xpub
        ticked = time.monotonic()
        while True:
            router_ready, xpub_ready = readable(router), readable(xpub)
            due = 0.0 if router_ready or xpub_ready else self._due(time.monotonic())
            if on_tick is not None:
                due = every if due is None else min(due, every)
            ready = {descriptor for descriptor, _ in epoll.poll(None if due is None else due)}
            if control is not None and control_fd in ready and not self._control(control):
                return
            late = self._guesses.ready(time.monotonic())
            for handshake in late:
                self._refuse(handshake)
            while (zap in ready or late) and (asked := self._asked()):  # again: answering may eat the news of a request
                # A registration that was sent before the process existed must be known before its handshake is judged.
                if control is not None and not self._control(control):
                    return
                self._judge(asked)
            if ready & monitors:
                self._deaths()
            if router_ready or readable(router):
                self._receive(_BATCH)
            if xpub_ready or readable(xpub):
                self._subscriptions()
            now = time.monotonic()
            due = self._due(now)
            if due is not None and due <= 0:
                self._receive(_DRAIN)
                switch.tick(now)
                for stranger in self._door.tick(now):
                    self._send_away(stranger, "did not say Hello in time")
            if on_tick is not None and now - ticked >= every / 2:
                ticked = now
                on_tick()

    def _due(self, now: float) -> float | None:
        times = [at for at in (self._door.due(), self._guesses.due()) if at is not None]
        due = self.switch.due(now)
        if not times:
            return due
        return max(0.0, min(times) - now) if due is None else min(due, max(0.0, min(times) - now))

    def _control(self, control: Control) -> bool:
        try:
            messages = control.receive()
        except EOFError:
            return False
        now = time.monotonic()
        for message in messages:
            if isinstance(message, dict) and message.get("stop"):
                return False
            self.switch.control(message, now)
        return True

    def _asked(self) -> list[Handshake]:
        found = []
        while True:
            try:
                found.append(read_handshake(self._zap.recv_multipart(zmq.NOBLOCK)))
            except zmq.Again:
                return found
            except RemoteProtocolError as error:
                log.error("libzmq asked what cannot be answered: %s", error)

    def _judge(self, handshakes: list[Handshake]) -> None:
        for handshake in handshakes:
            user = None
            credentials = handshake.credentials
            if handshake.mechanism == "PLAIN" and len(credentials) == 2:
                user = self.switch.authenticate(*(part.decode(errors="replace") for part in credentials))
            elif handshake.mechanism == "CURVE" and len(credentials) == 1:
                user = self.switch.authenticate_key(credentials[0])
            if user is not None:
                self._zap.send_multipart(handshake.answer(user))
            elif handshake.mechanism == "CURVE" or self._guesses.add(handshake, time.monotonic()):
                self._refuse(handshake)

    def _refuse(self, handshake: Handshake) -> None:
        who = repr(handshake.credentials[:1])
        if handshake.mechanism == "CURVE":
            who = f"a key that is not authorised ({_named(handshake.credentials)})"
        self._refusals.tell(who, handshake.address, time.monotonic())
        self._zap.send_multipart(handshake.answer(None))

    def _lost(self, monitor: zmq.Socket[bytes]) -> list[int]:
        found: list[int] = []
        while True:
            try:
                event, _endpoint = monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return found
            kind, descriptor = struct.unpack("=Hi", event)
            if kind == zmq.EVENT_DISCONNECTED:
                self._door.left(descriptor)
                found.append(descriptor)
            elif monitor is self._router_monitor and self._listener is not None:
                self._arrived(descriptor)

    def _arrived(self, descriptor: int) -> None:
        """Somebody connected. Who comes from the network has a moment to say who he is."""
        address = self.origin(descriptor)
        if address:
            self.hold(descriptor)
            for stranger in self._door.arrived(descriptor, address, time.monotonic()):
                self._send_away(stranger, "too many strangers at the door")

    def _send_away(self, descriptor: int, why: str) -> None:
        if not self.switch.knows(descriptor):  # its Hello may have been read before the news that it had connected
            self._refusals.tell(
                f"a connection that {why}" if why.startswith("did") else why, self.origin(descriptor), time.monotonic()
            )
            self.cut(descriptor, held=True)

    def _deaths(self) -> None:
        """Tell of connections that ended, after everything that they brought."""
        for descriptor in self._lost(self._xpub_monitor):
            self.switch.events_lost(descriptor)
        ended = self._lost(self._router_monitor)
        if ended:
            hellos = self._read(_DRAIN)
            now = time.monotonic()
            for descriptor in ended:
                self.switch.lost(descriptor, now)
            self._greet(hellos)

    def _receive(self, limit: int) -> None:
        hellos = self._read(limit)
        if hellos:
            # A peer that comes back, or its next life, may be heard before the last words and the end of its old
            # connection: read those first.
            hellos += self._read(_DRAIN)
            self._deaths()
            self._greet(hellos)

    def _greet(self, hellos: list[tuple[bytes, str, int, list[Any]]]) -> None:
        now = time.monotonic()
        for rid, user, descriptor, frames in hellos:
            self.switch.received(rid, user, descriptor, frames, now)
            if self.switch.knows(descriptor):
                self._door.left(descriptor)

    def _read(self, limit: int) -> list[tuple[bytes, str, int, list[Any]]]:
        """Give messages to the switch, but return the Hellos."""
        router = self._router
        received, sessions = self.switch.received, self.switch.sessions
        hellos: list[tuple[bytes, str, int, list[Any]]] = []
        now = time.monotonic()
        for _ in range(limit):
            try:
                rid, part = receive_routed(router)
            except zmq.Again:
                break
            # Routing ids can be chosen by the peer; what the handshake proved cannot.
            user = str(part.get("User-Id"))
            session = sessions.get(rid)
            fd = session.fd if session is not None and session.user == user else part.get(zmq.SRCFD)
            frames: list[Any] = [part.bytes]
            for more in rest(router, part):
                frames.append(more.bytes if len(more) < _LARGE else more)
            if frames[0][1:2] == b"\x01":
                hellos.append((rid, user, fd, frames))
            else:
                received(rid, user, fd, frames, now)
        return hellos

    def _subscriptions(self) -> None:
        for _ in range(_BATCH):
            try:
                frame = self._xpub.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            try:
                user, descriptor = str(frame.get("User-Id")), frame.get(zmq.SRCFD)
            except zmq.ZMQError:
                continue  # libzmq tells of a connection that ended; its monitor told the same
            try:
                begins, prefix = read_subscription(frame.bytes)
            except RemoteProtocolError as error:
                log.warning("%s sent a bad subscription and is cut off: %s", user, error)
                self.cut(descriptor)
                continue
            self.switch.subscription(user, descriptor, prefix, begins, time.monotonic())

    # What the switch can do

    def send(self, rid: bytes, header: bytes, payload: Any) -> bool:
        """Queue a message; False when the connection is gone."""
        try:
            send3(self._router, rid, header, payload)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        return True

    def leaving(self, fd: int) -> None:
        """Give a guest that said Bye a stranger's time to go."""
        self._arrived(fd)

    def publish(self, topic: str, header: bytes, payload: Any) -> None:
        """Give an event to every matching subscription."""
        send3(self._xpub, topic.encode(), header, payload)

    def subscribe(self, prefix: str) -> None:
        """Accept the subscription frame that was read last."""
        self._xpub.setsockopt(zmq.SUBSCRIBE, prefix.encode())

    def unsubscribe(self, prefix: str) -> None:
        """Drop the subscription of the frame that was read last."""
        self._xpub.setsockopt(zmq.UNSUBSCRIBE, prefix.encode())

    def origin(self, fd: int) -> str:
        """The network address at the other end of a descriptor; empty when it is local or gone."""
        return origin(fd)

    def hold(self, fd: int) -> None:
        """Remember which socket is behind a descriptor."""
        self._connections.hold(fd)

    def cut(self, fd: int, held: bool = False) -> None:
        """End the connection behind a descriptor; with `held` only if it is the one that was remembered."""
        self._connections.cut(fd, held)
