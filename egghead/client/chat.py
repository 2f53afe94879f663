"""One message in a room and everything it causes, until its round has ended. A fold over the log; no printing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from egghead.client.connection import Client, sentence
from egghead.client.follow import (
    AWAY,
    RoomDropped,
    RoomReplaced,
    Tail,
    append_reliably,
    catch_up,
    dropped,
    follow,
    piece_of,
    still_there,
)
from egghead.errors import EggheadError
from egghead.rooms.entries import new_id
from ipc import IpcError

LAST_WORDS = 0.2  # seconds in which the last entries of a dropped room arrive
LATELY = 500  # entries in which a message is looked for that a client of an earlier node may have posted


@dataclass(frozen=True)
class Said:
    """Something that happened: an entry of the log, or (`entry` None) more text of a turn that is being written.

    `own`: it belongs to the message that was posted, not to what somebody else asked in the same room.
    """

    entry: dict[str, Any] | None
    turn: str | None = None
    agent: str | None = None
    text: str = ""
    own: bool = True
    author: str = ""  # whose text it is, as the entry will say
    waits: Mapping[str, Any] | None = None  # nothing is said yet: what the model call waits for (`tell.waiting`)

    @classmethod
    def of_piece(cls, piece: Mapping[str, Any]) -> Said:
        """More text, as the agent published it."""
        agent = piece.get("agent") or ""
        author, waits = str(piece.get("author") or agent), piece.get("waits")
        told = waits if isinstance(waits, dict) else None
        return cls(None, piece.get("turn"), agent, str(piece.get("text", "")), author=author, waits=told)


class Round:
    """Follows one posted message to the `round_ended` that answers it. `message` is the id of the entry posted."""

    def __init__(self, message: str) -> None:
        self.message = message
        self.round: str | None = None
        self.turns: dict[str, str] = {}
        self.reading: set[str] = set()  # every turn that began after the message: its agent has read it there
        self.ended = False
        self.outcomes: list[dict[str, Any]] = []

    def take(self, entry: dict[str, Any]) -> None:
        """Folds one entry of the room's log."""
        kind = entry["kind"]
        if kind == "round_planned" and entry["message"] == self.message:
            self.round = entry["round"]
        elif kind == "turn_started":
            self.reading.add(entry["turn"])
            if entry["round"] == self.round:
                self.turns[entry["turn"]] = entry["agent"]
        elif kind == "turn_ended" and entry["turn"] in self.turns:
            self.outcomes.append(entry)
        elif kind == "round_ended" and self.round is not None and entry["round"] == self.round:
            self.ended = True

    def owns(self, entry: dict[str, Any]) -> bool:
        """Whether an entry that was taken is about the posted message, or about nobody's in particular.

        A turn of an earlier round that began after the message is: who has answered there is not asked again.
        """
        if entry.get("turn") is not None:
            return entry["turn"] in self.reading  # its `turn_started` too, whatever round it is of
        if entry.get("round") is not None:
            return bool(entry["round"] == self.round)
        return bool(entry["kind"] != "message" or entry["id"] == self.message)


async def post(
    client: Client,
    room: str,
    text: str,
    author: str,
    deadline: float = 30.0,
    message: str | None = None,
    again: bool = False,
) -> dict[str, Any]:
    """Posts a message; returns the stored entry. It is in the log once, however often the bus or the room dies.

    `message`: the id to post it under. `again`: it may have been posted under that id before, by a client that has
    gone, whose entries nobody else can append again: the log is asked first. Raises EggheadError when the room is gone.
    """
    if message is not None and again and (found := await _lately(client, room, message)) is not None:
        return found
    entry = {"id": message or new_id(), "kind": "message", "author": author, "text": text}
    try:
        stored = await append_reliably(client.peer, room, [entry], deadline, still_there)
    except RoomDropped as gone:
        raise EggheadError(str(gone)) from gone
    return dict(stored[0])


async def _lately(client: Client, room: str, message: str) -> dict[str, Any] | None:
    tail = Tail(room)
    try:
        tail.last = max(0, (await client.peer.call(f"rooms/{room}", "info", timeout=10.0))["last"] - LATELY)
    except AWAY:
        return None  # posting waits for the room, and is refused if the id is there
    async for entry in catch_up(client.peer, tail):
        if entry["id"] == message:
            return entry
    return None


async def converse(
    client: Client,
    room: str,
    text: str,
    author: str,
    timeout: float = 300.0,
    message: str | None = None,
    again: bool = False,
) -> AsyncGenerator[Said, None]:
    """Posts `text` and yields what follows, the posted entry first, until the round of that message has ended.

    Entries come in the log's order, each once; streamed text may be lost when a process dies (the final entry has it
    all). `message`, `again`: as for `post`; so it is called once more for the same message after a node has ended.
    Raises TimeoutError when the round does not end in `timeout` seconds, EggheadError when the room refuses or is dropped.
    """
    queue: asyncio.Queue[Said | BaseException] = asyncio.Queue()

    async def stream() -> None:
        subscription = await client.peer.subscribe(f"text/{room}/")
        subscribed.set_result(None)
        async for event in subscription:
            if (piece := piece_of(event)) is not None:
                queue.put_nowait(Said.of_piece(piece))

    async def entries(since: int) -> None:
        async for entry in follow(client.peer, room, since=since):
            queue.put_nowait(Said(entry))

    async def drop() -> None:
        await dropped(client.peer, room)
        await asyncio.sleep(LAST_WORDS)  # what was said before it comes by another way
        raise RoomDropped(room)

    async def guarded(work: Any) -> None:
        try:
            await work
        except Exception as error:  # handed to the reader of the queue, who raises it
            queue.put_nowait(error)

    subscribed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    tasks = [asyncio.create_task(guarded(stream())), asyncio.create_task(guarded(drop()))]
    try:
        async with asyncio.timeout(timeout):
            await asyncio.wait([subscribed, tasks[0]], return_when=asyncio.FIRST_COMPLETED)
            posted = await post(client, room, text, author, message=message, again=again)
            tasks.append(asyncio.create_task(guarded(entries(posted["seq"] - 1))))
            state = Round(posted["id"])
            while not state.ended:
                said = await queue.get()
                if isinstance(said, BaseException):
                    raise said
                if said.entry is not None:
                    state.take(said.entry)
                    yield replace(said, own=state.owns(said.entry))
                else:
                    # Text may come before the entry that says whose it is; the final entry has it all.
                    yield replace(said, own=said.turn in state.reading)
    except IpcError as error:
        raise sentence(error, f"rooms/{room}") from error
    except (RoomReplaced, RoomDropped) as gone:
        raise EggheadError(str(gone)) from gone
    finally:
        subscribed.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
