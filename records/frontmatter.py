"""The bytes of a note, taken apart and put together: encoding, BOM, line endings, frontmatter block, body.

Frontmatter is YAML between `---`, which is read and written (`records.yaml_block`), TOML between `+++` or a JSON object
(Hugo), which are read and never written.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from records import yaml_block
from records.errors import InvalidValue, Unreadable
from records.lines import LINE, normal
from records.yaml_block import CLOSE, MAX_BLOCK
from records.yaml_block import load as load

BOM = b"\xef\xbb\xbf"
_WIDE = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_BOMS = {encoding: bom for bom, encoding in _WIDE.items()}
_OPEN = re.compile(r"---[ \t]*(?:\r\n|\n|\r(?!\n))")
_TOML = re.compile(r"\+\+\+[ \t]*\n(.*?)^\+\+\+[ \t]*$", re.MULTILINE | re.DOTALL)
_MATCH_LINES = 4000  # of a mixed file that are compared one by one with all others


@dataclass(frozen=True, slots=True)
class Parts:
    """A file's text in three pieces that join to the whole: `head` (frontmatter with its fences, and the blank lines
    after it), `block` (what is inside the fences; None: no frontmatter), `body` (line endings as in the file).
    `language` of the block: yaml, toml or json."""

    head: str
    block: str | None
    body: str
    bom: bool
    encoding: str
    newline: str
    error: str | None
    language: str = "yaml"

    @property
    def text(self) -> str:
        """Body with `\\n` line endings, as `Record.body` gives it."""
        return normal(self.body)

    def encode(self) -> bytes:
        """The bytes of the file. Raises InvalidValue when its old encoding cannot hold the new text, or it would be no text."""
        try:
            data = (self.head + self.body).encode(self.encoding)
        except UnicodeEncodeError as error:
            raise InvalidValue(
                f"the file is {self.encoding} and cannot hold {error.object[error.start]!r}; convert it to UTF-8 first"
            ) from None
        if self.encoding not in _BOMS and (b"\0" in data or self.encoding == "latin-1") and _binary(data):
            # Written all the same it would be skipped as a program or an image is, and the note gone from every list.
            raise InvalidValue("the text holds so many control characters that the file would not be read as text")
        return _BOMS.get(self.encoding, BOM) + data if self.bom else data


def split(data: bytes, path: str = "") -> Parts:
    """Take a Markdown file apart. Raises Unreadable for what is not text."""
    parts = decode(data, path)
    head, block, body, language = _fences(parts.body)
    # Not `replace`, which costs as much as all the rest of this function.
    return Parts(head, block, body, parts.bom, parts.encoding, parts.newline, parts.error, language)


def fields(parts: Parts) -> tuple[dict[str, Any], str | None]:
    """The frontmatter as plain data, and None or what is wrong with it."""
    if parts.block is None:
        return {}, None
    if parts.language == "toml":
        try:
            return {
                str(key): yaml_block.plain(value) for key, value in tomllib.loads(normal(parts.block)).items()
            }, None
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            return {}, f"frontmatter is not TOML: {error}"
    if parts.language == "json":
        return {str(key): yaml_block.plain(value) for key, value in json.loads(parts.block).items()}, None
    return load(parts.block)


def decode(data: bytes, path: str = "") -> Parts:
    """The text of a file, all of it as body, with what must be known to write it again. Raises Unreadable."""
    wide = _WIDE.get(data[:2]) if len(data) % 2 == 0 else None
    if wide is not None:
        try:
            text = data[2:].decode(wide)
        except UnicodeDecodeError:
            pass
        else:
            return Parts(
                "", None, text, True, wide, _newline(text), "UTF-16, which few programs read; save it as UTF-8"
            )
    bom = data.startswith(BOM)
    if bom:
        data = data[3:]
    error = None
    encoding = "utf-8"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as fault:
        if _binary(data):
            raise Unreadable(f"{path or 'the file'} is not text; rename it or move it out of the notes") from None
        encoding, text = "latin-1", data.decode("latin-1")
        error = f"not UTF-8 (byte {fault.start}); read as Latin-1"
    else:
        if "\0" in text:
            if _binary(data):
                raise Unreadable(f"{path or 'the file'} is not text; rename it or move it out of the notes")
            error = "contains NUL characters"
    return Parts("", None, text, bom, encoding, _newline(text), error)


def _newline(text: str) -> str:
    """The line ending that most lines have."""
    if "\r" not in text:
        return "\n"
    crlf = text.count("\r\n")
    counts = {"\r\n": crlf, "\n": text.count("\n") - crlf, "\r": text.count("\r") - crlf}
    return max(counts, key=counts.__getitem__)


def _binary(data: bytes) -> bool:
    """Whether bytes look like a program, image or archive: control bytes no text has, and not just a few."""
    sample = data[:8192]
    control = sum(1 for byte in sample if byte < 32 and byte not in (9, 10, 12, 13, 27))
    return control > 2 + len(sample) // 50


def _fences(text: str) -> tuple[str, str | None, str, str]:
    opening = _OPEN.match(text)
    if opening is None:
        return _other(text) if text[:1] in ("+", "{") else ("", None, text, "yaml")
    # `$` of the pattern stands before `\n` only; look at a copy with CR blanked, which has the same offsets.
    view = text.replace("\r", "\n") if "\r" in text else text
    closing = CLOSE.search(view, opening.end())
    if closing is None:
        return "", None, text, "yaml"
    end = _past_blank(text, closing.end())
    return text[:end], text[opening.end() : closing.start()], text[end:], "yaml"


def _past_blank(text: str, end: int) -> int:
    while end < len(text) and text[end] in "\r\n":
        end += 1
    return end


def _other(text: str) -> tuple[str, str | None, str, str]:
    """Frontmatter of Hugo that is not YAML."""
    if text.startswith("+++"):
        # As with YAML: CR blanked, which keeps the offsets.
        found = _TOML.match(text.replace("\r", "\n") if "\r" in text else text)
        if found is not None and found.end(1) <= MAX_BLOCK:
            end = _past_blank(text, found.end())
            return text[:end], text[found.start(1) : found.end(1)], text[end:], "toml"
        return "", None, text, "yaml"
    try:
        value, end = json.JSONDecoder().raw_decode(text[:MAX_BLOCK])
    except (ValueError, RecursionError):
        return "", None, text, "yaml"
    if not isinstance(value, dict) or text[end : end + 1] not in ("", "\r", "\n"):
        return "", None, text, "yaml"
    body = _past_blank(text, end)
    return text[:body], text[:end], text[body:], "json"


# --- writing ---------------------------------------------------------------------------------------------------------


def with_body(parts: Parts, body: str) -> Parts:
    """The same file with another body. Lines that stay keep their own line endings; the final newline stays as it was."""
    old, new = LINE.findall(parts.body), LINE.findall(normal(body))
    if parts.body and new:
        ended = parts.body.endswith(("\n", "\r"))
        if ended and not new[-1].endswith("\n"):
            new[-1] += "\n"
        elif not ended and new[-1].endswith("\n"):
            new[-1] = new[-1][:-1]
            if not new[-1]:
                new.pop()
    plain = [normal(line) for line in old]
    first = 0
    while first < min(len(old), len(new)) and plain[first] == new[first]:
        first += 1
    last = 0
    while last < min(len(old), len(new)) - first and plain[-1 - last] == new[-1 - last]:
        last += 1
    middle = _middle(old[first : len(old) - last], plain[first : len(old) - last], new[first : len(new) - last], parts)
    text = "".join(old[:first] + middle + old[len(old) - last :])
    if normal(text) != "".join(new):
        text = "".join(new).replace("\n", parts.newline)  # a lone CR before a lone LF would be one line ending
    head = parts.head
    if head and text and not head.endswith(("\n", "\r")):
        head += parts.newline  # the closing line ended the file; what is written behind it would unclose it
    changed = text != parts.body  # what was read as a body is one as it stands
    if not head and changed and (_fences(text)[1] is not None or (not parts.bom and _marked(text, parts.encoding))):
        # A body that looks like frontmatter stays a body, also behind what would be taken for the mark of an encoding.
        text = parts.newline + text
    return replace(parts, head=head, body=text)


def _marked(text: str, encoding: str) -> bool:
    """Whether a file that begins with this text would be taken to begin with a byte order mark."""
    return text[:3].encode(encoding, "replace").startswith((BOM, *_WIDE))


def _middle(old: list[str], plain: list[str], new: list[str], parts: Parts) -> list[str]:
    """New lines in the place of old ones: those that were there keep their own endings, the others get the file's."""
    endings = [line.replace("\n", parts.newline) for line in new]
    if len(old) == len(new):
        return [was if same == line else end for was, same, line, end in zip(old, plain, new, endings, strict=True)]
    mixed = any(line.endswith(("\n", "\r")) and not line.endswith(parts.newline) for line in old)
    if not (mixed or (parts.newline != "\r\n" and any(line.endswith("\r\n") for line in old))):
        return endings
    if len(old) + len(new) > _MATCH_LINES:
        return endings
    out: list[str] = []
    for _, i1, i2, j1, j2 in difflib.SequenceMatcher(None, plain, new, autojunk=False).get_opcodes():
        out += old[i1:i2] if plain[i1:i2] == new[j1:j2] else endings[j1:j2]
    return out


