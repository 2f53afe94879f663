"""YAML nodes to values, with a fault (line, column, remedy) for everything that is not as it should be.

Knows kinds of values (seconds, sizes, names, mappings), not what a tree is made of: that is `treefile`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import yaml

from supervisor.errors import Fault, nearest

Node = yaml.Node
T = TypeVar("T")
_VARIABLE = re.compile(r"\$(\$(?=\{)|\{([^}]*)\})")
_STR, _INT, _FLOAT, _BOOL, _NULL = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null"))
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


class BadValue(Exception):
    """A value that does not fit; the reader turns it into a fault at the place of the node."""

    def __init__(self, message: str, node: Node | None = None) -> None:
        super().__init__(message)
        self.node = node


class Key(Generic[T]):
    """One key of a mapping: how its value is read."""

    def __init__(self, read: Callable[[Reader, Node], T], *, required: bool = False) -> None:
        self.read = read
        self.required = required


class Reader:
    """Collects faults while nodes are turned into values. `variables` None: `${…}` is left as it is."""

    def __init__(self, loader: Any, file: str, variables: Mapping[str, Any] | None) -> None:
        self.loader = loader
        self.file = file
        self.variables = variables
        self.faults: list[Fault] = []
        self._found: set[Fault] = (
            set()
        )  # the same: looking through the list takes minutes when all of a big file is wrong
        self._unknown: set[tuple[int, int]] = set()  # places of unknown variables
        self._pairs: dict[int, list[tuple[yaml.ScalarNode, Node]]] = {}  # by id of a node; the tree keeps nodes alive

    def fault(self, node: Node | None, message: str, path: str = "", *, unknown: bool = False) -> None:
        mark = node.start_mark if node is not None else None
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        if unknown:
            self._unknown.add((line, column))
        elif (line, column) in self._unknown:
            return  # what does not fit here is the name of the variable, not its value
        fault = Fault(line, column, message, path, self.file)
        if fault not in self._found:
            self._found.add(fault)
            self.faults.append(fault)

    # ---- plain values ------------------------------------------------------------------------------------------

    def plain(self, node: Node, above: tuple[Node, ...] = ()) -> Any:
        """The value of a node as JSON knows it, variables filled in."""
        if any(node is other for other in above):
            raise BadValue("a value that contains itself", node)
        if isinstance(node, yaml.MappingNode):
            result: dict[str, Any] = {}
            for key, value in self.pairs(node):
                result[key.value] = self.plain(value, (*above, node))
            return result
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, (*above, node)) for item in node.value]
        return self.scalar(node)

    def scalar(self, node: Node) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            raise BadValue(f"expected a single value, not {shape(node)}", node)
        if node.tag == _STR:
            return self.fill(node, node.value)
        if node.tag in (_INT, _FLOAT, _BOOL, _NULL):
            try:
                return self.loader.construct_object(node)
            except (yaml.YAMLError, ValueError) as error:
                raise BadValue(f"cannot read {node.value!r}: {error}", node) from None
        return self.fill(node, node.value)  # dates and the like stay the text that they were written as

    def fill(self, node: Node, text: str) -> Any:
        """`${name}` becomes the variable, with its own type when it is the whole text; `$${` is a literal `${`."""
        if self.variables is None or "$" not in text:
            return text
        whole = _VARIABLE.fullmatch(text)
        if whole is not None and whole[2] is not None:
            return self.variable(node, whole[2])
        return _VARIABLE.sub(lambda found: "$" if found[2] is None else str(self.variable(node, found[2])), text)

    def variable(self, node: Node, name: str) -> Any:
        assert self.variables is not None
        if name not in self.variables:
            known = ", ".join(sorted(self.variables)) or "none are given"
            near = nearest(name, self.variables)
            self.fault(node, f"unknown variable ${{{name}}}{near} (known: {known})", unknown=True)
            return f"${{{name}}}"
        return self.variables[name]

    # ---- mappings ----------------------------------------------------------------------------------------------

    def pairs(self, node: Node) -> list[tuple[yaml.ScalarNode, Node]]:
        """The entries of a mapping: text keys, no key twice, merge keys resolved."""
        if not isinstance(node, yaml.MappingNode):
            raise BadValue(f"expected a mapping, not {shape(node)}", node)
        if id(node) in self._pairs:
            return self._pairs[id(node)]
        explicit = {id(key) for key, _ in node.value}
        try:
            self.loader.flatten_mapping(node)
        except yaml.YAMLError as error:
            raise BadValue(f"bad merge key: {getattr(error, 'problem', error)}", node) from None
        seen: dict[str, tuple[yaml.ScalarNode, Node]] = {}
        written: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.fault(key, f"a key must be text, not {shape(key)}")
                continue
            if key.value in written and id(key) in explicit:
                self.fault(key, f"the key {key.value!r} is there twice")
                continue
            if id(key) in explicit:
                written.add(key.value)
            seen[key.value] = (key, value)
        return self._pairs.setdefault(id(node), list(seen.values()))

    def names(self, node: Node) -> set[str]:
        """The keys of a mapping; none for anything else."""
        try:
            return {key.value for key, _ in self.pairs(node)}
        except BadValue:
            return set()

    def keys(self, node: Node, known: Mapping[str, Key[Any]], what: str, hints: Mapping[str, str]) -> dict[str, Any]:
        """Read a mapping by its table of keys: every fault in it is found, absent keys are left out."""
        values: dict[str, Any] = {}
        try:
            pairs = self.pairs(node)
        except BadValue as error:
            self.fault(error.node or node, f"{what}: {error}")
            return values
        for name, value in pairs:
            key = known.get(name.value)
            if key is None:
                near = f"; {hints[name.value]}" if name.value in hints else nearest(name.value, known)
                self.fault(name, f"unknown key {name.value!r} in {what}{near}")
                continue
            try:
                values[name.value] = key.read(self, value)
            except BadValue as error:
                self.fault(error.node or value, f"{name.value}: {error}")
        present = {name.value for name, _ in pairs}
        for missing in (name for name, key in known.items() if key.required and name not in present):
            self.fault(node, f"{what} has no {missing!r}; add it")
        return values


def shape(node: Node) -> str:
    """What a node is, for messages."""
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return "nothing" if node.tag == _NULL else repr(node.value)


# ---- kinds of values -------------------------------------------------------------------------------------------------


def text(reader: Reader, node: Node) -> str:
    value = reader.scalar(node)
    if not isinstance(value, str):
        raise BadValue(f"expected text, got {value!r}; put it in quotes if it is meant as text")
    if not value:
        raise BadValue("must not be empty")
    return value


def matching(pattern: str, remedy: str) -> Callable[[Reader, Node], str]:
    """Text of a given form."""

    def read(reader: Reader, node: Node) -> str:
        value = text(reader, node)
        if re.fullmatch(pattern, value) is None:
            raise BadValue(f"{value!r} is not possible; {remedy}")
        return value

    return read


def one_of(words: Iterable[str]) -> Callable[[Reader, Node], Any]:
    known = tuple(words)

    def read(reader: Reader, node: Node) -> str:
        value = reader.scalar(node)
        if value not in known:
            raise BadValue(f"{value!r} is not one of {', '.join(known)}{nearest(value, known)}")
        return str(value)

    return read


def boolean(reader: Reader, node: Node) -> bool:
    value = reader.scalar(node)
    if not isinstance(value, bool):
        raise BadValue(f"expected true or false, got {value!r}")
    return value


def whole(least: int) -> Callable[[Reader, Node], int]:
    def read(reader: Reader, node: Node) -> int:
        value = reader.scalar(node)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise BadValue(f"expected a whole number of at least {least}, got {value!r}")
        return value

    return read


def seconds(*, least: float = 0.0, above: bool = False, words: tuple[str, ...] = ()) -> Callable[[Reader, Node], Any]:
    """A number of seconds, or one of `words`."""
    also = "".join(f", or {word}" for word in words)

    def read(reader: Reader, node: Node) -> float | str:
        value = reader.scalar(node)
        if isinstance(value, str) and value in words:
            return value
        good = isinstance(value, int | float) and not isinstance(value, bool) and value == value and value < 1e9
        if not good or value < least or (above and value == least):
            bound = f"more than {least:g}" if above else f"at least {least:g}"
            raise BadValue(f"expected seconds ({bound}){also}; got {value!r}{nearest(value, words)}")
        return float(value)

    return read


def number(least: float) -> Callable[[Reader, Node], float]:
    def read(reader: Reader, node: Node) -> float:
        value = reader.scalar(node)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < 1e9:
            raise BadValue(f"expected a number of at least {least:g}, got {value!r}")
        return float(value)

    return read


def size(reader: Reader, node: Node) -> int:
    """Bytes, as a whole number or with a unit: 300MiB, 1.5GiB, 64kB."""
    value = reader.scalar(node)
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", value) if isinstance(value, str) else None
    if found is not None and found[2].upper() in _UNITS:
        value = int(float(found[1]) * _UNITS[found[2].upper()])
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise BadValue(f"expected bytes, as in 300MiB or 1GiB; got {value!r}")
    return value


def optional(read: Callable[[Reader, Node], T]) -> Callable[[Reader, Node], T | None]:
    """null, or what `read` reads."""

    def read_optional(reader: Reader, node: Node) -> T | None:
        return None if node.tag == _NULL else read(reader, node)

    return read_optional


def list_of(read: Callable[[Reader, Node], T]) -> Callable[[Reader, Node], tuple[T, ...]]:
    def read_list(reader: Reader, node: Node) -> tuple[T, ...]:
        if not isinstance(node, yaml.SequenceNode):
            raise BadValue(f"expected a list, not {shape(node)}")
        result = []
        for item in node.value:
            try:
                result.append(read(reader, item))
            except BadValue as error:
                reader.fault(error.node or item, str(error))
        return tuple(result)

    return read_list


def mapping(reader: Reader, node: Node) -> dict[str, Any]:
    """Any mapping with text keys; its values are plain."""
    reader.pairs(node)  # refuses what is not a mapping
    value: dict[str, Any] = reader.plain(node)
    return value


def mapping_of(
    read: Callable[[Reader, Node], T], known: Iterable[str] = (), refuse: Callable[[str], str | None] = lambda _: None
) -> Callable[[Reader, Node], dict[str, T]]:
    """A mapping whose values are all of one kind; with `known`, of these keys only; `refuse` says what is wrong with one."""
    names = tuple(known)

    def read_mapping(reader: Reader, node: Node) -> dict[str, T]:
        result = {}
        for key, value in reader.pairs(node):
            if names and key.value not in names:
                reader.fault(key, f"unknown key {key.value!r}{nearest(key.value, names)}")
                continue
            if (wrong := refuse(key.value)) is not None:
                reader.fault(key, f"{key.value!r} {wrong}")
                continue
            try:
                result[key.value] = read(reader, value)
            except BadValue as error:
                reader.fault(error.node or value, f"{key.value}: {error}")
        return result

    return read_mapping
