"""The words between the policy and the shell that runs it: events go in, actions come out. All frozen.

`path` is the tree path of a child (`egghead/agent_layer/agents/scout`), `name` its process name, `incarnation` the
number the policy gave with `Start`. A report about another incarnation than the current one is ignored, so a late
report can never be taken for one about the successor.

What the shell owes: every `Start` is answered by exactly one of `Ready`, `StartFailed` or `Exited`; every process
that was started is reported gone exactly once, by `StartFailed` (it never became ready and nothing is left of it),
`Exited`, or `Stopped` (after a `Stop`; `Exited` is as good). Actions of one `decide` are carried out in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from supervisor.spec import NOTHING, AnySpec, ChildSpec, Shutdown, Tree

ExitReason = Literal["normal", "shutdown", "crash"]
Method = Literal[
    "start_child",
    "terminate_child",
    "restart_child",
    "delete_child",
    "which_children",
    "count_children",
    "park",
    "unpark",
]
METHODS: tuple[Method, ...] = get_args(Method)
Code = Literal[
    "ok", "not_found", "running", "restarting", "already_present", "already_started", "error"
]  # "forbidden" is the shell's to say

EXIT_STOPPED = 0  # stopped as asked, or by auto_shutdown of the root
EXIT_GAVE_UP = 1  # the root supervisor reached its restart intensity
EXIT_USAGE = 2  # bad tree file or bad command line; said before anything starts
EXIT_START = 3  # a child did not start at boot; what was started has been stopped
EXIT_CODES: Mapping[int, str] = {
    EXIT_STOPPED: "stopped as asked, or by auto_shutdown of the root supervisor",
    EXIT_GAVE_UP: "the root supervisor gave up: more restarts than its intensity allows",
    EXIT_USAGE: "the tree file or the command line is wrong; nothing was started",
    EXIT_START: "a child failed to start at boot; what had been started was stopped",
}


# ---- events ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Boot:
    """Start the whole tree. Once, first."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The child said READY."""

    path: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The child did not come up (fork refused, died before READY); nothing of it is left."""

    path: str
    incarnation: int
    reason: str


@dataclass(frozen=True, slots=True)
class Exited:
    """The process is gone. `reason`: normal (exit code 0), shutdown (it says it was told to end), crash (all else).

    `detail` is for people ("SIGSEGV", "exit code 3", "no heartbeat for 5 s"). `planned`: it had announced this exit.
    """

    path: str
    incarnation: int
    reason: ExitReason
    planned: bool = False
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The process that a `Stop` was about is gone; `step` is the one that did it (asked, terminated, killed)."""

    path: str
    incarnation: int
    step: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """A call on a supervisor; `number` comes back in exactly one `Reply`.

    `supervisor`: its id or its tree path. `start_child` takes `spec` (static supervisor) or `id` and `args` (dynamic);
    all other calls on a child take `id`.
    """

    number: int
    method: Method
    supervisor: str
    id: str = ""
    spec: AnySpec | None = None
    args: Mapping[str, Any] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, slots=True)
class Timer:
    """The timer that `ArmTimer(id)` asked for has come. A timer that is no longer wanted is ignored."""

    id: str


@dataclass(frozen=True, slots=True)
class StopTree:
    """Stop everything, in order; starts under way are abandoned. `now`: kill everything, at once."""

    reason: str = "asked"
    now: bool = False


@dataclass(frozen=True, slots=True)
class LauncherLost:
    """The zygote died. The shell then reports every process gone; after the last one the whole tree starts again."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reload:
    """From now on the tree is to be this one; only what is different is touched. Answered by exactly one `Reloaded`."""

    tree: Tree


Event = Boot | Ready | StartFailed | Exited | Stopped | Request | Timer | StopTree | LauncherLost | Reload


# ---- actions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Start this process. `incarnation` grows by one with every start in the tree."""

    path: str
    name: str
    incarnation: int
    spec: ChildSpec
    supervisor: str  # tree path of its supervisor


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop this process, gracefully for `how` seconds (or without limit), or at once. May come twice: the later counts."""

    path: str
    name: str
    incarnation: int
    how: Shutdown


@dataclass(frozen=True, slots=True)
class ArmTimer:
    """Send `Timer(id)` when the clock reaches `at` (monotonic seconds, as `now`)."""

    id: str
    at: float


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """`Timer(id)` is no longer wanted."""

    id: str


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a `Request`. `value`: children for which_children, counts for count_children, else None.

    `unserved`: the supervisor ended before it had dealt with the call (in OTP the caller exits with noproc).
    """

    number: int
    code: Code
    value: Any = None
    detail: str = ""
    unserved: bool = False


@dataclass(frozen=True, slots=True)
class SupervisorExit:
    """A supervisor ended by itself (intensity reached, or auto_shutdown); its children are stopped. To be logged."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth a line in the log, with no effect: a child parked, a start that failed, a whole-tree restart."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Revised:
    """A running process has another spec from now on, by which it need not be started again (limits, heartbeat)."""

    path: str
    incarnation: int
    spec: ChildSpec


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The answer to a `Reload`: everything is done (`ok`), or something did not start, or it was refused or given up."""

    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class Exit:
    """Nothing is left of the tree: leave, with this exit code. The last action of all but refusals."""

    code: int
    reason: str


Action = Start | Stop | ArmTimer | CancelTimer | Reply | SupervisorExit | Note | Revised | Reloaded | Exit
