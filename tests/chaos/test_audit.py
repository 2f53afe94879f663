"""The audit finds what it is for: each broken guarantee, planted in a log that is otherwise right."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from egghead.rooms.transcript import Line, render
from tests.chaos.audit import effects, faults, folds, speakers, transcript

GOOD: list[dict[str, Any]] = [
    {"seq": 1, "id": "m1", "kind": "message", "text": "hi"},
    {"seq": 2, "id": "p1", "kind": "round_planned", "round": "r1", "message": "m1", "order": ["a"]},
    {"seq": 3, "id": "s1", "kind": "turn_started", "round": "r1", "turn": "t1", "agent": "a", "attempt": 1},
    {"seq": 4, "id": "s2", "kind": "turn_started", "round": "r1", "turn": "t1", "agent": "a", "attempt": 2},
    {"seq": 5, "id": "a1", "kind": "message", "turn": "t1", "text": "hello"},
    {"seq": 6, "id": "e1", "kind": "turn_ended", "turn": "t1", "outcome": "spoke"},
    {"seq": 7, "id": "z1", "kind": "round_ended", "round": "r1"},
]

Breaking = Callable[[list[dict[str, Any]]], Any]
BROKEN: dict[str, Breaking] = {
    "hole": lambda log: log.pop(0),
    "twice": lambda log: log.append(log[0] | {"seq": 8}),
    "no end": lambda log: log.pop(5),
    "two ends": lambda log: log.insert(6, log[5] | {"id": "e2"}),
    "two messages": lambda log: log.insert(5, log[4] | {"id": "a2"}),
    "third attempt": lambda log: log.insert(4, log[3] | {"id": "s3", "attempt": 3}),
    "late word": lambda log: log.insert(6, log[4] | {"id": "a2"}),
    "overlap": lambda log: log.insert(2, log[1] | {"id": "p2", "round": "r2"}),
    "round open": lambda log: log.pop(6),
    "never planned": lambda log: log.append({"seq": 8, "id": "m2", "kind": "message", "text": "?"}),
    "ended, not started": lambda log: (log.pop(2), log.pop(2)),
}


def test_a_good_log_has_no_fault() -> None:
    """A log that keeps every guarantee passes, with the clients' accounts of it."""
    assert faults(GOOD, [["m1"]], [GOOD, GOOD[2:]]) == []


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_guarantee_is_found(name: str) -> None:
    """A planted fault is reported, however the seqs are."""
    log = copy.deepcopy(GOOD)
    BROKEN[name](log)
    if name != "hole":
        for number, entry in enumerate(log):
            entry["seq"] = number + 1
    assert faults(log, [], [])


def test_lost_and_reordered_messages_are_found() -> None:
    """An acknowledged message that is missing, and one out of order, are reported."""
    assert faults(GOOD, [["m9"]], [])
    log = [*GOOD, {"seq": 8, "id": "m2", "kind": "message", "text": "2"}]
    assert any("another order" in f for f in faults(log, [["m2", "m1"]], [], finished=False))


def test_a_client_that_was_shown_something_else_is_found() -> None:
    """Holes, repeats and altered entries in what a client saw are reported."""
    assert faults(GOOD, [], [[GOOD[0], GOOD[2]]])
    assert faults(GOOD, [], [[GOOD[0], GOOD[0]]])
    assert faults(GOOD, [], [[GOOD[0] | {"text": "forged"}]])


MADE: list[dict[str, Any]] = [
    {"kind": "tool_started", "tool": "create_record", "call": "c1", "input": {"title": "Effect 1"}},
    {"kind": "tool_ended", "call": "c1", "outcome": "ok"},
    {"kind": "tool_started", "tool": "create_record", "call": "c2", "input": {"title": "Effect 2"}},
    {"kind": "tool_ended", "call": "c2", "outcome": "unknown"},
]


def test_an_effect_is_once_or_never() -> None:
    """A note made twice, a call started twice and a call that was answered ok without its note are reported; a call of
    unknown outcome may have made its note or not."""
    for made in ({"Effect 1": 1}, {"Effect 1": 1, "Effect 2": 1}):
        assert effects({"lab": MADE}, Counter(made)) == []
    assert effects({"lab": MADE}, Counter({"Effect 1": 2})) == ["'Effect 1' was made 2 times"]
    assert effects({"lab": MADE}, Counter()) == ["lab: 'Effect 1' was answered ok and is not there"]
    assert effects({"lab": [*MADE, MADE[0]]}, Counter({"Effect 1": 1})) == ["lab: the call c1 was started twice"]


