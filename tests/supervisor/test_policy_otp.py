"""What OTP 25 was observed to do, case by case: windows, failing restarts, calls, busy supervisors, escalation."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor.policy import EXIT_GAVE_UP, EXIT_START, EXIT_STOPPED, Request, StopTree, SupervisorExit
from supervisor.spec import Backoff, SupervisorSpec
from tests.supervisor.policy_shell import Shell, pool, tree, worker


def abc(strategy: str = "one_for_one", **keys: int) -> Shell:
    """a, b and c under `demo`."""
    return Shell(tree(strategy, worker("a"), worker("b"), worker("c"), **keys))


def crash_at(shell: Shell, *times: float) -> list[str]:
    done: list[str] = []
    for when in times:
        shell.now = when
        done = shell.exit("demo/a")
    return done


@pytest.mark.parametrize(("second", "gives_up"), [(6, True), (7, False), (6.9, True)])
def test_window(second: float, gives_up: bool) -> None:
    """The window is inclusive and in whole seconds: with period 5 a crash at 1 counts at 6 and not at 7."""
    done = crash_at(abc(intensity=1, period=5), 1, second)
    assert (done[-1] == f"exit {EXIT_GAVE_UP}") is gives_up


def test_intensity_zero() -> None:
    """With intensity 0 the first crash is one too many."""
    assert crash_at(abc(intensity=0), 1) == ["stop demo/c", "stop demo/b", f"exit {EXIT_GAVE_UP}"]


def test_each_attempt_counts() -> None:
    """Every failed attempt to restart counts: intensity 3 allows three attempts, however they fail."""
    shell = abc(intensity=3)
    shell.failing["demo/a"] = 3
    done = shell.exit("demo/a")
    assert done == ["fail demo/a"] * 3 + ["stop demo/c", "stop demo/b", f"exit {EXIT_GAVE_UP}"]


def test_one_for_all_with_failing_start() -> None:
    """one_for_all starts the whole group again after each failed attempt."""
    shell = abc("one_for_all", intensity=5)
    shell.failing["demo/b"] = 2
    again = ["stop demo/a", "start demo/a"]
    assert shell.exit("demo/a") == [
        *("stop demo/c", "stop demo/b", "start demo/a", "fail demo/b"),
        *(*again, "fail demo/b", *again),
        *("start demo/b", "start demo/c"),
    ]


def test_rest_for_one_retries_from_the_failed() -> None:
    """rest_for_one tries again from the child that failed, not from the one that had crashed."""
    shell = abc("rest_for_one", intensity=5)
    shell.failing["demo/b"] = 2
    expected = ["stop demo/c", "stop demo/b", "start demo/a", "fail demo/b", "fail demo/b"]
    assert shell.exit("demo/a") == [*expected, "start demo/b", "start demo/c"]


def test_boot_failure() -> None:
    """A start that fails at boot stops what was started, in reverse, without another try."""
    inner = SupervisorSpec("s", children=(worker("x"), worker("y")))
    shell = Shell(tree("one_for_one", worker("a"), inner), boot=False)
    shell.failing["demo/s/y"] = 1
    from supervisor.policy import Boot

    expected = ["start demo/a", "start demo/s/x", "fail demo/s/y", "stop demo/s/x", "stop demo/a"]
    assert shell.send(Boot()) == [*expected, f"exit {EXIT_START}"]


def test_dead_before_the_first_is_handled() -> None:
    """A sibling that died while its group is restarted for another is not restarted a second time."""
    shell = abc("one_for_all", intensity=1)
    done = shell.exit("demo/a", "demo/b", "demo/c")
    assert done == ["start demo/a", "start demo/b", "start demo/c"]
    assert shell.state.supervisors["demo"].restarts == (0,)


def test_death_of_a_stopped_sibling_is_flushed() -> None:
    """The end of a sibling that was dead when its group was stopped is forgotten, also when the group does not start."""
    shell = abc("one_for_all", intensity=2)
    shell.failing["demo/a"] = 1
    done = shell.exit("demo/a", "demo/b")
    assert done == ["stop demo/c", "fail demo/a", "start demo/a", "start demo/b", "start demo/c"]
    assert len(shell.state.supervisors["demo"].restarts) == 2


def test_dies_while_being_stopped() -> None:
    """A child that dies by itself while the group is being stopped counts as stopped."""
    shell = abc("one_for_all", intensity=1)
    shell.stubborn = {"demo/c"}
    assert shell.exit("demo/a") == ["stop demo/c"]
    shell.alive["demo/c"] = shell.stopping.pop("demo/c")
    assert shell.exit("demo/c") == ["stop demo/b", "start demo/a", "start demo/b", "start demo/c"]


def test_busy_supervisor_queues() -> None:
    """While one child starts, exits and calls of its siblings wait, in order; other supervisors go on."""
    other = SupervisorSpec("other", children=(worker("x"),))
    shell = Shell(tree("one_for_one", worker("a"), worker("b"), other, intensity=5))
    shell.slow = {"demo/a"}
    shell.exit("demo/a")
    assert shell.exit("demo/b") == []
    assert shell.ask("terminate_child", "demo", "b") is None
    assert shell.exit("demo/other/x") == ["start demo/other/x"]
    assert shell.ready("demo/a") == ["start demo/b", "stop demo/b"]


def test_terminate_overtakes_the_retry() -> None:
    """A call made while a start is being retried comes before the next try."""
    shell = abc(intensity=5)
    shell.slow = {"demo/a"}
    shell.exit("demo/a")
    assert shell.ask("terminate_child", "demo", "a") is None
    from supervisor.policy import StartFailed

    assert shell.send(StartFailed("demo/a", shell.starting.pop("demo/a"), "told")) == []
    assert shell.answer(1) is not None
    assert shell.children()["a"] == "terminated"


def test_stop_overtakes_a_restart_loop() -> None:
    """The parent's stop comes before the next try of a nested supervisor in a restart loop."""
    inner = SupervisorSpec("s", intensity=100, children=(worker("x"),))
    shell = Shell(tree("one_for_one", inner))
    shell.slow = {"demo/s/x"}
    shell.exit("demo/s/x")
    shell.ask("terminate_child", "demo", "s")
    from supervisor.policy import StartFailed

    assert shell.send(StartFailed("demo/s/x", shell.starting.pop("demo/s/x"), "told")) == []
    assert shell.children() == {"s": "terminated"}


