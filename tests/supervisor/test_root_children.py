"""What the root does with children that behave, and with those that do not: real processes, real signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.supervisor.harness import PROGRAMS, alive, misbehaving, one_for_one, running, strays
from tests.supervisor.worlds import ROOT, USER, World, worlds

# ---- stopping ----------------------------------------------------------------------------------------------------


def test_a_stopped_child_is_woken_to_die(directory: Path) -> None:
    """A child under SIGSTOP gets SIGTERM and SIGCONT, and need not be killed."""
    with running(one_for_one(misbehaving("a", "ready", "deaf")), directory) as node:
        node.ready()
        os.kill(node.pid("a"), signal.SIGSTOP)
        node.process.send_signal(signal.SIGTERM)
        assert node.wait() == 0
        assert node.workers()["a"]["last_exit"]["step"] == "terminated"


def test_children_are_stopped_in_reverse(directory: Path) -> None:
    """The last child started is the first one stopped."""
    children = [{"id": name, "start": "children:idle"} for name in "abc"]
    with running(one_for_one(*children), directory) as node:
        node.ready()
        node.process.send_signal(signal.SIGTERM)
        assert node.wait() == 0
        ends = {name: worker["last_exit"]["at"] for name, worker in node.workers().items()}
        assert ends["c"] < ends["b"] < ends["a"]


def test_children_finish_what_they_are_at(directory: Path) -> None:
    """SIGTERM drains: each child has its shutdown time to finish, the last started first."""
    children = [{"id": id, "start": "children:finishes", "shutdown": 10} for id in "ab"]
    with running(one_for_one(*children), directory) as node:
        node.ready()
        node.process.send_signal(signal.SIGTERM)
        assert node.wait() == 0
        assert node.output.index("[b] finished") < node.output.index("[a] finished")
        assert [node.workers()[id]["last_exit"]["step"] for id in "ab"] == ["asked", "asked"]


@worlds(ROOT, USER)
def test_children_that_were_forked_ahead_enter_the_same_jail(world: World, directory: Path) -> None:
    """Confined children that follow one another come from processes forked before they were asked for; none is refused."""
    children = [{"id": f"c{number}", "start": "children:idle", "confine": {}} for number in range(6)]
    with running(one_for_one(*children), directory, world) as node:
        assert node.ready()["processes"] == 6
        before = {name: node.pid(name) for name in node.workers()}
        os.kill(before["c5"], signal.SIGKILL)  # nothing was asked for since: its successor waits already
        node.until(lambda: node.workers()["c5"].get("pid") not in (None, before["c5"]), "c5 again")
        assert node.pid("c5") != before["c5"]


# ---- starting ----------------------------------------------------------------------------------------------------


def test_a_crash_before_ready_ends_the_boot(directory: Path) -> None:
    """A child that raises before READY ends the boot with code 3; what was started is stopped; its error is said."""
    children = [
        {"id": "a", "start": "children:idle"},
        misbehaving("b", "crash"),
    ]
    with running(one_for_one(*children), directory) as node:
        assert node.wait() == 3
        assert "RuntimeError: no such luck" in node.output
        workers = node.workers()
        assert workers["a"]["last_exit"]["step"] == "asked"
        assert workers["b"]["last_exit"]["code"] == 1 and not workers["b"]["last_exit"]["ready"]
        assert "no such luck" in "\n".join(workers["b"]["last_exit"]["stderr"])


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("children:nothing", "has no attribute 'nothing'"),
        ("misbehaving:child", "exit code 0 before ready()"),
    ],
)
def test_what_is_no_entry_point(start: str, said: str, directory: Path) -> None:
    """An entry point that is not there, or that returns before READY, is a failed start that says so."""
    child = {"id": "a", "start": start, "args": {"steps": []} if start.startswith("misbehaving") else {}}
    with running(one_for_one(child), directory) as node:
        assert node.wait() == 3
        assert said in node.output


def test_a_slow_start_times_out(directory: Path) -> None:
    """A child that is not ready within start_timeout is killed, and the boot fails saying so."""
    with running(one_for_one(misbehaving("a", "sleep", "ready", start_timeout=0.3)), directory) as node:
        assert node.wait() == 3
        assert "0.3" in node.status()["node"]["ended"]["reason"], node.status()["node"]


def test_an_optional_child_may_fail(directory: Path) -> None:
    """A failed start of an optional child is reported and the tree is ready without it."""
    children = [
        misbehaving("a", "crash", optional=True),
        {"id": "b", "start": "children:idle"},
    ]
    with running(one_for_one(*children), directory) as node:
        node.ready()
        assert node.pid("b")


def test_environment_and_identity(directory: Path) -> None:
    """An open child has the environment of the root and its own `env`; a confined one none of the root's secrets."""
    children = [
        {"id": "open", "start": "children:environment", "env": {"COLOUR": "green"}},
        {"id": "shut", "start": "children:environment", "env": {"COLOUR": "blue"}, "confine": {}},
    ]
    with running(one_for_one(*children), directory) as node:
        node.ready()
        free, shut = (node.workers()[name]["info"] for name in ("open", "shut"))
        assert free["environ"]["SECRET_KEY"] == "sesame" and free["environ"]["COLOUR"] == "green"
        assert "LD_BIND_NOW" not in free["environ"].keys() | shut["environ"].keys(), "it is for the zygote alone"
        assert "SECRET_KEY" not in shut["environ"] and shut["environ"]["COLOUR"] == "blue"
        assert free["name"] == "open" and free["supervisor"] == "t"
        for pid in (node.launcher(), node.pid("shut"), node.pid("open")):
            assert b"sesame" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_rlimits(directory: Path) -> None:
    """Limits of the tree file are those of the child."""
    with running(one_for_one({"id": "a", "start": "children:idle", "rlimits": {"nofile": 123}}), directory) as node:
        node.ready()
        limits = Path(f"/proc/{node.pid('a')}/limits").read_text()
        line = next(line for line in limits.splitlines() if line.startswith("Max open files"))
        assert line.split()[3:5] == ["123", "123"]


