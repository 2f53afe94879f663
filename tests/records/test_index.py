"""The index says what the files say, whatever happened to either."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from records import Index, InvalidValue, Notes, RecordError, Store, Unreadable, parse_markdown
from records.catalog import Catalog, Entry
from records.model import stamp
from records.rows import row_of, with_terms


@pytest.fixture
def notes(tmp_path: Path) -> Any:
    with Notes(tmp_path) as made:
        yield made


def write(notes: Notes, files: dict[str, str]) -> None:
    for path, text in files.items():
        full = notes.store.root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_text(text)
    notes.sync()


def contents(path: Path) -> list[Any]:
    """Everything an index says, without row numbers."""
    with Index(path, read_only=True) as index:
        db = index._db
        rows = db.execute(
            "SELECT path, id, wanted, title, class, tags, revision, error FROM notes ORDER BY path"
        ).fetchall()
        tags = db.execute("SELECT tag, path FROM tags JOIN notes USING(note) ORDER BY 1, 2").fetchall()
        keys = db.execute("SELECT key, rank, path FROM names JOIN notes USING(note) ORDER BY 1, 2, 3").fetchall()
        words = db.execute("SELECT term, doc, cnt FROM terms ORDER BY term").fetchall()
        return [rows, tags, keys, words, index.unresolved(), index.graph()]


NAMES = st.sampled_from(["a", "b", "c", "sub/a", "sub/d", "index", "sub/index"])
IDS = st.sampled_from(["", "a", "b", "own", "sub/a"])
WORDS = st.lists(
    st.sampled_from(
        ["roof", "walls", "[[a]]", "[[sub/a]]", "[[own]]", "[[index|x]]", "[d](d.md)", "Ünïcode", "日本語"]
    ),
    max_size=5,
)


class Life(RuleBasedStateMachine):
    """Edits through the API and behind its back, in any order; afterwards the index equals one built from nothing."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.notes = Notes(self.root)

    @rule(
        name=NAMES,
        id_=IDS,
        words=WORDS,
        tags=st.lists(st.sampled_from(["t", "U/v"]), max_size=2),
        suffix=st.sampled_from([".md", ".org"]),
    )
    def write_behind(self, name: str, id_: str, words: list[str], tags: list[str], suffix: str) -> None:
        path = self.root / (name + suffix)
        path.parent.mkdir(exist_ok=True)
        head = f"---\n{f'id: {id_}' if id_ else ''}\ntags: [{', '.join(tags)}]\n---\n"
        path.write_text(head + "# " + " ".join(words) + "\n" + " ".join(words))

    @rule(name=NAMES)
    def remove_behind(self, name: str) -> None:
        (self.root / f"{name}.md").unlink(missing_ok=True)

    @rule(old=NAMES, new=NAMES)
    def move_behind(self, old: str, new: str) -> None:
        source = self.root / f"{old}.md"
        if source.exists():
            (self.root / new).parent.mkdir(exist_ok=True)
            source.replace(self.root / f"{new}.md")

    @rule(old=NAMES, words=WORDS)
    def update(self, old: str, words: list[str]) -> None:
        try:
            self.notes.update(old, {"body": " ".join(words), "tags": ["t"]})
        except RecordError:
            return

    @rule(old=NAMES, new=NAMES)
    def rename(self, old: str, new: str) -> None:
        try:
            self.notes.rename(old, new)
        except RecordError:
            return

    @rule(name=NAMES)
    def trash(self, name: str) -> None:
        try:
            self.notes.trash(name)
        except RecordError:
            return

    @rule()
    def sync(self) -> None:
        self.notes.sync()

    @rule()
    def reopen(self) -> None:
        self.notes.close()
        self.notes = Notes(self.root)

    @invariant()
    def equals_a_rebuild(self) -> None:
        self.notes.sync()
        assert self.notes.verify() == []
        fresh = self.root.parent / f"{self.root.name}-fresh.db"
        index = Index(fresh)
        try:
            index.apply(self.notes.store.read(stat.path) for stat in self.notes.store.scan())
            index.close()
            assert contents(fresh) == contents(self.root / ".egghead" / "index.db")
        finally:
            index.close()
            for suffix in ("", "-wal", "-shm"):
                Path(f"{fresh}{suffix}").unlink(missing_ok=True)

    def teardown(self) -> None:
        self.notes.close()
        self.folder.cleanup()


