"""The adapters on a wire that has bad days: each fault against the model double, on both wires."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from egghead.llm import openai_chat
from egghead.llm.errors import (
    AuthFailed,
    ContextOverflow,
    LlmError,
    NotAnApi,
    OutOfCredit,
    Overloaded,
    ProviderMissing,
    ProviderTimeout,
    RateLimited,
    RequestRefused,
    StreamBroken,
    UnknownModel,
    Unreachable,
)
from egghead.llm.registry import Registry
from egghead.llm.shapes import Event, Request, Stop, Text, Thinking, ToolUse, Usage, request_from
from tests.llm.double import (
    KEY,
    Break,
    Close,
    Double,
    Error,
    Gate,
    Hang,
    Overflow,
    Ping,
    Raw,
    Reply,
    Say,
    Send,
    Status,
    Think,
    Tokens,
    Use,
    Wait,
)
from tests.llm.double import Stop as End

REQUEST = request_from(
    {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "ada: hello"}]}],
        "system": "You are Scout (agent scout).",
        "tools": [{"name": "look", "input_schema": {"type": "object"}}],
    }
)
# JSON that none of the four formats can mean: each has one of these.
ILL_FORMED = (
    b'data: {"type": "content_block_delta", "choices": 3, "candidates": 3}\n\n'
    b'data: {"type": "response.output_text.delta", "choices": 3, "candidates": 3}\n\n'
)
EVENT_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


@pytest.fixture(params=["anthropic", "openai", "responses", "google"])
def wire(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.asynccontextmanager
async def opened(config: dict[str, Any]) -> AsyncIterator[Registry]:
    registry = Registry.from_config(config, {})
    try:
        yield registry
    finally:
        await registry.aclose()


async def complete(registry: Registry, name: str, heard: list[Event], request: Request = REQUEST) -> list[Event]:
    provider, model = registry.resolve(name)
    async with contextlib.aclosing(provider.complete(request, model)) as events:
        async for event in events:
            heard.append(event)
    return heard


async def ask(wire: str, *replies: Reply, **limits: float) -> tuple[list[Event], LlmError | None, Double]:
    """What came of one request to a server that says these replies one after the other."""
    heard: list[Event] = []
    with Double(list(replies)) as double:
        async with opened(double.config(**limits)) as registry:
            try:
                await complete(registry, f"{wire}/double", heard)
            except LlmError as error:
                assert KEY not in str(error) and "\n" not in str(error)
                if isinstance(error, ProviderTimeout):
                    assert await asyncio.to_thread(double.asked[0].gone.wait, 5)  # we left, in time
                return heard, error, double
    return heard, None, double


def said(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


async def test_all_that_an_answer_may_hold(wire: str) -> None:
    """Thoughts, text, parallel calls and figures arrive in neutral shape, the stop last; pings mean nothing."""
    reply = [
        Think("Hm."),
        "I ",
        Ping(),
        Say("look twice", 3),
        Use("look", {"a": "ä" * 20}),
        Use("look"),
        Tokens(10, 5, 3),
    ]
    events, error, double = await ask(wire, reply)
    assert error is None and double.faults == []
    assert "".join(e.text for e in events if isinstance(e, Thinking)) == "Hm."
    assert said(events) == "I look twice"
    assert [(e.name, e.input) for e in events if isinstance(e, ToolUse)] == [("look", {"a": "ä" * 20}), ("look", {})]
    assert events[-1] == Stop("tool_use", Usage(10, 5, 3, 0))


@pytest.mark.parametrize("kind", [*openai_chat.PRESETS, "acme"])
async def test_every_preset_speaks(kind: str) -> None:
    """Each known server, and anybody's by its address, is asked under its own name and with its own keys."""
    with Double([["hello", Use("look"), Tokens(7, 3)]]) as double:
        config = {"llm": [{"provider": kind, "name": "mine", "api_key": KEY, "base_url": f"{double.url}/v1/"}]}
        async with opened(config) as registry:
            events = await complete(registry, "mine/org/model", [])
    [asked] = double.asked
    assert said(events) == "hello" and asked.model == "org/model" and asked.path == "/v1/chat/completions"
    assert ("max_completion_tokens" in asked.body) == (kind == "openai") and double.faults == []
    stop = events[-1]
    assert isinstance(stop, Stop) and stop.usage.output == (0 if kind == "mistral" else 3)


