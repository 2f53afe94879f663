"""The circuit breaker: its table is total, and it opens, tries and closes as it says."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from egghead.llm.breaker import LONGEST, NEXT, WINDOW, Breaker, Event, State, decide


def after(*events: tuple[Event, float], breaker: Breaker | None = None) -> Breaker:
    found = breaker or Breaker(3)
    for event, now in events:
        found = decide(found, event, now)
    return found


def test_every_state_has_an_answer_to_every_event() -> None:
    """No pair is missing."""
    assert set(NEXT) == {(state, event) for state in State for event in Event}


def test_it_opens_after_failures_in_a_row_and_not_before() -> None:
    """One that went well in between, or a long time, begins the count anew."""
    assert after(*[(Event.DOWN, t) for t in (1.0, 2.0)]).state is State.CLOSED
    assert after((Event.DOWN, 1), (Event.DOWN, 2), (Event.FINE, 3), (Event.DOWN, 4)).state is State.CLOSED
    assert after((Event.DOWN, 1), (Event.DOWN, 2), (Event.DOWN, 3 + WINDOW)).state is State.CLOSED
    opened = after(*[(Event.DOWN, t) for t in (1.0, 2.0, 3.0)])
    assert opened.state is State.OPEN and opened.shut(4.9) and not opened.shut(5.0)


def test_one_call_tries_it_and_a_vain_try_doubles_the_pause() -> None:
    """While it is tried the others are sent away; one that goes well closes it for all."""
    opened = after(*[(Event.DOWN, t) for t in (1.0, 2.0, 3.0)])
    trying = decide(opened, Event.DUE, 5.0)
    assert trying.state is State.HALF and trying.shut(5.1)
    again = decide(trying, Event.DOWN, 6.0)
    assert again.state is State.OPEN and again.until == 6.0 + 4.0
    assert not decide(decide(again, Event.DUE, 10.0), Event.FINE, 11.0).shut(11.0)
    left = decide(trying, Event.LEFT, 7.0)  # whoever tried it went away
    assert left.state is State.OPEN and not left.shut(7.0)


def test_a_refused_key_shuts_it_until_there_is_another() -> None:
    """No time opens it, nor another failure; an answer does."""
    shut = decide(Breaker(), Event.KEY, 1.0)
    assert shut.keyless and shut.shut(1e9) and decide(shut, Event.DOWN, 2.0).keyless
    assert not decide(shut, Event.FINE, 3.0).shut(3.0)


@given(st.lists(st.tuples(st.sampled_from(Event), st.floats(0, 200))))
def test_without_a_refused_key_it_is_never_shut_for_long(events: list[tuple[Event, float]]) -> None:
    """Whatever happens, a call passes within the longest pause or the time of a silent try."""
    found, now = Breaker(3), 0.0
    for event, later in events:
        now += later
        if event is Event.KEY or (event is Event.DUE and found.shut(now)):
            continue
        found = decide(found, event, now)
        assert found.until < math.inf and not found.shut(now + max(LONGEST, 90.0))
