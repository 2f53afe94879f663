"""Who may still spend today: the ledger, the limits of the configuration and of the agents' notes, and who is paused.

A limit is looked at before each model call, so an agent that reaches one ends its turn with what it has said. Nothing
here talks to anybody: `changed` is called when who is paused has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from egghead.llm.errors import LimitReached
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

    def check(self, agent: str) -> None:
        """Raises LimitReached when this agent may not spend any more today."""
        if self.ledger.turn():
            self.look()
        why = paused(self.paused, agent)
        if why is not None:
            raise LimitReached(why)

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
