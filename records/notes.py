"""Store and index together, for use without a node: every write is in the index before the call returns.

Who runs a node uses the processes `store` and `index` instead; who holds the node's lock is not decided here:
without it, open with `read_only=True`.
"""

from __future__ import annotations

import gc
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from records import lost
from records.catalog import Catalog, Entry
from records.errors import IndexBroken, NotFound, ReadOnly, Unreadable
from records.ids import folder_named, key_of
from records.index import Index
from records.markdown import clean, listed
from records.model import Change, FileStat, Hit, Record
from records.store import PRIVATE, Store

BATCH_NOTES = 5000  # of one transaction: each of them costs a sorting of its words, and a kill loses the last
BATCH_BYTES = 32 * 2**20
TOLD_EVERY = 500  # files between two calls of `progress`


class Notes:
    """Notes under a directory. `Notes(root)` opens both parts and brings the index in step with the files.

    `progress`: called now and then with the number of files read and of those to read.
    """

    def __init__(
        self, store: Store | Path | str, index: Index | None = None, *, read_only: bool = False, sync: bool = True,
        progress: Callable[[int, int], object] = lambda done, total: None,
    ) -> None:  # fmt: skip
        self.store = store if isinstance(store, Store) else Store(store)
        self.read_only = read_only
        self._progress = progress
        if not read_only:
            self.store.prepare()
        self.index = index or Index(self.store.root / PRIVATE / "index.db", self.store.root, read_only=read_only)
        self.store.locate = self._locate
        self.faults: list[str] = []
        self.indexed = True  # False: a write stands that the index could not take; the next `sync` brings it in
        if not read_only:
            self.store.recover()
        if sync and not read_only:
            try:
                self.sync()
            except BaseException:  # who cannot have the notes must not keep their index open
                self.index.close()
                raise

    def _locate(self, id_: str) -> str | None:
        return self.index.paths([id_]).get(id_)

    def close(self) -> None:
        self.index.close()

    def __enter__(self) -> Notes:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- in step with the files ---

    def sync(self) -> list[Change]:
        """Compare the files with the index and read what changed; what that was. Raises ReadOnly when opened read-only."""
        self._writable()
        try:
            return self._sync()
        except IndexBroken as broken:
            self.index.rebuild(str(broken))
            return self._sync()

    def _sync(self) -> list[Change]:
        faults: list[str] = []
        catalog = Catalog(self.index.entries())
        closed: list[str] = []
        seen = {stat.path: stat for stat in self.store.scan(faults=faults, closed=closed)}
        self.faults = faults
        self.store.closed = tuple(place for place in closed if not place or place.endswith("/"))  # folders
        self.indexed = True
        difference = catalog.compare(seen.values(), closed=closed)
        changes: list[Change] = []
        moved: set[str] = set()
        removals = list(difference.removed)

        def read(path: str) -> Record | dict[str, Any] | None:
            upsert = read_upsert(self.store, seen[path])
            if isinstance(upsert, Record):
                source = catalog.get(difference.moved.get(path, ""))
                if source is not None and source.revision == upsert.revision:
                    moved.add(source.path)
                else:
                    source = None  # a new file that got the inode of one that was removed
                known = catalog.get(path) or source
                kind = "renamed" if source else "updated" if known else "created"
                previous = known.class_ if known else None
                changes.append(Change(kind, upsert.id, path, upsert.class_, previous, upsert.revision))
            return upsert

        self._keep_lost([path for path in difference.removed if path not in difference.moved.values()])
        with seldom_collected():
            for first, batch in _batches(difference.changed, seen):
                # Read within the transaction, a few at a time: so many notes are never in memory at once.
                told = self._told(first, batch, len(difference.changed))
                self.index.apply((upsert for path in told if (upsert := read(path)) is not None), removals)
                removals = []
        if removals:
            self.index.apply((), removals)
        self.index.carry(closed)
        self.index.complete()
        gone = [entry for path in difference.removed if path not in moved and (entry := catalog.get(path)) is not None]
        return [Change("removed", catalog.id_at(e.path), e.path, e.class_, e.class_) for e in gone] + changes

    def _keep_lost(self, paths: Sequence[str]) -> None:
        """Before the index forgets notes that another program removed: what it knows of them goes to the history."""
        if len(paths) > lost.MOST:
            return
        for path in paths:
            id_ = self.index.id_at(path)
            row = self.index.get(id_) if id_ is not None else None
            if row is not None:
                self.store.keep_lost(row)

    def _told(self, first: int, paths: Iterable[str], total: int) -> Iterator[str]:
        """The same paths; meanwhile `progress` hears of them. `first`: how many were before."""
        for done, path in enumerate(paths, first + 1):
            yield path
            if done % TOLD_EVERY == 0:
                self._progress(done, total)

    def _put(self, record: Record, *gone: str) -> Record:
        # Read again: the record may carry the id that it was asked for by, the index wants the one that it claims.
        if not self._apply([self.store.read(record.path)], gone):
            return record
        return replace(record, id=self.index.id_at(record.path) or record.id)

    def _apply(self, upserts: Sequence[Record], removals: Sequence[str]) -> bool:
        """Tell the index of a write that stands. False: it could not be told; `sync` finds what it missed."""
        try:
            self.index.apply(upserts, removals)
        except (sqlite3.OperationalError, IndexBroken) as error:
            # The files are the truth: a full disk under the index must not make a write look undone.
            self.indexed = False
            self.faults.append(f"the index did not take a change and is behind: {error}")
            return False
        return True

    def _writable(self) -> None:
        if self.read_only:
            raise ReadOnly("the notes are open for reading only; a running node does the writing")

    # --- writes, read back at once ---

    def create(self, **fields: Any) -> Record:
        """As `Store.create`."""
        self._writable()
        return self._put(self.store.create(**fields))

    def update(self, id_: str, changes: Mapping[str, Any], revision: str | None = None) -> Record:
        """As `Store.update`."""
        self._writable()
        return self._put(self.store.update(id_, changes, revision))

    def edit(self, id_: str, old: str, new: str, revision: str | None = None) -> Record:
        """As `Store.edit`."""
        self._writable()
        return self._put(self.store.edit(id_, old, new, revision))

    def append(self, id_: str, text: str) -> Record:
        """As `Store.append`."""
        self._writable()
        return self._put(self.store.append(id_, text))

    def trash(self, id_: str) -> dict[str, Any]:
        """As `Store.trash`: `{record, broken}`, `broken`: the links that now lead nowhere."""
        self._writable()
        broken = self.index.backlinks(id_)
        record = self.store.trash(id_)
        self._apply([], [record.path])
        return {"record": record, "broken": broken}

    def restore(self, id_: str) -> Record:
        """As `Store.restore`."""
        self._writable()
        return self._put(self.store.restore(id_))

    def purge(self, id_: str | None = None, older_than: float = 0.0) -> list[str]:
        """As `Store.purge`."""
        self._writable()
        return self.store.purge(id_, older_than)

    def undo(self, id_: str, version: str | None = None) -> Record:
        """As `Store.undo`."""
        self._writable()
        path = self._locate(id_)
        if path is not None and self.store.is_lost(path):
            self.sync()  # what the index knows of it goes to the history
        return self._put(self.store.undo(id_, version))

    def rename(self, old: str, new: str) -> dict[str, Any]:
        """As `Store.rename`, with links as the index resolves them: `{record, rewritten, failed}` (paths)."""
        self._writable()
        path = self.store.path_of(old)
        linkers, short = (
            linkers_of(self.index.backlinks(old, own=True)),
            self.index.is_free(new.rpartition("/")[2], path),
        )
        found = {id_: endangered(self.index.backlinks(id_, own=True), id_, new) for id_ in self.index.rivals(new, path)}
        done = self.store.rename(old, new, linkers, short=short, rivals=found)
        for linker in done.rewritten:
            if linker != done.record.path:
                self._apply([self.store.read(linker)], [])
        record = self._put(done.record, *([path] if path != done.record.path else []))
        return {"record": record, "rewritten": list(done.rewritten), "failed": list(done.failed)}

    # --- reads ---

    def get(self, id_: str) -> Record:
        """The note as its file is now. Raises NotFound, Unreadable."""
        return self.store.get(id_)

    def body(self, id_: str) -> str:
        """The body of a note as the file is now."""
        return self.store.get(id_).body

    def search(
        self, query: str, class_: str | None = None, tags: Sequence[str] = (), limit: int = 20, since: str | None = None
    ) -> list[Hit]:
        """As `Index.search`; a damaged index is built again first, unless the notes are open for reading only."""
        try:
            return self.index.search(query, class_, tags, limit, since)
        except IndexBroken as broken:
            if self.read_only:
                raise
            self.index.rebuild(str(broken))
            self._sync()
            return self.index.search(query, class_, tags, limit, since)

    def verify(self, progress: Callable[[int], object] = lambda _: None) -> list[str]:
        """Differences between the index and one built now, as sentences; empty: they agree. Reads every file. An index that
        cannot be read to its end differs."""
        from records.proof import prove

        try:
            return prove(self.store, self.index, progress)
        except IndexBroken as broken:
            return [str(broken)]

    def rebuild(self, reason: str = "asked for") -> list[Change]:
        """Throw the index away and build it from the files; no note is touched. Raises ReadOnly."""
        self._writable()
        self.index.rebuild(reason)
        return self._sync()


