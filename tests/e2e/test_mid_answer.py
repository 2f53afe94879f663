"""A process dies while an answer is being made: the answer comes, or the room says why not. Never silence."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from typing import Any

import pytest

from egghead.client.chat import Round, converse
from tests.chaos.audit import faults
from tests.e2e.cast import client_of
from tests.e2e.node import Node

QUESTION = "How do I publish my notes with GitHub Pages?"
# Who dies when: everybody at least twice, those that the moment depends on always.
CASES = {
    "message": ["bus", "rooms/default", "coordinator", "agents/index", "roster"],
    "turn_started": ["bus", "rooms/default", "coordinator", "agents/index", "tools", "lobby"],
    "tool_started": ["bus", "index", "store", "tools", "llm", "agents/index", "coordinator"],
    "tool_ended": ["rooms/default", "store", "index", "llm", "agents/index", "lobby"],
    "text": ["bus", "rooms/default", "llm", "coordinator", "agents/index", "roster"],
}


async def ask(node: Node, victim: str, moment: str) -> tuple[list[dict[str, Any]], bool]:
    """The entries of one round during which `victim` is killed at the first `moment`, and whether it was killed."""
    seen: list[dict[str, Any]] = []
    pid = node.processes()[victim]["pid"]
    killed = False
    async with await client_of(node.home) as client:
        async with contextlib.aclosing(converse(client, "default", QUESTION, "tester", timeout=60)) as happenings:
            async for said in happenings:
                now = "text" if said.entry is None else said.entry["kind"]
                if said.entry is not None:
                    seen.append(said.entry)
                if now == moment and not killed:
                    os.kill(pid, signal.SIGKILL)
                    killed = True
    return seen, killed


@pytest.mark.parametrize("moment", CASES)
def test_a_death_in_the_middle_of_an_answer(shared_node: Node, moment: str) -> None:
    """Each process in turn is killed at this moment of a round: the round ends, its turns ended once, and it is said how."""
    for victim in CASES[moment]:
        old = shared_node.processes()[victim]["pid"]
        seen, killed = asyncio.run(ask(shared_node, victim, moment))
        assert killed, (victim, moment)
        state = Round(seen[0]["id"])
        for entry in seen:
            state.take(entry)
        assert state.ended, (victim, moment)
        for outcome in state.outcomes:
            assert outcome["outcome"] == "spoke" or outcome.get("reason"), (victim, moment, outcome)
        shared_node.healed(victim, old)
    path = shared_node.records / ".egghead" / "rooms" / "default.jsonl"
    assert faults([json.loads(line) for line in path.read_text().splitlines()], [], []) == []
