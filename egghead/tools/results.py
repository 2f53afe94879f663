"""What a tool gives back: text of a bounded size, one line for people, and the records it touched."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

MAX_RESULT = 120_000  # bytes kept of a result (spec/agents.md)
HEAD_SHARE = 0.25  # of what is kept; the end of an output is where errors and totals stand


@dataclass(frozen=True)
class Output:
    """A successful result. `content` is for the model, `summary` for people, `records` are ids."""

    content: str
    summary: str
    records: tuple[str, ...] = ()


def as_json(value: Any) -> str:
    """JSON as models read it best: one line, letters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "), default=str)


def capped(text: str, limit: int = MAX_RESULT, hint: str = "") -> str:
    """At most about `limit` bytes of UTF-8: a quarter from the head, the rest from the tail, cut between characters,
    and a line in between that says what is missing and (`hint`) how to read it."""
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= limit:
        return text
    head_size = int(limit * HEAD_SHARE)
    head = data[:head_size].decode("utf-8", "ignore")
    tail = data[len(data) - (limit - head_size) :].decode("utf-8", "ignore")
    left_out = len(data) - len(head.encode()) - len(tail.encode())
    marker = f"\n[… {left_out} of {len(data)} bytes left out here{'; ' + hint if hint else ''} …]\n"
    return head + marker + tail
