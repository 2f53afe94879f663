"""A few words of a note around what was searched, as plain text with the places to highlight. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from records.markdown import plain
from records.text import raw_words, terms

LENGTH = 220
_FURNITURE = re.compile(r"^\s*(?:[-*+>]|\d+[.)]|#{1,6}|\|)?\s*(?:\[[ xX]\]\s*)?")
_RULE = re.compile(r"^\s*(?:[-*_=|: ]{3,}|`{3,}.*|~{3,}.*)\s*$")


def excerpt(text: str, wanted: Mapping[str, float], length: int = LENGTH) -> tuple[str, tuple[tuple[int, int], ...]]:
    """About `length` characters of the lines that hold most of `wanted` (index term -> weight), and (start, end) of each."""
    lines = [line for line in (_clean(line) for line in text.splitlines()[:400]) if line]
    if not lines:
        return "", ()
    best = -1.0
    start = 0
    for place, line in enumerate(lines):
        value = sum(wanted.get(term, 0.0) for term in set(terms(line[:2000])))
        if value > best + 1e-9:
            best = value
            start = place
    shown = lines[start]
    for line in lines[start + 1 :]:
        if len(shown) >= length * 0.6:
            break
        shown += " · " + line
    shown = _cut(shown, wanted, length)
    marks = []
    at = 0
    for word in raw_words(shown):
        found = shown.find(word, at)
        if found < 0:
            continue
        at = found + len(word)
        if any(term in wanted for term in terms(word)):
            marks.append((found, at))
    return shown, tuple(marks)


def _clean(line: str) -> str:
    if _RULE.match(line):
        return ""
    return _plain_line(_FURNITURE.sub("", line[:4000], count=1))


def _plain_line(line: str) -> str:
    # `plain` reads at most 500 characters at a time; a paragraph may be one long line.
    return " ".join(part for part in (plain(line[at : at + 500]) for at in range(0, len(line), 500)) if part)


def _cut(text: str, wanted: Mapping[str, float], length: int) -> str:
    if len(text) <= length:
        return text
    first = 0
    for word in raw_words(text):
        if any(term in wanted for term in terms(word)):
            first = max(0, text.find(word) - length // 3)
            break
    if first:
        gap = text.find(" ", first)
        first = gap + 1 if 0 <= gap < first + 30 else first
    cut = text[first : first + length]
    if first + length < len(text):
        head, space, _ = cut.rpartition(" ")
        cut = (head if space and len(head) > length // 2 else cut) + "…"
    return ("…" if first else "") + cut
