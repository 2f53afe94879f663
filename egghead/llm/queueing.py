"""Whose call is next at one provider: a pure decision over frozen values.

Here belong the line in front of a provider, its bounds, and what the provider itself says about them. Clocks, tasks and
the calls themselves do not (`lane`), nor whether the provider is well (`breaker`).

The law: agents take turns, each with its oldest call; so a call waits for at most one call of each other agent for each
call that its own agent has before it. Never more than `concurrent` run, nor more than the minute allows begin in any
sixty seconds. Nothing waits that could begin. A refusal for too many requests stops the whole line, not one caller.

    queue, actions = decide(queue, event, now)     # now: monotonic seconds
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

MINUTE = 60.0
LATE, FULL, PAUSED = "late", "full", "paused"


@dataclass(frozen=True)
class Bounds:
    """What may run and wait at one provider; None: no bound. `longest_pause`: seconds that a call waits for a provider
    that said it takes nothing; one that is to wait longer is refused at once."""

    concurrent: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    waiting: int = 1000
    waiting_each: int = 100
    longest_pause: float = 30.0


@dataclass(frozen=True)
class Ask:
    """One call in the line. `tokens` is an estimate of what it takes; `until` is when nobody wants the answer any more."""

    id: int
    agent: str
    since: float
    until: float = math.inf
    tokens: int = 0


# -- events


@dataclass(frozen=True)
class Asked:
    """A call wants its turn. `again`: it had one, and was sent away before anything was said; it keeps its place."""

    ask: Ask
    again: bool = False


@dataclass(frozen=True)
class Left:
    """The caller of a waiting or running call is gone, or the call is over without a verdict. `tokens`: what it took."""

    id: int
    tokens: int | None = None


@dataclass(frozen=True)
class Done:
    """A running call has ended well."""

    id: int
    tokens: int | None = None


@dataclass(frozen=True)
class Limited:
    """A running call was refused for too many requests: nothing begins for `pause` seconds."""

    id: int
    pause: float


@dataclass(frozen=True)
class Told:
    """What the provider says is left of its limits: requests or tokens (`what`), out of `limit`, all of it there again
    after `reset` seconds."""

    what: str
    left: int
    limit: int | None
    reset: float | None


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


Event = Asked | Left | Done | Limited | Told | Tick


# -- actions


@dataclass(frozen=True)
class Start:
    id: int


@dataclass(frozen=True)
class Refuse:
    """`why`: LATE (its time is over), FULL (too many wait), PAUSED (the provider takes nothing for too long)."""

    id: int
    why: str


Action = Start | Refuse


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
class Queue:
    """One provider's line. `waiting`: agent -> its calls, oldest first; the agents in the order of their turns. `running`:
    call -> agent. `begun`: (when, call, tokens) of the last minute. `window`: how many at once since the provider last
    refused, when `peak` ran; it grows again with each call that ends well."""

    bounds: Bounds = Bounds()
    waiting: Mapping[str, tuple[Ask, ...]] = field(default_factory=dict)
    running: Mapping[int, str] = field(default_factory=dict)
    begun: tuple[tuple[float, int, int], ...] = ()
    paused: float = -math.inf
    window: float = math.inf
    peak: float = 0.0
    told: Mapping[str, Level] = field(default_factory=dict)

    @property
    def length(self) -> int:
        return sum(len(line) for line in self.waiting.values())

    @property
    def most(self) -> float:
        """How many may run at once."""
        own = math.inf if self.bounds.concurrent is None else self.bounds.concurrent
        return min(own, max(1.0, math.floor(self.window) if self.window < math.inf else math.inf))

    @property
    def counts(self) -> bool:
        """Whether the tokens of a call matter here."""
        return self.bounds.tokens_per_minute is not None or "tokens" in self.told


def decide(queue: Queue, event: Event, now: float) -> tuple[Queue, list[Action]]:
    """What follows from an event."""
    actions: list[Action] = []
    match event:
        case Asked(ask, again):
            queue = _joined(queue, ask, again, now, actions)
        case Left(id, tokens):
            queue = _settled(_gone(queue, id), id, tokens)
        case Done(id, tokens):
            queue = _grown(_settled(_gone(queue, id), id, tokens))
        case Limited(id, pause):
            queue = _limited(_gone(queue, id), pause, now)
        case Told():
            queue = _level(queue, event, now)
        case Tick():
            pass
    if isinstance(event, Tick | Limited):  # what time ends, a Tick tells; the others need not look through the line
        queue = _without_late(queue, now, actions)
    return _filled(queue, now, actions), actions


def wake(queue: Queue, now: float) -> float | None:
    """When a Tick is due: something waits that time alone will start or refuse. None: only other events will."""
    if not queue.waiting:
        return None
    ends = [ask.until for line in queue.waiting.values() for ask in line if ask.until < math.inf]
    if len(queue.running) < queue.most:
        ends.append(_room_at(queue, _next(queue), now))
    # A time that a float cannot tell from now would be a timer without end.
    return max(min(ends), now + 1e-3) if ends else None


def place(queue: Queue, id: int) -> int | None:
    """How many calls begin until this one has begun, itself counted, if nobody else comes; None: it does not wait."""
    for position, (agent, line) in enumerate(queue.waiting.items()):
        for index, ask in enumerate(line):
            if ask.id == id:
                before = (
                    min(len(other), index + 1 if turn < position else index)
                    for turn, (name, other) in enumerate(queue.waiting.items())
                    if name != agent
                )
                return sum(before) + index + 1
    return None


def _joined(queue: Queue, ask: Ask, again: bool, now: float, actions: list[Action]) -> Queue:
    line = queue.waiting.get(ask.agent, ())
    why = None
    if queue.paused - now > queue.bounds.longest_pause:
        why = PAUSED
    elif ask.until <= now:
        why = LATE
    elif not again and (queue.length >= queue.bounds.waiting or len(line) >= queue.bounds.waiting_each):
        why = FULL
    if why is not None:
        actions.append(Refuse(ask.id, why))
        return queue
    if again:
        return replace(queue, waiting={ask.agent: (ask, *line), **_but(queue.waiting, ask.agent)})
    return replace(queue, waiting={**queue.waiting, ask.agent: (*line, ask)})


def _but(waiting: Mapping[str, tuple[Ask, ...]], agent: str) -> dict[str, tuple[Ask, ...]]:
    return {name: line for name, line in waiting.items() if name != agent}


def _gone(queue: Queue, id: int) -> Queue:
    """Without this call, wherever it is."""
    if id in queue.running:
        return replace(queue, running={call: agent for call, agent in queue.running.items() if call != id})
    for agent, line in queue.waiting.items():
        rest = tuple(ask for ask in line if ask.id != id)
        if len(rest) < len(line):
            # An agent whose line is not empty keeps its turn.
            kept = {name: rest if name == agent else other for name, other in queue.waiting.items()}
            return replace(queue, waiting=kept if rest else _but(kept, agent))
    return queue


def _settled(queue: Queue, id: int, tokens: int | None) -> Queue:
    """What a call really took stands in place of what was estimated."""
    if tokens is None or not queue.counts:
        return queue
    return replace(queue, begun=tuple((at, call, tokens if call == id else n) for at, call, n in queue.begun))


def _grown(queue: Queue) -> Queue:
    if queue.window == math.inf:
        return queue
    window = queue.window + 1 / queue.window
    # Far more than any provider was seen to allow at once, or than anybody asks for: it need not be counted any more.
    return replace(queue, window=window if window < 256 else math.inf)


def _limited(queue: Queue, pause: float, now: float) -> Queue:
    """As many at once from now on as the provider still has; when it has none left, the fault was not their number but
    their rate, and half of them begin again."""
    left = len(queue.running)
    peak = left + 1.0 if now >= queue.paused else queue.peak  # refusals within one pause are one
    window = float(left) if left else max(1.0, peak / 2)
    return replace(queue, window=min(window, peak), peak=peak, paused=max(queue.paused, now + pause))


def _level(queue: Queue, event: Told, now: float) -> Queue:
    """Linear: full again at `reset`, or a sixtieth of a minute's limit each second."""
    limit = event.limit if event.limit and event.limit > 0 else max(event.left, 1)
    missing = limit - event.left
    rate = missing / event.reset if event.reset and missing > 0 else limit / MINUTE
    # Who runs beside the call that was told this may not be counted in it yet.
    cost = max(0, len(queue.running) - 1) if event.what == "requests" else 0
    level = Level(event.left - cost, now, limit, max(rate, 1e-3))
    return replace(queue, told={**queue.told, event.what: level})


