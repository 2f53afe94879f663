"""SIGHUP on real processes: what changed is replaced, the rest does not notice; a refusal leaves the tree standing."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from supervisor.spec import AnySpec, ChildSpec, SupervisorSpec, Tree
from tests.supervisor.edits import edited
from tests.supervisor.harness import misbehaving, running
from tests.supervisor.reloads import hang_up, reload, tree, worker
from tests.supervisor.worlds import NO_USERNS, ROOT, World, worlds

NONE = {"filesystem": "none", "network": "none"}


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
        assert node.pids() == {name: each["pid"] for name, each in new.items()}


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
        before = node.pids()
        said = reload(node, tree(worker("a", args={"v": 1}), worker("b", "late:idle", confine=NONE)))
        assert not said["ok"] and "demo/b is confined and 'late' is not loaded" in said["text"]
        assert node.pids() == before and before["a"] == pid
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
