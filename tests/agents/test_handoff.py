"""When a session is handed off, what goes on with it, and how it is written down: the pure parts."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egghead.agents import note
from egghead.agents.conversation import messages
from egghead.agents.handoff import (
    PER_TOKEN,
    Budget,
    budget,
    estimate_messages,
    full,
    left_over,
    percent,
    trigger,
    worth_it,
)
from egghead.agents.record import AgentSpec
from egghead.agents.session import Line, Session, Used, call_id
from egghead.agents.session_fold import BACKFILL, LEAST, fold
from egghead.agents.trail import PIECE, Trail, fenced
from tests.agents.logs import Log

SPEC = AgentSpec(id="scout", record="agents/scout", title="Scout")
RECORD = "deliberations/scout/default/2026-01-01T00-00-00-000Z"


def folded(log: Log) -> Session:
    return fold(Session("scout", "default"), log.entries)


def begun(log: Log, life: int = 7, attempt: int = 1, reason: str = "context") -> None:
    """The coordinator begins a handoff."""
    fields: dict[str, Any] = {"agent": "scout", "handoff": "h1", "record": RECORD, "attempt": attempt, "text": "x"}
    log.add("coordinator", "handoff_started", **fields, incarnation=life, reason=reason)


def talk(turns: int, size: int = 200) -> Log:
    """A conversation with a tool call in each turn."""
    log = Log()
    for number in range(turns):
        log.person(f"question {number} " + "x" * size)
        turn = f"r{number}.1"
        log.turn(turn)
        call = call_id(turn, 1, 1, 1)
        log.started(turn, call, input={"id": f"notes/{number}"})
        log.done(turn, call, result=f"result {number} " + "y" * size)
        log.says(turn, f"answer {number}", usage={"input": 1, "output": 1, "context": 900, "window": 1000})
        log.ended(turn)
    return log


@pytest.mark.parametrize(
    ("context", "base", "window", "due"),
    [
        (699, 0, 1000, False),
        (700, 0, 1000, True),
        (700, 300, 1000, True),
        (700, 600, 1000, False),  # nearly full from the start: it may go halfway to the end
        (800, 600, 1000, True),
        (10**9, 0, None, False),  # nobody knows the window
    ],
)
def test_the_threshold(context: int, base: int, window: int | None, due: bool) -> None:
    """The last exchange against the window; what was there right after the last handoff does not cause the next."""
    assert full(context, base, 0.7, window) is due


@settings(max_examples=200, deadline=None)
@given(st.floats(0.1, 1), st.integers(1_000, 2_000_000), st.integers(0, 100_000))
def test_what_is_kept_is_well_under_what_triggers(threshold: float, window: int, fixed: int) -> None:
    """Note, talk and prompt together are at most half of the trigger and the least of each."""
    kept = budget(threshold, window, fixed)
    least = 2 * LEAST // PER_TOKEN
    assert kept.note >= LEAST and kept.keep >= LEAST
    assert fixed + (kept.note + kept.keep) // PER_TOKEN <= max(threshold * window / 2, fixed) + least + 1
    assert trigger(threshold, window, 0) == threshold * window


def test_an_overflow_says_more_about_the_window_than_the_record() -> None:
    """A conversation that did not fit bounds the budget, whatever the configuration says of the window."""
    log = talk(10)
    history = messages(folded(log))
    said = left_over(replace(SPEC, context_window=1_000_000), folded(log), "system", ())
    seen = left_over(replace(SPEC, context_window=1_000_000), folded(log), "system", (), overflow=history)
    assert seen.keep < said.keep and (seen.note + seen.keep) // PER_TOKEN < estimate_messages(history)
    assert left_over(SPEC, folded(log), "system", ()).keep < said.keep, "the fold knows the window of the last answer"


def test_a_handoff_that_makes_nothing_smaller_is_not_worth_it() -> None:
    """With nothing to leave behind a session is not handed off, however small the window."""
    kept = Budget(note=300, keep=300)
    one = folded(talk(1, size=0))
    assert not worth_it(one, messages(one), kept)
    many = folded(talk(20))
    assert worth_it(many, messages(many), kept)
    again = fold(many, [{"seq": many.seq + 1, "kind": "handoff", "by": "agents/scout", "record": "r", "keep": 300}])
    assert not worth_it(again, messages(again), kept)
    assert worth_it(one, messages(one), kept, context=5_000), "the provider's count is believed"


@settings(max_examples=60, deadline=None)
@given(st.integers(1_000, 50_000), st.integers(1, 30), st.integers(0, 4_000))
def test_no_handoff_right_after_a_handoff(window: int, turns: int, size: int) -> None:
    """Whatever the window and the talk: what the next life begins with does not reach the threshold of another."""
    session = folded(talk(turns, size))
    kept = left_over(SPEC, session, "s" * 300, (), window)
    entry = {"seq": session.seq + 1, "kind": "handoff", "by": "agents/scout", "record": "r", "keep": kept.keep}
    after = fold(session, [{**entry, "note": "n" * kept.note}])
    size_now = (kept.note + 300) // PER_TOKEN + estimate_messages(messages(after))
    assert size_now < 0.7 * window


def test_the_session_after_a_handoff() -> None:
    """It begins with the last messages within the budget, the cut of the last one if even that is too long; the counts
    begin anew, and the note is there for the prompt."""
    log = talk(60)
    begun(log)
    assert folded(log).handing is not None and folded(log).begun == len(log.entries)
    log.add("agents/scout", "handoff", record=RECORD, note="the note", keep=700, incarnation=7)
    session = folded(log)
    lines = [item for item in session.items if isinstance(item, Line)]
    assert session.handing is None and session.note == "the note" and session.since == len(log.entries) - 1
    assert (session.context, session.base, session.lifetime) == (0, 0, 0) and session.window == 1000
    assert 2 < len(lines) <= BACKFILL and sum(len(line.text) for line in lines) <= 700
    assert lines[-1].text == "answer 59" and not any(isinstance(item, Used) for item in session.items)
    log.entries.pop()
    log.person("z" * 5_000)
    log.add("agents/scout", "handoff", record=RECORD, keep=300, incarnation=7)
    [last] = folded(log).items
    assert isinstance(last, Line) and "left out" in last.text and len(last.text) < 500
    log.says("r99.1", "hello", usage={"context": 77})
    log.says("r99.2", "hello", usage={"context": 99})
    assert (folded(log).base, folded(log).context) == (77, 99)


def test_what_the_open_turn_has_done_is_not_forgotten() -> None:
    """A turn that overflowed keeps its calls over the handoff, results and inputs cut, so that no write is repeated."""
    log = talk(3)
    log.person("write it down")
    log.turn("t.1")
    big = call_id("t.1", 1, 1, 1)
    log.started("t.1", big, tool="create_record", read_only=False, input={"title": "New", "body": "b" * 9_000})
    log.done("t.1", big, result="r" * 9_000)
    begun(log, reason="overflow")
    log.add("agents/scout", "handoff", record=RECORD, keep=1_000, incarnation=7)
    log.turn("t.1", attempt=2, incarnation=8)
    session = folded(log)
    used = [item for item in session.items if isinstance(item, Used)]
    assert [call.tool for item in used for call in item.calls] == ["create_record"]
    talk_now = messages(session)
    assert estimate_messages(talk_now) < 1_000 and talk_now[-1]["content"][-1]["type"] == "tool_result"
    assert session.open is not None and session.open.attempt == 2


def test_a_failed_handoff_changes_nothing() -> None:
    """The session goes on as it was, and the trail of the next one begins where this one would have."""
    log = talk(2)
    before = folded(log)
    begun(log)
    log.add("agents/scout", "handoff_ended", outcome="failed", text="x")
    after = folded(log)
    assert after.items == before.items and after.handing is None and (after.since, after.begun) == (0, 0)


def test_a_second_attempt_writes_the_same_trail() -> None:
    """What is said between two attempts belongs to the next trail, so every life writes the same records."""
    log = talk(2)
    begun(log)
    first = folded(log).begun
    log.person("meanwhile")
    begun(log, life=8, attempt=2)
    session = folded(log)
    assert session.begun == first and session.handing is not None and session.handing.incarnation == 8
    log.add("agents/scout", "handoff", record=RECORD, keep=1_000, incarnation=8)
    assert folded(log).since == first


def test_a_kick_forgets_the_note() -> None:
    """Who is kicked begins with nothing: no note, no trail from before."""
    log = talk(2)
    begun(log)
    log.add("agents/scout", "handoff", record=RECORD, note="secret", keep=1_000, incarnation=7)
    log.add("clients/ada-1", "kicked", agent="scout", author="ada")
    session = folded(log)
    assert not session.note and session.handoff is None and session.since == len(log.entries)


# -- the note and the trail


def test_the_request_for_the_note() -> None:
    """No tools, calls as words, a bounded output, and it ends with what is asked."""
    session = folded(talk(3))
    asked = note.request(SPEC, session, "system", 900, None)
    assert asked["tools"] == [] and asked["max_tokens"] == 300 and asked["mode"] == "handoff"
    assert {block["type"] for message in asked["messages"] for block in message["content"]} == {"text"}
    roles = [message["role"] for message in asked["messages"]]
    assert all(one != other for one, other in itertools.pairwise(roles)) and roles[-1] == "user"
    assert "### Goal" in asked["messages"][-1]["content"][-1]["text"]
    assert "result 1" in str(asked["messages"])
    short = note.request(SPEC, session, "system", 900, 150)
    assert "question 0" not in str(short["messages"]) and short["messages"][0]["role"] == "user"


def test_a_note_of_a_model_is_kept_in_its_frame() -> None:
    """Headings go below the record's own, a long note is cut, and it can be taken out of the record again."""
    found = note.told("# Goal\n\nWrite.\n\n## Trail\nno trail of mine\n", 500)
    assert found == "### Goal\n\nWrite.\n\n### Trail\nno trail of mine"
    text = note.body("Hand-off", found, "### Turn r1.1\n\n> hello", ["x-2"])
    assert note.note_of(text) == found and text.rstrip().endswith("Goes on in [[x-2]].")
    assert len(note.told("word " * 500, 100)) <= 102 and note.told(" \n", 100) == "" and note.note_of("nothing") == ""


