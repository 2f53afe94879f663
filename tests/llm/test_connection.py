"""Our way to a model server: chunks cut anywhere, bodies of every kind, connections that are kept and that break, TLS."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import h11
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egghead.llm.connection import HELD, KEPT, READ, Body, Chunks, Direct
from tests.llm.certs import certificate

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


# ---- chunks


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=8),
    st.sampled_from([b"", b";name=value", b' ; a="b"']),
    st.sampled_from([b"", b"x: y\r\n", b"x: y\r\nz: \r\n"]),
    st.binary(max_size=5),
    st.data(),
)
def test_cuts_change_nothing(
    parts: list[bytes], more: bytes, trailers: bytes, extra: bytes, draw: st.DataObject
) -> None:
    """Wherever the bytes are cut, the body is the same, its end is seen, and what is behind it is not in it."""
    sent = b"".join(b"%X%b\r\n%b\r\n" % (len(part), more, part) for part in parts)
    data = sent + b"0\r\n" + trailers + b"\r\n" + extra
    cuts = sorted(draw.draw(st.sets(st.integers(0, len(data)), max_size=12)))
    chunks, body, behind = Chunks(), b"", b""
    for begin, end in pairwise([0, *cuts, len(data)]):
        if chunks.ended:
            behind += data[begin:end]
        else:
            body += chunks.feed(data[begin:end])
    assert body == b"".join(parts)
    assert chunks.ended and chunks.extra + behind == extra


LINES = st.lists(
    st.sampled_from(
        [b"5\r\nhello\r\n", b"3", b"0", b"\r\n", b"\n", b"\r", b"a;b", b"x: y", b"G", b"-1", b"0x2", b" ", b"+1"]
    )
    | st.binary(max_size=4),
    max_size=12,
).map(b"".join)


@given(LINES)
def test_nobody_reads_another_body_than_h11(data: bytes) -> None:
    """Whatever comes: what we take for the body of an answer, h11 takes for it too, or finds a fault in it."""
    chunks = Chunks()
    try:
        body: bytes | None = chunks.feed(data)
    except ValueError:
        return
    talk = h11.Connection(h11.CLIENT)
    talk.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    talk.send(h11.EndOfMessage())
    talk.receive_data(HEAD + data)
    found, ended = b"", False
    with contextlib.suppress(h11.RemoteProtocolError):
        while (event := talk.next_event()) is not h11.NEED_DATA and event is not h11.PAUSED:
            found += bytes(event.data) if isinstance(event, h11.Data) else b""
            ended |= isinstance(event, h11.EndOfMessage)
        assert (found, ended) == (body, chunks.ended)


@pytest.mark.parametrize(
    "data", [b"0x5\r\nhello", b"+5\r\n", b"-1\r\n", b"\r\n", b"5\r\nhelloX", b"1" * 20_000, b"f" * 16 + b"\r\n"]
)
def test_what_is_no_chunk_is_refused(data: bytes) -> None:
    """A size that is none, a chunk that is longer than it says, a line without an end: an error, and no memory."""
    with pytest.raises(ValueError, match="chunk"):
        Chunks().feed(data)


def test_trailers_without_end_are_refused() -> None:
    """What comes behind the last chunk is not kept for ever."""
    chunks = Chunks()
    with pytest.raises(ValueError, match="trailers"):
        for _ in range(100):
            chunks.feed(b"0\r\n" * (_ == 0) + b"x: " + b"y" * 1000 + b"\r\n")


# ---- against a server


class Server:
    """Answers on a free port of this machine; `seen`: how many connections there were."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.seen = 0
        self.url = ""
        self.ended = asyncio.Event()  # a connection was closed by the client
        self._answer = answer
        self._tls = tls
        self._host = host
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._accept, self._host, 0, ssl=self._tls, backlog=100)
        scheme = "https" if self._tls else "http"
        self.url = f"{scheme}://{self._host}:{self._server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.seen += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await self._answer(reader, writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass  # one of us has left
        finally:
            self.ended.set()
            writer.transport.abort()


def saying(*parts: bytes) -> Answer:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)

    return answer


