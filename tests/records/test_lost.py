"""A note that another program removed can be brought back, as far as the store has ever known it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from records import Notes, NotFound, Store, formats, lost
from tests.records.node import running_node

NOTE = """\
---
# who looks after it
title: "The roof: 7"
class: inbox
tags: [house/top, 'a b']
links: [walls]
aliases: [Dach, "Toit, vieux"]
created: 2024-05-06
author: Ada
rating: 4
nested: {a: [1, 2], b: null}
---

# Another heading

Tiles and [[chimney]].
"""


@pytest.fixture
def root(short_dir: Path) -> Path:
    """A folder with a note that no API ever wrote."""
    (short_dir / "house").mkdir()
    (short_dir / "house" / "roof.md").write_text(NOTE)
    return short_dir


def test_undo_brings_back_a_note_that_was_only_indexed(root: Path) -> None:
    """Its text as it was, its fields with the values that they had."""
    with Notes(root) as notes:
        was = notes.index.get("house/roof")
        shutil.rmtree(root / "house")
        assert [change.kind for change in notes.sync()] == ["removed"]
        assert [version.action for version in notes.store.versions("house/roof")] == ["removed"]
        assert "-Tiles and [[chimney]]." in notes.store.diff("house/roof")
        record = notes.undo("house/roof")
        assert was is not None and record.body == was["body"] == NOTE.split("---\n\n")[1]
        now = notes.index.get("house/roof")
        assert now is not None
        changed = {key for key in was if was[key] != now[key]}
        assert changed <= {"revision", "updated", "size", "mtime_ns", "inode"}
        assert notes.store.versions("house/roof") == []
        assert [hit.id for hit in notes.search("tiles")] == ["house/roof"] and notes.verify() == []


def test_undo_before_anybody_noticed(root: Path) -> None:
    """A file that is gone while the index still has it comes back with its last text; without an index, with what a write replaced."""
    with Notes(root) as notes:
        for text in ("leaks", "drips"):
            notes.append("house/roof", text)
        (root / "house" / "roof.md").unlink()
        assert notes.undo("house/roof").body.endswith("leaks\ndrips\n")
    (root / "house" / "roof.md").unlink()
    assert Store(root).undo("house/roof").body.endswith("leaks\n")
    assert Store(root).undo("house/roof").body.endswith("[[chimney]].\n")


def test_the_old_bytes_themselves_are_taken_where_they_are_kept(root: Path) -> None:
    """A note that was as a kept version has it comes back byte for byte."""
    with Notes(root) as notes:
        notes.append("house/roof", "leaks")
        (root / "house" / "roof.md").write_text(NOTE)
        notes.sync()
        (root / "house" / "roof.md").unlink()
        notes.sync()
        notes.undo("house/roof")
        assert (root / "house" / "roof.md").read_text() == NOTE


def test_undo_takes_the_younger_of_trash_and_history(root: Path) -> None:
    """A trashed note comes out of the trash; one that was removed after that, from what is kept of it."""
    with Notes(root) as notes:
        notes.append("house/roof", "leaks")
        notes.trash("house/roof")
        assert notes.undo("house/roof").body.endswith("leaks\n")
        assert notes.store.trashed() == []
        notes.trash("house/roof")
        notes.create(id="house/roof", body="new")
        (root / "house" / "roof.md").unlink()
        notes.sync()
        assert notes.undo("house/roof").body == "new\n"
        (root / "house" / "roof.md").unlink()
        notes.sync()
        with pytest.raises(NotFound, match="no version 'x'"):
            notes.undo("house/roof", "x")


def test_what_another_program_moved_to_the_trash_comes_out_of_it(root: Path) -> None:
    """Obsidian's trash is ours: no second copy is kept, and undo takes the file itself."""
    with Notes(root) as notes:
        (root / ".trash" / "house").mkdir(parents=True)
        (root / "house" / "roof.md").rename(root / ".trash" / "house" / "roof.md")
        notes.sync()
        assert not notes.store.history.of("house/roof.md") and notes.store.trashed() == ["house/roof"]
        notes.undo("house/roof")
        assert (root / "house" / "roof.md").read_text() == NOTE and notes.store.trashed() == []


def test_what_cannot_be_brought_back_says_so(root: Path) -> None:
    """Nobody knows its text."""
    with Notes(root) as notes:
        with pytest.raises(NotFound, match="there is no note 'never'"):
            notes.undo("never")
        (root / "house" / "roof.md").unlink()
        with pytest.raises(NotFound, match="there is no note 'house/roof'"):
            Store(root).undo("house/roof")
        with pytest.raises(NotFound, match="removed by another program, and no text of it is kept; a backup"):
            Store(root, locate=lambda _: "house/roof.md").undo("house/roof")


def test_a_folder_removed_at_once_is_not_copied(short_dir: Path) -> None:
    """More notes than a slip of the hand removes are somebody's intention: `git checkout`, `rm -r`."""
    for number in range(lost.MOST + 1):
        (short_dir / f"{number}.md").write_text("x")
    with Notes(short_dir) as notes:
        for number in range(lost.MOST + 1):
            (short_dir / f"{number}.md").unlink()
        (short_dir / "other.md").write_text("another size")
        notes.sync()
        assert not any(notes.store.history.of(f"{number}.md") for number in range(lost.MOST + 1))


async def test_a_node_keeps_what_another_program_removes(root: Path) -> None:
    """`rm` under a running node, then `undo`: the note is there and found, and listeners hear that it was made."""
    async with running_node(root) as node:
        heard = await node.user.subscribe("records/changed/")
        (root / "house" / "roof.md").unlink()
        assert (await anext(heard)).data["kind"] == "removed"
        answer = await node.store("undo", id="house/roof")
        assert answer["indexed"] and answer["record"]["body"] == NOTE.split("---\n\n")[1]
        assert (await anext(heard)).data["kind"] == "created"
        assert await node.found("tiles") == ["house/roof"]


TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.just("\n"), max_size=80)


@given(TEXTS, TEXTS, st.sampled_from(["n.md", "n.org"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_row_as_a_file_has_the_row_s_text(front: str, text: str, path: str) -> None:
    """Whatever a note said, its text comes back, and reading that says the same."""
    record = formats.parse(f"---\n{front}\n---\n{text}".encode(), path)
    row = json.loads(json.dumps(record.to_dict(), default=str))
    data = lost.as_file(row)
    assert data is not None
    assert formats.parse(data, path).body.strip("\n") == record.body.strip("\n")
