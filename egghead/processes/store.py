"""The process `store`: the files of the notes. It reads, writes and watches them, and tells `index` and listeners.

Only wiring: what differs is found by `records.Keeper`, in a thread; this file sends it. It knows no SQL. Every write
is in the index before its caller hears of it; when the index does not answer, the write stands and says
`indexed: false`, and the file is told to the index again until it has it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from egghead.heap import Heap
from egghead.processes.arguments import checked
from egghead.processes.common import Service, in_pool, run
from egghead.row_parts import LONG, answer, parts_of
from ipc import Call, CallTimeout, IpcError, PeerDown, Refused
from records.catalog import Entry
from records.errors import RecordError
from records.keeper import Keeper, Step
from records.lost import MOST
from records.model import Change, Record
from records.notes import collect_seldom, differences, endangered, linkers_of
from records.rows import Row
from records.store import Store, owners
from records.watch import Watcher, Watching

if TYPE_CHECKING:
    from supervisor import Context

logger = logging.getLogger("egghead.store")

TOPIC = "records/changed/"
INDEX_TIMEOUT = 30.0  # seconds for one message; a first index of large notes takes its time
CARRY_TIMEOUT = 600.0  # for the notes of all closed folders
REPAIR_EVERY = 1.0  # seconds between attempts to give the index what it missed
LOOK_EVERY = 600.0  # seconds between looks at everything, for what no event told
IN_FLIGHT = 32  # messages to the index at once, two of its transactions: it writes while the next files are read
SLOT = 2**20  # bytes of large notes that count as one more message: a note on its way is in memory several times over
BUSY = 20  # messages on their way, more than it takes into one transaction, from which on the index has enough to do
MAX_DIFF = 3_500_000  # characters, at 4 bytes each
T = TypeVar("T")
owners()  # read while the jail is not yet closed: in it there are no names of users


def main(context: Context) -> None:
    run(context, setup)


async def setup(service: Service) -> None:
    collect_seldom()
    store = Store(Path(service.settings["records_dir"]))
    server = StoreServer(service, store)
    service.expose(checked(server.methods()))
    service.on_stop(server.aclose)
    await service.connect()
    try:
        await server.run(store.prepare)
        finished = await server.run(store.recover)
        if finished is not None:
            logger.warning(
                "a rename that was cut short is finished: %s is %s", finished.record.id, finished.record.path
            )
    except Refused as refused:
        # Reading goes on; each write says why it cannot.
        logger.warning("%s", refused)
    await server.begin()


class StoreServer:
    """What the process serves, and its loops."""

    def __init__(self, service: Service, store: Store) -> None:
        self._service = service
        self._peer = service.peer
        self.store = store
        self.keeper = Keeper(store)
        self._files = ThreadPoolExecutor(1, thread_name_prefix="files")
        self._reads = ThreadPoolExecutor(2, thread_name_prefix="reads")
        # One change of the disk or of what is known of it at a time: else the watcher would report our own writes.
        self._writing = asyncio.Lock()
        self._behind: set[str] = set()
        self._index_answers = True
        self._completed = False
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._taking = asyncio.Lock()
        self._sending: set[asyncio.Task[None]] = set()
        self._watcher: Watcher | None = None
        self._heap = Heap()

    def methods(self) -> dict[str, Callable[..., Any]]:
        """Method name -> handler."""
        return {
            "get": self.get,
            "agents": self.agents,
            "create": self.create,
            "update": self.update,
            "edit": self.edit,
            "append": self.append,
            "trash": self.trash,
            "restore": self.restore,
            "rename": self.rename,
            "trashed": self.trashed,
            "history": self.history,
            "diff": self.diff,
            "undo": self.undo,
            "purge": self.purge,
            "faults": self.faults,
            "watching": self.watching,
            "sync": self.sync,
            "verify": self.verify,
        }

    # --- start and loops ---

    async def begin(self) -> None:
        """Bring the index in step with the files, then keep it so."""
        entries = await self._known()
        self.keeper = Keeper(self.store, entries)
        self._watcher = Watcher(self.store.root, kind=self._service.settings["config"].get("watch", "auto"))
        await self._watcher.__aenter__()  # before the scan, so that nothing falls between the two
        # What changed while no node ran is published too: who listens already needs it, who does not reads later.
        await self._reconcile(None)
        await self._sent()
        await self._complete()
        self._service.info["notes"] = len(self.keeper.catalog)
        self._service.start(self._follow(self._watcher), "watch")
        self._service.start(self._repair(), "repair")
        self._service.start(self._look_again(), "look")

    async def _complete(self) -> None:
        """Say that the index has every file: one that was built beside the old one may take its place."""
        if not self._completed and not self._behind:
            try:
                if self.store.closed:
                    await self._carry()
                await self._peer.call("index", "complete", timeout=INDEX_TIMEOUT)
            except IpcError as error:
                logger.warning("the index was not told that it is complete and will be told again: %s", error)
            else:
                self._completed = True

    async def _carry(self) -> None:
        """What nobody can read now stays in an index that is built anew, as the old one has it."""
        if await self._peer.call("index", "carry", places=list(self.store.closed), timeout=CARRY_TIMEOUT):
            for entry in await self._known():
                if entry.path not in self.keeper.catalog:
                    self.keeper.catalog.put(entry)

    async def _known(self) -> list[Entry]:
        """What the index knows of the files."""
        entries = []
        after = ""
        while True:
            page = await self._peer.call("index", "known", after=after, timeout=INDEX_TIMEOUT)
            for path, size, mtime_ns, inode, wanted, kind, revision in page["files"]:
                entries.append(Entry(path, (size, mtime_ns, inode), wanted, kind, revision))
            if not page["more"]:
                return entries
            after = page["files"][-1][0]

    async def _follow(self, watcher: Watcher) -> None:
        async for paths in watcher:
            await self._reconcile(None if "" in paths else sorted(paths))

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)  # for what a file system did not tell (network, overflow)
            await self._reconcile(None)
            await self._in_files(self.store.history.prune)

    async def _repair(self) -> None:
        while True:
            await asyncio.sleep(REPAIR_EVERY)
            await self._complete()
            # One by one: a note that the index refuses must not keep the others from it.
            for path in sorted(self._behind):
                step = await self._in_files(partial(self.keeper.again, [path]))
                if await self._tell_index(step):
                    self._behind.discard(path)
                elif not self._index_answers:
                    break

    async def _reconcile(self, under: list[str] | None) -> None:
        """Find what differs, and pass it on piece by piece; API calls get their turn between pieces."""
        pieces = await self._in_files(lambda: self.keeper.look(under))
        few = sum(map(len, pieces)) <= MOST
        for left, piece in enumerate(pieces, 1 - len(pieces)):
            # Before the lock: while the index is slow, writes through the API go on. All slots of a piece by one of us at a time:
            # two who have some each and wait for more would wait for ever.
            slots = min(IN_FLIGHT, 1 + self.keeper.bytes_of(piece) // SLOT)
            async with self._taking:
                for _ in range(slots):
                    await self._slots.acquire()
            async with self._writing:
                steps = await self._in_files(partial(self.keeper.step, piece, cut=len(self._sending) >= BUSY))
                task = asyncio.create_task(self._pass_on(steps, more=left < 0, few=few))
                self._sending.add(task)
                task.add_done_callback(partial(self._passed_on, slots))

    def _passed_on(self, slots: int, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        for _ in range(slots):
            self._slots.release()
        if not task.cancelled() and task.exception() is not None:
            self._service.fail(task.exception() or RuntimeError("unreachable"))

    async def _sent(self) -> None:
        while self._sending:
            await asyncio.wait(set(self._sending))

    async def _pass_on(self, steps: list[Step], *, more: bool, few: bool) -> None:
        if more:
            self._heap.used()  # thousands of notes, not a save
        for step in steps:
            lost = await self._lost(step) if few else []
            # The next of these is told when this one is answered: only another piece may share its transaction.
            await self._tell_index(step, more=more and step is steps[-1])
            for row in lost:
                await self._in_files(partial(self.store.keep_lost, row))
            await self._publish(step.changes)

    async def _lost(self, step: Step) -> list[dict[str, Any]]:
        """What the index knows of notes that another program removed, before it forgets them."""
        rows = []
        for change in step.changes:
            if change.kind != "removed":
                continue
            try:
                row = await self._peer.call("index", "last", id=change.id, timeout=INDEX_TIMEOUT)
            except IpcError as error:
                logger.warning("of %s, which another program removed, no text is kept: %s", change.path, error)
                continue
            if row is not None and row["path"] == change.path:
                rows.append(row)
        return rows

    async def _tell_index(self, step: Step, *, more: bool = False) -> bool:
        """`more`: the next step is on its way to it."""
        try:
            for upserts, removals, goes_on in _messages(step, more):
                await self._peer.call(
                    "index", "apply", upserts=upserts, removals=removals, more=goes_on, timeout=INDEX_TIMEOUT
                )
        except IpcError as error:
            paths = step.paths
            if not self._behind:
                logger.warning("the index did not take %d files and will be told again: %s", len(paths), error)
            self._behind.update(paths)
            self._index_answers = not isinstance(error, PeerDown | CallTimeout)
            return False
        self._index_answers = True
        return True

    async def _publish(self, changes: Iterable[Change], asked: bool = False) -> None:
        """`asked`: somebody asked us for the change; else a file was found to be another."""
        for change in changes:
            try:
                await self._peer.publish(TOPIC, {**change.to_dict(), "asked": asked})
            except IpcError as error:
                # The bus is restarting; who follows has a new epoch then and reads again from the source.
                logger.warning("the change of %s was not published: %s", change.id, error)

    # --- reading ---

    async def get(self, call: Call, id: str) -> dict[str, Any]:
        """A note as its file is now: all fields and the body (`cut: true` when it was too long for a message)."""
        return answer(await self._in_reads(lambda: self.store.get(id)))

    async def agents(self, call: Call) -> list[dict[str, Any]]:
        """Every note of class agent."""
        return await self._in_reads(lambda: [answer(record) for record in self.keeper.of_class("agent")])

    async def trashed(self, call: Call) -> list[str]:
        """Ids in the trash."""
        return await self._in_reads(self.store.trashed)

    async def history(self, call: Call, id: str) -> list[dict[str, Any]]:
        """Kept versions, newest first: `{name, at, revision, action, size}`."""
        versions = await self._in_reads(lambda: self.store.versions(id))
        return [
            {"name": kept.name, "at": kept.at, "revision": kept.revision, "action": kept.action, "size": kept.size}
            for kept in versions
        ]

    async def diff(self, call: Call, id: str, version: str | None = None) -> str:
        """Unified diff from a kept version (default: the newest) to the note now."""
        return (await self._in_reads(lambda: self.store.diff(id, version)))[:MAX_DIFF]

    async def faults(self, call: Call) -> dict[str, Any]:
        """`{faults: [text], closed: [folder], polling: reason or None, behind: number of files the index has not yet}`.
        `closed`: what could not be looked into."""
        polling = self._watcher.polling if self._watcher is not None else None
        return {
            "faults": list(self.keeper.faults), "closed": list(self.store.closed), "polling": polling,
            "behind": len(self._behind),
        }  # fmt: skip

    async def watching(self, call: Call) -> dict[str, Any]:
        """How changes of other programs are found now: `{by, why, every, text}`, see `records.watch.Watching`."""
        if self._watcher is None:
            return Watching("nothing", "the notes are being read for the first time").to_dict()
        return self._watcher.watching.to_dict()

    # --- writing ---

    async def create(self, call: Call, **fields: Any) -> dict[str, Any]:
        """Write a new note: title, body, id, class, tags, links, meta, author, format."""
        if "class" in fields:
            fields["class_"] = fields.pop("class") or "durable"
        arguments = {key: value for key, value in fields.items() if value is not None}
        _known(arguments, ("title", "body", "id", "class_", "tags", "links", "meta", "author", "format"))
        return await self._write("created", lambda: self.store.create(**arguments))

    async def update(self, call: Call, id: str, changes: dict[str, Any], revision: str | None = None) -> dict[str, Any]:
        """Change fields, `meta` keys or the body; with `revision` only if the note is still that one."""
        return await self._write("updated", lambda: self.store.update(id, changes, revision))

    async def edit(self, call: Call, id: str, old: str, new: str, revision: str | None = None) -> dict[str, Any]:
        """Replace the one place in the body that reads `old`."""
        return await self._write("updated", lambda: self.store.edit(id, old, new, revision))

    async def append(self, call: Call, id: str, text: str) -> dict[str, Any]:
        """Put a text at the end of the body, as lines of its own."""
        return await self._write("updated", lambda: self.store.append(id, text))

    async def restore(self, call: Call, id: str) -> dict[str, Any]:
        """Bring a note back from the trash."""
        return await self._write("created", lambda: self.store.restore(id))

    async def undo(self, call: Call, id: str, version: str | None = None) -> dict[str, Any]:
        """Put a kept version back."""
        path = self.keeper.catalog.path_of(id)
        if path is not None and await self._in_reads(lambda: self.store.is_lost(path)):
            await self._reconcile([path])  # what the index knows of it goes to the history
            await self._sent()
        return await self._write("updated", lambda: self.store.undo(id, version))

    async def purge(self, call: Call, id: str | None = None, older_than: float = 0.0) -> list[str]:
        """Remove one note from the trash for good, or all that went there more than `older_than` seconds ago: their ids."""
        return await self._in_files(lambda: self.store.purge(id, older_than))

    async def trash(self, call: Call, id: str) -> dict[str, Any]:
        """Move a note to the trash; `broken`: links of other notes that led to it (None: the index did not say)."""
        return await _whole(self._trash(id))

    async def _trash(self, id: str) -> dict[str, Any]:
        broken = await self._backlinks(id)
        async with self._changing() as files:
            record = await files(lambda: self.store.trash(id))
            step = self.keeper.trashed(record)
            indexed = await self._tell_index(step)
        await self._publish(step.changes)
        return {"record": answer(record), "indexed": indexed, "broken": broken}

    async def rename(self, call: Call, old: str, new: str) -> dict[str, Any]:
        """Move a note to another id and rewrite the links to it: `{record, indexed, rewritten, failed}` (paths)."""
        return await _whole(self._rename(old, new))

    async def _rename(self, old: str, new: str) -> dict[str, Any]:
        backlinks = await self._backlinks(old, own=True)
        linkers = linkers_of(backlinks) if backlinks is not None else None
        async with self._changing() as files:
            path = await files(lambda: self.store.path_of(old))
            short = await self._short(new, path)
            rivals = await self._rivals(new, path)
            done = await files(lambda: self.store.rename(old, new, linkers, short=short, rivals=rivals))
            step, record = await files(lambda: self.keeper.wrote(done.record, "renamed", path))
            rewritten = [linker for linker in done.rewritten if linker != record.path]
            others = await files(lambda: self.keeper.step(rewritten))
            indexed = True
            for part in (step, *others):
                indexed = await self._tell_index(part) and indexed
        for part in (step, *others):
            await self._publish(part.changes, asked=True)
        return {
            "record": answer(record),
            "indexed": indexed,
            "rewritten": list(done.rewritten),
            "failed": list(done.failed),
        }

    async def sync(self, call: Call) -> dict[str, Any]:
        """Look at every file now; returns when the index has what differed."""
        await self._reconcile(None)
        await self._sent()
        return {"notes": len(self.keeper.catalog), "behind": len(self._behind)}

    async def verify(self, call: Call) -> list[str]:
        """Read every file and compare it with what the index has: differences as sentences; empty is good."""
        await self._reconcile(None)
        await self._sent()
        entries = await self._known()
        return await self._in_reads(lambda: differences(self.store, entries))

    async def _write(self, kind: str, work: Callable[[], Record]) -> dict[str, Any]:
        return await _whole(self._write_and_tell(kind, work))

    async def _write_and_tell(self, kind: str, work: Callable[[], Record]) -> dict[str, Any]:
        async with self._changing() as files:
            record = await files(work)
            step, record = await files(lambda: self.keeper.wrote(record, kind))
            indexed = await self._tell_index(step)
        await self._publish(step.changes, asked=True)
        return {"record": answer(record), "indexed": indexed}

    async def _backlinks(self, id_: str, own: bool = False) -> list[dict[str, Any]] | None:
        try:
            found: list[dict[str, Any]] = await self._peer.call("index", "backlinks", id=id_, own=own, timeout=5.0)
        except IpcError:
            return None
        return found

    async def _rivals(self, new: str, path: str) -> dict[str, dict[str, set[str]]]:
        try:
            found = await self._peer.call("index", "rivals", id=new, path=path, timeout=5.0)
        except IpcError:
            return {}  # without the index nobody knows what the links mean
        links = {id_: await self._backlinks(id_, own=True) for id_ in found}
        return {id_: endangered(rows or (), id_, new) for id_, rows in links.items()}

    async def _short(self, new: str, path: str) -> bool:
        try:
            return bool(await self._peer.call("index", "free", last=new.rpartition("/")[2], path=path, timeout=5.0))
        except IpcError:
            return False  # the full id is always right

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[Callable[[Callable[[], Any]], Any]]:
        """Hold the disk, and what is known of it."""
        async with self._writing:
            yield self._in_files

    async def run(self, work: Callable[[], T]) -> T:
        """Run blocking work on files; its errors arrive as typed refusals."""
        return await self._in_files(work)

    async def _in_files(self, work: Callable[[], T]) -> T:
        return await self._in(self._files, work)

    async def _in_reads(self, work: Callable[[], T]) -> T:
        return await self._in(self._reads, work)

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            return await in_pool(pool, work)
        except RecordError as error:
            raise Refused(type(error).__name__, error.message, **error.data) from None

    async def aclose(self) -> None:
        """Finish the write that is under way."""
        if self._watcher is not None:
            self._watcher.close()
        async with self._writing:
            pass
        await self._sent()
        for pool in (self._reads, self._files):
            await asyncio.to_thread(pool.shutdown, True)


async def _whole(work: Coroutine[Any, Any, T]) -> T:
    """Do all of it, also when the caller goes away in the middle: a write and what is told of it belong together."""
    return await asyncio.shield(asyncio.ensure_future(work))


def _messages(step: Step, more: bool) -> Iterator[tuple[list[Any], list[str], bool]]:
    """What a step is told in: one message, and before it the parts of notes that are too long for one."""
    short: list[Any] = []
    for upsert in step.upserts:
        if isinstance(upsert, Row) and len(upsert.body) > LONG:
            for part in parts_of(upsert):
                yield [part], [], False
        else:
            short.append(upsert)
    if short or step.removals or not step.upserts:
        yield short, step.removals, more


def _known(arguments: dict[str, Any], names: tuple[str, ...]) -> None:
    import difflib

    for name in arguments:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"; did you mean {near[0].rstrip('_')!r}?" if near else f"; known: {', '.join(names)}"
            raise Refused("BadRequest", f"create has no argument {name!r}{hint}")
