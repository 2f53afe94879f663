"""Changes in the section `llm` of a configuration file that a person wrote: every other byte stays as it was.

The first half is text in, text out: places come from the YAML parser, and the result is parsed again and compared with
what was meant, so an edit that a strange file defeats is refused and never written. The second half replaces the file
as a whole, or not at all. What the keys mean is `config`'s.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from egghead.errors import ConfigError

ORDER = ("provider", "name", "api_key", "base_url", "models")


def with_provider(text: str, entry: Mapping[str, Any]) -> str:
    """The text with this entry of `llm`: its keys set in the entry of that name, or a new entry after the last. Raises
    ConfigError."""
    data, root = _parsed(text)
    entries = [dict(one) for one in data.get("llm") or []]
    index = next((i for i, one in enumerate(entries) if _name(one) == _name(entry)), None)
    if index is None:
        wanted, new = [*entries, dict(entry)], _added(text, root, entry)
    else:
        wanted, new = list(entries), text
        wanted[index] = {**entries[index], **entry}
        for key in sorted(entry, key=ORDER.index):
            if entries[index].get(key) != entry[key]:
                _, root = _parsed(new)
                new = _set(new, _value(root, "llm").value[index], key, entry[key])
    return _checked(new, {**data, "llm": wanted})


def without_provider(text: str, name: str) -> str:
    """The text without the entry of `llm` called `name`. Raises ConfigError; KeyError when there is none."""
    data, root = _parsed(text)
    entries = data.get("llm") or []
    index = next((i for i, one in enumerate(entries) if _name(one) == name), None)
    if index is None:
        raise KeyError(name)
    node = _value(root, "llm")
    rest = [one for i, one in enumerate(entries) if i != index]
    new = _cut_flow(text, node, index) if node.flow_style else _cut_block(text, root, node, index)
    return _checked(new, {**data, "llm": rest})


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("name") or entry.get("provider"))


def _parsed(text: str) -> tuple[dict[str, Any], Any]:
    try:
        data, root = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"the configuration is not valid YAML; correct it first: {error}") from None
    if data is None:
        return {}, None
    if not isinstance(data, dict) or not isinstance(data.get("llm") or [], list):
        raise ConfigError("the configuration is not a mapping with a list `llm`; correct it first")
    return data, root


def _checked(text: str, wanted: Mapping[str, Any]) -> str:
    try:
        if yaml.safe_load(text) == wanted:
            return text
    except yaml.YAMLError:
        pass
    raise ConfigError(
        "this file is written in a way that cannot be edited without touching more of it; write it by hand (docs/llm.md)"
    )


def _value(root: Any, key: str) -> Any:
    return next((value for name, value in root.value if name.value == key), None) if root is not None else None


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)  # JSON is YAML, and needs no thought about signs that mean something


def _lines(entry: Mapping[str, Any], dash: str, newline: str) -> str:
    rows = [f"{key}: {_quoted(entry[key]) if key != 'provider' else entry[key]}" for key in ORDER if key in entry]
    return "".join(f"{dash + '- ' if i == 0 else dash + '  '}{row}{newline}" for i, row in enumerate(rows))


def _inline(entry: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{_quoted(key)}: {_quoted(entry[key])}" for key in ORDER if key in entry) + "}"


def _added(text: str, root: Any, entry: Mapping[str, Any]) -> str:
    newline = _newline(text)
    if root is None or (not root.flow_style and _value(root, "llm") is None):
        start = text if not text or text.endswith("\n") else text + newline
        return f"{start}llm:{newline}{_lines(entry, '  ', newline)}"
    node = _value(root, "llm")
    if node is None:
        return _into_flow(text, root, f'"llm": [{_inline(entry)}]')
    if not isinstance(node, yaml.SequenceNode):  # `llm:` with nothing behind it
        at = node.start_mark.index if node.end_mark.index > node.start_mark.index else _colon(text, root)
        return f"{text[:at].rstrip(' ')} [{_inline(entry)}]{text[node.end_mark.index if at == node.start_mark.index else at :]}"
    if node.flow_style:
        return _into_flow(text, node, _inline(entry))
    at = _end_of_line(text, _last(node).end_mark.index)
    head = text[:at] if text[:at].endswith("\n") else text[:at] + newline
    return head + _lines(entry, " " * node.start_mark.column, newline) + text[at:]


def _colon(text: str, root: Any) -> int:
    key = next(name for name, _ in root.value if name.value == "llm")
    return text.index(":", key.end_mark.index) + 1


def _into_flow(text: str, node: Any, piece: str) -> str:
    """Behind the last part of a flow collection, or in an empty one."""
    if not node.value:
        return text[: node.end_mark.index - 1] + piece + text[node.end_mark.index - 1 :]
    last = node.value[-1][1] if isinstance(node, yaml.MappingNode) else node.value[-1]
    at = last.end_mark.index
    return f"{text[:at]}, {piece}{text[at:]}"


def _last(node: Any) -> Any:
    """The last scalar or flow collection within: where a block collection really ends, before the comments after it."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        node = node.value[-1][1] if isinstance(node, yaml.MappingNode) else node.value[-1]
    return node


