"""What can happen, and what it does: the transitions of the policy as tables, total over state x event.

The machine (`engine`, `requests`, `whole`) looks here; docs/supervisor.md shows what is here. How an
outcome is carried out is theirs; which one it is, is said in this file only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from supervisor.policy.events import Method
from supervisor.policy.state import STATUSES, Phase, Purpose, Status

# ---- the whole tree x everything that the shell can say -----------------------------------------------------------

EventKind = Literal["boot", "report", "request", "timer", "stop", "launcher lost", "reload"]
EVENT_KINDS: tuple[EventKind, ...] = get_args(EventKind)
# start: everything, in order. take: what Boot will start. hear, act: see the tables of reports and timers below.
# queue: into the mailbox of the supervisor. refuse: answered at once, with an error. stop: in reverse order, or all
# killed. collect: only remember who is gone; after the last one the tree starts again (lost) or ends (leaving).
# leave: end as soon as nothing is left.
TreeOutcome = Literal["start", "take", "hear", "queue", "act", "stop", "collect", "leave", "refuse", "ignored"]


def _phase(*row: TreeOutcome) -> Mapping[EventKind, TreeOutcome]:
    return dict(zip(EVENT_KINDS, row, strict=True))


PHASES: Mapping[Phase, Mapping[EventKind, TreeOutcome]] = {
    # in the order of EVENT_KINDS
    "new": _phase("start", "ignored", "refuse", "ignored", "leave", "ignored", "take"),
    "up": _phase("ignored", "hear", "queue", "act", "stop", "collect", "queue"),
    "lost": _phase("ignored", "collect", "refuse", "ignored", "leave", "ignored", "queue"),
    "leaving": _phase("ignored", "collect", "refuse", "ignored", "leave", "ignored", "refuse"),
    "stopping": _phase("ignored", "hear", "refuse", "act", "stop", "ignored", "refuse"),
    "done": _phase("ignored", "ignored", "refuse", "ignored", "ignored", "ignored", "refuse"),
}

# ---- a child x what is reported of its current life -----------------------------------------------------------------

ReportKind = Literal["ready", "start_failed", "exited", "stopped"]
REPORT_KINDS: tuple[ReportKind, ...] = get_args(ReportKind)
Outcome = Literal["started", "failed", "died", "gone", "ignored"]


def _state(*row: Outcome) -> Mapping[ReportKind, Outcome]:
    return dict(zip(REPORT_KINDS, row, strict=True))


REPORTS: Mapping[Status, Mapping[ReportKind, Outcome]] = {
    # in the order of REPORT_KINDS
    "waiting": _state("ignored", "ignored", "ignored", "ignored"),
    "starting": _state("started", "failed", "failed", "failed"),
    "running": _state("ignored", "died", "died", "died"),
    "stopping": _state("ignored", "gone", "gone", "gone"),
    "restarting": _state("ignored", "ignored", "ignored", "ignored"),
    "terminated": _state("ignored", "ignored", "ignored", "ignored"),
    "parked": _state("ignored", "ignored", "ignored", "ignored"),
}

# ---- a child x the calls on it ----------------------------------------------------------------------------------------

ChildMethod = Literal["start_child", "terminate_child", "restart_child", "delete_child", "park", "unpark"]
CHILD_METHODS: tuple[ChildMethod, ...] = get_args(ChildMethod)
# start, stop, delete and park are done and then answered (`ok`; a start that fails: `error`); all else is the answer
Done = Literal["start", "stop", "delete", "park"]
Said = Literal["not_found", "running", "restarting", "already_present", "already_started", "error"]
Answer = Done | Said
Seen = Status | Literal["absent"]  # as a call finds a child


def _calls(*row: Answer) -> Mapping[ChildMethod, Answer]:
    return dict(zip(CHILD_METHODS, row, strict=True))


CALLS: Mapping[Seen, Mapping[ChildMethod, Answer]] = {
    # in the order of CHILD_METHODS
    "absent": _calls("start", "not_found", "not_found", "not_found", "not_found", "not_found"),
    "waiting": _calls("already_present", "stop", "start", "delete", "park", "error"),
    "starting": _calls("already_present", "stop", "running", "running", "park", "running"),
    "running": _calls("already_started", "stop", "running", "running", "park", "running"),
    "stopping": _calls("already_started", "stop", "running", "running", "park", "running"),
    "restarting": _calls("already_present", "stop", "restarting", "restarting", "park", "restarting"),
    "terminated": _calls("already_present", "stop", "start", "delete", "park", "error"),
    "parked": _calls("already_present", "stop", "start", "delete", "park", "start"),
}
# Calls that one kind of supervisor refuses, whatever the child: answered `error`, with the call to use instead.
REFUSED: Mapping[Literal["static", "dynamic"], Mapping[Method, str]] = {
    "static": {"park": "terminate_child", "unpark": "restart_child"},
    "dynamic": {"restart_child": "unpark", "delete_child": "terminate_child"},
}

# ---- a child x a message that waited in its supervisor's mailbox -----------------------------------------------------

# A try that was put off is made only if nobody has terminated, deleted or revived the child in the meantime.
TRIED_AGAIN: Mapping[Status, bool] = {status: status == "restarting" for status in STATUSES}

# ---- timers: the one state in which each is armed; leaving that state cancels it ------------------------------------

TIMERS: Mapping[Purpose, tuple[Status, str]] = {
    "start": ("starting", "killed: it was not ready in time, and has failed to start"),
    "retry": ("restarting", "started, after its backoff"),
    "again": ("restarting", "tried again, which counts, after its backoff"),
    "kill": ("stopping", "a supervisor past its `shutdown`: all that is left below it is killed"),
}
