"""One suite for all providers: each kind that we know, over the wire that it speaks, against the double in its manner."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from egghead.llm import models, openai_chat
from egghead.llm.errors import ContextOverflow, LlmError, RateLimited, RequestRefused
from egghead.llm.registry import ADAPTERS
from egghead.llm.shapes import Stop, Text, Thinking, ToolUse, Usage
from tests.llm.conformance import (
    CHECKS,
    LOOK,
    Check,
    Target,
    answer,
    asking,
    check_key,
    check_overflow,
    check_stream,
    said,
    stopped,
    with_results,
)
from tests.llm.double import KEY, Asked, Double, Gate, Ping, Reply, Say, Script, Status, Think, Tokens, Use, Wait
from tests.llm.double import Stop as End


@dataclass(frozen=True)
class Kind:
    """A provider in the suite: how it is named, which of its models is asked, and what is special about it."""

    name: str
    model: str = "some/model"
    kind: str = ""
    api: str | None = None
    header: str = "authorization"
    figures: bool = True  # tells cached tokens
    seals: bool = True  # takes its thoughts back

    def __str__(self) -> str:
        return self.name

    def target(self, double: Double) -> Target:
        kind = self.kind or self.name
        return Target(self.name, double.base_url(kind), KEY, self.model, kind=kind, api=self.api, window=3000)


KINDS = [
    Kind("anthropic", "claude-opus-5-5", header="x-api-key"),
    Kind("anthropic-old", "claude-sonnet-4-5", "anthropic", header="x-api-key"),
    Kind("google", "gemini-3.8-flash", header="x-goog-api-key"),
    Kind("google-old", "gemini-2.5-flash", "google", header="x-goog-api-key"),
    Kind("openai", "gpt-4o", seals=False),
    Kind("openai-reasoning", "gpt-5.4", "openai", seals=False),
    Kind("responses", "gpt-6.1-sol", "openai", "responses"),
    Kind("responses-plain", "gpt-4o", "openai", "responses", seals=False),
    Kind("deepseek", "deepseek-v4-flash"),
    Kind("openrouter", "anthropic/claude-opus-5-5"),
    *(
        Kind(name, model, seals=False)
        for name, model in (
            ("groq", "openai/gpt-oss-120b"),
            ("mistral", "mistral-medium-latest"),
            ("xai", "grok-4.7"),
            ("together", "org/model"),
            ("ollama", "qwen3:8b"),
            ("lmstudio", "qwen3"),
            ("llamacpp", "smollm2"),
            ("vllm", "org/model"),
            ("vllm-responses", "org/model"),
            ("acme", "org/model"),
        )
    ),
]
KINDS = [replace(k, kind="vllm", api="responses") if k.name == "vllm-responses" else k for k in KINDS]


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@contextlib.contextmanager
def scripted(kind: Kind, script: Script, **more: Any) -> Iterator[tuple[Target, Double]]:
    """The kind's target on a double with this script; whatever was asked was what the real API takes."""
    with Double(script, **more) as double:
        yield kind.target(double), double
        assert double.faults == []


def obliging(asked: Asked) -> Reply:
    """A model that does what the checks ask for."""
    if asked.results:
        return f"There is {asked.results[-1]}."
    if "look" in asked.last and asked.tools:
        return [Use("look", {"place": "shed"})]
    if "long story" in asked.last:
        return [Say("one two three four", 4), End("max_tokens")]
    return Say("one two three hello", 4)


def test_every_provider_is_in_the_suite() -> None:
    """A kind that is added to the registry or to the presets is added here, or this fails."""
    tested = {kind.kind or kind.name for kind in KINDS}
    assert set(ADAPTERS) - {"local"} <= tested and set(openai_chat.PRESETS) <= tested


@pytest.mark.parametrize(
    "check", [c for c in CHECKS if c not in (check_key, check_overflow, check_stream)], ids=lambda c: c.__name__
)
async def test_what_a_real_server_is_asked_too(kind: Kind, check: Check) -> None:
    """The checks that know nothing of scripts: text, the longest answer, figures, a tool and its result."""
    with scripted(kind, obliging) as (target, _):
        await check(target)


