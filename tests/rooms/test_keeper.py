"""Admission, group commit and publishing of one log, without a bus."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from egghead.rooms.addressing import mentions
from egghead.rooms.entries import EntryError, log_id
from egghead.rooms.fold import fold_all
from egghead.rooms.gate import TurnClosed
from egghead.rooms.keeper import Conflict, Keeper, NotYours
from egghead.rooms.log import LogBroken, LogFull, RoomLog
from egghead.rooms.state import empty

ADA = "clients/ada-1"


def say(text: str, **more: Any) -> dict[str, Any]:
    """A message."""
    return {"kind": "message", "author": "ada", "text": text, **more}


def turn(number: int = 1, incarnation: int = 5, attempt: int = 1) -> dict[str, Any]:
    """A turn of scout."""
    what = {"kind": "turn_started", "turn": f"r.{number}", "round": "r", "agent": "scout", "mode": "open"}
    return {**what, "attempt": attempt, "incarnation": incarnation}


def spoken(number: int = 1, **more: Any) -> dict[str, Any]:
    """Scout's answer."""
    return {"kind": "message", "turn": f"r.{number}", "author": "Scout", "text": "yes", "usage": {}, **more}


class Kept:
    """A keeper at work and what it published."""

    def __init__(self, path: str, room: str = "lab") -> None:
        self.published: list[dict[str, Any]] = []
        self.told: list[tuple[str, tuple[str, ...]]] = []  # kind, the agents that must hear of it
        self.log = RoomLog(path)
        self.keeper = Keeper(room, self.log, self._publish)
        self.task = asyncio.create_task(self.keeper.run())

    async def _publish(self, entry: dict[str, Any], concerned: tuple[str, ...]) -> None:
        self.published.append(entry)
        self.told.append((entry["kind"], concerned))


@contextlib.asynccontextmanager
async def kept(tmp_path: Path, room: str = "lab") -> AsyncIterator[Kept]:
    """A keeper on the log in this directory, which is empty at first."""
    found = Kept(str(tmp_path / "lab.jsonl"), room)
    try:
        yield found
    finally:
        found.task.cancel()
        await asyncio.gather(found.task, return_exceptions=True)
        found.log.close()


async def test_appends_at_the_same_time_are_one_order_for_everybody(tmp_path: Path) -> None:
    """A hundred appends at once get consecutive seqs, are on disk, and are published in that order."""
    async with kept(tmp_path) as k:
        results = await asyncio.gather(*(k.keeper.append([say(str(n)), say("x")], ADA) for n in range(100)))
        assert sorted(one["seq"] for result in results for one in result["entries"]) == list(range(1, 201))
        assert all(result["entries"][1]["seq"] == result["entries"][0]["seq"] + 1 for result in results)
        assert [one["seq"] for one in k.published] == list(range(1, 201))
        assert k.log.read(0, 500) == k.published


async def test_an_agent_speaks_under_the_title_that_the_roster_gives_it(tmp_path: Path) -> None:
    """Whatever author it sends, people are shown its title: its id until the roster says more, also after a restart."""
    async with kept(tmp_path) as k:
        titled = {"kind": "joined", "agent": "scout", "title": "The Scout"}
        renamed = {**titled, "kind": "reloaded", "title": "Finder"}
        for number, told in enumerate((None, titled, renamed)):
            if told is not None:
                await k.keeper.append([told], "roster")
            await k.keeper.append([turn(number)], "coordinator")
            await k.keeper.append([spoken(number, author="Ada")], "agents/scout", 5)
        await k.keeper.append([say("mine", author="Ada")], ADA)
        authors = [entry["author"] for entry in k.log.read(0, 100) if entry["kind"] == "message"]
        assert authors == ["Scout", "The Scout", "Finder", "Ada"]
    log = RoomLog(str(tmp_path / "lab.jsonl"))
    assert log.gate.author("scout") == "Finder"
    log.close()


async def test_only_agents_whose_turn_it_is_are_woken(tmp_path: Path) -> None:
    """A turn's begin and end concern its agent, a halt those in a turn, all else nobody; also within one write."""
    async with kept(tmp_path) as k:
        other = {**turn(2), "agent": "nib"}
        for entries, by in (
            ([say("hello")], ADA),
            ([turn(1), other], "coordinator"),
            ([{"kind": "halted"}], ADA),
            ([{"kind": "turn_ended", "turn": "r.2", "agent": "nib", "outcome": "halted"}], "coordinator"),
            ([{"kind": "halted"}], ADA),
        ):
            await k.keeper.append(entries, by)
        assert k.told == [
            ("message", ()),
            ("turn_started", ("scout",)),
            ("turn_started", ("nib",)),
            ("halted", ("nib", "scout")),
            ("turn_ended", ("nib",)),
            ("halted", ("scout",)),
        ]


