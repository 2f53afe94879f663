"""A reload: a running tree becomes another one, and only what is different is touched.

Two waves through the whole tree: every supervisor concerned stops what has to go, in the reverse of the start order,
and waits; when all of that is gone, everything is started in order. So a process that moves to another supervisor is
never there twice, and what depends on another is down while that is replaced. Supervisors that nothing is different
about do not take part. What is different is `changes`' business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor.policy import changes as changes
from supervisor.policy.events import Reloaded, Revised
from supervisor.policy.state import Child, Job, Reloading, Renew, Revise, Supervisor, fresh_child
from supervisor.policy.table import PHASES
from supervisor.spec import ChildSpec, SupervisorSpec, Tree, walk

if TYPE_CHECKING:
    from supervisor.policy.engine import Machine

SHOWN = 8  # names of each kind in the text of a result


def reload(machine: Machine, tree: Tree) -> None:
    """Refuse the new tree and say why, or have the root supervisor take it up when it is free."""
    fault = _refusal(machine, tree)
    if fault:
        machine.actions.append(Reloaded(False, f"refused: {fault}"))
        return
    machine.tree = tree
    root = machine.supervisors.get(tree.root.id)
    if root is None:
        machine.actions.append(Reloaded(True, "nothing had been started yet"))
        return
    waiting = [message for message in root.mailbox if isinstance(message, Revise)]
    if waiting:
        machine.put(root._replace(mailbox=tuple(message for message in root.mailbox if message not in waiting)))
        machine.actions.append(Reloaded(False, "given up: a newer one came before it could begin"))
    machine.post(root.path, Revise(tree.root))


def _refusal(machine: Machine, tree: Tree) -> str:
    old, new = machine.tree.root, tree.root
    live = machine.supervisors.get(old.id)
    if PHASES[machine.phase]["reload"] == "refuse" or (live is not None and live.exiting):
        return "the tree is stopping"
    if old.id != new.id:
        return f"the root supervisor is {old.id!r} and would become {new.id!r}; that is another tree: start it anew"
    if not changes.same_kind(old, new):
        return f"{old.id!r} cannot change between static and dynamic while it runs; start the tree anew"
    return _clash(machine, tree) if tree.unique_names else ""


def _clash(machine: Machine, tree: Tree) -> str:
    """A name of the new file that a child has which was added at run time somewhere else, and stays."""
    taken = {(isinstance(spec, ChildSpec), spec.id): path for path, spec in walk(tree.root)}
    for path, supervisor in machine.supervisors.items():
        if supervisor.spec.dynamic:
            continue
        job = supervisor.jobs.get("")
        known = {spec.id for spec in supervisor.spec.children} | set(job.change.drops if job is not None else ())
        for child in supervisor.children.values():
            if child.spec.id in known:
                continue
            for place, spec in walk(child.spec, path):
                other = taken.get((isinstance(spec, ChildSpec), spec.id), place)
                if other != place:
                    return (
                        f"{other!r} would have the name of {place!r}, which was added at run time; "
                        "terminate and delete that first, or choose another id"
                    )
    return ""


# ---- a static supervisor -------------------------------------------------------------------------------------------


def revise(machine: Machine, path: str, spec: SupervisorSpec) -> None:
    """The supervisor is free and takes up its new spec. Nothing below it is started before its parent says so."""
    supervisor = machine.supervisors[path]
    if not supervisor.parent:
        machine.reloading = Reloading()
    if supervisor.exiting:
        return  # a dynamic root that ends; whoever asked is told when it has
    if supervisor.spec.dynamic:
        swap(machine, path, spec)
        if not supervisor.parent and not renew(machine, path):
            _end(machine)
        return
    plan = changes.plan(supervisor, spec, _with_unstarted(machine))
    machine.copied.add(path)
    restarts = supervisor.restarts[: spec.intensity]  # more of them mean nothing to the new limit
    machine.put(supervisor._replace(spec=spec, children=plan.children, restarts=restarts))
    for id in plan.changed:
        _told(machine, plan.children[id])
    _note(
        machine,
        added=[f"{path}/{id}" for id in plan.added],
        removed=[f"{path}/{id}" for id in plan.removed],
        restarted=[f"{path}/{id}" for id in plan.restarted],
        changed=[*_different(supervisor, spec), *(f"{path}/{id}" for id in plan.changed)],
    )
    held = bool(supervisor.parent and plan.starts)
    machine.begin(path, "", Job("reload", plan.stops, plan.starts, held=held, change=plan.change))


def _different(supervisor: Supervisor, spec: SupervisorSpec) -> list[str]:
    return [] if changes.same(changes.own(supervisor.spec), changes.own(spec)) else [supervisor.path]


def pause(machine: Machine, path: str, id: str) -> bool:
    """First wave: a supervisor that stays stops what has to go below it. False when there is nothing to wait for."""
    child = machine.child(path, id)
    assert isinstance(child.spec, SupervisorSpec)
    below = machine.supervisors.get(child.path)
    if not child.alive or below is None:
        return False  # it ended meanwhile; when it is started again, it is by its new spec
    if below.spec.dynamic:
        swap(machine, child.path, child.spec)
        return False
    machine.post(child.path, Revise(child.spec))
    return True


def resume(machine: Machine, path: str, id: str, job: Job) -> bool:
    """Second wave: start this child, or what is to start below it. False when there is nothing to wait for."""
    child = machine.child(path, id)
    if id not in job.change.kept:
        if id in job.change.swaps:
            machine.forget_below(child)
            spec = next(spec for spec in machine.supervisors[path].spec.children if spec.id == id)
            machine.set_child(path, fresh_child(machine.supervisors[path].spec, path, spec))
        elif child.row or child.planned:
            machine.set_child(path, child._replace(row=0, planned=()))  # another program: it has not crashed yet
        machine.begin_start(path, id)
        return True
    below = machine.supervisors.get(child.path) if child.alive else None
    if below is None:
        return False
    if below.spec.dynamic:
        return renew(machine, child.path)
    own = below.jobs.get("")
    if own is None or own.kind != "reload":
        return False
    machine.set_job(child.path, "", own._replace(held=False))
    machine.advance(child.path, "")
    return True


def not_started(machine: Machine, path: str, lane: str, job: Job, child: Child) -> None:
    """It stays down with its reason and nothing is tried again: a bad edit must not become a storm of restarts."""
    _note(machine, failed=[f"{child.path}: {child.reason}"])
    if job.kind == "reload":
        machine.set_job(path, lane, job._replace(waiting=()))
        machine.advance(path, lane)
        return
    machine.set_child(path, child._replace(status="parked", reason=f"did not start in a reload: {child.reason}"))
    machine.set_job(path, lane, None)
    finished(machine, path, job)


def finished(machine: Machine, path: str, job: Job) -> None:
    """A part of a reload is done: whoever waits for it goes on."""
    supervisor = machine.supervisors[path]
    if job.kind == "renew":
        _renewed(machine, path, job.id)
    elif supervisor.parent:
        machine.awaited(supervisor.parent, supervisor.spec.id)
    else:
        _end(machine)


# ---- a dynamic supervisor ------------------------------------------------------------------------------------------


def swap(machine: Machine, path: str, spec: SupervisorSpec) -> None:
    """A dynamic supervisor gets another spec: what starts from now on is by the new template."""
    supervisor = machine.supervisors[path]
    template = spec.template
    assert template is not None
    children, renewing, changed = {}, [], []
    for id, child in supervisor.children.items():
        new = template.instance(id, child.given)
        assert isinstance(child.spec, ChildSpec)
        if (child.unstarted and child.status == "parked") or (child.alive and changes.reborn(child.spec, new)):
            renewing.append((id, child.incarnation))
        elif child.alive and not changes.same(child.spec, new):
            changed.append(id)
        children[id] = child._replace(spec=new)
    machine.copied.add(path)
    restarts = supervisor.restarts[: spec.intensity]
    machine.put(supervisor._replace(spec=spec, children=children, restarts=restarts, renewing=tuple(renewing)))
    for id in changed:
        _told(machine, children[id])
    _note(
        machine,
        restarted=[children[id].path for id, _ in renewing],
        changed=[*_different(supervisor, spec), *(children[id].path for id in changed)],
    )


def renew(machine: Machine, path: str) -> bool:
    """Start the children of a dynamic supervisor anew, side by side. False when there are none to wait for."""
    renewing = machine.supervisors[path].renewing
    for id, incarnation in renewing:
        if id in machine.supervisors[path].jobs:
            machine.post(path, Renew(id, incarnation))
        else:
            renew_child(machine, path, id, incarnation)
    return bool(renewing)


def renew_child(machine: Machine, path: str, id: str, incarnation: int) -> None:
    """Stop and start one child, unless that life of it is over: then it has the new template, or will have it."""
    child = machine.supervisors[path].children.get(id)
    if child is not None and child.incarnation == incarnation and (child.alive or child.unstarted):
        machine.begin(path, id, Job("renew", (id,), (id,), id=id))
    else:
        _renewed(machine, path, id)


def _renewed(machine: Machine, path: str, id: str) -> None:
    supervisor = machine.supervisors[path]
    renewing = tuple(each for each in supervisor.renewing if each[0] != id)
    machine.put(supervisor._replace(renewing=renewing))
    if renewing or not supervisor.renewing:
        return
    machine.awake.append(path)  # for a reload that waited for this one
    if supervisor.parent:
        machine.awaited(supervisor.parent, supervisor.spec.id)
    else:
        _end(machine)


# ---- the answer ------------------------------------------------------------------------------------------------------


def abandon(machine: Machine, why: str) -> None:
    """The tree ends: answer the reload under way, and one that waits."""
    root = machine.supervisors.get(machine.tree.root.id)
    waiting = [message for message in root.mailbox if isinstance(message, Revise)] if root is not None else []
    if root is not None and waiting:
        machine.put(root._replace(mailbox=tuple(message for message in root.mailbox if message not in waiting)))
    for _ in [*waiting, *([machine.reloading] if machine.reloading is not None else [])]:
        machine.actions.append(Reloaded(False, f"given up: {why}"))
    machine.reloading = None


def taken_up(machine: Machine, root: Supervisor) -> tuple[Supervisor, set[str]]:
    """The root supervisor as reloads under way and waiting want it, when nothing is left and all is to be started.

    Second: ids of children that are there for the first time.
    """
    added: set[str] = set()
    job = root.jobs.get("")
    if job is not None and job.kind == "reload":
        root, added = _merged(root, dict(root.children), job.change.drops, job.change.swaps), set(job.starts)
    for message in [message for message in root.mailbox if isinstance(message, Revise)]:
        if root.spec.dynamic:
            machine.put(root)
            swap(machine, root.path, message.spec)
            root = machine.supervisors[root.path]
        else:
            plan = changes.plan(root, message.spec, ())
            root = _merged(root._replace(spec=message.spec), plan.children, plan.change.drops, plan.change.swaps)
            added |= set(plan.starts)
        machine.actions.append(Reloaded(True, "taken up when everything was started again"))
    if machine.reloading is not None:
        machine.actions.append(Reloaded(True, "finished when everything was started again"))
    machine.reloading = None
    return root, added


def _merged(root: Supervisor, children: dict[str, Child], drops: tuple[str, ...], swaps: tuple[str, ...]) -> Supervisor:
    specs = {spec.id: spec for spec in root.spec.children}
    swapped = {id: fresh_child(root.spec, root.path, specs[id]) for id in swaps}
    return root._replace(children={id: swapped.get(id, child) for id, child in children.items() if id not in drops})


def _end(machine: Machine) -> None:
    if machine.reloading is not None:
        machine.actions.append(Reloaded(not machine.reloading.failed, describe(machine.reloading)))
        machine.reloading = None


def describe(done: Reloading) -> str:
    """What a reload has done, in one line."""
    words = (
        ("restarted", done.restarted),
        ("added", done.added),
        ("removed", done.removed),
        ("changed without a restart", done.changed),
        ("DID NOT START", done.failed),
    )
    return "; ".join(f"{word} {_listed(paths)}" for word, paths in words if paths) or "nothing is different"


def _listed(paths: tuple[str, ...]) -> str:
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(paths[:SHOWN]) + more


def _note(machine: Machine, **paths: list[str]) -> None:
    if machine.reloading is not None:
        machine.reloading = machine.reloading._replace(
            **{name: (*getattr(machine.reloading, name), *more) for name, more in paths.items() if more}
        )


def _told(machine: Machine, child: Child) -> None:
    assert isinstance(child.spec, ChildSpec)
    machine.actions.append(Revised(child.path, child.incarnation, child.spec))


def _with_unstarted(machine: Machine) -> set[str]:
    """Paths of live supervisors with a child that is down because it did not start, and of all above them."""
    found: set[str] = set()
    for path, supervisor in machine.supervisors.items():
        if any(child.unstarted and child.status in ("terminated", "parked") for child in supervisor.children.values()):
            while path:
                found.add(path)
                path = machine.supervisors[path].parent
    return found
