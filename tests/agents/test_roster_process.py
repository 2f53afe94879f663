"""The roster on a real bus: records become processes, processes sit in rooms, and everything is said once."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator
from typing import Any

import pytest

from egghead.agents import musters
from egghead.agents.record import AgentSpec
from egghead.processes import roster as roster_module
from egghead.rooms.log import RoomLog
from ipc import Call, RemoteError
from tests.agents.stage import Process, Root, Stage, stage, until_true


@contextlib.asynccontextmanager
async def rostered() -> AsyncIterator[tuple[Stage, Root, Process]]:
    """A stage with a roster that is ready."""
    async with stage() as s:
        root = Root(s)
        try:
            yield s, root, await root.roster()
        finally:
            await root.close()


async def cards(s: Stage) -> dict[str, dict[str, Any]]:
    found = await s.peers["coordinator"].call("roster", "cards")
    return {card["id"]: card for card in found}


async def card_until(s: Stage, id: str, **fields: Any) -> dict[str, Any]:
    """The agent's card once it has these fields; woken by the cards the roster publishes."""
    events = await s.peers["coordinator"].subscribe("agents/")
    try:
        while True:
            card = (await cards(s)).get(id, {})
            if all(card.get(key) == value for key, value in fields.items()):
                return card
            await asyncio.wait_for(anext(events), 5)
    finally:
        events.close()


async def roster_of(s: Stage, room: str = "default") -> set[str]:
    """Who is in the room by its log."""
    here: set[str] = set()
    for entry in await s.log(room):
        if entry["kind"] == "joined":
            here.add(entry["agent"])
        elif entry["kind"] == "left":
            here.discard(entry["agent"])
    return here


async def test_ready_means_the_agents_run_and_sit_in_the_default_room() -> None:
    """When the roster is ready, built-ins and records run, and those not idle have joined."""
    async with stage() as s:
        s.notes.agent("scout", "records.read", extra="title: The Scout\ntags: [woods]\n")
        root = Root(s)
        await root.roster()
        assert sorted(root.states) == ["index", "judge", "scout"]
        assert await roster_of(s) == {"index", "scout"}
        found = await cards(s)
        assert found["scout"]["title"] == "The Scout" and found["scout"]["tags"] == ["woods"]
        assert found["scout"]["state"] == "running" and found["judge"]["idle"] and found["index"]["quiet"]
        await root.close()


async def test_a_new_record_is_a_new_agent_and_a_deleted_one_is_gone() -> None:
    """Saving a file starts the agent and tells the room; deleting it stops it and tells the room."""
    async with rostered() as (s, root, _):
        s.notes.agent("scout", "records.read")
        await s.changed("agents/scout", "created", previous=None)
        await s.until("joined", agent="scout")
        await card_until(s, "scout", state="running")
        s.notes.notes.trash("agents/scout")
        await s.changed("agents/scout", "trashed", cls="agent")
        await s.until("left", agent="scout")
        await until_true(lambda: "scout" not in root.states)
        assert "scout" not in await cards(s)


async def test_a_change_swaps_the_process_once() -> None:
    """Ten saves close together end with one process of the last content, and a line that says what changed."""
    async with rostered() as (s, root, _):
        s.notes.agent("scout", "records.read")
        await s.changed("agents/scout", "created", previous=None)
        await card_until(s, "scout", state="running")
        for number in range(10):
            s.notes.agent("scout", "records.read", "records.create", extra=f"model: a/m{number}\n")
            await s.changed("agents/scout")
        entry = await s.until("reloaded", agent="scout")
        await card_until(s, "scout", state="running", model="a/m9")
        await until_true(lambda: not root.stage.processes["roster"].service.peer._server._jobs)
        assert "model default → a/m" in entry["text"] and "+records.create" in entry["text"]
        assert root.started.count("scout") == 2
        assert sum(entry["kind"] == "reloaded" for entry in await s.log()) == 1
        about = await s.peers["coordinator"].call("agents/scout", "about")
        assert about["spec"]["model"] == "a/m9"


