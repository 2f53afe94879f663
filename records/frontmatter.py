"""The bytes of a note, taken apart and put together: encoding, BOM, frontmatter block, body.

This is the one module that touches YAML. Reading uses libyaml with limits, because a note is input from anybody.
Writing never renders the block again: it replaces the lines of the keys that changed and proves, by reading the
result, that nothing else did.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import yaml

from records.errors import InvalidValue, Unreadable

MAX_BLOCK = 1024 * 1024  # characters of frontmatter that are parsed; more is text with an error
MAX_NODES = 50_000  # after aliases are followed: a YAML bomb has billions
MAX_DEPTH = 64
BOM = b"\xef\xbb\xbf"

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_OPEN = re.compile(r"---[ \t]*(?:\r\n|\n|\r(?!\n))")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")  # str.splitlines also breaks at form feeds and Unicode separators
_CLOSE = re.compile(r"^(?:---|\.\.\.)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Parts:
    """A file's text in three pieces that join to the whole: `head` (frontmatter with its fences, and the blank lines
    after it), `block` (the YAML inside the fences; None: no frontmatter), `body` (line endings as in the file)."""

    head: str
    block: str | None
    body: str
    bom: bool
    encoding: str
    newline: str
    error: str | None

    @property
    def text(self) -> str:
        """Body with `\\n` line endings, as `Record.body` gives it."""
        return normal(self.body)

    def encode(self) -> bytes:
        """The bytes of the file. Raises InvalidValue when the file's old encoding cannot hold the new text."""
        try:
            data = (self.head + self.body).encode(self.encoding)
        except UnicodeEncodeError as error:
            raise InvalidValue(
                f"the file is {self.encoding} and cannot hold {error.object[error.start]!r}; convert it to UTF-8 first"
            ) from None
        return BOM + data if self.bom else data


