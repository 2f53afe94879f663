"""Who should run and sit where: the laws of the roster's decisions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from egghead.agents.cards import card
from egghead.agents.prompt import NO_TOOLS, system_prompt
from egghead.agents.reconcile import (
    FAILED,
    PARKED,
    RESTARTING,
    RUNNING,
    TERMINATED,
    Running,
    Start,
    Stop,
    Swap,
    gone,
    held,
    muster,
    reconcile,
)
from egghead.agents.record import AgentSpec
from egghead.agents.session import Session
from egghead.agents.session_fold import fold
from egghead.rooms.entries import validate
from egghead.rooms.fold import fold as fold_room
from egghead.rooms.fold import fold_all
from egghead.rooms.state import empty
from tests.agents.logs import Log


def spec(id: str, **changes: Any) -> AgentSpec:
    return AgentSpec(id=id, record=f"agents/{id}", title=changes.pop("title", id.title()), **changes)


SPECS = st.builds(
    spec, st.sampled_from(["a", "b", "c", "bad*"]), model=st.sampled_from([None, "x"]), idle=st.booleans()
)
ROLLS = st.lists(SPECS, max_size=4).map(lambda specs: {one.id: one for one in specs})
CHILDREN = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.builds(Running, st.none() | SPECS, st.sampled_from([RUNNING, RESTARTING, PARKED, TERMINATED, FAILED])),
    max_size=3,
)


def act(actual: dict[str, Running], desired: dict[str, AgentSpec]) -> dict[str, Running]:
    """The world after every action has succeeded."""
    after = dict(actual)
    for action in reconcile(desired, actual):
        if isinstance(action, Stop):
            del after[action.id]
        else:
            after[action.id] = Running(action.spec)
    return after


@given(ROLLS, CHILDREN)
@settings(max_examples=200, deadline=None)
def test_reconciling_ends(desired: dict[str, AgentSpec], actual: dict[str, Running]) -> None:
    """Once the actions have succeeded there is nothing left to do, one action an agent, in order."""
    actions = reconcile(desired, actual)
    assert [a.id for a in actions] == sorted({a.id for a in actions})
    assert reconcile(desired, act(actual, desired)) == ()


@given(ROLLS, CHILDREN)
@settings(max_examples=200, deadline=None)
def test_what_runs_is_what_is_desired(desired: dict[str, AgentSpec], actual: dict[str, Running]) -> None:
    """Nobody runs who should not, nobody with another spec, and no id that cannot name a process."""
    for id, child in act(actual, desired).items():
        if child.state != FAILED:
            assert id in desired and "*" not in id
            assert child.spec is not None and replace(child.spec, problems=()) == replace(desired[id], problems=())


def test_each_case() -> None:
    """New starts, gone stops, changed swaps; parked and failed wait for another record; problems are no change."""
    one, two = spec("a"), spec("a", model="x")
    assert reconcile({"a": one}, {}) == (Start(one),)
    assert reconcile({}, {"a": Running(one)}) == (Stop("a"),)
    assert reconcile({"a": two}, {"a": Running(one)}) == (Swap(one, two),)
    assert reconcile({"a": one}, {"a": Running(None)}) == (Swap(None, one),)
    assert reconcile({"a": replace(one, problems=("p",))}, {"a": Running(one)}) == ()
    for state in (PARKED, FAILED, RESTARTING):
        assert reconcile({"a": one}, {"a": Running(one, state)}) == ()
    assert reconcile({"a": two}, {"a": Running(one, PARKED)}) == (Swap(one, two),)
    assert reconcile({"a": two}, {"a": Running(one, FAILED)}) == (Start(two),)
    assert reconcile({}, {"a": Running(one, FAILED)}) == ()


def test_a_broken_record_keeps_the_agent() -> None:
    """A record that is there but cannot be read keeps its agent as it was, and says why; a deleted one does not."""
    old = {"a": spec("a"), "b": spec("b"), "index": replace(spec("index"), builtin=True)}
    new: dict[str, AgentSpec] = {"index": old["index"]}
    assert gone(old, new) == ("agents/a", "agents/b")
    kept = held(old, new, {"agents/a": "line 2: bad"})
    assert set(kept) == {"a", "index"} and "line 2: bad" in kept["a"].problems[0]


def test_a_broken_override_does_not_bring_the_builtin_back() -> None:
    """A user's index that breaks goes on as the user's index, not as ours."""
    mine, ours = spec("index", model="mine"), replace(spec("index"), builtin=True)
    assert gone({"index": mine}, {"index": ours}) == ("agents/index",)
    assert held({"index": mine}, {"index": ours}, {"agents/index": "bad"})["index"].model == "mine"
    assert held({"index": mine}, {"index": ours}, {}) == {"index": ours}


def joined(room: str, log: Log, desired: dict[str, AgentSpec], parked: dict[str, str] | None = None) -> list[str]:
    """The muster as `kind agent` lines."""
    state = fold_all(empty(room), log.entries)
    return [f"{entry['kind']} {entry['agent']}" for entry in muster(state, desired, parked or {})]


def test_who_joins() -> None:
    """Everybody who is not idle joins; idle ones when invited; the kicked stay out; who is gone leaves."""
    log = Log()
    roll = {"a": spec("a"), "b": spec("b", idle=True), "bad*": spec("bad*")}
    assert joined("default", log, roll) == ["joined a"]
    log.add("roster", "joined", agent="a", title="A")
    log.add("clients/ada-1", "invited", agent="b", author="ada")
    assert joined("default", log, roll) == []
    assert joined("default", log, {"b": roll["b"]}) == ["left a"]
    log.add("clients/ada-1", "kicked", agent="a", author="ada")
    assert joined("default", log, roll) == []


def test_a_direct_room_has_its_agent_only() -> None:
    """In `dm/b` sits b, idle or not, and nobody else; when b is gone it leaves."""
    roll = {"a": spec("a"), "b": spec("b", idle=True)}
    assert joined("dm/b", Log(), roll) == []
    assert joined("dm/b", Log(), {"a": roll["a"]}) == ["left b"]
    log = Log()
    log.add("roster", "left", agent="b", title="B")
    assert joined("dm/b", log, roll) == ["joined b"]


def test_parked_and_renamed() -> None:
    """Parking is told once with its reason, coming back too, a new title as reloaded."""
    log = Log()
    log.add("roster", "joined", agent="a", title="A")
    roll = {"a": spec("a")}
    assert joined("default", log, roll, {"a": "it crashed"}) == ["parked a"]
    log.add("roster", "parked", agent="a", title="A", text="it crashed")
    assert joined("default", log, roll, {"a": "it crashed"}) == []
    assert joined("default", log, roll) == ["joined a"]
    assert joined("default", log, {"a": spec("a", title="Other")}, {"a": "it crashed"}) == ["reloaded a", "parked a"]
    assert joined("default", Log(), roll, {"a": "it crashed"}) == ["joined a", "parked a"]


@given(ROLLS, ROLLS, st.dictionaries(st.sampled_from(["a", "b"]), st.just("why"), max_size=2))
@settings(max_examples=150, deadline=None)
def test_mustering_ends(before: dict[str, AgentSpec], now: dict[str, AgentSpec], parked: dict[str, str]) -> None:
    """Appending what one muster says leaves nothing to say, each entry is one the room takes, ids differ."""
    state = empty("default")
    for roll in (before, now):
        entries = muster(state, roll, parked)
        assert len({entry["id"] for entry in entries}) == len(entries)
        for entry in entries:
            validate(entry, "roster")
            state = fold_room(state, {**entry, "seq": state.last + 1, "by": "roster", "at": ""})
        assert muster(state, roll, parked) == []


def test_cards() -> None:
    """A card says who, what it may, and how it is; a parked one has its reason."""
    one = spec("a", disposition="x" * 10_000, capabilities=("records.read",))
    assert card(one, Running(one))["state"] == "running" and card(one, None)["state"] == "starting"
    assert len(card(one, None)["disposition"]) == 4_000
    parked = card(one, Running(one, PARKED, "exit code 1"))
    assert parked["parked"] == "exit code 1" and card(one, Running(one))["parked"] is None
    assert card(spec("bad*"), None)["state"] == "failed"


def test_the_prompt_says_what_the_agent_needs() -> None:
    """Tools or none, plainly; who is here, with people and agents told apart; mode, topic, its own words."""
    log = Log()
    log.add("roster", "joined", agent="scout", title="Scout")
    log.add("roster", "joined", agent="index", title="Index")
    log.add("clients/ada-1", "topic", text="woods")
    log.person("hi")
    session = fold(Session("scout", "default"), log.entries)
    words = system_prompt(spec("scout", disposition="You scout."), session, [], mode="huddle", notes=["net.get: no"])
    assert NO_TOOLS in words and "You scout." in words and "Topic of the room: woods" in words
    assert "Room: default. In this room: Scout (agent scout, you), Index (agent index), ada (person)." in words
    assert "one after another" in words and "net.get: no" in words
    with_tools = system_prompt(spec("scout"), session, [{"name": "get_record", "read_only": True}])
    assert NO_TOOLS not in with_tools and "can read notes and not change them" in with_tools
    assert with_tools.startswith(words[:200])  # the stable part first, for the provider's cache


def test_a_topic_of_an_old_log_does_not_fill_the_prompt() -> None:
    """A topic that was set before there was a most of its length is cut."""
    log = Log()
    log.add("clients/ada-1", "topic", text="woods " * 40_000)
    assert len(system_prompt(spec("scout"), fold(Session("scout", "default"), log.entries), [])) < 6_000


def test_a_prompt_in_a_room_of_a_thousand_is_short() -> None:
    """The first agents are named and the others counted, so are the people of long ago; alone with a person it is told so."""
    log = Log()
    for number in range(1000):
        log.add("roster", "joined", agent=f"a{number:03d}", title="Some Agent")
        log.person("hi", author=f"p{number}")
    session = fold(Session("scout", "default"), log.entries)
    words = system_prompt(spec("scout"), session, [])
    assert "(agent a039), 960 more agents" in words and "p999 (person), 960 more people." in words
    assert len(words) < 6000
    assert "only one who is asked" in system_prompt(spec("scout"), Session("scout", "dm/scout"), [])
