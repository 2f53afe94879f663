"""A store of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from records import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    made.prepare()
    return made
