"""Patterns: what they match, and that covering is sound."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egghead.capabilities.patterns import (
    command_covers,
    command_matches,
    glob_covers,
    glob_matches,
    host_covers,
    host_matches,
    inside,
)

GLOB = st.lists(st.sampled_from(["a", "b", "/", "*", "**", "**/", "?", "/**"]), min_size=1, max_size=6).map("".join)
PATH = st.text("ab/", max_size=7)


@pytest.mark.parametrize(
    ("pattern", "value", "found"),
    [
        ("projects/**", "projects/garden", True),
        ("projects/**", "projects/a/b", True),
        ("projects/**", "projects", False),
        ("projects/**", "projectsx/a", False),
        ("projects/*", "projects/a/b", False),
        ("**/note", "note", True),
        ("**/note", "a/b/note", True),
        ("**/note", "a/bnote", False),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("n?te", "note", True),
        ("n?te", "n/te", False),
        ("**", "a/b", True),
        ("*", "a/b", False),
        ("a+b", "a+b", True),
        ("a.b", "axb", False),
        ("Projects/*", "projects/a", False),
        ("", "", True),
    ],
)
def test_globs(pattern: str, value: str, found: bool) -> None:
    """`**/` is any folders, `*` and `?` stay in one segment, everything else is itself."""
    assert glob_matches(pattern, value) is found


@given(GLOB, GLOB, PATH)
@settings(max_examples=400, deadline=None)
def test_glob_cover_is_sound(wide: str, narrow: str, value: str) -> None:
    """What a covered pattern matches, the covering pattern matches."""
    if glob_covers(wide, narrow) and glob_matches(narrow, value):
        assert glob_matches(wide, value)


@given(GLOB)
@settings(max_examples=100, deadline=None)
def test_everything_covers(pattern: str) -> None:
    """`**` covers every pattern, and every pattern covers itself."""
    assert glob_covers("**", pattern) and glob_covers(pattern, pattern)


def test_globs_do_not_backtrack() -> None:
    """A pattern made to blow up a backtracking matcher is answered at once."""
    assert not glob_matches("**/" * 60 + "x", "a/" * 300 + "y")


@pytest.mark.parametrize(
    ("wide", "narrow", "found"),
    [
        ("projects/**", "projects/*", True),
        ("projects/**", "projects/a/**", True),
        ("projects/*", "projects/**", False),
        ("a?", "ab", True),
        ("a?", "a*", False),
        ("**/x", "a/**/x", True),
        ("a/*/c", "a/?/c", True),
        ("*", "**", False),
    ],
)
def test_glob_cover_cases(wide: str, narrow: str, found: bool) -> None:
    """Covering sees the ordinary cases."""
    assert glob_covers(wide, narrow) is found


@pytest.mark.parametrize(
    ("pattern", "host", "port", "found"),
    [
        ("api.x.com", "API.X.com", 443, True),
        ("api.x.com", "api.x.com.", 443, True),
        ("api.x.com", "evil-api.x.com", 443, False),
        ("*.github.com", "api.github.com", 80, True),
        ("*.github.com", "github.com", 443, True),
        ("*.github.com", "notgithub.com", 443, False),
        ("*.github.com", "github.com.evil.org", 443, False),
        ("*", "anything.org", 443, True),
        ("*", "127.0.0.1", 80, False),
        ("*", "::1", 80, False),
        ("127.0.0.1", "127.0.0.1", 80, True),
        ("::1", "0:0:0:0:0:0:0:1", 80, True),
        ("x.org", "x.org", 8080, False),
        ("x.org:8080", "x.org", 8080, True),
        ("x.org:8080", "x.org", 443, False),
        ("x.org:*", "x.org", 22, True),
        ("münchen.de", "xn--mnchen-3ya.de", 443, True),
        ("xn--mnchen-3ya.de", "MÜNCHEN.de", 443, True),
        ("x.org", "x.org/../y", 443, False),
        ("x.org", "", 443, False),
    ],
)
def test_hosts(pattern: str, host: str, port: int, found: bool) -> None:
    """Exact names, `*.x` for x and below, `*` for any name but no address, the web ports unless a port is given."""
    assert host_matches(pattern, host, port) is found


HOSTS = ["*", "x.org", "*.x.org", "a.x.org", "*.a.x.org", "y.org", "127.0.0.1", "[::1]"]
PORTS = ["", ":*", ":80", ":8080"]


@given(*[st.tuples(st.sampled_from(HOSTS), st.sampled_from(PORTS)) for _ in range(2)], st.sampled_from(HOSTS[1:]))
@settings(max_examples=400, deadline=None)
def test_host_cover_is_sound(wide: tuple[str, str], narrow: tuple[str, str], host: str) -> None:
    """What a covered host pattern lets through, the covering one lets through."""
    outer, inner = "".join(wide), "".join(narrow)
    for port in (80, 443, 8080, 22):
        if host_covers(outer, inner) and host_matches(inner, host.removeprefix("*.").strip("[]"), port):
            assert host_matches(outer, host.removeprefix("*.").strip("[]"), port)


@pytest.mark.parametrize(
    ("pattern", "argv", "found"),
    [
        ("git:*", ("git",), True),
        ("git:*", ("git", "push", "--force"), True),
        ("git:*", ("gitx",), False),
        ("git status", ("git", "status"), True),
        ("git status", ("git", "status", "-s"), False),
        ("git log *", ("git", "log", "-p"), True),
        ("git log *", ("git", "logs"), False),
        ('git commit -m "a b"', ("git", "commit", "-m", "a b"), True),
        ('git "', ("git",), False),
        ("", ("git",), False),
    ],
)
def test_commands(pattern: str, argv: tuple[str, ...], found: bool) -> None:
    """`x:*` any arguments, a line exactly, a trailing ` *` any further arguments; words, never substrings."""
    assert command_matches(pattern, argv) is found


WORDS = st.lists(st.sampled_from(["git", "log", "-p"]), min_size=1, max_size=3)
COMMAND = st.tuples(WORDS, st.sampled_from(["", " *"])).map(lambda parts: " ".join(parts[0]) + parts[1])


@given(COMMAND | st.just("git:*"), COMMAND | st.just("git:*"), WORDS)
@settings(max_examples=300, deadline=None)
def test_command_cover_is_sound(wide: str, narrow: str, argv: list[str]) -> None:
    """What a covered command pattern lets run, the covering one lets run."""
    if command_covers(wide, narrow) and command_matches(narrow, tuple(argv)):
        assert command_matches(wide, tuple(argv))


def test_inside_is_by_segment() -> None:
    """A folder contains itself and what is below it, not a sibling that begins with its name."""
    assert inside("/a", "/a") and inside("/a", "/a/b") and inside("/", "/x") and inside("/a/", "/a/b")
    assert not inside("/a", "/ab") and not inside("/a/b", "/a")
