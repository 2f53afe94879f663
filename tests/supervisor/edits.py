"""Random edits of a tree, as a person would make them in the file: the same seed makes the same edits."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from supervisor.spec import AnySpec, ChildSpec, SupervisorSpec, Tree

STATIC = ("one_for_one", "one_for_all", "rest_for_one")


def edited(tree: Tree, seed: int, fresh: str = "e") -> Tree:
    """The tree after up to four edits. Ids of new children begin with `fresh`."""
    chance = random.Random(seed)
    for number in range(chance.randint(0, 4)):
        tree = replace(tree, root=_edit(tree.root, chance, f"{fresh}x{number}"))
    return tree


def _static(spec: SupervisorSpec) -> Iterator[SupervisorSpec]:
    if not spec.dynamic:
        yield spec
    for child in spec.children:
        if isinstance(child, SupervisorSpec):
            yield from _static(child)


def _put(spec: SupervisorSpec, id: str, **keys: Any) -> SupervisorSpec:
    """`spec` with the supervisor `id`, itself or below it, changed."""
    if spec.id == id:
        return replace(spec, **keys)
    below = tuple(_put(child, id, **keys) if isinstance(child, SupervisorSpec) else child for child in spec.children)
    return replace(spec, children=below)


def _edit(root: SupervisorSpec, chance: random.Random, fresh: str) -> SupervisorSpec:
    place = chance.choice([*_static(root)])
    children = list(place.children)
    kind = chance.choice(["add", "add", "remove", "change", "change", "inplace", "swap", "order", "own", "move"])
    if kind == "add":
        children.insert(chance.randint(0, len(children)), _new(fresh, chance))
    elif kind == "own":
        limits = {"intensity": chance.randint(0, 4), "period": chance.randint(1, 4)}
        return _put(root, place.id, strategy=chance.choice(STATIC), **limits)
    elif not children:
        return root
    elif kind == "order":
        chance.shuffle(children)
    else:
        at = chance.randrange(len(children))
        child = children.pop(at)
        if kind == "change":
            children.insert(at, _changed(child, chance))
        elif kind == "inplace":
            children.insert(at, _in_place(child, chance))
        elif kind == "swap":
            children.insert(at, _swapped(child, fresh))
        elif kind == "move" and isinstance(child, ChildSpec) and not child.significant:
            root = _put(root, place.id, children=tuple(children))
            target = chance.choice([*_static(root)])
            there = list(target.children)
            there.insert(chance.randint(0, len(there)), child)
            return _put(root, target.id, children=tuple(there))
    return _put(root, place.id, children=tuple(children))


def _new(id: str, chance: random.Random) -> AnySpec:
    if chance.random() < 0.6:
        return ChildSpec(id, "m:f")
    if chance.random() < 0.5:
        return SupervisorSpec(id, "dynamic", template=ChildSpec("", "m:f"))
    return SupervisorSpec(id, chance.choice(STATIC), children=(ChildSpec(f"{id}a", "m:f"), ChildSpec(f"{id}b", "m:f")))


def _changed(child: AnySpec, chance: random.Random) -> AnySpec:
    """Changed in what a process is born with, or all of it that is below a supervisor."""
    if isinstance(child, ChildSpec):
        return replace(child, args={"version": chance.randint(1, 5)})
    if child.template is not None:
        return replace(child, template=_changed(child.template, chance))
    return replace(child, children=tuple(_changed(each, chance) for each in child.children))


def _in_place(child: AnySpec, chance: random.Random) -> AnySpec:
    if isinstance(child, ChildSpec):
        return replace(child, shutdown=float(chance.randint(1, 9)), max_memory=chance.randint(1, 9) << 30)
    if child.template is not None:
        return replace(child, template=_in_place(child.template, chance), max_children=chance.randint(1, 9))
    return replace(child, intensity=chance.randint(0, 4))


def _swapped(child: AnySpec, fresh: str) -> AnySpec:
    """A worker becomes a supervisor of the same id, a supervisor a worker, or static dynamic."""
    if isinstance(child, ChildSpec):
        return SupervisorSpec(child.id, "one_for_one", children=(ChildSpec(f"{fresh}s", "m:f"),))
    if child.dynamic:
        return SupervisorSpec(child.id, "rest_for_one", children=(ChildSpec(f"{fresh}t", "m:f"),))
    return ChildSpec(child.id, "m:f")
