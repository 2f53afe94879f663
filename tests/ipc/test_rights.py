"""What `allow` means."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipc import LocalProtocolError
from ipc.limits import Bucket
from ipc.rights import Pattern, Rights


def test_absent_allow_allows_nothing() -> None:
    """Without `allow` a peer may only answer."""
    rights = Rights(None)
    assert not rights.may_call("a", "b")
    assert not rights.may_publish("a/")
    assert not rights.may_subscribe("a/")
    assert not rights.may_monitor("a")


@pytest.mark.parametrize(
    ("target", "method", "good"),
    [
        ("store", "get", True), ("store", "create", False), ("tools", "run", True), ("rooms/default", "since", True),
        ("rooms/x/y", "since", True), ("rooms", "since", False), ("rooms/default", "append", False),
        ("xstore", "get", False), ("store\n", "get", False),
    ],
)  # fmt: skip
def test_calls_are_matched_by_target_pattern_and_method(target: str, method: str, good: bool) -> None:
    """`*` in a target matches anything, as a method it allows all; everything else is literal and whole."""
    rights = Rights({"call": {"store": ["get", "search"], "tools": ["*"], "rooms/*": ["since"]}})
    assert rights.may_call(target, method) is good
    assert rights.may_call(target, method) is good, "the cached answer is the same"


def test_topics_are_matched_by_prefix() -> None:
    """Publishing and subscribing are allowed below the named prefixes only."""
    rights = Rights({"publish": ["rooms/default/"], "subscribe": ["rooms/"]})
    assert rights.may_publish("rooms/default/")
    assert rights.may_publish("rooms/default/x/")
    assert not rights.may_publish("rooms/")
    assert rights.may_subscribe("rooms/a/")
    assert not rights.may_subscribe("room")
    assert not rights.may_subscribe("")


def test_a_monitor_pattern_must_be_covered() -> None:
    """A pattern is allowed only when every name it matches is allowed."""
    rights = Rights({"monitor": ["agents/*"]})
    for pattern in ("agents/scout", "agents/*", "agents/a*"):
        assert rights.may_monitor(pattern), pattern
    for pattern in ("*", "agents", "a*"):
        assert not rights.may_monitor(pattern), pattern


names = st.text("ab/*", max_size=6)


@settings(max_examples=200, deadline=None)
@given(names, names, st.text("ab/", max_size=6))
def test_coverage_is_sound(allowed: str, asked: str, name: str) -> None:
    """Whatever an accepted pattern matches is matched by the allowed one too."""
    if Rights({"monitor": [allowed]}).may_monitor(asked) and Pattern(asked).matches(name):
        assert Pattern(allowed).matches(name)


@settings(max_examples=300, deadline=None)
@given(st.text("ab/*", max_size=8), st.text("ab/*", max_size=10))
def test_a_pattern_is_what_the_regular_expression_would_be(pattern: str, name: str) -> None:
    """`*` stands for any characters and everything else for itself."""
    expression = ".*".join(re.escape(part) for part in pattern.split("*"))
    assert Pattern(pattern).matches(name) == (re.fullmatch(expression, name, re.S) is not None)


def test_no_pattern_takes_long() -> None:
    """A pattern of 127 stars against the longest name that nearly fits is decided at once."""
    began = time.process_time()
    assert not Pattern("*a" * 127 + "b").matches("a" * 200)
    assert Pattern("*a" * 127).matches("a" * 200)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    ("allow", "message"),
    [
        ({"calls": {}}, "did you mean 'call'"), ({"call": ["x"]}, "map target patterns"), ({"call": {"a": "b"}}, "list of strings"),
        ({"publish": "a/"}, "list of strings"), ([], "mapping"),
    ],
)  # fmt: skip
def test_wrong_allows_are_refused_with_the_remedy(allow: object, message: str) -> None:
    """Unknown keys and wrong shapes are refused, naming what was meant."""
    with pytest.raises(LocalProtocolError, match=message):
        Rights(allow)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 0.1), min_size=1, max_size=200))
def test_the_bucket_never_lets_more_through_than_rate_and_burst(waits: list[float]) -> None:
    """In any run, what is let through is at most the burst plus rate times time."""
    bucket, now, passed = Bucket(rate=50, burst=10), 0.0, 0
    for wait in waits:
        now += wait
        passed += bucket.take(now) >= 0
    assert passed <= 10 + 50 * now + 1