async def test_ten_saves_in_a_second_are_one_swap() -> None:
    """Saves a tenth of a second apart, as somebody who tries things out makes them, swap the process once."""
    async with rostered() as (s, root, _):
        s.notes.agent("scout", "records.read")
        await s.changed("agents/scout", "created", previous=None)
        await card_until(s, "scout", state="running")
        for number in range(10):
            s.notes.agent("scout", "records.read", extra=f"model: a/m{number}\n")
            await s.changed("agents/scout")
            await asyncio.sleep(0.08)  # the pace is what is tested
        await s.until("reloaded", agent="scout")
        await card_until(s, "scout", state="running", model="a/m9")
        assert root.started.count("scout") == 2
        s.notes.agent("scout", "records.read", extra="model: a/other\n")
        await s.changed("agents/scout")
        s.notes.agent("scout", "records.read", extra="model: a/m9\n")
        await s.changed("agents/scout")
        s.notes.agent("later")
        await s.changed("agents/later", "created", previous=None)
        await s.until("joined", agent="later")
        assert root.started.count("scout") == 2  # saved back as it was


async def test_a_rename_is_one_line() -> None:
    """A new title is told once, as what it became."""
    async with rostered() as (s, _root, _):
        s.notes.agent("scout")
        await s.changed("agents/scout", "created", previous=None)
        await card_until(s, "scout", state="running")
        s.notes.agent("scout", extra="title: Ranger\n")
        await s.changed("agents/scout")
        await s.until("reloaded", agent="scout")
        s.notes.agent("later")
        await s.changed("agents/later", "created", previous=None)
        await s.until("joined", agent="later")
        told = [entry for entry in await s.log() if entry["kind"] == "reloaded"]
        assert [entry.get("text") for entry in told] == ["Scout became Ranger"]


async def test_a_broken_edit_keeps_the_old_agent() -> None:
    """A record that can no longer be read leaves its agent running, says why, and the next good save mends it."""
    async with rostered() as (s, root, _):
        s.notes.agent("scout", extra="model: a/b\n")
        await s.changed("agents/scout", "created", previous=None)
        await card_until(s, "scout", state="running")
        s.notes.write("agents/scout.md", "---\nclass: agent\nmodel: [\n---\nx\n")
        await s.changed("agents/scout", cls="durable")
        events = await s.peers["coordinator"].subscribe("agents/")
        while not (card := (await cards(s))["scout"])["problems"]:
            await asyncio.wait_for(anext(events), 5)
        assert card["model"] == "a/b" and "the record is broken" in card["problems"][0]
        assert root.started.count("scout") == 1
        s.notes.agent("scout", extra="model: a/b\n")
        await s.changed("agents/scout", previous="durable")
        await card_until(s, "scout", problems=[])
        assert root.started.count("scout") == 1


async def test_an_override_comes_and_goes() -> None:
    """A record of a built-in's id takes its place; without it the built-in is back."""
    async with rostered() as (s, _root, _):
        s.notes.agent("index", extra="title: My Index\n")
        await s.changed("agents/index", "created", previous=None)
        await card_until(s, "index", title="My Index", builtin=False, state="running")
        s.notes.notes.trash("agents/index")
        await s.changed("agents/index", "trashed")
        await card_until(s, "index", title="Index", builtin=True, state="running")


async def test_a_roster_that_comes_back_finds_things_as_they_are() -> None:
    """A new roster adopts the running agents, starts nothing twice, and says nothing twice."""
    async with stage() as s:
        s.notes.agent("scout", "records.read")
        root = Root(s)
        await root.roster()
        before = [entry["id"] for entry in await s.log()]
        await s.die("roster")
        s.notes.agent("newer")
        s.notes.agent("scout", "records.read", extra="model: a/b\n")
        await root.roster()
        assert sorted(root.started) == ["index", "judge", "newer", "scout", "scout"]
        after = [entry for entry in await s.log() if entry["id"] not in before]
        assert [(entry["kind"], entry["agent"]) for entry in after if entry["kind"] != "reloaded"] == [
            ("joined", "newer")
        ]
        await root.close()


