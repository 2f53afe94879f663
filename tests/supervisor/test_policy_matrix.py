"""The semantics matrix: restart type x exit reason x strategy, one id a cell (`transient-shutdown-one_for_one`)."""

from __future__ import annotations

import pytest

from supervisor.policy.events import ExitReason
from supervisor.spec import Restart, Strategy
from tests.supervisor.policy_shell import Shell, pool, tree, worker

RESTARTED = {
    ("permanent", "normal"),
    ("permanent", "shutdown"),
    ("permanent", "crash"),
    ("transient", "crash"),
}
GROUPS = {
    "one_for_one": ["start demo/b"],
    "one_for_all": ["stop demo/c", "stop demo/a", "start demo/a", "start demo/b", "start demo/c"],
    "rest_for_one": ["stop demo/c", "start demo/b", "start demo/c"],
}


@pytest.mark.parametrize("strategy", [*GROUPS, "dynamic"])
@pytest.mark.parametrize("reason", ["normal", "shutdown", "crash"])
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
def test_exit(restart: Restart, reason: ExitReason, strategy: Strategy) -> None:
    """A child that ended is restarted with its group, kept as terminated, or forgotten, as its restart type says."""
    if strategy == "dynamic":
        shell = Shell(tree("one_for_one", pool(t_restart=restart)))
        for id in "abc":
            shell.call("start_child", "pool", id)
        path, kept, again = "demo/pool", dict[str, str](), ["start demo/pool/b"]
    else:
        shell = Shell(tree(strategy, worker("a"), worker("b", restart=restart), worker("c")))
        path, kept, again = "demo", {} if restart == "temporary" else {"b": "terminated"}, GROUPS[strategy]
    done = shell.exit(f"{path}/b", reason=reason)
    if (restart, reason) in RESTARTED:
        assert done == again
        assert shell.children(path) == {"a": "running", "b": "running", "c": "running"}
        assert shell.state.supervisors[path].restarts == (0,), "counted once"
    else:
        assert done == []
        assert shell.children(path) == {"a": "running", "c": "running"} | kept
        assert shell.state.supervisors[path].restarts == (), "not counted"


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_sibling_in_group(strategy: Strategy, restart: Restart) -> None:
    """A group restart brings back every sibling but the temporary ones, which are removed."""
    shell = Shell(tree(strategy, worker("a"), worker("b", restart=restart)))
    done = shell.exit("demo/a")
    revived = [] if restart == "temporary" else ["start demo/b"]
    assert done == ["stop demo/b", "start demo/a", *revived]
    assert shell.children() == {"a": "running"} | ({} if restart == "temporary" else {"b": "running"})


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_group_restart_revives_the_ended(strategy: Strategy) -> None:
    """A group restart starts terminated children, and transient ones that ended normally, too."""
    shell = Shell(tree(strategy, worker("a"), worker("b"), worker("c", restart="transient")))
    shell.call("terminate_child", "demo", "b")
    shell.exit("demo/c", reason="normal")
    assert shell.children() == {"a": "running", "b": "terminated", "c": "terminated"}
    assert shell.exit("demo/a") == ["start demo/a", "start demo/b", "start demo/c"]


@pytest.mark.parametrize("reason", ["normal", "shutdown", "crash"])
@pytest.mark.parametrize("restart", ["transient", "temporary"])
@pytest.mark.parametrize("auto_shutdown", ["any_significant", "all_significant"])
@pytest.mark.parametrize("others", [0, 1])
def test_auto_shutdown(auto_shutdown: str, restart: Restart, reason: ExitReason, others: int) -> None:
    """A supervisor ends when a significant child ended for good: the first (any) or the last of them (all)."""
    rest = [worker(f"s{number}", restart="transient", significant=True) for number in range(others)]
    demo = tree(
        "one_for_one", worker("a", restart=restart, significant=True), worker("z"), *rest, auto_shutdown=auto_shutdown
    )
    shell = Shell(demo)
    done = shell.exit("demo/a", reason=reason)
    if (restart, reason) in RESTARTED:
        assert done == ["start demo/a"]
    elif auto_shutdown == "all_significant" and others:
        assert done == []
    else:
        assert done == [*(f"stop demo/s{number}" for number in range(others)), "stop demo/z", "exit 0"]


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
def test_nested_supervisor_gives_up(restart: Restart) -> None:
    """A supervisor that gives up ends with `shutdown`: only a permanent one is started again by its parent."""
    from supervisor.spec import SupervisorSpec

    inner = SupervisorSpec("inner", intensity=0, children=(worker("x"), worker("y")), restart=restart)
    shell = Shell(tree("one_for_one", inner, worker("z")))
    done = shell.exit("demo/inner/x")
    if restart == "permanent":
        assert done == ["stop demo/inner/y", "start demo/inner/x", "start demo/inner/y"]
    else:
        assert done == ["stop demo/inner/y"]
        assert shell.children() == ({"inner": "terminated"} if restart == "transient" else {}) | {"z": "running"}