Life.TestCase.settings = settings(max_examples=12, stateful_step_count=12, deadline=None)


class TestLife(Life.TestCase):
    """After any sequence of edits, renames, removals and missed events the index equals a rebuild."""


RESOLUTION = {
    "index.md": "root", "user/index.md": "[[features]]", "user/features/index.md": "---\ntitle: All features\n---\n",
    "user/features/tags.md": "# Tags\n", "dev/tags.md": "# Dev tags\n", "dev/unique.md": "---\naliases: [Only One, Einzig]\n---\n",
    "deep/with id.md": "---\nid: chosen\ntitle: Some Title\n---\n", "dup1.md": "---\ntitle: Twin\n---\n", "dup2.md": "---\ntitle: twin\n---\n",
}  # fmt: skip


@pytest.mark.parametrize(
    ("target", "id_"),
    [
        ("user/features/tags", "user/features/tags"),  # exact id
        ("features/tags", "user/features/tags"),  # end of the path, as Foam and Obsidian
        ("tags", None),  # two notes: ambiguous
        ("unique", "dev/unique"),  # last part, as Obsidian
        ("UNIQUE", "dev/unique"),  # case does not matter
        ("unique.md", "dev/unique"),  # extension does not matter
        ("only one", "dev/unique"),  # alias
        ("some title", "chosen"),  # title
        ("chosen", "chosen"),  # id of the frontmatter
        ("deep/with id", "chosen"),  # its path still finds it
        ("with id", "chosen"),
        ("features", "user/features/index"),  # a folder means its index, as Foam
        ("index", "index"),  # exact id before last part
        ("Twin", None),  # two titles
        ("nowhere", None),
        ("", None),
    ],
)
def test_what_a_link_means(tmp_path: Path, target: str, id_: str | None) -> None:
    """Each way of naming a note that Obsidian and Foam know; ambiguous and missing are None, not errors."""
    with Notes(tmp_path) as notes:
        write(notes, RESOLUTION)
        assert notes.index.resolve(target) == id_


def test_links_backlinks_unresolved_orphans(notes: Notes) -> None:
    """Both directions agree; a new note heals the links that waited for it."""
    write(
        notes,
        {
            "a.md": "[[b]] [[b|again]] [[later]] [c](sub/c.md)",
            "b.md": "[[a#x]]",
            "sub/c.md": "---\nlinks: [b]\n---\n",
            "lone.md": "x",
        },
    )
    assert [(link["target"], link["id"]) for link in notes.index.links("a")] == [
        ("b", "b"),
        ("later", None),
        ("sub/c", "sub/c"),
    ]
    assert [(link["source"], link["id"], link["depth"]) for link in notes.index.links("sub/c", 3)] == [
        ("sub/c", "b", 1), ("b", "a", 2), ("a", "b", 3), ("a", None, 3), ("a", "sub/c", 3),
    ]  # fmt: skip
    assert sorted({link["id"] for link in notes.index.backlinks("b")}) == ["a", "sub/c"]
    assert notes.index.unresolved() == [{"source": "a", "target": "later", "candidates": [], "unread": None}]
    assert [note["id"] for note in notes.index.orphans()] == ["lone"]
    write(notes, {"later.md": "here"})
    assert notes.index.unresolved() == [] and notes.index.backlinks("later")[0]["id"] == "a"
    assert notes.index.graph("lone", 2) == {"nodes": [{"id": "lone", "title": "lone", "class": "durable"}], "edges": []}
    assert ["a", "later"] in notes.index.graph("later", 1)["edges"]


def test_two_files_with_one_id(notes: Notes) -> None:
    """Both are listed; the first path keeps the id, the other has that of its path, and it is reported."""
    write(notes, {"x.md": "---\nid: same\n---\n", "y.md": "---\nid: same\n---\n", "z.md": "---\nid: x\n---\n"})
    listed = {row["id"] for row in notes.index.list(order="id")}
    assert listed == {"same", "y", "z"}
    assert {fault["id"] for fault in notes.index.faults()} == {"y", "z"}
    assert notes.get("y").path == "y.md"
    (notes.store.root / "x.md").unlink()
    notes.sync()
    assert {row["id"] for row in notes.index.list()} == {"same", "x"}


