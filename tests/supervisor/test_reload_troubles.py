"""A reload that something comes in the way of: a boot, another signal, a death of root, zygote or child."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from tests.supervisor.harness import Node, misbehaving, running
from tests.supervisor.reloads import hang_up, reload, tree, worker

LISTENS = (["ignore", "SIGTERM"], "ready", "listen")  # reads that it is to stop, and does not


def slow_stop(version: int) -> dict[str, Any]:
    """`a` takes two seconds to stop; a change of it is a reload that takes as long."""
    return tree(misbehaving("a", *LISTENS, shutdown=2, env={"V": str(version)}), worker("b", args={"v": version}))


def stopping(node: Node) -> bool:
    return bool(node.workers()["a"]["state"] == "stopping")


def test_a_storm_of_signals(directory: Path) -> None:
    """Hundreds of SIGHUPs end in the state of the last file, and a SIGTERM among them is not lost."""
    with running(tree(worker("a"), worker("n", args={"v": 0})), directory) as node:
        node.ready()
        pid = node.pid("a")
        for number in range(1, 6):
            for _ in range(100):
                hang_up(node)
            hang_up(node, tree(worker("a"), worker("n", args={"v": number})))
        node.until(lambda: node.workers()["n"]["info"].get("v") == 5, "the last file")
        assert node.pid("a") == pid
        for _ in range(1000):
            hang_up(node)
        node.process.send_signal(signal.SIGTERM)
        for _ in range(100):
            hang_up(node)
        assert node.wait() == 0


def test_stopped_in_the_middle(directory: Path) -> None:
    """SIGTERM in the middle of a reload gives it up, says so and ends with 0; a SIGHUP after that changes nothing."""
    with running(slow_stop(1), directory) as node:
        node.ready()
        hang_up(node, slow_stop(2))
        node.until(lambda: stopping(node), "the reload is under way")
        node.process.send_signal(signal.SIGTERM)
        node.until(lambda: node.status()["node"]["reloaded"], "a result")
        hang_up(node, slow_stop(3))
        assert node.wait() == 0
        result = node.status()["node"]["reloaded"]
        assert not result["ok"] and result["text"] == "given up: the tree was told to stop"
        assert "SIGHUP: no reload, the tree is stopping" in node.output
        assert "'b'" not in node.output.partition("stopping")[2]


def test_killed_at_once_in_the_middle(directory: Path) -> None:
    """A second SIGTERM in the middle of a reload does not wait for the child that is being stopped."""
    change = tree(misbehaving("a", *LISTENS, shutdown="infinity", env={"V": "2"}))
    with running(tree(misbehaving("a", *LISTENS, shutdown="infinity")), directory) as node:
        node.ready()
        hang_up(node, change)
        node.until(lambda: stopping(node), "the reload is under way")
        node.process.send_signal(signal.SIGTERM)
        node.until(lambda: "SIGTERM: stopping" in node.output, "the first one")
        node.process.send_signal(signal.SIGTERM)
        assert node.wait(10) == 0
        assert node.workers()["a"]["last_exit"]["step"] == "killed"


def test_the_zygote_dies_in_the_middle(directory: Path) -> None:
    """A reload that is cut by the loss of the launcher is finished by the restart of everything."""
    with running(slow_stop(1), directory) as node:
        node.ready()
        hang_up(node, slow_stop(2))
        node.until(lambda: stopping(node), "the reload is under way")
        os.kill(node.launcher(), signal.SIGKILL)
        node.until(lambda: node.status()["node"]["reloaded"], "a result")
        assert node.status()["node"]["reloaded"]["ok"]
        node.pid("a")
        node.until(lambda: node.workers()["b"]["info"].get("v") == 2, "the new tree")


def test_the_zygote_is_dead_already(directory: Path) -> None:
    """A reload between the loss of the launcher and the next one is what comes back."""
    with running(tree(worker("a"), worker("b", args={"v": 1})), directory) as node:
        node.ready()
        zygote = node.launcher()
        os.kill(zygote, signal.SIGKILL)
        hang_up(node, tree(worker("b", args={"v": 2}), worker("c")))
        node.until(lambda: node.status()["node"]["reloaded"], "a result")
        node.until(lambda: node.launcher() != zygote, "another zygote")
        node.until(lambda: node.workers()["b"]["info"].get("v") == 2 and node.pid("c"), "the new tree")
        assert [*node.workers()] == ["b", "c"]
        assert reload(node)["text"] == "nothing is different"


def test_while_the_application_is_loaded(directory: Path) -> None:
    """A reload before anything was started: the new tree is what is booted, and what is not loaded is imported."""
    modules = {
        "heavy.py": "import time; time.sleep(1)\nfrom children import idle\n",
        "late.py": "from children import idle\n",
    }
    environment = {"PYTHONPATH": f"{directory / 'p'}:{directory}"}
    for name, text in modules.items():
        (directory / name).write_text(text)
    with running(tree(worker("a", "heavy:idle")), directory, environment=environment) as node:
        node.until(lambda: (directory / "status.json").exists(), "a zygote")
        hang_up(node, tree(worker("b", "late:idle")))
        assert node.ready()["processes"] == 1
        assert [*node.workers()] == ["b"] and node.status()["node"]["reloaded"]["ok"]


def test_the_root_dies_in_the_middle(directory: Path) -> None:
    """A root killed in the middle of a reload leaves nothing, as ever."""
    with running(slow_stop(1), directory) as node:
        node.ready()
        children = list(node.pids().values())
        hang_up(node, slow_stop(2))
        node.until(lambda: stopping(node), "the reload is under way")
        node.process.kill()
        node.wait()
        node.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), "nobody is left", 5)


def test_a_child_dies_in_the_middle(directory: Path) -> None:
    """A child that nothing was said about and that dies during a reload is restarted after it, once."""
    with running(slow_stop(1), directory) as node:
        node.ready()
        hang_up(node, {**slow_stop(2), "children": [*slow_stop(2)["children"][:1], slow_stop(1)["children"][1]]})
        node.until(lambda: stopping(node), "the reload is under way")
        os.kill(node.pids()["b"], signal.SIGKILL)
        node.until(lambda: node.workers()["b"]["restarts"] == 1, "b is back")
        assert node.pid("b") and node.status()["node"]["reloaded"]["text"] == "restarted demo/a"


def test_while_the_tree_boots(directory: Path) -> None:
    """A reload during a slow boot waits for it; asked for twice, it is done once with what the file says then."""
    with running(tree(misbehaving("a", ["sleep", 1.5], "ready", "obey")), directory) as node:
        node.until(lambda: node.workers().get("a", {}).get("state") == "starting", "the boot")
        hang_up(node, tree(misbehaving("a", ["sleep", 1.5], "ready", "obey"), worker("b", args={"v": 1})))
        node.until(lambda: "reading the tree file again" in node.output, "it is read")
        hang_up(node, tree(misbehaving("a", ["sleep", 1.5], "ready", "obey"), worker("b", args={"v": 2})))
        hang_up(node)
        node.ready()
        node.until(lambda: node.workers().get("b", {}).get("info", {}).get("v") == 2, "the last file")
        assert node.workers()["a"]["restarts"] == 0
        assert node.output.count("reading the tree file again") == 2
