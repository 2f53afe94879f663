"""Org text to a Record and back: keywords and the file's property drawer, headlines, links. Pure.

What is not understood stays byte for byte: the head of the file (drawer, keywords, comments, blank lines) is changed by
whole lines only, the rest is body. A drawer below the first headline belongs to that headline and is body too.
"""

from __future__ import annotations

import functools
import os
import posixpath
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from records import frontmatter
from records.errors import InvalidValue
from records.frontmatter import Parts
from records.hashtags import MOST
from records.lines import LINE, first_line, normal
from records.markdown import MAX_HEADINGS, MAX_LINKS, assemble, clean, local_target, revision_of, words
from records.model import FileStat, Heading, Link, Record
from records.relink import named, path_from

_KEYWORD = re.compile(r"[ \t]*#\+([A-Za-z_]+):[ \t]*(.*)")
_PROPERTY = re.compile(r"[ \t]*:([^:\s][^:]*):[ \t]*(.*)")
_KEY = re.compile(r"[^\s:#]+")
_HEADLINE = re.compile(r"^(\*+) [^\n]*$", re.M)  # a space, no tab (Org syntax: Headings)
_PRIORITY = r"(?:\[#[A-Z0-9]\]\s+)?"
_MARKERS = re.compile(r"^(?:(?:TODO|DONE|NEXT|WAITING|CANCELLED|CANCELED)\s+)?" + _PRIORITY)
# The words that a file sets itself, instead of the usual ones (Org manual, "Setting up keywords for individual files").
_STATES = re.compile(r"^[ \t]*#\+(?:(?:seq|typ)_)?todo:[ \t]*([^\n]*)$", re.M | re.I)
_FAST = re.compile(r"\([^()\s]*\)$")  # the key and what is logged: `WAIT(w@/!)`
# Fields that stand further down, as Org finds them too. Those in the head come first.
_LATER = re.compile(r"^[ \t]*#\+(title|author|date|filetags):[ \t]*([^\n]*)$", re.M | re.I)
_HEAD_TAGS = re.compile(r"(?:^|[ \t]+)(:[\w@#%:]+:)[ \t]*$")
# org-link-bracket-re: a description may hold single brackets, and both may go on in the next line, not beyond a blank one.
_LINK = re.compile(
    r"\[\[((?:[^\[\]\n]|\n(?!\s*\n|\*+ ))+)\](?:\[((?:[^\[\]\n]|\](?!\])|\[(?!\[)|\n(?!\s*\n|\*+ )){0,1000}?)\])?\]"
)
# org-verbatim-re: on one line, or on two of a paragraph.
_INSIDE = r"[^\n](?:[^\n=~]{0,300}+[=~]){1,8}?(?<=\S\1)(?=[-\s.,;:!?'\")}\\\[]|$)"
_VERBATIM = re.compile(
    rf"([=~])(?<![^\s\-–—('\"{{].)(?=\S)(?:{_INSIDE}|[^\n]{{0,300}}+\n(?![ \t]*(?:\n|\*+ |[-+] |\d+[.)] |[#:|])){_INSIDE})"
)
_ONE_LINE = re.compile(r"\*+ |[ \t]*\|")  # a headline, a row of a table
_BLOCK = re.compile(
    r"^[ \t]*#\+begin_(src|example|export|comment)\b[^\n]*$|^[ \t]*#\+end_(src|example|export|comment)[ \t]*$|^\*+ ",
    re.M | re.I,
)
_FIXED = re.compile(r"^[ \t]*[:#][ \t][^\n]*$", re.M)  # fixed-width text and comments (Org syntax: Elements)
_INNER_ID = re.compile(r"^[ \t]*:(?:ID|id):[ \t]+(\S+)[ \t]*$", re.M)
MAX_INNER = 1000
MAX_STATES = 100
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME = re.compile(r"\d{1,2}:\d{2}")
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:\d{2})?")  # RFC 3339, as we write it
_FIELD_OF = {"title": "title", "author": "author", "date": "created", "filetags": "tags", "tags": "tags"}
_KEYWORD_OF = {"title": "TITLE", "author": "AUTHOR", "created": "DATE", "tags": "FILETAGS"}


