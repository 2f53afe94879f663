"""What may stand in a room's log: one table, and a validator that is total over anything a peer can send.

The table is the contract between rooms, coordinator, agents and every client; docs/interfaces.md shows it to people.
Here is shape only: which kinds exist, who may append them, which fields they have. Whether a turn is open is decided
in `gate`, what an entry means in `fold`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from egghead.rooms.ulid import ulid

Entry = Mapping[str, Any]

MODES = ("open", "mention", "huddle", "jam", "peer")
OUTCOMES = ("spoke", "passed", "failed", "halted")
TOOL_OUTCOMES = ("ok", "error", "denied", "unknown")
ACTIONS = ("passed", "failed", "note")
ENDING_ACTIONS = ("passed", "failed")
HANDOFF_REASONS = ("asked", "context", "overflow")

MAX_TEXT = 256 * 1024  # characters of one text; a tool result is capped at 120 kB before it comes here
MAX_NAME = 256  # characters of a name
MAX_RECORD = 1000  # characters of a note's id, which has no more bytes; that of a handoff names its agent twice
MAX_TOPIC = 2000  # characters of a topic: every agent reads it in every turn
MAX_ENTRY = 1024 * 1024  # bytes of one entry as JSON
MAX_BATCH = 256  # entries of one append
MAX_BUDGET = 10_000

STAMPED = ("seq", "at", "by")  # the room's own; never taken from a caller
_ID = re.compile(r"[A-Za-z0-9_.:~/@+-]{1,200}\Z")
_ROLES = {"coordinator": "coordinator", "roster": "roster", "tools": "tools", "lobby": "lobby"}
_EDGES = ("web", "irc", "mcp")  # processes of the edge that speak for people

Check = Callable[[Any], str | None]  # None when the value is fine, else what it should be


class EntryError(ValueError):
    """An entry that the log does not take; the message names the field, the value and the remedy."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a kind. `private`: only its own author reads it back."""

    check: Check
    required: bool = True
    private: bool = False


def _text(value: Any) -> str | None:
    if not isinstance(value, str):
        return "text"
    return None if len(value) <= MAX_TEXT else f"at most {MAX_TEXT} characters (put the rest in a note)"


def _topic(value: Any) -> str | None:
    fine = isinstance(value, str) and len(value) <= MAX_TOPIC
    return (
        None
        if fine
        else f"text of at most {MAX_TOPIC} characters (agents read it in every turn; put the rest in a note)"
    )


def _name(value: Any) -> str | None:
    return None if isinstance(value, str) and 0 < len(value) <= MAX_NAME else f"text of 1 to {MAX_NAME} characters"


def _record(value: Any) -> str | None:
    return None if isinstance(value, str) and 0 < len(value) <= MAX_RECORD else f"text of 1 to {MAX_RECORD} characters"


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "true or false"


def _mapping(value: Any) -> str | None:
    return None if isinstance(value, dict) and all(isinstance(key, str) for key in value) else "a mapping"


def _anything(value: Any) -> str | None:
    return None


def _names(value: Any) -> str | None:
    return None if isinstance(value, list) and all(_name(item) is None for item in value) else "a list of names"


def _scores(value: Any) -> str | None:
    fine = isinstance(value, dict) and all(
        isinstance(key, str) and isinstance(score, int | float) and not isinstance(score, bool)
        for key, score in value.items()
    )
    return None if fine else "a mapping of agents to numbers"


def _number(low: int, high: int) -> Check:
    def check(value: Any) -> str | None:
        fine = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return None if fine else f"a whole number from {low} to {high}"

    return check


def _one_of(*words: str) -> Check:
    def check(value: Any) -> str | None:
        return None if isinstance(value, str) and value in words else "one of " + ", ".join(words)

    return check


def need(check: Check) -> Field:
    """A field that must be there."""
    return Field(check)


def may(check: Check) -> Field:
    """A field that may be left out."""
    return Field(check, required=False)


def secret(check: Check) -> Field:
    """A field that only its author reads back."""
    return Field(check, private=True)


