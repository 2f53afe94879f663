"""A model that says what a test wants, behind the wire of a real provider: a local HTTP server, no mock of anything.

It speaks Anthropic Messages (`anthropic/double`) and OpenAI Chat Completions (`openai/double`) as streams of events, on
127.0.0.1 and a free port, in a thread of its own. Any model name is answered. A *script* decides what is said.

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
`PASS` · `Wait(gate)` · `Tokens` (usage figures; else a quarter of the characters) · `Stop(reason)` · `Overflow` ·
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
import re
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

PASS = "/pass"
KEY = "sk-double-0123456789"  # what clients must send; it must be seen nowhere else


class Gate:
    """A place in a reply where the server waits for the test. `reached` is set when it waits there."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._opened = threading.Event()
        self._lock = threading.Lock()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def open(self) -> None:
        """Let everybody pass, now and later."""
        with self._lock:
            self._opened.set()
            waiting, self._waiting = self._waiting, []
        for loop, event in waiting:
            with contextlib.suppress(RuntimeError):  # that server has been closed
                loop.call_soon_threadsafe(event.set)

    async def passed(self) -> None:
        event = asyncio.Event()
        with self._lock:
            if self._opened.is_set():
                event.set()
            else:
                self._waiting.append((asyncio.get_running_loop(), event))
        self.reached.set()
        await event.wait()