def test_escalation_to_the_root() -> None:
    """Supervisors that give up one after the other end the program, each after its children, with exit code 1."""
    leaf = SupervisorSpec("l2", intensity=0, children=(worker("x"), worker("y")))
    middle = SupervisorSpec("l1", intensity=0, children=(worker("m"), leaf))
    shell = Shell(tree("one_for_one", worker("a"), middle, intensity=0))
    done = shell.exit("demo/l1/l2/x")
    assert done == ["stop demo/l1/l2/y", "stop demo/l1/m", "stop demo/a", f"exit {EXIT_GAVE_UP}"]
    exits = [action.path for action in shell.seen if isinstance(action, SupervisorExit)]
    assert exits == ["demo/l1/l2", "demo/l1", "demo"]


def test_restarted_supervisor_begins_anew() -> None:
    """A supervisor that is started again has the children of its spec and an empty restart window."""
    inner = SupervisorSpec("s", intensity=1, children=(worker("x"),))
    shell = Shell(tree("one_for_one", inner, intensity=5))
    shell.call("start_child", "s", spec=worker("extra"))
    shell.exit("demo/s/x")
    shell.exit("demo/s/x")
    assert shell.children("demo/s") == {"x": "running"}
    assert shell.state.supervisors["demo/s"].restarts == ()


def test_stop_tree() -> None:
    """The tree is stopped in reverse start order and leaves with exit code 0."""
    inner = SupervisorSpec("s", children=(worker("x"), worker("y")))
    shell = Shell(tree("one_for_one", worker("a"), inner, worker("b")))
    expected = ["stop demo/b", "stop demo/s/y", "stop demo/s/x", "stop demo/a", f"exit {EXIT_STOPPED}"]
    assert shell.send(StopTree()) == expected


# ---- calls -----------------------------------------------------------------------------------------------------------


