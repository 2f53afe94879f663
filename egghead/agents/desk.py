"""What people ask of the roster (park, restart, approve), and who has reached a limit of the day. The roster makes it so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from egghead.agents.reconcile import FAILED, PARKED, Running, entry_id
from egghead.agents.record import AgentSpec, spend_limits
from egghead.agents.steward import Steward
from egghead.client.follow import append_reliably
from egghead.llm.usage import EVERYBODY, paused
from ipc import Call, IpcError, Peer, Refused, shielded

logger = logging.getLogger("egghead.roster")

# How long the roster waits, in all its parts.
ASK = 10.0  # seconds for one call
APPEND_DEADLINE = 30.0  # seconds for one entry in a room's log
AGAIN = 3.0  # seconds until a room that took no entry is tried again: its disk was full, it did not answer


class Office(Protocol):
    """What the desk needs of the roster."""

    peer: Peer
    steward: Steward
    desired: dict[str, AgentSpec]
    actual: dict[str, Running]
    changed: Any

    def again(self, id: str) -> Awaitable[None]: ...
    def bring(self, id: str) -> Awaitable[None]: ...
    @property
    def notices(self) -> Notices: ...
    def tell_rooms(self, id: str, entry: Mapping[str, Any]) -> Awaitable[None]: ...


class Notices:
    """What the default room is told, now or when it can be told; the id makes it once."""

    def __init__(self, peer: Peer, room: str) -> None:
        self._peer = peer
        self._room = room
        self._untold: dict[str, str] = {}
        self._some = asyncio.Event()

    def tell(self, id: str, text: str) -> None:
        """Put it on the list."""
        self._untold[id] = text
        self._some.set()

    async def run(self) -> None:
        """Tell what is on the list, for ever."""
        while True:
            await self._some.wait()
            self._some.clear()
            for id, text in list(self._untold.items()):
                try:
                    entry = {"id": id, "kind": "notice", "text": text}
                    await append_reliably(self._peer, self._room, [entry], APPEND_DEADLINE)
                    del self._untold[id]
                except IpcError as error:
                    logger.warning("room=%s was not told, it is tried again: %s", self._room, error)
            if self._untold:
                self._some.set()
                await asyncio.sleep(AGAIN)  # its disk is full or it does not answer; nobody says when that is over


class Desk:
    """The calls of people about one agent."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def methods(self) -> dict[str, Callable[..., Any]]:
        """Name -> handler."""
        return {
            "approved": self.approved,
            "approve": self.approve,
            "park": self.park,
            "unpark": self.unpark,
            "restart": self.restart,
        }

    async def approved(self, call: Call, agent: str) -> list[str]:
        """The grants of medium and high risk of this agent that count, when `review_grants` is `hold`."""
        return self._office.steward.approved(agent, self._office.desired.get(agent))

    @shielded
    async def approve(self, call: Call, agent: str) -> dict[str, Any]:
        """All grants that the agent's note has now count from now on: {agent, approved: the ones that waited}."""
        spec = self._known(agent)
        try:
            waited = await self._office.steward.approve(spec)
        except OSError as error:
            raise _not_kept(error) from None
        self._office.changed.set()
        if waited:
            text = f"{spec.title} may now use {'  '.join(waited)}: approved."
            self._office.notices.tell(entry_id("approved", agent, f"{waited} {spec.capabilities} {call.caller}"), text)
        return {"agent": agent, "approved": list(waited)}

    @shielded
    async def park(self, call: Call, agent: str, reason: str = "") -> dict[str, Any]:
        """Stop the agent and keep it stopped, over restarts too, until somebody unparks it: {agent, parked}."""
        self._known(agent)
        steward = self._office.steward
        why = " ".join(str(reason).split()) or "a person has parked it"
        try:
            await steward.decide(steward.decisions.park(agent, why))
        except OSError as error:
            raise _not_kept(error) from None
        await self._office.bring(agent)
        return {"agent": agent, "parked": why}

    @shielded
    async def unpark(self, call: Call, agent: str) -> dict[str, Any]:
        """Let an agent run again, whoever has parked it: {agent, state}. Refused: NotParked."""
        self._known(agent)
        steward, child = self._office.steward, self._office.actual.get(agent)
        stuck = child is not None and child.state in (PARKED, FAILED)
        if agent in steward.decisions.parked:
            try:
                await steward.decide(steward.decisions.unpark(agent))
            except OSError as error:
                raise _not_kept(error) from None
        elif not stuck:
            raise Refused("NotParked", f"{agent!r} is not parked; to start it anew: egghead agents restart {agent}")
        if stuck:
            await self._office.again(agent)
        await self._office.bring(agent)
        return {"agent": agent, "state": self._state(agent)}

    @shielded
    async def restart(self, call: Call, agent: str) -> dict[str, Any]:
        """Stop the agent's process, which finishes its turns, and start a new one: {agent, state}. Refused: Parked."""
        self._known(agent)
        parked = self._office.steward.decisions.parked.get(agent)
        if parked is not None:
            raise Refused("Parked", f"{agent!r} is parked ({parked}); first: egghead agents unpark {agent}")
        await self._office.again(agent)
        await self._office.bring(agent)
        return {"agent": agent, "state": self._state(agent)}

    def _known(self, agent: str) -> AgentSpec:
        spec = self._office.desired.get(agent)
        if spec is None:
            raise Refused("NoSuchAgent", f"there is no agent {agent!r}; see: egghead agents list")
        return spec

    def _state(self, agent: str) -> str:
        child = self._office.actual.get(agent)
        return child.state if child is not None else "starting"