@dataclass(frozen=True)
class Say:
    """Text in `pieces`, else one piece a word."""

    text: str
    pieces: int = 0

    def cut(self) -> list[str]:
        if self.pieces:
            size = max(1, -(-len(self.text) // self.pieces))
            return [self.text[at : at + size] for at in range(0, len(self.text), size)]
        return re.findall(r"\s*\S+\s*$|\s*\S+", self.text) or [self.text]


@dataclass(frozen=True)
class Use:
    name: str
    input: Mapping[str, Any] = field(default_factory=dict)
    raw: str | None = None  # the arguments as text, also such that are no JSON


@dataclass(frozen=True)
class Think:
    text: str
    signature: str = "sealed"


@dataclass(frozen=True)
class Wait:
    gate: Gate


@dataclass(frozen=True)
class Tokens:
    input: int | None = None
    output: int | None = None
    cached_read: int = 0
    cached_write: int = 0


@dataclass(frozen=True)
class Stop:
    """The neutral reason: end_turn, tool_use, max_tokens or refusal."""

    reason: str


@dataclass(frozen=True)
class Overflow:
    """The provider's own way to say that the conversation is too long."""


@dataclass(frozen=True)
class Status:
    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None  # text, or what becomes JSON; else the provider's usual error


@dataclass(frozen=True)
class Error:
    """An error event in mid-stream, of this type."""

    type: str = "overloaded_error"
    message: str = "Overloaded"


@dataclass(frozen=True)
class Break:
    """The connection is reset."""


@dataclass(frozen=True)
class Close:
    """The connection ends as if the answer were whole."""


@dataclass(frozen=True)
class Hang:
    """Nothing more, until the other side leaves."""


@dataclass(frozen=True)
class Ping:
    """What keeps a connection alive and means nothing."""


@dataclass(frozen=True)
class Raw:
    """These bytes instead of an HTTP answer, then the end."""

    data: bytes


@dataclass(frozen=True)
class Send:
    """These bytes within the stream."""

    data: bytes


Step = (
    str
    | Say
    | Use
    | Think
    | Wait
    | Tokens
    | Stop
    | Overflow
    | Status
    | Error
    | Break
    | Close
    | Hang
    | Ping
    | Raw
    | Send
)
Reply = str | Step | Sequence[Step]
Script = Callable[["Asked"], Reply] | Mapping[str, Sequence[Reply]] | Sequence[Reply]


@dataclass(frozen=True)
class Asked:
    """One request as it came over the wire."""

    wire: str  # "anthropic" or "openai"
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    number: int  # 1 for the first request of all
    turn: int  # 1 for the first of this agent
    connection: int = 0  # requests of one number came over one connection
    gone: threading.Event = field(
        default_factory=threading.Event, compare=False
    )  # the other side closed the connection
    done: threading.Event = field(default_factory=threading.Event, compare=False)  # we said all that we had to say

    @property
    def model(self) -> str:
        return str(self.body.get("model", ""))

    @property
    def system(self) -> str:
        if self.wire == "anthropic":
            return _joined(self.body.get("system"))
        return "\n\n".join(_joined(m["content"]) for m in self.body["messages"] if m["role"] == "system")

    @property
    def agent(self) -> str:
        """Who asks, by its system prompt; "" when it does not say."""
        found = re.search(r"You are .*\(agent ([^\s)]+)\)\.", self.system)
        return found[1] if found else ""

    @property
    def room(self) -> str:
        found = re.search(r"^Room: (?:a conversation of two, )?(\S+?)\. In this room", self.system, re.M)
        return found[1] if found else ""

    @property
    def tools(self) -> list[str]:
        tools = self.body.get("tools", [])
        return [tool["name"] if self.wire == "anthropic" else tool["function"]["name"] for tool in tools]

    @property
    def messages(self) -> list[tuple[str, str]]:
        """(role, text) of the conversation, tools left out."""
        kept = [(m["role"], _joined(m.get("content"))) for m in self.body["messages"]]
        return [(role, text) for role, text in kept if role in ("user", "assistant") and text]

    @property
    def last(self) -> str:
        """The last words of somebody else."""
        return next((text for role, text in reversed(self.messages) if role == "user"), "")

    @property
    def results(self) -> list[str]:
        """What the tools answered that the agent used since somebody else last said something."""
        found: list[str] = []
        for message in reversed(self.body["messages"]):
            here = _results(message)
            if message["role"] == "user" and not here:
                break
            found[:0] = here
        return found

    @property
    def tokens(self) -> int:
        """A quarter of the characters of the whole request: the server's own count."""
        return len(json.dumps([self.body.get("system"), self.body["messages"], self.body.get("tools")])) // 4


def _joined(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n\n".join(block["text"] for block in content or () if block.get("type") == "text")


def _results(message: Mapping[str, Any]) -> list[str]:
    if message["role"] == "tool":
        return [message["content"]]
    if isinstance(message.get("content"), str):
        return []
    blocks = [block for block in message.get("content") or () if block.get("type") == "tool_result"]
    return [block["content"] if isinstance(block["content"], str) else _joined(block["content"]) for block in blocks]


class Double:
    """The server. A context manager; ends with its connections when it is left."""

    def __init__(self, script: Script, *, window: int | None = None) -> None:
        self.asked: list[Asked] = []
        self.faults: list[str] = []  # what a client did that no provider would take, and what a script did wrong
        self.open = 0  # requests that are being answered
        self.most_open = 0
        self._script = script
        self._window = window
        self._said: dict[str, int] = {}
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
        """Configuration of a node whose providers `anthropic` and `openai` are this server. New tries come at once. The
        built-in agents keep the librarian."""
        limits = {"backoff": 0.01, **limits}
        both = (("anthropic", self.url), ("openai", f"{self.url}/v1"))
        return {
            "default_model": "local/librarian",
            "llm": [
                {"provider": name, "api_key": KEY, "base_url": url, "models": ["double"], "limits": limits}
                for name, url in both
            ],
        }

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
        body = json.loads(await reader.readexactly(int(headers.get("content-length", 0))))
        wire = _Anthropic() if path.endswith("/messages") else _OpenAi()
        asked = self._note(wire.name, path, headers, body, connection)
        key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        fault = "no key" if key != KEY else wire.fault(body)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            steps = self._steps(asked)
            if fault:
                self.faults.append(fault)
                steps = [Status(401 if fault == "no key" else 400, {}, wire.error("invalid_request_error", fault))]
            elif self._window is not None and asked.tokens > self._window:
                steps = [Overflow()]
            ahead = await _answer(wire, asked, steps, reader, writer)
        finally:
            self.open -= 1
            asked.done.set()
        return b"" if ahead is None else await ahead

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


class _Gone(Exception):
    """The other side closed the connection."""


async def _answer(
    wire: _Wire, asked: Asked, steps: list[Step], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
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


async def _say(wire: _Wire, asked: Asked, steps: list[Step], writer: asyncio.StreamWriter) -> bool:
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


async def _refuse(writer: asyncio.StreamWriter, wire: _Wire, status: Status) -> None:
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


class _Anthropic:
    """Messages: https://docs.anthropic.com/en/api/messages-streaming."""

    name = "anthropic"

    def __init__(self) -> None:
        self.reason: str | None = None
        self.index = -1
        self.open = False  # a text block
        self.used = False
        self.said = 0

    def fault(self, body: Mapping[str, Any]) -> str | None:
        """What the real API would refuse, or None."""
        messages = body.get("messages") or []
        if not messages or messages[0]["role"] != "user" or messages[-1]["role"] != "user":
            return "messages must begin and end with a user message"
        uses: list[str] = []
        for message in messages:
            blocks = message["content"]
            if any(block["type"] == "text" and not block["text"].strip() for block in blocks):
                return "text content blocks must be non-empty"
            results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
            if sorted(results) != sorted(uses):
                return f"tool_use ids {uses} were answered by {results}"
            uses = [block["id"] for block in blocks if block["type"] == "tool_use"]
        marks = json.dumps(body).count('"cache_control"')
        return f"{marks} cache breakpoints, at most 4" if marks > 4 else None

    def error(self, kind: str, message: str) -> dict[str, Any]:
        return {"type": "error", "error": {"type": kind, "message": message}}

    def usual(self, code: int) -> dict[str, Any]:
        kinds = {
            401: "authentication_error",
            402: "billing_error",
            403: "permission_error",
            404: "not_found_error",
            413: "request_too_large",
            429: "rate_limit_error",
            529: "overloaded_error",
        }
        kind = kinds.get(code, "api_error" if code >= 500 else "invalid_request_error")
        return self.error(kind, f"a {code} as scripted")

    def overflow(self, asked: Asked) -> dict[str, Any]:
        most = max(1, asked.tokens - 1)
        return self.error("invalid_request_error", f"prompt is too long: {asked.tokens} tokens > {most} maximum")

    def begin(self, asked: Asked, figures: Tokens) -> bytes:
        usage = {
            "input_tokens": asked.tokens if figures.input is None else figures.input,
            "cache_read_input_tokens": figures.cached_read,
            "cache_creation_input_tokens": figures.cached_write,
            "output_tokens": 1,
        }
        message: dict[str, Any] = {
            "id": f"msg_{asked.number}",
            "type": "message",
            "role": "assistant",
            "model": asked.model,
        }
        message |= {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        return _event("message_start", {"message": message}) + self.ping()

    def ping(self) -> bytes:
        return _event("ping", {})

    def text(self, piece: str) -> bytes:
        data = b""
        if not self.open:
            self.index += 1
            self.open = True
            data = self._start({"type": "text", "text": ""})
        self.said += len(piece)
        return data + self._delta({"type": "text_delta", "text": piece})

    def use(self, use: Use) -> bytes:
        data = self._close()
        self.index += 1
        self.used = True
        arguments = json.dumps(use.input) if use.raw is None else use.raw
        self.said += len(arguments)
        data += self._start({"type": "tool_use", "id": f"toolu_{self.index}", "name": use.name, "input": {}})
        for at in range(0, len(arguments), 7):
            data += self._delta({"type": "input_json_delta", "partial_json": arguments[at : at + 7]})
        return data + self._stop()

    def think(self, think: Think) -> bytes:
        data = self._close()
        self.index += 1
        self.said += len(think.text)
        data += self._start({"type": "thinking", "thinking": "", "signature": ""})
        data += self._delta({"type": "thinking_delta", "thinking": think.text})
        return data + self._delta({"type": "signature_delta", "signature": think.signature}) + self._stop()

    def failed(self, kind: str, message: str) -> bytes:
        return _event("error", {"error": {"type": kind, "message": message}})

    def end(self, asked: Asked, figures: Tokens) -> bytes:
        reason = self.reason or ("tool_use" if self.used else "end_turn")
        output = max(1, self.said // 4) if figures.output is None else figures.output
        delta = {"delta": {"stop_reason": reason, "stop_sequence": None}, "usage": {"output_tokens": output}}
        return self._close() + _event("message_delta", delta) + _event("message_stop", {})

    def _start(self, block: dict[str, Any]) -> bytes:
        return _event("content_block_start", {"index": self.index, "content_block": block})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", {"index": self.index, "delta": delta})

    def _stop(self) -> bytes:
        return _event("content_block_stop", {"index": self.index})

    def _close(self) -> bytes:
        was, self.open = self.open, False
        return self._stop() if was else b""


class _OpenAi:
    """Chat Completions: https://platform.openai.com/docs/api-reference/chat-streaming."""

    name = "openai"

    def __init__(self) -> None:
        self.reason: str | None = None
        self.calls = 0
        self.said = 0
        self.asked: Asked | None = None

    def fault(self, body: Mapping[str, Any]) -> str | None:
        waiting: set[str] = set()
        for message in body.get("messages") or []:
            if message["role"] == "tool":
                if message["tool_call_id"] not in waiting:
                    return f"a tool message answers {message['tool_call_id']!r}, which nobody called"
                waiting.discard(message["tool_call_id"])
            elif waiting:
                return f"tool calls {sorted(waiting)} have no answer"
            waiting |= {call["id"] for call in message.get("tool_calls") or ()}
        return f"tool calls {sorted(waiting)} have no answer" if waiting else None

    def error(self, kind: str, message: str) -> dict[str, Any]:
        return {"error": {"message": message, "type": kind, "param": None, "code": None}}

    def usual(self, code: int) -> dict[str, Any]:
        codes = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
        kind = "server_error" if code >= 500 else "invalid_request_error"
        return {"error": {"message": f"a {code} as scripted", "type": kind, "param": None, "code": codes.get(code)}}

    def overflow(self, asked: Asked) -> dict[str, Any]:
        text = (
            f"This model's maximum context length is {max(1, asked.tokens - 1)} tokens. However, your messages resulted "
            f"in {asked.tokens} tokens. Please reduce the length of the messages."
        )
        error = {
            "message": text,
            "type": "invalid_request_error",
            "param": "messages",
            "code": "context_length_exceeded",
        }
        return {"error": error}

    def begin(self, asked: Asked, figures: Tokens) -> bytes:
        self.asked = asked
        return self._chunk({"role": "assistant", "content": ""})

    def ping(self) -> bytes:
        return b": keep-alive\n\n"

    def text(self, piece: str) -> bytes:
        self.said += len(piece)
        return self._chunk({"content": piece})

    def use(self, use: Use) -> bytes:
        index, self.calls = self.calls, self.calls + 1
        arguments = json.dumps(use.input) if use.raw is None else use.raw
        self.said += len(arguments)
        call = {
            "index": index,
            "id": f"call_{index}",
            "type": "function",
            "function": {"name": use.name, "arguments": ""},
        }
        data = self._chunk({"tool_calls": [call]})
        for at in range(0, len(arguments), 7):
            data += self._chunk({"tool_calls": [{"index": index, "function": {"arguments": arguments[at : at + 7]}}]})
        return data

    def think(self, think: Think) -> bytes:
        self.said += len(think.text)
        return self._chunk({"reasoning_content": think.text})

    def failed(self, kind: str, message: str) -> bytes:
        return b"data: " + json.dumps({"error": {"type": kind, "message": message, "code": None}}).encode() + b"\n\n"

    def end(self, asked: Asked, figures: Tokens) -> bytes:
        words = {"end_turn": "stop", "tool_use": "tool_calls", "max_tokens": "length", "refusal": "content_filter"}
        data = self._chunk({}, words[self.reason or ("tool_use" if self.calls else "end_turn")])
        if (asked.body.get("stream_options") or {}).get("include_usage"):
            fresh = asked.tokens if figures.input is None else figures.input
            usage = {
                "prompt_tokens": fresh + figures.cached_read,
                "completion_tokens": max(1, self.said // 4) if figures.output is None else figures.output,
                "prompt_tokens_details": {"cached_tokens": figures.cached_read},
            }
            data += self._line({"choices": [], "usage": usage})
        return data + b"data: [DONE]\n\n"

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        return self._line({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    def _line(self, data: dict[str, Any]) -> bytes:
        assert self.asked is not None
        head = {"id": f"chatcmpl-{self.asked.number}", "object": "chat.completion.chunk", "model": self.asked.model}
        return b"data: " + json.dumps({**head, **data}).encode() + b"\n\n"


_Wire = _Anthropic | _OpenAi


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()
