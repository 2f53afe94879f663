"""Whatever becomes of the index's file, it is found out, said, and the notes are searched as before."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from records import IndexBroken, Notes
from records.index import Index
from records.markdown import parse_markdown


def checkpointed(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty notes, and an index of them that lies in one file."""
    for number in range(40):
        text = f"---\ntags: [t{number % 5}]\n---\n# Note {number}\n\nwords about thing{number}, see [[n{number - 1}]]\n"
        (tmp_path / f"n{number}.md").write_text(text)
    with Notes(tmp_path):
        pass
    checkpointed(tmp_path / ".egghead" / "index.db")
    return tmp_path


def sql(*statements: str) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        db = sqlite3.connect(path)
        for statement in statements:
            db.execute(statement)
        db.commit()
        db.close()

    return spoil


def foreign(path: Path) -> None:
    path.unlink()
    sql("CREATE TABLE cookies(host TEXT)", "INSERT INTO cookies VALUES('example.org')")(path)


def header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"SQLite format 4\0")


def half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def zeros(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(size - 4096))


SPOILS: dict[str, Callable[[Path], object]] = {
    "another program's database": foreign,
    "a text file": lambda path: path.write_text("# not a database at all\n" * 300),
    "an older schema": sql("UPDATE about SET value = '1/1' WHERE key = 'schema'"),
    "a newer schema": sql("UPDATE about SET value = '999/1' WHERE key = 'schema'"),
    "no schema row": sql("DELETE FROM about"),
    "a table less": sql("DROP TABLE links"),
    "another header": header,
    "half of it": half,
    "zeros": zeros,
}


@pytest.mark.parametrize("what", SPOILS)
def test_a_spoiled_index_is_built_again_with_a_reason(folder: Path, what: str) -> None:
    """Opening says why, in a sentence, and everything is found as before; no note is touched."""
    before = {path: path.read_bytes() for path in folder.glob("*.md")}
    SPOILS[what](folder / ".egghead" / "index.db")
    with Notes(folder) as notes:
        found = notes.search("thing7")
        assert notes.index.rebuilt, "nothing was said"
        assert found[0].id == "n7" and notes.verify() == []
    assert {path: path.read_bytes() for path in folder.glob("*.md")} == before


ROWS = {
    "a note without its row": "DELETE FROM notes WHERE id = 'n7'",
    "a note without its text": "DELETE FROM texts WHERE note = (SELECT note FROM notes WHERE id = 'n7')",
    "tags that are no list": "UPDATE notes SET tags = '{' WHERE id = 'n7'",
    "a name twice": "UPDATE words SET word = 'thing' WHERE word = 'note' AND note = (SELECT note FROM notes WHERE id = 'n7')",
}


@pytest.mark.parametrize("what", ROWS)
def test_an_impossible_row_keeps_no_change_out(folder: Path, what: str) -> None:
    """A note whose rows do not fit together is saved by an editor: the index is built again, or takes it as it is."""
    sql(ROWS[what])(folder / ".egghead" / "index.db")
    (folder / "n7.md").write_text("# Quokka\n\nwords about thing7\n")
    with Notes(folder) as notes:
        assert notes.search("quokka")[0].id == "n7" and notes.search("thing7")[0].id == "n7"
        if notes.index.rebuilt is None:
            notes.rebuild()
        assert notes.verify() == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE fts_docsize SET sz = x'0101010101' WHERE id = 3",
        "DELETE FROM fts_docsize WHERE id = 3",
        "UPDATE fts_data SET block = x'28' WHERE id = 1",
    ],
)
def test_what_only_ranking_reads_is_proved_too(folder: Path, statement: str) -> None:
    """Lengths of texts that the full text notes, and their sums: no term says them, and the order of hits comes of them."""
    sql(statement)(folder / ".egghead" / "index.db")
    with Notes(folder) as notes:
        assert len(notes.verify()) == 1


def test_a_full_text_that_cannot_be_read_differs(folder: Path) -> None:
    """`verify` answers with what is wrong, where there is nothing that it could compare."""
    sql("DELETE FROM fts_data WHERE id > 10")(folder / ".egghead" / "index.db")
    with Notes(folder) as notes:
        assert "damaged" in notes.verify()[0]


def test_any_flipped_byte_is_harmless_or_found(folder: Path) -> None:
    """A byte turned round anywhere: found when the index is opened or asked, or by `verify`; a rebuild mends it."""
    path = folder / ".egghead" / "index.db"
    whole = path.read_bytes()
    chance = random.Random(5)
    seen = 0
    for place in [chance.randrange(len(whole)) for _ in range(25)]:
        for suffix in ("", "-wal", "-shm", ".new", ".new-wal", ".new-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with Notes(folder) as notes:
            try:
                notes.search("words about thing3")
                wrong = notes.verify()
            except IndexBroken as broken:
                wrong = [str(broken)]
            seen += bool(wrong) or notes.index.rebuilt is not None
            if wrong:
                notes.rebuild()
            assert notes.verify() == [], f"byte {place}"
            assert notes.search("thing7")[0].id == "n7"
    assert seen


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_an_index_that_goes_while_it_is_open_is_built_again(folder: Path, how: str) -> None:
    """A write stands, says that it is not indexed, and the next look builds the index anew."""
    path = folder / ".egghead" / "index.db"
    with Notes(folder) as notes:
        copy = path.read_bytes()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        if how == "replaced":
            path.write_bytes(copy)
        notes.create(id="late", body="written meanwhile")
        assert not notes.indexed and "while it was open" in notes.faults[-1]
        notes.sync()
        assert notes.indexed and notes.search("meanwhile")[0].id == "late" and notes.verify() == []
    with Notes(folder) as notes:
        assert notes.index.rebuilt is None and notes.verify() == []


def test_an_index_whose_folder_is_gone_still_answers(tmp_path: Path) -> None:
    """Where no new file can be made a rebuild is refused, and what is open goes on answering."""
    folder = tmp_path / "private"
    folder.mkdir()
    with Index(folder / "index.db") as index:
        index.apply([parse_markdown(b"# Quokka\n", "q.md")])
        shutil.rmtree(folder)
        with pytest.raises(OSError, match="No such file"):
            index.rebuild("asked for")
        assert [hit.id for hit in index.search("quokka")] == ["q"]
