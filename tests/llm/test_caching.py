"""Prompt caches are hit: a turn's rounds and the turns of a conversation against the semantics of the real caches."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from egghead.llm import anthropic, gemini, openai_chat, openai_responses
from egghead.llm.shapes import Message, Request, Text, ToolResult, ToolUse, Usage
from tests.llm.conformance import LOOK, Target, answer, asking, stopped, with_results
from tests.llm.double import KEY, Double, Use
from tests.llm.prefix_cache import PrefixCache

LONG = "You are Scout (agent scout). " + "Ferns grow in the shade, and nobody knows why they like it there. " * 300


def grown(request: Request, *texts: str) -> Request:
    """The conversation, with what was answered and said since."""
    more = [Message("assistant" if n % 2 == 0 else "user", [Text(text)]) for n, text in enumerate(texts)]
    return msgspec.structs.replace(request, messages=[*request.messages, *more])


@pytest.mark.parametrize(
    ("kind", "model", "api"),
    [
        ("anthropic", "claude-opus-5-5", None),
        ("anthropic", "claude-sonnet-4-5", None),
        ("openai", "gpt-4o", None),
        ("openai", "gpt-6.1-sol", "responses"),
        ("google", "gemini-3.8-flash", None),
    ],
)
async def test_the_second_turn_reads_what_the_first_one_wrote(kind: str, model: str, api: str | None) -> None:
    """Nearly all of the second prompt, and of each round of tools, comes out of the cache."""
    calls = [Use("look", {"place": str(n)}) for n in range(12)]  # 24 blocks: further back than the API looks
    with Double([calls, calls, "Done.", "Yes."], cache=PrefixCache()) as double:
        target = Target(kind, double.base_url(kind), KEY, model, kind=kind, api=api)
        turn = asking("ada: go", system=LONG, tools=[LOOK], room="den")
        used: list[Usage] = []
        request = turn
        for _ in range(3):
            events = await answer(target, request)
            used.append(stopped(events).usage)
            if stopped(events).reason == "tool_use":
                request = with_results(request, events, {"look": "a bicycle " * 20})
        used.append(stopped(await answer(target, grown(turn, "Done.", "ada: sure?"))).usage)
        assert double.faults == []
    assert used[0].cached_read == 0
    for before, after in zip([used[0], used[1], used[0]], used[1:], strict=True):
        prompt = before.input + before.cached_read + before.cached_write
        assert after.cached_read >= prompt - 256, (before, after)
    assert all(usage.input < 200 for usage in used[1:]) or kind != "anthropic"


async def test_a_prompt_that_is_too_short_is_not_cached() -> None:
    """The double keeps the API's least length: a test that hits would else prove nothing."""
    with Double(["a", "b"], cache=PrefixCache()) as double:
        target = Target("anthropic", double.base_url("anthropic"), KEY, "claude-opus-5-5")
        for _ in range(2):
            usage = stopped(await answer(target, asking("go", system=LONG[:4000]))).usage
            assert usage.cached_read == usage.cached_write == 0


async def test_a_prefix_that_changed_by_a_letter_is_not_read() -> None:
    """Tools stand before the system prompt: they are still read when only that changed."""
    tools = [{**LOOK, "name": f"look{n}", "description": LONG} for n in range(2)]
    with Double(["a"] * 3, cache=PrefixCache()) as double:
        target = Target("anthropic", double.base_url("anthropic"), KEY, "claude-opus-5-5")
        first = stopped(await answer(target, asking("go", system=LONG, tools=tools))).usage
        other = stopped(await answer(target, asking("go", system=f"{LONG}!", tools=tools))).usage
        moved = stopped(await answer(target, asking("go", system=LONG, tools=tools[::-1]))).usage
    assert 0 < other.cached_read < first.cached_write and moved.cached_read == 0


