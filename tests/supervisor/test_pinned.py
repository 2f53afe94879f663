"""The facts pinned from OTP 25, one named test each, as `simulate` prints them. `otp/` compares with OTP itself.

The same facts, seen in the policy itself, are in test_policy_otp.py.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from supervisor.errors import TreeError
from supervisor.simulate import simulate
from supervisor.treefile import parse_tree

Event = dict[str, Any]
Tree = dict[str, Any]


def worker(id: str, restart: str = "permanent", **keys: Any) -> Tree:
    return {"id": id, "start": "m:f", "restart": restart, **keys}


def sup(id: str, strategy: str, *children: str | Tree, **keys: Any) -> Tree:
    below = [worker(child) if isinstance(child, str) else child for child in children]
    return {"id": id, "strategy": strategy, "intensity": 5, "children": below, **keys}


def demo(strategy: str, *children: str | Tree, **keys: Any) -> Tree:
    return sup("demo", strategy, *children, **keys)


def dies(*ids: str, at: int = 1, reason: str = "crash") -> Event:
    return {"at": at, "exit": [f"demo/{id}" for id in ids], "reason": reason}


def fails(id: str, times: int = 1, at: int = 1) -> Event:
    return {"at": at, "fail_next_start": f"demo/{id}", "times": times}


def call(method: str, id: str = "", at: int = 1, supervisor: str = "demo", **keys: Any) -> Event:
    return {"at": at, "call": method, "supervisor": supervisor, "id": id, **keys}


def hold(what: str, id: str, at: int = 1) -> Event:
    return {"at": at, f"hold_next_{what}": f"demo/{id}"}


def release(id: str, at: int = 9) -> Event:
    return {"at": at, "release": f"demo/{id}"}


def after_start(tree: Tree, *events: Event) -> tuple[list[str], dict[str, Any]]:
    """What is printed from second 1 on, as words (`fail`: start_failed, `exit`: supervisor_exit); and what is left."""
    *lines, last = simulate(parse_tree(json.dumps(tree), unique_names=False), events)
    short = {"start_failed": "fail", "supervisor_exit": "exit"}
    words = [(line["at"], *((key, value) for key, value in line.items() if key != "at")) for line in lines]
    said = [f"{short.get(key, key)} {value.removeprefix('demo/')}" for at, (key, value) in words if at > 0]
    return said, {path: dict(rows) for path, rows in last["which_children"].items()}


def said(tree: Tree, *events: Event) -> list[str]:
    return after_start(tree, *events)[0]


# ---- the window ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("second", "gives_up"), [(5, True), (6, True), (7, False)])
def test_window_is_inclusive_and_in_whole_seconds(second: int, gives_up: bool) -> None:
    """Intensity 1, period 5: crashes at 1 and 6 give up, at 1 and 7 do not."""
    done = said(demo("one_for_one", "a", "b", intensity=1, period=5), dies("a"), dies("a", at=second))
    assert done == (["start a", "stop b", "exit demo"] if gives_up else ["start a", "start a"])


def test_defaults_are_those_of_otp() -> None:
    """Without intensity and period: one restart in five seconds, of a permanent child."""
    tree = {"id": "demo", "strategy": "one_for_one", "children": [{"id": "a", "start": "m:f"}]}
    assert said(tree, dies("a", reason="normal"), dies("a", at=6)) == ["start a", "exit demo"]
    assert said(tree, dies("a", reason="normal"), dies("a", at=7)) == ["start a", "start a"]


def test_each_failed_attempt_counts() -> None:
    """Intensity 3 allows three attempts, however they fail; the fourth is one too many."""
    assert said(demo("one_for_one", "a", "b", intensity=3), fails("a", 2), dies("a")) == ["fail a", "fail a", "start a"]
    assert said(demo("one_for_one", "a", "b", intensity=3), fails("a", 3), dies("a")) == [
        *["fail a"] * 3,
        *("stop b", "exit demo"),
    ]


def test_the_window_is_shared_by_all_children() -> None:
    """Restarts of different children count together."""
    assert said(demo("one_for_one", "a", "b", intensity=1), dies("a"), dies("b"))[-2:] == ["stop a", "exit demo"]


# ---- groups --------------------------------------------------------------------------------------------------------


def test_one_for_all_with_b_failing_twice() -> None:
    """After a failed start the whole group is begun again."""
    assert said(demo("one_for_all", "a", "b", "c"), fails("b", 2), dies("a")) == [
        *("stop c", "stop b", "start a", "fail b"),
        *("stop a", "start a", "fail b"),
        *("stop a", "start a", "start b", "start c"),
    ]


def test_rest_for_one_retries_from_the_child_that_failed() -> None:
    """What had started before it stays as it is."""
    assert said(demo("rest_for_one", "a", "b", "c"), fails("b", 2), dies("a")) == [
        *("stop c", "stop b", "start a", "fail b"),
        *("fail b", "start b", "start c"),
    ]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_group_restart_revives_the_terminated_and_the_ended(strategy: str) -> None:
    """Children terminated on request and transients that ended normally are started with their group."""
    tree = demo(strategy, "a", "b", worker("c", "transient"))
    events = call("terminate_child", "b"), dies("c", reason="normal"), dies("a", at=2)
    assert said(tree, *events) == ["stop b", "result ok", "start a", "start b", "start c"]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_group_restart_removes_temporaries(strategy: str) -> None:
    """A temporary child is stopped with its group and not started again; it is gone from the list."""
    done, left = after_start(demo(strategy, "a", worker("t", "temporary"), "c"), dies("a"))
    assert done == ["stop c", "stop t", "start a", "start c"]
    assert left == {"demo": {"a": "running", "c": "running"}}


def test_the_dead_of_one_instant_are_handled_once() -> None:
    """What died with the first is not stopped, and its own death is not a second restart."""
    done = said(demo("one_for_all", "a", "b", "c", intensity=1), dies("a", "b", "c"), dies("a", at=7))
    assert done == ["start a", "start b", "start c", "stop c", "stop b", "start a", "start b", "start c"]


def test_the_death_of_a_child_that_was_stopped_is_forgotten() -> None:
    """Its group was stopped for another; when that one does not start, the next try is for that one."""
    done = said(demo("rest_for_one", "a", "b", "c"), fails("a"), dies("a", "c"))
    assert done == ["stop b", "fail a", "start a", "start b", "start c"]


def test_a_child_that_dies_while_its_group_is_stopped() -> None:
    """It counts as stopped: no second restart, and the rest of the group goes on."""
    done = said(demo("one_for_all", "a", "b", "c", intensity=1), hold("stop", "c"), dies("a"), dies("c", at=2))
    assert done == ["stop c", "stop b", "start a", "start b", "start c"]


# ---- failures of starts --------------------------------------------------------------------------------------------


def test_a_boot_failure_stops_what_was_started() -> None:
    """In reverse, without another try, and no supervisor is left."""
    tree = demo("one_for_one", "a", sup("s", "one_for_all", "x", "y", "z"), "b")
    lines = list(simulate(parse_tree(json.dumps(tree)), [fails("s/z", at=-1)]))
    assert [next(f"{key} {value}" for key, value in line.items() if key != "at") for line in lines] == [
        *("start demo/a", "start demo/s/x", "start demo/s/y", "start_failed demo/s/z"),
        *("stop demo/s/y", "stop demo/s/x", "stop demo/a", "which_children {}"),
    ]


def test_a_nested_supervisor_that_fails_to_start_again() -> None:
    """What it had started is stopped, and its parent tries again; each try counts."""
    tree = demo("one_for_one", "a", sup("s", "one_for_one", "x", "y", intensity=0), intensity=2)
    assert said(tree, fails("s/y"), dies("s/x")) == [
        *("stop s/y", "exit s", "start s/x", "fail s/y", "stop s/x"),
        *("start s/x", "start s/y"),
    ]
    assert said(tree, fails("s/y", 2), dies("s/x"))[-3:] == ["stop s/x", "stop a", "exit demo"]


def test_a_start_that_fails_on_request_is_not_tried_again() -> None:
    """start_child forgets the child, restart_child leaves it terminated; nothing is counted."""
    events = fails("n"), call("start_child", "n"), call("terminate_child", "a"), fails("a"), call("restart_child", "a")
    done, left = after_start(demo("one_for_one", "a", intensity=0), *events)
    assert done == ["fail n", "result error", "stop a", "result ok", "fail a", "result error"]
    assert left == {"demo": {"a": "terminated"}}


# ---- escalation ----------------------------------------------------------------------------------------------------


def test_escalation_through_levels() -> None:
    """Each supervisor that gives up stops its children first, then ends; the one above counts that as a restart."""
    deep = sup("s", "one_for_one", "m", sup("t", "one_for_one", "x", "y", intensity=0), intensity=0)
    done, left = after_start(demo("one_for_one", "a", deep, intensity=0), dies("s/t/x"))
    assert done == ["stop s/t/y", "exit s/t", "stop s/m", "exit s", "stop a", "exit demo"]
    assert left == {}


@pytest.mark.parametrize(
    ("restart", "done", "left"),
    [
        ("permanent", ["start s/x", "start s/y"], {"a": "running", "s": "running"}),
        ("transient", [], {"a": "running", "s": "terminated"}),
        ("temporary", [], {"a": "running"}),
    ],
)
def test_escalation_is_swallowed_unless_permanent(restart: str, done: list[str], left: dict[str, str]) -> None:
    """A supervisor gives up with `shutdown`: a transient or temporary one stays down and nobody above is told."""
    tree = demo("one_for_one", "a", sup("s", "one_for_one", "x", "y", intensity=0, restart=restart))
    printed, there = after_start(tree, dies("s/x"))
    assert printed == ["stop s/y", "exit s", *done]
    assert there["demo"] == left
    assert bool(parse_tree(json.dumps(tree)).warnings) is (restart != "permanent"), "`check` warns"


def test_nested_supervisors_are_permanent_by_default() -> None:
    """A nested supervisor without `restart` is started again."""
    tree = demo("one_for_one", sup("s", "one_for_one", "x", intensity=0))
    assert said(tree, dies("s/x")) == ["exit s", "start s/x"]


@pytest.mark.parametrize("reason", ["normal", "shutdown"])
@pytest.mark.parametrize(("auto", "ends"), [("any_significant", True), ("all_significant", False)])
def test_auto_shutdown(auto: str, ends: bool, reason: str) -> None:
    """A significant child that ends for good ends its supervisor: the first of them, or only the last."""
    tree = demo("one_for_one", worker("a", "transient", significant=True), "b", auto_shutdown=auto)
    tree["children"].append(worker("c", "temporary", significant=True))
    done = said(tree, dies("a", reason=reason))
    assert done == (["stop c", "stop b", "exit demo"] if ends else [])
    assert said(tree, dies("a", reason=reason), dies("c", at=2)) == (done or ["stop b", "exit demo"])


@pytest.mark.parametrize(
    ("auto", "restart"), [("never", "transient"), ("any_significant", "permanent"), ("never", "permanent")]
)
def test_significant_is_refused_as_otp_does(auto: str, restart: str) -> None:
    """A significant child under `never`, or a permanent one, is refused: in the file, and answered with an error."""
    child = worker("a", restart, significant=True)
    with pytest.raises(TreeError, match="significant"):
        parse_tree(json.dumps(demo("one_for_one", child, auto_shutdown=auto)))
    with pytest.raises(TreeError, match="significant"):
        template = {key: value for key, value in child.items() if key != "id"}
        pool = {"id": "pool", "strategy": "dynamic", "auto_shutdown": auto, "template": template}
        parse_tree(json.dumps(demo("one_for_one", pool)))
    assert said(demo("one_for_one", "b", auto_shutdown=auto), call("start_child", "a", spec=child)) == ["result error"]


def test_only_significant_children_shut_down() -> None:
    """The end of a child that is not significant, and a significant one that is restarted, end nothing."""
    tree = demo("one_for_one", worker("a", "transient", significant=True), worker("b", "transient"))
    tree["auto_shutdown"] = "any_significant"
    assert said(tree, dies("b", reason="normal"), dies("a", at=2)) == ["start a"]


# ---- one thing at a time -----------------------------------------------------------------------------------------------


def test_a_stop_overtakes_a_restart_loop() -> None:
    """The parent's stop was made while a sibling started: it comes before the next try, and the loop ends."""
    tree = demo("one_for_one", "a", sup("s", "one_for_one", "x", "y", intensity=50))
    loop = (
        hold("start", "s/y"),
        dies("s/y"),
        fails("s/x", 40),
        dies("s/x"),
        call("terminate_child", "s"),
        release("s/y"),
    )
    done, left = after_start(tree, *loop)
    assert done == ["start s/y", "fail s/x", "stop s/y", "result ok"]
    assert left == {"demo": {"a": "running", "s": "terminated"}}


