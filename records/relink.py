"""Links rewritten when a note moves. Pure: text in, text out; code and everything that is not such a link stay."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Collection
from urllib.parse import quote

from records.ids import id_of
from records.markdown import clean, local_target, mask_code

_WIKI = re.compile(r"(!?\[\[)([^\[\]\n|#]*)((?:#[^\[\]\n|]*)?(?:\|[^\[\]\n]*)?\]\])")
_INLINE = re.compile(r"(\]\(<?)([^()<>\s]+|(?<=<)[^<>\n]+)(>?[)\s])")
_DEFINITION = re.compile(r"(^ {0,3}\[[^\[\]\n]+\]:[ \t]*<?)([^<>\s]+|(?<=<)[^<>\n]+)", re.M)


def retarget(
    text: str, source: str, targets: Collection[str], old_path: str, new_path: str, new_id: str, short: bool
) -> str:
    """`text` of the note at `source`, with each link that meant the old note meaning the new one.

    `targets`: wikilink targets (as `Link.target` has them) that meant it. A link by the last part only stays short
    when `short`; links by title or alias are left alone: they still find the note.
    """
    old_id = id_of(old_path)
    wanted = {target.casefold() for target in targets}
    names = {old_id.casefold(), old_id.rpartition("/")[2].casefold()}
    masked = mask_code(text)
    edits: list[tuple[int, int, str]] = []
    for match in _WIKI.finditer(masked):
        target = clean(match.group(2))
        key = target.casefold()
        if key in wanted and (key in names or old_id.casefold().endswith("/" + key)):
            name = new_id.rpartition("/")[2] if "/" not in target and short else new_id
            suffix = os.path.splitext(match.group(2).strip())[1]
            if suffix.lower() in (".md", ".org"):
                name += os.path.splitext(new_path)[1]
            edits.append((match.start(2), match.end(2), name))
        elif key in wanted and key not in names:
            continue
    edits += _hrefs(masked, source, source, old_path, new_path)
    return _apply(text, edits)


def relink(text: str, old_path: str, new_path: str) -> str:
    """`text` of a note that moved: its relative links to other notes lead where they led."""
    edits = []
    masked = mask_code(text)
    if posixpath.dirname(old_path) == posixpath.dirname(new_path):
        return text
    for start, end, href in _targets(masked):
        local = local_target(href, old_path)
        if local is not None:
            edits.append((start, end, _href(href, local[0], old_path, new_path)))
    return _apply(text, edits)


def _hrefs(masked: str, old_source: str, source: str, old_path: str, new_path: str) -> list[tuple[int, int, str]]:
    stem, new_stem = os.path.splitext(old_path)[0], os.path.splitext(new_path)[0]
    edits = []
    for start, end, href in _targets(masked):
        local = local_target(href, old_source)
        if local is not None and local[0] == stem:
            edits.append((start, end, _href(href, new_stem, old_source, source)))
    return edits


def _targets(masked: str) -> list[tuple[int, int, str]]:
    found = []
    for pattern in (_INLINE, _DEFINITION):
        for match in pattern.finditer(masked):
            found.append((match.start(2), match.end(2), match.group(2)))
    return found


def _href(href: str, stem: str, old_source: str, source: str) -> str:
    """The href, led from `source` to the note with path `stem` (no extension); its extension, fragment and style kept."""
    del old_source
    path, mark, fragment = href.partition("#")
    suffix = os.path.splitext(path.partition("?")[0])[1]
    relative = posixpath.relpath(stem, posixpath.dirname(source) or ".") + suffix
    if path.startswith("./") and not relative.startswith("."):
        relative = "./" + relative
    if " " not in path:
        relative = quote(relative, safe="/.~!$&'*+,;=:@-_" + "".join(c for c in relative if ord(c) > 127))
    return relative + mark + fragment


def _apply(text: str, edits: list[tuple[int, int, str]]) -> str:
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text