@pytest.mark.parametrize("reason", ["end_turn", "max_tokens", "refusal"])
async def test_why_an_answer_ended(wire: str, reason: str) -> None:
    """Each provider's word for it becomes ours."""
    events, _, _ = await ask(wire, ["x", End(reason)])
    assert isinstance(events[-1], Stop) and events[-1].reason == reason


STATUS: list[tuple[int, type[LlmError], int]] = [
    (400, RequestRefused, 1),
    (401, AuthFailed, 1),
    (402, OutOfCredit, 1),
    (403, AuthFailed, 1),
    (404, UnknownModel, 1),
    (408, Overloaded, 3),
    (409, Overloaded, 3),
    (413, ContextOverflow, 1),
    (422, RequestRefused, 1),
    (429, RateLimited, 3),
    (500, Overloaded, 3),
    (502, Overloaded, 3),
    (503, Overloaded, 3),
    (529, Overloaded, 3),
]


@pytest.mark.parametrize(("code", "kind", "tries"), STATUS, ids=[str(row[0]) for row in STATUS])
async def test_a_status_is_an_error_and_some_are_tried_again(
    wire: str, code: int, kind: type[LlmError], tries: int
) -> None:
    """What passes is tried as often as configured and no more; what does not is told at once."""
    events, error, double = await ask(wire, Status(code), retries=2)
    assert (events, type(error), len(double.asked)) == ([], kind, tries)
    assert wire in str(error)
    assert ("tried 3 times" in str(error)) == (tries == 3)


@pytest.mark.parametrize("fault", [Status(429), Status(529), Status(503, {}, "<html>busy"), Error(), Break()], ids=repr)
async def test_a_fault_that_passes_is_not_noticed(wire: str, fault: Reply) -> None:
    """Before the first event another try gives the whole answer, once."""
    events, error, double = await ask(wire, fault, ["hello ", "you"])
    assert error is None and said(events) == "hello you" and len(double.asked) == 2


async def test_the_wait_that_is_asked_for_is_kept(wire: str) -> None:
    """`Retry-After` is honoured to the millisecond, though our own pause would be shorter."""
    started = time.monotonic()
    events, error, _ = await ask(wire, Status(429, {"retry-after-ms": "300"}), "hello")
    assert error is None and said(events) == "hello"
    assert time.monotonic() - started >= 0.3


async def test_calls_one_after_the_other_share_a_connection(wire: str) -> None:
    """An answer is read to its end, so that the next call does not pay for a new connection."""
    with Double(["one", "two", ["three", Use("look")]]) as double:
        async with opened(double.config()) as registry:
            for _ in range(3):
                await complete(registry, f"{wire}/double", [])
    assert [asked.connection for asked in double.asked] == [1, 1, 1]


async def test_an_answer_is_over_when_it_is_said_to_be(wire: str) -> None:
    """A server that forgets to end the body keeps nobody waiting."""
    end = {
        "anthropic": b'data: {"type": "message_stop"}\n\n',
        "openai": b"data: [DONE]\n\n",
        "responses": b'data: {"type": "response.completed", "response": {"status": "completed"}}\n\n',
        "google": b'data: {"candidates": [{"finishReason": "STOP"}]}\n\n',
    }[wire]
    started = time.monotonic()
    events, error, _ = await ask(wire, ["hello", Send(end), Hang()])
    assert error is None and said(events) == "hello" and isinstance(events[-1], Stop)
    assert time.monotonic() - started < 10


