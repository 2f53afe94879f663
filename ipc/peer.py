"""A named peer: the one object through which a process calls, answers, publishes, reads and watches.

Joins the parts: `link` (sockets), `serving` (handlers), `streams`, `events`, `monitors`. What belongs here is the life
of the connection and the caller's side of calls; what a message looks like belongs to `wire`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import weakref
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ipc import wire
from ipc.address import Address
from ipc.errors import (
    CallTimeout,
    Forbidden,
    IpcError,
    LocalProtocolError,
    Overloaded,
    PeerDown,
    RemoteError,
    RemoteProtocolError,
    VersionMismatch,
)
from ipc.events import Subscription
from ipc.limits import Limits
from ipc.link import Link
from ipc.monitors import Monitor
from ipc.outbox import Outbox
from ipc.raw import Sockets
from ipc.reading import Reader
from ipc.serving import Handler, Server
from ipc.streams import Stream

log = logging.getLogger("ipc.peer")

TIMEOUT = 10.0  # seconds, of a call that does not say
STREAM_TIMEOUT = 300.0
_TAIL = Limits.tail
_AGAIN = 0.05  # seconds until a rejected Hello is said again while an older connection is being cleared away
_PATIENCE = 2.0  # seconds for which that is tried
_TOPICS = 10_000
# Seconds from the end of the bus to PeerDown("bus"): every callee sees the same end at its own socket, and one that has
# not been scheduled yet must not start a call after its caller was told that it failed.
_AFTER = 0.025


def name_of(text: str) -> str:
    """A name, method, topic or pattern as the wire takes it. Raises LocalProtocolError."""
    # The bus would take anything else for garbage and cut the connection, with everything in flight.
    if not isinstance(text, str) or not 0 < len(text) <= 255 or not text.encode("utf-8", "ignore").decode() == text:
        raise LocalProtocolError(f"{text!r} must be text of 1 to 255 characters")
    return text


def milliseconds(timeout: float) -> int:
    """A timeout in seconds as the wire takes it. Raises LocalProtocolError."""
    if not 0 <= timeout <= 1e9:
        raise LocalProtocolError(f"timeout {timeout!r} must be seconds from 0 to 1e9")
    return int(timeout * 1000)


class Peer:
    """A connection to a bus under a name. Lives on the loop on which `connect` was called, in that process only.

    `name` and `credential`: what the bus was told for this process life, or `client:<user>` and the token. After
    `connect` it reconnects by itself: methods, subscriptions and monitors come back, calls in flight fail with
    PeerDown("bus"). When the bus refuses it for good, everything fails and `wait_closed` raises the reason.
    `sockets` makes its sockets; another one than libzmq's is for a rehearsal (`ipc.stage`).
    """

    def __init__(
        self,
        address: Address | str | os.PathLike[str],
        *,
        name: str,
        credential: str,
        sockets: Callable[[], Sockets] = Sockets,
    ) -> None:
        self.address = address if isinstance(address, Address) else Address(address)
        if not 0 < len(name.encode()) <= 255 or not 0 < len(credential.encode()) <= 255:
            # Without them libzmq would not authenticate at all, and wait for ever.
            raise LocalProtocolError(f"peer {name!r} needs a name and a credential of 1 to 255 bytes")
        self._user = name
        self._credential = credential
        self._sockets = sockets
        self._welcome: wire.Welcome | None = None
        self._name = name
        self._announced = False
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._link: Link | None = None
        self._out = Outbox()
        self._reader = Reader(self._out)
        self._server = Server(self, self._out.gone)
        self._ids = itertools.count(1)
        self._calls: dict[int, tuple[asyncio.Future[bytes | None], str]] = {}
        self._streams: dict[int, Stream] = {}
        self._monitors: weakref.WeakValueDictionary[int, Monitor] = weakref.WeakValueDictionary()
        self._published: dict[str, tuple[int, float]] = {}
        self._welcomed: asyncio.Future[None] | None = None
        self._closed: asyncio.Future[None] | None = None
        self._goodbye: asyncio.Future[None] | None = None
        self._failure: IpcError | None = None
        self._closing = False
        self._patience: float | None = None
        self._failing: tuple[asyncio.TimerHandle, list[asyncio.Future[Any]], list[Stream]] | None = None
        self._arrivals: dict[type, Callable[[Any, bytes | None], None]] = {
            wire.Welcome: self._on_welcome,
            wire.Rejected: self._on_rejected,
            wire.Request: self._on_request,
            wire.Told: self._on_told,
            wire.Result: self._on_result,
            wire.Error: self._on_error,
            wire.Chunk: self._on_chunk,
            wire.End: self._on_end,
            wire.Credit: lambda m, _: self._server.credit(m.id, m.amount),
            wire.Cancel: lambda m, _: self._server.cancel(m.id),
            wire.Failed: self._on_failed,
            wire.Subscribed: lambda m, _: self._reader.confirmed(m.prefix),
            wire.Denied: lambda m, _: self._reader.denied(m.prefix, m.text),
            wire.Changed: self._on_changed,
            wire.Snapshot: self._on_snapshot,
            wire.Slow: self._on_slow,
            wire.Mark: lambda m, _: self._out.quietly(wire.Ack(m.total)),
            wire.Ack: lambda m, _: self._out.acked(m.total),
            wire.Goodbye: self._on_goodbye,
        }

    # Life

    @property
    def name(self) -> str:
        """Its name, as the bus told it."""
        return self._name

    @property
    def incarnation(self) -> int:
        """Its incarnation, as the bus told it; 0 before the first connection."""
        return self._welcome.incarnation if self._welcome else 0

    @property
    def epoch(self) -> int:
        """The life of the bus; 0 before the first connection."""
        return self._welcome.epoch if self._welcome else 0

    @property
    def connected(self) -> bool:
        """Whether the bus can be reached now."""
        return self._out.up

    def expose(self, methods: Mapping[str, Handler]) -> None:
        """Answer these methods: `async def f(call, **params)`, or an async generator for a stream."""
        self._server.expose(methods)

    async def connect(self, timeout: float = 10.0) -> None:
        """Return when the bus has welcomed this peer.

        Raises Forbidden (bad or void credential, name in use), VersionMismatch, PeerDown("bus") after `timeout` seconds
        without an answer.
        """
        if self._pid != os.getpid():
            raise LocalProtocolError(
                f"peer {self._user!r} was made in process {self._pid}: make a new one after a fork"
            )
        if self._link is not None or self._closing:
            raise LocalProtocolError(f"peer {self._user!r} was connected before: make a new one")
        self._loop = asyncio.get_running_loop()
        self._welcomed = self._loop.create_future()
        self._closed = self._loop.create_future()
        self._patience = self._loop.time() + min(timeout / 2, _PATIENCE)
        self._link = Link(self.address, self._user, self._credential, self, self._sockets())
        try:
            await asyncio.wait_for(asyncio.shield(self._welcomed), timeout)
        except TimeoutError:
            self._fail(PeerDown("bus", f"no answer at {self.address.directory} within {timeout:g} s"))
            raise PeerDown("bus", f"no answer at {self.address.directory} within {timeout:g} s") from None
        except IpcError:
            raise
        except BaseException:
            self._fail(PeerDown("bus", "connecting was cancelled"))
            raise

    async def announce(self) -> None:
        """Become visible to monitors as up: this process can serve."""
        self._check()
        self._announced = True
        try:
            await self.send(wire.Announce())
            await self._out.flush()
        except PeerDown:
            await self.wait_connected()  # Hello to the next bus announces too

    async def wait_closed(self) -> None:
        """Return when the peer was closed; raises the reason when the bus refused it for good."""
        self._check(closed=True)
        assert self._closed is not None
        await asyncio.shield(self._closed)
        if self._failure is not None:
            raise self._failure

    async def wait_connected(self, timeout: float = 10.0) -> None:
        """Return when the bus can be reached. Raises PeerDown("bus") after `timeout` seconds."""
        self._check()
        assert self._welcomed is not None
        try:
            await asyncio.wait_for(asyncio.shield(self._welcomed), timeout)
        except TimeoutError:
            raise PeerDown("bus", f"not back within {timeout:g} s") from None

    async def close(self) -> None:
        """Leave in order: what was sent before is handled. Running handlers are cancelled. Twice is fine."""
        if self._pid != os.getpid() or self._link is None:
            self._closing = True
            return
        self._closing = True
        await self._server.close()
        if self._out.up and self._loop is not None:
            self._goodbye = self._loop.create_future()
            try:
                self.send_now(wire.Bye())
                await asyncio.wait_for(self._goodbye, 1.0)
            except (IpcError, TimeoutError):
                log.debug("%s leaves without a goodbye", self._name)
        self._shut(PeerDown("bus", f"{self._name} was closed"))
        self._goodbye = None

    async def __aenter__(self) -> Peer:
        if self._link is None:
            await self.connect()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    def _fail(self, error: IpcError) -> None:
        """The bus does not want this peer: nothing will ever work again."""
        self._failure = error
        self._shut(error)

    def _shut(self, error: IpcError) -> None:
        self._closing = True
        self._drop_everything(error)
        if self._link is not None:
            self._link.close()
        self._reader.close()
        for monitor in list(self._monitors.values()):
            if self._failure is not None:
                monitor.fail(self._failure)
            monitor.close()
        if self._welcomed is not None and not self._welcomed.done():
            self._welcomed.set_exception(error)
            self._welcomed.exception()  # read here: a connect that was cancelled never reads it
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    def _check(self, closed: bool = False) -> None:
        if self._pid != os.getpid():
            raise LocalProtocolError(
                f"peer {self._user!r} was made in process {self._pid}: make a new one after a fork"
            )
        if self._loop is None:
            raise LocalProtocolError(f"peer {self._user!r} is not connected: await connect() first")
        loop: asyncio.AbstractEventLoop | None = None
        with contextlib.suppress(RuntimeError):
            loop = asyncio.get_running_loop()
        if loop is not self._loop:
            raise LocalProtocolError(f"peer {self._user!r} belongs to another event loop or thread")
        if self._failure is not None and not closed:
            raise self._failure
        if self._closing and not closed and self._goodbye is None:
            raise LocalProtocolError(f"peer {self._user!r} is closed")

    # Sending, for handlers and streams

    def send_now(self, message: wire.ToBus, payload: bytes | None = None) -> None:
        """Queue a message (called by Stream). Raises PeerDown("bus")."""
        self._out.send_now(message, payload)

    async def send(self, message: wire.ToBus, payload: bytes | None = None) -> None:
        """Queue a message when there is room for it (called by Stream and handlers)."""
        await self._out.send(message, payload)

    # Calls

    async def call(self, target: str, method: str, /, *, timeout: float = TIMEOUT, **params: Any) -> Any:
        """Call a method of a process and return its result.

        Raises PeerDown, CallTimeout after `timeout` seconds, RemoteError, Forbidden, Overloaded, TooBig. Being cancelled
        cancels the handler.
        """
        self._check()
        assert self._loop is not None
        payload = wire.pack(params)
        call = wire.Call(next(self._ids), name_of(target), name_of(method), milliseconds(timeout))
        await self._out.pace()
        number = call.id
        future: asyncio.Future[bytes | None] = self._loop.create_future()
        self._calls[number] = (future, target)
        timer = self._loop.call_later(timeout, self._late, number, target, method, timeout)
        try:
            if self._out.crowded():
                await self._in_time(self._out.ready(payload), target, method, timeout)
            await self._out.send(call, payload)
            answer = await future
        finally:
            timer.cancel()
            if self._calls.pop(number, None) is not None:
                self._out.quietly(wire.Cancel(number))
            if future.done() and not future.cancelled():
                future.exception()  # read here: when sending failed nobody awaited it
        return wire.unpack(answer)

    @staticmethod
    async def _in_time(waiting: Awaitable[None], target: str, method: str, timeout: float) -> None:
        try:
            await asyncio.wait_for(waiting, timeout)
        except TimeoutError:
            raise CallTimeout(target, method, timeout) from None

    def _late(self, number: int, target: str, method: str, timeout: float) -> None:
        pending = self._calls.get(number)
        if pending is not None and not pending[0].done():
            pending[0].set_exception(CallTimeout(target, method, timeout))

    def stream(self, target: str, method: str, /, *, timeout: float = STREAM_TIMEOUT, **params: Any) -> Stream:
        """A stream, to be opened with `async with`; `timeout` seconds are for the whole of it."""
        self._check()
        milliseconds(timeout)
        return Stream(self, name_of(target), name_of(method), timeout, wire.pack(params))

    def add_stream(self, stream: Stream) -> int:
        """A number for a stream that opens (called by Stream)."""
        self._check()
        number = next(self._ids)
        self._streams[number] = stream
        return number

    def drop_stream(self, stream: Stream) -> None:
        """Forget a stream (called by Stream)."""
        self._streams.pop(stream.id, None)

    async def cast(self, target: str, method: str, /, **params: Any) -> None:
        """Tell a process something. No answer, no error when it is absent."""
        self._check()
        payload = wire.pack(params)
        cast = wire.Cast(name_of(target), name_of(method))
        await self._out.pace()
        await self.send(cast, payload)

    # Events

    async def publish(self, topic: str, data: Any) -> None:
        """Publish an event. `topic` ends with "/"; whether it is allowed is decided, and logged, by the bus."""
        self._check()
        assert self._loop is not None
        if not name_of(topic).endswith("/") or topic.startswith("~"):
            raise LocalProtocolError(f"topic {topic!r} must end with '/' and not begin with '~'")
        payload = wire.pack(data)
        await self._out.pace()
        await self._out.ready(payload)
        if not self._out.up:
            raise PeerDown("bus", "not connected")
        seq = self._published.get(topic, (0, 0.0))[0] + 1
        if seq == 1 and len(self._published) >= _TOPICS:
            self._published.pop(next(iter(self._published)))
        self._published[topic] = (seq, self._loop.time())
        self.send_now(wire.Publish(topic, seq), payload)

    async def subscribe(self, prefix: str, timeout: float = TIMEOUT) -> Subscription:
        """Read the events below `prefix` ("" or ending with "/"). Returns when the bus confirmed it.

        Raises Forbidden, PeerDown("bus").
        """
        self._check()
        assert self._loop is not None and self._link is not None
        if prefix and not name_of(prefix).endswith("/"):
            raise LocalProtocolError(f"subscription {prefix!r} must end with '/' (or be empty)")
        if not self._out.up:
            raise PeerDown("bus", "not connected")
        return await self._reader.subscribe(prefix, timeout)

    # Monitors

    def monitor(self, pattern: str) -> Monitor:
        """Watch the processes whose names match `pattern` (`*` matches anything). Iterating raises Forbidden."""
        self._check()
        return Monitor(name_of(pattern), self._begin_monitor, self._end_monitor)

    def _begin_monitor(self, monitor: Monitor) -> None:
        monitor.id = next(self._ids)
        self._monitors[monitor.id] = monitor
        self._out.quietly(wire.Monitor(monitor.id, monitor.pattern))

    def _end_monitor(self, monitor: Monitor) -> None:
        if self._monitors.pop(monitor.id, None) is not None:
            self._out.quietly(wire.Unmonitor(monitor.id))

    # What the link tells

    def link_up(self) -> None:
        """The handshake succeeded: say who we are."""
        if self._link is None or self._closing:
            # The first event may be read before the constructor of the link has returned.
            if not self._closing and self._loop is not None:
                self._loop.call_soon(self.link_up)
            return
        wish = self._name if self._welcome is not None else ""
        hello = wire.Hello(wire.PROTOCOL, wire.VERSION, "egghead-python", self._announced, wish)
        try:
            self._link.send(wire.encode(hello), None)
        except PeerDown:
            assert self._loop is not None
            self._loop.call_later(0.01, self.link_up)  # the new connection has not reached the socket yet

    def link_lost(self) -> None:
        """The connection ended."""
        if self._out.up and self._loop is not None:
            log.info("%s lost its bus", self._name)
            self._welcomed = self._loop.create_future()
            self._patience = None
            self._drop_everything(PeerDown("bus", "the connection was lost"), _AFTER)

    def link_refused(self) -> None:
        """The handshake was refused."""
        error = Forbidden(f"the bus does not know {self._user!r} with this credential")
        self._refuse(error, self._link.connect_again if self._welcome is not None and self._link is not None else None)

    def _refuse(self, error: IpcError, again: Callable[[], None] | None = None) -> None:
        """Fail, or try `again` for a while: a bus that was started again, or an older connection, may be in the way."""
        assert self._loop is not None
        if self._patience is None:
            self._patience = self._loop.time() + _PATIENCE
        if again is not None and self._loop.time() < self._patience:
            self._loop.call_later(_AGAIN, again)
            return
        log.error("%s: %s", self._user, error)
        # Not from inside the drain of the very socket that is to be closed.
        self._loop.call_soon(self._fail, error)

    def arrived(self, frames: list[bytes]) -> None:
        """A message of the bus."""
        try:
            message, payload = wire.decode_to_peer(frames)
        except RemoteProtocolError as error:
            log.error("the bus sent what is no message: %s", error)
            return
        self._arrivals[type(message)](message, payload)

    def event_arrived(self, frames: list[bytes]) -> None:
        """A message on the event connection."""
        self._reader.arrived(frames)

    # Messages

    def _on_welcome(self, welcome: wire.Welcome, _payload: bytes | None) -> None:
        again = self._welcome is not None
        self._welcome = welcome
        self._name = welcome.name
        assert self._link is not None
        self._out.welcomed(self._link, welcome)
        self._reader.welcomed(self._link, welcome)
        if again:
            self._restore()
        if self._welcomed is not None and not self._welcomed.done():
            self._welcomed.set_result(None)

    def _restore(self) -> None:
        assert self._link is not None and self._loop is not None and self._welcome is not None
        log.info("%s is back on the bus, epoch %d", self._name, self._welcome.epoch)
        for number, monitor in list(self._monitors.items()):
            monitor.begin()
            self._out.quietly(wire.Monitor(number, monitor.pattern))
        since = self._loop.time() - _TAIL
        tails = [(topic, seq) for topic, (seq, at) in self._published.items() if at > since]
        if tails:
            self._out.quietly(wire.Tails(tails[:1000]))

    def _on_rejected(self, rejected: wire.Rejected, _payload: bytes | None) -> None:
        if rejected.code == "version":
            self._refuse(VersionMismatch(wire.VERSION, rejected.version, rejected.text))
        elif rejected.code == "connected":
            self._refuse(Forbidden(rejected.text), self.link_up)
        elif rejected.code == "stale":
            self._refuse(Forbidden(rejected.text))
        else:
            log.error("%s: the bus objects: %s", self._name, rejected.text)

    def _on_request(self, request: wire.Request, payload: bytes | None) -> None:
        if not self._closing:
            self._server.request(request, payload)

    def _on_told(self, told: wire.Told, payload: bytes | None) -> None:
        if not self._closing:
            self._server.told(told, payload)

    def _on_result(self, result: wire.Result, payload: bytes | None) -> None:
        pending = self._calls.pop(result.id, None)
        if pending is not None and not pending[0].done():
            pending[0].set_result(payload)

    def _on_error(self, error: wire.Error, payload: bytes | None) -> None:
        try:
            data = wire.unpack_map(payload)
        except RemoteProtocolError:
            data = {}
        self._break(error.id, RemoteError(error.type, error.message, data))

    def _on_failed(self, failed: wire.Failed, _payload: bytes | None) -> None:
        error: IpcError
        if failed.code == "peer_down":
            error = PeerDown(failed.name, failed.text)
        elif failed.code == "overloaded":
            error = Overloaded(failed.text)
        elif failed.code == "forbidden":
            error = Forbidden(failed.text)
        else:
            error = IpcError(f"{failed.code}: {failed.text}")
        monitor = self._monitors.get(failed.id)
        if monitor is not None:
            monitor.fail(error)
        self._break(failed.id, error)

    def _break(self, number: int, error: IpcError) -> None:
        pending = self._calls.pop(number, None)
        if pending is not None and not pending[0].done():
            pending[0].set_exception(error)
        stream = self._streams.pop(number, None)
        if stream is not None:
            stream.fail(error)

    def _on_chunk(self, chunk: wire.Chunk, payload: bytes | None) -> None:
        stream = self._streams.get(chunk.id)
        if stream is not None:
            stream.push(payload)

    def _on_end(self, end: wire.End, _payload: bytes | None) -> None:
        stream = self._streams.pop(end.id, None)
        if stream is not None:
            stream.end()

    def _on_changed(self, changed: wire.Changed, _payload: bytes | None) -> None:
        monitor = self._monitors.get(changed.id)
        if monitor is None:
            self._out.quietly(wire.Unmonitor(changed.id))  # it was dropped without being closed
        else:
            monitor.push(changed.name, changed.incarnation, changed.up, changed.reason, changed.planned)

    def _on_snapshot(self, snapshot: wire.Snapshot, _payload: bytes | None) -> None:
        monitor = self._monitors.get(snapshot.id)
        if monitor is not None:
            monitor.push_end()

    def _on_slow(self, slow: wire.Slow, _payload: bytes | None) -> None:
        log.warning("%s: pausing for %d ms", slow.text, slow.ms)
        self._out.slow(slow.ms / 1000)

    def _on_goodbye(self, _goodbye: wire.Goodbye, _payload: bytes | None) -> None:
        self._out.up = False
        if self._goodbye is not None and not self._goodbye.done():
            self._goodbye.set_result(None)

    def _drop_everything(self, error: IpcError, after: float = 0.0) -> None:
        """The connection is gone: what is being served is cancelled, what is in flight fails `after` seconds."""
        self._out.lost()
        self._server.cancel_all()
        waiting: list[asyncio.Future[Any]] = [future for future, _target in self._calls.values()]
        waiting += self._reader.lost()
        streams = list(self._streams.values())
        self._calls, self._streams = {}, {}
        if after and self._loop is not None:
            handle = self._loop.call_later(after, self._fail_all, waiting, streams, error)
            self._failing = (handle, waiting, streams)
        else:
            if self._failing is not None:  # closed within the delay: nobody may be left waiting
                handle, late, broken = self._failing
                handle.cancel()
                waiting, streams = waiting + late, streams + broken
            self._fail_all(waiting, streams, error)

    def _fail_all(self, waiting: list[asyncio.Future[Any]], streams: list[Stream], error: IpcError) -> None:
        self._failing = None
        for future in waiting:
            if not future.done():
                future.set_exception(error)
        for stream in streams:
            stream.fail(error)
