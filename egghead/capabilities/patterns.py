"""Patterns in scopes: globs, hosts and command lines, with two questions each: does it match, does it cover.

`matches(pattern, value)` is asked at each call. `covers(wide, narrow)` is asked when one agent writes another's
authority; it is sound (never True when some value escapes) and may say False for a cover it cannot see.

Globs are run as a nondeterministic automaton, in time pattern x value: a regular expression made from a pattern that
an agent wrote could be made to backtrack for hours.
"""

from __future__ import annotations

import ipaddress
import shlex
from functools import lru_cache
from typing import NamedTuple

ONE, STAR, DEEP, DIRS = "?", "*", "**", "**/"
_LITERAL = "="  # tokens are "=c" for the character c, so a literal star and a wildcard never look alike

State = tuple[int, bool]  # token number; True while inside the name of a folder that `**/` swallows


@lru_cache(maxsize=4096)
def _tokens(pattern: str) -> tuple[str, ...]:
    tokens: list[str] = []
    at = 0
    while at < len(pattern):
        start_of_segment = at == 0 or pattern[at - 1] == "/"
        if pattern.startswith("**/", at) and start_of_segment:
            tokens.append(DIRS)
            at += 3
        elif pattern.startswith("**", at):
            tokens.append(DEEP)
            at += 2
        elif pattern[at] in "*?":
            tokens.append(pattern[at])
            at += 1
        else:
            tokens.append(_LITERAL + pattern[at])
            at += 1
    return tuple(tokens)


def _closure(tokens: tuple[str, ...], states: set[State]) -> set[State]:
    """Add what is reached without reading: `*`, `**` and `**/` may stand for nothing."""
    todo = list(states)
    while todo:
        at, inside = todo.pop()
        if not inside and at < len(tokens) and tokens[at] in (STAR, DEEP, DIRS) and (at + 1, False) not in states:
            states.add((at + 1, False))
            todo.append((at + 1, False))
    return states


def _read(token: str, state: State, symbol: str) -> tuple[State, ...]:
    """The states after `token` has read `symbol`, a token of the narrower pattern or a character of the value.

    For a wildcard symbol only states are given from which every string it stands for is accepted: `*` is read by `*`,
    `**` and `**/`, `**` by `**` and `**/`. That makes `covers` sound.
    """
    at, inside = state
    slash = symbol == "=/"
    if token == DIRS:
        if slash:
            return ((at, False), (at, True))
        return ((at, False),) if symbol == DIRS and not inside else ((at, True),)
    if token == DEEP:
        return (state,)
    if token == STAR:
        return (state,) if not slash and symbol not in (DEEP, DIRS) else ()
    if token == ONE:
        return ((at + 1, False),) if symbol == ONE or (symbol[0] == _LITERAL and not slash) else ()
    return ((at + 1, False),) if token == symbol else ()


def _accepts(pattern: str, symbols: tuple[str, ...]) -> bool:
    tokens = _tokens(pattern)
    states = _closure(tokens, {(0, False)})
    for symbol in symbols:
        states = _closure(
            tokens,
            {after for state in states if state[0] < len(tokens) for after in _read(tokens[state[0]], state, symbol)},
        )
        if not states:
            return False
    return (len(tokens), False) in states


def glob_matches(pattern: str, value: str) -> bool:
    """`**/` any folders, `**` anything, `*` and `?` within one segment. Case-sensitive, as files are."""
    return _accepts(pattern, tuple(_LITERAL + character for character in value))


def glob_covers(wide: str, narrow: str) -> bool:
    """True only when every value that `narrow` matches is matched by `wide` too."""
    return wide == narrow or _accepts(wide, _tokens(narrow))


class Host(NamedTuple):
    """A host pattern taken apart. `port`: None the two web ports, -1 any, else that one."""

    name: str
    below: bool
    port: int | None


def _ascii(name: str) -> str:
    if name.isascii():
        return name.lower()
    import idna  # late: only a grant with a non-ASCII name pays for the tables

    try:
        return idna.encode(name, uts46=True).decode("ascii").lower()
    except idna.IDNAError as error:
        raise ValueError(f"{name!r} is not a host name: {error}") from error


