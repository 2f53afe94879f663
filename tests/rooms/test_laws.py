"""The laws of rooms.md, by hypothesis: entries, fold, decide, gate, addressing, relevance, transcript."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from egghead.agents.record import unusable
from egghead.rooms import entries as table
from egghead.rooms.addressing import mentions, slips
from egghead.rooms.decide import Absent, Parked, Present, World, decide
from egghead.rooms.entries import KINDS, EntryError, for_reader, public, validate
from egghead.rooms.fold import fold, fold_all
from egghead.rooms.gate import Gate, check_batch
from egghead.rooms.names import RoomNameError, check_room, file_name, room_of_file
from egghead.rooms.relevance import Corpus, terms, words
from egghead.rooms.state import RoomState, empty
from egghead.rooms.transcript import Line, parse, render
from egghead.rooms.ulid import ulid
from tests.rooms.dialogue import AGENTS, Dialogue
from tests.rooms.model import check_log, check_step

AGENT = st.sampled_from(["scout", "people/bob", "nib"])
TURN = st.sampled_from(["r1.1", "r1.2", "r2.1"])
TEXT = st.sampled_from(["hi", "@scout", "@everyone", "@nib @bob", "/x", "`@nib`", "@zz", "wood?", ""])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "agent": AGENT,
    "author": st.sampled_from(["ada", "Scout"]),
    "text": TEXT,
    "turn": TURN,
    "round": st.sampled_from(["r1", "r2"]),
    "message": st.sampled_from(["m1", "m2"]),
    "mode": st.sampled_from(table.MODES),
    "order": st.lists(AGENT, max_size=3),
    "queued": st.lists(AGENT, max_size=3),
    "mentions": st.lists(AGENT, max_size=2),
    "scores": st.just({}),
    "usage": st.just({}),
    "attempt": st.integers(1, 2),
    "incarnation": st.integers(0, 3),
    "budget": st.integers(0, 3),
    "action": st.sampled_from(table.ACTIONS),
    "call": st.sampled_from(["c1", "c2"]),
    "read_only": st.booleans(),
    "cut": st.booleans(),
    "nudge": st.booleans(),
    "restored": st.booleans(),
    "reason": st.sampled_from(["context", "overflow"]),
    "handoff": st.sampled_from(["h1", "h2"]),
    "record": st.sampled_from(["deliberations/scout/lab/1", "deliberations/scout/lab/2026-01-01T00-00-00-000Z"]),
    "keep": st.integers(0, 9),
    "input": st.none(),
    "result": st.none(),
}
SPEAKERS = {"client": "clients/ada-1", "agent": "agents/scout"}
json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def outcome(kind: str) -> st.SearchStrategy[str]:
    """A fitting outcome."""
    if kind == "handoff_ended":
        return st.just("failed")
    return st.sampled_from(table.TOOL_OUTCOMES if kind == "tool_ended" else table.OUTCOMES)


@st.composite
def valid_entries(draw: st.DrawFn) -> dict[str, Any]:
    """Any entry that the table allows, by a caller that may append it."""
    (kind, role), fields = draw(st.sampled_from(sorted(KINDS.items(), key=lambda item: item[0])))
    entry: dict[str, Any] = {"kind": kind}
    for name, field in fields.items():
        if field.required or draw(st.booleans()):
            strategy = outcome(kind) if name == "outcome" else VALUES.get(name, st.just("x"))
            entry[name] = draw(strategy)
    by = SPEAKERS.get(role, role)
    if role == "agent":
        by = f"agents/{draw(AGENT)}"
    return {**entry, "by": by, "at": "2026-01-01T00:00:00.000Z"}


@settings(max_examples=80, deadline=None)
@given(json_like, st.sampled_from(["client", "agent", "coordinator", "roster", "tools", "lobby", None]))
def test_validate_is_total(value: Any, role: str | None) -> None:
    """Any value gives an entry or an EntryError with a text, never another exception."""
    try:
        validate(value, role)
    except EntryError as error:
        assert str(error)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_valid_entry_with_one_fault_is_refused_by_name(data: st.DataObject) -> None:
    """A missing field, a strange field and a stamped field are each refused with the name of the field."""
    (kind, role), fields = data.draw(st.sampled_from(sorted(KINDS.items(), key=lambda item: item[0])))
    required = {name: field for name, field in fields.items() if field.required}
    entry: dict[str, Any] = {"kind": kind}
    for name in required:
        entry[name] = data.draw(outcome(kind) if name == "outcome" else VALUES.get(name, st.just("x")))
    assert validate(entry, role) == entry
    for name in required:
        with pytest.raises(EntryError, match=name):
            validate({other: value for other, value in entry.items() if other != name}, role)
    for strange in ("seq", "by", "strange"):
        with pytest.raises(EntryError, match=strange):
            validate({**entry, strange: 1}, role)


@settings(max_examples=60, deadline=None)
@given(st.lists(valid_entries(), max_size=25), st.sampled_from(["lab", "dm/scout"]))
def test_fold_gate_and_decide_are_total(entries: list[dict[str, Any]], room: str) -> None:
    """Any valid entries in any order can be folded, gated and decided upon; what is decided is valid."""
    state, gate = empty(room), Gate()
    world = World(presence={"scout": Present(2), "nib": Parked("it crashed")})
    for seq, entry in enumerate(entries, 1):
        stored = {**entry, "seq": seq, "id": f"e{seq}"}
        state, gate = fold(state, stored), gate.after(stored)
        assert state.last == seq
        for now in (0.0, 1e6):
            decision = decide(state, world, now)
            if decision.entries:
                check_batch(list(decision.entries), "coordinator", 1)


@settings(max_examples=60, deadline=None)
@given(st.lists(valid_entries(), max_size=20), st.data())
def test_a_log_read_in_pieces_twice_over_folds_the_same(entries: list[dict[str, Any]], data: st.DataObject) -> None:
    """Where the reading was interrupted and what was read again makes no difference; the state is a function of the log."""
    log = [{**entry, "seq": seq, "id": f"e{seq}"} for seq, entry in enumerate(entries, 1)]
    whole = fold_all(empty("lab"), log)
    state = empty("lab")
    at = 0
    while at < len(log):
        again = data.draw(st.integers(0, at))
        to = data.draw(st.integers(at + 1, len(log)))
        state = fold_all(state, log[again:to])
        at = to
    assert state == whole


steps = st.one_of(
    TEXT.filter(bool),
    st.sampled_from(
        [
            *("/halt", "/continue", "/budget 0", "/budget 1", "/budget 4", "/mute nib", "/unmute nib", "/kick scout"),
            *("/invite scout", "down people/bob", "up people/bob", "park nib", "up nib", "@jam", "@everyone wood"),
        ]
    ),
)
replies = st.dictionaries(
    st.sampled_from(sorted(AGENTS)),
    st.lists(st.sampled_from(["ok", "/pass", "/fail", "@nib", "@scout @bob", "@everyone"]), max_size=6),
)


@settings(max_examples=70, deadline=None)
@given(st.lists(st.tuples(steps, st.booleans()), max_size=14), replies)
def test_whatever_is_said_rounds_end_slots_return_and_the_muted_stay_muted(
    said: list[tuple[str, bool]], answers: dict[str, list[str]]
) -> None:
    """Random dialogues keep the laws of rooms.md at every entry and come to rest."""
    dialogue = Dialogue("lab", AGENTS, answers)
    pending: list[str] = []
    for step, during in said:
        if during:
            pending.append(step)
            continue
        dialogue.say(step)
        dialogue.settle({1: pending} if pending else {})
        pending = []
    dialogue.settle({})
    check_log(dialogue.log)
    replay(dialogue.log)
    assert dialogue.state.quiet
    assert dialogue.state.free() + dialogue.state.spent == dialogue.state.limit()


def replay(log: list[dict[str, Any]]) -> None:
    """Fold a log again and hold each entry against the laws."""
    state: RoomState = empty("lab")
    said: dict[str, str] = {}
    muted_when: dict[str, frozenset[str]] = {}
    for entry in log:
        if entry["kind"] == "message":
            said[entry["id"]] = entry["text"] if entry["by"].startswith("clients/") else ""
        if entry["kind"] == "round_planned":
            muted_when[entry["round"]] = state.muted
            named = mentions(said.get(entry["message"], ""), state.titles).agents
            if said.get(entry["message"]):
                assert not [agent for agent in entry["order"] if agent in state.muted and agent not in named]
        before, state = state, fold(state, entry)
        if entry["kind"] != "budget_set":
            check_step(before, entry, state)


@settings(max_examples=60, deadline=None)
@given(st.lists(valid_entries(), max_size=15))
def test_decide_is_a_function_of_its_arguments(entries: list[dict[str, Any]]) -> None:
    """Two coordinators with the same log and the same world decide the same."""
    log = [{**entry, "seq": seq, "id": f"e{seq}"} for seq, entry in enumerate(entries, 1)]
    world = World(presence={"scout": Present(2), "people/bob": Absent(0.0)})
    first = decide(fold_all(empty("lab"), log), world, 5.0)
    second = decide(fold_all(empty("lab"), json.loads(json.dumps(log))), world, 5.0)
    assert first == second


@given(st.text(max_size=200))
@settings(max_examples=80, deadline=None)
def test_addressing_and_relevance_take_any_text(text: str) -> None:
    """Any text can be read for mentions and for words."""
    titles = {"scout": "Scout", "people/bob": "Bob the Builder"}
    found = mentions("@" + text + " @scout", titles)
    assert set(found.agents) <= titles.keys()
    assert all(word for word in words(text))
    Corpus([("scout", "Scout", ("a",), text)]).scores(text, ["scout"])


@given(st.text(alphabet="ab @`\n.:/~é中", max_size=40), st.sampled_from(["scout", "people/bob"]))
@settings(max_examples=80, deadline=None)
def test_a_mention_on_a_line_of_its_own_is_found_and_one_in_code_never(text: str, agent: str) -> None:
    """`@id` on its own line behind closed text counts; inside a fence of its own it does not."""
    assume("`" not in text and "~" not in text)
    titles = {"scout": "Scout", "people/bob": "Bob"}
    assert agent in mentions(f"{text}\n@{agent}\n", titles).agents
    inside = mentions(f"{text}\n```\n@{agent}\n```\n", titles).agents
    assert inside == mentions(f"{text}\n```\n```\n", titles).agents


@given(st.text(alphabet="abc", max_size=7), st.text(alphabet="abc", max_size=7))
@settings(max_examples=80, deadline=None)
def test_slips_are_symmetric_and_bounded(one: str, other: str) -> None:
    """The distance is the same both ways, zero only for equal words, and cut off above the limit."""
    assert slips(one, other, 9) == slips(other, one, 9)
    assert (slips(one, other, 9) == 0) == (one == other)
    assert slips(one, other, 1) == min(slips(one, other, 9), 2)


names = st.text(alphabet=st.characters(exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp")), min_size=1, max_size=12)
bodies = st.text(alphabet=st.sampled_from("ab*\\`— \n#:2026-01T5Z.()é"), max_size=60) | st.sampled_from(
    [
        "**Ada** — 2026-01-02T03:04:05Z",
        "\\**Ada** — 2026-01-02T03:04:05Z",
        "x\n\n**Scout** (`agents/scout`) — 2026-01-02T03:04:05Z\n\ny",
        "\n\n",
        " ",
        "",
    ]
)


@given(
    st.lists(
        st.builds(
            Line,
            names,
            st.none() | st.sampled_from(["scout", "people/bob", "a`b", "हिन्दी"]),
            st.just("2026-01-02T03:04:05Z"),
            bodies,
        ),
        max_size=5,
    )
)
@settings(max_examples=70, deadline=None)
def test_a_transcript_reads_back_what_was_said(lines: list[Line]) -> None:
    """Rendering and parsing a transcript gives the same messages, authors and times, whatever the texts look like."""
    assert parse(render(lines)) == lines


@given(st.text(max_size=200))
@settings(max_examples=60, deadline=None)
def test_a_transcript_edited_by_hand_always_parses(body: str) -> None:
    """Any text is a transcript of some messages."""
    assert isinstance(parse(body + "\n**Ada** — 2026-01-02T03:04:05Z\nhello\n" + body), list)


@given(st.text(max_size=70))
@settings(max_examples=80, deadline=None)
def test_room_names_and_files_map_one_to_one(name: str) -> None:
    """A room's name gives a file name in one folder that gives the name back; anything else is refused."""
    for room in (name, "dm/" + name):
        try:
            check_room(room)
        except RoomNameError:
            continue
        assert "/" not in file_name(room)
        assert room_of_file(file_name(room)) == room


