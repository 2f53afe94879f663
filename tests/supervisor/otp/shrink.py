"""Makes a scenario on which two sides differ as small as it gets: fewer events, fewer children, plainer values."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.supervisor.otp.parity import Scenario, Tree, is_supervisor, supervisors

Differing = Callable[[list[Scenario]], list[bool]]

_PLAIN = {"restart", "significant", "shutdown", "auto_shutdown", "intensity", "period", "times", "args"}


def shrink(found: Scenario, differing: Differing, rounds: int = 60) -> Scenario:
    """A smaller scenario that still differs; each round asks about all single simplifications at once."""
    for _ in range(rounds):
        smaller = sorted((each for each in simpler(found) if size(each) < size(found)), key=size)
        still = [each for each, differs in zip(smaller, differing(smaller), strict=True) if differs]
        if not still:
            break
        found = still[0]
    return found


def size(scenario: Scenario) -> tuple[int, int]:
    """What is called small: first the number of events and children, then the length of the text."""
    below = sum(len(tree.get("children", ())) for _, tree in supervisors(scenario.tree))
    return 3 * len(scenario.events) + below, len(json.dumps(scenario)) + sum(event["at"] for event in scenario.events)


def simpler(scenario: Scenario) -> Iterator[Scenario]:
    """Every scenario that is one step simpler. Values are only dropped where a tree without them is still a good one."""
    yield from (Scenario(scenario.tree, events) for events in _fewer(scenario.events))
    for position, event in enumerate(scenario.events):
        for plainer in _plainer_event(event):
            yield Scenario(scenario.tree, _at(scenario.events, position, plainer))
    yield from (Scenario(tree, scenario.events) for tree in _trees(scenario.tree))


def _fewer(events: list[Any]) -> Iterator[list[Any]]:
    """Without a half, a quarter, … and without each single one."""
    width = len(events) // 2
    while width:
        for first in range(0, len(events), width):
            yield events[:first] + events[first + width :]
        width //= 2


def _at(items: list[Any], position: int, item: Any) -> list[Any]:
    return [*items[:position], item, *items[position + 1 :]]


def _plainer_event(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if isinstance(event.get("exit"), list):
        for path in event["exit"]:
            yield (
                {**event, "exit": [other for other in event["exit"] if other != path]}
                if len(event["exit"]) > 1
                else event
            )
    if event.get("times", 1) > 1:
        yield {**event, "times": event["times"] - 1}
    if isinstance(event.get("spec"), dict):
        yield {**event, "spec": {}}
        for key in event["spec"]:
            plainer = {name: value for name, value in event["spec"].items() if name != key}
            if key not in ("strategy", "template") and _good(plainer):
                yield {**event, "spec": plainer}


def _trees(tree: Tree) -> Iterator[Tree]:
    """Without a child, with a worker in the place of a supervisor, without a key, with a static root of the same."""
    for key in _PLAIN & set(tree):
        plainer = {name: value for name, value in tree.items() if name != key}
        if _good(plainer):
            yield plainer
    children = tree.get("children", [])
    for position, child in enumerate(children):
        yield {**tree, "children": children[:position] + children[position + 1 :]}
        if is_supervisor(child):
            yield {**tree, "children": _at(children, position, {"id": child["id"], "start": "m:f"})}
            for smaller in _trees(child):
                yield {**tree, "children": _at(children, position, smaller)}
        else:
            for key in _PLAIN & set(child):
                plainer = {name: value for name, value in child.items() if name != key}
                if not plainer.get("significant") or plainer.get("restart", "permanent") != "permanent":
                    yield {**tree, "children": _at(children, position, plainer)}


def _good(tree: Tree) -> bool:
    """No child is significant where that is refused."""
    below = [*tree.get("children", []), *([tree["template"]] if "template" in tree else [])]
    if tree.get("significant") and tree.get("restart", "permanent") == "permanent":
        return False
    if not all(map(_good, below)):
        return False
    return tree.get("auto_shutdown", "never") != "never" or not any(child.get("significant") for child in below)


def files(scenario: Scenario) -> str:
    """The two files that `python -m supervisor simulate tree.yaml events.json` takes."""
    tree, events = copy.deepcopy(scenario)
    rows = ",\n ".join(json.dumps(event) for event in events)
    return f"--- tree.yaml\n{json.dumps(tree, indent=1)}\n--- events.json\n[{rows}]"
