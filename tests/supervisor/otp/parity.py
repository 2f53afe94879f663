"""Random trees and events, run through `simulate` and through real OTP, and compared.

`python -m tests.supervisor.otp.parity --count 2000 --seed 1` prints the first difference, made small.
Needs `escript` (Debian: erlang-base).
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from supervisor.simulate import Run, check_events, lines
from supervisor.treefile import parse_tree

Tree = dict[str, Any]
Events = list[dict[str, Any]]
Scenario = tuple[Tree, Events]
Trace = list[Any]

DRIVER = Path(__file__).with_name("otp_driver.escript")
ESCRIPT = shutil.which("escript")
RESTARTS = ["permanent", "permanent", "transient", "temporary"]
START = "m:f"


# ---- scenarios ---------------------------------------------------------------------------------------------------


def scenario(random: Random) -> Scenario:
    """A tree of depth up to 4 and up to 30 events on it."""
    tree = _supervisor(random, "demo", 1, {})
    return tree, _events(random, tree)


def _supervisor(random: Random, id: str, depth: int, own: dict[str, Any]) -> Tree:
    strategy = random.choice(["one_for_one", "one_for_all", "rest_for_one", "dynamic"] if depth > 1 else STATIC)
    auto = random.choice(["never", "never", "never", "any_significant", "all_significant"])
    tree: Tree = {"id": id, "strategy": strategy, "intensity": random.choice([0, 1, 1, 2, 3, 5])}
    tree |= {"period": random.choice([1, 2, 5]), "auto_shutdown": auto, **own}
    if strategy == "dynamic":
        return {**tree, "template": {"start": START, **_policy(random, auto)}}
    children = []
    for position in range(random.choice([0, 1, 2, 2, 3, 3, 4])):
        child_id = f"{'abcdefgh'[position]}{'' if depth == 1 else depth}"
        policy = _policy(random, auto)
        if depth < 4 and random.random() < 0.3:
            children.append(_supervisor(random, f"s{child_id}", depth + 1, policy))
        else:
            children.append({"id": child_id, "start": START, **policy})
    return {**tree, "children": children}


CALLS = ["start_child", "start_child", "terminate_child", "restart_child", "delete_child", "which_children"]
STATIC = ["one_for_one", "one_for_all", "rest_for_one"]


def _policy(random: Random, auto: str) -> dict[str, Any]:
    restart = random.choice(RESTARTS)
    significant = auto != "never" and restart != "permanent" and random.random() < 0.5
    return {"restart": restart, "significant": significant}


def _events(random: Random, tree: Tree) -> Events:
    leaves, supervisors = list(_leaves(tree, "")), list(_supervisors(tree, ""))
    events: Events = []
    added: list[str] = []
    at, made = 0, 0
    for _ in range(random.choice([*range(1, 15), 30])):
        at += random.choice([0, 0, 0, 1, 1, 2, 5])
        when = -1 if not events and random.random() < 0.1 else at
        at = max(at, when, 0)
        kind = random.choice(["exit"] * 8 + ["fail"] * 3 + ["hold"] * 2 + ["release"] * 2 + ["call"] * 6)
        path = random.choice(leaves + added) if leaves + added else ""
        if kind == "call" or not path:
            if when < 0:
                continue
            owner, spec = random.choice(supervisors)
            made += 1
            event = _call(random, owner, spec, made)
            if event["call"] == "start_child":
                added.append(f"{owner}/{event['id']}")
            events.append({"at": when, **event})
        elif kind == "exit" and when >= 0:
            siblings = [other for other in leaves + added if other.rpartition("/")[0] == path.rpartition("/")[0]]
            paths = [path, *random.sample(siblings, random.choice([0, 0, 0, 1, min(2, len(siblings))]) % 9)][:3]
            reason = random.choice(["crash", "crash", "crash", "normal", "shutdown"])
            events.append({"at": when, "exit": list(dict.fromkeys(paths)), "reason": reason})
        elif kind == "fail":
            events.append({"at": when, "fail_next_start": path, "times": random.choice([1, 1, 2, 3])})
        elif kind == "hold" and path in leaves:
            events.append({"at": when, random.choice(["hold_next_start", "hold_next_stop"]): path})
        elif kind == "release" and path in leaves and when >= 0:
            events.append({"at": when, "release": path})
    held = {event[kind] for event in events for kind in ("hold_next_start", "hold_next_stop") if kind in event}
    return events + [{"at": at, "release": path} for _ in range(3) for path in sorted(held)]


def _call(random: Random, owner: str, spec: Tree, made: int) -> dict[str, Any]:
    call = random.choice(CALLS)
    ids = [child["id"] for child in spec.get("children", [])] + [f"n{random.randint(1, made)}"]
    event = {"call": call, "supervisor": owner, "id": random.choice(ids)}
    if call != "start_child":
        return event
    if spec["strategy"] == "dynamic":
        return {**event, "id": f"n{made}", "spec": {}}
    id = random.choice([f"n{made}", f"n{made}", event["id"]])
    policy = {"restart": random.choice(RESTARTS), "significant": random.random() < 0.2}
    if random.random() < 0.2:
        below = [{"id": f"x{made}", "start": START, "restart": random.choice(RESTARTS)}]
        body: dict[str, Any] = {"strategy": random.choice(STATIC), "intensity": 1, "period": 5, "children": below}
    else:
        body = {"start": START}
    return {**event, "id": id, "spec": {**body, **policy}}


def _leaves(tree: Tree, parent: str) -> Iterator[str]:
    path = f"{parent}/{tree['id']}" if parent else tree["id"]
    for child in tree.get("children", []):
        yield from _leaves(child, path) if "strategy" in child else [f"{path}/{child['id']}"]


def _supervisors(tree: Tree, parent: str) -> Iterator[tuple[str, Tree]]:
    path = f"{parent}/{tree['id']}" if parent else tree["id"]
    yield path, tree
    for child in tree.get("children", []):
        if "strategy" in child:
            yield from _supervisors(child, path)


BLOCKED = "blocked"  # waits for a held child: OTP's supervisor cannot be asked


def compare(scenario: Scenario, theirs: Trace) -> str:
    """`equal`, `different`, or `undefined`: two supervisors were busy at once, so OTP's order is its scheduler's."""
    mine, concurrent = ours(scenario)
    blocked = [path for path, rows in theirs[-1]["which_children"].items() if rows == BLOCKED]
    for trace in (mine, theirs):
        trace[-1] = {path: rows for path, rows in trace[-1]["which_children"].items() if path not in blocked}
    if mine == theirs:
        return "equal"
    return "undefined" if concurrent else "different"


# ---- both sides --------------------------------------------------------------------------------------------------


def ours(scenario: Scenario) -> tuple[Trace, bool]:
    """The trace of `simulate`, normalised; and whether two supervisors were busy at the same time."""
    tree, events = scenario
    run = Run(parse_tree(json.dumps(tree), unique_names=False))
    return normal(tree, list(lines(run, check_events(events)))), run.concurrent


def otp(scenarios: list[Scenario], timeout: float = 600.0) -> list[Trace]:
    """The traces of real OTP, normalised; all scenarios in one Erlang node."""
    assert ESCRIPT is not None
    with tempfile.TemporaryDirectory() as directory:
        terms = Path(directory, "scenarios")
        terms.write_text("\n".join(_term(*each) for each in scenarios), encoding="utf-8")
        done = subprocess.run(
            [ESCRIPT, str(DRIVER), str(terms)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={"PATH": os.environ["PATH"], "HOME": directory, "LC_ALL": "C.UTF-8"},
        )
    if done.returncode or done.stderr:
        raise RuntimeError(f"escript failed ({done.returncode}): {done.stdout[-2000:]}{done.stderr[-2000:]}")
    traces: list[Trace] = []
    seen: list[dict[str, Any]] = []
    which: dict[str, Any] = {}
    blocked: list[str] = []
    for row in done.stdout.splitlines():
        field = row.split("\t")
        if field[0] == "end":
            trace = normal(scenarios[len(traces)][0], [*seen, {"which_children": which}])
            trace[-1]["which_children"].update(dict.fromkeys(blocked, BLOCKED))
            traces.append(trace)
            seen, which, blocked = [], {}, []
        elif field[0] == "which":
            rows = which.setdefault(field[1], [])
            if field[2] != "-":
                rows.append([field[2], field[3]])
            elif field[3] == BLOCKED:
                blocked.append(field[1])
        elif field[2] == "result":
            seen.append({"at": int(field[0]), "result": field[1]})
        else:
            seen.append({"at": int(field[0]), field[1]: field[2]})
    return traces


def normal(tree: Tree, raw: list[dict[str, Any]]) -> Trace:
    """Stops of one dynamic supervisor in a row have no order; neither have its children."""
    dynamic = {path for path, spec in _supervisors(tree, "") if spec["strategy"] == "dynamic"}
    trace: Trace = []
    for line in raw:
        if "which_children" in line:
            which = line["which_children"].items()
            trace.append({"which_children": {path: sorted(rows) if path in dynamic else rows for path, rows in which}})
            continue
        owner = line.get("stop", "").rpartition("/")[0]
        if owner in dynamic:
            if trace and trace[-1].get("stops") == owner and trace[-1]["at"] == line["at"]:
                trace[-1]["paths"] = sorted([*trace[-1]["paths"], line["stop"]])
            else:
                trace.append({"at": line["at"], "stops": owner, "paths": [line["stop"]]})
        else:
            trace.append(line)
    return trace


# ---- Erlang terms ------------------------------------------------------------------------------------------------


def _term(tree: Tree, events: Events) -> str:
    shapes = dict(_supervisors(tree, ""))
    return f"{{scenario, {_tree(tree)}, [{', '.join(_event(event, shapes) for event in events)}]}}."


def _text(text: str) -> str:
    return f'<<"{text}">>'


def _tree(tree: Tree) -> str:
    strategy = "simple_one_for_one" if tree["strategy"] == "dynamic" else tree["strategy"]
    children = [{"id": "t", **tree["template"]}] if "template" in tree else tree["children"]
    head = f"{_text(tree['id'])}, {strategy}, {tree.get('intensity', 1)}, {tree.get('period', 5)}"
    below = ", ".join(_child(child) for child in children)
    return f"{{sup, {head}, {tree.get('auto_shutdown', 'never')}, [{below}]}}"


def _child(child: Tree) -> str:
    body = _tree(child) if "strategy" in child else f"{{worker, {_text(child['id'])}}}"
    significant = "true" if child.get("significant") else "false"
    return f"{{{child.get('restart', 'permanent')}, {significant}, {body}}}"


def _event(event: dict[str, Any], shapes: dict[str, Tree]) -> str:
    at = event["at"]
    if "exit" in event:
        return f"{{{at}, exit, [{', '.join(map(_text, event['exit']))}], {event['reason']}}}"
    if "fail_next_start" in event:
        return f"{{{at}, fail_next_start, {_text(event['fail_next_start'])}, {event['times']}}}"
    for kind in ("hold_next_start", "hold_next_stop", "release"):
        if kind in event:
            return f"{{{at}, {kind}, {_text(event[kind])}}}"
    owner, id = event["supervisor"], event.get("id", "")
    child = "dynamic" if shapes[owner]["strategy"] == "dynamic" else "none"
    if child == "none" and event["call"] == "start_child":
        child = _child({"id": id, **event["spec"]})
    return f"{{{at}, call, {event['call']}, {_text(owner)}, {_text(id)}, {child}}}"


# ---- shrinking and the command line --------------------------------------------------------------------------------


def shrink(found: Scenario, rounds: int = 12) -> Scenario:
    """A smaller scenario that still differs; each round asks OTP about all single removals at once."""
    for _ in range(rounds):
        smaller = list(_smaller(found))
        if not smaller:
            break
        differing = [
            each for each, theirs in zip(smaller, otp(smaller), strict=True) if compare(each, theirs) == "different"
        ]
        if not differing:
            break
        found = min(differing, key=lambda each: len(json.dumps(each)))
    return found


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    tree, events = scenario
    for position in range(len(events)):
        yield tree, events[:position] + events[position + 1 :]
    paths = [path for path, _ in _supervisors(tree, "")]
    for owner in range(len(paths)):
        for child in range(len([*_supervisors(tree, "")][owner][1].get("children", []))):
            cut = copy.deepcopy(tree)
            del [*_supervisors(cut, "")][owner][1]["children"][child]
            left = {path for path, _ in _supervisors(cut, "")}
            yield cut, [event for event in events if event.get("supervisor", "demo") in left]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else Random().randrange(10**9)
    print(f"seed {seed}, {options.count} scenarios")
    random = Random(seed)
    scenarios = [scenario(random) for _ in range(options.count)]
    verdicts = [compare(each, theirs) for each, theirs in zip(scenarios, otp(scenarios), strict=True)]
    print(", ".join(f"{verdicts.count(word)} {word}" for word in ("equal", "undefined", "different")))
    differing = [each for each, verdict in zip(scenarios, verdicts, strict=True) if verdict == "different"]
    if not differing:
        return 0
    small = shrink(min(differing, key=lambda each: len(json.dumps(each))))
    print(json.dumps(small[0], indent=1))
    print("\n".join(json.dumps(event) for event in small[1]))
    for name, trace in (("simulate", ours(small)[0]), ("OTP", otp([small])[0])):
        print(f"--- {name}")
        print("\n".join(json.dumps(line) for line in trace))
    return 1


if __name__ == "__main__":
    sys.exit(main())
