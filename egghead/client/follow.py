"""Following a room: each entry exactly once, in order, whatever restarts meanwhile; and appending so that it is there.

Everything that reads a room live stands on `follow`; everything that must not lose a word stands on `append_reliably`.
No rendering and no policy here. The law of following is in `Tail`, which is pure.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from egghead.rooms.entries import log_id
from egghead.rooms.names import AGENT_PREFIX
from egghead.rooms.ulid import ulid
from ipc import CallTimeout, Event, IpcError, Overloaded, Peer, PeerDown, RemoteError

FIRST_WAIT, LONGEST_WAIT = 0.02, 1.0  # seconds between two tries while a room is away
PAGE = 500
ATTEMPT = 10.0  # seconds for one call
LOBBY = 2.0  # seconds for the lobby to say whether a room is there

AWAY = (PeerDown, CallTimeout, Overloaded)  # what passes by waiting


class RoomReplaced(Exception):
    """The room was dropped and opened again: what follows belongs to another conversation."""

    def __init__(self, room: str) -> None:
        super().__init__(
            f"the room {room!r} was opened anew: it was dropped, or its log was cut because of damage (see: egghead logs)"
        )
        self.room = room


class RoomDropped(Exception):
    """Somebody dropped the room: nothing follows, and waiting for it would be for ever."""

    def __init__(self, room: str) -> None:
        super().__init__(f"the room {room!r} was dropped; its transcript is the note [[chat/{room}]] if it was saved")
        self.room = room


class Tail:
    """How far a reader is: takes entries from events and pages, lets through what comes next and notices holes."""

    def __init__(self, room: str, last: int = 0) -> None:
        self.room = room
        self.last = last
        self.first: str | None = None  # of the log's first entry (`log_id`): tells a room from its successor

    def event(self, entry: dict[str, Any]) -> bool | None:
        """True: this is the next entry. False: known already. None: something is missing before it.

        Raises RoomReplaced for the first entry of another log.
        """
        seq = entry["seq"]
        if seq == 1 and self.first is not None and log_id(entry) != self.first:
            raise RoomReplaced(self.room)
        if seq == self.last + 1:
            self._take(seq, entry)
            return True
        return False if seq <= self.last else None

    def page(self, result: dict[str, Any]) -> list[dict[str, Any]]:
        """The new entries of a `since` result. Raises RoomReplaced when it is another log than before."""
        first = result.get("first")
        if result["last"] < self.last or (self.first is not None and first != self.first):
            raise RoomReplaced(self.room)
        if first is not None:
            self.first = first
        fresh = []
        for entry in result["entries"]:
            if entry["seq"] == self.last + 1:
                self._take(entry["seq"], entry)
                fresh.append(entry)
        return fresh

    def _take(self, seq: int, entry: dict[str, Any]) -> None:
        self.last = seq
        if seq == 1:
            self.first = log_id(entry)


class Backoff:
    """Pauses that grow from `first` to `longest` seconds."""

    def __init__(self, first: float = FIRST_WAIT, longest: float = LONGEST_WAIT) -> None:
        self._first = self._next = first
        self._longest = longest

    def reset(self) -> None:
        """Begin with short pauses again."""
        self._next = self._first

    def take(self) -> float:
        """The next pause in seconds."""
        pause, self._next = self._next, min(self._next * 2, self._longest)
        return pause


async def follow(peer: Peer, room: str, since: int = 0) -> AsyncIterator[dict[str, Any]]:
    """Yield every entry with seq > `since`, once, in order, for ever. Waits while the room or the bus is away.

    Raises RoomReplaced when the room was dropped and opened again, ipc.Forbidden when the caller may not read it.
    """
    subscription = await peer.subscribe(f"log/{room}/")
    tail = Tail(room, since)
    try:
        async for entry in catch_up(peer, tail):
            yield entry
        async for event in subscription:
            fresh = tail.event(event.data) if event.data is not None else None
            if fresh:
                yield event.data
            if fresh is None or event.gap:
                async for entry in catch_up(peer, tail):
                    yield entry
    finally:
        subscription.close()


async def catch_up(peer: Peer, tail: Tail) -> AsyncIterator[dict[str, Any]]:
    """Yield what the log holds behind the tail, waiting until the room answers."""
    backoff = Backoff()
    while True:
        try:
            result = await peer.call(f"rooms/{tail.room}", "since", seq=tail.last, limit=PAGE, timeout=ATTEMPT)
        except AWAY:
            await asyncio.sleep(backoff.take())
            continue
        backoff.reset()
        for entry in tail.page(result):
            yield entry
        if not result["more"]:
            return


async def dropped(peer: Peer, room: str) -> None:
    """Returns when somebody has dropped the room."""
    subscription = await peer.subscribe("lobby/dropped/")
    try:
        async for event in subscription:
            if isinstance(event.data, dict) and event.data.get("room") == room:
                return
    finally:
        subscription.close()


async def text(peer: Peer, room: str) -> AsyncIterator[dict[str, Any]]:
    """Yield `{turn, agent, author, text, n}` while agents write. May lose pieces; the entry of the turn has the whole text."""
    subscription = await peer.subscribe(f"text/{room}/")
    try:
        async for event in subscription:
            piece = piece_of(event)
            if piece is not None:
                yield piece
    finally:
        subscription.close()


def piece_of(event: Event) -> dict[str, Any] | None:
    """What an agent writes at this moment; None for anything else. Every agent may publish here: no reader falls over
    what one made up, and nobody's words are shown as another's."""
    data = event.data
    if not isinstance(data, dict) or not all(isinstance(data.get(key), str) for key in ("turn", "agent", "text")):
        return None
    return data if event.by == f"{AGENT_PREFIX}{data['agent']}" else None


async def still_there(peer: Peer, room: str) -> None:
    """Raises RoomDropped when the lobby knows no such room. When it cannot say, the room is taken to be restarting."""
    try:
        await peer.call("lobby", "show", room=room, timeout=LOBBY)
    except RemoteError as error:
        if error.type == "NoSuchRoom":
            raise RoomDropped(room) from None
    except IpcError:
        pass


async def append_reliably(
    peer: Peer,
    room: str,
    entries: Sequence[dict[str, Any]],
    deadline: float = 30.0,
    away: Callable[[Peer, str], Awaitable[None]] | None = None,
) -> list[dict[str, Any]]:
    """Append entries; return them as stored. Tries again, with the same ids, while room or bus are away.

    `deadline`: seconds in all. After it the last error is raised (PeerDown, CallTimeout, Overloaded): the outcome is
    then unknown, and calling again with the same entries is still safe. A refusal (RemoteError) is raised at once.
    `away`: awaited each time that the room is found away; what it raises ends the waiting (`still_there`).
    """
    batch = [entry if "id" in entry else {**entry, "id": ulid()} for entry in entries]
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline
    backoff = Backoff()
    while True:
        left = end - loop.time()
        try:
            result = await peer.call(f"rooms/{room}", "append", entries=batch, timeout=max(0.05, min(left, ATTEMPT)))
        except AWAY as error:
            pause = backoff.take()
            if loop.time() + pause >= end:
                raise
            if away is not None and isinstance(error, PeerDown) and error.name != "bus":
                await away(peer, room)
            await asyncio.sleep(pause)  # the room is being started again
            continue
        stored: list[dict[str, Any]] = result["entries"]
        return stored
