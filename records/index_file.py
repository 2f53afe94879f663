"""The file of the index: opening it, what is wrong with it, one transaction, one connection a process.

What stands in the tables is in `records.index_rows`, what is asked of them in `records.index`. A damaged index, or one
of another schema, is built again; here is how that is found out.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Self

from records import index_sql
from records.cuts import Memory
from records.errors import IndexBroken


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
        self._beside = Path(f"{self.path}.new")
        self._file = self.path  # the one that is open
        self._inode = 0
        self._own = 0  # of a writer: the file that it writes to
        self._db = self._open()

    # --- opening ---

    @property
    def building(self) -> bool:
        """Whether what is written goes to a new file beside the old one, which answers until `complete`."""
        return self._file != self.path

    def _open(self) -> sqlite3.Connection:
        return self._open_reader() if self.read_only else self._open_writer()

    def _open_reader(self) -> sqlite3.Connection:
        self._inode = _inode(self.path)
        beside = self._beside.exists()
        if not self._inode and not beside:
            raise IndexBroken(f"there is no index at {str(self.path)!r} yet; open the notes for writing once")
        try:
            return self._opened(self.path)
        except (sqlite3.DatabaseError, IndexBroken) as error:
            if isinstance(error, sqlite3.DatabaseError) and not _damaged(error) and not beside:
                raise
            if not beside:
                raise error if isinstance(error, IndexBroken) else _broken(error) from error
        # A new one is being built: the old one answers as well as it can, else what there is of the new one.
        if self._inode and _answers(self.path):
            self._file = self.path
            return self._connect()
        return self._opened(self._beside)

    def _open_writer(self) -> sqlite3.Connection:
        if self._beside.exists():
            # A rebuild did not come to its end: it goes on where it was.
            with suppress(sqlite3.DatabaseError, IndexBroken):
                db = self._opened(self._beside)
                self.rebuilt = db.execute("SELECT value FROM about WHERE key = 'reason'").fetchone()[0]
                return db
            _remove(self._beside)
        self._file = self.path
        if not self.path.exists():
            return self._made("")
        try:
            db = self._connect()
            if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                self._create(db, "")
            else:
                self._check(db)
            return db
        except (sqlite3.DatabaseError, IndexBroken) as error:
            if isinstance(error, sqlite3.OperationalError) and not _damaged(error):
                raise
            self.rebuilt = str(error)
        with suppress(UnboundLocalError, sqlite3.Error):
            db.close()
        return self._again(self.rebuilt)

    def _again(self, reason: str) -> sqlite3.Connection:
        """An empty index: beside the old one as long as that can answer, else in its place."""
        self._file = self._beside if _answers(self.path) else self.path
        return self._made(reason)

    def _made(self, reason: str) -> sqlite3.Connection:
        _remove(self._file)
        db = self._connect()
        self._create(db, reason)
        return db

    def _opened(self, file: Path) -> sqlite3.Connection:
        self._file = file
        db = self._connect()
        try:
            self._check(db)
        except BaseException:  # also of a cancelled start: an open file would keep its lock
            db.close()
            raise
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
            db = sqlite3.connect(self._file, check_same_thread=False, isolation_level=None, timeout=10)
            db.execute("PRAGMA journal_mode=WAL")
            # Derived data: a lost last transaction after a power cut is found by the scan at start.
            db.execute("PRAGMA synchronous=NORMAL")
            # Pages: 32 MB of log. With SQLite's own 4 MB each transaction of a first index is copied, and synced, by itself.
            db.execute("PRAGMA wal_autocheckpoint=8000")
        db.isolation_level = None
        db.execute("PRAGMA cache_size=-16000")
        db.execute("PRAGMA temp_store=MEMORY")
        if not self.read_only:
            self._own = _inode(self._file)
        return db

    def _reader(self, how: str) -> sqlite3.Connection:
        address = f"{self._file.absolute().as_uri()}?{how}"
        return sqlite3.connect(address, uri=True, check_same_thread=False, timeout=10)

    def _create(self, db: sqlite3.Connection, reason: str) -> None:
        db.executescript(index_sql.SCHEMA)
        about = {"schema": index_sql.SCHEMA_VERSION, "reason": reason}
        db.executemany("INSERT INTO about VALUES(?, ?)", about.items())

    def _check(self, db: sqlite3.Connection) -> None:
        try:
            row = db.execute("SELECT value FROM about WHERE key = 'schema'").fetchone()
        except sqlite3.OperationalError as error:
            raise IndexBroken(f"{str(self._file)!r} is not an index of this program ({error})") from None
        if row is None or row[0] != index_sql.SCHEMA_VERSION:
            raise IndexBroken(f"the index has schema {row and row[0]!r}, not {index_sql.SCHEMA_VERSION!r}")
        missing = _TABLES - {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        if missing:
            raise IndexBroken(f"the index has no table {min(missing)!r}")
        fault = db.execute("PRAGMA quick_check(1)").fetchone()[0] if self._small() and not self.read_only else "ok"
        if fault != "ok":
            raise IndexBroken(f"the index is damaged: {fault}")

    def _small(self) -> bool:
        """quick_check reads the whole file; of a large one, damage is found when it is met."""
        return self._file.stat().st_size < 64 * 2**20

    def rebuild(self, reason: str) -> None:
        """Begin an empty index, which the caller feeds from the files and ends with `complete`. Until then the old one answers
        readers, if it still can, also after a kill. Raises OSError where no file can be made; nothing has changed then."""
        with self._lock:
            # Where no file can be made (the folder was removed under us) the one that is open still answers.
            with tempfile.TemporaryFile(dir=self.path.parent):
                pass
            self._db.close()
            self.rebuilt = reason
            self._memory.forget()
            self._db = self._made(reason) if self.building else self._again(reason)

    def complete(self) -> bool:
        """The index has every file: when it was built beside the old one, it takes its place now, in one step."""
        with self._lock:
            if not self.building:
                return False
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.close()
            # First what belongs to the old one: SQLite would take an old log for one of the new file. What it holds goes
            # into the old file, which still answers if we are killed here.
            with suppress(sqlite3.Error), closing(sqlite3.connect(self.path, timeout=1)) as old:
                old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            for suffix in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    os.unlink(f"{self.path}{suffix}")
            os.replace(self._file, self.path)
            _remove(self._beside)
            self._file = self.path
            self._memory.forget()
            self._db = self._connect()
            return True

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
            if _inode(self._file) != self._own and self._file.parent.is_dir():
                # What goes into a file without a name is gone at the next start, and no reader sees it.
                raise IndexBroken(f"the index at {str(self._file)!r} was removed or replaced while it was open")
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                except BaseException:  # half a transaction must not be there, whatever cut it
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            except json.JSONDecodeError as error:  # to take a note out, its row is read
                raise _impossible(error) from error
            except sqlite3.DatabaseError as error:
                if _damaged(error):
                    raise _broken(error) from error
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
            if self.read_only and _inode(self.path) != self._inode:
                self._follow()
            try:
                with _snapshot(self._db):
                    yield self._db
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise _impossible(error) from error
            except sqlite3.DatabaseError as error:
                if _damaged(error):
                    raise _broken(error) from error
                raise

    def _follow(self) -> None:
        """Another file has taken the place of the one that is open."""
        old = self._db
        with suppress(IndexBroken, sqlite3.DatabaseError):
            # In between there may be none: what is open still answers.
            self._db = self._open_reader()
            self._memory, self._version = Memory(), -1
            old.close()


@contextmanager
def _snapshot(db: sqlite3.Connection) -> Iterator[None]:
    """All that is read in the block is of one moment. A question asks several times: between two of them another process may
    take out the note that the first has found, or put another one under its number."""
    writing = db.in_transaction  # then what it has written is read too
    if not writing:
        db.execute("BEGIN")
    try:
        yield
    finally:
        if not writing and db.in_transaction:  # a damage may have ended it
            db.execute("ROLLBACK")


_TABLES = set(re.findall(r"CREATE (?:VIRTUAL )?TABLE (\w+)", index_sql.SCHEMA))
_PROBES = (
    f"SELECT {', '.join(index_sql.COLUMNS)} FROM notes LIMIT 1",
    "SELECT note, size, heads, cut, body FROM texts LIMIT 1",
    "SELECT source, kind, target, key, last, fragment, display, position FROM links LIMIT 1",
    "SELECT key, rank, note FROM names LIMIT 1",
    "SELECT rowid FROM fts WHERE fts MATCH '{title names headings tags body} : a' LIMIT 1",
    "SELECT term, doc FROM terms LIMIT 1",
)


def _answers(path: Path) -> bool:
    """Whether an index of another version, or a damaged one, has notes and the tables that questions are put to."""
    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as db:
            rows = [db.execute(probe).fetchone() for probe in _PROBES]
    except sqlite3.Error:
        return False
    return rows[0] is not None


def _inode(path: Path) -> int:
    """0: there is no such file."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


def bytes_on_disk(path: Path) -> int:
    """Of an index with its log, in which new rows stand until they are copied; 0: there is none."""
    size = 0
    for suffix in ("", "-wal"):
        with suppress(FileNotFoundError):
            size += os.stat(f"{path}{suffix}").st_size
    return size


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(f"{path}{suffix}")


def _impossible(error: ValueError) -> IndexBroken:
    return IndexBroken(f"the index holds an impossible row: {error}")


def _broken(error: sqlite3.Error) -> IndexBroken:
    return IndexBroken(f"the index is damaged: {error}")


_SHORT_READ = 522  # SQLITE_IOERR_SHORT_READ: the file is shorter than its own pages say

# Every row of a note goes before new ones come: one that stands already is the rest of a note that the index has lost.
_TWICE = (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID)


def _damaged(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or code in (_SHORT_READ, *_TWICE):
        return True
    # Tables are made in the same step as the file; one that is missing has been overwritten.
    return any(sign in str(error) for sign in ("malformed", "no such table", "no such column", "Could not decode"))