def _without_late(queue: Queue, now: float, actions: list[Action]) -> Queue:
    refused = {ask.id: LATE for line in queue.waiting.values() for ask in line if ask.until <= now}
    if queue.paused - now > queue.bounds.longest_pause:
        refused = {ask.id: refused.get(ask.id, PAUSED) for line in queue.waiting.values() for ask in line}
    if not refused:
        return queue
    actions += [Refuse(id, why) for id, why in refused.items()]
    kept = {agent: tuple(a for a in line if a.id not in refused) for agent, line in queue.waiting.items()}
    return replace(queue, waiting={agent: line for agent, line in kept.items() if line})


def _filled(queue: Queue, now: float, actions: list[Action]) -> Queue:
    """Start whatever may start."""
    begun = tuple(one for one in queue.begun if one[0] > now - MINUTE)
    if len(begun) < len(queue.begun):
        queue = replace(queue, begun=begun)
    while queue.waiting and len(queue.running) < queue.most and _room_at(queue, _next(queue), now) <= now:
        ask = _next(queue)
        rest = queue.waiting[ask.agent][1:]
        others = _but(queue.waiting, ask.agent)
        counted = queue.counts or queue.bounds.requests_per_minute is not None
        queue = replace(
            queue,
            # Whoever had a turn goes to the end of the line of agents.
            waiting={**others, ask.agent: rest} if rest else others,
            running={**queue.running, ask.id: ask.agent},
            begun=(*queue.begun, (now, ask.id, ask.tokens)) if counted else queue.begun,
            told={what: level.less(_cost(what, ask), now) for what, level in queue.told.items()},
        )
        actions.append(Start(ask.id))
    return queue


def _next(queue: Queue) -> Ask:
    return next(iter(queue.waiting.values()))[0]


def _cost(what: str, ask: Ask) -> int:
    return 1 if what == "requests" else ask.tokens


def _room_at(queue: Queue, ask: Ask, now: float) -> float:
    """When this call may begin as far as time is concerned."""
    return max(
        queue.paused, *_minute(queue, ask), *(level.ready(_cost(what, ask)) for what, level in queue.told.items())
    )


def _minute(queue: Queue, ask: Ask) -> Iterator[float]:
    yield -math.inf
    most, tokens = queue.bounds.requests_per_minute, queue.bounds.tokens_per_minute
    if most is not None and len(queue.begun) >= most:
        yield queue.begun[-most][0] + MINUTE
    if tokens is not None:
        # A call that is larger than a minute's tokens begins when nothing else is in the minute: else it never would.
        room = tokens - ask.tokens
        spent = sum(n for _, _, n in queue.begun)
        for at, _, n in queue.begun:
            if spent <= max(room, 0):
                break
            spent -= n
            yield at + MINUTE