async def test_a_wait_that_is_too_long_is_told(wire: str) -> None:
    """Nobody sits in a room for an hour: the error comes at once, and says how long it would have been."""
    _, error, double = await ask(wire, Status(429, {"retry-after": "3600"}))
    assert isinstance(error, RateLimited) and error.after == 3600 and len(double.asked) == 1
    assert "it asks to wait 3600 s" in str(error)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Break(), StreamBroken),
        (Close(), StreamBroken),
        (Error(), Overloaded),
        (Error("api_error", "Internal server error"), Overloaded),
        (Send(b"data: {no json\n\n"), StreamBroken),
        (Send(b"\xff\x00" * 50 + b"\n\ndata: 3\n\n"), StreamBroken),
        (Send(ILL_FORMED), StreamBroken),
    ],
    ids=repr,
)
async def test_after_the_first_word_nothing_is_asked_again(wire: str, fault: Any, kind: type[LlmError]) -> None:
    """What was heard is heard once, and the fault is told: the answer is never doubled."""
    events, error, double = await ask(wire, ["Half ", "an answer", fault], "Whole")
    assert (type(error) in (kind, Overloaded) and type(error) is kind) or wire == "openai"
    assert isinstance(error, kind | RequestRefused)
    assert said(events) == "Half an answer" and len(double.asked) == 1
    assert not any(isinstance(event, Stop) for event in events)


async def test_an_end_before_the_first_word_is_tried_again(wire: str) -> None:
    """A connection that closes politely without an answer is a lost connection."""
    events, error, double = await ask(wire, [Close()], "hello")
    assert error is None and said(events) == "hello" and len(double.asked) == 2
    _, error, double = await ask(wire, [Close()], retries=1)
    assert isinstance(error, Unreachable) and len(double.asked) == 2


async def test_silence_has_a_limit(wire: str) -> None:
    """No first byte, and no further one: told after the configured time, and not asked again."""
    _, error, double = await ask(wire, Hang(), first_byte_timeout=0.2)
    assert isinstance(error, ProviderTimeout) and "did not answer within 0.2 s" in str(error) and len(double.asked) == 1
    events, error, double = await ask(wire, ["Half", Hang()], idle_timeout=0.2)
    assert isinstance(error, ProviderTimeout) and "did not go on within 0.2 s" in str(error)
    assert said(events) == "Half" and len(double.asked) == 1


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (Status(200, {}, "<html>Welcome to the portal"), NotAnApi, "text/html"),
        (Status(200, {}, {"hello": "world"}), NotAnApi, "application/json"),
        (Status(200, {}, {"error": {"message": "maximum context length is 5"}}), LlmError, ""),
        (Status(404, {}, "<html>nginx"), NotAnApi, "base_url"),
        (Status(302, {"location": "https://elsewhere.example/"}, "moved"), NotAnApi, "302"),
        (Status(500, {}, "x" * 10_000_000), Overloaded, "500"),
        (Raw(b"\x00\xff garbage\r\n\r\n" * 10), NotAnApi, "does not speak HTTP"),
        (Raw(b"220 mail.example.com ESMTP\r\n"), Unreachable, "cannot be reached"),
        (Raw(EVENT_STREAM + b"data: " + b"x" * 9_000_000), StreamBroken, "larger"),
        (
            Raw(EVENT_STREAM.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n") + b"\x1f\x8b" * 100),
            LlmError,
            "",
        ),
    ],
    ids=range(10),
)
async def test_what_is_no_api_is_said_to_be_none(wire: str, reply: Reply, kind: type[LlmError], words: str) -> None:
    """Web pages, redirects, other protocols, floods: a sentence, little memory, no key to another host."""
    events, error, double = await ask(wire, reply, retries=0)
    assert isinstance(error, kind), error
    assert words in str(error) and len(str(error)) < 500
    assert events == [] and len(double.asked) == 1


async def test_too_long_is_no_failure_but_a_kind_of_its_own(wire: str) -> None:
    """Both by the provider's script and by its count of tokens; never tried again."""
    _, error, double = await ask(wire, Overflow(), "x")
    assert isinstance(error, ContextOverflow) and len(double.asked) == 1
    with Double(["x"], window=10) as double:
        async with opened(double.config()) as registry:
            with pytest.raises(ContextOverflow):
                await complete(registry, f"{wire}/double", [])


