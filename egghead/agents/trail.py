"""The trail of a session as Markdown: everything its agent heard, said, called and was answered, from the room's log.

The log is the source and not the folded session, which leaves out what is old. Text in pieces of a bounded size goes
out, so that a trail of any length is written in flat memory. Nothing here knows where it is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Entry = Mapping[str, Any]

PIECE = 400_000  # characters of one record's trail: a window full, and far below what one message of the bus may hold
MAX_LINKS = 200

_LINK = re.compile(r"\[\[([^\[\]|#\n]{1,200})")
_NAMED = ("id", "links")  # inputs of the record tools that name records


class Trail:
    """Collects entries in the order of the log. `pieces` gives what is complete, `rest` the last one; `links` are the
    records that were named, in order."""

    def __init__(self, agent: str) -> None:
        self.agent = agent
        self.turns = 0
        self._links: dict[str, None] = {}
        self._parts: list[str] = []
        self._size = 0
        self._calls: dict[str, str] = {}

    @property
    def links(self) -> list[str]:
        return list(self._links)[:MAX_LINKS]

    def take(self, entry: Entry) -> None:
        """One entry; those that the agent does not see say nothing here either."""
        text = "".join(f"{block}\n\n" for block in self._blocks(entry))
        if text:
            self._parts.append(text)
            self._size += len(text)

    def pieces(self) -> Iterator[str]:
        """What is large enough to be written."""
        if self._size >= PIECE:
            yield self.rest()

    def rest(self) -> str:
        """What has been collected since the last piece."""
        text = "".join(self._parts)
        self._parts, self._size = [], 0
        return text

    def _blocks(self, entry: Entry) -> Iterable[str]:
        teller = _TELLERS.get(entry["kind"])
        return teller(self, entry) if teller is not None else ()

    def _mine(self, entry: Entry) -> bool:
        return bool(entry.get("agent", self.agent) == self.agent and _by(entry) in (self.agent, "coordinator", "tools"))

    def _link(self, text: str) -> None:
        for found in _LINK.finditer(text):
            self._links.setdefault(found[1].strip())

    def _message(self, entry: Entry) -> Iterable[str]:
        text = str(entry.get("text", ""))
        self._link(text)
        agent = entry.get("agent") if entry.get("restored") else _agent_of(entry)
        who = f" (`agents/{agent}`)" if agent else ""
        yield f"**{_line(entry.get('author') or _by(entry))}**{who} — {entry.get('said') or entry['at']}"
        yield quoted(text) + ("\n\n*(cut off here)*" if entry.get("cut") else "")
        if entry.get("usage") and _by(entry) == self.agent:
            figures = ", ".join(f"{key} {value}" for key, value in entry["usage"].items())
            yield f"*tokens: {figures}*"

    def _turn_started(self, entry: Entry) -> Iterable[str]:
        if self._mine(entry):
            self.turns += entry["attempt"] == 1
            again = ", given again" if entry["attempt"] > 1 else ""
            yield f"### Turn {entry['turn']} ({entry['mode']}{again}) — {entry['at']}"

    def _turn_ended(self, entry: Entry) -> Iterable[str]:
        if self._mine(entry):
            reason = f": {_line(entry['reason'])}" if entry.get("reason") else ""
            yield f"*Turn {entry['turn']} ended: {entry['outcome']}{reason}*"

    def _tool_started(self, entry: Entry) -> Iterable[str]:
        if _by(entry) == self.agent:
            given = entry.get("input")
            self._name(given)
            self._calls[str(entry["call"])] = str(entry["tool"])
            yield f"#### {_line(entry['tool'])} — {entry['at']}"
            yield fenced(json.dumps(given, ensure_ascii=False, indent=1, default=str), "json")

    def _tool_ended(self, entry: Entry) -> Iterable[str]:
        if _by(entry) == self.agent:
            tool = self._calls.pop(str(entry["call"]), "tool")
            yield f"*{_line(tool)}: {entry['outcome']}*"
            result = entry.get("result")
            text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=str)
            yield fenced(text or str(entry.get("summary") or ""))

    def _name(self, given: Any) -> None:
        if not isinstance(given, Mapping):
            return
        for key in _NAMED:
            value = given.get(key)
            for name in [value] if isinstance(value, str) else value if isinstance(value, list) else []:
                if isinstance(name, str) and 0 < len(name) <= 200 and "\n" not in name:
                    self._links.setdefault(name.strip().removeprefix("[[").removesuffix("]]").strip())
        self._link(str(given.get("body", "")))

    def _action(self, entry: Entry) -> Iterable[str]:
        if _by(entry) == self.agent:
            text = f": {_line(entry['text'])}" if entry.get("text") else ""
            yield f"*{entry['action']}{text}*"

    def _said_of_it(self, entry: Entry) -> Iterable[str]:
        if self._mine(entry):
            yield f"*{entry['kind']}: {_line(entry['text'])}*"

    def _happened(self, entry: Entry) -> Iterable[str]:
        what = " ".join(_line(entry[key]) for key in ("agent", "text") if entry.get(key))
        yield f"*{entry['kind']} {what} — {entry['at']}*"


_TELLERS: dict[str, Callable[[Trail, Entry], Iterable[str]]] = {
    "message": Trail._message,
    "turn_started": Trail._turn_started,
    "turn_ended": Trail._turn_ended,
    "tool_started": Trail._tool_started,
    "tool_ended": Trail._tool_ended,
    "action": Trail._action,
    "denied": Trail._said_of_it,
    "topic": Trail._happened,
    "halted": Trail._happened,
    "joined": Trail._happened,
    "left": Trail._happened,
    "invited": Trail._happened,
    "kicked": Trail._happened,
    "saved": Trail._happened,
}


def _by(entry: Entry) -> str:
    return str(entry["by"]).removeprefix("agents/")


def _agent_of(entry: Entry) -> str | None:
    by = str(entry["by"])
    return by.removeprefix("agents/") if by.startswith("agents/") else None


def _line(value: Any) -> str:
    return " ".join(str(value).split())


def quoted(text: str) -> str:
    """Words as a block quote: a heading or a fence in them is theirs and not the record's."""
    return "\n".join(f"> {line}" if line else ">" for line in text.split("\n"))


def fenced(text: str, language: str = "") -> str:
    """Text between fences that it cannot close."""
    longest = max((len(found[0]) for found in re.finditer(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
