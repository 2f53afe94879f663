"""A shell for the policy made of plain values: it carries out nothing, remembers everything, and reports when told."""

from __future__ import annotations

import itertools
from typing import Any

from supervisor import policy
from supervisor.policy import (
    ArmTimer,
    CancelTimer,
    Exit,
    Exited,
    Ready,
    Reply,
    Request,
    Start,
    StartFailed,
    State,
    Stop,
    Stopped,
    Timer,
)
from supervisor.spec import AnySpec, ChildSpec, SupervisorSpec, Tree


def worker(id: str, **keys: Any) -> ChildSpec:
    """A worker spec with defaults."""
    return ChildSpec(id, "module:function", **keys)


def tree(strategy: str = "one_for_one", *children: AnySpec, **keys: Any) -> Tree:
    """A tree whose root is `demo`."""
    return Tree(SupervisorSpec("demo", strategy, children=children, **keys))


def pool(**keys: Any) -> SupervisorSpec:
    """A dynamic supervisor `pool`; `template` keys with a leading `t_`."""
    template = {key[2:]: value for key, value in keys.items() if key.startswith("t_")}
    own = {key: value for key, value in keys.items() if not key.startswith("t_")}
    return SupervisorSpec("pool", "dynamic", template=worker("", **template), **own)


class Shell:
    """Starts are ready and stops complete at once, except of paths in `slow`, `failing` (times) and `stubborn`."""

    def __init__(self, tree: Tree, *, slow: tuple[str, ...] = (), boot: bool = True) -> None:
        self.state: State = policy.new(tree, 1)
        self.now = 0.0
        self.slow = set(slow)
        self.failing: dict[str, int] = {}
        self.stubborn: set[str] = set()
        self.alive: dict[str, int] = {}
        self.starting: dict[str, int] = {}
        self.stopping: dict[str, int] = {}
        self.timers: dict[str, float] = {}
        self.seen: list[policy.Action] = []
        self.replies: dict[int, list[Reply]] = {}
        self.numbers = itertools.count(1)
        if boot:
            self.send(policy.Boot())

    # ---- events ----------------------------------------------------------------------------------------------

    def send(self, *events: policy.Event) -> list[str]:
        """Send events and everything that follows; returns what was started, failed and stopped, in order."""
        queue, done = list(events), []
        while queue:
            self.state, actions = policy.decide(self.state, queue.pop(0), self.now)
            for action in actions:
                self.seen.append(action)
                done += self._perform(action, queue)
        return done

    def _perform(self, action: policy.Action, queue: list[policy.Event]) -> list[str]:
        match action:
            case Start(path, _, incarnation):
                if self.failing.get(path, 0) > 0:
                    self.failing[path] -= 1
                    queue.append(StartFailed(path, incarnation, "told to fail"))
                    return [f"fail {path}"]
                self.starting[path] = incarnation
                if path not in self.slow:
                    queue.append(self._now_ready(path))
                return [f"start {path}"]
            case Stop(path, _, incarnation, how):
                there = self.alive.pop(path, None) or self.starting.pop(path, None)
                if there is None and path not in self.stopping:
                    return []
                self.stopping[path] = incarnation
                if path not in self.stubborn or how == "brutal_kill":
                    queue.append(Stopped(path, self.stopping.pop(path), "told"))
                return [f"kill {path}" if how == "brutal_kill" else f"stop {path}"]
            case ArmTimer(id, at):
                self.timers[id] = at
            case CancelTimer(id):
                del self.timers[id]
            case Reply(number):
                self.replies.setdefault(number, []).append(action)
            case Exit(code):
                return [f"exit {code}"]
            case _:
                pass
        return []

    def _now_ready(self, path: str) -> Ready:
        self.alive[path] = self.starting.pop(path)
        return Ready(path, self.alive[path])

    def ready(self, path: str) -> list[str]:
        return self.send(self._now_ready(path))

    def exit(self, *paths: str, reason: policy.ExitReason = "crash", planned: bool = False) -> list[str]:
        """All of them are dead before the first is reported."""
        dead = [(path, self.alive.pop(path)) for path in paths]
        return self.send(*(Exited(path, life, reason, planned, "told") for path, life in dead))

    def stopped(self, path: str) -> list[str]:
        return self.send(Stopped(path, self.stopping.pop(path), "terminated"))

    def call(self, method: str, supervisor: str = "demo", id: str = "", **keys: Any) -> Reply:
        """Make a call that is answered at once, well or not."""
        reply = self.ask(method, supervisor, id, **keys)
        assert reply is not None, f"{method} waits"
        return reply

    def ask(self, method: str, supervisor: str = "demo", id: str = "", **keys: Any) -> Reply | None:
        """Make a call; its reply, or None while there is none yet."""
        number = next(self.numbers)
        self.done = self.send(Request(number, method, supervisor, id, **keys))
        return self.answer(number)

    def answered(self, number: int) -> Reply:
        """The reply to a call that was made before, which there is by now."""
        reply = self.answer(number)
        assert reply is not None, f"request {number} waits"
        return reply

    def answer(self, number: int) -> Reply | None:
        """The reply to a call, or None while there is none yet."""
        replies = self.replies.get(number, [])
        assert len(replies) <= 1, f"request {number} was answered {len(replies)} times"
        return replies[0] if replies else None

    def pass_time(self, seconds: float) -> list[str]:
        """Let time pass; timers come in order, each at its time."""
        until, done = self.now + seconds, []
        while due := [(at, id) for id, at in self.timers.items() if at <= until]:
            at, id = min(due)
            del self.timers[id]
            self.now = max(self.now, at)
            done += self.send(Timer(id))
        self.now = until
        return done

    # ---- questions -------------------------------------------------------------------------------------------

    def children(self, path: str = "demo") -> dict[str, str]:
        """id -> state of each child of a live supervisor, in start order."""
        return {id: child.status for id, child in self.state.supervisors[path].children.items()}

    def notes(self, path: str) -> list[str]:
        return [action.text for action in self.seen if isinstance(action, policy.Note) and action.path == path]
