"""Everything that carries a conversation is killed at random while people and agents talk."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import pytest

from egghead.client.follow import append_reliably, follow
from egghead.rooms.fold import fold_all
from egghead.rooms.state import empty
from egghead.rooms.ulid import ulid
from tests.rooms.model import check_log
from tests.rooms.stage import Agent, Stage, stage

MESSAGES = 5
PEOPLE = ("ada", "bob")
AGENTS = ("scout", "nib", "judge")


async def talk(s: Stage, name: str, chance: random.Random, seen: list[dict[str, Any]], sent: list[str]) -> None:
    """A person: says something, waits for the end of its round, says the next thing; keeps what it saw."""
    peer = await s.bus.client(name)
    ended: set[str] = set()
    rounds: dict[str, str] = {}
    news = asyncio.Event()

    async def read() -> None:
        async for entry in follow(peer, "default"):
            seen.append(entry)
            if entry["kind"] == "round_planned":
                rounds[entry["message"]] = entry["round"]
            elif entry["kind"] == "round_ended":
                ended.add(entry["round"])
            news.set()

    reader = asyncio.create_task(read())
    try:
        for _ in range(MESSAGES):
            text = chance.choice(["@everyone hello", "@scout @nib", "what?", "@jam now", "@judge please", "@nobody?"])
            entry = {"id": ulid(), "kind": "message", "author": name, "text": text}
            await append_reliably(peer, "default", [entry], 50)
            sent.append(entry["id"])
            while rounds.get(entry["id"]) not in ended:
                news.clear()
                await news.wait()
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


async def disturb(s: Stage, agents: dict[str, Agent], chance: random.Random) -> None:
    """Kill something and let it come back, again and again."""
    while True:
        await asyncio.sleep(chance.uniform(0.05, 0.3))  # the rate of the faults
        victim = chance.choice(["rooms/default", "coordinator", "bus", *AGENTS, *AGENTS])
        if victim == "bus":
            await s.bus.restart()
        elif victim in agents:
            await agents[victim].die()
            await asyncio.sleep(chance.uniform(0, 0.1))  # how long it is away
            await agents[victim].start()
        else:
            await s.kill(victim)
            await asyncio.sleep(chance.uniform(0, 0.1))  # how long it is away
            await s.again(victim)


@pytest.mark.chaos
@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_dies_the_log_keeps_its_promises_and_everybody_saw_it(seed: int) -> None:
    """Room, bus, coordinator and agents are killed at random: no message is lost or doubled, every turn ends, and each
    person has seen exactly what is in the log."""
    chance = random.Random(seed)
    async with stage() as s:
        await s.start("rooms/default", "room", room="default")
        await s.start("lobby", "lobby")
        await s.start("coordinator", "coordinator")
        roster = await s.bus.peer("roster")
        joins = [{"kind": "joined", "agent": agent, "title": agent.title()} for agent in AGENTS]
        await append_reliably(roster, "default", joins)
        agents = {}
        for name in AGENTS:
            agents[name] = Agent(s, name, lambda turn: chance.choice(["ok", None, "@scout?", "@nib @judge"]))
            agents[name].before_answer = lambda turn: asyncio.sleep(chance.uniform(0, 0.1))  # a model takes its time
            await agents[name].start()
        seen: dict[str, list[dict[str, Any]]] = {name: [] for name in PEOPLE}
        sent: dict[str, list[str]] = {name: [] for name in PEOPLE}
        trouble = asyncio.create_task(disturb(s, agents, chance))
        try:
            async with asyncio.timeout(50):
                await asyncio.gather(
                    *(talk(s, name, random.Random(f"{seed}{name}"), seen[name], sent[name]) for name in PEOPLE)
                )
        finally:
            trouble.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await trouble
        log = [entry async for entry in everything(s)]
        assert [entry["seq"] for entry in log] == list(range(1, len(log) + 1))
        for name in PEOPLE:
            assert seen[name] == log[: len(seen[name])]
            mine = [entry["id"] for entry in log if entry["by"].startswith(f"clients/{name}-")]
            assert mine == sent[name]
        # The peers that the last round has set off may still be at it: the laws of a whole log hold up to there.
        quiet = max(n for n in range(len(log) + 1) if n == 0 or fold_all(empty("default"), log[:n]).quiet)
        check_log(log[:quiet])


async def everything(s: Stage) -> Any:
    """The log as the file has it."""
    for name in ("coordinator", "rooms/default"):
        if name not in s.children:
            await s.again(name)
    peer = await s.bus.client("reader")
    last = 0
    while True:
        page = await peer.call("rooms/default", "since", seq=last)
        for entry in page["entries"]:
            last = entry["seq"]
            yield entry
        if not page["more"]:
            return
