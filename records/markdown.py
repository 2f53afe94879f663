"""Markdown text to a Record: headings, links, fields. Pure: bytes and a stat in, a value out.

Only what the rest needs is recognised, in single passes of regular expressions over the text with its code blanked
out: a full Markdown parse of 100,000 notes would cost more than everything else together.
"""

from __future__ import annotations

import functools
import posixpath
import re
from collections.abc import Callable, Mapping
from hashlib import blake2b
from html import unescape
from typing import Any
from urllib.parse import unquote

from records import filenames, frontmatter, properties
from records.code import mask_code
from records.hashtags import hashtags
from records.ids import id_of
from records.model import CLASSES, FileStat, Heading, Link, Record, stamp

MAX_LINKS = 20_000  # of one note; a million links in a file are an attack, not a note
MAX_HEADINGS = 20_000

_ATX = re.compile(
    r"\n {0,3}(#{1,6})([ \t][^\n]*)?(?=\n|\Z)"
)  # begins with a literal: `re` then jumps from line to line
_CLOSING = re.compile(r"(?:^|(?<=[ \t]))#+$")
_UNDERLINE = re.compile(r"\n {0,3}(=+|-+)[ \t]*(?=\n|\Z)")
# Lines that are no text of a paragraph: CommonMark 0.31, 4.1, 4.2, 4.6, 5.1, 5.2; tables (GFM); tags alone (Obsidian).
_NO_TEXT = re.compile(r" {0,3}(?:#|\||=+[ \t]*$|([-*_])(?:[ \t]*\1){2,}[ \t]*$)")
_HOLDER = re.compile(r" {0,3}(?:>|(?:[*+-]|\d{1,9}[.)])(?:[ \t]|$)|</?[A-Za-z][^<>]*>[ \t]*$)")
_LAZY = -1
_CODE_FIRST = re.compile(r" {0,3}`{1,2}(?!`)")
WIKI = re.compile(r"\[\[([^\[\]\n|#]*)(?:#([^\[\]\n|]*))?(?:\|([^\[\]\n]*(?:\[[^\[\]\n]*\][^\[\]\n]*)*))?\]\]")
INLINE = re.compile(  # begins with a literal too
    r"\[(?!\[)([^\[\]\n]*(?:(?:\n(?![ \t]*\n)|\[[^\[\]\n]*\])[^\[\]\n]*)*)\]"
    r"\([ \t]*(?:<([^<>\n]*)>|([^()\s\\]*(?:(?:\\.|\((?:[^()\s\\]|\\.)*\))[^()\s\\]*)*))(?:\s+[\"'(][^\n]{0,300}?[\"')])?[ \t]*\)"
)
DEFINITION = re.compile(r"^ {0,3}\[([^\[\]\n]+)\]:[ \t]*(?:<([^<>\n]*)>|(\S+))", re.M)
# Each begins with a literal or one set of characters, which `re` looks for without trying the pattern at every place.
_INSIDE = r"\[(?:\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]|([^\[\]]*)\]\([^()]*\))"
_EMBEDDED, _BRACKETS = re.compile("!" + _INSIDE), re.compile(_INSIDE)
# CommonMark 0.31, 6.2, as far as one pass sees: `*a*` and `a*b*c`, not `2 * 3`; `_a_`, not `a_b_c`.
_STARRED = re.compile(r"\*(\*{0,2})(?=[^\s*])([^*]*[^\s*])\*\1")
_UNDERSCORED = re.compile(r"_(?<!\w_)(_{0,2})(?=[^\s_])(.{0,200}?\S)_\1(?!\w)")
_LITERAL = re.compile(r"\\([!-/:-@\[-`{-~])|(?<!`)(`+)(?!`)(.+?)(?<!`)\2(?!`)")  # CommonMark 0.31, 2.4 and 6.1
_HELD = re.compile("[\ue000-\uf8ff]")  # for private use: stand for what is literal while the rest is read
DENOTE = re.compile(r"denote:\d{8}T\d{6}\Z")  # how its links begin: the rest is the identifier in a file's name
_SPLIT = re.compile(r"[\s,]+")
_BACKSLASH = re.compile(r"\\([!-/:-@\[-`{-~])")  # CommonMark 0.31, 2.4
_WORD, _NUMBERS_TOO = (str, int), (str, int, float)  # made once: `str | int` is a new object each time


