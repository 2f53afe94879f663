"""One set of changes for every source of file events: our inotify, and the library that other systems use."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from records import InvalidValue, Watcher
from records.events import Batch, Events, open_events
from tests.records.test_saves import Follower

SOURCES = ("inotify", "watchfiles")
WAIT = 10.0  # seconds; a busy machine may be late


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with two notes, one of them in a folder."""
    root = tmp_path / "notes"
    (root / "house").mkdir(parents=True)
    (root / "n.md").write_text("old")
    (root / "house" / "roof.md").write_text("old")
    return root


@pytest.fixture(params=SOURCES)
def events(request: pytest.FixtureRequest, root: Path) -> Iterator[Events]:
    """Each source on that folder."""
    source = open_events(os.path.realpath(root), request.param)
    assert source.name == request.param
    yield source
    source.close()


def told(events: Events, wanted: set[str], ends: Callable[[Batch], bool] = lambda batch: False) -> Batch:
    """Everything that is told until all that is wanted was, or `ends`; fails after a while."""
    paths: set[str] = set()
    while True:
        batch = events.collect(WAIT, 0.015, 0.12)
        assert batch is not None and (batch.paths or batch.gone or batch.dropped), (
            f"missing {wanted - paths} of {paths}"
        )
        paths |= batch.paths
        if ends(batch) or (wanted and wanted <= paths):
            return Batch(frozenset(paths), batch.dropped, batch.gone)


def vim(note: Path) -> None:
    """As vim with its default settings: the old file renamed, a new one written, the old one removed."""
    backup = note.with_name(note.name + "~")
    note.rename(backup)
    note.write_text("new")
    backup.unlink()