def _not_kept(error: OSError) -> Refused:
    return Refused("NotKept", f"the decision could not be written, so it is not made: {error}")


class Pauses:
    """Which agents have reached a limit of the day, as `llm` tells."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._paused: dict[str, str] = {}
        self._told: dict[str, Any] = {}

    async def limits(self, call: Call) -> dict[str, Any]:
        """Agent -> {title, limits} of those whose notes have limits; published as `limits/` when it changes."""
        return self._limits()

    def _limits(self) -> dict[str, Any]:
        found = {id: (spec.title, spend_limits(spec)) for id, spec in self._office.desired.items()}
        return {id: {"title": title, "limits": limits} for id, (title, limits) in found.items() if limits}

    async def publish_limits(self) -> None:
        """Tell `llm` what the notes allow, when that has changed. Raises IpcError."""
        now = self._limits()
        if now != self._told:
            await self._office.peer.publish("limits/", {"limits": now})
            self._told = now

    def of(self, agent: str) -> str | None:
        """Why this agent is paused, None when it is not."""
        return paused(self._paused, agent)

    async def watch(self, events: Any) -> None:
        """Follow `usage/paused/`."""
        async for event in events:
            if isinstance(event.data, Mapping):
                await self._take(event.data)
            elif event.gap:
                await self._ask()

    async def watch_llm(self) -> None:
        """Ask whoever comes up."""
        async for change in self._office.peer.monitor("llm"):
            if change.up:
                await self._ask()

    async def _ask(self) -> None:
        try:
            await self._take(await self._office.peer.call("llm", "paused", timeout=ASK))
        except IpcError as error:
            logger.info("who is paused stays as it was: %s", error)  # what changes is published

    async def _take(self, told: Mapping[str, Any]) -> None:
        """Who has reached a limit is told so in its rooms, once a day and limit; and when it may go on."""
        before, self._paused = self._paused, {str(id): str(why) for id, why in dict(told.get("paused") or {}).items()}
        self._office.changed.set()
        for id in sorted(before.keys() | self._paused.keys()):
            now, was = self._paused.get(id), before.get(id)
            if now is not None and was is None:
                about, text = f"{told.get('day')} {now}", now
            elif now is None:
                about, text = (
                    f"{told.get('day')} {was} over",
                    f"{self._title(id)} may go on: no limit is reached any more.",
                )
            else:
                continue
            await self._office.tell_rooms(id, {"id": entry_id("paused", id, about), "kind": "notice", "text": text})

    def _title(self, id: str) -> str:
        if id == EVERYBODY:
            return "Everybody"
        return self._office.desired[id].title if id in self._office.desired else id
