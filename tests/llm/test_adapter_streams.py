"""Stream parsers as functions of data: no server, no clock."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egghead.llm import anthropic, openai_chat
from egghead.llm.errors import LlmError
from egghead.llm.shapes import Event, Stop, Text, Thinking, ToolUse, Usage, event_data
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
