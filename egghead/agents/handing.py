"""One handoff of one session, from the entry that began it to the entry that says it is done. Part of `agents/<id>`.

The order is the promise: the parts of a long trail first, then the record with the note, then the entry `handoff`. The
record stands complete or not at all, and everything has a name made from the log: killed at any moment, the next life
is given the same handoff and writes the same records, or finds them written. Until the entry stands nothing has been
handed off, and the log still has it all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from egghead.agents import note as notes
from egghead.agents.conversation import messages
from egghead.agents.handoff import Budget, left_over
from egghead.agents.ports import BusPorts
from egghead.agents.prompt import system_prompt
from egghead.agents.record import AgentSpec
from egghead.agents.session import Handing, Session
from egghead.agents.trail import Trail
from egghead.agents.turn import Menu, ModelFailed, WindowFull
from egghead.agents.wording import is_pass
from egghead.client.follow import AWAY, Backoff
from egghead.rooms.transcript import writable
from egghead.tools.deliberations import part_id
from ipc import IpcError, RemoteError

logger = logging.getLogger("egghead.agents")

NOTE_TIMEOUT = 90.0  # seconds for the model to write the note; then it is extracted
PATIENCE = 60.0  # seconds for the notes to be written before the handoff is given up; the log still has it all
WRITE_TIMEOUT = 30.0
PAGE = 200
PASSING = ("Unavailable", "Conflict", "InternalError", "ReadOnly")  # refusals that may be over in a moment
MECHANICAL = 3  # from this attempt on the model is not asked: two lives have died over it


class GivenUp(Exception):
    """The handoff cannot be done. The text is a sentence for the room."""


@dataclass(frozen=True)
class HandOff:
    """What one handoff works with."""

    spec: AgentSpec
    session: Session
    handing: Handing
    menu: Menu
    ports: BusPorts
    patience: float = PATIENCE

    @property
    def room(self) -> str:
        return self.session.room

    async def write(self) -> dict[str, Any]:
        """Write the note and the trail; the entry that says so, not yet appended. Raises GivenUp, LeftOpen."""
        system = self._system()
        overflow = messages(self.session) if self.handing.reason == "overflow" else None
        kept = left_over(self.spec, self.session, system, self.menu.tools, overflow=overflow)
        found = await self._asked("deliberation", record=self.handing.record)
        if found is not None and found["handoff"] == self.handing.handoff:
            logger.info("room=%s %s was written by an earlier life", self.room, self.handing.record)
            note = str(found["note"])
        else:
            note = await self._note(system, kept, overflow is not None)
            await self._records(note)
        return {
            "id": f"{self.handing.handoff}.h",
            "kind": "handoff",
            "record": self.handing.record,
            "note": note,
            "keep": kept.keep,
        }

    def _system(self) -> str:
        return system_prompt(
            self.spec,
            self.session,
            (),
            mode="handoff",
            deliberation=self.session.note or None,
            today=datetime.now(UTC).date().isoformat(),
        )

    # -- the note

    async def _note(self, system: str, kept: Budget, overflow: bool) -> str:
        if self.handing.attempt >= MECHANICAL:
            return notes.extracted(self.session, "two attempts broke off", kept.note)
        try:
            async with asyncio.timeout(NOTE_TIMEOUT):
                text = await self._model(system, kept, overflow)
        except TimeoutError:
            return notes.extracted(self.session, f"the model took more than {NOTE_TIMEOUT:g} seconds", kept.note)
        except WindowFull:
            return notes.extracted(self.session, "the conversation does not fit the model's context", kept.note)
        except ModelFailed as error:
            return notes.extracted(self.session, str(error), kept.note)
        found = "" if is_pass(text) else notes.told(text, kept.note)
        return found or notes.extracted(self.session, "the model wrote nothing", kept.note)

    async def _model(self, system: str, kept: Budget, overflow: bool) -> str:
        # What did not fit is not sent again: the end of it is what the note is about.
        most = (kept.note + kept.keep) * 2 // 3 if overflow else None
        request = notes.request(self.spec, self.session, system, kept.note, most)
        text, limit = "", 4 * kept.note + 1000
        async with self.ports.complete(request) as events:
            async for event in events:
                if event.get("type") == "text":
                    text += str(event["text"])
                if len(text) > limit:
                    break  # a model that does not stop
        return text

    # -- the records

    async def _records(self, note: str) -> None:
        """The parts of the trail behind the first, then the record itself: it is there only when all of it is."""
        trail = Trail(self.spec.id)
        first: str | None = None
        more: list[str] = []
        async for entry in self._entries():
            trail.take(entry)
            for piece in trail.pieces():
                if first is None:
                    first = piece
                else:
                    more.append(await self._part(len(more) + 2, piece))
        rest = trail.rest()
        if first is None:
            first = rest
        elif rest:
            more.append(await self._part(len(more) + 2, rest))
        title = f"Hand-off of {self.spec.title} in {self.room}, {self.handing.record.rpartition('/')[2]}"
        links = list(dict.fromkeys([*trail.links, *more, f"chat/{self.room}"]))
        await self._write(1, title, notes.body(title, note, first, more), links)
        logger.info(
            "room=%s handed off in %s, %d turns, %d records", self.room, self.handing.record, trail.turns, 1 + len(more)
        )

    async def _part(self, number: int, piece: str) -> str:
        title = f"Hand-off of {self.spec.title} in {self.room}, part {number}"
        await self._write(number, title, f"# {title}\n\nOf [[{self.handing.record}]].\n\n{piece.rstrip()}\n", [])
        return part_id(self.handing.record, number)

    async def _write(self, part: int, title: str, body: str, links: Sequence[str]) -> None:
        params = {"room": self.room, "seq": self.handing.seq, "part": part, "links": list(links)}
        await self._asked("deliberate", **params, title=writable(title[:300]), body=writable(body))

    async def _entries(self) -> AsyncIterator[dict[str, Any]]:
        """The room's log from the last handoff to the beginning of this one, as this agent may read it."""
        seq, until = self.session.since, self.session.begun or self.handing.seq
        backoff = Backoff()
        while seq < until:
            try:
                page = await self.ports.peer.call(f"rooms/{self.room}", "since", seq=seq, limit=PAGE, timeout=10.0)
            except AWAY as error:
                logger.info("room=%s is not there: %s", self.room, error)
                await self.ports.pause(backoff.take())
                continue
            for entry in page["entries"]:
                if entry["seq"] <= until:
                    yield entry
            if not page["entries"]:
                return  # the room is another one now
            seq = page["entries"][-1]["seq"]

    async def _asked(self, method: str, **params: Any) -> Any:
        """A call of `tools`, again and again while it may be a matter of waiting. Raises GivenUp."""
        backoff = Backoff(0.05, 2.0)
        clock = asyncio.get_running_loop().time
        until = clock() + self.patience
        while True:
            try:
                return await self.ports.peer.call("tools", method, timeout=WRITE_TIMEOUT, **params)
            except AWAY as error:
                reason = str(error)
            except RemoteError as error:
                if error.type not in PASSING:
                    raise GivenUp(f"its notes were refused: {error.message}") from None
                reason = error.message
            except IpcError as error:
                raise GivenUp(f"its notes cannot be written: {error}") from None
            logger.warning("room=%s %s waits: %s", self.room, method, reason)
            if clock() > until:
                raise GivenUp(f"its notes could not be written for {self.patience:g} seconds: {reason}")
            await self.ports.pause(backoff.take())