_INCARNATION = _number(0, 1 << 62)
_AGENT_BY_PERSON = {"agent": need(_name), "author": need(_name)}
_AGENT_BY_ROSTER = {"agent": need(_name), "title": need(_name), "text": may(_text)}

# (kind, role) -> fields. The order is the order of docs/interfaces.md.
KINDS: dict[tuple[str, str], dict[str, Field]] = {
    ("message", "client"): {"author": need(_name), "text": need(_text), "mentions": may(_names)},
    ("message", "agent"): {
        "turn": need(_name),
        "author": need(_name),
        "text": need(_text),
        "usage": need(_mapping),
        "cut": may(_flag),
    },
    # What a saved transcript says was said: shown and remembered, never answered.
    ("message", "lobby"): {
        "author": need(_name),
        "text": need(_text),
        "agent": may(_name),
        "said": need(_name),
        "restored": need(_flag),
    },
    ("invited", "client"): {**_AGENT_BY_PERSON, "title": may(_name)},
    ("kicked", "client"): _AGENT_BY_PERSON,
    ("muted", "client"): _AGENT_BY_PERSON,
    ("unmuted", "client"): _AGENT_BY_PERSON,
    ("topic", "client"): {"text": need(_topic), "author": may(_name)},
    ("budget_set", "client"): {"budget": need(_number(0, MAX_BUDGET)), "author": may(_name)},
    ("continued", "client"): {"author": may(_name)},
    ("halted", "client"): {"author": may(_name)},
    ("halted", "lobby"): {},  # the room is about to be dropped
    ("handoff_asked", "client"): _AGENT_BY_PERSON,
    ("tool_started", "agent"): {
        "turn": need(_name),
        "attempt": need(_number(1, 2)),
        "call": need(_name),
        "tool": need(_name),
        "input": secret(_anything),
        "read_only": need(_flag),
        "summary": need(_text),
    },
    ("tool_ended", "agent"): {
        "turn": need(_name),
        "call": need(_name),
        "outcome": need(_one_of(*TOOL_OUTCOMES)),
        "result": secret(_anything),
        "summary": need(_text),
    },
    ("action", "agent"): {"turn": need(_name), "action": need(_one_of(*ACTIONS)), "text": may(_text)},
    ("handoff_asked", "agent"): {
        "reason": need(_one_of("context", "overflow")),
        "turn": may(_name),
        "text": may(_text),
    },
    ("handoff_started", "coordinator"): {
        "agent": need(_name),
        "handoff": need(_name),
        "record": need(_record),
        "attempt": need(_number(1, 3)),
        "incarnation": need(_INCARNATION),
        "reason": need(_one_of(*HANDOFF_REASONS)),
        "text": need(_text),
    },
    ("handoff", "agent"): {
        "turn": may(_name),
        "record": need(_record),
        "incarnation": may(_INCARNATION),
        "note": Field(_text, required=False, private=True),
        "keep": may(_number(0, 1 << 30)),
    },
    ("handoff_ended", "agent"): {"outcome": need(_one_of("failed")), "text": need(_text)},
    ("handoff_ended", "coordinator"): {
        "agent": need(_name),
        "record": need(_record),
        "outcome": need(_one_of("back", "failed")),
        "text": need(_text),
    },
    ("round_planned", "coordinator"): {
        "round": need(_name),
        "message": need(_name),
        "mode": need(_one_of(*MODES)),
        "order": need(_names),
        "scores": need(_scores),
        "reason": may(_text),
    },
    ("turn_started", "coordinator"): {
        "turn": need(_name),
        "round": need(_name),
        "agent": need(_name),
        "attempt": need(_number(1, 2)),
        "incarnation": need(_INCARNATION),
        "mode": need(_one_of(*MODES)),
        "nudge": may(_flag),
    },
    ("turn_ended", "coordinator"): {
        "turn": need(_name),
        "agent": need(_name),
        "outcome": need(_one_of(*OUTCOMES)),
        "reason": may(_text),
    },
    ("round_ended", "coordinator"): {"round": need(_name)},
    ("budget_exhausted", "coordinator"): {"queued": need(_names)},
    ("joined", "roster"): _AGENT_BY_ROSTER,
    ("left", "roster"): _AGENT_BY_ROSTER,
    ("reloaded", "roster"): _AGENT_BY_ROSTER,
    ("parked", "roster"): _AGENT_BY_ROSTER,
    ("denied", "tools"): {
        "agent": need(_name),
        "turn": need(_name),
        "code": need(_name),
        "text": need(_text),
        "remedy": need(_text),
    },
    ("saved", "lobby"): {"record": need(_record), "messages": may(_number(0, 1 << 53))},
    ("saved", "roster"): {"record": need(_record)},
    ("notice", "lobby"): {"text": need(_text)},
    ("notice", "roster"): {"text": need(_text)},
}