def test_bad_files_do_not_stop_the_rest(notes: Notes) -> None:
    """Broken YAML is listed and searchable with its error, a binary is skipped and reported, the others are read."""
    (notes.store.root / "bin.md").write_bytes(bytes(range(256)) * 20)
    write(notes, {"bad.md": "---\na: [1\n---\nstill findable xylophone\n", "good.md": "fine"})
    assert [hit.id for hit in notes.search("xylophone")] == ["bad"]
    faults = {fault["path"]: fault["error"] for fault in notes.index.faults()}
    assert "line 2" in faults["bad.md"] or "line 3" in faults["bad.md"]
    assert "not text" in faults["bin.md"] and "good.md" not in faults
    assert notes.sync() == []  # none of them is read again


def test_a_note_is_created_when_its_file_was_born(notes: Notes) -> None:
    """Where nothing else says it: the birth of the file, which a change leaves, or its time when that is earlier; also after a rebuild."""
    path = notes.store.root / "a.md"
    write(notes, {"a.md": "one", "b.org": "two", "c.md": "---\ncreated: 2020-01-01\n---\n"})
    born = {row["id"]: row["created"] for row in notes.index.list()}
    told = subprocess.run(["stat", "-c", "%W", path], capture_output=True, check=True, text=True).stdout
    assert int(told) == 0 or stamp(int(told) * 10**9)[:19] == born["a"][:19]
    later = path.stat().st_mtime_ns + 3600 * 10**9
    for name in ("a.md", "b.org", "c.md"):
        os.utime(notes.store.root / name, ns=(later, later))
    notes.sync()
    rows = {row["id"]: row for row in notes.index.list()}
    assert {id_: row["created"] for id_, row in rows.items()} == born and rows["a"]["updated"] == stamp(later)
    os.utime(path, ns=(0, 10**18))
    path.rename(path.with_name("moved.md"))
    notes.sync()
    assert notes.get("moved").created == stamp(10**18)
    assert notes.verify() == []


def test_lists(notes: Notes) -> None:
    """Filters, orders, limits; a parent tag finds its children; an unknown order is refused."""
    write(notes, {
        "a.md": "---\ntags: [Project/Roof]\ncreated: 2020-01-01\nclass: agent\n---\n",
        "b/c.md": "---\ntags: [project]\ncreated: 2021-01-01\ntitle: Apfel\n---\n", "b/d.md": "# Zebra",
    })  # fmt: skip
    index = notes.index
    assert [row["id"] for row in index.list(tag="project", order="id")] == ["a", "b/c"]
    assert [row["id"] for row in index.list(class_="agent")] == ["a"]
    assert [row["id"] for row in index.list(prefix="b/", order="title")] == ["b/c", "b/d"]
    assert [row["id"] for row in index.recent("created", since="2020-06-01")][-1] == "b/c"
    assert {row["tag"]: row["count"] for row in index.tags()} == {"Project/Roof": 1, "project": 1}
    with pytest.raises(InvalidValue):
        index.list(order="size")
    assert index.get("b/c")["title"] == "Apfel" and index.get("nope") is None
    assert index.known(after="a.md", limit=1).keys() == {"b/c.md"}


def test_tags_in_the_text(notes: Notes) -> None:
    """They count as those of the frontmatter for lists, counts and search, go with the text, and stay out of `tags`."""
    write(
        notes, {"a.md": "---\ntags: [house]\n---\nwet #house #to-do/Phone\n", "b.org": "* Wet :house:\n", "c.md": "wet"}
    )
    index = notes.index
    assert index.tags() == [{"tag": "house", "count": 2}, {"tag": "to-do/Phone", "count": 1}]
    assert [row["id"] for row in index.list(tag="to-do")] == ["a"]
    assert {hit.id for hit in notes.search("wet tag:house")} == {"a", "b"}
    assert [hit.id for hit in notes.search("wet -tag:house")] == ["c"]
    row = index.get("a")
    assert row is not None and (row["tags"], row["inline_tags"]) == (["house"], ["to-do/Phone"])
    assert row["inline_tags"] == notes.get("a").to_dict()["inline_tags"]
    write(notes, {"a.md": "---\ntags: [house]\n---\nwet\n", "b.org": "* Wet\n"})
    assert index.tags() == [{"tag": "house", "count": 1}] and notes.verify() == []


