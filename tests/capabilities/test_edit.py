"""Granting and revoking: what is held afterwards is what was meant, whatever key it came in by."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egghead.capabilities.edit import effective, granted, revoked
from egghead.capabilities.grants import Grant, GrantError, parse_grant
from egghead.capabilities.match import covers
from tests.capabilities.test_grants import grants


def lines(meta: dict[str, Any], change: dict[str, Any]) -> list[str]:
    after = {key: value for key, value in {**meta, **change["meta"]}.items() if value is not None}
    return [str(grant) for grant in effective(after)]


@pytest.mark.parametrize(
    ("meta", "more", "after"),
    [
        ({}, "records.create", ["records.read", "records.create"]),
        ({"capabilities": []}, "records.read", ["records.read"]),
        ({"capabilities": ["records.read"]}, "records.read{paths=[a]}", ["records.read"]),
        ({"capabilities": ["records.read{paths=[a]}"]}, "records.read", ["records.read"]),
        ({"access": "r"}, "records.delete", ["records.read", "records.delete"]),
        (
            {"capabilities": [], "sandbox": "/p"},
            "records.read",
            ["fs.read{in=[/p]}", "fs.write{in=[/p]}", "proc.exec{in=[/p]}", "records.read"],
        ),
    ],
)
def test_granting(meta: dict[str, Any], more: str, after: list[str]) -> None:
    """A grant is added, absorbed or takes the place of what it covers; shorthands are written out."""
    assert lines(meta, granted(meta, [parse_grant(more)])) == after


def test_revoking() -> None:
    """What is taken away is gone, also when it came by a shorthand; what is not held is an error with the nearest."""
    meta = {"capabilities": ["records.create{paths=[a]}", "records.create{paths=[b]}"], "access": "r"}
    assert lines(meta, revoked(meta, [parse_grant("records.create{paths=[a]}")])) == [
        "records.create{paths=[b]}",
        "records.read",
    ]
    assert lines(meta, revoked(meta, [parse_grant("records.create")])) == ["records.read"]
    assert lines(meta, revoked(meta, [parse_grant("records.read")])) == meta["capabilities"]
    assert lines({}, revoked({}, [parse_grant("records.read")])) == []
    with pytest.raises(GrantError, match=r"is not granted; did you mean 'records.read'"):
        revoked({}, [parse_grant("records.update")])


def test_what_is_not_understood_is_not_rewritten() -> None:
    """A record with an unreadable grant is left to a person."""
    with pytest.raises(GrantError, match="repair them first"):
        granted({"capabilities": ["records.raed"]}, [parse_grant("records.read")])


@given(st.lists(grants(), max_size=3), grants())
@settings(max_examples=100, deadline=None)
def test_granting_gives_and_takes_nothing(held: list[Grant], more: Grant) -> None:
    """After granting, the grant is held, and so is everything that was."""
    meta = {"capabilities": [str(grant) for grant in held]}
    after = effective({**meta, **granted(meta, [more])["meta"]})
    assert all(covers(after, grant) for grant in (*held, more))
