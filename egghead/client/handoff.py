"""Having an agent hand off, in one room or wherever it has spoken, and waiting for how that ends. No printing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from egghead.client.connection import Client, sentence
from egghead.client.follow import RoomDropped, RoomReplaced, Tail, append_reliably, catch_up, dropped, follow
from egghead.errors import EggheadError, ExitCode, NodeError
from egghead.rooms.entries import new_id
from egghead.rooms.fold import fold
from egghead.rooms.state import empty
from ipc import IpcError


async def spoken_in(client: Client, agent: str) -> list[str]:
    """The live rooms in which the agent has said something since it last handed off."""
    listed = await client.call("lobby", "list")
    rooms = [str(row["room"]) for row in listed if "error" not in row]
    found = await asyncio.gather(*(_has_spoken(client, room, agent) for room in rooms))
    return [room for room, spoke in zip(rooms, found, strict=True) if spoke]


async def _has_spoken(client: Client, room: str, agent: str) -> bool:
    state, handed = empty(room), 0
    async for entry in catch_up(client.peer, Tail(room)):
        state = fold(state, entry)
        if entry["kind"] == "handoff" and entry["by"] == f"agents/{agent}":
            handed = entry["seq"]
    member = state.members.get(agent)
    return member is not None and member.spoke > handed


async def hand_off(client: Client, agent: str, rooms: Iterable[str], author: str) -> list[dict[str, Any]]:
    """Ask for a handoff in each of these rooms and wait for all: how each ended, with `room`, `outcome` (back, failed) and
    `text`. It ends in a room that is dropped, and when the agent is parked or sent out there.

    Raises EggheadError for a room that there is not, or that the agent is not in.
    """
    return list(await asyncio.gather(*(_in_room(client, agent, room, author) for room in rooms)))


async def _in_room(client: Client, agent: str, room: str, author: str) -> dict[str, Any]:
    await client.call("lobby", "show", room=room)  # a room that is not there would be waited for
    dropping = asyncio.create_task(dropped(client.peer, room))
    asking = asyncio.create_task(_asked(client, agent, room, author))
    try:
        await asyncio.wait({dropping, asking}, return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            return {**asking.result(), "room": room}
        return {"room": room, "outcome": "failed", "text": str(RoomDropped(room))}
    except RoomReplaced as replaced:
        return {"room": room, "outcome": "failed", "text": str(replaced)}
    except IpcError as error:
        raise sentence(error, f"rooms/{room}") from error
    finally:
        for task in (dropping, asking):
            task.cancel()
        await asyncio.gather(dropping, asking, return_exceptions=True)


async def _asked(client: Client, agent: str, room: str, author: str) -> dict[str, Any]:
    """Ask, and wait for what says how it ended."""
    state = empty(room)
    async for entry in catch_up(client.peer, Tail(room)):
        state = fold(state, entry)
    if agent not in state.members:
        raise EggheadError(f"{agent!r} is not in the room {room!r}; see: egghead agents list", ExitCode.NOT_FOUND)
    ask = {"id": new_id(), "kind": "handoff_asked", "agent": agent, "author": author}
    [stored] = await append_reliably(client.peer, room, [ask])
    async for entry in follow(client.peer, room, since=state.last):
        state = fold(state, entry)
        member = state.members.get(agent)
        if entry["seq"] < stored["seq"]:
            continue  # of another handoff
        if entry["kind"] == "handoff_ended" and agent in (entry.get("agent"), str(entry["by"]).removeprefix("agents/")):
            return entry
        if member is None:
            return {"outcome": "failed", "text": f"{agent} is no longer in the room: there is nothing to hand off."}
        if member.parked is not None:
            return {
                "outcome": "failed",
                "text": f"{agent} is parked ({member.parked}); it hands off when it runs again: egghead agents unpark {agent}",
            }
    raise NodeError("the connection to the node was closed before the handoff was over", ExitCode.NO_NODE)
