"""What programs write into the names of files: Denote all of its fields, Logseq the characters that a name cannot hold. Pure.

Denote: `DATE==SIGNATURE--TITLE__KEYWORDS`, with `@@DATE` where another part stands first (its manual, The file-naming
scheme). Logseq: `___` is a slash and `%3F` a question mark (its documentation, Filename format), and a journal is linked by its
day. What a file says of itself goes before all of this; that is decided where it is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from urllib.parse import unquote

_DENOTE = re.compile(r"(?:^|@@)(\d{8}T\d{6})(?===|--|__|@@|$)")
_TITLE = re.compile(r"--((?:(?!==|__|@@|--).)+)")
_KEYWORDS = re.compile(r"__((?:(?!==|--|@@).)+)")
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
_JOURNAL = re.compile(r"journals/(\d{4})_(\d\d)_(\d\d)$")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Told:
    """What the name of a file says. `created`: local time, as Denote writes it, `2024-01-01T10:10:10`; or empty."""

    title: str = ""
    tags: tuple[str, ...] = ()
    created: str = ""


NOTHING = Told()

# What a program that keeps folders alike calls the file that lost: Syncthing, Dropbox and Nextcloud (Obsidian Sync as
# well), ownCloud, Seafile, pCloud.
_CONFLICT = re.compile(
    r"(?:\.sync-conflict-\d{8}-\d{6}(?:-\w+)?| \((?:[^()]* )?conflicted copy[^()]*\)|_conflict-\d{8}-\d{6}"
    r"| \(SFConflict [^()]*\)| \[conflicted\])(?=\.\w+$)",
    re.IGNORECASE,
)
CONFLICT = "conflict"  # all of these names have it


def original(path: str) -> str | None:
    """The path of the file that a sync program made this one a conflicted copy of; None: it is none."""
    found = _CONFLICT.search(path) if CONFLICT in path.casefold() else None
    return path[: found.start()] + path[found.end() :] if found is not None else None


def told(stem: str) -> Told:
    """What a path without its extension says of the note."""
    last = stem.rpartition("/")[2]
    identifier = _identifier(last)
    if identifier:
        title, keywords = _TITLE.search(last), _KEYWORDS.search(last)
        return Told(
            title.group(1).replace("-", " ").strip() if title else "",
            tuple(word for word in keywords.group(1).split("_") if word) if keywords else (),
            datetime.strptime(identifier, "%Y%m%dT%H%M%S").isoformat(),
        )
    decoded = _decoded(last)
    return Told(decoded) if decoded else NOTHING


def names(stem: str) -> Iterator[str]:
    """Other names that links use for the file with this path: Denote's identifier, the name of the page in Logseq."""
    last = stem.rpartition("/")[2]
    if identifier := _identifier(last):
        yield identifier
    if decoded := _decoded(last):
        yield decoded
    if day := _JOURNAL.search(stem):
        try:
            when = date(*(int(part) for part in day.groups()))
        except ValueError:
            return
        # Logseq's default format of a day; another is set in its config.edn.
        yield f"{_MONTHS[when.month - 1]} {when.day}{_ordinal(when.day)}, {when.year}"


def _identifier(last: str) -> str:
    found = _DENOTE.search(last) if "T" in last else None
    if found is None:
        return ""
    try:
        datetime.strptime(found.group(1), "%Y%m%dT%H%M%S")
    except ValueError:
        return ""  # the 13th month: figures that are no time
    return found.group(1)


def _decoded(last: str) -> str:
    if "___" not in last and not ("%" in last and _ENCODED.search(last)):
        return ""
    try:
        return unquote(last.replace("___", "/"), errors="strict")
    except UnicodeDecodeError:
        return ""


def _ordinal(day: int) -> str:
    return "th" if day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
