"""`kill -HUP` on a node: its tree file is read again, rights change, and who is not concerned does not notice."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from egghead.node import default_tree
from tests.e2e.node import Home, Node, serving, until

QUESTION = "How do I publish my notes with GitHub Pages?"
RIGHTS = "        index: [search, list, recent, links, backlinks, resolve, paths]\n"


def reload(home: Home, node: Node) -> dict[str, Any]:
    """SIGHUP, and what came of it."""
    before = home.json("status")["node"]["reloaded"]
    node.process.send_signal(signal.SIGHUP)

    def result() -> dict[str, Any] | None:
        last: dict[str, Any] | None = home.json("status")["node"]["reloaded"]
        return last if last != before else None

    return until("a reload", result)


def test_rights_change_under_a_running_node(home: Home, foam: Path) -> None:
    """A right that is taken from the tools is gone after SIGHUP, and back after another; nobody else is restarted."""
    text = default_tree().read_text(encoding="utf-8")
    assert text.count(RIGHTS) == 1
    file = home.path / "tree.yaml"
    file.write_text(text, encoding="utf-8")
    with serving(home, foam, "--tree", str(file)) as node:
        assert "publish-to-github-pages" in home.ok("chat", "default", QUESTION)
        before = node.processes()
        file.write_text(text.replace(RIGHTS, ""), encoding="utf-8")
        said = reload(home, node)
        assert said["ok"] and said["text"] == "restarted egghead/tools"
        after = node.processes()
        assert {name for name in before if before[name]["pid"] != after[name]["pid"]} == {"tools"}
        assert "publish-to-github-pages" not in home.run("chat", "default", QUESTION).stdout
        file.write_text(text.replace("children:", "childern:", 1), encoding="utf-8")
        said = reload(home, node)
        assert not said["ok"] and "did you mean 'children'?" in node.stderr()
        assert node.processes()["tools"]["pid"] == after["tools"]["pid"]
        file.write_text(text, encoding="utf-8")
        assert reload(home, node)["ok"]
        assert "publish-to-github-pages" in home.ok("chat", "default", QUESTION)
        assert "restarted egghead/tools" in home.ok("status")
        assert node.stop() == 0
