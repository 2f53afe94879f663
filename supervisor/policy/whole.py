"""What happens to a whole tree at once: it is told to stop, killed below some supervisor, or its launcher is lost.

Single children and supervisors are `engine`'s business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor.policy import reload as reloading
from supervisor.policy import rules as rules
from supervisor.policy.events import EXIT_GAVE_UP, EXIT_STOPPED, Exit, Note, Request, Stop, SupervisorExit
from supervisor.policy.state import Job, Shutdown, Status
from supervisor.policy.table import PHASES
from supervisor.spec import ChildSpec

if TYPE_CHECKING:
    from supervisor.policy.engine import Machine


def stop_tree(machine: Machine, reason: str, at_once: bool) -> None:
    """Stop everything in reverse start order, or kill it. Starts under way are abandoned: nobody waits for them."""
    root = machine.tree.root.id
    if PHASES[machine.phase]["stop"] == "leave":
        if machine.supervisors:
            machine.phase, machine.reason = "leaving", reason  # the shell is ending every process already
        else:
            _leave(machine, EXIT_STOPPED, reason)
        return
    machine.phase = "stopping"
    reloading.abandon(machine, "the tree was told to stop")
    if at_once:
        kill_below(machine, root, reason)
    if root in machine.supervisors:
        machine.begin_exit(root, reason, "shutdown")
    for path in tuple(machine.supervisors):
        # a supervisor that was told to end but is still busy starting something must not hold up the stop
        supervisor = machine.supervisors.get(path)
        if supervisor is not None and any(isinstance(message, Shutdown) for message in supervisor.mailbox):
            machine.begin_exit(path, "shutdown", "shutdown")


def kill_below(machine: Machine, path: str, reason: str) -> None:
    """End everything below a supervisor at once, whatever it was doing."""
    below = [other for other in machine.supervisors if other == path or other.startswith(f"{path}/")]
    for owner in below:
        for child in reversed(tuple(machine.supervisors[owner].children.values())):
            if not child.alive:
                continue
            machine.disarm(child)
            machine.set_child(owner, child._replace(status="stopping", timer=""))
            if isinstance(child.spec, ChildSpec):
                machine.actions.append(Stop(child.path, child.name, child.incarnation, "brutal_kill"))
    for owner in below:
        if owner in machine.supervisors:
            machine.begin_exit(owner, reason, "crash")


def launcher_lost(machine: Machine, reason: str) -> None:
    """From now on reports are only collected; a tree that is stopping anyway goes on stopping."""
    machine.phase, machine.reason = "lost", reason or "the launcher died"
    rebuild_when_empty(machine)


def rebuild_when_empty(machine: Machine) -> None:
    """After the last process of a lost launcher: one counted restart of the root, then everything in order.

    Supervisors below the root begin anew, as after any restart; what was added to them is added again by whoever did.
    """
    for supervisor in machine.supervisors.values():
        if any(child.alive and isinstance(child.spec, ChildSpec) for child in supervisor.children.values()):
            return
    root = machine.supervisors[machine.tree.root.id]
    _forget_all(machine)
    if machine.phase == "leaving":
        _leave(machine, EXIT_STOPPED, machine.reason)
        return
    ending = root.jobs.get("")
    if ending is not None and ending.kind == "exit":  # it was giving up already; a lost launcher does not save it
        if ending.own:
            machine.actions.append(SupervisorExit(root.path, ending.reason))
        _leave(machine, ending.code, ending.reason)
        return
    restarts = rules.add_restart(root.restarts, machine.now, root.spec.period)
    if rules.over_budget(restarts, root.spec):
        why = f"more than {root.spec.intensity} restarts in {root.spec.period} s; last: {machine.reason}"
        machine.actions.append(SupervisorExit(root.path, why))
        _leave(machine, EXIT_GAVE_UP, why)
        return
    machine.actions.append(Note(root.path, f"everything is started again: {machine.reason}"))
    machine.phase, machine.reason = "up", ""
    root, added = reloading.taken_up(machine, root)
    kept = {id: child for id, child in root.children.items() if not child.temporary or not root.started or id in added}
    status: Status = "terminated" if root.started else "waiting"  # as the children of a group that is restarted
    waiting = {id: child._replace(status=status, gone=False, timer="") for id, child in kept.items()}
    machine.supervisors = {
        root.path: root._replace(
            children=waiting, restarts=restarts[: root.spec.intensity], mailbox=(), jobs={}, renewing=()
        )
    }
    machine.copied = {root.path}
    machine.starts[root.path] = machine.starts.get(root.path, 0) + 1
    if root.spec.dynamic:
        for id in waiting:
            machine.begin(root.path, id, Job("restart", starts=(id,), id=id))
    else:
        machine.begin(root.path, "", Job("group" if root.started else "boot", starts=tuple(waiting)))


def _leave(machine: Machine, code: int, reason: str) -> None:
    reloading.abandon(machine, f"the tree has ended: {reason}")
    machine.phase, machine.supervisors, machine.reason = "done", {}, reason
    machine.actions.append(Exit(code, reason))


def _forget_all(machine: Machine) -> None:
    """Answer every open request and cancel every timer: nobody is left to do it later."""
    for supervisor in machine.supervisors.values():
        waiting = [message.number for message in supervisor.mailbox if isinstance(message, Request)]
        for number in [*(job.request for job in supervisor.jobs.values()), *waiting]:
            machine.unserved(number, "the whole tree is being started again")
        for child in supervisor.children.values():
            machine.disarm(child)