@contextmanager
def seldom_collected() -> Iterator[None]:
    """`collect_seldom` for a while."""
    often = gc.get_threshold()
    collect_seldom()
    try:
        yield
    finally:
        gc.set_threshold(*often)


def collect_seldom() -> None:
    """Look for cycles in memory less often: values of notes have none, and each look is at thousands of them."""
    often = gc.get_threshold()
    gc.set_threshold(max(often[0], 50_000), *often[1:])


def _batches(paths: Sequence[str], seen: Mapping[str, FileStat]) -> Iterator[tuple[int, Sequence[str]]]:
    """(how many before it, paths) of what goes into one transaction each."""
    first = size = 0
    for end, path in enumerate(paths, 1):
        size += seen[path].size
        if end - first >= BATCH_NOTES or size >= BATCH_BYTES or end == len(paths):
            yield first, paths[first:end]
            first, size = end, 0


def read_upsert(store: Store, stat: FileStat) -> Record | dict[str, Any] | None:
    """What `Index.apply` takes for a file: its record, or why it is skipped; None: gone, or its folder was closed to us after
    the look at it, so that what is known of it stays."""
    try:
        return store.read(stat.path)
    except NotFound:
        return None
    except Unreadable as fault:
        if store.hidden(stat.path):
            return None
        size, mtime_ns, inode = stat.mark
        return {"path": stat.path, "size": size, "mtime_ns": mtime_ns, "inode": inode, "skipped": fault.message}


