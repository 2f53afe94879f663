"""`simulate`: its format to the letter, and the cases pinned from OTP 25."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from supervisor.errors import EventsError
from supervisor.simulate import simulate
from supervisor.treefile import parse_tree

Event = dict[str, Any]


def tree_of(strategy: str = "one_for_one", children: list[Any] | None = None, **keys: Any) -> dict[str, Any]:
    """A tree as data; children given by id are permanent workers."""
    below = [
        {"id": child, "start": "m:f"} if isinstance(child, str) else child for child in children or ["a", "b", "c"]
    ]
    return {"id": "demo", "strategy": strategy, "intensity": 5, "period": 5, "children": below, **keys}


POOL = {"id": "pool", "strategy": "dynamic", "template": {"start": "m:f", "restart": "transient"}}


def lines(tree: dict[str, Any], *events: Event) -> list[dict[str, Any]]:
    return list(simulate(parse_tree(json.dumps(tree), unique_names=False), events))


def told(tree: dict[str, Any], *events: Event) -> list[str]:
    """The lines after the start as words, without the last one."""
    result = [f"{key} {value}" for line in lines(tree, *events)[:-1] for key, value in line.items() if key != "at"]
    return [line.removeprefix("start demo/").replace("demo/", "") for line in result]


def test_lines() -> None:
    """One object a line: at, and what happened; at the end the children of each live supervisor."""
    assert lines(tree_of(children=["a"]), {"at": 3, "exit": "demo/a", "reason": "crash"}) == [
        {"at": 0, "start": "demo/a"},
        {"at": 3, "start": "demo/a"},
        {"which_children": {"demo": [["a", "running"]]}},
    ]


def test_pinned_one_for_all() -> None:
    """one_for_all with b failing twice, as OTP 25 was observed."""
    events = {"at": 1, "fail_next_start": "demo/b", "times": 2}, {"at": 1, "exit": "demo/a", "reason": "crash"}
    assert told(tree_of("one_for_all"), *events)[3:] == [
        *("stop c", "stop b", "a", "start_failed b", "stop a", "a", "start_failed b", "stop a"),
        *("a", "b", "c"),
    ]


@pytest.mark.parametrize(("second", "ended"), [(6, True), (7, False)])
def test_pinned_window(second: int, ended: bool) -> None:
    """Intensity 1, period 5: crashes at 1 and 6 give up, at 1 and 7 do not."""
    events = [{"at": at, "exit": "demo/a", "reason": "crash"} for at in (1, second)]
    done = told(tree_of(intensity=1), *events)
    assert (done[-1] == "supervisor_exit demo") is ended


def test_pinned_boot_failure() -> None:
    """A boot failure stops what was started, in reverse, without another try; no supervisor is left."""
    done = lines(tree_of(), {"at": -1, "fail_next_start": "demo/c", "times": 1})
    assert done == [
        {"at": 0, "start": "demo/a"},
        {"at": 0, "start": "demo/b"},
        {"at": 0, "start_failed": "demo/c"},
        {"at": 0, "stop": "demo/b"},
        {"at": 0, "stop": "demo/a"},
        {"which_children": {}},
    ]


def test_pinned_transient_supervisor_swallows() -> None:
    """Under a transient supervisor an escalation is swallowed."""
    inner = {"id": "s", "strategy": "one_for_one", "intensity": 0, "restart": "transient", "children": []}
    inner["children"] = [{"id": "x", "start": "m:f"}]
    done = lines(tree_of(children=[inner, "b"]), {"at": 1, "exit": "demo/s/x", "reason": "crash"})
    assert done[2:] == [
        {"at": 1, "supervisor_exit": "demo/s"},
        {"which_children": {"demo": [["b", "running"], ["s", "terminated"]]}},
    ]


def test_dead_together() -> None:
    """A list of paths is dead before the first is handled: what is dead is not stopped."""
    events = {"at": 1, "exit": ["demo/a", "demo/c"], "reason": "crash"}
    assert told(tree_of("one_for_all"), events)[3:] == ["stop b", "a", "b", "c"]


def test_dead_together_on_two_levels() -> None:
    """A supervisor deals with its own loss before the shutdown that the same instant brings it from above, as in OTP."""
    inner = {"id": "s", "strategy": "one_for_one", "children": [{"id": "x", "start": "m:f"}]}
    event = {"at": 1, "exit": ["demo/a", "demo/s/x"], "reason": "crash"}
    done = told(tree_of("one_for_all", ["a", inner]), event)[2:]
    assert done == ["s/x", "stop s/x", "a", "s/x"]
    for both in (event["exit"], event["exit"][::-1]):  # s has ended when it is to be stopped, or ends just then
        done = told(tree_of("one_for_all", ["a", inner | {"intensity": 0}]), event | {"exit": both})[2:]
        assert done == ["supervisor_exit s", "a", "s/x"]


def test_supervisor_with_a_deadline() -> None:
    """`shutdown` of a nested supervisor in seconds is no trouble: what is held waits for its release, not for the clock."""
    inner = {"id": "s", "strategy": "one_for_one", "shutdown": 5, "children": [{"id": "x", "start": "m:f"}]}
    stop = {"at": 1, "call": "terminate_child", "supervisor": "demo", "id": "s"}
    assert told(tree_of(children=[inner]), stop) == ["s/x", "stop s/x", "result ok"]
    held = {"at": 1, "hold_next_stop": "demo/s/x"}, stop, {"at": 99, "release": "demo/s/x"}
    assert lines(tree_of(children=[inner]), *held)[-2] == {"at": 99, "result": "ok"}


def test_brutal_kill_is_not_held() -> None:
    """Nothing holds up a stop by SIGKILL."""
    child = {"id": "a", "start": "m:f", "shutdown": "brutal_kill"}
    hold = {"at": 1, "hold_next_stop": "demo/a"}
    stop = {"at": 1, "call": "terminate_child", "supervisor": "demo", "id": "a"}
    assert told(tree_of(children=[child]), hold, stop) == ["a", "stop a", "result ok"]


@pytest.mark.parametrize(
    ("spec", "result"),
    [
        ({}, "ok"),
        ({"args": {"n": 1}}, "ok"),
        ({"id": "x", "start": "m:f", "restart": "permanent"}, "ok"),
        ({"args": 3}, "error"),
        ({"args": [1]}, "error"),
        ({"id": 7}, "error"),
        ({"id": "a//b"}, "error"),
        ({"id": ""}, "error"),
    ],
)
def test_spec_for_a_dynamic_supervisor(spec: Event, result: str) -> None:
    """Of a spec a dynamic supervisor takes the id and the args, its template says the rest; what is no spec is an error."""
    call = {"at": 1, "call": "start_child", "supervisor": "demo/pool", "id": "x", "spec": spec}
    assert [line["result"] for line in lines(tree_of(children=[POOL]), call) if "result" in line] == [result]


def nested_deeply(levels: int) -> Event:
    spec: Event = {"id": "x"}
    for level in range(levels):
        spec = {"id": f"s{level}", "strategy": "one_for_one", "children": [spec]}
    return spec


@pytest.mark.parametrize(
    ("spec", "result"),
    [
        ({"strategy": "dynamic", "template": {"restart": "transient"}}, "ok"),
        ({"strategy": "one_for_all", "children": [{"id": "p"}, {"id": "q", "strategy": "one_for_one"}]}, "ok"),
        ({"strategy": "one_for_all", "children": [{"id": "p"}, {"id": "p"}]}, "error"),
        ({"children": 7}, "error"),
        ({"template": 7, "strategy": "dynamic"}, "error"),
        ({"restrat": "permanent"}, "error"),
        ({"id": None}, "error"),
        (nested_deeply(5000), "error"),
    ],
)
def test_spec_of_a_call(spec: Event, result: str) -> None:
    """A spec may be a whole supervisor; what is no possible one is answered with an error, however it is wrong."""
    call = {"at": 1, "call": "start_child", "supervisor": "demo", "id": "n", "spec": spec}
    assert [line["result"] for line in lines(tree_of(children=["a"]), call) if "result" in line] == [result]


def test_held_start() -> None:
    """A held start keeps its supervisor busy until it is released; what happens meanwhile waits."""
    events = (
        {"at": 1, "hold_next_start": "demo/a"},
        {"at": 1, "exit": "demo/a", "reason": "crash"},
        {"at": 2, "call": "terminate_child", "supervisor": "demo", "id": "b"},
        {"at": 9, "release": "demo/a"},
    )
    done = lines(tree_of(), *events)[3:-1]
    assert done == [{"at": 1, "start": "demo/a"}, {"at": 9, "stop": "demo/b"}, {"at": 9, "result": "ok"}]


def test_held_stop_and_death() -> None:
    """A held stop ends by a release, or by the child's own end."""
    hold = {"at": 1, "hold_next_stop": "demo/c"}, {"at": 1, "exit": "demo/a", "reason": "crash"}
    rest = ["stop b", "a", "b", "c"]
    assert told(tree_of("one_for_all"), *hold)[3:] == ["stop c"]
    assert told(tree_of("one_for_all"), *hold, {"at": 2, "release": "demo/c"})[3:] == ["stop c", *rest]
    died = {"at": 2, "exit": "demo/c", "reason": "crash"}
    assert told(tree_of("one_for_all"), *hold, died)[3:] == ["stop c", *rest]