async def test_the_same_append_twice_is_one_entry(tmp_path: Path) -> None:
    """An id that is in the log is answered with the stored entry, also at the same moment and after opening again."""
    async with kept(tmp_path) as k:
        first, second = await asyncio.gather(*(k.keeper.append([say("x", id="m1")], ADA) for _ in range(2)))
        assert first["entries"] == second["entries"]
        assert k.log.last == 1
    async with kept(tmp_path) as k:
        again = await k.keeper.append([say("x", id="m1")], ADA, expect=0)
        assert again["entries"] == first["entries"]
        assert len(k.published) == 0


async def test_an_id_is_not_taken_over_by_somebody_else(tmp_path: Path) -> None:
    """Another caller's id, another kind's id and half a batch of known ids are refused."""
    async with kept(tmp_path) as k:
        await k.keeper.append([say("x", id="m1")], ADA)
        for entries, caller in (
            ([say("y", id="m1")], "clients/eve-1"),
            ([{"kind": "continued", "id": "m1"}], ADA),
            ([say("x", id="m1"), say("y", id="m2")], ADA),
        ):
            with pytest.raises(EntryError, match="m1"):
                await k.keeper.append(entries, caller)
        assert k.log.last == 1


async def test_expect_is_compare_and_set(tmp_path: Path) -> None:
    """Of two decisions on the same log one is made and the other is told where the log is."""
    async with kept(tmp_path) as k:
        one, two = await asyncio.gather(
            *(k.keeper.append([turn(n)], "coordinator", expect=0) for n in (1, 2)), return_exceptions=True
        )
        assert isinstance(one, dict)
        assert isinstance(two, Conflict)
        assert two.last == 1


async def test_a_batch_is_all_or_nothing(tmp_path: Path) -> None:
    """When one entry of a batch is refused none is stored."""
    async with kept(tmp_path) as k:
        await k.keeper.append([turn()], "coordinator")
        with pytest.raises(TurnClosed, match=r"r\.2"):
            await k.keeper.append([spoken(1), spoken(2)], "agents/scout", 5)
        assert k.log.last == 1


@pytest.mark.parametrize(
    ("caller", "incarnation", "why"),
    [
        ("agents/bob", 5, "belongs to 'scout'"),
        ("agents/scout", 4, "incarnation 5"),
        ("agents/scout", 6, "incarnation 5"),
    ],
)
async def test_only_the_life_that_has_the_turn_may_speak_in_it(
    tmp_path: Path, caller: str, incarnation: int, why: str
) -> None:
    """Another agent, an earlier life and a later life are refused."""
    async with kept(tmp_path) as k:
        await k.keeper.append([turn()], "coordinator")
        with pytest.raises(TurnClosed, match=why):
            await k.keeper.append([spoken()], caller, incarnation)


async def test_a_turn_is_answered_once(tmp_path: Path) -> None:
    """After the answer nothing more comes into the turn, and after its end nothing at all, not even after a restart."""
    async with kept(tmp_path) as k:
        await k.keeper.append([turn()], "coordinator")
        await k.keeper.append([spoken(id="r.1.m")], "agents/scout", 5)
        with pytest.raises(TurnClosed, match="answer already"):
            await k.keeper.append([spoken(id="other")], "agents/scout", 5)
    async with kept(tmp_path) as k:
        with pytest.raises(TurnClosed, match="answer already"):
            await k.keeper.append([{"kind": "action", "turn": "r.1", "action": "passed"}], "agents/scout", 5)
        end = {"kind": "turn_ended", "turn": "r.1", "agent": "scout", "outcome": "spoke"}
        await k.keeper.append([end], "coordinator")
        with pytest.raises(TurnClosed, match="not open"):
            await k.keeper.append([spoken()], "agents/scout", 5)


@pytest.mark.parametrize(
    "how", [("kicked", "clients/ada-1", "author"), ("left", "roster", "title")], ids=["kicked", "left"]
)
async def test_who_has_gone_says_nothing_more(tmp_path: Path, how: tuple[str, str, str]) -> None:
    """What was on its way when an agent went is refused: words, calls and hand-offs, also when it is invited back at once."""
    kind, by, field = how
    begun = {
        "kind": "handoff_started",
        "agent": "scout",
        "handoff": "h",
        "record": "d",
        "attempt": 1,
        "reason": "asked",
    }
    async with kept(tmp_path) as k:
        await k.keeper.append([turn(), {**begun, "incarnation": 5, "text": "x"}], "coordinator")
        await k.keeper.append([{"kind": kind, "agent": "scout", field: "X"}], by)
        await k.keeper.append([{"kind": "invited", "agent": "scout", "author": "ada"}], "clients/ada-1")
        with pytest.raises(TurnClosed, match="stay has ended"):
            await k.keeper.append([spoken()], "agents/scout", 5)
        with pytest.raises(TurnClosed, match="no handoff"):
            await k.keeper.append([{"kind": "handoff", "record": "d"}], "agents/scout", 5)
        assert not list(k.log.gate.again()) and k.log.last == 4
        await k.keeper.append([turn(2)], "coordinator")
        assert (await k.keeper.append([spoken(2)], "agents/scout", 5))["last"] == 6


