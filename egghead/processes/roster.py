"""Process `roster`: keeps the running agents equal to the agent records, and every room's roster equal to them.

Watches `records/changed/`, the children of the supervisor `agents`, the live rooms and `invited/`; starts, stops and swaps agent
processes over the control channel; appends joined, left, reloaded, parked and notices of crashes; publishes
`agents/cards/`. What should happen is decided in `egghead.agents.reconcile`; here it is made to happen, again and again
until it is so: nothing here must be remembered over a crash, but what people decided, which is in a file of its own
(`egghead.agents.decisions`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egghead.agents.cards import card
from egghead.agents.desk import ASK, Desk, Notices, Pauses
from egghead.agents.musters import Musters
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
from egghead.client.follow import AWAY, Backoff
from egghead.processes.arguments import checked
from egghead.processes.common import Service, run
from egghead.rooms.names import agent_of
from egghead.rooms.state import RoomState
from ipc import Call, IpcError, RemoteError
from supervisor.aio import ControlError, Down, Up

if TYPE_CHECKING:
    from supervisor import Context

logger = logging.getLogger("egghead.roster")

SUPERVISOR = "agents"
FIRST_START = 60.0  # seconds the first agents get before the roster says READY without the late ones
CROWD = 50  # agents that are being started or stopped at once: a node that begins; then cards wait for the end of that
CARDS_CROWD = 2.0  # seconds, at most
RETRY_FAILED = 30.0  # seconds until an agent that did not start is tried again
SETTLE = 0.12  # seconds without a further save until an agent is swapped
SETTLE_BUSY = 0.25  # the same once there was one: somebody saves again and again
SETTLE_LONGEST = 2.0
CARDS_EVERY = 0.05  # seconds in which changes of cards become one event
CARDS_EACH = 0.0005  # and this much more for each agent: a list of a thousand is not sent twenty times a second


def main(context: Context) -> None:
    run(context, lambda service: Roster(service).setup())


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
        self.musters = Musters(self.peer, self._missing)
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
        methods = {"cards": self.cards, "problems": self.problems, **self.desk.methods(), "limits": self.pauses.limits}
        self.service.expose(checked(methods))
        await self.service.connect()
        records = await self.peer.subscribe("records/")
        usage = await self.peer.subscribe("usage/")
        invited = await self.peer.subscribe("invited/")
        self.service.start(self._watch_store(), "store")
        await self._adopt()
        async with self.refreshing:
            await self._refresh()
        self._converge()
        self.service.start(self._watch_records(records), "records")
        self.service.start(self._watch_children(), "children")
        self.service.start(self._publish(), "cards")
        await self._wait_settled(FIRST_START)
        await self.musters.first()
        self.service.start(self.musters.watch(self.service.start), "rooms")
        self.service.start(self._watch_invited(invited), "invited")
        self.service.start(self.notices.run(), "notices")
        self.service.start(self.pauses.watch(usage), "usage")
        self.service.start(self.pauses.watch_llm(), "llm")
        self.service.start(self._retry(), "retry")
        self.service.start(self.musters.late(), "late")
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
        await self.musters.all([id])

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
        """A store that comes back may have seen changes that nobody heard of. The one that is there when we begin to
        watch is asked after that, in `setup`: asking it again would be each record read twice at the start of a node."""
        watching = False
        async for change in self.peer.monitor("store"):
            if change.snapshot_end:
                watching = True
            elif change.up and watching:
                self.stale.set()
                self.service.start(self._refresh_stale(), "refresh")

    async def _refresh_stale(self) -> None:
        async with self.refreshing:
            if not self.stale.is_set():
                return
            self.stale.clear()
            await self._refresh()
            self._converge()
            await self.musters.all()

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
        if isinstance(action, Stop):
            await self.musters.all([action.id])  # now that it has said what it had to say, it leaves

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
        await self.musters.all([action.id])  # a room that opened meanwhile, or a title that nobody was told

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
                    self.service.start(self.musters.all([id]), f"unparked {id}")

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
            await self.musters.all([id])
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
            async with asyncio.timeout(seconds):
                await self.settled.wait()
        except TimeoutError:
            logger.warning("%d agents are not ready yet", len(self.acting))

    # -- rooms

    async def _watch_invited(self, subscription: Any) -> None:
        """Who is invited by a person is taken to run; the room is told when it is parked."""
        async for event in subscription:
            if event.gap:
                await self.musters.all()
            elif isinstance(event.data, Mapping) and event.data.get("agent") in self._parked():
                await self.musters.room(str(event.data.get("room")), [str(event.data["agent"])])

    def _parked(self) -> dict[str, str]:
        parked = {id: child.reason for id, child in self.actual.items() if child.state == PARKED}
        return {**parked, **self.steward.decisions.parked}

    def _missing(self, state: RoomState, only: Iterable[str] | None) -> list[dict[str, Any]]:
        found = muster(state, self.desired, self._parked(), only)
        return [one for one in found if not self._too_early(one)]

    def _too_early(self, entry: Mapping[str, Any]) -> bool:
        """A swap under way tells what changed itself, once the new process runs. Who is being stopped has not left: what it
        is in the middle of saying would find its turn closed, and be lost."""
        id = entry["agent"]
        if entry["kind"] == "left":
            return id in self.actual and self.actual[id].state == RUNNING
        return entry["kind"] == "reloaded" and id in self.swapping

    async def tell_rooms(self, id: str, entry: Mapping[str, Any]) -> None:
        """Append one entry to every room where the agent is."""
        await self.musters.tell(id, entry)

    # -- cards

    async def _publish(self) -> None:
        """Publish the cards when they are others than before; changes close together are one event."""
        while True:
            await self.changed.wait()
            # The pace: what changes meanwhile goes with it.
            await asyncio.sleep(CARDS_EVERY + CARDS_EACH * len(self.desired))
            if len(self.acting) > CROWD:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CARDS_CROWD):
                        await self.settled.wait()
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
