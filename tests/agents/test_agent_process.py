"""An agent's process on a real bus, with a real room and the real tools."""

from __future__ import annotations

import asyncio
from typing import Any

from egghead.agents.conversation import UNKNOWN
from ipc import RemoteError
from tests.agents.stage import TURN, Stage, stage, stop, text, until_true, use


async def test_a_turn_from_message_to_answer() -> None:
    """A turn given to this life of the agent is taken: tools in the log, streamed text, one message."""
    async with stage() as s:
        s.notes.write("garden.md", "# Garden\n\nRoses.\n")
        s.notes.agent("scout", "records.read")
        await s.agent()
        s.model.says(use("get_record_body", id="garden"), stop("tool_use"))
        s.model.says(text("Roses, says "), text("[[garden]]."), stop())
        shown = await s.peers["ada"].subscribe("text/default/")
        await s.say("what grows?")
        await s.give()
        message = await s.until("message", turn=TURN)
        assert message["text"] == "Roses, says [[garden]]." and message["author"] == "Scout"
        assert message["usage"]["input"] == 14 and message["usage"]["context"] == 10
        assert await s.kinds() == ["tool_started", "tool_ended", "message"]
        events = [(await anext(shown)).data for _ in range(2)]
        assert [e["text"] for e in events] == ["Roses, says ", "[[garden]]."] and [e["n"] for e in events] == [0, 1]
        first, second = s.model.requests
        assert first["messages"][0]["content"][0]["text"] == "ada: what grows?"
        assert [tool["name"] for tool in first["tools"]][:2] == ["search_records", "get_record"]
        assert second["messages"][-1]["content"][0]["content"] == "# Garden\n\nRoses.\n"
        assert "Room: default." in first["system"]


async def test_a_turn_for_another_life_is_left_alone() -> None:
    """Neither another agent's turn nor one for an earlier life of this one is taken."""
    async with stage() as s:
        s.notes.agent("scout", "records.read")
        await s.agent()
        fields = {"kind": "turn_started", "round": "r0", "attempt": 1, "mode": "open"}
        await s.append("coordinator", {**fields, "turn": "r0.1", "agent": "scout", "incarnation": 1})
        await s.append("coordinator", {**fields, "turn": "r0.2", "agent": "index", "incarnation": 5})
        s.model.says(text("Mine."), stop())
        await s.give()
        await s.until("message", turn=TURN)
        assert len(s.model.requests) == 1


async def test_a_crash_in_mid_turn_and_the_second_attempt() -> None:
    """Killed between a write's start and its end, the agent comes back, is told that the outcome is unknown, runs
    nothing twice, and answers under the same turn."""
    async with stage() as s:
        s.notes.agent("scout", "records.read", "records.create")
        await s.agent()
        running = asyncio.Event()

        async def forever(caller: Any, /, **params: Any) -> Any:
            running.set()
            await asyncio.Event().wait()

        s.processes["tools"].service.peer.expose({"run": forever})
        s.model.says(use("create_record", title="New", body="x"), stop("tool_use"))
        await s.say("write it down")
        await s.give()
        await running.wait()
        await s.die("agents/scout")
        await s.agent()
        s.model.says(text("I do not know whether it was written."), stop())
        await s.give(attempt=2)
        message = await s.until("message", turn=TURN)
        assert message["text"].startswith("I do not know") and "tool_ended" not in await s.kinds()
        last = s.model.requests[-1]["messages"]
        assert last[-2]["content"][0]["name"] == "create_record" and last[-1]["content"][0]["content"] == UNKNOWN


async def test_what_it_had_read_it_still_knows() -> None:
    """After a crash the results of finished calls are in the new process's conversation."""
    async with stage() as s:
        s.notes.write("garden.md", "Roses.\n")
        s.notes.agent("scout", "records.read")
        await s.agent()
        began = asyncio.Event()

        async def forever() -> None:
            began.set()
            await asyncio.Event().wait()

        s.model.says(use("get_record_body", id="garden"), stop("tool_use"))
        s.model.says(text("Half"), forever())
        await s.say("what grows?")
        await s.give()
        await began.wait()
        await s.die("agents/scout")
        await s.agent()
        s.model.says(text("Roses."), stop())
        await s.give(attempt=2)
        await s.until("message", turn=TURN)
        assert s.model.requests[-1]["messages"][-1]["content"][0]["content"] == "Roses.\n"


async def test_halt() -> None:
    """A halt in the room stops the stream and keeps what was said, marked as cut."""
    async with stage() as s:
        s.notes.agent("scout")
        await s.agent()
        began = asyncio.Event()

        async def forever() -> None:
            began.set()
            await asyncio.Event().wait()

        s.model.says(text("Half an ans"), forever())
        await s.give()
        await began.wait()
        await s.append("ada", {"kind": "halted"})
        message = await s.until("message", turn=TURN)
        assert message["cut"] is True and message["text"] == "Half an ans"
        await until_true(lambda: not s.model.open)


