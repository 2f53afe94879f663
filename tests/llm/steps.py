"""What a script of the model double is made of: the steps of a reply, a gate in the test's hand, and a request as it came.

Values only, and reading them; how they are said on a wire is in `wires`, who says them in `double`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

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
class Search:
    """The provider's own web search, which found this page; what is said next cites it."""

    query: str = "ferns"
    url: str = "https://example.org/ferns"
    title: str = "Ferns"


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
    | Search
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

    wire: str  # "anthropic", "openai", "responses" or "google"
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
        found = re.search(r"/models/([^:/]+):", self.path)
        return unquote(found[1]) if found else str(self.body.get("model", ""))

    @property
    def system(self) -> str:
        match self.wire:
            case "anthropic":
                return _joined(self.body.get("system"))
            case "responses":
                return str(self.body.get("instructions") or "")
            case "google":
                return _joined((self.body.get("systemInstruction") or {}).get("parts"))
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
        """The names of our own tools, not those of the provider."""
        tools = self.body.get("tools", [])
        if self.wire == "google":
            return [found["name"] for tool in tools for found in tool.get("functionDeclarations") or ()]
        if self.wire == "openai":
            return [tool["function"]["name"] for tool in tools]
        return [tool["name"] for tool in tools if tool.get("type") in (None, "function")]

    @property
    def turns(self) -> list[tuple[str, str, list[str]]]:
        """(role, text, results of tools) of the conversation, oldest first; tools' results are the user's."""
        match self.wire:
            case "responses":
                return [_turn_of_item(item) for item in self.body["input"]]
            case "google":
                return [_turn_of_content(content) for content in self.body["contents"]]
        return [(m["role"], _joined(m.get("content")), _results(m)) for m in self.body["messages"]]

    @property
    def messages(self) -> list[tuple[str, str]]:
        """(role, text) of the conversation, tools left out."""
        return [(role, text) for role, text, _ in self.turns if role in ("user", "assistant") and text]

    @property
    def last(self) -> str:
        """The last words of somebody else."""
        return next((text for role, text in reversed(self.messages) if role == "user"), "")

    @property
    def results(self) -> list[str]:
        """What the tools answered that the agent used since somebody else last said something."""
        found: list[str] = []
        for role, _, here in reversed(self.turns):
            if role == "user" and not here:
                break
            found[:0] = here
        return found

    @property
    def tokens(self) -> int:
        """A quarter of the characters of the whole request: the server's own count."""
        keys = ("system", "instructions", "systemInstruction", "messages", "input", "contents", "tools")
        return len(json.dumps([self.body[key] for key in keys if key in self.body])) // 4


def _turn_of_item(item: Mapping[str, Any]) -> tuple[str, str, list[str]]:
    match item["type"]:
        case "message":
            return item["role"], "\n\n".join(part["text"] for part in item["content"]), []
        case "function_call_output":
            return "user", "", [item["output"]]
    return "assistant", "", []


def _turn_of_content(content: Mapping[str, Any]) -> tuple[str, str, list[str]]:
    answers = [part["functionResponse"]["response"] for part in content["parts"] if "functionResponse" in part]
    results = [str(answer.get("output", answer.get("error"))) for answer in answers]
    return "assistant" if content["role"] == "model" else "user", _joined(content["parts"]), results


def _joined(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n\n".join(
        block["text"]
        for block in content or ()
        if block.get("type", "text") == "text" and "text" in block and not block["text"].startswith("<turn>")
    )


def _results(message: Mapping[str, Any]) -> list[str]:
    if message["role"] == "tool":
        return [message["content"]]
    if isinstance(message.get("content"), str):
        return []
    blocks = [block for block in message.get("content") or () if block.get("type") == "tool_result"]
    return [block["content"] if isinstance(block["content"], str) else _joined(block["content"]) for block in blocks]