def test_sessions_and_titles(directory: Path) -> None:
    """Each child leads a session of its own, so a terminal's ^C meets the root alone, and `ps` shows its name."""
    with running(one_for_one({"id": "a", "start": "children:idle"}), directory) as node:
        node.ready()
        pid = node.pid("a")
        assert os.getsid(pid) == pid
        assert Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0") == b"t: a"
        assert Path(f"/proc/{node.launcher()}/cmdline").read_bytes().rstrip(b"\0") == b"t: zygote"
        assert os.getsid(node.launcher()) != os.getsid(node.process.pid)


def test_a_thread_is_waited_for(directory: Path) -> None:
    """An entry point that returns while a thread runs ends when the thread does, with code 0."""
    child = misbehaving("a", "ready", ["thread", 0.3], restart="transient")
    with running(one_for_one(child), directory) as node:
        node.ready()
        node.until(lambda: node.workers()["a"]["last_exit"], "the end")
        last = node.workers()["a"]["last_exit"]
        assert last["code"] == 0 and last["uptime"] >= 0.25


# ---- misbehaving -------------------------------------------------------------------------------------------------


@worlds(ROOT, USER)
def test_a_beating_child_is_left_alone(world: World, directory: Path) -> None:
    """A child that beats lives, also when it beats only just often enough; one under SIGSTOP does not."""
    child = {"id": "a", "start": "children:beats", "args": {"every": 0.1}, "heartbeat": 1.0, "confine": {}}
    with running(one_for_one(child, {"id": "b", "start": "children:idle"}), directory, world) as node:
        node.ready()
        pid = node.pid("a")
        began = node.workers()["b"]["started_at"]
        node.until(lambda: node.workers()["b"]["memory"], "a sample of memory")
        node.until(lambda: os.times().elapsed and node.status()["node"]["pid"] and _uptime(began) > 2.5, "some time")
        assert node.pid("a") == pid
        os.kill(pid, signal.SIGSTOP)
        node.until(lambda: node.workers()["a"]["last_exit"], "the verdict", 5)
        assert node.workers()["a"]["last_exit"]["reason"] == "no heartbeat for 1 s"


