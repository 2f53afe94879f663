"""What read tools answered a moment ago, so that a room of agents that look for the same thing asks the index once.

An answer stands for one room, one set of grants, one tool and its arguments: what may be read is part of the question, so
an agent that may read less never gets the answer of one that may read more. Whether a call may be made at all is not
decided here, and is decided again each time. Everything is forgotten at any change of any note: which answers a change
concerns is known only by asking again. Pure: the caller says what time it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from egghead.capabilities.match import Authority
from egghead.tools.results import Output

SECONDS = 60.0  # an answer is given again (spec/agents.md)
MAX_BYTES = 8 * 1024 * 1024  # of answers kept; the oldest go first
OVERHEAD = 500  # bytes counted for each answer besides its text


@dataclass(frozen=True)
class _Kept:
    answer: Output
    until: float
    size: int


class Reads:
    """The answers that may be given again. `put` takes the mark that was read before the question was asked: when a note
    has changed since, the answer is already old and is not kept."""

    def __init__(self, seconds: float = SECONDS, most: int = MAX_BYTES) -> None:
        self.seconds = seconds
        self.most = most
        self.mark = 0
        self.size = 0
        self._kept: dict[str, _Kept] = {}  # in the order of their ends, because all stand equally long

    def __len__(self) -> int:
        return len(self._kept)

    def forget(self) -> None:
        """A note has changed, or may have."""
        self.mark += 1
        self.size = 0
        self._kept.clear()

    def get(self, key: str, now: float) -> Output | None:
        """The answer to this question, when it is young enough."""
        self._expire(now)
        kept = self._kept.get(key)
        return kept.answer if kept is not None else None

    def put(self, key: str, answer: Output, asked: float, mark: int) -> None:
        """Keep an answer. `asked`: when its question was begun; `mark`: the mark at that time."""
        size = len(key) + 2 * len(answer.summary) + len(answer.content.encode("utf-8", "surrogatepass")) + OVERHEAD
        if mark != self.mark or size > self.most:
            return
        self._drop(key)
        self._kept[key] = _Kept(answer, asked + self.seconds, size)
        self.size += size
        while self.size > self.most:
            self._drop(next(iter(self._kept)))

    def _expire(self, now: float) -> None:
        while self._kept:
            first = next(iter(self._kept))
            if self._kept[first].until > now:
                return
            self._drop(first)

    def _drop(self, key: str) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.size -= kept.size


def question(room: str, authority: Authority, tool: str, arguments: Mapping[str, Any]) -> str:
    """The key of a call: the same for the same parsed arguments by whoever holds the same grants in the same room."""
    grants = sorted(str(grant) for grant in authority.grants)
    return json.dumps(
        [room, grants, authority.sandbox, tool, arguments], sort_keys=True, ensure_ascii=True, default=str
    )
