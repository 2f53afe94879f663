"""The store: every write leaves the old file or the new one, and nothing of anybody else's is overwritten."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from records import (
    Conflict,
    Exists,
    InvalidId,
    InvalidValue,
    NotFound,
    ReadOnly,
    Record,
    RecordError,
    Store,
    Unreadable,
    frontmatter,
)  # fmt: skip
from records.history import History


def files(root: Path) -> set[str]:
    return {
        path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and ".egghead" not in path.parts
    }


def test_create_writes_only_what_was_given(store: Store) -> None:
    """Frontmatter holds the fields that have a value; the id is the path."""
    record = store.create(
        title="A Day: at sea", body="Waves.", tags=["sea", "a b"], meta={"mood": "calm"}, author="ada"
    )
    assert record.id == "a-day-at-sea" and record.tags == ("sea", "a b") and record.meta == {"mood": "calm"}
    text = (store.root / "a-day-at-sea.md").read_text()
    assert text.startswith("---\ntitle: 'A Day: at sea'\ntags: [sea, a b]\ncreated: ") and text.endswith(
        "---\n\nWaves.\n"
    )
    headed = store.create(title="Own heading", body="# Own heading\n\nText")
    assert "title:" not in (store.root / headed.path).read_text() and headed.title == "Own heading"


def test_generated_ids_never_collide_and_given_ones_are_refused(store: Store) -> None:
    """Two notes of one title get two names; an explicit id that exists is an error and the old file stays."""
    assert [store.create(title="Same").id for _ in range(3)] == ["same", "same-2", "same-3"]
    assert store.create(body="no title").id.startswith("inbox/20")
    assert store.create(title="Quick", class_="inbox").id == "inbox/quick"
    with pytest.raises(Exists):
        store.create(id="same", body="other")
    with pytest.raises(InvalidId):
        store.create(id="../outside")
    assert "other" not in (store.root / "same.md").read_text()


def test_update_changes_only_what_was_asked(store: Store) -> None:
    """Comments, order, CRLF and mode survive; a title changes where it lives."""
    path = store.root / "n.md"
    path.write_bytes(b"---\r\n# why\r\ntags: [a]   # mine\r\nzeta: 'q'\r\n---\r\n\r\n# Title\r\n\r\nBody\r\n")
    path.chmod(0o640)
    record = store.update("n", {"tags": ["a", "b"], "title": "New title"})
    assert path.read_bytes() == (
        b"---\r\n# why\r\ntags: [a, b]   # mine\r\nzeta: 'q'\r\n---\r\n\r\n# New title\r\n\r\nBody\r\n"
    )
    assert record.title == "New title" and stat.S_IMODE(path.stat().st_mode) == 0o640
    store.update("n", {"meta": {"zeta": None, "eta": 3}})
    assert store.get("n").meta == {"eta": 3}


def test_a_stale_revision_is_refused_with_a_diff(store: Store) -> None:
    """Nobody overwrites what they have not read."""
    first = store.create(title="N", body="one")
    store.update("n", {"body": "two"})
    with pytest.raises(Conflict) as conflict:
        store.update("n", {"body": "three"}, revision=first.revision)
    assert conflict.value.data["revision"] == store.get("n").revision
    assert "-one" in conflict.value.data["diff"] and "+two" in conflict.value.data["diff"]
    assert store.get("n").body == "two\n"


def test_without_a_revision_only_the_asked_keys_are_merged(store: Store) -> None:
    """An editor's change of the body and an agent's change of tags both stand."""
    record = store.create(title="N", body="one")
    (store.root / "n.md").write_text((store.root / "n.md").read_text().replace("one", "by hand"))
    store.update("n", {"tags": ["x"]})
    assert store.get("n").body == "by hand\n" and store.get("n").tags == ("x",)
    assert record.revision != store.get("n").revision


def test_ten_writers_on_one_note_lose_nothing(store: Store) -> None:
    """Each appends its line by `edit`; all lines are there."""
    store.create(id="n", body="start\nEND\n")

    def write(name: int) -> None:
        other = Store(store.root)
        for turn in range(5):
            while True:
                try:
                    body = other.get("n")
                    other.update("n", {"body": body.body.replace("END", f"{name}-{turn}\nEND")}, revision=body.revision)
                    break
                except Conflict:
                    continue

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = store.get("n").body.split()
    missing = {f"{name}-{turn}" for name in range(4) for turn in range(5)} - set(lines)
    assert not missing


def test_an_editor_that_saves_at_the_last_moment_is_not_overwritten(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A save between the last look and the exchange comes back; the write is repeated on top of it."""
    from records import writing as module

    store.create(id="n", body="a\nb\n")
    path = store.root / "n.md"
    real = module.exchange
    saves = iter(["saved in time\nb\n"])

    def late(one: str, other: str) -> bool:
        text = next(saves, None)
        if text is not None:
            path.with_name("tmp").write_text(text)
            path.with_name("tmp").replace(path)
        return real(one, other)

    monkeypatch.setattr(module, "exchange", late)  # no editor hits the instant between two system calls by itself
    store.edit("n", "b", "c")
    assert path.read_text() == "saved in time\nc\n"


