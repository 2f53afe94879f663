"""OTP's rules as small pure functions and tables: who is restarted, how often, with whom, and when a supervisor ends.

Source of every rule: `supervisor.erl` of Erlang/OTP 25. Nothing here knows about jobs, mailboxes or processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import floor

from supervisor.policy.events import ExitReason
from supervisor.policy.state import Child, Status
from supervisor.spec import AnySpec, ChildSpec, Park, Restart, Strategy, SupervisorSpec

# Is a child that ended by itself started again? (do_restart/3)
RESTARTED: Mapping[tuple[Restart, ExitReason], bool] = {
    ("permanent", "normal"): True,
    ("permanent", "shutdown"): True,
    ("permanent", "crash"): True,
    ("transient", "normal"): False,
    ("transient", "shutdown"): False,
    ("transient", "crash"): True,
    ("temporary", "normal"): False,
    ("temporary", "shutdown"): False,
    ("temporary", "crash"): False,
}

STILL_THERE: frozenset[Status] = frozenset({"starting", "running", "stopping", "restarting"})

PLANNED_LIMIT = 3  # planned exits of one child that are not counted ...
PLANNED_PERIOD = 60.0  # ... in this many seconds


def add_restart(restarts: tuple[int, ...], now: float, period: int) -> tuple[int, ...]:
    """The restarts still in the window, newest first, with one at `now` (seconds) added.

    Whole seconds, and inclusive at both ends: with period 5 a restart at 1 still counts at 6 and no longer at 7
    (add_restart/3, in_period/3).
    """
    second = floor(now)
    kept: list[int] = [second]
    for then in restarts:
        if second > then + period:
            break
        kept.append(then)
    return tuple(kept)


def over_budget(restarts: tuple[int, ...], budget: SupervisorSpec | Park) -> bool:
    """More restarts in the window than allowed."""
    return len(restarts) > budget.intensity


def planned_again(planned: tuple[float, ...], now: float) -> tuple[tuple[float, ...], bool]:
    """The recent planned exits with one at `now`, and whether this one is within the limit (else it is a crash)."""
    recent = (*(then for then in planned if now - then <= PLANNED_PERIOD), now)
    return recent[-(PLANNED_LIMIT + 1) :], len(recent) <= PLANNED_LIMIT


def group(strategy: Strategy, ids: Iterable[str], id: str) -> tuple[str, ...]:
    """The children restarted together with `id`, in start order."""
    order = tuple(ids)
    if strategy == "one_for_all":
        return order
    if strategy == "rest_for_one":
        return order[order.index(id) :]
    return (id,)


def ends_with(supervisor: SupervisorSpec, ended: AnySpec, rest: Iterable[Child]) -> bool:
    """Does the supervisor end because `ended` did (and is not restarted)? `rest`: the children that remain.

    A child that waits for a restart still counts, as does one whose end has not been handled yet (do_auto_shutdown/2).
    """
    if supervisor.auto_shutdown == "never" or not ended.significant:
        return False
    if supervisor.auto_shutdown == "any_significant":
        return True
    return not any(child.spec.significant and child.status in STILL_THERE for child in rest)


def spec_fault(supervisor: SupervisorSpec, spec: AnySpec) -> str:
    """Why `spec` cannot be a child of `supervisor`, or the empty string (check_childspec/2)."""
    if not spec.significant:
        return ""
    what = f"child {spec.id!r}" if spec.id else "the template"
    if supervisor.auto_shutdown == "never":
        return (
            f"{what} is significant but auto_shutdown of {supervisor.id!r} is 'never'; "
            "set auto_shutdown: any_significant or all_significant, or remove significant"
        )
    if spec.restart == "permanent":
        return (
            f"{what} is significant and permanent, so it would never end anything; "
            "set restart: transient or temporary, or remove significant"
        )
    return ""


def backoff_delay(child: Child, now: float, *, started: bool) -> tuple[float, int]:
    """Seconds to wait before the next start of a crashed child, and its new number of crashes in a row.

    `started`: it had been up; a life of at least `max` seconds ends the row.
    """
    if not isinstance(child.spec, ChildSpec):
        return 0.0, 0
    backoff = child.spec.backoff
    row = 0 if started and now - child.up_since >= backoff.max else child.row
    return backoff.delay(row), row + 1
