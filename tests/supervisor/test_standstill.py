"""Whoever is stopped (SIGSTOP) or has another idea of the time: who hangs is found, and nobody else is taken for hung."""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.supervisor.harness import Node, alive, misbehaving, one_for_one, running, strays, wait_until
from tests.supervisor.worlds import ROOT, USER, World, worlds

pytestmark = pytest.mark.kernel


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: state(pid) == "T", f"{pid} stopped")


def past(seconds: float) -> None:
    """Wait until this much time has gone; the time itself is what these tests are about."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, "the time", seconds + 5)


def test_a_stopped_child_with_a_heartbeat(directory: Path) -> None:
    """A child under SIGSTOP is killed as hung, with the lines that it was in when it comes to itself to die."""
    child = {"id": "a", "start": "children:beats", "args": {"every": 0.05}, "heartbeat": 0.5}
    with running(one_for_one(child, {"id": "b", "start": "children:idle"}), directory) as node:
        node.ready()
        a, b = node.pid("a"), node.pid("b")
        os.kill(a, signal.SIGSTOP)
        node.until(lambda: node.pid("a") != a, "a new one", 5)
        last = node.workers()["a"]["last_exit"]
        assert last["reason"] == "no heartbeat for 0.5 s" and last["step"] == ""
        assert "in beats" in "\n".join(last["stderr"])
        assert node.pid("b") == b


@worlds(ROOT, USER)
def test_a_stopped_zygote_is_replaced(world: World, directory: Path) -> None:
    """A zygote that somebody keeps stopped is found and reported within two seconds, then killed and replaced."""
    with running(one_for_one({"id": "a", "start": "children:idle"}), directory, world) as node:
        node.ready()
        zygote, child = node.launcher(), node.pid("a")
        os.kill(zygote, signal.SIGSTOP)
        node.until(lambda: "the zygote is stopped (SIGSTOP)" in node.output, "the report", 3)
        node.until(lambda: node.launcher() not in (zygote, None) and node.pid("a") != child, "a new tree", 10)
        assert "it has been stopped (SIGSTOP) for 2 s" in node.output and not alive(zygote)


def test_a_zygote_that_goes_on_is_kept(directory: Path) -> None:
    """A zygote that was stopped for a moment, as by somebody who looks at it, goes on with what it was asked."""
    children = [{"id": "a", "start": "children:idle"}, {"id": "b", "start": "children:idle"}]
    with running(one_for_one(*children), directory) as node:
        node.ready()
        zygote, a, b = node.launcher(), node.pid("a"), node.pid("b")
        os.kill(zygote, signal.SIGSTOP)
        os.kill(a, signal.SIGKILL)
        node.until(lambda: "the zygote is stopped (SIGSTOP)" in node.output, "the report", 3)
        os.kill(zygote, signal.SIGCONT)
        node.until(lambda: node.pid("a") != a, "a new child", 5)
        assert (node.launcher(), node.pid("b")) == (zygote, b)


def test_the_root_goes_on_beside_a_stopped_zygote(directory: Path) -> None:
    """While the zygote is stopped calls are answered and a stop is carried out."""
    pool = {"id": "pool", "strategy": "dynamic", "template": {"start": "children:idle"}}
    starter = {"id": "s", "start": "children:starter", "control": ["pool"], "args": {"method": "which_children"}}
    with running(one_for_one(pool, starter), directory) as node:
        node.ready()
        os.kill(node.launcher(), signal.SIGSTOP)
        os.kill(node.pid("s"), signal.SIGCONT)
        node.until(lambda: "[s] answer" in node.output, "an answer")
        node.process.send_signal(signal.SIGTERM)
        assert node.wait(6) == 0


@pytest.mark.parametrize("who", ["root", "everybody", "children"])
def test_who_was_stopped_is_not_taken_for_hung(who: str, directory: Path) -> None:
    """SIGSTOP for longer than heartbeat and start_timeout, as a debugger or a frozen container does it: of the root
    alone, or of everybody, nobody is killed when it goes on. Children alone are."""
    children = [
        {"id": "a", "start": "children:beats", "args": {"every": 0.1}, "heartbeat": 0.8},
        misbehaving("b", ["sleep", 1.0], "ready", "obey", start_timeout=2.0),
    ]
    with running(one_for_one(*children), directory) as node:
        pid = node.pid("a")
        wait_until(lambda: len(strays(directory)) >= 4, "b has been begun")
        others = set(strays(directory)) - {node.process.pid}
        chosen = {"root": {node.process.pid}, "everybody": others | {node.process.pid}, "children": {pid}}[who]
        for number in chosen:
            os.kill(number, signal.SIGSTOP)
        past(2.4)
        for number in sorted(chosen, key=lambda number: number != node.process.pid):  # the root is first to look
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGCONT)
        node.ready()
        past(1.0)
        if who == "children":
            assert node.workers()["a"]["restarts"] == 1
        else:
            assert node.pid("a") == pid and node.workers()["a"]["restarts"] == 0
            assert "hangs" not in node.output


def test_the_order_to_go_on_may_be_any(directory: Path) -> None:
    """A tree that is stopped as a whole twice, and whose root goes on first, keeps its zygote."""
    with running(one_for_one({"id": "a", "start": "children:idle"}), directory) as node:
        node.ready()
        zygote, child = node.launcher(), node.pid("a")
        for _ in range(2):
            for number in (node.process.pid, zygote, child):
                stop(number)
            past(1.2)
            os.kill(node.process.pid, signal.SIGCONT)
            node.until(lambda: state(zygote) != "T", "the root wakes the zygote", 5)
            os.kill(child, signal.SIGCONT)
        assert (node.launcher(), node.pid("a")) == (zygote, child)
        assert "hangs" not in node.output


# ---- clocks ----------------------------------------------------------------------------------------------------------

JUMPING = """
import time
real, calls = time.time, 0

