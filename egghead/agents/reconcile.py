"""Who should run against who runs, and who sits in which room: pure decisions of the roster.

Level, not edge: what is compared is what should be and what is, so a change that comes twice, late, or while another is
under way leads to the same end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from egghead.agents.record import AgentSpec, unusable
from egghead.rooms.names import agent_of_room
from egghead.rooms.state import RoomState

RUNNING, RESTARTING, PARKED, TERMINATED, FAILED = "running", "restarting", "parked", "terminated", "failed"


@dataclass(frozen=True)
class Running:
    """One child as it is. `spec` None: nobody knows what it was started with. `reason` for parked and failed."""

    spec: AgentSpec | None
    state: str = RUNNING
    reason: str = ""


@dataclass(frozen=True)
class Start:
    spec: AgentSpec

    @property
    def id(self) -> str:
        return self.spec.id


@dataclass(frozen=True)
class Stop:
    id: str


@dataclass(frozen=True)
class Swap:
    """Stop the child and start it with the new spec. `old` None when nobody knows it."""

    old: AgentSpec | None
    spec: AgentSpec

    @property
    def id(self) -> str:
        return self.spec.id


Action = Start | Stop | Swap


_ELSEWHERE: dict[str, Any] = {"problems": (), "cost_per_day": None, "tokens_per_day": None}


def same(one: AgentSpec | None, other: AgentSpec | None) -> bool:
    """Whether two specs make the same process: what is wrong with a record does not run, and what it may spend is `llm`'s
    business."""
    if one is None or other is None:
        return False
    return one == other or replace(one, **_ELSEWHERE) == replace(other, **_ELSEWHERE)


def reconcile(
    desired: Mapping[str, AgentSpec], actual: Mapping[str, Running], only: Iterable[str] | None = None
) -> tuple[Action, ...]:
    """What to do so that the running agents become the desired ones; by id. `only`: look at these alone.

    A child that failed to start, or was parked, is left alone until its spec is another: a crash loop is not cured by
    starting it again. An id that cannot name a process is not started.
    """
    actions: list[Action] = []
    for id in sorted({*desired, *actual} if only is None else only):
        spec, child = desired.get(id), actual.get(id)
        if spec is not None and unusable(id) is not None:
            spec = None
        if spec is None:
            if child is not None and child.state != FAILED:
                actions.append(Stop(id))
        elif child is None or (child.state == FAILED and not same(child.spec, spec)):
            actions.append(Start(spec))
        elif child.state == TERMINATED or (child.state != FAILED and not same(child.spec, spec)):
            actions.append(Swap(child.spec, spec))
    return tuple(actions)


def held(old: Mapping[str, AgentSpec], new: Mapping[str, AgentSpec], broken: Mapping[str, str]) -> dict[str, AgentSpec]:
    """The new roll, in which an agent whose record became unreadable keeps its old spec and says why.

    `broken`: record id -> what is wrong, for the records of `old` that are still there but cannot be read.
    """
    kept = dict(new)
    for id, spec in old.items():
        reason = broken.get(spec.record)
        if spec.builtin or reason is None:
            continue
        problem = f"the record is broken, the agent goes on as it was: {reason}"
        kept[id] = replace(spec, problems=(problem,))
    return kept


def gone(old: Mapping[str, AgentSpec], new: Mapping[str, AgentSpec]) -> tuple[str, ...]:
    """Records that made an agent before and do not now: deleted, of another class, or broken; the store knows which."""
    missing = [spec.record for id, spec in old.items() if not spec.builtin and _lost(spec, new.get(id))]
    return tuple(sorted(missing))


def _lost(old: AgentSpec, new: AgentSpec | None) -> bool:
    return new is None or new.record != old.record or new.builtin


def entry_id(kind: str, agent: str, about: object) -> str:
    """An entry id made from what the entry says, for an append that may be repeated. Agent ids may have letters that
    an entry id may not, so they are hashed."""
    digest = hashlib.blake2s(f"{agent}\0{about}".encode(), digest_size=10).hexdigest()
    return f"{kind}.{digest}"


def muster(
    state: RoomState, desired: Mapping[str, AgentSpec], parked: Mapping[str, str], only: Iterable[str] | None = None
) -> list[dict[str, Any]]:
    """The entries that make a room's roster what it should be, [] when it is.

    Every agent that is not idle sits in every room, an idle one where somebody invited it, in a 1:1 room only the one
    it is for; whom a person kicked stays out. `only`: look at these agents alone.
    """
    direct = agent_of_room(state.room)
    found: list[dict[str, Any]] = []
    looked_at = sorted({*desired, *state.members} if only is None else only)
    for id in looked_at:
        spec, member = desired.get(id), state.members.get(id)
        if spec is None or unusable(id) is not None:
            if member is not None:
                found.append(_entry("left", state, id, member.title))
        elif member is None:
            if id not in state.kicked and (id == direct if direct is not None else not spec.idle):
                found += _told("joined", state, spec, parked)
        elif member.title != spec.title:
            found += _told("reloaded", state, spec, parked)
        elif id in parked and member.parked is None:
            found.append(_parked(state, spec, parked))
        elif id not in parked and member.parked is not None:
            found += _told("joined", state, spec, parked)
    return found


def _told(kind: str, state: RoomState, spec: AgentSpec, parked: Mapping[str, str]) -> list[dict[str, Any]]:
    """That an agent came, or has a new title: either says that it runs, unless it is added that it is parked."""
    came = _entry(kind, state, spec.id, spec.title)
    return [came, _parked(state, spec, parked)] if spec.id in parked else [came]


def _parked(state: RoomState, spec: AgentSpec, parked: Mapping[str, str]) -> dict[str, Any]:
    return {**_entry("parked", state, spec.id, spec.title), "text": parked[spec.id] or "it crashed too often"}


def _entry(kind: str, state: RoomState, agent: str, title: str) -> dict[str, Any]:
    # The room's last seq makes it new each time it becomes true again, and the same when the append is repeated.
    return {"id": entry_id(kind, agent, state.last), "kind": kind, "agent": agent, "title": title}
