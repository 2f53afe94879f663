"""A world of processes for the policy, made by chance: trees, steps, and a shell that holds every action against it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from supervisor import policy
from supervisor.policy import Exited, LauncherLost, Ready, Request, Start, StartFailed, Stop, Stopped, Timer
from supervisor.policy.state import LIVE
from supervisor.policy.table import TIMERS
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
    *("garbage", "together"),
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
        self.calls: dict[int, str] = {}  # path of the child that a start_child is about
        self.called: set[str] = set()  # those that were started by one
        self.started: list[tuple[str, int]] = []
        self.stops: list[str] = []
        self.exits: list[policy.Exit] = []
        self.reloads = 0
        self.reloaded: list[policy.Reloaded] = []
        self.names: dict[str, str] = {}  # of every process that was ever started, by path
        self.no_starts = False
        self.lost = False

    def send(self, *events: policy.Event) -> None:
        """One event, or several of the same instant."""
        before = self.state
        copy = repr(before)
        self.state, actions = policy.decide_all(before, events, self.now)
        assert repr(before) == copy, "decide changed the state that it was given"
        assert policy.decide_all(before, events, self.now) == (self.state, actions), "decide is not a function"
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
            case policy.Reply(number, code):
                self.answered.append(number)
                if code == "ok" and number in self.calls:
                    self.called.add(self.calls[number])
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
        for target in self.state.timers.values():
            child = self.state.supervisors[target.supervisor].children[target.id]
            assert child.status == TIMERS[target.purpose][0], "a timer that outlived what it was for"
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
            self.send(Exited(path, self.running.pop(path), reason, kind == "planned", "told"))
        elif kind == "together":
            paths = sorted(self.running)[choice % 5 :: 1 + choice // 8 % 3]
            self.send(*(Exited(path, self.running.pop(path), "crash", detail="told") for path in paths))
        elif kind == "garbage":
            self.garbage(choice)
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

    def garbage(self, choice: int) -> None:
        """Something that no shell should ever say: about nobody, another life, no timer, or the start once more."""
        lives = sorted({**self.names, "nowhere": "", f"{self.state.tree.root.id}/": "", "": ""})
        path = lives[choice % len(lives)]
        life = self.everything().get(path, 0) + (choice // 64 % 7 - 9)  # of nobody, or long over
        reports = Ready(path, life), StartFailed(path, life, "?"), Exited(path, life, "crash"), Stopped(path, life)
        said: tuple[policy.Event, ...] = (*reports, Timer(f"retry:{path}#{choice}"))
        before = self.state
        self.send(*(said[choice // 8 % len(said) :]), *([policy.Boot()] if before.phase != "new" else []))
        assert self.state == before, "garbage changed something"

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
        if method == "start_child":
            self.calls[number] = f"{path}/{id}"
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
    """Every live supervisor has the spec that the tree has for it, and its children in that order, others last.

    A temporary child of the file that died and was started by a call is one of the others: OTP too puts it last.
    """
    specs = dict(world.state.tree.supervisors())
    for path, supervisor in world.state.supervisors.items():
        if path in specs:
            assert supervisor.spec == specs[path]
            own = [id for id in supervisor.children if f"{path}/{id}" not in world.called]
            listed = [child.id for child in specs[path].children if child.id in own]
            assert own[: len(listed)] == listed


def run(tree: Tree, todo: list[tuple[str, int]]) -> World:
    world = World(tree)
    world.send(policy.Boot())
    for kind, choice in todo:
        world.step(kind, choice)
    return world