@contextlib.asynccontextmanager
async def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Server, httpx.AsyncClient]]:
    async with Server(answer, tls) as server, httpx.AsyncClient(transport=Direct(), timeout=5) as client:
        yield server, client


@contextlib.asynccontextmanager
async def asked(client: httpx.AsyncClient, url: str) -> AsyncIterator[Body]:
    async with client.stream("GET", url) as answer:
        body = answer.extensions["body"]
        assert isinstance(body, Body)
        yield body


WHOLE = HEAD + b"5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "connections"),
    [
        (WHOLE, 1),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE, 1),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", 1),
        (WHOLE.replace(b"chunked\r\n", b"Chunked\r\nconnection: Close\r\n"), 3),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", 3),
    ],
    ids=["chunked", "after a 100", "with a length", "closing", "old"],
)
async def test_bodies_and_what_becomes_of_the_connection(sent: bytes, connections: int) -> None:
    """Each kind of body is read whole; a connection is used again exactly when the server lets it."""
    async with serving(saying(sent)) as (server, client):
        for _ in range(3):
            assert (await client.get(server.url)).content == b"hello"
        assert server.seen == connections


async def test_bytes_that_belong_to_nobody_end_the_connection() -> None:
    """What comes behind an answer is not the beginning of the next one."""
    async with serving(saying(WHOLE + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")) as (server, client):
        for _ in range(2):
            assert (await client.get(server.url)).content == b"hello"
        assert server.seen == 2


async def test_bytes_that_come_while_nobody_asks_end_the_connection() -> None:
    """A server that speaks out of turn is not listened to, nor asked again on that connection."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(WHOLE)
        asyncio.get_running_loop().call_later(0.01, writer.write, b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")

    async with serving(answer) as (server, client):
        assert (await client.get(server.url)).content == b"hello"
        await asyncio.wait_for(server.ended.wait(), 5)
        assert (await client.get(server.url)).content == b"hello"


async def test_a_server_that_hangs_up_between_two_requests_is_not_asked_on_that_line() -> None:
    """A kept connection whose other end is closed is forgotten, not used."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(WHOLE)
        await writer.drain()
        writer.close()
        raise ConnectionError

    async with serving(answer) as (server, client):
        for _ in range(3):
            assert (await client.get(server.url)).content == b"hello"
            await server.ended.wait()
            await asyncio.sleep(0)  # one turn of the loop: the news is there, it is to be read
            server.ended.clear()
        assert server.seen == 3


@pytest.mark.parametrize("leaves", [False, True], ids=["both stay", "the first leaves"])
async def test_a_connection_may_be_asked_again_before_its_answer_was_looked_at(leaves: bool) -> None:
    """Who came first has an answer that was whole at once and was not woken yet: the next on that connection has its own."""
    async with serving(saying(WHOLE)) as (server, client):
        transport = client._transport
        assert isinstance(transport, Direct)
        first = asyncio.create_task(client.get(server.url))
        while not transport._waiting:
            await asyncio.sleep(0)  # one turn of the loop: we are ahead of who waits for the answer's head
        if leaves:
            first.cancel()
        async with asyncio.timeout(5):
            second = await transport.handle_async_request(httpx.Request("GET", server.url))
            assert await second.aread() == b"hello" and server.seen == 1
        if leaves:
            with pytest.raises(asyncio.CancelledError):
                await first
        else:
            assert (await first).content == b"hello"


async def test_only_so_many_connections_wait() -> None:
    """After a rush a few connections are kept, the others are closed."""
    async with serving(saying(WHOLE)) as (_server, client):
        transport = client._transport
        assert isinstance(transport, Direct)
        await asyncio.gather(*(client.get(_server.url) for _ in range(3 * KEPT)))
        assert len(transport._waiting) == KEPT


async def test_another_server_gets_a_connection_of_its_own() -> None:
    """A connection to one host is never used for another, whose keys are not its business."""
    async with serving(saying(WHOLE)) as (one, client):
        async with Server(saying(WHOLE)) as other:
            for url in (one.url, other.url, one.url):
                assert (await client.get(url)).content == b"hello"
            assert (one.seen, other.seen) == (2, 1)


async def test_what_came_before_the_end_is_given_first() -> None:
    """When a connection breaks, the words that arrived are heard, and then the fault."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"5\r\nhello\r\n5\r\nwo")
        await writer.drain()
        writer.close()
        raise ConnectionError

    async with serving(answer) as (server, client):
        heard = b""
        async with asked(client, server.url) as body:
            await server.ended.wait()
            with pytest.raises(httpx.RemoteProtocolError):
                while piece := await body.read(5):
                    heard += piece
        assert heard == b"hellowo"


async def test_silence_is_measured_from_the_last_piece() -> None:
    """Pieces put the end of patience off; silence ends it, in time."""
    more = asyncio.Event()

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        for _ in range(8):
            writer.write(b"1\r\nx\r\n")
            await asyncio.sleep(0.05)  # together longer than the limit: what is tested is time
        await more.wait()

    async with serving(answer) as (server, client):
        loop = asyncio.get_running_loop()
        async with asked(client, server.url) as body:
            for _ in range(8):
                assert await body.read(60 if _ == 0 else 0.25) == b"x"
            last = loop.time()
            with pytest.raises(TimeoutError):
                await body.read(0.25)
            assert 0.2 <= loop.time() - last < 2
        more.set()


async def test_a_slow_reader_costs_little_memory() -> None:
    """A body that nobody reads waits at the server; read at last, it is whole and in order."""
    size, sent = 64 * 1024, 400

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        for number in range(sent):
            writer.write(b"%x\r\n%b\r\n" % (size, bytes([number % 256]) * size))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async with serving(answer) as (server, client):
        async with asked(client, server.url) as body:
            number, at = 0, 0
            heard = bytearray()
            while piece := await body.read(5):
                heard += piece
                for _ in range(20):
                    await asyncio.sleep(0)  # others have their turns, and the server could go on
                assert body._size <= HELD + READ
                number += 1
            for at in range(sent):
                assert heard[at * size : (at + 1) * size] == bytes([at % 256]) * size
            assert len(heard) == sent * size and number > 10


async def test_leaving_closes_the_connection_and_frees_the_server() -> None:
    """A reader that leaves in the middle, or before the head has come, is gone for the server at once."""
    never = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"5\r\nhello\r\n" if server.seen == 1 else b"")
        assert await reader.read(1) == b""
        raise ConnectionError

    async with serving(answer) as (server, client):
        async with asked(client, server.url) as body:
            assert await body.read(5) == b"hello"
        await asyncio.wait_for(server.ended.wait(), 5)
        server.ended.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.get(server.url)
        await asyncio.wait_for(server.ended.wait(), 5)
        never.set()


async def test_an_answer_may_come_before_the_question_was_read() -> None:
    """A server that refuses a large question without reading it is heard, and its connection is not used again."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 4\r\n\r\nmuch")
        await writer.drain()
        await _reader.read(-1)

    async with serving(answer) as (server, client):
        done = await client.post(server.url, content=b"x" * 20_000_000)
        assert (done.status_code, done.content) == (413, b"much")
        await asyncio.wait_for(server.ended.wait(), 5)


# ---- TLS


async def test_tls_with_a_server_that_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over TLS the same bytes come, large ones too, and the connection is kept."""
    tls = certificate(tmp_path / "tls", "IP:127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "tls" / "cert.pem"))
    data = bytes(range(256)) * 4000
    async with serving(saying(HEAD + b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)), tls) as (server, client):
        for _ in range(3):
            assert (await client.get(server.url)).content == data
        assert server.seen == 1
        async with Server(saying(WHOLE), tls, "127.0.0.2") as other:
            with pytest.raises(httpx.ConnectError, match="not valid for"):  # the certificate has other names
                await client.get(other.url)


async def test_tls_with_a_server_that_is_not_known(tmp_path: Path) -> None:
    """Who cannot prove its name is sent nothing."""
    async with serving(saying(WHOLE), certificate(tmp_path / "tls", "IP:127.0.0.1")) as (server, client):
        with pytest.raises(httpx.ConnectError, match="certificate"):
            await client.get(server.url)