def _uptime(began: float) -> float:
    import time

    return time.time() - began


def test_planned_exits_are_not_crashes(directory: Path) -> None:
    """A planned exit is followed by a restart that intensity 0 would not allow for a crash."""
    child = {"id": "a", "start": "children:planned", "args": {"marker": str(directory / "marker")}}
    with running(one_for_one(child, intensity=0), directory) as node:
        node.ready()
        node.until(lambda: node.workers()["a"]["restarts"] == 1 and node.pid("a"), "a restart")
        last = node.workers()["a"]["last_exit"]
        assert last["planned"] and last["code"] == 75 and last["reason"] == "handoff"


def test_too_many_planned_exits_are_crashes(directory: Path) -> None:
    """A child that leaves as planned again and again is given up on, as if it had crashed."""
    with running(one_for_one({"id": "a", "start": "children:planned"}, intensity=0), directory) as node:
        assert node.wait() == 1
        assert node.workers()["a"]["restarts"] >= 3


def test_a_flood_of_output_is_bounded(directory: Path) -> None:
    """Megabytes on stderr do not keep the root from its work, and only the last lines are kept."""
    children = [misbehaving("a", "ready", "print_lines", "obey"), {"id": "b", "start": "children:idle"}]
    with running(one_for_one(*children), directory) as node:
        node.ready()
        node.until(lambda: "[a] 005999 " in node.output, "the last line", 30)
        pid = node.pid("b")
        os.kill(node.pid("a"), signal.SIGKILL)
        node.until(lambda: node.workers()["a"]["last_exit"], "the end")
        tail = node.workers()["a"]["last_exit"]["stderr"]
        assert len(tail) == 40 and tail[-1].startswith("005999")
        assert node.pid("b") == pid


def test_giving_up_goes_up_level_by_level(directory: Path) -> None:
    """A crash three levels down takes every level with it, in order, and the root's exit code says that it gave up."""

    def level(id: str, *children: dict[str, Any]) -> dict[str, Any]:
        return {"id": id, "strategy": "one_for_one", "intensity": 0, "children": list(children)}

    deep = level("s1", {"id": "b", "start": "children:idle"}, level("s2", {"id": "c", "start": "children:idle"}))
    with running(one_for_one({"id": "a", "start": "children:idle"}, deep, intensity=0), directory) as node:
        node.ready()
        os.kill(node.pid("c"), signal.SIGKILL)
        assert node.wait() == 1
        ends = [line for line in node.output.splitlines() if " ended: more than 0 restarts" in line]
        assert [line.partition(" ended: ")[0].split()[-1] for line in ends[:2]] == ["t/s1/s2", "t/s1"]
        assert "exit code 1" in ends[-1]
        assert not [child for child in node.workers().values() if child["pid"]]


def test_giving_up_is_an_exit_code(directory: Path) -> None:
    """More restarts than the intensity allows end the root with code 1, and the status says why."""
    with running(one_for_one(misbehaving("a", "ready", "crash"), intensity=3), directory) as node:
        assert node.wait() == 1
        assert node.workers()["a"]["restarts"] == 3
        assert node.status()["node"]["ended"]["code"] == 1


# ---- control, observation, hook --------------------------------------------------------------------------------


def pool(**keys: Any) -> dict[str, Any]:
    return {"id": "pool", "strategy": "dynamic", "template": {"start": "children:idle", "confine": {}}, **keys}


def test_the_asyncio_face(directory: Path) -> None:
    """A child with `control` starts, lists and stops children; what it may not do is refused with a code and a reason."""
    tree = one_for_one(pool(), {"id": "c", "start": "children:controller", "control": ["pool"], "observe": True})
    with running(tree, directory) as node:
        node.ready()
        node.until(lambda: "[c] children []" in node.output, "all answers")
        assert "[c] children [['a/b', 'running']]" in node.output
        assert "'active': 1" in node.output
        assert "[c] error already_started" in node.output
        assert "[c] error forbidden c may not control 'other'" in node.output
        assert "[c] error error" in node.output and "did you mean 'id'" in node.output
        assert "[c] error not_found" in node.output
        changes = [line[11:] for line in node.output.splitlines() if line.startswith("[c] change ")]
        assert changes[0].startswith("Snapshot") and "Up pool/a/b" in changes and "Down pool/a/b" in changes
        node.process.send_signal(signal.SIGTERM)
        node.wait()
        assert "[c] asked to stop" in node.output


