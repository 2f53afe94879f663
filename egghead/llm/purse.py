"""Who may still spend today: the ledger, the limits of the configuration and of the agents' notes, and who is paused.

A limit is looked at before each model call, so an agent that reaches one ends its turn with what it has said; while a
call runs, the most that it may use is held back from the limits that bind it (`holding`), and calls beside it wait for
what is left. Nothing here talks to anybody: `changed` is called when who is paused has changed.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from egghead.llm.errors import LimitReached
from egghead.llm.holding import Hold, Most, admitted
from egghead.llm.ledger import Ledger
from egghead.llm.usage import BY, EVERYBODY, Called, Figures, Limits, grouped, paused, pauses, rows


class Purse:
    """`configured`: the `limits` of the configuration, for all agents together."""

    def __init__(self, ledger: Ledger, configured: Any = None, changed: Callable[[], object] = lambda: None) -> None:
        self.ledger = ledger
        self.changed = changed
        self._configured = Limits.of(configured)
        self._limits: dict[str, Limits] = {EVERYBODY: self._configured}
        self._titles: dict[str, str] = {}
        self._ids = itertools.count(1)
        self._running: dict[int, Hold] = {}
        self._waiting: dict[int, tuple[Hold, asyncio.Future[None]]] = {}
        self.paused: dict[str, str] = pauses(ledger.spent, self._limits, {})

    def learn(self, notes: Mapping[str, Any]) -> None:
        """What the agents' notes say: agent -> {title, limits}, as the roster tells."""
        known = {str(id): one for id, one in notes.items() if isinstance(one, Mapping) and id != EVERYBODY}
        self._titles = {id: str(one.get("title") or id) for id, one in known.items()}
        self._limits = {EVERYBODY: self._configured, **{id: Limits.of(one.get("limits")) for id, one in known.items()}}
        self.look()

    def look(self) -> None:
        """Decide anew who is paused; a new day pauses nobody."""
        self.ledger.turn()
        now = pauses(self.ledger.spent, self._limits, self._titles)
        if now != self.paused:
            self.paused = now
            self.changed()
        self._admit()

    def check(self, agent: str) -> None:
        """Raises LimitReached when this agent may not spend any more today."""
        if self.ledger.turn():
            self.look()
        why = paused(self.paused, agent)
        if why is not None:
            raise LimitReached(why)

    def binds(self, agent: str) -> bool:
        """Whether any limit is set that this agent can reach."""
        return any(self._limits.get(name, Limits()) != Limits() for name in (agent, EVERYBODY))

    @asynccontextmanager
    async def hold(self, agent: str, most: Most) -> AsyncGenerator[asyncio.Future[None], None]:
        """In here a call of this agent, which uses `most`, is in line, and then runs: when the future that this gives is
        done (see `admitted`). Raises LimitReached."""
        self.check(agent)
        hold = Hold(next(self._ids), agent, most)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[hold.id] = (hold, turn)
        try:
            self._admit()
            yield turn
        finally:
            self._waiting.pop(hold.id, None)
            self._running.pop(hold.id, None)
            self._admit()

    async def admitted(self, turn: asyncio.Future[None], until: float = math.inf) -> None:
        """Returns when the call that is held may run. Waits, `until` then (on the loop's clock), while the calls that run
        may use up what is left. Raises LimitReached when they did, or it has waited in vain."""
        try:
            async with asyncio.timeout_at(until if until < math.inf else None):
                await turn
        except TimeoutError:
            raise LimitReached(
                f"what is left of the day's limit is held for the calls that run ({len(self._running)}); ask again when "
                "they have ended, or raise the limit"
            ) from None

    def _admit(self) -> None:
        """Let begin who may, and refuse who need not wait any more."""
        for hold, turn in list(self._waiting.values()):
            if (why := paused(self.paused, hold.agent)) is not None:
                del self._waiting[hold.id]
                if not turn.done():
                    turn.set_exception(LimitReached(why))
                    turn.exception()  # its caller may have gone in this moment: then nobody reads it
        if not self._waiting:
            return
        waiting = [hold for hold, _ in self._waiting.values()]
        for id in admitted(waiting, self._running.values(), self.ledger.spent, self._limits):
            hold, turn = self._waiting.pop(id)
            self._running[id] = hold
            if not turn.done():
                turn.set_result(None)

    def begin(self, call: Called) -> None:
        """A call is under way."""
        self.ledger.begin(call)

    def add(self, call: Called) -> None:
        """Count a call that has ended."""
        self.ledger.add(call)
        self.look()

    async def durable(self) -> None:
        """Returns when what was counted outlives a power cut; see `Ledger.durable`."""
        await self.ledger.durable()

    def told(self) -> dict[str, Any]:
        """`{day, paused: {agent or *: sentence}}`, for who puts it into practice."""
        return {"day": self.ledger.day, "paused": dict(self.paused)}

    def usage(self, by: str, since: str | None, only: Mapping[str, str]) -> dict[str, Any]:
        """`{by, rows, total, today, paused}`. Reads files: not for the loop. Raises ValueError."""
        if by not in BY:
            raise ValueError(f"usage is shown by {', '.join(BY)}, not by {by!r}")
        days = list(self.ledger.days(since))
        found = grouped(days, by, only)
        today = grouped([one for one in days if one[0] == self.ledger.day], "day", only)
        return {
            "by": by,
            "rows": rows(found, by),
            "total": sum(found.values(), Figures()).to_dict(),
            "today": sum(today.values(), Figures()).to_dict(),
            "paused": dict(self.paused),
        }
