"""A room's messages as Markdown that people read and edit, and back.

    **Ada** — 2026-01-02T03:04:05Z

    Where do we stand?

    **Scout** (`agents/scout`) — 2026-01-02T03:04:09Z

    Almost there.

`parse(render(lines)) == lines` for any authors and texts (with line ends as `\\n`): a line of a text that looks like a
header gets a backslash in front, and one backslash is taken away again. Parsing is total: a transcript edited by hand
gives what can be made out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from egghead.rooms.entries import MAX_ENTRY, MAX_NAME, MAX_TEXT, Entry
from egghead.rooms.names import AGENT_PREFIX, agent_of

LONGEST = MAX_TEXT // 2  # characters of a part of what is too long for one entry: as JSON one may take six bytes
_HEADER = re.compile(
    r"\*\*(?P<name>(?:[^*\\]|\\.)+)\*\* (?:\(`(?P<id>.+)`\) )?— (?P<at>\d{4}-\d\d-\d\dT[\d:.]{1,40}Z)\s*\Z"
)
_LOOKS = re.compile(r"\\*\*\*.*— ?\d{4}-")
# What no text file has: of one NUL a note could not be read back for sure, and with some more it would be taken for a
# program. Shown as Unicode's pictures of them; ends of lines, tabs and the colours of a terminal stay.
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")


@dataclass(frozen=True, slots=True)
class Line:
    """One message of a transcript. `agent`: its id, None for a person; `at`: RFC 3339 UTC, whole seconds."""

    author: str
    agent: str | None
    at: str
    text: str


def line_of(entry: Entry) -> Line | None:
    """The message of an entry as a note can hold it, None for other kinds."""
    if entry["kind"] != "message":
        return None
    author, text = writable(entry["author"]), writable(entry["text"])
    if entry.get("restored"):
        return Line(author, entry.get("agent"), entry["said"], text)
    return Line(author, agent_of(entry["by"]), seconds(entry["at"]), text)


def writable(text: str) -> str:
    """A text as a note can hold it."""
    return _CONTROL.sub(lambda found: chr(0x2400 + ord(found[0])), text)


def seconds(at: str) -> str:
    """A time without its fraction."""
    return re.sub(r"\.\d+Z\Z", "Z", at)


def render(lines: Iterable[Line]) -> str:
    """The body of the transcript record."""
    blocks = []
    for line in lines:
        who = f" (`{AGENT_PREFIX}{line.agent}`)" if line.agent else ""
        text = "\n".join("\\" + row if _LOOKS.match(row) else row for row in _plain(line.text).split("\n"))
        blocks.append(f"**{_escape(line.author)}**{who} — {line.at}\n\n{text}\n")
    return "\n".join(blocks)


def parse(body: str) -> list[Line]:
    """The messages of a transcript. Whatever stands before the first header is no message."""
    found: list[Line] = []
    header: re.Match[str] | None = None
    rows: list[str] = []
    for row in _plain(body).split("\n"):
        match = _HEADER.match(row)
        if match is None:
            rows.append(row)
            continue
        if header is not None:
            found.append(_line(header, rows, last=False))
        header, rows = match, []
    if header is not None:
        found.append(_line(header, rows, last=True))
    return found


def merged(body: str, lines: list[Line], saved: int) -> str:
    """The body of a transcript that reads `body` now, after `lines` were said, `saved` of which it had been given.

    When the first lines are as they were, all are written anew; what stands before the first header stays. When somebody
    has changed them, what they wrote stays and what was said since then is added.
    """
    kept = parse(body)
    if len(kept) >= saved and kept == lines[: len(kept)]:
        return _before(body) + render(lines)
    fresh = lines[saved:]
    # A save that was cut off after it had written did not tell: its lines are there already.
    there = next((n for n in range(min(len(fresh), len(kept)), 0, -1) if kept[-n:] == fresh[:n]), 0)
    if not fresh[there:]:
        return body
    return _plain(body).rstrip("\n") + "\n\n" + render(fresh[there:])


def _before(body: str) -> str:
    """What stands before the first header."""
    rows = _plain(body).split("\n")
    first = next((at for at, row in enumerate(rows) if _HEADER.match(row)), len(rows))
    text = "\n".join(rows[:first]).strip("\n")
    return f"{text}\n\n" if text.strip() else ""


def speakers(lines: Iterable[Line]) -> list[str]:
    """Record ids of the agents that spoke, each once, in order."""
    return list(dict.fromkeys(AGENT_PREFIX + line.agent for line in lines if line.agent))


def restored(lines: Iterable[Line]) -> list[dict[str, Any]]:
    """Entries that put a transcript's messages into a new log, for the lobby to append. What a person made longer than an
    entry may be becomes several, a name that is too long is cut: one long line must not keep the others out."""
    entries: list[dict[str, Any]] = []
    for line in lines:
        piece = MAX_TEXT if _fits(line.text) else LONGEST
        for start in range(0, len(line.text) or 1, piece):
            entry: dict[str, Any] = {
                "kind": "message",
                "author": line.author[:MAX_NAME],
                "text": line.text[start : start + piece],
                "said": line.at,
                "restored": True,
            }
            if line.agent:
                entry["agent"] = line.agent[:MAX_NAME]
            entries.append(entry)
    return entries


def _fits(text: str) -> bool:
    """Whether a text can be an entry as it is, with its author and the rest."""
    return (
        len(text) <= MAX_TEXT
        and len(json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")) < MAX_ENTRY - 4096
    )


def _line(header: re.Match[str], rows: list[str], last: bool) -> Line:
    # render puts one empty row after the header and one behind the text (two line ends before the next header).
    if rows and not rows[0].strip():
        rows = rows[1:]
    if rows and not rows[-1].strip() and (not last or len(rows) > 1 or rows == [""]):
        rows = rows[:-1]
    text = "\n".join(row[1:] if row.startswith("\\") and _LOOKS.match(row) else row for row in rows)
    named = header["id"]
    agent = None
    if named:
        agent = named.removeprefix(AGENT_PREFIX).removeprefix("agent/")
    return Line(_unescape(header["name"]), agent, header["at"], text)


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _escape(name: str) -> str:
    return re.sub(r"([\\*])", r"\\\1", " ".join(name.split()) or "?")


def _unescape(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name)
