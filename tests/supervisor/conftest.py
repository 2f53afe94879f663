"""What every test of the supervisor may use without importing it: a directory that other users can read too."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short, world-readable directory: unix socket paths are limited to 107 bytes, and an ordinary user reads it."""
    path = Path(tempfile.mkdtemp(prefix="eg-", dir="/tmp"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)