def jump():
    global calls
    calls += 1
    return real() + (-1) ** calls * 1e7 * (calls % 7)

time.time = jump
time.time_ns = lambda: int(jump() * 1e9)
"""


def life(node: Node) -> None:
    """What is all about time: a hung child, a slow start, a backoff, a stop that has to use force."""
    node.ready()
    node.until(lambda: (node.workers()["hangs"]["last_exit"] or {}).get("reason") == "no heartbeat for 0.3 s", "hung")
    node.until(lambda: node.workers()["crashes"]["restarts"] >= 2, "restarts after a while")
    assert node.workers()["slow"]["last_exit"]["step"] == "killed"
    deaths = [death for worker in node.workers().values() for death in worker["deaths"]]
    assert deaths and all(0 <= death["uptime"] < 60 for death in deaths)
    pid = node.pid("beats")
    node.process.send_signal(signal.SIGTERM)
    assert node.wait() == 0
    workers = node.workers()
    assert workers["deaf"]["last_exit"]["step"] == "killed"
    assert workers["beats"]["restarts"] == 0 and not alive(pid)


LIFE = one_for_one(
    {"id": "beats", "start": "children:beats", "args": {"every": 0.05}, "heartbeat": 5},
    misbehaving("slow", "sleep", optional=True, start_timeout=0.2),
    misbehaving("hangs", "ready", "sleep", heartbeat=0.3),
    misbehaving("crashes", "ready", "crash", backoff={"initial": 0.1, "factor": 1.0, "max": 0.1}),
    misbehaving("deaf", ["ignore", "SIGTERM"], "ready", "deaf", shutdown=0.5),
)


def test_a_wall_clock_that_jumps(directory: Path) -> None:
    """With a wall clock that jumps by months at each look, in all processes, everything about time goes as always."""
    (directory / "m").mkdir()
    (directory / "m" / "sitecustomize.py").write_text(JUMPING)
    with running(LIFE, directory, environment={"PYTHONPATH": f"{directory / 'm'}:{directory / 'p'}"}) as node:
        life(node)


def test_a_clock_of_ones_own(directory: Path) -> None:
    """In a time namespace, where the monotonic clock is years ahead, everything about time goes as always."""
    wrap = ["unshare", "--time", "--monotonic", "100000000", "--fork", "--kill-child=SIGTERM"]
    if subprocess.run([*wrap, "true"], capture_output=True).returncode:
        pytest.skip("this kernel has no time namespaces")
    with running(LIFE, directory, wrap=wrap[:-2]) as node:
        life(node)


def test_decisions_never_ask_the_wall_clock() -> None:
    """`time.time` is read for what people see (status, tally) and for the first incarnation, nowhere else."""
    found = set()
    for path in (Path(__file__).parents[2] / "supervisor").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            if name in ("time.time", "time.time_ns", "datetime.now") or name.endswith("datetime.now"):
                found.add((path.name, name))
            assert not (isinstance(node, ast.ImportFrom) and node.module == "time"), path
    people = {("root.py", "time.time"), ("children.py", "time.time"), ("reloads.py", "time.time")}
    assert found == people | {("root.py", "time.time_ns")}
