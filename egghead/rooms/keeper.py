"""The life of one log in its process: admit, stamp, commit in groups, answer, publish.

No bus here: the process hands in who called and a function to publish with. The order is the promise: an append is on
disk before it is acknowledged, and acknowledged appends are published in the order of their seq.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from egghead.clock import utc_now
from egghead.rooms.entries import MAX_ENTRY, EntryError, for_reader, public
from egghead.rooms.gate import Gate, check_batch
from egghead.rooms.log import LogBroken, LogFull, RoomLog, encode
from egghead.rooms.names import agent_of
from egghead.rooms.ulid import ulid

MAX_GROUP = 256  # appends in one write
MAX_PAGE = 5000

# publish(entry as everybody may see it, the agents that must hear of it at once)
Publish = Callable[[dict[str, Any], tuple[str, ...]], Awaitable[None]]
_encoder = msgspec.json.Encoder()


class Conflict(Exception):
    """The log has moved on since the caller read it. `last`: where it is now."""

    def __init__(self, last: int, expected: int) -> None:
        super().__init__(f"the log is at {last}, not at {expected}: read what is new and decide again")
        self.last = last


class NotYours(Exception):
    """A room of two, asked for by an agent that is neither of them."""


@dataclass(slots=True)
class _Request:
    entries: list[dict[str, Any]]
    caller: str
    incarnation: int
    expect: int | None
    answer: asyncio.Future[list[dict[str, Any]]]

    def refuse(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


@dataclass(slots=True)
class _Group:
    """What one write will hold, and the log as it will be then."""

    last: int
    gate: Gate
    batches: list[list[dict[str, Any]]] = field(default_factory=list)
    ids: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: list[tuple[_Request, list[dict[str, Any]]]] = field(default_factory=list)


class Keeper:
    """Keeps one log. `run()` must be running for appends to be answered; it ends only by raising LogBroken."""

    def __init__(self, room: str, log: RoomLog, publish: Publish, now: Callable[[], str] | None = None) -> None:
        self.room = room
        self.log = log
        self.opened_at = (now or utc_now)()
        self._publish = publish
        self._now = now or utc_now
        self._requests: asyncio.Queue[_Request] = asyncio.Queue()
        self._idle = asyncio.Event()
        self._idle.set()
        self._broken: LogBroken | None = None

    async def append(
        self, entries: object, caller: str, incarnation: int = 0, expect: int | None = None
    ) -> dict[str, Any]:
        """Append all or none; returns {entries, last} with the entries as stored.

        Raises EntryError, Conflict, LogFull; LogBroken when the process must end.
        Entries whose ids are in the log already are not written again: the stored ones are returned.
        """
        batch = check_batch(entries, caller, incarnation)
        if expect is not None and (not isinstance(expect, int) or isinstance(expect, bool) or expect < 0):
            raise EntryError(f"'expect' is the last seq that the caller has read, not {expect!r}")
        for entry in batch:
            size = _size(entry)
            if size > MAX_ENTRY:
                raise EntryError(f"a {entry['kind']!r} of {size} bytes is over the limit of {MAX_ENTRY}; shorten it")
        if self._broken is not None:
            raise self._broken
        answer: asyncio.Future[list[dict[str, Any]]] = asyncio.get_running_loop().create_future()
        self._idle.clear()
        self._requests.put_nowait(_Request(batch, caller, incarnation, expect, answer))
        stored = await answer
        return {"entries": [for_reader(entry, caller) for entry in stored], "last": self.log.last}

    def since(self, seq: int, reader: str, limit: int = 500) -> dict[str, Any]:
        """{entries, last, more, first}: entries after `seq` as the reader may see them. `first` tells this log
        from others of the room (`entries.log_id`): one that was dropped and opened again has another."""
        if not isinstance(seq, int) or seq < 0:
            raise EntryError(f"'seq' is a number from 0, not {seq!r}")
        if not self.log.gate.may_read(self.room, reader):
            raise NotYours(f"{self.room!r} is a room of two: {reader!r} is not in it, and was not invited")
        entries = self.log.read(seq, max(1, min(limit, MAX_PAGE)))
        last = self.log.last
        reached = entries[-1]["seq"] if entries else seq
        return {
            "entries": [for_reader(entry, reader) for entry in entries],
            "last": last,
            "more": reached < last,
            "first": self.log.log_id,
        }

    def info(self) -> dict[str, Any]:
        """{room, last, entries, bytes, opened_at, first}."""
        return {
            "room": self.room,
            "last": self.log.last,
            "entries": self.log.last,
            "bytes": self.log.size,
            "opened_at": self.opened_at,
            "first": self.log.log_id,
        }

    async def settled(self) -> None:
        """Return when every append that was asked for has its answer."""
        await self._idle.wait()

    async def run(self) -> None:
        """Commit appends in groups, as long as the process lives."""
        while True:
            requests = [await self._requests.get()]
            while len(requests) < MAX_GROUP:
                try:
                    requests.append(self._requests.get_nowait())
                except asyncio.QueueEmpty:
                    break
            try:
                await self._commit(requests)
            except LogBroken as broken:
                self._broken = broken
                while not self._requests.empty():
                    requests.append(self._requests.get_nowait())
                self._idle.set()  # nothing more will be answered: an end that waited for it would not come
                raise
            finally:
                for request in requests:
                    request.refuse(
                        self._broken or LogBroken(f"the room {self.room!r} ends; ask its successor what was stored")
                    )
            if self._requests.empty():
                self._idle.set()

    async def _commit(self, requests: list[_Request]) -> None:
        before = self.log.gate
        group = _Group(self.log.last, before)
        for request in requests:
            try:
                group.answers.append((request, self._admit(group, request)))
            except (EntryError, Conflict) as refusal:
                request.refuse(refusal)
        try:
            await self._write(group)
        except LogFull as full:
            for request, _ in group.answers:
                request.refuse(LogFull(str(full)))
            return
        for request, stored in group.answers:
            # A caller that has gone with its deadline left a cancelled future; what it asked for stands all the same.
            if not request.answer.done():
                request.answer.set_result(stored)
        for batch in group.batches:
            for entry in batch:
                # A turn that began or ended in the same write as a halt is in one of the two gates.
                concerned = dict.fromkeys((*before.concerned(entry), *group.gate.concerned(entry)))
                await self._publish(public(entry), tuple(concerned))

    async def _write(self, group: _Group) -> None:
        if not group.batches:
            return
        data = encode(group.batches)
        writing = asyncio.ensure_future(asyncio.to_thread(self.log.write, data))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            # The bytes are on their way: what is in the file must be what is remembered.
            with contextlib.suppress(LogFull, LogBroken):
                await writing
                self.log.remember(group.batches, data)
            raise
        self.log.remember(group.batches, data)

    def _admit(self, group: _Group, request: _Request) -> list[dict[str, Any]]:
        known = self._known(group, request)
        if known is not None:
            return known
        if request.expect is not None and request.expect != group.last:
            raise Conflict(group.last, request.expect)
        at, agent = self._now(), agent_of(request.caller)
        batch: list[dict[str, Any]] = []
        for number, entry in enumerate(request.entries, group.last + 1):
            stamp = {"seq": number, "id": entry.get("id") or ulid(), "at": at, "by": request.caller}
            stored = {**stamp, **{name: value for name, value in entry.items() if name != "id"}}
            if agent is not None and "author" in stored:
                stored["author"] = group.gate.author(agent)  # else an agent could be shown under another's name
            batch.append(stored)
        group.gate = group.gate.admit(batch, request.caller, request.incarnation)
        group.last += len(batch)
        group.batches.append(batch)
        group.ids.update((entry["id"], entry) for entry in batch)
        return batch

    def _known(self, group: _Group, request: _Request) -> list[dict[str, Any]] | None:
        """The stored entries of an append that was made before; None when it is new. Raises EntryError for a mix."""
        stored: list[dict[str, Any]] = []
        for entry in request.entries:
            found = self._stored(group, entry.get("id"))
            if found is None:
                continue
            if found["by"] != request.caller or found["kind"] != entry["kind"]:
                raise EntryError(f"the id {entry['id']!r} is another entry's; make a new one")
            stored.append(found)
        if not stored:
            return None
        if len(stored) != len(request.entries):
            raise EntryError(f"{stored[0]['id']!r} is in the log, others of this append are not; append those alone")
        return stored

    def _stored(self, group: _Group, entry_id: str | None) -> dict[str, Any] | None:
        if entry_id is None:
            return None
        if entry_id in group.ids:
            return group.ids[entry_id]
        seq = self.log.seq_of(entry_id)
        if seq is None:
            return None
        found = self.log.read(seq - 1, 1)
        return found[0] if found else None


def _size(entry: dict[str, Any]) -> int:
    try:
        return len(_encoder.encode(entry))
    except (ValueError, TypeError, RecursionError) as error:  # half a surrogate pair, a strange type, endless nesting
        raise EntryError(f"a {entry['kind']!r} entry cannot be written as JSON: {error}") from None
