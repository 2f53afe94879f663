"""Which calls may begin beside those that run, so that many at once cannot use up a day's limit many times over.

A pure decision over frozen values: what a day has used, what the running calls may still use at most, who waits. The
waiting itself and the clock are the business of `purse`.

The law: what was used, and the most that the running calls may use, stay within each limit; but a call that has a limit
to itself may begin as long as anything is left of it. So a limit is overshot by one call at most. Who waits for one limit
begins in the order in which they came; nobody waits for a limit that does not bind them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from egghead.llm.models import cost
from egghead.llm.provider import Model
from egghead.llm.shapes import ROOM_TO_THINK, Request, Usage, estimate_input, estimate_tokens
from egghead.llm.usage import EVERYBODY, Figures, Limits


@dataclass(frozen=True)
class Most:
    """The most that calls may use: tokens of all kinds, and USD; a call without a price adds none."""

    tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: Most) -> Most:
        return Most(self.tokens + other.tokens, self.cost + other.cost)


@dataclass(frozen=True)
class Hold:
    """One call, running or waiting."""

    id: int
    agent: str
    most: Most


def most_of(request: Request, model: Model) -> Most:
    """An estimate of the prompt, all of it written to a cache where that is dearer, and the longest answer there may be."""
    schemas = sum(estimate_tokens(f"{tool.description} {tool.input_schema}") for tool in request.tools)
    prompt = estimate_input(request) + estimate_tokens(request.turn_words) + schemas
    given = request.thinking
    room = ROOM_TO_THINK if given is True or (not given and model.thinking) else int(given)
    answer = min(request.max_tokens + room, model.max_output or request.max_tokens + room)
    dear = (cost(model, usage) or 0.0 for usage in (Usage(prompt, answer), Usage(0, answer, 0, prompt)))
    return Most(prompt + answer, max(dear))


def admitted(
    waiting: Iterable[Hold], running: Iterable[Hold], spent: Mapping[str, Figures], limits: Mapping[str, Limits]
) -> Sequence[int]:
    """The ids of those that wait and may begin now, in order. `spent`, `limits`: by agent, and of all together."""
    held: dict[str, Most] = {}
    for one in running:
        _take(held, one)
    found: list[int] = []
    full: set[str] = set()
    for one in waiting:
        names = [name for name in (one.agent, EVERYBODY) if name in limits]
        missing = [
            name for name in names
            if name in full or not _fits(limits[name], spent.get(name, Figures()), held.get(name), one.most)
        ]  # fmt: skip
        if missing:
            full.update(missing)  # nobody overtakes who waits for the same limit
        else:
            _take(held, one)
            found.append(one.id)
    return found


def _take(held: dict[str, Most], one: Hold) -> None:
    for name in (one.agent, EVERYBODY):
        held[name] = held.get(name, Most()) + one.most


def _fits(limit: Limits, used: Figures, held: Most | None, most: Most) -> bool:
    if held is None:
        return True  # alone; whether anything is left is looked at before
    tokens, money = held.tokens + most.tokens, held.cost + most.cost
    return (limit.tokens_per_day is None or used.tokens + tokens <= limit.tokens_per_day) and (
        limit.cost_per_day is None or used.cost + money <= limit.cost_per_day
    )
