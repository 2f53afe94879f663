"""Handoffs of real agent processes on a real bus, with a real coordinator, room and tools: every step, and every death."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from egghead.agents import trail as trails
from egghead.processes import agent as agent_process
from egghead.processes.tools import ToolsProcess
from ipc import Refused, RemoteError
from tests.agents.handing import (
    WINDOW,
    Events,
    asked,
    deliberations,
    everything,
    is_note,
    last_of,
    of_kind,
    over,
    says,
    says_and_waits,
    scene,
    stop,
)
from tests.agents.stage import Stage, text, use


async def test_ten_in_a_row() -> None:
    """Ten handoffs in a long conversation: no life is lost to the supervisor's count, a fact from the beginning is still
    known by the notes, and the trail of every life stands in the store."""

    def words(request: dict[str, Any]) -> str:
        known = re.search(r"the word is (\w+)", everything(request))
        if is_note(request):
            return f"### Goal\n{known[0] if known else 'nobody knows'}"
        return known[1] if known and "which word" in last_of(request) else "noted"

    async with scene() as s:
        s.model.always = says(words, used=3_500)
        await says_and_waits(s, "@scout the word is gamboge")
        for number in range(10):
            await s.exits_as_planned()
            await s.agent()
            await over(s, number + 1)
            if number < 9:
                s.model.always = says(words, used=10)  # the first exchange of a life is small
                await says_and_waits(s, f"@scout talk {number} " + "x" * 4_000)
                s.model.always = says(words, used=3_500)
                await says_and_waits(s, f"@scout fact {number}")
        s.model.always = says(words)
        assert (await says_and_waits(s, "@scout which word?"))["text"] == "gamboge"
        records = deliberations(s)
        assert len(records) == len(await of_kind(s, "handoff")) == 10
        assert all("the word is gamboge" in record.body.partition("## Trail")[0] for record in records)
        for number in range(9):
            assert [f"talk {number} x" in record.body for record in records].count(True) == 1
        assert "the word is gamboge" not in str(s.model.requests[-1]["messages"]), "it is known by the note"


@pytest.mark.parametrize("step", ["before the note", "between pieces", "before the entry", "before the exit"])
async def test_killed_at_each_step(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a life dies over its handoff, in the end there is one record with all of the trail, and one entry."""
    monkeypatch.setattr(trails, "PIECE", 600)  # several pieces out of few words
    reached, real = asyncio.Event(), ToolsProcess.deliberate

    async def forever() -> Any:
        reached.set()
        await asyncio.Event().wait()

    async def deliberate(self: Any, call: Any, **params: Any) -> Any:
        if step == "between pieces" and params["part"] == 3 and not reached.is_set():
            await forever()
        result = await real(self, call, **params)
        if step == "before the entry" and params["part"] == 1 and not reached.is_set():
            await forever()
        return result

    async def note(request: dict[str, Any]) -> Events:
        if is_note(request) and step == "before the note" and not reached.is_set():
            await forever()
        yield text("### Goal\nFind it." if is_note(request) else "answer")
        yield stop(10)

    monkeypatch.setattr(ToolsProcess, "deliberate", deliberate)  # held at the step in which the life is to end
    async with scene() as s:
        s.model.always = note
        for number in range(4):
            await says_and_waits(s, f"@scout question {number} " + "q" * 500)
        await asked(s)
        if step == "before the exit":
            await s.until("handoff")
        else:
            await reached.wait()
        await s.die("agents/scout")
        await s.agent()
        if step != "before the exit":
            await s.exits_as_planned()
            await s.agent()
        [ended] = await over(s)
        assert ended["outcome"] == "back"
        [handoff] = await of_kind(s, "handoff")
        record = s.notes.notes.get(handoff["record"])
        assert "Find it." in record.body and "extracted" not in record.body
        parts = [one for one in deliberations(s) if one.id.startswith(record.id)]
        whole = "\n".join(part.body for part in parts)
        assert [whole.count(f"question {number} q") for number in range(4)] == [1, 1, 1, 1]
        assert len(parts) > 2 and {f"{record.id}-{n}" for n in range(2, len(parts) + 1)} <= set(record.links)
        assert len(await of_kind(s, "handoff_started")) == (1 if step == "before the exit" else 2)
        await says_and_waits(s, "@scout on we go")
        assert "Find it." in s.model.requests[-1]["system"]