async def test_leaving_closes_the_connection_at_once(wire: str) -> None:
    """The provider stops to work, and to charge, when nobody listens; before the first byte as well."""
    gate = Gate()
    with Double([["Half ", Wait(gate), "rest"], [Wait(gate), "never"]]) as double:
        async with opened(double.config()) as registry:
            provider, model = registry.resolve(f"{wire}/double")
            async with contextlib.aclosing(provider.complete(REQUEST, model)) as events:
                async for event in events:
                    assert isinstance(event, Text)
                    break
            assert await asyncio.to_thread(double.asked[0].gone.wait, 5)
            task = asyncio.create_task(complete(registry, f"{wire}/double", []))
            await asyncio.to_thread(double.wait, 2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(double.asked[1].gone.wait, 5)


async def test_the_provider_cannot_make_us_show_the_key(wire: str) -> None:
    """A server that repeats the key in its error, before or within the stream, is not quoted with it."""
    echo = {"type": "error", "error": {"type": "invalid_request_error", "message": f"bad key {KEY} given"}}
    for reply in (Status(400, {}, echo), ["x", Error("invalid_request_error", f"bad {KEY} given")]):
        _, error, _ = await ask(wire, reply)
        assert isinstance(error, RequestRefused) and "bad" in str(error) and KEY not in repr(error.args)


async def test_no_address_with_a_password_is_logged(wire: str, caplog: pytest.LogCaptureFixture) -> None:
    """A base_url may hold a password for a proxy; neither our log nor the HTTP client's shows it, also when it fails."""
    caplog.set_level("DEBUG")
    with Double([Status(503), "hello"]) as double:
        config = double.config()
        for entry in config["llm"]:
            entry["base_url"] = entry["base_url"].replace("http://", "http://ada:hunter2@")
        async with opened(config) as registry:
            # What stands in the address is sent as `Authorization`; where that is the place of the key, it is refused.
            with contextlib.suppress(AuthFailed):
                await complete(registry, f"{wire}/double", [])
    assert double.asked and "asyncio" in caplog.text  # DEBUG is on
    assert "hunter2" not in caplog.text and KEY not in caplog.text


@pytest.mark.parametrize("key", ["sk-one\nx-evil: 1", "sk ok", "schlüssel"])
async def test_a_key_that_is_none_is_not_sent_nor_shown(wire: str, key: str) -> None:
    """Line ends and the like would be another header: told as a fault of the configuration."""
    config = {"llm": [{"provider": wire, "api_key": key, "base_url": "http://127.0.0.1:9"}]}
    async with opened(config) as registry:
        with pytest.raises(ProviderMissing, match="api_key") as caught:
            await complete(registry, f"{wire}/x", [])
        assert key not in str(caught.value)
        assert [model.name for model in registry.models()] == ["local/librarian"]


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port where nobody listens, for as long as the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


async def refused(wire: str, base_url: str, **limits: float) -> LlmError:
    config = {"llm": [{"provider": wire, "api_key": KEY, "base_url": base_url, "limits": {"backoff": 0.01, **limits}}]}
    async with opened(config) as registry:
        with pytest.raises(LlmError) as caught:
            await complete(registry, f"{wire}/x", [])
    assert KEY not in str(caught.value)
    return caught.value


async def test_nobody_there(wire: str, free_port: int) -> None:
    """Refused: tried again, then said with the address and a question that helps."""
    error = await refused(wire, f"http://user:secret@127.0.0.1:{free_port}/v1", retries=2)
    assert isinstance(error, Unreachable)
    assert "is it running?" in str(error) and f"127.0.0.1:{free_port}" in str(error) and "tried 3 times" in str(error)
    assert "secret" not in str(error)


async def test_no_connection_in_time(wire: str) -> None:
    """A server that accepts nothing: the connection has a limit of its own."""
    with socket.socket() as deaf, contextlib.ExitStack() as stack:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):  # fill its queue
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(deaf.getsockname())
        error = await refused(wire, f"http://127.0.0.1:{deaf.getsockname()[1]}", connect_timeout=0.2, retries=0)
    assert isinstance(error, Unreachable) and "no connection within 0.2 s" in str(error)