def _split_port(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        name, _, rest = text[1:].partition("]")
        return name, rest[1:] if rest.startswith(":") else None
    if text.count(":") == 1:
        name, _, port = text.partition(":")
        return name, port
    return text, None


@lru_cache(maxsize=4096)
def parse_host(text: str) -> Host:
    """`x`, `*.x`, `*`, each with `:port` or `:*`. Raises ValueError with what is wrong."""
    name, port_text = _split_port(text.strip())
    if port_text is None:
        port = None
    elif port_text == "*":
        port = -1
    elif port_text.isascii() and port_text.isdigit() and 0 < int(port_text) < 65536:
        port = int(port_text)
    else:
        raise ValueError(f"{text!r} has no valid port; write host:443, host:* or only the host")
    name = name.rstrip(".")
    below = name.startswith("*.")
    bare = name[2:] if below else name
    if name == "*":
        return Host("*", False, port)
    if not bare or "*" in bare or "/" in bare or any(c.isspace() for c in bare):
        raise ValueError(f"{text!r} is not a host pattern; write example.org, *.example.org or *")
    if below and is_address(bare):
        raise ValueError(f"{text!r} puts a wildcard before an address; list the address itself")
    return Host(_ascii(bare), below, port)


def is_address(name: str) -> bool:
    """Whether the host is an IP literal. `*` never covers one: an address is granted by name only."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def host_matches(pattern: str, host: str, port: int) -> bool:
    """Whether a connection to `host`:`port` is inside the pattern. `host` may be written in Unicode."""
    try:
        wanted, name = parse_host(pattern), _ascii(host.rstrip("."))
    except ValueError:
        return False
    if wanted.port != -1 and port not in ((80, 443) if wanted.port is None else (wanted.port,)):
        return False
    if is_address(name):
        return is_address(wanted.name) and ipaddress.ip_address(wanted.name) == ipaddress.ip_address(name)
    return wanted.name in ("*", name) or (wanted.below and name.endswith("." + wanted.name))


def host_covers(wide: str, narrow: str) -> bool:
    """True only when every connection inside `narrow` is inside `wide`."""
    try:
        outer, inner = parse_host(wide), parse_host(narrow)
    except ValueError:
        return False
    if outer.port != -1 and outer.port != inner.port and not (outer.port is None and inner.port in (80, 443)):
        return False
    if is_address(inner.name) or is_address(outer.name):
        return outer.name == inner.name
    if outer.name == "*":
        return True
    if inner.name == outer.name:
        return outer.below or not inner.below
    return outer.below and inner.name.endswith("." + outer.name)


def _words(pattern: str) -> tuple[list[str], bool]:
    """The fixed words of a command pattern, and whether any arguments may follow."""
    if pattern.endswith(":*"):
        return [pattern[:-2]], True
    if pattern.endswith(" *"):
        return shlex.split(pattern[:-2]), True
    return shlex.split(pattern), False


def is_command(pattern: str) -> bool:
    """Whether a command pattern names a command at all."""
    try:
        return bool(_words(pattern)[0])
    except ValueError:
        return False


def command_matches(pattern: str, argv: tuple[str, ...]) -> bool:
    """`git:*` any arguments of git, `git status` that argv exactly, `git log *` that beginning."""
    try:
        words, more = _words(pattern)
    except ValueError:  # an unclosed quote in a grant matches nothing
        return False
    if not words:
        return False
    return list(argv[: len(words)]) == words if more else list(argv) == words


def command_covers(wide: str, narrow: str) -> bool:
    """True only when every argv inside `narrow` is inside `wide`."""
    try:
        outer, outer_more = _words(wide)
        inner, inner_more = _words(narrow)
    except ValueError:
        return False
    if not outer or not inner:
        return False
    if outer_more:
        return inner[: len(outer)] == outer
    return outer == inner and not inner_more


def inside(root: str, path: str) -> bool:
    """Whether an absolute, resolved path is the root or below it."""
    return path == root or root == "/" or path.startswith(root.rstrip("/") + "/")
