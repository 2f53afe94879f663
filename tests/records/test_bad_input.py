"""The specification's bad-input section, one test a row: each is told, none stops the rest, and no file is harmed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from records import Notes, ReadOnly, RecordError, rows
from records.markdown import MAX_LINKS

GOOD = "# Good\n\nanchovy\n"


@pytest.fixture
def root(short_dir: Path) -> Iterator[Path]:
    """A folder with one good note, which must be found whatever lies beside it."""
    folder = short_dir / "n"
    folder.mkdir(mode=0o755)
    short_dir.chmod(0o755)
    (folder / "good.md").write_text(GOOD)
    yield folder


def faults(notes: Notes) -> dict[str, str]:
    return {str(row["path"]): str(row["error"]) for row in notes.index.faults()}


def found(notes: Notes, word: str) -> list[str]:
    assert [hit.id for hit in notes.search("anchovy ")] == ["good"], "the good note is found beside bad ones"
    return [hit.id for hit in notes.search(word + " ")]


def test_invalid_utf_8_is_read_as_latin_1_and_flagged(root: Path) -> None:
    """The text is found, the file keeps its bytes when a key changes, and what Latin-1 cannot hold is refused."""
    raw = b"---\ntitle: caf\xe9\n---\ncr\xe8me br\xfbl\xe9e\n"
    (root / "bad.md").write_bytes(raw)
    with Notes(root) as notes:
        assert found(notes, "brûlée") == ["bad"] and "Latin-1" in faults(notes)["bad.md"]
        with pytest.raises(RecordError, match="convert it to UTF-8"):
            notes.update("bad", {"title": "日本"})
        assert (root / "bad.md").read_bytes() == raw
        notes.update("bad", {"title": "thé"})
        assert (root / "bad.md").read_bytes() == raw.replace(b"caf\xe9", b"th\xe9")


def test_nul_bytes_are_flagged_and_kept(root: Path) -> None:
    """A stray NUL hides nothing and survives a change beside it."""
    raw = b"# Head\n\nquince \0 jelly " + b"word " * 20 + b"\n"
    (root / "bad.md").write_bytes(raw)
    with Notes(root) as notes:
        assert found(notes, "quince") == ["bad"] and "NUL" in faults(notes)["bad.md"]
        notes.edit("bad", "quince", "medlar")
        assert (root / "bad.md").read_bytes() == raw.replace(b"quince", b"medlar")


def test_a_binary_that_is_called_md_is_skipped_and_reported(root: Path) -> None:
    """It is no note: not listed, not found, not changed, named among the faults."""
    raw = Path(sys.executable).resolve().read_bytes()[:20_000]
    (root / "bad.md").write_bytes(raw)
    with Notes(root) as notes:
        assert [row["id"] for row in notes.index.list()] == ["good"]
        assert found(notes, "ELF") == [] and "not text" in faults(notes)["bad.md"]
        with pytest.raises(RecordError):
            notes.update("bad", {"title": "x"})
    assert (root / "bad.md").read_bytes() == raw


def test_a_megabyte_of_frontmatter(root: Path) -> None:
    """More than is parsed is an error of that note; its text is found, soon."""
    (root / "bad.md").write_text("---\n" + "key: value\n" * 110_000 + "---\nquince\n")
    started = time.monotonic()
    with Notes(root) as notes:
        assert found(notes, "quince") == ["bad"] and "at most" in faults(notes)["bad.md"]
    assert time.monotonic() - started < 10


def test_yaml_bombs_are_refused(root: Path) -> None:
    """Aliases that unfold to billions, loops, and brackets without end cost neither memory nor the process."""
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    for name, block in {"bomb": "\n".join(lines), "loop": "a: &a [*a]", "deep": "a: " + "[" * 100_000}.items():
        (root / f"{name}.md").write_text(f"---\n{block}\n---\nquince\n")
    with Notes(root) as notes:
        assert sorted(found(notes, "quince")) == ["bomb", "deep", "loop"]
        assert set(faults(notes)) == {"bomb.md", "loop.md", "deep.md"}


@pytest.mark.timeout(60)
def test_a_million_wikilinks(root: Path) -> None:
    """Read in time linear in their number; so many are kept as a note can have."""
    (root / "bad.md").write_text("quince " + "[[good]] " * 1_000_000)
    with Notes(root) as notes:
        assert found(notes, "quince") == ["bad"]
        assert len(notes.get("bad").wikilinks) == MAX_LINKS
        assert {link["id"] for link in notes.index.backlinks("good")} == {"bad"}
        assert faults(notes) == {"bad.md": "the first 20,000 of its links are known; split the note"}


def test_a_note_that_is_not_searched_to_its_end_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index says how much of it is searched, beside what else is wrong with it; the note itself is whole and without fault."""
    monkeypatch.setattr(rows, "MAX_BODY", 1000)  # for 12 million, which take a while
    (root / "long.md").write_text("---\n[\n---\n" + "medlar " * 140 + " " * 20 + "quince")
    with Notes(root) as notes:
        assert found(notes, "quince") == [] and found(notes, "medlar") == ["long"]
        broken = notes.get("long").error
        assert broken is not None and "in line 3" in broken
        assert (
            faults(notes)["long.md"]
            == f"{broken}; the first 1,000 of its 1,006 characters are searched; split the note"
        )
        assert notes.index.stats()["errors"] == 1 and notes.verify() == []
        notes.append("long", "end")
        assert notes.get("long").body.endswith("quince\nend")


