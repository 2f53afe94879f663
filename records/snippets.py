"""A few words of a note around what was searched, as plain text with the places to highlight. Pure."""

from __future__ import annotations

import re

from records.markdown import plain
from records.text import Wanted

Marks = tuple[tuple[int, int], ...]  # (start, end)
Pieces = list[tuple[int, str]]  # (where, which)
_NONE: Pieces = []  # not to be changed

LENGTH = 220
MAX_LINES = 400  # of a passage that are looked at
MAX_SHOWN = 12  # lines that may be joined
_READ = 2000  # characters of a line that are looked at for the best one
_FAR = 4000  # characters of a line in which a wanted word is looked for
_FURNITURE = re.compile(r"^\s*(?:(?:[-*+]|\d{1,9}[.)]|#{1,6})(?=\s)|>|\|)?\s*(?:\[[ xX]\]\s*)?")
_ADDRESS = re.compile(r"<?\w+://[^\s>)]*>?|^\s*\[[^\]]*\]:.*")
_RULED = "-*_=|:`~"  # what a rule begins with
_RULE = re.compile(r"^\s*(?:[-*_=|: ]{3,}|`{3,}.*|~{3,}.*)\s*$")


def excerpt(text: str, wanted: Wanted, length: int = LENGTH) -> tuple[str, tuple[tuple[int, int], ...]]:
    """About `length` characters of the lines that hold most of what is wanted, and (start, end) of each."""
    if text.count("\n") >= MAX_LINES:
        text = "\n".join(text.split("\n", MAX_LINES)[:MAX_LINES])
    start, pieces = _best(text, wanted)
    shown = ""
    left = MAX_SHOWN
    enough = length * 0.6
    size = len(text)
    while start <= size:
        end = text.find("\n", start)
        end = end if end >= 0 else size
        line = text[start:end]
        if _says(line):
            clean = _clean(line)
            if pieces and not shown and len(clean) >= enough and end - start < _READ:
                shown = clean
                moved = line.find(clean)
                if not moved or (moved > 0 and line[moved - 1] == " "):
                    # It stands as it did, so that what was found in it is still there.
                    return _framed(shown, wanted.marks(pieces, start + moved), length)
                break
            shown += " · " + clean if shown and clean else clean
            left -= 1
            if not left or len(shown) >= enough:
                break
        start = end + 1
    return _framed(shown, wanted.spans(shown[:_FAR]), length)


def _framed(shown: str, marks: Marks, length: int) -> tuple[str, Marks]:
    """A text cut to `length` around the first mark, and the marks that are left."""
    if len(shown) <= length:
        return shown, marks
    cut, moved = _cut(shown, marks[0][0] if marks else 0, length)
    begin, end = moved + cut.startswith("…"), moved + len(cut) - cut.endswith("…")
    return cut, tuple([(low - moved, high - moved) for low, high in marks if low >= begin and high <= end])


def _best(text: str, wanted: Wanted) -> tuple[int, Pieces]:
    """Where the line begins that holds most of what is wanted, of several the first, and its pieces that may have it."""
    best = 0.0
    start, found = 0, _NONE
    low = high = -1
    held: list[tuple[int, int, Pieces]] = []
    pieces: Pieces = []
    for piece in wanted.pieces(text):
        at = piece[0]
        if at >= high:
            low = text.rfind("\n", 0, at) + 1
            high = text.find("\n", at)
            high = high if high >= 0 else len(text)
            pieces = []
            held.append((low, high, pieces))
        if at - low < _READ:
            pieces.append(piece)
    for low, high, pieces in held:
        line = text[low:high]
        if not _says(line):
            continue
        # The words of addresses are not what a line says.
        addressed = "://" in line or "](" in line
        value = wanted.value(_said(line)) if addressed else wanted.worth([piece for _, piece in pieces])
        if value > best + 1e-9:
            best = value
            start, found = low, pieces
            if value > wanted.most - 1e-9:
                break  # no line says more
    return start, found


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
