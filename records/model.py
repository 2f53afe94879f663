"""The values of this package: what a note is once it has been read.

Belongs here: frozen values and their plain-data form. No file access, no SQL, no YAML.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

CLASSES = ("durable", "inbox", "deliberation", "transcript", "agent", "skill")


class Heading(NamedTuple):
    """A heading of the body. `level` 1-6, `position` is the character offset of its line."""

    level: int
    text: str
    position: int


class Link(NamedTuple):
    """A link found in the body. `kind`: wiki, embed, or markdown (then `target` is a path without its extension)."""

    target: str
    fragment: str
    display: str
    position: int
    kind: str = "wiki"


@dataclass(frozen=True, slots=True)
class FileStat:
    """What `stat` says of a note's file. `path` is relative to the records directory, with `/`."""

    path: str
    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int = 0

    @property
    def mark(self) -> tuple[int, int, int]:
        """Equal marks mean: not changed since. The time is a stamp of both times: a tool can set the time of a change back
        (`touch -r`, `rsync -t`, a restored backup), but not the time at which it did so."""
        return (self.size, (self.mtime_ns * 3 + self.ctime_ns) & 0x7FFF_FFFF_FFFF_FFFF, self.inode)

    @classmethod
    def of(cls, path: str, info: os.stat_result) -> FileStat:
        """From what `stat` says."""
        return cls(path, info.st_size, info.st_mtime_ns, info.st_ino, info.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Record:
    """One note. Times are RFC 3339 in UTC; `revision` is a hash of the file's bytes; `error` is None or a sentence.

    `tags` are the field of that name, `inline_tags` those of the text that are not in it: `#tag`, or the tags of an org headline.
    """

    id: str
    title: str
    class_: str
    tags: tuple[str, ...]
    links: tuple[str, ...]
    created: str
    updated: str
    author: str
    body: str
    outline: tuple[Heading, ...]
    wikilinks: tuple[Link, ...]
    meta: Mapping[str, Any]
    format: str
    path: str
    revision: str
    error: str | None = None
    aliases: tuple[str, ...] = ()
    inline_tags: tuple[str, ...] = ()
    stat: FileStat | None = field(default=None, compare=False)

    def to_dict(self, *, body: bool = True) -> dict[str, Any]:
        """Plain data for JSON or msgpack; `class_` is spelled `class`."""
        data: dict[str, Any] = {
            "id": self.id,
            "title": self.title,
            "class": self.class_,
            "tags": list(self.tags),
            "links": list(self.links),
            "created": self.created,
            "updated": self.updated,
            "author": self.author,
            "outline": [heading._asdict() for heading in self.outline],
            "wikilinks": [link._asdict() for link in self.wikilinks],
            "aliases": list(self.aliases),
            "inline_tags": list(self.inline_tags),
            "meta": dict(self.meta),
            "format": self.format,
            "path": self.path,
            "revision": self.revision,
            "error": self.error,
        }
        if body:
            data["body"] = self.body
        if self.stat is not None:
            data["size"], data["mtime_ns"], data["inode"] = self.stat.mark
        return data


@dataclass(frozen=True, slots=True)
class Hit:
    """A search result. `score`: 0..1, never more than that of the hit before it; `coverage`: share of the query's weight that
    the note has, 0..1; `section`: heading of the passage the snippet is from; `marks`: (start, end) offsets in `snippet`."""

    id: str
    title: str
    class_: str
    tags: tuple[str, ...]
    snippet: str
    score: float
    updated: str
    coverage: float = 0.0
    section: str = ""
    marks: tuple[tuple[int, int], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "title": self.title,
            "class": self.class_,
            "tags": list(self.tags),
            "snippet": self.snippet,
            "score": self.score,
            "updated": self.updated,
            "coverage": self.coverage,
            "section": self.section,
            "marks": [list(mark) for mark in self.marks],
        }


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one note. `kind`: created, updated, renamed, trashed or removed. `previous_id`: only of a renamed one."""

    kind: str
    id: str
    path: str
    class_: str
    previous_class: str | None = None
    revision: str = ""
    previous_id: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "id": self.id,
            "path": self.path,
            "class": self.class_,
            "previous_class": self.previous_class,
            "revision": self.revision,
            "previous_id": self.previous_id,
        }


def stamp(ns: int) -> str:
    """Nanoseconds since the epoch as RFC 3339 UTC with milliseconds; impossible times become the epoch."""
    try:
        moment = datetime.fromtimestamp(ns / 1e9, UTC).replace(tzinfo=None)
    except (OverflowError, OSError, ValueError):
        # A file with an mtime in the year 60000 must not stop a scan.
        moment = datetime(1970, 1, 1)
    return moment.isoformat(timespec="milliseconds") + "Z"