async def test_a_halt_that_comes_before_the_turn_began_counts() -> None:
    """A halt between the giving of a turn and its beginning ends it without a model call that anybody hears."""
    async with stage() as s:
        s.notes.agent("scout")
        hold = asyncio.Event()

        async def slow(call: Any, **params: Any) -> Any:
            await hold.wait()
            return {"tools": [], "notes": []}

        s.processes["tools"].service.peer.expose({"menu": slow})
        await s.agent()
        s.model.says(text("Too late."), stop())
        await s.give()
        await s.append("ada", {"kind": "halted"})
        process: Any = next(iter(s.processes["agents/scout"].service.peer._server._methods.values())).__self__
        await until_true(lambda: any(seat.halted for seat in process.seats.values()))
        hold.set()
        action = await s.until("action", turn=TURN)
        assert action["action"] == "failed" and "Stopped" in action["text"]


async def test_a_turn_that_the_coordinator_ends_is_dropped() -> None:
    """When the room ends the turn, the stream is closed and nothing more is written."""
    async with stage() as s:
        s.notes.agent("scout")
        await s.agent()
        began = asyncio.Event()

        async def forever() -> None:
            began.set()
            await asyncio.Event().wait()

        s.model.says(text("Half"), forever())
        await s.give()
        await began.wait()
        await s.append("coordinator", {"kind": "turn_ended", "turn": TURN, "agent": "scout", "outcome": "failed"})
        await until_true(lambda: not s.model.open)
        s.model.says(text("Next."), stop())
        await s.give(turn="r2.1")
        await s.until("message", turn="r2.1")
        assert await s.kinds() == []


async def test_two_rooms_at_once() -> None:
    """A turn in one room does not wait for one in another, and the sessions do not mix."""
    async with stage() as s:
        s.notes.agent("scout")
        await s.agent()
        await s.room("other")
        release = asyncio.Event()
        s.model.says(release.wait(), text("Slow."), stop())
        await s.say("slow one")
        await s.give()
        await until_true(lambda: s.model.requests)
        s.model.says(text("Quick."), stop())
        await s.say("quick one", room="other")
        await s.give(turn="r9.1", room="other")
        assert (await s.until("message", room="other", turn="r9.1"))["text"] == "Quick."
        release.set()
        assert (await s.until("message", turn=TURN))["text"] == "Slow."
        assert "slow one" not in str(s.model.requests[1])


async def test_stopping_finishes_the_turn() -> None:
    """Asked to stop in mid-turn, the process answers first."""
    async with stage() as s:
        s.notes.agent("scout")
        await s.agent()
        release = asyncio.Event()
        s.model.says(text("All "), release.wait(), text("of it."), stop())
        await s.give()
        await until_true(lambda: s.model.requests)
        stopping = asyncio.create_task(s.stop("agents/scout"))
        await asyncio.sleep(0)  # one turn of the loop, in which stopping begins
        release.set()
        await stopping
        assert (await s.until("message", turn=TURN))["text"] == "All of it."


async def test_a_stop_that_cannot_wait_cuts_or_leaves_open() -> None:
    """At the end of its grace a turn that said something is cut and marked; one that said nothing is left open."""
    async with stage() as s:
        for words in ("Half", ""):
            s.notes.agent("scout")
            await s.agent(grace=0.05)
            turn = "r5.1" if words else "r6.1"
            began = asyncio.Event()

            async def forever(began: asyncio.Event = began) -> None:
                began.set()
                await asyncio.Event().wait()

            s.model.says(*([text(words)] if words else []), forever())
            await s.give(turn=turn)
            await began.wait()
            await s.until("turn_started", turn=turn)
            if words:
                await _said(s)
            await s.stop("agents/scout")
            entries = [e for e in await s.log() if e.get("turn") == turn and e["kind"] != "turn_started"]
            assert [e.get("cut") for e in entries] == ([True] if words else [])


async def _said(s: Stage) -> None:
    process = next(iter(s.processes["agents/scout"].service.peer._server._methods.values())).__self__
    await until_true(lambda: any(seat.turn is not None and seat.turn.text for seat in process.seats.values()))


async def test_no_model_fails_in_words() -> None:
    """What the gateway refuses is told in the room as a sentence with its remedy."""
    async with stage() as s:
        s.notes.agent("scout")
        await s.agent()
        await s.give()
        action = await s.until("action", turn=TURN)
        assert action["action"] == "failed" and action["text"] == "No model is configured: run `egghead llm add`."


async def test_without_tools_it_still_answers() -> None:
    """Tools that do not answer are said to be missing; the agent speaks without them."""
    async with stage() as s:
        s.notes.agent("scout", "records.read")
        await s.stop("tools")
        await s.agent()
        s.model.says(text("I cannot look now."), stop())
        await s.give()
        await s.until("message", turn=TURN)
        assert s.model.requests[0]["tools"] == [] and "the tools do not answer" in s.model.requests[0]["system"]