def _end_of_line(text: str, index: int) -> int:
    """Behind the end of the line, which may have a comment. A block scalar ends where the next line begins."""
    if index > 0 and text[index - 1] == "\n":
        return index
    end = text.find("\n", index)
    return len(text) if end < 0 else end + 1


def _set(text: str, item: Any, key: str, value: Any) -> str:
    """One key of an entry."""
    old = _value(item, key)
    if old is not None and old.end_mark.index > old.start_mark.index:
        tail = text[old.end_mark.index :]
        line_end = _newline(text) if text[old.end_mark.index - 1] == "\n" else ""
        return text[: old.start_mark.index] + _quoted(value) + line_end + tail
    if old is not None:  # `api_key:` with nothing behind it
        name = next(name for name, _ in item.value if name.value == key)
        at = text.index(":", name.end_mark.index) + 1
        return f"{text[:at]} {_quoted(value)}{text[at:]}"
    if item.flow_style:
        return _into_flow(text, item, f"{_quoted(key)}: {_quoted(value)}")
    at = _end_of_line(text, _last(item.value[0][1]).end_mark.index)
    newline = _newline(text)
    head = text[:at] if text[:at].endswith("\n") else text[:at] + newline
    return f"{head}{' ' * item.start_mark.column}{key}: {_quoted(value)}{newline}{text[at:]}"


def _cut_flow(text: str, node: Any, index: int) -> str:
    item, last = node.value[index], len(node.value) - 1
    if index < last:
        return text[: item.start_mark.index] + text[node.value[index + 1].start_mark.index :]
    start = node.value[index - 1].end_mark.index if index else item.start_mark.index
    return text[:start] + text[item.end_mark.index :]


def _cut_block(text: str, root: Any, node: Any, index: int) -> str:
    item = node.value[index]
    lines = text[: item.start_mark.index].splitlines(keepends=True)
    dash = next(i for i in range(len(lines) - 1, -1, -1) if lines[i][node.start_mark.column :].startswith("-"))
    start = len("".join(lines[:dash]))
    end = _end_of_line(text, _last(item).end_mark.index)
    rest = text[:start] + text[end:]
    if len(node.value) > 1:
        return rest
    at = _colon(text, root)
    return f"{rest[:at]} []{rest[at:]}"


# -- the file


def change(path: Path, edit: Callable[[str], str], secret: bool = True) -> bool:
    """Replaces the file's text by `edit` of it, whole or not at all; a symbolic link keeps pointing where it did. With
    `secret` others may not read it afterwards. True when its mode was changed for that. Raises ConfigError."""
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(target.parent):
            return _replace(target, edit, secret)
    except OSError as error:
        raise ConfigError(f"{str(path)!r} was not changed: {error.strerror or error}") from None


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Two changes at the same time are made one after the other. The lock is the directory's, so nothing is left behind."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # a filesystem without locks
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _replace(target: Path, edit: Callable[[str], str], secret: bool) -> bool:
    try:
        content, info = target.read_bytes(), target.stat()
    except FileNotFoundError:
        content, info = b"", None
    mode = 0o600 if info is None else stat.S_IMODE(info.st_mode)
    if not mode & stat.S_IWUSR:
        raise ConfigError(f"{str(target)!r} is read-only; if you mean it: chmod u+w {target}")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{str(target)!r} is not UTF-8; save it as UTF-8 first") from None
    new = edit(text)
    kept = mode & ~0o077 if secret else mode
    fd, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(new.encode("utf-8"))
            file.flush()
            os.fchmod(file.fileno(), kept)
            if info is not None and (info.st_uid, info.st_gid) != (os.geteuid(), os.getegid()):
                with contextlib.suppress(OSError):  # only root may give a file away
                    os.fchown(file.fileno(), info.st_uid, info.st_gid)
            os.fsync(file.fileno())
        if info is not None and _changed(target, info):
            raise ConfigError(f"{str(target)!r} was changed by somebody else meanwhile; run the command again")
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    return kept != mode


def _changed(target: Path, before: os.stat_result) -> bool:
    now = target.stat()
    return (now.st_ino, now.st_mtime_ns, now.st_size) != (before.st_ino, before.st_mtime_ns, before.st_size)
