"""The process `llm` on a real bus, and the gateway with providers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from egghead.llm.gateway import Gateway
from egghead.llm.provider import Model
from egghead.llm.registry import ADAPTERS, Entry, Registry
from egghead.llm.shapes import Event, Request, Stop, Text, Usage
from ipc import RemoteError
from ipc.testing import RunningBus, running_bus
from tests.llm.double import KEY, Break, Close, Double, Overflow, Status, Step, Tokens
from tests.rooms import stage


class Endless:
    """A provider that never ends by itself and tells when it was closed."""

    name = "endless"

    def __init__(self, word: str = "word ") -> None:
        self.word = word
        self.closed = asyncio.Event()
        self.said = 0

    def models(self) -> tuple[Model, ...]:
        return (Model("endless/one", "endless"),)

    async def list_models(self) -> tuple[Model, ...]:
        return self.models()

    async def complete(self, request: Request, model: str) -> AsyncGenerator[Event, None]:
        try:
            while True:
                self.said += 1
                yield Text(self.word)
                await asyncio.sleep(0)
        finally:
            self.closed.set()

    async def aclose(self) -> None:
        return None


class Told:
    """A provider that says what model it was asked for, then stops."""

    name = "told"

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    def models(self) -> tuple[Model, ...]:
        return tuple(Model(f"{self.entry.name}/{name}", self.entry.name) for name in self.entry.models)

    async def list_models(self) -> tuple[Model, ...]:
        return self.models()

    async def complete(self, request: Request, model: str) -> AsyncGenerator[Event, None]:
        yield Text(model)
        yield Stop("end_turn", Usage(1, 1))

    async def aclose(self) -> None:
        return None


def request(**changes: Any) -> dict[str, Any]:
    hello = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    return {"model": "", "messages": hello, "mode": "open", "turn": "t1", "room": "default", **changes}


@contextlib.asynccontextmanager
async def gateway(registry: Registry) -> AsyncIterator[tuple[RunningBus, Gateway]]:
    async with running_bus() as bus:
        served = Gateway(registry)
        await bus.peer("llm", expose={"complete": served.complete, "models": served.models})
        yield bus, served


async def stream(bus: RunningBus, name: str, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    peer = await bus.peer(name)
    async with peer.stream("llm", "complete", request=given, timeout=20) as chunks:
        return [chunk async for chunk in chunks]


async def test_an_agent_streams_a_completion() -> None:
    """Plain data of the contract: text pieces, then a stop with usage."""
    async with gateway(Registry()) as (bus, served):
        events = await stream(bus, "agents/scout", request(agent="scout"))
        assert {event["type"] for event in events[:-1]} == {"text"} and len(events) > 5
        assert events[-1]["type"] == "stop" and events[-1]["reason"] == "end_turn"
        assert set(events[-1]["usage"]) == {"input", "output", "cached_read", "cached_write", "reasoning"}
        assert served.running == {}


async def test_the_stop_says_what_answered_its_window_and_its_price() -> None:
    """An agent counts context and money from the stop alone; what nobody knows is null."""
    with Double([["hi", Tokens(1000, 100, 2000, 10)]]) as double:
        entry = Entry("anthropic", "work", KEY, double.url, ("claude-haiku-4-5", "double"))
        async with gateway(Registry([entry])) as (bus, served):
            known = (await stream(bus, "agents/a", request(model="work/claude-haiku-4-5")))[-1]
            unknown = (await stream(bus, "agents/b", request(model="work/double")))[-1]
            await served.aclose()
    assert known == {
        "type": "stop",
        "reason": "end_turn",
        "usage": {"input": 1000, "output": 100, "cached_read": 2000, "cached_write": 10, "reasoning": 0},
        "model": "work/claude-haiku-4-5",
        "window": 200_000,
        "cost": pytest.approx((1000 * 1.0 + 100 * 5.0 + 2000 * 0.1 + 10 * 1.25) / 1e6),
    }
    assert (unknown["model"], unknown["window"], unknown["cost"]) == ("work/double", None, None)


async def test_a_providers_fault_keeps_its_kind_on_the_bus() -> None:
    """An agent tells a full context, which is no failure, from one that is; the text is for people, without the key."""
    with Double([Overflow(), ["Half", Close()], Status(401)]) as double:
        entry = Entry("openai", "openai", KEY, f"{double.url}/v1", ("double",))
        async with gateway(Registry([entry])) as (bus, served):
            for number, kind in enumerate(("ContextOverflow", "StreamBroken", "AuthFailed")):
                with pytest.raises(RemoteError) as caught:
                    await stream(bus, f"agents/a{number}", request(model="openai/double"))
                assert caught.value.type == kind and KEY not in str(caught.value)
            assert served.running == {}
            await served.aclose()


async def test_leaving_the_stream_stops_the_provider() -> None:
    """A reader that goes away closes the provider's generator, at once."""
    provider = Endless()
    registry = Registry([Entry("endless", "endless")], adapters={"endless": lambda entry: provider})
    async with gateway(registry) as (bus, served):
        peer = await bus.peer("agents/scout")
        async with peer.stream("llm", "complete", request=request(model="endless/one"), timeout=20) as chunks:
            async for chunk in chunks:
                assert chunk == {"type": "text", "text": "word "}
                break
        async with asyncio.timeout(5):
            await provider.closed.wait()
        said = provider.said
        await peer.call("llm", "models", timeout=5)
        assert provider.said == said
        assert served.running == {}