async def test_the_gateway_that_is_not_there_yet_is_waited_for() -> None:
    """A model call made while llm restarts is made again when it is back."""
    async with stage() as s:
        s.notes.agent("scout")
        await s.agent()
        await s.peers["llm"].close()
        s.bus.down("llm")
        s.model.says(text("Back."), stop())
        await s.give()
        s.peers["llm"] = await s.bus.peer("llm", {"complete": s.model.complete})
        assert (await s.until("message", turn=TURN))["text"] == "Back."


async def test_a_room_that_restarts_gets_the_answer() -> None:
    """The answer waits for a room that is away, and is there once."""
    async with stage() as s:
        s.notes.agent("scout")
        await s.agent()
        release = asyncio.Event()
        s.model.says(release.wait(), text("Here."), stop())
        await s.give()
        await until_true(lambda: s.model.requests)
        await s.room_dies("default")
        release.set()
        await asyncio.sleep(0.1)  # time for the answer to find no room
        await s.room("default")
        assert (await s.until("message", turn=TURN))["text"] == "Here."
        assert await s.kinds() == ["message"]


async def test_a_turn_given_while_events_were_lost_is_found() -> None:
    """After a gap the process looks for turns given to it, also in rooms it has not spoken in."""
    async with stage() as s:
        s.notes.agent("scout")
        agent = await s.agent()
        process: Any = next(iter(agent.service.peer._server._methods.values())).__self__
        hear, process._hear = process._hear, lambda event: None  # the event is lost
        s.model.says(text("Found it."), stop())
        await s.give()
        process._hear = hear
        await s.bus.restart()
        for peer in s.bus.peers:
            await peer.wait_connected()
        await s.processes["rooms/default"].service.peer.wait_connected()
        assert (await s.until("message", turn=TURN))["text"] == "Found it."


async def test_a_denial_is_told_in_the_room() -> None:
    """A call without a grant comes back denied, and the room shows code and remedy."""
    async with stage() as s:
        s.notes.agent("scout", "records.read")
        await s.agent()
        s.model.says(use("create_record", title="x", body="y"), stop("tool_use"))
        s.model.says(text("I may not write."), stop())
        await s.give()
        denied = await s.until("denied", agent="scout")
        assert denied["code"] == "capability_absent" and denied["by"] == "tools" and denied["turn"] == TURN
        assert denied["remedy"] == "egghead agents grant scout records.create"
        message = await s.until("message", turn=TURN)
        assert "> did not work: create_record" in message["text"]
        assert await s.kinds() == ["tool_started", "denied", "tool_ended", "message"]


async def test_a_denial_is_told_only_where_the_agent_has_the_turn() -> None:
    """An agent cannot make `tools` write into a room where it has no turn, nor for a turn of another."""
    async with stage() as s:
        s.notes.agent("scout")
        agent = await s.agent()
        await s.room("other")
        await s.agent("index")
        await s.give("index", turn="r7.1")
        for room, turn in (("other", TURN), ("default", "r7.1"), ("default", "made.up"), ("../x", TURN)):
            params = {"room": room, "turn": turn, "call": "c", "tool": "get_record", "input": {"id": "x"}}
            result = await agent.service.peer.call("tools", "run", **params)
            assert result["outcome"] == "denied"
        entries = [*await s.log(), *await s.log("other")]
        assert not any(entry["kind"] == "denied" for entry in entries)


async def test_only_agents_call_tools_and_only_as_themselves() -> None:
    """The caller's name is the bus's word: a client runs nothing, and may ask for an agent's menu by name."""

    async with stage() as s:
        s.notes.agent("scout", "records.read")
        ada = s.peers["ada"]
        params = {"room": "default", "turn": "t", "call": "c", "tool": "get_record", "input": {"id": "x"}}
        for target in ("ada", "coordinator"):
            try:
                await s.peers[target].call("tools", "run", **params)
                raise AssertionError("it was allowed")
            except RemoteError as error:
                assert error.type == "Forbidden"
        menu = await ada.call("tools", "menu", agent="scout")
        assert menu["tools"][0]["name"] == "search_records"


async def test_an_internal_fault_ends_the_turn_in_words() -> None:
    """A bug in the turn is a failed turn with the error's name, not a silent one, and the process lives."""
    async with stage() as s:
        s.notes.agent("scout")
        agent = await s.agent()
        s.model.says({"type": "text"}, stop())
        await s.give()
        action = await s.until("action", turn=TURN)
        assert action["action"] == "failed" and "internal error (KeyError" in action["text"]
        assert agent.failure is None


async def test_about_says_what_it_was_started_with() -> None:
    """A roster that comes later learns the spec from the process itself."""
    async with stage() as s:
        await s.agent(model="a/b")
        about = await s.peers["coordinator"].call("agents/scout", "about")
        assert about["spec"]["model"] == "a/b" and about["busy"] == []
