"""An agent's ports on a real bus: what is tried again, and what is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from egghead.agents.ports import BusPorts
from ipc import Call
from ipc.testing import running_bus


async def test_agents_that_ask_at_once_for_more_than_the_bus_holds_are_all_answered() -> None:
    """A call that is refused because too much waits for llm is made again: no turn fails for a moment's crowd."""
    asked = 0

    async def complete(call: Call, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        nonlocal asked
        asked += 1
        yield {"type": "stop", "reason": "end_turn"}

    async def ask(ports: BusPorts) -> list[Any]:
        async with ports.complete({"system": "x" * 200_000}) as events:
            return [event["type"] async for event in events]

    async with running_bus(budget=300_000) as bus:
        await bus.peer("llm", {"complete": complete})
        peers = [await bus.peer(f"agents/a{n}") for n in range(8)]
        ports = [BusPorts(peer, asyncio.Event(), "a", "room") for peer in peers]
        assert await asyncio.gather(*map(ask, ports)) == [["stop"]] * 8
    assert asked == 8