async def test_the_second_attempt_belongs_to_the_new_life(tmp_path: Path) -> None:
    """Once the turn is given again, what the dead life still had under way is refused."""
    async with kept(tmp_path) as k:
        await k.keeper.append([turn(), turn(incarnation=6, attempt=2)], "coordinator")
        with pytest.raises(TurnClosed):
            await k.keeper.append([spoken()], "agents/scout", 5)
        assert (await k.keeper.append([spoken()], "agents/scout", 6))["last"] == 3


async def test_a_handoff_carries_the_life_that_leaves(tmp_path: Path) -> None:
    """The room stamps the incarnation of a handoff from the bus, whatever the agent says, and takes one only from the
    life that it was given to, once."""
    begun: dict[str, Any] = {"kind": "handoff_started", "agent": "scout", "handoff": "h", "record": "d", "attempt": 1}
    begun |= {"incarnation": 5, "reason": "asked", "text": "x"}
    async with kept(tmp_path) as k:
        handoff = {"kind": "handoff", "record": "deliberations/scout/1", "incarnation": 99}
        with pytest.raises(TurnClosed, match="no handoff"):
            await k.keeper.append([handoff], "agents/scout", 5)
        await k.keeper.append([begun], "coordinator")
        assert [entry["agent"] for entry in k.log.gate.again()] == ["scout"]
        with pytest.raises(TurnClosed, match="another life"):
            await k.keeper.append([handoff], "agents/scout", 4)
        stored = await k.keeper.append([handoff], "agents/scout", 5)
        assert stored["entries"][0]["incarnation"] == 5 and not list(k.log.gate.again())
        with pytest.raises(TurnClosed):
            await k.keeper.append([{"kind": "handoff_ended", "outcome": "failed", "text": "x"}], "agents/scout", 5)


async def test_an_agent_asks_for_its_handoff_in_its_turn(tmp_path: Path) -> None:
    """With the answer of a turn, before or behind it, or in the open turn that does not fit; never out of nowhere."""
    ask = {"kind": "handoff_asked", "reason": "context"}
    async with kept(tmp_path) as k:
        with pytest.raises(TurnClosed, match="has none here"):
            await k.keeper.append([ask], "agents/scout", 5)
        await k.keeper.append([turn()], "coordinator")
        with pytest.raises(TurnClosed, match="has none here"):
            await k.keeper.append([ask], "agents/scout", 4)
        overflow = {**ask, "reason": "overflow", "turn": turn()["turn"]}
        await k.keeper.append([overflow], "agents/scout", 5)
        message = {"kind": "message", "turn": turn()["turn"], "author": "Scout", "text": "x", "usage": {}}
        await k.keeper.append([message, ask], "agents/scout", 5)
        with pytest.raises(TurnClosed, match="has its answer"):
            await k.keeper.append([overflow], "agents/scout", 5)


async def test_a_full_disk_refuses_everybody_in_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the write fails all of its appends are refused, nothing is published, and the next one works."""
    async with kept(tmp_path) as k:
        real = os.write

        def full(fd: int, data: Any) -> int:
            if fd == k.log._fd:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(fd, data)

        monkeypatch.setattr(os, "write", full)  # a disk that is full for one file and one write
        results = await asyncio.gather(*(k.keeper.append([say(str(n))], ADA) for n in range(5)), return_exceptions=True)
        assert all(isinstance(result, LogFull) for result in results)
        monkeypatch.setattr(os, "write", real)
        assert (await k.keeper.append([say("now")], ADA))["last"] == 1
        assert [one["text"] for one in k.published] == ["now"]


async def test_a_failed_sync_ends_the_keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync error ends the process's work and tells the callers; nothing is acknowledged or published."""
    async with kept(tmp_path) as k:

        def fail(fd: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "fdatasync", fail)  # the kernel fails no sync on demand
        with pytest.raises(LogBroken):
            await k.keeper.append([say("x")], ADA)
        with pytest.raises(LogBroken):
            await k.task
        assert k.published == []