BUILDERS: dict[str, tuple[Callable[[Request], dict[str, Any]], str]] = {
    "anthropic": (lambda r: anthropic.build(r, "claude-opus-5-5"), "messages"),
    "chat": (lambda r: openai_chat.build(r, "gpt-4o", openai_chat.PRESETS["openai"]), "messages"),
    "responses": (lambda r: openai_responses.build(r, "gpt-5.4"), "input"),
    "gemini": (lambda r: gemini.build(r, "gemini-3.8-flash"), "contents"),
}


def bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: bare(v) for k, v in value.items() if k != "cache_control"}
    return [bare(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("kind", "model", "api"), [("anthropic", "claude-opus-5-5", None), ("openai", "gpt-6.1-sol", "responses")]
)
async def test_a_turn_of_another_kind_reads_the_conversation_from_the_cache(
    kind: str, model: str, api: str | None
) -> None:
    """What is about one turn alone is said behind the conversation, in each round of it, and to the same model."""
    words = "You were addressed by name. Answer."
    calls = [Use("look", {"place": "shed"})]
    with Double([calls, "Done.", "Yes."], cache=PrefixCache()) as double:
        target = Target(kind, double.base_url(kind), KEY, model, kind=kind, api=api)
        talk = grown(asking(f"ada: {LONG}", system="Be brief."), "I see.", "ada: go")
        first = msgspec.structs.replace(talk, system=f"Be brief.\n\n{words}", turn_words=words)
        events = await answer(target, first)
        await answer(target, with_results(first, events, {"look": "x"}))
        other = grown(
            msgspec.structs.replace(talk, system="Be brief.\n\nOpen.", turn_words="Open."), "Done.", "ada: sure?"
        )
        usage = stopped(await answer(target, other)).usage
        assert double.faults == []
    assert usage.cached_read > 0.9 * (usage.input + usage.cached_read + usage.cached_write)
    told = [json.dumps(asked.body) for asked in double.asked]
    assert [text.count(words) for text in told] == [1, 1, 0] and told[2].count("<turn>") == 1
    assert [asked.system for asked in double.asked] == ["Be brief."] * 3


@pytest.mark.parametrize("wire", BUILDERS)
def test_what_was_sent_is_sent_again_to_the_letter(wire: str) -> None:
    """While a conversation grows its beginning stays the same bytes, on every wire, marks aside."""
    build, key = BUILDERS[wire]
    request = asking("ada: go", system="Be.", tools=[LOOK], room="den")
    steps = [request]
    for number in range(4):
        use = ToolUse(f"call-{number}", "look", {"place": "ä", "n": number})
        steps.append(
            msgspec.structs.replace(
                steps[-1],
                messages=[
                    *steps[-1].messages,
                    Message("assistant", [Text("Looking."), use]),
                    Message("user", [ToolResult(use.id, "found")]),
                ],
            )
        )
    bodies = [bare(build(step)) for step in steps]
    for short, long in itertools.pairwise(bodies):
        assert {k: v for k, v in short.items() if k != key} == {k: v for k, v in long.items() if k != key}
        shorter, longer = json.dumps(short[key]), json.dumps(long[key])
        assert longer.startswith(shorter.removesuffix("]"))


def test_calls_of_one_agent_in_one_room_are_sent_to_one_cache() -> None:
    """OpenAI is told which calls share a prefix, by a word that names nobody; other servers would refuse the key."""
    one = asking("go", room="den")
    keys = [
        build(r, "gpt-4o")["prompt_cache_key"]
        for build in (openai_responses.build, lambda r, m: openai_chat.build(r, m, openai_chat.PRESETS["openai"]))
        for r in (one, asking("go on", room="den"), asking("go", room="hall"))
    ]
    assert keys[0] == keys[1] == keys[3] == keys[4] != keys[2] == keys[5]
    assert "scout" not in keys[0] and len(keys[0]) <= 64
    assert "prompt_cache_key" not in openai_chat.build(one, "m", openai_chat.PRESETS["groq"])
