"""The line in front of a provider: its laws, whatever happens in whatever order."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egghead.llm.limits import Limits, told_by
from egghead.llm.pace import MINUTE
from egghead.llm.queueing import (
    FULL,
    LATE,
    PAUSED,
    Ask,
    Asked,
    Bounds,
    Done,
    Left,
    Limited,
    Queue,
    Refuse,
    Start,
    Tick,
    Told,
    decide,
    place,
    wake,
)


@dataclass
class Line:
    """A queue, and what became of each call; time is in the test's hand."""

    queue: Queue
    now: float = 0.0
    started: list[tuple[float, int]] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    asks: dict[int, Ask] = field(default_factory=dict)

    def happen(self, event: object) -> list[int]:
        before = len(self.started)
        self.queue, actions = decide(self.queue, event, self.now)  # type: ignore[arg-type]  # any of the events
        for action in actions:
            if isinstance(action, Start):
                self.started.append((self.now, action.id))
            else:
                assert isinstance(action, Refuse) and action.id not in self.refused
                self.refused[action.id] = action.why
        return [id for _, id in self.started[before:]]

    def ask(self, id: int, agent: str, until: float = math.inf, tokens: int = 0, model: str = "") -> list[int]:
        self.asks[id] = Ask(id, agent, self.now, until, tokens, model)
        return self.happen(Asked(self.asks[id]))

    def wait(self) -> None:
        """On to the moment that the queue asks to be woken at."""
        at = wake(self.queue, self.now)
        assert at is not None and at > self.now
        self.now = at
        self.happen(Tick())


