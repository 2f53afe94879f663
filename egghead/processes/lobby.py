"""The lobby: which rooms live. Opens, lists, saves and drops them; reopens every live room when it starts.

It holds control of the supervisor `rooms`. A live room is a log file; what is not on disk is not a room. Publishes
`lobby/opened/`, `lobby/dropped/` and `lobby/saved/` with `{room}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from egghead.client.follow import PAGE, Backoff, append_reliably
from egghead.processes.common import Service, run
from egghead.processes.room import rooms_directory
from egghead.rooms.archive import Archive, Said
from egghead.rooms.fold import fold_all
from egghead.rooms.log import LogError, RoomLog
from egghead.rooms.names import RoomNameError, check_room, file_name, room_of_file
from egghead.rooms.state import RoomState, empty
from egghead.rooms.transcript import Line, restored
from ipc import Call, IpcError, Refused, shielded
from supervisor.aio import ControlError

if TYPE_CHECKING:
    from supervisor import Context

logger = logging.getLogger("egghead.lobby")

SUPERVISOR = "rooms"
AT_ONCE = 8  # rooms that are started at the same time
DROPPED = "dropped"  # folder of the logs of dropped rooms
KEPT_DROPPED = 20
KEPT_STATES = 64  # folded rooms kept for `show`
IDLE_CLOSE = 600.0  # seconds without an entry until an ephemeral room is saved and closed
SWEEP = 60.0
HUSH = 5.0  # seconds for the turns of a room that is dropped to end; a coordinator waits 3 for each agent
ENDS = 0.5  # seconds of these for a coordinator to end the round, once each agent has said its last word itself
EPHEMERAL = "ephemeral.json"
RESTORING = "restoring.json"  # rooms whose transcript is being brought back
BATCH, BATCH_TEXT = 100, 1_000_000  # entries of a transcript, and their characters, that are appended at once
UNREAD = "transcript.unread"  # id of the notice that says so: once in a log
ALREADY = ("already_started", "already_present", "running")


def main(context: Context) -> None:
    """Entry point."""
    run(context, _setup)


async def _setup(service: Service) -> None:
    lobby = Lobby(service)
    service.expose(lobby.methods())
    await service.connect()
    await lobby.reopen()
    service.start(lobby.sweep(), "sweep", fatal=False)


class _Names:
    """Names of rooms that a lobby's next life must know, in a file."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            with open(path, "rb") as file:
                self._names = set(msgspec.json.decode(file.read(), type=list[str]))
        except (OSError, msgspec.DecodeError):  # missing, or no such list
            self._names = set()

    def __contains__(self, room: str) -> bool:
        return room in self._names

    def all(self) -> list[str]:
        return sorted(self._names)

    def add(self, room: str) -> None:
        self._write(self._names | {room})

    def remove(self, room: str) -> None:
        self._write(self._names - {room})

    def _write(self, names: set[str]) -> None:
        if names == self._names:
            return
        with open(self._path + ".new", "wb") as file:
            file.write(msgspec.json.encode(sorted(names)))
        os.replace(self._path + ".new", self._path)
        self._names = names