def linkers_of(backlinks: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Path of each linking note -> its targets, as `Store.rename` takes them; links listed in frontmatter too."""
    linkers: dict[str, set[str]] = {}
    for link in backlinks:
        linkers.setdefault(link["path"], set()).add(link["target"])
    return linkers


def endangered(backlinks: Iterable[Mapping[str, Any]], id_: str, new: str) -> dict[str, set[str]]:
    """Of the links that mean the note `id_`: the linkers of those that would mean a note with the id `new` too, or instead."""
    names = tuple("/" + key_of(name) for name in (new, folder_named(new)) if name)

    def ends(target: str) -> bool:
        return any(name.endswith("/" + target) for name in names)

    return linkers_of(
        link for link in backlinks
        if (target := clean(listed(link["target"]))) != id_ and ends(key_of(target).rpartition("/")[2])
        and (link["kind"] == "markdown" or ends(key_of(target)))
    )  # fmt: skip


def differences(store: Store, entries: Iterable[Entry]) -> list[str]:
    """Compare every file with what an index knows of it, as sentences. Reads every file."""
    found = []
    rows = {entry.path: entry for entry in entries}
    for stat in store.scan():
        entry = rows.pop(stat.path, None)
        if entry is None:
            found.append(f"{stat.path!r} is not in the index")
            continue
        upsert = read_upsert(store, stat)
        if isinstance(upsert, Record):
            if upsert.revision != entry.revision:
                found.append(f"{stat.path!r} has revision {upsert.revision!r}, the index {entry.revision!r}")
            elif upsert.id != entry.wanted or upsert.class_ != entry.class_:
                has = f"{entry.wanted!r} ({entry.class_})"
                found.append(f"{stat.path!r} is {upsert.id!r} ({upsert.class_}), the index has {has}")
    return found + [f"{path!r} is in the index and not on disk" for path in sorted(rows) if not store.hidden(path)]
