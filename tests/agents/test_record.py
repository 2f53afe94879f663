"""Agent records: every key, every bad value, and the two built-ins."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egghead.agents.record import (
    KEYS,
    AgentSpec,
    agent_id,
    authority_of,
    builtins,
    difference,
    load,
    record_ids,
    roll,
    unusable,
)
from egghead.rooms.entries import validate
from egghead.rooms.names import RoomNameError, check_room
from records import parse_markdown


def record(id: str = "agents/scout", body: str = "You scout.", title: str = "", **meta: Any) -> dict[str, Any]:
    """A record as the store gives it."""
    return {
        "id": id,
        "title": title or id,
        "class": "agent",
        "tags": [],
        "body": body,
        "meta": meta,
        "path": f"{id}.md",
        "error": None,
    }


def test_defaults() -> None:
    """A record with nothing but a body is an agent that may read and uses the default model."""
    assert load(record()) == AgentSpec(
        id="scout",
        record="agents/scout",
        title="Scout",
        capabilities=("records.read",),
        disposition="You scout.",
    )


def test_every_key() -> None:
    """Each key of the specification arrives in the spec."""
    spec = load(
        record(
            title="The Scout",
            model="claude-x",
            provider="anthropic",
            capabilities=["records.read", {"records.create": {"paths": ["inbox/**"]}}],
            access="w",
            sandbox="~/p",
            quiet=True,
            idle=True,
            thinking=2048,
            temperature=0,
            max_tokens=100,
            context_threshold=0.5,
            context_window=8000,
            fallback=["a/b", "c/d"],
            disposition="Other words.",
        )
    )
    assert spec.title == "The Scout" and spec.model == "anthropic/claude-x" and spec.problems == ()
    assert spec.capabilities[:2] == ("records.read", "records.create{paths=[inbox/**]}")
    assert "records.update" in spec.capabilities and "fs.write{in=[~/p]}" in spec.capabilities
    assert (spec.quiet, spec.idle, spec.thinking, spec.temperature) == (True, True, 2048, 0.0)
    assert (spec.max_tokens, spec.context_threshold, spec.context_window) == (100, 0.5, 8000)
    assert spec.fallback == ("a/b", "c/d") and spec.disposition == "Other words." and spec.sandbox == "~/p"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("quiet", "maybe"),
        ("idle", 1),
        ("thinking", -5),
        ("temperature", "hot"),
        ("temperature", 9),
        ("max_tokens", 0),
        ("context_threshold", 7),
        ("context_window", "large"),
        ("fallback", [1, 2]),
        ("model", ["a"]),
        ("provider", {}),
        ("disposition", 5),
        ("capabilities", {"records.raed": None}),
        ("access", "rx"),
        ("sandbox", 3),
        ("title", [1, 2]),
        ("tags", {"x": "y"}),
    ],
)
def test_a_bad_value_is_reported_and_falls_back(key: str, value: Any) -> None:
    """A bad value never stops the load: the default stands, and the problem names the key."""
    spec, plain = load({**record(), "meta": {key: value}}), load(record())
    assert len(spec.problems) == 1 and key in spec.problems[0]
    if key not in ("capabilities", "access"):
        assert AgentSpec(**{**spec.__dict__, "problems": ()}) == plain
    else:
        assert spec.capabilities == ()


def test_misspelt_keys_are_found_and_own_keys_are_left_alone() -> None:
    """A key near to a known one is a problem with the nearest; any other key is the author's own."""
    spec = load(record(modle="x", birthday="2001-01-01"))
    assert spec.problems == ("unknown key 'modle'; did you mean 'model'?",)
    assert load(record(titel="x", tag="y")).problems == (
        "unknown key 'titel'; did you mean 'title'?",
        "unknown key 'tag'; did you mean 'tags'?",
    )


def test_a_provider_without_a_model_is_reported() -> None:
    """It does nothing alone, and a person who wrote it thinks that it does."""
    [problem] = load(record(provider="anthropic")).problems
    assert "provider 'anthropic'" in problem and "the default model is used" in problem


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=10), JUNK, max_size=8), st.text(max_size=20))
@settings(max_examples=150, deadline=None)
def test_loading_never_fails(meta: dict[str, Any], body: str) -> None:
    """Nonsense in every field gives a spec, which survives the journey to its process unchanged."""
    spec = load({**record(body=body), "meta": meta})
    assert AgentSpec.from_dict(spec.to_dict()) == spec
    assert authority_of({**record(), "meta": meta}).agent == "scout"


def test_spec_of_another_version_is_read() -> None:
    """Keys that a spec does not know are left out, so an upgrade does not strand running children."""
    assert AgentSpec.from_dict({**load(record()).to_dict(), "aura": 5}) == load(record())


def test_ids() -> None:
    """`agents/` is left off; an agent elsewhere keeps its path; both places are looked at, `agents/` first."""
    assert agent_id("agents/people/bob") == "people/bob" and agent_id("bob") == "bob"
    assert record_ids("bob") == ("agents/bob", "bob")


@pytest.mark.parametrize(
    "id", ["a*", "a?b", "[x]", "{id}", "a\nb", "a//b", "../x", "a#1", "a b", "a\u00a0b", "~a", "x" * 191]
)
def test_ids_that_cannot_name_a_process(id: str) -> None:
    """An id that could be read as a pattern or a path is refused, with the remedy."""
    assert "rename the record" in (unusable(id) or "")
    assert any("rename" in problem for problem in load(record(id=f"agents/{id}")).problems)