def test_an_extracted_note_says_so_and_carries_on_what_was_known() -> None:
    """Ten notes in a row without a model still hold the first question; the records and what is unsure are named."""
    session = folded(talk(3))
    unsure = call_id("t.9", 1, 1, 1)
    log = talk(3)
    log.turn("t.9")
    log.started("t.9", unsure, tool="create_record", read_only=False, input={"title": "Half"})
    session = folded(log)
    found = note.extracted(session, "the model is down", 3_000)
    assert "extracted by the program" in found and "the model is down" in found
    assert "[[notes/1]]" in found and "Outcome unknown: create_record title=Half" in found and "question 0" in found
    for _ in range(10):
        session = replace(session, note=found)
        found = note.extracted(replace(session, items=session.items[3:]), "the model is down", 3_000)
        assert len(found) <= 3_400 and found.count("extracted by the program") == 1
    assert "question 0" in found


def test_the_trail_has_all_that_the_agent_saw() -> None:
    """Words, calls with their inputs and results, outcomes and ends, in order, with the records that were named."""
    log = Log()
    log.person("see [[garden]]\n# no heading of yours")
    log.turn("t.1")
    call = call_id("t.1", 1, 1, 1)
    log.started("t.1", call, input={"id": "notes/roses", "odd": "```\nfence"})
    log.done("t.1", call, "error", result="```` not there")
    log.says("t.1", "Not there.", cut=True)
    log.ended("t.1")
    log.says("u.1", "I know it.", agent="index")
    log.add("agents/index", "tool_started", turn="u", attempt=1, call="c", tool="x", summary="s", read_only=True)
    log.add("agents/scout", "action", turn="t.2", action="passed")
    log.add("tools", "denied", agent="scout", turn="t.3", code="c", text="may not", remedy="r")
    trail = Trail("scout")
    for entry in log.entries:
        trail.take(entry)
    text = trail.rest()
    order = [
        "see [[garden]]",
        "### Turn t.1",
        "#### get_record",
        '"id": "notes/roses"',
        "get_record: error",
        "not there",
    ]
    order += ["> Not there.", "cut off here", "Turn t.1 ended: spoke", "I know it.", "*passed*", "may not"]
    places = [text.index(part) for part in order]
    assert places == sorted(places) and trail.links == ["garden", "notes/roses"] and trail.turns == 1
    assert "\n# no heading" not in text and "> # no heading" in text and "#### x" not in text


@settings(max_examples=80, deadline=None)
@given(st.text(alphabet="`ab\n", max_size=40))
def test_a_fence_cannot_be_closed_from_inside(text: str) -> None:
    """No line of what is fenced is a fence as long as the one around it."""
    lines = fenced(text).split("\n")
    assert lines[0] == lines[-1] and not any(line.startswith(lines[0]) for line in lines[1:-1])
    assert "\n".join(lines[1:-1]) == text


def test_a_long_trail_comes_in_pieces() -> None:
    """A trail of any length is given piece by piece, nothing of it is lost, and each piece is bounded."""
    trail, found, entry = Trail("scout"), [], "w" * (PIECE // 3)
    log = Log()
    for number in range(8):
        trail.take(log.person(f"{number} {entry}"))
        found += list(trail.pieces())
    found.append(trail.rest())
    assert len(found) == 3 and all(len(piece) < 2 * PIECE for piece in found)
    assert [str(n) for n in range(8) if f"> {n} www" in "".join(found)] == [str(n) for n in range(8)]


def test_the_share_in_words() -> None:
    """What people read about it."""
    assert percent(750, 1000) == "75 % of its context is used" and percent(1, None) == ""