def codes(shell: Shell, *calls: tuple[str, str]) -> list[str]:
    replies = [shell.call(method, "demo", id) for method, id in calls]
    return [reply.code for reply in replies if reply is not None]


def test_calls_on_a_running_child() -> None:
    """A running child can be terminated, but neither deleted nor started a second time."""
    shell = abc()
    calls = ("delete_child", "a"), ("restart_child", "a"), ("terminate_child", "a"), ("terminate_child", "a")
    assert codes(shell, *calls) == ["running", "running", "ok", "ok"]


def test_calls_on_a_terminated_child() -> None:
    """A terminated child can be restarted, or deleted, after which it is unknown."""
    shell = abc()
    codes(shell, ("terminate_child", "a"))
    assert codes(shell, ("restart_child", "a"), ("terminate_child", "a"), ("delete_child", "a")) == ["ok"] * 3
    unknown = [(method, "a") for method in ("terminate_child", "restart_child", "delete_child")]
    assert codes(shell, *unknown) == ["not_found"] * 3


def test_calls_on_a_restarting_child() -> None:
    """A child between two tries is neither deleted nor started, and terminating it ends the tries."""
    shell = abc(intensity=50)
    shell.slow = {"demo/b"}
    shell.failing["demo/a"] = 2
    shell.exit("demo/b")  # busy: what follows waits, and is handled between the tries of a
    calls = [Request(100 + n, method, "demo", "a") for n, method in enumerate(("delete_child", "restart_child"))]
    life = shell.alive.pop("demo/a")
    from supervisor.policy import Exited

    shell.send(Exited("demo/a", life, "crash"), *calls)
    shell.ready("demo/b")
    assert [shell.replies[number][0].code for number in (100, 101)] == ["restarting", "restarting"]
    assert shell.children()["a"] == "running"


def test_start_child_static() -> None:
    """A started child comes last in order; its id is then taken, whether it runs or not."""
    shell = abc()
    assert shell.call("start_child", spec=worker("d")).code == "ok"
    assert list(shell.children()) == ["a", "b", "c", "d"]
    assert shell.call("start_child", spec=worker("d")).code == "already_started"
    shell.call("terminate_child", id="d")
    assert shell.call("start_child", spec=worker("d")).code == "already_present"


def test_start_child_fails() -> None:
    """A child that does not start on request is not kept, and the answer says why."""
    shell = abc()
    shell.failing["demo/d"] = 1
    reply = shell.call("start_child", spec=worker("d"))
    assert (reply.code, reply.detail) == ("error", "told to fail")
    assert "d" not in shell.children()


def test_restart_child_fails() -> None:
    """A child that does not restart on request stays terminated; nothing is counted or tried again."""
    shell = abc()
    shell.call("terminate_child", id="a")
    shell.failing["demo/a"] = 1
    assert shell.call("restart_child", id="a").code == "error"
    assert shell.children()["a"] == "terminated"
    assert shell.state.supervisors["demo"].restarts == ()


@pytest.mark.parametrize(("auto", "restart"), [("never", "transient"), ("any_significant", "permanent")])
def test_start_child_significant_refused(auto: str, restart: str) -> None:
    """A significant child is refused where OTP refuses it: under `never`, and when it is permanent."""
    shell = Shell(tree("one_for_one", auto_shutdown=auto))
    reply = shell.call("start_child", spec=worker("d", restart=restart, significant=True))
    assert reply is not None and reply.code == "error" and "significant" in reply.detail


def test_terminated_on_request_is_not_significant() -> None:
    """Terminating a significant child on request does not end its supervisor."""
    shell = Shell(
        tree("one_for_one", worker("a", restart="transient", significant=True), auto_shutdown="any_significant")
    )
    assert shell.call("terminate_child", id="a").code == "ok"
    assert shell.state.phase == "up"


def test_restarting_child_is_still_significant() -> None:
    """all_significant: a significant child that waits for its restart still counts as there."""
    keys: dict[str, Any] = {"restart": "transient", "significant": True}
    waits = worker("b", backoff=Backoff(initial=5), **keys)
    shell = Shell(tree("one_for_one", worker("a", **keys), waits, auto_shutdown="all_significant"))
    shell.exit("demo/b")
    assert shell.exit("demo/a", reason="normal") == []
    shell.pass_time(5)
    assert shell.exit("demo/b", reason="normal") == [f"exit {EXIT_STOPPED}"]


