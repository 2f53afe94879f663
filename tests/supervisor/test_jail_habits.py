"""What breaks for ordinary Python code inside a jail is documented, and the document is true."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.supervisor.harness import running
from tests.supervisor.worlds import NO_LANDLOCK, NO_USERNS, ROOT, ROOT_NO_LANDLOCK, ROOT_NO_USERNS, USER, World, worlds

pytestmark = pytest.mark.kernel

PAGE = Path(__file__).parents[2] / "docs" / "confinement.md"
REMEDIES = {"`fork: true`": {"fork": True}, "`exec: true`": {"exec": True}, "`network: host`": {"network": "host"}}


def table() -> list[tuple[str, str, str, str]]:
    """The rows of the page: what, outcome at level full, at level strong, what to do instead."""
    return re.findall(r"^\| `(\w+)` \| (\w+) \| (\w+) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)


def outcomes(world: World, directory: Path, **profile: Any) -> dict[str, str]:
    """What became of every habit in a confined child."""
    given = directory / "given"
    given.mkdir()
    os.chown(given, world.user, world.user)
    child = {
        "id": "a",
        "start": "habits:main",
        "args": {"given": str(given)},
        "confine": {"filesystem": {"write": [str(given)]}, **profile},
    }
    with running({"id": "t", "strategy": "one_for_one", "children": [child]}, directory, world) as node:
        assert node.ready()["level"] == world.level
        results: dict[str, str] = node.workers()["a"]["info"]["results"]
    return results


@worlds(ROOT, USER, NO_USERNS, NO_LANDLOCK, ROOT_NO_USERNS, ROOT_NO_LANDLOCK)
def test_the_table_of_what_breaks_is_true(world: World, directory: Path) -> None:
    """Every row of the table in docs/confinement.md says what happens, and every habit that is tried has a row."""
    column = 2 if world.refuse == ("userns",) else 1
    said = {row[0]: row[column] for row in table()}
    if world.refuse == ("landlock",):
        said |= {"list_root": "works", "home_directory": "works"}  # HOME is not set here: it is /
    assert len(said) >= 50
    assert outcomes(world, directory) == said


@worlds(ROOT, USER, NO_USERNS)
def test_the_key_that_is_named_helps(world: World, directory: Path) -> None:
    """What breaks and has a key of the profile named beside it works with that key."""
    profile: dict[str, Any] = {key: value for remedy in REMEDIES.values() for key, value in remedy.items()}
    named = {what for what, _, _, instead in table() if any(remedy in instead for remedy in REMEDIES)}
    results = outcomes(world, directory, **profile)
    assert len(named) >= 9
    assert {what: results[what] for what in named} == dict.fromkeys(named, "works")