def split(data: bytes, path: str = "") -> Parts:
    """Take an org file apart into head and body. Raises Unreadable."""
    parts = frontmatter.decode(data, path)
    end = _head_end(parts.body)
    return replace(parts, head=parts.body[:end], body=parts.body[end:])


def _head_end(text: str) -> int:
    at = 0
    inside = False
    first = True
    for line in LINE.findall(text):
        bare = line.strip()
        if inside:
            inside = bare.upper() != ":END:"
        elif bare.upper() == ":PROPERTIES:" and first:
            if not re.search(r"(?im)^[ \t]*:END:[ \t]*$", normal(text[at:]).split("\n*", 1)[0]):
                break  # an open drawer is text, not a head that swallows the note
            inside = True
        elif (
            bare and not (_KEYWORD.match(bare) and not bare.lower().startswith("#+begin")) and not _is_comment(bare)
        ) or bare.lower().startswith("#+begin"):
            break
        if bare:
            first = first and bare.startswith("#") and not bare.startswith("#+")
        at += len(line)
    return at


def _is_comment(line: str) -> bool:
    return line == "#" or line.startswith("# ")


def parse_org(
    data: bytes, path: str, stat: FileStat | None = None, author: str = "", born: Callable[[], int] | None = None
) -> Record:
    """Read one org note. Raises Unreadable."""
    parts = split(data, path)
    fields: dict[str, Any] = {}
    for line in normal(parts.head).split("\n"):
        keyword = _KEYWORD.match(line)
        prop = None if keyword else _PROPERTY.match(line)
        if keyword:
            name = keyword.group(1).lower()
            _take(fields, _FIELD_OF.get(name, name), keyword.group(2).strip())
        elif prop and prop.group(1).upper() not in ("PROPERTIES", "END"):
            name = prop.group(1).lower()
            _take(fields, {"roam_aliases": "aliases"}.get(name, name), prop.group(2).strip())
    if "aliases" in fields:
        fields["aliases"] = _aliases(fields["aliases"])
    body = parts.text
    masked = mask(body)
    if ":ID:" in body or ":id:" in body:
        # For org-roam a headline with an id is a node of its own: a link to it leads to the note that has it.
        fields["aliases"] = [*fields.get("aliases", ()), *_INNER_ID.findall(masked)[:MAX_INNER]]
    if "#+" in masked:
        fields = _later(body, masked) | fields
    return assemble(
        fields, path=path, body=body, outline=headings(body, masked, _markers(parts.head, masked)), wikilinks=links(masked, path),
        inline_tags=head_tags(body, masked), format_="org", error=parts.error, revision=revision_of(data), stat=stat, author=author, born=born,
    )  # fmt: skip


def _later(body: str, masked: str) -> dict[str, Any]:
    """Fields whose keyword stands in the text, by the first of each (of tags: all)."""
    fields: dict[str, Any] = {}
    for match in _LATER.finditer(masked):
        _take(fields, _FIELD_OF[match.group(1).lower()], body[match.start(2) : match.end(2)].strip())
    return fields


def _markers(head: str, masked: str) -> re.Pattern[str]:
    """What stands before the text of a headline in this file: its state, by the file's own words if it has any, and a
    priority."""
    if "todo:" not in head.lower() and "todo:" not in masked.lower():
        return _MARKERS
    lines = _STATES.findall(normal(head)) + _STATES.findall(masked)
    states = {_FAST.sub("", word) for line in lines for word in line.split()} - {"|", ""}
    return _states(frozenset(states)) if states else _MARKERS


@functools.lru_cache(maxsize=64)
def _states(names: frozenset[str]) -> re.Pattern[str]:
    longest_first = sorted(names, key=lambda name: (-len(name), name))[:MAX_STATES]
    return re.compile(rf"^(?:(?:{'|'.join(map(re.escape, longest_first))})\s+)?{_PRIORITY}")


def _aliases(text: str) -> list[str]:
    """Words, and names between quotation marks, in any mixture, as org-roam reads them."""
    if '"' not in text:
        return words(text)
    return [quoted or word for quoted, word in re.findall(r'"([^"]*)"|([^\s"]+)', text) if quoted or word]


