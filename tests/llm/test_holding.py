"""Many calls at once and one limit: what they may use is held back while they run, and the limit is overshot by one at most."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egghead.llm.errors import LimitReached
from egghead.llm.gateway import HELD, Gateway
from egghead.llm.holding import Hold, Most, admitted, most_of
from egghead.llm.ledger import Ledger
from egghead.llm.provider import Model
from egghead.llm.purse import Purse
from egghead.llm.registry import Entry, Registry
from egghead.llm.shapes import Event, Request, Stop, Text, Usage, request_from
from egghead.llm.usage import EVERYBODY, Figures, Limits
from ipc import Call, Refused

HELLO = {"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]}
PRICED = Model("slow/m", "slow", input_price=1.0, output_price=100.0, cache_write_price=2.0)


class Slow:
    """A provider whose calls end when they are told to, and use as much as they may: 0.1 USD of 1000 tokens."""

    name = "slow"

    def __init__(self, entry: Entry) -> None:
        self.running = self.peak = 0
        self.go = asyncio.Semaphore(0)
        self.begun = asyncio.Semaphore(0)

    def models(self) -> tuple[Model, ...]:
        return (PRICED,)

    async def list_models(self) -> tuple[Model, ...]:
        return self.models()

    async def complete(self, request: Request, model: str) -> AsyncGenerator[Event, None]:
        self.running += 1
        self.peak = max(self.peak, self.running)
        self.begun.release()
        try:
            yield Text("so")
            await self.go.acquire()
            yield Stop("end_turn", Usage(0, request.max_tokens))
        finally:
            self.running -= 1

    async def aclose(self) -> None:
        return None


def served(limits: dict[str, float]) -> tuple[Gateway, Slow]:
    slow = Slow(Entry("slow", "slow"))
    registry = Registry([Entry("slow", "slow", "k")], adapters={"slow": lambda entry: slow})
    return Gateway(registry, Purse(Ledger(None), limits)), slow


async def ask(gateway: Gateway, agent: str = "scout", until: float = 60) -> str:
    """How one call of 1000 tokens ended."""
    call = Call(f"agents/{agent}", 1, "complete", time.monotonic() + until)
    request = {**HELLO, "model": "slow/m", "max_tokens": 1000}
    try:
        async with contextlib.aclosing(gateway.complete(call, request)) as events:
            return str([event async for event in events][-1]["type"])
    except Refused as refused:
        return refused.type


async def test_ten_calls_at_once_do_not_overshoot_tenfold() -> None:
    """Three fit into the limit, so three run at once; the others follow while anything is left, and then are refused."""
    gateway, slow = served({"cost_per_day": 0.35})
    asking = [asyncio.ensure_future(ask(gateway)) for _ in range(10)]
    for _ in range(3):
        await slow.begun.acquire()
    assert slow.running == 3
    for _ in range(10):
        slow.go.release()
    ended = await asyncio.wait_for(asyncio.gather(*asking), 30)
    assert ended == ["stop"] * 4 + ["LimitReached"] * 6 and slow.peak == 3
    assert gateway.purse.ledger.spent["scout"].cost == pytest.approx(0.4)  # over by one call, which was alone


async def test_a_call_that_is_larger_than_the_limit_runs_alone() -> None:
    """Else an agent with a small limit would never be asked at all."""
    gateway, slow = served({"tokens_per_day": 10})
    asking = [asyncio.ensure_future(ask(gateway)) for _ in range(2)]
    slow.go.release()
    assert await asyncio.wait_for(asyncio.gather(*asking), 30) == ["stop", "LimitReached"]


async def test_a_limit_that_is_raised_lets_those_go_on_that_wait_for_it() -> None:
    """And an agent that it does not bind never waited."""
    gateway, slow = served({})
    gateway.purse.learn({"scout": {"limits": {"tokens_per_day": 1100}}})
    asking = [asyncio.ensure_future(ask(gateway)) for _ in range(3)]
    await slow.begun.acquire()
    other = asyncio.ensure_future(ask(gateway, "nib"))
    await slow.begun.acquire()
    assert slow.running == 2
    gateway.purse.learn({"scout": {"limits": {"tokens_per_day": 10_000}}})
    for _ in range(2):
        await slow.begun.acquire()
    for _ in range(4):
        slow.go.release()
    assert await asyncio.wait_for(asyncio.gather(*asking, other), 30) == ["stop"] * 4


async def test_who_leaves_or_waits_in_vain_holds_nothing() -> None:
    """A caller that is gone, running or waiting, frees what was held for it; one whose time is over is told why."""
    gateway, slow = served({"tokens_per_day": 1500})
    first = asyncio.ensure_future(ask(gateway))
    await slow.begun.acquire()
    assert await ask(gateway, until=0.05) == "LimitReached"
    gone, last = (asyncio.ensure_future(ask(gateway)) for _ in range(2))
    await asyncio.sleep(0)
    for one in (gone, first):
        one.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await one
    await asyncio.wait_for(slow.begun.acquire(), 10)
    slow.go.release()
    assert await asyncio.wait_for(last, 10) == "stop"
    with pytest.raises(LimitReached, match=r"held for the calls that run \(1\); ask again"):
        async with gateway.purse.hold("scout", Most(400)), gateway.purse.hold("scout", Most(400)) as turn:
            await gateway.purse.admitted(turn, time.monotonic())


async def test_a_call_that_waits_for_a_limit_says_so() -> None:
    """Its stream tells why nothing comes, the gateway names it among what waits, and only while it does."""
    gateway, slow = served({"tokens_per_day": 1500})
    first = asyncio.ensure_future(ask(gateway))
    await slow.begun.acquire()
    call = Call("agents/scout", 2, "complete", time.monotonic() + 60)
    request = {**HELLO, "model": "slow/m", "max_tokens": 1000, "room": "den"}
    async with contextlib.aclosing(gateway.complete(call, request)) as events:
        told = await asyncio.wait_for(anext(events), 30)
        assert told == {"type": "waiting", "provider": "slow", "place": 0, "why": HELD, "until": ""}
        [wait] = (await gateway.providers(call))["waits"]
        assert (wait["agent"], wait["room"], wait["why"]) == ("scout", "den", HELD)
        for _ in range(2):
            slow.go.release()
        assert [event["type"] async for event in events] == ["text", "stop"]
        assert (await gateway.providers(call))["waits"] == []
    assert await first == "stop"


async def test_the_gateway_says_when_nothing_runs() -> None:
    """Once for each time that the last stream has ended, however it ended: then memory may go back."""
    gateway, slow = served({})
    rests: list[int] = []
    gateway.rested = lambda: rests.append(slow.running)
    asking = [asyncio.ensure_future(ask(gateway)) for _ in range(3)]
    for _ in range(3):
        await slow.begun.acquire()
    asking[0].cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking[0]
    assert rests == []
    for _ in range(2):
        slow.go.release()
    await asyncio.wait_for(asyncio.gather(*asking[1:]), 30)
    assert rests == [0]


def test_the_most_of_a_call() -> None:
    """The prompt at its dearest, the tools in it, and the longest answer with the room to think; no price, no cost."""
    tools = [{"name": "look", "description": "four words of it", "input_schema": {"type": "object"}}]
    request: dict[str, Any] = {**HELLO, "max_tokens": 1000}
    plain = most_of(request_from(request), PRICED)
    assert plain.tokens == 1001 and plain.cost == pytest.approx(0.1 + 2e-6)
    assert most_of(request_from({**request, "tools": tools}), PRICED).tokens > 1005
    assert most_of(request_from({**request, "thinking": True}), PRICED).tokens == 1001 + 8192
    assert most_of(request_from({**request, "thinking": 500}), PRICED).tokens == 1501
    assert most_of(request_from(request), Model("p/m", "p", max_output=600)) == Most(601, 0.0)


holds = st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 9)), max_size=8)
bounds = st.dictionaries(st.sampled_from(("a", "b", EVERYBODY)), st.integers(1, 20))


@given(holds, holds, bounds, st.integers(0, 5))
def test_nobody_overshoots_beside_another(
    running: list[tuple[str, int]], waiting: list[tuple[str, int]], most: dict[str, int], used: int
) -> None:
    """After each admission every limit holds, or one call has it to itself; the first of a limit is never overtaken, and
    who could begin does."""
    run = [Hold(-n, agent, Most(tokens)) for n, (agent, tokens) in enumerate(running, 1)]
    wait = [Hold(n, agent, Most(tokens)) for n, (agent, tokens) in enumerate(waiting)]
    limits = {name: Limits(tokens_per_day=bound) for name, bound in most.items()}
    spent = {name: Figures(input=used) for name in limits}

    def held(name: str, among: list[Hold]) -> list[Hold]:
        return [one for one in among if name in (one.agent, EVERYBODY)]

    found = admitted(wait, run, spent, limits)
    begun = [one for one in wait if one.id in found]
    assert list(found) == [one.id for one in begun]
    for name, limit in limits.items():
        beside = held(name, run + begun)
        if held(name, begun) and len(beside) > 1:
            assert used + sum(one.most.tokens for one in beside) <= (limit.tokens_per_day or 0)
    first = next((one for one in wait if one not in begun), None)
    if first is not None:
        before = run + [one for one in begun if one.id < first.id]
        names = [name for name in (first.agent, EVERYBODY) if name in limits and held(name, before)]
        assert any(
            used + first.most.tokens + sum(one.most.tokens for one in held(name, before)) > most[name] for name in names
        )
        later = [one for one in begun if one.id > first.id]
        assert not any(one.agent == first.agent for one in later)
