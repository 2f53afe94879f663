"""Frontmatter that needs no YAML parser: keys with plain words, quoted text, whole numbers, dates and lists of words
or quoted text, and comments.

Nearly all notes have no other. `read` gives exactly what libyaml gives, five times faster, or None: then the parser must
look. Whoever widens a pattern here proves it against libyaml (tests/records/test_frontmatter.py).
"""

from __future__ import annotations

import re
from collections.abc import Container
from datetime import date
from typing import Any

# A plain scalar begins with a letter: then it is no number, date, alias, tag, quote or comment. Nothing inside has a meaning.
_INNER = r"\w .()/+-"
_PLAIN = rf"[^\W\d_](?:[{_INNER},]*[\w.()/+,-])?"
_ITEM = rf"[^\W\d_](?:[{_INNER}]*[\w.()/+-])?"
_QUOTED = r"[\w ,.()/+:#!?&;@*=<>\[\]{}|%$~^-]*"
_DOUBLE, _SINGLE = rf"{_QUOTED}'?{_QUOTED}", rf'{_QUOTED}"?{_QUOTED}'
# Of a list: words, or quoted text without quotes in it.
_ELEMENT = rf"(?:{_ITEM}|\"{_QUOTED}\"|'{_QUOTED}')"
_END = r"(?: +#[\w ,.()/+:!?;'\"-]*)? *"  # a comment
_LINE = re.compile(
    rf"(?P<key>[A-Za-z][A-Za-z0-9_-]{{0,60}}):(?: +(?:(?P<plain>{_PLAIN})"
    rf"|(?P<flow>\[ *(?:{_ELEMENT}(?: *, *{_ELEMENT})*)? *\])"
    r"|(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"|(?P<number>0|[1-9][0-9]{0,17})"
    rf'|"(?P<double>{_DOUBLE})"'
    rf"|'(?P<single>{_SINGLE})'"
    rf"))?{_END}"
    rf"|(?P<indent> *)- +(?P<item>{_ELEMENT}){_END}"
)
_ELEMENTS = re.compile(_ELEMENT)
# Words that YAML 1.1 takes for something else than text.
_OTHER = frozenset(("yes", "no", "on", "off", "true", "false", "null"))
_MOST = 4000  # characters; what is longer is no header that somebody wrote by hand


def read(text: str, as_text: Container[str] = ()) -> dict[str, Any] | None:
    """The mapping of a block with `\\n` line endings, or None when it takes a YAML parser to say. `as_text`: keys whose numbers
    and dates are text, as they stand."""
    if len(text) > _MOST:
        return None
    found: dict[str, Any] = {}
    open_key = ""  # the key whose list may follow
    indent = ""
    for line in text.split("\n"):
        match = _LINE.fullmatch(line)
        if match is None:
            if line:
                return None
            continue
        kind = match.lastgroup
        if kind == "item":
            if not open_key:
                return None
            items = _texts(match["item"])
            if items is None:
                return None
            if found[open_key] is None:
                found[open_key], indent = [], match["indent"]
            elif indent != match["indent"]:
                return None
            found[open_key] += items
            continue
        key = match["key"]
        if key.lower() in _OTHER or key in found:
            return None
        value: Any = match[kind] if kind and kind != "key" else None
        open_key = ""
        if kind == "plain":
            if value.lower() in _OTHER:
                return None
        elif kind == "flow":
            value = _texts(value[1:-1])
            if value is None:
                return None
        elif kind == "number":
            value = value if key in as_text else int(value)
        elif kind == "date":
            try:
                date.fromisoformat(value)
            except ValueError:
                return None
        elif kind == "key":
            open_key = key
        found[key] = value
    return found


def _texts(elements: str) -> list[str] | None:
    """The elements of a list; None when one is no text."""
    texts = []
    for element in _ELEMENTS.findall(elements):
        if element[0] in "\"'":
            texts.append(element[1:-1])
        elif element.lower() in _OTHER:
            return None
        else:
            texts.append(element)
    return texts