def _take(fields: dict[str, Any], name: str, value: str) -> None:
    if name == "tags":
        fields.setdefault("tags", []).extend(tag for tag in re.split(r"[:\s,]+", value) if tag)
    elif name == "created":
        day, hour = _DATE.search(value), _TIME.search(value)
        if _MOMENT.fullmatch(value):
            fields["created"] = value
        elif day:
            fields["created"] = day.group() + (f"T{hour.group():0>5}" if hour else "")
        else:
            fields.setdefault("date", value)
    elif name == "links":
        found = [match.group(1).removeprefix("id:") for match in _LINK.finditer(value)]
        fields["links"] = found or words(value)
    else:
        fields.setdefault(name, value)


def mask(text: str) -> str:
    """The text with source and example blocks, fixed-width lines, comments and verbatim spans as spaces of the same length."""
    out = []
    done = 0
    opened: tuple[int, str] | None = None
    for match in _BLOCK.finditer(text):
        begins, ends = match.groups()
        if opened is None and begins:
            opened = (match.start(), begins.lower())
        elif opened is not None and ends and ends.lower() == opened[1]:
            out += [text[done : opened[0]], _spaces(text[opened[0] : match.end()])]
            done, opened = match.end(), None
        elif not begins and not ends:
            opened = None  # a headline ends whatever is open: a block without an end is text
    text = "".join([*out, text[done:]])
    if ": " in text or "# " in text:
        text = _FIXED.sub(lambda m: " " * len(m.group()), text)
    if "=" in text or "~" in text:
        text = _VERBATIM.sub(_blank, text)
    return text


def _blank(match: re.Match[str]) -> str:
    found = match.group()
    if "\n" in found and _ONE_LINE.match(match.string, match.string.rfind("\n", 0, match.start()) + 1):
        return found
    return _spaces(found)


def _spaces(text: str) -> str:
    return "\n".join(" " * len(line) for line in text.split("\n"))


def headings(text: str, masked: str | None = None, markers: re.Pattern[str] | None = None) -> tuple[Heading, ...]:
    """Headlines without TODO words, priorities, tags and link brackets. `markers`: when the head of the file says which words
    those are."""
    masked = mask(text) if masked is None else masked
    markers = markers or _markers("", masked)
    found = []
    for position, level, line in _headlines(text, masked):
        line = _HEAD_TAGS.sub("", line)[:500]
        line = _LINK.sub(lambda link: link.group(2) or link.group(1), markers.sub("", line))
        found.append(Heading(level, " ".join(line.split()), position))
        if len(found) >= MAX_HEADINGS:
            break
    return tuple(found)


def _headlines(text: str, masked: str) -> Iterator[tuple[int, int, str]]:
    """(position, level, line as it is written) of each headline. Words of code are blank in the masked text, and part of a
    headline all the same."""
    for match in _HEADLINE.finditer(masked):
        line = text[match.end(1) : match.end()]
        if line[:1] == " ":
            yield match.start(), len(match.group(1)), line.lstrip(" \t")


def head_tags(text: str, masked: str) -> tuple[str, ...]:
    """The tags of headlines, in order, each once."""
    found: dict[str, None] = {}
    for _, _, line in _headlines(text, masked):
        tagged = _HEAD_TAGS.search(line)
        if tagged is not None:
            found.update(dict.fromkeys(tag for tag in tagged.group(1).split(":") if tag))
        if len(found) >= MOST:
            break
    return tuple(found)


def links(masked: str, path: str) -> tuple[Link, ...]:
    """Links to notes: by id, by file, by name. Addresses of other kinds are none."""
    found = []
    for match in _LINK.finditer(masked):
        target, display = " ".join(match.group(1).split()), " ".join((match.group(2) or "").split())
        kind, _, rest = target.partition(":")
        if target.startswith(("*", "#")):
            found.append(Link("", target[1:], display, match.start()))
        elif kind in ("id", "roam", "denote") and rest:
            name, _, fragment = rest.partition("::")
            found.append(Link(name, fragment.lstrip("*#"), display, match.start()))
        elif kind == "file" or (not rest and local_target(target.partition("::")[0], path)):
            name, _, fragment = (rest if kind == "file" else target).partition("::")
            local = local_target(name, path)
            if local is not None:
                found.append(Link(local[0], fragment.lstrip("*#"), display, match.start(), "markdown"))
        elif not rest or not re.fullmatch(r"[a-z+-]+", kind):
            name, _, fragment = target.partition("::")
            found.append(Link(clean(name), fragment.lstrip("*#"), display, match.start()))
        if len(found) >= MAX_LINKS:
            break
    return tuple(found)


