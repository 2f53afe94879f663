"""The trash: out of sight, given back, never over anything else, gone for good only when asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from records import Exists, NotFound, Store


def test_trash_and_restore(store: Store) -> None:
    """A trashed note is out of sight, comes back under its path, and a second one of its name does not replace it."""
    store.create(id="a/n", body="first")
    store.trash("a/n")
    assert list(store.scan()) == [] and store.trashed() == ["a/n"]
    store.create(id="a/n", body="second")
    with pytest.raises(Exists):
        store.restore("a/n")
    store.trash("a/n")
    assert len(store.trashed()) == 2
    assert store.restore("a/n").body == "second\n"
    with pytest.raises(NotFound, match="in the trash"):
        store.restore("a/m")


def test_the_trash_keeps_every_namesake_and_gives_each_back(store: Store) -> None:
    """Three notes of one name trashed: all three are there, each comes back under a name of its own, none over another."""
    for text in ("one", "two", "three"):
        store.create(id="n", body=text)
        os.utime(store.root / "n.md", (1, 1))  # one time for all: their names must differ all the same
        store.trash("n")
    trashed = store.trashed()
    assert len(trashed) == 3 and "n" in trashed
    bodies = set()
    for id_ in trashed:
        record = store.restore(id_)
        bodies.add(record.body.strip())
        with pytest.raises(NotFound):
            store.restore(id_)
    assert bodies == {"one", "two", "three"} and store.trashed() == []
    store.trash("n")
    store.create(id="n", body="four")
    with pytest.raises(Exists):
        store.restore("n")
    assert store.get("n").body == "four\n" and store.purge("n") == ["n"] and store.purge(older_than=0) == []


def test_a_restore_never_replaces_what_appears_meanwhile(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that another program makes between the look and the move stays, and the trashed one too."""
    from records import writing as module

    store.create(id="n", body="mine")
    store.trash("n")
    real = module.move_new

    def late(old: str, new: str) -> None:
        Path(new).write_text("theirs")
        real(old, new)

    monkeypatch.setattr(module, "move_new", late)  # the instant before the move
    with pytest.raises(Exists):
        store.restore("n")
    assert (store.root / "n.md").read_text() == "theirs" and store.trashed() == ["n"]


def test_a_symbolic_link_comes_back_from_the_trash(store: Store) -> None:
    """A link to a note beside it leads nowhere while it is in the trash; it is found there all the same."""
    (store.root / "d").mkdir()
    (store.root / "d/real.md").write_text("text\n")
    (store.root / "d/other.md").symlink_to("real.md")
    store.trash("d/other")
    assert store.trashed() == ["d/other"]
    assert store.restore("d/other").body == "text\n" and (store.root / "d/other.md").is_symlink()
    store.trash("d/other")
    assert store.purge("d/other") == ["d/other"] and (store.root / "d/real.md").read_text() == "text\n"