CHANGES: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "create": (lambda root: (root / "new.md").write_text("x"), {"new.md"}),
    "create in a folder": (lambda root: (root / "house" / "new.md").write_text("x"), {"house/new.md"}),
    "modify": (lambda root: (root / "n.md").write_text("new"), {"n.md"}),
    "touch": (lambda root: os.utime(root / "n.md", (1, 1)), {"n.md"}),
    "rename a note": (lambda root: (root / "n.md").rename(root / "m.md"), {"n.md", "m.md"}),
    "move a note": (lambda root: (root / "n.md").rename(root / "house" / "n.md"), {"n.md", "house/n.md"}),
    "rename a folder": (lambda root: (root / "house").rename(root / "home"), {"house", "home"}),
    "save as vim does": (lambda root: vim(root / "n.md"), {"n.md"}),
    "save over it": (lambda root: shutil.copy2(root / "n.md", root / ".n.tmp").rename(root / "n.md"), {"n.md"}),
    "delete": (lambda root: (root / "n.md").unlink(), {"n.md"}),
    "delete a folder": (lambda root: shutil.rmtree(root / "house"), {"house"}),
    "create a folder": (lambda root: (root / "new").mkdir(), {"new"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_told(root: Path, events: Events, change: str) -> None:
    """Whatever is changed, the paths of it are told; of hidden files nothing is."""
    work, wanted = CHANGES[change]
    work(root)
    found = told(events, wanted)
    assert not found.gone and not found.dropped
    assert not [path for path in found.paths if path.startswith((".", "/")) or "/." in path]


def took(events: Events, paths: set[str], quiet: float) -> bool:
    """Whether the next batch, which is of these, waited for more."""
    began = time.monotonic()
    batch = events.collect(WAIT, quiet, quiet)
    assert batch == Batch(frozenset(paths))
    return time.monotonic() - began >= quiet


def test_a_file_that_was_saved_by_itself_is_told_at_once(root: Path) -> None:
    """What was written and closed, or moved here, waits for nothing; what may be half of a save does, and what follows closely."""
    with contextlib.closing(open_events(os.path.realpath(root), "inotify")) as events:
        (root / "n.md").write_text("new")
        assert not took(events, {"n.md"}, quiet=5)
        (root / "n.md").write_text("again")
        assert took(events, {"n.md"}, quiet=1)
        (root / "n.md").unlink()  # as editors do that write the new one afterwards
        assert took(events, {"n.md"}, quiet=0.05)


@pytest.mark.parametrize("how", ["written", "moved"])
def test_a_whole_save_over_a_removed_file_is_told_at_once(root: Path, how: str) -> None:
    """A file that is there again as its last event says is settled, whatever happened to it before."""
    with contextlib.closing(open_events(os.path.realpath(root), "inotify")) as events:
        (root / ".new").write_text("new")
        (root / "n.md").unlink()
        (root / ".new").rename(root / "n.md") if how == "moved" else (root / "n.md").write_text("new")
        assert not took(events, {"n.md"}, quiet=5)


def test_new_folders_are_followed_and_renamed_ones_too(root: Path, events: Events) -> None:
    """A note written into a folder that was made or renamed after the start is told under the folder's name of now."""
    (root / "a" / "b").mkdir(parents=True)
    told(events, {"a"})
    (root / "a" / "b" / "n.md").write_text("x")
    told(events, set(), lambda batch: bool(batch.paths & {"a/b/n.md", "a/b"}))
    (root / "house").rename(root / "home")
    told(events, {"house", "home"})
    (root / "home" / "roof.md").write_text("new")
    assert "house/roof.md" not in told(events, {"home/roof.md"}).paths


def test_nothing_is_told_of_nothing(root: Path, events: Events) -> None:
    """After the wait an empty batch; what happens in a hidden folder is no event."""
    assert events.collect(0.05, 0.015, 0.12) == Batch()
    (root / ".egghead").mkdir()
    (root / ".egghead" / "index.db").write_text("x")
    (root / "last.md").write_text("x")
    assert {path for path in told(events, {"last.md"}).paths if "egghead" in path} == set()


def test_the_folder_itself_going_is_told(root: Path, events: Events) -> None:
    """`rm -rf` of the whole folder: the batch says that it is gone, not only that files are."""
    shutil.rmtree(root)
    assert told(events, set(), lambda batch: batch.gone).gone


def test_closing_ends_a_wait_in_another_thread(events: Events) -> None:
    """`collect` returns None at once when the source is closed meanwhile, and from then on."""
    answers: list[Batch | None] = []
    thread = threading.Thread(target=lambda: answers.append(events.collect(60, 0.015, 0.12)))
    thread.start()
    events.close()
    thread.join(WAIT)
    assert answers == [None] and events.collect(1, 0.015, 0.12) is None
    events.close()


@pytest.mark.parametrize("kind", SOURCES)
def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, kind: str) -> None:
    """No source begins on nothing, and the error says what is wrong."""
    with pytest.raises(OSError, match=r"(?i)no such file|no path"):
        open_events(str(tmp_path / "none"), kind)


@pytest.mark.parametrize("kind", SOURCES)
async def test_a_folder_that_goes_and_comes_back_is_followed_again(root: Path, kind: str) -> None:
    """`rm -rf` of the notes and a new folder in their place: what is in it is found, and what is saved in it later."""
    follower = Follower(root)
    async with Watcher(root, kind=kind) as watcher:
        assert watcher.watching.by == kind
        shutil.rmtree(root)
        root.mkdir()
        (root / "back.md").write_text("x")
        await follower.until(watcher, lambda: set(follower.revisions()) == {"back.md"})
        (root / "back.md").rename(root / "last.md")
        await follower.until(watcher, lambda: set(follower.revisions()) == {"last.md"})
        assert watcher.watching.by == kind


@pytest.mark.parametrize("kind", SOURCES)
async def test_a_name_that_is_not_text_stops_nobody(root: Path, kind: str) -> None:
    """A file whose name is not UTF-8 is no note; the notes beside it are followed on."""
    follower = Follower(root)
    async with Watcher(root, kind=kind, poll_every=0.05, retry=0.1) as watcher:
        os.close(os.open(os.fsencode(root) + b"/caf\xe9.md", os.O_CREAT))
        (root / "after.md").write_text("x")
        await follower.until(watcher, lambda: "after.md" in follower.revisions())
        (root / "later.md").write_text("x")
        await follower.until(watcher, lambda: "later.md" in follower.revisions())


@pytest.mark.parametrize("kind", ["inotfy", "watchman", ""])
def test_a_source_that_does_not_exist_is_refused(tmp_path: Path, kind: str) -> None:
    """The value is shown with the nearest known one, or all of them."""
    with pytest.raises(InvalidValue, match="inotify"):
        Watcher(tmp_path, kind=kind)


def test_what_a_system_gets(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """inotify on Linux, the library on every other system."""
    for platform, name in (("linux", "inotify"), ("darwin", "watchfiles"), ("win32", "watchfiles")):
        monkeypatch.setattr("records.events.sys.platform", platform)  # there is one system here
        source = open_events(os.path.realpath(root))
        monkeypatch.undo()
        assert source.name == name
        source.close()


async def test_without_the_library_the_folder_is_polled(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that cannot be loaded is the reason that is told, and every note is found all the same."""
    monkeypatch.setitem(sys.modules, "records.rustnotify", None)  # as where the library has no wheel
    follower = Follower(root)
    async with Watcher(root, kind="watchfiles", poll_every=0.02) as watcher:
        assert watcher.watching.by == "polling" and "watchfiles cannot be loaded" in watcher.watching.why
        (root / "new.md").write_text("x")
        await follower.until(watcher, lambda: "new.md" in follower.revisions())


UNREADABLE = """
import os, sys
from records.events import open_events
import records.inotify, records.rustnotify

if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
events = open_events(sys.argv[2], sys.argv[1])
with open(sys.argv[2] + "/n.md", "w") as note:
    note.write("x")
while batch := events.collect(10, 0.015, 0.12):
    if "n.md" in batch.paths:
        print("told")
        break
    assert batch.paths
"""


@pytest.mark.parametrize("kind", SOURCES)
def test_a_folder_that_may_not_be_read_hides_no_other(short_dir: Path, kind: str) -> None:
    """An ordinary user's notes beside a folder of somebody else are followed."""
    root = short_dir / "notes"
    (root / "private").mkdir(parents=True)
    (root / "private").chmod(0)
    for folder in (short_dir, root):
        folder.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-c", UNREADABLE, kind, os.path.realpath(root)], capture_output=True, text=True, timeout=30,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    (root / "private").chmod(0o700)
    assert done.stdout == "told\n", done.stderr


OVERFLOW = """
import sys
from records.events import open_events

events = open_events(sys.argv[2], sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
paths, dropped = set(), False
while batch := events.collect(1.0, 0.015, 0.12):
    if not batch.paths and not batch.dropped:
        break
    paths |= batch.paths
    dropped |= batch.dropped
print("dropped" if dropped else "told" if "deep" in paths else "lost")
"""


@pytest.mark.parametrize(("kind", "answer"), [("inotify", "dropped"), ("watchfiles", "lost")])
def test_only_our_own_source_says_that_the_kernel_dropped_events(tmp_path: Path, kind: str, answer: str) -> None:
    """With the reader stopped and the queue full, inotify tells of the loss. The library loses a note without a word, which
    is why it is not used on Linux and why beside it everything is looked at now and then."""
    queue = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("")
    command = [sys.executable, "-c", OVERFLOW, kind, os.path.realpath(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as reader:
        assert reader.stdin is not None and reader.stdout is not None and reader.stdout.readline() == "ready\n"
        reader.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, reader.pid, os.WSTOPPED | os.WNOWAIT)
        for number in range(queue // 2 + 10):
            os.utime(tmp_path / "a.txt", (number, number))
            os.utime(tmp_path / "b.txt", (number, number))
        (tmp_path / "deep").mkdir()
        reader.send_signal(signal.SIGCONT)
        reader.stdin.write("\n")
        reader.stdin.flush()
        assert reader.stdout.readline().strip() == answer


async def test_beside_a_source_that_loses_events_everything_is_looked_at(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where events may be lost without a word, the stream tells to look at everything at intervals, and says at which."""
    from records import watch as module

    monkeypatch.setattr(module, "LOOK", 0.05)  # a minute in life
    monkeypatch.setattr(module, "WAIT", 0.05)
    async with Watcher(root, kind="watchfiles") as watcher, asyncio.timeout(WAIT):
        assert watcher.watching.every == 0.05
        stream = aiter(watcher)
        assert [await anext(stream), await anext(stream)] == [{""}, {""}]
