"""One room's coordinator: read the log, decide, append with `expect`, wait. Memoryless by design.

Here is the loop and its waiting; what to do is `decide`, how to reach the room is handed in as ports. Whatever goes
wrong in between (conflict, room away, outcome unknown), the answer is the same: read what is new and decide again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from egghead.rooms.decide import Proposed, World, decide
from egghead.rooms.fold import fold
from egghead.rooms.state import RoomState, empty

logger = logging.getLogger("egghead.rooms.driver")

TIMED = frozenset(
    {"message", "continued", "halted", "handoff_started", "handoff", "joined", "invited"}
)  # kinds whose age a decision may ask for
KEPT_TIMES = 256


class Moved(Exception):
    """The append was not made: the log is ahead of what we read, or nobody knows. Read again."""


class Reader(Protocol):
    """Where a driver is in its log; `egghead.client.follow.Tail` is one."""

    last: int

    def event(self, entry: dict[str, Any]) -> bool | None: ...


class Ports(Protocol):
    """What a driver needs of the outside."""

    def era(self) -> int:
        """A number that changes when entries may have been missed by everybody: the life of the bus."""

    def reader(self) -> Reader:
        """A reader at the beginning of the log."""

    def read(self, reader: Any) -> AsyncIterator[dict[str, Any]]:
        """What is new; waits while the room is away."""

    async def append(self, entries: tuple[Proposed, ...], expect: int) -> list[dict[str, Any]]:
        """Append or raise Moved."""


class Driver:
    """Drives one room for as long as `run` runs. `read_in`: the era in which the log was last read to its end."""

    def __init__(
        self,
        room: str,
        ports: Ports,
        world: Callable[[], World],
        clock: Callable[[], float],
        on_read: Callable[[], None] = lambda: None,
    ) -> None:
        self.room = room
        self.state: RoomState = empty(room)
        self.read_in: int | None = None
        self._on_read = on_read
        self._ports = ports
        self._world = world
        self._clock = clock
        self._events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._woken = asyncio.Event()
        self._seen: dict[int, float] = {}
        self._most_times = KEPT_TIMES

    def feed(self, entry: dict[str, Any] | None) -> None:
        """An entry that was published; None: something was lost, read the log."""
        self._events.put_nowait(entry)
        self._woken.set()

    def poke(self) -> None:
        """The world has changed: decide again."""
        self._woken.set()

    async def run(self) -> None:
        """Decide until cancelled."""
        reader = self._ports.reader()
        self.state = empty(self.room)
        await self._read(reader)
        while True:
            self._woken.clear()
            await self._absorb(reader)
            world = replace(self._world(), seen=self._times())
            decision = decide(self.state, world, self._clock())
            if decision.entries:
                await self._act(reader, decision.entries)
            else:
                await self._wait(decision.wake_at)

    async def _absorb(self, reader: Reader) -> None:
        while not self._events.empty():
            entry = self._events.get_nowait()
            known = None if entry is None else reader.event(entry)
            if known is None:
                await self._read(reader)
            elif known and entry is not None:
                self._fold(entry)

    async def _read(self, reader: Reader) -> None:
        era = self._ports.era()
        async for entry in self._ports.read(reader):
            self._fold(entry)
        self.read_in = era
        self._on_read()

    async def _act(self, reader: Reader, entries: tuple[Proposed, ...]) -> None:
        try:
            stored = await self._ports.append(entries, self.state.last)
        except Moved:
            await self._read(reader)
            return
        for entry in stored:
            if reader.event(entry):
                self._fold(entry)
        _note(self.room, entries)

    async def _wait(self, wake_at: float | None) -> None:
        timeout = None if wake_at is None else max(0.0, wake_at - self._clock()) + 0.005
        try:
            async with asyncio.timeout(timeout):
                await self._woken.wait()
        except TimeoutError:
            return

    def _fold(self, entry: dict[str, Any]) -> None:
        if entry["kind"] in TIMED:
            self._seen[entry["seq"]] = self._clock()
        self.state = fold(self.state, entry)

    def _times(self) -> Mapping[int, float]:
        if len(self._seen) > self._most_times:
            members = self.state.members.values()
            needed = {one.seq for one in self.state.inbox} | {one.joined_seq for one in members}
            for handoff in self.state.handoffs.values():
                needed |= {handoff.given_seq, handoff.left_seq}
            if self.state.round is not None:
                needed.add(self.state.round.halted_seq)
            self._seen = {seq: at for seq, at in self._seen.items() if seq in needed}
            self._most_times = 2 * len(self._seen) + KEPT_TIMES
        return self._seen


async def keep_driving(
    driver: Driver, restartable: tuple[type[Exception], ...], pause: Callable[[], Awaitable[None]]
) -> None:
    """Run a driver; begin again from the log when it fails, so that one bad room does not stop the others."""
    while True:
        try:
            await driver.run()
        except restartable as error:
            logger.warning("room %s: %s", driver.room, error)
        except Exception:  # a log that breaks the fold must not take every other room's coordinator down
            logger.exception("the coordinator of room %s failed; it begins again from the log", driver.room)
        await pause()


def _note(room: str, entries: tuple[Proposed, ...]) -> None:
    for entry in entries:
        if entry["kind"] == "turn_started":
            logger.info("room=%s turn=%s agent=%s attempt=%d", room, entry["turn"], entry["agent"], entry["attempt"])
        elif entry["kind"] == "turn_ended":
            reason = f" reason={entry['reason']!r}" if entry.get("reason") else ""
            logger.info("room=%s turn=%s ended=%s%s", room, entry["turn"], entry["outcome"], reason)