def test_a_name_with_spaces_gets_a_name_that_works() -> None:
    """The remedy for a file name such as Obsidian makes is a name that would do."""
    assert "for example to 'Research-Assistant'" in (unusable("Research  Assistant") or "")
    assert unusable("Research-Assistant") is unusable("people/Bücher") is unusable("日本") is None


@pytest.mark.parametrize("agent", ["l" * 190, "森" * 63, "l" * 191, "森" * 64])
def test_an_agent_that_can_run_has_a_room_of_two(agent: str) -> None:
    """The longest id of a process is the longest of a `dm/` room, by its bytes: nobody runs whom a prompt cannot reach."""
    fits = len(agent.encode()) <= 190
    assert (unusable(agent) is None) is fits
    with contextlib.nullcontext() if fits else pytest.raises(RoomNameError):
        assert len(f"rooms/{check_room(f'dm/{agent}')}") <= 200


def test_a_title_is_as_long_as_a_room_takes_it() -> None:
    """A longer one is cut and reported; an entry of a room about the agent is valid."""
    spec = load(record(title="x" * 300))
    assert len(spec.title) == 256 and spec.title.endswith("…")
    assert spec.problems == ("title is at most 256 characters, not 300; it is cut",)
    assert validate({"kind": "joined", "agent": spec.id, "title": spec.title}, "roster")
    assert load(record(title="x" * 256)).problems == ()


def test_an_agent_named_like_a_word_for_everybody_is_told_so() -> None:
    """@everyone is never one agent: a note of that id says that nobody can mention it. In a folder it has another id."""
    assert any("nobody can mention" in problem for problem in load({"id": "agents/Everyone"}).problems)
    assert not load({"id": "agents/team/everyone"}).problems


def test_builtins_are_parsed_by_the_same_code() -> None:
    """index and judge come out of Markdown files, without problems."""
    found = builtins()
    assert set(found) == {"index", "judge"} and all(spec.builtin and not spec.problems for spec in found.values())
    assert found["index"].capabilities == ("records.read", "records.create") and found["index"].quiet
    assert found["judge"].idle and found["judge"].quiet


def test_a_record_replaces_the_builtin_of_its_id() -> None:
    """A user's `agents/index` is index; the other built-in stays."""
    found = roll([record("agents/index", body="Mine.", capabilities=[])])
    assert found["index"].disposition == "Mine." and not found["index"].builtin and found["judge"].builtin
    assert found["index"].capabilities == ()


def test_two_records_of_one_id() -> None:
    """The one in `agents/` wins, and says that there is another, whatever the order they come in."""
    both = [record("scout", body="b"), record("agents/scout", body="a")]
    for records in (both, both[::-1]):
        spec = roll(records)["scout"]
        assert spec.disposition == "a" and "'scout'" in spec.problems[0]


def test_a_file_becomes_a_spec() -> None:
    """A note as a person writes it goes through the parser of all notes into a spec."""
    data = b"---\nclass: agent\ntitle: Scout\ntags: [woods]\nmodel: anthropic/claude\n---\nYou know the woods.\n"
    spec = load(parse_markdown(data, path="agents/scout.md").to_dict())
    assert (spec.id, spec.title, spec.tags, spec.model) == ("scout", "Scout", ("woods",), "anthropic/claude")
    assert spec.disposition == "You know the woods."


def test_provider_wins() -> None:
    """`provider` stands before the model, unless the model names it already."""
    assert load(record(model="anthropic/x", provider="openrouter")).model == "openrouter/anthropic/x"
    assert load(record(model="openrouter/y", provider="openrouter")).model == "openrouter/y"


def test_difference_is_one_line() -> None:
    """What changed is said in one line: name, model, grants, words."""
    old = load(record(model="a/b", capabilities=["records.read"]))
    new = load(record(title="Ranger", model="c/d", capabilities=["records.create"], body="Other."))
    assert difference(old, new) == (
        "Scout became Ranger, model a/b → c/d, +records.create, -records.read, new disposition"
    )
    assert difference(old, old) == ""


def test_limits_are_read_and_a_change_of_them_makes_no_new_process() -> None:
    """Amounts are taken, anything else is a problem and no limit; what may be spent is not what the process is made of."""
    from egghead.agents.reconcile import same

    def limited(limits: object) -> AgentSpec:
        return load({"id": "agents/a", "title": "A", "meta": {"limits": limits}, "body": "x"})

    spec = limited({"cost_per_day": 2, "tokens_per_day": 5e5})
    assert (spec.cost_per_day, spec.tokens_per_day, spec.problems) == (2.0, 500_000, ())
    assert same(spec, limited({"cost_per_day": 9})) and not same(spec, limited(None).__class__("b", "b", "B"))
    for bad in (
        7,
        [],
        {"cost_per_day": -1},
        {"cost_per_day": "1 USD"},
        {"tokens_per_day": 1.5},
        {"cost": 1},
        {"tokens_per_day": True},
    ):
        found = limited(bad)
        assert (found.cost_per_day, found.tokens_per_day) == (None, None) and len(found.problems) == 1, bad
    assert limited({}).problems == () and limited({"cost_per_day": 0}).cost_per_day == 0.0