def test_calls() -> None:
    """Calls answer with OTP's words, in the order in which they are dealt with."""
    calls: list[tuple[str, str, Event]] = [
        ("terminate_child", "x", {}),
        ("delete_child", "a", {}),
        ("restart_child", "a", {}),
        ("terminate_child", "a", {}),
        ("start_child", "a", {"start": "m:f"}),
        ("restart_child", "a", {}),
        ("start_child", "a", {"start": "m:f"}),
        ("start_child", "n", {"restart": "temporary"}),
        ("start_child", "m", {"restart": "permanently"}),
        ("start_child", "o", {"significant": True, "restart": "transient"}),
        ("start_child", "s", {"strategy": "one_for_one", "children": [{"id": "deep"}]}),
        ("which_children", "", {}),
    ]
    events = [{"at": 1, "call": call, "supervisor": "demo", "id": id, "spec": spec} for call, id, spec in calls]
    assert [line["result"] for line in lines(tree_of(children=["a"]), *events) if "result" in line] == [
        *("not_found", "running", "running", "ok", "already_present", "ok", "already_started"),
        *("ok", "error", "error", "ok", "ok"),
    ]


def test_dynamic() -> None:
    """Children of a dynamic supervisor are started by id and forgotten when they are terminated."""
    events = [
        {"at": 1, "call": "start_child", "supervisor": "demo/pool", "id": "x", "spec": {"args": {"n": 1}}},
        {"at": 2, "exit": "demo/pool/x", "reason": "crash"},
        {"at": 3, "call": "terminate_child", "supervisor": "demo/pool", "id": "x"},
        {"at": 4, "call": "terminate_child", "supervisor": "demo/pool", "id": "x"},
    ]
    done = told(tree_of(children=[POOL]), *events)
    assert done == ["pool/x", "result ok", "pool/x", "stop pool/x", "result ok", "result not_found"]


