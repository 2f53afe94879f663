"""Handoffs as the coordinator decides them: when one begins, for which life, and when it is over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from egghead.processes.coordinator import WorldView
from egghead.rooms.activation import Policy
from egghead.rooms.decide import MAX_HANDOFFS, Absent, Decision, Parked, Present
from egghead.rooms.entries import EntryError, for_reader, validate
from egghead.rooms.names import deliberation_id
from tests.rooms.test_decide import Room, kinds, started

ASK: dict[str, Any] = {"kind": "handoff_asked", "agent": "scout", "author": "ada"}
AT = "2026-11-22T19:25:00.123Z"
RECORD = "deliberations/scout/lab/2026-11-22T19-25-00-123Z"


def asked(presence: Any = Present(5)) -> Room:  # noqa: B008 (frozen)
    """A room in which Ada has asked for scout's handoff."""
    room = Room(presence)
    room.put(**{**ASK, "at": AT})
    return room


def done(room: Room, life: int) -> None:
    """What the agent appends when its record is complete."""
    room.put(kind="handoff", record=room.state.handoffs["scout"].record, incarnation=life, by="agents/scout")


def test_asked_begun_done_and_back() -> None:
    """A handoff is given to the life that is there, once; when the next one is up, it is said to be back, once."""
    room = asked()
    begun = room.act().entries[0]
    assert (begun["kind"], begun["incarnation"], begun["attempt"], begun["record"]) == ("handoff_started", 5, 1, RECORD)
    assert room.act() == Decision()
    done(room, 5)
    assert room.act() == Decision()
    room.be(Absent(0.0))
    assert room.act() == Decision()
    room.be(Present(6))
    over = room.act().entries[0]
    assert (over["kind"], over["outcome"], over["record"]) == ("handoff_ended", "back", RECORD)
    assert not room.state.handoffs and room.act() == Decision()


def test_it_waits_for_the_turn_and_new_turns_wait_for_it() -> None:
    """A running turn ends first; a turn that comes while the note is written is given to the next life."""
    room = started()
    room.put(**{**ASK, "at": AT})
    assert room.act() == Decision()
    turn = next(iter(room.state.turns))
    room.put(kind="message", turn=turn, author="Scout", text="so", usage={}, by="agents/scout")
    assert kinds(room.act()) == ["turn_ended:spoke", "handoff_started", "round_ended"]
    room.say()
    assert kinds(room.act()) == ["round_planned"]
    done(room, 5)
    room.be(Present(6))
    assert kinds(room.act()) == ["handoff_ended", "turn_started:1"]


def test_a_life_that_dies_over_it_is_followed_by_another_try() -> None:
    """The next life is given the same handoff and the same record; after three dead ones it is given up, and said so."""
    room = asked()
    for life in range(5, 5 + MAX_HANDOFFS):
        room.be(Present(life))
        [begun] = room.act().entries
        assert (begun["attempt"], begun["record"]) == (life - 4, RECORD)
        room.be(Absent(0.0))
        assert room.act() == Decision()
    room.be(Present(9))
    [over] = room.act().entries
    assert over["outcome"] == "failed" and "3 times" in over["text"]


def test_an_overflow_gives_the_turn_again_after_the_handoff() -> None:
    """A turn that did not fit stays open through the handoff and is given to the life after it, not before."""
    room = started()
    turn = next(iter(room.state.turns))
    room.put(kind="handoff_asked", reason="overflow", turn=turn, by="agents/scout", at=AT)
    assert kinds(room.act()) == ["handoff_started"]
    room.be(Present(6))  # it died before it was done
    [begun] = room.act().entries
    assert (begun["kind"], begun["incarnation"]) == ("handoff_started", 6)
    done(room, 6)
    room.be(Present(7))
    assert kinds(room.act()) == ["handoff_ended", "turn_started:2"]
    assert room.state.turns[turn].incarnation == 7


def test_an_overflow_takes_over_a_handoff_that_waits_for_its_turn() -> None:
    """A person asked in mid-turn, then the turn overflows: there is one handoff, and it does not wait for the turn."""
    room = started()
    room.put(**{**ASK, "at": AT})
    turn = next(iter(room.state.turns))
    room.put(kind="handoff_asked", reason="overflow", turn=turn, by="agents/scout", at=AT)
    [begun] = room.act().entries
    assert begun["kind"] == "handoff_started" and begun["reason"] == "overflow"