def test_a_hundred_agents_at_a_provider_of_five_at_a_time_and_sixty_a_minute() -> None:
    """Each call of a second: never more than five at once nor sixty in a minute, all served, in turns and in order, and
    no later than the limits make it."""
    line = Line(Queue(Bounds(concurrent=5, requests_per_minute=60)))
    agents = [f"a{n}" for n in range(100)]
    for n in range(300, 305):  # the provider is busy when they come
        line.ask(n, "busy")
    for n in range(300):  # three calls each, the first agent's all before the others'
        line.ask(n, agents[n // 3])
    ends: dict[int, float] = {}
    while len(ends) < 305:
        for at, id in line.started:
            ends.setdefault(id, at + 1.0) if id in line.queue.running else None
        due = min((ends[id] for id in line.queue.running), default=math.inf)
        line.now = min(due, wake(line.queue, line.now) or math.inf)
        assert len(line.queue.running) <= 5
        over = [id for id in line.queue.running if ends[id] <= line.now]
        for id in over:
            line.happen(Done(id))
        if not over:
            line.happen(Tick())
    times = [at for at, _ in line.started]
    assert all(later - earlier >= MINUTE for earlier, later in zip(times, times[60:], strict=False))
    rounds = [[agents[id // 3] for _, id in line.started[n : n + 100]] for n in (5, 105, 205)]
    assert all(sorted(turn) == sorted(agents) for turn in rounds)  # nobody has a second call before all had their first
    assert times[-1] <= 6 * MINUTE and line.refused == {}


bounds = st.builds(
    Bounds,
    concurrent=st.none() | st.integers(1, 4),
    requests_per_minute=st.none() | st.integers(1, 6),
    tokens_per_minute=st.none() | st.integers(1, 50),
    waiting=st.integers(1, 12),
    waiting_each=st.integers(1, 5),
    longest_pause=st.just(20.0),
)
steps = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "done", "left", "limited", "told", "later", "wake", "again"]),
        st.integers(0, 5),
        st.sampled_from([0.0, 0.5, 3.0, 15.0, 61.0]),
        st.integers(0, 60),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=200)
@given(bounds, steps, st.integers(1, 3))
def test_the_laws(limits: Bounds, script: list[tuple[str, int, float, int]], models: int) -> None:
    """Bounds hold, nothing that could begin waits, each call has one fate, an agent's calls of a model begin in order, none
    is lost, and nobody wakes for nothing without end."""
    line = Line(Queue(limits))
    number = 0
    ended: set[int] = set()
    again: set[int] = set()
    for what, who, seconds, amount in script:
        running = list(line.queue.running)
        one = running[who % len(running)] if running else None
        if what == "ask":
            number += 1
            line.ask(number, f"a{who}", line.now + seconds if amount == 7 else math.inf, amount, "mno"[amount % models])
        elif what == "wake" and wake(line.queue, line.now) is not None:
            line.wait()
        elif what == "told":
            line.happen(Told("requests", amount % 5, 5, seconds or None, "mno"[who % models]))
        elif what == "later":
            line.now += seconds
            line.happen(Tick())
        elif one is not None and what in ("done", "left"):
            ended.add(one)
            line.happen(Done(one, amount) if what == "done" else Left(one))
        elif one is not None and what in ("limited", "again"):
            again.add(one)
            line.happen(Limited(one, seconds))
            line.happen(Asked(line.asks[one], again=True))
        queue = line.queue
        waiting = [ask.id for calls in queue.waiting.values() for ask in calls]
        assert len(queue.running) <= (limits.concurrent or math.inf)
        assert all(len(calls) > 0 for calls in queue.waiting.values())
        begun = [at for at, _ in line.started if at > line.now - MINUTE]
        assert limits.requests_per_minute is None or len(begun) <= limits.requests_per_minute
        # One fate each: waiting, running, refused or over.
        fates = [*waiting, *queue.running, *line.refused, *(ended - set(line.refused))]
        assert sorted(set(fates)) == list(range(1, number + 1)) and len(fates) == len(set(fates))
        # Work-conserving: the head could not begin, for a reason of room or of time.
        assert decide(queue, Tick(), line.now)[1] == []
        if waiting and not queue.running and not (at := wake(queue, line.now)):
            raise AssertionError(f"{waiting} wait for nothing, {at}")
        assert sorted(place(queue, id) or 0 for id in waiting) == list(range(1, len(waiting) + 1))
        for kind in {(ask.agent, ask.model) for ask in line.asks.values()}:
            asks = [line.asks[id] for _, id in line.started if id not in again]
            first = [ask.id for ask in asks if (ask.agent, ask.model) == kind]
            assert first == sorted(first)
    for _ in range(1000):  # and then, when all that run end and nobody comes, all begin or are refused
        if line.queue.running:
            line.happen(Done(next(iter(line.queue.running))))
        elif line.queue.waiting:
            line.wait()
    assert not line.queue.waiting


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(0, 39))
def test_a_call_waits_for_one_call_of_each_other_agent(agents: list[int], which: int) -> None:
    """For each call of its own agent before it: the bound that makes starving impossible; later comers do not lengthen it."""
    line = Line(Queue(Bounds(concurrent=1)))
    for number, agent in enumerate(agents):
        line.ask(number, f"a{agent}")
    which %= len(agents)
    mine = agents[which]
    own = sum(1 for agent in agents[:which] if agent == mine) + 1
    told = place(line.queue, which)
    order: list[int] = []
    extra = len(agents)
    while line.queue.running:
        [running] = line.queue.running
        order.append(running)
        if extra < len(agents) + 30:  # one who asks without end meanwhile
            line.ask(extra, "greedy")
            extra += 1
        line.happen(Done(running))
    # What began before it asked is not waited for again.
    early = {0} if which else set()
    before = [id for id in order[: order.index(which)] if id < len(agents) and id not in early]
    for other in set(agents) - {mine}:
        assert sum(1 for id in before if agents[id] == other) <= own
    assert told is None or len(before) <= told


def test_a_refusal_stops_the_whole_line_once() -> None:
    """Nobody begins before the pause is over; then few at once, and more with each call that ends well."""
    line = Line(Queue(Bounds()))
    assert [line.ask(n, f"a{n}") for n in range(8)] == [[n] for n in range(8)]
    for n in range(8):
        line.happen(Limited(n, 5.0))
        assert line.happen(Asked(line.asks[n], again=True)) == []
    assert line.ask(8, "late") == [] and wake(line.queue, line.now) == pytest.approx(5.0)
    line.wait()
    assert len(line.queue.running) == 4  # half of the eight that were too many
    for id in range(6):
        line.happen(Done(next(iter(line.queue.running))))
        assert id < 4 or line.queue.length == 0
    for id in range(10, 20):
        line.ask(id, "more")
    assert len(line.queue.running) == 5


def test_a_refusal_of_one_model_stops_no_other() -> None:
    """Whoever asks for another goes on, an agent that waits for the first too; two refused at a time are the account's."""
    line = Line(Queue(Bounds(concurrent=3)))
    for id, model in enumerate(("large", "small", "large", "large", "small", "small")):
        line.ask(id, "a" if id < 4 else "b", model=model)
    assert [id for _, id in line.started] == [0, 1, 2]
    line.happen(Limited(0, 5.0))
    assert line.happen(Asked(line.asks[0], again=True)) == [] and list(line.queue.running) == [1, 2, 4]
    assert line.happen(Done(1)) == [5], "b's second, because all that a waits for is the large one"
    assert line.happen(Done(2)) == [] and line.queue.length == 2
    assert line.ask(6, "c", model="small") == [6] and line.happen(Done(6)) == []
    line.happen(Limited(4, 8.0))
    assert line.queue.paused == 8.0 and line.ask(7, "c", model="other") == []
    assert wake(line.queue, line.now) == 8.0
    line.wait()
    assert {id for at, id in line.started if at == 8.0} == {0, 7}


def test_what_is_left_of_one_model_is_left_of_no_other() -> None:
    """None left of the large one: the small one is asked; and a refusal for an hour sends away who waits for that model."""
    line = Line(Queue(Bounds()))
    line.happen(Told("requests", 0, 60, 60.0, "large"))
    assert line.ask(1, "a", model="large") == [] and line.ask(2, "a", model="small") == [2]
    line.wait()
    assert line.started[-1] == (1.0, 1)
    line.happen(Limited(1, 3600.0))
    line.ask(3, "b", model="large")
    assert line.refused == {3: PAUSED} and line.ask(4, "b", model="small") == [4]


def test_names_without_end_are_not_kept() -> None:
    """A pace is kept for so many models, those that wait before others."""
    line = Line(Queue(Bounds()))
    line.ask(0, "a", model="large")
    line.happen(Limited(0, 20.0))
    for number in range(500):
        line.happen(Told("requests", 5, 60, 60.0, f"m{number}"))
    assert len(line.queue.paces) <= 64 and line.ask(1, "a", model="large") == []


def test_as_many_at_once_as_the_provider_took() -> None:
    """Of twenty it refuses all but five: from then on there are five, and one more after each round."""
    line = Line(Queue(Bounds()))
    for id in range(20):
        line.ask(id, f"a{id}")
    for id in range(5, 20):
        line.happen(Limited(id, 1.0))
        line.happen(Asked(line.asks[id], again=True))
    assert len(line.queue.running) == 5 and wake(line.queue, line.now) is None
    line.now = 1.0
    for _ in range(5):
        line.happen(Done(next(iter(line.queue.running))))
    assert len(line.queue.running) in (5, 6)


def test_a_pause_that_is_too_long_is_told() -> None:
    """Nobody waits an hour: those in the line and those who come are refused at once."""
    line = Line(Queue(Bounds(concurrent=1)))
    line.ask(1, "a")
    line.ask(2, "b")
    line.happen(Limited(1, 3600.0))
    line.ask(3, "c")
    assert line.refused == {2: PAUSED, 3: PAUSED}


def test_the_line_is_bounded_and_time_is_kept() -> None:
    """For each agent and in all; a call whose caller has left or whose time is over makes room at once."""
    line = Line(Queue(Bounds(concurrent=1, waiting=3, waiting_each=2)))
    for id, agent in enumerate(["x", "a", "a", "a", "b", "c"]):
        line.ask(id, agent, until=10.0 if id == 4 else math.inf)
    assert line.refused == {3: FULL, 5: FULL}
    line.happen(Left(1))
    assert line.ask(6, "c") == [] and 6 not in line.refused
    line.wait()
    assert line.now == 10.0 and line.refused[4] == LATE
    assert line.happen(Done(0)) == [2]


def test_what_the_provider_says_is_left_is_not_overdrawn() -> None:
    """Two more now, and one a second after that, where all sixty are there again in a minute."""
    line = Line(Queue(Bounds()))
    line.ask(0, "a")
    line.happen(Told("requests", 2, 60, 58.0))
    assert [line.ask(n, "b") for n in (1, 2, 3, 4)] == [[1], [2], [], []]
    line.wait()
    line.wait()
    assert [round(at, 2) for at, _ in line.started] == [0, 0, 0, 1.0, 2.0]


HEADERS = [
    ({"anthropic-ratelimit-requests-remaining": "3", "anthropic-ratelimit-requests-limit": "50",
      "anthropic-ratelimit-requests-reset": "2026-11-22T12:00:30Z"}, [Told("requests", 3, 50, 30.0)]),
    ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-limit-requests": "60", "x-ratelimit-reset-requests": "1m2.5s"},
     [Told("requests", 0, 60, 62.5)]),
    ({"x-ratelimit-remaining-tokens": "900", "x-ratelimit-reset-tokens": "17ms"}, [Told("tokens", 900, None, 0.017)]),
    ({"x-ratelimit-remaining-requests": "many", "anthropic-ratelimit-tokens-remaining": "-1"}, []),
    ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-limit-requests": "x", "x-ratelimit-reset-requests": "soon"},
     [Told("requests", 1, None, None)]),
    ({}, []),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "told"), HEADERS, ids=range(len(HEADERS)))
def test_what_headers_say(headers: dict[str, str], told: list[Told]) -> None:
    """Anthropic's and OpenAI's; what cannot be read says nothing."""
    now = 1795348800.0  # 2026-11-22T12:00:00Z
    assert list(told_by(headers, now)) == told


@given(st.dictionaries(st.sampled_from([k for h, _ in HEADERS for k in h] or [""]), st.text(max_size=12)))
def test_no_header_breaks_the_line(headers: dict[str, str]) -> None:
    """Whatever a server sends, a call that waits begins some day."""
    line = Line(Queue(Limits().bounds()))
    for told in told_by(headers, 1795348800.0):
        line.happen(told)
    if not line.ask(1, "a"):
        line.wait()
        assert line.started


def test_a_bound_is_written_once() -> None:
    """Each bound of a line is a key of `limits` under the same name, has the same default, and reaches the line."""
    assert Limits().bounds() == Bounds()
    for number, bound in enumerate(fields(Bounds), 2):
        given = Limits.of({bound.name: number}, "acme").bounds()
        assert given == replace(Bounds(), **{bound.name: number}), bound.name
