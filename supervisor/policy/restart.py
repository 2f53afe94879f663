"""Restarts: what follows when a child has ended by itself. Counted, grouped by strategy, held back, parked, or given up.

Source of the rules: restart_child/3, do_restart/3 and add_restart/3 of `supervisor.erl`. What is done on request or by a
reload is not a restart and belongs elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor.policy import rules as rules
from supervisor.policy.events import EXIT_GAVE_UP, Note
from supervisor.policy.state import Child, ChildExit, Job

if TYPE_CHECKING:
    from supervisor.policy.engine import Machine


def child_exit(machine: Machine, path: str, message: ChildExit) -> None:
    """A child ended by itself (restart_child/3 and do_restart/3 of OTP)."""
    supervisor = machine.supervisors[path]
    child = supervisor.children.get(message.id)
    if child is None or child.incarnation != message.incarnation or not child.gone:
        return  # stopped, forgotten or replaced in the meantime: as OTP flushes the EXIT of a child it terminates
    reason, planned = message.reason, message.planned and not child.temporary
    if planned:
        recent, planned = rules.planned_again(child.planned, machine.now)
        child = child._replace(planned=recent)
        machine.set_child(path, child)
        reason = reason if planned else "crash"
    if planned:
        restart(machine, path, message.id, counted=False, delay=0.0)
    elif rules.RESTARTED[child.spec.restart, reason]:
        delay, row = rules.backoff_delay(child, machine.now, started=True)
        machine.set_child(path, child._replace(row=row, reason=message.detail or reason))
        restart(machine, path, message.id, counted=True, delay=delay)
    else:
        _ended(machine, path, child, message.detail or reason)


def _ended(machine: Machine, path: str, child: Child, reason: str) -> None:
    """A child ended and stays so; perhaps its supervisor ends with it."""
    supervisor = machine.supervisors[path]
    if child.temporary or supervisor.spec.dynamic:
        machine.drop_child(path, child.spec.id)
    else:
        machine.set_child(path, child._replace(status="terminated", gone=False, reason=reason))
    rest = machine.supervisors[path].children.values()
    if rules.ends_with(supervisor.spec, child.spec, rest):
        machine.begin_exit(path, f"significant child {child.spec.id!r} ended", "shutdown", own=True)


def restart(machine: Machine, path: str, id: str, *, counted: bool, delay: float) -> None:
    """Count, then start the child again with all that its supervisor's strategy restarts with it."""
    if counted and not _within_budget(machine, path, id):
        return
    supervisor, child = machine.supervisors[path], machine.child(path, id)
    machine.set_child(path, child._replace(status="restarting", gone=False))
    strategy = supervisor.spec.strategy
    if strategy in ("one_for_all", "rest_for_one"):
        ids = rules.group(strategy, supervisor.children, id)
        machine.begin(path, "", Job("group", tuple(reversed(ids)), ids, id=id, delay=delay))
    elif delay:
        machine.hold_back(path, id, "retry", delay)
    else:
        machine.begin(path, id if supervisor.spec.dynamic else "", Job("restart", starts=(id,), id=id))


def _within_budget(machine: Machine, path: str, id: str) -> bool:
    """Count one restart; when it is one too many the child is parked, or its supervisor gives up."""
    supervisor, child = machine.supervisors[path], machine.child(path, id)
    park = supervisor.spec.park
    if park is not None and supervisor.spec.dynamic:
        budget = rules.add_restart(child.budget, machine.now, park.period)
        if not rules.over_budget(budget, park):
            machine.set_child(path, child._replace(budget=budget))
            return True
        why = f"more than {park.intensity} restarts in {park.period} s; last: {child.reason or 'ended'}"
        machine.set_child(path, child._replace(status="parked", gone=False, budget=(), row=0, reason=why))
        machine.actions.append(Note(child.path, f"parked: {why}"))
        return False
    restarts = rules.add_restart(supervisor.restarts, machine.now, supervisor.spec.period)
    machine.put(supervisor._replace(restarts=restarts))
    if not rules.over_budget(restarts, supervisor.spec):
        return True
    machine.set_child(path, child._replace(status="terminated", gone=False))
    why = (
        f"more than {supervisor.spec.intensity} restarts in {supervisor.spec.period} s; "
        f"last: child {id!r} ({child.reason or 'ended'})"
    )
    machine.begin_exit(path, why, "shutdown", own=True, code=EXIT_GAVE_UP)
    return False
