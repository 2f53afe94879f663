"""Stream parsers as functions of data: no server, no clock."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egghead.llm import anthropic, gemini, openai_chat, openai_responses
from egghead.llm.errors import LlmError
from egghead.llm.shapes import Stop, Text, Thinking, ToolUse, event_data
from egghead.llm.sse import Sse
from egghead.llm.wire import Parser, tool_input

Make = Callable[[], Parser]
WIRES: dict[str, Make] = {
    "anthropic": lambda: anthropic.Parser("m", "anthropic"),
    "openai": lambda: openai_chat.Parser("m", "openai"),
    "responses": lambda: openai_responses.Parser("m", "responses"),
    "google": lambda: gemini.Parser("m", "google"),
}
# Words of all the formats, so that chance comes near to events that are almost right.
KEYS = [
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
    "item",
    "output_index",
    "response",
    "annotation",
    "call_id",
    "candidates",
    "parts",
    "functionCall",
    "args",
    "finishReason",
    "usageMetadata",
    "promptFeedback",
    "blockReason",
    "groundingMetadata",
    "status",
    "details",
    "reasoning",
    "reasoning_details",
    "citation",
    "url",
    "output_tokens_details",
]
WORDS = [
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "tool_use",
    "text_delta",
    "message_delta",
    "message_start",
    "input_json_delta",
    "error",
    "thinking",
    "server_tool_use",
    "citations_delta",
    "response.output_text.delta",
    "response.output_item.done",
    "response.completed",
    "response.failed",
    "response.incomplete",
    "function_call",
    "reasoning",
    "web_search_call",
    "url_citation",
    "STOP",
    "SAFETY",
    "MALFORMED_FUNCTION_CALL",
]

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner | st.sampled_from(WORDS), max_size=4)
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
