"""Random scenarios: trees of depth up to 4 with every strategy and restart type, and up to 40 events on them."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.supervisor.otp.parity import BAD, Events, Scenario, Tree, is_supervisor, leaves, supervisors

STATIC = ["one_for_one", "one_for_all", "rest_for_one"]
RESTARTS = ["permanent", "permanent", "transient", "temporary"]
CALLS = ["start_child", "start_child", "terminate_child", "restart_child", "delete_child", "which_children"]
START = "m:f"
DEEPEST = 4


def scenario(random: Random) -> Scenario:
    """One tree and its events."""
    tree = _Trees(random).supervisor("demo", 1, {})
    return Scenario(tree, _Events(random, tree).make())


class _Trees:
    """Draws trees. Every key that has a default is sometimes left out."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def maybe(self, key: str, *values: Any) -> Tree:
        """The key with one of the values, or nothing: the default has to mean what OTP means by it."""
        return {key: self.random.choice(values)} if self.random.random() < 0.85 else {}

    def supervisor(self, id: str, depth: int, own: Tree) -> Tree:
        random = self.random
        strategy = random.choice([*STATIC, "dynamic"] if depth > 1 else [*STATIC * 4, "dynamic"])
        auto = self.maybe("auto_shutdown", "never", "never", "never", "any_significant", "all_significant")
        limits = self.maybe("intensity", 0, 1, 1, 2, 3, 5, 30) | self.maybe("period", 1, 2, 5, 5, 20)
        tree: Tree = {"id": id, "strategy": strategy, **limits, **auto, **own}
        if strategy == "dynamic":
            return {**tree, "template": {"start": START, **self.policy(tree)}}
        ids = "abcdefgh"[: random.choice([0, 1, 2, 2, 3, 3, 4])]
        return {**tree, "children": [self.child(f"{name}{depth}", depth, tree) for name in ids]}

    def child(self, id: str, depth: int, parent: Tree) -> Tree:
        if depth < DEEPEST and self.random.random() < 0.3:
            return self.supervisor(f"s{id}", depth + 1, self.policy(parent, worker=False))
        return {"id": id, "start": START, **self.policy(parent)}

    def policy(self, parent: Tree, worker: bool = True) -> Tree:
        """How a child is treated. A supervisor is not killed brutally: what is below it would die in no order."""
        random, keys = self.random, self.maybe("restart", *RESTARTS)
        if parent.get("auto_shutdown", "never") != "never" and keys.get("restart", "permanent") != "permanent":
            keys |= self.maybe("significant", True, False)
        if random.random() < 0.2:
            keys["shutdown"] = random.choice([0, 5, "infinity", "brutal_kill" if worker else "infinity"])
        return keys


