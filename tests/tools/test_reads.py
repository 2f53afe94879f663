"""What was read a moment ago is given again: to whom, for how long, and what makes it old."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egghead.tools.monitor import Monitor, Result
from egghead.tools.reads import MAX_BYTES, OVERHEAD, SECONDS, Reads
from egghead.tools.results import Output
from ipc import PeerDown
from tests.agents.stage import Stage, stage
from tests.tools.notes import RealNotes


@dataclass
class Room:
    """A monitor that keeps what it read, over real notes, with a clock in the test's hand."""

    notes: RealNotes
    now: float = 100.0
    reads: Reads = field(default_factory=Reads)

    def __post_init__(self) -> None:
        self.monitor = Monitor(self.notes.ask, reads=self.reads, clock=lambda: self.now)

    async def ask(self, agent: str, tool: str, room: str = "default", **arguments: Any) -> tuple[Result, list[str]]:
        """The result, and what was asked for it besides who the agent is."""
        self.notes.asked.clear()
        result = await self.monitor.run(agent, tool, arguments, room)
        return result, self.notes.asked[1:]

    async def searched(self, agent: str = "scout", room: str = "default", query: str = "roses") -> list[str]:
        """What one search asked."""
        return (await self.ask(agent, "search_records", room, query=query))[1]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Room]:
    """Two notes, one of them not for everybody, and three agents."""
    (tmp_path / "notes").mkdir()
    notes = RealNotes(tmp_path / "notes")
    notes.write("garden.md", "# Garden\n\nRoses by the wall.\n")
    notes.write("secret/plan.md", "# Plan\n\nRoses at night.\n")
    notes.agent("scout", "records.read", "records.create", "records.update", "records.delete")
    notes.agent("sage", "records.read", "records.create", "records.update", "records.delete")
    notes.agent("guest", "records.read{paths=[garden]}")
    yield Room(notes)
    notes.close()


SEARCH = ["index.search"]


async def test_a_search_leaves_out_what_is_older_than_it_asks_for(here: Room) -> None:
    """`since` reaches the index, makes another question of it, and one that is no date is an error that shows a date."""
    found, _ = await here.ask("scout", "search_records", query="roses")
    assert {"garden", "secret/plan"} <= set(found.records)
    none, asked = await here.ask("scout", "search_records", query="roses", since="2999-01-01")
    assert none.outcome == "ok" and none.records == () and asked == SEARCH
    wrong, _ = await here.ask("scout", "search_records", query="roses", since="monday")
    assert wrong.outcome == "error" and "2026-01-31" in wrong.content


async def test_the_same_question_is_asked_once_a_minute(here: Room) -> None:
    """A second search in the room asks the index nothing and gives the same; after sixty seconds it asks again."""
    first, asked = await here.ask("scout", "search_records", query="roses", limit=20)
    assert asked == SEARCH and "garden" in first.records
    here.now += SECONDS - 0.1
    again, asked = await here.ask("scout", "search_records", query="roses")  # 20 is the default
    assert asked == [] and again == first
    assert await here.searched("sage") == []  # who holds the same
    assert await here.searched(room="garden") == SEARCH  # elsewhere
    assert await here.searched(query="rose") == SEARCH
    here.now += 0.2
    assert await here.searched() == SEARCH


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("get_record", {"id": "garden"}),
        ("get_record_body", {"id": "garden"}),
        ("list_records", {}),
        ("find_links", {"id": "garden"}),
        ("find_backlinks", {"id": "garden"}),
        ("recent_records", {}),
    ],
)
async def test_every_read_tool_is_kept(here: Room, tool: str, arguments: dict[str, Any]) -> None:
    """Each tool that only reads notes asks once and gives the same."""
    first, asked = await here.ask("scout", tool, **arguments)
    assert first.outcome == "ok" and asked
    assert await here.ask("scout", tool, **arguments) == (first, [])


async def test_who_may_read_less_never_gets_the_answer_of_who_may_read_more(here: Room) -> None:
    """The grants are part of the question: the narrow agent's search and its reads are its own, before and after."""
    wide, _ = await here.ask("scout", "search_records", query="roses")
    assert set(wide.records) == {"garden", "secret/plan"}
    narrow, asked = await here.ask("guest", "search_records", query="roses")
    assert narrow.records == ("garden",) and "plan" not in narrow.content and asked[0] == "index.search"
    assert (await here.ask("guest", "search_records", query="roses")) == (narrow, [])
    assert (await here.ask("scout", "search_records", query="roses")) == (wide, [])
    await here.ask("scout", "get_record_body", id="secret/plan")
    denied, _ = await here.ask("guest", "get_record_body", id="secret/plan")
    assert denied.outcome == "denied"


async def test_a_grant_that_is_taken_away_takes_its_answers(here: Room) -> None:
    """The authority is read at each call: nothing that was kept reaches an agent that may not read it any more."""
    assert await here.searched() == SEARCH
    here.notes.agent("scout", "records.read{paths=[garden]}")  # nobody has told of the change yet
    result, asked = await here.ask("scout", "search_records", query="roses")
    assert result.records == ("garden",) and asked
    here.notes.agent("scout")
    assert (await here.ask("scout", "search_records", query="roses"))[0].outcome == "denied"
    here.notes.down.add("store")
    assert (await here.ask("sage", "search_records", query="roses"))[0].outcome == "denied"  # who it is, nobody knows


