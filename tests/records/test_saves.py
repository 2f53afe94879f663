"""The programs that people keep notes with, as they save: real ones where Debian has them, else their calls as documented."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from records import Change, Store, Watcher
from records.keeper import Keeper

OLD, NEW = "old text\n", "brand new text\n"
QUIET = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}


def run(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, env={**os.environ, **QUIET}, timeout=30)


def vim(*settings: str) -> Callable[[Path], None]:
    def save(note: Path) -> None:
        lines = [f"set {setting}" for setting in settings]
        script = note.parent.parent / "script.vim"
        script.write_text("\n".join([*lines, "%s/.*/brand new text/", "wq"]) + "\n")
        run("vim", "-u", "NONE", "-i", "NONE", "-N", "-e", "-s", "-S", str(script), note.name, cwd=note.parent)

    return save


def sed(note: Path) -> None:
    run("sed", "-i.bak", "s/.*/brand new text/", note.name, cwd=note.parent)


def rsync(*options: str) -> Callable[[Path], None]:
    def save(note: Path) -> None:
        source = note.parent.parent / "elsewhere"
        source.mkdir()
        (source / note.name).write_text(NEW)
        run("rsync", "-a", *options, f"{source}/", f"{note.parent}/", cwd=note.parent)

    return save


def emacs(note: Path) -> None:
    """Lock, auto-save, the old file renamed to the backup, a new one written (Emacs manual: Backup, Interlocking, Auto Save)."""
    lock, auto = note.with_name(f".#{note.name}"), note.with_name(f"#{note.name}#")
    lock.symlink_to("ada@host.123:456")
    auto.write_text(NEW)
    note.rename(note.with_name(note.name + "~"))
    note.write_text(NEW)
    auto.unlink()
    lock.unlink()


def emacs_copying(note: Path) -> None:
    """backup-by-copying: the backup is a copy, the file is truncated and written."""
    shutil.copy2(note, note.with_name(note.name + "~"))
    note.write_text(NEW)


def in_place(note: Path) -> None:
    """VS Code and Obsidian on Linux (Node's fs.writeFile): truncated and written through the same file."""
    with note.open("r+b", buffering=0) as file:
        file.truncate(0)
        file.write(NEW.encode())
        os.fsync(file.fileno())


def syncthing(note: Path) -> None:
    """A hidden temporary file beside it, then a rename (Syncthing, Nextcloud, Dropbox)."""
    hidden = note.with_name(f".syncthing.{note.name}.tmp")
    hidden.write_text(NEW)
    os.utime(hidden, (1, 1))
    hidden.replace(note)


def unhidden(note: Path) -> None:
    """A temporary name that ends as a note's does not (gedit, kate, `safe write` of JetBrains)."""
    temporary = note.with_name(f"{note.name}___jb_tmp___")
    temporary.write_text(NEW)
    note.replace(note.with_name(f"{note.name}___jb_old___"))
    temporary.replace(note)
    note.with_name(f"{note.name}___jb_old___").unlink()


def git_stash(note: Path) -> None:
    run("git", "init", "-q", cwd=note.parent)
    run("git", "add", ".", cwd=note.parent)
    run("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x", cwd=note.parent)
    blob = subprocess.run(["git", "hash-object", "-w", "--stdin"], cwd=note.parent, input=NEW, text=True, check=True,
                          capture_output=True)  # fmt: skip
    run("git", "update-index", "--cacheinfo", f"100644,{blob.stdout.strip()},{note.name}", cwd=note.parent)
    run("git", "checkout", "-q", "--", ".", cwd=note.parent)


SAVES: dict[str, Callable[[Path], None]] = {
    "vim backupcopy=yes": vim("backup", "backupcopy=yes"),
    "vim backupcopy=no": vim("backup", "backupcopy=no"),
    "vim backupcopy=auto writebackup": vim("nobackup", "writebackup", "backupcopy=auto"),
    "vim without backup, with undo file": vim("nobackup", "nowritebackup", "undofile"),
    "sed -i with a suffix": sed,
    "rsync": rsync(),
    "rsync --inplace": rsync("--inplace"),
    "rsync --delay-updates --backup": rsync("--delay-updates", "--backup"),
    "emacs": emacs,
    "emacs, backup by copying": emacs_copying,
    "VS Code, Obsidian": in_place,
    "Syncthing": syncthing,
    "JetBrains": unhidden,
    "git checkout": git_stash,
}


class Follower:
    """A keeper that follows a watcher, and the changes that came of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.keeper = Keeper(Store(root))
        self.changes: list[Change] = []
        self.look(None)
        self.changes.clear()

    def look(self, under: list[str] | None) -> None:
        for piece in self.keeper.look(under):
            for step in self.keeper.step(piece):
                self.changes += step.changes

    def revisions(self) -> dict[str, str]:
        return {entry.path: entry.revision for entry in self.keeper.catalog}

    async def until(self, watcher: Watcher, wanted: Callable[[], bool], seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds):
            if wanted():
                return
            async for paths in watcher:
                await asyncio.to_thread(self.look, None if "" in paths else sorted(paths))
                if wanted():
                    return


def truth(root: Path) -> dict[str, str]:
    """Path -> revision of the notes as they are on disk now."""
    store = Store(root)
    return {stat.path: store.read(stat.path).revision for stat in store.scan()}


@pytest.mark.parametrize("program", SAVES)
async def test_a_save_is_one_note_changed(tmp_path: Path, program: str) -> None:
    """Whatever else it leaves beside the note, nothing of that is ever a note, and the note is created by nobody twice."""
    note = tmp_path / "notes" / "n.md"
    note.parent.mkdir()
    note.write_text(OLD)
    other = Follower(note.parent)
    async with Watcher(note.parent) as watcher:
        await asyncio.to_thread(SAVES[program], note)
        await other.until(watcher, lambda: other.revisions() == truth(note.parent) and bool(other.changes))
        assert note.read_text() == NEW
        (note.parent / "last.md").write_text("x")  # whatever comes before it has been seen with it
        await other.until(watcher, lambda: "last.md" in other.revisions())
    assert {change.id for change in other.changes} == {"n", "last"}
    assert {change.kind for change in other.changes if change.id == "n"} <= {"updated"}


async def test_ten_thousand_notes_change_at_once(tmp_path: Path) -> None:
    """`git checkout` of another branch with 10,000 changed, new and removed notes is followed to the end in bounded time."""
    root = tmp_path / "notes"
    root.mkdir()
    run("git", "init", "-q", "-b", "main", cwd=root)
    stream = []
    for branch, numbers in (("one", range(5_000)), ("two", range(500, 10_000))):
        stream.append(f"commit refs/heads/{branch}\ncommitter a <a@b> 1 +0000\ndata 1\nx\n")
        for number in numbers:
            text = f"# Note {number}\n\n{branch} says [[n{number + 1}]]\n"
            stream.append(f"M 100644 inline d{number % 50}/n{number}.md\ndata {len(text)}\n{text}\n")
    feed = tmp_path / "stream"
    feed.write_text("".join(stream))
    run("sh", "-c", "git fast-import --quiet < ../stream", cwd=root)
    run("git", "checkout", "-q", "one", cwd=root)
    follower = Follower(root)
    assert len(follower.revisions()) == 5_000
    names = {f"d{number % 50}/n{number}.md" for number in range(500, 10_000)}
    async with Watcher(root) as watcher:
        started = time.monotonic()
        checkout = asyncio.create_task(asyncio.to_thread(run, "git", "checkout", "-q", "two", cwd=root))
        await follower.until(watcher, lambda: checkout.done() and set(follower.revisions()) == names, 45)
        assert time.monotonic() - started < 45
    assert follower.revisions() == truth(root)
    # A file that was removed gives its inode to one that is made: that is no rename.
    assert {change.kind for change in follower.changes} <= {"updated", "created", "removed"}


async def test_events_that_the_kernel_dropped_lead_to_a_look_at_everything(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """More events than the queue holds, with the reader asleep: what changed after the queue was full is found at once."""
    queue = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("")
    follower = Follower(tmp_path)
    async with Watcher(tmp_path) as watcher:
        for number in range(queue // 2 + 10):
            os.utime(tmp_path / "a.txt", (number, number))
            os.utime(tmp_path / "b.txt", (number, number))
        (tmp_path / "deep" / "er").mkdir(parents=True)
        (tmp_path / "deep" / "er" / "n.md").write_text("unseen")
        await follower.until(watcher, lambda: "deep/er/n.md" in follower.revisions(), 5)
        assert "events of" in caplog.text and "dropped" in caplog.text
        (tmp_path / "deep" / "er" / "m.md").write_text("its folder is watched again")
        await follower.until(watcher, lambda: "deep/er/m.md" in follower.revisions(), 5)


NAMESPACE = """
import asyncio, logging, os, subprocess, sys
from pathlib import Path
from tests.records.test_saves import Follower
from records import Watcher

async def limit(root, what, number, folders):
    Path("/proc/sys/user/" + what).write_text(str(number))
    for n in range(3): (root / f"d{n}").mkdir()
    follower = Follower(root)
    async with Watcher(root, poll_every=0.05) as watcher:
        for n in range(folders):
            (root / f"more{n}").mkdir()
            (root / f"more{n}" / "n.md").write_text("x")
        await follower.until(watcher, lambda: len(follower.revisions()) == folders)
        (root / f"more{folders - 1}" / "late.md").write_text("x")
        await follower.until(watcher, lambda: len(follower.revisions()) == folders + 1)
        print(watcher.polling)

async def again(root):
    told = []
    logging.getLogger("records.watch").addFilter(lambda record: told.append(record.getMessage()))
    limit = Path("/proc/sys/user/max_inotify_watches")
    limit.write_text("2")
    for n in range(3): (root / f"d{n}").mkdir()
    follower = Follower(root)
    async with Watcher(root, poll_every=0.02, retry=0.05) as watcher:
        assert watcher.watching.by == "polling" and "max_user_watches" in watcher.watching.why
        (root / "d1" / "a.md").write_text("x")
        await follower.until(watcher, lambda: "d1/a.md" in follower.revisions())
        limit.write_text("100")
        (root / "d2" / "b.md").write_text("x")
        await follower.until(watcher, lambda: watcher.watching.by == "inotify" and "d2/b.md" in follower.revisions())
        assert watcher.watching.why == "" and watcher.polling is None
        (root / "d2" / "c.md").write_text("x")
        await follower.until(watcher, lambda: "d2/c.md" in follower.revisions())
        limit.write_text("0")
        (root / "d3").mkdir()
        await follower.until(watcher, lambda: watcher.watching.by == "polling")
        limit.write_text("100")
        (root / "d3" / "d.md").write_text("x")
        await follower.until(watcher, lambda: watcher.watching.by == "inotify" and "d3/d.md" in follower.revisions())
    print([" ".join(line.replace(str(root), "it").split(":")[0].split()) for line in told])

async def mount(root):
    (root / "a.md").write_text("below")
    follower = Follower(root)
    async with Watcher(root) as watcher:
        subprocess.run(["mount", "-t", "tmpfs", "none", str(root)], check=True)
        for _ in range(3):
            follower.look(None)
        assert set(follower.revisions()) == {"a.md"}, "an empty mount took the notes away"
        (root / "b.md").write_text("above")
        await follower.until(watcher, lambda: set(follower.revisions()) == {"b.md"})
        subprocess.run(["umount", "-l", str(root)], check=True)
        await follower.until(watcher, lambda: set(follower.revisions()) == {"a.md"})
        print("followed")

what, root = sys.argv[1], Path(sys.argv[2])
asyncio.run({"mount": mount, "again": again}[what](root) if len(sys.argv) == 3 else limit(root, what, int(sys.argv[3]), 20))
"""


def in_namespace(root: Path, *arguments: str) -> str:
    """Run the script above as root of namespaces of its own; what it says."""
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", NAMESPACE, arguments[0], str(root),
         *arguments[1:]],
        cwd=Path(__file__).resolve().parents[2], text=True, capture_output=True, timeout=50,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("limit", "number", "reason"),
    [("max_inotify_watches", 2, "No space left"), ("max_inotify_watches", 10, "No space left"),
     ("max_inotify_instances", 0, "Too many open files")],
)  # fmt: skip
def test_without_watches_left_it_polls_and_says_so(tmp_path: Path, limit: str, number: int, reason: str) -> None:
    """The limit reached at the start or later, on a new folder: every note is found all the same, with the remedy told."""
    told = in_namespace(tmp_path, limit, str(number))
    assert reason in told and "max_user_watches" in told


@pytest.mark.kernel
def test_events_are_had_again_once_there_are_watches(tmp_path: Path) -> None:
    """Polling ends when the limit was raised, at the start and later; each change of the way is told once, and no note missed."""
    polling, events = "watching it by polling every 0 s", "watching it by events (inotify) again"
    assert in_namespace(tmp_path, "again") == str([polling, events, polling, events])


@pytest.mark.kernel
def test_a_disk_mounted_over_the_folder_is_followed(tmp_path: Path) -> None:
    """The other disk's notes are the notes now; an empty one takes none away; unmounted, the first are back."""
    assert in_namespace(tmp_path, "mount") == "followed"