@pytest.mark.parametrize("harm", ["schema", "garbage", "truncated", "empty", "foreign"])
def test_a_damaged_index_is_built_again_and_says_so(tmp_path: Path, harm: str) -> None:
    """Another schema, random bytes, a cut file, somebody else's database: the notes are all found again."""
    for number in range(30):
        (tmp_path / f"n{number}.md").write_text(f"# Note {number}\n\nword{number} " + "x " * 500)
    Notes(tmp_path).close()
    path = tmp_path / ".egghead" / "index.db"
    if harm == "schema":
        db = sqlite3.connect(path)
        db.execute("UPDATE about SET value = 'old'")
        db.commit()
        db.close()
    elif harm == "garbage":
        path.write_bytes(b"not a database" * 1000)
    elif harm == "truncated":
        path.write_bytes(path.read_bytes()[: 4096 * 3])
    elif harm == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
        db = sqlite3.connect(path)
        db.execute("CREATE TABLE theirs(x)")
        db.close()
    with Notes(tmp_path) as notes:
        assert [hit.id for hit in notes.search("word7")] == ["n7"]
        assert notes.verify() == []
        assert harm == "empty" or notes.index.rebuilt


def test_two_readers_see_what_one_writer_wrote(tmp_path: Path) -> None:
    """Readers on other connections answer while the writer works, and see each finished transaction."""
    with Notes(tmp_path) as notes:
        reader = Index(tmp_path / ".egghead" / "index.db", read_only=True)
        assert reader.search("hello") == []
        notes.create(id="n", body="hello")
        assert [hit.id for hit in reader.search("hello")] == ["n"]
        reader.close()


@pytest.mark.parametrize(
    "question", [lambda index: index.search("quokka"), lambda index: index.get("q"), lambda index: index.graph()]
)
def test_an_answer_is_of_one_moment(tmp_path: Path, question: Callable[[Index], Any]) -> None:
    """The note goes before any of the statements of one question: it is answered with the note or without, never with half."""
    note = parse_markdown(b"# Quokka\n\n" + b"see [[other]]\n\n" + b"a long text of many words\n" * 350, "q.md")
    with Index(tmp_path / "i.db") as writer, Index(tmp_path / "i.db", read_only=True) as reader:
        answers = [question(reader)]
        writer.apply([note, parse_markdown(b"# Other\n", "other.md")])
        answers.append(question(reader))
        writer.apply([], ["q.md"])
        answers.append(question(reader))
        for moment in range(1, 24):
            writer.apply([note])
            left = [moment]

            def go(statement: str, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] == 0:
                    writer.apply([], ["q.md"])

            reader._db.set_trace_callback(go)
            try:
                assert question(reader) in answers
            finally:
                reader._db.set_trace_callback(None)


def test_an_index_belongs_to_the_process_that_opened_it(notes: Notes) -> None:
    """A forked child that uses the connection is told so instead of damaging the file."""
    import os

    child = os.fork()
    if not child:
        try:
            notes.index.stats()
        except RuntimeError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_reading_only_writes_nothing(tmp_path: Path) -> None:
    """Notes opened for reading answer from the index as it is; writes are refused; without an index that is said."""
    from records import IndexBroken, ReadOnly

    with pytest.raises(IndexBroken, match="no index"):
        Notes(tmp_path, read_only=True)
    assert list(tmp_path.iterdir()) == []
    with Notes(tmp_path) as notes:
        notes.create(id="n", body="hello")
    with Notes(tmp_path, read_only=True) as notes:
        assert [hit.id for hit in notes.search("hello")] == ["n"] and notes.get("n").body == "hello\n"
        with pytest.raises(ReadOnly):
            notes.create(id="m", body="x")


