"""Every live room's roster, made what it should be: reading rooms, and telling them who came, went and changed.

What a room should be told is handed in as a function of its state (`reconcile.muster`); here it is told, one muster of a room at
a time, and again when the room could not be told. Nothing here knows how agents are started.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from egghead.agents.desk import AGAIN, APPEND_DEADLINE, ASK
from egghead.client.follow import AWAY, Backoff, RoomReplaced, Tail, append_reliably
from egghead.llm.usage import EVERYBODY
from egghead.rooms.fold import fold_all
from egghead.rooms.state import RoomState, empty
from ipc import IpcError, Peer

logger = logging.getLogger("egghead.roster")

PAGE = 500
BATCH = 200  # entries of one append

Missing = Callable[[RoomState, Iterable[str] | None], list[dict[str, Any]]]
Begin = Callable[[Coroutine[Any, Any, None], str], Any]


class Seats:
    """One live room as the roster sees it: its folded state, and a lock, because two musters at once would both join."""

    def __init__(self, room: str) -> None:
        self.room = room
        self.state: RoomState = empty(room)
        self.tail = Tail(room)
        self.lock = asyncio.Lock()


class Musters:
    """The live rooms. `missing(state, only)`: the entries that a room in that state lacks, about these agents or all."""

    def __init__(self, peer: Peer, missing: Missing) -> None:
        self.rooms: dict[str, Seats] = {}
        self._peer = peer
        self._missing = missing
        self._late: set[str] = set()  # rooms that could not be told what has changed

    async def first(self) -> None:
        """The rooms that are live when we come, the default room among them."""
        backoff = Backoff()
        while True:
            try:
                listed = await self._peer.call("lobby", "list", timeout=ASK)
                break
            except AWAY as error:
                logger.info("waiting for the lobby: %s", error)
                await asyncio.sleep(backoff.take())  # the lobby is starting; absent and restarting look alike
        rooms = [str(row["room"]) for row in listed if "error" not in row]
        await asyncio.gather(*(self._muster(self._seats(room)) for room in rooms))

    async def watch(self, begin: Begin) -> None:
        """Muster each room that comes up, in a task of its own that `begin` begins."""
        async for change in self._peer.monitor("rooms/*"):
            if change.snapshot_end:
                continue
            room = change.name.removeprefix("rooms/")
            if change.up:
                begin(self._muster(self._seats(room)), f"muster {room}")
            else:
                self.rooms.pop(room, None)

    async def all(self, only: Iterable[str] | None = None) -> None:
        """Muster every room, about these agents or all."""
        ids = None if only is None else list(only)
        await asyncio.gather(*(self._muster(seats, ids) for seats in list(self.rooms.values())))

    async def room(self, room: str, only: Iterable[str]) -> None:
        """Muster one room, about these agents, if it is there."""
        if room in self.rooms:
            await self._muster(self.rooms[room], list(only))

    async def late(self) -> None:
        """Without this an agent would never come into a room whose disk was full when it was opened."""
        while True:
            await asyncio.sleep(AGAIN)  # nobody tells that a disk has room again
            late, self._late = self._late, set()
            await asyncio.gather(*(self._muster(self.rooms[room]) for room in late if room in self.rooms))

    async def tell(self, id: str, entry: Mapping[str, Any]) -> None:
        """Append one entry to every room where the agent is."""
        await asyncio.gather(*(self._tell_room(seats, id, entry) for seats in list(self.rooms.values())))

    def _seats(self, room: str) -> Seats:
        return self.rooms.setdefault(room, Seats(room))

    async def _muster(self, seats: Seats, only: Iterable[str] | None = None) -> None:
        """Make one room's roster what it should be. A room that goes away meanwhile is mustered when it is back."""
        async with seats.lock:
            try:
                await self._catch_up(seats)
                entries = self._missing(seats.state, only)
                for at in range(0, len(entries), BATCH):
                    await append_reliably(self._peer, seats.room, entries[at : at + BATCH], APPEND_DEADLINE)
            except IpcError as error:
                logger.warning("room=%s was not mustered, it is tried again: %s", seats.room, error)
                self._late.add(seats.room)

    async def _catch_up(self, seats: Seats) -> None:
        while True:
            page = await self._peer.call(f"rooms/{seats.room}", "since", seq=seats.tail.last, limit=PAGE, timeout=ASK)
            try:
                seats.state = fold_all(seats.state, seats.tail.page(page))
            except RoomReplaced:
                seats.state, seats.tail = empty(seats.room), Tail(seats.room)
                continue
            if not page["more"]:
                return

    async def _tell_room(self, seats: Seats, id: str, entry: Mapping[str, Any]) -> None:
        async with seats.lock:
            try:
                await self._catch_up(seats)
                if id in seats.state.members or (id == EVERYBODY and seats.state.members):
                    await append_reliably(self._peer, seats.room, [dict(entry)], APPEND_DEADLINE)
            except IpcError as error:
                logger.warning("room=%s was not told of agent=%s: %s", seats.room, id, error)