def test_observers_see_everything(directory: Path) -> None:
    """An observer gets a snapshot, then each up and down, with incarnation and reason."""
    children = [
        {"id": "a", "start": "children:idle"},
        {"id": "w", "start": "children:watcher", "observe": True},
        {"id": "z", "start": "children:idle"},
    ]
    with running(one_for_one(*children), directory) as node:
        node.ready()
        node.until(lambda: "'up': 'z'" in node.output, "z up")
        assert "saw {'snapshot': [['a'," in node.output
        os.kill(node.pid("a"), signal.SIGKILL)
        node.until(lambda: "'up': 'a'" in node.output, "a up again")
        down = next(line for line in node.output.splitlines() if "'down': 'a'" in line)
        assert "'reason': 'SIGKILL'" in down and "'planned': False" in down
        assert node.output.index("'down': 'a'") < node.output.index("'up': 'a'")


def test_the_hook_speaks_before_the_fork(directory: Path) -> None:
    """The hook's data reaches the child, its notices reach a running child first, and it hears of every end."""
    children = [{"id": "board", "start": "children:board"}, {"id": "a", "start": "children:environment"}]
    with running(one_for_one(*children, options={"hook": True}), directory) as node:
        node.ready()
        node.until(lambda: "heard {'notice': {'launching': 'a'" in node.output, "the notice")
        assert node.workers()["a"]["info"]["handover"] == {"word": "for a"}
        os.kill(node.pid("a"), signal.SIGKILL)
        node.until(lambda: "HOOK exited a: SIGKILL" in node.output, "the hook hears of the end")


def test_a_jailed_child_serves_a_socket_that_was_handed_over(directory: Path) -> None:
    """A descriptor of the hook reaches each life of a child without network, and nothing is lost between two lives."""
    child = {"id": "a", "start": "children:doorkeeper", "args": {"doors": 1}, "confine": {}}
    with running(one_for_one(child, options={"hook": True}, intensity=20), directory) as node:
        node.ready()
        port = int(next(line for line in node.output.splitlines() if line.startswith("DOOR")).split()[1])
        assert node.workers()["a"]["info"] == {"files": ["door-0"]}
        for _life in range(4):  # it dies after each; the socket is the root's, so nobody is refused meanwhile
            with socket.create_connection(("127.0.0.1", port), timeout=10) as there:
                assert there.recv(100) == b"own: none"


def test_more_descriptors_than_fit_are_a_failed_start(directory: Path) -> None:
    """Nine descriptors are refused with a sentence, not lost on the way."""
    child = {"id": "a", "start": "children:doorkeeper", "args": {"doors": 9}, "optional": True}
    with running(one_for_one(child, {"id": "b", "start": "children:idle"}, options={"hook": True}), directory) as node:
        node.ready()
        assert "hands over 9 descriptors, at most 8 go" in node.output


def test_handover_that_is_no_json_is_a_failed_start(directory: Path) -> None:
    """What the hook gives must be plain JSON data; anything else fails that start and says so."""
    children = [
        {"id": "a", "start": "children:idle"},
        {"id": "b", "start": "children:idle", "args": {"bytes": True}, "optional": True},
    ]
    with running(one_for_one(*children, options={"hook": True}), directory) as node:
        node.ready()
        assert "must be plain JSON data" in node.output
        assert node.pid("a")


def test_a_hook_that_raises_is_a_failed_start(directory: Path) -> None:
    """An exception from the hook fails that start and nothing else."""
    children = [
        {"id": "a", "start": "children:idle"},
        {"id": "b", "start": "children:idle", "args": {"refuse": True}, "optional": True},
    ]
    with running(one_for_one(*children, options={"hook": True}), directory) as node:
        node.ready()
        assert "launch hook: ValueError: not today" in node.output
        assert node.pid("a")