async def test_a_slow_reader_slows_the_provider() -> None:
    """Nothing is piled up for a reader that does not read: the provider stops within the credit of the stream."""
    provider = Endless("word " * 1000)
    registry = Registry([Entry("endless", "endless")], adapters={"endless": lambda entry: provider})
    async with gateway(registry) as (bus, _):
        peer = await bus.peer("agents/scout")
        async with peer.stream("llm", "complete", request=request(model="endless/one"), timeout=20) as chunks:
            async for _chunk in chunks:
                break
            for _ in range(50):
                await peer.call("llm", "models", timeout=5)
            said = provider.said
            for _ in range(50):
                await peer.call("llm", "models", timeout=5)
            assert provider.said == said < 1000


@pytest.mark.parametrize(
    ("given", "type_", "words"),
    [
        ({"model": "anthropic/claude-x"}, "ProviderMissing", "set ANTHROPIC_API_KEY"),
        ({"model": "google/gemini-x"}, "ProviderMissing", "set GOOGLE_API_KEY"),
        ({"model": "antropic/claude-x"}, "UnknownProvider", "did you mean 'anthropic'?"),
        ({"model": "local/libarian"}, "UnknownModel", "did you mean 'librarian'?"),
        ({"modell": "x"}, "BadRequest", "did you mean 'model'?"),
        ({"messages": 3}, "BadRequest", "messages"),
        ({"agent": "other"}, "BadRequest", "in the name of 'other'"),
    ],
)
async def test_refusals_have_a_type_and_a_remedy(given: dict[str, Any], type_: str, words: str) -> None:
    """What cannot be done arrives as a RemoteError that a person can act on."""
    async with gateway(Registry()) as (bus, _):
        with pytest.raises(RemoteError) as caught:
            await stream(bus, "agents/scout", request(**given))
        assert caught.value.type == type_
        assert words in str(caught.value)


async def test_models_are_listed_with_the_default_first() -> None:
    """What `egghead llm list` shows: name, provider, default, window, note."""
    adapters = {**ADAPTERS, "told": Told}
    registry = Registry([Entry("told", "mine", "sk-secret", models=("a", "b"))], default="mine/b", adapters=adapters)
    async with gateway(registry) as (bus, _):
        peer = await bus.client("ada")
        models = await peer.call("llm", "models", timeout=5)
        assert [model["name"] for model in models] == ["mine/b", "local/librarian", "mine/a"]
        assert [model["default"] for model in models] == [True, False, False]
        assert "sk-secret" not in json.dumps(models)
        events = await stream(bus, "agents/scout", request())
        assert events[0] == {"type": "text", "text": "b"}