async def test_a_write_through_the_tools_makes_it_old(here: Room) -> None:
    """A note that an agent wrote is in the next search, whether or not anybody told of it; so is one that it removed."""
    await here.searched()
    await here.ask("scout", "create_record", title="More roses", body="Roses in pots.")
    result, asked = await here.ask("sage", "search_records", query="roses")
    assert asked == SEARCH and "more-roses" in result.records
    await here.ask("sage", "delete_record", id="more-roses")
    assert "more-roses" not in (await here.ask("scout", "search_records", query="roses"))[0].records


async def test_a_write_that_is_refused_makes_it_old_too(here: Room) -> None:
    """Who is told that the note has changed since it was read, and reads it again, gets the note as it is."""
    first, _ = await here.ask("scout", "get_record", id="garden")
    here.notes.write("garden.md", "# Garden\n\nTulips.\n")  # nobody has told of it yet
    revision = json.loads(first.content)["revision"]
    refused, _ = await here.ask("scout", "update_record", id="garden", body="Mine.", revision=revision)
    assert refused.outcome == "error" and "read it again" in refused.content
    assert "Tulips" in (await here.ask("scout", "get_record", id="garden"))[0].content


async def test_what_was_read_while_a_note_changed_is_not_kept(here: Room) -> None:
    """An answer whose question was asked before the change is given once, and asked for again."""
    real = here.monitor.ask

    async def slow(target: str, method: str, /, **params: Any) -> Any:
        answer = await real(target, method, **params)
        if method == "search":
            here.reads.forget()  # the change is told while the answer is on its way
        return answer

    here.monitor.ask = slow
    assert await here.searched() == SEARCH
    here.monitor.ask = real
    assert await here.searched() == SEARCH
    assert await here.searched() == []


async def test_faults_and_denials_are_not_kept(here: Room) -> None:
    """What failed is tried again; so is what was denied."""
    here.notes.down.add("index")
    assert (await here.ask("scout", "search_records", query="roses"))[0].outcome == "error"
    here.notes.down.clear()
    assert (await here.ask("scout", "search_records", query="roses"))[0].outcome == "ok"
    for _ in range(2):
        missing, asked = await here.ask("scout", "get_record", id="nowhere")
        assert missing.outcome == "error" and asked
    assert (await here.ask("guest", "get_record", id="secret/plan"))[0].outcome == "denied"
    assert len(here.reads) == 1


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 5), st.integers(0, 400)),
            st.tuples(st.just("get"), st.integers(0, 5), st.integers(0, 30)),
            st.tuples(st.just("forget"), st.just(0), st.just(0)),
        )
    )
)
def test_it_stays_bounded_and_gives_nothing_old(steps: list[tuple[str, int, int]]) -> None:
    """Whatever is kept and asked in whatever order: the bytes stay below the bound, and an answer is the last one put
    since the last change, younger than its time."""
    reads, now, last = Reads(seconds=60, most=3 * OVERHEAD), 0.0, dict[str, tuple[str, float]]()
    for kind, number, amount in steps:
        key = f"key {number}"
        if kind == "put":
            last[key] = ("x" * amount, now)
            reads.put(key, Output("x" * amount, ""), now, reads.mark)
        elif kind == "forget":
            reads.forget()
            last.clear()
        else:
            now += amount
            found = reads.get(key, now)
            if found is not None:
                text, asked = last[key]
                assert found.content == text and now < asked + 60
        assert 0 <= reads.size <= 3 * OVERHEAD and (reads.size > 0) == (len(reads) > 0)


def test_an_answer_larger_than_everything_is_not_kept() -> None:
    """One huge answer does not push the others out."""
    reads = Reads()
    reads.put("small", Output("x", ""), 0.0, reads.mark)
    reads.put("huge", Output("x" * MAX_BYTES, ""), 0.0, reads.mark)
    assert reads.get("small", 1.0) is not None and reads.get("huge", 1.0) is None


# -- the process `tools` on a real bus


async def _search(s: Stage) -> list[str]:
    """What one search of the agent asked, besides who it is."""
    s.notes.asked.clear()
    params: dict[str, Any] = {
        "room": "default",
        "turn": "t",
        "call": "c",
        "tool": "search_records",
        "input": {"query": "roses"},
    }
    result = await s.processes["agents/scout"].service.peer.call("tools", "run", **params)
    assert result["outcome"] == "ok"
    return s.notes.asked[1:]


async def _until(s: Stage, asked: list[str]) -> None:
    """Search until the search asks this; events come on a socket of their own, and processes come back when they do."""
    async with asyncio.timeout(5):
        while True:
            with contextlib.suppress(PeerDown):
                if await _search(s) == asked:
                    return
            await asyncio.sleep(0.01)  # the tools tell nobody that they have heard; only their next search shows it


async def test_a_change_that_is_told_and_one_that_is_lost_make_it_old() -> None:
    """An event of the store, a bus that begins anew, a store and an index that come back: each makes the tools ask."""
    async with stage() as s:
        s.notes.write("garden.md", "# Garden\n\nRoses.\n")
        s.notes.agent("scout", "records.read")
        await s.agent()
        assert await _search(s) == SEARCH
        await _until(s, [])
        await s.changed("garden", cls="durable", previous="durable")
        await _until(s, SEARCH)
        await _until(s, [])
        await s.bus.restart()
        await _until(s, SEARCH)
        await _until(s, [])
        for name in ("store", "index"):
            methods = {method: s._asking(name, method) for method in ("get", "search", "paths", "list")}
            await s.peers[name].close()
            s.bus.down(name)
            s.peers[name] = await s.bus.peer(name, methods)
            await _until(s, SEARCH)
            await _until(s, [])
