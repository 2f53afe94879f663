"""Process `tools`: the reference monitor on the bus.

Serves `menu()` and `run(room, turn, call, tool, input)` to agents, each under the name that the bus gives the caller,
and keeps their deliberations: `deliberate(…)`, `deliberation(record)`, `discard(…)`.
Asks `store` and `index`; tells a room of a denial; follows `records/` to forget what it has read. What is allowed is
decided in `egghead.tools.monitor`, not here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from egghead.client.follow import append_reliably
from egghead.processes.common import Service, run
from egghead.rooms.names import agent_of
from egghead.tools import deliberations
from egghead.tools.monitor import Denied, Monitor, Result
from egghead.tools.ports import Refusal, Unavailable
from egghead.tools.reads import Reads
from ipc import Call, Event, Forbidden, IpcError, PeerDown, Refused, RemoteError, shielded

if TYPE_CHECKING:
    from supervisor import Context

logger = logging.getLogger("egghead.tools")

ASK_TIMEOUT = 20.0  # seconds for one question to store or index
TAIL = 500  # entries looked at for the turn of a denial; a turn of 20 rounds of 5 tools writes about 200
DENIAL_DEADLINE = 5.0  # seconds to tell the room of a denial; the agent waits for it, so that the order is right
RESTART_WAIT = (0.05, 0.1, 0.2, 0.4, 0.8)  # seconds between tries while store or index restart; then they are down
READS = frozenset({"approved", "get", "search", "list", "recent", "links", "backlinks", "resolve", "paths"})
_ID = re.compile(r"[A-Za-z0-9_.:~/@+-]{1,90}\Z")


def main(context: Context) -> None:
    run(context, setup)


async def setup(service: Service) -> None:
    tools = ToolsProcess(service)
    service.expose(
        {
            "menu": tools.menu,
            "run": tools.run,
            "provider_tools": tools.provider_tools,
            "deliberate": tools.deliberate,
            "deliberation": tools.deliberation,
            "discard": tools.discard,
        }
    )
    await service.connect()
    service.start(tools.follow(await service.peer.subscribe("records/")), "records")
    for name in ("store", "index"):
        service.start(tools.watch(name), name)


class ToolsProcess:
    """The exposed methods. Holds nothing between calls but what was read a moment ago."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.reads = Reads()
        self.monitor = Monitor(self.ask, hold=service.config.get("review_grants") == "hold", reads=self.reads)

    async def follow(self, changes: AsyncIterator[Event]) -> None:
        """Every change of a note, and every event that was lost, makes old what was read."""
        async for _ in changes:
            self.reads.forget()

    async def watch(self, name: str) -> None:
        """A store that was away may have missed changes; an index that was away may answer before it has everything."""
        async for _ in self.service.peer.monitor(name):
            self.reads.forget()

    async def ask(self, target: str, method: str, /, **params: Any) -> Any:
        """One question to `store` or `index`. A read is asked again while the other restarts; a write is not: it may
        have been carried out."""
        for wait in (*RESTART_WAIT, None):
            try:
                return await self.service.peer.call(target, method, timeout=ASK_TIMEOUT, **params)
            except PeerDown as down:
                if method not in READS or wait is None:
                    raise Unavailable(target, str(down) or "it is down") from None
                await asyncio.sleep(wait)  # it is being started again
            except RemoteError as error:
                raise Refusal(error.type, error.message, error.data) from None
            except Forbidden as error:
                raise Unavailable(target, str(error), sent=False) from None
            except IpcError as error:  # no answer in time, too much at once, too big
                raise Unavailable(target, str(error)) from None
        raise AssertionError("the last try raises")

    async def menu(self, call: Call, agent: str | None = None) -> dict[str, Any]:
        """The caller's tools. A person's client may name the agent it wants to know about."""
        if call.caller.startswith("clients/") and agent is not None:
            name = agent
        else:
            name = _agent(call)
        try:
            return await self.monitor.menu(name)
        except Denied as denied:
            return {"tools": [], "provider_tools": [], "notes": [denied.denial.text]}

    async def provider_tools(self, call: Call, agent: str) -> list[dict[str, object]]:
        """The tools of a model's provider that this agent may use now; what `llm` asks before it lets a provider have
        them. Refused: Denied, when the grants cannot be read."""
        try:
            return await self.monitor.provider_tools(str(agent))
        except Denied as denied:
            raise Refused("Denied", denied.denial.text) from None

    async def run(
        self, caller: Call, /, room: str, turn: str, call: str, tool: str, input: Any = None
    ) -> dict[str, Any]:
        """One tool call of the calling agent. `call` is its number in the turn, `room` where a denial is shown."""
        agent = _agent(caller)
        result = await self.monitor.run(agent, str(tool), input, str(room))
        logger.info("run agent=%s room=%s turn=%s tool=%s outcome=%s", agent, room, turn, tool, result.outcome)
        if result.denial is not None:
            await self._tell(str(room), str(turn), str(call), agent, result)
        return result.to_dict()

    @shielded
    async def deliberate(
        self, call: Call, room: str, seq: int, part: int, title: str, body: str, links: list[str]
    ) -> dict[str, Any]:
        """Write one record of the caller's handoff in a room. `seq`: of the entry that began it for this life of the
        caller; `part`: 1 is the record itself, others hold what is long. The same call again writes the same record.

        Refused: Forbidden, BadRequest, Unavailable (nobody answers, try again), and what the store refuses.
        """
        agent = _agent(call)
        wrong = deliberations.check(part, title, body, links)
        if wrong is not None:
            raise Refused("BadRequest", wrong)
        entry = await self._entry(str(room), seq)
        reason = deliberations.mismatch(entry, agent, call.incarnation)
        if reason is not None:
            raise Refused("Forbidden", f"{agent} may not write a deliberation for {room!r}: {reason}")
        assert entry is not None
        with _told():
            return {"record": await deliberations.write(self.ask, agent, room, entry, part, title, body, links)}

    async def deliberation(self, call: Call, record: str) -> dict[str, Any] | None:
        """`{note, handoff}` of one of the caller's own deliberations, None when there is no such."""
        with _told():
            return await deliberations.read(self.ask, _agent(call), str(record))

    @shielded
    async def discard(self, call: Call, room: str, started: int, ended: int) -> dict[str, Any]:
        """Trash the parts that a handoff of the caller's left behind when it was given up: `{trashed: [ids]}`. `started`,
        `ended`: the entries that began it and gave it up. Again does nothing more. Refused as `deliberate`."""
        agent = _agent(call)
        entry = await self._entry(str(room), started)
        reason = deliberations.given_up(entry, await self._entry(str(room), ended), agent)
        if reason is not None:
            raise Refused("Forbidden", f"{agent} may not remove parts of a deliberation for {room!r}: {reason}")
        assert entry is not None
        with _told():
            return {"trashed": await deliberations.discard(self.ask, agent, entry)}

    async def _entry(self, room: str, seq: int) -> dict[str, Any] | None:
        if not isinstance(seq, int) or isinstance(seq, bool) or seq < 1:
            raise Refused("BadRequest", f"seq is the number of an entry, not {seq!r}")
        try:
            page = await self.service.peer.call(f"rooms/{room}", "since", seq=seq - 1, limit=1, timeout=ASK_TIMEOUT)
        except (IpcError, ValueError) as error:
            raise Refused("Unavailable", f"the room {room!r} does not say what was begun: {error}") from None
        entries: list[dict[str, Any]] = page["entries"]
        return entries[0] if entries and entries[0]["seq"] == seq else None

    async def _tell(self, room: str, turn: str, number: str, agent: str, result: Result) -> None:
        denial = result.denial
        assert denial is not None
        if not await self._has_turn(room, turn, agent):
            # The room and the turn are the caller's word: without this, it could write into any room.
            logger.warning("agent=%s was denied in turn=%s, which it does not have in room=%s", agent, turn, room)
            return
        entry: dict[str, Any] = {
            "kind": "denied",
            "agent": agent,
            "turn": turn or "-",
            "code": denial.code,
            "text": denial.text,
            "remedy": denial.remedy,
        }
        if _ID.match(turn) and _ID.match(number):
            entry["id"] = f"{turn}.{number}.d"  # telling it twice is telling it once
        try:
            await append_reliably(self.service.peer, room, [entry], DENIAL_DEADLINE)
        except IpcError as error:
            # The denial stands whether or not the room hears of it.
            logger.warning("could not tell room=%s of a denial: %s", room, error)

    async def _has_turn(self, room: str, turn: str, agent: str) -> bool:
        """Whether the last entries of the room show this turn as given to the agent and not ended."""
        peer, name = self.service.peer, f"rooms/{room}"
        try:
            last = (await peer.call(name, "since", seq=0, limit=1, timeout=DENIAL_DEADLINE))["last"]
            page = await peer.call(name, "since", seq=max(0, last - TAIL), limit=TAIL, timeout=DENIAL_DEADLINE)
        except IpcError as error:
            logger.warning("room=%s does not say whose turn it is: %s", room, error)
            return False
        given = False
        for entry in page["entries"]:
            if entry.get("turn") == turn and entry["kind"] in ("turn_started", "turn_ended"):
                given = entry["kind"] == "turn_started" and entry["agent"] == agent
        return given


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What store says, as the refusal of a call."""
    try:
        yield
    except Refusal as refusal:
        raise Refused(refusal.type, refusal.message) from None
    except Unavailable as gone:
        raise Refused("Unavailable", str(gone)) from None


def _agent(call: Call) -> str:
    agent = agent_of(call.caller)
    if agent is None:
        raise Refused("Forbidden", f"tools are for agents; {call.caller!r} is none")
    return agent
