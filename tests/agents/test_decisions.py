"""Which grants of a note count, what people are told of, and the file that remembers it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egghead.agents.decisions import FILE, Decisions, in_force, load, review, reviewed, save
from egghead.agents.record import AgentSpec, authority_of
from egghead.agents.record import load as spec_of
from egghead.agents.steward import Steward
from egghead.capabilities.catalog import LOW, VERBS
from egghead.capabilities.grants import parse_grant
from egghead.capabilities.match import Request, allows, covers


def spec(*grants: Any, **meta: Any) -> AgentSpec:
    return spec_of(
        {"id": "agents/scout", "title": "Scout", "meta": {"capabilities": list(grants), **meta}, "body": "x"}
    )


def texts(grants: Any) -> list[str]:
    return [str(grant) for grant in grants]


@pytest.mark.parametrize(
    ("approved", "now", "fresh", "force"),
    [
        ([], ["records.read"], [], []),
        ([], ["records.update"], ["records.update"], []),
        (["records.update"], ["records.update", "records.delete"], ["records.delete"], ["records.update"]),
        (["records.update"], [], [], []),
        (["net.get{hosts=[a.org]}"], ["net.get{hosts=[a.org,b.org]}"], ["net.get{hosts=[a.org,b.org]}"], ["net.get{hosts=[a.org]}"]),
        (["net.get{hosts=[a.org,b.org]}"], ["net.get{hosts=[a.org]}"], [], ["net.get{hosts=[a.org]}"]),
        (["records.delete{paths=[a/**]}"], ["records.delete"], ["records.delete"], ["records.delete{paths=[a/**]}"]),
        (["records.delete"], ["records.delete{paths=[a/**]}"], [], ["records.delete{paths=[a/**]}"]),
    ],
)  # fmt: skip
def test_what_is_new_and_what_counts(approved: list[str], now: list[str], fresh: list[str], force: list[str]) -> None:
    """Low risk is not looked at; what was widened counts as before; what was taken away does not count any more."""
    found = review([parse_grant(text) for text in now], approved)
    assert (texts(found.fresh), texts(found.force)) == (fresh, force)


def test_held_authority_allows_what_it_did_before() -> None:
    """An agent whose note was widened from outside may do what was approved and what is of low risk, and nothing else."""
    record = {
        "id": "agents/a",
        "meta": {"capabilities": ["records.read", "records.update", {"records.delete": {"paths": ["inbox/**"]}}]},
    }
    held = in_force(authority_of(record), ["records.update{paths=[inbox/**]}"])
    assert allows(held, Request.of("records.read", classes="durable", paths="x"))
    assert allows(held, Request.of("records.update", classes="durable", paths="inbox/x"))
    assert not allows(held, Request.of("records.update", classes="durable", paths="x"))
    assert not allows(held, Request.of("records.delete", classes="durable", paths="inbox/x"))


GRANTS = st.lists(
    st.sampled_from(["records.read", "records.update", "records.update{paths=[a/**]}", "records.delete", "agent.grant",
                     "net.get{hosts=[a.org]}", "net.get{hosts=[a.org,b.org]}", "net.get{*}"]),
    max_size=5, unique=True,
)  # fmt: skip


@given(GRANTS, GRANTS)
def test_nothing_counts_that_is_not_both_granted_and_approved(approved: list[str], now: list[str]) -> None:
    """The grants in force are a part of the note's and of the approved ones; approving all makes nothing new."""
    held = [parse_grant(text) for text in now]
    found = review(held, approved)
    before = [parse_grant(text) for text in approved]
    for grant in found.force:
        assert covers(held, grant) and covers(before, grant)
    assert not review(held, [text for text in now if VERBS[parse_grant(text).verb].risk != LOW]).fresh
    assert bool(found.fresh) == any(not covers(before, g) for g in held if VERBS[g.verb].risk != LOW)


async def test_growth_from_outside_is_told_once_and_held(tmp_path: Path) -> None:
    """The first look trusts what is there; growth through a file is told once, also after a restart; approved, it counts."""
    steward = Steward(tmp_path, hold=True)
    first = spec("records.read", "records.update")
    assert await steward.review({"scout": first}, {"agents/scout": "1"}) == []
    grown = spec("records.read", "records.update", "records.delete")
    [(id, text)] = await steward.review({"scout": grown}, {"agents/scout": "2"})
    assert "records.delete" in text and "egghead agents approve scout" in text and "records.update" not in text
    assert steward.held == {"scout": ("records.delete",)} and steward.approved("scout", grown) == ["records.update"]
    again = Steward(tmp_path, hold=True)
    assert await again.review({"scout": grown}, {"agents/scout": "2"}) == []
    assert again.held == {"scout": ("records.delete",)}
    assert await again.approve(grown) == ("records.delete",)
    assert await again.review({"scout": grown}, {"agents/scout": "2"}) == [] and again.held == {}
    assert again.approved("scout", grown) == ["records.update", "records.delete"]
    assert await again.review({"scout": first}, {"agents/scout": "3"}) == []
    assert len(await again.review({"scout": grown}, {"agents/scout": "4"})) == 1, (
        "taken away, it is new when it comes again"
    )
    assert await again.review({}, {}) == []
    assert len(await again.review({"scout": first}, {"agents/scout": "5"})) == 1, (
        "a note that comes from outside is new"
    )
    assert id


async def test_what_somebody_asked_the_store_for_is_not_from_outside(tmp_path: Path) -> None:
    """Written through the store, growth is approved with it, for that very revision; announced growth is told once only."""
    steward = Steward(tmp_path, hold=False)
    await steward.review({"scout": spec("records.read")}, {"agents/scout": "1"})
    steward.asked["agents/scout"] = "2"
    assert await steward.review({"scout": spec("records.delete")}, {"agents/scout": "2"}) == []
    other = spec("records.delete", "agent.grant")
    [(_, text)] = await steward.review({"scout": other}, {"agents/scout": "3"})
    assert "egghead agents revoke scout 'agent.grant'" in text and steward.held == {}
    assert await steward.review({"scout": other}, {"agents/scout": "3"}) == []


def test_the_file_may_be_garbage_but_never_approves(tmp_path: Path) -> None:
    """Nothing there: nothing was ever decided. Something that cannot be read: nothing is approved. A save is read back."""
    assert load(tmp_path) is None
    decisions = Decisions().park("scout", "it shouts").approve("nib", reviewed(spec("records.delete"))).tell("a", [])
    save(tmp_path, decisions)
    assert load(tmp_path) == decisions
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert decisions.unpark("scout").parked == {} and decisions.without(["nib", "scout"]) == Decisions(
        {"scout": "it shouts"}, {}, {"a": ()}
    )
    for garbage in (b"", b"{", b"[]", b'{"parked": []}', b'{"parked": {}, "approved": {"a": 1}, "told": {}}', b"\xff"):
        (tmp_path / FILE).write_bytes(garbage)
        assert load(tmp_path) == Decisions(), garbage


async def test_a_decision_that_cannot_be_kept_is_not_made(tmp_path: Path) -> None:
    """Without its directory a decision raises and changes nothing; a review goes on and holds what is new."""
    gone = tmp_path / "gone"
    gone.mkdir()
    steward = Steward(gone, hold=True)
    await steward.review({"scout": spec("records.read")}, {})
    (gone / FILE).unlink()
    gone.rmdir()
    with pytest.raises(OSError, match="No such file"):
        await steward.decide(steward.decisions.park("scout", "x"))
    assert steward.decisions.parked == {}
    assert len(await steward.review({"scout": spec("records.delete")}, {})) == 1
    assert steward.held == {"scout": ("records.delete",)}