def stamped(*kinds: dict[str, Any]) -> list[dict[str, Any]]:
    common = {"by": "clients/ada-1", "at": "2026-01-02T03:04:05.000Z", "author": "ada"}
    return [{**common, "seq": n, "id": f"i{n}", **entry} for n, entry in enumerate(kinds, 1)]


def test_a_room_that_is_not_at_rest_and_a_forged_account_are_found() -> None:
    """A message without its round leaves the fold restless; what was shown must fold to what the log folds to."""
    log = stamped({"kind": "topic", "text": "weather"}, {"kind": "topic", "text": "wind"})
    assert folds("lab", log, [log, log[:1], []]) == []
    assert folds("lab", log, [[log[0] | {"text": "rain"}]]) == [
        "what client 0 was shown folds to something else than the log"
    ]
    restless = stamped({"kind": "message", "text": "hello?"})
    assert "the fold of the log is not at rest" in folds("lab", restless, [])


ROUND = {"kind": "round_planned", "round": "r", "message": "i2", "mode": "open", "order": ["a"], "scores": {}}
GIVEN = {
    "kind": "turn_started",
    "round": "r",
    "turn": "r.1",
    "agent": "a",
    "attempt": 1,
    "incarnation": 5,
    "mode": "open",
}
SAID = {"kind": "message", "by": "agents/a", "turn": "r.1", "text": "yes", "usage": {}}


@pytest.mark.parametrize(
    ("before", "between", "found"),
    [
        ({"kind": "topic", "text": "x"}, {"kind": "topic", "text": "y"}, []),
        ({"kind": "muted", "agent": "a"}, {"kind": "topic", "text": "y"}, ["who is muted and was not named"]),
        ({"kind": "kicked", "agent": "a"}, {"kind": "topic", "text": "y"}, ["given to a", "a is not in the room"]),
        (
            {"kind": "topic", "text": "x"},
            {"kind": "kicked", "agent": "a"},
            ["a is not in the room and wrote message 7"],
        ),
        ({"kind": "budget_set", "budget": 0}, {"kind": "topic", "text": "y"}, ["over the budget"]),
    ],
    ids=["right", "muted", "not here", "gone", "budget"],
)
def test_who_speaks_and_should_not_is_found(before: dict[str, Any], between: dict[str, Any], found: list[str]) -> None:
    """A turn of somebody who is muted, not there or over the budget, and words of somebody who has gone, are reported."""
    talk = [
        {"kind": "joined", "agent": "a", "title": "A"},
        {"kind": "message", "text": "hi"},
        before,
        ROUND,
        GIVEN,
    ]
    log = stamped(*talk, between, SAID)
    told = speakers("lab", log)
    assert len(told) == len(found) and all(words in sentence for words, sentence in zip(found, told, strict=True)), told


def test_a_halted_round_and_an_empty_default_room_are_found() -> None:
    """No turn begins behind a halt, and somebody is always there to answer in the default room."""
    here, hi = {"kind": "joined", "agent": "a", "title": "A"}, {"kind": "message", "text": "hi"}
    log = stamped(here, hi, ROUND, {"kind": "halted"}, GIVEN)
    assert speakers("lab", log) == ["turn r.1 began in a round that was halted"]
    gone = stamped(here, {"kind": "kicked", "agent": "a"})
    assert speakers("default", gone) == ["the default room has no agent after entry 2"] and speakers("lab", gone) == []


def test_a_transcript_that_says_something_else_is_found() -> None:
    """Every message in order, and nothing else."""
    log = stamped({"kind": "message", "text": "one"}, {"kind": "message", "text": "two"})
    lines = [Line("ada", None, "2026-01-02T03:04:05Z", text) for text in ("one", "two")]
    assert transcript(log, render(lines)) == []
    assert transcript(log, render(lines[:1])) != [] != transcript(log, render(lines[::-1]))
