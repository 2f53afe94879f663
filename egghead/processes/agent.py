"""Process `agents/<id>`: one agent in all its rooms, one session a room, turns of different rooms at once.

Follows `turns/<id>/` for turns given to it (its name and its incarnation), folds the room up to them, and takes them through
`egghead.agents.turn`. Asks `tools` and `llm`, appends to rooms, publishes `text/<room>/`. It decides nothing about who
speaks, and holds nothing that the log does not hold: killed at any moment, its successor folds the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from egghead.agents.handing import PATIENCE, GivenUp, HandOff
from egghead.agents.ports import AGAIN, BusPorts, LeftOpen, pause_for
from egghead.agents.prompt import system_prompt, turn_part
from egghead.agents.record import AgentSpec
from egghead.agents.session import Handing, OpenTurn, Session
from egghead.agents.session_fold import fold
from egghead.agents.turn import Ending, Menu, Turn, TurnOver, take_turn
from egghead.client.follow import AWAY, Backoff
from egghead.processes.common import Service, one_connection, run
from egghead.tools.results import capped
from ipc import Call, Event, IpcError, PeerDown

if TYPE_CHECKING:
    from supervisor import Context

logger = logging.getLogger("egghead.agents")

GRACE = 8.0  # seconds a running turn may take to finish when the process is asked to stop; less than its `shutdown`
CUT_GRACE = 1.5  # seconds to write down what was said, after that
PAGE = 500  # entries of one read of a room
ROOMS = "rooms/"
GIVEN = ("turn_started", "handoff_started")  # what the coordinator gives to one life of an agent
QUIET = (
    20.0  # seconds that a handoff waits for a moment without turns in other rooms; then they get the grace of a stop
)
TAIL = 300  # entries looked at for an open turn after events were lost
CLEAR_TIMEOUT = 10.0  # seconds for the parts of a handoff that was given up
ROOM_AWAY = 60.0  # seconds that an agent without a turn waits for a room that does not answer
MAX_NOTE = 24_000  # characters of a note whose budget nobody knows
MAX_SEATS = 16  # rooms whose session is kept in memory between turns; the others are folded again


def main(context: Context, agent: Mapping[str, Any], grace: float = GRACE) -> None:
    spec = AgentSpec.from_dict(agent)
    run(context, lambda service: AgentProcess(service, spec, grace).setup(), make_peer=one_connection)


class Seat:
    """One room: its session, and the turn in progress if there is one."""

    def __init__(self, agent: str, room: str) -> None:
        self.room = room
        self.session = Session(agent, room)
        self.first: str | None = None  # of the log's first entry: tells a room from its successor
        self.halt = asyncio.Event()
        self.halted = 0  # seq of the last halt heard of, which may come before the turn has begun here
        self.worker: asyncio.Task[None] | None = None
        self.dirty = False
        self.turn: Turn | None = None
        self.taking: asyncio.Task[Ending] | None = None
        self.taken: tuple[str, int] | None = None
        self.handed: tuple[str, int] | None = None  # the handoff that was begun here last, and its attempt
        self.writing = False
        self.stands_in = ""  # what the room was told last of a model that answers in place of another
        self.cleared: tuple[int, int] | None = None  # the handoff that was given up whose parts were removed here
        self.note: tuple[str, str | None] | None = None  # record of the last handoff, and its note as it is there now

    @property
    def at_work(self) -> asyncio.Task[Any] | None:
        """The turn in progress, or the handoff that is being written."""
        work: asyncio.Task[Any] | None = self.worker if self.writing else self.taking
        return None if work is None or work.done() else work

    @property
    def busy(self) -> bool:
        return self.worker is not None and not self.worker.done()


class AgentProcess:
    """The rooms of one agent. Everything here runs on one loop; a seat has one worker at a time."""

    def __init__(self, service: Service, spec: AgentSpec, grace: float) -> None:
        self.service = service
        self.peer = service.peer
        self.spec = spec
        self.grace = grace
        self.incarnation = service.incarnation
        self.topic = f"turns/{spec.id}/"
        self.seats: dict[str, Seat] = {}
        self.closing = False
        self.patience = PATIENCE
        self.lost = asyncio.Event()
        self.unread: set[str] = set()  # rooms to look into for turns we were not told of
        self.all_unread = False

    async def setup(self) -> None:
        self.service.expose({"about": self.about})
        await self.service.connect()
        # In this order, on one connection: a turn given in the moment that we are announced must not be missed.
        subscription, _ = await asyncio.gather(self.peer.subscribe(self.topic), self.service.announce())
        self.service.start(self._follow(subscription), "turns")
        self.service.start(self._watch_gaps(), "gaps")
        self.service.on_stop(self.finish)

    async def about(self, call: Call) -> dict[str, Any]:
        """What this process was started with, for a roster that was not there then."""
        return {"spec": self.spec.to_dict(), "busy": [room for room, seat in self.seats.items() if seat.busy]}

    # -- what happens in rooms

    async def _follow(self, subscription: Any) -> None:
        async for event in subscription:
            if event.gap and event.by.startswith(ROOMS):
                self._look_soon(event.by.removeprefix(ROOMS))
            elif event.gap:
                self.all_unread = True
                self.lost.set()
            if event.data is not None:
                self._hear(event)

    def _look_soon(self, room: str) -> None:
        self.unread.add(room)
        self.lost.set()

    def _hear(self, event: Event) -> None:
        entry, room = event.data.get("entry"), event.data.get("room")
        if event.topic != self.topic or not entry or not room:
            return  # of an agent whose id begins with ours and a slash; or no event of a room (warm.py rehearses with one)
        kind = entry.get("kind")
        if kind in GIVEN:
            if self._for_us(entry):
                self._poke(room)
                if entry.get("again"):
                    self._look_soon(room)  # what else the room wrote before it died, a halt perhaps
        elif kind in ("halted", "turn_ended"):
            self._interrupt(room, entry)
        elif kind == "handoff_ended":
            self._poke(room)

    def _for_us(self, entry: Mapping[str, Any]) -> bool:
        return entry.get("agent") == self.spec.id and entry.get("incarnation") == self.incarnation

    def _interrupt(self, room: str, entry: Mapping[str, Any]) -> None:
        seat = self.seats.get(room)
        if seat is None:
            return
        if entry["kind"] == "halted":
            seat.halted = max(seat.halted, entry["seq"])
            seat.halt.set()
        elif seat.turn is None:
            return
        elif entry.get("turn") == seat.turn.given.turn and seat.taking is not None:
            seat.taking.cancel()  # the room has ended the turn: nothing more of it is wanted

    async def _watch_gaps(self) -> None:
        pause = Backoff()
        while True:
            await self.lost.wait()
            self.lost.clear()
            if await self._look_again():
                pause.reset()
            else:
                await self._pause(pause.take())
                self.lost.set()

    async def _look_again(self) -> bool:
        """Look for turns given to us, and whether those in progress still stand: in the rooms that are back, and after
        lost events in all. False when one could not be read: it is looked at again."""
        rooms = self.unread
        if self.all_unread:
            try:
                given = await self.peer.call("coordinator", "turns", timeout=20.0)
            except IpcError:
                return False
            rooms |= {room for room, seat in self.seats.items() if seat.busy} | set(given)
            self.all_unread = False
        for room in sorted(rooms):
            try:
                await self._look_at(room)
            except PeerDown:
                pass  # its next life is announced by the monitor
            except IpcError:
                continue
            rooms.discard(room)
        return not rooms

    async def _look_at(self, room: str) -> None:
        info = await self.peer.call(f"rooms/{room}", "info", timeout=10.0)
        page = await self.peer.call(f"rooms/{room}", "since", seq=max(0, info["last"] - TAIL), timeout=10.0)
        for entry in page["entries"]:
            kind = entry["kind"]
            if kind in GIVEN and self._for_us(entry):
                self._poke(room)
            elif kind in ("halted", "turn_ended"):
                seat = self.seats.get(room)
                if seat is not None and seat.turn is not None and entry["seq"] > seat.turn.given.seq:
                    self._interrupt(room, entry)

    def _poke(self, room: str) -> None:
        if self.closing:
            return
        seat = self.seats.pop(room, None) or Seat(self.spec.id, room)
        self.seats[room] = seat  # last in the order: the longest unused is forgotten first
        self._forget()
        seat.dirty = True
        if not seat.busy:
            seat.worker = self.service.start(self._work(seat), f"room {room}")

    def _forget(self) -> None:
        idle = [room for room, seat in self.seats.items() if not seat.busy and not seat.dirty]
        for room in idle[: max(0, len(self.seats) - MAX_SEATS)]:
            del self.seats[room]

    # -- one room

    async def _work(self, seat: Seat) -> None:
        try:
            while seat.dirty and not self.closing:
                seat.dirty = False
                asked = asyncio.create_task(self._menu())
                try:
                    await self._catch_up(seat)
                    # Asked to stop, it finishes the turn it is in and begins no other: that is for the new record.
                    while not self.closing and (given := self._mine(seat)) is not None:
                        seat.taken = (given.turn, given.attempt)
                        await self._take(seat, given, asked)
                        await self._catch_up(seat)
                    if (handing := self._begun(seat)) is not None:
                        seat.handed = (handing.handoff, handing.attempt)
                        await self._hand_off(seat, handing, await asked)
                    if not self.closing:
                        await self._clear(seat)
                finally:
                    asked.cancel()
                    await asyncio.gather(asked, return_exceptions=True)
        except LeftOpen as left:
            logger.info("room=%s: %s", seat.room, left)

    def _mine(self, seat: Seat) -> OpenTurn | None:
        """The open turn that is given to this life of the agent and that it has not taken."""
        given = seat.session.open
        if given is None or given.incarnation != self.incarnation or seat.taken == (given.turn, given.attempt):
            return None
        return given

    async def _catch_up(self, seat: Seat) -> None:
        """Fold what is new in the room; waits while the room is down. A room that was dropped and opened anew is
        another conversation.

        Raises LeftOpen when the room stays away: it was dropped, perhaps. When it comes back it tells of its open turns.
        """
        backoff, until = Backoff(), asyncio.get_running_loop().time() + ROOM_AWAY
        while True:
            try:
                page = await self.peer.call(
                    f"rooms/{seat.room}", "since", seq=seat.session.seq, limit=PAGE, timeout=10.0
                )
            except AWAY as error:
                logger.info("room=%s is not there: %s", seat.room, error)
                if asyncio.get_running_loop().time() > until:
                    raise LeftOpen(f"the room has been away for {ROOM_AWAY:g} s") from None
                await self._pause(backoff.take())
                continue
            if page["last"] < seat.session.seq or seat.first not in (None, page.get("first")):
                seat.session, seat.first = Session(self.spec.id, seat.room), None
                seat.halted = 0  # a halt in that log, by its number there
                continue
            seat.first = page.get("first")
            seat.session = fold(seat.session, page["entries"])
            if not page.get("more"):
                return

    async def _take(self, seat: Seat, given: OpenTurn, asked: asyncio.Task[Menu]) -> None:
        ports = BusPorts(self.peer, self.service.control.stop, self.spec.id, seat.room, given.turn, self.spec.title)
        seat.halt = asyncio.Event()
        if given.halted or seat.halted > given.seq:
            seat.halt.set()
        menu, note = await self._prepared(seat, asked)
        system = system_prompt(
            self.spec,
            seat.session,
            menu.tools,
            mode=given.mode,
            nudge=given.nudge,
            notes=menu.notes,
            window=seat.session.window,
            deliberation=note,
            today=datetime.now(UTC).date().isoformat(),
        )
        about = turn_part(self.spec, seat.session, mode=given.mode, nudge=given.nudge, window=seat.session.window)
        seat.turn = Turn(self.spec, seat.session, given, menu, system, ports, about, stands_in=seat.stands_in)
        seat.taking = asyncio.create_task(take_turn(seat.turn, seat.halt))
        try:
            await asyncio.wait({seat.taking})
            seat.stands_in = seat.turn.stands_in
            await self._settle(seat, given, ports)
        finally:
            seat.taking.cancel()
            seat.turn = seat.taking = None

    async def _prepared(self, seat: Seat, asked: asyncio.Task[Menu]) -> tuple[Menu, str | None]:
        """The menu and the note of the last handoff; without them when the turn is halted before `tools` has answered:
        one that hangs must not hold a halt up."""
        ready = asyncio.gather(asyncio.shield(asked), self._note(seat))
        halted = asyncio.create_task(seat.halt.wait())
        try:
            either: set[asyncio.Future[Any]] = {ready, halted}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            return await ready if ready.done() else (Menu(), None)
        finally:
            for task in (ready, halted):
                task.cancel()
            await asyncio.gather(ready, halted, return_exceptions=True)

    async def _note(self, seat: Seat) -> str | None:
        """The note of the last handoff as the record has it now: a person may have put it right, or removed it. The log's
        own copy stands in for notes that do not answer."""
        record = seat.session.handoff
        if not record:
            return None
        if seat.note is None or seat.note[0] != record:
            try:
                found = await self.peer.call("tools", "deliberation", record=record, timeout=5.0)
            except IpcError as error:
                logger.warning("room=%s [[%s]] cannot be read: %s", seat.room, record, error)
                return seat.session.note or None
            most = max(len(seat.session.note), seat.session.keep or MAX_NOTE)
            seat.note = (record, capped(str(found["note"]), most) if found is not None else None)
        return seat.note[1]

    # -- handoff

    def _begun(self, seat: Seat) -> Handing | None:
        """The handoff that was given to this life and that it has not begun."""
        handing = seat.session.handing
        if handing is None or handing.incarnation != self.incarnation or self.closing:
            return None
        return None if seat.handed == (handing.handoff, handing.attempt) else handing

    async def _hand_off(self, seat: Seat, handing: Handing, menu: Menu) -> None:
        """Write the session down, say so in the log, and leave: the next life begins with the note."""
        ports = BusPorts(self.peer, self.service.control.stop, self.spec.id, seat.room)
        seat.writing = True
        try:
            entry = await HandOff(self.spec, seat.session, handing, menu, ports, self.patience).write()
        except GivenUp as error:
            logger.error("room=%s no handoff: %s", seat.room, error)
            with contextlib.suppress(TurnOver):
                await self._not_handed(seat, handing, ports, str(error))
            return
        finally:
            seat.writing = False
        await self._others_rest(seat)
        await self._catch_up(seat)
        if seat.session.handing is None or seat.session.handing.handoff != handing.handoff:
            return  # it was kicked out of the room meanwhile, or a late word of the life before has ended it
        try:
            stored = await ports.append([entry])
        except TurnOver as error:
            logger.info("room=%s: %s", seat.room, error)
            return
        if stored[0].get("incarnation") == self.incarnation:
            self.closing = True
            self.service.leave(f"handoff in {seat.room}")

    async def _not_handed(self, seat: Seat, handing: Handing, ports: BusPorts, reason: str) -> None:
        text = f"{self.spec.title} could not hand off: {reason}. It goes on as it was."
        ended = {
            "id": f"{handing.handoff}.f{handing.attempt}",
            "kind": "handoff_ended",
            "outcome": "failed",
            "text": text,
        }
        await ports.append([ended])
        await self._catch_up(seat)
        given = seat.session.open
        if given is not None and given.incarnation == self.incarnation:  # the turn that did not fit
            failed = {"id": f"{given.turn}.m", "kind": "action", "turn": given.turn, "action": "failed", "text": text}
            await ports.append([failed])

    async def _clear(self, seat: Seat) -> None:
        """Remove the parts that a handoff that was given up has left, once in this life. What cannot be asked now is asked
        when the room next has something for us, or by the next life."""
        given_up = seat.session.given_up
        if given_up is None or given_up == seat.cleared:
            return
        started, ended = given_up
        try:
            found = await self.peer.call(
                "tools", "discard", room=seat.room, started=started, ended=ended, timeout=CLEAR_TIMEOUT
            )
        except IpcError as error:
            logger.warning("room=%s what a handoff left is not removed yet: %s", seat.room, error)
            return
        seat.cleared = given_up
        if found["trashed"]:
            logger.info("room=%s a handoff that was given up had left %s", seat.room, ", ".join(found["trashed"]))

    async def _others_rest(self, seat: Seat) -> None:
        """Wait for a moment in which no other room has a turn or a handoff of ours in progress, but not for ever. One exit
        is then enough for all the rooms that hand off."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUIET):
                while busy := [work for other in self.seats.values() if other is not seat and (work := other.at_work)]:
                    await asyncio.wait(busy)

    async def _settle(self, seat: Seat, given: OpenTurn, ports: BusPorts) -> None:
        """Log how the turn ended; a fault of ours becomes a failed turn instead of a silent one."""
        assert seat.taking is not None
        if seat.taking.cancelled():
            logger.info("turn=%s room=%s was ended from outside", given.turn, seat.room)
            return
        error = seat.taking.exception()
        if error is None:
            logger.info(
                "turn=%s room=%s attempt=%d %s", given.turn, seat.room, given.attempt, seat.taking.result().value
            )
        elif isinstance(error, LeftOpen):
            logger.warning("turn=%s room=%s is left open: %s", given.turn, seat.room, error)
        else:
            logger.error("turn=%s room=%s broke", given.turn, seat.room, exc_info=error)
            text = (
                f"{self.spec.title} hit an internal error ({type(error).__name__}: {error}); `egghead logs` has more."
            )
            ending = {"id": f"{given.turn}.m", "kind": "action", "turn": given.turn, "action": "failed", "text": text}
            with contextlib.suppress(TurnOver):
                await ports.append([ending])

    async def _menu(self) -> Menu:
        """What this agent may use now. Without an answer it has no tools and says so."""
        for pause in (*AGAIN[:4], None):
            try:
                answer = await self.peer.call("tools", "menu", timeout=15.0)
                return Menu(tuple(answer["tools"]), tuple(answer["notes"]), tuple(answer.get("provider_tools") or ()))
            except AWAY as error:
                if pause is None:
                    return Menu((), (f"the tools do not answer ({error})",))
                await self._pause(pause)
            except IpcError as error:
                return Menu((), (f"the tools refuse ({error})",))
        raise AssertionError("the last try returns")

    async def _pause(self, seconds: float) -> None:
        await pause_for(self.service.control.stop, seconds)

    # -- the end

    async def finish(self) -> None:
        """Finish the turns in progress; what is not done in time is cut and marked, and what has said nothing is left
        open for whoever comes next."""
        self.closing = True
        working = [seat.worker for seat in self.seats.values() if seat.worker is not None and not seat.worker.done()]
        if not working:
            return
        _, late = await asyncio.wait(working, timeout=self.grace)
        if not late:
            return
        for seat in self.seats.values():
            if seat.turn is not None and seat.turn.text:
                seat.halt.set()
            elif seat.taking is not None:
                seat.taking.cancel()
        await asyncio.wait(late, timeout=CUT_GRACE)
