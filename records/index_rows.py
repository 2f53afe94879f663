"""How notes are put into the tables and taken out, many at once. The functions work inside the caller's transaction.

What a note is in the tables is in `records.rows`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from records import graph, index_sql
from records.catalog import effective
from records.ids import id_of
from records.model import Record
from records.rows import Row, labels, name_words, row_of, with_terms
from records.text import fold

Skip = Mapping[str, Any]  # {path, size, mtime_ns, inode, skipped: reason}: a file that is no note
Upsert = Record | Row | Sequence[Any] | Skip  # a sequence is a Row that was on a journey
CHUNK = 256  # notes whose rows are made before they are written
CHUNK_SIZE = 2 * 2**20  # characters of them; who sends rows has bounded them already
_FEW = 500  # values in one IN (...)


def put(db: sqlite3.Connection, upserts: Iterable[Upsert], stems: set[str]) -> int:
    """Insert or replace notes; number of upserts. `stems`: the ids touched are added to it."""
    touched = 0
    skips = db.execute("SELECT 1 FROM skipped LIMIT 1").fetchone() is not None
    for chunk in _chunks(upserts):
        touched += len(chunk)
        rows: dict[str, Row] = {}
        skipped: dict[str, Skip] = {}
        for upsert in chunk:  # of two with one path the later one counts
            if isinstance(upsert, Mapping):
                skipped[upsert["path"]] = upsert
                rows.pop(upsert["path"], None)
            else:
                row = prepared(upsert)
                rows[row.path] = row
                skipped.pop(row.path, None)
        numbers = _clear(db, [*rows, *skipped], skips, stems)
        _skip(db, skipped.values())
        _write(db, rows.values(), numbers, stems)
        skips = skips or bool(skipped)
    return touched


@overload
def prepared(upsert: Skip) -> Skip: ...
@overload
def prepared(upsert: Record | Row | Sequence[Any]) -> Row: ...
def prepared(upsert: Upsert) -> Row | Skip:
    """What is left to do for an upsert before it is written: it need not be done within a transaction."""
    if isinstance(upsert, Mapping):
        return upsert
    return row_of(upsert) if isinstance(upsert, Record) else with_terms(Row._make(upsert))


def _chunks(upserts: Iterable[Upsert]) -> Iterator[list[Upsert]]:
    chunk: list[Upsert] = []
    size = 0
    for upsert in upserts:
        chunk.append(upsert)
        size += len(upsert.body) if isinstance(upsert, Record | Row) else 0
        if len(chunk) == CHUNK or size >= CHUNK_SIZE:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _clear(db: sqlite3.Connection, paths: list[str], skips: bool, stems: set[str]) -> dict[str, int]:
    """Take out what the index has of some paths; path -> the number of each note that was there."""
    numbers: dict[str, int] = {}
    for path in _known(db, paths):
        note = delete(db, path, stems)
        if note is not None:
            numbers[path] = note
    if skips:
        db.executemany("DELETE FROM skipped WHERE path = ?", [(path,) for path in paths])
    return numbers


def _skip(db: sqlite3.Connection, skipped: Iterable[Skip]) -> None:
    db.executemany(
        "INSERT INTO skipped VALUES(?, ?, ?, ?, ?)",
        [(skip["path"], skip["size"], skip["mtime_ns"], skip["inode"], str(skip["skipped"])) for skip in skipped],
    )


def _write(db: sqlite3.Connection, new: Iterable[Row], numbers: Mapping[str, int], stems: set[str]) -> None:
    # Not the number of a note that was just taken out either: it goes back in under it.
    last = max(int(db.execute("SELECT coalesce(max(note), 0) FROM notes").fetchone()[0]), *numbers.values(), 0)
    rows: list[tuple[int, Row]] = []
    for row in new:
        note = numbers.get(row.path)
        if note is None:
            note = last = last + 1
        rows.append((note, row))
        stems.add(row.stem)
        stems.add(row.wanted)
    # Table by table: one statement for all of a chunk, and neighbouring keys while their pages are at hand.
    many = db.executemany
    many(index_sql.INSERT_NOTE, [(note, *row.note) for note, row in rows])
    many(index_sql.INSERT_TEXT, [(note, row.size, row.heads, row.cut, row.body) for note, row in rows])
    many(index_sql.INSERT_FTS, [(note, *row.labels, row.cut) for note, row in rows])
    many(index_sql.INSERT_TAG, sorted([(tag, note, spelled) for note, row in rows for tag, spelled in row.tags]))
    many(index_sql.INSERT_NAME, sorted([(*key, note) for note, row in rows for key in row.names]))
    many(index_sql.INSERT_WORD, sorted([(word, note) for note, row in rows for word in row.words]))
    many(index_sql.INSERT_LINK, [(note, *link) for note, row in rows for link in row.links])


def _known(db: sqlite3.Connection, paths: Iterable[str]) -> Iterator[str]:
    """Those of some paths that the index has a note for."""
    for part in _parts(list(paths)):
        some = ", ".join("?" * len(part))
        yield from [path for (path,) in db.execute(f"SELECT path FROM notes WHERE path IN ({some})", part)]


def _parts(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), _FEW):
        yield values[start : start + _FEW]


def delete(db: sqlite3.Connection, path: str, stems: set[str]) -> int | None:
    """Take a note out; the number it had, None: there was none."""
    row = db.execute(
        "SELECT n.note, n.title, n.aliases, n.wanted, n.outline, n.tags, n.inline_tags, t.cut "
        "FROM notes n JOIN texts t USING(note) WHERE n.path = ?",
        (path,),
    ).fetchone()
    if row is None:
        return None
    note, title, aliases, wanted, outline, tags, inline, cut = row
    names, marks = json.loads(aliases), json.loads(tags) + json.loads(inline)
    stem = id_of(path)
    # A contentless table is told the old terms again to take them out.
    headings = [text for _, text, _ in json.loads(outline)]
    db.execute(index_sql.DELETE_FTS, (note, *labels(title, names, path, wanted, headings, marks), cut))
    for table, column in (("notes", "note"), ("texts", "note"), ("links", "source")):
        db.execute(f"DELETE FROM {table} WHERE {column} = ?", (note,))
    # By their keys, which follow from the row: an index on `note` would cost every insert.
    keys = graph.name_keys(path, stem, wanted, title, names)
    db.executemany("DELETE FROM names WHERE key = ? AND rank = ? AND note = ?", [(*key, note) for key in keys])
    known = name_words(title, names, marks, stem)
    db.executemany("DELETE FROM words WHERE word = ? AND note = ?", [(word, note) for word in known])
    db.executemany("DELETE FROM tags WHERE tag = ? AND note = ?", [(fold(tag), note) for tag in marks])
    stems.update((stem, wanted))
    return int(note)


def settle(db: sqlite3.Connection, stems: set[str]) -> None:
    """Give every note that shares a touched id the id that the rule gives it."""

    def having(column: str) -> Callable[[str], set[str]]:
        extra = " AND wanted <> stem" if column == "wanted" else ""
        sql = f"SELECT path FROM notes WHERE {column} = ?{extra}"
        return lambda id_: {path for (path,) in db.execute(sql, (id_,))}

    by_stem, by_claim = having("stem"), having("wanted")
    for id_ in _shared(db, sorted(stems)):
        for path in by_stem(id_) | by_claim(id_):
            wanted, now = db.execute("SELECT wanted, id FROM notes WHERE path = ?", (path,)).fetchone()
            right = effective(path, wanted, by_stem, by_claim)
            if right != now:
                db.execute("UPDATE notes SET id = ? WHERE path = ?", (right, path))


def _shared(db: sqlite3.Connection, ids: Sequence[str]) -> set[str]:
    """Those of some ids that more than one file may have a say in: a few of many, found with few queries."""
    found: set[str] = set()
    for part in _parts(ids):
        some = ", ".join("?" * len(part))
        for (id_,) in db.execute(
            f"SELECT stem FROM notes WHERE stem IN ({some}) GROUP BY stem HAVING count(*) > 1", part
        ):
            found.add(id_)
        sql = (
            f"SELECT stem, wanted FROM notes WHERE wanted <> stem AND (wanted IN ({some}) OR stem IN ({some})) "
            f"UNION SELECT stem, wanted FROM notes WHERE id <> wanted AND stem IN ({some})"
        )
        for pair in db.execute(sql, (*part, *part, *part)):
            found.update(pair)
    return found
