"""Laws of the policy under random trees, events and orders of reports: nothing is lost, doubled or forgotten."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor import policy
from supervisor.policy import Request, StopTree
from supervisor.policy.rules import add_restart
from supervisor.spec import ChildSpec, SupervisorSpec, Tree
from tests.supervisor.edits import edited
from tests.supervisor.policy_world import World, files_and_processes_agree, run, steps, trees

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


@given(st.lists(st.floats(0, 50), max_size=30).map(sorted), st.integers(1, 10))
def test_window_holds_what_is_in_it(times: list[float], period: int) -> None:
    """The window is every restart whose whole second is at most `period` seconds before the last one's."""
    restarts: tuple[int, ...] = ()
    for now in times:
        restarts = add_restart(restarts, now, period)
    seconds = [int(now) for now in times]
    assert sorted(restarts) == [second for second in seconds if second + period >= seconds[-1]] if times else True