class _Events:
    """Draws events for one tree; knows the paths that there are and those that calls may have added."""

    def __init__(self, random: Random, tree: Tree) -> None:
        self.random, self.tree = random, tree
        self.leaves = list(leaves(tree))
        self.owners = dict(supervisors(tree))
        self.made = 0
        self.at = 0
        self.events: Events = []
        self.steps = [0] * 6 + [1, 1, 2, 5] + [each.get("period", 5) + late for late in (0, 1) for each in [tree]]

    def make(self) -> Events:
        random = self.random
        for _ in range(random.choice([0, 0, 0, 1, 2])):
            self.before()
        kinds = [self.exit] * 8 + [self.fail] * 3 + [self.hold] * 2 + [self.release] * 2 + [self.call] * 6
        kinds += [self.burst] * 2 + [self.between_tries, self.nonsense]
        for _ in range(random.choice([*range(1, 15), 30])):
            self.at += random.choice(self.steps)
            random.choice(kinds)()
        if random.random() < 0.9:
            held = {
                event[kind] for event in self.events for kind in ("hold_next_start", "hold_next_stop") if kind in event
            }
            for _ in range(3):
                for path in sorted(held):
                    self.add(release=path)
        return self.events

    def add(self, at: int | None = None, **event: Any) -> None:
        self.events.append({"at": self.at if at is None else at, **event})

    def path(self) -> str:
        return self.random.choice(self.leaves) if self.leaves else "demo/nobody"

    def reason(self) -> str:
        return self.random.choice(["crash", "crash", "crash", "normal", "shutdown"])

    # ---- kinds -------------------------------------------------------------------------------------------------

    def before(self) -> None:
        kind = self.random.choice(["fail_next_start", "hold_next_start", "hold_next_stop"])
        self.add(-1, **{kind: self.path()})

    def exit(self) -> None:
        random, path = self.random, self.path()
        siblings = [other for other in self.leaves if other.rpartition("/")[0] == path.rpartition("/")[0]]
        near = random.sample(siblings, random.choice([0, 0, 0, 1, min(2, len(siblings))]) % (len(siblings) + 1))
        far = [self.path()] if random.random() < 0.08 else []
        paths = [path, *near, *far]
        self.add(exit=path if len(paths) == 1 and random.random() < 0.5 else paths, reason=self.reason())

    def burst(self) -> None:
        """As many crashes of one child as its supervisor may just bear, or one more, up to the edge of its window."""
        path = self.path()
        owner = self.owners.get(path.rpartition("/")[0], self.tree)
        self.add(exit=path, reason="crash")
        for _ in range(min(owner.get("intensity", 1), 3) - self.random.choice([0, 1])):
            self.add(exit=path, reason="crash")
        self.at += owner.get("period", 5) + self.random.choice([0, 1])
        self.add(exit=path, reason="crash")

    def between_tries(self) -> None:
        """A call reaches a supervisor between two tries to start a child: it was made while a sibling started."""
        path = self.path()
        owner, _, id = path.rpartition("/")
        if path not in self.leaves:
            return
        busy = self.random.choice([other for other in self.leaves if other.rpartition("/")[0] == owner])
        self.add(hold_next_start=busy)
        self.add(exit=busy, reason="crash")
        self.add(fail_next_start=path, times=self.random.choice([1, 2]))
        self.add(exit=path, reason="crash")
        for _ in range(self.random.choice([1, 1, 2])):
            self.add(call=self.random.choice(CALLS[2:]), supervisor=owner, id=id)
        self.add(release=busy)

    def fail(self) -> None:
        times = {"times": self.random.choice([1, 1, 2, 3, 7])} if self.random.random() < 0.8 else {}
        self.add(fail_next_start=self.path(), **times)

    def hold(self) -> None:
        self.add(**{self.random.choice(["hold_next_start", "hold_next_stop"]): self.path()})

    def release(self) -> None:
        self.add(release=self.path())

    def nonsense(self) -> None:
        """Events for what is not there, which change nothing."""
        id = self.random.choice(["nobody", "demo", "a1/b"])
        kind = self.random.choice(["exit", "release", "call"])
        if kind == "exit":
            self.add(exit=[f"demo/{id}", "nobody"], reason=self.reason())
        elif kind == "release":
            self.add(release=f"demo/{id}")
        else:
            self.add(call=self.random.choice(CALLS), supervisor=f"demo/{id}", id="a")

    # ---- calls -------------------------------------------------------------------------------------------------

    def call(self) -> None:
        random = self.random
        owner, spec = random.choice(list(self.owners.items()))
        call = random.choice(CALLS)
        self.made += 1
        known = [path.rpartition("/")[2] for path in [*self.leaves, *self.owners] if path.rpartition("/")[0] == owner]
        id = random.choice([*known, f"n{self.made}"])
        if call != "start_child":
            self.add(call=call, supervisor=owner, id=id)
        elif spec["strategy"] == "dynamic":
            self.leaves.append(f"{owner}/{id}")
            self.add(
                call=call, supervisor=owner, id=id, **random.choice([{}, {"spec": {}}, {"spec": {"args": {"n": 1}}}])
            )
        else:
            self.start_child(owner, spec, random.choice([f"n{self.made}", f"n{self.made}", id]))

    def start_child(self, owner: str, parent: Tree, id: str) -> None:
        random, trees = self.random, _Trees(self.random)
        if random.random() < 0.25:
            wanted = trees.supervisor(id, DEEPEST - random.choice([0, 1]), trees.policy(parent, worker=False))
            there = self.owners.get(f"{owner}/{id}", wanted)
            if "dynamic" in (wanted["strategy"], there["strategy"]):  # a path is one of them, not now this, now that
                wanted["id"] = id = f"n{self.made}"
            self.leaves += leaves(wanted, owner)
            self.owners |= dict(supervisors(wanted, owner))
        else:
            wanted = {"id": id, **random.choice([{}, {"start": START}]), **trees.policy(parent)}
            self.leaves.append(f"{owner}/{id}")
        if random.random() < 0.1:
            wanted["significant"] = True  # refused, or not, by what it is and who is asked
        if random.random() < 0.08:
            key, value = random.choice(BAD)
            if key not in ("intensity", "strategy") or is_supervisor(wanted):
                wanted[key] = value
        if random.random() < 0.5:
            del wanted["id"]
        self.add(call="start_child", supervisor=owner, id=id, spec=wanted)
