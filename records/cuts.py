"""Notes cut into terms, as the index keeps them and ranking reads them, and what a connection remembers of them. Pure.

What the terms of a text are is said in `records.text`; what a note is worth to a question, in `records.ranking`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from msgspec.json import decode

from records.text import analyse

MAX_SECTIONS = 400
SEPARATOR = "\x1e"  # no term contains it
PART = "\x1d"  # nor this

Section = tuple[
    int, int, int, str
]  # (start, end, level, heading) of a part of the body; level 0: before the first heading


@dataclass(slots=True)
class Cut:
    """A note cut into terms, as the index keeps it and ranking reads it. `tags` and `outline` as JSON, `length` in characters."""

    title: str
    tags: str
    outline: str
    length: int  # of the body
    heads: str  # see `cut_heads`
    text: str  # see `cut_text`
    marks: bytes = b""  # see `_mark`
    _ends: list[int] | None = None
    _sections: list[Section] | None = None

    @property
    def size(self) -> int:
        """About how much memory it takes, in bytes."""
        # Not by the number of characters: one emoji makes each of them take four bytes.
        return 900 + sum(max(2 * len(part), sys.getsizeof(part)) for part in (self.text, self.heads, self.outline))

    def ends(self) -> list[int]:
        """Where in `text` each section ends; the next begins one character later."""
        if self._ends is None:
            ends = []
            text = self.text
            at = text.find(SEPARATOR)
            while at >= 0:
                ends.append(at)
                at = text.find(SEPARATOR, at + 1)
            ends.append(len(text))
            self._ends = ends
        return self._ends

    def sections(self) -> list[Section]:
        """Where the sections lie in the body, as many as `ends`."""
        if self._sections is None:
            self._sections = sections(decode(self.outline), self.length)[: len(self.ends())]
        return self._sections


class Memory:
    """What a connection remembers between searches: document counts, and the notes it cut last. Bounded; drop it when
    the index changed (`forget`), since counts are of one state; cut notes are known by path and revision and stay."""

    def __init__(self, limit: int = 12_000_000) -> None:
        self.docs: dict[str, int] = {}
        self.total = -1
        self._limit = limit
        self._size = 0
        self._cuts: dict[tuple[str, str], tuple[int, Cut]] = {}

    def forget(self) -> None:
        """The index has changed."""
        self.docs.clear()
        self.total = -1

    def recall(self, path: str, revision: str, *, marked: bool = False) -> Cut | None:
        """The note's terms, if they are remembered. `marked`: with marks, which pay when many terms are looked for."""
        kept = self._cuts.pop((path, revision), None)
        if kept is None:
            return None
        size, cut = kept
        if marked and not cut.marks:
            cut.marks = _mark(cut.text)
            self._size += len(cut.marks)
            kept = size + len(cut.marks), cut
        self._cuts[path, revision] = kept  # at the end: the first is the one not used for longest
        return cut

    def keep(self, path: str, revision: str, cut: Cut) -> None:
        """Remember a note's terms; those not used for longest go when it is too much."""
        size = cut.size
        self._size += size
        self._cuts[path, revision] = size, cut
        while self._size > self._limit and len(self._cuts) > 1:
            self._size -= self._cuts.pop(next(iter(self._cuts)))[0]


def sections(outline: Sequence[Sequence[Any]], size: int) -> list[Section]:
    """The sections of a body of `size` characters, in order, from its beginning to its end."""
    out: list[Section] = []
    begin, level, heading = 0, 0, ""
    for to_level, to_heading, at in islice(outline, MAX_SECTIONS):
        if at >= size:
            break
        if at > 0:
            out.append((begin, at, level, heading))
        begin, level, heading = at, to_level, to_heading
    out.append((begin, size, level, heading))
    return out


def cut_text(outline: Sequence[Sequence[Any]], body: str) -> str:
    """The terms of a body, section by section: what is indexed, and what ranking reads instead of the text. A space before and
    after each term, so that it can be found as it stands."""
    parts = [analyse(body[start:end]) for start, end, _, _ in sections(outline, len(body))]
    return " " + f" {SEPARATOR} ".join(parts) + " "


def cut_heads(names: Sequence[str], labels: Sequence[str], headings: Sequence[str]) -> str:
    """What stands above the text of a note, each already as terms: title, last part of the path and aliases; tags and folder;
    headings in their order. A space before and after each term."""
    above = f" {SEPARATOR} ".join(headings[:MAX_SECTIONS])
    return f" {f' {SEPARATOR} '.join(names)} {PART} {' '.join(labels)} {PART} {above} "


def _mark(text: str) -> bytes:
    """A byte for each slot that the hash of one of the terms falls into: most of the terms that a note does not have are
    ruled out by one look, without a search through its text."""
    found = set(text.split())
    marks = bytearray(1 << (4 * len(found) + 1).bit_length())
    mask = len(marks) - 1
    for value in map(hash, found):
        marks[value & mask] = 1
    return bytes(marks)
