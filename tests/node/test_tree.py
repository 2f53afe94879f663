"""The tree as it is shipped: what a process may do there, held against what it does."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from egghead import node
from egghead.processes import store
from supervisor import load_tree

VARIABLES = dict.fromkeys(
    ("records", "bus", "lan", "status", "log", "usage", "roster", "models", "servers", "scratch"), "/"
)


def test_the_store_may_ask_the_index_what_it_asks_and_nothing_else() -> None:
    """Each call in its code is allowed: one that is forbidden would be taken for an index that is away. No more is."""
    called: dict[str, set[str]] = defaultdict(set)
    for found in ast.walk(ast.parse(Path(store.__file__).read_text(encoding="utf-8"))):
        match found:
            case ast.Call(
                func=ast.Attribute(attr="call"), args=[ast.Constant(value=str(target)), ast.Constant(value=str(method))]
            ):
                called[target].add(method)
    specs = {spec.id: spec for _, spec in load_tree(node.default_tree(), VARIABLES).workers()}
    allowed = specs["store"].allow["call"]
    assert {target: set(methods) for target, methods in allowed.items()} == called
    assert called["index"] >= {"apply", "backlinks"}
