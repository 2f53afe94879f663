"""An index that is built again answers from the old file until the new one has everything, whatever happens meanwhile."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from records import Index, IndexBroken, Notes
from tests.records.node import running_node

COUNT = 40

# A process that begins a rebuild, feeds a part of it (or all), and is killed at a given step.
KILLED = """
import os, signal, sys
from records import Index, Store
root, step = sys.argv[1:]
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
store = Store(root)
index = Index(root + "/.egghead/index.db", root)
index.rebuild("asked for")
files = sorted(store.scan(), key=lambda stat: stat.path)
half = len(files) // 2 if step == "half" else len(files)
index.apply(store.read(stat.path) for stat in files[:half])
if step == "half":
    die()
if step == "before the switch":
    os.replace = die
if step == "after the switch":
    replace = os.replace
    os.replace = lambda *names: (replace(*names), die())
index.complete()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Some notes with an index."""
    for number in range(COUNT):
        (tmp_path / f"n{number}.md").write_text(f"# Note {number}\n\nword{number} everywhere\n")
    Notes(tmp_path).close()
    return tmp_path


def place(folder: Path) -> Path:
    return folder / ".egghead" / "index.db"


def age(folder: Path) -> None:
    """Make the index one of another version of the program."""
    db = sqlite3.connect(place(folder))
    db.execute("UPDATE about SET value = 'old' WHERE key = 'schema'")
    db.commit()
    db.close()


def test_readers_are_answered_by_the_old_index_until_the_new_one_is_complete(folder: Path) -> None:
    """A reader that was open sees every note during a rebuild, and what the new index says from its completion on."""
    with Notes(folder) as notes, Index(place(folder), read_only=True) as reader:
        notes.index.rebuild("asked for")
        (folder / "n0.md").write_text("# Note 0\n\nsomething fresh\n")
        notes.index.apply([notes.store.read("n0.md")])
        building = [notes.index.building]
        assert len(reader.search("everywhere", limit=COUNT)) == COUNT
        assert reader.search("fresh") == []
        with Index(place(folder), read_only=True) as late:
            assert len(late.search("everywhere", limit=COUNT)) == COUNT
        notes.sync()
        assert [*building, notes.index.building] == [True, False]
        assert [hit.id for hit in reader.search("fresh")] == ["n0"]
        assert len(reader.search("everywhere", limit=COUNT)) == COUNT - 1
        assert notes.verify() == []
    assert not list(place(folder).parent.glob("index.db.new*"))


@pytest.mark.parametrize("step", ["half", "before the switch", "after the switch"])
def test_a_rebuild_killed_at_any_step_leaves_an_index_that_answers(folder: Path, step: str) -> None:
    """After SIGKILL a reader finds every note at once, and the next opening ends the rebuild."""
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder), step])
    assert killed.returncode == -signal.SIGKILL
    with Index(place(folder), read_only=True) as reader:
        assert len(reader.search("everywhere", limit=COUNT)) == COUNT
        with Notes(folder) as notes:
            assert notes.verify() == []
            assert len(notes.search("everywhere", limit=COUNT)) == COUNT
        assert len(reader.search("everywhere", limit=COUNT)) == COUNT
    assert not list(place(folder).parent.glob("index.db.new*"))


def test_a_rebuild_goes_on_where_it_was_killed(folder: Path) -> None:
    """What the new index has already is not read a second time."""
    subprocess.run([sys.executable, "-c", KILLED, str(folder), "half"])
    with Index(place(folder)) as index:
        assert index.building
        assert index.rebuilt == "asked for"
        assert len(index.known()) == COUNT // 2


def test_garbage_beside_the_index_is_no_rebuild(folder: Path) -> None:
    """A file of the new index that is none is removed, and the old index goes on."""
    Path(f"{place(folder)}.new").write_bytes(os.urandom(20_000))
    with Index(place(folder), read_only=True) as reader:
        assert len(reader.search("everywhere", limit=COUNT)) == COUNT
    with Notes(folder) as notes:
        assert not notes.index.building
        assert notes.index.rebuilt is None
        assert len(notes.search("everywhere", limit=COUNT)) == COUNT


def test_an_index_that_cannot_answer_is_not_kept(folder: Path) -> None:
    """Somebody else's tables answer nothing: a rebuild takes their place at once, and a reader says what is wrong."""
    place(folder).unlink()
    db = sqlite3.connect(place(folder))
    db.execute("CREATE TABLE theirs(x)")
    db.close()
    with pytest.raises(IndexBroken, match="not an index of this program"):
        Index(place(folder), read_only=True)
    with Index(place(folder)) as index:
        assert not index.building
        assert index.known() == {}


async def test_a_node_answers_from_the_index_of_an_older_version_while_it_builds_its_own(folder: Path) -> None:
    """Before `store` has told `index` a single file, a search finds everything; afterwards the new index is in place."""
    age(folder)
    async with running_node(folder) as node:
        assert not (await node.index("stats"))["building"]
        assert len(await node.found("everywhere")) == 20
        await node.die("store")
        await node.die("index")
        age(folder)
        await node.start("index")
        assert (await node.index("stats"))["building"]
        assert len(await node.found("everywhere")) == 20
        await node.start("store")
        assert not (await node.index("stats"))["building"]
        assert (await node.index("stats"))["notes"] == COUNT
    assert not Path(f"{place(folder)}.new").exists()


def test_who_waits_for_a_first_index_is_told_how_far_it_is(tmp_path: Path) -> None:
    """Numbers of files read and to read, rising, during a first index; none when there is nothing to do."""
    for number in range(1200):
        (tmp_path / f"n{number}.md").write_text("x")
    told: list[tuple[int, int]] = []
    Notes(tmp_path, progress=lambda done, total: told.append((done, total))).close()
    assert told == [(500, 1200), (1000, 1200)]
    Notes(tmp_path, progress=lambda done, total: told.append((done, total))).close()
    assert len(told) == 2