@pytest.mark.parametrize("agent", ["scout", "people/bob", "हिन्दी", "o'reilly", "a`b", "R&D", "v2.0", "你好"])
def test_every_agent_that_can_run_can_be_talked_to_alone(agent: str) -> None:
    """What may name a process may name a conversation with it, in any script."""
    assert unusable(agent) is None
    assert room_of_file(file_name(f"dm/{agent}")) == f"dm/{agent}"


def test_private_fields_are_given_to_their_author_only() -> None:
    """What the table calls private is in the author's reading and in nobody else's."""
    entry = {"kind": "tool_ended", "by": "agents/scout", "result": "secret", "summary": "done"}
    assert for_reader(entry, "agents/scout") == entry
    assert (
        for_reader(entry, "agents/bob")
        == public(entry)
        == {"kind": "tool_ended", "by": "agents/scout", "summary": "done"}
    )


def test_ulids_sort_in_the_order_they_were_made() -> None:
    """Ids made one after the other sort so, also within a millisecond and when the clock is set back."""
    made = [ulid() for _ in range(2000)] + [ulid(1), ulid(1)]
    assert made == sorted(set(made))
    assert all(len(one) == 26 for one in made)


def test_stop_words_go_by_the_language_of_the_message() -> None:
    """Function words of the message's own language family are dropped, the topic stays."""
    assert terms("Wie kann ich die Rosen im Garten schneiden?") == ("rosen", "garten", "schneiden")
    assert terms("¿Cómo se hace el pan de centeno?") == ("hace", "pan", "centeno")
    assert terms("怎么写信") != ()
