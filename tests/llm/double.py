"""A model that says what a test wants, behind the wire of a real provider: a local HTTP server, no mock of anything.

It speaks Anthropic Messages (`anthropic/double`), OpenAI Chat Completions (`openai/double`), OpenAI Responses
(`responses/double`) and Gemini (`google/double`) as streams of events, on 127.0.0.1 and a free port, in a thread of its own.
Any model name is answered. A *script* decides what is said. What the real API would refuse is refused (`refusals`) and
noted in `faults`. `base_url(kind)` is the address of one of them in its own way of speaking: the first part of its path.

1. A real node whose agents talk to it (`tests/e2e/cast.py`), and what each agent says, reply by reply:

        with Double({"scout": [[Use("search_records", {"query": "fern"})], "It is in [[fern]]."]}) as double:
            with cast(short_dir, double, {"scout": "anthropic/double", "sage": "openai/double"}) as play:
                entries = play.say("@scout where is the fern?")      # the log of that round
                assert double.asked[0].agent == "scout" and "fern" in double.asked[0].last

   `play.node` is the `Node` of `tests/e2e/node.py` (kill, healed, processes), `play.double` the server, `play.records`
   the folder, `play.log()` what is on disk; `agent_note` writes or rewrites an agent while the node runs.

2. A function, for conversations without end. It is called on the server's thread, one call at a time; what it gives is
   one reply: text, or a list of steps:

        def script(asked: Asked) -> Reply:
            if asked.results:                                  # the tools that it asked for have answered
                return f"I read: {asked.results[-1]}"
            if "remember" in asked.last:
                return [Use("create_record", {"title": "Fact", "body": "blue"}), Tokens(input=900)]
            return PASS

3. Time in the test's hand, and days that are bad:

        gate = Gate()
        double = Double({"scout": [["Half a", Wait(gate), " sentence."], [Overflow()], [Status(529)], "At last."]})
        ... ; gate.reached.wait(10); node.kill("llm"); gate.open()
        double.wait(2)                                         # until it was asked twice in all
        assert double.asked[0].gone.wait(10)                   # the other side closed the connection

Steps: text (`str` or `Say`, which cuts it into pieces) · `Use` (several in one reply are parallel calls) · `Think` ·
`Search` (the provider's own) · `PASS` · `Wait(gate)` · `Tokens` (usage figures; else a quarter of the characters) · `Stop(reason)` · `Overflow` ·
`Status(code, headers, body)` · `Error(type)` (in mid-stream) · `Break` (the connection is reset) · `Close` (it ends too
early, politely) · `Hang` (nothing more until the other side leaves) · `Raw(bytes)` (instead of an answer; first) ·
`Send(bytes)` (bytes within a stream) · `Ping`.

A script by agent falls back to the key `"*"`; a list that is used up repeats its last reply. `Double(window=N)` answers
with an overflow whenever a request has more than N tokens by its own count. `asked` has every request, oldest first.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self
from urllib.parse import urlsplit

from tests.llm import catalogs
from tests.llm.prefix_cache import PrefixCache
from tests.llm.steps import (
    KEY,
    PASS,
    Asked,
    Break,
    Close,
    Error,
    Gate,
    Hang,
    Overflow,
    Ping,
    Raw,
    Reply,
    Say,
    Script,
    Search,
    Send,
    Status,
    Step,
    Stop,
    Think,
    Tokens,
    Use,
    Wait,
)
from tests.llm.wire_gemini import Gemini
from tests.llm.wire_responses import Responses
from tests.llm.wires import Anthropic, OpenAi

Wire = Anthropic | OpenAi | Responses | Gemini

__all__ = [
    "KEY",
    "PASS",
    "Asked",
    "Break",
    "Close",
    "Double",
    "Error",
    "Gate",
    "Hang",
    "Overflow",
    "Ping",
    "Raw",
    "Reply",
    "Say",
    "Script",
    "Search",
    "Send",
    "Status",
    "Step",
    "Stop",
    "Think",
    "Tokens",
    "Use",
    "Wait",
]


class Double:
    """The server. A context manager; ends with its connections when it is left."""

    def __init__(
        self,
        script: Script,
        *,
        window: int | None = None,
        issued: Iterable[tuple[str, str]] = (),
        cache: PrefixCache | None = None,
    ) -> None:
        """`issued`: (seal, thought) of an earlier life, which are taken back like those of this one. `cache`: figures are
        what a prompt cache would make of them, where the script says none."""
        self.asked: list[Asked] = []
        self.faults: list[str] = []  # what a client did that no provider would take, and what a script did wrong
        self.listed: list[str] = []  # the paths at which the models were asked for
        self.listing: Status | None = None  # what is answered there, in place of the list
        self.open = 0  # requests that are being answered
        self.most_open = 0
        self._script = script
        self._window = window
        self._cache = cache
        self._said: dict[str, int] = {}
        self._issued: set[tuple[str, str]] = set(issued)  # seals, each with the thought that it was given for
        self._connections = 0
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="model double", daemon=True)
        self._ready = threading.Event()
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def config(self, **limits: float) -> dict[str, Any]:
        """Configuration of a node whose providers `anthropic`, `openai`, `responses` and `google` are this server. New
        tries come at once. The built-in agents keep the librarian."""
        limits = {"backoff": 0.01, **limits}
        same = {"api_key": KEY, "models": ["double"], "limits": limits}
        ways: list[dict[str, Any]] = [{"provider": kind} for kind in ("anthropic", "openai", "google")]
        ways.append({"provider": "openai", "name": "responses", "api": "responses"})
        entries = [{**way, **same, "base_url": self.base_url(way["provider"])} for way in ways]
        return {"default_model": "local/librarian", "llm": entries}

    def base_url(self, kind: str) -> str:
        """The address at which this server is a provider of that kind."""
        return self.url if kind == "anthropic" else f"{self.url}/{kind}/{'v1beta' if kind == 'google' else 'v1'}"

    def wait(self, count: int, timeout: float = 20.0) -> list[Asked]:
        """The first `count` requests, waited for."""
        with self._changed:
            found = self._changed.wait_for(lambda: len(self.asked) >= count, timeout)
        assert found, f"asked {len(self.asked)} times, not {count}, within {timeout:g} s"
        return self.asked[:count]

    def of(self, agent: str) -> list[Asked]:
        """The requests of one agent."""
        return [asked for asked in self.asked if asked.agent == agent]

    # -- the thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            asyncio.set_event_loop(None)
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        try:
            await self._stop.wait()
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._connections += 1
        number = self._connections
        try:
            first = await reader.read(1)
            while first:
                first = await self._exchange(first, number, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the test is over
        except Exception as error:  # told by the test that looks at `faults`, not lost in a thread
            self.faults.append(repr(error))
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _exchange(
        self, first: bytes, connection: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes:
        """One request and its reply. `first` is its first byte; gives that of the next one, empty when there is none."""
        if first == b"\x16":  # TLS: said in plain, as nginx does
            writer.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
            return b""
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        _, path, _ = head[0].split(" ")
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        body = json.loads(await reader.readexactly(int(headers.get("content-length", 0))) or b"{}")
        wire = _wire(path)
        if head[0].startswith("GET "):
            return await self._list(wire, path, headers, reader, writer)
        asked = self._note(wire.name, path, headers, body, connection)
        fault = "no key" if wire.keyless(headers) != KEY else wire.fault(body, self._issued)
        if KEY in path:
            fault = "the key stands in the address"
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            steps = self._steps(asked)
            self._issued |= {(step.signature, step.text) for step in steps if isinstance(step, Think)}
            if fault:
                self.faults.append(fault)
                steps = [Status(401 if fault == "no key" else 400, {}, wire.error("invalid_request_error", fault))]
            elif self._window is not None and asked.tokens > self._window:
                steps = [Overflow()]
            elif self._cache is not None and not any(isinstance(step, Tokens | Status) for step in steps):
                steps.append(self._cache.figures(asked))
            ahead = await _answer(wire, asked, steps, reader, writer)
        finally:
            self.open -= 1
            asked.done.set()
        return b"" if ahead is None else await ahead

    async def _list(
        self,
        wire: Wire,
        path: str,
        headers: Mapping[str, str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bytes:
        """The list of models, to who has the key."""
        self.listed.append(path)
        if wire.keyless(headers) != KEY:
            await _refuse(writer, wire, Status(401))
        else:
            await _refuse(writer, wire, self.listing if self.listing else Status(200, {}, catalogs.page(path)))
        return await reader.read(1)

    def _note(
        self, wire: str, path: str, headers: Mapping[str, str], body: Mapping[str, Any], connection: int
    ) -> Asked:
        asked = Asked(wire, path, headers, body, len(self.asked) + 1, 0)
        turn = self._said[asked.agent] = self._said.get(asked.agent, 0) + 1
        asked = Asked(wire, path, headers, body, asked.number, turn, connection)
        with self._changed:
            self.asked.append(asked)
            self._changed.notify_all()
        return asked

    def _steps(self, asked: Asked) -> list[Step]:
        if callable(self._script):
            reply = self._script(asked)
        elif isinstance(self._script, Mapping):
            replies = self._script.get(asked.agent, self._script.get("*", [PASS]))
            reply = replies[min(asked.turn, len(replies)) - 1]
        else:
            reply = self._script[min(asked.number, len(self._script)) - 1]
        return list(reply) if isinstance(reply, Sequence) and not isinstance(reply, str) else [reply]


def _wire(path: str) -> Wire:
    """Who is asked, by the address."""
    bare = urlsplit(path).path  # a proxy is given the whole address
    first = bare.split("/")[1]
    dialect = "openai" if first == "v1" else first
    if bare.endswith("/messages") or bare == "/v1/models":
        return Anthropic()
    if bare.endswith("/responses"):
        return Responses(dialect)
    if bare.endswith(":streamGenerateContent") or dialect == "google":
        return Gemini(bare.rpartition("/models/")[2].partition(":")[0])
    return OpenAi(dialect)


class _Gone(Exception):
    """The other side closed the connection."""


async def _answer(
    wire: Wire, asked: Asked, steps: list[Step], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> asyncio.Future[bytes] | None:
    """Say the steps. What comes next on this connection, or None when it is over."""
    # It has nothing to say until we are done: what can be read before that is its end.
    ahead = asyncio.ensure_future(reader.read(1))
    say = asyncio.ensure_future(_say(wire, asked, steps, writer))
    kept = False
    try:
        await asyncio.wait({ahead, say}, return_when=asyncio.FIRST_COMPLETED)
        if not say.done():
            asked.gone.set()
            return None
        kept = say.result()
        return ahead if kept else None
    except _Gone:
        return None
    except ConnectionError:
        asked.gone.set()
        return None
    finally:
        for task in (say,) if kept else (say, ahead):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _say(wire: Wire, asked: Asked, steps: list[Step], writer: asyncio.StreamWriter) -> bool:
    """True when the connection may be used again."""
    first = steps[0] if steps else ""
    while isinstance(first, Wait):  # a gate before the head of the answer
        await first.gate.passed()
        steps = steps[1:]
        first = steps[0] if steps else ""
    match first:
        case Hang():
            await asyncio.Event().wait()
        case Raw(data):
            writer.write(data)
            await writer.drain()
            return False
        case Break():
            _reset(writer)
            raise _Gone
        case Overflow():
            first = Status(400, {}, wire.overflow(asked))
    if isinstance(first, Status):
        await _refuse(writer, wire, first)
        return True
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    figures = Tokens()
    for step in steps:
        figures = step if isinstance(step, Tokens) else figures
    await _send(writer, wire.begin(asked, figures))
    for step in steps:
        match step:
            case str() | Say():
                for piece in (step if isinstance(step, Say) else Say(step)).cut():
                    await _send(writer, wire.text(piece))
            case Use():
                await _send(writer, wire.use(step))
            case Think():
                await _send(writer, wire.think(step))
            case Search():
                await _send(writer, wire.search(step))
            case Wait(gate):
                await gate.passed()
            case Stop(reason):
                wire.reason = reason
            case Error(kind, message):
                await _send(writer, wire.failed(kind, message))
                return False
            case Send(data):
                await _send(writer, data)
            case Ping():
                await _send(writer, wire.ping())
            case Break():
                await writer.drain()
                _reset(writer)
                raise _Gone
            case Close():
                writer.write(b"0\r\n\r\n")
                await writer.drain()
                return True
            case Hang():
                await asyncio.Event().wait()
    await _send(writer, wire.end(asked, figures))
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    if data:
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await writer.drain()


async def _refuse(writer: asyncio.StreamWriter, wire: Wire, status: Status) -> None:
    body = wire.usual(status.code) if status.body is None else status.body
    kind = "text/html" if isinstance(body, str) else "application/json"
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    headers = {"content-type": kind, **status.headers, "content-length": str(len(data))}
    head = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
    writer.write(f"HTTP/1.1 {status.code} Double\r\n{head}\r\n".encode() + data)
    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN."""
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
