"""Whoever is killed, by whatever signal, in whatever order: nothing is left, and what should be there comes back."""

from __future__ import annotations

import fcntl
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.supervisor.harness import alive, misbehaving, one_for_one, running, strays, wait_until
from tests.supervisor.worlds import NO_USERNS, ROOT, USER, World, worlds

pytestmark = pytest.mark.kernel


def held(path: Path) -> bool:
    """The daemon that locked this file lives."""
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def daemon_tree(directory: Path, confined: bool) -> dict[str, Any]:
    (directory / "w").mkdir()
    (directory / "w").chmod(0o777)
    child = misbehaving("d", ["daemonise", str(directory / "w/lock")], "ready", "obey")
    if confined:
        child["confine"] = {"filesystem": {"write": [str(directory / "w")]}, "fork": True}
    return one_for_one(child, {"id": "a", "start": "children:idle"})


@pytest.mark.parametrize("confined", [False, True], ids=["open", "confined"])
@worlds(ROOT, USER, NO_USERNS)
def test_root_killed_nothing_is_left(world: World, confined: bool, directory: Path) -> None:
    """When the root is killed every process is gone within a second, daemonised grandchildren too."""
    with running(daemon_tree(directory, confined), directory, world) as node:
        node.ready()
        child = node.pid("d")
        if world.isolated:  # elsewhere an orphan cannot be told from another's and is killed at once
            assert held(directory / "w/lock")
        node.process.kill()
        wait_until(lambda: not held(directory / "w/lock"), "the daemon's end", 1)
        wait_until(lambda: not alive(child), "the child's end", 1)
        wait_until(lambda: not strays(directory), "everybody's end", 1)


@pytest.mark.parametrize("confined", [False, True], ids=["open", "confined"])
@worlds(ROOT, USER, NO_USERNS)
def test_zygote_killed_tree_comes_back(world: World, confined: bool, directory: Path) -> None:
    """When the zygote is killed all children and daemons are gone within a second, and the whole tree starts again."""
    with running(daemon_tree(directory, confined), directory, world) as node:
        node.ready()
        before = {name: node.pid(name) for name in ("d", "a")}
        os.kill(node.launcher(), signal.SIGKILL)
        for pid in before.values():
            wait_until(lambda pid=pid: not alive(pid), "the old child's end", 1)
        node.until(lambda: all(node.pid(name) != pid for name, pid in before.items()), "new children")
        worker = node.workers()["a"]
        assert worker["restarts"] == 1 and "launcher" in worker["last_exit"]["reason"]
        os.kill(node.launcher(), signal.SIGKILL)
        node.until(lambda: node.workers()["a"]["restarts"] == 2 and node.pid("a"), "children again")


@worlds(ROOT, NO_USERNS)
def test_root_and_zygote_killed(world: World, directory: Path) -> None:
    """Zygote, then root: no child survives."""
    with running(one_for_one(*({"id": f"c{n}", "start": "children:idle"} for n in range(5))), directory, world) as node:
        node.ready()
        pids = [node.pid(f"c{n}") for n in range(5)]
        os.kill(node.launcher(), signal.SIGKILL)
        node.process.kill()
        wait_until(lambda: not any(alive(pid) for pid in pids), "the children's end", 1)


@worlds(ROOT, USER, NO_USERNS)
def test_a_dead_child_takes_its_daemons_along(world: World, directory: Path) -> None:
    """What a child has started and left behind is killed before its end is reported, and nobody else's."""
    tree = daemon_tree(directory, False)
    path = directory / "w/other"
    tree["children"].append(
        misbehaving("x", ["daemonise", str(path)], "ready", ["exit_at_once", 3], restart="temporary")
    )
    with running(tree, directory, world) as node:
        node.ready()
        node.until(lambda: node.workers().get("x", {"state": "terminated"})["state"] == "terminated", "the end of x")
        assert not held(path)
        if world.isolated:
            assert held(directory / "w/lock")


@worlds(ROOT, USER, NO_USERNS)
def test_a_killed_child_is_restarted_alone(world: World, directory: Path) -> None:
    """SIGKILL on one child: that child comes back with a new incarnation, the other one does not notice."""
    children = [{"id": "a", "start": "children:idle", "confine": {}}, {"id": "b", "start": "children:idle"}]
    with running(one_for_one(*children), directory, world) as node:
        node.ready()
        a, b = node.pid("a"), node.pid("b")
        old = node.workers()["a"]["incarnation"]
        os.kill(a, signal.SIGKILL)
        node.until(lambda: node.pid("a") != a, "a restart")
        worker = node.workers()["a"]
        assert worker["incarnation"] > old and worker["restarts"] == 1
        assert worker["last_exit"]["signal"] == "SIGKILL" and worker["last_exit"]["step"] == ""
        assert node.pid("b") == b
        node.until(lambda: f"a (pid {node.pid('a')}) runs again, restart 1" in node.output, "the log to say so")
        assert re.search(rf"a \(pid {a}\) ended after [\d.]+ s: SIGKILL", node.output)


def test_sigterm_while_loading(directory: Path) -> None:
    """SIGTERM while the application is still being loaded ends the root with code 0 and leaves nothing."""
    tree = one_for_one({"id": "a", "start": "children:idle"}, preload=["slow_import"])
    with running_with_module(tree, directory, "slow_import", "import time\ntime.sleep(60)\n") as node:
        wait_until(lambda: len(strays(directory)) >= 2, "a zygote")
        node.process.send_signal(signal.SIGTERM)
        assert node.wait(8) == 0