async def test_a_wrong_key_and_a_window_that_is_too_small(kind: Kind) -> None:
    """Both are told as what they are, on every wire in its own words."""
    with Double(obliging, window=1500) as double:
        await check_overflow(kind.target(double))
        assert double.faults == []
        await check_key(kind.target(double))
        assert double.faults == ["no key"]


async def test_words_come_while_the_model_speaks(kind: Kind) -> None:
    """The first of them before the model knows the last."""
    gate = Gate()
    with scripted(kind, [["One, ", Wait(gate), "two."]]) as (target, _):
        async with target.opened() as (provider, model):
            async with contextlib.aclosing(provider.complete(asking("go"), model)) as stream:
                assert await anext(stream) == Text("One, ")
                gate.open()
                assert await anext(stream) == Text("two.")


async def test_an_answer_in_its_order(kind: Kind) -> None:
    """Words as they come, pings between them left out, then the calls, then the figures of the provider."""
    reply: list[Any] = [
        "I ",
        Ping(),
        Say("look twice.", 3),
        Use("look", {"place": "ä" * 20}),
        Use("look", {"place": "b"}),
    ]
    with scripted(kind, [[*reply, Tokens(10, 5, 3)]]) as (target, double):
        events = await answer(target, asking("go", tools=[LOOK]))
    assert said(events) == "I look twice."
    calls = [event for event in events if isinstance(event, ToolUse)]
    assert [(c.name, c.input) for c in calls] == [("look", {"place": "ä" * 20}), ("look", {"place": "b"})]
    assert calls[0].id != calls[1].id and stopped(events) == Stop("tool_use", Usage(10, 5, 3, 0))
    assert double.asked[0].tools == ["look"] and double.asked[0].agent == "scout"


async def test_two_calls_and_their_results_go_back(kind: Kind) -> None:
    """Each result to its own call, for three rounds; the server would refuse one that nobody asked for."""
    rounds: list[Reply] = [
        [Use("look", {"place": "a"}), Use("look", {"place": "b"})],
        ["And one more.", Use("look", {"place": "c"})],
        "Done.",
    ]
    with scripted(kind, rounds) as (target, double):
        request = asking("go", tools=[LOOK])
        for _ in range(2):
            request = with_results(request, await answer(target, request), {"look": "x"})
        assert said(await answer(target, request)) == "Done."
        assert double.asked[1].results == ["x", "x"] and double.asked[2].results == ["x", "x", "x"]


async def test_thoughts_go_back_sealed_within_the_turn(kind: Kind) -> None:
    """What was thought before a call is with the call again where the provider keeps seals; nobody else gets it."""
    rounds: list[Reply] = [[Think("Hm, a shed.", "seal-1"), Use("look", {"place": "shed"})], "Done."]
    with scripted(kind, rounds) as (target, double):
        request = asking("go", tools=[LOOK], thinking=True)
        events = await answer(target, request)
        thoughts = [event for event in events if isinstance(event, Thinking)]
        assert "".join(thought.text for thought in thoughts) == "Hm, a shed."
        assert said(await answer(target, with_results(request, events, {"look": "x"}))) == "Done."
        body = json.dumps(double.asked[1].body)
        sealed = "Hm, a shed." if kind.name == "deepseek" else "seal-1"
        assert (sealed in body) == kind.seals


async def test_a_turn_whose_thoughts_are_lost_goes_on(kind: Kind) -> None:
    """After a crash the calls are in the log and the thoughts are not: the request must still be one that is taken."""
    with scripted(kind, [[Think("Hm.", "seal-1"), Use("look", {"place": "shed"})], "Done."]) as (target, _):
        request = asking("go", tools=[LOOK], thinking=True)
        events = [event for event in await answer(target, request) if not isinstance(event, Thinking)]
        following = with_results(request, events, {"look": "x"})
        assert said(await answer(target, following)) == "Done."


