"""A working copy of a state for the length of one `decide`: what it holds and how it is changed, but no rule at all.

The rules are in `engine`, `restart`, `requests`, `reload` and `whole`, which work on it.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from supervisor.policy.events import Action, ArmTimer, CancelTimer, Code, ExitReason, Reply
from supervisor.policy.state import Child, Job, Message, Purpose, State, Supervisor, TimerTarget
from supervisor.policy.table import ReportKind
from supervisor.spec import SupervisorSpec


class Report(NamedTuple):
    """A report on a child, from the shell or from a supervisor below."""

    supervisor: str
    id: str
    incarnation: int
    kind: ReportKind
    reason: ExitReason = "crash"
    planned: bool = False
    detail: str = ""


class Working:
    """Nothing outside the policy keeps one."""

    def __init__(self, state: State, now: float) -> None:
        self.now = now
        self.tree = state.tree
        self.phase = state.phase
        self.reason = state.reason
        self.reloading = state.reloading
        self.next_incarnation = state.next_incarnation
        self.serial = state.serial
        self.supervisors: dict[str, Supervisor] = dict(state.supervisors)
        self.starts: dict[str, int] = dict(state.starts)
        self.timers: dict[str, TimerTarget] = dict(state.timers)
        self.actions: list[Action] = []
        self.reports: deque[Report] = deque()  # from supervisors to their parents
        self.awake: deque[str] = deque()  # supervisors whose mailbox may have something to do
        self.copied: set[str] = set()  # supervisors whose children are already a copy of our own

    def result(self) -> State:
        return State(
            self.tree,
            self.next_incarnation,
            self.phase,
            self.supervisors,
            self.starts,
            self.timers,
            self.serial,
            self.reason,
            self.reloading,
        )

    # ---- state -------------------------------------------------------------------------------------------------

    def put(self, supervisor: Supervisor) -> None:
        self.supervisors[supervisor.path] = supervisor

    def child(self, path: str, id: str) -> Child:
        return self.supervisors[path].children[id]

    def _children(self, path: str) -> dict[str, Child]:
        """This decide's own copy of the children of a supervisor; made once, not once a change."""
        supervisor = self.supervisors[path]
        if path not in self.copied:
            self.copied.add(path)
            self.put(supervisor._replace(children=dict(supervisor.children)))
        return self.supervisors[path].children  # type: ignore[return-value]  # the copy is a dict

    def set_child(self, path: str, child: Child) -> None:
        self._children(path)[child.spec.id] = child

    def drop_child(self, path: str, id: str) -> None:
        child = self._children(path).pop(id)
        self.disarm(child)
        self.starts.pop(child.path, None)
        self.forget_below(child)

    def forget_below(self, child: Child) -> None:
        """What is remembered of the children of a supervisor that is gone for good."""
        if isinstance(child.spec, SupervisorSpec):
            for below in [other for other in self.starts if other.startswith(f"{child.path}/")]:
                del self.starts[below]

    def set_job(self, path: str, lane: str, job: Job | None) -> None:
        jobs = dict(self.supervisors[path].jobs)
        if job is None:
            jobs.pop(lane, None)
            self.awake.append(path)
        else:
            jobs[lane] = job
        self.put(self.supervisors[path]._replace(jobs=jobs))

    def job_lane(self, path: str, id: str) -> str:
        supervisor = self.supervisors[path]
        return id if supervisor.spec.dynamic and "" not in supervisor.jobs else ""

    def post(self, path: str, message: Message) -> None:
        supervisor = self.supervisors[path]
        self.put(supervisor._replace(mailbox=(*supervisor.mailbox, message)))
        self.awake.append(path)

    def reply(self, number: int | None, code: Code, value: object = None, detail: str = "") -> None:
        if number is not None:
            self.actions.append(Reply(number, code, value, detail))

    def unserved(self, number: int | None, why: str) -> None:
        """Answer a call that nobody is left to deal with."""
        if number is not None:
            self.actions.append(Reply(number, "error", None, why, unserved=True))

    def arm(self, path: str, id: str, purpose: Purpose, delay: float) -> None:
        self.serial += 1
        child = self.child(path, id)
        timer = f"{purpose}:{child.path}#{self.serial}"
        self.timers[timer] = TimerTarget(path, id, purpose)
        self.set_child(path, child._replace(timer=timer))
        self.actions.append(ArmTimer(timer, self.now + delay))

    def disarm(self, child: Child) -> None:
        if child.timer and self.timers.pop(child.timer, None) is not None:
            self.actions.append(CancelTimer(child.timer))
