"""The line in front of a provider, its tries and its breaker: many agents, the real gateway, a real server."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from egghead.llm.errors import AuthFailed, LlmError, Overloaded, ProviderTimeout, RateLimited, Unreachable
from egghead.llm.lane import Lane
from egghead.llm.registry import Entry, Registry
from egghead.llm.shapes import Event, Message, Request, Text, Waiting
from tests.llm.double import KEY, Asked, Double, Gate, Reply, Status, Step, Wait

PATIENT = {"backoff": 0.01, "retries": 8}


def request(agent: str, **more: Any) -> Request:
    return Request(
        [Message("user", [Text(f"hello from {agent}")])],
        agent=agent,
        system=f"You are Somebody (agent {agent}).",
        **more,
    )


@contextlib.asynccontextmanager
async def lane(double: Double, key: str = KEY, **limits: float) -> AsyncIterator[tuple[Registry, Lane]]:
    registry = Registry([entry(double, key, **limits)])
    try:
        yield registry, registry.lane("openai")
    finally:
        await registry.aclose()


def entry(double: Double, key: str = KEY, **limits: float) -> Entry:
    return Entry("openai", "openai", key, f"{double.url}/v1", ("double",), {**PATIENT, **limits})


async def said(way: Lane, agent: str, heard: list[Event] | None = None, until: float = float("inf")) -> str:
    text = ""
    async with contextlib.aclosing(way.complete(request(agent), "double", until)) as events:
        async for event in events:
            if heard is not None:
                heard.append(event)
            text += event.text if isinstance(event, Text) else ""
    return text


def five_at_a_time(double: list[Double], refused: Counter[str]) -> Any:
    """A provider that answers 429 to the sixth call at a time."""

    def script(asked: Asked) -> Reply:
        if double[0].open > 6:  # one whose end was heard may not be counted as over yet
            refused[asked.agent] += 1
            return Status(429, {"retry-after-ms": "50"})
        return f"yes, {asked.agent}"

    return script


@pytest.mark.parametrize("known", [True, False], ids=["limits known", "limits unknown"])
async def test_a_hundred_agents_at_a_provider_that_takes_five(known: bool) -> None:
    """Configured, not one call is refused; else the first rush is, and then the line has found out by itself. Everybody is
    answered, and nobody twice before all were once."""
    refused: Counter[str] = Counter()
    holder: list[Double] = []
    with Double(five_at_a_time(holder, refused)) as double:
        holder.append(double)
        order: list[str] = []

        async def agent(name: str) -> None:
            for _ in range(2):
                assert await said(way, name) == f"yes, {name}"
                order.append(name)

        limits: dict[str, Any] = {"concurrent": 5} if known else {}
        async with lane(double, **limits) as (_, way), asyncio.timeout(50):
            await asyncio.gather(*(agent(f"a{n}") for n in range(100)))
            told = way.told()
        assert Counter(order) == {f"a{n}": 2 for n in range(100)}
        if known:
            assert not refused and double.most_open <= 6
            # The first of a hundred to be answered twice comes when nearly all were answered once.
            second = next(n for n, name in enumerate(order) if name in order[:n])
            assert second >= 90, second
        else:
            assert refused.total() < 300  # each alone, with a try every few milliseconds, would be refused for ever
        assert told["running"] == told["waiting"] == {} and told["breaker"] == "closed"


async def test_who_waits_is_told_its_place_and_may_leave() -> None:
    """The place is in the line as it is; a caller that leaves makes room at once; the rest begin in turns."""
    gate = Gate()
    with Double([[Wait(gate), "one"], ["two"], ["three"]]) as double:
        async with lane(double, concurrent=1) as (_, way):
            first = asyncio.create_task(said(way, "a"))
            await asyncio.to_thread(double.wait, 1)
            heard: list[Event] = []
            leaving = asyncio.create_task(said(way, "b"))
            second = asyncio.create_task(said(way, "c", heard))
            while not heard:
                await asyncio.sleep(0)
            assert heard == [Waiting("openai", 2, "other calls are before it")]
            assert way.told()["waiting"] == {"b": 1, "c": 1} and way.told()["running"] == {"a": 1}
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            assert way.told()["waiting"] == {"c": 1}
            gate.open()
            assert [await first, await second] == ["one", "two"]
        assert len(double.asked) == 2


async def test_nobody_waits_beyond_its_time_or_in_a_line_without_end() -> None:
    """A deadline ends the waiting with a sentence; past the bounds of the line a call is refused at once."""
    gate = Gate()
    with Double([[Wait(gate), "one"]]) as double:
        async with lane(double, concurrent=1, waiting=2, waiting_each=1) as (_, way):
            first = asyncio.create_task(said(way, "a"))
            await asyncio.to_thread(double.wait, 1)
            soon = asyncio.get_running_loop().time() + 0.2
            waiting = [asyncio.create_task(said(way, name, until=soon)) for name in "bc"]
            await asyncio.sleep(0)
            for name in "bd":
                with pytest.raises(Overloaded, match="too many calls wait for openai"):
                    await said(way, name)
            for call in waiting:
                with pytest.raises(ProviderTimeout, match="egghead llm list"):
                    await call
            gate.open()
            assert await first == "one"


async def test_a_provider_that_is_down_is_not_asked_by_everybody() -> None:
    """After five failures the others are told at once, with the fault; later one call tries it, and it is open again."""
    down = True

    def script(asked: Asked) -> Reply:
        return Status(503) if down else "well again"

    with Double(script) as double:
        async with lane(double, retries=0, concurrent=1) as (_, way):
            found = await asyncio.gather(*(said(way, f"a{n}") for n in range(40)), return_exceptions=True)
            assert all(isinstance(error, Overloaded) for error in found) and len(double.asked) == 5
            assert way.told()["breaker"] == "open" and 0 < way.told()["again"] <= 2 and "503" in way.told()["error"]
            with pytest.raises(Overloaded, match="tried again in"):
                await said(way, "late")
            down = False
            way._fuse = type(way._fuse)(5, way._fuse.state, way._fuse.failures, 0.0, 0.0)  # its time has come
            assert await said(way, "late") == "well again" and way.told()["breaker"] == "closed"


async def test_a_refused_key_is_refused_once_until_it_changes() -> None:
    """The provider is not asked again with it; a changed configuration is tried at once, also by those that wait."""
    gate = Gate()
    old: list[Step] = [Wait(gate), "with the old one"]
    with Double([old, "with the new one", "again"]) as double:
        async with lane(double, concurrent=1) as (registry, way):
            running = asyncio.create_task(said(way, "a"))
            await asyncio.to_thread(double.wait, 1)
            registry.take(Registry([entry(double, "sk-wrong", concurrent=2)]))
            for name in "bc":
                with pytest.raises(AuthFailed, match="egghead llm add openai"):
                    await said(way, name)
            assert len(double.asked) == 2 and way.told()["needs_key"]
            registry.take(Registry([entry(double, concurrent=1)]))
            waiting = asyncio.create_task(said(way, "d"))
            gate.open()
            assert await running == "with the old one"  # it ends with the connection that it has
            assert await waiting == "again" and not way.told()["needs_key"]


async def test_a_provider_that_is_taken_away_ends_what_it_began() -> None:
    """Nobody new reaches it, a call that runs is not cut, and its connections are let go after that."""
    gate = Gate()
    with Double([["one, ", Wait(gate), "two"]]) as double:
        async with lane(double) as (registry, way):
            running = asyncio.create_task(said(way, "a"))
            await asyncio.to_thread(double.wait, 1)
            registry.take(Registry([]))
            with pytest.raises(LlmError, match="egghead llm add openai"):
                registry.resolve("openai/double")
            gate.open()
            assert await running == "one, two" and way.idle


async def test_a_limit_that_is_far_off_sends_the_whole_line_away() -> None:
    """One answer that asks for an hour tells all who wait: their fallbacks can answer."""
    gate = Gate()
    with Double([[Wait(gate), Status(429, {"retry-after": "3600"})]]) as double:
        async with lane(double, concurrent=1) as (_, way):
            calls = [asyncio.create_task(said(way, f"a{n}")) for n in range(5)]
            await asyncio.to_thread(double.wait, 1)
            gate.open()
            found = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(error, RateLimited) and "3600 s" in str(error) for error in found)
            assert len(double.asked) == 1 and way.told()["paused_models"]["double"] > 3500


async def test_one_model_over_its_limit_stops_no_other() -> None:
    """While the provider takes nothing for the large model, the small one answers at once, and is the large one's fallback."""

    def script(asked: Asked) -> Reply:
        return Status(429, {"retry-after": "3600"}) if asked.body["model"] == "large" else "small talk"

    async def of(way: Lane, model: str) -> str:
        async with contextlib.aclosing(way.complete(request("a"), model)) as events:
            return "".join([event.text async for event in events if isinstance(event, Text)])

    with Double(script) as double:
        async with lane(double) as (_, way), asyncio.timeout(20):
            for _ in range(2):
                with pytest.raises(RateLimited, match="3600 s"):
                    await of(way, "large")
                assert await of(way, "small") == "small talk"
            assert [asked.body["model"] for asked in double.asked].count("large") == 1
            told = way.told()
            assert told["paused"] is None and list(told["paused_models"]) == ["large"]


async def test_nothing_listens() -> None:
    """A connection that is refused opens the breaker as a fault does, and says where it was looked for."""
    with Double(["x"]) as double:
        url = double.url
    registry = Registry([Entry("openai", "openai", KEY, f"{url}/v1", ("double",), {"retries": 0})])
    for _ in range(6):
        with pytest.raises(Unreachable, match=url):
            await said(registry.lane("openai"), "a")
    assert registry.providers()[1]["breaker"] == "open"
    await registry.aclose()
