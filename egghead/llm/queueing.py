"""Whose call is next at one provider: a pure decision over frozen values.

Here belong the line in front of a provider, its bounds, and what the provider itself says about them. Clocks, tasks and
the calls themselves do not (`lane`), nor whether the provider is well (`breaker`).

The law: agents take turns, each with its oldest call; so a call waits for at most one call of each other agent for each
call that its own agent has before it. Never more than `concurrent` run, nor more than the minute allows begin in any
sixty seconds. Nothing waits that could begin. A refusal for too many requests stops all calls of that model (`pace`), not
one caller; refusals of two models at a time stop the whole line.

    queue, actions = decide(queue, event, now)     # now: monotonic seconds
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from egghead.llm.pace import MINUTE, Pace

PACES = 64  # models whose pace is kept
LATE, FULL, PAUSED = "late", "full", "paused"
REFUSED, SPENT, MINUTES, BEHIND = "refused", "spent", "minute", "behind"


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
    model: str = ""


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
    """A running call was refused for too many requests: none of its model begins for `pause` seconds."""

    id: int
    pause: float


@dataclass(frozen=True)
class Told:
    """What the provider says is left of its limits for a model: requests or tokens (`what`), out of `limit`, all of it
    there again after `reset` seconds."""

    what: str
    left: int
    limit: int | None
    reset: float | None
    model: str = ""


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


STEADY = Pace()  # of a model of which nothing was heard


@dataclass(frozen=True)
class Queue:
    """One provider's line. `waiting`: agent -> its calls, oldest first; the agents in the order of their turns. `begun`:
    (when, call, tokens) of the last minute. `paused`: nothing at all begins before. `paces`: by model."""

    bounds: Bounds = Bounds()
    waiting: Mapping[str, tuple[Ask, ...]] = field(default_factory=dict)
    running: Mapping[int, Ask] = field(default_factory=dict)
    begun: tuple[tuple[float, int, int], ...] = ()
    paused: float = -math.inf
    paces: Mapping[str, Pace] = field(default_factory=dict)

    @property
    def length(self) -> int:
        return sum(len(line) for line in self.waiting.values())

    @property
    def most(self) -> float:
        """How many may run at once, of all models together."""
        return math.inf if self.bounds.concurrent is None else self.bounds.concurrent

    def pace(self, model: str) -> Pace:
        return self.paces.get(model, STEADY)

    def pause(self, model: str) -> float:
        """Until when nothing of this model begins."""
        return max(self.paused, self.pace(model).paused)

    @property
    def counts(self) -> bool:
        """Whether the tokens of a call matter here."""
        return self.bounds.tokens_per_minute is not None or any("tokens" in pace.told for pace in self.paces.values())


def decide(queue: Queue, event: Event, now: float) -> tuple[Queue, list[Action]]:
    """What follows from an event."""
    actions: list[Action] = []
    match event:
        case Asked(ask, again):
            queue = _joined(queue, ask, again, now, actions)
        case Left(id, tokens):
            queue = _settled(_gone(queue, id), id, tokens)
        case Done(id, tokens):
            model = _of(queue, id)
            queue = _settled(_gone(queue, id), id, tokens)
            queue = _paced(queue, model, queue.pace(model).grown())
        case Limited(id, pause):
            queue = _limited(_gone(queue, id), _of(queue, id), pause, now)
        case Told(what, left, limit, reset, model):
            pace = queue.pace(model).heard(what, left, limit, reset, _running(queue, model), now)
            queue = _paced(queue, model, pace)
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
    ends += _beginnings(queue, now)
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


def hindrance(queue: Queue, ask: Ask, now: float) -> tuple[str, float | None]:
    """Why a call that waits does not begin, and until when at least, if time alone ends that: REFUSED (the provider takes
    nothing), SPENT (what it said is left is used up), MINUTES (our own bounds of a minute), BEHIND (others run)."""
    if (until := queue.pause(ask.model)) > now:
        return REFUSED, until
    if (until := queue.pace(ask.model).at(ask.tokens)) > now:
        return SPENT, until
    if (until := max(_minute(queue, ask))) > now:
        return MINUTES, until
    return BEHIND, None


def _joined(queue: Queue, ask: Ask, again: bool, now: float, actions: list[Action]) -> Queue:
    line = queue.waiting.get(ask.agent, ())
    why = None
    if queue.pause(ask.model) - now > queue.bounds.longest_pause:
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
        return replace(queue, running={call: ask for call, ask in queue.running.items() if call != id})
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


def _of(queue: Queue, id: int) -> str:
    return queue.running[id].model if id in queue.running else ""


def _running(queue: Queue, model: str) -> int:
    return sum(ask.model == model for ask in queue.running.values())


def _paced(queue: Queue, model: str, pace: Pace) -> Queue:
    if pace == queue.pace(model):
        return queue
    paces = {name: one for name, one in queue.paces.items() if name != model}
    if len(paces) >= PACES:  # names that mean nothing have a pace as well, if their refusals say what is left
        del paces[min(paces, key=lambda name: paces[name].paused)]
    return replace(queue, paces={**paces, model: pace})


def _limited(queue: Queue, model: str, pause: float, now: float) -> Queue:
    """The model waits; and all of them when another one does already: then it is about the account and not the model."""
    if any(one.paused > now for name, one in queue.paces.items() if name != model):
        queue = replace(queue, paused=max(queue.paused, now + pause))
    return _paced(queue, model, queue.pace(model).limited(_running(queue, model), pause, now))


def _without_late(queue: Queue, now: float, actions: list[Action]) -> Queue:
    longest = now + queue.bounds.longest_pause
    refused = {ask.id: LATE for line in queue.waiting.values() for ask in line if ask.until <= now}
    shut = {model for model, pace in queue.paces.items() if pace.paused > longest}
    if shut or queue.paused > longest:
        asks = [ask for line in queue.waiting.values() for ask in line]
        refused = {ask.id: PAUSED for ask in asks if queue.paused > longest or ask.model in shut} | refused
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
    while (ask := _next(queue, now)) is not None and max(_minute(queue, ask)) <= now:
        line = queue.waiting[ask.agent]
        rest = tuple(one for one in line if one is not ask)
        others = _but(queue.waiting, ask.agent)
        counted = queue.counts or queue.bounds.requests_per_minute is not None
        queue = replace(
            queue,
            # Whoever had a turn goes to the end of the line of agents.
            waiting={**others, ask.agent: rest} if rest else others,
            running={**queue.running, ask.id: ask},
            begun=(*queue.begun, (now, ask.id, ask.tokens)) if counted else queue.begun,
        )
        queue = _paced(queue, ask.model, queue.pace(ask.model).begun(ask.tokens, now))
        actions.append(Start(ask.id))
    return queue


def _next(queue: Queue, at: float) -> Ask | None:
    """Whose turn it is at that time, as far as the models are concerned: of each agent the oldest call whose model may be
    asked. None overtakes a call of its own model."""
    if at < queue.paused or len(queue.running) >= queue.most:
        return None
    closed: set[str] = set()
    for line in queue.waiting.values():
        for ask in line:
            if ask.model in closed:
                continue
            pace = queue.pace(ask.model)
            if pace.at(ask.tokens) <= at and not _full(queue, ask.model):
                return ask
            closed.add(ask.model)
    return None


def _full(queue: Queue, model: str) -> bool:
    most = queue.pace(model).most
    return most < math.inf and _running(queue, model) >= most


def _beginnings(queue: Queue, now: float) -> Iterator[float]:
    """When time alone lets a call begin: for each model that waits, the next one when that model may be asked."""
    if len(queue.running) >= queue.most:
        return
    first: dict[str, Ask] = {}
    for line in queue.waiting.values():
        for ask in line:
            first.setdefault(ask.model, ask)
    for model, ask in first.items():
        at = max(now, queue.paused, queue.pace(model).at(ask.tokens))
        if (turn := _next(queue, at)) is not None:
            yield max(at, *_minute(queue, turn))


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
