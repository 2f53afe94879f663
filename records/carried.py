"""Notes as an older index has them: for those in folders that are closed to us while a new index is built.

Only what `index_sql.COLUMNS`, texts and links say is read, whatever the version; terms are cut anew by who takes them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from records import index_sql
from records.model import FileStat, Heading, Link, Record


def records_of(file: Path, places: Sequence[str]) -> Iterator[Record]:
    """The notes whose paths begin as one of `places`, by path, up to where the file can be read; none from a damaged one."""
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as db:
            paths = [
                path for (path,) in db.execute("SELECT path FROM notes ORDER BY path") if path.startswith(tuple(places))
            ]
            for path in paths:
                yield _record(db, path)
    except (sqlite3.Error, ValueError, TypeError):
        return  # an impossible row, or one of a version that nobody remembers: the file itself is read when it can be


def _record(db: sqlite3.Connection, path: str) -> Record:
    columns = ", ".join(f"n.{name}" for name in index_sql.COLUMNS)
    values = db.execute(
        f"SELECT {columns}, t.body FROM notes n JOIN texts t USING(note) WHERE n.path = ?", (path,)
    ).fetchone()
    row: dict[str, Any] = dict(zip((*index_sql.COLUMNS, "body"), values, strict=True))
    links = db.execute(
        "SELECT target, fragment, display, position, kind FROM links WHERE source = ? AND kind <> 'listed' ORDER BY place",
        (row["note"],),
    ).fetchall()
    tags, listed, aliases, inline, outline = (
        json.loads(row[key]) for key in ("tags", "listed", "aliases", "inline_tags", "outline")
    )
    return Record(
        id=row["wanted"], title=row["title"], class_=row["class"], tags=tuple(tags), links=tuple(listed),
        created=row["created"], updated=row["updated"], author=row["author"], body=row["body"],
        outline=tuple(Heading(*heading) for heading in outline), wikilinks=tuple(Link(*link) for link in links),
        meta=json.loads(row["meta"]), format=row["format"], path=path, revision=row["revision"], error=row["error"],
        aliases=tuple(aliases), inline_tags=tuple(inline),
        # The index has one stamp of the two times: as the one it is the stamp again.
        stat=FileStat(path, row["size"], 0, row["inode"], row["mtime_ns"]),
    )  # fmt: skip
