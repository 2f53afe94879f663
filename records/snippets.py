"""A few words of a note around what was searched, as plain text with the places to highlight. Pure."""

from __future__ import annotations

import re

from records.markdown import plain
from records.text import Wanted

LENGTH = 220
_FAR = 4000  # characters of a line in which a wanted word is looked for
_FURNITURE = re.compile(r"^\s*(?:[-*+>]|\d+[.)]|#{1,6}|\|)?\s*(?:\[[ xX]\]\s*)?")
_ADDRESS = re.compile(r"<?\w+://[^\s>)]*>?|^\s*\[[^\]]*\]:.*")
_RULED = "-*_=|:`~"  # what a rule begins with
_RULE = re.compile(r"^\s*(?:[-*_=|: ]{3,}|`{3,}.*|~{3,}.*)\s*$")


def excerpt(text: str, wanted: Wanted, length: int = LENGTH) -> tuple[str, tuple[tuple[int, int], ...]]:
    """About `length` characters of the lines that hold most of what is wanted, and (start, end) of each."""
    lines = [
        line
        for line in text.splitlines()[:400]
        if (bare := line.strip()) and not (bare[0] in _RULED and _RULE.match(line))
    ]
    best = -1.0
    start = 0
    most = sum(wanted.terms.values())
    for place, line in enumerate(lines if len(lines) > 1 else ()):
        value = wanted.value(_said(line))
        if value > best + 1e-9:
            best = value
            start = place
            if value > most - 1e-9:
                break  # no line says more
    shown = ""
    for line in lines[start : start + 12]:
        clean = _clean(line)
        shown += " · " + clean if shown and clean else clean
        if len(shown) >= length * 0.6:
            break
    if len(shown) > length:
        shown = _cut(shown, max(0, wanted.first(shown[:_FAR])), length)
    return shown, wanted.spans(shown)


def _said(line: str) -> str:
    """A line as it counts: the words of addresses are not what it says."""
    line = line[:2000]
    if "://" in line or "](" in line:
        return _ADDRESS.sub(" ", plain(line[:500]) + line[500:])
    return line


def _clean(line: str) -> str:
    return _plain_line(_FURNITURE.sub("", line[:4000], count=1))


def _plain_line(line: str) -> str:
    if len(line) <= 500:
        return plain(line)
    # `plain` reads at most 500 characters at a time; a paragraph may be one long line.
    return " ".join(part for part in (plain(line[at : at + 500]) for at in range(0, len(line), 500)) if part)


def _cut(text: str, at: int, length: int) -> str:
    """A part of a text with what stands at a place, and a little before it."""
    first = max(0, at - length // 3)
    if first:
        gap = text.find(" ", first)
        first = gap + 1 if 0 <= gap < first + 30 else first
    cut = text[first : first + length]
    if first + length < len(text):
        head, space, _ = cut.rpartition(" ")
        cut = (head if space and len(head) > length // 2 else cut) + "…"
    return ("…" if first else "") + cut
