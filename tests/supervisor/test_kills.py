"""Root, zygote or both are killed, in any order and at any moment: nothing is left within two seconds."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.supervisor.harness import Node, misbehaving, running, strays, wait_until
from tests.supervisor.worlds import NO_USERNS, ROOT, USER, World

pytestmark = pytest.mark.kernel

LIMIT = 2.0  # seconds until nothing is left

# The first time it is imported quickly unless `slow` is there; the second time, in another zygote, slowly.
SOURCE = """
import os, time
first = not os.path.exists({flag!r})
open({flag!r}, "a").write("x")
if not first or os.path.exists({slow!r}):
    time.sleep(60)
"""


def title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode(errors="replace")
    except OSError:
        return ""


def zygotes(directory: Path) -> list[int]:
    return sorted(pid for pid in strays(directory) if title(pid) == "t: zygote")


def preloading(node: Node) -> int:
    flag = node.directory / "flag"
    wait_until(lambda: flag.exists() and flag.read_text(), "the application is being loaded")
    return wait_until(lambda: zygotes(node.directory), "a zygote")[0]


def serving(node: Node) -> int:
    node.ready()
    node.pid("daemons")
    return node.launcher()


def restarting(node: Node) -> int:
    node.ready()
    os.kill(node.pid("slow"), signal.SIGKILL)
    node.until(lambda: node.workers()["slow"]["state"] in ("starting", "restarting"), "a restart")
    return node.launcher()


def stopping(node: Node) -> int:
    node.ready()
    zygote = node.launcher()
    node.process.send_signal(signal.SIGTERM)
    node.until(lambda: "stopping" in {worker["state"] for worker in node.workers().values()}, "a stop")
    return zygote


def replacing(node: Node) -> int:
    node.ready()
    old = node.launcher()
    os.kill(old, signal.SIGKILL)
    flag = node.directory / "flag"
    node.until(lambda: len(flag.read_text()) == 2, "another zygote loads the application")
    return wait_until(lambda: [pid for pid in zygotes(node.directory) if pid != old], "another zygote")[0]


MOMENTS = [preloading, serving, restarting, stopping, replacing]


def tree(directory: Path) -> dict[str, Any]:
    (directory / "w").mkdir()
    (directory / "w").chmod(0o777)
    (directory / "m").mkdir()
    source = SOURCE.format(flag=str(directory / "flag"), slow=str(directory / "slow"))
    (directory / "m" / "application.py").write_text(source)
    marker = str(directory / "w" / "lock")
    daemons = [["daemonise", marker], ["helpers", 2, True], "process_group", "ready", "listen"]
    return {
        "id": "t",
        "strategy": "one_for_one",
        "intensity": 50,
        "preload": ["application"],
        "children": [
            misbehaving("daemons", ["ignore", "SIGTERM"], *daemons, shutdown=60),
            misbehaving("slow", ["sleep", 0.3], "ready", "obey"),
            misbehaving("jailed", "ready", "obey", confine={}),
        ],
    }


def begun(directory: Path, world: World, moment: Callable[[Node], int] | None = None) -> Any:
    made = tree(directory)
    if moment is preloading:
        (directory / "slow").touch()
    return running(made, directory, world, environment={"PYTHONPATH": f"{directory / 'p'}:{directory / 'm'}"})


# Root and zygote at once differ from the root alone where no PID namespace ends everything.
CELLS = [
    *((ROOT, moment, "root") for moment in MOMENTS),
    *((ROOT, moment, order) for moment in (serving, replacing) for order in ("zygote-root", "root-zygote")),
    *((NO_USERNS, moment, order) for moment in MOMENTS for order in ("root", "zygote-root")),
    (NO_USERNS, serving, "root-zygote"),
    (USER, serving, "zygote-root"),
]


@pytest.mark.parametrize(
    ("world", "moment", "order"), CELLS, ids=[f"{world.name}-{at.__name__}-{order}" for world, at, order in CELLS]
)
def test_nothing_is_left(world: World, moment: Callable[[Node], int], order: str, directory: Path) -> None:
    """SIGKILL for the root, or for root and zygote at the same instant: daemons, sessions and jails go with them."""
    with begun(directory, world, moment) as node:
        zygote = moment(node)
        for who in order.split("-"):
            os.kill(node.process.pid if who == "root" else zygote, signal.SIGKILL)
        node.process.wait()
        wait_until(lambda: not strays(directory), f"nobody is left of {strays(directory)}", LIMIT)


def guardian(node: Node, zygote: int) -> int:
    """The process between root and zygote."""
    found = int(Path(f"/proc/{zygote}/stat").read_text().rpartition(")")[2].split()[1])
    assert found != node.process.pid, "no guardian"
    return found


@pytest.mark.parametrize("order", ["root", "zygote-root", "zygote"])
def test_without_its_guardian(order: str, directory: Path) -> None:
    """Where there is no PID namespace a guardian stands between root and zygote. Without it the tree goes on, and says
    so; and whoever is killed then, one after the other, nothing is left."""
    with begun(directory, NO_USERNS) as node:
        zygote = serving(node)
        os.kill(guardian(node, zygote), signal.SIGKILL)
        node.until(lambda: "the guardian of the zygote is gone" in node.output, "the warning", 5)
        old = node.pid("slow")
        os.kill(old, signal.SIGKILL)
        node.until(lambda: node.pid("slow") != old, "a restart")
        before = set(strays(directory)) - {node.process.pid}
        for who in order.split("-"):
            os.kill(node.process.pid if who == "root" else zygote, signal.SIGKILL)
            if who == "zygote":
                wait_until(lambda: not before & set(strays(directory)), "the old tree's end", LIMIT)
        if "root" in order:
            node.process.wait()
            wait_until(lambda: not strays(directory), f"nobody is left of {strays(directory)}", LIMIT)


@pytest.mark.parametrize("world", [ROOT, NO_USERNS], ids=lambda world: world.name)
def test_a_replacement_that_is_killed_is_replaced(world: World, directory: Path) -> None:
    """A zygote that is killed while it replaces a lost one is replaced in turn: the tree comes back."""
    with begun(directory, world) as node:
        zygote = replacing(node)
        (directory / "flag").unlink()  # the next one loads quickly
        os.kill(zygote, signal.SIGKILL)
        node.until(lambda: node.workers()["jailed"]["restarts"] == 1, "a third one")
        node.pid("jailed")
        assert node.launcher() != zygote


@pytest.mark.parametrize("world", [ROOT, USER, NO_USERNS], ids=lambda world: world.name)
def test_hidden_daemons_die_with_their_child(world: World, directory: Path) -> None:
    """Helpers that let nobody look into them (undumpable) are killed with their child as any others are."""
    (directory / "w").mkdir(mode=0o777)
    (directory / "w").chmod(0o777)
    steps = ["hide", ["helpers", 2, True], ["daemonise", str(directory / "w" / "lock")], "ready", "obey"]
    children = [misbehaving("a", *steps), misbehaving("b", "ready", "obey")]
    with running(
        {"id": "t", "strategy": "one_for_one", "intensity": 9, "children": children}, directory, world
    ) as node:
        node.ready()
        b = node.pid("b")
        before = descendants(node.launcher())
        os.kill(node.pid("a"), signal.SIGKILL)
        node.until(lambda: node.workers()["a"]["restarts"] == 1 and node.pid("a"), "a restart")
        assert not (before - {b}) & descendants(node.launcher())


def descendants(pid: int) -> set[int]:
    """Every process below this one that lives, but not those that the zygote has forked ahead."""
    found: set[int] = set()
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            state, parent = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z" and title(int(name)) not in ("t: zygote", "t: waiting"):
            parents[int(name)] = int(parent)
    while more := {child for child, parent in parents.items() if parent in found | {pid}} - found:
        found |= more
    return found


def test_a_stopped_guardian_holds_nobody_up(directory: Path) -> None:
    """A guardian under SIGSTOP does not keep the root from replacing a lost zygote, nor from ending."""
    with begun(directory, NO_USERNS) as node:
        zygote = serving(node)
        os.kill(guardian(node, zygote), signal.SIGSTOP)
        (directory / "flag").unlink()
        os.kill(zygote, signal.SIGKILL)
        node.until(lambda: node.workers()["jailed"]["restarts"] == 1, "a new tree", 15)
        node.until(lambda: node.workers()["jailed"]["state"] == "running", "a new tree", 15)
        os.kill(guardian(node, node.launcher()), signal.SIGSTOP)
        node.process.send_signal(signal.SIGTERM)
        node.until(lambda: "SIGTERM: stopping" in node.output, "the first signal is taken")
        node.process.send_signal(signal.SIGTERM)
        assert node.wait(10) == 0
