"""The seam between a note's file and its format: which parser reads it, how a change is written into it.

One row of the table per format. A format has four functions and knows nothing of files or of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from records import frontmatter, org, properties, relink
from records.errors import InvalidValue
from records.lines import normal
from records.markdown import heading_end, headings, parse_markdown
from records.model import FileStat, Heading, Record


@dataclass(frozen=True, slots=True)
class Format:
    """`parse(data, path, stat, author, born)`; `split(data, path)`; `compose(keys, body)` for a new file, `change(parts, changes)`
    and `with_body(parts, body)` for an old one; `retarget`, `relink` (see `records.relink`) when notes move."""

    name: str
    suffix: str
    parse: Callable[[bytes, str, FileStat | None, str, Callable[[], int] | None], Record]
    compose: Callable[[Mapping[str, Any], str], frontmatter.Parts]
    change: Callable[[frontmatter.Parts, Mapping[str, Any]], frontmatter.Parts]
    with_body: Callable[[frontmatter.Parts, str], frontmatter.Parts]
    split: Callable[[bytes, str], frontmatter.Parts]
    retarget: Callable[[str, str, Collection[str], str, str, str, bool], str]
    relink: Callable[[str, str, str, Callable[[str], bool]], str]


def parse(
    data: bytes, path: str, *, stat: FileStat | None = None, author: str = "", born: Callable[[], int] | None = None
) -> Record:
    """Read a note by the extension of its path. `born`: when its file was made, in ns. Raises Unreadable."""
    return _by_path(path).parse(data, path, stat, author, born)


def compose(name: str, keys: Mapping[str, Any], body: str) -> frontmatter.Parts:
    """A new file of a format. Raises InvalidValue."""
    return _named(name).compose(keys, body)


def change(name: str, parts: frontmatter.Parts, changes: Mapping[str, Any]) -> frontmatter.Parts:
    """A file with some fields, meta keys (None removes one) or the body changed. Raises InvalidValue."""
    return _named(name).change(parts, changes)


def with_body(name: str, parts: frontmatter.Parts, body: str) -> frontmatter.Parts:
    """A file with another body. Raises InvalidValue for one that the format could not tell from its fields."""
    return _named(name).with_body(parts, body)


def suffix(name: str) -> str:
    """The extension of a format's files."""
    return _named(name).suffix


def of(path: str) -> Format:
    """The format of the note at a path."""
    return _by_path(path)


def _named(name: str) -> Format:
    if not isinstance(name, str) or name not in FORMATS:
        raise InvalidValue(f"there is no format {name!r}; known: {', '.join(FORMATS)}")
    return FORMATS[name]


def _by_path(path: str) -> Format:
    lower = path.lower()
    for known in FORMATS.values():
        if lower.endswith(known.suffix):
            return known
    return FORMATS["markdown"]


def _parse_markdown(
    data: bytes, path: str, stat: FileStat | None, author: str, born: Callable[[], int] | None
) -> Record:
    return parse_markdown(data, path, stat=stat, author=author, born=born)


def _compose_markdown(keys: Mapping[str, Any], body: str) -> frontmatter.Parts:
    text = normal(body)
    if text and not text.endswith("\n"):
        text += "\n"
    # split, so that a body which itself begins with `---` is not taken for frontmatter when there are no keys.
    empty = frontmatter.Parts("", None, text.lstrip("\n"), False, "utf-8", "\n", None)
    return frontmatter.with_keys(empty, keys)


def _change_markdown(parts: frontmatter.Parts, changes: Mapping[str, Any]) -> frontmatter.Parts:
    keys = {key: value for key, value in changes.items() if key != "body"}
    if "body" in changes and changes["body"] is not None:
        parts = frontmatter.with_body(parts, str(changes["body"]))
    given = _keys(parts) if keys else {}
    for field in ("title", "tags", "aliases"):
        # A page of Logseq has them in its own lines: there they are changed, not in a second place.
        if field in keys and not properties.given(given, field) and _on_page(parts.text, field, keys[field]):
            changed = properties.change(parts.text, field, keys[field])
            if changed is not None:
                parts = frontmatter.with_body(parts, changed)
                del keys[field]
    title = keys.get("title")
    if title is not None and "title" not in given:
        # The title lives in the first heading: change it there, not in a second place.
        moved = _retitle(parts, " ".join(str(title).split()))
        if moved is not None:
            parts = moved
            del keys["title"]
    return frontmatter.with_keys(parts, keys)


def _keys(parts: frontmatter.Parts) -> dict[str, Any]:
    return frontmatter.fields(parts)[0]


def _on_page(text: str, field: str, value: Any) -> bool:
    """Whether a field of a page is written among its properties: it stands there, or is new and has no better place."""
    if field in properties.read(text):
        return True
    return bool(value) and properties.has(text) and not (field == "title" and headings(text))


def _retitle(parts: frontmatter.Parts, title: str) -> frontmatter.Parts | None:
    body = parts.text
    outline = headings(body)
    if not outline:
        return None
    first = outline[0]
    end = heading_end(body, first)
    line = body[first.position : end]
    if line.lstrip().startswith("#"):
        marks = line[: len(line) - len(line.lstrip())] + "#" * first.level
        new = f"{marks} {title}"
    else:
        new = title  # underlined heading: the rule under it stays
    changed = frontmatter.with_body(parts, body[: first.position] + new + body[end:])
    # A title that a heading cannot say (`*x*`, `[[x]]`) has a key of its own instead.
    return changed if headings(changed.text)[:1] == (Heading(first.level, title, first.position),) else None


FORMATS: dict[str, Format] = {
    "markdown": Format(
        "markdown",
        ".md",
        _parse_markdown,
        _compose_markdown,
        _change_markdown,
        frontmatter.with_body,
        frontmatter.split,
        relink.retarget,
        relink.relink,
    ),
    "org": Format(
        "org", ".org", org.parse_org, org.compose, org.change, org.with_body, org.split, org.retarget, org.relink
    ),
}
