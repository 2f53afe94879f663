"""What breaks for ordinary Python code inside a jail is documented, and the document is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.supervisor.harness import ROOT, USER, World, directory, running, worlds

__all__ = ["directory"]

pytestmark = pytest.mark.kernel

PAGE = Path(__file__).parents[2] / "docs" / "confinement.md"


@worlds(ROOT, USER)
def test_the_table_of_what_breaks_is_true(world: World, directory: Path) -> None:
    """Every row of the table in docs/confinement.md says what happens, and every habit that is tried has a row."""
    said = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", PAGE.read_text(), re.MULTILINE))
    given = directory / "given"
    given.mkdir()
    given.chmod(0o777)
    child = {
        "id": "a",
        "start": "habits:main",
        "args": {"given": str(given)},
        "confine": {"filesystem": {"write": [str(given)]}},
    }
    with running({"id": "t", "strategy": "one_for_one", "children": [child]}, directory, world) as node:
        node.ready()
        results = node.workers()["a"]["info"]["results"]
    assert results == said
