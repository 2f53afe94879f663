"""Trees of the programs here, and SIGHUP to a root that runs one."""

from __future__ import annotations

import json
import signal
from typing import Any

from tests.supervisor.harness import Node


def worker(id: str, start: str = "idle", **keys: Any) -> dict[str, Any]:
    """A child of the programs here; other keys than `args` are those of the tree file."""
    return {"id": id, "start": start if ":" in start else f"children:{start}", **keys}


def tree(*children: dict[str, Any], strategy: str = "one_for_one", **keys: Any) -> dict[str, Any]:
    return {"id": "demo", "strategy": strategy, "children": list(children), **keys}


def hang_up(node: Node, tree: dict[str, Any] | None = None) -> None:
    """SIGHUP, after the file was replaced."""
    if tree is not None:
        new = node.directory / "tree.json.new"
        new.write_text(json.dumps(tree))
        new.replace(node.directory / "tree.json")
    node.process.send_signal(signal.SIGHUP)


def reload(node: Node, tree: dict[str, Any] | None = None) -> dict[str, Any]:
    """SIGHUP, and the result when there is one."""
    before = (node.status()["node"]["reloaded"] or {}).get("at")
    hang_up(node, tree)

    def result() -> Any:
        last = node.status()["node"]["reloaded"]
        return last if last and last["at"] != before else None

    said: dict[str, Any] = node.until(result, "the result of a reload")
    return said