async def test_rooms_that_come_later() -> None:
    """A room that opens is mustered; in a 1:1 room sits its agent alone; a restarted room hears nothing twice."""
    async with rostered() as (s, _root, _):
        await s.room("garden")
        await s.until("joined", room="garden", agent="index")
        s.notes.agent("scout", extra="title: The Scout\n")
        await s.changed("agents/scout", "created", previous=None)
        await s.until("joined", room="garden", agent="scout")
        await s.room("dm/scout")
        entry = await s.until("reloaded", room="dm/scout", agent="scout")
        assert entry["title"] == "The Scout"
        assert {e["agent"] for e in await s.log("dm/scout")} == {"scout"}
        count = len(await s.log("garden"))
        await s.room_dies("garden")
        await s.room("garden")
        await s.room("later")
        await s.until("joined", room="later", agent="scout")
        assert len(await s.log("garden")) == count


async def test_a_room_whose_disk_was_full_gets_its_agents_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A room that took no entry when it was opened is told who is in it as soon as it can be."""

    def full(self: RoomLog, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(musters, "AGAIN", 0.05)  # three seconds in life
    async with rostered() as (s, _root, _):
        with monkeypatch.context() as disk:
            disk.setattr(RoomLog, "_write_all", full)
            await s.room("plans")
            await asyncio.sleep(0.3)  # time in which nothing can come in
            assert await s.log("plans") == []
        await s.until("joined", room="plans", agent="index")


async def test_the_kicked_stay_out() -> None:
    """Whom a person kicked is not brought back by the next change."""
    async with rostered() as (s, _root, _):
        await s.append("ada", {"kind": "kicked", "agent": "index", "author": "ada"})
        s.notes.agent("scout")
        await s.changed("agents/scout", "created", previous=None)
        await s.until("joined", agent="scout")
        last = [entry for entry in await s.log() if entry.get("agent") == "index"][-1]
        assert last["kind"] == "kicked"


async def test_a_crash_is_one_notice() -> None:
    """A crash is told once with its reason; the agent comes back without a word."""
    async with rostered() as (s, root, _):
        spec = AgentSpec.from_dict((await s.peers["coordinator"].call("agents/index", "about"))["spec"])
        await root.crash("index", "restarting")
        notice = await s.until("notice")
        assert notice["text"] == "Index crashed (signal 9) and is being started again."
        await card_until(s, "index", state="restarting")
        await root.start(spec)
        await card_until(s, "index", state="running")
        assert root.started.count("index") == 2
        assert sum(entry["kind"] == "notice" for entry in await s.log()) == 1


async def test_a_parked_agent_is_told_and_an_edit_revives_it() -> None:
    """Parking is told in the room with its reason and on the card; a new record starts it again."""
    async with rostered() as (s, root, _):
        s.notes.agent("scout")
        await s.changed("agents/scout", "created", previous=None)
        await card_until(s, "scout", state="running")
        await root.crash("scout", "parked")
        parked = await s.until("parked", agent="scout")
        reason = "it crashed too often, last: signal 9; save its record to start it again"
        assert parked["text"] == reason
        assert (await card_until(s, "scout", state="parked"))["parked"] == reason
        await s.append("ada", {"kind": "kicked", "author": "ada", "agent": "scout"})
        await s.append("ada", {"kind": "invited", "author": "ada", "agent": "scout"})
        again = await s.until("parked", agent="scout", after=parked["seq"])
        assert again["text"] == reason
        s.notes.agent("scout", extra="model: a/b\n")
        await s.changed("agents/scout")
        card = await card_until(s, "scout", state="running", model="a/b")
        assert card["parked"] is None


async def test_a_wrong_argument_is_named_and_parks_nobody() -> None:
    """What is no agent's name is the caller's fault, with the name of the argument, and nothing happens."""
    async with rostered() as (s, _, _):
        for method in ("park", "unpark", "restart", "approve"):
            with pytest.raises(RemoteError, match=f"{method}: 'agent' is") as caught:
                await s.peers["coordinator"].call("roster", method, agent={"scout": 1})
            assert caught.value.type == "BadRequest"
        assert (await cards(s))["index"]["state"] == "running"


async def test_one_that_does_not_start_stops_nobody() -> None:
    """An agent that cannot start is on the cards as failed, with the reason; the others run; a new record tries again."""
    async with stage() as s:
        s.notes.agent("scout")
        root = Root(s)
        root.refuse.add("scout")
        await root.roster()
        card = (await cards(s))["scout"]
        assert card["state"] == "failed" and "does not start" in card["reason"]
        assert sorted(root.states) == ["index", "judge"]
        root.refuse.clear()
        s.notes.agent("scout", extra="model: a/b\n")
        await s.changed("agents/scout")
        await card_until(s, "scout", state="running")
        await root.close()


async def test_nonsense_in_every_field_runs_with_defaults() -> None:
    """An agent record full of nonsense is an agent with defaults and a list of problems."""
    async with rostered() as (s, _root, _):
        fields = (
            "quiet: 7\nidle: [x]\nthinking: -1\ntemperature: hot\nmax_tokens: none\nfallback: 3\nmodel: {}\nmodle: x\n"
        )
        s.notes.agent("mad", "records.wipe", extra=fields)
        await s.changed("agents/mad", "created", previous=None)
        card = await card_until(s, "mad", state="running")
        assert len(card["problems"]) == 9 and card["capabilities"] == []
        problems = await s.peers["coordinator"].call("roster", "problems")
        assert problems == {"mad": card["problems"]}


async def test_a_store_that_is_away_is_waited_for() -> None:
    """Changes made while the store restarts are found when it is back."""
    async with rostered() as (s, _root, _):
        get, agents = s._asking("store", "get"), s._asking("store", "agents")
        await s.peers["store"].close()
        s.bus.down("store")
        s.notes.agent("scout")
        s.peers["store"] = await s.bus.peer("store", {"get": get, "agents": agents})
        await s.until("joined", agent="scout")


async def test_the_records_are_read_once_at_the_start() -> None:
    """A roster that begins asks the store for all agents once, and once more for the first change."""
    async with stage() as s:
        asked: list[str] = []
        get, agents = s._asking("store", "get"), s._asking("store", "agents")

        async def counted(call: Call) -> Any:
            asked.append(call.caller)
            return await agents(call)

        await s.peers["store"].close()
        s.peers["store"] = await s.bus.peer("store", {"get": get, "agents": counted})
        root = Root(s)
        await root.roster()
        s.notes.agent("scout")
        await s.changed("agents/scout", "created", previous=None)
        await s.until("joined", agent="scout")
        assert asked == ["roster", "roster"]
        await root.close()


async def test_a_crowd_of_new_agents_is_on_the_cards_when_it_runs() -> None:
    """While many are being started the cards wait; when the last one runs, all are told."""
    async with rostered() as (s, _root, _):
        events = await s.peers["coordinator"].subscribe("agents/")
        count = roster_module.CROWD + 3
        for number in range(count):
            s.notes.agent(f"a{number:02d}")
        await s.changed("agents/a00", "created", previous=None)
        told: list[dict[str, Any]] = []
        while sum(card["id"].startswith("a") and card["state"] == "running" for card in told) < count:
            told = (await asyncio.wait_for(anext(events), 20)).data["cards"]


async def test_cards_are_published_when_they_change() -> None:
    """Who subscribes hears the whole list after a change, and nothing when nothing changed."""
    async with rostered() as (s, _root, _):
        events = await s.peers["coordinator"].subscribe("agents/")
        await s.changed("agents/none", previous=None)
        s.notes.agent("scout")
        await s.changed("agents/scout", "created", previous=None)
        told: list[str] = []
        while "scout" not in told:
            event = await asyncio.wait_for(anext(events), 5)
            assert event.topic == "agents/cards/" and event.by == "roster"
            told = [card["id"] for card in event.data["cards"]]
        assert told == ["index", "judge", "scout"]


def test_the_first_start_fits_the_tree() -> None:
    """The roster says READY before the tree's start timeout."""
    assert roster_module.FIRST_START < 120