async def test_tls_with_somebody_who_does_not_speak_it(wire: str) -> None:
    """`https://` to a plain server is a sentence, not a traceback."""
    with Double(["x"]) as double:
        error = await refused(wire, double.url.replace("http", "https"), retries=0)
    assert isinstance(error, NotAnApi) and "does not speak TLS" in str(error)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "nonsense", "http://", "http://[::1", "https://a b/"])
async def test_an_address_that_cannot_be_meant(wire: str, url: str) -> None:
    """Told as a fault of the configuration, when the provider is used."""
    error = await refused(wire, url)
    assert isinstance(error, ProviderMissing) and "base_url" in str(error)


async def test_no_proxy_between_us_and_this_machine(wire: str, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment is for the world; one that is dead does not cut us from a server here."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port}")
    events, error, _ = await ask(wire, "hello")
    assert error is None and said(events) == "hello"


async def test_a_proxy_is_asked_for_the_world(wire: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a proxy in the environment the request goes to it, whole address and all."""
    with Double(["through the proxy"]) as double:
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, double.url)
        config = double.config()
        for entry in config["llm"]:
            entry["base_url"] = double.base_url(entry["provider"]).replace(double.url, "http://models.example")
        async with opened(config) as registry:
            events = await complete(registry, f"{wire}/double", [])
    assert said(events) == "through the proxy"
    assert double.asked[0].path.startswith("http://models.example/")


async def test_a_hundred_at_once(wire: str) -> None:
    """A hundred streams of one provider are open at the same time, and each gets its own answer."""
    gate = Gate()
    with Double(lambda asked: ["mine: ", Wait(gate), asked.last]) as double:
        async with opened(double.config()) as registry:
            requests = [
                request_from({"messages": [{"role": "user", "content": [{"type": "text", "text": f"n{i}"}]}]})
                for i in range(100)
            ]
            asking = asyncio.gather(*(complete(registry, f"{wire}/double", [], request) for request in requests))
            await asyncio.to_thread(double.wait, 100)
            gate.open()
            answers = [said(events) for events in await asking]
    assert answers == [f"mine: n{i}" for i in range(100)] and double.most_open == 100


async def test_the_second_call_reads_the_cache_of_the_first() -> None:
    """Anthropic's own semantics: a prefix that ended with a breakpoint in one request is found in the next."""
    prefixes: set[str] = set()

    def cached(asked: Any) -> Reply:
        blocks = [json.dumps(t) for t in asked.body["tools"]] + [json.dumps(b) for b in asked.body["system"]]
        blocks += [json.dumps(b) for m in asked.body["messages"] for b in m["content"]]
        marked = ', "cache_control": {"type": "ephemeral"}'
        known, wrote, so_far = 0, 0, ""
        for block in blocks:
            so_far += block.replace(marked, "")
            if so_far in prefixes:
                known = len(so_far)
            if marked in block:
                prefixes.add(so_far)
                wrote = len(so_far)
        return ["ok", Tokens(len(so_far) - wrote, 1, known, wrote - known)]

    with Double(cached) as double:
        async with opened(double.config()) as registry:
            [_, first] = await complete(registry, "anthropic/double", [])
            longer = request_from(
                {
                    "messages": [
                        {"role": "user", "content": [{"type": "text", "text": "ada: hello"}]},
                        {"role": "assistant", "content": [{"type": "text", "text": "ok"}]},
                        {"role": "user", "content": [{"type": "text", "text": "ada: and?"}]},
                    ],
                    "system": REQUEST.system,
                    "tools": [{"name": "look", "input_schema": {"type": "object"}}],
                }
            )
            [_, second] = await complete(registry, "anthropic/double", [], longer)
    assert isinstance(first, Stop) and isinstance(second, Stop)
    assert first.usage.cached_read == 0 and second.usage.cached_read == first.usage.cached_write > 0
