"""The coordinator: one driver for each live room, and what they all need to know of the world.

It follows `lobby.list`, `log/`, the monitors of `agents/*` and `rooms/*`, and the agents' cards. It keeps nothing that
the logs do not say, so it may be killed at any moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from egghead.client.follow import AWAY, Backoff, RoomReplaced, Tail, catch_up
from egghead.processes.common import Service, run
from egghead.rooms.activation import Card, Policy
from egghead.rooms.decide import Absent, Parked, Presence, Present, Proposed, World
from egghead.rooms.driver import Driver, Moved, Reader, keep_driving
from egghead.rooms.names import agent_of
from egghead.rooms.relevance import Corpus
from ipc import Call, Event, Forbidden, IpcError, Peer, RemoteError

if TYPE_CHECKING:
    from supervisor import Context

logger = logging.getLogger("egghead.coordinator")

ROOM_PREFIX = "rooms/"
APPEND_TIMEOUT = 10.0
READ_AGAIN = 5.0  # seconds an agent that has lost events waits for the logs to be read
SETTLED = 0.5  # seconds without new cards after which the next question is prepared for
AGAIN_AFTER, AGAIN_AT_MOST = 1.0, 30.0  # seconds before a driver that failed begins again


def main(context: Context) -> None:
    """Entry point."""
    run(context, _setup)


async def _setup(service: Service, policy: Policy | None = None) -> None:
    coordinator = Coordinator(service, policy)
    service.expose({"turns": coordinator.turns})
    await service.connect()
    log = await service.peer.subscribe("log/")
    cards = await service.peer.subscribe("agents/")
    lobby = await service.peer.subscribe("lobby/")
    service.start(coordinator.watch_agents(), "agents")
    service.start(coordinator.watch_rooms(), "rooms")
    service.start(coordinator.watch_process("roster", coordinator.read_cards), "roster")
    service.start(coordinator.watch_process("lobby", coordinator.read_rooms), "lobby")
    service.start(coordinator.route(log), "log")
    service.start(coordinator.watch_cards(cards), "cards")
    service.start(coordinator.watch_lobby(lobby), "changes")
    service.start(coordinator.view.prepare(), "relevance")
    await coordinator.snapshot.wait()


class WorldView:
    """Presence and cards as the coordinator knows them, as one frozen `World` that is made again when they change."""

    def __init__(self, policy: Policy, since: float) -> None:
        self._policy = policy
        self._since = since
        self._lives: dict[str, Presence] = {}
        self._cards: dict[str, Card] = {}
        self._parked: dict[str, str] = {}
        self._paused: dict[str, str] = {}
        self._leaving: dict[str, tuple[int, float]] = {}
        self._exits: dict[str, tuple[float, ...]] = {}
        self._corpus = Corpus()
        self._new_cards = asyncio.Event()
        self._world: World | None = None

    def agent_changed(self, agent: str, incarnation: int, up: bool, now: float) -> None:
        """The bus says that an agent came or went."""
        current = self._lives.get(agent)
        if up:
            self._lives[agent] = Present(incarnation)
        elif not isinstance(current, Present) or current.incarnation <= incarnation:
            self._lives[agent] = Absent(now)
        self._world = None

    def exited(self, agent: str, incarnation: int, now: float) -> None:
        """A life has ended. One that had handed off ended as planned, which the supervisor counts; one that was asked to
        stop, for a new record perhaps, is none of those, though it left the bus in good order too."""
        if self._leaving.get(agent, (0, 0.0))[0] == incarnation:
            self._exits[agent] = (*self._exits.get(agent, ()), now)[-self._policy.planned_exits :]
            self._world = None

    def hands_off(self, agent: str, incarnation: int, now: float) -> None:
        """This life has handed off in some room and is on its way out of all of them."""
        if incarnation > self._leaving.get(agent, (0, 0.0))[0]:
            self._leaving[agent] = (incarnation, now)
            self._world = None

    def cards_changed(self, cards: list[dict[str, Any]]) -> None:
        """The roster says who its agents are."""
        found = [card for card in (read_card(data) for data in cards) if card is not None]
        if {card.agent: card for card in found} != self._cards:
            self._cards = {card.agent: card for card in found}
            self._corpus = Corpus((card.agent, card.title, card.tags, card.disposition) for card in found)
            self._new_cards.set()
        self._parked = {
            str(data["id"]): str(data["parked"]) if data["parked"] is not True else "it crashed too often"
            for data in cards
            if isinstance(data, dict) and data.get("parked") and data.get("id")
        }
        self._paused = {
            str(data["id"]): str(data["paused"]) for data in cards if isinstance(data, dict) and data.get("paused")
        }
        self._world = None

    async def prepare(self) -> None:
        """Read what agents are about once they have all come: the first open message does not wait for a thousand of them."""
        new = self._new_cards
        while True:
            await new.wait()
            while new.is_set():
                new.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SETTLED):
                        await new.wait()
            for _ in self._corpus.prepare():
                await asyncio.sleep(0)
                if new.is_set():
                    break

    def world(self) -> World:
        """What `decide` is given."""
        if self._world is None:
            presence = dict(self._lives)
            for agent, reason in self._parked.items():
                if not isinstance(presence.get(agent), Present):
                    presence[agent] = Parked(reason)
            self._world = World(
                presence=MappingProxyType(presence),
                cards=MappingProxyType(dict(self._cards)),
                corpus=self._corpus,
                policy=self._policy,
                paused=MappingProxyType(dict(self._paused)),
                leaving=MappingProxyType(dict(self._leaving)),
                exits=MappingProxyType(dict(self._exits)),
                since=self._since,
            )
        return self._world


class RoomPorts:
    """A driver's way to its room."""

    def __init__(self, peer: Peer, room: str) -> None:
        self._peer = peer
        self._room = room

    def era(self) -> int:
        """The life of the bus."""
        return self._peer.epoch

    def reader(self) -> Tail:
        """A reader at the beginning."""
        return Tail(self._room)

    def read(self, reader: Reader) -> AsyncIterator[dict[str, Any]]:
        """What is new, once the room answers."""
        assert isinstance(reader, Tail)
        return catch_up(self._peer, reader)

    async def append(self, entries: tuple[Proposed, ...], expect: int) -> list[dict[str, Any]]:
        """Append at exactly this place in the log."""
        try:
            result = await self._peer.call(
                ROOM_PREFIX + self._room, "append", entries=list(entries), expect=expect, timeout=APPEND_TIMEOUT
            )
        except AWAY as error:
            # The outcome is unknown; the log knows it.
            raise Moved(str(error)) from error
        except RemoteError as error:
            if error.type in ("Conflict", "LogBroken"):
                raise Moved(str(error)) from error
            raise
        stored: list[dict[str, Any]] = result["entries"]
        return stored