# --- writing ---


def compose(keys: Mapping[str, Any], body: str) -> Parts:
    """A new org file."""
    text = normal(body).lstrip("\n")
    if text and not text.endswith("\n"):
        text += "\n"
    return change(with_body(Parts("", None, "", False, "utf-8", "\n", None), text), keys)


def change(parts: Parts, changes: Mapping[str, Any]) -> Parts:
    """Fields, meta keys (None removes one) or the body changed; every other line of the head stays. Raises InvalidValue."""
    keys = dict(changes)
    if keys.get("body") is not None:
        parts = with_body(parts, str(keys["body"]))
    keys.pop("body", None)
    if keys.get("title") is not None and not re.search(r"(?im)^[ \t]*#\+title:", normal(parts.head)):
        moved = _retitle(parts, " ".join(str(keys["title"]).split()))
        if moved is not None:
            parts = moved
            del keys["title"]
    lines = LINE.findall(parts.head)
    for key, value in keys.items():
        lines = _set(lines, _checked(key), value, parts.newline)
    head = "".join(lines)
    if head and not parts.head and parts.body and not parts.body.startswith(("\n", "\r")):
        head += parts.newline
    return replace(parts, head=head)


def with_body(parts: Parts, body: str) -> Parts:
    """As `frontmatter.with_body`. Raises InvalidValue for a text whose first lines would be read as fields: nothing parts
    them from the head."""
    changed = frontmatter.with_body(parts, body)
    joined = changed.body[: max(0, _head_end(changed.head + changed.body) - len(changed.head))].strip()
    if joined:
        raise InvalidValue(
            f"the text of an org note cannot begin with {first_line(joined)!r}, which would be one of its fields or "
            "comments; put a headline or a line of text before it, or set the field"
        )
    return changed


def _checked(key: str) -> str:
    """The key as it is read back: Org knows no case in names. Raises InvalidValue for one that would end its drawer or its line."""
    if not _KEY.fullmatch(key) or key.lower() in ("end", "properties"):
        raise InvalidValue(f"an org note cannot hold the key {key!r}; give one word without ':'")
    return key.lower()


def _retitle(parts: Parts, title: str) -> Parts | None:
    body = parts.text
    masked = mask(body)
    markers = _markers(parts.head, masked)
    outline = headings(body, masked, markers)
    if not outline or "title" in _later(body, masked):
        return None
    first = outline[0]
    end = body.find("\n", first.position)
    end = len(body) if end < 0 else end
    stars = re.match(r"\*+[ \t]+", body[first.position :])
    assert stars is not None
    line = body[first.position + stars.end() : end]
    state, tags = markers.match(line), _HEAD_TAGS.search(line)
    kept = (line[: state.end()] if state else "", line[tags.start() :] if tags else "")
    new = stars.group() + kept[0] + title + kept[1]
    changed = frontmatter.with_body(parts, body[: first.position] + new + body[end:])
    # A title that a headline cannot say (`TODO x`, `x :tag:`) has a keyword of its own instead.
    return (
        changed if headings(changed.text, None, markers)[:1] == (Heading(first.level, title, first.position),) else None
    )