@pytest.mark.parametrize(
    ("method", "answer", "left"),
    [
        ("terminate_child", "ok", "terminated"),
        ("restart_child", "restarting", "running"),
        ("delete_child", "restarting", "running"),
        ("start_child", "already_present", "running"),
    ],
)
def test_calls_between_two_tries(method: str, answer: str, left: str) -> None:
    """A child between two tries is `restarting`: only terminate_child does something to it."""
    loop = hold("start", "b"), dies("b"), fails("a"), dies("a"), call(method, "a"), release("b")
    done, there = after_start(demo("one_for_one", "a", "b"), *loop)
    assert done[:3] == ["start b", "fail a", f"result {answer}"]
    assert there["demo"]["a"] == left


def test_a_call_waits_for_a_busy_supervisor() -> None:
    """Its answer comes when its supervisor does; another supervisor answers at once."""
    tree = demo("one_for_one", "a", sup("s", "one_for_one", "x"))
    events = (
        hold("start", "a"),
        dies("a"),
        call("which_children"),
        call("terminate_child", "x", supervisor="demo/s"),
        release("a"),
    )
    *lines, _ = simulate(parse_tree(json.dumps(tree)), events)
    assert [line["at"] for line in lines if "result" in line] == [1, 9]


def test_max_children() -> None:
    """One child more than `max_children` is refused; one that was forgotten makes room."""
    pool = {"id": "pool", "strategy": "dynamic", "max_children": 2, "template": {"start": "m:f"}}
    calls = [call("start_child", id, supervisor="demo/pool") for id in "xyz"]
    rest = call("terminate_child", "x", 2, "demo/pool"), call("start_child", "z", 3, "demo/pool")
    done, left = after_start(demo("one_for_one", pool), *calls, *rest)
    assert [line for line in done if line.startswith("result")] == [
        f"result {word}" for word in ("ok", "ok", "error", "ok", "ok")
    ]
    assert left["demo/pool"] == {"y": "running", "z": "running"}