async def test_an_overflow_in_mid_turn() -> None:
    """A turn that does not fit is given again after the handoff; what it has written is not written again, and the new
    life sees that it has."""

    async def model(request: dict[str, Any]) -> Events:
        if is_note(request):
            yield text("### State\nWriting.")
            yield stop(10)
        elif "tool_result" not in str(request["messages"]):
            yield use("create_record", title="New", body="b" * 3_000)
            yield stop(10, "tool_use")
        elif "hand-off note from before" not in request["system"]:
            raise Refused("ContextOverflow", "The conversation is too long for the model.")
        else:
            yield text("It is written.")
            yield stop(10)

    async with scene(context_window=WINDOW) as s:
        s.model.always = model
        await s.say("@scout write it down " + "x" * 6_000)
        await s.exits_as_planned()
        await s.agent()
        message = await s.until("message", by="agents/scout")
        assert message["text"] == "It is written."
        entries = await s.log()
        assert [e["attempt"] for e in entries if e["kind"] == "turn_started"] == [1, 2]
        assert [e["tool"] for e in entries if e["kind"] == "tool_started"] == ["create_record"]
        assert (await of_kind(s, "handoff_started"))[0]["reason"] == "overflow"
        [record] = deliberations(s)
        assert "b" * 3_000 in record.body and "x" * 6_000 in record.body
        assert "b" * 3_000 not in str(s.model.requests[-1]), "what goes on is cut"