def test_reload() -> None:
    """A reload prints the stops and starts that it takes, in order; one that is refused prints an error."""
    new = tree_of(children=["x", {"id": "b", "start": "m:f", "args": {"v": 2}}, "c"])
    assert told(tree_of(), {"at": 1, "reload": new})[3:] == ["stop b", "stop a", "x", "b"]
    assert told(tree_of(), {"at": 1, "fail_next_start": "demo/x"}, {"at": 1, "reload": new})[3:] == [
        *("stop b", "stop a", "start_failed x", "b", "result error"),
    ]
    assert told(tree_of(), {"at": 1, "reload": {**new, "id": "other"}})[3:] == ["result error"]
    assert lines(tree_of(), {"at": -1, "reload": tree_of(children=["z"])})[0] == {"at": 0, "start": "demo/z"}


def test_events_for_nothing_are_ignored() -> None:
    """Exits, releases and calls for something that is not running change nothing and print nothing."""
    events = [
        {"at": 1, "exit": ["demo/nobody", "demo", "demo/a/b"], "reason": "crash"},
        {"at": 1, "release": "demo/a"},
        {"at": 1, "call": "which_children", "supervisor": "demo/nobody"},
    ]
    assert told(tree_of(children=["a"]), *events) == ["a"]


def test_backoff_takes_its_time() -> None:
    """A restart held back by backoff comes at its own second, between the events."""
    slow = {"id": "a", "start": "m:f", "backoff": {"initial": 3}}
    done = lines(tree_of(children=[slow]), {"at": 1, "exit": "demo/a"}, {"at": 9, "release": "demo/a"})
    assert done[1] == {"at": 4, "start": "demo/a"}


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([7], "expected an object, got 7"),
        ([{"at": 1}], "needs exactly one of exit,"),
        ([{"at": 1, "exit": "demo/a", "release": "demo/a"}], "call, reload; got {"),
        ([{"at": 1, "exti": "demo/a"}], "did you mean 'exit'?"),
        ([{"at": 1, "exit": "demo/a", "reasn": "crash"}], "did you mean 'reason'?"),
        ([{"at": 1, "exit": "demo/a", "reason": "crashed"}], "did you mean 'crash'?"),
        ([{"at": 1, "exit": [1]}], "a path or a list of paths"),
        ([{"at": 1.5, "exit": "demo/a"}], "whole seconds"),
        ([{"at": -2, "exit": "demo/a"}], "whole seconds"),
        ([{"at": float("nan"), "exit": "demo/a"}], "whole seconds"),
        ([{"at": float("inf"), "exit": "demo/a"}], "whole seconds"),
        ([{"at": True, "exit": "demo/a"}], "whole seconds"),
        ([{"at": 1, "exit": None}], "needs exactly one of exit,"),
        ([{"at": 2, "exit": "demo/a"}, {"at": 1, "exit": "demo/a"}], "event 1: at 1 is before"),
        ([{"at": 1, "call": "start_chld", "supervisor": "demo"}], "did you mean 'start_child'?"),
        ([{"at": 1, "call": "start_child"}], "needs the path of a supervisor"),
        ([{"at": 1, "call": "start_child", "supervisor": "demo", "spec": 1}], "spec an object"),
        ([{"at": 1, "fail_next_start": "demo/a", "times": "x"}], "times must be a whole number"),
        ([{"at": 1, "release": 3}], "release takes text"),
        ([{"at": 1, "reload": "tree.yaml"}], "reload takes a tree as in a tree file"),
        ([{"at": 1, "reload": {"id": "demo"}}], "event 0: reload:1:1: the root supervisor has no 'strategy'"),
    ],
)
def test_bad_events(events: list[Any], words: str) -> None:
    """An event that makes no sense is refused before anything is printed, with its number and the nearest word."""
    with pytest.raises(EventsError) as caught:
        lines(tree_of(), *events)
    assert words in str(caught.value)


