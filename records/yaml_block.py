"""YAML, all that needs a parser: a frontmatter block to plain data, and keys of it changed in place.

What needs no parser is read by `records.yaml_lines`.
Reading uses libyaml with limits, because a note is input from anybody. Writing never renders the block again: it
replaces the lines of the keys that changed and proves, by reading the result, that nothing else did.
"""

from __future__ import annotations

import base64
import bisect
import difflib
import io
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from typing import Any

import yaml

from records import yaml_lines
from records.errors import InvalidValue
from records.lines import LINE, first_line, lines, normal
from records.yaml_dump import BREAK, dump

MAX_BLOCK = 1024 * 1024  # characters of frontmatter that are parsed; more is text with an error
MAX_NODES = 50_000  # after aliases are followed: a YAML bomb has billions
MAX_DEPTH = 64
# Names of things are what their author wrote: `007`, `yes` and `2024-05-06` are no number, truth or moment there.
NAMES = ("id", "title", "class", "tags", "links", "aliases", "alias", "author")

CLOSE = re.compile(r"^(?:---|\.\.\.)[ \t]*$", re.MULTILINE)
_BREAKS = (0x85, 0x2028, 0x2029)  # line ends of YAML 1.1 and no others
_ALIAS = re.compile(r":\s+\*[^\s#]+([^\n]*)")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # which of the two is known at run time
    """libyaml's, but for numbers of YAML 1.1 only, and for a date that cannot be (2024-13-45): they are text, and the other
    keys are read. And a line ends where an editor ends it, as YAML 1.2 has it: what YAML 1.1 breaks lines at too is text, and comes with what is pasted."""

    def __init__(self, text: str) -> None:
        self._held = _stand_ins(text) if BREAK.search(text) else {}
        super().__init__(text.translate(self._held) if self._held else text)

    def get_single_node(self) -> Any:
        root = super().get_single_node()
        if self._held:
            back = {ord(new): old for old, new in self._held.items()}
            for node in _nodes_of(root):
                if isinstance(node, yaml.ScalarNode):
                    node.value = node.value.translate(back)
        return root


def _stand_ins(text: str) -> dict[int, str]:
    """Character that ends a line for libyaml only -> one for private use that the text does not have."""
    free = (character for character in map(chr, range(0xE000, 0xF900)) if character not in text)
    return dict(zip(_BREAKS, free, strict=False))  # a text that has all 6,400 of them breaks where libyaml breaks it


def _nodes_of(root: Any) -> Iterator[Any]:
    """Every node of a tree once, however many aliases lead to it."""
    left = [root]
    seen: set[int] = set()
    while left:
        node = left.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            left += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            left += node.value


def _timestamp(loader: Any, node: Any) -> Any:
    try:
        return loader.construct_yaml_timestamp(node)
    except ValueError:
        return node.value


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _timestamp)


def _number(loader: Any, node: Any) -> Any:
    """As libyaml's, but for what only YAML 1.1 counts in sixties and eights: a time (`10:30`) is no 630, a code (`01234`) no
    668. They are text, as they stand; Obsidian, which reads YAML 1.2, shows them so or in tens."""
    if node.tag.endswith("int"):
        return node.value if ":" in node.value or _OCTAL.match(node.value) else loader.construct_yaml_int(node)
    return node.value if ":" in node.value else loader.construct_yaml_float(node)


_OCTAL = re.compile(r"[-+]?0[0-7_]")
_Loader.add_constructor("tag:yaml.org,2002:int", _number)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)


def load(block: str) -> tuple[dict[str, Any], str | None]:
    """The mapping of a frontmatter block as plain JSON-able data, and None or what is wrong with it (then it is empty)."""
    if len(block) > MAX_BLOCK:
        return {}, f"frontmatter has {len(block)} characters; at most {MAX_BLOCK} are read"
    text = normal(block)
    easy = yaml_lines.read(text, NAMES)
    return (easy, None) if easy is not None else parse(text)


def parse(text: str) -> tuple[dict[str, Any], str | None]:
    """As `load`, by libyaml. `text` has `\\n` line endings."""
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
        _as_written(text, value)
        plain = {_key(key): _plain(item) for key, item in value.items()}
    except yaml.YAMLError as error:
        return {}, _why(text, error)
    except (ValueError, RecursionError, OverflowError) as error:
        # A loop of aliases, an integer of a million digits.
        return {}, f"frontmatter cannot be read: {error}"
    return plain, None


