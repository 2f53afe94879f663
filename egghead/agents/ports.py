"""The ports of one agent's turns on the bus: append, complete, run a tool, publish. Part of the process `agents/<id>`.

What is tried again, for how long, and what is told when it does not work; no decision about a turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any

from egghead.agents.turn import ModelFailed, TurnOver, WindowFull
from egghead.agents.wording import describe
from egghead.client.follow import AWAY, append_reliably
from ipc import CallTimeout, IpcError, Overloaded, Peer, PeerDown, RemoteError

logger = logging.getLogger("egghead.agents")

TOOL_TIMEOUT = 120.0
MODEL_TIMEOUT = 600.0
APPEND_DEADLINE = 30.0
GATEWAY_LOST = 6.0  # seconds to wait for our own end after the gateway died in mid-answer
TELL_AFTER = 1.0  # seconds of one of these pauses that the room is told
AGAIN = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0)  # seconds between tries while a process is restarting


class LeftOpen(Exception):
    """The turn cannot go on in this process and is not ended: whoever comes after us gets it again."""


async def pause_for(stop: asyncio.Event, seconds: float) -> None:
    """Wait for another process to come back, but not while we are asked to stop: then LeftOpen is raised."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    if stop.is_set():
        raise LeftOpen("the process is stopping")


class BusPorts:
    """The ports of one turn in one room, on the bus. `turn` is empty for what happens between turns; `author` is who
    people see writing; `stop` is set when the process is asked to end."""

    def __init__(
        self, peer: Peer, stop: asyncio.Event, agent: str, room: str, turn: str = "", author: str = ""
    ) -> None:
        self.peer = peer
        self.stop = stop
        self.agent = agent
        self.room = room
        self.turn = turn
        self.author = author or agent

    async def pause(self, seconds: float) -> None:
        await pause_for(self.stop, seconds)

    async def append(self, entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        while True:
            try:
                return await append_reliably(self.peer, self.room, list(entries), APPEND_DEADLINE)
            except RemoteError as error:
                if error.type == "TurnClosed":
                    raise TurnOver(error.message) from None
                if error.type != "LogFull":
                    raise
                logger.error("room=%s takes no entry: %s", self.room, error.message)
                await self.pause(AGAIN[-1])  # nobody can end the turn on a full disk: it waits for space
            except AWAY as error:
                # The room's own supervisor decides how long it may be away; the entry waits for it.
                logger.warning("room=%s takes no entry: %s", self.room, error)
                await self.pause(AGAIN[-1])

    @contextlib.asynccontextmanager
    async def complete(self, request: dict[str, Any]) -> AsyncIterator[AsyncIterator[Mapping[str, Any]]]:
        async with contextlib.aclosing(self._events(request)) as events:  # closing it cancels the provider's work
            yield events

    async def _events(self, request: dict[str, Any]) -> AsyncGenerator[Mapping[str, Any], None]:
        """The stream of one model call. A gateway that is not there yet, or for which so much waits
        on the bus that a call was refused, is asked again. One that dies in mid-answer
        takes this process with it in the tree; that is waited for, because then the turn is given again."""
        begun = False
        for pause in (*AGAIN, None):
            try:
                async with self.peer.stream("llm", "complete", request=request, timeout=MODEL_TIMEOUT) as chunks:
                    async for chunk in chunks:
                        begun = True
                        yield chunk
                    return
            except (PeerDown, Overloaded) as down:
                # Without the bus for a moment we live on, and end the turn ourselves.
                if begun and isinstance(down, PeerDown) and down.name == "llm":
                    await self.pause(GATEWAY_LOST)
                if begun or pause is None:
                    what = "has too much to do" if isinstance(down, Overloaded) else "went away in this turn"
                    raise ModelFailed(f"The model gateway {what} ({down}). Ask again.") from None
                if pause >= TELL_AFTER:
                    yield {"type": "waiting", "provider": "llm", "place": 0, "why": f"{down}; it is asked again"}
                await self.pause(pause)
            except RemoteError as error:
                raise (WindowFull if error.type == "ContextOverflow" else ModelFailed)(error.message) from None
            except CallTimeout:
                seconds = f"{MODEL_TIMEOUT:.0f} s"
                text = f"The answer was not whole within {seconds}. Ask for less at once, or try another model."
                raise ModelFailed(text) from None
            except IpcError as error:
                raise ModelFailed(f"The model gateway did not answer: {error}.") from None

    async def run_tool(self, call: str, tool: str, input: Any, read_only: bool) -> Mapping[str, Any]:
        params = {"room": self.room, "turn": self.turn, "call": call, "tool": tool, "input": input}
        for pause in (*AGAIN[:5], None):
            try:
                answer: Mapping[str, Any] = await self.peer.call("tools", "run", timeout=TOOL_TIMEOUT, **params)
                return answer
            except AWAY as error:
                if not read_only:
                    text = f"{error}. Whether it took effect is unknown: look before you repeat it."
                    return {
                        "outcome": "unknown",
                        "content": text,
                        "summary": f"{describe(tool, input)}: outcome unknown",
                    }
                if pause is None or isinstance(error, CallTimeout):
                    return {"outcome": "error", "content": f"{error}.", "summary": f"{describe(tool, input)}: {error}"}
                await self.pause(pause)
            except IpcError as error:
                return {"outcome": "error", "content": str(error), "summary": f"{describe(tool, input)}: {error}"}
        raise AssertionError("the last try returns")

    async def publish(self, text: str, n: int, waits: Mapping[str, Any] | None = None) -> None:
        # What is streamed is only shown; it is replaced by the entry, so a lost piece costs nothing.
        with contextlib.suppress(IpcError):
            data = {"turn": self.turn, "agent": self.agent, "author": self.author, "text": text, "n": n}
            await self.peer.publish(f"text/{self.room}/", data | ({"waits": dict(waits)} if waits else {}))
