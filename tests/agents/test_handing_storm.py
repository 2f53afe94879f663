"""Handoffs while agent, room, tools and coordinator die at random moments."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from egghead.agents import trail as trails
from egghead.processes import coordinator as coordinator_process
from egghead.processes import tools as tools_process
from egghead.rooms.fold import fold_all
from egghead.rooms.state import empty
from tests.agents.handing import FAST, asked, deliberations, is_note, says, says_and_waits, scene
from tests.agents.stage import Stage


class Storm:
    """Keeps scout, a room, the tools and the coordinator up, and kills one of them now and then."""

    def __init__(self, s: Stage, seed: int) -> None:
        self.s = s
        self.chance = random.Random(seed)
        self.hands = asyncio.Lock()  # the supervisor and the killer do not act at once

    async def supervise(self) -> None:
        """Start scout again whenever it is gone, see it out whenever it leaves."""
        while True:
            async with self.hands:
                process = self.s.processes.get("agents/scout")
                if process is None:
                    await self.s.agent()
                elif process.service._left.done():
                    await self.s.stop("agents/scout")
            await asyncio.sleep(0.01)  # a process that is leaving tells nobody in this loop

    async def kill(self) -> None:
        """Four of six times the agent."""
        what = self.chance.choice(["agents/scout"] * 3 + ["rooms/default", "tools", "coordinator"])
        async with self.hands:
            if what == "rooms/default":
                await self.s.room_dies("default")
                await self.s.room("default")
            elif what in self.s.processes:
                await self.s.die(what)
            if what == "tools":
                await self.s.start(what, tools_process.setup)
            elif what == "coordinator":
                await self.s.start(what, lambda service: coordinator_process._setup(service, FAST))

    async def at_rest(self) -> list[dict[str, Any]]:
        """The log, once nothing is left to do in it."""
        while True:
            log = await self.s.log()
            state = fold_all(empty("default"), log)
            if state.quiet and not state.handoffs:
                return log
            await asyncio.sleep(0.05)  # no one event says that nothing is left to do


@pytest.mark.parametrize("seed", [3, 6])
async def test_a_storm_over_handoffs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever dies over five handoffs, in whatever order: each is over, with one entry and a record that has all of it."""
    monkeypatch.setattr(trails, "PIECE", 800)  # several pieces out of few words
    async with scene() as s:
        storm = Storm(s, seed)
        s.model.always = says(lambda request: "### Goal\nGo on." if is_note(request) else "noted")
        supervisor = asyncio.create_task(storm.supervise())
        for number in range(5):
            await says_and_waits(s, f"@scout talk {number} " + "x" * 600)
            await asked(s)
            for _ in range(storm.chance.randint(1, 4)):
                await asyncio.sleep(storm.chance.random() * 0.15)  # any moment will do: the storm is what is tested
                await storm.kill()
            await storm.at_rest()
        log = await storm.at_rest()
        async with storm.hands:  # not in the middle of a stop: nobody else would close what that process has open
            supervisor.cancel()
        await asyncio.gather(supervisor, return_exceptions=True)
        done = [entry["record"] for entry in log if entry["kind"] == "handoff"]
        over = [entry for entry in log if entry["kind"] == "handoff_ended"]
        assert len(over) == 5 and len(set(done)) == len(done) == sum(e["outcome"] == "back" for e in over)
        records = {record.id: record.body for record in deliberations(s)}
        assert set(done) <= records.keys()
        upto = max(
            e["seq"] for e in log if e["kind"] == "handoff_started" and e["record"] in done and e["attempt"] == 1
        )
        whole = "\n".join(records.values())
        for entry in log:
            if entry["kind"] == "message" and entry["seq"] < upto and entry["text"].startswith("@scout talk"):
                assert whole.count(entry["text"]) >= 1  # twice when the record of a handoff that was given up stands