ROLES: dict[str, tuple[str, ...]] = {}
for _kind, _role in KINDS:
    ROLES[_kind] = (*ROLES.get(_kind, ()), _role)

PRIVATE: dict[str, frozenset[str]] = {
    kind: frozenset(name for name, field in fields.items() if field.private)
    for (kind, _), fields in KINDS.items()
    if any(field.private for field in fields.values())
}


def role_of(name: str) -> str | None:
    """The role of a caller by the name that the bus stamped; None: it has no business in a log."""
    if name.startswith("clients/") or name in _EDGES:
        return "client"
    if name.startswith("agents/"):
        return "agent"
    return _ROLES.get(name)


def validate(entry: object, role: str | None) -> dict[str, Any]:
    """The entry as the log takes it, without the fields that the room stamps. Raises EntryError for anything else.

    Total: any value of any type gives an entry or an EntryError, never another exception.
    """
    if not isinstance(entry, dict):
        raise EntryError(f"an entry is a mapping, not {_short(entry)}")
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in ROLES:
        raise EntryError(f"unknown kind {_short(kind)}{_nearest(kind, ROLES)}")
    fields = KINDS.get((kind, role or ""))
    if fields is None:
        raise EntryError(f"{kind!r} may be appended by {' or '.join(ROLES[kind])}, not by {role or 'this caller'}")
    found: dict[str, Any] = {}
    if "id" in entry:
        if not isinstance(entry["id"], str) or not _ID.match(entry["id"]):
            raise EntryError(f"id {_short(entry['id'])} must be 1 to 200 letters, digits or any of _.:~/@+-")
        found["id"] = entry["id"]
    found["kind"] = kind
    for name in entry:
        if name not in fields and name not in ("id", "kind"):
            if name in STAMPED:
                raise EntryError(f"{name!r} is stamped by the room: leave it out")
            raise EntryError(f"{kind!r} has no field {_short(name)}{_nearest(name, fields)}")
    for name, field in fields.items():
        if name in entry:
            wanted = field.check(entry[name])
            if wanted is not None:
                raise EntryError(f"{name!r} of {kind!r} must be {wanted}, not {_short(entry[name])}")
            found[name] = entry[name]
        elif field.required:
            raise EntryError(f"{kind!r} needs the field {name!r}")
    return found


def public(entry: Entry) -> dict[str, Any]:
    """The entry without what only its author may read."""
    hidden = PRIVATE.get(entry["kind"])
    if hidden is None:
        return dict(entry)
    return {name: value for name, value in entry.items() if name not in hidden}


def for_reader(entry: Entry, reader: str) -> dict[str, Any]:
    """The entry as this process may see it: whole for its author, `public` for everybody else."""
    return dict(entry) if entry.get("by") == reader else public(entry)


def log_id(first: Entry) -> str:
    """What tells a log from another one of the same room, from its first entry. Its id alone does not: the roster makes the
    ids of its entries from what they say, and lets the same agents into every new log."""
    return f"{first['id']} {first.get('at', '')}"


def _nearest(word: object, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(word, known, n=1) if isinstance(word, str) and len(word) < 100 else []
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(known)}"


def _short(value: object) -> str:
    text = repr(value)
    if len(text) <= 80:
        return text
    return text[:77] + "..." + (f" ({len(value)} characters)" if isinstance(value, str) else "")


def new_id() -> str:
    """An id for an entry that somebody has just made up."""
    return ulid()
