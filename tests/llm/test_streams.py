"""Every stream under `streams/`, which are written after the public references: read whole, in two, and byte by byte.

`<wire>/<case>.sse` is what a provider sends, `<case>.json` the neutral events that must come of it; the last may be an
error, `{"error": its class, "says": words of its sentence}`. The first comment of a file says what it is, the second where
it comes from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from egghead.llm import anthropic, gemini, openai_chat, openai_responses
from egghead.llm.errors import LlmError
from egghead.llm.shapes import event_data, request_from
from egghead.llm.sse import Decoder
from egghead.llm.wire import Parser

STREAMS = Path(__file__).with_name("streams")
FILES = sorted(STREAMS.glob("*/*.sse"))
PARSERS: dict[str, Callable[[str, str], Parser]] = {
    "anthropic": anthropic.Parser,
    "openai_chat": openai_chat.Parser,
    "openai_responses": openai_responses.Parser,
    "gemini": gemini.Parser,
}
BUILDERS: dict[str, Callable[[Any, str], dict[str, Any]]] = {
    "anthropic": anthropic.build,
    "openai_chat": lambda request, model: openai_chat.build(request, model, openai_chat.PRESETS["openrouter"]),
    "openai_responses": openai_responses.build,
    "gemini": gemini.build,
}
MODELS = {"anthropic": "claude-opus-5-5", "openai_responses": "gpt-5.4", "gemini": "gemini-3.8-flash"}
# What each of them must have: everything that an answer can be.
KINDS = ("text", "tools", "thinking", "refusal", "max_tokens", "error", "pings_and_unknown")


def name(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


def heard(wire: str, pieces: Iterable[bytes]) -> list[dict[str, Any]]:
    """The neutral events of a stream that comes in these pieces, as plain data."""
    parser, decoder = PARSERS[wire]("m", "acme"), Decoder()
    found: list[dict[str, Any]] = []
    try:
        for piece in pieces:
            for sse in decoder.feed(piece):
                found += map(event_data, parser.feed(sse))
        assert parser.ended or parser.at_end()
        found += map(event_data, parser.finish())
    except LlmError as error:
        found.append({"error": type(error).__name__, "says": str(error)})
    return found


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_stream_is_the_same_wherever_it_is_cut(path: Path) -> None:
    """Whole, byte by byte, and in two pieces cut at every byte: the events that stand beside it."""
    wire, stream = path.parent.name, path.read_bytes()
    expected = json.loads(path.with_suffix(".json").read_text())
    whole = heard(wire, [stream])
    if "error" in expected[-1]:
        assert whole[-1]["error"] == expected[-1]["error"] and expected[-1]["says"] in whole[-1]["says"]
        assert whole[:-1] == expected[:-1]
    else:
        assert whole == expected
    assert heard(wire, (stream[at : at + 1] for at in range(len(stream)))) == whole
    for at in range(len(stream)):
        assert heard(wire, (stream[:at], stream[at:])) == whole


@pytest.mark.parametrize("wire", PARSERS)
def test_each_wire_has_a_stream_of_every_kind(wire: str) -> None:
    """And each file says what it is and where it comes from."""
    cases = [path.stem for path in FILES if path.parent.name == wire]
    stands = {"refusal": ("refusal", "safety"), "error": ("error", "failed"), "thinking": ("thinking",)}
    for kind in KINDS:
        assert any(case.startswith(stands.get(kind, (kind,))) for case in cases), kind
    for path in FILES:
        what, source, _ = path.read_text(encoding="utf-8").split("\n", 2)
        assert what.startswith(": ") and "https://" in source and path.with_suffix(".json").exists()


@pytest.mark.parametrize("path", [p for p in FILES if p.stem.startswith(("tools", "thinking"))], ids=name)
def test_an_answer_with_calls_goes_back_to_the_wire_it_came_from(path: Path) -> None:
    """What was thought and asked for becomes a request again, in its order, seals and all, with the results behind it."""
    wire = path.parent.name
    *blocks, _ = json.loads(path.with_suffix(".json").read_text())
    results = [
        {"type": "tool_result", "tool_use_id": b["id"], "content": "r"} for b in blocks if b["type"] == "tool_use"
    ]
    asked = {"role": "user", "content": [{"type": "text", "text": "go"}]}
    messages = [asked, {"role": "assistant", "content": blocks}, {"role": "user", "content": results}]
    body = json.dumps(BUILDERS[wire](request_from({"messages": messages}), MODELS.get(wire, "m")))
    for block in blocks:
        if block["type"] == "thinking":
            assert all(json.dumps(secret) in body for secret in _secrets(block["signature"]))
    assert body.count('"r"') == len(results)


def _secrets(signature: str) -> list[str]:
    """The strings in what must go back."""
    kind, colon, rest = signature.partition(":")
    opaque = rest if colon and kind in ("redacted", "call", "details") else signature
    return _strings(json.loads(opaque)) if opaque.startswith(("{", "[")) else [opaque] if opaque else []


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [found for item in value.values() for found in _strings(item)]
    if isinstance(value, list):
        return [found for item in value for found in _strings(item)]
    return [value] if isinstance(value, str) else []
