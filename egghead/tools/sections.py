"""Parts of a note's body: by heading, by lines or by characters. Text in, text out."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from records.lines import LINE

_RANGE = re.compile(r"\s*(\d+)\s*(?:[-–:]\s*(\d+)?\s*)?\Z")


class NoSuchPart(ValueError):
    """The part is not there; the text says what is."""


def section(body: str, outline: Sequence[Mapping[str, Any]], wanted: str) -> str:
    """The section under a heading, to the next heading of its level or above. Raises NoSuchPart.

    `outline`: `{level, text, position}` of each heading, position in characters from the start of the body.
    """
    name = wanted.strip().lstrip("#").strip().casefold()
    names = [str(heading["text"]).strip().casefold() for heading in outline]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
        if near:
            tail = f"; did you mean {outline[names.index(near[0])]['text']!r}?"
        else:
            headings = ", ".join(repr(heading["text"]) for heading in outline[:40])
            tail = f"; there are {headings}" if headings else "; the note has no headings"
        raise NoSuchPart(f"no section {wanted!r}{tail}")
    index = names.index(name)
    level, start = outline[index]["level"], int(outline[index]["position"])
    end = next((int(h["position"]) for h in outline[index + 1 :] if h["level"] <= level), len(body))
    return body[start:end].rstrip() + "\n"


def lines(body: str, wanted: str) -> str:
    """Lines `10-40`, `10-` or `10`, counted from 1. Raises NoSuchPart."""
    every = LINE.findall(body)
    first, last = _range(wanted, len(every), "lines")
    return "".join(every[first - 1 : last])


def characters(text: str, wanted: str) -> str:
    """Characters `10-40`, `10-` or `10`, counted from 1, for lines that are too long to be read whole. Raises NoSuchPart."""
    first, last = _range(wanted, len(text), "characters")
    return text[first - 1 : last]


def _range(wanted: str, count: int, what: str) -> tuple[int, int]:
    """First and last of `count` things, as they are written."""
    found = _RANGE.match(wanted)
    if found is None:
        raise NoSuchPart(f"{what} are written as 10-40, 10- or 10, not {wanted!r}")
    first = int(found[1])
    last = int(found[2]) if found[2] else (count if "-" in wanted or "–" in wanted or ":" in wanted else first)
    if not 1 <= first <= count or last < first:
        raise NoSuchPart(f"there are {count} {what}; there is no {wanted!r}")
    return first, last
