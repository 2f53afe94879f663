"""How fast one model of a provider may be asked, by what the provider has said and refused so far. Pure values.

Providers limit each model, or class of models, on its own: what one of them has used up says nothing about another. What
the configuration bounds, for all models of a provider together, is in `queueing`, and so is who is next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

MINUTE = 60.0


@dataclass(frozen=True)
class Level:
    """What a provider said is left, and how it fills up again."""

    left: float
    at: float
    limit: float
    rate: float  # a second

    def now(self, now: float) -> float:
        return min(self.limit, self.left + (now - self.at) * self.rate)

    def less(self, cost: float, now: float) -> Level:
        return replace(self, left=self.now(now) - cost, at=now)

    def ready(self, cost: float) -> float:
        """When `cost` is there; a cost above the limit waits for all of it."""
        missing = min(cost, self.limit) - self.left
        return self.at if missing <= 0 else self.at + missing / self.rate


@dataclass(frozen=True)
class Pace:
    """`paused`: nothing begins before; `window`: how many at once since the last refusal, when `peak` ran; it grows again
    with each call that ends well. `told`: what is left of requests and tokens, as the answers say."""

    paused: float = -math.inf
    window: float = math.inf
    peak: float = 0.0
    told: Mapping[str, Level] = field(default_factory=dict)

    @property
    def most(self) -> float:
        """How many may run at once."""
        return max(1.0, math.floor(self.window)) if self.window < math.inf else math.inf

    def at(self, tokens: int) -> float:
        """When a call of so many tokens may begin, as far as time is concerned."""
        return max(self.paused, *(level.ready(_cost(what, tokens)) for what, level in self.told.items()), -math.inf)

    def begun(self, tokens: int, now: float) -> Pace:
        """A call has begun."""
        return replace(self, told={what: level.less(_cost(what, tokens), now) for what, level in self.told.items()})

    def grown(self) -> Pace:
        """A call has ended well."""
        if self.window == math.inf:
            return self
        window = self.window + 1 / self.window
        # Far more than any provider was seen to allow at once, or than anybody asks for: it need not be counted any more.
        return replace(self, window=window if window < 256 else math.inf)

    def limited(self, left: int, pause: float, now: float) -> Pace:
        """A call was refused for too many, `left` others run. As many at once from now on as the provider still has; when it
        has none left, the fault was not their number but their rate, and half of them begin again."""
        peak = left + 1.0 if now >= self.paused else self.peak  # refusals within one pause are one
        window = float(left) if left else max(1.0, peak / 2)
        return replace(self, window=min(window, peak), peak=peak, paused=max(self.paused, now + pause))

    def heard(self, what: str, left: int, limit: int | None, reset: float | None, running: int, now: float) -> Pace:
        """An answer says what is left. Linear: full again at `reset`, or a sixtieth of a minute's limit each second."""
        whole = limit if limit and limit > 0 else max(left, 1)
        missing = whole - left
        rate = missing / reset if reset and missing > 0 else whole / MINUTE
        # Who runs beside the call that was told this may not be counted in it yet.
        cost = max(0, running - 1) if what == "requests" else 0
        return replace(self, told={**self.told, what: Level(left - cost, now, whole, max(rate, 1e-3))})


def _cost(what: str, tokens: int) -> int:
    return 1 if what == "requests" else tokens
