"""The bus process: two sockets, their guards and one synchronous poll loop around `switch`.

Sockets, descriptors and the clock live here, decisions do not. libzmq 4.3.5 without drafts has no call that ends one
connection: `cut` shuts down its descriptor, which libzmq takes for the end of the connection.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import select
import socket
import stat
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import zmq

from ipc.address import Address
from ipc.curve import BEATS, fingerprint, text
from ipc.errors import IpcError, LocalProtocolError, RemoteProtocolError
from ipc.guests import Door, Guest
from ipc.limits import Limits
from ipc.raw import readable, receive_routed, rest, send3
from ipc.rights import Rights
from ipc.seldom import seldom
from ipc.sessions import Registration
from ipc.switch import Switch
from ipc.zap import Guesses, Handshake, Refusals, read_handshake, read_subscription

log = seldom("ipc.bus")

_ZAP = "inproc://zeromq.zap.01"  # the address is fixed by libzmq
_BATCH = 256  # messages read before other sockets are looked at again
_DRAIN = 20_000  # messages read before a death is told, at most: a flood must not put off the news for ever
_LARGE = 32 * 1024  # payloads from this size on are handed through without a copy
_DESCRIPTORS = 16 * 1024
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


class AddressTaken(IpcError):
    """Another bus lives in this directory."""


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
        self._lock: int | None = None
        self._held: dict[int, int] = {}  # descriptor of a connection -> inode of its socket
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None

    def open(self) -> None:
        """Take the directory and bind. Raises AddressTaken (with the pid of the other bus) or OSError."""
        if self._context is not None:
            return
        self._take_directory()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < _DESCRIPTORS:  # two for each peer; libzmq spins when it cannot accept
            wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        # libzmq numbers connections from rand(), which it never seeds, and aborts when a peer chose the next number for
        # its own routing id: whoever can guess that number can kill the bus.
        ctypes.CDLL(None).srand(int.from_bytes(os.urandom(4), "little"))
        # What strangers make it compute is a thread of its own: the processes of this machine do not wait for that.
        context = self._context = zmq.Context(io_threads=1 if self._listener is None else 2)
        context.set(zmq.MAX_SOCKETS, 64 * 1024)
        self._zap = context.socket(zmq.ROUTER)
        self._zap.linger = 0
        self._guesses = Guesses(time.monotonic())
        self._zap.bind(_ZAP)
        self._router = self._guarded(zmq.ROUTER)
        self._router.router_mandatory = 1
        self._router.rcvhwm = 256
        self._router.affinity = 1
        self._xpub = self._guarded(zmq.XPUB)
        self._xpub.setsockopt(zmq.XPUB_MANUAL, 1)
        # What comes here are subscriptions. libzmq keeps each that it has read, a quarter of a kilobyte of prefix in some
        # five of memory, before the bus can refuse it: it must not read thousands at once.
        self._xpub.rcvhwm = 4
        self._xpub.maxmsgsize = 2048
        self._router_monitor = self._monitor(self._router, "bus")
        self._xpub_monitor = self._monitor(self._xpub, "events")
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
        # By the umask, not by chmod: a confined process may not change modes by path where only seccomp confines it.
        mask = os.umask(0o177)
        try:
            self._router.bind(self.address.bus)
            self._xpub.bind(self.address.events)
        finally:
            os.umask(mask)
        if self._listener is not None:
            self._open_network(self._listener)

    def _open_network(self, listener: int) -> None:
        """Serve a TCP socket on the same ROUTER. Options count for what is bound after them."""
        router = self._router
        assert self._secret_key is not None
        router.affinity = 2
        router.curve_server = 1  # in place of PLAIN: whoever speaks anything else is not answered
        router.setsockopt_string(zmq.CURVE_SECRETKEY, self._secret_key)
        router.maxmsgsize = self.limits.guest_frame + 64 * 1024
        router.handshake_ivl = int(self.limits.patience * 1000)
        for option, value in BEATS:
            router.setsockopt(option, value)
        router.setsockopt(zmq.USE_FD, os.dup(listener))  # libzmq closes what it is given
        router.bind("tcp://127.0.0.1:1")  # the address is not used: the socket is bound already
        router.setsockopt(zmq.USE_FD, -1)

    def _take_directory(self) -> None:
        directory = self.address.directory
        os.makedirs(directory, 0o700, exist_ok=True)
        if stat.S_IMODE(os.stat(directory).st_mode) & 0o077:
            os.chmod(directory, 0o700)  # whoever can reach the sockets could try credentials
        # libzmq unlinks whatever is bound there: without the lock a second bus would take the names from the first.
        lock = os.open(os.path.join(directory, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise AddressTaken(
                f"{directory!r} belongs to a bus that is running (pid {pid}): stop it or use another directory"
            ) from None
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        self._lock = lock

    def _guarded(self, kind: int) -> zmq.Socket[bytes]:
        assert self._context is not None
        made = self._context.socket(kind)
        made.linger = 0
        made.plain_server = True
        made.zap_domain = b"egghead-ipc"
        made.maxmsgsize = self.limits.frame + 64 * 1024
        made.sndhwm = 0  # bytes are counted instead: a high-water mark counts messages and drops in silence
        made.backlog = 4096  # a thousand peers come back at once after a restart
        return made

    def _monitor(self, watched: zmq.Socket[bytes], name: str) -> zmq.Socket[bytes]:
        assert self._context is not None
        watched.monitor(f"inproc://monitor-{name}", zmq.EVENT_DISCONNECTED | zmq.EVENT_ACCEPTED)
        made = self._context.socket(zmq.PAIR)
        made.linger = 0
        made.rcvhwm = 0  # a full monitor would stop the I/O thread
        made.connect(f"inproc://monitor-{name}")
        return made

    def admit(self, guests: Iterable[Mapping[str, Any]]) -> None:
        """These keys may come in from the network, and no others; connections of others are cut. Before or in `run`."""
        self._guests = [Guest.read(guest) for guest in guests]
        if self._context is not None:
            self.switch.admit(self._guests, time.monotonic())

    def close(self) -> None:
        """Close everything; peers see the bus go."""
        context, self._context = self._context, None
        if context is not None:
            for watched in (self._router, self._xpub):
                watched.disable_monitor()
            context.destroy(linger=0)
        if self._lock is not None:
            for name in ("bus", "events"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.address.directory, name))
            os.close(self._lock)
            self._lock = None

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
            elif monitor is self._router_monitor:
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

    def origin(self, fd: int) -> str:
        """The network address at the other end of a descriptor; empty when it is local or gone."""
        try:
            copy = os.dup(fd)
        except OSError:
            return ""
        try:
            with socket.socket(fileno=copy) as connection:
                if connection.family not in (socket.AF_INET, socket.AF_INET6):
                    return ""
                return str(connection.getpeername()[0]).removeprefix("::ffff:")
        except OSError:
            return ""

    def publish(self, topic: str, header: bytes, payload: Any) -> None:
        """Give an event to every matching subscription."""
        send3(self._xpub, topic.encode(), header, payload)

    def subscribe(self, prefix: str) -> None:
        """Accept the subscription frame that was read last."""
        self._xpub.setsockopt(zmq.SUBSCRIBE, prefix.encode())

    def unsubscribe(self, prefix: str) -> None:
        """Drop the subscription of the frame that was read last."""
        self._xpub.setsockopt(zmq.UNSUBSCRIBE, prefix.encode())

    def hold(self, fd: int) -> None:
        """Remember which socket is behind a descriptor."""
        with contextlib.suppress(OSError):  # it ended by itself; the monitor will say so
            self._held[fd] = os.fstat(fd).st_ino

    def cut(self, fd: int, held: bool = False) -> None:
        """End the connection behind a descriptor, if it is still a connected unix or TCP socket.

        libzmq closes a lost connection in its own thread, and the kernel gives the number to the next one: with `held`
        the socket must be the one that was remembered, or a stranger would be cut.
        """
        wanted = self._held.pop(fd, None)
        try:
            copy = os.dup(fd)
        except OSError:
            return  # it ended by itself
        try:
            found = os.fstat(copy)
            if not stat.S_ISSOCK(found.st_mode) or (held and found.st_ino != wanted):
                os.close(copy)
                return
            with socket.socket(fileno=copy) as connection:
                connection.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            log.debug("descriptor %d was gone before it was cut: %s", fd, error)
