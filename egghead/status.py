"""Reading the status value of a node's tree. Pure; who has the value, from a file or by a call, is elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def workers(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every process below a node of the tree."""
    if node["kind"] == "worker":
        yield node
    for child in node.get("children", ()):
        yield from workers(child)
