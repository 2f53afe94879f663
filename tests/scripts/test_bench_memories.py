"""Another note store is measured for as long as it was given, and by its own account."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts" / "bench.d" / "measured"))

import memories

# What basic-memory's command does, as far as it is asked here: it writes a row a note until it is stopped or done.
FAKE = """#!{python}
import pathlib, sqlite3, sys, time
what = sys.argv[1]
config = pathlib.Path(__import__("os").environ["BASIC_MEMORY_CONFIG_DIR"])
if what == "project":
    config.mkdir()
    db = sqlite3.connect(config / "memory.db")
    db.execute("CREATE TABLE search_index(type TEXT)")
    db.commit()
elif what == "reindex":
    if {broken}:
        sys.exit("it is out of order")
    db = sqlite3.connect(config / "memory.db", isolation_level=None)
    for _ in range(3):
        db.execute("INSERT INTO search_index VALUES('entity'), ('relation')")
    time.sleep({seconds})
"""


def program(folder: Path, *, seconds: float = 0, broken: bool = False) -> Path:
    command = folder / "basic-memory"
    command.write_text(FAKE.format(python=sys.executable, seconds=seconds, broken=broken))
    command.chmod(0o755)
    return command


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_text("a\n")
    return tmp_path / "notes"


@pytest.mark.parametrize(("seconds", "limit"), [(0, 40.0), (3600, 5.0)])
def test_it_is_stopped_in_time_and_what_it_has_is_counted(
    notes: Path, tmp_path: Path, seconds: float, limit: float
) -> None:
    """Done or not, the notes in its own search table are counted, without their relations."""
    found = memories.basic_memory(program(tmp_path, seconds=seconds), notes, tmp_path, ["a"], limit)
    assert found["indexed"] == 3
    assert found["index"] < 60
    assert found["peak"] > 1


def test_a_failure_of_its_own_is_told(notes: Path, tmp_path: Path) -> None:
    """A command that fails is no measurement; its last line says why."""
    with pytest.raises(memories.Unavailable, match="it is out of order"):
        memories.basic_memory(program(tmp_path, broken=True), notes, tmp_path, ["a"], limit=30.0)


def test_a_database_of_another_form_is_told(tmp_path: Path) -> None:
    """A version that keeps its notes elsewhere is not taken for one that indexed nothing."""
    sqlite3.connect(tmp_path / "memory.db").close()
    with pytest.raises(memories.Unavailable, match=memories.REQUIREMENT):
        memories._searchable(tmp_path / "memory.db")
