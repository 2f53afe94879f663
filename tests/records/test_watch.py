"""The watcher hints at every change, however a program makes it."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from records import Store, Watcher
from records.keeper import Keeper


async def settled(root: Path, keeper: Keeper, watcher: Watcher, wanted: set[str]) -> None:
    """Follow hints until what the keeper knows is what is wanted."""
    async with asyncio.timeout(10):
        if {entry.path for entry in keeper.catalog} == wanted:
            return
        async for paths in watcher:
            for piece in keeper.look(None if "" in paths else sorted(paths)):
                keeper.step(piece)
            if {entry.path for entry in keeper.catalog} == wanted:
                return


def vim(path: Path, text: str) -> None:
    backup = path.with_name(path.name + "~")
    if path.exists():
        path.rename(backup)
    path.write_text(text)
    backup.unlink(missing_ok=True)


def rename_over(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)


def emacs(path: Path, text: str) -> None:
    lock = path.with_name(f".#{path.name}")
    lock.symlink_to("user@host.1")
    path.with_name(f"#{path.name}#").write_text(text)
    path.write_text(text)
    path.with_name(f"#{path.name}#").unlink()
    lock.unlink()


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


@pytest.mark.parametrize("save", [vim, rename_over, emacs, append, Path.write_text])
async def test_every_way_of_saving_is_one_change(tmp_path: Path, save: Callable[[Path, str], object]) -> None:
    """However an editor writes, one `updated` comes of it and no other note appears."""
    (tmp_path / "n.md").write_text("old text")
    keeper = Keeper(Store(tmp_path))
    for piece in keeper.look():
        keeper.step(piece)
    changes = []
    async with Watcher(tmp_path) as watcher:
        save(tmp_path / "n.md", "brand new text")
        async with asyncio.timeout(10):
            async for paths in watcher:
                for piece in keeper.look(sorted(paths)):
                    changes += [change for step in keeper.step(piece) for change in step.changes]
                if changes:
                    break
        assert [(change.kind, change.id) for change in changes] == [("updated", "n")]
        assert len(keeper.catalog) == 1


async def test_folders_come_move_and_go(tmp_path: Path) -> None:
    """A copied tree, a renamed folder and `rm -r` keep paths in step; files of fresh folders are not missed."""
    keeper = Keeper(Store(tmp_path))
    source = tmp_path.parent / f"{tmp_path.name}-source"
    for number in range(40):
        (source / f"d{number % 4}" / "deep").mkdir(parents=True, exist_ok=True)
        (source / f"d{number % 4}" / "deep" / f"n{number}.md").write_text(str(number))
    async with Watcher(tmp_path) as watcher:
        shutil.copytree(source, tmp_path / "in")
        await settled(tmp_path, keeper, watcher, {f"in/d{n % 4}/deep/n{n}.md" for n in range(40)})
        os.rename(tmp_path / "in" / "d0", tmp_path / "out")
        wanted = {f"in/d{n % 4}/deep/n{n}.md" for n in range(40) if n % 4} | {
            f"out/deep/n{n}.md" for n in range(0, 40, 4)
        }
        await settled(tmp_path, keeper, watcher, wanted)
        shutil.rmtree(tmp_path / "in")
        await settled(tmp_path, keeper, watcher, {f"out/deep/n{n}.md" for n in range(0, 40, 4)})


async def test_a_moved_note_is_a_rename(tmp_path: Path) -> None:
    """The same file under another name is one change with the id it had."""
    (tmp_path / "a.md").write_text("x")
    keeper = Keeper(Store(tmp_path))
    for piece in keeper.look():
        keeper.step(piece)
    os.rename(tmp_path / "a.md", tmp_path / "b.md")
    (change,) = [
        change for piece in keeper.look(["a.md", "b.md"]) for step in keeper.step(piece) for change in step.changes
    ]
    assert (change.kind, change.id, change.previous_id) == ("renamed", "b", "a")


async def test_a_directory_that_goes_takes_no_note_along(tmp_path: Path) -> None:
    """Unmounted or removed as a whole, the notes are not reported removed; when it is back, they are in step again."""
    root = tmp_path / "notes"
    root.mkdir()
    (root / "a.md").write_text("x")
    keeper = Keeper(Store(root))
    for piece in keeper.look():
        keeper.step(piece)
    async with Watcher(root) as watcher:
        shutil.rmtree(root)
        assert keeper.look() == [] and len(keeper.catalog) == 1 and keeper.faults
        root.mkdir()
        (root / "b.md").write_text("y")
        await settled(root, keeper, watcher, {"b.md"})


async def test_polling_where_there_are_no_events(tmp_path: Path) -> None:
    """Without kernel events the same stream comes from a clock, and says why."""
    keeper = Keeper(Store(tmp_path))
    async with Watcher(tmp_path, poll_every=0.05, kind="poll") as watcher:
        assert watcher.polling == "asked for"
        (tmp_path / "n.md").write_text("x")
        await settled(tmp_path, keeper, watcher, {"n.md"})


async def test_touched_is_not_changed(tmp_path: Path) -> None:
    """A new time on the same bytes tells the index, and nobody else."""
    (tmp_path / "n.md").write_text("x")
    keeper = Keeper(Store(tmp_path))
    for piece in keeper.look():
        keeper.step(piece)
    os.utime(tmp_path / "n.md", (1, 1))
    (step,) = [step for piece in keeper.look() for step in keeper.step(piece)]
    assert len(step.upserts) == 1 and step.changes == []


async def test_a_folder_that_becomes_a_symbolic_link_is_left_at_once(tmp_path: Path) -> None:
    """What it leads to lies elsewhere: its notes are gone, also when the folder was looked at a moment before."""
    root, away = tmp_path / "notes", tmp_path / "away"
    (root / "sub").mkdir(parents=True)
    (root / "sub/n.md").write_text("text\n")
    keeper = Keeper(Store(root))
    for paths in keeper.look():
        keeper.step(paths)
    assert "sub/n.md" in keeper.catalog
    (root / "sub").rename(away)
    (root / "sub").symlink_to(away)
    changes = [change for paths in keeper.look(["sub"]) for step in keeper.step(paths) for change in step.changes]
    assert [(change.kind, change.path) for change in changes] == [("removed", "sub/n.md")]
