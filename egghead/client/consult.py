"""One question to several agents in a room of its own: the answers in order, who passed, who is missing and why.

The end is a fact in the log: every turn that the question set off has ended, or the budget is used up. At the timeout the
room is stopped, so that what was said by then is kept. The transcript is saved and the room dropped. No printing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from egghead.client.commands import Desk, choose, invitation
from egghead.client.connection import Client, sentence
from egghead.client.follow import RoomReplaced, follow
from egghead.errors import EggheadError, ExitCode
from egghead.rooms.fold import fold
from egghead.rooms.names import agent_of
from egghead.rooms.state import RoomState, empty
from egghead.rooms.ulid import ulid
from ipc import IpcError

STOPPING = 8.0  # seconds for a room that was stopped to come to rest; a coordinator waits 3 for each agent
CLOSING = 60.0
GIVING_UP = 3.0  # seconds to stop the room when the question is taken back


@dataclass(frozen=True)
class Answer:
    """What one agent said. `cut`: it was stopped before it was done."""

    agent: str
    title: str
    text: str
    cut: bool = False


@dataclass
class Consultation:
    """What came of a question. `ended`: all (everybody has), budget or timeout. `missing`: agent -> why."""

    question: str
    room: str
    ended: str = "all"
    answers: list[Answer] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    record: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


class Hearing:
    """The fold of a consultation: entries in, what came of it out. Pure."""

    def __init__(self, question: str, room: str, message: str, budget: int) -> None:
        self.found = Consultation(question, room)
        self.state: RoomState = empty(room)
        self._message = message
        self._budget = budget
        self._planned = False
        self._asked: dict[str, None] = {}  # in order
        self._reasons: dict[str, str] = {}

    def take(self, entry: Mapping[str, Any]) -> Answer | None:
        """One entry of the room's log; the answer that it is."""
        self.state = fold(self.state, entry)
        kind = entry["kind"]
        if kind == "round_planned":
            self._planned = self._planned or entry["message"] == self._message
            self._asked.update(dict.fromkeys(entry["order"]))
            self.found.reason = self.found.reason or str(entry.get("reason") or "")
        elif kind == "turn_started":
            self._asked.setdefault(entry["agent"])
        elif kind == "turn_ended" and entry["outcome"] != "spoke":
            self._ended(entry)
        elif kind == "budget_exhausted":
            self._asked.update(dict.fromkeys(entry["queued"]))
            used_up = f"the budget of {self._budget} turns was used up"
            self._reasons.update(dict.fromkeys(entry["queued"], used_up))
        elif kind == "message" and (agent := agent_of(entry["by"])) is not None:
            answer = Answer(agent, str(entry["author"]), str(entry["text"]), bool(entry.get("cut")))
            self.found.answers.append(answer)
            return answer
        return None

    def _ended(self, entry: Mapping[str, Any]) -> None:
        agent = entry["agent"]
        if entry["outcome"] == "passed":
            self.found.passed = [*(one for one in self.found.passed if one != agent), agent]
        else:
            self._reasons[agent] = str(entry.get("reason") or "was stopped before it said anything")

    @property
    def over(self) -> bool:
        """Everybody who was asked has ended, or the budget has."""
        return self._planned and self.state.quiet

    def result(self, in_time: bool) -> Consultation:
        """What there is, and who is missing."""
        found = self.found
        heard = {answer.agent for answer in found.answers}
        found.passed = [agent for agent in found.passed if agent not in heard]
        late = "" if in_time else "it had no time to answer"
        for agent in self._asked:
            if agent not in heard and agent not in found.passed:
                found.missing[agent] = self._reasons.get(agent) or late or "it did not answer"
        found.ended = "timeout" if not in_time else "budget" if self.state.paused else "all"
        return found


async def consult(
    client: Client,
    question: str,
    author: str,
    agents: Sequence[str] = (),
    timeout: float = 120.0,
    budget: int = 10,
    heard: Callable[[Answer], object] = lambda answer: None,
) -> Consultation:
    """Ask; `heard` is called with each answer as it comes. Without `agents` the room decides who is asked, as for any open
    message. Raises EggheadError: no such agent, no rights, no node."""
    # A question costs: a name that is only near to an agent asks nobody.
    cards = {card["id"]: card["title"] for card in await client.call("roster", "cards")}
    named = list(dict.fromkeys(choose(agent, cards, "", near=False)[0] for agent in agents))
    room = f"consult-{ulid().lower()}"
    await client.call("lobby", "open", room=room, ephemeral=True, timeout=30.0)
    desk = Desk(client, room, author)
    for agent in named:
        await desk.append("invited", **invitation(agent, cards))
    await desk.append("budget_set", budget=budget)
    # Whom the question itself names is not asked when it is said who is.
    posted = await desk.append("message", text=question, **({"mentions": named} if named else {}))
    hearing = Hearing(question, room, posted["id"], budget)
    try:
        in_time = await _listen(client, hearing, timeout, heard)
        if not in_time:
            await desk.append("halted")
            await _listen(client, hearing, STOPPING, heard)
    except asyncio.CancelledError:
        # Whoever asked does not want it any more: nobody should go on spending on it.
        with contextlib.suppress(EggheadError, TimeoutError):
            async with asyncio.timeout(GIVING_UP):
                await desk.append("halted")
        raise
    except IpcError as error:
        raise sentence(error, f"rooms/{room}") from error
    except RoomReplaced as replaced:
        raise EggheadError(str(replaced)) from replaced
    found = hearing.result(in_time)
    saved = await client.call("lobby", "save", room=room, timeout=CLOSING)
    found.record = saved["record"]
    # Who may talk but not drop leaves the room to the lobby, which closes it when it has been idle.
    with contextlib.suppress(EggheadError):
        await client.call("lobby", "drop", room=room, save=False, timeout=CLOSING)
    return found


async def _entries(client: Client, hearing: Hearing) -> AsyncGenerator[dict[str, Any], None]:
    async for entry in follow(client.peer, hearing.found.room, since=hearing.state.last):
        yield entry


async def _listen(client: Client, hearing: Hearing, seconds: float, heard: Callable[[Answer], object]) -> bool:
    """Takes entries until it is over: True, or False when time is."""
    try:
        async with asyncio.timeout(seconds):
            async with contextlib.aclosing(_entries(client, hearing)) as entries:
                async for entry in entries:
                    if (answer := hearing.take(entry)) is not None:
                        heard(answer)
                    if hearing.over:
                        return True
    except TimeoutError:
        pass
    return False


def exit_code(found: Consultation) -> ExitCode:
    """An answer is a success; without one it is the timeout's fault, or nobody's."""
    if found.answers and found.ended != "timeout":
        return ExitCode.OK
    return ExitCode.TIMEOUT if found.ended == "timeout" else ExitCode.NO_ANSWER
