"""Whether a provider is worth asking: a circuit breaker, pure.

Closed: calls pass. Open: it failed several times in a row, and is left alone for a while. Half-open: one call tries it.
A key that is not taken opens it until the key changes, because no waiting mends that.

The transitions are the table NEXT, total over state and event; `decide` gives the time to it.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace

FIRST, LONGEST, FACTOR = 2.0, 30.0, 2.0  # seconds until it is tried again, doubled at each vain try
WINDOW = 60.0  # seconds within which failures count as being in a row
SILENT = 90.0  # seconds after which a try that says nothing lets another one through


class State(enum.Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF = "half-open"


class Event(enum.Enum):
    """FINE: something was answered. DOWN: not reached, or a fault of its own. KEY: the key is not taken. LEFT: the call
    that tried it ended without a verdict. DUE: somebody asks, and the time to try has come."""

    FINE = "fine"
    DOWN = "down"
    KEY = "key"
    LEFT = "left"
    DUE = "due"


NEXT: dict[tuple[State, Event], State] = {
    (State.CLOSED, Event.FINE): State.CLOSED,
    (State.CLOSED, Event.DOWN): State.CLOSED,  # OPEN at the last of `most`
    (State.CLOSED, Event.KEY): State.OPEN,
    (State.CLOSED, Event.LEFT): State.CLOSED,
    (State.CLOSED, Event.DUE): State.CLOSED,
    (State.OPEN, Event.FINE): State.CLOSED,
    (State.OPEN, Event.DOWN): State.OPEN,
    (State.OPEN, Event.KEY): State.OPEN,
    (State.OPEN, Event.LEFT): State.OPEN,
    (State.OPEN, Event.DUE): State.HALF,
    (State.HALF, Event.FINE): State.CLOSED,
    (State.HALF, Event.DOWN): State.OPEN,
    (State.HALF, Event.KEY): State.OPEN,
    (State.HALF, Event.LEFT): State.OPEN,
    (State.HALF, Event.DUE): State.HALF,
}


@dataclass(frozen=True)
class Breaker:
    """`most` failures in a row open it. `until`: when an open one is tried, or a half-open one tried by another call; inf:
    not before the key changes. `vain`: tries in a row that did not help. `failures`: times of those that count."""

    most: int = 5
    state: State = State.CLOSED
    failures: tuple[float, ...] = ()
    since: float = 0.0
    until: float = 0.0
    vain: int = 0

    @property
    def keyless(self) -> bool:
        """Open because of the key."""
        return self.state is State.OPEN and self.until == math.inf

    def shut(self, now: float) -> bool:
        """Whether a call that asks now is sent away."""
        return self.state is not State.CLOSED and now < self.until


def decide(breaker: Breaker, event: Event, now: float) -> Breaker:
    """The breaker after an event. DUE is for a call that `shut` lets through."""
    state = NEXT[breaker.state, event]
    if event is Event.FINE:
        return breaker if breaker == Breaker(breaker.most) else Breaker(breaker.most, since=now)
    if event is Event.KEY:
        return replace(breaker, state=state, failures=(), since=now, until=math.inf)
    if event is Event.LEFT:
        return replace(breaker, state=state, until=now) if breaker.state is State.HALF else breaker
    if event is Event.DUE:
        return breaker if breaker.state is State.CLOSED else replace(breaker, state=state, until=now + SILENT)
    return _down(breaker, now)


def _down(breaker: Breaker, now: float) -> Breaker:
    if breaker.state is State.OPEN:
        return breaker  # one that was on its way when it opened tells nothing new
    if breaker.state is State.HALF:
        vain = breaker.vain + 1
        return replace(breaker, state=State.OPEN, until=now + _wait(vain), vain=vain)
    failures = (*(at for at in breaker.failures if at > now - WINDOW), now)
    if len(failures) < breaker.most:
        return replace(breaker, failures=failures)
    return replace(breaker, state=State.OPEN, failures=failures, since=now, until=now + _wait(0))


def _wait(vain: int) -> float:
    return min(LONGEST, FIRST * FACTOR ** min(vain, 16))
