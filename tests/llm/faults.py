"""The faults of a provider as a table: what the server does, and what then becomes of a call. Data only.

`says` is the row of the table in `docs/llm.md` ("What a room is told") whose sentence is told. `tries` is how often the
server is asked when two new tries are allowed. `heard` are the words that came before. `endless` marks what goes on until
we leave; `flood` what sends as much as we take, of which no more than `most` bytes may be taken.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from egghead.llm.errors import (
    AuthFailed,
    ContextOverflow,
    LlmError,
    NotAnApi,
    OutOfCredit,
    Overloaded,
    ProviderTimeout,
    RateLimited,
    RequestRefused,
    StreamBroken,
    UnknownModel,
    Unreachable,
)
from tests.llm.faulty import CHUNKED, Answer, Deaf, Drip, Endless, Reset, Silence, chunk, ended, head, more, said, used

MIB = 1024 * 1024
JSON = "application/json"
LATER = "Wed, 21 Oct 2099 07:28:00 GMT"
PAST = "Wed, 21 Oct 2015 07:28:00 GMT"


@dataclass(frozen=True)
class Fault:
    id: str
    says: str
    kind: type[LlmError]
    answer: Callable[[str], Answer]  # of a wire
    tries: int = 1
    heard: str = ""
    endless: bool = False
    flood: bool = False
    most: int = 64 * 1024
    limits: dict[str, float] = field(default_factory=dict)


def _error(message: str, kind: str = "rate_limit_error") -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()


def _status(code: str, **headers: str) -> Callable[[str], Answer]:
    body = _error("as scripted", {"401": "authentication_error", "404": "not_found_error"}.get(code[:3], ""))
    return lambda wire: [head(code, JSON, **headers), body]


def _half(*steps: object) -> Callable[[str], Answer]:
    """Words, and then this."""
    return lambda wire: [CHUNKED, chunk(said(wire, "Half ")), *steps]  # type: ignore[list-item]


def _page(code: str) -> Callable[[str], Answer]:
    return lambda wire: [head(code, "text/html"), b"<html><h1>Log in to the network</h1></html>"]


BOMB = gzip.compress(b"\0" * (64 * MIB))
SHORT = {"first_byte_timeout": 0.3, "idle_timeout": 0.3}

FAULTS = [
    # ---- before the first word
    Fault("closed", "closed before the answer", Unreachable, lambda wire: [], 3),
    Fault("reset", "reset before the answer", Unreachable, lambda wire: [Reset()], 3),
    Fault("garbage", "another protocol", NotAnApi, lambda wire: [b"\x00\xffgarbage\r\n\r\n" * 10]),
    Fault("speaks tls", "TLS on a plain address", NotAnApi, lambda wire: [b"\x15\x03\x03\x00\x02\x02\x46"]),
    Fault("half a head", "closed before the answer", Unreachable, lambda wire: [b"HTTP/1.1 200 OK\r\ncontent-"], 3),
    Fault("bad header", "not valid HTTP", Unreachable, lambda wire: [b"HTTP/1.1 200 OK\r\n\x01bad\x02\r\n\r\n"], 3),
    Fault("upgrade", "not valid HTTP", Unreachable, lambda wire: [b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", Silence()], 3),
    Fault("no first byte", "no first byte", ProviderTimeout, lambda wire: [Silence()], 1, endless=True, limits=SHORT),
    Fault("mute", "no first byte", ProviderTimeout, lambda wire: [Deaf()], 0, endless=True, limits=SHORT),
    Fault("half a head, then silence", "no first byte", ProviderTimeout, lambda wire: [b"HTTP/1.1 200 OK\r\nx:", Silence()], 1, endless=True, limits=SHORT),
    Fault("a head drop by drop", "no first byte", ProviderTimeout, lambda wire: [b"HTTP/1.1 200 OK\r\n", Drip(b"x: y\r\n")], 1, endless=True, limits=SHORT),
    Fault("a head, then silence", "no first byte", ProviderTimeout, lambda wire: [head(), Silence()], 1, endless=True, limits=SHORT),
    Fault("only pings", "only pings", ProviderTimeout, lambda wire: [head(), Drip(b"event: ping\ndata: {}\n\n: still here\n\n")], 1, endless=True, limits=SHORT),
    Fault("401", "the key is not taken", AuthFailed, _status("401 Unauthorized")),
    Fault("404", "no such model", UnknownModel, _status("404 Not Found")),
    Fault("400", "a fault in the request", RequestRefused, _status("400 Bad Request")),
    Fault("402", "no credit", OutOfCredit, _status("402 Payment Required")),
    Fault("403", "the key is for other models", AuthFailed, _status("403 Forbidden")),
    Fault("413", "too long", ContextOverflow, _status("413 Content Too Large")),
    Fault("408", "a fault of its own", Overloaded, _status("408 Request Timeout"), 3),
    Fault("409", "a fault of its own", Overloaded, _status("409 Conflict"), 3),
    Fault("429", "too many requests", RateLimited, _status("429 Too Many Requests"), 3),
    Fault("429, seconds", "too many requests", RateLimited, _status("429 Too Many Requests", Retry_After="0"), 3),
    Fault("429, milliseconds", "too many requests", RateLimited, _status("429 Too Many Requests", Retry_After_Ms="20"), 3),
    Fault("429, a past date", "too many requests", RateLimited, _status("429 Too Many Requests", Retry_After=PAST), 3),
    Fault("429, a far date", "too many requests, for long", RateLimited, _status("429 Too Many Requests", Retry_After=LATER)),
    Fault("429, an absurd number", "too many requests, for long", RateLimited, _status("429 Too Many Requests", Retry_After="9" * 20)),
    Fault("429, no number", "too many requests", RateLimited, _status("429 Too Many Requests", Retry_After="soon, -5, 1e9"), 3),
    Fault("429, theirs is another time", "too many requests", RateLimited, _status("429 Too Many Requests", Retry_After=LATER, Date=LATER), 3),
    Fault("500", "a fault of its own", Overloaded, _status("500 Internal Server Error"), 3),
    Fault("502", "a fault of its own", Overloaded, _page("502 Bad Gateway"), 3),
    Fault("503", "a fault of its own", Overloaded, _status("503 Service Unavailable", Retry_After="0"), 3),
    Fault("529", "overloaded", Overloaded, _status("529 Overloaded"), 3),
    Fault("log-in page", "a web page", NotAnApi, _page("200 OK")),
    Fault("a 404 page", "no API there", NotAnApi, _page("404 Not Found")),
    Fault("wrong content type", "something else than a stream", NotAnApi, lambda wire: [head(kind=JSON), b'{"hello": 1}']),
    Fault("no content type", "something else than a stream", NotAnApi, lambda wire: [b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello"]),
    Fault("packed", "a packed stream", NotAnApi, lambda wire: [head(content_encoding="gzip"), BOMB]),
    Fault("redirect", "a redirect", NotAnApi, lambda wire: [head("307 Temporary Redirect", location="https://elsewhere.example/?key=1"), b""]),
    Fault("an error that hangs", "a fault of its own", Overloaded, lambda wire: [head("503 Busy", JSON, content_length="999"), b"{", Silence()], 3, limits=SHORT),
    Fault("an error that breaks off", "a fault of its own", Overloaded, lambda wire: [head("503 Busy", JSON, content_length="999"), b"{", Reset()], 3),
    Fault("a packed error", "too many requests", RateLimited, lambda wire: [head("429 Slow", JSON, content_encoding="gzip"), gzip.compress(_error("slow down"))], 3),
    Fault("an error that unfolds", "a fault of its own", Overloaded, lambda wire: [head("500 Bomb", JSON, content_encoding="gzip"), BOMB], 3),
    Fault("an error without end", "a fault of its own", Overloaded, lambda wire: [head("500 Long", JSON), Endless(b"x")], 3, flood=True),
    Fault("a head without end", "not valid HTTP", Unreachable, lambda wire: [b"HTTP/1.1 200 OK\r\n", Endless(b"x-more: and more\r\n")], 3, flood=True),
    Fault("one header without end", "not valid HTTP", Unreachable, lambda wire: [b"HTTP/1.1 200 OK\r\nx: ", Endless(b"x")], 3, flood=True),
    Fault("interim answers without end", "no first byte", ProviderTimeout, lambda wire: [Endless(b"HTTP/1.1 100 Continue\r\n\r\n")], 1, endless=True, flood=True, most=1 << 30, limits=SHORT),
    Fault("no size of a chunk", "not valid HTTP", Unreachable, lambda wire: [CHUNKED, b"ZZ\r\n"], 3),
    Fault("a size without end", "not valid HTTP", Unreachable, lambda wire: [CHUNKED, Endless(b"1")], 3, flood=True),
    Fault("an extension without end", "not valid HTTP", Unreachable, lambda wire: [CHUNKED, b"5;", Endless(b"x")], 3, flood=True),
    Fault("an event without end", "larger than an answer", StreamBroken, lambda wire: [head(), b"data: ", Endless(b"x")], 1, flood=True, most=9 * MIB),
    Fault("no JSON", "an event that is no JSON", StreamBroken, lambda wire: [head(), b'data: {"type": "mess\n\n']),
    Fault("an end without a word", "closed before the answer", Unreachable, lambda wire: [CHUNKED, b"0\r\n\r\n"], 3),
    # ---- after the first word
    Fault("silence in the middle", "silence in the middle", ProviderTimeout, _half(Silence()), 1, "Half ", endless=True, limits=SHORT),
    Fault("pings in the middle", "only pings", ProviderTimeout, _half(Drip(chunk(b": ping\n\n"))), 1, "Half ", endless=True, limits=SHORT),
    Fault("reset in the middle", "broke off", StreamBroken, _half(Reset()), 1, "Half "),
    Fault("cut in the middle", "broke off", StreamBroken, _half(), 1, "Half "),
    Fault("no end", "broke off", StreamBroken, _half(b"0\r\n\r\n"), 1, "Half "),
    Fault("half an event", "broke off", StreamBroken, _half(chunk(b'data: {"choices": [{"de')), 1, "Half "),
    Fault("garbage in the middle", "broke off", StreamBroken, _half(b"not a size\r\n"), 1, "Half "),
    Fault("a chunk longer than it says", "broke off", StreamBroken, _half(b"2\r\n: too long\r\n"), 1, "Half "),
    Fault("truncated JSON", "an event that is no JSON", StreamBroken, _half(chunk(b'data: {"type": "content_bl\n\n')), 1, "Half "),
    Fault("an event of another format", "an event of another format", StreamBroken, _half(chunk(b'data: {"type": "content_block_delta", "index": 0, "delta": 3, "choices": 3}\n\n')), 1, "Half "),
    Fault("an event without end in the middle", "larger than an answer", StreamBroken, _half(b"7fffffff\r\ndata: ", Endless(b"x")), 1, "Half ", flood=True, most=9 * MIB),
    Fault("pings without end", "larger than an answer", StreamBroken, _half(b"7fffffff\r\n", Endless(b": still alive, and no word yet\n\n")), 1, "Half ", flood=True, most=2 * MIB),
    Fault("tools without end", "too many tools", StreamBroken, lambda wire: [head(), *(used(wire, n) for n in range(300)), ended(wire)]),
    Fault("trailers without end", "broke off", StreamBroken, _half(b"0\r\n", Endless(b"x: y\r\n")), 1, "Half ", flood=True),
]  # fmt: skip
BY_ID = {fault.id: fault for fault in FAULTS}


def words_without_end(wire: str) -> Answer:
    """An answer of single letters that does not end."""
    return [head(), said(wire, "Half "), Endless(more(wire, "x"))]