def parse_markdown(
    data: bytes,
    path: str = "note.md",
    *,
    stat: FileStat | None = None,
    author: str = "",
    born: Callable[[], int] | None = None,
) -> Record:
    """Read one Markdown note. `path`: relative, with `/`. `born`: when its file was made, in ns; asked only when nothing else
    says it. Raises Unreadable for what is not text."""
    parts = frontmatter.split(data, path)
    fields: dict[str, Any] = {}
    error = parts.error
    if parts.block is not None:
        fields, fault = frontmatter.fields(parts)
        error = fault or error
    body = parts.text
    for key, value in properties.read(body).items():
        if not properties.given(fields, key):
            fields[key] = value
    masked = mask_code(body)
    outline = headings(body, masked)
    links = find_links(body, masked, path)
    if parts.block is not None and "[[" in parts.block:
        links = (*property_links(fields), *links)
    return assemble(
        fields, path=path, body=body, outline=outline, wikilinks=links, inline_tags=hashtags(masked), format_="markdown",
        error=error, revision=revision_of(data), stat=stat, author=author, born=born,
    )  # fmt: skip


def revision_of(data: bytes) -> str:
    """The hash that `Record.revision` holds."""
    return blake2b(data, digest_size=12).hexdigest()


def assemble(
    fields: dict[str, Any], *, path: str, body: str, outline: tuple[Heading, ...], wikilinks: tuple[Link, ...],
    inline_tags: tuple[str, ...], format_: str, error: str | None, revision: str, stat: FileStat | None, author: str, born: Callable[[], int] | None,
) -> Record:  # fmt: skip
    """Fields of any format to a Record. Keys of no field stay in `meta`, in their order."""
    meta = {key: value for key, value in fields.items() if key not in FIELDS}
    plain_id = id_of(path)
    wanted = fields.get("id")
    id_ = str(wanted).strip() if isinstance(wanted, _WORD) and not isinstance(wanted, bool) else ""
    title = fields.get("title")
    title = " ".join(str(title).split()) if isinstance(title, _NUMBERS_TOO) else ""
    for key, known in _KINDS:
        if fields.get(key) is not None and not isinstance(fields[key], known):
            meta[key] = fields[key]  # kept as `class` is: who wrote it should be told, not guess why it has no effect
    named = filenames.told(plain_id)
    if not title:
        title = outline[0].text if outline and outline[0].text else (named.title or id_ or plain_id)
    kind = str(fields.get("class") or "").strip()
    if kind not in CLASSES:
        if kind:
            meta["class"] = kind  # kept and shown to `doctor`, which suggests the nearest
        kind = "skill" if plain_id.startswith("skills/") else "durable"
    tags = dict.fromkeys(tag.lstrip("#") for tag in words(fields.get("tags", list(named.tags))) if tag.strip("#"))
    updated_ns = stat.mtime_ns if stat is not None else 0
    created = fields.get("created")
    return Record(
        id=id_ or plain_id,
        title=title,
        class_=kind,
        tags=tuple(tags),
        links=tuple(words(fields.get("links"))),
        created=str(created) if isinstance(created, _WORD) else named.created or stamp(born() if born else updated_ns),
        updated=stamp(updated_ns),
        author=_author(fields.get("author")) or author,
        body=body,
        outline=outline,
        wikilinks=wikilinks,
        meta=meta,
        format=format_,
        path=path,
        revision=revision,
        error=error,
        aliases=tuple(names(meta.get("aliases", meta.get("alias")))),
        inline_tags=tuple([tag for tag in inline_tags if tag not in tags]) if inline_tags else (),
        stat=stat,
    )


FIELDS = ("id", "title", "class", "tags", "links", "created", "author")
_KINDS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("id", _WORD), ("title", _NUMBERS_TOO), ("tags", (str, list)), ("links", (str, list)), ("created", _WORD),
    ("author", (str, int, list)),
)  # fmt: skip


def _author(value: Any) -> str:
    """One name, or several as one text."""
    return ", ".join(words(value)) if isinstance(value, list) else str(value) if isinstance(value, _WORD) else ""


def words(value: Any) -> list[str]:
    """A list, or a string of words, as a list of strings; anything else is empty."""
    if isinstance(value, str):
        return [word for word in _SPLIT.split(value) if word]
    if isinstance(value, list):
        return [str(item).strip() for item in value if isinstance(item, _NUMBERS_TOO) and str(item).strip()]
    return []