def test_the_catalog_agrees_with_the_index_about_ids(notes: Notes) -> None:
    """One rule gives ids in memory and in SQL."""
    write(notes, {
        "a.md": "---\nid: b\n---\n", "b.md": "x", "c.org": "x", "c.md": "x", "d.md": "---\nid: q\n---\n", "e.md": "---\nid: q\n---\n",
    })  # fmt: skip
    catalog = Catalog(notes.index.entries())
    rows = {row["id"] for row in notes.index.list(limit=None)}
    assert {catalog.id_at(entry.path) for entry in catalog} == rows == {"a", "b", "c", "c.org", "q", "e"}
    for id_ in rows:
        path = catalog.path_of(id_)
        assert path is not None and notes.index.paths([id_]) == {id_: path}


def test_a_moved_file_is_one_move() -> None:
    """The same inode under a new path is a rename, not a removal and a creation."""
    catalog = Catalog([Entry("a.md", (1, 2, 77), "a", "durable")])
    from records import FileStat

    difference = catalog.compare([FileStat("b/c.md", 1, 2, 77)])
    assert difference.moved == {"b/c.md": "a.md"} and difference.removed == ("a.md",)


def test_a_note_of_ten_megabytes(notes: Notes) -> None:
    """Large notes are read, found by their last words' section head and shown."""
    write(notes, {"big.md": "# Big\n\n" + "lorem ipsum dolor " * 600_000 + "\n\nneedleword\n"})
    assert [hit.id for hit in notes.search("big lorem")] == ["big"]
    assert isinstance(notes.store, Store)


def test_a_known_note_and_a_new_one_in_one_batch(tmp_path: Path) -> None:
    """The newest note keeps its number when it is written again; the one that comes with it gets another."""
    with Index(tmp_path / "index.db") as index:
        index.apply([parse_markdown(b"one", "a.md")])
        index.apply([parse_markdown(b"new", "b.md"), parse_markdown(b"two", "a.md")])
        assert sorted(hit.id for hit in index.search("two")) == ["a"] and index.stats()["notes"] == 2


def test_the_size_of_the_index_is_that_of_all_its_files(tmp_path: Path) -> None:
    """New rows stand in the log, which counts: with it the size is at least that of the notes, and the same after it was copied."""
    note = parse_markdown(b"some words of a note " * 20_000, "a.md")
    with Index(tmp_path / "index.db") as index:
        index.apply([note])
        assert (tmp_path / "index.db").stat().st_size < len(note.body) < index.stats()["index_bytes"]
    with Index(tmp_path / "index.db") as index:
        assert index.stats()["index_bytes"] == (tmp_path / "index.db").stat().st_size > len(note.body)


def test_batches_of_one_transaction_are_applied_in_turn(tmp_path: Path) -> None:
    """What is put, removed and put again in one transaction is what it would be in three; one that fails leaves nothing."""
    one, two, other = parse_markdown(b"old", "a.md"), parse_markdown(b"young", "a.md"), parse_markdown(b"b", "b.md")
    batches: list[Any] = [([one, other], []), ([], ["a.md", "none.md"]), ([two], ["b.md"]), ([row_of(other)], [])]
    with Index(tmp_path / "index.db") as together, Index(tmp_path / "other.db") as apart:
        assert list(together.apply_all(batches)) == [apart.apply(*batch) for batch in batches] == [2, 1, 2, 1]
        assert contents(together.path) == contents(apart.path)
        spoiled = (parse_markdown(data, "c.md") for data in (b"text", b"\0\1\2\3" * 99))
        with pytest.raises(Unreadable):
            together.apply_all([([one], []), (spoiled, [])])
        assert contents(together.path) == contents(apart.path)


def test_a_row_may_leave_its_terms_to_the_index(tmp_path: Path) -> None:
    """Rows without the terms of the body, also after a journey as plain lists, make the index that records make."""
    record = parse_markdown("# Dach\n\nRegen\n\n## Wände\n\n[[x]] naß\n".encode(), "a/b.md")
    bare = row_of(record, cut=False)
    assert bare.cut is None and with_terms(bare) == row_of(record) == with_terms(row_of(record))
    with Index(tmp_path / "index.db") as index, Index(tmp_path / "other.db") as other:
        index.apply([record])
        other.apply([json.loads(json.dumps(bare))])
        assert contents(index.path) == contents(other.path)
        assert [hit.section for hit in other.search("nass")] == ["Wände"]
