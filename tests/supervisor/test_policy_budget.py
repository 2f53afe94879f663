"""Laws of counting: never more restarts than the intensity in any window, seen from outside; and what follows from it.

Nothing here knows how the policy counts: starts are written down as a bystander sees them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor import policy
from supervisor.policy import EXIT_GAVE_UP, EXIT_STOPPED, Exited, Start, StartFailed, StopTree
from supervisor.policy.rules import add_restart
from supervisor.spec import AnySpec, Backoff, ChildSpec, SupervisorSpec, Tree
from tests.supervisor.policy_shell import Shell, tree, worker
from tests.supervisor.policy_world import World, trees

# crash or end which child, how often its group then fails to start, how many tenths of seconds later the next one
deaths = st.lists(
    st.tuples(
        st.integers(0, 50),
        st.sampled_from(["crash", "crash", "normal", "shutdown"]),
        st.integers(0, 3),
        st.integers(0, 40),
    ),
    max_size=40,
)


def plain(spec: AnySpec) -> AnySpec:
    """Without what goes past OTP: a wait before a restart would move it out of the second that it was counted in."""
    if isinstance(spec, ChildSpec):
        return replace(spec, backoff=Backoff(), optional=False)
    return replace(spec, children=tuple(map(plain, spec.children)), optional=False, park=None)


class Bystander(World):
    """Writes down every start by the life of the supervisor that it happened in. Everything settles after each step."""

    def __init__(self, tree: Tree) -> None:
        super().__init__(Tree(plain(tree.root)))
        self.log: dict[tuple[str, int], list[tuple[str, float]]] = defaultdict(list)

    def check(self, action: policy.Action) -> None:
        super().check(action)
        if isinstance(action, Start):
            life = self.state.supervisors[action.supervisor].incarnation
            self.log[action.supervisor, life].append((action.path, self.now))

    def die(self, choice: int, reason: policy.ExitReason, fails: int) -> None:
        paths = sorted(self.running)
        if paths:
            path = paths[choice % len(paths)]
            self.send(Exited(path, self.running.pop(path), reason, detail="told"))
        for _ in range(fails):
            while self.stopping:
                self.report(0, False)
            if self.starting:
                path = sorted(self.starting)[0]
                self.send(StartFailed(path, self.starting.pop(path), "told"))
        self.settle()


def lived(tree: Tree, todo: list[tuple[int, policy.ExitReason, int, int]]) -> Bystander:
    world = Bystander(tree)
    world.send(policy.Boot())
    world.settle()
    for choice, reason, fails, tenths in todo:
        world.now += tenths / 10
        world.die(choice, reason, fails)
    return world


@settings(max_examples=200, deadline=None)
@given(trees(), deaths)
def test_never_more_than_the_intensity(tree: Tree, todo: list[tuple[int, policy.ExitReason, int, int]]) -> None:
    """In no window of `period` whole seconds does one life of a supervisor start a child again more than `intensity` times.

    Under one_for_one that holds for all its children together, since each restart starts one.
    """
    world = lived(tree, todo)
    specs = dict(world.state.tree.supervisors())
    for (path, _), starts in world.log.items():
        spec, seen = specs[path], set[str]()
        again: dict[str, list[int]] = defaultdict(list)
        for child, when in starts:
            if child in seen:
                again["" if spec.strategy == "one_for_one" else child].append(int(when))
            seen.add(child)
        for seconds in again.values():
            for first in seconds:
                window = [second for second in seconds if first <= second <= first + spec.period]
                assert len(window) <= spec.intensity


@settings(max_examples=150, deadline=None)
@given(trees(), deaths)
def test_permanent_children_run(tree: Tree, todo: list[tuple[int, policy.ExitReason, int, int]]) -> None:
    """When nothing fails any more, every permanent child of every live supervisor runs."""
    world = lived(tree, todo)
    if world.exits:
        assert not world.everything()
        return
    for supervisor in world.state.supervisors.values():
        for child in supervisor.children.values():
            if child.spec.restart == "permanent":
                assert child.status == "running"
                assert isinstance(child.spec, SupervisorSpec) or child.path in world.running
        gone = [spec for spec in supervisor.spec.children if spec.id not in supervisor.children]
        assert all(spec.restart == "temporary" for spec in gone), "only temporary children are forgotten"


@settings(max_examples=150, deadline=None)
@given(trees(), deaths)
def test_exit_code_says_why(tree: Tree, todo: list[tuple[int, policy.ExitReason, int, int]]) -> None:
    """A tree that ended without being asked gave up, or its root shut itself down; the code says which."""
    world = lived(tree, todo)
    if not world.exits:
        world.send(StopTree())
        world.settle()
        assert [end.code for end in world.exits] == [EXIT_STOPPED]
        return
    (end,) = world.exits
    assert end.code == (EXIT_GAVE_UP if "restarts in" in end.reason else EXIT_STOPPED)
    assert end.reason.startswith("significant") is (end.code == EXIT_STOPPED), "else it gave up because of one below"


# ---- the same from a model of nothing but seconds ------------------------------------------------------------------


def survives(attempts: list[int], intensity: int, period: int) -> list[int]:
    """The attempts that are made before the supervisor gives up: the first with too many in its window is not."""
    made: list[int] = []
    for second in attempts:
        if sum(second - period <= earlier <= second for earlier in made) + 1 > intensity:
            break
        made.append(second)
    return made


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 4), st.integers(0, 3)), max_size=25), st.integers(0, 4), st.integers(1, 6))
def test_attempts_by_a_model(crashes: list[tuple[float, int]], intensity: int, period: int) -> None:
    """Crashes and failing starts of one child are attempts like each other: as many are made as a list of seconds says."""
    shell = Shell(tree("one_for_one", worker("a"), intensity=intensity, period=period))
    attempts: list[int] = []
    made = 0
    for wait, fails in crashes:
        if shell.state.phase != "up":
            break
        shell.now += wait
        attempts += [int(shell.now)] * (fails + 1)
        shell.failing["demo/a"] = fails
        done = shell.exit("demo/a")
        made += sum(line in ("start demo/a", "fail demo/a") for line in done)
        assert made == len(survives(attempts, intensity, period))
        assert (done[-1] == f"exit {EXIT_GAVE_UP}") is (made < len(attempts))


@given(st.lists(st.integers(0, 40), min_size=1, max_size=40).map(sorted), st.integers(1, 10))
def test_window_by_a_model(seconds: list[int], period: int) -> None:
    """The window after the last restart is all restarts at most `period` seconds before it."""
    restarts: tuple[int, ...] = ()
    for second in seconds:
        restarts = add_restart(restarts, second + 0.99, period)
    assert sorted(restarts) == [second for second in seconds if seconds[-1] - period <= second]
