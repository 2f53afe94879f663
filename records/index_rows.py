"""What a note is in the tables, and how many of them are put and removed at once.

`Row` and `row_of` are pure and cost the most: a process that reads files may do that part for the one that writes the
index (`terms_of`, sent as `terms`). The other functions work inside the caller's transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from records import graph, index_sql, ranking
from records.catalog import effective
from records.ids import id_of, key_of
from records.markdown import listed
from records.model import Record
from records.text import analyse, fold, folded_words

Upsert = Record | Mapping[str, Any]
MAX_BODY = 8 * 2**20  # characters of one note that are searched
CHUNK = 256  # notes whose rows are made before they are written
_FEW = 500  # values in one IN (...)


class Row(NamedTuple):
    """A note as its tables have it, all but its number. Each tuple begins where the number would stand."""

    path: str
    stem: str
    wanted: str
    note: tuple[Any, ...]
    text: tuple[Any, ...]
    terms: Sequence[str]
    names: list[tuple[str, int]]
    words: set[str]
    tags: list[tuple[str, str]]
    links: list[tuple[Any, ...]]


def terms_of(data: Mapping[str, Any]) -> list[str]:
    """The five columns of a note in the full-text table: title, names, headings, tags, body by section."""
    outline = [[h["level"], h["text"], h["position"]] for h in data["outline"]]
    cut = ranking.cut_text(outline, data["body"][:MAX_BODY])
    return [*_labels(data["title"], data.get("aliases", ()), data["path"], data["id"], outline, data["tags"]), cut]


def _labels(
    title: str, aliases: Iterable[str], path: str, wanted: str, outline: list[Any], tags: Iterable[str]
) -> tuple[str, str, str, str]:
    stem = id_of(path)
    names = " ".join((*aliases, stem, "" if wanted == stem else wanted))
    headings = " ".join([str(heading[1]) for heading in outline])
    return analyse(title), analyse(names), analyse(headings), analyse(" ".join(tags))


def row_of(data: Mapping[str, Any]) -> Row:
    """A note's dict (`Record.to_dict()`) as rows."""
    path, wanted, title, body = data["path"], data["id"], data["title"], data["body"][:MAX_BODY]
    stem = id_of(path)
    tags, aliases = list(data["tags"]), list(data.get("aliases", ()))
    outline = [[h["level"], h["text"], h["position"]] for h in data["outline"]]
    terms = data.get("terms") or terms_of(data)
    note = (
        path, stem, wanted, wanted, title, data["class"], _json(tags), _json(data["links"]), _json(aliases),
        data["created"], data["updated"], data["author"], data["format"], _json(outline), _json(data["meta"]),
        data["revision"], data.get("error"), data.get("size", 0), data.get("mtime_ns", 0), data.get("inode", 0),
    )  # fmt: skip
    links = [
        (place, link["kind"], link["target"], *_keys(link["target"]), link["fragment"], link["display"], link["position"])
        for place, link in enumerate(data["wikilinks"])
    ]  # fmt: skip
    place = len(links)
    links += [
        (place + n, "listed", target, *_keys(listed(target)), "", "", -1) for n, target in enumerate(data["links"])
    ]
    return Row(
        path, stem, wanted, note, (len(body), terms[4], body), terms,
        graph.name_keys(path, stem, wanted, title, aliases), _words(title, aliases, tags, stem),
        [(fold(tag), tag) for tag in tags], links,
    )  # fmt: skip


def _keys(target: str) -> tuple[str, str]:
    """What a link's target is compared by: all of it, and its last part."""
    key = key_of(target)
    return key, key.rpartition("/")[2]


def _words(title: str, aliases: list[str], tags: list[str], stem: str) -> set[str]:
    """Words that a slip of the hand is compared with."""
    return {word for word in folded_words(" ".join((title, *aliases, *tags, stem))) if 3 <= len(word) <= 40}


def _json(value: Any) -> str:
    return _dumps(value) if value else ("{}" if isinstance(value, dict) else "[]")


