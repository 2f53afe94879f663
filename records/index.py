"""The derived index: SQLite rows, links and full text. It can be deleted at any time and is built again from the files.

One `Index` is one writer or one reader; readers on other threads or processes open their own with `read_only=True`.
Ranking is in `records.search`, link resolution in `records.graph`, SQL text in `records.index_sql`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from records import graph, index_sql, ranking, search
from records.catalog import Entry, effective
from records.errors import IndexBroken, InvalidValue
from records.ids import id_of
from records.model import Hit, Record
from records.query import search_query
from records.ranking import Memory
from records.text import analyse, fold, raw_words

Upsert = Record | Mapping[str, Any]
Rows = list[dict[str, Any]]
Hits = list[Hit]
Entries = list[Entry]
MAX_BODY = 8 * 2**20  # characters of one note that are searched


class Index:
    """The index at `path`. Opening creates it, and rebuilds one of another schema or a damaged one: `rebuilt` says why."""

    def __init__(self, path: Path | str, root: Path | str | None = None, *, read_only: bool = False) -> None:
        self.path = Path(path)
        self.root = Path(root) if root is not None else None
        self.read_only = read_only
        self.rebuilt: str | None = None
        self._lock = threading.RLock()
        self._memory = Memory()
        self._version = -1
        self._pid = os.getpid()
        self._db = self._open()

    # --- opening ---

    def _open(self) -> sqlite3.Connection:
        if self.read_only:
            if not self.path.exists():
                raise IndexBroken(f"there is no index at {str(self.path)!r} yet; open the notes for writing once")
            try:
                db = self._connect()
                self._check(db)
            except sqlite3.DatabaseError as error:
                if _damaged(error):
                    raise IndexBroken(f"the index is damaged: {error}") from error
                raise
            return db
        fresh = not self.path.exists()
        try:
            db = self._connect()
            if fresh or not self._schema_of(db):
                self._create(db)
            else:
                self._check(db)
            return db
        except (sqlite3.DatabaseError, IndexBroken) as error:
            if isinstance(error, sqlite3.OperationalError) and not _damaged(error):
                raise
            self.rebuilt = str(error)
        with suppress(UnboundLocalError, sqlite3.Error):
            db.close()
        self._remove()
        db = self._connect()
        self._create(db)
        return db

    def _connect(self) -> sqlite3.Connection:
        if self.read_only:
            db = self._reader("mode=ro")
            try:
                db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            except sqlite3.OperationalError:
                # On a disk that takes no writes there can be no shared-memory file, and nobody writes either.
                db.close()
                db = self._reader("immutable=1")
        else:
            db = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=10)
            db.execute("PRAGMA journal_mode=WAL")
            # Derived data: a lost last transaction after a power cut is found by the scan at start.
            db.execute("PRAGMA synchronous=NORMAL")
        db.isolation_level = None
        db.execute("PRAGMA cache_size=-16000")
        db.execute("PRAGMA temp_store=MEMORY")
        return db

    def _reader(self, how: str) -> sqlite3.Connection:
        address = f"{self.path.absolute().as_uri()}?{how}"
        return sqlite3.connect(address, uri=True, check_same_thread=False, timeout=10)

    @staticmethod
    def _schema_of(db: sqlite3.Connection) -> bool:
        return bool(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])

    def _create(self, db: sqlite3.Connection) -> None:
        db.executescript(index_sql.SCHEMA)
        db.execute("INSERT INTO about VALUES('schema', ?)", (index_sql.SCHEMA_VERSION,))

    def _check(self, db: sqlite3.Connection) -> None:
        try:
            row = db.execute("SELECT value FROM about WHERE key = 'schema'").fetchone()
        except sqlite3.OperationalError as error:
            raise IndexBroken(f"{str(self.path)!r} is not an index of this program ({error})") from None
        if row is None or row[0] != index_sql.SCHEMA_VERSION:
            raise IndexBroken(f"the index has schema {row and row[0]!r}, not {index_sql.SCHEMA_VERSION!r}")
        fault = db.execute("PRAGMA quick_check(1)").fetchone()[0] if self._small() and not self.read_only else "ok"
        if fault != "ok":
            raise IndexBroken(f"the index is damaged: {fault}")

    def _small(self) -> bool:
        """quick_check reads the whole file; of a large one, damage is found when it is met."""
        return self.path.stat().st_size < 64 * 2**20

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(f"{self.path}{suffix}")

    def rebuild(self, reason: str) -> None:
        """Throw everything away. The caller feeds it again from the files."""
        with self._lock:
            self._db.close()
            self._remove()
            self.rebuilt = reason
            self._memory.forget()
            self._db = self._connect()
            self._create(self._db)

    def close(self) -> None:
        """Close the file. Using the index afterwards raises."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _mine(self) -> None:
        # SQLite's locks do not survive a fork: two processes on one connection damage the file.
        if os.getpid() != self._pid:
            raise RuntimeError(
                f"this index was opened by process {self._pid}; open another one in process {os.getpid()}"
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._mine()
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                if _damaged(error):
                    raise IndexBroken(f"the index is damaged: {error}") from error
                raise
            finally:
                self._memory.forget()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        self._mine()
        with self._lock:
            try:
                yield self._db
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise IndexBroken(f"the index holds an impossible row: {error}") from error
            except sqlite3.DatabaseError as error:
                if _damaged(error):
                    raise IndexBroken(f"the index is damaged: {error}") from error
                raise

    # --- writing ---

    def apply(self, upserts: Iterable[Upsert] = (), removals: Iterable[str] = ()) -> int:
        """Put and remove notes in one transaction; number of rows touched. `upserts`: Records, or their dicts (with `size`,
        `mtime_ns`, `inode`), or `{path, size, mtime_ns, inode, skipped: reason}`; `removals`: paths. Raises IndexBroken."""
        touched = 0
        stems: set[str] = set()
        with self._transaction() as db:
            for path in removals:
                touched += self._delete(db, path, stems) is not None
                touched += db.execute("DELETE FROM skipped WHERE path = ?", (path,)).rowcount
            skips = db.execute("SELECT 1 FROM skipped LIMIT 1").fetchone() is not None
            for upsert in upserts:
                data = upsert.to_dict() if isinstance(upsert, Record) else upsert
                note = self._delete(db, data["path"], stems)
                if skips:
                    db.execute("DELETE FROM skipped WHERE path = ?", (data["path"],))
                if "skipped" in data:
                    db.execute(
                        "INSERT INTO skipped VALUES(?, ?, ?, ?, ?)",
                        (data["path"], data["size"], data["mtime_ns"], data["inode"], str(data["skipped"])),
                    )
                else:
                    self._insert(db, data, note, stems)
                touched += 1
            self._settle(db, stems)
        return touched

    def _delete(self, db: sqlite3.Connection, path: str, stems: set[str]) -> int | None:
        row = db.execute(
            "SELECT n.note, n.title, n.aliases, n.path, n.wanted, n.outline, n.tags, t.cut "
            "FROM notes n JOIN texts t USING(note) WHERE n.path = ?",
            (path,),
        ).fetchone()
        if row is None:
            return None
        note, title, aliases, path, wanted, outline, tags, cut = row
        names, marks = json.loads(aliases), json.loads(tags)
        # A contentless table is told the old terms again to take them out.
        fields = _terms(title, names, path, wanted, json.loads(outline), marks, cut)
        db.execute(index_sql.DELETE_FTS, (note, *fields))
        for table, column in (("notes", "note"), ("texts", "note"), ("links", "source")):
            db.execute(f"DELETE FROM {table} WHERE {column} = ?", (note,))
        # By their keys, which follow from the row: an index on `note` would cost every insert.
        stem = id_of(path)
        keys = graph.name_keys(path, stem, wanted, title, names)
        db.executemany("DELETE FROM names WHERE key = ? AND rank = ? AND note = ?", [(*key, note) for key in keys])
        known = _words(title, names, marks, stem)
        db.executemany("DELETE FROM words WHERE word = ? AND note = ?", [(word, note) for word in known])
        db.executemany("DELETE FROM tags WHERE tag = ? AND note = ?", [(fold(tag), note) for tag in marks])
        stems.update((id_of(path), wanted))
        return int(note)

    def _insert(self, db: sqlite3.Connection, data: Mapping[str, Any], note: int | None, stems: set[str]) -> None:
        path, wanted, body = data["path"], data["id"], data["body"][:MAX_BODY]
        stem = id_of(path)
        tags, aliases = list(data["tags"]), list(data.get("aliases", ()))
        outline = [[h["level"], h["text"], h["position"]] for h in data["outline"]]
        cursor = db.execute(
            index_sql.INSERT_NOTE,
            (
                note, path, stem, wanted, wanted, data["title"], data["class"], _json(tags), _json(data["links"]),
                _json(aliases), data["created"], data["updated"], data["author"], data["format"], _json(outline),
                _json(data["meta"]), data["revision"], data.get("error"), data.get("size", 0),
                data.get("mtime_ns", 0), data.get("inode", 0),
            ),
        )  # fmt: skip
        note = cursor.lastrowid
        assert note is not None
        cut = ranking.cut_text(outline, body)
        db.execute("INSERT INTO texts VALUES(?, ?, ?, ?)", (note, len(body), cut, body))
        db.execute(index_sql.INSERT_FTS, (note, *_terms(data["title"], aliases, path, wanted, outline, tags, cut)))
        db.executemany("INSERT OR IGNORE INTO tags VALUES(?, ?, ?)", [(fold(tag), note, tag) for tag in tags])
        keys = graph.name_keys(path, stem, wanted, data["title"], aliases)
        db.executemany("INSERT OR IGNORE INTO names VALUES(?, ?, ?)", [(key, rank, note) for key, rank in keys])
        words = _words(data["title"], aliases, tags, stem)
        db.executemany("INSERT INTO words VALUES(?, ?)", [(word, note) for word in words])
        rows = [
            (note, place, link["kind"], link["target"], link["target"].casefold(),
             link["target"].rpartition("/")[2].casefold(), link["fragment"], link["display"], link["position"])
            for place, link in enumerate(data["wikilinks"])
        ]  # fmt: skip
        place = len(rows)
        rows += [
            (note, place + n, "listed", target, target.casefold(), target.rpartition("/")[2].casefold(), "", "", -1)
            for n, target in enumerate(data["links"])
        ]
        db.executemany(index_sql.INSERT_LINK, rows)
        stems.update((stem, wanted))

    def _settle(self, db: sqlite3.Connection, stems: set[str]) -> None:
        """Give every note that shares a touched id the id that the rule gives it."""

        def having(column: str) -> Callable[[str], set[str]]:
            extra = " AND wanted <> stem" if column == "wanted" else ""
            sql = f"SELECT path FROM notes WHERE {column} = ?{extra}"
            return lambda id_: {path for (path,) in db.execute(sql, (id_,))}

        by_stem, by_claim = having("stem"), having("wanted")
        for id_ in self._shared(db, sorted(stems)):
            for path in by_stem(id_) | by_claim(id_):
                wanted, now = db.execute("SELECT wanted, id FROM notes WHERE path = ?", (path,)).fetchone()
                right = effective(path, wanted, by_stem, by_claim)
                if right != now:
                    db.execute("UPDATE notes SET id = ? WHERE path = ?", (right, path))

    def _shared(self, db: sqlite3.Connection, ids: Sequence[str]) -> set[str]:
        """Those of some ids that more than one file may have a say in: a few of many, found with few queries."""
        found: set[str] = set()
        for start in range(0, len(ids), 500):
            part = ids[start : start + 500]
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
                (last.casefold(), index_sql.BY_LAST, but),
            ).fetchone()
            return row is None

    def skipped(self) -> Rows:
        """Files that are not notes although their name says so: `{path, error}`."""
        with self._reading() as db:
            return [{"path": path, "error": error} for path, error in db.execute("SELECT path, error FROM skipped")]

    # --- questions ---

    def search(
        self, query: str, class_: str | None = None, tags: Sequence[str] = (), limit: int = 20, since: str | None = None
    ) -> Hits:
        """Notes for what somebody typed, best first; ties by id. Never raises for any text."""
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
        for key in ("tags", "links", "aliases", "meta"):
            data[key] = json.loads(data[key])
        for key in ("note", "stem", "wanted"):
            del data[key]
        return data

    def list(
        self, class_: str | None = None, tag: str | None = None, prefix: str | None = None, order: str = "updated",
        limit: int | None = 100,
    ) -> Rows:  # fmt: skip
        """Summaries `{id, title, class, tags, created, updated}`. `order`: updated, created, title, id. Raises InvalidValue."""
        return self._summaries(order, limit, class_=class_, tags=(fold(tag),) if tag else (), prefix=prefix)

    def recent(self, order_by: str = "updated", since: str | None = None, limit: int | None = 20) -> Rows:
        """The newest notes by `updated` or `created`; `since`: RFC 3339. Raises InvalidValue."""
        if order_by not in ("updated", "created"):
            raise InvalidValue(f"order_by is 'updated' or 'created', not {order_by!r}")
        return self._summaries(order_by, limit, class_=None, since=since, since_column=order_by)

    def _summaries(self, order: str, limit: int | None, **conditions: Any) -> Rows:
        if order not in index_sql.ORDERS:
            raise InvalidValue(f"order is one of {', '.join(index_sql.ORDERS)}, not {order!r}")
        where, values = index_sql.filters(**conditions)
        sql = f"SELECT {index_sql.SUMMARY} FROM notes n WHERE {where} ORDER BY {index_sql.ORDERS[order]} LIMIT ?"
        with self._reading() as db:
            return [_summary(row) for row in db.execute(sql, (*values, -1 if limit is None else limit))]

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
                "index_bytes": self.path.stat().st_size,
                "rebuilt": self.rebuilt,
            }

    def faults(self) -> Rows:
        """Notes with an `error`, files skipped, and notes that lost the id they ask for: `{path, id, error}`."""
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
        return found + [{"path": row["path"], "id": None, "error": row["error"]} for row in self.skipped()]

    def resolve(self, target: str) -> str | None:
        """The id a wikilink's target means, or None when there is none or more than one."""
        with self._reading() as db:
            return graph.resolve(db, target)

    def links(self, id_: str, depth: int = 1) -> Rows:
        """Where a note leads: `{source, target, id, fragment, display, kind, depth}`, `id` None when unresolved."""
        with self._reading() as db:
            return graph.links(db, id_, depth)

    def backlinks(self, id_: str) -> Rows:
        """Links that mean a note: `{id, title, path, target, fragment, display, kind}`."""
        with self._reading() as db:
            return graph.backlinks(db, id_)

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