async def test_a_caller_that_leaves_does_not_disturb_the_others(tmp_path: Path) -> None:
    """An append whose caller is cancelled is still stored once, and the one behind it is answered."""
    async with kept(tmp_path) as k:
        gone = asyncio.create_task(k.keeper.append([say("gone")], ADA))
        stays = asyncio.create_task(k.keeper.append([say("stays")], ADA))
        await asyncio.sleep(0)  # one turn of the loop, in which both are queued
        gone.cancel()
        assert (await stays)["entries"][0]["text"] == "stays"
        assert [one["text"] for one in k.published] == ["gone", "stays"]


async def test_what_cannot_be_json_is_refused_before_it_disturbs_anybody(tmp_path: Path) -> None:
    """Half a surrogate pair and endless nesting are the caller's fault, said so, and the log goes on."""
    async with kept(tmp_path) as k:
        nested: list[Any] = []
        for _ in range(10_000):
            nested = [nested]
        for entry in (say("\ud800"), {**say("x"), "mentions": ["a"], "author": "\udfff"}):
            with pytest.raises(EntryError, match="JSON"):
                await k.keeper.append([entry], ADA)
        tool = {"kind": "tool_started", "turn": "r.1", "attempt": 1, "call": "c", "tool": "t", "read_only": True}
        with pytest.raises(EntryError, match="JSON"):
            await k.keeper.append([{**tool, "summary": "", "input": nested}], "agents/scout", 5)
        assert (await k.keeper.append([say("fine")], ADA))["last"] == 1


async def test_readers_are_told_whether_there_is_more(tmp_path: Path) -> None:
    """Pages say where the log ends, whether more follows, and which log it is."""
    async with kept(tmp_path) as k:
        await k.keeper.append([say(str(n), id=f"m{n}") for n in range(5)], ADA)
        page = k.keeper.since(1, ADA, 2)
        assert ([one["seq"] for one in page["entries"]], page["last"], page["more"]) == ([2, 3], 5, True)
        first = log_id(k.keeper.since(0, ADA, 1)["entries"][0])
        assert k.keeper.since(5, ADA) == {"entries": [], "last": 5, "more": False, "first": first}
        with pytest.raises(EntryError):
            k.keeper.since(-1, ADA)


async def test_who_is_invited_has_its_title(tmp_path: Path) -> None:
    """The invitation names the agent as people know it: so it is shown, and so it can be mentioned."""
    invited = {"kind": "invited", "author": "ada", "agent": "scout", "title": "Doctor Fern"}
    async with kept(tmp_path) as k:
        await k.keeper.append([invited, say("@Doctor Fern, hello")], ADA)
        await k.keeper.append([turn()], "coordinator")
        await k.keeper.append([spoken()], "agents/scout", 5)
        entries = k.keeper.since(0, ADA)["entries"]
        assert entries[-1]["author"] == "Doctor Fern"
        titles = fold_all(empty("default"), entries).titles
        assert mentions(entries[1]["text"], titles).agents == ("scout",)


async def test_a_room_of_two_is_read_by_no_third_agent(tmp_path: Path) -> None:
    """Its own agent and people read it; another agent when it was invited, until it is kicked; also after a restart."""
    judge, scout = "agents/judge", "agents/scout"
    invited = {"kind": "invited", "author": "ada", "agent": "judge"}
    async with kept(tmp_path, "dm/scout") as k:
        await k.keeper.append([say("between us")], ADA)
        assert k.keeper.since(0, ADA)["last"] == k.keeper.since(0, scout)["last"] == 1
        with pytest.raises(NotYours, match="room of two"):
            k.keeper.since(0, judge)
        await k.keeper.append([invited], ADA)
        assert k.keeper.since(0, judge)["last"] == 2
    async with kept(tmp_path, "dm/scout") as k:
        assert k.keeper.since(0, judge)["last"] == 2
        await k.keeper.append([{**invited, "kind": "kicked"}], ADA)
        with pytest.raises(NotYours):
            k.keeper.since(0, judge)
    async with kept(tmp_path) as k:
        assert k.keeper.since(0, judge)["last"] == 3


async def test_a_keeper_that_ends_leaves_nobody_waiting(tmp_path: Path) -> None:
    """When the log is broken, what was asked for is refused, and `settled` returns: a stop does not hang on it."""
    async with kept(tmp_path) as k:
        await k.keeper.append([say("x")], ADA)
        Path(k.log.path).unlink()
        results = await asyncio.gather(*(k.keeper.append([say(str(n))], ADA) for n in range(5)), return_exceptions=True)
        assert all(isinstance(result, LogBroken) for result in results)
        await asyncio.wait_for(k.keeper.settled(), 10)
        with pytest.raises(LogBroken):
            await k.keeper.append([say("later")], ADA)
