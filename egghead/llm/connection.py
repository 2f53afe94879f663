"""HTTP/1.1 to a model server, read as cheaply as asyncio allows: an httpx transport for streams of small pieces.

httpx reads a body through five layers, with a timer, an event and a selector change for each piece; a token of a model is
such a piece, and most of what it cost us was that (measured: `scripts/bench llm`). Here bytes go from the socket into the
body that a reader waits for, and the only state machine on the way is that of chunks. Requests and heads of answers are
h11's business, and so are bodies that are not chunked: no second opinion about them. What is asked, and what a failure
means to people, belongs to `wire`; proxies belong to httpx's own transport.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import cast

import h11
import httpx

from egghead.llm import net

MAX_HEAD = 100 * 1024  # bytes of an answer's head
MAX_LINE = 16 * 1024  # bytes of a chunk's size with its extensions, and of all trailers
HELD = 256 * 1024  # bytes of a body that may wait for their reader; then the socket is left alone
KEPT = 20  # connections that wait for the next request
KEPT_FOR = 30.0  # seconds; what is between us and the provider forgets quiet connections after a minute
READ = 64 * 1024  # bytes of one read
TLS_ALERT = "a TLS alert"  # the words of a RemoteProtocolError

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")

Origin = tuple[bytes, bytes, int | None]


class NoChunk(ValueError):
    """What came is no chunk. `before` is what is whole of the body before it."""

    def __init__(self, message: str, before: bytes = b"") -> None:
        super().__init__(message)
        self.before = before


class Chunks:
    """The chunks of a body (RFC 9112, 7.1), in pieces cut anywhere. `ended` after the last one and its trailers, and then
    `extra` has what came behind, which is nobody's."""

    def __init__(self) -> None:
        self.ended = False
        self.extra = b""
        self._left = 0  # bytes of the chunk that are still to come
        self._closing = False  # between the bytes of a chunk and the line end behind them
        self._last = False
        self._kept = b""  # a line that has not ended

    def feed(self, piece: bytes) -> bytes:
        """The bytes of the body in this piece. Raises NoChunk."""
        found: list[bytes] = []
        try:
            self._feed(piece, found)
        except NoChunk as error:
            error.before = b"".join(found)
            raise
        return found[0] if len(found) == 1 else b"".join(found)

    def _feed(self, piece: bytes, found: list[bytes]) -> None:
        data = self._kept + piece if self._kept else piece
        self._kept = b""
        at, end = 0, len(data)
        while at < end and not self._last:
            if self._left:
                part = data[at : at + self._left]
                found.append(part)
                at += len(part)
                self._left -= len(part)
                self._closing = not self._left
            elif self._closing:
                if data[at : at + 2] != b"\r\n"[: end - at]:
                    raise NoChunk(f"a chunk is longer than it says: {data[at : at + 20]!r}")
                if end - at < 2:
                    break
                at += 2
                self._closing = False
            else:
                line = _SIZE.match(data, at)
                if line is None:
                    if end - at > MAX_LINE or b"\r\n" in data[at:]:
                        raise NoChunk(f"no size of a chunk: {data[at : at + 20]!r}")
                    break
                at = line.end()
                self._left = int(line[1], 16)
                self._last = not self._left
        if self._last:
            self._trailers(data[at:])
        else:
            self._kept = data[at:]

    def _trailers(self, data: bytes) -> None:
        """What is said behind the last chunk is read over, to the empty line."""
        if data.startswith(b"\r\n"):
            self.ended, self.extra = True, data[2:]
        elif (end := data.find(b"\r\n\r\n")) >= 0:
            self.ended, self.extra = True, data[end + 4 :]
        elif len(data) > MAX_LINE:
            raise NoChunk("too many trailers")
        else:
            self._kept = data


class Body(httpx.AsyncByteStream):
    """A body as it comes. One reader. `read` is for who wants it cheap, iterating for httpx."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._over = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def read(self, limit: float) -> bytes:
        """All that has come, or else the next that comes; empty at the end. Raises TimeoutError after `limit` seconds of
        silence, and what httpx raises for a connection that broke."""
        if not self._pieces and not self._over:
            await self._wait(limit)
        if self._pieces:
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            self._size = 0
            self._connection.go_on()
            return data
        if self._error is not None:
            raise self._error
        return b""

    async def _wait(self, limit: float) -> None:
        self._waiter = self._loop.create_future()
        self._deadline = self._loop.time() + limit
        # One timer for many pieces: arming and cancelling one for each costs more than reading it.
        if self._timer is None or self._timer.when() > self._deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._late)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _late(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._late)
        else:
            self._waiter.set_exception(TimeoutError())

    def push(self, data: bytes) -> bool:
        """Bytes arrived (called by the connection). False: enough wait."""
        self._pieces.append(data)
        self._size += len(data)
        self._wake()
        return self._size < HELD

    def end(self, error: Exception | None = None) -> None:
        """Nothing will come any more (called by the connection). What arrived before is given first."""
        self._over, self._error = True, error
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.read(float("inf")):
            yield piece

    async def aclose(self) -> None:
        """The reader has had enough. A body that was not read to its end takes its connection with it, at once."""
        if not self._over:
            self.end(httpx.StreamClosed())
            self._connection.cut()
            await asyncio.sleep(0)  # asyncio closes the socket in the next turn of the loop


class Proxied:
    """The body of an answer that came over httpx's own transport, read like the others."""

    def __init__(self, answer: httpx.Response) -> None:
        self._pieces = answer.aiter_raw()

    async def read(self, limit: float) -> bytes:
        """As `Body.read`."""
        async with asyncio.timeout(limit):
            return await anext(self._pieces, b"")


