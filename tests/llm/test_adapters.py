"""Request builders and the reading of errors as functions of data: no server, no clock."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

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
from egghead.llm.shapes import Request, request_from


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
    """Blocks in the API's shape, blank text left out, four cache breakpoints: tools, system, two messages."""
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
            {"role": "user", "content": [{"type": "text", "text": "ada: hi", **mark}]},
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
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hi"}]},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "x", "name": "list", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "content": "r"}]},
            ],
            "thinking": True,
        }
    )
    assert "thinking" in anthropic.build(given, "claude-opus-4-5")
    assert "thinking" not in anthropic.build(lost, "claude-opus-4-5")
    later = request_from(
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hi"}]},
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
    short = anthropic.build(msgspec.structs.replace(full, messages=full.messages[:1]), "claude-3-opus")
    long = anthropic.build(full, "claude-3-opus")

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
        (
            anthropic,
            400,
            chat_error("request (3031 tokens) exceeds the available context size (2048 tokens), try increasing it"),
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
        (
            openai_chat,
            404,
            chat_error("This model is only supported in v1/responses and not in v1/chat"),
            RequestRefused,
        ),
        (openai_chat, 400, chat_error("Function tools … To use function tools, use /v1/responses"), RequestRefused),
    ],
)
def test_errors_are_told_apart(module: Any, status: int, body: Any, kind: type[LlmError]) -> None:
    """Each provider's own words and codes lead to the error that an agent or a person can act on."""
    error = module.failure("acme", "m1", status, body, 3.0)
    assert type(error) is kind, error
    assert "acme" in str(error)
