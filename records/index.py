"""The derived index: SQLite rows, links and full text. It can be deleted at any time and is built again from the files.

One `Index` is one writer or one reader; readers on other threads or processes open their own with `read_only=True`.
The file is in `records.index_file`, its rows in `records.index_rows`, ranking in `records.search`, link resolution in
`records.graph`, SQL text in `records.index_sql`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from records import graph, index_rows, index_sql, search
from records.carried import records_of
from records.catalog import Entry
from records.cuts import Memory
from records.errors import InvalidValue
from records.fields import check_class
from records.filenames import CONFLICT, original
from records.ids import folder_named, id_of, key_of
from records.index_file import IndexFile, bytes_on_disk
from records.index_rows import Upsert
from records.model import Hit
from records.query import moment, search_query
from records.text import fold

Rows = list[dict[str, Any]]
Hits = list[Hit]
Entries = list[Entry]


MAX_RIVALS = 100  # notes of one name: who has more of them does not link to them by it
MAX_ROWS = 2**31  # SQLite takes no number above 2**63


class Index(IndexFile):
    """What the notes say, by question. See `IndexFile` for opening; only `apply` writes."""

    # --- writing ---

    def apply(self, upserts: Iterable[Upsert] = (), removals: Iterable[str] = ()) -> int:
        """Put and remove notes in one transaction; number of rows touched. `upserts`: Records or Rows (see `records.rows`), or
        `{path, size, mtime_ns, inode, skipped: reason}`; `removals`: paths. Raises IndexBroken, and what `upserts` raises."""
        return self.apply_all([(upserts, removals)])[0]

    def apply_all(self, batches: Iterable[tuple[Iterable[Upsert], Iterable[str]]]) -> Sequence[int]:
        """`apply` of each (upserts, removals) in turn, all in one transaction, which is what costs most of a small one."""
        touched = []
        stems: set[str] = set()
        with self._transaction() as db:
            for upserts, removals in batches:
                count = 0
                for path in removals:
                    count += index_rows.delete(db, path, stems) is not None
                    count += db.execute("DELETE FROM skipped WHERE path = ?", (path,)).rowcount
                touched.append(count + index_rows.put(db, upserts, stems))
            index_rows.settle(db, stems)
        return touched

    def carry(self, places: Sequence[str]) -> int:
        """While a new index is built beside the old one: take from that the notes whose paths begin as one of `places`, which
        nobody can read now, and which the new one does not have; how many. Raises IndexBroken."""
        if not places or not self.building:
            return 0
        known = {path for path in self.known() if path.startswith(tuple(places))}
        return self.apply(record for record in records_of(self.path, places) if record.path not in known)

    # --- what is known ---

    def known(self, after: str = "", limit: int | None = None) -> dict[str, tuple[int, int, int]]:
        """Path -> (size, mtime_ns, inode) of every file seen, skipped ones too; a page in path order when `limit` is given."""
        return {entry.path: entry.mark for entry in self.entries(after, limit)}

    def entries(self, after: str = "", limit: int | None = None) -> Entries:
        """As `known`, with wanted id, class and revision. A skipped file has class ''."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT path, size, mtime_ns, inode, wanted, class, revision FROM notes WHERE path > ?1 UNION ALL "
                "SELECT path, size, mtime_ns, inode, '', '', '' FROM skipped WHERE path > ?1 ORDER BY path LIMIT ?2",
                (after, -1 if limit is None else limit),
            )
            return [Entry(row[0], (row[1], row[2], row[3]), row[4] or id_of(row[0]), row[5], row[6]) for row in rows]

    def paths(self, ids: Iterable[str]) -> dict[str, str]:
        """id -> path of those ids that exist."""
        with self._reading() as db:
            found = {}
            for id_ in ids:
                row = db.execute("SELECT path FROM notes WHERE id = ?", (id_,)).fetchone()
                if row is not None:
                    found[id_] = row[0]
            return found

    def id_at(self, path: str) -> str | None:
        """The id of the note at a path, or None."""
        with self._reading() as db:
            row = db.execute("SELECT id FROM notes WHERE path = ?", (path,)).fetchone()
            return row[0] if row else None

    def is_free(self, last: str, but: str = "") -> bool:
        """Whether no note but the one at path `but` has this last part of its id, so that a short link is enough."""
        with self._reading() as db:
            row = db.execute(
                "SELECT 1 FROM names k JOIN notes n USING(note) WHERE k.key = ? AND k.rank <= ? AND n.path <> ?",
                (key_of(last), index_sql.BY_LAST, but),
            ).fetchone()
            return row is None

    def rivals(self, id_: str, but: str = "") -> Sequence[str]:
        """Ids of the notes, but the one at path `but`, that a link might mean by the names this id would have: their links may
        lead elsewhere once there is a note of that id."""
        names = [name for whole in (id_, folder_named(id_)) if whole for name in (whole, whole.rpartition("/")[2])]
        with self._reading() as db:
            rows = db.execute(
                f"SELECT DISTINCT n.id FROM names k JOIN notes n USING(note) WHERE k.key IN ({', '.join('?' * len(names))}) "
                "AND n.path <> ? ORDER BY 1 LIMIT ?",
                (*(key_of(name) for name in names), but, MAX_RIVALS),
            )
            return [row[0] for row in rows]

    def skipped(self) -> Rows:
        """Files that are not notes although their name says so: `{path, error}`."""
        with self._reading() as db:
            return [{"path": path, "error": error} for path, error in db.execute("SELECT path, error FROM skipped")]

    # --- questions ---

    def search(
        self, query: str, class_: str | None = None, tags: Sequence[str] = (), limit: int = 20, since: str | None = None
    ) -> Hits:
        """Notes for what somebody typed, best first; ties by id. Never raises for any text; InvalidValue for a `since` that is
        no date, or a `class_` that is none."""
        since = moment(since)
        if class_:
            check_class(class_)
        if limit <= 0:
            return []
        with self._reading() as db:
            return search.run(
                db, search_query(query), class_, tuple(tags), min(limit, 500), since, self._remembered(db)
            )

    def _remembered(self, db: sqlite3.Connection) -> Memory:
        """What earlier searches learned, unless another connection has written since."""
        version = db.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self._version = version
            self._memory.forget()
        return self._memory

    def get(self, id_: str) -> dict[str, Any] | None:
        """A note's row as `Record.to_dict()` has it, body too (`wikilinks` without positions of code), or None."""
        with self._reading() as db:
            cursor = db.execute("SELECT n.*, t.body FROM notes n JOIN texts t USING(note) WHERE n.id = ?", (id_,))
            row = cursor.fetchone()
            if row is None:
                return None
            data = dict(zip((column[0] for column in cursor.description), row, strict=True))
            links = db.execute(
                "SELECT target, fragment, display, position, kind FROM links WHERE source = ? AND kind <> 'listed' ORDER BY place",
                (data["note"],),
            )
            data["wikilinks"] = [
                dict(zip(("target", "fragment", "display", "position", "kind"), link, strict=True)) for link in links
            ]
        outline = json.loads(data["outline"])
        data["outline"] = [{"level": level, "text": text, "position": position} for level, text, position in outline]
        data["links"] = data.pop("listed")
        for key in ("tags", "inline_tags", "links", "aliases", "meta"):
            data[key] = json.loads(data[key])
        for key in ("note", "stem", "wanted"):
            del data[key]
        return data

    def list(
        self, class_: str | None = None, tag: str | None = None, prefix: str | None = None, order: str = "updated",
        limit: int | None = 100,
    ) -> Rows:  # fmt: skip
        """Summaries `{id, title, class, tags, created, updated}`. `order`: updated, created, title, id. Raises InvalidValue."""
        if class_:
            check_class(class_)
        return self._summaries(order, limit, class_=class_, tags=(fold(tag),) if tag else (), prefix=prefix)

    def recent(self, order_by: str = "updated", since: str | None = None, limit: int | None = 20) -> Rows:
        """The newest notes by `updated` or `created`; `since`: see `moment`. Raises InvalidValue."""
        if order_by not in ("updated", "created"):
            raise InvalidValue(f"order_by is 'updated' or 'created', not {order_by!r}")
        return self._summaries(order_by, limit, class_=None, since=moment(since), since_column=order_by)

    def _summaries(self, order: str, limit: int | None, **conditions: Any) -> Rows:
        if order not in index_sql.ORDERS:
            raise InvalidValue(f"order is one of {', '.join(index_sql.ORDERS)}, not {order!r}")
        where, values = index_sql.filters(**conditions)
        sql = f"SELECT {index_sql.SUMMARY} FROM notes n WHERE {where} ORDER BY {index_sql.ORDERS[order]} LIMIT ?"
        with self._reading() as db:
            return [_summary(row) for row in db.execute(sql, (*values, -1 if limit is None else min(limit, MAX_ROWS)))]

    def tags(self) -> Rows:
        """`{tag, count}`, most used first."""
        with self._reading() as db:
            rows = db.execute("SELECT min(spelled), count(*) FROM tags GROUP BY tag ORDER BY 2 DESC, 1")
            return [{"tag": tag, "count": count} for tag, count in rows]

    def stats(self) -> dict[str, Any]:
        """Counts: notes, by class, tags, links, skipped, errors, bytes of notes and of the index."""
        with self._reading() as db:
            notes, size, errors = db.execute(
                "SELECT count(*), coalesce(sum(size), 0), count(error) FROM notes"
            ).fetchone()
            return {
                "notes": notes,
                "bytes": size,
                "errors": errors,
                "classes": dict(db.execute("SELECT class, count(*) FROM notes GROUP BY class ORDER BY class")),
                "tags": db.execute("SELECT count(DISTINCT tag) FROM tags").fetchone()[0],
                "links": db.execute("SELECT count(*) FROM links").fetchone()[0],
                "skipped": db.execute("SELECT count(*) FROM skipped").fetchone()[0],
                "index_bytes": bytes_on_disk(self._file),
                "rebuilt": self.rebuilt,
                "building": self.building,
            }

    def faults(self) -> Rows:
        """Notes with an `error`, files skipped, notes that lost the id they ask for, and the copies that sync programs made of
        a note that two had changed: `{path, id, error}`."""
        with self._reading() as db:
            found = [
                {"path": path, "id": id_, "error": error}
                for path, id_, error in db.execute(
                    "SELECT path, id, error FROM notes WHERE error IS NOT NULL ORDER BY path"
                )
            ]
            found += [
                {"path": path, "id": id_, "error": f"the id {wanted!r} belongs to another file; this one is {id_!r}"}
                for path, id_, wanted in db.execute(
                    "SELECT path, id, wanted FROM notes WHERE id <> wanted ORDER BY path"
                )
            ]
            found += [
                {
                    "path": path,
                    "id": id_,
                    "error": f"a sync program's copy of {kept!r}, which two had changed; compare them and trash one",
                }
                for path, id_ in db.execute(f"SELECT path, id FROM notes WHERE path LIKE '%{CONFLICT}%' ORDER BY path")
                if (kept := original(path)) is not None
                and db.execute("SELECT 1 FROM notes WHERE path = ?", (kept,)).fetchone()
            ]
        return found + [{"path": row["path"], "id": None, "error": row["error"]} for row in self.skipped()]

    def resolve(self, target: str) -> str | None:
        """The id a wikilink's target means, or None when there is none or more than one."""
        with self._reading() as db:
            return graph.resolve(db, target)

    def links(self, id_: str, depth: int = 1) -> Rows:
        """Where a note leads: `{source, target, id, fragment, display, kind, depth}`, `id` None when unresolved."""
        with self._reading() as db:
            return graph.links(db, id_, depth)

    def backlinks(self, id_: str, own: bool = False) -> Rows:
        """Links that mean a note: `{id, title, path, target, fragment, display, kind}`; with `own` those in itself too."""
        with self._reading() as db:
            return graph.backlinks(db, id_, own)

    def unresolved(self) -> Rows:
        """Links that mean no note, or several: `{source, target, candidates}`."""
        with self._reading() as db:
            return graph.unresolved(db)

    def orphans(self) -> Rows:
        """Summaries of notes that no other note links to and that link to none."""
        with self._reading() as db:
            return [_summary(row) for row in graph.orphans(db)]

    def graph(self, around: str | None = None, depth: int = 1) -> dict[str, Any]:
        """`{nodes: [{id, title, class}], edges: [[from, to]]}` of everything, or of what is within `depth` of a note."""
        with self._reading() as db:
            return graph.graph(db, around, depth)


def _summary(row: Sequence[Any]) -> dict[str, Any]:
    id_, title, kind, tags, created, updated = row
    return {"id": id_, "title": title, "class": kind, "tags": json.loads(tags), "created": created, "updated": updated}
