"""One message in a room and everything it causes, until its round has ended. A fold over the log; no printing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from egghead.client.connection import Client
from egghead.client.follow import append_reliably, follow
from egghead.rooms.entries import new_id


@dataclass(frozen=True)
class Said:
    """Something that happened: an entry of the log, or (`entry` None) more text of a turn that is being written."""

    entry: dict[str, Any] | None
    turn: str | None = None
    agent: str | None = None
    text: str = ""


class Round:
    """Follows one posted message to the `round_ended` that answers it. `message` is the id of the entry posted."""

    def __init__(self, message: str) -> None:
        self.message = message
        self.round: str | None = None
        self.turns: dict[str, str] = {}
        self.ended = False
        self.outcomes: list[dict[str, Any]] = []

    def take(self, entry: dict[str, Any]) -> None:
        """Folds one entry of the room's log."""
        kind = entry["kind"]
        if kind == "round_planned" and entry["message"] == self.message:
            self.round = entry["round"]
        elif kind == "turn_started" and entry["round"] == self.round:
            self.turns[entry["turn"]] = entry["agent"]
        elif kind == "turn_ended" and entry["turn"] in self.turns:
            self.outcomes.append(entry)
        elif kind == "round_ended" and self.round is not None and entry["round"] == self.round:
            self.ended = True


async def post(client: Client, room: str, text: str, author: str, deadline: float = 30.0) -> dict[str, Any]:
    """Posts a message; returns the stored entry. It is in the log once, however often the bus or the room dies."""
    entry = {"id": new_id(), "kind": "message", "author": author, "text": text}
    stored = await append_reliably(client.peer, room, [entry], deadline)
    return dict(stored[0])


async def converse(
    client: Client, room: str, text: str, author: str, timeout: float = 300.0
) -> AsyncGenerator[Said, None]:
    """Posts `text` and yields what follows, the posted entry first, until the round of that message has ended.

    Entries come in the log's order, each once; streamed text may be lost when a process dies (the final entry has it
    all). Raises TimeoutError when the round does not end in `timeout` seconds.
    """
    queue: asyncio.Queue[Said | BaseException] = asyncio.Queue()

    async def stream() -> None:
        subscription = await client.peer.subscribe(f"text/{room}/")
        subscribed.set_result(None)
        async for event in subscription:
            if event.data is not None:
                data = event.data
                queue.put_nowait(Said(None, data.get("turn"), data.get("agent"), data.get("text", "")))

    async def entries(since: int) -> None:
        async for entry in follow(client.peer, room, since=since):
            queue.put_nowait(Said(entry))

    async def guarded(work: Any) -> None:
        try:
            await work
        except Exception as error:  # handed to the reader of the queue, who raises it
            queue.put_nowait(error)

    subscribed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    tasks = [asyncio.create_task(guarded(stream()))]
    try:
        async with asyncio.timeout(timeout):
            await asyncio.wait([subscribed, tasks[0]], return_when=asyncio.FIRST_COMPLETED)
            posted = await post(client, room, text, author)
            tasks.append(asyncio.create_task(guarded(entries(posted["seq"] - 1))))
            state = Round(posted["id"])
            while not state.ended:
                said = await queue.get()
                if isinstance(said, BaseException):
                    raise said
                if said.entry is not None:
                    state.take(said.entry)
                yield said
    finally:
        subscribed.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