def test_parking(directory: Path) -> None:
    """A child of a dynamic supervisor past its own budget is parked with its reason; its siblings go on."""
    template = {"start": "misbehaving:child", "args": {"steps": ["ready", ["sleep", 0.05], "crash"]}}
    tree = one_for_one(
        pool(template=template, park={"intensity": 2, "period": 60}),
        {"id": "s", "start": "children:starter", "control": ["pool"]},
    )
    with running(tree, directory) as node:
        node.ready()
        node.until(lambda: node.workers().get("pool/x", {}).get("state") == "parked", "parked")
        worker = node.workers()["pool/x"]
        assert worker["restarts"] == 2 and worker["reason"]
        assert node.workers()["s"]["state"] == "running"


@worlds(ROOT, USER)
def test_a_spare_takes_a_dead_childs_place(world: World, directory: Path) -> None:
    """A supervisor with spares gives a dead child's name to a process that was waiting, and makes another spare."""
    tree = one_for_one(
        pool(spares=2, template={"start": "children:environment", "confine": {}, "heartbeat": 30, "env": {"X": "y"}}),
        {"id": "s", "start": "children:starter", "control": ["pool"]},
    )

    def spares() -> set[int]:
        return {pid for pid in strays(directory) if _title(pid) == "t: spare"}

    with running(tree, directory, world) as node:
        node.ready()
        old = node.pid("pool/x")
        waiting = node.until(lambda: len(spares()) == 2 and spares(), "two spares")
        os.kill(old, signal.SIGKILL)
        node.until(lambda: node.pid("pool/x") != old, "a new one")
        new = node.pid("pool/x")
        assert new in waiting and _title(new) == "t: pool/x"
        info = node.workers()["pool/x"]["info"]
        assert info["name"] == "pool/x" and info["environ"]["X"] == "y"
        left = node.until(lambda: len(spares()) == 2 and spares(), "two spares again")
        os.kill(min(left), signal.SIGKILL)
        node.until(lambda: len(spares()) == 2 and min(left) not in spares(), "a dead spare is replaced")
        assert node.workers()["pool/x"]["restarts"] == 1


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode(errors="replace")
    except OSError:
        return ""


# ---- status and the class --------------------------------------------------------------------------------------


def test_status_is_complete(directory: Path) -> None:
    """The status file has what docs/interfaces.md promises, for every worker."""
    with running(one_for_one({"id": "a", "start": "children:idle"}), directory) as node:
        node.ready()
        status = node.status()
        assert set(status["node"]) >= {"pid", "started_at", "level", "level_notes", "ready"}
        assert status["tree"]["kind"] == "supervisor" and status["tree"]["state"] == "running"
        worker = node.workers()["a"]
        keys = {"id", "name", "kind", "state", "pid", "incarnation", "started_at", "restarts", "restart", "memory"}
        assert set(worker) >= keys | {"last_exit", "deaths"}
        assert worker["pid"] == worker["info"]["pid"] or worker["info"]["pid"] < worker["pid"]
        node.until(lambda: node.workers()["a"]["memory"], "memory")
        assert 0 < node.workers()["a"]["memory"] < 64 << 20


def test_run_refuses_other_threads() -> None:
    """Root.run() outside the main thread is refused with the reason, because no signal would reach it."""
    code = (
        "import threading\nfrom supervisor.root import Root\nfrom supervisor.spec import SupervisorSpec, Tree\n"
        "def run():\n    try: Root(Tree(SupervisorSpec('t'))).run()\n    except RuntimeError as e: print(e)\n"
        "t = threading.Thread(target=run); t.start(); t.join()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROGRAMS.parents[2])
    assert "main thread" in done.stdout, done


def test_an_empty_tree_runs(directory: Path) -> None:
    """A tree without children is ready at once and stops when told."""
    with running(one_for_one(), directory) as node:
        assert node.ready()["processes"] == 0
        node.process.send_signal(signal.SIGTERM)
        assert node.wait() == 0
        assert json.loads((directory / "status.json").read_text())["node"]["ended"] == {"code": 0, "reason": "SIGTERM"}
        assert not alive(node.process.pid)
