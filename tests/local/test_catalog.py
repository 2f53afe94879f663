"""The catalog of local models: names appear and go whole, and the files stay a person's own."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from egghead.llm.errors import LlmError, RequestRefused, UnknownModel
from egghead.llm.local import catalog
from egghead.llm.local.gguf import Facts
from tests.local.files import model


def test_a_file_is_named_and_forgotten(tmp_path: Path) -> None:
    """`add` links the file and keeps what it says; `remove` forgets it and leaves the file."""
    shelf, file = tmp_path / "models", model(tmp_path)
    made = catalog.add(shelf, file)
    assert (made.name, made.file, made.settings.window, made.context) == ("tiny-1.q4", str(file), 8192, 8192)
    assert (shelf / "tiny-1.q4" / "model.gguf").resolve() == file
    assert catalog.listing(shelf) == [made]
    assert catalog.remove(shelf, "tiny-1.q4") == made
    assert catalog.listing(shelf) == [] and file.exists() and not list(shelf.iterdir())


@pytest.mark.parametrize("name", ["librarian", "../x", "A", "a b", "", ".x", "x" * 41, "a/b"])
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    """A name is part of paths and of models' names: only plain ones are taken, and not the built-in one."""
    with pytest.raises(RequestRefused, match=r"cannot be called|there is a model") as refused:
        catalog.add(tmp_path / "models", model(tmp_path, "....gguf"), name)
    assert "--name" in str(refused.value)


def test_a_taken_name_is_refused(tmp_path: Path) -> None:
    """A second file does not take the place of the first."""
    shelf = tmp_path / "models"
    first = catalog.add(shelf, model(tmp_path), "x")
    with pytest.raises(RequestRefused, match="there is a model 'local/x' already"):
        catalog.add(shelf, model(tmp_path, "other.gguf"), "x")
    assert catalog.listing(shelf) == [first] and len(list(shelf.iterdir())) == 1


def test_of_two_at_once_one_wins(tmp_path: Path) -> None:
    """Many `add`s of one name at the same time: one model, whole, and the others told."""
    shelf, files = tmp_path / "models", [model(tmp_path, f"{n}.gguf") for n in range(8)]
    told: list[str] = []
    gate = threading.Barrier(len(files))

    def add(file: Path) -> None:
        gate.wait()
        try:
            told.append(catalog.add(shelf, file, "x").file)
        except LlmError as error:
            told.append(str(error))

    threads = [threading.Thread(target=add, args=(file,)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [line for line in told if line in map(str, files)]
    assert [one.file for one in catalog.listing(shelf)] == [winner]
    assert sum("already" in line for line in told) == 7 and len(list(shelf.iterdir())) == 1


def test_an_unknown_name_is_told(tmp_path: Path) -> None:
    """Removing what is not there says what is."""
    catalog.add(tmp_path / "models", model(tmp_path), "x")
    with pytest.raises(UnknownModel, match="there is x"):
        catalog.remove(tmp_path / "models", "y")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"window": 1e9}', '{"window":"a","slots":1,"threads":0,"file":"x"}'])
def test_a_broken_entry_hides_no_other(tmp_path: Path, text: str) -> None:
    """An entry that somebody broke is listed with its fault and can be removed; the others are as they were."""
    shelf = tmp_path / "models"
    good = catalog.add(shelf, model(tmp_path), "good")
    catalog.add(shelf, model(tmp_path), "bad")
    (shelf / "bad" / "model.json").write_text(text)
    bad, listed = catalog.listing(shelf)
    assert listed == good and "cannot be read" in bad.fault and "egghead llm local remove bad" in bad.fault
    assert catalog.remove(shelf, "bad").name == "bad"


def test_what_a_killed_add_left_is_swept(tmp_path: Path) -> None:
    """A half-made entry is no model, and goes with the next `add` once it is old; a young one may be somebody's work."""
    shelf = tmp_path / "models"
    for name in (".new-old", ".new-young"):
        (shelf / name).mkdir(parents=True)
    os.utime(shelf / ".new-old", (time.time() - 7200,) * 2)
    catalog.add(shelf, model(tmp_path), "x")
    assert sorted(path.name for path in shelf.iterdir()) == [".new-young", "x"]
    assert [one.name for one in catalog.listing(shelf)] == ["x"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the entry cannot be written there is none, not half of one."""

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        catalog.add(tmp_path / "models", model(tmp_path), "x")
    assert not list((tmp_path / "models").iterdir())


def test_the_window_fits(tmp_path: Path) -> None:
    """The window is what the file was trained for, bounded by the memory for all slots; a person may choose another."""
    heavy = Facts("llama", 1, context=131072, cell=128 * 1024)
    assert catalog.window_for(heavy, 2) == 4096
    assert catalog.window_for(Facts("llama", 1, context=131072, cell=1024), 2) == catalog.MOST_WINDOW
    assert catalog.window_for(Facts("llama", 1, context=2048, cell=1024), 2) == 2048
    assert catalog.window_for(Facts("llama", 1), 2) == 4096
    assert catalog.window_for(heavy, 2, 100_000) == 100_000
    with pytest.raises(RequestRefused, match="from 512 to 131072"):
        catalog.window_for(heavy, 2, 200_000)


def test_an_entry_says_how_it_is_run(tmp_path: Path) -> None:
    """What a person chose is in the entry, for people to read too."""
    catalog.add(tmp_path / "models", model(tmp_path), "x", context=1024, slots=4, threads=3, small=False)
    data = json.loads((tmp_path / "models" / "x" / "model.json").read_text())
    assert {key: data[key] for key in ("window", "slots", "threads", "small")} == {
        "window": 1024,
        "slots": 4,
        "threads": 3,
        "small": False,
    }