def test_two_files_with_one_id(root: Path) -> None:
    """Both are listed; the second has the id of its path, and the faults say so."""
    for name in ("one", "two"):
        (root / f"{name}.md").write_text(f"---\nid: same\n---\nquince {name}\n")
    with Notes(root) as notes:
        assert sorted(found(notes, "quince")) == ["same", "two"]
        assert "'same' belongs to another file" in faults(notes)["two.md"]
        notes.update("two", {"body": "changed\n"})
        assert (root / "one.md").read_text().endswith("quince one\n") and (root / "two.md").read_text().endswith(
            "changed\n"
        )


@pytest.mark.parametrize(
    "name",
    [
        "roof.sync-conflict-20260101-120000-ABCDEF1", "roof (Ada's conflicted copy 2026-01-01)", "roof (conflicted copy 2026-01-01 120000)",
        "roof (Conflicted copy phone 202601011200)", "roof_conflict-20260101-120000", "roof (SFConflict ada@x.org 2026-01-01-12-00-00)", "roof [conflicted]",
    ],
)  # fmt: skip
def test_the_conflicted_copy_of_a_sync_program_is_named_and_takes_no_id(root: Path, name: str) -> None:
    """Whatever its name: the note keeps its id, and the faults say what to do. Alone it is a note as any other."""
    (root / f"{name}.md").write_text("---\nid: house\n---\ntheirs\n")
    (root / "roof conflict.md").write_text("about a quarrel\n")
    with Notes(root) as notes:
        assert notes.get("house").body == "theirs\n" and faults(notes) == {}
        (root / "roof.md").write_text("---\nid: house\n---\nmine\n")
        notes.sync()
        assert notes.get("house").body == "mine\n" and notes.get(name).body == "theirs\n"
        assert "copy of 'roof.md'" in faults(notes)[f"{name}.md"] and notes.verify() == []


def test_names_that_differ_in_case_only(root: Path) -> None:
    """Two notes, each with its own text; a link that spells one exactly means that one, any other spelling none."""
    for name in ("Case", "case"):
        (root / f"{name}.md").write_text(f"quince {name}\n")
    (root / "l.md").write_text("[[Case]] [[case]] [[CASE]]\n")
    with Notes(root) as notes:
        assert sorted(found(notes, "quince")) == ["Case", "case"]
        assert [link["id"] for link in notes.index.links("l")] == ["Case", "case", None]
        notes.update("case", {"body": "changed\n"})
        assert (root / "Case.md").read_text() == "quince Case\n"


