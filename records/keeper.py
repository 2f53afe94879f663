"""The store process without its process: what is known of the files, what differs, and what the index must be told.

`Keeper` joins a Store with a Catalog. It blocks and knows no bus: the process calls it in a thread and sends what it
returns. The one rule: a step looks at the disk again before it acts on a hint, so that hints may be late or doubled.
What cannot be looked at is as it was: a note in a folder that was closed to us is not gone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from records.catalog import Catalog, Entry
from records.errors import NotFound, RecordError
from records.ids import id_of
from records.model import Change, FileStat, Record
from records.notes import read_upsert
from records.rows import Row, row_of
from records.store import Store

STEP_FILES = 64
STEP_BYTES = 400_000  # of files read in one step: with its terms, fields and links a message stays under 1 MiB
MAX_TERMS_BODY = 1_000_000  # characters; of a longer note the index finds the terms, which would double its message


@dataclass(slots=True)
class Step:
    """A bounded piece of work done: what to tell the index, and whom to tell what."""

    upserts: list[Row | dict[str, Any]] = field(default_factory=list)
    removals: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.upserts or self.removals)

    @property
    def paths(self) -> list[str]:
        """The files it is about."""
        return [upsert.path if isinstance(upsert, Row) else upsert["path"] for upsert in self.upserts] + self.removals


class Keeper:
    """A store and what is known of its files. `entries`: what the index knew at start."""

    def __init__(self, store: Store, entries: Iterable[Entry] = ()) -> None:
        self.store = store
        self.catalog = Catalog(entries)
        self.faults: list[str] = []
        self._large: dict[str, int] = {}  # bytes of the files that are a step of their own
        self._closed: list[str] = []  # folders and names that a look could not read, each sentence with its path first
        store.locate = self.catalog.path_of

    def look(self, under: Sequence[str] | None = None) -> list[list[str]]:
        """Paths that seem to differ, in pieces of one step each. `under`: relative paths, or None for everything."""
        faults: list[str] = []
        self.store.forget_folders()  # one that became a symbolic link is told of once, and would be seen as it was
        scopes = [""] if under is None or "" in under else _outermost(under)
        if not self.store.root.is_dir():
            # Gone as a whole (an unmounted disk, `rm -r` by accident): nobody removed the notes one by one.
            self.faults = [f"the records directory {str(self.store.root)!r} is not there"]
            return []
        closed: list[str] = []
        seen = [stat for scope in scopes for stat in self.store.scan(scope, faults, closed)]
        known: tuple[str, ...] = ()
        if scopes != [""]:
            looked = tuple(scope + "/" for scope in scopes)
            told = looked + tuple(scope + ":" for scope in scopes if scope not in closed)  # a note that can be seen now
            faults = [fault for fault in self._closed if not fault.startswith(told)] + faults
            known = tuple(place for place in self.store.closed if not place.startswith(looked))
        self.store.closed = tuple(
            dict.fromkeys((*known, *(place for place in closed if not place or place.endswith("/"))))
        )
        self._closed = self.faults = list(dict.fromkeys(faults))
        if scopes == [""] and not (seen or "" in closed) and len(self.catalog) and not _inhabited(self.store.root):
            # An empty folder where notes were: the place of a disk that is not mounted, or just being put back.
            self.faults = [f"the records directory {str(self.store.root)!r} is empty; is its disk mounted?"]
            return []
        difference = self.catalog.compare(seen, None if scopes == [""] else scopes, closed)
        size = {stat.path: stat.size for stat in seen}
        self._large |= {path: size[path] for path in difference.changed if size[path] > STEP_BYTES}
        pieces: list[list[str]] = []
        piece: list[str] = []
        total = 0
        # A moved note and the path it left go together, or the move would look like two unrelated events.
        moved_from = set(difference.moved.values())
        work = [(path, difference.moved.get(path)) for path in difference.changed]
        work += [(path, None) for path in difference.removed if path not in moved_from]
        for path, old in work:
            piece.append(path)
            if old is not None:
                piece.append(old)
            total += size.get(path, 0)
            if len(piece) >= STEP_FILES or total >= STEP_BYTES:
                pieces.append(piece)
                piece, total = [], 0
        if piece:
            pieces.append(piece)
        return pieces

    def bytes_of(self, piece: Iterable[str]) -> int:
        """About how many bytes a piece of `look` has beyond what a step usually has; asked once, before its step."""
        return sum(self._large.pop(path, 0) for path in piece) if self._large else 0

    def step(self, paths: Iterable[str], *, kinds: bool = True, cut: bool = True) -> list[Step]:
        """Read what really differs among `paths` and remember it. Usually one Step; a large note has one of its own.
        `cut`: see `wire`."""
        step = Step()
        steps = [step]
        size = 0
        stats = {path: self.store.stat(path) for path in paths}
        gone = {
            path for path, stat in stats.items()
            if stat is None and path in self.catalog and not self.store.hidden(path)
        }  # fmt: skip
        by_inode = {entry.mark[2]: entry for path in gone if (entry := self.catalog.get(path)) is not None}
        moved: set[str] = set()
        for path, stat in stats.items():
            known = self.catalog.get(path)
            if stat is None or (known is not None and known.mark == stat.mark):
                continue
            upsert = read_upsert(self.store, stat)
            if upsert is None:
                continue
            source = by_inode.get(stat.inode) if known is None else None
            if step and size + stat.size > STEP_BYTES:
                step, size = Step(), 0
                steps.append(step)
            size += stat.size
            if source is not None and not (isinstance(upsert, Record) and upsert.revision == source.revision):
                source = None  # a new file that got the inode of one that was removed
            before = source or known
            change = self._remember(upsert, before, source, stat)
            step.upserts.append(wire(upsert, cut))
            if source is not None:
                moved.add(source.path)
            if change is not None and kinds:
                step.changes.append(change)
        for path in sorted(gone):
            entry = self.catalog.get(path)
            assert entry is not None
            id_ = self.catalog.id_at(path)
            self.catalog.drop(path)
            step.removals.append(path)
            if path not in moved and kinds and entry.class_:
                step.changes.append(Change("removed", id_, path, entry.class_, entry.class_, entry.revision))
        return [step for step in steps if step]

    def _remember(
        self, upsert: Record | dict[str, Any], before: Entry | None, source: Entry | None, stat: FileStat
    ) -> Change | None:
        previous_id = self.catalog.id_at(source.path) if source is not None and source.path in self.catalog else None
        if not isinstance(upsert, Record):
            self.catalog.put(Entry(stat.path, stat.mark, id_of(stat.path), ""))
            return None
        mark = upsert.stat.mark if upsert.stat is not None else stat.mark
        self.catalog.put(Entry(upsert.path, mark, upsert.id, upsert.class_, upsert.revision))
        if before is not None and source is None and before.revision == upsert.revision and before.wanted == upsert.id:
            return None  # touched, not changed
        kind = "renamed" if source is not None else "updated" if before is not None and before.class_ else "created"
        return Change(
            kind, self.catalog.id_at(upsert.path), upsert.path, upsert.class_,
            before.class_ or None if before is not None else None, upsert.revision, previous_id,
        )  # fmt: skip

    def wrote(self, record: Record, kind: str, previous: str | None = None) -> tuple[Step, Record]:
        """Remember a write made through the store. `previous`: the path it had. The record comes back with the id it has."""
        before = self.catalog.get(previous or record.path)
        previous_id = self.catalog.id_at(previous) if previous is not None and previous in self.catalog else None
        claimed = self.store.read(record.path)
        mark = claimed.stat.mark if claimed.stat is not None else (0, 0, 0)
        removals = []
        if previous is not None and previous != record.path:
            self.catalog.drop(previous)
            removals.append(previous)
        self.catalog.put(Entry(claimed.path, mark, claimed.id, claimed.class_, claimed.revision))
        id_ = self.catalog.id_at(claimed.path)
        if (
            kind == "updated"
            and before is not None
            and (before.revision, before.wanted) == (claimed.revision, claimed.id)
        ):
            return Step([wire(claimed)]), replace(claimed, id=id_)  # it was so before: nobody is told of a change
        if kind == "updated" and before is None:
            kind = "created"  # brought back by `undo`
        change = Change(
            kind, id_, claimed.path, claimed.class_, before.class_ or None if before is not None else None,
            claimed.revision, previous_id,
        )  # fmt: skip
        return Step([wire(claimed)], removals, [change]), replace(claimed, id=id_)

    def trashed(self, record: Record) -> Step:
        """Remember that a note went to the trash."""
        self.catalog.drop(record.path)
        change = Change("trashed", record.id, record.path, record.class_, record.class_, record.revision)
        return Step([], [record.path], [change])

    def of_class(self, class_: str) -> Iterator[Record]:
        """The notes of a class, by path; one that cannot be read now is left out."""
        for entry in sorted(self.catalog, key=lambda entry: entry.path):
            if entry.class_ == class_:
                try:
                    record = self.store.read(entry.path)
                except RecordError:
                    continue
                yield replace(record, id=self.catalog.id_at(entry.path))

    def again(self, paths: Iterable[str]) -> Step:
        """Read files for the index once more, whether they changed or not: it did not get them the first time."""
        step = Step()
        for path in paths:
            stat = self.store.stat(path)
            try:
                upsert = read_upsert(self.store, stat) if stat is not None else None
            except NotFound:
                upsert = None
            if upsert is None and self.store.hidden(path):
                self.catalog.drop(path)  # not gone, and not in the index as it is: read when it can be seen again
            elif upsert is None:
                step.removals.append(path)
            else:
                step.upserts.append(wire(upsert))
        return step


def _inhabited(root: Path) -> bool:
    """Whether there is anything in a folder, be it hidden: `.egghead` is where notes were ever kept."""
    try:
        with os.scandir(root) as entries:
            return next(entries, None) is not None
    except OSError:
        return False


def wire(upsert: Record | dict[str, Any], cut: bool = True) -> Row | dict[str, Any]:
    """An upsert as the message to the index holds it: as rows, so that two processes share the work of a first index. With
    `cut` the terms of its body too, which are a third of that work: for an index that has enough to do."""
    if not isinstance(upsert, Record):
        return upsert
    return row_of(upsert, cut=cut and len(upsert.body) <= MAX_TERMS_BODY)


def _outermost(paths: Sequence[str]) -> list[str]:
    """The paths without those that lie below another of them."""
    kept: list[str] = []
    for path in sorted(set(paths)):
        if not kept or not path.startswith(kept[-1] + "/"):
            kept.append(path)
    return kept
