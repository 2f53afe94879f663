"""A room: one append-only log, its only writer, and a publisher. Policy is elsewhere: this is what must not fail.

args: `{room: id}`. Exposes append, since, info. Publishes `log/<room>/` after the entry is on disk, and `turns/<agent>/` to
the agents whose turn an entry begins, ends or halts: a thousand agents sleep while one of them speaks. An invitation is
published on `invited/<room>/` too, for the roster.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from egghead.processes.common import Service, run
from egghead.rooms.entries import EntryError
from egghead.rooms.gate import TurnClosed
from egghead.rooms.keeper import Conflict, Keeper, NotYours, Publish
from egghead.rooms.log import LogBroken, LogError, LogFull, RoomLog
from egghead.rooms.names import check_room, file_name
from ipc import Call, IpcError, Refused, shielded

if TYPE_CHECKING:
    from supervisor import Context

logger = logging.getLogger("egghead.rooms")


def main(context: Context, room: str) -> None:
    """Entry point."""
    try:
        run(context, lambda service: _setup(service, room))
    except LogError as error:  # the disk's fault and not the code's: where in the code it was seen helps nobody
        logger.error("%s", error)
        raise SystemExit(1) from None


def rooms_directory(settings: dict[str, Any]) -> str:
    """Where the logs of all rooms are."""
    return os.path.join(settings["records_dir"], ".egghead", "rooms")


async def _setup(service: Service, room: str) -> None:
    path = os.path.join(rooms_directory(service.settings), file_name(check_room(room)))
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    log = RoomLog(path)
    if log.recovered.cut:
        logger.warning("room %s: cut %d bytes at the end: %s", room, log.recovered.cut, log.recovered.why)
    publish = _publisher(service, room)
    keeper = Keeper(room, log, publish)
    service.expose(Room(keeper, service.fail).methods())
    service.info.update(room=room, entries=log.last, cut=log.recovered.cut)
    await service.connect()
    if log.last:
        # The life before may have died between writing an entry and publishing it. Who has it drops it, who has not
        # sees that something is missing and reads.
        for entry in keeper.since(log.last - 1, service.name, 1)["entries"]:
            await publish(entry, log.gate.concerned(entry))
    for turn in log.gate.again():
        with contextlib.suppress(IpcError):
            await service.peer.publish(f"turns/{turn['agent']}/", {"room": room, "entry": turn})
    service.start(keeper.run(), "commits")
    service.on_stop(keeper.settled)


def _publisher(service: Service, room: str) -> Publish:
    topic = f"log/{room}/"

    async def publish(entry: dict[str, Any], concerned: tuple[str, ...]) -> None:
        try:
            await service.peer.publish(topic, entry)
            for agent in concerned:
                await service.peer.publish(f"turns/{agent}/", {"room": room, "entry": entry})
            if entry["kind"] == "invited":  # a person says who comes in; whether it runs is for the roster to say
                await service.peer.publish(f"invited/{room}/", {"room": room, "agent": entry["agent"]})
        except IpcError as error:
            # The log has it. Readers see the gap in the bus's numbers, or the new epoch, and read it from here.
            logger.info("entry %d was not published: %s", entry["seq"], error)

    return publish


class Room:
    """The calls of one room."""

    def __init__(self, keeper: Keeper, fail: Callable[[BaseException], None]) -> None:
        self.keeper = keeper
        self._fail = fail

    def methods(self) -> dict[str, Callable[..., Any]]:
        """Name -> handler."""
        return {"append": self.append, "since": self.since, "info": self.info}

    @shielded
    async def append(self, call: Call, entries: Any, expect: Any = None) -> dict[str, Any]:
        """Append all or none, durably. Refuses with Conflict {last}, TurnClosed, BadEntry, LogFull."""
        try:
            return await self.keeper.append(entries, call.caller, call.incarnation, expect)
        except Conflict as conflict:
            raise Refused("Conflict", str(conflict), last=conflict.last) from None
        except TurnClosed as closed:
            raise Refused("TurnClosed", str(closed)) from None
        except EntryError as error:
            raise Refused("BadEntry", str(error)) from None
        except LogFull as full:
            logger.error("%s", full)
            raise Refused("LogFull", str(full)) from None
        except LogBroken as broken:
            return await self._end(broken)

    async def since(self, call: Call, seq: int = 0, limit: int = 500) -> dict[str, Any]:
        """{entries, last, more, first} after `seq`. Refuses with NotYours an agent that is not in a room of two."""
        if not isinstance(limit, int):
            raise Refused("BadRequest", f"'limit' is a number of entries, not {limit!r}")
        try:
            return self.keeper.since(seq, call.caller, limit)
        except LogBroken as broken:
            return await self._end(broken)
        except NotYours as refusal:
            raise Refused("NotYours", str(refusal)) from None
        except (EntryError, TypeError) as error:
            raise Refused("BadRequest", str(error)) from None

    async def info(self, call: Call) -> dict[str, Any]:
        """{room, last, entries, bytes, opened_at, first}."""
        return self.keeper.info()

    async def _end(self, broken: LogBroken) -> dict[str, Any]:
        """The process ends and its successor reads what is on disk. Its callers get no answer but PeerDown, which they
        wait out; an error would be the last word for them."""
        self._fail(broken)
        never: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        return await never
