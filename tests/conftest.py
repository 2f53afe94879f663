"""What every test may use: short private directories (unix sockets have short names) and the sample notes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# One example may wait for a processor that others use; the timeout of the test bounds them all.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

FOAM = Path(__file__).parent / "samples" / "foam" / "notes"


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A private directory with a name short enough for unix sockets below it."""
    path = Path(tempfile.mkdtemp(prefix="eh-", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def foam(short_dir: Path) -> Path:
    """A copy of the foam notes that a test may change."""
    return Path(shutil.copytree(FOAM, short_dir / "notes"))