def _why(text: str, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or first_line(str(error))
    line = mark.line if mark is not None else None
    if isinstance(error, yaml.reader.ReaderError):
        # It says a number of bytes, which nobody can go to.
        problem = f"the character U+{error.character:04X} is not allowed; remove it"
        line = text.count("\n", 0, max(0, text.find(chr(error.character))))
    # +2: marks count from 0 and the block starts under the opening fence.
    where = f" in line {line + 2}" if line is not None else ""
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


def plain(value: Any) -> Any:
    """A value of any reader (YAML, TOML) as JSON has it."""
    return _plain(value)


def _as_written(text: str, value: dict[Any, Any]) -> None:
    """Put the author's own spelling where a name was taken for a number, a truth value or a date."""
    odd = {key for key in NAMES if key in value and not _is_text(value[key])}
    if not odd:
        return
    root: Any = yaml.compose(text, Loader=_Loader)
    for key, node in root.value:
        if not isinstance(key, yaml.ScalarNode) or key.value not in odd:
            continue
        old = value.get(key.value)
        if isinstance(node, yaml.ScalarNode) and old is not None:
            value[key.value] = node.value
        elif isinstance(node, yaml.SequenceNode) and isinstance(old, list) and len(old) == len(node.value):
            value[key.value] = [
                item.value if isinstance(item, yaml.ScalarNode) and one is not None else one
                for item, one in zip(node.value, old, strict=True)
            ]


def _is_text(value: Any) -> bool:
    if isinstance(value, list):
        return all(item is None or isinstance(item, str) for item in value)
    return value is None or isinstance(value, str)


# --- writing ---------------------------------------------------------------------------------------------------------


def changed(block: str, changes: Mapping[str, Any], newline: str) -> str:
    """The block with some keys set (value None: removed). Only the lines of those keys differ.

    Raises InvalidValue when the block is broken, or the change cannot be made without touching something else.
    """
    before, fault = load(block)
    if fault is not None:
        raise InvalidValue(f"the frontmatter must be repaired by hand before a key of it can be changed: {fault}")
    changes = {key: _named(key, value) for key, value in changes.items()}
    wanted = {key: value for key, value in before.items() if key not in changes}
    wanted.update({key: _plain(value) for key, value in changes.items() if value is not None})
    for attempt in (_splice, _round_trip):
        new = attempt(block, changes, before, newline)
        if new is None:
            continue
        after, fault = load(new)
        if fault is None and after == wanted and CLOSE.search(normal(new)) is None:
            return new
    raise InvalidValue(f"cannot set {sorted(changes)!r} without changing other keys of the frontmatter; edit the file")


def with_scalars(block: str, change: Callable[[str], str]) -> str:
    """The block with `change` applied to the source of each value and key that is text; all between them stays."""
    if load(block)[1] is not None:
        return block
    text = normal(block)
    spans: set[tuple[int, int, bool]] = set()
    for node in _nodes_of(yaml.compose(text, Loader=_Loader)):
        if isinstance(node, yaml.ScalarNode):
            spans.add((node.start_mark.index, node.end_mark.index, node.style == "'"))
    # Where a character of the normal text stands in the block: CRLF is two.
    places = (
        None if len(text) == len(block) else [n for n, c in enumerate(block) if c != "\n" or block[n - 1 : n] != "\r"]
    )
    for start, end, single in sorted(spans, reverse=True):
        if places is not None:
            start, end = places[start] if start < len(places) else len(block), places[end - 1] + 1 if end else 0
        old = block[start:end]
        new = "'" + change(old[1:-1].replace("''", "'")).replace("'", "''") + "'" if single else change(old)
        if new != old and (not single or change(old[1:-1].replace("''", "'")) != old[1:-1].replace("''", "'")):
            block = block[:start] + new + block[end:]
    return block


def rendered(changes: Mapping[str, Any]) -> str:
    """Keys and values as the lines of a new block; None is left out."""
    return "".join(_render(key, _named(key, value), None) for key, value in changes.items() if value is not None)


def _named(key: str, value: Any) -> Any:
    """A name is read as text, so it is written as text."""
    if key not in NAMES:
        return value
    if isinstance(value, list | tuple):
        return [_spelled(item) for item in value]
    return _spelled(value)


def _spelled(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


class _Place:
    """Where the nodes of a block stand, in lines as they are in the file, with CRLF and CR."""

    def __init__(self, block: str) -> None:
        self.kept = LINE.findall(block)
        self.lines = [normal(line).rstrip("\n") for line in self.kept]
        self.starts = [0]
        for line in self.kept:
            self.starts.append(self.starts[-1] + len(normal(line)))

    def line(self, mark: Any) -> int:
        return min(bisect.bisect_right(self.starts, mark.index) - 1, max(0, len(self.kept) - 1))

    def column(self, mark: Any) -> int:
        return int(mark.index) - self.starts[self.line(mark)]


def _splice(block: str, changes: Mapping[str, Any], before: Mapping[str, Any], newline: str) -> str | None:
    place = _Place(block)
    node = yaml.compose(normal(block), Loader=_Loader)
    pairs: list[tuple[Any, Any]] = []
    if isinstance(node, yaml.MappingNode):
        if node.flow_style:
            return None
        pairs = node.value
    pad = " " * place.column(node.start_mark) if node is not None and pairs else ""
    starts = [place.line(key.start_mark) for key, _ in pairs]
    last = {str(key.value): number for number, (key, _) in enumerate(pairs)}  # of doubled keys the last one counts
    edits: list[tuple[int, int, str]] = []
    for number, (key, value) in enumerate(pairs):
        name = str(key.value)
        if name not in changes or (changes[name] is not None and last[name] != number):
            continue
        start = starts[number]
        limit = starts[number + 1] if number + 1 < len(starts) else len(place.kept)
        alias = value.start_mark.index < key.end_mark.index
        end = _value_end(place, key, value, alias, start, limit)
        new = changes[name]
        if new is None:
            edits.append((start, end, ""))
            continue
        items = None if alias else _items(place, value, before.get(name), new, start, end, newline)
        if items is not None:
            edits.append((start, end, items))
            continue
        text = _own_key(place, key, name, _render(name, new, None if alias else value))
        if text.count("\n") == 1:
            text = text[:-1] + _remark(place, value, alias, start) + "\n"
        edits.append((start, end, _indent(text, pad).replace("\n", newline)))
    kept = place.kept
    added = _indent(
        "".join(_render(key, new, None) for key, new in changes.items() if key not in last and new is not None), pad
    )
    if kept and not kept[-1].endswith(("\n", "\r")) and added:
        kept[-1] += newline
    for start, end, text in sorted(edits, reverse=True):
        kept[start:end] = [text]
    return "".join(kept) + added.replace("\n", newline)


def _own_key(place: _Place, key: Any, name: str, text: str) -> str:
    """The new lines of a key, with the key in the quotes that it has."""
    head = dump(name, None, None).strip()
    if (
        key.style not in ("'", '"')
        or place.line(key.start_mark) != place.line(key.end_mark)
        or not text.startswith(head)
    ):
        return text
    return (
        place.lines[place.line(key.start_mark)][place.column(key.start_mark) : place.column(key.end_mark)]
        + text[len(head) :]
    )


def _indent(text: str, pad: str) -> str:
    return "".join(pad + line if line.strip() else line for line in LINE.findall(text)) if pad else text


def _remark(place: _Place, value: Any, alias: bool, start: int) -> str:
    """The comment behind an old value of one line: it stays behind the new one."""
    if alias:
        found = _ALIAS.search(place.lines[start])
        tail = found.group(1) if found else ""
    elif getattr(value, "style", None) in ("|", ">") or (
        isinstance(value, yaml.CollectionNode) and not value.flow_style
    ):
        return ""
    else:
        tail = place.lines[place.line(value.end_mark)][place.column(value.end_mark) :]
    return tail.rstrip() if tail.strip().startswith("#") else ""


def _value_end(place: _Place, key: Any, value: Any, alias: bool, start: int, limit: int) -> int:
    """Number of the line after a value. Comments and blank lines above the next key belong to that key."""
    if alias or (isinstance(value, yaml.ScalarNode) and value.style is None and not value.value):
        return max(start, place.line(key.end_mark)) + 1
    simple = isinstance(value, yaml.ScalarNode) and value.style not in ("|", ">")
    if simple or getattr(value, "flow_style", False):
        return max(start, place.line(value.end_mark)) + 1
    end = min(limit, len(place.lines))
    # In a block of text an indented `#` is text.
    indented = not _ends_in_text(value)
    while end > start + 1:
        line = place.lines[end - 1]
        if line.strip() and not (line.lstrip() if indented else line).startswith("#"):
            break
        end -= 1
    return end


def _ends_in_text(node: Any) -> bool:
    """Whether the last thing in a value is a block of text (`|`, `>`)."""
    while isinstance(node, yaml.CollectionNode) and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(node, yaml.MappingNode) else last
    return isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")


def _items(place: _Place, node: Any, old: Any, new: Any, start: int, end: int, newline: str) -> str | None:
    """The lines of a list that stands item below item, with only the items that differ changed; None: not such a list."""
    if not isinstance(node, yaml.SequenceNode) or node.flow_style or not isinstance(new, list | tuple) or not new:
        return None
    if not isinstance(old, list) or len(old) != len(node.value) or not old:
        return None
    firsts = [place.line(item.start_mark) for item in node.value]
    if firsts[0] <= start or any(one >= other for one, other in itertools.pairwise(firsts)):
        return None  # on the key's line, or an alias, which stands where its anchor does
    dashes = [place.lines[first].lstrip(" ") for first in firsts]
    if not all(line.startswith("- ") for line in dashes) or any(isinstance(item, dict | list) for item in new):
        return None
    pad = place.lines[firsts[0]][: len(place.lines[firsts[0]]) - len(dashes[0])]
    bounds = [*firsts, end]
    out = place.kept[start : firsts[0]]
    was, shall = [repr(item) for item in old], [repr(_plain(item)) for item in new]
    for _, i1, i2, j1, j2 in difflib.SequenceMatcher(None, was, shall, autojunk=False).get_opcodes():
        if was[i1:i2] == shall[j1:j2]:
            out += place.kept[bounds[i1] : bounds[i2]]
        else:
            out += [f"{pad}- {dump(item, True, None).strip()}{newline}" for item in new[j1:j2]]
            if out and i2 < len(firsts) and not out[-1].endswith(("\n", "\r")):
                out[-1] += newline
    text = "".join(out)
    if len(place.kept) > end or place.kept[-1].endswith(("\n", "\r")):
        return text if text.endswith(("\n", "\r")) else text + newline
    return text


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
    head = dump(key, None, None).strip()
    if isinstance(value, dict | list) and value and not flow:
        text = dump(value, False, None)
        pad = "  " if isinstance(value, dict) or _indented(old) else ""
        return f"{head}:\n" + "".join(f"{pad}{line}\n" for line in lines(text))
    if isinstance(value, str) and "\n" in value:
        return dump({key: value}, False, None)
    return f"{head}: {dump(value, True, style).strip()}\n"


def _indented(old: Any) -> bool:
    return isinstance(old, yaml.SequenceNode) and not old.flow_style and old.start_mark.column > 0


def _round_trip(block: str, changes: Mapping[str, Any], before: Mapping[str, Any], newline: str) -> str | None:
    """The whole block through ruamel.yaml: for shapes that lines cannot express, such as `{a: 1, b: 2}`, or an anchor
    that others use. None when that would touch a line of another key."""
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
        return None
    return _moderate(block, out.getvalue(), set(changes)).replace("\n", newline) or None


def _moderate(block: str, new: str, keys: set[str]) -> str:
    """`new`, when it differs from the block in lines of the keys, of a flow mapping, or with anchors only; else nothing."""
    old, shall = lines(block), lines(new)
    if normal(block).lstrip().startswith(("{", "&", "!")):
        return new
    for _, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old, shall, autojunk=False).get_opcodes():
        if old[i1:i2] == shall[j1:j2]:
            continue
        for line in old[i1:i2]:
            own = any(line.lstrip("'\" ").startswith(key) for key in keys)
            if not own and "*" not in line and "&" not in line:
                return ""
    return new
