"""Logseq's page properties: `key:: value` lines at the very top of a page, read as fields and changed where they stand. Pure.

Which keys are read: `title`, `tags` and `alias`, no others. `id` is Logseq's own number of the page, and a `class` that
anybody could slip into the text of a note would make an agent of it. All lines are part of the text as well.
Source: Logseq's documentation, pages Properties and Built-in Properties.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# A name begins with no figure; letters of all scripts and . * + ! - _ ? $ % & = < > may be in it.
_LINE = re.compile(r"([^\W\d][\w.*+!?$%&=<>-]*|[.*+!?$%&=<>_-][\w.*+!?$%&=<>-]+)::(?:[ \t]([^\n]{0,20000}))?(?:\n|\Z)")
MAX_TOP = 20_000  # characters in which properties begin: a page with more of them is an attack, not a page
_PIECE = re.compile(r"(?:\[\[[^\[\]\n]*\]\]|[^,])+")
_REFERENCE = re.compile(r"#?\[\[([^\[\]\n]+)\]\]|(?:(?<=\s)|^)#([^\s#,\[\]]+)")
_FIELDS = {"title": "title", "tags": "tags", "alias": "aliases"}
_NAMES = {field: name for name, field in _FIELDS.items()}


def read(text: str) -> dict[str, Any]:
    """The fields that a page's own lines give: `title` a text, `tags` and `aliases` lists. Empty values are left out."""
    fields: dict[str, Any] = {}
    if "::" not in text[:200]:
        return fields
    for _, _, name, value in _lines(text):
        field = _FIELDS.get(name)
        if field == "title" and value:
            fields.setdefault(field, _unquoted(value))
        elif field is not None and (found := [meaning for _, meaning in _items(value)]):
            fields.setdefault(field, found)
    return fields


def given(fields: Mapping[str, Any], field: str) -> bool:
    """Whether frontmatter gives a field itself: it goes before the page's own lines."""
    return field in fields or (field == "aliases" and "alias" in fields)


def has(text: str) -> bool:
    """Whether the page begins with properties: then a new one belongs among them."""
    return next(_lines(text), None) is not None


def change(text: str, field: str, value: str | Sequence[str] | None) -> str | None:
    """The text with one field of the page set (None, or nothing in it: its line goes). Items that stay keep their spelling.

    None: a line cannot say it (a title in quotes, a tag that looks like a reference); frontmatter can, and goes first.
    """
    wanted = " ".join(value.split()) if isinstance(value, str) else [" ".join(item.split()) for item in value or ()]
    changed = _changed(text, field, wanted)
    return changed if read(changed).get(field, type(wanted)()) == wanted else None


def _changed(text: str, field: str, value: str | Sequence[str]) -> str:
    name = _NAMES[field]
    found = [(start, end, old) for start, end, known, old in _lines(text) if known == name]
    if not value:
        for start, end, _ in reversed(found):
            text = text[:start] + text[end:]
        return text
    if found:
        start, end, old = found[0]
        line = text[start:end]
        head = line[: line.index("::") + 2]
        return f"{text[:start]}{head} {_written(value, old)}{line[len(line.rstrip(chr(10))) :]}{text[end:]}"
    end = max(end for _, end, _, _ in _lines(text))
    gap = "" if text[:end].endswith("\n") else "\n"
    return f"{text[:end]}{gap}{name}:: {_written(value, '')}\n{text[end:]}"


def _lines(text: str) -> Iterator[tuple[int, int, str, str]]:
    """(start, end, name, value) of each property of the page. A name counts in any case, and `_` as `-`."""
    at = len(text) - len(text.lstrip("\n"))
    while at < MAX_TOP and (match := _LINE.match(text, at)) is not None:
        yield match.start(), match.end(), match.group(1).lower().replace("_", "-"), (match.group(2) or "").strip()
        at = match.end()


def _items(value: str) -> Iterator[tuple[str, str]]:
    """(as written, what it means) of each item. Commas part items; `[[a]] #b` without a comma are two."""
    for piece in _PIECE.findall(value):
        references = [(match.group(), match.group(1) or match.group(2)) for match in _REFERENCE.finditer(piece)]
        if references:
            yield from ((written, meaning.strip()) for written, meaning in references)
        elif plain := _unquoted(piece.strip()):
            yield piece.strip(), plain


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _written(value: str | Sequence[str], old: str) -> str:
    if isinstance(value, str):
        return value
    known = {meaning: written for written, meaning in _items(old)}
    # Logseq takes a comma for the end of an item, so what holds one is written as the name of a page.
    return ", ".join(known.get(item) or (f"[[{item}]]" if "," in item else item) for item in value)
