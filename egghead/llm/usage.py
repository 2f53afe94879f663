"""What model calls used, and what may still be used today: figures, limits, sentences. Pure; `ledger` keeps the files.

A *day* is a day in UTC, `2026-01-31`. Tokens are all tokens of a call: input, output, read from and written to a cache.
Money is USD; a call whose price nobody knows has no cost and is counted as unpriced, never as free.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

BY = ("agent", "room", "model", "day")
EVERYBODY = "*"  # the limits of the configuration bind all agents together


@dataclass(frozen=True)
class Called:
    """One model call that has ended. `id` names it; `cut`: it ended before the provider told what it used."""

    id: str
    at: str  # RFC 3339, UTC
    agent: str
    room: str
    model: str
    input: int = 0
    output: int = 0
    cached_read: int = 0
    cached_write: int = 0
    cost: float | None = None
    cut: bool = False

    @property
    def day(self) -> str:
        return self.at[:10]


@dataclass(frozen=True)
class Figures:
    """Sums over calls. `cost`: of those with a price; `unpriced`: how many had none; `cut`: whose use nobody told."""

    calls: int = 0
    input: int = 0
    output: int = 0
    cached_read: int = 0
    cached_write: int = 0
    cost: float = 0.0
    unpriced: int = 0
    cut: int = 0

    @property
    def tokens(self) -> int:
        return self.input + self.output + self.cached_read + self.cached_write

    def __add__(self, other: Figures) -> Figures:
        return Figures(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(Figures)))

    def to_dict(self) -> dict[str, Any]:
        """With `tokens`; `cost` is None when no call had a price."""
        unknown = self.calls > 0 and self.unpriced == self.calls
        return {**asdict(self), "tokens": self.tokens, "cost": None if unknown else round(self.cost, 6)}


Key = tuple[str, str, str]  # agent, room, model
Sums = dict[Key, Figures]


def figures(call: Called) -> Figures:
    """One call as figures."""
    return Figures(
        1, call.input, call.output, call.cached_read, call.cached_write,
        call.cost or 0.0, int(call.cost is None), int(call.cut),
    )  # fmt: skip


def count(sums: Sums, call: Called) -> None:
    """Add one call to the sums of its day."""
    key = (call.agent, call.room, call.model)
    sums[key] = sums.get(key, Figures()) + figures(call)


def grouped(days: Iterable[tuple[str, Mapping[Key, Figures]]], by: str, only: Mapping[str, str]) -> dict[str, Figures]:
    """Sums by agent, room, model or day. `only`: agent, room or model that is looked at."""
    at = {"agent": 0, "room": 1, "model": 2}
    found: dict[str, Figures] = {}
    for day, sums in days:
        for key, one in sums.items():
            if all(key[at[name]] == value for name, value in only.items()):
                name = day if by == "day" else key[at[by]]
                found[name] = found.get(name, Figures()) + one
    return found


@dataclass(frozen=True)
class Limits:
    """What may be used in a day; None: no bound."""

    cost_per_day: float | None = None
    tokens_per_day: int | None = None

    @classmethod
    def of(cls, data: Any) -> Limits:
        """Out of a card or the configuration; what is no number is no bound."""
        values = data if isinstance(data, Mapping) else {}
        return cls(_number(values.get("cost_per_day")), _number(values.get("tokens_per_day")))

    def reached(self, used: Figures) -> str | None:
        """`2.01 of 2.00 USD`, when a bound is reached."""
        if self.cost_per_day is not None and used.cost >= self.cost_per_day:
            return f"{money(used.cost)} of {money(self.cost_per_day)} USD"
        if self.tokens_per_day is not None and used.tokens >= self.tokens_per_day:
            return f"{used.tokens} of {self.tokens_per_day} tokens"
        return None


def _number(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else None


def money(amount: float) -> str:
    """Dollars for people: cents, and as many digits as it takes for less."""
    return f"{amount:.2f}" if amount >= 0.1 or amount == 0 else f"{amount:.2g}" if amount >= 0.0001 else f"{amount:.1e}"


def pauses(spent: Mapping[str, Figures], limits: Mapping[str, Limits], title: Mapping[str, str]) -> dict[str, str]:
    """Agent (or EVERYBODY) -> the sentence that says why it is paused until the day is over. `spent`: today, by the same
    names."""
    found: dict[str, str] = {}
    for agent, bound in limits.items():
        what = bound.reached(spent.get(agent, Figures()))
        if what is None:
            continue
        key = "cost_per_day" if what.endswith("USD") else "tokens_per_day"
        if agent == EVERYBODY:
            found[agent] = (
                f"The agents have used {what} that the configuration allows for a day, and are paused until 00:00 UTC. "
                f"To go on now: raise `limits.{key}` in the configuration and restart the node."
            )
        else:
            found[agent] = (
                f"{title.get(agent) or agent} has used {what} of its day, and is paused until 00:00 UTC. "
                f"To go on now: raise `limits: {{{key}: …}}` in its note."
            )
    return found


def paused(pauses_: Mapping[str, str], agent: str) -> str | None:
    """Why this agent is paused, None when it is not."""
    return pauses_.get(agent) or pauses_.get(EVERYBODY)


def rows(found: Mapping[str, Figures], by: str) -> list[dict[str, Any]]:
    """For people and programs: the dearest first, days in order."""
    names = sorted(found) if by == "day" else sorted(found, key=lambda n: (-found[n].cost, -found[n].tokens, n))
    return [{by: name, **found[name].to_dict()} for name in names]
