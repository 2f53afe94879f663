"""Risk 3: a turn happens once or is said not to. Every crash, loss and order within the bounds is tried."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from egghead.rooms import decide as deciding
from egghead.rooms.gate import Gate
from tests.rooms.model import Broken, Message, Model, Script, explore

MORE = int(os.environ.get("EGGHEAD_MODEL_FAULTS", "0"))  # one or two more faults: minutes instead of seconds


def say(text: str) -> dict[str, Any]:
    """A person's message."""
    return {"kind": "message", "author": "ada", "text": text}


A, B = frozenset({"a"}), frozenset({"b"})
ONE_TOOL = Script(("a",), (say("@a go"),), tools=A)
SCRIPTS = {
    "one agent with a tool": (ONE_TOOL, 2),
    "two messages": (Script(("a",), (say("@a go"), say("@a more"))), 2),
    "huddle with a pass": (Script(("a", "b"), (say("@everyone go"),), passes=B), 1),
    "jam": (Script(("a", "b"), (say("@jam go"),), passes=B), 1),
    "halt in a turn": (Script(("a",), (say("@a go"), {"kind": "halted"}), tools=A), 1),
    "peers and budget": (Script(("a", "b"), (say("@a go"),), says={"a": "@b look", "b": "@a yes"}, budget=2), 1),
    "continue after the pause": (
        Script(("a", "b"), (say("@a go"), {"kind": "continued"}), says={"a": "@b look"}, budget=1),
        1,
    ),
    "handoff between two messages": (Script(("a",), (say("@a go"), say("@a on")), handoffs=A), 1),
    "handoff that a person asks for": (
        Script(("a",), (say("@a go"), {"kind": "handoff_asked", "agent": "a", "author": "ada"})),
        1,
    ),
    "overflow in a turn": (Script(("a",), (say("@a go"),), tools=A, overflows=A), 2),
    "kicked in a turn": (Script(("a",), (say("@a go"), {"kind": "kicked", "agent": "a", "author": "ada"})), 1),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_order_of_faults_keeps_the_laws(name: str) -> None:
    """Whatever crashes, gets lost or comes late, no turn is lost, doubled or left open and no effect is caused twice."""
    script, faults = SCRIPTS[name]
    assert explore(Model(script), faults + MORE, most=3_000_000 if MORE else 200_000, settle_every=11) > 100


@pytest.mark.parametrize("seed", range(4))
def test_long_random_lives_keep_the_laws(seed: int) -> None:
    """Long random walks with many faults through a busy room keep the laws and come to rest."""
    chance = random.Random(seed)
    texts = ["@everyone hello", "@a and @b", "what now?", "@jam quick", "@c?", "/halt", "/continue", "more", "@a"]
    people = tuple(
        {"kind": "halted"} if text == "/halt" else {"kind": "continued"} if text == "/continue" else say(text)
        for text in chance.sample(texts, 7)
    )
    model = Model(Script(("a", "b", "c"), people, tools=A | {"c"}, passes=B, says={"a": "ask @c", "c": "@a ok"}))
    s = model.start(faults=60)
    for _ in range(1500):
        moves = list(model.actions(s))
        if not moves:
            break
        calm = [move for move in moves if not move[1]]
        _, _, s = chance.choice(calm if calm and chance.random() < 0.85 else moves)
        model.check(s)
    model.settle(s)


def test_the_model_sees_a_gate_that_ignores_incarnations(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is sharp: without the incarnation check of the gate it finds a broken law."""
    monkeypatch.setattr(Gate, "_check", lambda self, entry, agent, incarnation: None)
    with pytest.raises(Broken):
        explore(Model(ONE_TOOL), 2, settle_every=11)


def test_the_model_sees_a_room_that_ignores_expect(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is sharp: when decisions are not tied to the log they were made on, it finds a broken law."""
    real = Model._append

    def without_expect(self: Model, log: tuple[str, ...], message: Message) -> tuple[tuple[str, ...], str]:
        return real(self, log, message._replace(expect=-1))

    monkeypatch.setattr(Model, "_append", without_expect)
    with pytest.raises(Broken):
        explore(Model(SCRIPTS["two messages"][0]), 2, settle_every=11)


def test_the_model_sees_a_coordinator_that_gives_an_answered_turn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is sharp: a decide that looks at presence before the answer is found out."""
    real = deciding._turn

    def forgetful(state: Any, turn: Any, world: Any, now: float) -> Any:
        from dataclasses import replace

        return real(state, replace(turn, answer=None), world, now)

    monkeypatch.setattr(deciding, "_turn", forgetful)
    with pytest.raises(Broken):
        explore(Model(ONE_TOOL), 2, settle_every=11)