@pytest.mark.parametrize("reason", ["end_turn", "max_tokens", "refusal"])
async def test_why_an_answer_ended(kind: Kind, reason: str) -> None:
    """Each provider's word for it becomes ours."""
    with scripted(kind, [["x", End(reason)]]) as (target, _):
        assert stopped(await answer(target, asking("go"))).reason == reason


async def test_figures_become_money(kind: Kind) -> None:
    """What was used costs what the shipped table says; a model that is not in it costs nobody knows what."""
    with scripted(kind, [["x", Tokens(1000, 100, 200)]]) as (target, _):
        usage = stopped(await answer(target, asking("go"))).usage
    model = models.known(kind.kind or kind.name, kind.name, kind.model)
    assert (usage.input, usage.output, usage.cached_read) == (1000, 100, 200)
    price = models.cost(model, usage)
    if model.input_price is None:
        assert price is None
    else:
        assert model.output_price is not None and model.cache_read_price is not None
        expected = (1000 * model.input_price + 100 * model.output_price + 200 * model.cache_read_price) / 1e6
        assert price == pytest.approx(expected)


async def test_who_leaves_closes_the_connection_at_once(kind: Kind) -> None:
    """In the middle of a sentence: nobody pays for the rest."""
    gate = Gate()
    with scripted(kind, [["Half a", Wait(gate), " sentence."]]) as (target, double):
        async with target.opened() as (provider, model):
            stream = provider.complete(asking("go"), model)
            assert isinstance(await anext(stream), Text)
            await stream.aclose()
            assert await asyncio.to_thread(double.asked[0].gone.wait, 5)


async def test_too_many_requests_are_tried_again(kind: Kind) -> None:
    """A 429 that passes is not noticed; one that stays is told, with what was tried."""
    with scripted(kind, [Status(429), "hello"]) as (target, double):
        assert said(await answer(target, asking("go"))) == "hello" and len(double.asked) == 2
    with scripted(kind, [Status(429)]) as (target, double):
        with pytest.raises(RateLimited, match="tried 3 times"):
            await answer(target, asking("go"))
        assert len(double.asked) == 3


async def test_the_key_goes_in_its_header_and_nowhere_else(kind: Kind) -> None:
    """Not into the address, which others write to their logs, and not into the body."""
    with scripted(kind, ["hello"]) as (target, double):
        await answer(target, asking("go"))
        [asked] = double.asked
        assert [name for name, value in asked.headers.items() if KEY in value] == [kind.header]
        assert KEY not in asked.path and KEY not in json.dumps(asked.body) and asked.model == kind.model


async def test_what_the_server_refuses_is_told_in_its_words(kind: Kind) -> None:
    """And is not tried again."""
    with scripted(kind, [Status(400)]) as (target, double):
        with pytest.raises(RequestRefused, match="a 400 as scripted"):
            await answer(target, asking("go"))
        assert len(double.asked) == 1


ORPHAN = [
    {"role": "user", "content": [{"type": "text", "text": "go"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "ok"}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "nobody", "content": "x"}]},
]


async def test_the_double_refuses_what_the_real_one_would(kind: Kind) -> None:
    """A result that nobody asked for, and a tool whose name cannot be: the suite is no mirror of our own adapters."""
    faults: list[Callable[[], Any]] = [
        lambda: asking("go", messages=ORPHAN),
        lambda: asking("go", tools=[{**LOOK, "name": "look at this"}]),
    ]
    with Double(["hello"]) as double:
        for number, fault in enumerate(faults, start=1):
            with pytest.raises(LlmError):
                await answer(kind.target(double), fault())
            assert len(double.faults) == number, double.faults


def test_the_checks_are_sentences() -> None:
    """A real server's run shows their first lines."""
    assert all(inspect.getdoc(check) for check in CHECKS)
    assert issubclass(ContextOverflow, LlmError)
