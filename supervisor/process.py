"""One life of one child as the root holds it, and the pure rules about its end.

Here belong the record of a running process, the steps of a graded stop as a table of times, and what an exit status
means. Executing (signals, timers, channels) is `root`'s.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from supervisor.channel import Channel, Output
from supervisor.context import EXIT_EXCEPTION, EXIT_OK, EXIT_PLANNED, EXIT_SETUP, EXIT_SHUTDOWN
from supervisor.hook import ChildInfo
from supervisor.launcher import Handle
from supervisor.policy.events import ExitReason, Start
from supervisor.spec import ChildSpec, Shutdown

ASKED, TERMINATED, KILLED = "asked", "terminated", "killed"
UNREAD_SHARE, UNREAD_MOST = 0.2, 1.0  # SIGTERM this early when the child does not even read that it was asked
TERM_SHARE = 0.6  # of the shutdown time, for a child that has read it


@dataclass
class Process:
    """A child that was asked for. `handle` is None until the launcher has made it."""

    number: int
    action: Start
    channel: Channel
    output: Output
    info: ChildInfo
    began: float  # monotonic
    started_at: float  # unix seconds, for people
    slot: int | None = None
    handle: Handle | None = None
    interest: int = 0  # what its channel is watched for: selectors.EVENT_…
    ready: bool = False
    ready_at: float = 0.0
    said: Mapping[str, Any] = field(default_factory=dict)  # the info of ready()
    early: dict[str, Any] | None = None  # a READY that came before the launcher's word that the process exists
    planned: str | None = None
    fault: str = ""  # why the root itself killed it
    stop: Shutdown | None = None
    step: str = ""
    dead: bool = False  # its handle has said so; the launcher's report may still be under way
    lost: bool = False  # it went with the launcher; the policy is told when there is a new one
    memory: int = 0
    pss: int = 0
    terms: list[int] = field(default_factory=list)  # timers of the stop

    @property
    def pid(self) -> int:
        return self.handle.pid if self.handle is not None else 0

    @property
    def spec(self) -> ChildSpec:
        return self.action.spec

    @property
    def name(self) -> str:
        return self.action.name


def spell(seconds: float) -> str:
    """A time for people: 0.25 s, 12 s, 3 min, 5 h, 9 days."""
    for unit, size, most in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172800)):
        if seconds < most:
            return f"{seconds / size:.2g} {unit}" if seconds < 10 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"


def stop_schedule(how: Shutdown) -> list[tuple[float, str]]:
    """The steps of a graded stop: (seconds after the request, step). `unread` is: SIGTERM if it has not even read it."""
    if how == "brutal_kill":
        return [(0.0, KILLED)]
    if how == "infinity":
        return [(0.0, ASKED), (UNREAD_MOST, "unread")]
    if how <= 0:
        return [(0.0, KILLED)]
    early = min(UNREAD_MOST, how * UNREAD_SHARE)
    return [(0.0, ASKED), (early, "unread"), (how * TERM_SHARE, TERMINATED), (how, KILLED)]


@dataclass(frozen=True)
class End:
    """How a life ended: `reason` for the policy, `detail` for people."""

    reason: ExitReason
    detail: str
    code: int | None
    signal: str | None
    planned: bool


def describe(status: int | None, *, planned: str | None, fault: str) -> End:
    """What an exit status (as from waitpid; None: unknown, it went with the launcher) means."""
    if status is None:
        return End("crash", fault or "lost with the launcher", None, None, False)
    if status & 0x7F:
        number = status & 0x7F
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        return End("crash", fault or name, None, name, False)
    code = status >> 8
    if fault:
        return End("crash", fault, code, None, False)
    if planned is not None and code in (EXIT_PLANNED, EXIT_OK):
        return End("normal" if code == EXIT_OK else "crash", planned or "planned", code, None, True)
    if code == EXIT_OK:
        return End("normal", "exit code 0", code, None, False)
    if code == EXIT_SHUTDOWN:
        return End("shutdown", "said that it was told to end", code, None, False)
    words = {
        EXIT_EXCEPTION: "exit code 1",
        EXIT_SETUP: "exit code 71: could not be set up",
        EXIT_PLANNED: "exit code 75 without saying planned_exit",
    }
    return End("crash", words.get(code, f"exit code {code}"), code, None, False)
