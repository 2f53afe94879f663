"""The tree file: YAML to a frozen `Tree`, or a `TreeError` with every fault at once, each with line and column.

Here belong the keys of the format and the rules between them. How single values are read is `treefile_values`'
business; importing or starting what is named is nobody's before the tree runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from supervisor import treefile_values as v
from supervisor.errors import Fault, TreeError, nearest
from supervisor.policy.rules import spec_fault
from supervisor.spec import (
    AUTO_SHUTDOWNS,
    RESTARTS,
    STRATEGIES,
    AnySpec,
    Backoff,
    ChildSpec,
    Files,
    Park,
    Profile,
    SupervisorSpec,
    Tree,
    walk,
)
from supervisor.treefile_values import BadValue, Key, Node, Reader

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RLIMITS: tuple[str, ...] = (
    *("as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio"),
    *("rttime", "sigpending", "stack"),
)  # setrlimit(2)

_id = v.matching(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", "an id is made of letters, digits, '_', '-' and '.'")
_start = v.matching(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", "write package.module:function")
_module = v.matching(r"[A-Za-z_][\w.]*", "write the dotted name of a module")
_words = v.list_of(v.text)


def _environment(reader: Reader, node: Node) -> str:
    value = reader.scalar(node)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadValue(f"expected text, got {value!r}; put it in quotes")
    if "\0" in str(value):
        raise BadValue(f"{value!r} is not possible; remove the zero byte, which ends a value")
    return str(value)


def _no_variable(name: str) -> str | None:
    if name and "=" not in name and "\0" not in name:
        return None
    return "is no name of a variable; it must not be empty or contain '=' or a zero byte"


def _rlimit(reader: Reader, node: Node) -> int:
    if reader.scalar(node) in ("unlimited", -1):
        return -1
    try:
        return 0 if reader.scalar(node) == 0 else v.size(reader, node)
    except BadValue:  # not all of them are bytes
        value = reader.scalar(node)
        raise BadValue(f"expected a whole number, a size as 300MiB, or unlimited; got {value!r}") from None


_BACKOFF = {"initial": Key(v.number(0)), "factor": Key(v.number(1)), "max": Key(v.number(0))}
_PARK = {"intensity": Key(v.whole(0)), "period": Key(v.whole(1))}
_FILES = {"read": Key(_words), "write": Key(_words)}


def _backoff(reader: Reader, node: Node) -> Backoff:
    return Backoff(**reader.keys(node, _BACKOFF, "backoff", {}))


def _park(reader: Reader, node: Node) -> Park:
    return Park(**reader.keys(node, _PARK, "park", {}))


def _files(reader: Reader, node: Node) -> Files | None:
    if isinstance(node, yaml.ScalarNode):
        value = reader.scalar(node)
        if value not in ("none", None):
            raise BadValue(f"expected none or a mapping {{read: [paths], write: [paths]}}, got {value!r}")
        return None
    return Files(**reader.keys(node, _FILES, "filesystem", {}))


_PROFILE = {
    "filesystem": Key(_files),
    "network": Key(v.one_of(("none", "host"))),
    "exec": Key(v.boolean),
    "sockets": Key(_words),
    "fork": Key(v.boolean),
}


def _profile(reader: Reader, node: Node) -> Profile:
    values = reader.keys(node, _PROFILE, "a profile", {})
    if values.get("exec") and values.get("fork") is False:
        reader.fault(node, "'exec: true' with 'fork: false': a program is started in a new process; leave fork out")
    return Profile(**values)


def _confine(reader: Reader, node: Node) -> Profile | str | None:
    """A profile written in place, or the name of one: names are looked up when all profiles are known."""
    if isinstance(node, yaml.MappingNode):
        return _profile(reader, node)
    return v.optional(v.text)(reader, node)


def _nodes(reader: Reader, node: Node) -> list[Node]:
    if not isinstance(node, yaml.SequenceNode):
        raise BadValue(f"expected a list of children, not {v.shape(node)}")
    return list(node.value)


def _node(reader: Reader, node: Node) -> Node:
    return node


_SHUTDOWN = Key(v.seconds(words=("brutal_kill", "infinity")))
_TEMPLATE: dict[str, Key[Any]] = {
    "start": Key(_start, required=True),
    "args": Key(v.mapping),
    "restart": Key(v.one_of(RESTARTS)),
    "shutdown": _SHUTDOWN,
    "significant": Key(v.boolean),
    "optional": Key(v.boolean),
    "start_timeout": Key(v.seconds(above=True)),
    "heartbeat": Key(v.optional(v.seconds(above=True))),
    "max_memory": Key(v.optional(v.size)),
    "backoff": Key(_backoff),
    "env": Key(v.mapping_of(_environment, refuse=_no_variable)),
    "rlimits": Key(v.mapping_of(_rlimit, _RLIMITS)),
    "confine": Key(_confine),
    "control": Key(_words),
    "observe": Key(v.boolean),
    "allow": Key(v.mapping),
}
_WORKER: dict[str, Key[Any]] = {"id": Key(_id, required=True), **_TEMPLATE}
_SUPERVISOR: dict[str, Key[Any]] = {
    "id": Key(_id, required=True),
    "strategy": Key(v.one_of(STRATEGIES), required=True),
    "intensity": Key(v.whole(0)),
    "period": Key(v.whole(1)),
    "auto_shutdown": Key(v.one_of(AUTO_SHUTDOWNS)),
    "children": Key(_nodes),
    "max_children": Key(v.optional(v.whole(1))),
    "spares": Key(v.whole(0)),
    "park": Key(v.optional(_park)),
    "template": Key(_node),
    "restart": Key(v.one_of(RESTARTS)),
    "shutdown": _SHUTDOWN,
    "significant": Key(v.boolean),
    "optional": Key(v.boolean),
}
_ROOT: dict[str, Key[Any]] = {**_SUPERVISOR, "profiles": Key(_node), "preload": Key(v.list_of(_module))}
_DYNAMIC_ONLY = ("template", "max_children", "spares", "park")
_ROOT_ONLY = {
    "profiles": "profiles belong to the root supervisor",
    "preload": "preload belongs to the root supervisor",
}
_FOR_PARENTS = ("restart", "shutdown", "significant", "optional")  # said to the parent, which the root does not have


def load_tree(
    path: str | os.PathLike[str], variables: Mapping[str, Any] | None = None, *, unique_names: bool = True
) -> Tree:
    """Read a tree file. `${name}` in any text is filled from `variables`. Raises TreeError with every fault."""
    file = os.fspath(path)
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise TreeError([Fault(1, 1, f"cannot read the tree file: {error.strerror or error}", "", file)]) from None
    return parse_tree(data, file, variables, unique_names=unique_names)


def load_again(path: str | os.PathLike[str], variables: Mapping[str, Any] | None = None) -> Tree:
    """As `load_tree`, for a reload: a pipe was read the first time, and to open it again could block for ever."""
    file = os.fspath(path)
    if os.path.exists(file) and not os.path.isfile(file):
        fault = "cannot be read a second time: it is no regular file; give the path of one to reload it"
        raise TreeError([Fault(1, 1, fault, "", file)])
    return load_tree(file, variables)


def parse_tree(
    text: str | bytes, file: str = "<tree>", variables: Mapping[str, Any] | None = None, *, unique_names: bool = True
) -> Tree:
    """As `load_tree`, from text. `unique_names` False: names need only be unique within their supervisor."""
    try:
        loader = _LOADER(text)
        node = loader.get_single_node()
    except RecursionError:
        raise TreeError([Fault(1, 1, "nested too deeply", "", file)]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        why = " ".join(part for part in (error.context, error.problem) if part)
        raise TreeError([Fault(line, column, f"not YAML: {why}", "", file)]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TreeError([Fault(1, 1, f"not YAML: {' '.join(str(error).split())}", "", file)]) from None
    if node is None:
        raise TreeError([Fault(1, 1, "the tree file is empty; it needs id, strategy and children", "", file)])
    try:
        return _Builder(Reader(loader, file, dict(variables or {})), unique_names).tree(node)
    except RecursionError:  # an alias to something around it
        raise TreeError(
            [Fault(1, 1, "nested without end or too deeply; look for an alias to itself", "", file)]
        ) from None


def child_spec(supervisor: SupervisorSpec, request: Mapping[str, Any], tree: Tree) -> AnySpec:
    """The spec that a start_child request means: `{id, args}` for a dynamic supervisor, else a child as in a tree file.

    Profiles are those of `tree`. Raises TreeError.
    """
    try:
        node = yaml.representer.SafeRepresenter().represent_data(dict(request))
        builder = _Builder(Reader(_LOADER(""), "<request>", None), tree.unique_names, tree)
        if supervisor.template is not None:
            return builder.instance(supervisor, supervisor.template, node)
        return builder.requested(supervisor, node)
    except yaml.YAMLError as error:
        raise TreeError([Fault(1, 1, f"not plain data: {error}", "", "<request>")]) from None
    except RecursionError:
        raise TreeError([Fault(1, 1, "nested too deeply", "", "<request>")]) from None


class _Builder:
    """Builds specs from nodes and checks the rules between keys. One for each file or request."""

    def __init__(self, reader: Reader, unique_names: bool, tree: Tree | None = None) -> None:
        self.reader = reader
        self.unique_names = unique_names
        self.profiles: dict[str, Profile] = dict(tree.profiles) if tree is not None else {}
        self.supervisors: dict[str, Node | None] = {}
        self.workers: dict[str, Node | None] = {}
        self.controls: list[tuple[Node, tuple[str, ...]]] = []
        self.warnings: list[str] = []
        if tree is not None:
            self.supervisors = {spec.id: None for _, spec in tree.supervisors()}

    # ---- whole files and requests ------------------------------------------------------------------------------

    def tree(self, node: Node) -> Tree:
        self._read_profiles(node)
        values = self.reader.keys(node, _ROOT, "the root supervisor", _only(_WORKER, "a worker"))
        root = self._supervisor(node, values)
        self._check_controls()
        self._finish()
        for name in _FOR_PARENTS:
            if name in values:
                self.warnings.append(f"{root.id}: {name} has no effect at the root, which has no parent")
        self._warn(root)
        return Tree(
            root,
            values.get("preload", ()),
            MappingProxyType(self.profiles),
            self.reader.file,
            self.unique_names,
            tuple(self.warnings),
        )

    def requested(self, supervisor: SupervisorSpec, node: Node) -> AnySpec:
        self.supervisors, known = {}, self.supervisors
        spec = self._child(node, supervisor.id)
        self.supervisors |= known
        self._check_controls()
        if spec is not None and (fault := spec_fault(supervisor, spec)):
            self.reader.fault(node, fault)
        self._finish()
        assert spec is not None
        return spec

    def instance(self, supervisor: SupervisorSpec, template: ChildSpec, node: Node) -> ChildSpec:
        keys: dict[str, Key[Any]] = {"id": Key(_instance_id, required=True), "args": Key(v.mapping)}
        hints = dict.fromkeys(_TEMPLATE, f"the template of {supervisor.id!r} says it for all its children")
        values = self.reader.keys(node, keys, f"a child of {supervisor.id!r}", hints)
        self._finish()
        return template.instance(values["id"], values.get("args", {}))

    def _finish(self) -> None:
        if self.reader.faults:
            raise TreeError(self.reader.faults)

    # ---- parts -------------------------------------------------------------------------------------------------

    def _read_profiles(self, node: Node) -> None:
        """Before anything else: children name profiles wherever in the file these are."""
        if not isinstance(node, yaml.MappingNode):
            return
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value != "profiles":
                continue
            try:
                profiles = v.mapping_of(_profile)(self.reader, value)
            except BadValue as error:
                self.reader.fault(error.node or value, f"profiles: {error}")
                continue
            for name, profile in profiles.items():
                self.profiles[name] = replace(profile, name=name)

    def _child(self, node: Node, parent: str) -> AnySpec | None:
        keys = self.reader.names(node)
        where = f"a child of {parent!r}"
        if "strategy" in keys or ("start" not in keys and {"children", "template"} & keys):
            values = self.reader.keys(node, _SUPERVISOR, where, {**_ROOT_ONLY, **_only(_WORKER, "a worker")})
            return self._supervisor(node, values)
        hints = {**_ROOT_ONLY, **_only(_SUPERVISOR, "a supervisor (a child with strategy)")}
        if isinstance(node, yaml.MappingNode) and "start" not in keys:
            self.reader.fault(node, f"{where} has neither 'start' (a worker) nor 'strategy' (a supervisor); add one")
            values = self.reader.keys(node, {**_WORKER, "start": Key(_start)}, where, hints)
        else:
            values = self.reader.keys(node, _WORKER, where, hints)
        return self._worker(node, values)

    def _worker(self, node: Node, values: dict[str, Any]) -> ChildSpec | None:
        if "id" in values:
            self._claim(self.workers, values["id"], node, "process")
        return self._child_spec(node, values)

    def _child_spec(self, node: Node, values: dict[str, Any]) -> ChildSpec | None:
        if isinstance(values.get("confine"), str):
            values["confine"] = self._named_profile(values["confine"], _value(node, "confine"))
        if values.get("control"):
            self.controls.append((_value(node, "control"), values["control"]))
        for name in ("args", "env", "rlimits", "allow"):
            if name in values:
                values[name] = MappingProxyType(values[name])
        values.setdefault("id", "")
        values.setdefault("start", "")
        return ChildSpec(**values)

    def _supervisor(self, node: Node, values: dict[str, Any]) -> SupervisorSpec:
        values = {name: value for name, value in values.items() if name not in ("profiles", "preload")}
        id = values.setdefault("id", "?")
        if id != "?":
            self._claim(self.supervisors, id, node, "supervisor")
        dynamic = values.get("strategy") == "dynamic"
        children: list[Node] = values.pop("children", [])
        template: Node | None = values.pop("template", None)
        if dynamic and children:
            self.reader.fault(_key(node, "children"), f"{id!r} is dynamic: it has a template, not children")
        if dynamic and template is None:
            self.reader.fault(node, f"{id!r} is dynamic and has no template; add template: {{start: module:function}}")
        if not dynamic and "strategy" in values:
            for name in _DYNAMIC_ONLY:
                if _has(node, name):
                    self.reader.fault(_key(node, name), f"{name} is only for strategy: dynamic ({id!r} is not)")
        spec = SupervisorSpec(**{**values, "template": None})
        pairs = [(child, self._child(child, id)) for child in children]
        self._check_siblings(pairs, id)
        if template is not None and dynamic:
            pairs.append((template, self._template(template, id)))
        for child_node, child in pairs:
            if child is not None and (fault := spec_fault(spec, child)):
                self.reader.fault(_key(child_node, "significant"), fault)
        built = tuple(child for _, child in pairs if child is not None)
        if template is not None and dynamic:
            last = built[-1] if built else None
            whole = SupervisorSpec(**{**values, "template": last if isinstance(last, ChildSpec) else None})
            self._check_own_paths(node, whole)
            return whole
        return SupervisorSpec(**{**values, "children": built})

    def _template(self, node: Node, id: str) -> ChildSpec | None:
        hints = {**_only(_SUPERVISOR, "a supervisor; a template is a worker"), "id": "whoever starts a child gives it"}
        values = self.reader.keys(node, _TEMPLATE, f"the template of {id!r}", hints)
        return self._child_spec(node, values)

    def _check_own_paths(self, node: Node, spec: SupervisorSpec) -> None:
        """`{id}` in a profile is the id of a child of a template; a spare has none yet."""
        template = spec.template
        if spec.spares and template is not None and template.confine is not None and template.confine.own:
            self.reader.fault(_key(node, "spares"), "a profile with {id} in a path is of one child: set spares: 0")

    # ---- rules between parts -----------------------------------------------------------------------------------

    def _claim(self, taken: dict[str, Node | None], id: str, node: Node, what: str) -> None:
        if id in taken and self.unique_names:
            first = taken[id]
            line = f" (first on line {first.start_mark.line + 1})" if first is not None and first.start_mark else ""
            self.reader.fault(_value(node, "id"), f"the {what} {id!r} is there twice{line}; names are unique in a tree")
        taken.setdefault(id, _value(node, "id"))

    def _check_siblings(self, pairs: list[tuple[Node, AnySpec | None]], parent: str) -> None:
        kinds: dict[str, type] = {}
        for node, child in pairs:
            if child is None or child.id in ("", "?"):
                continue
            known = kinds.setdefault(child.id, type(child))
            twice = not self.unique_names and any(
                other.id == child.id for _, other in pairs[: _at(pairs, node)] if other
            )
            if known is not type(child) or twice:
                self.reader.fault(_value(node, "id"), f"{parent!r} has two children with the id {child.id!r}")

    def _named_profile(self, name: str, node: Node) -> Profile | None:
        profile = self.profiles.get(name)
        if profile is None:
            known = ", ".join(sorted(self.profiles)) or "the root supervisor names none"
            self.reader.fault(node, f"unknown profile {name!r}{nearest(name, self.profiles)} (known: {known})")
        return profile

    def _check_controls(self) -> None:
        for node, names in self.controls:
            for position, name in enumerate(names):
                if name not in self.supervisors:
                    place = node.value[position] if isinstance(node, yaml.SequenceNode) else node
                    known = nearest(name, self.supervisors)
                    self.reader.fault(place, f"control names {name!r}, which is no supervisor of this tree{known}")

    def _warn(self, root: SupervisorSpec) -> None:
        for path, spec in walk(root):
            if not isinstance(spec, SupervisorSpec):
                continue
            if path != root.id and spec.restart != "permanent":
                self.warnings.append(
                    f"{path}: a {spec.restart} supervisor that gives up is not started again and nobody above "
                    "is told; restart: permanent is usual"
                )
            candidates = (*spec.children, *((spec.template,) if spec.template is not None else ()))
            if spec.auto_shutdown != "never" and not any(child.significant for child in candidates):
                self.warnings.append(f"{path}: auto_shutdown is {spec.auto_shutdown} but no child is significant")


def _instance_id(reader: Reader, node: Node) -> str:
    """Ids of dynamic children come from outside: they may contain `/` (people/bob), but nothing that hides."""
    value = v.text(reader, node)
    if not value.isprintable() or "#" in value or "" in value.split("/") or {".", ".."} & set(value.split("/")):
        raise BadValue(f"{value!r} is not possible; an id is printable, without '#', '//', '.' or '..' parts")
    return value


def _only(keys: Mapping[str, Key[Any]], what: str) -> dict[str, str]:
    return dict.fromkeys(keys, f"that is a key of {what}")


def _entries(node: Node) -> Iterator[tuple[Node, Node]]:
    if isinstance(node, yaml.MappingNode):
        yield from node.value


def _has(node: Node, name: str) -> bool:
    return any(key.value == name for key, _ in _entries(node))


def _key(node: Node, name: str) -> Node:
    return next((key for key, _ in _entries(node) if key.value == name), node)


def _value(node: Node, name: str) -> Node:
    return next((value for key, value in _entries(node) if key.value == name), node)


def _at(pairs: list[tuple[Node, AnySpec | None]], node: Node) -> int:
    return next(position for position, (other, _) in enumerate(pairs) if other is node)