def _set(lines: list[str], key: str, value: Any, newline: str) -> list[str]:
    text = None if value is None else _text(key, value)
    out: list[str] = []
    done = text is None
    drawer_end = None
    for line in lines:
        keyword, prop = _KEYWORD.match(line), _PROPERTY.match(line)
        name = keyword.group(1).lower() if keyword else prop.group(1).lower() if prop else ""
        name = _FIELD_OF.get(name, name) if keyword else {"roam_aliases": "aliases"}.get(name, name)
        if prop and not keyword and prop.group(1).upper() == "END":
            drawer_end = len(out)
        if name == key:
            if not done:
                old = keyword or prop
                assert old is not None
                own = line[: old.start(2)].rstrip("\r\n")
                gap = "" if own.endswith((" ", "\t")) else " "
                out.append(f"{own}{gap}{text}{line[len(line.rstrip(chr(13) + chr(10))) :]}")
                done = True
            continue  # a second line of the same key would contradict the first
        out.append(line)
    if done:
        return out
    name = "ROAM_ALIASES" if key == "aliases" else key.upper()  # as org-roam reads them
    if key not in _KEYWORD_OF and drawer_end is not None:
        out.insert(drawer_end, f":{name}: {text}{newline}")
        return out
    # Below a first comment, which tells Emacs what the file is, and below the drawer, which must be above all keywords.
    place = 0
    while place < len(out) and _is_comment(out[place].strip()):
        place += 1
    if key in _KEYWORD_OF:
        new = [f"#+{_KEYWORD_OF[key]}: {text}{newline}"]
        place = place if drawer_end is None else drawer_end + 1
        while place < len(out) and _KEYWORD.match(out[place]):
            place += 1
    else:
        new = [f":PROPERTIES:{newline}", f":{name}: {text}{newline}", f":END:{newline}"]
    if place and not out[place - 1].endswith(("\n", "\r")):
        out[place - 1] += newline
    out[place:place] = new
    return out


def _text(key: str, value: Any) -> str:
    if key == "tags":
        for tag in value:
            if re.search(r"[\s:,]", str(tag)):
                plain = re.sub(r"[\s:,]+", "_", str(tag))
                raise InvalidValue(f"an org tag holds no space, ':' or ','; {tag!r} does: write {plain!r}")
        return ":" + ":".join(str(tag) for tag in value) + ":" if value else ""
    if key == "aliases":
        for item in value:
            if '"' in str(item):
                raise InvalidValue(f"an alias in an org note holds no quotation mark; {item!r} does")
        return " ".join(f'"{item}"' for item in value)
    if key == "links" and any(re.search(r"[\s,]", str(item)) for item in value):
        return " ".join(f"[[{item}]]" for item in value)
    if isinstance(value, list | tuple):
        return " ".join(str(item) for item in value)
    if isinstance(value, dict):
        raise InvalidValue(f"an org note cannot hold a mapping in {key!r}; give text")
    text = str(value)
    if "\n" in text or "\r" in text:
        raise InvalidValue(f"an org note holds {key!r} on one line; {text!r} has several")
    return text


def retarget(
    text: str, source: str, targets: Collection[str], old_path: str, new_path: str, new_id: str, short: bool
) -> str:
    """As `records.relink.retarget`, for org links."""

    def name_for(target: str) -> str | None:
        kind, _, rest = target.partition(":")
        path, mark, fragment = (rest if kind in ("file", "id", "roam", "denote") else target).partition("::")
        local = local_target(path, source)
        if kind == "file" or local is not None:
            if local is None or (local[0] != os.path.splitext(old_path)[0] and local[0] not in targets):
                return None
            relative = path_from(new_path, source)
            return ("file:" if kind == "file" else "") + relative + mark + fragment
        if clean(path) not in targets:
            return None
        if kind in ("id", "roam"):
            return f"{kind}:{new_id}{mark}{fragment}"
        return named(clean(path), source, new_id, os.path.splitext(new_path)[0], short) + mark + fragment

    return _rewrite(text, name_for)


def relink(text: str, old_path: str, new_path: str, known: Callable[[str], bool] = lambda stem: True) -> str:
    """As `records.relink.relink`, for org links to files."""
    if posixpath.dirname(old_path) == posixpath.dirname(new_path):
        return text
    old_stem, new_stem = os.path.splitext(old_path)[0], os.path.splitext(new_path)[0]

    def name_for(target: str) -> str | None:
        path, mark, fragment = target.removeprefix("file:").partition("::")
        local = local_target(path, old_path)
        if local is None or path.startswith("/") or not (local[0] == old_stem or known(local[0])):
            return None
        suffix = os.path.splitext(path)[1]
        stem = new_stem if local[0] == old_stem else local[0]
        relative = path_from(stem, new_path) + suffix
        return ("file:" if target.startswith("file:") else "") + relative + mark + fragment

    return _rewrite(text, name_for)


def _rewrite(text: str, name_for: Callable[[str], str | None]) -> str:
    for match in reversed(list(_LINK.finditer(mask(text)))):
        new = name_for(" ".join(match.group(1).split()))
        if new is not None:
            text = text[: match.start(1)] + new + text[match.end(1) :]
    return text
