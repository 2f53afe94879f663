"""Who speaks next: `decide(state, world, now) -> Decision`, pure.

The driver's law: after every entry and every change of presence the coordinator calls `decide` and appends what it
says in one atomic `append(entries, expect=state.last)`. On Conflict it folds what is new and decides again. Everything
that a decision needs is in its three arguments, so a coordinator has no memory worth keeping and can die between any
two appends: its successor reads the same log and goes on.

A turn whose agent died is given once more, to the new incarnation; a turn that has its agent's answer is only ended.
`now` and all times in `World` are monotonic seconds of the coordinator; no clock is read here.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from egghead.rooms.activation import Card, Plan, Policy, plan_message
from egghead.rooms.entries import MAX_BATCH
from egghead.rooms.fold import fold
from egghead.rooms.names import default_title
from egghead.rooms.relevance import Corpus
from egghead.rooms.state import Handoff, Member, RoomState, Round, Turn, Waiting

Proposed = dict[str, Any]  # an entry before the room has stamped it
_NOTHING: Mapping[Any, Any] = MappingProxyType({})
MAX_HANDOFFS = 3  # lives that may die over one handoff before it is given up


@dataclass(frozen=True, slots=True)
class Present:
    """The agent's process is up and can take a turn."""

    incarnation: int


@dataclass(frozen=True, slots=True)
class Absent:
    """The agent has no process now; `since` in monotonic seconds."""

    since: float


@dataclass(frozen=True, slots=True)
class Parked:
    """The supervisor gave up on the agent."""

    reason: str


Presence = Present | Absent | Parked


