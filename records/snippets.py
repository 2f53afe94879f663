"""A few words of a note around what was searched, as plain text with the places to highlight. Pure."""

from __future__ import annotations

import re
from bisect import bisect
from itertools import accumulate

from records.markdown import plain
from records.text import Wanted

LENGTH = 220
MAX_LINES = 400  # of a passage that are looked at
MAX_SHOWN = 12  # lines that may be joined
_READ = 2000  # characters of a line that are looked at for the best one
_FAR = 4000  # characters of a line in which a wanted word is looked for
_FURNITURE = re.compile(r"^\s*(?:[-*+>]|\d+[.)]|#{1,6}|\|)?\s*(?:\[[ xX]\]\s*)?")
_ADDRESS = re.compile(r"<?\w+://[^\s>)]*>?|^\s*\[[^\]]*\]:.*")
_RULED = "-*_=|:`~"  # what a rule begins with
_RULE = re.compile(r"^\s*(?:[-*_=|: ]{3,}|`{3,}.*|~{3,}.*)\s*$")


def excerpt(text: str, wanted: Wanted, length: int = LENGTH) -> tuple[str, tuple[tuple[int, int], ...]]:
    """About `length` characters of the lines that hold most of what is wanted, and (start, end) of each."""
    lines = text.split("\n", MAX_LINES)[:MAX_LINES]
    shown = ""
    left = MAX_SHOWN
    for line in lines[_best(text, lines, wanted) :] if len(lines) > 1 else lines:
        if not _says(line):
            continue
        clean = _clean(line)
        shown += " · " + clean if shown and clean else clean
        left -= 1
        if not left or len(shown) >= length * 0.6:
            break
    marks = wanted.spans(shown[:_FAR])
    if len(shown) <= length:
        return shown, marks
    cut, moved = _cut(shown, marks[0][0] if marks else 0, length)
    begin, end = cut.startswith("…"), len(cut) - cut.endswith("…")
    return cut, tuple(
        [(low - moved, high - moved) for low, high in marks if low - moved >= begin and high - moved <= end]
    )


def _best(text: str, lines: list[str], wanted: Wanted) -> int:
    """Which line holds most of what is wanted; of several the first."""
    ends = list(accumulate([len(line) + 1 for line in lines]))
    held: dict[int, list[str]] = {}
    for at, piece in wanted.pieces(text[: ends[-1]]):
        place = bisect(ends, at)
        if at - (ends[place - 1] if place else 0) < _READ:
            held.setdefault(place, []).append(piece)
    best = 0.0
    start = 0
    for place, pieces in held.items():
        line = lines[place]
        if not _says(line):
            continue
        # The words of addresses are not what a line says.
        addressed = "://" in line or "](" in line
        value = wanted.value(_said(line)) if addressed else wanted.worth(pieces)
        if value > best + 1e-9:
            best = value
            start = place
            if value > wanted.most - 1e-9:
                break  # no line says more
    return start


def _says(line: str) -> bool:
    """Whether a line is more than white space and a rule."""
    bare = line.strip()
    return bool(bare) and not (bare[0] in _RULED and _RULE.match(line))


def _said(line: str) -> str:
    """A line without its addresses."""
    return _ADDRESS.sub(" ", plain(line[:500]) + line[500:_READ])


def _clean(line: str) -> str:
    line = line[:_FAR]
    return _plain_line(line if line[0].isalpha() else _FURNITURE.sub("", line, count=1))


def _plain_line(line: str) -> str:
    if len(line) <= 500:
        return plain(line)
    # `plain` reads at most 500 characters at a time; a paragraph may be one long line.
    return " ".join(part for part in (plain(line[at : at + 500]) for at in range(0, len(line), 500)) if part)


def _cut(text: str, at: int, length: int) -> tuple[str, int]:
    """A part of a text with what stands at a place, and a little before it; and how far its characters have moved."""
    first = max(0, at - length // 3)
    if first:
        gap = text.find(" ", first)
        first = gap + 1 if 0 <= gap < first + 30 else first
    cut = text[first : first + length]
    if first + length < len(text):
        head, space, _ = cut.rpartition(" ")
        cut = (head if space and len(head) > length // 2 else cut) + "…"
    return ("…" if first else "") + cut, first - bool(first)