def as_nobody(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python as a user to whom modes apply; root may read and write everything."""
    python = "/usr/bin/python3" if os.geteuid() == 0 else sys.executable
    site = os.pathsep.join(
        [str(Path(__file__).parents[2]), *(path for path in sys.path if path.endswith("site-packages"))]
    )
    user = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    return subprocess.run(
        [python, "-B", "-c", code, *arguments], capture_output=True, text=True, timeout=60,
        env={"PYTHONPATH": site, "PATH": os.environ["PATH"], "HOME": "/"}, cwd="/", **user,
    )  # fmt: skip


@pytest.fixture
def readable(short_dir: Path) -> Path:
    """A copy of the package where any user may read it: the checkout may lie in a private home."""
    copy = Path(shutil.copytree(Path(__file__).parents[2] / "records", short_dir / "lib" / "records"))
    for path in (short_dir / "lib", *copy.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    for package in ("yaml", "ruamel"):
        source = next(Path(p) / package for p in sys.path if (Path(p) / package).is_dir())
        shutil.copytree(source, short_dir / "lib" / package, dirs_exist_ok=True)
    return short_dir / "lib"


NOBODY = """
import sys
sys.path.insert(0, sys.argv[2])
from records import Notes, ReadOnly, RecordError, rows
notes = Notes(sys.argv[1])
print([row["id"] for row in notes.index.list(order="id")])
print(notes.index.faults(), notes.faults)
for work in (lambda: notes.create(title="new", body="x"), lambda: notes.update("good", {"title": "t"})):
    try:
        work()
        print("written")
    except RecordError as error:
        print(type(error).__name__, error)
"""


def test_an_unreadable_file_and_directory_are_named(root: Path, readable: Path) -> None:
    """What may not be read is told by path; the rest is there."""
    (root / "closed").mkdir()
    (root / "closed" / "inner.md").write_text("quince\n")
    (root / "secret.md").write_text("quince\n")
    for path in (root, root / "good.md"):
        os.chown(path, 65534, 65534) if os.geteuid() == 0 else None
    (root / "secret.md").chmod(0)
    (root / "closed").chmod(0)
    try:
        done = as_nobody(NOBODY, str(root), str(readable))
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("['good']"), done.stdout
        assert "secret.md" in done.stdout and "closed/" in done.stdout and "Permission denied" in done.stdout
    finally:
        (root / "closed").chmod(0o755)


CLOSED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from records import Notes, RecordError
from records.keeper import Keeper
root, mode = Path(sys.argv[1]), int(sys.argv[3], 8)
private = root / "private"
for number in range(3):
    (private / "deep").mkdir(parents=True, exist_ok=True)
    (private / f"p{number}.md").write_text(f"quince {number}\\n")
(private / "deep" / "d.md").write_text("quince [[good]]\\n")
(root / "other.md").write_text("---\\nid: good\\n---\\nx [[p1]]\\n")

def told(notes):
    return sorted(hit.id for hit in notes.search("quince "))

def error(work):
    try:
        return work()
    except RecordError as error:
        return f"{type(error).__name__}: {error}"

with Notes(root) as notes:
    everything = told(notes)
    assert len(everything) == 4, everything
    keeper = Keeper(notes.store, notes.index.entries())
    private.chmod(mode)
    for under in (None, ["private"], ["private/deep"], ["private/p1.md"], ["private/deep/d.md"], ["private", "good.md"]):
        assert keeper.look(under) == [], under
    assert keeper.step(["private/p1.md", "private/deep/d.md", "private"]) == []
    assert keeper.faults == ["private/: Permission denied; check who owns it and the folders above it, and their modes"]
    assert notes.sync() == [] and notes.faults == keeper.faults
    assert told(notes) == everything and notes.verify() == [], notes.verify()
    print(error(lambda: notes.get("p1")))
    print(error(lambda: notes.get("private/p1")))
    print(error(lambda: notes.get("foo")))
    (root / "good.md").write_text("# Good\\n\\nquince\\n")
    assert [change.kind for change in notes.sync()] == ["updated"]
    notes.index.apply((), ["good.md"])
    assert notes.verify() == ["'good.md' is not in the index"]
with Notes(root) as notes:  # the next life
    assert told(notes) == ["good", *everything] and notes.verify() == []
    was = {row["id"]: notes.index.get(row["id"]) for row in notes.index.list(limit=None)}
    notes.rebuild()
    assert told(notes) == ["good", *everything] and notes.verify() == [] and notes.faults
    assert {row["id"]: notes.index.get(row["id"]) for row in notes.index.list(limit=None)} == was
    assert [row["id"] for row in notes.index.backlinks("good")] == ["private/deep/d"]
    private.chmod(0o700)
    assert notes.sync() == [] and notes.verify() == []
    private.chmod(mode)
    (root / ".egghead" / "index.db").write_bytes(b"garbage" * 100)
with Notes(root) as notes:  # no index to take them from
    assert told(notes) == ["good"] and notes.verify() == [] and notes.faults
    print(error(lambda: notes.get("p1")))
    private.chmod(0o700)
    assert [change.kind for change in notes.sync()] == ["created"] * 4
    assert told(notes) == ["good", *everything] and notes.faults == [] and notes.verify() == []
    private.chmod(mode)
    assert notes.sync() == []
    private.chmod(0o700)
    (private / "p1.md").unlink()
    assert [(change.kind, change.path) for change in notes.sync()] == [("removed", "private/p1.md")]
    private.chmod(mode)
    notes.sync()
    private.chmod(0o700)
    for path in sorted(private.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    private.rmdir()
    assert sorted(change.kind for change in notes.sync()) == ["removed"] * 3 and told(notes) == ["good"]
    print(error(lambda: notes.get("foo")))
"""


@pytest.mark.parametrize("mode", ["000", "400", "100"])
def test_a_folder_that_is_closed_takes_no_note_out_of_the_index(root: Path, readable: Path, mode: str) -> None:
    """What cannot be looked at is not gone: its notes stay findable, are not compared, and go when they are gone. What the
    index never had is not denied to be there; the folder is named."""
    if os.geteuid() == 0:
        for path in (root, *root.rglob("*")):
            os.chown(path, 65534, 65534)
    done = as_nobody(CLOSED, str(root), str(readable), mode)
    assert done.returncode == 0, done.stderr
    modes = "check who owns it and the folders above it, and their modes"
    first, exact, *others = done.stdout.splitlines()
    perhaps = f"; it may be in 'private/', which cannot be read: {modes}"
    assert first == f"NotFound: there is no note 'p1'{perhaps}"
    if mode != "100":  # else the way to it is open, and only the list of what is there is not
        assert exact == f"Unreadable: 'private/p1.md' cannot be read: Permission denied; {modes}"
    assert others == [
        f"NotFound: there is no note 'foo'{perhaps}", f"NotFound: there is no note 'p1'{perhaps}",
        "NotFound: there is no note 'foo'",
    ]  # fmt: skip


CLOSING = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from records import Notes, Store
from records.keeper import Keeper
root = Path(sys.argv[1])
private = root / "private"
private.mkdir()
(private / "p.md").write_text("quince\\n")

class Closing(Store):
    def read_bytes(self, path):
        if path.startswith("private/"):
            private.chmod(0)  # between the look at the file and its opening
        return super().read_bytes(path)

with Notes(root) as notes:
    entries = notes.index.entries()
    (private / "p.md").write_text("quince again\\n")
    keeper = Keeper(Closing(root), entries)
    assert keeper.look() == [["private/p.md"]]
    assert keeper.step(["private/p.md"]) == [] and "private/p.md" in keeper.catalog
    private.chmod(0o700)
    step = keeper.again(["private/p.md"])
    assert not step.upserts and not step.removals, step
    private.chmod(0o700)
    (step,) = Keeper(Store(root), entries).step(["private/p.md"])
    assert [change.kind for change in step.changes] == ["updated"]
with Notes(Closing(root)) as notes:
    assert [hit.id for hit in notes.search("quince ")] == ["private/p"] and notes.index.faults() == []
    private.chmod(0o700)
"""


def test_a_folder_that_closes_while_a_note_is_read_takes_it_out_of_nothing(root: Path, readable: Path) -> None:
    """What was known of the note stays, and it is read when the folder opens again; it is not called unreadable for good."""
    if os.geteuid() == 0:
        for path in (root, *root.rglob("*")):
            os.chown(path, 65534, 65534)
    done = as_nobody(CLOSING, str(root), str(readable))
    assert done.returncode == 0, done.stderr


LINKED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from records import Notes
from records.keeper import Keeper
root = Path(sys.argv[1])
private = root / "private"
private.mkdir()
(private / "p.md").write_text("quince\\n")
(root / "link.md").symlink_to("private/p.md")
fault = ["link.md: Permission denied; check who owns it and the folders above it, and their modes"]
private.chmod(0o600)
with Notes(root) as notes:  # the first look there is
    ids = [row["id"] for row in notes.index.list(order="id")]
    assert ids == ["good"] and fault[0] in notes.faults, (ids, notes.faults)
    keeper = Keeper(notes.store, notes.index.entries())
    keeper.look()
    assert keeper.look(["link.md"]) == [] and fault[0] in keeper.faults
    private.chmod(0o700)
    assert keeper.look(["link.md"]) == [["link.md"]] and fault[0] not in keeper.faults
    assert sorted(change.path for change in notes.sync()) == ["link.md", "private/p.md"]
    private.chmod(0o600)
    (root / "good.md").write_text("# Changed\\n")
    assert [change.path for change in notes.sync()] == ["good.md"]
    assert len(notes.index.list()) == 3 and notes.verify() == []
    private.chmod(0o700)
"""


def test_a_link_into_a_closed_folder_hides_no_note_beside_it(root: Path, readable: Path) -> None:
    """One note that cannot be looked at is told of and stays as it was; the others of its folder are read."""
    if os.geteuid() == 0:
        for path in (root, *root.rglob("*")):
            os.chown(path, 65534, 65534)
    done = as_nobody(LINKED, str(root), str(readable))
    assert done.returncode == 0, done.stderr


def test_a_read_only_directory_is_read_and_refuses_writes_with_the_reason(root: Path, readable: Path) -> None:
    """Reads go on from an index that is there; each write says why it cannot be."""
    Notes(root).close()
    for path in (root, *root.rglob("*")):
        if os.geteuid() == 0:
            os.chown(path, 0, 0)
        path.chmod(0o555 if path.is_dir() else 0o444)
    code = NOBODY.replace("Notes(sys.argv[1])", "Notes(sys.argv[1], read_only=True)")
    done = as_nobody(code, str(root), str(readable))
    for path in (root, root / ".egghead"):
        path.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("['good']") and done.stdout.count("ReadOnly") == 2
    assert (root / "good.md").read_text() == GOOD


FULL = """
import sys
from pathlib import Path
from records import Notes, RecordError
root = Path(sys.argv[1])
(root / "good.md").write_text("# Good\\n\\nanchovy\\n")
notes = Notes(root)
size = 1 << 20
with open(root / "filler", "wb", buffering=0) as filler:
    while size:
        try:
            filler.write(b"x" * size)
        except OSError:
            size //= 2
for work in (lambda: notes.create(title="new", body="x" * 5000), lambda: notes.update("good", {"body": "y" * 50000})):
    try:
        work()
        print("written")
    except RecordError as error:
        print(type(error).__name__, error)
print((root / "good.md").read_text() == "# Good\\n\\nanchovy\\n", sorted(path.name for path in root.glob("*")))
print([hit.id for hit in notes.search("anchovy ")])
"""


def test_a_full_disk_refuses_the_write_and_keeps_the_old_file(short_dir: Path) -> None:
    """On a real file system without space: the reason is said, the note is whole, nothing half lies about, reads go on."""
    place = short_dir / "disk"
    place.mkdir()
    script = f'mount -t tmpfs -o size=1m none {place} && exec {sys.executable} -c "$0" {place}'
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script, FULL], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert all(line.startswith("ReadOnly") and "No space left" in line for line in lines[:2]), lines
    assert lines[2] == "True ['.egghead', 'filler', 'good.md']" and lines[3] == "['good']"


def test_a_directory_that_vanishes(root: Path) -> None:
    """Reads go on from the index; a write says that the folder is gone; when it is back all is as before."""
    with Notes(root) as notes:
        away = root.with_name("away")
        root.rename(away)
        with pytest.raises(RecordError) as refused:
            notes.create(title="New", body="x")
        assert str(root) in str(refused.value) and isinstance(refused.value, ReadOnly)
        assert [hit.id for hit in notes.search("anchovy ")] == ["good"]
        assert not root.exists(), "a write must not make an empty folder where the notes were"
        away.rename(root)
        assert notes.create(title="New", body="x").id == "new"
