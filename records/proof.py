"""Whether an index is what the files would give if it were built now: it is built again, elsewhere, and compared.

Every table is compared by what it says of each note, whatever its columns are, and the full text too. Only numbers of
rows are left out, and notes in folders that are closed to us: what they are now nobody knows. Nothing is changed here,
and no file is written but the second index, which goes at the end.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from records.index import Index
from records.model import FileStat, Record
from records.notes import read_upsert
from records.store import Store

BATCH_NOTES = 500
BATCH_BYTES = 4 * 2**20
EVERY_TERM = 20_000  # notes up to which each place of each term is compared; above, how often each term stands
SHOWN = 100  # differences that are told one by one
_MASK = 2**64 - 1
Facts = dict[tuple[str, str], int]  # (table, path or term) -> digest of its rows
Progress = Callable[[int], object]


def prove(store: Store, index: Index, progress: Progress = lambda _: None, scratch: Path | None = None) -> list[str]:
    """Differences as sentences, empty when there are none. `progress`: called with the number of files read so far;
    `scratch`: where the second index may lie.

    A file that changes meanwhile may be named although nothing is wrong; ask again. Raises IndexBroken.
    """
    with tempfile.TemporaryDirectory(prefix="egghead-proof-", dir=scratch) as folder:
        with Index(Path(folder) / "index.db", store.root) as fresh:
            closed: list[str] = []
            for batch in _batches(store, store.scan(closed=closed), progress):
                fresh.apply(batch)
            return list(_told(_facts(index, tuple(closed)), _facts(fresh, tuple(closed))))


def _batches(store: Store, found: Iterable[FileStat], progress: Progress) -> Iterator[list[Record | dict[str, Any]]]:
    batch: list[Record | dict[str, Any]] = []
    size = done = 0
    for stat in found:
        upsert = read_upsert(store, stat)
        if upsert is not None:
            batch.append(upsert)
        size += stat.size
        done += 1
        if len(batch) >= BATCH_NOTES or size >= BATCH_BYTES:
            progress(done)
            yield batch
            batch, size = [], 0
    progress(done)
    yield batch


def _facts(index: Index, closed: tuple[str, ...]) -> Facts:
    """Of every note whose path does not begin as one of `closed`."""
    facts: Facts = defaultdict(int)
    with index.reading() as db:
        paths = dict(db.execute("SELECT note, path FROM notes"))
        for table, columns in _tables(db):
            owner = next((name for name in ("note", "source") if name in columns), None)
            if owner is None and "path" not in columns:
                continue
            for row in db.execute(f"SELECT {', '.join(columns)} FROM {table}"):
                values = dict(zip(columns, row, strict=True))
                if closed:
                    values.pop("id", None)  # which of two has an id depends on those that nobody sees
                note = values.pop(owner) if owner is not None else None
                path = values["path"] if "path" in values else paths.get(note, f"a note {note} that is not there")
                _add(facts, (table, path), tuple(values.values()))
        _terms(db, paths, facts, by_note=bool(closed))
    return {(table, name): digest for (table, name), digest in facts.items() if not name.startswith(closed)}


def _tables(db: sqlite3.Connection) -> list[tuple[str, list[str]]]:
    """Plain tables and their columns; the full text keeps its own in tables that are not ours to read."""
    names = [
        name
        for (name,) in db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'"
        )
    ]
    return [
        (name, [column[1] for column in db.execute(f"PRAGMA table_info({name})")])
        for name in names
        if not name.startswith(("fts_", "sqlite_"))
    ]  # fmt: skip


def _terms(db: sqlite3.Connection, paths: dict[int, str], facts: Facts, by_note: bool) -> None:
    kind = "instance" if by_note or len(paths) <= EVERY_TERM else "row"
    db.execute(f"CREATE VIRTUAL TABLE temp.proof USING fts5vocab(main, fts, {kind})")
    try:
        for row in db.execute("SELECT * FROM temp.proof"):
            if kind == "row":
                _add(facts, ("term", row[0]), row[1:])
            else:
                term, note, *place = row
                _add(facts, ("fts", paths.get(note, f"a note {note} that is not there")), (term, *place))
    finally:
        db.execute("DROP TABLE temp.proof")
    # How long FTS5 takes each text to be: rank and order of the hits come of it, and no term tells.
    for note, sizes in db.execute("SELECT id, sz FROM fts_docsize"):
        _add(facts, ("fts", paths.get(note, f"a note {note} that is not there")), (sizes,))
    if not by_note:
        for totals in db.execute("SELECT block FROM fts_data WHERE id = 1"):
            if any(totals[0]):  # else no note is left, or none was there ever
                _add(facts, ("term", "its totals"), totals)


def _add(facts: Facts, key: tuple[str, str], row: tuple[Any, ...]) -> None:
    # The order of rows says nothing, so their digests are added up.
    facts[key] = (facts[key] + hash(row)) & _MASK


def _told(has: Facts, should: Facts) -> Iterator[str]:
    held = {path for table, path in has if table in ("notes", "skipped")}
    wanted = {path for table, path in should if table in ("notes", "skipped")}
    wrong: dict[str, list[str]] = defaultdict(list)
    for table, name in sorted(has.keys() | should.keys()):
        if has.get((table, name)) != should.get((table, name)):
            wrong[name if table != "term" else "the full text"].append(table if table != "term" else name)
    for count, (name, tables) in enumerate(sorted(wrong.items())):
        if count == SHOWN:
            yield f"and {len(wrong) - SHOWN} more"
            return
        if name in wanted and name not in held:
            yield f"{name!r} is not in the index"
        elif name in held and name not in wanted:
            yield f"{name!r} is in the index and not on disk"
        else:
            yield f"{name!r} is not in the index as its file has it ({', '.join(tables[:5])})"
