"""After anything that may happen to a folder of notes, seen or unseen, the index is the one that would be built now."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import unicodedata
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from records import Index, Notes, RecordError, Store
from records.catalog import Entry
from records.keeper import Keeper
from records.proof import prove

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # hundreds of small databases: no disk needs to sync them
NAMES = st.sampled_from(
    [
        "a",
        "b",
        "A",
        "été",
        unicodedata.normalize("NFD", "été"),
        "x y",
        "skills/s/SKILL",
        "deep/er/c",
        "f___b",
        "20240101T101010--a__t",
    ]
)
FOLDERS = st.sampled_from(["", "f/", "F/", "deep/", "g/h/"])
SUFFIXES = st.sampled_from([".md", ".md", ".md", ".org", ".MD"])
CONTENTS = st.sampled_from([
    b"plain words\n", b"other words\n", b"see [[a]] and [[b|that]] and [here](deep/er/c.md)\n",
    b"---\nid: a\n---\n\nclaims an id\n", b"---\nid: f/b\naliases: [b, x y]\ntags: [t, t/u]\nlinks: [a]\n---\n# Head\n",
    b"---\nbroken: [\n---\ntext\n", b"#+TITLE: Org\n:PROPERTIES:\n:ID: b\n:END:\n* Head [[a]]\n", b"\0\1binary\xff", b"",
    "#tag Straße été 漢字\n".encode(), b"\xe9t\xe9 latin\n", b"---\nclass: agent\n---\nI am one.\n",
    b"title:: a\nalias:: x y, b\ntags:: [[t]]\n- [[f/b]] [[denote:20240101T101010]]\n",
])  # fmt: skip


class Folder(RuleBasedStateMachine):
    """A folder that people, programs and the API change, and a keeper that may or may not be told."""

    @initialize()
    def begin(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="egghead-rebuild-", dir=MEMORY))
        self.root = self.base / "notes"
        self.root.mkdir()
        self.store = Store(self.root)
        self.store.prepare()
        self.index = Index(self.base / "index.db", self.root)
        self.keeper = Keeper(self.store)
        self.unsent: list[tuple[list[dict[str, object]], list[str]]] = []
        self.clock = 10**18

    def teardown(self) -> None:
        if hasattr(self, "base"):
            try:
                self.settle()
            finally:
                self.index.close()
                shutil.rmtree(self.base)

    def paths(self) -> list[Path]:
        return sorted(
            path for path in self.root.rglob("*") if not path.is_dir() and ".egghead" not in path.parts and ".trash" not in path.parts
        )  # fmt: skip

    def pick(self, data: st.DataObject) -> Path | None:
        paths = self.paths()
        return data.draw(st.sampled_from(paths)) if paths else None

    def look(self, under: list[str] | None) -> None:
        for piece in self.keeper.look(under):
            for step in self.keeper.step(piece):
                self.index.apply(step.upserts, step.removals)

    def settle(self) -> None:
        self.look(None)
        assert prove(self.store, self.index, scratch=self.base) == []
        assert sorted(self.keeper.catalog, key=repr) == sorted(self.index.entries(), key=repr)
        assert {e.path: self.keeper.catalog.id_at(e.path) for e in self.keeper.catalog if e.class_} == {
            e.path: self.index.id_at(e.path) for e in self.index.entries() if e.class_
        }

    # --- what other programs do ---

    @rule(folder=FOLDERS, name=NAMES, suffix=SUFFIXES, content=CONTENTS)
    def save(self, folder: str, name: str, suffix: str, content: bytes) -> None:
        path = self.root / (folder + name + suffix)
        if not path.is_dir() and not any(above.is_file() or above.is_symlink() for above in path.parents):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_symlink():
                path.write_bytes(content)

    @rule(data=st.data(), content=CONTENTS)
    def replace(self, data: st.DataObject, content: bytes) -> None:
        if (path := self.pick(data)) is not None:
            temporary = path.with_name(".saving")
            temporary.write_bytes(content)
            temporary.replace(path)

    @rule(data=st.data())
    def same_size_and_time(self, data: st.DataObject) -> None:
        """Other bytes in place, the time set back: only the time of the change itself tells."""
        path = self.pick(data)
        if path is not None and path.is_file() and (held := path.read_bytes()):
            info = path.stat()
            path.write_bytes(bytes([held[0] ^ 1]) + held[1:])
            os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))

    @rule(data=st.data(), when=st.sampled_from([0, 1, 10**18, 4 * 10**18, -(10**18)]))
    def touch(self, data: st.DataObject, when: int) -> None:
        path = self.pick(data)
        if path is not None and path.exists():
            os.utime(path, ns=(when, when))

    @rule(data=st.data(), folder=FOLDERS, name=NAMES, suffix=SUFFIXES)
    def move(self, data: st.DataObject, folder: str, name: str, suffix: str) -> None:
        target = self.root / (folder + name + suffix)
        if (path := self.pick(data)) is not None and not target.is_dir():
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
            except OSError:
                pass  # a file where a folder is wanted

    @rule(old=FOLDERS, new=FOLDERS)
    def move_folder(self, old: str, new: str) -> None:
        source, target = self.root / (old or "f"), self.root / (new or "moved")
        with suppress(OSError):  # not there, or one inside the other
            source.rename(target)

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if (path := self.pick(data)) is not None:
            path.unlink()

    @rule(folder=FOLDERS)
    def remove_folder(self, folder: str) -> None:
        shutil.rmtree(self.root / (folder or "g"), ignore_errors=True)

    @rule(name=NAMES, leads=st.sampled_from(["a.md", "f", ".", "..", "link.md", "/etc/hostname", "missing"]))
    def link(self, name: str, leads: str) -> None:
        path = self.root / f"{name.rpartition('/')[2]}.md"
        if not os.path.lexists(path):
            path.symlink_to(leads)

    @rule()
    def vanish_and_return(self) -> None:
        """The whole folder goes and comes back, looked at while it is gone."""
        self.root.rename(self.base / "away")
        self.look(None)
        (self.base / "away").rename(self.root)

    # --- what the API does ---

    @rule(data=st.data(), name=NAMES, content=st.sampled_from(["body [[a]]", "# T\n", ""]))
    def write(self, data: st.DataObject, name: str, content: str) -> None:
        ids = sorted(self.keeper.catalog.id_at(entry.path) for entry in self.keeper.catalog if entry.class_)
        try:
            if not ids or data.draw(st.booleans()):
                record, kind, previous = self.store.create(id=name, body=content), "created", None
            else:
                id_ = data.draw(st.sampled_from(ids))
                previous = self.store.path_of(id_)
                what = data.draw(st.sampled_from(["update", "trash", "rename"]))
                if what == "trash":
                    step = self.keeper.trashed(self.store.trash(id_))
                    self.index.apply(step.upserts, step.removals)
                    return
                if what == "rename":
                    renamed = self.store.rename(id_, name + "-new")
                    record, kind = renamed.record, "renamed"
                else:
                    record, kind = self.store.update(id_, {"body": content}), "updated"
            step, _ = self.keeper.wrote(record, kind, previous)
        except RecordError:
            return
        self.index.apply(step.upserts, step.removals)

    # --- what is seen of it ---

    @rule(folder=FOLDERS, name=NAMES, suffix=SUFFIXES)
    def hint(self, folder: str, name: str, suffix: str) -> None:
        """A hint, true or not; every other event is one that was missed."""
        self.look([folder + name + suffix])

    @rule(folder=FOLDERS)
    def hint_folder(self, folder: str) -> None:
        self.look([folder.rstrip("/") or "f"])

    @rule(part=st.integers(0, 3))
    def crash(self, part: int) -> None:
        """Killed in the middle of a look: what was sent is in the index, the rest is not, and what was known is gone."""
        for piece in self.keeper.look(None)[:part]:
            for step in self.keeper.step(piece)[:part]:
                self.index.apply(step.upserts, step.removals)
        self.index.close()
        self.index = Index(self.base / "index.db", self.root)
        self.store = Store(self.root)
        self.store.recover()
        entries: list[Entry] = self.index.entries()
        self.keeper = Keeper(self.store, entries)

    @rule()
    def look_at_all(self) -> None:
        self.settle()


TestFolder = Folder.TestCase
TestFolder.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)


SPOIL = {
    "a word that is in no file": "INSERT INTO words VALUES('nowhere', 1)",
    "a link that is in no file": "INSERT INTO links SELECT 1, 99, 'wiki', 'x', 'x', 'x', '', '', 0",
    "a title of its own": "UPDATE notes SET title = 'Other' WHERE path = 'n3.md'",
    "a note that is not there": "UPDATE notes SET path = 'gone.md' WHERE path = 'n3.md'",
    "no note": "DELETE FROM notes WHERE path = 'n3.md'",
    "full text without a note": "INSERT INTO fts(rowid, title, names, headings, tags, body) VALUES(99, 'x', '', '', '', '')",
    "a tag less": "DELETE FROM tags WHERE note = 1",
}


@pytest.mark.parametrize("what", SPOIL)
def test_verify_sees_every_kind_of_difference_and_rebuild_mends_it(tmp_path: Path, what: str) -> None:
    """A row too many, too few or other than the file has it is named; after a rebuild nothing is."""
    for number in range(5):
        (tmp_path / f"n{number}.md").write_text(f"---\ntags: [t{number}]\n---\n# Note {number}\n\n[[n0]] words\n")
    with Notes(tmp_path) as notes:
        assert notes.verify() == []
        db = sqlite3.connect(tmp_path / ".egghead" / "index.db")
        db.execute(SPOIL[what])
        db.commit()
        db.close()
        assert notes.verify() != []
        notes.rebuild()
        assert notes.verify() == [] and notes.index.stats()["notes"] == 5