_dumps = json.JSONEncoder(ensure_ascii=False, default=str, separators=(",", ":")).encode


# --- writing ---


def put(db: sqlite3.Connection, upserts: Iterable[Upsert], stems: set[str]) -> int:
    """Insert or replace notes; number of upserts. `stems`: the ids touched are added to it."""
    touched = 0
    some = iter(upserts)
    skips = db.execute("SELECT 1 FROM skipped LIMIT 1").fetchone() is not None
    while chunk := list(islice(some, CHUNK)):
        touched += len(chunk)
        given = [upsert.to_dict() if isinstance(upsert, Record) else upsert for upsert in chunk]
        latest = {data["path"]: data for data in given}  # of two with one path the later one counts
        skips = _put(db, latest, skips, stems) or skips
    return touched


def _put(db: sqlite3.Connection, latest: dict[str, Mapping[str, Any]], skips: bool, stems: set[str]) -> bool:
    """Write a chunk; whether a file in it is skipped."""
    numbers: dict[str, int] = {}
    for path in _known(db, latest):
        note = delete(db, path, stems)
        if note is not None:
            numbers[path] = note
    if skips:
        db.executemany("DELETE FROM skipped WHERE path = ?", [(path,) for path in latest])
    skipped = [
        (path, data["size"], data["mtime_ns"], data["inode"], str(data["skipped"]))
        for path, data in latest.items()
        if "skipped" in data
    ]
    db.executemany("INSERT INTO skipped VALUES(?, ?, ?, ?, ?)", skipped)
    # Not the number of a note that was just taken out either: it goes back in under it.
    last = max(int(db.execute("SELECT coalesce(max(note), 0) FROM notes").fetchone()[0]), *numbers.values(), 0)
    rows: list[tuple[int, Row]] = []
    for path, data in latest.items():
        if "skipped" not in data:
            if path not in numbers:
                last += 1
            rows.append((numbers.get(path, last), row_of(data)))
    # Table by table: one statement for all of a chunk, and neighbouring keys while their pages are at hand.
    db.executemany(index_sql.INSERT_NOTE, [(note, *row.note) for note, row in rows])
    db.executemany(index_sql.INSERT_TEXT, [(note, *row.text) for note, row in rows])
    db.executemany(index_sql.INSERT_FTS, [(note, *row.terms) for note, row in rows])
    db.executemany(
        index_sql.INSERT_TAG, sorted((tag, note, spelled) for note, row in rows for tag, spelled in row.tags)
    )
    db.executemany(index_sql.INSERT_NAME, sorted((*key, note) for note, row in rows for key in row.names))
    db.executemany(index_sql.INSERT_WORD, sorted((word, note) for note, row in rows for word in row.words))
    db.executemany(index_sql.INSERT_LINK, [(note, *link) for note, row in rows for link in row.links])
    for _, row in rows:
        stems.update((row.stem, row.wanted))
    return bool(skipped)


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
        "SELECT n.note, n.title, n.aliases, n.wanted, n.outline, n.tags, t.cut "
        "FROM notes n JOIN texts t USING(note) WHERE n.path = ?",
        (path,),
    ).fetchone()
    if row is None:
        return None
    note, title, aliases, wanted, outline, tags, cut = row
    names, marks = json.loads(aliases), json.loads(tags)
    # A contentless table is told the old terms again to take them out.
    db.execute(index_sql.DELETE_FTS, (note, *_labels(title, names, path, wanted, json.loads(outline), marks), cut))
    for table, column in (("notes", "note"), ("texts", "note"), ("links", "source")):
        db.execute(f"DELETE FROM {table} WHERE {column} = ?", (note,))
    # By their keys, which follow from the row: an index on `note` would cost every insert.
    stem = id_of(path)
    keys = graph.name_keys(path, stem, wanted, title, names)
    db.executemany("DELETE FROM names WHERE key = ? AND rank = ? AND note = ?", [(*key, note) for key in keys])
    known = _words(title, names, marks, stem)
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
