"""Links rewritten when a note moves. Pure: text in, text out; code and everything that is not such a link stay."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Collection
from urllib.parse import quote

from records.code import mask_code
from records.markdown import DEFINITION, DENOTE, INLINE, WIKI, clean, local_target, wiki_parts


def retarget(
    text: str, source: str, targets: Collection[str], old_path: str, new_path: str, new_id: str, short: bool
) -> str:
    """`text` of the note at `source`, with each link that meant the old note meaning the new one.

    `targets`: link targets (as `Link.target` has them) that meant it; one that still finds it by a title or alias is not
    among them. A link by the last part only stays short when `short`.
    """
    masked = mask_code(text)
    return _apply(text, [*_wikis(masked, source, targets, new_path, new_id, short),
                         *_hrefs(masked, source, targets, old_path, new_path)])  # fmt: skip


def retarget_value(text: str, source: str, targets: Collection[str], new_path: str, new_id: str, short: bool) -> str:
    """As `retarget`, for the wikilinks in a value of the frontmatter."""
    return _apply(text, list(_wikis(text, source, targets, new_path, new_id, short)))


def relink(text: str, old_path: str, new_path: str, known: Callable[[str], bool] = lambda stem: True) -> str:
    """`text` of a note that moved: its relative links to other notes lead where they led. `known`: whether there is a note
    with this path (without extension); a link that found its note in another way needs no change."""
    if posixpath.dirname(old_path) == posixpath.dirname(new_path):
        return text
    edits = []
    masked = mask_code(text)
    old_stem, new_stem = os.path.splitext(old_path)[0], os.path.splitext(new_path)[0]
    for start, end, href in _targets(masked):
        local = local_target(href, old_path)
        if local is not None and not href.startswith("/") and (local[0] == old_stem or known(local[0])):
            # A link to the note itself goes with it: under the old name there is nothing any more.
            stem = new_stem if local[0] == old_stem else local[0]
            edits.append((start, end, _href(href, stem, new_path)))
    for match in WIKI.finditer(masked):
        target = wiki_parts(match)[0]
        if target.strip().startswith(("./", "../")):
            stem = posixpath.normpath(posixpath.join(posixpath.dirname(old_path), target.strip()))
            stem = new_stem if stem == old_stem else stem
            edits.append((*_within(match.start(1), target), _dotted(stem, new_path)))
    return _apply(text, edits)


def named(target: str, source: str, new_id: str, new_stem: str, short: bool) -> str:
    """A wikilink's new target, in the manner of the old: from here, from the top, by the last part, or whole."""
    if target.startswith(("./", "../")):
        return _dotted(new_stem, source)
    if target.startswith("/"):
        return "/" + new_stem
    return new_id.rpartition("/")[2] if "/" not in target and short else new_id


def _wikis(
    text: str, source: str, targets: Collection[str], new_path: str, new_id: str, short: bool
) -> list[tuple[int, int, str]]:
    edits = []
    for match in WIKI.finditer(text):
        written = wiki_parts(match)[0]
        target = clean(written)
        if target and target in targets:
            name = named(target, source, new_id, os.path.splitext(new_path)[0], short)
            if _is_note(os.path.splitext(written.strip())[1]):
                name += os.path.splitext(new_path)[1]
            edits.append((*_within(match.start(1), written), name))
    return edits


def _within(start: int, written: str) -> tuple[int, int]:
    """Where a target begins and ends without the space around it, which is not ours to take: `[[ note | text ]]`."""
    return start + len(written) - len(written.lstrip()), start + len(written.rstrip())


def _is_note(suffix: str) -> bool:
    return suffix.lower() in (".md", ".org", ".markdown")


def path_from(stem: str, source: str) -> str:
    """The relative path (no extension) by which the note at `source` names the note at `stem`. The folder is what is
    led to: `relpath` of a note that is named as the folder of `source` is would be `.`, which is no name."""
    folder, name = posixpath.split(stem)
    return posixpath.normpath(posixpath.join(posixpath.relpath(folder or ".", posixpath.dirname(source) or "."), name))


def _dotted(stem: str, source: str) -> str:
    relative = path_from(stem, source)
    return relative if relative.startswith("../") else "./" + relative


def _hrefs(
    masked: str, source: str, targets: Collection[str], old_path: str, new_path: str
) -> list[tuple[int, int, str]]:
    stem, new_stem = os.path.splitext(old_path)[0], os.path.splitext(new_path)[0]
    edits = []
    for start, end, href in _targets(masked):
        local = local_target(href, source)
        if local is None and DENOTE.match(href) and clean(href) in targets:
            # The identifier is gone with the name: a path leads there.
            edits.append((start, end, _href(posixpath.basename(new_path), new_stem, source)))
        elif local is not None and (local[0] == stem or local[0] in targets):
            edits.append((start, end, _href(href, new_stem, source)))
    return edits


def _targets(masked: str) -> list[tuple[int, int, str]]:
    found = []
    for pattern in (INLINE, DEFINITION):
        for match in pattern.finditer(masked):
            group = 2 if match.group(2) is not None else 3
            if match.group(group):
                found.append((*match.span(group), match.group(group)))
    return found


def _href(href: str, stem: str, source: str) -> str:
    """The href, led from `source` to the note with path `stem` (no extension); extension, query, fragment, style kept."""
    whole, mark, fragment = href.partition("#")
    path, ask, query = whole.partition("?")
    suffix = os.path.splitext(path)[1]
    if path.startswith("/"):
        relative = "/" + stem + suffix
    else:
        relative = path_from(stem, source) + suffix
        if path.startswith("./") and not relative.startswith("."):
            relative = "./" + relative
    if " " not in path:
        relative = quote(relative, safe="/.~!$&'*+,;=:@-_" + "".join(c for c in relative if ord(c) > 127))
    return relative + ask + query + mark + fragment


def _apply(text: str, edits: list[tuple[int, int, str]]) -> str:
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text
