"""Handing off on the real tree: a full context, a person's wish, an overflow, bad days, and a kill in the middle."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import pytest

from egghead.client.chat import converse
from egghead.client.commands import Desk
from egghead.client.handoff import hand_off
from egghead.errors import ExitCode
from tests.e2e.cast import Play, agent_note, cast
from tests.e2e.node import until
from tests.llm.double import Asked, Double, Gate, Overflow, Reply, Status, Tokens, Use, Wait

MANY = int(os.environ.get("EGGHEAD_HANDOFFS", "3"))  # more than three wait for the supervisor's minute
NOTE = "You are about to begin anew"


def is_note(asked: Asked) -> bool:
    """Whether this request is for a hand-off note."""
    return NOTE in asked.last


def kinds(play: Play, *only: str) -> list[dict[str, Any]]:
    return [entry for entry in play.log() if entry["kind"] in only]


def back(play: Play, count: int = 1, timeout: float = 30.0) -> list[dict[str, Any]]:
    """The entries that say that scout is back, waited for."""
    return until(
        f"{count} handoffs are over",
        lambda: found if len(found := kinds(play, "handoff_ended")) >= count else None,
        timeout,
    )


def scout(base: Path, **keys: Any) -> dict[str, str]:
    """An agent with a small window."""
    (base / "notes").mkdir(exist_ok=True)
    agent_note(base / "notes", "scout", "anthropic/double", **keys)
    return {"scout": "anthropic/double"}


def test_a_full_context_begins_anew_with_its_note(short_dir: Path) -> None:
    """Past the threshold the agent writes note and trail, leaves as planned, is back at once, and knows its note; a
    person's wish does the same, by the command line too."""

    def script(asked: Asked) -> Reply:
        if is_note(asked):
            return "### Goal\nThe key is under the MOSS stone."
        if "where" in asked.last:
            return [("Under the MOSS stone." if "MOSS" in asked.system else "No idea."), Tokens(900, 10)]
        if not asked.results:
            return [Use("create_record", {"title": "Key", "body": "The key is under the moss stone."})]
        return ["Noted in [[key]].", Tokens(7_500, 10)]

    with Double(script) as double, cast(short_dir, double, scout(short_dir, context_window=10_000)) as play:
        pid = play.node.processes()["agents/scout"]["pid"]
        play.say("@scout the key is under the moss stone, write that down")
        [over] = back(play)
        order = [e["kind"] for e in play.log() if e["kind"].startswith("handoff")]
        assert order == ["handoff_asked", "handoff_started", "handoff", "handoff_ended"]
        assert over["outcome"] == "back" and over["text"].startswith("Scout is back")
        [asked] = filter(is_note, double.of("scout"))
        assert "You are Scout" in asked.system and "Answer if that is you" not in asked.system
        [begun] = kinds(play, "handoff_started")
        assert "75 % of its context is used" in begun["text"]
        process = play.node.healed("agents/scout", pid)
        assert process["last_exit"]["planned"]
        record = play.node.home.json("records", "show", over["record"])
        assert record["class"] == "deliberation" and record["author"] == "agents/scout"
        assert record["tags"] == ["deliberation", "agent:scout", "room:default"]
        assert {"key", "chat/default"} <= set(record["links"])
        body = record["body"]
        assert body.index("MOSS stone") < body.index("## Trail") < body.index("#### create_record")
        assert "All about" not in body and '"body": "The key is under the moss stone."' in body and "> Noted in" in body
        [answer] = [e for e in play.say("@scout where is the key?") if e["kind"] == "message" and e.get("turn")]
        assert answer["text"] == "Under the MOSS stone."
        assert "write that down" in str(double.of("scout")[-1].messages) and not double.of("scout")[-1].results
        done = play.node.home.run("agents", "handoff", "scout")
        assert done.returncode == 0 and "is back" in done.stdout, done
        assert len(back(play, 2)) == 2 and double.faults == []
        again = play.node.home.run("agents", "handoff", "scout")
        assert again.returncode == 0 and "nothing to hand off" in again.stderr
        for room, words in (("nowhere", "nowhere"), ("default", "judge")):
            refused = play.node.home.run("agents", "handoff", "judge", "--room", room)
            assert refused.returncode == ExitCode.NOT_FOUND and words in refused.stderr, refused