def with_keys(parts: Parts, changes: Mapping[str, Any]) -> Parts:
    """The same file with some frontmatter keys set (value None: removed). Only the lines of those keys differ.

    Raises InvalidValue when the block is broken or not YAML, or the change cannot be made without touching something else.
    """
    if not changes:
        return parts
    if parts.language != "yaml":
        raise InvalidValue(
            f"the frontmatter is {parts.language.upper()}, which is read and left as it is; change {sorted(changes)!r} in the "
            "file, or make the frontmatter YAML between '---' lines"
        )
    if parts.block is None:
        block = yaml_block.rendered(changes)
        if not block:
            return parts
        gap = "" if not parts.body or parts.body[0] in "\r\n" else "\n"
        head = f"---\n{block}---\n{gap}".replace("\n", parts.newline)
        return replace(parts, head=head, block=block.replace("\n", parts.newline))
    block = yaml_block.changed(parts.block, changes, parts.newline)
    start = parts.head.index(parts.block) if parts.block else _open_end(parts.head)
    head = parts.head[:start] + block + parts.head[start + len(parts.block) :]
    return replace(parts, head=head, block=block)


def with_values(parts: Parts, change: Callable[[str], str]) -> Parts:
    """The same file with `change` applied to the texts in its frontmatter. Raises InvalidValue when that would break it."""
    if not parts.block or parts.language != "yaml":
        return parts
    block = yaml_block.with_scalars(parts.block, change)
    if block == parts.block:
        return parts
    if load(block)[1] is not None:
        raise InvalidValue("a text in the frontmatter cannot be changed so; edit the file")
    start = parts.head.index(parts.block)
    return replace(
        parts, head=parts.head[:start] + block + parts.head[start + len(parts.block) :], block=block
    )  # fmt: skip


def _open_end(head: str) -> int:
    opening = _OPEN.match(head)
    assert opening is not None
    return opening.end()
