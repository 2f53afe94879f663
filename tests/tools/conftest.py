"""Notes that several tests of tools begin from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.notes import RealNotes


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[RealNotes]:
    """A store with a few notes."""
    root = tmp_path / "notes"
    root.mkdir()
    found = RealNotes(root)
    found.write("garden.md", "# Garden\n\nRoses by [[projects/wall]].\n\n## Water\n\nEvery day.\n\n## Soil\n\nClay.\n")
    found.write("projects/wall.md", "---\ntags: [stone]\n---\n# Wall\n\nDry stone.\n")
    found.write("secret/plan.md", "---\nclass: deliberation\n---\n# Plan\n\nRoses at night. [[garden]]\n")
    yield found
    found.close()
