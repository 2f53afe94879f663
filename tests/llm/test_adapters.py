"""Request builders and stream parsers as functions of data: no server, no clock."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egghead.llm import anthropic, openai_chat
from egghead.llm.errors import (
    AuthFailed,
    ContextOverflow,
    LlmError,
    OutOfCredit,
    Overloaded,
    RateLimited,
    RequestRefused,
    UnknownModel,
)
from egghead.llm.shapes import Event, Request, Stop, Text, Thinking, ToolUse, Usage, event_data, request_from
from egghead.llm.sse import Decoder, Sse
from egghead.llm.wire import Parser, tool_input

# Hand-written after the public reference of the Messages API, with an event and fields that nobody knows.
MESSAGES = """\
event: message_start
data: {"type":"message_start","message":{"id":"msg_1","role":"assistant","content":[],"model":"m","stop_reason":null,"usage":{"input_tokens":25,"cache_read_input_tokens":100,"cache_creation_input_tokens":7,"output_tokens":1,"service_tier":"standard"}},"new_field":1}

event: ping
data: {"type": "ping"}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Let me "}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"see."}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqQBCg=="}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"hidden"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"Grüße 😀"}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"citations_delta","citation":{}}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: brand_new_event
data: {"type":"brand_new_event","x":[1]}