def test_what_no_note_can_hold_keeps_nobody_from_handing_off(short_dir: Path) -> None:
    """A piece of a program that somebody pasted is in the record with pictures of its control characters; the log keeps it."""
    pasted = "@scout what is this: " + "\0\a\x1b" * 100
    with Double(lambda asked: "A note." if is_note(asked) else "No idea.") as double:
        with cast(short_dir, double, scout(short_dir)) as play:
            assert play.say(pasted)[0]["text"] == pasted
            play.home.ok("chat", "default", "/handoff scout")
            [over] = back(play)
            assert over["outcome"] == "back", over
            assert "@scout what is this: ␀␇\x1b␀␇" in (play.records / f"{over['record']}.md").read_text()


def test_nobody_waits_for_a_handoff_that_cannot_come(short_dir: Path) -> None:
    """While the note is being written scout is sent out of one room and the other is dropped; parked, it is not waited for
    in a third: each is said at once, as how the handoff ended there."""
    gate = Gate()
    with (
        Double(lambda asked: [Wait(gate), "A note."] if is_note(asked) else "Yes.") as double,
        cast(short_dir, double, scout(short_dir)) as play,
    ):

        async def people() -> list[dict[str, Any]]:
            async with await play.connect() as client:
                for room in ("plans", "later"):
                    await client.call("lobby", "open", room=room)
                    async for _ in converse(client, room, "@scout hello", "ada"):
                        pass
                handing = asyncio.create_task(hand_off(client, "scout", ["default", "plans"], "ada"))
                await asyncio.to_thread(gate.reached.wait, 20)
                await Desk(client, "default", "ada").append("kicked", agent="scout")
                await client.call("lobby", "drop", room="plans", timeout=30)
                over = await asyncio.wait_for(handing, 20)
                gate.open()
                await client.call("roster", "park", agent="scout", timeout=30)
                return over + await asyncio.wait_for(hand_off(client, "scout", ["later"], "ada"), 20)

        over = asyncio.run(people())
    assert [(one["room"], one["outcome"]) for one in over] == [
        (room, "failed") for room in ("default", "plans", "later")
    ]
    assert [word in one["text"] for one, word in zip(over, ("no longer", "was dropped", "is parked"), strict=True)] == [
        True
    ] * 3


def test_a_kill_over_the_note_and_an_overflow_without_one(short_dir: Path) -> None:
    """Killed while the model writes the note, scout's next life finishes the same handoff. Sage's conversation does not
    fit in mid-turn and the model cannot write the note: it is extracted, the turn is answered, its write happened once."""
    gate = Gate()

    def script(asked: Asked) -> Reply:
        if asked.agent == "scout":
            if is_note(asked):
                return (
                    ["### Goal\n", Wait(gate), "Find the fern."]
                    if not gate.reached.is_set()
                    else "### Goal\nFind the fern."
                )
            return "Looking."
        if is_note(asked):
            return [Status(400)]
        if not asked.results:
            return [Use("create_record", {"title": "Report", "body": "r" * 3_000})]
        return [Overflow()] if "hand-off note from before" not in asked.system else "The report is written."

    agents = {**scout(short_dir), "sage": "anthropic/double"}
    agent_note(short_dir / "notes", "sage", "anthropic/double", context_window=8_000)
    with Double(script) as double, cast(short_dir, double, agents) as play:
        play.say("@scout find the fern")
        assert "asked" in play.node.home.ok("chat", "default", "/handoff scout")
        assert gate.reached.wait(20)
        pid = play.node.kill("agents/scout")
        play.node.healed("agents/scout", pid)
        play.node.kill("store")  # the record is written once it is back
        gate.open()
        [over] = back(play)
        assert [e["attempt"] for e in kinds(play, "handoff_started")] == [1, 2] and over["outcome"] == "back"
        assert len(kinds(play, "handoff")) == 1
        record = play.node.home.json("records", "show", over["record"])
        assert "Find the fern." in record["body"] and "> @scout find the fern" in record["body"]
        entries = play.say("@sage write the report " + "x" * 20_000)
        [answer] = [e for e in entries if e["kind"] == "message" and e.get("turn")]
        assert answer["text"] == "The report is written."
        assert [e["attempt"] for e in entries if e["kind"] == "turn_started"] == [1, 2]
        assert [e["tool"] for e in entries if e["kind"] == "tool_started"] == ["create_record"]
        assert [p.name for p in play.records.glob("report*.md")] == ["report.md"]
        [_, extracted] = back(play, 2)
        body = play.node.home.json("records", "show", extracted["record"])["body"]
        assert "extracted by the program" in body and "r" * 3_000 in body and "x" * 20_000 in body


