"""Both sides of the comparison: `simulate`, and the real `supervisor` of Erlang/OTP; and what equal means.

A scenario is a tree and a list of events, as plain data that `python -m supervisor simulate` takes. How scenarios are
made is the business of `scenarios` and `families`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from supervisor.policy.view import counts
from supervisor.simulate import Run, check_events, lines
from supervisor.treefile import parse_tree

Tree = dict[str, Any]
Events = list[dict[str, Any]]
Trace = list[Any]


class Scenario(NamedTuple):
    """A tree file and an event list, as data."""

    tree: Tree
    events: Events


# equal: line by line. reordered: two supervisors had something to do at the same time, and each did the same as in OTP;
# only the order between them, which is the Erlang scheduler's, is not ours. race: so too, but that order decided what
# came out. beside: a dynamic supervisor went on beside a held child, or ended, where OTP's waits (docs/supervisor.md).
Verdict = Literal["equal", "reordered", "race", "beside", "different"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

DRIVER = Path(__file__).with_name("otp_driver.escript")
ESCRIPT = shutil.which("escript")
BLOCKED = "blocked"  # waits for a held child: OTP's supervisor cannot be asked
BAD = [("restart", "sometimes"), ("strategy", "one_for_most"), ("intensity", -1), ("shutdown", "later"), ("kind", "x")]
_LIMIT = 500  # scenarios of one escript: its table of atoms and its memory stay small, and one failure says where


def verdicts(scenarios: list[Scenario]) -> list[Verdict]:
    """One for each scenario."""
    return [compare(each, theirs) for each, theirs in zip(scenarios, otp(scenarios), strict=True)]


def compare(scenario: Scenario, theirs: Trace) -> Verdict:
    mine, run = ours(scenario)
    blocked = [path for path, rows in theirs[-1]["which_children"].items() if rows == BLOCKED]
    for trace in (mine, theirs):
        trace[-1] = {
            call: {path: rows for path, rows in each.items() if path not in blocked} for call, each in trace[-1].items()
        }
    if mine == theirs:
        return "equal"
    if run.beside:
        return "beside"
    if not run.concurrent:
        return "different"
    return "reordered" if _alone(mine) == _alone(theirs) else "race"


def _alone(trace: Trace) -> dict[str, Trace]:
    """The lines of each supervisor by itself (results name none, so they are together)."""
    parts: dict[str, Trace] = {"last": [trace[-1]]}
    for line in trace[:-1]:
        path = next((line[key] for key in ("start", "stop", "start_failed") if key in line), "").rpartition("/")[0]
        parts.setdefault(line.get("supervisor_exit") or line.get("stops") or path or "results", []).append(line)
    return parts


# ---- both sides --------------------------------------------------------------------------------------------------


def ours(scenario: Scenario) -> tuple[Trace, Run]:
    """The trace of `simulate`, normalised."""
    run = Run(parse_tree(json.dumps(scenario.tree), unique_names=False))
    trace = normal(scenario, list(lines(run, check_events(scenario.events))))
    live = (supervisor for supervisor in run.state.supervisors.values() if supervisor.started)
    trace[-1]["count_children"] = {supervisor.path: list(counts(supervisor).values()) for supervisor in live}
    return trace, run


def otp(scenarios: list[Scenario]) -> list[Trace]:
    """The traces of real OTP, normalised."""
    traces: list[Trace] = []
    for first in range(0, len(scenarios), _LIMIT):
        part = scenarios[first : first + _LIMIT]
        traces += map(normal, part, _read(_escript(part)))
    return traces


def _escript(scenarios: list[Scenario]) -> str:
    assert ESCRIPT is not None
    with tempfile.TemporaryDirectory() as directory:
        terms = Path(directory, "scenarios")
        terms.write_text("\n".join(map(_term, scenarios)), encoding="utf-8")
        done = subprocess.run(
            [ESCRIPT, str(DRIVER), str(terms)],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            env={"PATH": os.environ["PATH"], "HOME": directory, "LC_ALL": "C.UTF-8"},
        )
    if done.returncode or done.stderr:
        raise RuntimeError(f"escript failed ({done.returncode}): {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def _read(output: str) -> Iterator[Trace]:
    """The lines of the driver as those of `simulate`."""
    seen: Trace = []
    which: dict[str, Any] = {}
    count: dict[str, list[int]] = {}
    for row in output.splitlines():
        field = row.split("\t")
        if field[0] == "end":
            yield [*seen, {"which_children": which, "count_children": count}]
            seen, which, count = [], {}, {}
        elif field[0] == "count":
            count[field[1]] = [int(number) for number in field[2:]]
        elif field[0] == "which":
            if field[2] != "-":
                which[field[1]].append([field[2], field[3]])
            else:
                which[field[1]] = BLOCKED if field[3] == BLOCKED else []
        elif field[2] == "result":
            seen.append({"at": int(field[0]), "result": field[1]})
        else:
            seen.append({"at": int(field[0]), field[1]: field[2]})


def normal(scenario: Scenario, raw: Trace) -> Trace:
    """Stops of one dynamic supervisor in a row have no order; neither have its children."""
    dynamic = {path for path, spec in all_supervisors(scenario) if spec["strategy"] == "dynamic"}
    trace: Trace = []
    for line in raw:
        if "which_children" in line:
            which = line["which_children"].items()
            rows = {path: sorted(rows) if path in dynamic and rows != BLOCKED else rows for path, rows in which}
            trace.append({**line, "which_children": rows})
            continue
        owner = line.get("stop", "").rpartition("/")[0]
        if owner not in dynamic:
            trace.append(line)
        elif trace and trace[-1].get("stops") == owner and trace[-1]["at"] == line["at"]:
            trace[-1]["paths"] = sorted([*trace[-1]["paths"], line["stop"]])
        else:
            trace.append({"at": line["at"], "stops": owner, "paths": [line["stop"]]})
    return trace


# ---- what is in a tree ---------------------------------------------------------------------------------------------


def is_supervisor(spec: Mapping[str, Any]) -> bool:
    return "strategy" in spec


def leaves(tree: Tree, parent: str = "") -> Iterator[str]:
    """Paths of the static workers, in start order."""
    path = f"{parent}/{tree['id']}" if parent else tree["id"]
    for child in tree.get("children", []):
        yield from leaves(child, path) if is_supervisor(child) else [f"{path}/{child['id']}"]


def supervisors(tree: Tree, parent: str = "") -> Iterator[tuple[str, Tree]]:
    """Paths and specs of the supervisors, parents first."""
    path = f"{parent}/{tree['id']}" if parent else tree["id"]
    yield path, tree
    for child in tree.get("children", []):
        if is_supervisor(child):
            yield from supervisors(child, path)


def all_supervisors(scenario: Scenario) -> Iterator[tuple[str, Tree]]:
    """Those of the tree, and those that calls may add."""
    yield from supervisors(scenario.tree)
    for event in scenario.events:
        spec = event.get("spec", {})
        if event.get("call") == "start_child" and is_supervisor(spec):
            yield from supervisors({"id": event["id"], **spec}, event["supervisor"])


# ---- Erlang terms ------------------------------------------------------------------------------------------------


def _term(scenario: Scenario) -> str:
    dynamic = {path for path, spec in all_supervisors(scenario) if spec["strategy"] == "dynamic"}
    events = ", ".join(_event(event, dynamic) for event in scenario.events)
    return f"{{scenario, {_tree(scenario.tree)}, [{events}]}}."


def _text(text: str) -> str:
    return f'<<"{text}">>'


def _tree(tree: Tree) -> str:
    strategy = "simple_one_for_one" if tree["strategy"] == "dynamic" else tree["strategy"]
    children = [{"id": "t", **tree["template"]}] if "template" in tree else tree.get("children", [])
    head = f"{_text(tree['id'])}, {strategy}, {tree.get('intensity', 1)}, {tree.get('period', 5)}"
    below = ", ".join(_child(child) for child in children)
    return f"{{sup, {head}, {tree.get('auto_shutdown', 'never')}, [{below}]}}"


def _child(child: Tree) -> str:
    body = _tree(child) if is_supervisor(child) else f"{{worker, {_text(child['id'])}}}"
    significant = "true" if child.get("significant") else "false"
    # seconds would be real ones, and here a held stop waits for its release
    shutdown = "brutal_kill" if child.get("shutdown") == "brutal_kill" else "infinity"
    return f"{{{child.get('restart', 'permanent')}, {significant}, {shutdown}, {body}}}"


def _event(event: Mapping[str, Any], dynamic: set[str]) -> str:
    at = event["at"]
    if "exit" in event:
        paths = [event["exit"]] if isinstance(event["exit"], str) else event["exit"]
        return f"{{{at}, exit, [{', '.join(map(_text, paths))}], {event.get('reason', 'crash')}}}"
    if "fail_next_start" in event:
        return f"{{{at}, fail_next_start, {_text(event['fail_next_start'])}, {event.get('times', 1)}}}"
    for kind in ("hold_next_start", "hold_next_stop", "release"):
        if kind in event:
            return f"{{{at}, {kind}, {_text(event[kind])}}}"
    owner, id = event["supervisor"], event.get("id", "")
    return f"{{{at}, call, {event['call']}, {_text(owner)}, {_text(id)}, {_called(event, owner in dynamic)}}}"


def _called(event: Mapping[str, Any], dynamic: bool) -> str:
    if dynamic:
        return "dynamic"
    if event["call"] != "start_child":
        return "none"
    spec = {"id": event.get("id", ""), **event.get("spec", {})}
    # OTP's words for values differ from ours, so a spec that is none here is given to it as one that is none there
    return "bad" if any(spec.get(key) == value for key, value in BAD) else _child(spec)
