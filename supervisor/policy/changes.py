"""What is different between a live supervisor and a new spec for it: who stops, who starts, who does not notice. Pure.

Source: code_change/3 and update_childspec/2 of `supervisor.erl` replace the specs and start nothing. A tree file says
what shall run, so here the processes follow, by the rules in docs/supervisor.md ("Reload"). How a plan is carried out
is `reload`'s business.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple

from supervisor.policy import rules as rules
from supervisor.policy.state import Change, Child, Supervisor, fresh_child
from supervisor.spec import AnySpec, ChildSpec, Profile, SupervisorSpec

# What a process is born with: it can only be had by another process.
BIRTH = ("start", "args", "env", "rlimits", "confine", "control", "observe", "allow")


class Plan(NamedTuple):
    """What to do with the children of one static supervisor. `children`: in the new order, those that leave last.

    `stops` is in reverse start order and `starts` in the new one. `changed`: running workers with another spec and no
    restart. The other three are for people.
    """

    children: dict[str, Child]
    stops: tuple[str, ...]
    starts: tuple[str, ...]
    change: Change
    changed: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    restarted: tuple[str, ...]


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types all the way down: 1, 1.0 and true are different arguments for a program."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if type(one) is not type(other):
        return False
    if is_dataclass(one):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    return bool(one == other) or (one != one and other != other)  # not a number is no change either


def same_kind(one: AnySpec, other: AnySpec) -> bool:
    """Can one become the other in place? Not a worker a supervisor, nor a static supervisor a dynamic one."""
    if isinstance(one, SupervisorSpec) and isinstance(other, SupervisorSpec):
        return one.dynamic == other.dynamic
    return type(one) is type(other)


def reborn(old: ChildSpec, new: ChildSpec) -> bool:
    """Does this change of a worker need another process?"""
    if old.heartbeat is None and new.heartbeat is not None:
        return True  # it was given no page to beat on
    return any(not same(_born(old, name), _born(new, name)) for name in BIRTH)


def _born(spec: ChildSpec, name: str) -> Any:
    value = getattr(spec, name)
    return replace(value, name="") if isinstance(value, Profile) else value  # what a profile is called confines nobody


def plan(supervisor: Supervisor, new: SupervisorSpec, retry: Collection[str]) -> Plan:
    """What a static supervisor has to do to become `new`. `retry`: paths of supervisors with a child to try again.

    Compared is the file with the file: what was added, deleted or terminated at run time stays so, unless the file
    says something new about it.
    """
    old = {spec.id: spec for spec in supervisor.spec.children}
    wanted = {spec.id: spec for spec in new.children}
    live = supervisor.children
    children: dict[str, Child] = {}
    fresh: set[str] = set()  # to be started, whatever they are now
    kept: set[str] = set()
    swaps: set[str] = set()
    changed: list[str] = []
    added: list[str] = []
    for id, spec in wanted.items():
        known = id in old and same(old[id], spec)
        child = live.get(id)
        if child is None:
            if not known:
                children[id] = fresh_child(new, supervisor.path, spec)
                fresh.add(id)
                added.append(id)
            continue
        again = child.unstarted and child.status == "terminated"
        if known or same(child.spec, spec):
            if again:
                fresh.add(id)
            elif child.alive and child.path in retry:
                kept.add(id)
            children[id] = child
        elif not same_kind(child.spec, spec):
            fresh.add(id)
            swaps.add(id)
            children[id] = child
        else:
            children[id] = child._replace(spec=spec)
            if isinstance(spec, SupervisorSpec) and child.alive:
                kept.add(id)
            elif again or _new_inside(child.spec, spec):
                fresh.add(id)
            elif child.alive:
                changed.append(id)
    children |= {id: child for id, child in live.items() if id not in old and id not in wanted}
    leaving = [id for id in live if id in old and id not in wanted]
    order = list(children)
    children |= {id: live[id] for id in leaving}

    # A death that was not handled yet counts too: it is not handled any more once the child is replaced.
    broken = [id for id in live if (live[id].alive or live[id].gone) and (id in fresh or id in leaving)]
    fresh |= _dependents(new.strategy, list(live), order, broken, children)
    fresh, left = _pending(supervisor, new, children, order, fresh)
    kept -= fresh
    children |= {id: fresh_child(new, supervisor.path, wanted[id]) for id in swaps & left}
    again_started = [id for id in order if id in fresh and id in live]
    return Plan(
        children,
        stops=tuple(id for id in reversed(list(live)) if id in fresh or id in kept or id in leaving),
        starts=tuple(id for id in order if id in fresh or id in kept),
        change=Change(_in(order, kept), tuple(leaving), _in(order, swaps - left)),
        changed=tuple(changed),
        added=tuple(added),
        removed=tuple(leaving),
        restarted=tuple(again_started),
    )


def _in(order: list[str], ids: set[str]) -> tuple[str, ...]:
    return tuple(id for id in order if id in ids)


def own(spec: SupervisorSpec) -> SupervisorSpec:
    """A supervisor without what is below it."""
    return replace(spec, children=(), template=None)


def _new_inside(old: AnySpec, new: AnySpec) -> bool:
    """A change of something that is down, by which it is to be started."""
    if isinstance(old, ChildSpec) and isinstance(new, ChildSpec):
        return reborn(old, new)
    assert isinstance(old, SupervisorSpec) and isinstance(new, SupervisorSpec)
    return not same((old.children, old.template), (new.children, new.template))


def _dependents(
    strategy: str, before: list[str], after: list[str], broken: list[str], children: Mapping[str, Child]
) -> set[str]:
    """Those that must not outlive what is stopped: by their strategy they would be restarted with it after a crash.

    Under rest_for_one they are all that come after it, in the old order (they have known it) or in the new one.
    """
    if not broken or strategy not in ("one_for_all", "rest_for_one"):
        return set()
    if strategy == "one_for_all":
        found = set(after)
    else:
        found = set(before[before.index(broken[0]) :])
        firsts = [after.index(id) for id in broken if id in after]
        found |= set(after[min(firsts) :]) if firsts else set()
    return {id for id in found if id in after and children[id].alive}


def _pending(
    supervisor: Supervisor, new: SupervisorSpec, children: Mapping[str, Child], order: list[str], fresh: set[str]
) -> tuple[set[str], set[str]]:
    """Who is started now, when a group restart is held back (backoff, or its next attempt is in the mailbox).

    It goes on if it still brings back everybody who waits for it; then what is down and changed waits with it, and is
    left out (second value). Else nobody would start the rest of the group, so all of it is started now.
    """
    fresh = set(fresh)
    pending = [id for id, child in supervisor.children.items() if child.status == "restarting"]
    for _ in pending:  # one that is started now may take another with it
        for id in pending:
            group = rules.group(supervisor.spec.strategy, supervisor.children, id)
            waiting = {other for other in group if other in order and not children[other].alive}
            if id in fresh or not waiting <= _group(new, order, id):
                fresh |= waiting
    covered = {other for id in pending if id not in fresh for other in _group(new, order, id)}
    left = {id for id in fresh & covered if not children[id].alive}
    return fresh - left, left


def _group(new: SupervisorSpec, order: list[str], id: str) -> set[str]:
    return set(rules.group(new.strategy, order, id)) if id in order else set()