def test_null_is_not_given() -> None:
    """A key that is null is as one that is not there, and 1.0 is a whole second: other languages write them so."""
    event = {"at": 1.0, "exit": "demo/a", "reason": None, "times": None, "call": None, "spec": None}
    assert lines(tree_of(children=["a"]), event)[1] == {"at": 1, "start": "demo/a"}


# ---- the command line ------------------------------------------------------------------------------------------------


def command(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run `python -m supervisor` as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "supervisor", *arguments], input=given, capture_output=True, text=True, check=False
    )


def test_command_simulate(tmp_path: Path) -> None:
    """`simulate` prints compact JSON lines; `-` reads the events from standard input."""
    (tmp_path / "tree.yaml").write_text(json.dumps(tree_of(children=["a"])), encoding="utf-8")
    (tmp_path / "events.json").write_text("[]", encoding="utf-8")
    done = command("simulate", str(tmp_path / "tree.yaml"), str(tmp_path / "events.json"))
    assert done.stdout == '{"at":0,"start":"demo/a"}\n{"which_children":{"demo":[["a","running"]]}}\n'
    events = '[{"at":1,"exit":"demo/a","reason":"normal"}]'
    assert command("simulate", str(tmp_path / "tree.yaml"), "-", given=events).stdout.count("start") == 2


