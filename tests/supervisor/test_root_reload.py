"""SIGHUP on real processes: what changed is replaced, the rest does not notice; whatever goes wrong, the tree stands."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from supervisor.spec import AnySpec, ChildSpec, SupervisorSpec, Tree
from supervisor.terminal import Terminal
from tests.supervisor.edits import edited
from tests.supervisor.harness import Node, misbehaving, running
from tests.supervisor.worlds import NO_USERNS, ROOT, World, worlds

LISTENS = (["ignore", "SIGTERM"], "ready", "listen")  # reads that it is to stop, and does not
NONE = {"filesystem": "none", "network": "none"}


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


def pids(node: Node) -> dict[str, Any]:
    return {name: worker["pid"] for name, worker in node.workers().items()}


@worlds(ROOT, NO_USERNS)
def test_touches_only_what_changed(world: World, directory: Path) -> None:
    """A changed child is replaced, one removed, one added; the others keep their process, also inside a supervisor."""
    inner = {"id": "inner", "strategy": "rest_for_one", "children": [worker("x"), worker("y")]}
    before = tree(worker("a"), worker("b", args={"v": 1}), worker("gone"), inner)
    with running(before, directory, world) as node:
        node.ready()
        assert node.status()["node"]["reloaded"] is None
        old = node.workers()
        inner = {**inner, "children": [worker("x"), worker("new"), worker("y")]}
        said = reload(node, tree(worker("b", args={"v": 2}), worker("a"), inner))
        assert said["ok"] and said["text"] == "restarted demo/b; added demo/inner/new; removed demo/gone"
        new = node.workers()
        assert [*new] == ["b", "a", "x", "new", "y"]
        for name in ("a", "x", "y"):
            assert (new[name]["pid"], new[name]["incarnation"]) == (old[name]["pid"], old[name]["incarnation"])
            assert new[name]["restarts"] == 0
        assert new["b"]["pid"] != old["b"]["pid"] and new["b"]["info"]["v"] == 2
        assert new["b"]["restarts"] == 1
        assert reload(node)["text"] == "nothing is different"
        assert pids(node) == {name: each["pid"] for name, each in new.items()}


def test_limits_change_under_a_running_process(directory: Path) -> None:
    """max_memory takes effect without a restart: the same process is killed by the new limit."""
    often = 1000  # its successors eat as much, and are killed for it, for as long as the test looks
    with running(tree(misbehaving("a", ["eat", 80], "ready", "obey"), intensity=often), directory) as node:
        node.ready()
        pid = node.pid("a")
        limited = misbehaving("a", ["eat", 80], "ready", "obey", max_memory=40 << 20)
        said = reload(node, tree(limited, intensity=often))
        assert said["text"] == "changed without a restart demo/a"
        node.until(
            lambda: "more than max_memory 40 MiB" in str(node.workers()["a"]["last_exit"]), "killed by the limit"
        )
        assert pid != node.pid("a")


@worlds(ROOT, NO_USERNS)
def test_a_tighter_jail_is_entered(world: World, directory: Path) -> None:
    """A profile that no child had before reaches the living zygote, and the child is in it."""
    secret = directory / "secret"
    secret.write_text("x")
    secret.chmod(0o644)
    looks = worker("a", "looks", args={"path": str(secret)})
    with running(tree(looks), directory, world) as node:
        node.ready()
        assert node.workers()["a"]["info"]["reads"] is True
        assert reload(node, tree({**looks, "confine": NONE}))["ok"]
        assert node.workers()["a"]["info"] == {"reads": False, "level": world.level}


def test_a_module_that_is_not_loaded(directory: Path) -> None:
    """A free child imports it by itself, and the result says so; for a confined one the reload is refused untouched."""
    with running(tree(worker("a")), directory) as node:
        node.ready()
        pid = node.pid("a")
        (directory / "p" / "late.py").write_text("from children import idle\n")
        said = reload(node, tree(worker("a"), worker("b", "late:idle")))
        assert said["ok"] and "demo/b imports 'late' by itself" in said["text"]
        before = pids(node)
        said = reload(node, tree(worker("a", args={"v": 1}), worker("b", "late:idle", confine=NONE)))
        assert not said["ok"] and "demo/b is confined and 'late' is not loaded" in said["text"]
        assert pids(node) == before and before["a"] == pid
        node.process.send_signal(signal.SIGTERM)
        assert node.wait() == 0


def test_a_start_that_fails(directory: Path) -> None:
    """What does not start stays down with its reason, is not tried again by itself, and the tree stays up."""
    with running(tree(worker("a"), worker("b")), directory) as node:
        node.ready()
        pid = node.pid("a")
        said = reload(node, tree(worker("a"), worker("b", "no_such_function"), worker("c")))
        assert not said["ok"] and "DID NOT START demo/b: " in said["text"] and "added demo/c" in said["text"]
        workers = node.workers()
        assert workers["b"]["state"] == "terminated" and "no_such_function" in workers["b"]["reason"]
        assert len(workers["b"]["deaths"]) == 2  # the old life and the one attempt
        assert workers["a"]["pid"] == pid and workers["c"]["state"] == "running"
        said = reload(node)
        assert not said["ok"] and len(node.workers()["b"]["deaths"]) == 3  # once more for being asked once more
        assert reload(node, tree(worker("a"), worker("b"), worker("c")))["ok"]
        assert node.pid("b") and node.workers()["a"]["pid"] == pid


def test_a_template_changes_for_all(directory: Path) -> None:
    """Children of a dynamic supervisor are started anew by the changed template; spares of the old one are not used."""
    secret = directory / "secret"
    secret.write_text("x")
    template = {"start": "children:looks", "args": {"path": str(secret)}}
    pool = {"id": "pool", "strategy": "dynamic", "spares": 2, "template": template}
    asks = worker("s", "starter", control=["pool"], args={"ids": ["x", "y", "z"]})
    with running(tree(pool, asks), directory) as node:
        node.ready()
        for id in "xyz":
            node.pid(f"pool/{id}")
        before = node.workers()
        confined = {**pool, "template": {**template, "confine": NONE}}
        assert reload(node, tree(confined, asks))["text"] == "restarted demo/pool/x, demo/pool/y, demo/pool/z"
        after = node.workers()
        assert [after[f"pool/{id}"]["info"]["reads"] for id in "xyz"] == [False] * 3
        assert after["s"]["pid"] == before["s"]["pid"]
        os.kill(node.pid("pool/x"), signal.SIGKILL)  # its place is taken by a spare of the new kind
        node.until(lambda: node.workers()["pool/x"]["restarts"] == 2, "x is back")
        node.pid("pool/x")
        assert node.workers()["pool/x"]["info"]["reads"] is False


def test_a_process_that_moves_is_never_there_twice(directory: Path) -> None:
    """A worker that moves to a supervisor before it is stopped there before it is started here."""
    watch = worker("w", "watcher", observe=True)

    def two(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> dict[str, Any]:
        parts = [{"id": id, "strategy": "one_for_one", "children": c} for id, c in (("one", first), ("two", second))]
        return tree(watch, *parts)

    with running(two([], [worker("m")]), directory) as node:
        node.ready()
        old = node.workers()["m"]["incarnation"]
        assert reload(node, two([worker("m")], []))["ok"]
        node.until(lambda: f"'up': 'm', 'incarnation': {old + 1}" in node.output, "the new one is up")
        assert f"'down': 'm', 'incarnation': {old}" in node.output.partition(f"'incarnation': {old + 1}")[0]


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


def slow_stop(version: int) -> dict[str, Any]:
    """`a` takes two seconds to stop; a change of it is a reload that takes as long."""
    return tree(misbehaving("a", *LISTENS, shutdown=2, env={"V": str(version)}), worker("b", args={"v": version}))


def stopping(node: Node) -> bool:
    return bool(node.workers()["a"]["state"] == "stopping")


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
        children = list(pids(node).values())
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
        os.kill(pids(node)["b"], signal.SIGKILL)
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


def test_a_callback_that_raises(directory: Path) -> None:
    """Whatever the callback does, the tree stands, and the status says what happened."""
    with running(tree(worker("a")), directory) as node:
        node.ready()
        pid = node.pid("a")
        (directory / "tree.json").write_text("{not JSON")
        said = reload(node)
        assert not said["ok"] and "JSONDecodeError" in said["text"]
        (directory / "tree.json").unlink()
        assert "No such file" in reload(node)["text"]
        assert reload(node, {**tree(worker("a")), "id": "other"})["text"].startswith("refused: the root supervisor is")
        assert node.pid("a") == pid


def test_a_library_that_gave_no_callback(directory: Path) -> None:
    """Without something to read the tree from SIGHUP is refused in the log, and stops nothing."""
    with running(tree(worker("a"), options={"reload": None}), directory) as node:
        node.ready()
        said = reload(node)
        assert not said["ok"] and "give Root(reload=...)" in said["text"]
        assert node.pid("a")


def test_children_finish_what_they_are_at(directory: Path) -> None:
    """SIGTERM drains: each child has its shutdown time to finish, the last started first."""
    children = [worker(id, "finishes", shutdown=10) for id in "ab"]
    with running(tree(*children), directory) as node:
        node.ready()
        node.process.send_signal(signal.SIGTERM)
        assert node.wait() == 0
        assert node.output.index("[b] finished") < node.output.index("[a] finished")
        assert [node.workers()[id]["last_exit"]["step"] for id in "ab"] == ["asked", "asked"]


def as_file(spec: AnySpec) -> dict[str, Any]:
    """A spec of `edits` as the program reads it."""
    if isinstance(spec, ChildSpec):
        keys = {"id": spec.id, "start": "children:idle", "args": dict(spec.args), "shutdown": spec.shutdown}
        return {key: value for key, value in keys.items() if value != ""}
    given: dict[str, Any] = {
        "id": spec.id,
        "strategy": spec.strategy,
        "intensity": spec.intensity,
        "period": spec.period,
    }
    if spec.template is not None:
        return {**given, "template": as_file(spec.template)}
    return {**given, "children": [as_file(child) for child in spec.children]}


@pytest.mark.parametrize("seed", [random.randrange(10**6) for _ in range(2)], ids=lambda seed: "random")
def test_random_edits(seed: int, directory: Path) -> None:
    """After twenty random edits, half of them while the one before is under way, the tree is that of the last file."""
    print("seed", seed)
    wanted = Tree(SupervisorSpec("demo", children=tuple(ChildSpec(id, "m:f") for id in "abc")))
    with running(as_file(wanted.root), directory) as node:
        node.ready()
        for number in range(20):
            wanted = edited(wanted, seed + number, f"e{number}")
            if number % 2:
                hang_up(node, as_file(wanted.root))
            else:
                assert reload(node, as_file(wanted.root))["ok"]
        names = {path.rpartition("/")[2] for path, _ in wanted.workers()}

        versions = {path.rpartition("/")[2]: spec.args.get("version") for path, spec in wanted.workers()}

        def settled() -> bool:
            workers = node.workers()
            running = {name for name, each in workers.items() if each["state"] == "running"}
            there = {name: each["info"].get("version") for name, each in workers.items()}
            return {*workers} == names == running and there == versions

        node.until(settled, f"the last tree: {sorted(names)}")
        node.until(lambda: reload(node)["text"] == "nothing is different", "nothing is under way")
        zygote = psutil.Process(node.launcher())
        there = {child.pid: child.cmdline()[0] for child in zygote.children()}
        named = {
            pid: title for pid, title in there.items() if title not in ("demo: zygote", "demo: waiting")
        }  # one that is forked ahead
        assert {*named} == {each["pid"] for each in node.workers().values()}


# ---- the command -----------------------------------------------------------------------------------------------------


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


TREE = 'id: demo\nstrategy: one_for_one\nchildren:\n- {id: a, start: "children:idle", args: {v: "${v}"}}\n'


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
