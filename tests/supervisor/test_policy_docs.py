"""docs/supervisor.md has every key of the tree file. Its tables are made by scripts/docs.py, which has its own test."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.treefile import _ROOT, _SUPERVISOR, _WORKER

PAGE = Path(__file__).parents[2] / "docs" / "supervisor.md"


@pytest.mark.parametrize("key", sorted({*_ROOT, *_SUPERVISOR, *_WORKER}))
def test_keys(key: str) -> None:
    """Every key of the tree file is on the page."""
    assert f"`{key}`" in PAGE.read_text(encoding="utf-8")