class Connection(asyncio.BufferedProtocol):
    """One connection, one request at a time. `buffer` is shared: what is read is copied before anybody else reads.
    `on_idle` is told when it can take the next request, `on_end` when it is over."""

    def __init__(
        self, buffer: bytearray, on_idle: Callable[[Connection], None], on_end: Callable[[Connection], None]
    ) -> None:
        self._retire: asyncio.TimerHandle | None = None  # while it waits for a request: when it stops to
        self._view = memoryview(buffer)
        self._on_idle, self._on_end = on_idle, on_end
        self._transport: asyncio.Transport | None = None
        self._head: asyncio.Future[h11.Response] | None = None
        self._h11: h11.Connection | None = None  # until a head, or a body that is not chunked, has been read
        self._chunks: Chunks | None = None
        self._body: Body | None = None
        self._paused = False
        self._once = False  # the other side will not, or must not, take another request
        self.heard = False  # whether anything of the answer has come

    async def ask(self, request: httpx.Request, content: bytes) -> tuple[h11.Response, Body]:
        """Send a request; the head of its answer, and the body that follows. Raises httpx's errors."""
        assert self._transport is not None
        self._h11 = talk = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        asked = h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw)
        parts = [talk.send(asked), talk.send(h11.Data(data=content)), talk.send(h11.EndOfMessage())]
        self._body = body = Body(self)
        self._head = head = asyncio.get_running_loop().create_future()
        self._chunks, self._paused, self._once, self.heard = None, False, False, False
        self._transport.write(b"".join(part for part in parts if part))
        try:
            return await head, body
        except BaseException:  # raised again: also who is cancelled leaves no answer behind that nobody reads
            if self._body is body:
                self.cut()
            raise
        finally:
            # An answer that came whole has freed the connection before we were woken: it may be somebody else's by now, who
            # would wait for ever for a head that we took away.
            if self._head is head:
                self._head = None

    def rest(self, seconds: float) -> None:
        """Wait for a request for so long."""
        self._retire = asyncio.get_running_loop().call_later(seconds, self.cut)

    def use(self) -> bool:
        """Whether it can take a request, of which there will be one now."""
        if self._retire is not None:
            self._retire.cancel()
            self._retire = None
        return self._transport is not None and not self._transport.is_closing()

    # What asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self._view[:nbytes])
        self.heard = True
        try:
            if self._chunks is not None:
                self._chunk(self._chunks, data)
            elif self._h11 is not None:
                self._h11.receive_data(data)
                self._read()
            else:
                self.cut()  # it speaks without being asked
        except NoChunk as error:
            if error.before:
                self._give(error.before)
            self._fail(httpx.RemoteProtocolError(str(error)))
        except h11.RemoteProtocolError as error:
            alert = data.startswith(b"\x15\x03")  # what a TLS server says to a plain request
            self._fail(httpx.RemoteProtocolError(TLS_ALERT if alert else str(error)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_end(self)
        if self._h11 is not None and self._chunks is None and exc is None:
            try:
                self._h11.receive_data(b"")  # an end may be how a body ends
                self._read()
            except h11.RemoteProtocolError:
                pass  # it is no end of a body, then, and told below
        if exc is not None:
            self._fail(httpx.ReadError(str(exc) or type(exc).__name__))
        else:
            self._fail(httpx.RemoteProtocolError("the connection was closed in the middle"))

    # Reading

    def _read(self) -> None:
        """What h11 makes of what has come: the head, and a body that is not chunked."""
        assert self._h11 is not None
        while self._h11 is not None:
            event = self._h11.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return
            if isinstance(event, h11.Response):
                self._begin(event)
            elif isinstance(event, h11.Data):
                self._give(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._once |= self._h11.their_state is not h11.DONE or bool(self._h11.trailing_data[0])
                self._end()
            elif isinstance(event, h11.ConnectionClosed):
                return

    def _begin(self, head: h11.Response) -> None:
        assert self._h11 is not None
        named = dict(head.headers)
        self._once = head.http_version < b"1.1" or b"close" in named.get(b"connection", b"").lower()
        if self._head is not None and not self._head.done():
            self._head.set_result(head)
        if named.get(b"transfer-encoding", b"").lower() == b"chunked" and head.status_code not in (204, 304):
            come, self._h11 = self._h11.trailing_data[0], None
            self._chunks = Chunks()
            if come:
                self._chunk(self._chunks, come)

    def _chunk(self, chunks: Chunks, data: bytes) -> None:
        found = chunks.feed(data)
        if found:
            self._give(found)
        if chunks.ended:
            self._once |= bool(chunks.extra)
            self._end()

    def _give(self, data: bytes) -> None:
        if self._body is not None and not self._body.push(data) and not self._paused and self._transport is not None:
            self._paused = True  # a reader that is slow must not have us hold what it has not read
            self._transport.pause_reading()

    def go_on(self) -> None:
        """The reader has taken what waited."""
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    # The end of an answer, and of a connection

    def _end(self) -> None:
        body, self._body, self._chunks, self._h11 = self._body, None, None, None
        if body is not None:
            body.end()
        transport = self._transport
        # An answer that came before all of the question was sent says that the rest is not wanted.
        if self._once or transport is None or transport.is_closing() or transport.get_write_buffer_size():
            self.cut()
        else:
            if self._paused:
                self._paused = False
                transport.resume_reading()
            self._on_idle(self)

    def _fail(self, error: httpx.TransportError) -> None:
        body, self._body, self._chunks, self._h11 = self._body, None, None, None
        if self._head is not None and not self._head.done():
            self._head.set_exception(error)
        if body is not None:
            body.end(error)
        self.cut()

    def cut(self) -> None:
        """End the connection now."""
        if self._retire is not None:
            self._retire.cancel()
            self._retire = None
        self._body, self._chunks, self._h11 = None, None, None
        if self._transport is not None and not self._transport.is_closing():
            self._transport.abort()


class Direct(httpx.AsyncBaseTransport):
    """Connections to one server, without a proxy in between. Belongs to one event loop. `uds`: the path of its unix socket,
    if it listens there."""

    def __init__(self, name: str = "the server", uds: str | None = None) -> None:
        """`name` is who is asked, for people."""
        self._name = name
        self._uds = uds
        self._buffer = bytearray(READ)
        self._waiting: dict[Connection, None] = {}  # for a request; who came last is asked first
        self._all: set[Connection] = set()
        self._origin: Origin | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        while True:
            connection = (kept := self._kept(request)) or await self._connect(request)
            try:
                head, body = await connection.ask(request, content)
                break
            except httpx.TransportError:
                # A server may hang up on a quiet connection just when the next request is on its way: no fault of anybody.
                if kept is None or connection.heard:
                    raise
        headers = list(head.headers)
        return httpx.Response(head.status_code, headers=headers, stream=body, extensions={"body": body})

    async def aclose(self) -> None:
        for connection in tuple(self._all):
            connection.cut()
        await asyncio.sleep(0)  # as above

    def _kept(self, request: httpx.Request) -> Connection | None:
        """A connection that waits for a request."""
        origin = (request.url.raw_scheme, request.url.raw_host, request.url.port)
        if self._origin != origin:  # a key goes to nobody but who it is meant for
            for connection in tuple(self._waiting):
                connection.cut()
            self._waiting.clear()
            self._origin = origin
        while self._waiting:
            connection, _ = self._waiting.popitem()
            if connection.use():
                return connection
        return None

    async def _connect(self, request: httpx.Request) -> Connection:
        url, phase = request.url, net.Phase()
        secure = url.scheme == "https"
        host = url.raw_host.decode("ascii")
        tls = net.trust(self._name) if secure else None
        try:
            async with asyncio.timeout(request.extensions.get("timeout", {}).get("connect")):
                made = await net.connect(host, url.port or (443 if secure else 80), phase, self._uds)
                try:
                    phase.now = net.SHAKING_HANDS
                    _, connection = await asyncio.get_running_loop().create_connection(
                        self._made,
                        sock=made,
                        ssl=tls,
                        server_hostname=host if secure else None,
                    )
                except BaseException:  # raised again
                    made.close()
                    raise
        except TimeoutError:
            raise httpx.ConnectTimeout(phase.now) from None
        except OSError as error:  # also no such host, and all that TLS finds fault with
            raise httpx.ConnectError(error.strerror or str(error) or type(error).__name__) from error
        self._all.add(connection)
        return connection

    def _made(self) -> Connection:
        return Connection(self._buffer, self._idle, self._forget)

    def _idle(self, connection: Connection) -> None:
        """It can take another request."""
        self._waiting[connection] = None
        connection.rest(KEPT_FOR)
        if len(self._waiting) > KEPT:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.cut()

    def _forget(self, connection: Connection) -> None:
        """It is over."""
        self._waiting.pop(connection, None)
        self._all.discard(connection)
