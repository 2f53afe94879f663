"""The calls on a supervisor: start_child, terminate_child, restart_child, delete_child, which_children, count_children,
and past OTP park and unpark. Each is answered exactly once, with OTP's word.

Only what a call does once its supervisor has come to it; queueing is `engine`'s business.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from supervisor.errors import nearest
from supervisor.policy import rules as rules
from supervisor.policy.events import Request
from supervisor.policy.state import Job, Supervisor, fresh_child
from supervisor.policy.table import CALLS, PHASES, REFUSED, Answer
from supervisor.policy.view import children_of, counts
from supervisor.spec import AnySpec, ChildSpec, process_name, walk

if TYPE_CHECKING:
    from supervisor.policy.engine import Machine


def receive(machine: Machine, request: Request) -> None:
    """Put a call in the mailbox of its supervisor, named by id or by path, or reply why there is none."""
    path = _live(machine, request.supervisor)
    if path is not None and PHASES[machine.phase]["request"] == "queue":
        machine.post(path, request)
    elif path is not None:
        machine.reply(request.number, "error", detail="the tree is stopping or starting again")
    elif any(request.supervisor in (path, spec.id) for path, spec in machine.tree.supervisors()):
        machine.reply(request.number, "error", detail=f"supervisor {request.supervisor!r} is not running")
    else:
        known = nearest(request.supervisor, (spec.id for _, spec in machine.tree.supervisors()))
        machine.reply(request.number, "not_found", detail=f"there is no supervisor {request.supervisor!r}{known}")


def _live(machine: Machine, supervisor: str) -> str | None:
    if supervisor in machine.supervisors:
        return supervisor
    return next((path for path, live in machine.supervisors.items() if live.spec.id == supervisor), None)


def answer(machine: Machine, path: str, request: Request) -> None:
    """Do what the request asks, or reply why not."""
    supervisor = machine.supervisors[path]
    remedy = REFUSED["dynamic" if supervisor.spec.dynamic else "static"].get(request.method)
    if request.method == "which_children":
        machine.reply(request.number, "ok", children_of(supervisor))
    elif request.method == "count_children":
        machine.reply(request.number, "ok", counts(supervisor))
    elif remedy is not None:
        kind = "a dynamic supervisor" if supervisor.spec.dynamic else "children of a tree file"
        detail = f"{request.method} is not for {kind} ({path!r}); use {remedy}"
        machine.reply(request.number, "error", detail=detail)
    elif request.method == "start_child":
        _start_child(machine, path, request)
    else:
        child = supervisor.children.get(request.id)
        _do(machine, path, request, CALLS[child.status if child is not None else "absent"][request.method])


def _do(machine: Machine, path: str, request: Request, outcome: Answer) -> None:
    """Carry out what the table says of a call on the child `request.id`."""
    id, number = request.id, request.number
    match outcome:
        case "stop":
            job = Job("terminate_child", (id,), request=number, id=id, reason="terminated on request")
            machine.begin(path, _lane(machine, path, id), job)
        case "park":
            machine.begin(path, id, Job("park", (id,), request=number, id=id, reason="parked on request"))
        case "start":
            reason = "unpark" if request.method == "unpark" else ""
            if reason:
                machine.set_child(path, machine.child(path, id)._replace(budget=(), row=0, planned=()))
            job = Job("restart_child", starts=(id,), request=number, id=id, reason=reason)
            machine.begin(path, _lane(machine, path, id), job)
        case "delete":
            machine.drop_child(path, id)
            machine.reply(number, "ok")
        case _:
            machine.reply(number, outcome, detail=_why(machine, path, id))


def _why(machine: Machine, path: str, id: str) -> str:
    child = machine.supervisors[path].children.get(id)
    return f"{path!r} has no child {id!r}" if child is None else f"{child.path!r} is {child.status}"


def _lane(machine: Machine, path: str, id: str) -> str:
    return id if machine.supervisors[path].spec.dynamic else ""


def _start_child(machine: Machine, path: str, request: Request) -> None:
    supervisor = machine.supervisors[path]
    spec, fault = _requested_spec(supervisor, request)
    if spec is None:
        machine.reply(request.number, "error", detail=fault)
        return
    present = supervisor.children.get(spec.id)
    if present is not None:
        _do(machine, path, replace(request, id=spec.id), CALLS[present.status]["start_child"])
        return
    fault = _taken(machine, supervisor, spec)
    limit = supervisor.spec.max_children
    if not fault and limit is not None and len(supervisor.children) >= limit:
        fault = f"{path!r} has {limit} children already; raise max_children"
    if fault:
        machine.reply(request.number, "error", detail=fault)
        return
    machine.set_child(path, fresh_child(supervisor.spec, path, spec, request.args))
    machine.begin(
        path, _lane(machine, path, spec.id), Job("start_child", starts=(spec.id,), request=request.number, id=spec.id)
    )


def _requested_spec(supervisor: Supervisor, request: Request) -> tuple[AnySpec | None, str]:
    if supervisor.spec.dynamic:
        template, id = supervisor.spec.template, request.id or (request.spec.id if request.spec is not None else "")
        if template is None or not id:
            return None, f"start_child under {supervisor.path!r} needs an id"
        return template.instance(id, request.args), ""
    if request.spec is None:
        return None, f"start_child under {supervisor.path!r} needs a spec: it has no template"
    fault = rules.spec_fault(supervisor.spec, request.spec)
    return (None, fault) if fault else (request.spec, "")


def _taken(machine: Machine, supervisor: Supervisor, spec: AnySpec) -> str:
    """Names of processes and ids of supervisors are addresses: two of one name would get each other's mail."""
    if not machine.tree.unique_names or supervisor.spec.dynamic:
        return ""
    workers = {child.id for _, child in machine.tree.workers()}
    supervisors = {child.id for _, child in machine.tree.supervisors()}
    for live in machine.supervisors.values():
        supervisors.add(live.spec.id)
        workers.update(child.name for child in live.children.values() if isinstance(child.spec, ChildSpec))
    own = {(path.rpartition("/")[0], below.id) for path, below in walk(supervisor.spec, supervisor.parent)}
    for path, below in walk(spec, supervisor.path):
        if (path.rpartition("/")[0], below.id) in own:
            continue  # it is this supervisor's own spec coming back after delete_child
        if below.id in (workers if isinstance(below, ChildSpec) else supervisors):
            return f"the name {process_name(supervisor.spec, below.id)!r} is already used in this tree"
    return ""