@pytest.mark.parametrize("given", ["{}", "[", "[{}]", "\udc80"])
def test_command_simulate_bad_events(tmp_path: Path, given: str) -> None:
    """Events that cannot be used are refused with one line and exit code 2."""
    (tmp_path / "tree.yaml").write_text(json.dumps(tree_of()), encoding="utf-8")
    (tmp_path / "events.json").write_text(given, encoding="utf-8", errors="surrogateescape")
    done = command("simulate", str(tmp_path / "tree.yaml"), str(tmp_path / "events.json"))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_command_check(tmp_path: Path) -> None:
    """`check` says file, line, column and message of every fault and exits 1; 0 when there is none."""
    tree = tmp_path / "tree.yaml"
    tree.write_text("id: demo\nstrategy: one_for_on\nchildren: [{id: a, start: 'm:f', x: '${v}'}]\n", encoding="utf-8")
    done = command("check", str(tree))
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith(f"{tree}:2:11: strategy: 'one_for_on' is not one of ")
    assert done.stderr.splitlines()[1].startswith(f"{tree}:3:34: unknown key 'x'")
    tree.write_text("id: demo\nstrategy: one_for_one\nchildren: [{id: a, start: 'm:f', args: {x: '${v}'}}]\n")
    assert command("check", str(tree), "--set", "v=1").returncode == 0
    assert command("check", str(tree)).returncode == 1


def test_command_usage(tmp_path: Path) -> None:
    """A bad tree for `simulate`, a missing file and a bad command line exit 2; help exits 0 and lists exit codes."""
    assert command("simulate", str(tmp_path / "no.yaml"), "-").returncode == 2
    assert command("chekc", "x").returncode == 2
    assert command("check", "x", "--set", "novalue").returncode == 2
    done = command("--help")
    assert done.returncode == 0 and "the root supervisor gave up" in done.stdout


PROGRAM = """
import select

def serve(context):
    context.ready()
    while not ({"stop": True} in context.receive() if select.select([context], [], [], 30)[0] else False):
        pass

def fail(context):
    raise SystemExit(3)

def tell(context):
    with open("up", "w"):
        pass
    serve(context)
"""


def run_command(directory: Path, start: str, closed: str = "") -> subprocess.Popen[str]:
    """`run` on a tree of one child whose code is in `directory`; `closed` is what a shell writes to close streams."""
    (directory / "program.py").write_text(PROGRAM, encoding="utf-8")
    (directory / "tree.yaml").write_text(json.dumps(tree_of(children=[{"id": "a", "start": f"program:{start}"}])))
    return subprocess.Popen(
        ["/bin/sh", "-c", f'exec "$0" -m supervisor run tree.yaml --status status.json {closed}', sys.executable],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_command_run(tmp_path: Path) -> None:
    """`run` says READY when the tree is, keeps the status file, and ends with 0 when it is told to stop."""
    with run_command(tmp_path, "serve") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("READY demo: 1 processes, confinement ")
        assert json.loads((tmp_path / "status.json").read_text())["tree"]["children"][0]["state"] == "running"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_command_run_fails_to_start(tmp_path: Path) -> None:
    """`run` ends with 3 when a child does not start, and says which and why."""
    with run_command(tmp_path, "fail") as process:
        _, said = process.communicate(timeout=30)
    assert process.returncode == 3
    assert "child 'a' did not start" in said


def test_command_run_bad_tree(tmp_path: Path) -> None:
    """`run` starts nothing from a bad tree and ends with 2."""
    with run_command(tmp_path, "not-a-name") as process:
        _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "write package.module:function" in said


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_command_run_without_standard_streams(tmp_path: Path, closed: str) -> None:
    """Where the caller closed 0, 1 or 2 the root has /dev/null, not a file of its own, and ends with 0 as ever."""
    os.mkfifo(tmp_path / "up")
    with run_command(tmp_path, "tell", closed) as process:
        (tmp_path / "up").read_text()  # waits for the child
        streams = [os.readlink(f"/proc/{process.pid}/fd/{'<>2'.index(sign[0])}") for sign in closed.split()]
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert streams == ["/dev/null"] * len(streams)
    assert process.returncode == 0, said
    assert "Traceback" not in said
