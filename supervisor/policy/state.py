"""The state of a supervision tree as frozen values: supervisors, their children, what each is busy with.

Only data and the smallest questions about it. How it changes is `engine`'s business. What changes with every
event is a named tuple, whose `_replace` costs a tenth of that of a dataclass: 1,000 children are started at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

from supervisor.policy.events import ExitReason, Request
from supervisor.spec import NOTHING, AnySpec, ChildSpec, SupervisorSpec, Tree, process_name

Status = Literal["waiting", "starting", "running", "stopping", "restarting", "terminated", "parked"]
STATUSES: tuple[Status, ...] = get_args(Status)
Phase = Literal["new", "up", "lost", "leaving", "stopping", "done"]  # leaving: lost, and asked to stop
Purpose = Literal["start", "retry", "again", "kill"]  # of a timer; retry: counted already
LIVE: frozenset[Status] = frozenset({"starting", "running", "stopping"})


class Child(NamedTuple):
    """One child of a live supervisor. `incarnation` numbers its current (or last) life; 0: it never had one.

    `gone`: its process has ended but its supervisor has not yet come to handle that (OTP: the EXIT is in the mailbox).
    """

    spec: AnySpec
    path: str
    name: str
    status: Status = "waiting"
    incarnation: int = 0
    gone: bool = False
    reason: str = ""  # why it is parked, terminated or restarting; or why its start is being given up
    timer: str = ""  # id of the armed timer that concerns this child, if any
    up_since: float = 0.0
    row: int = 0  # crashes in a row, for backoff
    planned: tuple[float, ...] = ()  # recent planned exits
    budget: tuple[int, ...] = ()  # recent restarts against its own budget, newest first (park)
    given: Mapping[str, Any] = NOTHING  # dynamic: the arguments it was started with, without those of the template
    unstarted: bool = False  # its last start failed: a reload tries it again when it is down

    @property
    def alive(self) -> bool:
        """A process (or supervisor) of this child exists."""
        return self.status in LIVE and not self.gone

    @property
    def temporary(self) -> bool:
        return self.spec.restart == "temporary"


# ---- messages: what waits in a supervisor's mailbox ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChildExit:
    """A child ended by itself."""

    id: str
    incarnation: int
    reason: ExitReason
    planned: bool
    detail: str


@dataclass(frozen=True, slots=True)
class TryAgain:
    """A failed restart is to be tried again. `counted`: this attempt still has to be counted against the intensity."""

    id: str
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The parent wants this supervisor to end."""

    reason: str = "shutdown"


@dataclass(frozen=True, slots=True)
class Revise:
    """The tree was reloaded and something about this supervisor, or below it, is different now."""

    spec: SupervisorSpec


@dataclass(frozen=True, slots=True)
class Renew:
    """A dynamic child that was busy is to be started anew by the changed template, if it is still in that life."""

    id: str
    incarnation: int


Message = ChildExit | TryAgain | Shutdown | Revise | Renew | Request


# ---- jobs: what a supervisor is in the middle of ---------------------------------------------------------------------

JobKind = Literal[
    "boot", "restart", "group", "start_child", "restart_child", "terminate_child", "park", "reload", "renew", "exit"
]


class Change(NamedTuple):
    """What a reload does with children that it does not just stop and start. Ids."""

    kept: tuple[str, ...] = ()  # supervisors that stay, with changes below: they take part in their place
    drops: tuple[str, ...] = ()  # no longer in the file: forgotten when they are stopped
    swaps: tuple[str, ...] = ()  # of another kind than before: they get their new spec when the old one is stopped


class Job(NamedTuple):
    """Children still to stop, then children still to start; `waiting` names those whose report is awaited."""

    kind: JobKind
    stops: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    request: int | None = None
    id: str = ""  # the child that it is about
    reason: str = ""
    exit_reason: ExitReason = "shutdown"
    own: bool = False  # exit: of its own accord, not asked by the parent
    code: int = 0  # exit: of the whole program, when it is the root that ends
    delay: float = 0.0  # group: seconds between the stops and the starts (backoff)
    held: bool = False  # reload: nothing is started before the parent says so
    change: Change = Change()  # reload


class Supervisor(NamedTuple):
    """One live supervisor. `jobs` maps a lane to the job in it: one lane `""`, or one for each child when dynamic."""

    path: str
    parent: str  # tree path; empty for the root
    spec: SupervisorSpec
    children: Mapping[str, Child]  # in start order
    restarts: tuple[int, ...] = ()  # whole seconds, newest first
    mailbox: tuple[Message, ...] = ()
    jobs: Mapping[str, Job] = NOTHING
    started: bool = False
    incarnation: int = 0
    renewing: tuple[tuple[str, int], ...] = ()  # dynamic: (id, incarnation) of children that a reload starts anew

    @property
    def exiting(self) -> bool:
        job = self.jobs.get("")
        return job is not None and job.kind == "exit"


class Reloading(NamedTuple):
    """What a reload has done so far, as tree paths; `failed` with the reason."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()  # without a restart
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TimerTarget:
    """What an armed timer is for: a start that takes too long, a restart held back (already counted or not), a kill."""

    supervisor: str
    id: str
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class State:
    """A whole tree. `starts` counts the starts of each path, so that restarts survive an escalation."""

    tree: Tree
    next_incarnation: int
    phase: Phase = "new"
    supervisors: Mapping[str, Supervisor] = field(default_factory=dict)
    starts: Mapping[str, int] = field(default_factory=dict)
    timers: Mapping[str, TimerTarget] = field(default_factory=dict)
    serial: int = 0  # numbers timers and lives of supervisors
    reason: str = ""
    reloading: Reloading | None = None  # what the reload under way has done so far


def new(tree: Tree, incarnation: int = 1) -> State:
    """The state before `Boot`. `incarnation` is given to the first process and grows by one from there."""
    return State(tree, incarnation)


def fresh_child(supervisor: SupervisorSpec, path: str, spec: AnySpec, given: Mapping[str, Any] = NOTHING) -> Child:
    """A child that has not been started yet. `given`: its own arguments, under a dynamic supervisor."""
    name = process_name(supervisor, spec.id) if isinstance(spec, ChildSpec) else spec.id
    return Child(spec, f"{path}/{spec.id}", name, given=given)