class Coordinator:
    """The drivers of all live rooms."""

    def __init__(self, service: Service, policy: Policy | None = None) -> None:
        self.service = service
        self.view = WorldView(policy or policy_of(service.config), time.monotonic())
        self.snapshot = asyncio.Event()  # the presence of agents is known
        self.drivers: dict[str, tuple[Driver, asyncio.Task[None]]] = {}
        self.has_read = asyncio.Event()  # set when some driver has read its log to the end

    async def turns(self, call: Call) -> list[str]:
        """The rooms in which the caller, an agent, may have a turn or a handoff open; for one that has lost events. After a restart of
        the bus the answer waits until the logs have been read again; a room that cannot be read now is in it too."""
        agent = agent_of(call.caller)
        until = min(READ_AGAIN, call.remaining() / 2)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(until):
                while self._behind():
                    self.has_read.clear()
                    await self.has_read.wait()
        behind = self._behind()
        return [
            room
            for room, (driver, _) in self.drivers.items()
            if room in behind
            or agent in driver.state.handoffs
            or any(turn.agent == agent for turn in driver.state.turns.values())
        ]

    def _behind(self) -> set[str]:
        epoch = self.service.peer.epoch
        return {room for room, (driver, _) in self.drivers.items() if driver.read_in != epoch}

    def open(self, room: str) -> None:
        """Drive this room from now on."""
        if room in self.drivers:
            return
        driver = Driver(room, RoomPorts(self.service.peer, room), self.view.world, time.monotonic, self.has_read.set)
        self.drivers[room] = (driver, self.service.start(self._drive(driver), f"room {room}"))

    def close(self, room: str) -> None:
        """The room was dropped."""
        driver, task = self.drivers.pop(room, (None, None))
        if driver is not None and task is not None:
            task.cancel()

    async def _drive(self, driver: Driver) -> None:
        # A decision made before the snapshot would take every agent for absent.
        await self.snapshot.wait()
        pauses = Backoff(AGAIN_AFTER, AGAIN_AT_MOST)
        await keep_driving(driver, (RoomReplaced, IpcError), lambda: asyncio.sleep(pauses.take()))

    def _poke(self) -> None:
        for driver, _ in self.drivers.values():
            driver.poke()

    async def route(self, events: AsyncIterator[Event]) -> None:
        """Hand published entries to their drivers."""
        async for event in events:
            if event.data is None:
                for driver, _ in self.drivers.values():
                    driver.feed(None)
                continue
            room = event.topic.removeprefix("log/").removesuffix("/")
            self._note_handoff(event.data)
            driver_of = self.drivers.get(room)
            if driver_of is None:
                self.open(room)
                continue
            if event.gap:
                driver_of[0].feed(None)
            driver_of[0].feed(event.data)

    def _note_handoff(self, entry: Mapping[str, Any]) -> None:
        agent = agent_of(str(entry.get("by", "")))
        if entry.get("kind") == "handoff" and agent is not None:
            self.view.hands_off(agent, int(entry.get("incarnation", 0)), time.monotonic())

    async def watch_agents(self) -> None:
        """Presence of agents."""
        async for change in self.service.peer.monitor("agents/*"):
            if change.snapshot_end:
                self.snapshot.set()
                self._poke()
                continue
            agent = agent_of(change.name)
            if agent is not None:
                self.view.agent_changed(agent, change.incarnation, change.up, time.monotonic())
                if not change.up:
                    self.view.exited(agent, change.incarnation, time.monotonic())
                if self.snapshot.is_set():
                    self._poke()

    async def watch_rooms(self) -> None:
        """Rooms that come up are driven; one that was away is read again."""
        async for change in self.service.peer.monitor(ROOM_PREFIX + "*"):
            if change.up and change.name.startswith(ROOM_PREFIX):
                room = change.name.removeprefix(ROOM_PREFIX)
                if room in self.drivers:
                    self.drivers[room][0].feed(None)
                self.open(room)

    async def watch_process(self, name: str, then: Any) -> None:
        """Do something whenever a process comes up."""
        async for change in self.service.peer.monitor(name):
            if change.up:
                await then()

    async def watch_cards(self, events: AsyncIterator[Event]) -> None:
        """Cards of agents, as the roster publishes them."""
        async for event in events:
            cards = event.data.get("cards") if isinstance(event.data, dict) else event.data
            if isinstance(cards, list):
                self.view.cards_changed(cards)
                self._poke()
            else:
                await self.read_cards()

    async def watch_lobby(self, events: AsyncIterator[Event]) -> None:
        """Rooms opened and dropped."""
        async for event in events:
            data = event.data
            if isinstance(data, dict) and event.topic == "lobby/dropped/" and isinstance(data.get("room"), str):
                self.close(data["room"])
            else:
                await self.read_rooms()

    async def read_cards(self) -> None:
        """Ask the roster; without an answer the cards stay as they are, and the next event brings them."""
        with contextlib.suppress(*AWAY, RemoteError, Forbidden):
            self.view.cards_changed(await self.service.peer.call("roster", "cards", timeout=5.0))
            self._poke()

    async def read_rooms(self) -> None:
        """Drive exactly the rooms that the lobby lists."""
        with contextlib.suppress(*AWAY, RemoteError, Forbidden):
            listed = {entry["room"] for entry in await self.service.peer.call("lobby", "list", timeout=10.0)}
            for room in listed:
                self.open(room)
            for room in [room for room in self.drivers if room not in listed]:
                self.close(room)


def policy_of(config: Mapping[str, Any]) -> Policy:
    """Who speaks, as configured; a value of another type than ours is the configuration's fault and falls back."""
    speakers = config.get("open_speakers")
    budget = config.get("budget")
    return Policy(
        open_speakers=speakers if isinstance(speakers, int) and speakers > 0 else Policy().open_speakers,
        budget=budget if isinstance(budget, int) and not isinstance(budget, bool) and budget >= 0 else None,
    )


def read_card(data: Any) -> Card | None:
    """A card as the roster sends it; None for something that names no agent."""
    if not isinstance(data, dict) or not isinstance(data.get("id"), str):
        return None
    tags = data.get("tags")
    return Card(
        data["id"],
        str(data.get("title") or data["id"]),
        tuple(str(tag) for tag in tags) if isinstance(tags, list | tuple) else (),
        str(data.get("disposition") or ""),
        bool(data.get("quiet")),
        bool(data.get("idle")),
    )
