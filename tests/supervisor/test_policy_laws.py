"""Laws of the policy under random trees, events and orders of reports: nothing is lost, doubled or forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor import policy
from supervisor.policy import Exited, LauncherLost, Ready, Request, Start, StartFailed, Stop, Stopped, StopTree, Timer
from supervisor.policy_rules import RESTARTED, add_restart
from supervisor.policy_state import LIVE, STATUSES
from supervisor.policy_table import REPORT_KINDS, REPORTS
from supervisor.spec import RESTARTS, AnySpec, Backoff, ChildSpec, Park, SupervisorSpec, Tree, process_name
from tests.supervisor.edits import edited

# ---- trees and events ----------------------------------------------------------------------------------------------


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Trees of depth up to 3 with unique ids; backoff, parking, optional and significant children included."""
    numbers = iter(range(1000))

    def child(depth: int, auto: str) -> AnySpec:
        keys: dict[str, Any] = {"restart": draw(st.sampled_from(RESTARTS))}
        keys["significant"] = auto != "never" and keys["restart"] != "permanent" and draw(st.booleans())
        if depth < 3 and draw(st.integers(0, 3)) == 0:
            return supervisor(depth + 1, **keys)
        backoff = draw(st.sampled_from([Backoff(), Backoff(), Backoff(initial=1, factor=2, max=3)]))
        optional = draw(st.integers(0, 5)) == 0
        return ChildSpec(f"w{next(numbers)}", "m:f", backoff=backoff, optional=optional, **keys)

    def supervisor(depth: int, **keys: Any) -> SupervisorSpec:
        strategies = ["one_for_one", "one_for_all", "rest_for_one", "dynamic"]
        strategy = draw(st.sampled_from(strategies if depth > 1 else strategies[:3]))
        auto = draw(st.sampled_from(["never", "never", "any_significant", "all_significant"]))
        keys |= {"intensity": draw(st.integers(0, 4)), "period": draw(st.integers(1, 4)), "auto_shutdown": auto}
        if strategy == "dynamic":
            template = ChildSpec("", "m:f", restart=draw(st.sampled_from(RESTARTS)))
            park = draw(st.sampled_from([None, Park(1, 5)]))
            return SupervisorSpec(f"s{next(numbers)}", "dynamic", template=template, park=park, **keys)
        children = tuple(child(depth, auto) for _ in range(draw(st.integers(0, 3))))
        return SupervisorSpec(f"s{next(numbers)}", strategy, children=children, **keys)

    return Tree(supervisor(1))


KINDS = (
    *("report", "report", "report", "report", "report", "fail", "exit", "exit", "planned", "call", "call", "time"),
    *("lose", "reload"),
)
steps = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 2**30)), max_size=40)


def nodes(top: policy.SupervisorView | policy.WorkerView) -> Iterator[policy.SupervisorView | policy.WorkerView]:
    """A view and everything below it."""
    yield top
    for child in getattr(top, "children", ()):
        yield from nodes(child)