async def test_the_process_serves_until_it_is_asked_to_stop(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real entry point in a process of its own: READY, a completion, an orderly end; its key is in no log line."""
    monkeypatch.setitem(stage.STARTS, "llm", "egghead.processes.llm:main")
    monkeypatch.setitem(os.environ, "GEMINI_API_KEY", "sk-very-secret")
    async with running_bus() as bus:
        google = {"provider": "google", "base_url": "http://127.0.0.1:9", "limits": {"retries": 0}}
        scene = stage.Stage(bus, short_dir, {"llm": [google], "default_model": "local/librarian"})
        try:
            child = await scene.start("llm", "llm")
            assert "local/librarian" in json.dumps(child.ready.result())
            events = await stream(bus, "agents/scout", request())
            assert events[-1]["type"] == "stop"
            with pytest.raises(RemoteError, match="google cannot be reached"):
                await stream(bus, "agents/other", request(model="google/gemini-x"))
            assert await scene.stop("llm") == 0
            assert "sk-very-secret" not in scene.stderr()
            assert "end_turn" in scene.stderr()
        finally:
            await scene.close()


# -- fallbacks


def _two(double: Double) -> Registry:
    """Two providers that are tried once each, without a pause."""
    quick = {"retries": 0, "backoff": 0.01}
    first = Entry("anthropic", "anthropic", KEY, double.url, ("double",), quick)
    return Registry([first, Entry("openai", "openai", KEY, f"{double.url}/v1", ("double",), quick)])


ASKED = {"model": "anthropic/double", "fallback": ["openai/double"]}


@pytest.mark.parametrize("trouble", [Status(429), Status(529), Status(402), Break()])
async def test_a_fallback_answers_for_a_model_that_is_down(trouble: Step) -> None:
    """Over its limit, overloaded, without credit, unreachable: the next model answers, and the stop says which it was."""
    with Double([[trouble], ["From the other.", Tokens(10, 5)]]) as double:
        async with gateway(_two(double)) as (bus, served):
            events = await stream(bus, "agents/scout", request(**ASKED))
            assert events[0]["type"] == "stand_in" and events[0]["asked"] == "anthropic/double"
            assert "".join(e["text"] for e in events[1:-1]) == "From the other."
            assert events[-1]["model"] == "openai/double" and served.running == {}
            assert [asked.wire for asked in double.asked] == ["anthropic", "openai"]
            rows = served.purse.usage("model", None, {})["rows"]
            assert [(row["model"], row["calls"], row["cut"]) for row in rows] == [("openai/double", 1, 0)]
            await served.aclose()


@pytest.mark.parametrize(
    ("trouble", "type_"),
    [
        ([Overflow()], "ContextOverflow"),
        ([Status(401)], "AuthFailed"),
        ([Status(400)], "RequestRefused"),
        (["Half", Close()], "StreamBroken"),
    ],
)
async def test_what_is_not_the_providers_bad_day_is_told(trouble: list[Step], type_: str) -> None:
    """A full context, a bad key, a bad request and an answer that has begun go to no other model."""
    with Double([trouble]) as double:
        async with gateway(_two(double)) as (bus, served):
            with pytest.raises(RemoteError) as caught:
                await stream(bus, "agents/scout", request(**ASKED))
            assert caught.value.type == type_ and len(double.asked) == 1
            await served.aclose()


async def test_when_no_fallback_answers_each_is_named() -> None:
    """The refusal is that of the model that was asked for; what the others said, and a name that is none, are in it."""
    with Double([[Status(429)], [Overflow()]]) as double:
        async with gateway(_two(double)) as (bus, served):
            with pytest.raises(RemoteError) as caught:
                await stream(
                    bus,
                    "agents/scout",
                    request(**ASKED | {"fallback": ["opena/x", "openai/double", "anthropic/double"]}),
                )
            assert caught.value.type == "RateLimited" and len(double.asked) == 2
            assert "anthropic takes no more" in str(caught.value) and "did you mean 'openai'?" in str(caught.value)
            await served.aclose()


async def test_a_fallback_gets_no_thoughts_of_another() -> None:
    """A thought is sealed by the provider that had it: in its place the fallback is given the turn without it."""
    turn = [
        {"role": "user", "content": [{"type": "text", "text": "hello"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "text": "hm", "signature": "sealed"},
                {"type": "tool_use", "id": "c1", "name": "look", "input": {}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "there"}]},
    ]
    asked = {"model": "openai/double", "fallback": ["anthropic/double"], "thinking": True, "messages": turn}
    with Double([[Status(503)], "Ok.", "Ok."], issued=[("sealed", "hm")]) as double:
        async with gateway(_two(double)) as (bus, served):
            await stream(bus, "agents/scout", request(**asked))
            assert double.asked[1].wire == "anthropic" and "sealed" not in json.dumps(double.asked[1].body)
            await stream(bus, "agents/sage", request(**asked | {"model": "anthropic/double"}))
            assert "sealed" in json.dumps(double.asked[2].body) and double.faults == []
            await served.aclose()