event: content_block_start
data: {"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"toolu_1","name":"search","input":{}}}

event: content_block_start
data: {"type":"content_block_start","index":4,"content_block":{"type":"tool_use","id":"toolu_2","name":"list","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\\"q\\": \\"fe"}}

event: content_block_delta
data: {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"rn\\"}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":3}

event: content_block_stop
data: {"type":"content_block_stop","index":4}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":89}}

event: message_stop
data: {"type":"message_stop"}

""".encode()

MESSAGES_EVENTS = [
    Thinking("Let me see.", "EqQBCg=="),
    Thinking("", "redacted:hidden"),
    Text("Grüße 😀"),
    ToolUse("toolu_1", "search", {"q": "fern"}),
    ToolUse("toolu_2", "list", {}),
    Stop("tool_use", Usage(25, 89, 100, 7)),
]

CHAT = "\r\n".join(
    [
        'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"obfuscation":"x"}',
        "",
        'data: {"choices":[{"index":0,"delta":{"reasoning_content":"Hm."},"finish_reason":null}]}',
        "",
        ": keep-alive",
        "",
        'data: {"choices":[{"index":0,"delta":{"content":"Grüße 😀"},"finish_reason":null}]}',
        "",
        'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"search","arguments":""}}]},"finish_reason":null}]}',
        "",
        'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"call_b","type":"function","function":{"name":"list","arguments":""}}]}}]}',
        "",
        'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\\"q\\": \\"fe"}}]}}]}',
        "",
        'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"rn\\"}"}}]}}]}',
        "",
        'data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"usage":null}',
        "",
        'data: {"choices":[],"usage":{"prompt_tokens":132,"completion_tokens":89,"total_tokens":221,"prompt_tokens_details":{"cached_tokens":100}}}',
        "",
        "data: [DONE]",
        "",
        "",
    ]
).encode()

CHAT_EVENTS = [
    Text("Grüße 😀"),
    Thinking("Hm."),
    ToolUse("call_a", "search", {"q": "fern"}),
    ToolUse("call_b", "list", {}),
    Stop("tool_use", Usage(32, 89, 100, 0)),
]

Make = Callable[[], Parser]
WIRES: dict[str, Make] = {
    "anthropic": lambda: anthropic.Parser("m", "anthropic"),
    "openai": lambda: openai_chat.Parser("m", "openai"),
}


def read(parser: Parser, *pieces: bytes) -> list[Event]:
    decoder = Decoder()
    events = [event for piece in pieces for sse in decoder.feed(piece) for event in parser.feed(sse)]
    assert parser.ended
    return [*events, *parser.finish()]


@pytest.mark.parametrize(
    ("wire", "stream", "events"), [("anthropic", MESSAGES, MESSAGES_EVENTS), ("openai", CHAT, CHAT_EVENTS)]
)
def test_a_stream_cut_at_every_byte(wire: str, stream: bytes, events: list[Event]) -> None:
    """The same neutral events, wherever the stream is cut in two, and byte by byte."""
    make = WIRES[wire]
    assert read(make(), stream) == events
    assert read(make(), *(stream[i : i + 1] for i in range(len(stream)))) == events
    for at in range(len(stream)):
        assert read(make(), stream[:at], stream[at:]) == events


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "index",
                    "delta",
                    "content_block",
                    "message",
                    "usage",
                    "text",
                    "partial_json",
                    "choices",
                    "content",
                    "tool_calls",
                    "function",
                    "arguments",
                    "name",
                    "id",
                    "finish_reason",
                    "error",
                    "code",
                    "stop_reason",
                    "input_tokens",
                    "prompt_tokens",
                ]
            ),
            inner
            | st.sampled_from(
                ["content_block_start", "content_block_delta", "content_block_stop", "tool_use", "text_delta"]
            )
            | st.sampled_from(["message_delta", "message_start", "input_json_delta", "error", "thinking"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("wire", WIRES)
@given(st.lists(VALUES.map(json.dumps) | st.text(max_size=10), max_size=6))
def test_any_events_are_read_or_refused(wire: str, events: list[str]) -> None:
    """Whatever a server sends becomes events or an error of ours, and nothing else."""
    parser = WIRES[wire]()
    try:
        said = [event for data in events for event in parser.feed(Sse("", data))]
        *rest, last = parser.finish()
        assert isinstance(last, Stop)
        assert all(isinstance(event, Text | Thinking | ToolUse) for event in (*said, *rest))
        for event in (*said, *rest, last):
            msgspec.msgpack.encode(event_data(event))  # it can cross the bus
    except LlmError as error:
        assert "\n" not in str(error)


def conversation(**more: Any) -> Request:
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "ada: hi"}, {"type": "text", "text": "  "}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "text": "Hm.", "signature": "seal"},
                {"type": "text", "text": "Looking."},
                {"type": "tool_use", "id": "call-aa-1-1-1", "name": "search", "input": {"q": "ä"}},
                {"type": "tool_use", "id": "call-aa-1-1-2", "name": "list", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call-aa-1-1-1", "content": "found"},
                {"type": "tool_result", "tool_use_id": "call-aa-1-1-2", "content": "no", "is_error": True},
            ],
        },
    ]
    tools = [{"name": "search", "description": "d", "input_schema": {"type": "object"}}, {"name": "list"}]
    return request_from({"messages": messages, "tools": tools, "system": "Be.", "temperature": 1.5, **more})


def test_the_messages_request() -> None:
    """Blocks in the API's shape, blank text left out, three cache breakpoints: tools, system, the last message."""
    mark = {"cache_control": {"type": "ephemeral"}}
    assert anthropic.build(conversation(), "claude-3-5-haiku-latest") == {
        "model": "claude-3-5-haiku-latest",
        "max_tokens": 4096,
        "stream": True,
        "temperature": 1.0,
        "system": [{"type": "text", "text": "Be.", **mark}],
        "tools": [
            {"name": "search", "description": "d", "input_schema": {"type": "object"}},
            {"name": "list", "description": "", "input_schema": {"type": "object"}, **mark},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "ada: hi"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Looking."},
                    {"type": "tool_use", "id": "call00000", "name": "search", "input": {"q": "ä"}},
                    {"type": "tool_use", "id": "call00001", "name": "list", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call00000", "content": "found"},
                    {"type": "tool_result", "tool_use_id": "call00001", "content": "no", "is_error": True, **mark},
                ],
            },
        ],
    }


def test_the_chat_request() -> None:
    """One message for each result, arguments as JSON text, and the key for the longest answer that the server knows."""
    body = openai_chat.build(conversation(), "gpt-4o", openai_chat.PRESETS["openai"])
    assert body["messages"] == [
        {"role": "system", "content": "Be."},
        {"role": "user", "content": "ada: hi"},
        {
            "role": "assistant",
            "content": "Looking.",
            "tool_calls": [
                {"id": "call00000", "type": "function", "function": {"name": "search", "arguments": '{"q": "ä"}'}},
                {"id": "call00001", "type": "function", "function": {"name": "list", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call00000", "content": "found"},
        {"role": "tool", "tool_call_id": "call00001", "content": "no"},
    ]
    assert body["max_completion_tokens"] == 4096 and "max_tokens" not in body and body["temperature"] == 1.5
    assert body["stream_options"] == {"include_usage": True}
    mistral = openai_chat.build(conversation(), "m", openai_chat.PRESETS["mistral"])
    assert mistral["max_tokens"] == 4096 and "stream_options" not in mistral


ADAPTIVE = {"thinking": {"type": "adaptive"}}


@pytest.mark.parametrize(
    ("model", "wanted", "said", "more", "sealed"),
    [
        ("claude-sonnet-4-5", True, {"thinking": {"type": "enabled", "budget_tokens": 8192}}, 8192, True),
        ("claude-opus-4-20250514", 10, {"thinking": {"type": "enabled", "budget_tokens": 1024}}, 1024, True),
        ("claude-sonnet-4-5", False, {"temperature": 1.0}, 0, False),
        ("claude-opus-4-7", 20_000, {**ADAPTIVE, "output_config": {"effort": "high"}}, 8192, True),
        ("claude-opus-4-7", False, {}, 0, True),
        ("claude-sonnet-4-6", False, {"temperature": 1.0}, 0, True),
        ("claude-sonnet-5-5", True, ADAPTIVE, 8192, True),
        ("claude-sonnet-5-5", False, {"output_config": {"effort": "low"}}, 8192, True),
        ("claude-next-9", False, {"output_config": {"effort": "low"}}, 8192, True),
        ("double", False, {"temperature": 1.0}, 0, True),
        ("double", 1000, {**ADAPTIVE, "output_config": {"effort": "low"}}, 8192, True),
    ],
)
def test_thinking_is_asked_for_in_the_models_own_way(
    model: str, wanted: bool | int, said: dict[str, Any], more: int, sealed: bool
) -> None:
    """A budget, an effort or nothing; the answer keeps its own tokens; sealed thoughts of the turn go back where the
    model thinks; a temperature goes only where it is taken."""
    body = anthropic.build(conversation(thinking=wanted), model)
    keys = ("thinking", "output_config", "temperature")
    assert {k: v for k, v in body.items() if k in keys} == said and body["max_tokens"] == 4096 + more
    first = body["messages"][1]["content"][0]
    assert first == (
        {"type": "thinking", "thinking": "Hm.", "signature": "seal"} if sealed else {"type": "text", "text": "Looking."}
    )


def test_thoughts_that_the_provider_keeps_go_back_as_they_came() -> None:
    """A thought without text and one that is redacted are two things; both are handed back to the letter."""
    given = {
        "role": "assistant",
        "content": [{"type": "thinking", "text": "", "signature": s} for s in ("seal", "redacted:x")],
    }
    body = anthropic.build(request_from({"messages": [given]}), "claude-opus-5-5")
    assert body["messages"][0]["content"] == [
        {"type": "thinking", "thinking": "", "signature": "seal"},
        {"type": "redacted_thinking", "data": "x"},
    ]


def test_a_turn_whose_thoughts_are_lost_goes_on_without() -> None:
    """After a crash the calls are in the log and the thoughts are not: asking to think then would be refused."""
    given = conversation(thinking=True)
    lost = request_from(
        json.loads(json.dumps({"messages": [], "thinking": True}))
        | {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hi"}]},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "x", "name": "list", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "content": "r"}]},
            ]
        }
    )
    assert "thinking" in anthropic.build(given, "claude-opus-4-5")
    assert "thinking" not in anthropic.build(lost, "claude-opus-4-5")
    later = request_from(
        {
            "messages": [
                *json.loads(json.dumps([{"role": "user", "content": [{"type": "text", "text": "hi"}]}])),
                {"role": "assistant", "content": [{"type": "text", "text": "old answer"}]},
                {"role": "user", "content": [{"type": "text", "text": "and now?"}]},
            ],
            "thinking": True,
        }
    )
    assert "thinking" in anthropic.build(later, "claude-opus-4-5")


@pytest.mark.parametrize(
    ("model", "thinking", "tools", "keys"),
    [
        ("gpt-5.1", True, True, {"reasoning_effort": "medium"}),
        ("o3-mini", 1000, True, {"reasoning_effort": "low"}),
        ("gpt-5", 50_000, True, {"reasoning_effort": "high"}),
        ("gpt-5", False, True, {}),
        ("gpt-5.4", True, True, {}),
        ("gpt-5.4", True, False, {"reasoning_effort": "medium"}),
        ("gpt-5.6-luna", False, True, {"reasoning_effort": "none"}),
        ("gpt-5.6-luna", False, False, {}),
        ("gpt-4o", True, True, {"temperature": 1.5}),
    ],
)
def test_reasoning_models_get_an_effort_and_no_temperature(
    model: str, thinking: Any, tools: bool, keys: dict[str, Any]
) -> None:
    """OpenAI's own models: effort for those that reason, as far as they take it beside tools; a temperature for others."""
    given = conversation(thinking=thinking)
    request = given if tools else msgspec.structs.replace(given, tools=[])
    body = openai_chat.build(request, model, openai_chat.PRESETS["openai"])
    assert {k: v for k, v in body.items() if k in ("reasoning_effort", "temperature")} == keys


def test_deepseek_gets_its_thoughts_back() -> None:
    """Only where they led to tools, and only by the server that asks for it."""
    for kind, thought in (("deepseek", "Hm."), ("groq", None)):
        body = openai_chat.build(conversation(), "m", openai_chat.PRESETS[kind])
        assert [m.get("reasoning_content") for m in body["messages"] if m["role"] == "assistant"] == [thought]


def test_a_prefix_stays_the_same_while_a_turn_grows() -> None:
    """What was sent before is sent again to the letter, but for the breakpoint that moves: the cache hits."""
    full = conversation()
    shorter = request_from({"messages": [], "system": "Be.", "tools": []})
    short = anthropic.build(
        Request(messages=full.messages[:1], system=full.system, tools=full.tools, temperature=1.0), "claude-3-opus"
    )
    long = anthropic.build(full, "claude-3-opus")
    assert shorter.messages == []

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: bare(v) for k, v in value.items() if k != "cache_control"}
        return [bare(v) for v in value] if isinstance(value, list) else value

    assert bare(long["messages"][:1]) == bare(short["messages"])
    assert (long["tools"], long["system"]) == (short["tools"], short["system"])


def chat_error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": None, "code": None, **more}}


# The providers' documented words for "too long", and what merely looks like it.
@pytest.mark.parametrize(
    ("module", "status", "body", "kind"),
    [
        (anthropic, 400, chat_error("prompt is too long: 209752 tokens > 200000 maximum"), ContextOverflow),
        (
            anthropic,
            400,
            chat_error("input length and `max_tokens` exceed context limit: 198913 + 4096 > 200000, decrease"),
            ContextOverflow,
        ),
        (anthropic, 413, chat_error("Request exceeds the maximum size", type="request_too_large"), ContextOverflow),
        (anthropic, 400, chat_error("Your credit balance is too low to access the API"), OutOfCredit),
        (anthropic, 400, chat_error("temperature: too high"), RequestRefused),
        (anthropic, 0, chat_error("Overloaded", type="overloaded_error"), Overloaded),
        (anthropic, 500, None, Overloaded),
        (anthropic, 418, ["strange"], RequestRefused),
        (
            openai_chat,
            400,
            chat_error("…maximum context length is 128000 tokens", code="context_length_exceeded"),
            ContextOverflow,
        ),
        (openai_chat, 400, chat_error("the request exceeds the available context size", code=400), ContextOverflow),
        (openai_chat, 400, chat_error("x", type="exceed_context_size_error"), ContextOverflow),
        (
            openai_chat,
            400,
            {"object": "error", "message": "This model's maximum context length is 4096 tokens"},
            ContextOverflow,
        ),
        (openai_chat, 400, chat_error("Please reduce the length of the messages or completion."), ContextOverflow),
        (openai_chat, 422, {"message": "`inputs` tokens + `max_new_tokens` must be <= 8193"}, ContextOverflow),
        (
            openai_chat,
            400,
            {"message": "Prompt contains 40000 tokens, too large for model with 32768 maximum context length"},
            ContextOverflow,
        ),
        (openai_chat, 400, {"code": "x", "error": "This model's maximum prompt length is 131072"}, ContextOverflow),
        (
            openai_chat,
            429,
            chat_error("Request too large for model on tokens per minute", code="rate_limit_exceeded"),
            RateLimited,
        ),
        (openai_chat, 429, chat_error("You exceeded your current quota", code="insufficient_quota"), OutOfCredit),
        (openai_chat, 402, chat_error("Insufficient Balance"), OutOfCredit),
        (openai_chat, 404, chat_error("The model `x` does not exist", code="model_not_found"), UnknownModel),
        (openai_chat, 404, chat_error('model "x" not found, try pulling it first'), UnknownModel),
        (openai_chat, 401, chat_error("Incorrect API key provided: sk-…"), AuthFailed),
        (openai_chat, 0, chat_error("Provider returned error", code=502), Overloaded),
        (openai_chat, 422, {"detail": [{"loc": ["body"], "msg": "Extra inputs"}]}, RequestRefused),
        (openai_chat, 400, "plain", RequestRefused),
        (openai_chat, 400, chat_error("Function tools … To use function tools, use /v1/responses"), RequestRefused),
    ],
)
def test_errors_are_told_apart(module: Any, status: int, body: Any, kind: type[LlmError]) -> None:
    """Each provider's own words and codes lead to the error that an agent or a person can act on."""
    error = module.failure("acme", "m1", status, body, 3.0)
    assert type(error) is kind, error
    assert "acme" in str(error)


@pytest.mark.parametrize(
    "arguments", ["[1]", '{"q": ', '{"n": 99999999999999999999999}', '{"n": NaN}', '{"a":' * 70 + "1" + "}" * 70, "3"]
)
def test_arguments_that_cannot_be_meant_reach_the_tool_as_text(arguments: str) -> None:
    """No object, too deep, a number without end: the tool says what is wrong with it, the stream goes on."""
    assert tool_input(arguments) == {"not_a_json_object": arguments}


def test_half_a_surrogate_pair_does_not_break_the_stream() -> None:
    """JSON can say what UTF-8 cannot; the rest of the text is kept."""
    parser = openai_chat.Parser("m", "p")
    line = r'{"choices":[{"delta":{"content":"a\ud83d b\ud83d\ude00"}}]}'
    assert parser.feed(Sse("", line)) == [Text("a\ufffd b😀")]


def test_arguments_that_are_no_json_reach_the_tool_as_such() -> None:
    """The tool refuses the key and the model reads why; half a call at the end of the tokens is no call."""
    call = {"index": 0, "id": "a", "function": {"name": "t", "arguments": '{"q": '}}
    for reason, inputs in (("tool_calls", [{"not_a_json_object": '{"q": '}]), ("length", [])):
        parser = openai_chat.Parser("m", "p")
        parser.feed(Sse("", json.dumps({"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": reason}]})))
        assert [e.input for e in parser.finish() if isinstance(e, ToolUse)] == inputs


def test_whole_calls_without_an_index_are_different_calls() -> None:
    """Some servers send each call whole and number none."""
    parser = openai_chat.Parser("m", "p")
    for name in ("a", "b"):
        call = {"id": f"id-{name}", "function": {"name": name, "arguments": {"x": name}}}
        parser.feed(Sse("", json.dumps({"choices": [{"delta": {"tool_calls": [call]}}]})))
    parser.feed(Sse("", json.dumps({"choices": [{"delta": {}, "finish_reason": "stop"}]})))
    *uses, stop = parser.finish()
    assert uses == [ToolUse("id-a", "a", {"x": "a"}), ToolUse("id-b", "b", {"x": "b"})]
    assert isinstance(stop, Stop) and stop.reason == "tool_use"