def test_a_module_that_does_not_import(directory: Path) -> None:
    """A module that does not import ends the root with code 3 and its traceback, before anything is started."""
    tree = one_for_one({"id": "a", "start": "children:idle"}, preload=["broken_import"])
    with running_with_module(tree, directory, "broken_import", "raise LookupError('no such thing')\n") as node:
        assert node.wait() == 3
        assert "broken_import" in node.output and "LookupError: no such thing" in node.output
        reason = node.status()["node"]["ended"]["reason"]
        assert reason.endswith("LookupError: no such thing, needed by preload: 'broken_import'")


@pytest.mark.parametrize(
    ("children", "said"),
    [
        ([{"id": "a", "start": "clocc:tick"}], "needed by t/a (start: 'clocc:tick')"),
        (
            [{"id": "p", "strategy": "dynamic", "template": {"start": "clocc:tick"}}],
            "needed by t/p (start: 'clocc:tick')",
        ),
        ([{"id": id, "start": f"clocc:{id}"} for id in "abc"], "needed by t/a (start: 'clocc:a') and 2 more"),
    ],
    ids=["child", "template", "many"],
)
def test_a_module_that_is_not_there(children: list[dict[str, Any]], said: str, directory: Path) -> None:
    """A slip in a `start` names the child of the tree file that has it, and what it says there."""
    with running(one_for_one({"id": "fine", "start": "children:idle"}, *children), directory) as node:
        assert node.wait() == 3
        reason = node.status()["node"]["ended"]["reason"]
        assert f"ModuleNotFoundError: No module named 'clocc', {said}" in reason


def running_with_module(tree: dict[str, Any], directory: Path, name: str, source: str) -> Any:
    """Like `running`, with one more module on the path."""
    modules = directory / "modules"
    modules.mkdir(exist_ok=True)
    (modules / f"{name}.py").write_text(source)
    return running(tree, directory, environment={"PYTHONPATH": f"{directory / 'p'}:{modules}"})


def test_second_signal_kills_at_once(directory: Path) -> None:
    """The first SIGTERM stops in order, the second one does not wait for anybody."""
    with running(one_for_one(misbehaving("a", ["ignore", "SIGTERM"], "ready", "deaf", shutdown=60)), directory) as node:
        node.ready()
        pid = node.pid("a")
        node.process.send_signal(signal.SIGTERM)
        node.until(lambda: node.workers()["a"]["state"] == "stopping", "stopping")
        assert alive(pid)
        node.process.send_signal(signal.SIGINT)
        assert node.wait(5) == 0
        assert not alive(pid)


def test_closed_stdout_is_survived(directory: Path) -> None:
    """A root whose stdout is closed goes on supervising."""
    with running(one_for_one({"id": "a", "start": "children:idle"}), directory) as node:
        node.ready()
        pid = node.pid("a")
        assert node.process.stdout is not None
        node.process.stdout.close()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: node.workers()["a"].get("pid") not in (None, pid), "a restart")
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(10) in (0, 120)  # 120: Python itself could not flush stdout


def test_descriptors_closed_from_the_start(directory: Path) -> None:
    """A root that is started without stdin, stdout and stderr runs its tree, and its children hear no stray bytes."""
    tree = one_for_one({"id": "a", "start": "children:watcher", "observe": True})
    with running(tree, directory, wrap=["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]) as node:
        wait_until(lambda: node.workers().get("a", {}).get("state") == "running", "a running child")
        assert node.workers()["a"]["restarts"] == 0
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(10) == 0
        assert node.workers()["a"]["last_exit"]["step"] == "asked"


def test_stop_while_the_zygote_is_being_replaced(directory: Path) -> None:
    """A stop that comes while a new zygote is loading does not wait for it."""
    tree = one_for_one({"id": "a", "start": "children:idle"}, preload=["slow_again"])
    flag = directory / "loaded"
    source = f"import os, time\nif os.path.exists({str(flag)!r}): time.sleep(60)\nopen({str(flag)!r}, 'w').close()\n"
    with running_with_module(tree, directory, "slow_again", source) as node:
        node.ready()
        zygote = node.launcher()
        os.kill(zygote, signal.SIGKILL)
        node.until(lambda: node.status()["node"]["launcher"]["pid"] not in (None, 0, zygote), "a new zygote")
        node.process.send_signal(signal.SIGTERM)
        assert node.wait(8) == 0


def test_a_restart_that_is_due_while_the_zygote_is_replaced(directory: Path) -> None:
    """What the policy starts before it knows of the loss is not begun on the new zygote: nobody would end it."""
    child = {"id": "a", "start": "children:idle", "backoff": {"initial": 0.3}}
    tree = one_for_one(child, {"id": "b", "start": "children:idle"}, preload=["slow_import"])
    with running_with_module(tree, directory, "slow_import", "import time\ntime.sleep(1)\n") as node:
        node.ready()
        zygote = node.launcher()
        os.kill(node.pid("a"), signal.SIGKILL)
        node.until(lambda: node.workers()["a"]["state"] == "restarting", "the backoff")
        os.kill(zygote, signal.SIGKILL)
        node.until(lambda: node.launcher() != zygote, "another zygote")
        node.until(lambda: node.status()["tree"]["state"] == "running" and node.pid("a") and node.pid("b"), "the tree")
