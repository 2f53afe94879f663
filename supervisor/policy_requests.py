"""The calls on a supervisor: start_child, terminate_child, restart_child, delete_child, which_children, count_children,
and past OTP park and unpark. Each is answered exactly once, with OTP's word.

Only what a call does once its supervisor has come to it; queueing is `policy_engine`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from supervisor import policy_rules as rules
from supervisor.errors import nearest
from supervisor.policy_events import Method, Request
from supervisor.policy_state import Child, Job, Supervisor, fresh_child
from supervisor.policy_view import children_of, counts
from supervisor.spec import AnySpec, ChildSpec, process_name, walk

if TYPE_CHECKING:
    from supervisor.policy_engine import Machine


def receive(machine: Machine, request: Request) -> None:
    """Put a call in the mailbox of its supervisor, named by id or by path, or reply why there is none."""
    path = _live(machine, request.supervisor)
    if path is not None and machine.phase == "up":
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
    _HANDLERS[request.method](machine, path, request)


def _lane(machine: Machine, path: str, id: str) -> str:
    return id if machine.supervisors[path].spec.dynamic else ""


def _found(machine: Machine, path: str, request: Request) -> Child | None:
    child = machine.supervisors[path].children.get(request.id)
    if child is None:
        machine.reply(request.number, "not_found", detail=f"{path!r} has no child {request.id!r}")
    return child


def _start_child(machine: Machine, path: str, request: Request) -> None:
    supervisor = machine.supervisors[path]
    spec, fault = _requested_spec(supervisor, request)
    if spec is None:
        machine.reply(request.number, "error", detail=fault)
        return
    present = supervisor.children.get(spec.id)
    if present is not None:
        code = "already_started" if present.status in ("running", "stopping") else "already_present"
        machine.reply(request.number, code, detail=f"{present.path!r} is {present.status}")  # type: ignore[arg-type]
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


def _terminate_child(machine: Machine, path: str, request: Request) -> None:
    if _found(machine, path, request) is not None:
        job = Job(
            "terminate_child", (request.id,), request=request.number, id=request.id, reason="terminated on request"
        )
        machine.begin(path, _lane(machine, path, request.id), job)


def _restart_child(machine: Machine, path: str, request: Request) -> None:
    if _refused_dynamic(machine, path, request):
        return
    child = _found(machine, path, request)
    if child is not None and not _busy(machine, request, child):
        machine.begin(path, "", Job("restart_child", starts=(request.id,), request=request.number, id=request.id))


def _delete_child(machine: Machine, path: str, request: Request) -> None:
    if _refused_dynamic(machine, path, request):
        return
    child = _found(machine, path, request)
    if child is not None and not _busy(machine, request, child):
        machine.drop_child(path, request.id)
        machine.reply(request.number, "ok")


def _refused_dynamic(machine: Machine, path: str, request: Request) -> bool:
    if not machine.supervisors[path].spec.dynamic:
        return False
    remedy = "unpark" if request.method == "restart_child" else "terminate_child"
    machine.reply(
        request.number, "error", detail=f"{request.method} is not for a dynamic supervisor ({path!r}); use {remedy}"
    )
    return True


def _busy(machine: Machine, request: Request, child: Child) -> bool:
    """A child that has a process, or is about to get one, is neither deleted nor started a second time."""
    if child.status == "restarting":
        machine.reply(request.number, "restarting", detail=f"{child.path!r} waits for its restart")
        return True
    if child.status in ("running", "starting", "stopping"):
        machine.reply(request.number, "running", detail=f"{child.path!r} is {child.status}")
        return True
    return False


def _which_children(machine: Machine, path: str, request: Request) -> None:
    machine.reply(request.number, "ok", children_of(machine.supervisors[path]))


def _count_children(machine: Machine, path: str, request: Request) -> None:
    machine.reply(request.number, "ok", counts(machine.supervisors[path]))


def _park(machine: Machine, path: str, request: Request) -> None:
    if not machine.supervisors[path].spec.dynamic:
        machine.reply(
            request.number, "error", detail=f"only children of a dynamic supervisor are parked, not of {path!r}"
        )
    elif _found(machine, path, request) is not None:
        job = Job("park", (request.id,), request=request.number, id=request.id, reason="parked on request")
        machine.begin(path, request.id, job)


def _unpark(machine: Machine, path: str, request: Request) -> None:
    child = _found(machine, path, request)
    if child is None or _busy(machine, request, child):
        return
    if child.status != "parked":
        machine.reply(
            request.number, "error", detail=f"{child.path!r} is {child.status}, not parked; use restart_child"
        )
        return
    machine.set_child(path, child._replace(budget=(), row=0, planned=()))
    job = Job("restart_child", starts=(request.id,), request=request.number, id=request.id, reason="unpark")
    machine.begin(path, request.id, job)


_HANDLERS: Mapping[Method, Callable[[Machine, str, Request], None]] = {
    "start_child": _start_child,
    "terminate_child": _terminate_child,
    "restart_child": _restart_child,
    "delete_child": _delete_child,
    "which_children": _which_children,
    "count_children": _count_children,
    "park": _park,
    "unpark": _unpark,
}
