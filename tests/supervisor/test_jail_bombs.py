"""A confined child cannot take the machine's processes, threads, signals and locked memory from the others."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.supervisor.harness import running
from tests.supervisor.worlds import NO_USERNS, NOBODY, NOTHING, ROOT, USER, World, worlds

pytestmark = pytest.mark.kernel

TASKS = 1024
LONELY = 200_000  # from here on user ids that nobody has


def tree(*children: dict[str, Any]) -> dict[str, Any]:
    return {"id": "t", "strategy": "one_for_one", "intensity": 9, "children": list(children)}


@worlds(ROOT, USER, NO_USERNS)
def test_no_fork_unless_the_profile_says_so(world: World, directory: Path) -> None:
    """Without `fork: true` a confined child makes no process at any level, and threads as ever; with it, processes too."""
    plain = {"id": "a", "start": "bombs:fork_bomb", "args": {"most": 5}, "confine": {}}
    calm = {"id": "b", "start": "bombs:calm", "confine": {}}
    forks = {"id": "c", "start": "bombs:calm", "confine": {"fork": True}}
    with running(tree(plain, calm, forks), directory, world) as node:
        node.ready()
        info = {name: worker["info"] for name, worker in node.workers().items()}
        assert (info["a"]["made"], info["a"]["refused"]) == (0, "PermissionError")
        assert info["b"] == {"forked": "refused"}
        assert info["c"] == {"forked": 7}


def test_bombs_of_an_ordinary_user_are_bounded_each(directory: Path) -> None:
    """A child that may fork gets at most 1024 processes and threads, or its own `nproc`; its siblings do not notice."""
    profile = {"fork": True}
    forks = {"id": "a", "start": "bombs:fork_bomb", "args": {"most": 200}, "confine": profile, "rlimits": {"nproc": 60}}
    threads = {"id": "b", "start": "bombs:thread_bomb", "args": {"most": 3000}, "confine": profile}
    calm = {"id": "c", "start": "bombs:calm", "confine": profile}
    with running(tree(forks, threads, calm), directory, USER) as node:
        node.ready()
        info = {name: worker["info"] for name, worker in node.workers().items()}
        assert (info["a"]["made"], info["a"]["refused"]) == (59, "BlockingIOError")
        assert (info["b"]["made"], info["b"]["refused"]) == (TASKS - 1, "can't start new thread")
        assert info["c"] == {"forked": 7}


@worlds(ROOT, USER)
def test_the_tree_has_at_most_half_of_the_process_ids(world: World, directory: Path) -> None:
    """Where the kernel counts process ids by namespace (6.14) the tree leaves half of them, and more, to the machine."""
    if tuple(int(part) for part in os.uname().release.split(".")[:2]) < (6, 14):
        pytest.skip("pid_max is the machine's before Linux 6.14, and is left alone")
    before = int(Path("/proc/sys/kernel/pid_max").read_text())
    with running(tree({"id": "a", "start": "bombs:pids"}), directory, world) as node:
        node.ready()
        assert node.workers()["a"]["info"]["pid_max"] == min(before // 2, 32768)
    assert int(Path("/proc/sys/kernel/pid_max").read_text()) == before


@worlds(USER, NO_USERNS)
def test_descriptors_in_flight_do_not_stop_the_launcher(world: World, directory: Path) -> None:
    """A child that sends itself descriptors until the kernel refuses more does not keep others from being started."""
    bomb = {"id": "a", "start": "bombs:descriptor_bomb", "confine": {}}
    # What is in flight is counted by user: no other test may have any.
    world = replace(world, user=LONELY + os.getpid())
    with running(tree(bomb, {"id": "b", "start": "children:idle"}), directory, world) as node:
        node.ready()
        info = node.workers()["a"]["info"]
        assert info["refused"] in ("ETOOMANYREFS", "EMFILE") and info["sent"] >= info["limit"] // 2, info
        for times in (1, 2):
            os.kill(node.pid("b"), signal.SIGKILL)
            node.until(lambda times=times: node.workers()["b"]["restarts"] == times, "a restart")
            node.until(lambda: node.workers()["b"]["state"] == "running", "running again")


def test_no_namespace_left_is_said(directory: Path) -> None:
    """A confined child that can have no user namespace of its own does not start, and names the setting to raise."""
    few = World("few", NOBODY, ("many-userns",))
    children = [{"id": f"c{number}", "start": "children:idle", "confine": {}} for number in range(8)]
    with running(tree(*children), directory, few) as node:
        assert node.wait() == 3
        assert "sysctl user.max_user_namespaces" in node.output and "c0" not in node.line("ENDED "), node.output


@worlds(ROOT, USER, NO_USERNS, NOTHING)
def test_what_is_counted_per_user_is_bounded(world: World, directory: Path) -> None:
    """Queued signals, locked memory and real-time priority are limited in a jail; what `rlimits` says comes first."""
    args = {"most": 0}
    plain = {"id": "a", "start": "bombs:fork_bomb", "args": args, "confine": {}}
    wider = {
        "id": "b",
        "start": "bombs:fork_bomb",
        "args": args,
        "confine": {},
        "rlimits": {"memlock": 12345, "core": 9},
    }
    with running(tree(plain, wider), directory, world) as node:
        node.ready()
        info = {name: worker["info"]["limits"] for name, worker in node.workers().items()}
        expected = {"memlock": 8 << 20, "msgqueue": 0, "rtprio": 0, "sigpending": 1024, "core": 0}
        nproc = info["a"].pop("nproc")
        assert info["a"] == expected
        assert (nproc == TASKS) == world.isolated, nproc
        assert info["b"]["memlock"] == 12345 and info["b"]["core"] == 0
