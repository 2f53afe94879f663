"""The policy of a supervision tree: `decide(state, event, now) -> (state, actions)`. OTP's rules, and nothing else.

The public face of the policy: the words (`policy_events`), the state (`policy_state`), the machine
(`policy_engine`) and what people are shown (`policy_view`). No clock, no I/O, no process here or there.
"""

from __future__ import annotations

from supervisor.policy_engine import decide, decide_all
from supervisor.policy_events import (
    EXIT_CODES,
    EXIT_GAVE_UP,
    EXIT_START,
    EXIT_STOPPED,
    EXIT_USAGE,
    METHODS,
    Action,
    ArmTimer,
    Boot,
    CancelTimer,
    Code,
    Event,
    Exit,
    Exited,
    ExitReason,
    LauncherLost,
    Method,
    Note,
    Ready,
    Reply,
    Request,
    Start,
    StartFailed,
    Stop,
    Stopped,
    StopTree,
    SupervisorExit,
    Timer,
)
from supervisor.policy_state import State, new
from supervisor.policy_view import SupervisorView, WorkerView, view

__all__ = [
    "EXIT_CODES",
    "EXIT_GAVE_UP",
    "EXIT_START",
    "EXIT_STOPPED",
    "EXIT_USAGE",
    "METHODS",
    "Action",
    "ArmTimer",
    "Boot",
    "CancelTimer",
    "Code",
    "Event",
    "Exit",
    "ExitReason",
    "Exited",
    "LauncherLost",
    "Method",
    "Note",
    "Ready",
    "Reply",
    "Request",
    "Start",
    "StartFailed",
    "State",
    "Stop",
    "StopTree",
    "Stopped",
    "SupervisorExit",
    "SupervisorView",
    "Timer",
    "WorkerView",
    "decide",
    "decide_all",
    "new",
    "view",
]