def _terms(
    title: str, aliases: list[str], path: str, wanted: str, outline: list[Any], tags: list[str], cut: str
) -> tuple[str, str, str, str, str]:
    """The five columns of a note in the full-text table."""
    names = " ".join((*aliases, id_of(path), "" if wanted == id_of(path) else wanted))
    headings = " ".join(str(heading[1]) for heading in outline)
    return analyse(title), analyse(names), analyse(headings), analyse(" ".join(tags)), cut


def _words(title: str, aliases: list[str], tags: list[str], stem: str) -> set[str]:
    """Words that a slip of the hand is compared with."""
    words = {fold(word) for text in (title, *aliases, *tags, stem) for word in raw_words(text)}
    return {word for word in words if 3 <= len(word) <= 40}


def _summary(row: Sequence[Any]) -> dict[str, Any]:
    id_, title, kind, tags, created, updated = row
    return {"id": id_, "title": title, "class": kind, "tags": json.loads(tags), "created": created, "updated": updated}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str) if value else ("{}" if isinstance(value, dict) else "[]")


_SHORT_READ = 522  # SQLITE_IOERR_SHORT_READ: the file is shorter than its own pages say


def _damaged(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or code == _SHORT_READ:
        return True
    # Tables are made in the same step as the file; one that is missing has been overwritten.
    return any(sign in str(error) for sign in ("malformed", "no such table", "no such column"))