@dataclass(frozen=True, slots=True)
class World:
    """What the coordinator knows besides the log.

    `leaving`: agent -> the life that has handed off in any room and is on its way out, and when that was seen;
    `exits`: agent -> its last planned exits. `seen`: seq -> when this coordinator first saw that entry; what it has
    not seen counts from `since`, its own start. An agent without presence is absent since it came into the room, or
    since the coordinator began.
    """

    presence: Mapping[str, Presence] = field(default_factory=lambda: _NOTHING)
    cards: Mapping[str, Card] = field(default_factory=lambda: _NOTHING)
    corpus: Corpus = field(default_factory=Corpus)
    policy: Policy = field(default_factory=Policy)
    paused: Mapping[str, str] = field(default_factory=lambda: _NOTHING)  # who has reached a limit of the day, and why
    leaving: Mapping[str, tuple[int, float]] = field(default_factory=lambda: _NOTHING)
    exits: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: _NOTHING)
    seen: Mapping[int, float] = field(default_factory=lambda: _NOTHING)
    since: float = 0.0

    def of(self, state: RoomState, agent: str) -> Presence:
        """The agent's presence. Its coming up and its `joined` are told by different ways and in any order, so a
        member that nobody has seen yet is on its way, not gone."""
        known = self.presence.get(agent)
        if known is not None:
            return known
        member = state.members.get(agent)
        return Absent(self.since if member is None else self.seen_at(member.joined_seq))

    def unheard_of(self, member: Member | None) -> bool:
        """True when there is no such agent: the roster has said whom it has, and this one neither runs nor was ever let
        in (a `dm/` room has its agent by name alone). Who was let in exists, though its card may not have come yet."""
        if member is None or member.joined_seq or not self.cards:
            return False
        return member.agent not in self.cards and member.agent not in self.presence

    def seen_at(self, seq: int) -> float:
        """When the entry was first seen."""
        return self.seen.get(seq, self.since)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to append, in one piece, and when to ask again even if nothing happens (None: not before something does)."""

    entries: tuple[Proposed, ...] = ()
    wake_at: float | None = None


def decide(state: RoomState, world: World, now: float) -> Decision:
    """The next entries of this room, [] when nothing is to be done. Applies its own steps to the state as it goes, so
    that one append says all that follows from what is known."""
    entries: list[Proposed] = []
    while len(entries) <= MAX_BATCH // 2:
        step = _step(state, world, now)
        if not step.entries:
            return Decision(tuple(entries), step.wake_at)
        for entry in step.entries:
            entries.append(entry)
            state = fold(state, {**entry, "seq": state.last + 1, "by": "coordinator", "at": ""})
        if len(step.entries) > MAX_BATCH // 2:
            break
    return Decision(tuple(entries), now)


def _step(state: RoomState, world: World, now: float) -> Decision:
    handoffs = [_handoff(state, handoff, world, now) for handoff in state.handoffs.values()]
    due = tuple(entry for decision in handoffs for entry in decision.entries)
    if due:
        return Decision(due)
    turns = [_turn(state, turn, world, now) for turn in state.turns.values()]
    due = tuple(entry for decision in turns for entry in decision.entries)
    if due:
        return Decision(due)
    round_ = _round(state, world, now)
    if round_.entries:
        return round_
    return Decision((), earliest([*(one.wake_at for one in (*handoffs, *turns)), round_.wake_at]))


def earliest(times: Iterable[float | None]) -> float | None:
    """The first of some times, None when there is none."""
    return min((time for time in times if time is not None), default=None)


# -- handoffs ------------------------------------------------------------------------------------------------------


def _handoff(state: RoomState, handoff: Handoff, world: World, now: float) -> Decision:
    """Begin a handoff when the agent's turn here is over, again for its next life when it died, and say when it is
    back. Each life that hands off exits, so they are spaced as the supervisor lets planned exits pass."""
    presence = world.of(state, handoff.agent)
    if not isinstance(presence, Present):
        return Decision()
    if handoff.left:
        return _back(state, handoff) if presence.incarnation > handoff.left else Decision()
    if handoff.attempt and presence.incarnation <= handoff.incarnation:
        return Decision()
    if handoff.attempt >= MAX_HANDOFFS:
        title = _title(state, handoff.agent)
        return _over(handoff, "failed", f"{title} died {MAX_HANDOFFS} times over its hand-off and goes on without one.")
    if any(turn.agent == handoff.agent and turn.id != handoff.turn for turn in state.turns.values()):
        return Decision()
    due = _may_leave(world, handoff.agent)
    if now < due:
        return Decision(wake_at=due)
    entry: Proposed = {
        "id": f"{handoff.id}.h{handoff.attempt + 1}",
        "kind": "handoff_started",
        "agent": handoff.agent,
        "handoff": handoff.id,
        "record": handoff.record,
        "attempt": handoff.attempt + 1,
        "incarnation": presence.incarnation,
        "reason": handoff.reason,
        "text": _begins(state, handoff),
    }
    return Decision((entry,))


def _begins(state: RoomState, handoff: Handoff) -> str:
    why = f" ({handoff.text})" if handoff.text else ""
    again = " again: it died over it" if handoff.attempt else ""
    return f"{_title(state, handoff.agent)} writes its hand-off note and starts afresh{why}{again}."


def _back(state: RoomState, handoff: Handoff) -> Decision:
    return _over(handoff, "back", f"{_title(state, handoff.agent)} is back, with its notes in [[{handoff.record}]].")


def _over(handoff: Handoff, outcome: str, text: str) -> Decision:
    entry: Proposed = {
        "id": f"{handoff.id}.he",
        "kind": "handoff_ended",
        "agent": handoff.agent,
        "record": handoff.record,
        "outcome": outcome,
        "text": text,
    }
    return Decision((entry,))


def _title(state: RoomState, agent: str) -> str:
    member = state.members.get(agent)
    return default_title(agent) if member is None else member.title


def _may_leave(world: World, agent: str) -> float:
    """From when on one more planned exit of this agent is none too many."""
    exits = sorted(world.exits.get(agent, ()))[-world.policy.planned_exits :]
    return exits[0] + world.policy.planned_period if len(exits) >= world.policy.planned_exits else world.since


# -- turns in progress ---------------------------------------------------------------------------------------------


def _turn(state: RoomState, turn: Turn, world: World, now: float) -> Decision:
    if turn.answer is not None:
        return _end(turn, turn.answer, turn.reason)
    presence = world.of(state, turn.agent)
    halted = state.round is not None and state.round.halted
    if isinstance(presence, Present) and presence.incarnation <= turn.incarnation:
        # An older incarnation than the turn's is old news: the bus will tell of the newer one.
        if not halted or state.round is None:
            return Decision()
        until = world.seen_at(state.round.halted_seq) + world.policy.halt_grace
        return _end(turn, "halted", None) if now >= until else Decision(wake_at=until)
    if halted:
        return _end(turn, "halted", None)
    if isinstance(presence, Parked):
        return _end(turn, "failed", f"{turn.agent} is parked: {presence.reason}")
    if isinstance(presence, Present):
        handoff = state.handoffs.get(turn.agent)
        if handoff is not None and handoff.turn == turn.id and not handoff.left:
            return Decision()  # it did not fit; given again before the handoff it would not fit again
        if turn.attempt > 1:
            return _end(turn, "failed", f"{turn.agent} crashed in this turn twice")
        return Decision(
            (_started(turn.id, _round_of(turn), turn.agent, 2, presence.incarnation, turn.mode, turn.nudge),)
        )
    # Absent is not dead: after a restart of the bus a living agent is away until it has found the new one.
    until = presence.since + world.policy.absent_limit
    if now >= until:
        return _end(turn, "failed", f"{turn.agent} crashed and did not come back")
    return Decision(wake_at=until)


def _round_of(turn: Turn) -> str:
    return turn.id.rpartition(".")[0]


def _end(turn: Turn, outcome: str, reason: str | None) -> Decision:
    entry: Proposed = {
        "id": f"{turn.id}.e",
        "kind": "turn_ended",
        "turn": turn.id,
        "agent": turn.agent,
        "outcome": outcome,
    }
    if reason:
        entry["reason"] = reason
    return Decision((entry,))


def _started(turn: str, round_: str, agent: str, attempt: int, incarnation: int, mode: str, nudge: bool) -> Proposed:
    entry: Proposed = {
        "id": f"{turn}.s{attempt}",
        "kind": "turn_started",
        "turn": turn,
        "round": round_,
        "agent": agent,
        "attempt": attempt,
        "incarnation": incarnation,
        "mode": mode,
    }
    if nudge:
        entry["nudge"] = True
    return entry


# -- the round -----------------------------------------------------------------------------------------------------


def _round(state: RoomState, world: World, now: float) -> Decision:
    round_ = state.round
    if round_ is None:
        return _next_round(state, world, now)
    if not round_.pending:
        if state.turns:
            return Decision()
        return Decision(({"id": f"{round_.id}.e", "kind": "round_ended", "round": round_.id},))
    if round_.mode == "jam":
        return _jam(state, round_, world, now)
    if state.turns:
        return Decision()
    if state.free(world.policy.budget) <= 0:
        return _exhausted(state)
    return _give(state, round_, round_.pending[0], world, now, round_.turns + 1)


def _jam(state: RoomState, round_: Round, world: World, now: float) -> Decision:
    """Everybody at once: whoever is there starts; who is away does not hold up the others."""
    entries: list[Proposed] = []
    wakes: list[float | None] = []
    free = state.free(world.policy.budget)
    number = round_.turns
    for agent in round_.pending:
        if free <= 0:
            break
        given = _give(state, round_, agent, world, now, number + 1)
        if given.entries:
            number += 1
            free -= len(given.entries) == 1  # a turn that failed on the spot holds no slot
            entries.extend(given.entries)
            if len(entries) >= MAX_BATCH // 2:
                break
        else:
            wakes.append(given.wake_at)
    if entries:
        return Decision(tuple(entries))
    if free <= 0 and not state.turns:
        return _exhausted(state)
    return Decision(wake_at=earliest(wakes))


def _give(state: RoomState, round_: Round, agent: str, world: World, now: float, number: int) -> Decision:
    """The turn to this agent: now, or when it is back, or failed on the spot with the reason."""
    turn = f"{round_.id}.{number}"
    nudge = round_.nudge == agent
    presence = world.of(state, agent)
    member = state.members.get(agent)
    if agent in world.paused and not isinstance(presence, Parked):
        reason = world.paused[agent]
    elif isinstance(presence, Present):
        leaving = _leaving_until(state, agent, presence, world)
        if leaving is not None and now < leaving:
            return Decision(wake_at=leaving)
        return Decision((_started(turn, round_.id, agent, 1, presence.incarnation, round_.mode, nudge),))
    elif isinstance(presence, Parked):
        reason = f"{agent} is parked: {presence.reason}"
    elif world.unheard_of(member):
        reason = f"there is no agent {agent!r}; see: egghead agents list"
    elif now >= presence.since + world.policy.absent_limit:
        why = f": {member.parked}" if member is not None and member.parked else ""
        reason = f"{agent} is not running{why}"
    else:
        return Decision(wake_at=presence.since + world.policy.absent_limit)
    # Incarnation 0 is nobody: the turn is in the log, with its end, and no process will ever take it.
    started = _started(turn, round_.id, agent, 1, 0, round_.mode, nudge)
    failed: Proposed = {
        "id": f"{turn}.e",
        "kind": "turn_ended",
        "turn": turn,
        "agent": agent,
        "outcome": "failed",
        "reason": reason,
    }
    return Decision((started, failed))


def _leaving_until(state: RoomState, agent: str, presence: Present, world: World) -> float | None:
    """Until when a life that hands off, here or in another room, gets no new turn; None when it does not."""
    times: list[float] = []
    handoff = state.handoffs.get(agent)
    if handoff is not None and presence.incarnation <= handoff.left:
        times.append(world.seen_at(handoff.left_seq) + world.policy.absent_limit)
    elif handoff is not None and handoff.attempt and not handoff.left and presence.incarnation <= handoff.incarnation:
        times.append(world.seen_at(handoff.given_seq) + world.policy.handoff_limit)
    life, since = world.leaving.get(agent, (0, 0.0))
    if presence.incarnation <= life:
        times.append(since + world.policy.absent_limit)
    return max(times) if times else None


def _exhausted(state: RoomState) -> Decision:
    queued = list(state.round.pending) if state.round is not None else []
    queued += [one.agent for one in state.peers if one.agent not in queued]
    return Decision(({"id": f"x{state.last + 1}", "kind": "budget_exhausted", "queued": queued},))


def _next_round(state: RoomState, world: World, now: float) -> Decision:
    if state.turns:
        return Decision()
    if state.inbox:
        return _answer(state, state.inbox[0], world, now)
    if not state.peers:
        return Decision()
    if state.free(world.policy.budget) <= 0:
        return _exhausted(state)
    first = state.peers[0]
    return _planned(first.message, first.seq, Plan("peer", tuple(one.agent for one in state.peers)))


def _answer(state: RoomState, waiting: Waiting, world: World, now: float) -> Decision:
    if waiting.halted:
        return _planned(waiting.id, waiting.seq, Plan("open", reason="halted"))
    if waiting.kind == "continued":
        return _planned(waiting.id, waiting.seq, _replay(state))
    if not state.members and not state.ever_joined:
        # A room that has just been opened: the roster is about to let the agents in, unless there are none who come
        # uninvited. It may be restarting itself, or hang.
        coming = not world.cards or any(not card.idle for card in world.cards.values())
        until = world.seen_at(waiting.seq) + (world.policy.absent_limit if coming else world.policy.join_grace)
        if now < until:
            return Decision(wake_at=until)
    away = frozenset(agent for agent in state.members if _gone(state, state.members[agent], world, now))
    plan = plan_message(state, waiting, world.cards, world.corpus, world.policy, away, frozenset(world.paused))
    return _planned(waiting.id, waiting.seq, plan)


def _gone(state: RoomState, member: Member, world: World, now: float) -> bool:
    """True for an agent that will not be back soon: it is no candidate for a message that does not name it."""
    if member.agent in world.paused:
        return True
    presence = world.of(state, member.agent)
    if isinstance(presence, Absent):
        return (
            member.parked is not None or world.unheard_of(member) or now >= presence.since + world.policy.absent_limit
        )
    return isinstance(presence, Parked)


def _replay(state: RoomState) -> Plan:
    if not state.queue:
        return Plan("open", reason="nobody was waiting")
    mode = state.queue[0].mode
    # What is left of a jam is no longer blind to the others.
    return Plan("mention" if mode == "jam" else mode, tuple(one.agent for one in state.queue))


def _planned(message: str, seq: int, plan: Plan) -> Decision:
    entry: Proposed = {
        "id": f"{round_id(message, seq)}.p",
        "kind": "round_planned",
        "round": round_id(message, seq),
        "message": message,
        "mode": plan.mode,
        "order": list(plan.order),
        "scores": dict(plan.scores),
    }
    if plan.reason:
        entry["reason"] = plan.reason
    return Decision((entry,))


def round_id(message: str, seq: int) -> str:
    """The id of the round about an entry: the same for every coordinator, another in a room that was dropped and
    opened again under the same name."""
    return f"r{seq}-{zlib.crc32(message.encode()):08x}"
