"""What people and programs are shown of a tree: plain frozen values made from the state, nothing that decides.

The status writer joins these with what only it knows (pid, memory, stderr of the dead).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from supervisor.policy.state import Child, State, Status, Supervisor
from supervisor.spec import AnySpec, SupervisorSpec


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker as the policy sees it. `restarts`: starts after the first, over the life of the tree."""

    id: str
    path: str
    name: str
    state: Status
    incarnation: int
    restarts: int
    restart: str
    reason: str = ""  # why it is parked, terminated, restarting
    kind: Literal["worker"] = "worker"


@dataclass(frozen=True, slots=True)
class SupervisorView:
    """A supervisor and everything below it, in start order. Not live ones are shown with their static children."""

    id: str
    path: str
    strategy: str
    state: Status
    restarts: int
    restart: str
    reason: str = ""
    children: tuple[SupervisorView | WorkerView, ...] = ()
    kind: Literal["supervisor"] = "supervisor"


def view(state: State) -> SupervisorView:
    """The whole tree, from the root."""
    root = state.tree.root
    phases: dict[str, Status] = {"new": "waiting", "up": "running", "lost": "restarting"}
    phases |= {"leaving": "stopping", "stopping": "stopping"}
    status = phases.get(state.phase, "terminated")
    live = state.supervisors.get(root.id)
    if state.phase == "up" and live is not None and not live.started:
        status = "starting"
    return _supervisor(state, root, root.id, status, state.reason)


def _supervisor(state: State, spec: SupervisorSpec, path: str, status: Status, reason: str) -> SupervisorView:
    live = state.supervisors.get(path)
    if live is not None:
        children = tuple(_child(state, child) for child in live.children.values())
    else:
        children = tuple(_dead(state, child, f"{path}/{child.id}", status) for child in spec.children)
    restarts = max(0, state.starts.get(path, 0) - 1)
    return SupervisorView(spec.id, path, spec.strategy, status, restarts, spec.restart, reason, children)


def _child(state: State, child: Child) -> SupervisorView | WorkerView:
    status: Status = "restarting" if child.gone and child.status == "running" else child.status
    if isinstance(child.spec, SupervisorSpec):
        return _supervisor(state, child.spec, child.path, status, child.reason)
    restarts = max(0, state.starts.get(child.path, 0) - 1)
    return WorkerView(
        child.spec.id, child.path, child.name, status, child.incarnation, restarts, child.spec.restart, child.reason
    )


def _dead(state: State, spec: AnySpec, path: str, status: Status) -> SupervisorView | WorkerView:
    """A child of a supervisor that is not there: it waits for its supervisor, or has ended with it."""
    shown: Status = "waiting" if status in ("waiting", "starting", "restarting") else "terminated"
    if isinstance(spec, SupervisorSpec):
        return _supervisor(state, spec, path, shown, "")
    return WorkerView(spec.id, path, spec.id, shown, 0, max(0, state.starts.get(path, 0) - 1), spec.restart)


def children_of(supervisor: Supervisor) -> list[list[str]]:
    """`[[id, running | restarting | terminated | …], …]` as OTP's which_children says it: the last started comes first.

    A child whose end has not been handled yet counts as running, as OTP still shows its pid.
    """
    return [[id, outward(child)] for id, child in reversed(supervisor.children.items())]  # type: ignore[call-overload]  # a dict


def outward(child: Child) -> str:
    """The state of a child in OTP's three words; and `starting` and `parked`, which only dynamic children can be."""
    if child.status in ("running", "stopping"):
        return "running"
    if child.status in ("starting", "restarting", "parked"):
        return child.status
    return "terminated"


def counts(supervisor: Supervisor) -> dict[str, int]:
    """count_children: specs (of a dynamic supervisor one, its template), active (a process exists), supervisors, workers."""
    children = list(supervisor.children.values())
    supervisors = sum(isinstance(child.spec, SupervisorSpec) for child in children)
    return {
        "specs": 1 if supervisor.spec.dynamic else len(children),
        "active": sum(child.alive for child in children),
        "supervisors": supervisors,
        "workers": len(children) - supervisors,
    }