def names(value: Any) -> list[str]:
    """Aliases: a list, or one name that may contain spaces (commas part several)."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return words(value)


def headings(text: str, masked: str | None = None) -> tuple[Heading, ...]:
    """The outline of a body, in order. Inline markup is removed from the text."""
    view = mask_code(text) if masked is None else masked
    found: list[Heading] = []
    if "#" in view:
        for match in _ATX.finditer("\n" + view):
            # From the unmasked text: a heading may contain code. Offsets are one ahead.
            line = text[match.start(2) - 1 : match.end(2) - 1] if match.group(2) is not None else ""
            if line and line[0] not in " \t":
                continue  # `#` and code or a comment, which are blank in the view
            line = line.strip()
            if line.endswith("#"):
                line = _CLOSING.sub("", line)
            found.append(Heading(len(match.group(1)), plain(line), match.start()))
            if len(found) >= MAX_HEADINGS:
                break
    if ("=" in view and "\n=" in view) or ("-" in view and ("\n--" in view or "\n-\n" in view or view.endswith("\n-"))):
        above, held = (
            0,
            False,
        )  # where the last line ended that underlined a heading, or did not in the text of a list or quotation
        for match in _UNDERLINE.finditer(view):
            if match.group() != text[match.start() : match.end()]:
                continue  # there is code behind it
            start = _paragraph(text, view, match.start(), above, held)
            if start is not None:
                above, held = match.end(), start == _LAZY
            if start is not None and not held and len(found) < MAX_HEADINGS:
                level = 1 if match.group(1)[0] == "=" else 2
                found.append(Heading(level, plain(text[start : match.start()]), start))
        found.sort(key=lambda heading: heading.position)
    return tuple(found)


def _paragraph(text: str, view: str, end: int, above: int, held: bool) -> int | None:
    """Where the paragraph begins that ends before the underline at `end`. None: there is no text; _LAZY: it is that of a list
    or quotation, and no underline belongs to it. `above`: where the underline before ended, `held`: which was in such a text."""
    start = None
    while end > above:
        begin = view.rfind("\n", 0, end) + 1
        line, shown = text[begin:end], view[begin:end]
        if _NO_TEXT.match(line) or DEFINITION.match(line) or not (shown.strip() or _CODE_FIRST.match(line)):
            return start
        if _HOLDER.match(line):
            return _LAZY  # its text goes on to here
        start, end = begin, begin - 1
    return _LAZY if held and start is not None else start


def heading_end(text: str, heading: Heading) -> int:
    """Where the text of a heading ends: its line, or all lines above the rule that underlines it."""
    if text[heading.position : heading.position + 4].lstrip(" ").startswith("#"):
        end = text.find("\n", heading.position)
        return len(text) if end < 0 else end
    rule = _UNDERLINE.search(text, heading.position)
    return len(text) if rule is None else rule.start()


def plain(text: str) -> str:
    """One line without its inline markup, as a person reads it; at most 500 characters. Code and escaped characters stay."""
    text = text[:500]
    held: list[str] = []
    if ("`" in text or "\\" in text) and (text.isascii() or _HELD.search(text) is None):
        text = _hold(text, held)
    if "[" in text:
        if "![" in text:
            text = _EMBEDDED.sub(_inside, text)
        text = _BRACKETS.sub(_inside, text)
    if "*" in text:
        text = _STARRED.sub(_emphasised, text)
        if "*" in text:
            text = _STARRED.sub(_emphasised, text)  # what stood around the innermost
    if "_" in text:
        text = _UNDERSCORED.sub(_emphasised, text)
    for number, literal in enumerate(held):
        text = text.replace(chr(0xE000 + number), literal)
    text = text.strip()
    # Of white space only the space can be printed: most lines need not be taken apart.
    return text if "  " not in text and text.isprintable() else " ".join(text.split())


def _hold(text: str, held: list[str]) -> str:
    """The text with a character for private use in the place of each code span and escaped character, which go to `held`."""
    if "\\" not in text and text.count("`") == 2:  # by far the most usual
        before, code, behind = text.split("`")
        if code:
            held.append(code)
            return f"{before}\ue000{behind}"

    def hold(match: re.Match[str]) -> str:
        held.append(match.group(1) or match.group(3))
        return chr(0xE000 + len(held) - 1)

    return _LITERAL.sub(hold, text)


def _inside(match: re.Match[str]) -> str:
    return match.group(1) or match.group(2) or ""


def _emphasised(match: re.Match[str]) -> str:
    return match.group(2)


def find_links(text: str, masked: str | None = None, path: str = "note.md") -> tuple[Link, ...]:
    """Wikilinks, embeds and links to local notes, in the order they stand. At most MAX_LINKS."""
    view = mask_code(text) if masked is None else masked
    if "[" not in view:
        return ()
    found: list[Link] = []
    if "[[" in view:
        for match in WIKI.finditer(view):
            start = match.start()
            kind = "embed" if start and view[start - 1] == "!" else "wiki"
            target, fragment, display = match.groups()
            if fragment is None and display is None:  # as most are
                if target and not target.isspace():
                    found.append(Link(clean(target), "", "", start, kind))
            else:
                target, fragment, display = wiki_parts(match)
                if target.strip() or fragment:
                    found.append(Link(clean(target), fragment.strip(), display.strip(), start, kind))
            if len(found) >= MAX_LINKS:
                break
    if "](" in view:
        for match in INLINE.finditer(view):
            display, angle, bare = match.groups()
            href = angle if angle is not None else bare
            local = local_target(href, path)
            if local is None and DENOTE.match(href):
                found.append(Link(clean(href), "", display.strip(), match.start()))
            elif local is not None and view[match.start() - 1 : match.start()] != "!":
                found.append(Link(local[0], local[1], display.strip(), match.start(), "markdown"))
            if len(found) >= 2 * MAX_LINKS:
                break
    if "]:" in view:
        for match in DEFINITION.finditer(view):
            local = local_target(match.group(2) if match.group(2) is not None else match.group(3), path)
            if local is not None:
                found.append(Link(local[0], local[1], match.group(1).strip(), match.start(), "markdown"))
            if len(found) >= 3 * MAX_LINKS:
                break
    found.sort(key=lambda link: link.position)
    return tuple(found[:MAX_LINKS])


def wiki_parts(match: re.Match[str]) -> tuple[str, str, str]:
    """(target, fragment, display) of a match of WIKI. In a table the bar is escaped: `[[target\\|display]]`."""
    target, fragment, display = match.groups()
    if display is not None:
        if fragment is None:
            target = target.removesuffix("\\")
        else:
            fragment = fragment.removesuffix("\\")
    return target, fragment or "", display or ""


def property_links(fields: Mapping[str, Any]) -> tuple[Link, ...]:
    """Wikilinks in the values of frontmatter keys, as Obsidian takes them, but for `links`, which is a field. They have no
    place in the body: their position is 0, their kind `property`."""
    found: list[Link] = []
    left = [value for key, value in fields.items() if key != "links"]
    while left and len(found) < MAX_LINKS:
        value = left.pop(0)
        if isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list):
            left += value
        elif isinstance(value, str) and "[[" in value:
            for match in WIKI.finditer(value):
                target, fragment, display = wiki_parts(match)
                if target.strip():
                    found.append(Link(clean(target), fragment.strip(), display.strip(), 0, "property"))
    return tuple(found[:MAX_LINKS])


def listed(target: str) -> str:
    """What an entry of the field `links` means: an id, or a wikilink around one."""
    match = WIKI.fullmatch(target.strip())
    return clean(wiki_parts(match)[0]) if match is not None else target


def clean(target: str) -> str:
    """A wikilink's target without surrounding space, `denote:`, a trailing slash or a note's extension."""
    target = target.strip()
    if target[:1] == "d" and DENOTE.match(target):
        return target.removeprefix("denote:")
    if target[-1:] == "/" and target.strip("/."):
        target = target.rstrip("/")
    if "." not in target:
        return target
    stem, _, suffix = target.rpartition(".")
    return stem if suffix.lower() in ("md", "org", "markdown") else target


@functools.lru_cache(maxsize=4096)
def local_target(href: str, path: str) -> tuple[str, str] | None:
    """(path without extension, fragment) of a link to a note, by a path from the one at `path` or, after `/`, from the
    folder of all; None for anything else."""
    if not href or href.startswith(("#", "?", "//")) or ":" in href.split("/", 1)[0]:
        return None
    if "\\" in href or "&" in href:
        href = _BACKSLASH.sub(r"\1", unescape(href))
    target, _, fragment = href.partition("#")
    target = unquote(target.partition("?")[0])
    stem, _, suffix = target.rpartition(".")
    if suffix.lower() not in ("md", "org") or not stem.rpartition("/")[2].strip("."):
        return None
    folder = "" if stem.startswith("/") else path.rpartition("/")[0]
    joined = f"{folder}/{stem}" if folder else stem.lstrip("/")
    if "." in joined or "//" in joined:
        joined = posixpath.normpath(joined)
    return None if joined.startswith("..") else (joined, unquote(fragment))