async def test_a_window_too_small_for_anything() -> None:
    """When nothing fits, a message costs one handoff at most and is answered in words; nothing spins."""

    async def model(request: dict[str, Any]) -> Events:
        raise Refused("ContextOverflow", "The conversation is too long for the model.")
        yield {}  # what makes it a generator

    async with scene(context_window=1_000) as s:
        s.model.always = model
        for number in range(3):
            await s.say(f"@scout {number} " + "x" * 3_000)
            leaving = asyncio.create_task(s.exits_as_planned())
            ending = asyncio.create_task(s.until("turn_ended", after=len(await s.log())))
            await asyncio.wait({leaving, ending}, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                await s.agent()
            ended = await ending
            leaving.cancel()
            assert ended["outcome"] == "failed" and "larger window" in ended["reason"]
        assert len(await of_kind(s, "handoff")) <= 3
        assert all("extracted by the program" in record.body for record in deliberations(s))


@pytest.mark.parametrize("fault", ["refuses", "says nothing", "passes", "hangs", "never stops"])
async def test_a_model_that_fails_over_the_note(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the note is extracted, says so and why, and the handoff goes on; what has no end is cut."""
    monkeypatch.setattr("egghead.agents.handing.NOTE_TIMEOUT", 0.3)  # a minute and a half in life

    async def model(request: dict[str, Any]) -> Events:
        if not is_note(request):
            yield text("The answer is 42.")
        elif fault == "refuses":
            raise Refused("OutOfCredit", "The account has no credit.")
        elif fault == "passes":
            yield text("/pass")
        elif fault == "hangs":
            await asyncio.Event().wait()
        elif fault == "never stops":
            while True:
                yield text("on and on " * 100)
                await asyncio.sleep(0)  # one turn of the loop, in which it can be stopped
        yield stop(10)

    async with scene() as s:
        s.model.always = model
        await says_and_waits(s, "@scout what is the answer?")
        await asked(s)
        await s.exits_as_planned()
        await s.agent()
        await over(s)
        [record] = deliberations(s)
        note = record.body.partition("## Trail")[0]
        if fault == "never stops":
            assert "on and on" in note and len(note) < 20_000
        else:
            reason = {"refuses": "no credit", "hangs": "more than 0.3 seconds"}.get(fault, "wrote nothing")
            assert "extracted by the program" in note and reason in note and "The answer is 42." in note


async def test_notes_that_do_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the store is away the handoff waits; when it stays away it is given up, said so, and the agent goes on as it
    was; the next one has it all."""
    monkeypatch.setattr(agent_process, "PATIENCE", 0.3)  # a minute in life
    away, asks, real = True, 0, Stage._asking

    def asking(self: Stage, target: str, method: str) -> Any:
        answer = real(self, target, method)

        async def maybe(call: Any, **params: Any) -> Any:
            nonlocal asks
            if away and method in ("create", "get"):
                asks += 1
                raise Refused("ReadOnly", "no space left on the device")
            return await answer(call, **params)

        return maybe

    monkeypatch.setattr(Stage, "_asking", asking)  # the store of the stage never refuses by itself
    async with scene() as s:
        s.model.always = says(lambda request: "### Goal\nWait." if is_note(request) else "answer")
        await says_and_waits(s, "@scout first")
        await asked(s)
        [ended] = await over(s)
        assert ended["outcome"] == "failed" and "no space left" in ended["text"] and asks > 2
        assert (await says_and_waits(s, "@scout second"))["text"] == "answer"
        assert "first" in str(s.model.requests[-1]["messages"]) and not await of_kind(s, "handoff")
        await asked(s)
        await s.until("handoff_started", after=ended["seq"])
        away = False
        await s.exits_as_planned()
        await s.agent()
        assert [one["outcome"] for one in await over(s, 2)] == ["failed", "back"]
        [record] = deliberations(s)
        assert "@scout first" in record.body and "@scout second" in record.body


async def test_a_turn_elsewhere_ends_first_and_the_other_session_is_folded_back() -> None:
    """A handoff in one room waits for the turn in another; that room's session has its tool trail in the next life."""
    async with scene() as s:
        await s.room("other")
        await s.append_joined(room="other")
        s.notes.write("garden.md", "Roses.\n")
        release, began = asyncio.Event(), asyncio.Event()

        async def model(request: dict[str, Any]) -> Events:
            if is_note(request):
                yield text("### Goal\nNote.")
            elif request["room"] == "other" and "tool_result" not in str(request["messages"]):
                yield use("get_record_body", id="garden")
                yield stop(10, "tool_use")
                return
            elif request["room"] == "other" and not release.is_set():
                began.set()
                await release.wait()
                yield text("Roses grow there.")
            else:
                yield text("answer")
            yield stop(10)

        s.model.always = model
        await says_and_waits(s, "@scout hello")
        await s.say("@scout what grows?", room="other")
        await began.wait()
        await asked(s)
        await s.until_note_written()
        assert not await of_kind(s, "handoff")
        release.set()
        await s.until("message", room="other", by="agents/scout")
        await s.exits_as_planned()
        await s.agent()
        await over(s)
        await says_and_waits(s, "@scout and now?", room="other")
        shown = s.model.requests[-1]
        assert "Roses." in str(shown["messages"]) and "### Goal" not in shown["system"]
        assert not [e for e in await s.log("other") if e["kind"].startswith("handoff")]


async def test_a_note_that_a_person_put_right() -> None:
    """What the record says now is what the agent is told; when the record is gone, so is what it said."""
    async with scene() as s:
        s.model.always = says(lambda request: "### Goal\nBuy pears." if is_note(request) else "answer")
        await says_and_waits(s, "@scout plums, please")
        await asked(s)
        await s.exits_as_planned()
        [record] = deliberations(s)
        s.notes.notes.update(record.id, {"body": record.body.replace("pears", "PLUMS")})
        await s.agent()
        await over(s)
        await says_and_waits(s, "@scout what now?")
        assert "Buy PLUMS." in s.model.requests[-1]["system"] and "pears" not in s.model.requests[-1]["system"]
        s.notes.notes.trash(record.id)
        await s.die("agents/scout")
        await s.agent()
        await says_and_waits(s, "@scout and now?")
        assert "PLUMS" not in s.model.requests[-1]["system"]


async def test_only_ones_own_and_only_what_was_begun() -> None:
    """No agent writes a deliberation without a handoff of its own, of this life, and none over another note."""
    async with scene() as s:
        s.model.always = says(lambda request: "### Goal\nx" if is_note(request) else "answer")
        await says_and_waits(s, "@scout hello")
        mine, other = s.processes["agents/scout"].service.peer, await s.bus.peer("agents/mallory")
        params: dict[str, Any] = {"room": "default", "part": 1, "title": "t", "body": "b", "links": []}
        for peer, seq, error in (
            (mine, 1, "no handoff"),
            (mine, 10_000, "no handoff"),
            (mine, 0, "number of an entry"),
        ):
            with pytest.raises(RemoteError, match=error):
                await peer.call("tools", "deliberate", seq=seq, **params)
        hold = asyncio.Event()

        async def slow(request: dict[str, Any]) -> Events:
            await hold.wait()
            yield text("### Goal\nx")
            yield stop(10)

        s.model.always = slow
        await asked(s)
        begun = await s.until("handoff_started")
        with pytest.raises(RemoteError, match=r"is 'scout'"):
            await other.call("tools", "deliberate", seq=begun["seq"], **params)
        for wrong in ({"part": 0}, {"title": ""}, {"body": 5}, {"links": "x"}):
            with pytest.raises(RemoteError, match=r"part is|title is|body is|links is"):
                await mine.call("tools", "deliberate", seq=begun["seq"], **{**params, **wrong})
        assert await other.call("tools", "deliberation", record=begun["record"]) is None
        s.notes.write(f"{begun['record']}.md", "---\nclass: agent\n---\nA person's own.\n")
        hold.set()
        [ended] = await over(s)
        assert ended["outcome"] == "failed" and "refused" in ended["text"]
        assert "A person's own." in s.notes.notes.get(begun["record"]).body
        assert deliberations(s) == []
        await other.close()


async def test_two_rooms_at_once_are_one_exit() -> None:
    """Handoffs in two rooms at the same time are written by one life, which leaves once."""
    async with scene() as s:
        await s.room("other")
        await s.append_joined(room="other")
        s.model.always = says(lambda request: "### Goal\nNote." if is_note(request) else "answer")
        await says_and_waits(s, "@scout hello")
        await says_and_waits(s, "@scout hello", room="other")
        release, both, waiting = asyncio.Event(), asyncio.Event(), []

        async def slow(request: dict[str, Any]) -> Events:
            waiting.append(request["room"])
            if len(waiting) == 2:
                both.set()
            await (release if request["room"] == "other" else both).wait()
            yield text("### Goal\nNote.")
            yield stop(10)

        s.model.always = slow
        for room in ("default", "other"):
            await s.append("ada", {"kind": "handoff_asked", "agent": "scout", "author": "ada"}, room=room)
        await s.until_note_written()
        assert sorted(waiting) == ["default", "other"] and not await of_kind(s, "handoff")
        release.set()
        await s.exits_as_planned()
        await s.agent()
        for room in ("default", "other"):
            assert (await s.until("handoff_ended", room=room))["outcome"] == "back"
        assert len(deliberations(s)) == 2 and sorted(waiting) == ["default", "other"]
        await says_and_waits(s, "@scout on we go")
        assert len({e["incarnation"] for e in await s.log("other") if e["kind"] == "handoff"}) == 1


async def test_given_up_leaves_no_parts_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three lives die with parts of the trail written and no record: the parts go to the trash, but the one that a person
    has changed since, and the next handoff is as any other."""
    monkeypatch.setattr(trails, "PIECE", 600)
    reached, real, hold = asyncio.Event(), ToolsProcess.deliberate, True

    async def deliberate(self: Any, call: Any, **params: Any) -> Any:
        if hold and params["part"] == 1:
            reached.set()
            await asyncio.Event().wait()
        return await real(self, call, **params)

    monkeypatch.setattr(ToolsProcess, "deliberate", deliberate)  # held before the record, when all parts are written
    async with scene() as s:
        s.model.always = says(lambda request: "### Goal\nFind it." if is_note(request) else "answer")
        for number in range(4):
            await says_and_waits(s, f"@scout question {number} " + "q" * 500)
        await asked(s)
        for life in range(3):
            await asyncio.wait_for(reached.wait(), 20)
            reached.clear()
            parts = deliberations(s)
            assert len(parts) > 2
            if life == 2:
                changed = parts[1]
                s.notes.notes.update(changed.id, {"body": changed.body + "\nMine.\n"})
            await s.die("agents/scout")
            await s.agent()
        [ended] = await over(s)
        assert ended["outcome"] == "failed" and "died 3 times" in ended["text"]
        while len(deliberations(s)) > 1:
            await asyncio.sleep(0.01)  # no entry says that parts are gone
        assert [one.id for one in deliberations(s)] == [changed.id] and "Mine." in deliberations(s)[0].body
        assert sorted(s.notes.notes.store.trashed()) == sorted(one.id for one in parts if one.id != changed.id)
        hold = False
        await says_and_waits(s, "@scout and on")
        await asked(s)
        await s.exits_as_planned()
        await s.agent()
        assert [one["outcome"] for one in await over(s, 2)] == ["failed", "back"]
        [handoff] = await of_kind(s, "handoff")
        whole = "\n".join(one.body for one in deliberations(s) if one.id.startswith(handoff["record"]))
        assert [whole.count(f"question {number} q") for number in range(4)] == [1, 1, 1, 1]


async def test_nobody_removes_what_was_not_given_up() -> None:
    """The parts of a handoff that is over or in progress, and of another agent's, stay."""
    async with scene() as s:
        s.model.always = says(lambda request: "### Goal\nx" if is_note(request) else "answer")
        await says_and_waits(s, "@scout hello")
        await asked(s)
        await s.exits_as_planned()
        await s.agent()
        await over(s)
        [begun], [ended] = await of_kind(s, "handoff_started"), await of_kind(s, "handoff_ended")
        mine, other = s.processes["agents/scout"].service.peer, await s.bus.peer("agents/mallory")
        for peer, seqs, error in (
            (mine, (1, ended["seq"]), "no handoff of it was begun"),
            (mine, (begun["seq"], ended["seq"]), "no handoff was given up"),
            (mine, (begun["seq"], begun["seq"]), "no handoff was given up"),
            (other, (begun["seq"], ended["seq"]), "no handoff of it was begun"),
            (mine, (begun["seq"], 0), "number of an entry"),
        ):
            with pytest.raises(RemoteError, match=error):
                await peer.call("tools", "discard", room="default", started=seqs[0], ended=seqs[1])
        assert len(deliberations(s)) == 1
        await other.close()
