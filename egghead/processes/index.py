"""The process `index`: SQLite over the notes. Only `store` writes to it; everybody whom the tree allows asks it.

Only wiring: one thread writes, two read on connections of their own, the loop never waits for SQLite. A damaged index
is removed and the process ends: it comes back empty, and `store`, which restarts after it, fills it from the files.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from egghead.heap import Heap

# Everything a query needs is imported here, before the jail is closed and the process is forked.
from egghead.processes.arguments import checked
from egghead.processes.common import Service, in_pool, run
from egghead.row_parts import LONG, Gathered
from ipc import Call, Refused
from records.errors import IndexBroken, ReadOnly, RecordError
from records.index import Index
from records.index_rows import prepared
from records.notes import collect_seldom
from records.store import PRIVATE, Store

if TYPE_CHECKING:
    from supervisor import Context

logger = logging.getLogger("egghead.index")

READERS = 2
GROUP = 1024  # notes of one transaction, when more of them wait or are coming: a fraction of a second of work
GROUP_CALLS = 16  # calls of one: half of what `store` has on its way, so that the next ones arrive meanwhile
GATHER = 0.2  # seconds to wait for what is coming before the transaction begins without it
MAX_PAGE = 4000  # rows of `known` in one answer: about 600 KB
WRITER = "store"
T = TypeVar("T")


def main(context: Context) -> None:
    run(context, setup)


async def setup(service: Service) -> None:
    collect_seldom()
    root = Path(service.settings["records_dir"])
    path = await asyncio.to_thread(_place, root, Path(service.context.handover["scratch"]))
    server = IndexServer(service, path, root)
    service.expose(checked(server.methods()))
    service.on_stop(server.aclose)
    await service.connect()
    if server.writer.rebuilt:
        logger.warning("the index is built again: %s", server.writer.rebuilt)
    service.start(server.warm(), "warm", fatal=False)
    service.info.update(path=str(path), rebuilt=server.writer.rebuilt)


def _place(root: Path, scratch: Path) -> Path:
    """Where the index lies: `.egghead/index.db`, or, when the records directory takes no writes, in `scratch`, a directory
    that ends with the node."""
    for left in scratch.iterdir():
        left.unlink()  # of a life before this one; the notes may have changed without it
    try:
        Store(root).prepare()
        probe = root / PRIVATE / "index.db"
        with open(probe, "ab"):
            pass
        if probe.stat().st_size == 0:
            probe.unlink()  # an empty file is not a database of ours
        return probe
    except (ReadOnly, OSError) as error:
        path = scratch / "index.db"
        logger.warning("the index is kept in %s for this run: %s", path, error)
        return path


@dataclass(slots=True)
class _Told:
    """What `store` told in one call, and what became of it."""

    upserts: list[Any]
    removals: list[str]
    more: bool = False  # it goes on at once
    done: bool = False
    touched: int = 0
    error: Exception | None = None


class IndexServer:
    """What the process serves."""

    def __init__(self, service: Service, path: Path, root: Path) -> None:
        self._service = service
        self._path = path
        self._root = root
        self.writer = Index(path, root)
        self._write = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._read = ThreadPoolExecutor(READERS, thread_name_prefix="read")
        self._local = threading.local()
        self._readers: list[Index] = []
        self._told: SimpleQueue[_Told] = SimpleQueue()
        self._heap = Heap()
        self._parts = Gathered()

    def methods(self) -> dict[str, Callable[..., Any]]:
        """Method name -> handler."""
        return {
            "search": self.search,
            "list": self.list,
            "recent": self.recent,
            "links": self.links,
            "backlinks": self.backlinks,
            "unresolved": self.unresolved,
            "orphans": self.orphans,
            "tags": self.tags,
            "graph": self.graph,
            "resolve": self.resolve,
            "stats": self.stats,
            "faults": self.faults,
            "paths": self.paths,
            "free": self.free,
            "rivals": self.rivals,
            "last": self.last,
            "apply": self.apply,
            "known": self.known,
            "carry": self.carry,
            "complete": self.complete,
        }

    async def search(
        self, call: Call, query: str, tags: list[str] | None = None, limit: int = 20, since: str | None = None,
        **more: Any,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Hits as dicts, best first. `class` filters by class."""
        kind = _class(more)
        hits = await self._ask(lambda index: index.search(query, kind, tuple(tags or ()), limit, since))
        return [hit.to_dict() for hit in hits]

    async def list(
        self, call: Call, tag: str | None = None, prefix: str | None = None, order: str = "updated",
        limit: int | None = 100, **more: Any,
    ) -> Any:  # fmt: skip
        kind = _class(more)
        return await self._ask(lambda index: index.list(kind, tag, prefix, order, limit))

    async def recent(
        self, call: Call, order_by: str = "updated", since: str | None = None, limit: int | None = 20
    ) -> Any:
        return await self._ask(lambda index: index.recent(order_by, since, limit))

    async def links(self, call: Call, id: str, depth: int = 1) -> Any:
        return await self._ask(lambda index: index.links(id, depth))

    async def backlinks(self, call: Call, id: str, own: bool = False) -> Any:
        return await self._ask(lambda index: index.backlinks(id, own))

    async def unresolved(self, call: Call) -> Any:
        return await self._ask(lambda index: index.unresolved())

    async def orphans(self, call: Call) -> Any:
        return await self._ask(lambda index: index.orphans())

    async def tags(self, call: Call) -> Any:
        return await self._ask(lambda index: index.tags())

    async def graph(self, call: Call, around: str | None = None, depth: int = 1) -> Any:
        return await self._ask(lambda index: index.graph(around, depth))

    async def resolve(self, call: Call, target: str) -> str | None:
        return await self._ask(lambda index: index.resolve(target))

    async def stats(self, call: Call) -> dict[str, Any]:
        stats = await self._ask(lambda index: index.stats())
        return {**stats, "rebuilt": self.writer.rebuilt, "building": self.writer.building}

    async def faults(self, call: Call) -> Any:
        return await self._ask(lambda index: index.faults())

    async def paths(self, call: Call, ids: Sequence[str]) -> dict[str, str]:
        """id -> path of the ids that exist."""
        return await self._ask(lambda index: index.paths(ids))

    async def free(self, call: Call, last: str, path: str = "") -> bool:
        """Whether no note but the one at `path` has this last part of its id."""
        return await self._ask(lambda index: index.is_free(last, path))

    async def rivals(self, call: Call, id: str, path: str = "") -> Any:
        """Ids of notes, but the one at `path`, whose links may lead elsewhere once there is a note of this id."""
        return await self._ask(lambda index: index.rivals(id, path))

    async def last(self, call: Call, id: str) -> dict[str, Any] | None:
        """All that is known of a note that is about to be forgotten; None: nothing, or more than a message holds. Only `store` may."""
        _only_store(call)
        row = await self._ask(lambda index: index.get(id))
        return row if row is not None and len(row["body"]) <= LONG else None

    async def apply(self, call: Call, upserts: Any = (), removals: Any = (), more: bool = False) -> int:
        """Number of rows touched; 0 for a part of a long note (see `row_parts`) that is not the last. `more`: the next
        call is on its way, and may share a transaction with this one, which is what costs most. Only `store` may."""
        _only_store(call)
        try:
            whole = self._parts.whole(upserts)
        except ValueError as error:
            raise Refused("BadRequest", str(error)) from None
        if upserts and not whole and not removals:
            return 0  # parts of a note whose last is still to come
        told = _Told(whole, list(removals), more)
        self._told.put(told)
        if more:
            self._heap.used()  # thousands of notes, not a save
        return await self._run(self._write, lambda: self._apply(told))

    def _gather(self) -> Sequence[_Told]:
        """In the thread that writes: what goes into the next transaction, with the terms of its notes. Those are found while
        more is coming; nobody waits for more than that."""
        group: deque[_Told] = deque()
        size = 0
        with suppress(Empty):
            while size < GROUP and len(group) < GROUP_CALLS:
                waits = bool(group) and group[-1].more
                one = self._told.get(waits, GATHER if waits else None)
                group.append(one)
                size += len(one.upserts)
                with suppress(Exception):  # what it is comes again when they are written, and each caller hears it
                    one.upserts = [prepared(upsert) for upsert in one.upserts]
        return group

    def _apply(self, told: _Told) -> int:
        """In the thread that writes: apply what is told, and with it, in one transaction, what was told behind it."""
        while not told.done:
            group = self._gather()
            try:
                counts = self.writer.apply_all((one.upserts, one.removals) for one in group)
            except Exception as error:  # each caller of the group hears it, whatever it is, and tells file by file
                for one in group:
                    one.error = error
            else:
                for one, count in zip(group, counts, strict=True):
                    one.touched = count
            for one in group:
                one.done = True
        if told.error is not None:
            raise told.error
        return told.touched

    async def known(self, call: Call, after: str = "", limit: int = MAX_PAGE) -> dict[str, Any]:
        """`{files: [[path, size, mtime_ns, inode, id, class, revision]], more}`, paths after `after`. Only `store` may."""
        _only_store(call)
        size = max(1, min(limit, MAX_PAGE))
        entries = await self._run(self._write, lambda: self.writer.entries(after, size))
        files = [[entry.path, *entry.mark, entry.wanted, entry.class_, entry.revision] for entry in entries]
        return {"files": files, "more": len(files) == size}

    async def carry(self, call: Call, places: Sequence[str]) -> int:
        """Of an index that is built anew: how many notes it took from the old one, in folders that nobody can read now. Only
        `store` may."""
        _only_store(call)
        return await self._run(self._write, lambda: self.writer.carry(places))

    async def complete(self, call: Call) -> bool:
        """Everything is told: an index that was built beside the old one takes its place. Only `store` may."""
        _only_store(call)
        switched = await self._run(self._write, self.writer.complete)
        if switched:
            logger.warning("the index is rebuilt and answers from now on")
        return switched

    async def warm(self) -> None:
        """Build the tables of words and open the readers now, not while the first question waits."""
        await asyncio.gather(
            *(self._ask(lambda index: index.search("what is this note about")) for _ in range(READERS))
        )

    async def _ask(self, question: Callable[[Index], T]) -> T:
        return await self._run(self._read, lambda: question(self._reader()))

    def _reader(self) -> Index:
        reader: Index | None = getattr(self._local, "index", None)
        if reader is None:
            reader = self._local.index = Index(self._path, self._root, read_only=True)
            self._readers.append(reader)
        return reader

    async def _run(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            return await in_pool(pool, work)
        except IndexBroken as error:
            if self.writer.building and pool is self._read:
                # The old one could not answer this; the new one is on its way.
                raise Refused("IndexBroken", f"{error}; a new index is being built") from None
            try:
                self.writer.rebuild(str(error))
            except OSError as fault:
                # Its folder is gone. The node starts anew once it is there again; a restart now would find no folder either.
                raise Refused("IndexUnavailable", f"{error}, and no new one can be made: {fault.strerror}") from None
            logger.error("the index is removed and built again: %s", error)
            self._service.fail(error)
            raise Refused("IndexBroken", str(error)) from None
        except RecordError as error:
            raise Refused(type(error).__name__, error.message, **error.data) from None
        except (sqlite3.OperationalError, OSError) as error:
            # A full or read-only disk: the file of the index is whole, this transaction is not in it.
            raise Refused("IndexUnavailable", f"the index cannot be used now: {error}") from None

    async def aclose(self) -> None:
        """Finish the write that is under way, then close."""
        for pool in (self._read, self._write):
            await asyncio.to_thread(pool.shutdown, True)
        for index in (*self._readers, self.writer):
            index.close()


def _class(more: dict[str, Any]) -> str | None:
    """`class` is a keyword of Python, so it arrives among the rest; anything else there is a mistake of the caller."""
    kind = more.pop("class", None)
    if more:
        raise Refused(
            "BadRequest", f"unknown argument {sorted(more)[0]!r}; known: query, class, tags, tag, prefix, limit, since"
        )
    return str(kind) if kind else None


def _only_store(call: Call) -> None:
    if call.caller != WRITER:
        raise Refused("Forbidden", f"only {WRITER!r} feeds the index, not {call.caller!r}; write through {WRITER!r}")