def test_edit_wants_exactly_one_place(store: Store) -> None:
    """No place or two places: refused with the count, nothing changed."""
    store.create(id="n", body="a b a")
    for old, message in (("a", "2 times"), ("x", "0 times"), ("", "is empty")):
        with pytest.raises(InvalidValue, match=message):
            store.edit("n", old, "z")
    assert store.edit("n", "b", "c").body == "a c a\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"clas": "agent"}, "did you mean 'class'"), ({"class": "agnet"}, "did you mean 'agent'"), ({"tags": "a b"}, "list of texts"),
     ({"body": 3}, "must be text"), ({"title": "\ud800"}, "surrogate"), ({"meta": {"k": object}}, "cannot hold")],
)  # fmt: skip
def test_senseless_changes_are_refused(store: Store, changes: dict[str, object], message: str) -> None:
    """The error names the field, shows the value and the nearest right one."""
    store.create(id="n", body="x")
    with pytest.raises(InvalidValue, match=message):
        store.update("n", changes)


def test_rename_without_an_index_reads_every_file(store: Store) -> None:
    """Links are found in the files themselves when nobody resolved them."""
    store.create(id="old", body="I am")
    store.create(id="b/linker", body="[[old]] and [x](../old.md) and [[other]]; [[../old]], [[/old]], [[./old]]")
    done = store.rename("old", "c/new")
    assert done.record.id == "c/new" and done.rewritten == ("b/linker.md",)
    assert (
        store.get("b/linker").body
        == "[[new]] and [x](../c/new.md) and [[other]]; [[../c/new]], [[/c/new]], [[./old]]\n"
    )
    with pytest.raises(Exists):
        store.rename("b/linker", "c/new")
    with pytest.raises(InvalidId):
        store.rename("b/linker", "/etc/x")


def test_listed_links_follow_a_rename(store: Store) -> None:
    """Links that an author listed in frontmatter lead to the note's new id; the other lines stay."""
    store.create(id="old", body="I am")
    (store.root / "b.md").write_text("---\n# mine\nlinks: [other, old]\n---\nno link here\n")
    assert store.rename("old", "c/new").rewritten == ("b.md",)
    assert (store.root / "b.md").read_text() == "---\n# mine\nlinks: [other, c/new]\n---\nno link here\n"


def test_case_only_rename(store: Store) -> None:
    """A note may change the case of its name."""
    store.create(id="note", body="x")
    assert store.rename("note", "Note").record.id == "Note"


def test_history_undo_and_diff(store: Store) -> None:
    """Every replaced version is kept and can be put back; undo twice goes two back."""
    store.create(id="n", body="one")
    store.update("n", {"body": "two"})
    store.update("n", {"body": "three"})
    assert [version.action for version in store.versions("n")] == ["update", "update"]
    assert "-two" in store.diff("n") and "+three" in store.diff("n")
    assert store.undo("n").body == "two\n"
    assert store.undo("n").body == "one\n"
    with pytest.raises(NotFound, match="no earlier version"):
        store.undo("n")
    assert [version.action for version in store.versions("n")] == ["undo", "undo"]


def test_history_is_bounded(store: Store) -> None:
    """Old versions go by age, then by total size, but each note keeps its newest."""
    store.create(id="n", body="0")
    for number in range(6):
        store.update("n", {"body": "x" * 1000 + str(number)})
    store.history.max_bytes = 3500
    store.history.prune()
    kept = store.versions("n")
    assert 1 <= len(kept) <= 3
    store.history.prune(now=10**10)
    assert store.versions("n") == []


