"""Process `roster`: keeps the running agents equal to the agent records, and every room's roster equal to them.

Watches `records/changed/`, the children of the supervisor `agents` and the live rooms; starts, stops and swaps agent
processes over the control channel; appends joined, left, reloaded, parked and notices of crashes; publishes
`agents/cards/`. What should happen is decided in `egghead.agents.reconcile`; here it is made to happen, again and again
until it is so: nothing here must be remembered over a crash, but what people decided, which is in a file of its own
(`egghead.agents.decisions`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egghead.agents.cards import card
from egghead.agents.desk import EVERYBODY, Desk, Notices, Pauses
from egghead.agents.reconcile import (
    FAILED,
    PARKED,
    RESTARTING,
    RUNNING,
    TERMINATED,
    Action,
    Running,
    Start,
    Stop,
    Swap,
    entry_id,
    gone,
    held,
    muster,
    reconcile,
    same,
)
from egghead.agents.record import AgentSpec, difference, roll
from egghead.agents.steward import Steward
from egghead.client.follow import AWAY, Backoff, RoomReplaced, Tail, append_reliably
from egghead.processes.common import Service, run
from egghead.rooms.fold import fold_all
from egghead.rooms.names import agent_of
from egghead.rooms.state import RoomState, empty
from ipc import Call, IpcError, RemoteError
from supervisor.aio import ControlError, Down, Up

if TYPE_CHECKING:
    from supervisor import Context

logger = logging.getLogger("egghead.roster")

SUPERVISOR = "agents"
PAGE = 500
ASK = 10.0  # seconds for one call
FIRST_START = 60.0  # seconds the first agents get before the roster says READY without the late ones
APPEND_DEADLINE = 30.0
RETRY_FAILED = 30.0  # seconds until an agent that did not start is tried again
MUSTER_AGAIN = 3.0  # seconds until a room that took no entry is tried again: its disk was full, it did not answer
SETTLE = 0.12  # seconds without a further save until an agent is swapped
SETTLE_BUSY = 0.25  # the same once there was one: somebody saves again and again
SETTLE_LONGEST = 2.0
CARDS_EVERY = 0.05  # seconds in which changes of cards become one event
CARDS_EACH = 0.0005  # and this much more for each agent: a list of a thousand is not sent twenty times a second


def main(context: Context) -> None:
    run(context, lambda service: Roster(service).setup())


class Seats:
    """One live room as the roster sees it: its folded state, and a lock, because two musters at once would both join."""

    def __init__(self, room: str) -> None:
        self.room = room
        self.state: RoomState = empty(room)
        self.tail = Tail(room)
        self.lock = asyncio.Lock()


class Roster:
    """What should run, what runs, and the tasks that make the second the first. One loop, no memory worth keeping."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.peer = service.peer
        self.control = service.control
        self.desired: dict[str, AgentSpec] = {}
        self.actual: dict[str, Running] = {}
        self.acting: dict[str, asyncio.Task[None]] = {}
        self.swapping: set[str] = set()
        self.ending: set[str] = set()  # stopped by us; their going down may be heard after the stop is done
        self.rooms: dict[str, Seats] = {}
        self.late: set[str] = set()  # rooms that could not be told what has changed
        self.told: list[dict[str, Any]] | None = None  # the cards as last published
        self.changed = asyncio.Event()
        self.stale = asyncio.Event()
        self.settled = asyncio.Event()
        self.refreshing = asyncio.Lock()
        self.revisions: dict[str, str] = {}  # record -> its revision when it was last read
        self.steward = Steward(
            Path(service.context.handover["decisions"]), service.config.get("review_grants") == "hold"
        )
        self.desk = Desk(self)
        self.pauses = Pauses(self)
        self.notices = Notices(self.peer, str(service.config.get("default_room") or "default"))

    async def setup(self) -> None:
        self.service.expose(
            {"cards": self.cards, "problems": self.problems, **self.desk.methods(), "limits": self.pauses.limits}
        )
        await self.service.connect()
        records = await self.peer.subscribe("records/")
        usage = await self.peer.subscribe("usage/")
        await self._adopt()
        await self._refresh()
        self._converge()
        self.service.start(self._watch_records(records), "records")
        self.service.start(self._watch_store(), "store")
        self.service.start(self._watch_children(), "children")
        self.service.start(self._publish(), "cards")
        await self._wait_settled(FIRST_START)
        await self._muster_first()
        self.service.start(self._watch_rooms(), "rooms")
        self.service.start(self.notices.run(), "notices")
        self.service.start(self.pauses.watch(usage), "usage")
        self.service.start(self.pauses.watch_llm(), "llm")
        self.service.start(self._retry(), "retry")
        self.service.start(self._muster_late(), "late")
        self.service.info["agents"] = len(self.desired)

    # -- what others ask

    async def cards(self, call: Call) -> list[dict[str, Any]]:
        """Every agent there should be, as `egghead.agents.cards.card` describes it, by id."""
        now = self._cards()
        if now != self.told:
            self.told = None  # the caller has seen what was never published: the next change must be, whatever it is
        return now

    async def problems(self, call: Call) -> dict[str, list[str]]:
        """Agent id -> what is wrong with its record, for those where something is."""
        return {id: list(spec.problems) for id, spec in sorted(self.desired.items()) if spec.problems}

    def _cards(self) -> list[dict[str, Any]]:
        parked, held_back = self.steward.decisions.parked, self.steward.held
        return [
            card(spec, self.actual.get(id), parked.get(id), self.pauses.of(id), held_back.get(id, ()))
            for id, spec in sorted(self.desired.items())
        ]

    # -- what the desk has done

    async def again(self, id: str) -> None:
        """Take the agent's process away, whatever its state; who converges next starts a new one."""
        while id in self.acting:
            await asyncio.wait({self.acting[id]})
        self.acting[id] = self.service.start(self._take_away(id), f"again {id}")
        await asyncio.wait({self.acting[id]})

    async def _take_away(self, id: str) -> None:
        try:
            await self._stop(id)
        finally:
            self.acting.pop(id, None)

    async def bring(self, id: str) -> None:
        """Returns when the agent is as it should be, or could not be brought there, and its rooms know."""
        self._converge([id])
        while id in self.acting:
            await asyncio.wait({self.acting[id]})
        await self._muster_all([id])

    def wanted(self) -> Mapping[str, AgentSpec]:
        """Who should run: the roll without those that a person has parked."""
        parked = self.steward.decisions.parked
        return {id: spec for id, spec in self.desired.items() if id not in parked} if parked else self.desired

    # -- desired

    async def _watch_records(self, subscription: Any) -> None:
        async for event in subscription:
            data = event.data if isinstance(event.data, Mapping) else {}
            known = any(spec.record == data.get("id") for spec in self.desired.values())
            if data.get("asked"):
                self.steward.asked[str(data.get("id"))] = str(data.get("revision"))
            if event.gap or "agent" in (data.get("class"), data.get("previous_class")) or known:
                self.stale.set()
                self.service.start(self._refresh_stale(), "refresh")

    async def _watch_store(self) -> None:
        """A store that comes back may have seen changes that nobody heard of."""
        async for change in self.peer.monitor("store"):
            if change.up and not change.snapshot_end:
                self.stale.set()
                self.service.start(self._refresh_stale(), "refresh")

    async def _refresh_stale(self) -> None:
        async with self.refreshing:
            if not self.stale.is_set():
                return
            self.stale.clear()
            await self._refresh()
            self._converge()
            await self._muster_all()

    async def _refresh(self) -> None:
        """Read the agent records. An agent whose record broke goes on as it was."""
        records = await self._ask_store("agents")
        old = self.desired or {id: child.spec for id, child in self.actual.items() if child.spec is not None}
        new = roll(records)
        broken: dict[str, str] = {str(record["id"]): str(record["error"]) for record in records if record.get("error")}
        for record_id in gone(old, new):
            record = await self._maybe(record_id)
            if record is not None and record.get("error"):
                broken[record_id] = str(record["error"])
        self.desired = held(old, new, broken)
        self.revisions = {str(record["id"]): str(record.get("revision")) for record in records}
        for id, text in await self.steward.review(self.desired, self.revisions):
            self.notices.tell(id, text)
        for id, spec in self.desired.items():
            for problem in spec.problems:
                if id not in old or problem not in old[id].problems:
                    logger.warning("agent=%s %s", id, problem)
        self.changed.set()

    async def _ask_store(self, method: str, **params: Any) -> Any:
        """An answer of the store, however long it is away: without the records nothing can be decided."""
        backoff = Backoff()
        while True:
            try:
                return await self.peer.call("store", method, timeout=ASK, **params)
            except RemoteError as error:
                if error.type == "NotFound":
                    return None
                logger.error("the store refuses %s: %s", method, error)
            except AWAY as error:
                logger.info("waiting for the store: %s", error)
            await asyncio.sleep(backoff.take())

    async def _maybe(self, record_id: str) -> Mapping[str, Any] | None:
        record: Mapping[str, Any] | None = await self._ask_store("get", id=record_id)
        return record

    # -- actual

    async def _adopt(self) -> None:
        """Agents that run already, from before this roster: what they were started with, they know themselves."""
        children = await self.control.which_children(SUPERVISOR)
        specs = await asyncio.gather(*(self._spec_of(str(row[0]), str(row[1])) for row in children))
        for row, spec in zip(children, specs, strict=True):
            self.actual[str(row[0])] = Running(spec, str(row[1]))

    async def _spec_of(self, id: str, state: str) -> AgentSpec | None:
        if state != RUNNING:
            return None
        try:
            about = await self.peer.call(f"agents/{id}", "about", timeout=5.0)
            return AgentSpec.from_dict(about["spec"])
        except (IpcError, KeyError, TypeError) as error:
            logger.info("agent=%s does not say what it is, it will be started anew: %s", id, error)
            return None

    def _converge(self, only: Iterable[str] | None = None) -> None:
        """Begin whatever brings actual nearer to desired; one action at a time for each agent."""
        for action in reconcile(self.wanted(), self.actual, only):
            if action.id not in self.acting:
                self.acting[action.id] = self.service.start(self._act(action), f"act {action.id}")
        if not self.acting:
            self.settled.set()
        else:
            self.settled.clear()
        self.changed.set()

    async def _act(self, action: Action) -> None:
        try:
            if isinstance(action, Start):
                await self._start(action.spec)
            elif isinstance(action, Stop):
                await self._stop(action.id)
            else:
                await self._swap(action)
        finally:
            self.acting.pop(action.id, None)
        self._converge([action.id])  # its record may have changed again meanwhile

    async def _start(self, spec: AgentSpec) -> None:
        try:
            await self.control.start_child(SUPERVISOR, {"id": spec.id, "args": {"agent": spec.to_dict()}})
        except ControlError as error:
            if error.code in ("already_started", "already_present"):
                self.actual[spec.id] = Running(None, RUNNING)  # from a life before ours: swapped next
                return
            logger.error("agent=%s did not start: %s", spec.id, error)
            self.actual[spec.id] = Running(spec, FAILED, error.detail or error.code)
            return
        self.actual[spec.id] = Running(spec)
        logger.info("agent=%s started", spec.id)

    async def _stop(self, id: str) -> None:
        if id in self.actual and self.actual[id].state == RUNNING:
            self.ending.add(id)
        try:
            await self.control.terminate_child(SUPERVISOR, id)
        except ControlError as error:
            if error.code != "not_found":
                logger.error("agent=%s did not stop: %s", id, error)
        self.actual.pop(id, None)
        logger.info("agent=%s stopped", id)

    async def _swap(self, action: Swap) -> None:
        """The old process finishes its turns; what is said meanwhile waits in the log for the new one."""
        self.swapping.add(action.id)
        try:
            child = self.actual.get(action.id)
            if child is not None and child.state == RUNNING and action.old is not None:
                await self._saved(action.id)
                if same(self.desired.get(action.id), action.old):
                    return  # saved back as it was
            await self._stop(action.id)
            spec = self.wanted().get(action.id)  # saved again while the old one was finishing: still one swap
            if spec is None:
                return
            await self._start(spec)
            text = difference(action.old, spec) if action.old is not None else ""
            if text and self.actual[action.id].state == RUNNING:
                entry = {"kind": "reloaded", "agent": spec.id, "title": spec.title, "text": text}
                await self.tell_rooms(spec.id, entry)
        finally:
            self.swapping.discard(action.id)
        await self._muster_all([action.id])  # a room that opened meanwhile, or a title that nobody was told

    async def _saved(self, id: str) -> None:
        """Wait until nobody saves the record any more: ten saves in a second are one swap, not ten."""
        loop = asyncio.get_running_loop()
        last, settle = self.desired.get(id), SETTLE
        latest = loop.time() + SETTLE_LONGEST
        while loop.time() < latest:
            await asyncio.sleep(settle)  # no event says that a person is done saving
            now = self.desired.get(id)
            if now is None or now == last:
                return
            last, settle = now, SETTLE_BUSY

    async def _watch_children(self) -> None:
        async for change in self.control.changes():
            id = agent_of(getattr(change, "name", ""))
            if id is None:
                continue
            if isinstance(change, Down):
                if id in self.ending:
                    self.ending.discard(id)  # we asked for it
                elif id not in self.acting and id in self.desired:
                    self.service.start(self._went_down(id, change), f"down {id}")
            elif isinstance(change, Up):
                self.ending.discard(id)
                was = self.actual.get(id)
                if self._state(id, RUNNING) and was is not None and was.state == PARKED:
                    self.service.start(self._muster_all([id]), f"unparked {id}")

    def _state(self, id: str, state: str, reason: str = "") -> bool:
        """Note the state of a child that is nobody's business but the supervisor's now. True when it is another."""
        child = self.actual.get(id)
        if child is None or id in self.acting or (child.state, child.reason) == (state, reason):
            return False
        self.actual[id] = Running(child.spec, state, reason)
        self.changed.set()
        return True

    async def _went_down(self, id: str, down: Down) -> None:
        """Tell the rooms of a crash, or that the supervisor has given up on the agent."""
        if self.service.stopping:
            return
        try:
            children = await self.control.which_children(SUPERVISOR)
        except ControlError as error:
            logger.warning("agent=%s went down, what became of it is not known: %s", id, error)
            return
        state = next((str(row[1]) for row in children if str(row[0]) == id), TERMINATED)
        spec = self.desired.get(id)
        if state == PARKED:
            self._state(id, PARKED, f"it crashed too often, last: {down.reason}; save its record to start it again")
            await self._muster_all([id])
        elif not down.planned and spec is not None:
            if state == RESTARTING:
                self._state(id, RESTARTING, down.reason)
            text = f"{spec.title} crashed ({down.reason}) and is being started again."
            # The id is made from the life that ended: one crash is one notice.
            await self.tell_rooms(id, {"id": entry_id("crash", id, down.incarnation), "kind": "notice", "text": text})
        self._converge()

    async def _retry(self) -> None:
        """An agent that could not be started is tried again now and then: the reason may have been the machine's."""
        while True:
            await asyncio.sleep(RETRY_FAILED)  # nobody tells that a machine has room again
            for id in [id for id, child in self.actual.items() if child.state == FAILED and id not in self.acting]:
                del self.actual[id]
            self._converge()

    async def _wait_settled(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self.settled.wait(), seconds)
        except TimeoutError:
            logger.warning("%d agents are not ready yet", len(self.acting))

    # -- rooms

    async def _muster_first(self) -> None:
        """The rooms that are live when we come, the default room among them."""
        backoff = Backoff()
        while True:
            try:
                listed = await self.peer.call("lobby", "list", timeout=ASK)
                break
            except AWAY as error:
                logger.info("waiting for the lobby: %s", error)
                await asyncio.sleep(backoff.take())
        rooms = [str(row["room"]) for row in listed if "error" not in row]
        await asyncio.gather(*(self._muster(self._seats(room)) for room in rooms))

    async def _watch_rooms(self) -> None:
        async for change in self.peer.monitor("rooms/*"):
            if change.snapshot_end:
                continue
            room = change.name.removeprefix("rooms/")
            if change.up:
                self.service.start(self._muster(self._seats(room)), f"muster {room}")
            else:
                self.rooms.pop(room, None)

    def _seats(self, room: str) -> Seats:
        return self.rooms.setdefault(room, Seats(room))

    async def _muster_all(self, only: Iterable[str] | None = None) -> None:
        ids = None if only is None else list(only)
        await asyncio.gather(*(self._muster(seats, ids) for seats in list(self.rooms.values())))

    async def _muster_late(self) -> None:
        """Without this an agent would never come into a room whose disk was full when it was opened."""
        while True:
            await asyncio.sleep(MUSTER_AGAIN)  # nobody tells that a disk has room again
            late, self.late = self.late, set()
            await asyncio.gather(*(self._muster(self.rooms[room]) for room in late if room in self.rooms))

    async def _muster(self, seats: Seats, only: Iterable[str] | None = None) -> None:
        """Make one room's roster what it should be. A room that goes away meanwhile is mustered when it is back."""
        async with seats.lock:
            try:
                await self._catch_up(seats)
                parked = {id: child.reason for id, child in self.actual.items() if child.state == PARKED}
                parked |= self.steward.decisions.parked
                found = muster(seats.state, self.desired, parked, only)
                # A swap under way tells what changed itself, once the new process runs.
                entries = [one for one in found if one["kind"] != "reloaded" or one["agent"] not in self.swapping]
                for at in range(0, len(entries), 200):
                    await append_reliably(self.peer, seats.room, entries[at : at + 200], APPEND_DEADLINE)
            except IpcError as error:
                logger.warning("room=%s was not mustered, it is tried again: %s", seats.room, error)
                self.late.add(seats.room)

    async def _catch_up(self, seats: Seats) -> None:
        while True:
            page = await self.peer.call(f"rooms/{seats.room}", "since", seq=seats.tail.last, limit=PAGE, timeout=ASK)
            try:
                seats.state = fold_all(seats.state, seats.tail.page(page))
            except RoomReplaced:
                seats.state, seats.tail = empty(seats.room), Tail(seats.room)
                continue
            if not page["more"]:
                return

    async def tell_rooms(self, id: str, entry: Mapping[str, Any]) -> None:
        """Append one entry to every room where the agent is."""
        await asyncio.gather(*(self._tell_room(seats, id, entry) for seats in list(self.rooms.values())))

    async def _tell_room(self, seats: Seats, id: str, entry: Mapping[str, Any]) -> None:
        async with seats.lock:
            try:
                await self._catch_up(seats)
                if id in seats.state.members or (id == EVERYBODY and seats.state.members):
                    await append_reliably(self.peer, seats.room, [dict(entry)], APPEND_DEADLINE)
            except IpcError as error:
                logger.warning("room=%s was not told of agent=%s: %s", seats.room, id, error)

    # -- cards

    async def _publish(self) -> None:
        """Publish the cards when they are others than before; changes close together are one event."""
        while True:
            await self.changed.wait()
            # The pace: what changes meanwhile goes with it.
            await asyncio.sleep(CARDS_EVERY + CARDS_EACH * len(self.desired))
            self.changed.clear()
            now = self._cards()
            try:
                await self.pauses.publish_limits()
                if now != self.told:
                    await self.peer.publish("agents/cards/", {"cards": now})
                    self.told = now
            except IpcError as error:
                logger.info("cards were not published: %s", error)
                self.changed.set()
                await asyncio.sleep(1.0)  # the bus is away; without a pause this would spin