def test_asked_twice_is_asked_once() -> None:
    """Until it is over, another request changes nothing."""
    room = asked()
    room.put(**{**ASK, "at": AT})
    assert len(room.act().entries) == 1
    room.put(**{**ASK, "at": AT})
    assert room.act() == Decision()
    done(room, 5)
    room.put(**{**ASK, "at": AT})
    room.be(Present(6))
    assert kinds(room.act()) == ["handoff_ended"] and not room.state.handoffs


def test_the_agent_may_say_that_it_could_not() -> None:
    """A handoff that failed is over: the same life gets turns again."""
    room = asked()
    room.act()
    room.put(kind="handoff_ended", outcome="failed", text="the notes cannot be written", by="agents/scout")
    room.say()
    assert kinds(room.act()) == ["round_planned", "turn_started:1"]


@pytest.mark.parametrize("presence", [None, Absent(0.0), Parked("it crashed")])
def test_an_agent_that_is_away_does_it_when_it_is_back(presence: Any) -> None:
    """Nothing is begun for nobody; the request stays."""
    room = asked(presence)
    assert room.act() == Decision()
    room.be(Present(8))
    assert kinds(room.act()) == ["handoff_started"]


def test_who_is_gone_has_no_handoff() -> None:
    """Leaving the room ends it; an agent that is not here is not asked."""
    room = asked()
    room.put(kind="kicked", agent="scout", author="ada")
    room.put(**{**ASK, "at": AT})
    assert not room.state.handoffs and room.act() == Decision()


def test_handoffs_are_spaced_as_planned_exits_may_come() -> None:
    """Three planned exits in a minute are few; the fourth handoff waits, and turns are given meanwhile."""
    room = asked()
    room.world = replace(room.world, exits={"scout": (100.0, 110.0, 120.0)})
    assert room.act(125.0).wake_at == 161.0
    room.say()
    assert kinds(room.act(125.0)) == ["round_planned", "turn_started:1"]
    turn = next(iter(room.state.turns))
    room.put(kind="message", turn=turn, author="Scout", text="so", usage={}, by="agents/scout")
    room.act(126.0)
    assert kinds(room.act(161.0)) == ["handoff_started"]
    view = WorldView(Policy(), 0.0)
    for now in (1.0, 2.0, 3.0, 4.0):
        view.hands_off("scout", int(now), now)
        view.exited("scout", int(now), now)
        view.exited("scout", 100 + int(now), now)  # for a new record, which is counted by nobody
    assert view.world().exits == {"scout": (2.0, 3.0, 4.0)}


def test_a_life_that_leaves_another_room_gets_no_turn_here() -> None:
    """Who has handed off anywhere is on its way out everywhere; if it stays for thirty seconds it is given turns."""
    room = Room(Present(5))
    view = WorldView(Policy(), 0.0)
    view.hands_off("scout", 5, 20.0)
    view.hands_off("scout", 4, 30.0)
    room.world = replace(room.world, leaving=view.world().leaving)
    room.say()
    assert kinds(room.act(21.0)) == ["round_planned"] and room.act(21.0).wake_at == 50.0
    room.be(Present(6))
    assert kinds(room.act(22.0)) == ["turn_started:1"]


def test_an_agent_that_never_ends_its_note_gets_turns_again() -> None:
    """A handoff that takes for ever does not silence its agent for ever."""
    room = asked()
    room.act()
    room.say()
    assert room.act(10.0).wake_at is None or room.act(10.0).wake_at == 300.0
    assert kinds(room.act(301.0)) == ["turn_started:1"]


def test_the_record_is_named_by_the_log() -> None:
    """The name is a function of agent, room and the stamp of the request, and may be a file's."""
    assert deliberation_id("people/bob", "dm/people/bob", AT) == (
        "deliberations/people/bob/dm/people/bob/2026-11-22T19-25-00-123Z"
    )


def test_only_the_agent_reads_its_note_back() -> None:
    """The note in the log is private; an agent may end a handoff only as failed."""
    entry = {"kind": "handoff", "record": RECORD, "note": "secret", "keep": 100}
    stored = {**validate(entry, "agent"), "by": "agents/scout"}
    assert "note" in for_reader(stored, "agents/scout") and "note" not in for_reader(stored, "clients/ada-1")
    with pytest.raises(EntryError, match="outcome"):
        validate({"kind": "handoff_ended", "outcome": "back", "text": "x"}, "agent")
