"""Rooms, lobby and coordinator as processes on a real bus: restarts, order, refusals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import Any

import pytest

from egghead.client.follow import RoomReplaced, append_reliably, follow
from ipc import RemoteError
from tests.rooms.model import check_log
from tests.rooms.stage import Agent, everything, message, stage, until

JOIN = {"kind": "joined", "agent": "scout", "title": "Scout"}


async def test_an_append_is_stamped_by_the_room_and_published() -> None:
    """The room stamps seq, at and by from the bus, and publishes what it has stored."""
    async with stage() as s:
        await s.start("rooms/default", "room", room="default")
        ada = await s.bus.client("ada")
        events = await ada.subscribe("log/default/")
        stored = await ada.call("rooms/default", "append", entries=[message("hello")])
        event = await asyncio.wait_for(anext(events), 5)
        assert event.data == stored["entries"][0]
        assert event.data["by"].startswith("clients/ada-")
        assert event.data["seq"] == stored["last"] == 1


async def test_refusals_arrive_with_a_type_and_a_remedy() -> None:
    """A wrong kind, a foreign role, a stale expect and a closed turn are told apart by the type of the error."""
    async with stage() as s:
        await s.start("rooms/default", "room", room="default")
        ada = await s.bus.client("ada")
        scout = await s.bus.peer("agents/scout")

        async def refused(peer: Any, entry: dict[str, Any], **more: Any) -> RemoteError:
            with pytest.raises(RemoteError) as caught:
                await peer.call("rooms/default", "append", entries=[entry], **more)
            return caught.value

        assert "did you mean 'message'" in (await refused(ada, {"kind": "mesage"})).message
        assert (await refused(ada, {"kind": "round_ended", "round": "r"})).type == "BadEntry"
        assert (await refused(scout, {"kind": "action", "turn": "t", "action": "passed"})).type == "TurnClosed"
        conflict = await refused(ada, message("x"), expect=7)
        assert (conflict.type, conflict.data["last"]) == ("Conflict", 0)


async def test_only_the_author_reads_private_fields() -> None:
    """Tool inputs and results are given back to their agent and to nobody else."""
    async with stage() as s:
        await s.start("rooms/default", "room", room="default")
        scout = await s.bus.peer("agents/scout")
        coordinator = await s.bus.peer("coordinator")
        ada = await s.bus.client("ada")
        events = await ada.subscribe("log/default/")
        turn = {"turn": "r1.1", "attempt": 1}
        started = {"kind": "turn_started", "round": "r1", "agent": "scout", "incarnation": scout.incarnation}
        await coordinator.call("rooms/default", "append", entries=[{**started, **turn, "mode": "open"}])
        tool = {"kind": "tool_started", **turn, "call": "c", "tool": "t", "read_only": True, "summary": "s"}
        await scout.call("rooms/default", "append", entries=[{**tool, "input": {"secret": 1}}])
        mine = await scout.call("rooms/default", "since", seq=1)
        theirs = await ada.call("rooms/default", "since", seq=1)
        assert mine["entries"][0]["input"] == {"secret": 1}
        assert "input" not in theirs["entries"][0]
        await anext(events)
        assert "input" not in (await anext(events)).data


async def test_follow_sees_each_entry_once_over_restarts_of_room_and_bus() -> None:
    """A follower gets every entry once and in order although room and bus are killed while others write."""
    async with stage() as s:
        await s.start("rooms/default", "room", room="default")
        reader = await s.bus.client("reader")
        writers = [await s.bus.client(f"w{n}") for n in range(3)]
        seen: list[dict[str, Any]] = []

        async def read() -> None:
            async for entry in follow(reader, "default"):
                seen.append(entry)
                if len(seen) == 90:
                    return

        async def write(number: int) -> None:
            for n in range(30):
                await append_reliably(writers[number], "default", [message(f"{number}.{n}")], 30)

        async def disturb() -> None:
            for turn in range(4):
                await asyncio.sleep(0.15)  # the rate of the faults
                if turn % 2:
                    await s.bus.restart()
                else:
                    await s.kill("rooms/default")
                    await s.again("rooms/default")

        async with asyncio.timeout(50):
            await asyncio.gather(read(), disturb(), *(write(n) for n in range(3)))
        assert [entry["seq"] for entry in seen] == list(range(1, 91))
        for number in range(3):
            mine = [entry["text"] for entry in seen if entry["text"].startswith(f"{number}.")]
            assert mine == [f"{number}.{n}" for n in range(30)]


async def test_a_room_whose_file_was_cut_ends_and_its_callers_wait_for_the_next() -> None:
    """Somebody truncates the log of a running room in the middle of a line: no append is acknowledged into the ruin, the
    process ends at once, and its callers get what they asked for from its successor."""
    async with stage() as s:
        room = await s.start("rooms/default", "room", room="default")
        ada = await s.bus.client("ada")
        for n in range(3):
            await ada.call("rooms/default", "append", entries=[message(f"{n}")])
        path = next(s.records.glob(".egghead/rooms/default.jsonl"))
        os.truncate(path, path.stat().st_size - 9)
        asked = asyncio.create_task(append_reliably(ada, "default", [message("after")], 30))
        assert await asyncio.to_thread(room.process.wait, 10) == 1
        await s.kill("rooms/default")
        await s.again("rooms/default")
        await asked
        assert [entry["text"] for entry in await everything(s)] == ["0", "1", "after"]
        assert "somebody" in s.stderr() and "Traceback" not in s.stderr()


async def test_follow_says_that_a_room_was_replaced() -> None:
    """A room that was dropped and opened again under its name is not mistaken for the old one."""
    async with stage() as s:
        await s.store()
        await s.start("lobby", "lobby")
        ada = await s.bus.client("ada")
        await ada.call("lobby", "open", room="plans")
        await append_reliably(ada, "plans", [message("one"), message("two")])
        entries = follow(ada, "plans")
        assert (await anext(entries))["text"] == "one"
        await ada.call("lobby", "drop", room="plans", save=False)
        await ada.call("lobby", "open", room="plans")
        await append_reliably(ada, "plans", [message("new")])
        with pytest.raises(RoomReplaced):
            async with asyncio.timeout(10):
                async for _ in entries:
                    pass


async def test_a_message_is_answered_and_the_round_ends() -> None:
    """A mention becomes a planned round, a turn, an answer and an end, in this order."""
    async with stage() as s:
        await s.start("rooms/default", "room", room="default")
        await s.start("lobby", "lobby")
        await s.start("coordinator", "coordinator")
        roster = await s.bus.peer("roster")
        await append_reliably(roster, "default", [JOIN])
        await Agent(s, "scout", lambda turn: "here").start()
        ada = await s.bus.client("ada")
        [posted] = await append_reliably(ada, "default", [message("@scout where?")])
        async with asyncio.timeout(10):
            entries = await until(follow(ada, "default", posted["seq"]), "round_ended")
        assert [entry["kind"] for entry in entries] == [
            "round_planned",
            "turn_started",
            "message",
            "turn_ended",
            "round_ended",
        ]
        assert entries[0]["message"] == posted["id"]
        assert entries[3]["outcome"] == "spoke"


async def test_an_agent_that_dies_in_its_turn_gets_it_once_more() -> None:
    """The turn of a dead agent is given again to its next life, as attempt 2, and answered once."""
    async with stage() as s:
        await s.start("rooms/default", "room", room="default")
        await s.start("lobby", "lobby")
        await s.start("coordinator", "coordinator")
        roster = await s.bus.peer("roster")
        await append_reliably(roster, "default", [JOIN])
        scout = await Agent(s, "scout", lambda turn: f"attempt {turn['attempt']}").start()
        reached = asyncio.Event()

        async def hang(turn: dict[str, Any]) -> None:
            reached.set()
            await asyncio.Event().wait()

        scout.before_answer = hang
        ada = await s.bus.client("ada")
        await append_reliably(ada, "default", [message("@scout?")])
        async with asyncio.timeout(20):
            await reached.wait()
            await scout.die()
            scout.before_answer = None
            await scout.start()
            entries = await until(follow(ada, "default"), "round_ended")
        assert [entry["text"] for entry in entries if entry["kind"] == "message"][1:] == ["attempt 2"]
        check_log(entries)


async def test_a_coordinator_killed_in_a_round_goes_on_where_it_was() -> None:
    """Killing the coordinator again and again while a room talks loses, doubles and reorders nothing."""
    async with stage() as s:
        await s.start("rooms/default", "room", room="default")
        await s.start("lobby", "lobby")
        await s.start("coordinator", "coordinator")
        roster = await s.bus.peer("roster")
        await append_reliably(roster, "default", [JOIN, {**JOIN, "agent": "bob", "title": "Bob"}])
        for name in ("scout", "bob"):
            agent = Agent(s, name, lambda turn: "yes")
            agent.before_answer = lambda turn: asyncio.sleep(0.05)  # a model takes its time
            await agent.start()
        ada = await s.bus.client("ada")

        async def kill() -> None:
            while True:
                await asyncio.sleep(0.2)  # the rate of the faults
                await s.kill("coordinator")
                await s.again("coordinator")

        killer = asyncio.create_task(kill())
        try:
            async with asyncio.timeout(50):
                for n in range(6):
                    [posted] = await append_reliably(ada, "default", [message(f"@everyone {n}")])
                    planned = await until(follow(ada, "default", posted["seq"]), "round_planned", message=posted["id"])
                    await until(follow(ada, "default", posted["seq"]), "round_ended", round=planned[-1]["round"])
        finally:
            killer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await killer
        log = await everything(s)
        check_log(log)
        assert sum(entry["kind"] == "message" and entry["by"].startswith("agents/") for entry in log) == 12


async def test_the_lobby_reopens_live_rooms_and_one_bad_room_stops_nobody() -> None:
    """After a restart every room on disk lives again; a room that does not start is reported and the others run."""
    async with stage({"default_room": "hall"}) as s:
        await s.store()
        await s.start("lobby", "lobby")
        ada = await s.bus.client("ada")
        await ada.call("lobby", "open", room="plans")
        await ada.call("lobby", "open", room="dm/scout")
        await append_reliably(ada, "plans", [message("keep me")])
        for name in ("lobby", "rooms/plans", "rooms/hall", "rooms/dm/scout"):
            await s.kill(name)
        s.refuse = {"dm/scout"}
        await s.start("lobby", "lobby")
        listed = {room["room"]: room for room in await ada.call("lobby", "list")}
        assert listed.keys() == {"hall", "plans", "dm/scout"}
        assert listed["plans"]["last"] == 1
        assert "refused by the test" in listed["dm/scout"]["error"]


async def test_a_room_shows_the_budget_that_is_configured() -> None:
    """What `/budget` says is what the coordinator goes by."""
    async with stage({"budget": 2}) as s:
        await s.store()
        await s.start("lobby", "lobby")
        ada = await s.bus.client("ada")
        await ada.call("lobby", "open", room="plans")
        shown = await ada.call("lobby", "show", room="plans")
        assert shown["budget"] == {"limit": 2, "free": 2, "paused": False}


async def test_opening_a_parked_room_starts_it_again() -> None:
    """A room that crashed too often is tried again by whoever opens it: the reason may have been mended."""
    async with stage() as s:
        await s.store()
        await s.start("lobby", "lobby")
        ada = await s.bus.client("ada")
        await ada.call("lobby", "open", room="plans")
        await s.kill("rooms/plans")
        s.parked = {"plans"}
        assert (await ada.call("lobby", "open", room="plans"))["opened"] is True
        [said] = await append_reliably(ada, "plans", [message("back")])
        assert said["text"] == "back"


async def test_the_lobby_refuses_what_cannot_be_a_room() -> None:
    """Bad names, unknown rooms and dropping the default room are refused with what to do instead."""
    async with stage() as s:
        await s.start("lobby", "lobby")
        ada = await s.bus.client("ada")
        for method, room, kind in (
            ("open", "../etc", "BadRoomName"),
            ("open", "x" * 65, "BadRoomName"),
            ("show", "defualt", "NoSuchRoom"),
            ("drop", "default", "DefaultRoom"),
        ):
            with pytest.raises(RemoteError) as caught:
                await ada.call("lobby", method, room=room)
            assert caught.value.type == kind
        with pytest.raises(RemoteError, match="did you mean 'default'"):
            await ada.call("lobby", "show", room="defualt")


async def test_show_folds_the_room_and_notices_a_new_log_under_the_name() -> None:
    """The lobby shows members, topic and budget as the log says, also after the room was dropped and opened again."""
    async with stage() as s:
        await s.store()
        await s.start("lobby", "lobby")
        ada = await s.bus.client("ada")
        roster = await s.bus.peer("roster")
        await ada.call("lobby", "open", room="plans")
        await append_reliably(roster, "plans", [JOIN])
        await append_reliably(ada, "plans", [{"kind": "topic", "text": "roses", "author": "ada"}])
        for _ in range(2):
            shown = await ada.call("lobby", "show", room="plans")
            assert ([one["agent"] for one in shown["members"]], shown["topic"]) == (["scout"], "roses")
        await ada.call("lobby", "drop", room="plans", save=False)
        await ada.call("lobby", "open", room="plans")
        await append_reliably(ada, "plans", [{"kind": "budget_set", "budget": 3} for _ in range(4)])
        shown = await ada.call("lobby", "show", room="plans")
        assert (shown["members"], shown["topic"], shown["budget"]["limit"]) == ([], "", 3)


async def test_a_new_log_that_begins_like_the_old_one_is_another() -> None:
    """The roster lets the same agents into every new log, under ids made from what it says: a reader tells the logs apart
    all the same, also when the new one is as long as the old one was."""
    async with stage() as s:
        await s.store()
        await s.start("lobby", "lobby")
        ada, roster = await s.bus.client("ada"), await s.bus.peer("roster")
        await ada.call("lobby", "open", room="plans")
        await append_reliably(roster, "plans", [{**JOIN, "id": "joined.0"}])
        await append_reliably(ada, "plans", [message("one")])
        entries = follow(ada, "plans")
        assert [(await anext(entries))["kind"] for _ in range(2)] == ["joined", "message"]
        assert (await ada.call("lobby", "show", room="plans"))["quiet"] is False
        await ada.call("lobby", "drop", room="plans", save=False)
        await ada.call("lobby", "open", room="plans")
        await append_reliably(roster, "plans", [{**JOIN, "id": "joined.0"}])
        await append_reliably(ada, "plans", [{"kind": "topic", "text": text} for text in ("lilies", "roses")])
        with pytest.raises(RoomReplaced):
            async with asyncio.timeout(10):
                async for entry in entries:
                    assert entry["kind"] == "halted"  # by the drop, in the old one
        shown = await ada.call("lobby", "show", room="plans")
        assert (shown["quiet"], shown["topic"]) == (True, "roses")


async def test_a_long_log_is_read_once_for_all_who_ask() -> None:
    """Commands that come at once, right after a start, share one reading of the log; and who gave up before its end leaves
    what was read to the next one."""
    async with stage() as s:
        asked: list[int] = []
        reached = [asyncio.Event(), asyncio.Event()]
        go = asyncio.Event()

        async def since(call: Any, seq: int, limit: int) -> dict[str, Any]:
            asked.append(seq)
            if seq == 4 or len(asked) > 3:
                reached[len(asked) > 3].set()
                await go.wait()
            entries = [
                {
                    "seq": n,
                    "id": f"e{n}",
                    "at": "",
                    "by": "clients/ada-1",
                    "kind": "topic",
                    "text": str(n),
                    "author": "ada",
                }
                for n in range(seq + 1, min(seq + 2, 8) + 1)
            ]
            return {"entries": entries, "last": 8, "more": seq < 6, "first": "e1 "}

        async def info(call: Any) -> dict[str, Any]:
            return {"last": 8, "entries": 8, "bytes": 1, "opened_at": "", "first": "e1 "}

        await s.start("lobby", "lobby")
        (s.records / ".egghead" / "rooms" / "plans.jsonl").touch()
        await s.bus.peer("rooms/plans", expose={"since": since, "info": info})
        ada = await s.bus.client("ada")
        hasty = asyncio.create_task(ada.call("lobby", "show", room="plans"))
        await reached[0].wait()
        hasty.cancel()
        shown = [asyncio.create_task(ada.call("lobby", "show", room="plans")) for _ in range(5)]
        await reached[1].wait()  # the one who gave up is gone, and one of the five has taken over
        go.set()
        assert [(await one)["topic"] for one in shown] == ["8"] * 5
        assert asked == [0, 2, 4, 4, 6, *[8] * 4]


async def test_an_ephemeral_room_closes_when_nobody_uses_it() -> None:
    """Ten minutes without an entry: it is saved and goes, unless somebody is still thinking in it. So it is after a restart."""
    async with stage() as s:
        kept = await s.store()
        await s.start("lobby", "lobby")
        ada, coordinator = await s.bus.client("ada"), await s.bus.peer("coordinator")
        for room in ("a-busy", "b-idle", "c-kept"):
            await ada.call("lobby", "open", room=room, ephemeral=room != "c-kept")
            [asked] = await append_reliably(ada, room, [message("well?")])
            plan = {"kind": "round_planned", "round": "r", "message": asked["id"], "mode": "open", "scores": {}}
            turn = {"kind": "turn_started", "turn": "r.1", "round": "r", "agent": "scout", "attempt": 1, "mode": "open"}
            if room == "a-busy":
                await append_reliably(coordinator, room, [{**plan, "order": ["scout"]}, {**turn, "incarnation": 1}])
            else:
                await append_reliably(coordinator, room, [{**plan, "order": []}, {"kind": "round_ended", "round": "r"}])
            log = s.records / ".egghead" / "rooms" / f"{room}.jsonl"
            os.utime(log, (time.time() - 700, time.time() - 700))
        dropped = await ada.subscribe("lobby/dropped/")
        await s.kill("lobby")
        await s.again("lobby")
        event = await asyncio.wait_for(anext(dropped), 20)
        assert event.data == {"room": "b-idle"} and list(kept) == ["chat/b-idle"]
        assert [one["room"] for one in await ada.call("lobby", "list")] == ["a-busy", "c-kept", "default"]


async def test_a_room_stops_in_order_and_leaves_nothing_unanswered() -> None:
    """Asked to stop, room, lobby and coordinator end with exit code 0 and no traceback."""
    async with stage() as s:
        await s.start("lobby", "lobby")
        await s.start("coordinator", "coordinator")
        ada = await s.bus.client("ada")
        await append_reliably(ada, "default", [message("x")])
        for name in ("coordinator", "lobby", "rooms/default"):
            assert await s.stop(name) == 0
        assert "Traceback" not in s.stderr()


async def test_a_room_that_is_back_tells_its_last_entry_again() -> None:
    """A life that died between writing and publishing leaves no hole in the numbers: its successor repeats the last
    entry, and one who had missed it reads on, while one who had it sees nothing twice."""
    async with stage() as s:
        await s.start("rooms/default", "room", room="default")
        ada = await s.bus.client("ada")
        await ada.call("rooms/default", "append", entries=[message("one"), message("two")])
        await s.kill("rooms/default")
        # As if nobody had ever been told of the entries: this reader comes between the two lives.
        events = await ada.subscribe("log/default/")
        await s.again("rooms/default")
        event = await asyncio.wait_for(anext(events), 10)
        assert (event.data["seq"], event.data["text"]) == (2, "two")
        follower = follow(ada, "default", since=0)
        seen = [(await asyncio.wait_for(anext(follower), 10))["seq"] for _ in range(2)]
        await s.kill("rooms/default")
        await s.again("rooms/default")
        await ada.call("rooms/default", "append", entries=[message("three")], timeout=10)
        seen.append((await asyncio.wait_for(anext(follower), 10))["seq"])
        assert seen == [1, 2, 3]
        await follower.aclose()