def test_scan_sees_notes_only(store: Store) -> None:
    """Hidden, temporary and backup files, other extensions, and links that lead outside are not notes."""
    for name in ("a.md", "b.org", "sub/c.MD", ".h.md", "x.md~", "#y.md#", "z.txt", ".git/g.md", "~$w.md", "v.md.swp"):
        path = store.root / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("x")
    outside = store.root.parent / "outside.md"
    outside.write_text("secret")
    (store.root / "leak.md").symlink_to(outside)
    (store.root / "loop").symlink_to(store.root)
    (store.root / "inside.md").symlink_to(store.root / "a.md")
    (store.root / "dir.md").mkdir()
    os.mkfifo(store.root / "pipe.md")
    assert {found.path for found in store.scan()} == {"a.md", "b.org", "sub/c.MD", "inside.md"}
    for id_ in ("leak", "pipe", "dir"):
        with pytest.raises(RecordError):
            store.get(id_)


def test_writes_through_a_symbolic_link_out_are_refused(store: Store) -> None:
    """Neither a linked folder nor a linked file leads a write outside."""
    outside = store.root.parent / "elsewhere"
    outside.mkdir()
    (store.root / "door").symlink_to(outside)
    with pytest.raises(RecordError):
        store.create(id="door/x", body="x")
    assert list(outside.iterdir()) == []
    store.create(id="a", body="one")
    (store.root / "b.md").symlink_to("a.md")
    store.update("b", {"body": "two"})
    assert (store.root / "b.md").is_symlink() and store.get("a").body == "two\n"


@pytest.mark.parametrize("errno_", ["ENOSPC", "EIO"])
def test_a_write_that_fails_leaves_the_old_file(store: Store, monkeypatch: pytest.MonkeyPatch, errno_: str) -> None:
    """Disk full at the sync of the new file: refused with the reason, old bytes intact, no stray file."""
    import errno

    store.create(id="n", body="one")
    before = (store.root / "n.md").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(getattr(errno, errno_), os.strerror(getattr(errno, errno_)))

    monkeypatch.setattr(os, "fsync", full)  # the kernel fails no sync on demand
    for write in (lambda: store.update("n", {"body": "two"}), lambda: store.create(id="m", body="x")):
        with pytest.raises(ReadOnly, match="cannot be written"):
            write()
    monkeypatch.undo()
    assert (store.root / "n.md").read_bytes() == before
    assert files(store.root) == {"n.md"}


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """The error says which directory and what to do."""
    with pytest.raises(ReadOnly, match="not there"):
        Store(tmp_path / "gone").prepare()


def test_kill_9_in_the_middle_of_writes_leaves_whole_files(tmp_path: Path) -> None:
    """A writer killed at any moment leaves each note old or new, and what it left over is swept by a later scan."""
    program = (
        "import sys; from records import Store\n"
        "store = Store(sys.argv[1]); store.prepare()\n"
        "store.create(id='n', body='0' * 50000)\n"
        "print('go', flush=True)\n"
        "n = 0\n"
        "while True:\n"
        "    n = (n + 1) % 10; store.update('n', {'body': str(n) * 50000}); store.create(body=str(n) * 50000)\n"
    )
    for _ in range(3):
        root = tmp_path / str(_)
        root.mkdir()
        with subprocess.Popen([sys.executable, "-c", program, str(root)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            child.stdout.read(0)
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(0.15)
            child.kill()
        store = Store(root)
        for found in store.scan():
            body = store.read(found.path).body
            assert len(body) == 50001 and len(set(body)) == 2
        for path in root.rglob(".egghead-*.tmp"):
            os.utime(path, (0, 0))
        list(store.scan())
        assert list(root.rglob(".egghead-*.tmp")) == [] or all(
            ".egghead" in p.parts for p in root.rglob(".egghead-*.tmp")
        )


def test_unreadable_things_are_said(store: Store) -> None:
    """Binary files and files without permission raise, naming the file."""
    (store.root / "b.md").write_bytes(bytes(range(256)) * 10)
    with pytest.raises(Unreadable, match=r"'?b\.md"):
        store.read("b.md")
    with pytest.raises(NotFound):
        store.read("none.md")


def test_what_an_editor_writes_through_an_open_file_is_not_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor that opened the note before the exchange and writes after it has its text on top, and the agent's in it."""
    from records import writing as module

    store.create(id="n", body="a\nb\n")
    path = store.root / "n.md"
    texts = iter(["saved now\nb\n"])
    real = module.confirm
    with path.open("r+") as editor:

        def slow(folders: list[str], undo: Callable[[], object]) -> None:
            text = next(texts, None)
            if text is not None:
                editor.truncate(0)
                editor.write(text)
                editor.flush()
            real(folders, undo)

        monkeypatch.setattr(module, "confirm", slow)  # as above: the instant before the confirmation
        store.edit("n", "b", "c")
    assert path.read_text() == "saved now\nc\n"


WRITER = """
import sys
from records import Conflict, Store
store, name = Store(sys.argv[1]), sys.argv[2]
for turn in range(6):
    while True:
        note = store.get("n")
        try:
            store.update("n", {"body": note.body.replace("END", f"{name}-{turn}\\nEND")}, revision=note.revision)
            break
        except Conflict:
            continue
"""


def test_ten_processes_and_an_editor_on_one_note_lose_no_line(store: Store) -> None:
    """Ten writers with revisions and an editor that renames over the note: every line of everybody is there at the end."""
    store.create(id="n", body="start\nEND\n")
    path = store.root / "n.md"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(store.root), f"w{number}"], stderr=subprocess.PIPE)
        for number in range(10)
    ]
    try:
        saved = 0
        while saved < 6:
            # As an editor that warns of a changed file does: it saves only over what it has read.
            text = path.read_bytes()
            temporary = path.with_name(".n.md.saving")
            temporary.write_bytes(text.replace(b"END", b"editor-%d\nEND" % saved))
            with store.only_writer():
                if path.read_bytes() == text:
                    temporary.replace(path)
                    saved += 1
        for writer in writers:
            _, errors = writer.communicate(timeout=50)
            assert writer.returncode == 0, errors.decode()
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
            assert writer.stderr is not None
            writer.stderr.close()
    lines = store.get("n").body.split()
    wanted = {f"w{number}-{turn}" for number in range(10) for turn in range(6)} | {f"editor-{n}" for n in range(6)}
    assert wanted <= set(lines) and len(lines) == len(wanted) + 2
    assert not [name for name in os.listdir(store.root) if name.startswith(".egghead-")]


