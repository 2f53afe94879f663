"""The file of the index: opening it, what is wrong with it, one transaction, one connection a process.

What stands in the tables is in `records.index_rows`, what is asked of them in `records.index`. A damaged index, or one
of another schema, is built again; here is how that is found out.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Self

from records import index_sql
from records.errors import IndexBroken
from records.ranking import Memory


class IndexFile:
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

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """The connection, for who compares what it holds; not to write with. Raises IndexBroken in the block."""
        return self._reading()

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


_SHORT_READ = 522  # SQLITE_IOERR_SHORT_READ: the file is shorter than its own pages say


def _damaged(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or code == _SHORT_READ:
        return True
    # Tables are made in the same step as the file; one that is missing has been overwritten.
    return any(sign in str(error) for sign in ("malformed", "no such table", "no such column"))