def test_dynamic_calls() -> None:
    """Under a dynamic supervisor, terminate forgets the child, and restart and delete are refused."""
    shell = Shell(tree("one_for_one", pool(max_children=2)))
    assert [shell.call("start_child", "pool", id).code for id in ("x", "x", "y", "z")] == [
        *("ok", "already_started", "ok", "error")
    ]
    assert shell.call("restart_child", "pool", "x").code == "error"
    assert shell.call("delete_child", "pool", "x").code == "error"
    assert shell.call("terminate_child", "pool", "x").code == "ok"
    assert shell.call("terminate_child", "pool", "x").code == "not_found"


def test_which_and_count_children() -> None:
    """which_children lists the last started first; count_children counts specs, processes and kinds."""
    shell = Shell(tree("one_for_one", worker("a"), SupervisorSpec("s"), worker("b")))
    shell.call("terminate_child", id="a")
    which, count = shell.call("which_children"), shell.call("count_children")
    assert which is not None and which.value == [["b", "running"], ["s", "running"], ["a", "terminated"]]
    assert count is not None and count.value == {"specs": 3, "active": 2, "supervisors": 1, "workers": 2}


def test_count_children_of_a_dynamic_supervisor() -> None:
    """A dynamic supervisor has one spec, its template; a child that waits for its restart is not active."""
    shell = Shell(tree("one_for_one", pool(t_backoff=Backoff(initial=5))))
    for id in ("x", "y"):
        shell.call("start_child", "pool", id)
    shell.exit("demo/pool/x")
    count = shell.call("count_children", "pool")
    assert count is not None and count.value == {"specs": 1, "active": 1, "supervisors": 0, "workers": 2}


def test_unknown_and_ended_supervisors() -> None:
    """A call on a supervisor that does not exist, or does not run, is answered at once."""
    shell = Shell(tree("one_for_one", SupervisorSpec("inner")))
    reply = shell.call("which_children", "iner")
    assert reply is not None and reply.code == "not_found" and "'inner'" in reply.detail
    shell.call("terminate_child", id="inner")
    reply = shell.call("which_children", "inner")
    assert reply is not None and reply.code == "error" and "not running" in reply.detail


def test_names_are_unique() -> None:
    """A name that another process of the tree has is refused; a deleted child's own name is free again."""
    shell = Shell(tree("one_for_one", worker("a"), SupervisorSpec("s", children=(worker("x"),))))
    reply = shell.call("start_child", spec=worker("x"))
    assert reply is not None and reply.code == "error" and "already used" in reply.detail
    codes(shell, ("terminate_child", "a"), ("delete_child", "a"))
    assert shell.call("start_child", spec=worker("a")).code == "ok"


@pytest.mark.parametrize("method", ["which_children", "count_children", "start_child", "terminate_child"])
def test_call_on_an_ending_dynamic_supervisor(method: str) -> None:
    """A dynamic supervisor that ends answers no call any more, not even one that never waits."""
    shell = Shell(tree("one_for_one", pool()))
    shell.call("start_child", "pool", "x")
    shell.stubborn = {"demo/pool/x"}
    shell.ask("terminate_child", "demo", "pool")
    assert shell.ask(method, "pool", "x") is None
    shell.stopped("demo/pool/x")
    reply = shell.answered(3)
    assert reply is not None and reply.code == "error" and reply.unserved


def test_call_on_an_ending_supervisor() -> None:
    """A call that waits when its supervisor ends is answered, and marked as never dealt with."""
    inner = SupervisorSpec("s", intensity=0, children=(worker("x"), worker("y")))
    shell = Shell(tree("one_for_one", inner, intensity=5))
    shell.stubborn = {"demo/s/y"}
    shell.exit("demo/s/x")
    assert shell.ask("which_children", "s") is None
    shell.stopped("demo/s/y")
    reply = shell.answered(1)
    assert reply is not None and reply.code == "error" and reply.unserved