@pytest.mark.timeout(120 + 40 * MANY)
def test_several_in_a_row(short_dir: Path) -> None:
    """As many handoffs as are asked for: nobody is parked, the first fact is known at the end, and each trail is there."""

    def script(asked: Asked) -> Reply:
        shown = asked.system + str(asked.messages)
        known = re.search(r"the word is (\w+)", shown)
        if is_note(asked):
            return f"### Goal\n{known[0] if known else 'nobody knows'}"
        if "which word" in asked.last:
            return known[1] if known else "nobody knows"
        return ["Noted.", Tokens(900 if "talk" in asked.last else 7_500, 10)]

    with Double(script) as double, cast(short_dir, double, scout(short_dir, context_window=10_000)) as play:
        play.say("@scout the word is gamboge")
        for number in range(1, MANY + 1):
            back(play, number, timeout=90)
            play.say(f"@scout talk {number} " + "x" * 3_000)
            if number < MANY:
                play.say(f"@scout fact {number}")
        [answer] = [e for e in play.say("@scout which word?") if e["kind"] == "message" and e.get("turn")]
        assert answer["text"] == "gamboge"
        assert "gamboge" not in str(double.of("scout")[-1].messages) or MANY < 3
        process = play.node.processes()["agents/scout"]
        assert process["state"] == "running" and process["last_exit"]["planned"]
        records = [play.node.home.json("records", "show", e["record"])["body"] for e in kinds(play, "handoff")]
        assert len(records) == MANY and all("the word is gamboge" in body.partition("## Trail")[0] for body in records)
        for number in range(1, MANY):
            assert sum(f"> @scout talk {number} x" in body for body in records) == 1
        assert not kinds(play, "parked") and double.faults == []


@pytest.mark.parametrize("agent", ["x" * 190, "k8s:ops", "v1.tmp", "people/dr."], ids=["long", "colon", "tmp", "dot"])
def test_every_agent_that_may_run_may_hand_off(short_dir: Path, agent: str) -> None:
    """Also one whose name no new note could have, or whose name is as long as it may be; its note is read by its next life."""
    (short_dir / "notes").mkdir()
    agent_note(short_dir / "notes", agent, "anthropic/double")

    def script(asked: Asked) -> Reply:
        return "The MOSS stone." if is_note(asked) else ("I know." if "MOSS" in asked.system else "Noted.")

    with Double(script) as double, cast(short_dir, double, {agent: "anthropic/double"}) as play:
        assert play.home.ok("prompt", agent, "it is under the moss stone") == "Noted.\n"
        over = play.home.json("agents", "handoff", agent, "--timeout", "30")
        assert [entry["outcome"] for entry in over] == ["back"], over
        assert play.home.json("records", "show", over[0]["record"])["author"] == f"agents/{agent}"
        assert play.home.ok("prompt", agent, "where is it?") == "I know.\n"
