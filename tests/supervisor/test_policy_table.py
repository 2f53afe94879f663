"""The tables of the policy, cell by cell: state x report, state x call, phase x event. What is written here is typed anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest

from supervisor.policy import (
    METHODS,
    Boot,
    Event,
    Exited,
    LauncherLost,
    Note,
    Ready,
    Reload,
    Reloaded,
    Reply,
    Request,
    StartFailed,
    Stopped,
    StopTree,
    Timer,
    decide,
)
from supervisor.policy.engine import EVENT_KIND
from supervisor.policy.state import STATUSES, Phase, Purpose, Status
from supervisor.policy.table import (
    CALLS,
    CHILD_METHODS,
    EVENT_KINDS,
    PHASES,
    REFUSED,
    REPORT_KINDS,
    REPORTS,
    TIMERS,
    TRIED_AGAIN,
    ChildMethod,
    EventKind,
    ReportKind,
    Seen,
)
from supervisor.spec import Backoff, Park
from tests.supervisor.policy_shell import Shell, pool, tree, worker

# ---- a child in each state, reached as it is reached in life ----------------------------------------------------------


def _static(*, slow: tuple[str, ...] = (), **keys: object) -> Shell:
    return Shell(tree("one_for_one", worker("a"), worker("b", **keys), intensity=9), slow=slow)


def waiting() -> Shell:
    return _static(slow=("demo/a",))


def starting() -> Shell:
    return _static(slow=("demo/b",))


def running() -> Shell:
    return _static()


def stopping() -> Shell:
    shell = _static()
    shell.stubborn = {"demo/b"}
    shell.ask("terminate_child", "demo", "b")
    return shell


def restarting() -> Shell:
    shell = _static(backoff=Backoff(initial=5))
    shell.exit("demo/b")
    return shell


def terminated() -> Shell:
    shell = _static()
    shell.call("terminate_child", "demo", "b")
    return shell


def parked() -> Shell:
    shell = Shell(tree("one_for_one", pool(park=Park(intensity=0, period=60))))
    shell.call("start_child", "pool", "b")
    shell.exit("demo/pool/b")
    return shell


STATES: dict[Status, Callable[[], Shell]] = {
    each.__name__: each for each in (waiting, starting, running, stopping, restarting, terminated, parked)
}
# state -> what becomes of the child when ready, start_failed, exited, stopped is reported; "" nothing at all.
# A child that died is restarted (its supervisor is idle), one whose first start fails takes the boot with it.
AFTER: dict[Status, tuple[str, str, str, str]] = {
    "waiting": ("", "", "", ""),
    "starting": ("running", "-", "-", "-"),
    "running": ("", "restarted", "restarted", "restarted"),
    "stopping": ("", "terminated", "terminated", "terminated"),
    "restarting": ("", "", "", ""),
    "terminated": ("", "", "", ""),
    "parked": ("", "", "", ""),
}


@pytest.mark.parametrize("report", REPORT_KINDS)
@pytest.mark.parametrize("status", STATUSES)
def test_report(status: Status, report: ReportKind) -> None:
    """What a report about its current life does to a child, in each state."""
    shell = STATES[status]()
    owner = "demo/pool" if status == "parked" else "demo"
    child = shell.state.supervisors[owner].children["b"]
    assert child.status == status
    reports: dict[str, Event] = {
        "ready": Ready(child.path, child.incarnation),
        "start_failed": StartFailed(child.path, child.incarnation, "told"),
        "exited": Exited(child.path, child.incarnation, "crash"),
        "stopped": Stopped(child.path, child.incarnation),
    }
    before = shell.state
    expected = AFTER[status][REPORT_KINDS.index(report)]
    after, actions = decide(before, reports[report], 1.0)
    if expected == "":
        assert (after, actions) == (before, ())
    elif expected == "-":
        assert after.supervisors["demo"].exiting
    elif expected == "restarted":
        assert after.supervisors["demo"].children["b"].incarnation > child.incarnation
    else:
        assert after.supervisors["demo"].children["b"].status == expected
    assert (REPORTS[status][report] == "ignored") == (expected == "")


@pytest.mark.parametrize("status", STATUSES)
def test_report_about_another_life(status: Status) -> None:
    """A report about a life that is over, or has not begun, changes nothing in any state."""
    shell = STATES[status]()
    path = "demo/pool/b" if status == "parked" else "demo/b"
    life = shell.state.supervisors[path.rpartition("/")[0]].children["b"].incarnation
    for other in (life - 1, life + 1):
        for report in (
            Ready(path, other),
            StartFailed(path, other, ""),
            Exited(path, other, "crash"),
            Stopped(path, other),
        ):
            assert decide(shell.state, report, 1.0) == (shell.state, ())


# ---- calls -------------------------------------------------------------------------------------------------------------

# start_child, terminate_child, restart_child, delete_child of a static child, and what is then left of it
STATIC: dict[Seen, tuple[str, str, str, str]] = {
    "running": ("already_started", "ok: terminated", "running", "running"),
    "restarting": ("already_present", "ok: terminated", "restarting", "restarting"),
    "terminated": ("already_present", "ok: terminated", "ok: running", "ok: absent"),
    "absent": ("ok: running", "not_found", "not_found", "not_found"),
}
# the same of a dynamic child, and park, unpark
DYNAMIC: dict[Seen, tuple[str, str, str, str, str, str]] = {
    "running": ("already_started", "ok: absent", "error", "error", "ok: parked", "running"),
    "restarting": ("already_present", "ok: absent", "error", "error", "ok: parked", "restarting"),
    "terminated": ("already_present", "ok: absent", "error", "error", "ok: parked", "error"),
    "parked": ("already_present", "ok: absent", "error", "error", "ok: parked", "ok: running"),
    "absent": ("ok: running", "not_found", "error", "error", "not_found", "not_found"),
}


def _answer(shell: Shell, method: str, path: str) -> str:
    """The answer to a call on child `b`, and what the child is then if that is something else than before."""
    before = shell.children(path).get("b", "absent")
    spec = worker("b") if method == "start_child" and path == "demo" else None
    reply = shell.call(method, path, "b", spec=spec)
    after = shell.children(path).get("b", "absent")
    if reply.code != "ok":
        assert after == before, "a refused call changes nothing"
        assert reply.detail, "a refusal says why"
        return reply.code
    return f"ok: {after}"


@pytest.mark.parametrize("method", CHILD_METHODS)
@pytest.mark.parametrize("status", STATIC)
def test_call_on_a_static_child(status: Seen, method: ChildMethod) -> None:
    """What each call on a static child answers and does, in each state that a call can find it in."""
    shell = terminated() if status == "absent" else STATES[status]()
    if status == "absent":
        shell.call("delete_child", "demo", "b")
    expected = (*STATIC[status], "error", "error")[CHILD_METHODS.index(method)]
    assert _answer(shell, method, "demo") == expected


@pytest.mark.parametrize("method", CHILD_METHODS)
@pytest.mark.parametrize("status", DYNAMIC)
def test_call_on_a_dynamic_child(status: Seen, method: ChildMethod) -> None:
    """What each call on a dynamic child answers and does, in each state that a call can find it in."""
    keys = {"t_optional": True} if status == "terminated" else {}
    shell = Shell(tree("one_for_one", pool(intensity=9, t_backoff=Backoff(initial=5, factor=1), **keys)))
    if status != "absent":
        shell.call("start_child", "pool", "b")
    if status in ("restarting", "terminated"):
        shell.exit("demo/pool/b")
    if status == "terminated":  # an optional child whose restart failed
        shell.failing["demo/pool/b"] = 1
        shell.pass_time(5)
    if status == "parked":
        shell.call("park", "pool", "b")
    assert shell.children("demo/pool").get("b", "absent") == status
    expected = DYNAMIC[status][CHILD_METHODS.index(method)]
    assert _answer(shell, method, "demo/pool") == expected


@pytest.mark.parametrize("busy", ["waiting", "starting", "stopping"])
def test_calls_wait_for_a_busy_supervisor(busy: Status) -> None:
    """No call finds a child that waits for its start, starts or stops: the call waits until that is over."""
    shell = STATES[busy]()
    assert all(
        shell.ask(method, "demo", "b") is None for method in ("terminate_child", "restart_child", "delete_child")
    )
    assert shell.ask("which_children") is None
    for path in list(shell.starting):
        shell.ready(path)
    for path in list(shell.starting):
        shell.ready(path)
    for path in list(shell.stopping):
        shell.stopped(path)
    assert all(len(replies) == 1 for replies in shell.replies.values()) and len(shell.replies) >= 4


# ---- the whole tree ----------------------------------------------------------------------------------------------------


def _up(stubborn: bool = False) -> Shell:
    shell = Shell(tree("one_for_one", worker("a"), worker("b", backoff=Backoff(initial=5)), intensity=9))
    shell.exit("demo/b")
    shell.stubborn = {"demo/a"} if stubborn else set()
    return shell


def _phase(phase: Phase) -> Shell:
    if phase == "new":
        return Shell(tree("one_for_one", worker("a")), boot=False)
    shell = _up(stubborn=True)
    if phase in ("lost", "leaving"):
        shell.send(LauncherLost("told"))
    if phase in ("leaving", "stopping", "done"):
        shell.send(StopTree("told"))
    if phase == "done":
        shell.stopped("demo/a")
    return shell


# phase -> what boot, a report that `a` is gone, a request, the backoff timer of `b`, a stop, a lost launcher, and a
# reload to a tree without `b` do
TREE: dict[Phase, tuple[str, str, str, str, str, str, str]] = {
    "new": ("start", "", "error", "", "exit", "", "taken"),
    "up": ("", "start", "ok", "start", "stop", "lost", "taken"),
    "lost": ("", "restart", "error", "", "leaving", "", "later"),
    "leaving": ("", "exit", "error", "", "same", "", "refused"),
    "stopping": ("", "exit", "error", "same", "same", "", "refused"),
    "done": ("", "", "error", "", "", "", "refused"),
}


@pytest.mark.parametrize("kind", EVENT_KINDS)
@pytest.mark.parametrize("phase", TREE)
def test_phase(phase: Phase, kind: EventKind) -> None:
    """What each kind of event does to a tree in each phase of its life."""
    shell = _phase(phase)
    assert shell.state.phase == phase
    supervisor = shell.state.supervisors.get("demo")
    life = supervisor.children["a"].incarnation if supervisor is not None else 1
    timer = next(iter(shell.state.timers), "retry:demo/b#1")
    events: dict[str, Event] = {
        "boot": Boot(),
        "report": Exited("demo/a", life, "crash"),
        "request": Request(99, "which_children", "demo"),
        "timer": Timer(timer),
        "stop": StopTree(),
        "launcher lost": LauncherLost(),
        "reload": Reload(tree("one_for_one", worker("a"))),
    }
    after, actions = decide(shell.state, events[kind], 1.0)
    names = [type(action).__name__.lower() for action in actions]
    expected = TREE[phase][EVENT_KINDS.index(kind)]
    if expected == "":
        assert actions == () and after.supervisors == shell.state.supervisors and after.phase == phase
        assert timer not in after.timers or kind != "timer", "a timer that has come is not armed any more"
    elif expected == "same":
        assert actions == () and after.phase == phase
    elif expected in ("error", "ok"):
        assert [action.code for action in actions if isinstance(action, Reply)] == [expected] and len(actions) == 1
    elif expected in ("taken", "refused", "later"):
        assert [action.ok for action in actions if isinstance(action, Reloaded)] == [expected == "taken"][
            : expected != "later"
        ]
        assert (len(after.tree.root.children) == 1) is (expected != "refused")
    elif expected in ("lost", "leaving"):
        assert actions == () and after.phase == expected
    elif expected == "restart":
        assert after.phase == "up" and names.count("start") == 1 and any(isinstance(action, Note) for action in actions)
    else:
        assert expected in names
    assert (PHASES[phase][kind] == "ignored") == (expected == "")


# ---- totality ----------------------------------------------------------------------------------------------------------


def test_tables_are_total() -> None:
    """Every state has an answer for every event of its table, and every kind of event has a place in one."""
    assert set(REPORTS) == set(TRIED_AGAIN) == set(STATUSES) and set(CALLS) == {*STATUSES, "absent"}
    assert all(set(row) == set(REPORT_KINDS) for row in REPORTS.values())
    assert all(set(row) == set(CHILD_METHODS) for row in CALLS.values())
    assert set(PHASES) == set(get_args(Phase)) and all(set(row) == set(EVENT_KINDS) for row in PHASES.values())
    assert set(TIMERS) == set(get_args(Purpose))
    assert set(EVENT_KIND) == set(get_args(Event)) and set(EVENT_KIND.values()) == set(EVENT_KINDS)
    assert set(METHODS) == {*CHILD_METHODS, "which_children", "count_children"}
    assert {call for calls in REFUSED.values() for call in calls} <= set(CHILD_METHODS)