class Lobby:
    """The live rooms. `failed`: rooms that could not be opened, and why."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.directory = rooms_directory(service.settings)
        self.default = check_room(service.config.get("default_room") or "default")
        self.budget: int | None = service.config.get("budget")
        self.failed: dict[str, str] = {}
        self.archive = Archive(service.peer)
        self.ephemeral = _Names(os.path.join(self.directory, EPHEMERAL))
        self.restoring = _Names(os.path.join(self.directory, RESTORING))
        self._states: dict[str, tuple[str | None, RoomState]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._folding: dict[str, asyncio.Lock] = {}
        self._starting = asyncio.Semaphore(AT_ONCE)

    def methods(self) -> dict[str, Callable[..., Any]]:
        """Name -> handler."""
        return {"open": self.open, "list": self.list_rooms, "show": self.show, "save": self.save, "drop": self.drop}

    async def reopen(self) -> None:
        """Start every room that has a log, and the default room. A room that does not start stops nobody else."""
        rooms = await self._on_disk()
        await asyncio.gather(*(self._start_noting(room) for room in sorted(rooms | {self.default})))

    # -- calls

    @shielded
    async def open(self, call: Call, room: str, ephemeral: bool = False) -> dict[str, Any]:
        """Make sure that the room lives: {room, opened, last, fresh, restored}. A saved transcript of that name comes back
        with a room that had no log (`fresh`); `restored`: how many messages."""
        room = _checked(room)
        async with self._lock(room):
            fresh, count = not os.path.exists(self._path(room)), 0
            # Half a transcript in a log looks like a room that was never saved: it is finished, whoever began it.
            lines, fault = await self.archive.read(room) if fresh or room in self.restoring else ([], "")
            try:
                if fresh and (lines or fault):
                    self.restoring.add(room)
                opened = await self._start(room)
            except (ControlError, OSError) as error:
                raise Refused("RoomFailed", f"the room {room!r} does not start: {error}; see: egghead logs") from None
            if fresh and opened and ephemeral:
                self.ephemeral.add(room)
            if room in self.restoring:
                count = await self._restore(room, lines)
                if fault:
                    notice = {"id": UNREAD, "kind": "notice", "text": _unread(room, fault)}
                    await append_reliably(self.service.peer, room, [notice], 10.0)
                self.restoring.remove(room)
            info = await self._info(room)
        if opened:
            await self._publish("opened", room)
        return {"room": room, "opened": opened, "last": info.get("last", 0), "fresh": fresh, "restored": count}

    async def list_rooms(self, call: Call) -> list[dict[str, Any]]:
        """[{room, last, entries, bytes, opened_at, ephemeral, error?}] of every live room, by name."""
        rooms = sorted(await self._on_disk() | set(self.failed) | {self.default})
        infos = await asyncio.gather(*(self._info(room) for room in rooms))
        return [self._described(room, info) for room, info in zip(rooms, infos, strict=True)]

    async def show(self, call: Call, room: str) -> dict[str, Any]:
        """One room: as in `list`, and members, muted, topic, budget, quiet, default."""
        room = await self._existing(room)
        state = await self._state(room)
        info = self._described(room, await self._info(room))
        members = [
            {"agent": one.agent, "title": one.title, "muted": one.agent in state.muted, "parked": one.parked}
            for one in sorted(state.members.values(), key=lambda member: member.agent)
        ]
        budget = {"limit": state.limit(self.budget), "free": state.free(self.budget), "paused": state.paused}
        return {
            **info,
            "last": state.last,
            "members": members,
            "topic": state.topic,
            "budget": budget,
            "quiet": state.quiet,
            "default": room == self.default,
        }

    @shielded
    async def save(self, call: Call, room: str) -> dict[str, Any]:
        """Write the transcript record: {room, record, messages}."""
        room = await self._existing(room)
        async with self._lock(room):
            return await self._save(await self._existing(room))

    @shielded
    async def drop(self, call: Call, room: str, save: bool = True) -> dict[str, Any]:
        """Close a room for good, after saving its transcript unless told not to: {room, record}."""
        room = await self._existing(room)
        if room == self.default:
            raise Refused("DefaultRoom", f"{room!r} is the default room and always exists; drop another one")
        async with self._lock(room):
            return await self._drop(await self._existing(room), save)  # somebody else may have dropped it meanwhile

    # -- rooms

    async def sweep(self) -> None:
        """Save and close ephemeral rooms that nobody has used for a while."""
        while True:
            for room in self.ephemeral.all():
                try:
                    await self._close_idle(room)
                except (Refused, IpcError, ControlError, OSError) as error:
                    logger.warning("ephemeral room %s stays open: %s", room, error)
            await asyncio.sleep(SWEEP)

    async def _close_idle(self, room: str) -> None:
        async with self._lock(room):
            idle = time.time() - os.stat(self._path(room)).st_mtime > IDLE_CLOSE
            if idle and (await self._state(room)).quiet:  # a model may think for long before it says a word
                await self._drop(room, True)

    async def _drop(self, room: str, save: bool) -> dict[str, Any]:
        await self._hush(room)
        record = (await self._save(room))["record"] if save else None
        try:
            await self.service.control.terminate_child(SUPERVISOR, room)
        except ControlError as error:
            # A room that still runs would go on writing to the log that is moved away.
            if error.code != "not_found":
                raise Refused("RoomFailed", f"the room {room!r} does not stop: {error}; try again") from None
        if save:
            record = await self._save_late(room) or record
        await asyncio.to_thread(self._set_aside, room)
        self.ephemeral.remove(room)
        self.restoring.remove(room)
        self.failed.pop(room, None)
        await self._publish("dropped", room)
        return {"room": room, "record": record}

    async def _hush(self, room: str) -> None:
        """End the turns of a room that is to be dropped: nobody would hear them, and their models would go on for money.
        A room or an agent that does not answer holds up no drop for long; a coordinator hardly any, for all that is worth
        keeping are the last words of the agents, which they write themselves."""
        with contextlib.suppress(Refused, IpcError, TimeoutError):
            async with asyncio.timeout(HUSH):
                if (await self._state(room)).quiet:
                    return
                await append_reliably(self.service.peer, room, [{"kind": "halted"}], HUSH)  # what waits begins no turn
                backoff, silent = Backoff(), None
                while (state := await self._state(room)).turns or state.round:
                    if any(turn.answer is None for turn in state.turns.values()):
                        silent = None
                    elif silent is None:
                        silent = time.monotonic()
                    elif time.monotonic() - silent > ENDS:
                        logger.warning("room %s: the coordinator does not end the round; dropped without it", room)
                        return
                    await asyncio.sleep(min(backoff.take(), ENDS / 4))

    async def _save(self, room: str) -> dict[str, Any]:
        said = await self._said(room)
        if not said.lines:
            return {"room": room, "record": None, "messages": 0}
        record = await self.archive.written(room, said)
        entry = {"kind": "saved", "record": record, "messages": len(said.lines)}
        await append_reliably(self.service.peer, room, [entry], 10.0)
        await self._publish("saved", room)
        return {"room": room, "record": record, "messages": len(said.lines)}

    async def _save_late(self, room: str) -> str | None:
        """Add what was said between the save and the end of the room, which people were told is kept: the record if there
        was something. When it cannot be written, the room is started again."""
        try:
            said = await asyncio.to_thread(self._on_file, room)
            return await self.archive.written(room, said) if len(said.lines) > said.saved else None
        except (LogError, OSError) as error:
            await self._start_noting(room)
            raise Refused("RoomFailed", f"the log of {room!r} cannot be read: {error}; try again") from None
        except Refused:
            await self._start_noting(room)
            raise

    def _on_file(self, room: str) -> Said:
        """What the log of a room that has ended holds."""
        said, last = Said(), 0
        if os.path.exists(self._path(room)):
            log = RoomLog(self._path(room))
            try:
                while entries := log.read(last, PAGE):
                    last = said.take(entries)
            finally:
                log.close()
        return said

    async def _restore(self, room: str, lines: list[Line]) -> int:
        """Bring back what a transcript says, behind what was brought back before: how many messages."""
        entries = restored(lines)[(await self._said(room)).restored :]
        while entries:
            characters = itertools.accumulate(len(entry["text"]) for entry in entries[:BATCH])
            most = max(1, sum(together <= BATCH_TEXT for together in characters))  # a frame of the bus holds 16 MiB
            await append_reliably(self.service.peer, room, entries[:most], 10.0)
            entries = entries[most:]
        return len(lines)

    async def _said(self, room: str) -> Said:
        """What the log of a room that runs holds. Raises Refused when it does not answer."""
        said, last = Said(), 0
        try:
            while True:
                page = await self.service.peer.call(f"rooms/{room}", "since", seq=last, limit=PAGE, timeout=10.0)
                last = said.take(page["entries"]) or last
                if not page["more"]:
                    return said
        except IpcError as error:
            raise Refused("RoomDown", f"the room {room!r} does not answer now: {error}; try again") from None

    async def _state(self, room: str) -> RoomState:
        """The state of a room; what was folded before is not read again. Who asks at the same time waits for the first, and
        whoever gives up leaves what was folded to the next: a long log would be read once for each of them."""
        async with self._folding.setdefault(room, asyncio.Lock()):
            first, state = self._states.get(room, (None, empty(room)))
            more = True
            while more:
                try:
                    page = await self.service.peer.call(
                        f"rooms/{room}", "since", seq=state.last, limit=PAGE, timeout=10.0
                    )
                except IpcError as error:
                    raise Refused("RoomDown", f"the room {room!r} does not answer now: {error}; try again") from None
                if first not in (None, page["first"]):
                    first, state = None, empty(room)  # another log under the same name
                    continue
                first, state, more = page["first"], fold_all(state, page["entries"]), page["more"]
                self._states.pop(room, None)
                self._states[room] = (first, state)
            while len(self._states) > KEPT_STATES:
                self._states.pop(next(iter(self._states)))
            return state

    async def _start(self, room: str) -> bool:
        """Start the room's process; False when it ran already. Raises ControlError."""
        async with self._starting:
            try:
                await self.service.control.start_child(SUPERVISOR, {"id": room, "args": {"room": room}})
            except ControlError as error:
                if error.code not in ALREADY:
                    raise
                if not await self._parked(room):
                    return False
                # It crashed too often once; who asks for it now has perhaps mended the reason.
                await self.service.control.unpark(SUPERVISOR, room)
        self.failed.pop(room, None)
        return True

    async def _parked(self, room: str) -> bool:
        children = await self.service.control.which_children(SUPERVISOR)
        return any(str(row[0]) == room and row[1] == "parked" for row in children)

    async def _start_noting(self, room: str) -> None:
        try:
            await self._start(room)
        except ControlError as error:
            logger.error("room %s does not start: %s", room, error)
            self.failed[room] = str(error)

    async def _info(self, room: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = await self.service.peer.call(f"rooms/{room}", "info", timeout=3.0)
        except IpcError as error:
            return {"error": str(error)}
        return found

    def _described(self, room: str, info: dict[str, Any]) -> dict[str, Any]:
        shown = {name: info.get(name) for name in ("last", "entries", "bytes", "opened_at")}
        described = {"room": room, **shown, "ephemeral": room in self.ephemeral}
        error = self.failed.get(room) or info.get("error")
        return {**described, "error": error} if error and info.get("last") is None else described

    async def _existing(self, room: str) -> str:
        room = _checked(room)
        if room == self.default or room in self.failed or os.path.exists(self._path(room)):
            return room
        import difflib

        near = difflib.get_close_matches(room, await self._on_disk(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "; see: egghead rooms list"
        raise Refused("NoSuchRoom", f"there is no room {room!r}{hint}")

    async def _publish(self, what: str, room: str) -> None:
        try:
            await self.service.peer.publish(f"lobby/{what}/", {"room": room})
        except IpcError as error:
            logger.info("lobby/%s/ of %s was not published: %s", what, room, error)

    # -- files

    def _lock(self, room: str) -> asyncio.Lock:
        return self._locks.setdefault(room, asyncio.Lock())

    def _path(self, room: str) -> str:
        return os.path.join(self.directory, file_name(room))

    async def _on_disk(self) -> set[str]:
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return set()
        return {room for room in map(room_of_file, names) if room is not None}

    def _set_aside(self, room: str) -> None:
        """Move the log out of the way; the newest dropped logs are kept, because a drop is easily regretted."""
        folder = os.path.join(self.directory, DROPPED)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        stem = file_name(room).removesuffix(".jsonl")
        now = time.time_ns()
        for part in ("", ".damaged"):
            with contextlib.suppress(FileNotFoundError):
                os.replace(self._path(room) + part, os.path.join(folder, f"{now}-{stem}.jsonl{part}"))
        for old in sorted(os.listdir(folder))[:-KEPT_DROPPED]:
            os.unlink(os.path.join(folder, old))


def _unread(room: str, fault: str) -> str:
    return (
        f"the transcript [[chat/{room}]] could not be read: {fault.rstrip('.')}. It is left as it is, also by `/save`. To have "
        "it back here, mend the file, then `/drop --no-save` this room and open it again"
    )


def _checked(room: object) -> str:
    try:
        return check_room(room)
    except RoomNameError as error:
        raise Refused("BadRoomName", str(error)) from None
