"""SIGHUP to `python -m supervisor run`: bad files, and the terminal that goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from supervisor.terminal import Terminal
from tests.supervisor.harness import Node
from tests.supervisor.reloads import reload

TREE = 'id: demo\nstrategy: one_for_one\nchildren:\n- {id: a, start: "children:idle", args: {v: "${v}"}}\n'


def command(directory: Path, tree: str, *wrap: str, **keys: Any) -> Node:
    """`python -m supervisor run` on a file of this text; stdout and stderr together."""
    (directory / "tree.yaml").write_text(tree)
    root = Path(__file__).parents[2]
    arguments = ["-m", "supervisor", "run", str(directory / "tree.yaml"), "--set", "v=1"]
    process = subprocess.Popen(
        [*wrap, sys.executable, *arguments, "--status", str(directory / "status.json")],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{root}:{root / 'tests/supervisor/programs'}"},
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **keys,
    )
    return Node(process, directory)


def finish(node: Node) -> None:
    """End it, however far it has come."""
    if node.process.poll() is None:
        node.process.kill()
        node.process.wait(10)
    assert node.process.stdout is not None
    node.process.stdout.close()


def test_a_bad_file(directory: Path) -> None:
    """Every fault of a bad file is in the log with its line and column, and the tree runs on untouched."""
    node = command(directory, TREE)
    try:
        node.until(lambda: "READY demo" in node.output, "ready")
        pid = node.pid("a")
        (directory / "tree.yaml").write_text(TREE + '- {id: b, strat: "x:y"}\n- {id: c, start: "x"}\n')
        said = reload(node)
        assert not said["ok"] and "tree.yaml:5:3: " in said["text"] and "(and 2 more)" in said["text"]
        node.until(lambda: "tree.yaml:5:11: unknown key 'strat'" in node.output, "all faults are told")
        node.until(lambda: "tree.yaml:6:18: start: 'x' is not possible" in node.output, "all faults are told")
        (directory / "tree.yaml").write_text(TREE.replace("${v}", "${w}"))
        assert "unknown variable ${w}" in reload(node)["text"]
        assert node.pid("a") == pid
        (directory / "tree.yaml").unlink()
        os.mkfifo(directory / "tree.yaml")
        assert "no regular file" in reload(node)["text"]
        (directory / "tree.yaml").unlink()
        (directory / "tree.yaml").write_text(TREE + '- {id: b, start: "children:idle"}\n')
        assert reload(node)["text"] == "added demo/b"
        assert node.pid("a") == pid and node.workers()["a"]["info"]["v"] == "1"
        node.process.send_signal(signal.SIGTERM)
        assert node.wait() == 0
    finally:
        finish(node)


@pytest.mark.parametrize(
    ("seen_after", "asked_after", "left"),
    [(0.0, 0.0, True), (1.0, 2.0, True), (1.0, 60.0, False), (None, 0.0, True)],
    ids=["at once", "just now", "long ago", "still there when last seen"],
)
def test_a_terminal_that_went(seen_after: float | None, asked_after: float, left: bool) -> None:
    """A SIGHUP is the terminal's when that went just now; a background process is not told, and asked much later."""
    clock, there = 0.0, True
    terminal = Terminal(lambda: there, lambda: clock)
    assert terminal.there and not terminal.left()
    there = False
    if seen_after is not None:
        clock = seen_after
        terminal.look()
        assert not terminal.there
    clock = asked_after
    assert terminal.left() is left


def test_no_terminal() -> None:
    """Where there never was one, no SIGHUP is a terminal's."""
    assert not Terminal(lambda: False, lambda: 0.0).left()


@pytest.mark.parametrize("nohup", [False, True], ids=["plain", "nohup"])
def test_the_terminal(nohup: bool, directory: Path) -> None:
    """SIGHUP on a terminal reloads; when the terminal goes, the tree is stopped in order, unless nohup started it."""
    ours, theirs = os.openpty()
    wrap = [sys.executable, str(Path(__file__).parent / "programs" / "on_terminal.py")]
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN) if nohup else None
    try:
        node = command(directory, TREE, *wrap, stdin=theirs)
    finally:
        if before is not None:
            signal.signal(signal.SIGHUP, before)
    try:
        os.close(theirs)
        node.until(lambda: "READY demo" in node.output, "ready")
        pid = node.pid("a")
        assert reload(node)["text"] == "nothing is different"
        os.close(ours)
        if nohup:
            node.until(lambda: "reading the tree file again" in node.output.partition("nothing is")[2], "a reload")
            assert node.pid("a") == pid
            node.process.send_signal(signal.SIGTERM)
        assert node.wait() == 0
        assert ("the terminal has gone" in node.output) is not nohup
    finally:
        finish(node)
