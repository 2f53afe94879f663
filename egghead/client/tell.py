"""What an entry of a log says to people, as one line: the same words on every surface. Messages are not told here."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any

Entry = Mapping[str, Any]

GESTURES = (
    "nods and passes",
    "has nothing to add",
    "listens",
    "passes",
    "leaves it to the others",
    "shakes its head: nothing from here",
    "stays quiet",
    "waves it on",
)


# C0 and C1, and what turns the order of the letters around it (Unicode's embeddings, overrides and isolates).
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    """Text of somebody else for a terminal: control characters are shown, not obeyed; ends of lines and tabs stay."""
    text = text.replace("\r\n", "\n")
    return _CONTROL.sub(_spelt, text) if _CONTROL.search(text) else text


def _spelt(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def gesture(entry: Entry) -> str:
    """How a yield looks: chosen by the id of the entry, so that everybody sees the same one."""
    return GESTURES[zlib.crc32(str(entry["id"]).encode()) % len(GESTURES)]


def _by(entry: Entry) -> str:
    return str(entry.get("author") or entry["by"]).removeprefix("agents/")


def _agent(entry: Entry) -> str:
    return str(entry["by"]).removeprefix("agents/")


def _text(entry: Entry) -> str | None:
    return str(entry["text"]) if entry.get("text") else None


def _ended(entry: Entry) -> str | None:
    if entry["outcome"] == "failed":
        return f"{entry['agent']}: {entry.get('reason') or 'failed'}"
    return f"{entry['agent']} was stopped" if entry["outcome"] == "halted" else None


def _exhausted(entry: Entry) -> str:
    waiting = f"; waiting: {', '.join(entry['queued'])}" if entry["queued"] else ""
    return f"the budget of turns is used up{waiting}. /continue goes on"


# kind -> its line, None when there is nothing to say. Tool calls and turns are drawn by the surface itself.
_LINES: dict[str, Callable[[Entry], str | None]] = {
    "invited": lambda entry: f"{_by(entry)} invited {entry['agent']}",
    "kicked": lambda entry: f"{_by(entry)} sent {entry['agent']} out; what it knew of this room is forgotten",
    "muted": lambda entry: f"{_by(entry)} muted {entry['agent']}",
    "unmuted": lambda entry: f"{_by(entry)} unmuted {entry['agent']}",
    "topic": lambda entry: f"{_by(entry)} set the topic: {entry['text']}",
    "budget_set": lambda entry: (
        f"{_by(entry)} set the budget to {entry['budget']} turn{'s' * (entry['budget'] != 1)} a message"
    ),
    "continued": lambda entry: f"{_by(entry)} lets them go on",
    "halted": lambda entry: f"{_by(entry)} stopped the room",
    "budget_exhausted": _exhausted,
    "round_planned": lambda entry: entry.get("reason") or None,
    "turn_ended": _ended,
    "handoff_started": _text,
    "handoff_ended": _text,
    "joined": lambda entry: f"{entry['title']} (@{entry['agent']}) is here",
    "left": lambda entry: f"{entry['title']} (@{entry['agent']}) has left",
    "reloaded": lambda entry: f"{entry['title']}: {entry.get('text') or 'has changed'}",
    "parked": lambda entry: f"{entry['title']} is parked: {entry.get('text') or 'it crashed too often'}",
    "denied": _text,
    "notice": _text,
    "saved": lambda entry: f"saved as [[{entry['record']}]]",
}


def waiting(waits: Mapping[str, Any]) -> str:
    """Why a model call has not begun, out of `{provider, place, why, until}`, and until when."""
    place, until = waits.get("place"), str(waits.get("until") or "")
    facts = [
        f"{waits.get('provider')}: {waits.get('why') or 'nothing of it has come'}",
        f"{place}. in line" if place else "",
        f"until {until[11:19]} UTC or longer" if until else "",
    ]
    return f"waits for {', '.join(filter(None, facts))}"


def line(entry: Entry) -> str | None:
    """The line about an entry, None when people need not hear of it."""
    if entry["kind"] == "action":
        if entry["action"] == "passed":
            return f"{_agent(entry)} {gesture(entry)}"
        return _text(entry) if entry["action"] == "note" else None
    tell = _LINES.get(entry["kind"])
    return tell(entry) if tell is not None else None