def test_a_program_that_keeps_saving_is_outlasted(store: Store) -> None:
    """A change is made on top of what twenty saves in a row left, one version is kept, and who never rests is named."""
    store.create(id="n", body="start\n")
    path = store.root / "n.md"
    saved = 0

    def change(until: int) -> Callable[[frontmatter.Parts, Record], frontmatter.Parts]:
        def change(parts: frontmatter.Parts, record: Record) -> frontmatter.Parts:
            nonlocal saved
            if saved < until:  # between the look and the write
                saved += 1
                temporary = path.with_name(".saving")
                temporary.write_text(f"saved {saved}\n")
                temporary.replace(path)
            return frontmatter.with_body(parts, parts.text + "added\n")

        return change

    store._writer.rewrite("n", change(20), "append")
    assert path.read_text() == "saved 20\nadded\n"
    (kept,) = store.versions("n")
    assert store.history.read("n.md", kept.name) == b"saved 20\n"
    with pytest.raises(Conflict, match="rewritten by another program"):
        store._writer.rewrite("n", change(1000), "append")
    assert path.read_text() == f"saved {saved}\n" and len(store.versions("n")) == 1


def test_a_clock_that_was_set_back_makes_no_version_the_older_one(store: Store) -> None:
    """The version kept last is the newest, in this process and in the next."""
    history = store.history
    history.keep("n.md", b"one", "update", now=2e9)
    history.keep("n.md", b"two", "update", now=1e9)
    again = History(history.directory)
    again.keep("n.md", b"three", "update", now=1e9)
    again.keep("other.md", b"old", "update", now=1e9)
    again.follow("n.md", "other.md")
    again.keep("other.md", b"four", "update", now=1e9)
    assert [again.read("other.md", kept.name) for kept in again.of("other.md")] == [
        b"four", b"three", b"two", b"one", b"old",
    ]  # fmt: skip


def test_history_is_bounded_without_a_node(store: Store) -> None:
    """Kept versions are pruned as they grow and at a start once a day; the newest of a note always stays."""
    store.history.max_bytes = 40_000
    store.create(id="n", body="x")
    for number in range(60):
        store.update("n", {"body": f"{number} " + "y" * 2_000})
    held = store.versions("n")
    assert sum(version.size for version in held) < 50_000 and held[0].size > 2_000
    old = store.history.directory / "n.md" / "20200101T000000.000000Z-abc-update"
    old.write_text("too old")
    store.recover()
    assert old.exists()  # pruned today already
    os.utime(store.history.directory / "pruned", (1, 1))
    store.recover()
    assert not old.exists() and store.versions("n")
