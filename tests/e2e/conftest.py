"""One empty home for each test; a node over the foam notes for those that ask."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import FOAM
from tests.e2e.node import Home, Node, serving


@pytest.fixture
def home(short_dir: Path) -> Home:
    return Home(short_dir / "home")


@pytest.fixture
def node(home: Home, foam: Path) -> Iterator[Node]:
    with serving(home, foam) as running:
        yield running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/e2e/" in str(item.path):
            item.add_marker(pytest.mark.e2e)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(180))


@pytest.fixture(scope="session")
def shared_node() -> Iterator[Node]:
    """A node that several tests use one after another; they leave it well."""
    base = Path(tempfile.mkdtemp(prefix="eh-", dir="/tmp"))
    try:
        records = Path(shutil.copytree(FOAM, base / "notes"))
        with serving(Home(base / "home"), records) as running:
            yield running
    finally:
        shutil.rmtree(base, ignore_errors=True)