class World:
    """Processes as the shell would have them; checks every action against them."""

    def __init__(self, tree: Tree) -> None:
        self.state = policy.new(tree, 1)
        self.now = 0.0
        self.starting: dict[str, int] = {}
        self.running: dict[str, int] = {}
        self.stopping: dict[str, int] = {}
        self.timers: dict[str, float] = {}
        self.asked: set[int] = set()
        self.answered: list[int] = []
        self.started: list[tuple[str, int]] = []
        self.stops: list[str] = []
        self.exits: list[policy.Exit] = []
        self.reloads = 0
        self.reloaded: list[policy.Reloaded] = []
        self.names: dict[str, str] = {}  # of every process that was ever started, by path
        self.no_starts = False
        self.lost = False

    def send(self, event: policy.Event) -> None:
        before = self.state
        copy = repr(before)
        self.state, actions = policy.decide(before, event, self.now)
        assert repr(before) == copy, "decide changed the state that it was given"
        assert policy.decide(before, event, self.now) == (self.state, actions), "decide is not a function"
        for action in actions:
            self.check(action)
        self.invariants()

    def check(self, action: policy.Action) -> None:
        assert not self.exits or isinstance(action, policy.Reloaded), "an action after Exit, other than a refusal"
        match action:
            case Start(path, _, incarnation):
                assert not self.no_starts, "a start after the tree was told to stop"
                assert path not in self.everything(), "two processes of one name"
                assert not self.started or incarnation > self.started[-1][1]
                self.started.append((path, incarnation))
                self.names[path] = action.name
                assert action.name not in [self.names[other] for other in self.everything()], "two of one name"
                self.starting[path] = incarnation
            case Stop(path, _, incarnation):
                assert self.everything().get(path) == incarnation, "a stop of something that is not there"
                self.starting.pop(path, None)
                self.running.pop(path, None)
                self.stopping[path] = incarnation
                self.stops.append(path)
            case policy.ArmTimer(id, at):
                assert id not in self.timers
                self.timers[id] = at
            case policy.CancelTimer(id):
                del self.timers[id]
            case policy.Reply(number):
                self.answered.append(number)
            case policy.Exit():
                self.exits.append(action)
            case policy.Reloaded():
                self.reloaded.append(action)
            case policy.Revised(path, incarnation):
                assert {**self.starting, **self.running}.get(path) == incarnation, "a word about nobody"
            case _:
                pass

    def everything(self) -> dict[str, int]:
        return {**self.starting, **self.running, **self.stopping}

    def invariants(self) -> None:
        assert set(self.timers) == set(self.state.timers)
        assert len(set(self.answered)) == len(self.answered), "a request was answered twice"
        known = {}
        for supervisor in self.state.supervisors.values():
            if not supervisor.exiting and self.state.phase == "up":
                assert len(supervisor.restarts) <= supervisor.spec.intensity, "more restarts than the intensity"
            for child in supervisor.children.values():
                if child.alive and isinstance(child.spec, ChildSpec):
                    known[child.path] = child.incarnation
                    assert child.name == process_name(supervisor.spec, child.spec.id)
                elif child.alive:
                    assert child.path in self.state.supervisors, "a supervisor was lost"
        assert known == self.everything(), "the policy and the world disagree about what is there"
        shown = {node.path for node in nodes(policy.view(self.state)) if node.state in LIVE and node.kind == "worker"}
        assert shown >= set(known), "a live process is not shown"

    # ---- steps -----------------------------------------------------------------------------------------------

    def step(self, kind: str, choice: int) -> None:
        if kind in ("report", "fail"):
            self.report(choice, kind == "fail")
        elif kind in ("exit", "planned") and self.running:
            path = sorted(self.running)[choice % len(self.running)]
            reason = ("normal", "shutdown", "crash")[choice // 64 % 3]
            self.send(Exited(path, self.running.pop(path), reason, kind == "planned", "told"))  # type: ignore[arg-type]
        elif kind == "call":
            self.call(choice)
        elif kind == "time":
            self.pass_time(choice % 5)
        elif kind == "lose" and choice % 4 == 0:
            self.lose()
        elif kind == "reload":
            self.reload(edited(self.state.tree, choice, f"e{self.reloads}"))
        elif kind == "lose" and choice % 4 == 1 and self.state.phase == "up":
            self.lost = True  # and the ends of its processes are reported one by one
            self.send(LauncherLost())

    def report(self, choice: int, fail: bool) -> None:
        """One start or stop under way comes to its end, in any order."""
        if self.lost:
            self.report_lost(choice)
            return
        pending = sorted([*self.starting, *self.stopping])
        if not pending:
            return
        path = pending[choice % len(pending)]
        if path in self.stopping:
            life = self.stopping.pop(path)
            self.send(Exited(path, life, "crash") if fail else Stopped(path, life))
        elif fail:
            self.send(StartFailed(path, self.starting.pop(path), "told"))
        else:
            self.running[path] = self.starting.pop(path)
            self.send(Ready(path, self.running[path]))

    def report_lost(self, choice: int) -> None:
        """One more process of a lost launcher is reported gone."""
        everything = self.everything()
        self.lost = len(everything) > 1
        if everything:
            path = sorted(everything)[choice % len(everything)]
            self.forget(path)
            self.send(Exited(path, everything[path], "crash"))

    def forget(self, path: str) -> None:
        for processes in (self.starting, self.running, self.stopping):
            processes.pop(path, None)

    def call(self, choice: int) -> None:
        live = sorted(self.state.supervisors)
        if not live:
            return
        path = live[choice % len(live)]
        supervisor = self.state.supervisors[path]
        method = policy.METHODS[choice // 8 % len(policy.METHODS)]
        ids = [*supervisor.children, f"n{choice // 64 % 3}"]
        id = ids[choice // 256 % len(ids)]
        number = len(self.asked)
        self.asked.add(number)
        spec = None if supervisor.spec.dynamic else ChildSpec(id, "m:f", restart=RESTARTS[choice % 3])
        self.send(Request(number, method, path, id, spec))

    def reload(self, tree: Tree) -> None:
        self.reloads += 1
        self.send(policy.Reload(tree))

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while due := [(at, id) for id, at in self.timers.items() if at <= until]:
            at, id = min(due)
            del self.timers[id]
            self.now = max(self.now, at)
            self.send(Timer(id))
        self.now = until

    def lose(self) -> None:
        self.send(LauncherLost())
        for path in sorted(self.everything()):
            life = self.everything()[path]
            self.forget(path)
            self.send(Exited(path, life, "crash"))
        self.lost = False

    def settle(self) -> None:
        """Let everything under way succeed."""
        for _ in range(10_000):
            if not self.starting and not self.stopping and not (self.lost and self.running):
                return
            self.report(0, False)
        raise AssertionError("does not settle")


def files_and_processes_agree(world: World) -> None:
    """Every live supervisor has the spec that the tree has for it, and its children in that order, others last."""
    specs = dict(world.state.tree.supervisors())
    for path, supervisor in world.state.supervisors.items():
        if path in specs:
            assert supervisor.spec == specs[path]
            listed = [child.id for child in specs[path].children if child.id in supervisor.children]
            assert [*supervisor.children][: len(listed)] == listed


def run(tree: Tree, todo: list[tuple[str, int]]) -> World:
    world = World(tree)
    world.send(policy.Boot())
    for kind, choice in todo:
        world.step(kind, choice)
    return world


# ---- laws ------------------------------------------------------------------------------------------------------------


@settings(max_examples=120, deadline=None)
@given(trees(), steps)
def test_settles_with_nothing_lost(tree: Tree, todo: list[tuple[str, int]]) -> None:
    """When everything succeeds again, nobody is busy, and every child that should run does."""
    world = run(tree, todo)
    for _ in range(20):
        world.settle()
        world.pass_time(5)
    if world.exits:
        assert not world.everything()
        return
    for supervisor in world.state.supervisors.values():
        assert not supervisor.mailbox and not supervisor.jobs
        for child in supervisor.children.values():
            assert child.status in ("running", "terminated", "parked")
    assert sorted(world.answered) == sorted(world.asked)
    assert len(world.reloaded) == world.reloads and world.state.reloading is None
    files_and_processes_agree(world)


def starts_only(tree: Tree) -> World:
    """The tree booted, with a child or two more in each dynamic supervisor, and one in each static one."""
    world = World(tree)
    world.send(policy.Boot())
    world.settle()
    for number, (path, supervisor) in enumerate(sorted(world.state.supervisors.items())):
        id = f"run{number}"
        spec = None if supervisor.spec.dynamic else ChildSpec(id, "m:f")
        world.asked.add(number)
        world.send(Request(number, "start_child", path, id, spec, {"own": number}))
        world.settle()
    return world


@settings(max_examples=150, deadline=None)
@given(trees(), st.lists(st.integers(0, 2**30), min_size=1, max_size=3), st.lists(st.integers(0, 9), max_size=30))
def test_a_reloaded_tree_is_the_new_one(tree: Tree, seeds: list[int], order: list[int]) -> None:
    """After reloads in any order of reports what runs is what a fresh start of the last tree runs, and what was added."""
    world = starts_only(tree)
    added = {path: incarnation for path, incarnation in world.running.items() if path.rpartition("/")[2][:3] == "run"}
    trees = [tree]
    for number, seed in enumerate(seeds):
        trees.append(edited(trees[-1], seed, f"e{number}"))
        world.reload(trees[-1])
        for choice in order:
            world.report(choice, False)
    before = dict(world.running)
    world.settle()
    fresh = World(trees[-1])
    fresh.send(policy.Boot())
    fresh.settle()
    assert set(fresh.running) == set(world.running) - set(added)
    specs = dict(trees[-1].workers())
    for supervisor in world.state.supervisors.values():
        for child in supervisor.children.values():
            if child.path in specs:
                assert child.spec == specs[child.path]
            elif supervisor.spec.template is not None:
                assert child.spec == supervisor.spec.template.instance(child.spec.id, child.given)
    survivors = {path for path in added if stays(path.rpartition("/")[0], trees)}
    assert survivors <= set(world.running)
    for path, life in before.items():
        if path not in added and untouched(path, trees):
            assert world.running[path] == life, "a child that nothing was said about was touched"
    assert len(world.reloaded) == len(seeds)


def stays(path: str, trees: list[Tree]) -> bool:
    """No tree says anything new about this supervisor, or what is beside and above it."""
    return untouched(path, trees) and all(dict(tree.supervisors()).get(path) for tree in trees)


def untouched(path: str, trees: list[Tree]) -> bool:
    """The spec is equal in all trees, and above it nothing is restarted with a neighbour."""
    specs = [{**dict(tree.supervisors()), **dict(tree.workers())} for tree in trees]
    if any(path not in each or each[path] != specs[0][path] for each in specs):
        return False
    parent = path.rpartition("/")[0]
    while parent:
        above = [each.get(parent) for each in specs]
        alone = all(isinstance(spec, SupervisorSpec) and spec.strategy == "one_for_one" for spec in above)
        if not alone and any(spec != above[0] for spec in above):
            return False
        parent = parent.rpartition("/")[0]
    return True


@settings(max_examples=120, deadline=None)
@given(trees(), steps, st.lists(st.integers(0, 2**30), max_size=30), st.booleans())
def test_stop_always_ends(tree: Tree, todo: list[tuple[str, int]], order: list[int], at_once: bool) -> None:
    """From any state a stop starts nothing, leaves nothing, answers every request once, and exits once."""
    world = run(tree, todo)
    world.no_starts = True
    world.send(StopTree(now=at_once))
    for choice in order:
        world.report(choice, False)
    world.settle()
    assert not world.everything() and not world.timers
    assert len(world.exits) == 1
    assert len(world.reloaded) == world.reloads
    assert sorted(world.answered) == sorted(world.asked)


@settings(max_examples=60, deadline=None)
@given(trees(), steps)
def test_stop_order_is_reverse_start_order(tree: Tree, todo: list[tuple[str, int]]) -> None:
    """Below one supervisor, children are stopped in the reverse of the order in which they are listed and started."""
    world = run(tree, [step for step in todo if step[0] != "lose"])
    world.settle()
    order = {
        path: list(supervisor.children)
        for path, supervisor in world.state.supervisors.items()
        if not supervisor.spec.dynamic and not supervisor.exiting
    }
    world.stops.clear()
    world.send(StopTree())
    world.settle()
    for path, ids in order.items():
        below = [stop[len(path) + 1 :].partition("/")[0] for stop in world.stops if stop.startswith(f"{path}/")]
        seen = list(dict.fromkeys(below))
        assert seen == [id for id in reversed(ids) if id in seen]


@settings(max_examples=60, deadline=None)
@given(trees(), st.integers(0, 20))
def test_boot_failure_stops_what_was_started(tree: Tree, position: int) -> None:
    """A boot that fails stops exactly what had been started, and leaves."""
    world = World(tree)
    world.send(policy.Boot())
    for _ in range(position):
        if world.starting:
            world.report(0, False)
    if not world.starting or world.exits:
        return
    (path,) = world.starting
    started = set(world.running)
    optional = next(spec.optional for name, spec in tree.workers() if name == path)
    world.report(0, True)
    if optional:
        return
    world.settle()
    if world.state.phase == "done":  # no optional supervisor above it
        assert set(world.stops) == started
        assert world.exits[0].code == policy.EXIT_START


def test_report_table_is_total() -> None:
    """Every state of a child has an answer for every kind of report."""
    assert set(REPORTS) == set(STATUSES)
    assert all(set(row) == set(REPORT_KINDS) for row in REPORTS.values())
    assert len(RESTARTED) == 9


@given(st.lists(st.floats(0, 50), max_size=30).map(sorted), st.integers(1, 10))
def test_window_holds_what_is_in_it(times: list[float], period: int) -> None:
    """The window is every restart whose whole second is at most `period` seconds before the last one's."""
    restarts: tuple[int, ...] = ()
    for now in times:
        restarts = add_restart(restarts, now, period)
    seconds = [int(now) for now in times]
    assert sorted(restarts) == [second for second in seconds if second + period >= seconds[-1]] if times else True
