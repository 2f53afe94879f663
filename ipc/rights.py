"""What a peer may do on the bus: the compiled form of `allow`.

Pure matching on names, methods, topics and patterns. Who is asking is decided elsewhere.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from ipc.errors import LocalProtocolError

_KEYS = ("call", "publish", "subscribe", "monitor")
_CACHE = 512

ALL: dict[str, Any] = {"call": {"*": ["*"]}, "publish": [""], "subscribe": [""], "monitor": ["*"]}


class Pattern:
    """A name pattern in which `*` matches anything, `/` too, and everything else is literal.

    Not a regular expression: one with many stars takes years for a name that nearly fits, and peers choose both.
    """

    __slots__ = ("_first", "_last", "_middle", "_shortest", "_stars")

    def __init__(self, pattern: str) -> None:
        first, *rest = pattern.split("*")
        self._first = first
        self._stars = bool(rest)
        self._last = rest[-1] if rest else ""
        self._middle = tuple(part for part in rest[:-1] if part)
        self._shortest = len(self._first) + len(self._last)

    def matches(self, name: str) -> bool:
        """Whether the whole name fits."""
        if not self._stars:
            return name == self._first
        if len(name) < self._shortest or not name.startswith(self._first) or not name.endswith(self._last):
            return False
        at, end = len(self._first), len(name) - len(self._last)
        for part in self._middle:  # the leftmost place for each leaves most room for the next
            found = name.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True


def _strings(key: str, value: Any) -> list[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise LocalProtocolError(f"allow.{key} must be a list of strings, not {value!r}")
    return list(value)


class Rights:
    """Compiled `allow`. An absent key allows nothing of its kind.

    Raises LocalProtocolError for unknown keys (with the nearest known one) and for wrong shapes.
    """

    def __init__(self, allow: Mapping[str, Any] | None = None) -> None:
        allow = {} if allow is None else allow
        if not isinstance(allow, Mapping):
            raise LocalProtocolError(f"allow must be a mapping with the keys {', '.join(_KEYS)}, not {allow!r}")
        for key in allow:
            if key not in _KEYS:
                near = difflib.get_close_matches(str(key), _KEYS, 1, 0)
                raise LocalProtocolError(f"allow has the unknown key {key!r}: did you mean {near[0]!r}?")
        calls = allow.get("call") or {}
        if not isinstance(calls, Mapping):
            raise LocalProtocolError(f"allow.call must map target patterns to lists of methods, not {calls!r}")
        self._calls = [
            (Pattern(str(target)), frozenset(_strings(f"call.{target}", methods))) for target, methods in calls.items()
        ]
        self._publish = tuple(_strings("publish", allow.get("publish") or []))
        self._subscribe = tuple(_strings("subscribe", allow.get("subscribe") or []))
        self._monitor = [Pattern(pattern) for pattern in _strings("monitor", allow.get("monitor") or [])]
        self._call_cache: dict[tuple[str, str], bool] = {}
        self._publish_cache: dict[str, bool] = {}

    def may_call(self, target: str, method: str) -> bool:
        """Whether `method` of the process `target` may be called."""
        key = (target, method)
        known = self._call_cache.get(key)
        if known is None:
            if len(self._call_cache) >= _CACHE:
                self._call_cache.clear()  # names come from outside: an unbounded cache would be a leak to order
            known = self._call_cache[key] = any(
                ("*" in methods or method in methods) and pattern.matches(target) for pattern, methods in self._calls
            )
        return known

    def may_publish(self, topic: str) -> bool:
        """Whether events may be published on `topic`."""
        known = self._publish_cache.get(topic)
        if known is None:
            if len(self._publish_cache) >= _CACHE:
                self._publish_cache.clear()
            known = self._publish_cache[topic] = topic.startswith(self._publish) if self._publish else False
        return known

    def may_subscribe(self, prefix: str) -> bool:
        """Whether all topics that begin with `prefix` may be read."""
        return prefix.startswith(self._subscribe) if self._subscribe else False

    def may_monitor(self, pattern: str) -> bool:
        """Whether `pattern` names only processes that may be watched.

        A `*` in the asked pattern is matched as a character: what an allowed `*` covers, it covers for every name.
        """
        return any(allowed.matches(pattern) for allowed in self._monitor)