def normal(text: str) -> str:
    """Text with `\\n` line endings."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def split(data: bytes, path: str = "") -> Parts:
    """Take a Markdown file apart. Raises Unreadable for what is not text."""
    parts = decode(data, path)
    head, block, body = _fences(parts.body)
    return replace(parts, head=head, block=block, body=body)


def decode(data: bytes, path: str = "") -> Parts:
    """The text of a file, all of it as body, with what must be known to write it again. Raises Unreadable."""
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
    newline = "\r\n" if "\r\n" in text and text.count("\r\n") * 2 >= text.count("\n") else "\n"
    return Parts("", None, text, bom, encoding, newline, error)


def _binary(data: bytes) -> bool:
    """Whether bytes look like a program, image or archive: control bytes no text has, and not just a few."""
    sample = data[:8192]
    control = sum(1 for byte in sample if byte < 32 and byte not in (9, 10, 12, 13, 27))
    return control > 2 + len(sample) // 50


def _fences(text: str) -> tuple[str, str | None, str]:
    opening = _OPEN.match(text)
    if opening is None:
        return "", None, text
    # `$` of the pattern stands before `\n` only; look at a copy with CR blanked, which has the same offsets.
    view = text.replace("\r", "\n") if "\r" in text else text
    closing = _CLOSE.search(view, opening.end())
    if closing is None:
        return "", None, text
    end = closing.end()
    while end < len(text) and text[end] in "\r\n":
        end += 1
    return text[:end], text[opening.end() : closing.start()], text[end:]


def load(block: str) -> tuple[dict[str, Any], str | None]:
    """The mapping of a frontmatter block as plain JSON-able data, and None or what is wrong with it (then it is empty)."""
    if len(block) > MAX_BLOCK:
        return {}, f"frontmatter has {len(block)} characters; at most {MAX_BLOCK} are read"
    text = normal(block)
    try:
        # Depth first: libyaml's composer recurses in C and would take the process with it.
        if (len(text) > 4096 or "[[[[[[[[" in text) and _depth(text) > MAX_DEPTH:
            return {}, f"frontmatter is nested more than {MAX_DEPTH} deep"
        value = yaml.load(text, Loader=_Loader)
        if value is None:
            return {}, None
        if not isinstance(value, dict):
            return {}, f"frontmatter is a {type(value).__name__}, not a mapping of keys to values"
        if "*" in text and _nodes(value, {}, set()) > MAX_NODES:
            return {}, f"frontmatter unfolds to more than {MAX_NODES} values by its aliases"
        plain = {_key(key): _plain(item) for key, item in value.items()}
    except yaml.YAMLError as error:
        return {}, _why(error)
    except (ValueError, RecursionError, OverflowError) as error:
        # An impossible date (2024-13-45), a loop of aliases, an integer of a million digits.
        return {}, f"frontmatter cannot be read: {error}"
    return plain, None


def _why(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    # +2: marks count from 0 and the block starts under the opening fence.
    where = f" in line {mark.line + 2}" if mark is not None else ""
    return f"frontmatter is not YAML{where}: {problem}"


def _depth(text: str) -> int:
    depth = deepest = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            deepest = max(deepest, depth)
            if deepest > MAX_DEPTH:
                break
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return deepest


def _nodes(value: Any, seen: dict[int, int], open_: set[int]) -> int:
    """How many values there are when every alias is followed. Raises ValueError for a loop."""
    if not isinstance(value, dict | list | set | tuple):
        return 1
    if id(value) in open_:
        raise ValueError("an alias contains itself")
    if id(value) not in seen:
        open_.add(id(value))
        items = value.values() if isinstance(value, dict) else value
        seen[id(value)] = 1 + sum(_nodes(item, seen, open_) for item in items)
        open_.discard(id(value))
    return seen[id(value)]


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(_plain(key))


def _plain(value: Any) -> Any:
    """YAML's values as JSON has them: dates as text, sets as lists, bytes as base64, odd numbers as text."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, dict):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set):
        return sorted(str(_plain(item)) for item in value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return str(value)


# --- writing ---------------------------------------------------------------------------------------------------------


def with_body(parts: Parts, body: str) -> Parts:
    """The same file with another body. Lines that stay keep their own line endings; the final newline stays as it was."""
    old, new = _LINE.findall(parts.body), _LINE.findall(normal(body))
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
    middle = [line.replace("\n", parts.newline) for line in new[first : len(new) - last]]
    return replace(parts, body="".join(old[:first] + middle + old[len(old) - last :]))


def with_keys(parts: Parts, changes: Mapping[str, Any]) -> Parts:
    """The same file with some frontmatter keys set (value None: removed). Only the lines of those keys differ.

    Raises InvalidValue when the block is broken, or the change cannot be made without touching something else.
    """
    if not changes:
        return parts
    if parts.block is None:
        block = "".join(_render(key, value, None) for key, value in changes.items() if value is not None)
        if not block:
            return parts
        gap = "" if not parts.body or parts.body[0] in "\r\n" else "\n"
        head = f"---\n{block}---\n{gap}".replace("\n", parts.newline)
        return replace(parts, head=head, block=block.replace("\n", parts.newline))
    before, fault = load(parts.block)
    if fault is not None:
        raise InvalidValue(f"the frontmatter must be repaired by hand before a key of it can be changed: {fault}")
    wanted = {key: value for key, value in before.items() if changes.get(key, value) is not None}
    wanted.update({key: _plain(value) for key, value in changes.items() if value is not None})
    for attempt in (_splice, _round_trip):
        block = attempt(parts.block, changes, parts.newline)
        after, fault = load(block)
        if fault is None and after == wanted and _CLOSE.search(normal(block)) is None:
            start = parts.head.index(parts.block) if parts.block else _open_end(parts.head)
            head = parts.head[:start] + block + parts.head[start + len(parts.block) :]
            return replace(parts, head=head, block=block)
    raise InvalidValue(f"cannot set {sorted(changes)!r} without changing other keys of the frontmatter; edit the file")


def _open_end(head: str) -> int:
    opening = _OPEN.match(head)
    assert opening is not None
    return opening.end()


def _splice(block: str, changes: Mapping[str, Any], newline: str) -> str:
    lines = normal(block).split("\n")
    kept = _LINE.findall(block)
    try:
        node = yaml.compose(normal(block), Loader=_Loader)
    except yaml.YAMLError:
        return block
    pairs: list[tuple[Any, Any]] = []
    if isinstance(node, yaml.MappingNode):
        if node.flow_style:
            return block
        pairs = node.value
    starts = [key.start_mark.line for key, _ in pairs]
    edits: list[tuple[int, int, str]] = []
    done: set[str] = set()
    for place, (key, value) in enumerate(pairs):
        name = str(key.value)
        if name not in changes or name in done:
            continue
        done.add(name)
        start = starts[place]
        limit = starts[place + 1] if place + 1 < len(starts) else len(kept)
        end = _value_end(value, lines, start, limit)
        new = changes[name]
        text = "" if new is None else _render(name, new, value)
        block_style = isinstance(value, yaml.ScalarNode) and value.style in ("|", ">")
        if text.count("\n") == 1 and not block_style and getattr(value, "flow_style", True):
            # A comment behind the old value stays behind the new one.
            tail = lines[value.end_mark.line][value.end_mark.column :]
            if tail.strip().startswith("#"):
                text = text[:-1] + tail.rstrip("\n") + "\n"
        edits.append((start, end, text.replace("\n", newline)))
    added = "".join(_render(key, new, None) for key, new in changes.items() if key not in done and new is not None)
    if kept and not kept[-1].endswith(("\n", "\r")) and added:
        kept[-1] += newline
    for start, end, text in sorted(edits, reverse=True):
        kept[start:end] = [text]
    return "".join(kept) + added.replace("\n", newline)


def _value_end(value: Any, lines: list[str], start: int, limit: int) -> int:
    """Number of the line after a value. Comments and blank lines above the next key belong to that key."""
    simple = isinstance(value, yaml.ScalarNode) and value.style not in ("|", ">")
    if simple or getattr(value, "flow_style", False):
        return max(start + 1, int(value.end_mark.line) + 1)
    end = min(limit, len(lines))
    while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
        end -= 1
    return end


def _render(key: str, value: Any, old: Any) -> str:
    """`key: value` as YAML lines, in the manner of the value that it replaces."""
    flow: bool | None = None
    style: str | None = None
    if isinstance(old, yaml.CollectionNode):
        flow = bool(old.flow_style)
    elif isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        flow = True
    if isinstance(old, yaml.ScalarNode) and isinstance(value, str) and "\n" not in value and old.style in ("'", '"'):
        style = old.style
    head = _dump(key, None, None).strip()
    if isinstance(value, dict | list) and value and not flow:
        text = _dump(value, False, None)
        pad = "  " if isinstance(value, dict) or _indented(old) else ""
        return f"{head}:\n" + "".join(f"{pad}{line}\n" for line in text.splitlines())
    if isinstance(value, str) and "\n" in value:
        return _dump({key: value}, False, None)
    return f"{head}: {_dump(value, True, style).strip()}\n"


def _indented(old: Any) -> bool:
    return isinstance(old, yaml.SequenceNode) and not old.flow_style and old.start_mark.column > 0


def _dump(value: Any, flow: bool | None, style: str | None) -> str:
    text = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=flow, default_style=style, allow_unicode=True, width=2**20,
        sort_keys=False,
    )  # fmt: skip
    return str(text).removesuffix("...\n") if not isinstance(value, dict | list) else str(text)


def _round_trip(block: str, changes: Mapping[str, Any], newline: str) -> str:
    """The whole block through ruamel.yaml: for shapes that lines cannot express, such as `{a: 1, b: 2}`."""
    # Imported here: it costs more than the rest of the package together and is almost never needed.
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    tool = YAML(typ="rt")
    tool.preserve_quotes = True
    tool.width = 2**20
    try:
        data = tool.load(normal(block))
        if data is None:
            data = {}
        for key, value in changes.items():
            if value is None:
                data.pop(key, None)
            else:
                data[key] = value
        out = io.StringIO()
        tool.dump(data, out)
    except (YAMLError, ValueError, AttributeError, TypeError):
        return block
    return out.getvalue().replace("\n", newline)
