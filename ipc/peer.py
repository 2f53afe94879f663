"""A named peer: the one object through which a process calls, answers, publishes, reads and watches.

Joins the parts: `link` (sockets), `outbox`, `calls`, `serving` (handlers), `publishing`, `reading`, `monitors`. What
belongs here is the life of the connection, and which part a message is for; what one looks like belongs to `wire`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import Callable, Mapping
from typing import Any

from ipc import wire
from ipc.address import Address
from ipc.calls import Calls, error_of, name_of
from ipc.curve import Remote
from ipc.errors import Forbidden, IpcError, LocalProtocolError, PeerDown, RemoteProtocolError, VersionMismatch
from ipc.events import Subscription
from ipc.link import Link
from ipc.monitors import Monitor, Monitors
from ipc.outbox import Outbox
from ipc.publishing import Publisher
from ipc.raw import Sockets
from ipc.reading import Reader
from ipc.seldom import seldom
from ipc.serving import Handler, Server
from ipc.streams import Stream

log = seldom("ipc.peer")

TIMEOUT = 10.0  # seconds, of a call that does not say
STREAM_TIMEOUT = 300.0
_AGAIN = 0.05  # seconds until a rejected Hello is said again while an older connection is being cleared away
_PATIENCE = 2.0  # seconds for which that is tried
# Seconds from the end of the bus to PeerDown("bus"): every callee sees the same end at its own socket, and one that has
# not been scheduled yet must not start a call after its caller was told that it failed.
_AFTER = 0.025


class Peer:
    """A connection to a bus under a name. Lives on the loop on which `connect` was called, in that process only.

    `name` and `credential`: what the bus was told for this process life, or `client:<user>` and the token. After
    `connect` it reconnects by itself: methods, subscriptions and monitors come back, calls in flight fail with
    PeerDown("bus"). When the bus refuses it for good, everything fails and `wait_closed` raises the reason.
    A bus on the network is a `Remote`; the key is the credential there, and the bus gives the name.
    `sockets` makes its sockets; another one than libzmq's is for a rehearsal (`ipc.stage`).
    """

    def __init__(
        self,
        address: Address | Remote | str | os.PathLike[str],
        *,
        name: str,
        credential: str,
        sockets: Callable[[], Sockets] = Sockets,
    ) -> None:
        self.address = address if isinstance(address, Address | Remote) else Address(address)
        if not 0 < len(name.encode()) <= 255 or not 0 < len(credential.encode()) <= 255:
            # Without them libzmq would not authenticate at all, and wait for ever.
            raise LocalProtocolError(f"peer {name!r} needs a name and a credential of 1 to 255 bytes")
        self._user = name
        self._credential = credential
        self._sockets = sockets
        self._welcome: wire.Welcome | None = None
        self._name = name
        self._announced = False
        self.on_change: Callable[[bool], None] | None = None  # called when the bus is lost and when it is back
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._link: Link | None = None
        self._out = Outbox()
        self._reader = Reader(self._out)
        self._server = Server(self, self._out.gone)
        ids = itertools.count(1)
        self._calls = Calls(self._out, ids, self._check)
        self._monitors = Monitors(self._out, ids)
        self._publisher = Publisher(self._out)
        self._welcomed: asyncio.Future[None] | None = None
        self._closed: asyncio.Future[None] | None = None
        self._goodbye: asyncio.Future[None] | None = None
        self._failure: IpcError | None = None
        self._closing = False
        self._patience: float | None = None

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

    @property
    def refused(self) -> bool:
        """Whether the bus turns it away now. It knocks on for a while; then that is final (`wait_closed`)."""
        return not self._out.up and self._patience is not None

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
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._welcomed)
        except TimeoutError:
            self._fail(PeerDown("bus", f"no answer at {self.address} within {timeout:g} s"))
            raise PeerDown("bus", f"no answer at {self.address} within {timeout:g} s") from None
        except IpcError:
            raise
        except BaseException:  # raised again: who waits for the connection must hear of it
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
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._welcomed)
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
                self._out.send_now(wire.Bye())
                async with asyncio.timeout(1.0):
                    await self._goodbye
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
        self._monitors.close(self._failure)
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

    # Sending, for handlers

    async def send(self, message: wire.ToBus, payload: bytes | None = None) -> None:
        """Queue a message when there is room for it (called by handlers)."""
        await self._out.send(message, payload)

    # Calls

    async def call(
        self, target: str, method: str, /, *, timeout: float = TIMEOUT, retry: bool = False, **params: Any
    ) -> Any:
        """Call a method of a process and return its result.

        Raises PeerDown, CallTimeout after `timeout` seconds, RemoteError, Forbidden, Overloaded, TooBig. Being cancelled
        cancels the handler. Within a handler the caller's deadline counts too. `retry`: on PeerDown the call is sent
        again until the deadline, if nothing was executed or the method is marked `@ipc.idempotent`.
        """
        self._check()
        return await self._calls.call(target, method, timeout, params, retry)

    def stream(self, target: str, method: str, /, *, timeout: float = STREAM_TIMEOUT, **params: Any) -> Stream:
        """A stream, to be opened with `async with`; `timeout` seconds are for the whole of it."""
        self._check()
        return self._calls.stream(target, method, timeout, params)

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
        await self._publisher.publish(topic, data)

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
        return self._monitors.make(name_of(pattern))

    # What the link tells

    def link_up(self) -> None:
        """The handshake succeeded: say who we are."""
        if self._link is None or self._closing:
            # The first event may be read before the constructor of the link has returned.
            if not self._closing and self._loop is not None:
                self._loop.call_soon(self.link_up)
            return
        wish = self._name if self._welcome is not None else ""
        if self._welcome is not None and isinstance(self.address, Remote):
            wish = f"{wish} {self._welcome.events_credential}"  # it was ours: the bus may not have seen the old end yet
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
            if self.on_change is not None:
                self._loop.call_soon(self.on_change, False)
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
        _ARRIVALS[type(message)](self, message, payload)

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
            if self.on_change is not None and self._loop is not None:
                self._loop.call_soon(self.on_change, True)
        if self._welcomed is not None and not self._welcomed.done():
            self._welcomed.set_result(None)

    def _restore(self) -> None:
        assert self._link is not None and self._loop is not None and self._welcome is not None
        log.info("%s is back on the bus, epoch %d", self._name, self._welcome.epoch)
        self._monitors.again()
        self._publisher.again()

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

    def _on_failed(self, failed: wire.Failed, _payload: bytes | None) -> None:
        error = error_of(failed)
        self._monitors.fail(failed.id, error)
        self._calls.fail(failed.id, error)

    def _on_slow(self, slow: wire.Slow, _payload: bytes | None) -> None:
        log.warning("%s: pausing for %d ms", slow.text, slow.ms)
        self._out.slow(slow.ms / 1000)

    def _on_delivered(self, event: wire.Delivered, payload: bytes | None) -> None:
        try:
            self._reader.event(event.topic, event, payload)
        except RemoteProtocolError as error:
            log.error("the bus sent what is no event: %s", error)

    def _on_goodbye(self, _goodbye: wire.Goodbye, _payload: bytes | None) -> None:
        self._out.up = False
        if self._goodbye is not None and not self._goodbye.done():
            self._goodbye.set_result(None)

    def _drop_everything(self, error: IpcError, after: float = 0.0) -> None:
        """The connection is gone: what is being served is cancelled, what is in flight fails `after` seconds."""
        self._out.lost()
        self._server.cancel_all()
        self._calls.drop(error, self._reader.lost(), after)


# One for all peers: a table in each would touch every class of message in each process.
_ARRIVALS: dict[type, Callable[[Peer, Any, bytes | None], None]] = {
    wire.Welcome: Peer._on_welcome,
    wire.Rejected: Peer._on_rejected,
    wire.Request: Peer._on_request,
    wire.Told: Peer._on_told,
    wire.Result: lambda peer, m, payload: peer._calls.result(m, payload),
    wire.Error: lambda peer, m, payload: peer._calls.error(m, payload),
    wire.Chunk: lambda peer, m, payload: peer._calls.chunk(m, payload),
    wire.End: lambda peer, m, payload: peer._calls.end(m, payload),
    wire.Credit: lambda peer, m, _: peer._server.credit(m.id, m.amount),
    wire.Cancel: lambda peer, m, _: peer._server.cancel(m.id),
    wire.Failed: Peer._on_failed,
    wire.Subscribed: lambda peer, m, _: peer._reader.confirmed(m.prefix),
    wire.Denied: lambda peer, m, _: peer._reader.denied(m.prefix, m.text),
    wire.Changed: lambda peer, m, payload: peer._monitors.changed(m, payload),
    wire.Snapshot: lambda peer, m, payload: peer._monitors.complete(m, payload),
    wire.Slow: Peer._on_slow,
    wire.Mark: lambda peer, m, _: peer._out.quietly(wire.Ack(m.total)),
    wire.Ack: lambda peer, m, _: peer._out.acked(m.total),
    wire.Goodbye: Peer._on_goodbye,
    wire.Delivered: Peer._on_delivered,
    wire.Repeated: lambda peer, m, _: peer._reader.tail(m.topic, m),
}
