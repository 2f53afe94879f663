"""What tests of handoffs share: scout in a room with a coordinator, models for it, and what is told of its handoffs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from egghead.rooms.activation import Policy
from tests.agents.stage import Stage, stage, text

WINDOW = 4_000
FAST = Policy(planned_period=0.2)
Events = AsyncGenerator[dict[str, Any], None]


def stop(used: int, reason: str = "end_turn") -> dict[str, Any]:
    return {"type": "stop", "reason": reason, "window": WINDOW, "usage": {"input": used, "output": 1}}


def last_of(request: dict[str, Any]) -> str:
    return str(request["messages"][-1]["content"][-1].get("text", ""))


def is_note(request: dict[str, Any]) -> bool:
    return bool(request["mode"] == "handoff")


def everything(request: dict[str, Any]) -> str:
    """All that the model is shown."""
    blocks = [block for message in request["messages"] for block in message["content"]]
    return str(request["system"]) + "\n".join(str(block.get("text") or block.get("content") or "") for block in blocks)


def says(words: Callable[[dict[str, Any]], str], used: int = 10) -> Callable[[dict[str, Any]], Events]:
    """A model that says what a function of the request gives, and counts `used` tokens."""

    async def reply(request: dict[str, Any]) -> Events:
        yield text(words(request))
        yield stop(used)

    return reply


@contextlib.asynccontextmanager
async def scene(policy: Policy = FAST, **changes: Any) -> AsyncIterator[Stage]:
    """Scout in a room with a coordinator."""
    async with stage() as s:
        s.notes.agent("scout", "records.read", "records.create")
        await s.coordinate(policy)
        await s.append_joined()
        await s.agent(**changes)
        yield s


async def asked(s: Stage) -> None:
    await s.append("ada", {"kind": "handoff_asked", "agent": "scout", "author": "ada"})


async def says_and_waits(s: Stage, words: str, room: str = "default") -> dict[str, Any]:
    """A message of ada's and what scout answers to it."""
    before = len(await s.log(room))
    await s.say(words, room=room)
    return await s.until("message", room=room, after=before, by="agents/scout")


async def over(s: Stage, count: int = 1) -> list[dict[str, Any]]:
    """The handoffs that are over, waited for."""
    seq = 0
    found: list[dict[str, Any]] = []
    while len(found) < count:
        found.append(await s.until("handoff_ended", after=seq))
        seq = found[-1]["seq"]
    return found


def deliberations(s: Stage) -> list[Any]:
    return [s.notes.notes.get(row["id"]) for row in s.notes.notes.index.list("deliberation", None, None, "id", None)]


async def of_kind(s: Stage, kind: str) -> list[dict[str, Any]]:
    return [entry for entry in await s.log() if entry["kind"] == kind]
