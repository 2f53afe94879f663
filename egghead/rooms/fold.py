"""A room's log as a state: `fold(state, entry) -> state`, pure, shared by everybody who reads a room.

The laws (tests/rooms/ holds them):
- at most one round is open, and every round of a person's message begins and ends in the log;
- a turn is open from `turn_started` to `turn_ended`; in between its agent may answer once;
- free slots = limit - spent - open turns, by construction, so that no way to end a turn can leak one;
- the state depends on the entries alone: not on the clock, not on who reads.

Here is what an entry *means*. Who speaks next is `decide`; what may be appended is `gate`. An entry that makes no sense
in its place (an old log, another version) changes nothing but `last`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

from egghead.rooms.addressing import mentions
from egghead.rooms.entries import ENDING_ACTIONS, Entry
from egghead.rooms.names import agent_of, default_title, deliberation_id
from egghead.rooms.state import Activation, Handoff, Member, RoomState, Round, Turn, Waiting

RECENT = 6  # messages that count as "the last few"

_V = TypeVar("_V")


def fold(state: RoomState, entry: Entry) -> RoomState:
    """The state after one more entry. Entries that the state already holds (by seq) change nothing."""
    seq = entry["seq"]
    if seq <= state.last:
        return state
    step = _STEPS.get(entry["kind"])
    if step is not None:
        state = step(state, entry)
    return replace(state, last=seq)


def fold_all(state: RoomState, entries: Iterable[Entry]) -> RoomState:
    """The state after many entries."""
    for entry in entries:
        state = fold(state, entry)
    return state


def _with(mapping: Mapping[str, _V], key: str, value: _V) -> Mapping[str, _V]:
    return MappingProxyType({**mapping, key: value})


def _without(mapping: Mapping[str, _V], key: str) -> Mapping[str, _V]:
    return MappingProxyType({other: value for other, value in mapping.items() if other != key})


def _drop(activations: tuple[Activation, ...], agents: Iterable[str]) -> tuple[Activation, ...]:
    gone = frozenset(agents)
    return tuple(one for one in activations if one.agent not in gone) if activations else activations


def _add(activations: tuple[Activation, ...], more: Iterable[Activation]) -> tuple[Activation, ...]:
    """With each agent once: a second reason to speak is the same turn."""
    known = {one.agent for one in activations}
    found = list(activations)
    for one in more:
        if one.agent not in known:
            known.add(one.agent)
            found.append(one)
    return tuple(found)


def _message(state: RoomState, entry: Entry) -> RoomState:
    if entry.get("restored"):
        return _restored(state, entry)
    agent = agent_of(entry["by"])
    if agent is not None:
        return _agent_message(state, agent, entry)
    waiting = Waiting(entry["id"], entry["seq"], entry["text"], mentions=tuple(entry.get("mentions") or ()))
    return replace(state, inbox=(*state.inbox, waiting), spent=0, paused=False, recent=(*state.recent, "")[-RECENT:])


def _restored(state: RoomState, entry: Entry) -> RoomState:
    agent = entry.get("agent") or ""
    member = state.members.get(agent)
    if member is not None:
        state = replace(state, members=_with(state.members, agent, replace(member, spoke=entry["seq"])))
    return replace(state, recent=(*state.recent, agent)[-RECENT:])


def _agent_message(state: RoomState, agent: str, entry: Entry) -> RoomState:
    turn = state.turns.get(entry["turn"])
    if turn is None or turn.agent != agent or turn.answer is not None:
        return state
    halted = state.round is not None and state.round.halted
    turn = replace(turn, answer="halted" if halted and entry.get("cut") else "spoke")
    member = state.members.get(agent)
    members = state.members
    if member is not None:
        members = _with(members, agent, replace(member, spoke=entry["seq"]))
    state = replace(
        state, turns=_with(state.turns, turn.id, turn), members=members, recent=(*state.recent, agent)[-RECENT:]
    )
    # A halt stops what the halted would set off, too.
    return state if halted else _mentioned_peers(state, agent, entry)


def _mentioned_peers(state: RoomState, agent: str, entry: Entry) -> RoomState:
    if "@" not in entry["text"] and "\uff20" not in entry["text"]:
        return state
    named = mentions(entry["text"], state.titles, near=False).agents
    pending = state.round.pending if state.round is not None else ()
    wanted = [
        Activation(peer, entry["id"], entry["seq"], "peer")
        for peer in named
        # Who still has a turn in this round will read it there; the muted are woken by people only.
        if peer != agent and peer not in state.muted and peer not in pending
    ]
    return replace(state, peers=_add(state.peers, wanted)) if wanted else state


def _action(state: RoomState, entry: Entry) -> RoomState:
    turn = state.turns.get(entry["turn"])
    if turn is None or turn.answer is not None or entry["action"] not in ENDING_ACTIONS:
        return state
    # An agent that was halted before it had said a word can only say that it failed; it did not.
    halted = state.round is not None and state.round.halted and entry["action"] == "failed"
    turn = replace(turn, answer="halted" if halted else entry["action"], reason=None if halted else entry.get("text"))
    return replace(state, turns=_with(state.turns, turn.id, turn))


def _tool_started(state: RoomState, entry: Entry) -> RoomState:
    turn = state.turns.get(entry["turn"])
    if turn is None:
        return state
    turn = replace(turn, calls=_with(turn.calls, entry["call"], entry["read_only"]))
    return replace(state, turns=_with(state.turns, turn.id, turn))


def _tool_ended(state: RoomState, entry: Entry) -> RoomState:
    turn = state.turns.get(entry["turn"])
    if turn is None:
        return state
    turn = replace(turn, calls=_without(turn.calls, entry["call"]))
    return replace(state, turns=_with(state.turns, turn.id, turn))


def _name(entry: Entry) -> str:
    """What a handoff is called: made from the entry that asked, whose id may be as long as an id can be."""
    return f"h{entry['seq']}-{zlib.crc32(entry['id'].encode()):08x}"


def _handoff_asked(state: RoomState, entry: Entry) -> RoomState:
    by = agent_of(entry["by"])
    agent = by or entry["agent"]
    if agent not in state.members:
        return state
    turn = entry.get("turn")
    before = state.handoffs.get(agent)
    if before is not None and not before.left:
        if turn is None:
            return state  # asked twice is asked once
        # Its turn cannot wait for the handoff that was asked for: now it waits for it.
        found = replace(before, turn=turn, reason=entry["reason"], text=entry.get("text", ""))
    elif before is not None and by is None:
        return state  # it is leaving this very moment
    else:
        record = deliberation_id(agent, state.room, entry["at"])
        found = Handoff(_name(entry), agent, record, entry.get("reason", "asked"), entry.get("text", ""), turn)
    return replace(state, handoffs=_with(state.handoffs, agent, found))


def _handoff_started(state: RoomState, entry: Entry) -> RoomState:
    found = state.handoffs.get(entry["agent"])
    if found is None or found.id != entry["handoff"] or found.left:
        return state
    found = replace(found, attempt=entry["attempt"], incarnation=entry["incarnation"], given_seq=entry["seq"])
    return replace(state, handoffs=_with(state.handoffs, found.agent, found))


def _handoff(state: RoomState, entry: Entry) -> RoomState:
    agent = agent_of(entry["by"])
    life = entry.get("incarnation", 0)
    if agent is None or agent not in state.members or not life:
        return state
    found = state.handoffs.get(agent) or Handoff(_name(entry), agent, entry["record"], "context")
    if found.record != entry["record"]:
        return state  # of an earlier one
    found = replace(found, left=max(found.left, life), left_seq=entry["seq"])
    return replace(state, handoffs=_with(state.handoffs, agent, found))


def _handoff_ended(state: RoomState, entry: Entry) -> RoomState:
    by = agent_of(entry["by"])
    found = state.handoffs.get(by or entry["agent"])
    if found is None or (by is not None and found.left):
        return state
    return replace(state, handoffs=_without(state.handoffs, found.agent))


def _round_planned(state: RoomState, entry: Entry) -> RoomState:
    if state.round is not None:
        return state
    order = tuple(entry["order"])
    planned = Round(entry["round"], entry["message"], entry["mode"], order, order, entry["seq"])
    return replace(
        state,
        round=planned,
        inbox=tuple(one for one in state.inbox if one.id != entry["message"]),
        peers=_drop(state.peers, order),
        queue=_drop(state.queue, order),
    )


def _turn_started(state: RoomState, entry: Entry) -> RoomState:
    agent, seq = entry["agent"], entry["seq"]
    again = state.turns.get(entry["turn"])
    if again is not None:
        turn = replace(again, attempt=entry["attempt"], incarnation=entry["incarnation"], answer=None, seq=seq)
        return replace(state, turns=_with(state.turns, turn.id, turn), started=_with(state.started, agent, seq))
    round_ = state.round
    if round_ is None or round_.id != entry["round"]:
        return state
    pending = list(round_.pending)
    if agent in pending:
        pending.remove(agent)
    turn = Turn(
        entry["turn"],
        agent,
        entry["attempt"],
        entry["incarnation"],
        entry["mode"],
        seq,
        nudge=bool(entry.get("nudge")),
    )
    round_ = replace(
        round_,
        pending=tuple(pending),
        turns=max(round_.turns + 1, _ordinal(turn.id)),
        nudge=None if round_.nudge == agent else round_.nudge,
    )
    return replace(
        state,
        round=round_,
        turns=_with(state.turns, turn.id, turn),
        started=_with(state.started, agent, seq),
        peers=_drop(state.peers, (agent,)),
        queue=_drop(state.queue, (agent,)),
    )


def _ordinal(turn: str) -> int:
    """The number in a turn's id, so that the next one is new whatever a log holds."""
    number = turn.rpartition(".")[2]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0


def _turn_ended(state: RoomState, entry: Entry) -> RoomState:
    turn = state.turns.get(entry["turn"])
    if turn is None:
        return state
    spoke = entry["outcome"] == "spoke"
    state = replace(state, turns=_without(state.turns, turn.id), spent=state.spent + spoke)
    waiting = state.handoffs.get(turn.agent)
    if waiting is not None and waiting.turn == turn.id:
        state = replace(state, handoffs=_with(state.handoffs, turn.agent, replace(waiting, turn=None)))
    round_ = state.round
    nudge = (
        entry["outcome"] == "passed"
        and round_ is not None
        and round_.mode == "huddle"
        and not round_.halted
        and turn.agent not in round_.nudged
        and turn.agent in state.members
        and turn.agent not in state.muted
    )
    if not nudge or round_ is None:
        return state
    round_ = replace(
        round_, pending=(turn.agent, *round_.pending), nudged=round_.nudged | {turn.agent}, nudge=turn.agent
    )
    return replace(state, round=round_)


def _round_ended(state: RoomState, entry: Entry) -> RoomState:
    if state.round is None or state.round.id != entry["round"]:
        return state
    return replace(state, round=None)


def _budget_exhausted(state: RoomState, entry: Entry) -> RoomState:
    held: list[Activation] = []
    round_ = state.round
    if round_ is not None:
        held.extend(Activation(agent, round_.message, round_.seq, round_.mode) for agent in round_.pending)
        round_ = replace(round_, pending=(), nudge=None)
    held.extend(state.peers)
    return replace(state, round=round_, peers=(), queue=_add(state.queue, held), paused=True)


def _joined(state: RoomState, entry: Entry) -> RoomState:
    agent = entry["agent"]
    # Whom a person kicked stays out until a person invites it, whatever the roster thinks.
    if agent in state.kicked:
        return state
    before = state.members.get(agent)
    member = (
        Member(agent, entry["title"], entry["seq"])
        if before is None
        else replace(before, title=entry["title"], parked=None)
    )
    return replace(state, members=_with(state.members, agent, member), ever_joined=True)


def _reloaded(state: RoomState, entry: Entry) -> RoomState:
    member = state.members.get(entry["agent"])
    if member is None:
        return state
    member = replace(member, title=entry["title"], parked=None)
    return replace(state, members=_with(state.members, member.agent, member))


def _parked(state: RoomState, entry: Entry) -> RoomState:
    member = state.members.get(entry["agent"])
    if member is None:
        return state
    member = replace(member, parked=entry.get("text") or "it crashed too often")
    return replace(state, members=_with(state.members, member.agent, member))


def _not_pending(round_: Round, agent: str) -> Round:
    pending = tuple(one for one in round_.pending if one != agent)
    return replace(round_, pending=pending, nudge=None if round_.nudge == agent else round_.nudge)


def _removed(state: RoomState, agent: str) -> RoomState:
    round_ = None if state.round is None else _not_pending(state.round, agent)
    turns = state.turns
    for turn in turns.values():
        if turn.agent == agent and turn.answer is None:
            # The room takes no answer from it any more, also when it is invited back before the turn has its end.
            gone = replace(turn, answer="failed", reason=f"{agent} is no longer in the room")
            turns = _with(turns, turn.id, gone)
    return replace(
        state,
        turns=turns,
        members=_without(state.members, agent),
        handoffs=_without(state.handoffs, agent),
        round=round_,
        peers=_drop(state.peers, (agent,)),
        queue=_drop(state.queue, (agent,)),
    )


def _left(state: RoomState, entry: Entry) -> RoomState:
    return _removed(state, entry["agent"])


def _kicked(state: RoomState, entry: Entry) -> RoomState:
    state = _removed(state, entry["agent"])
    return replace(state, kicked=state.kicked | {entry["agent"]}, muted=state.muted - {entry["agent"]})


def _invited(state: RoomState, entry: Entry) -> RoomState:
    agent = entry["agent"]
    state = replace(state, kicked=state.kicked - {agent}, ever_joined=True)
    if agent in state.members:
        return state
    return replace(
        state,
        members=_with(state.members, agent, Member(agent, entry.get("title") or default_title(agent), entry["seq"])),
    )


def _muted(state: RoomState, entry: Entry) -> RoomState:
    # Peers and broadcasts do not wake the muted, also when they asked a moment before.
    agent = entry["agent"]
    queue = tuple(one for one in state.queue if one.agent != agent or one.mode == "mention")
    round_ = state.round
    if round_ is not None and round_.mode != "mention":
        round_ = _not_pending(round_, agent)
    return replace(state, muted=state.muted | {agent}, peers=_drop(state.peers, (agent,)), queue=queue, round=round_)


def _unmuted(state: RoomState, entry: Entry) -> RoomState:
    return replace(state, muted=state.muted - {entry["agent"]})


def _topic(state: RoomState, entry: Entry) -> RoomState:
    return replace(state, topic=entry["text"], topic_by=entry.get("author") or entry["by"])


def _budget_set(state: RoomState, entry: Entry) -> RoomState:
    return replace(state, budget=entry["budget"])


def _continued(state: RoomState, entry: Entry) -> RoomState:
    waiting = Waiting(entry["id"], entry["seq"], "", kind="continued")
    return replace(state, inbox=(*state.inbox, waiting), spent=0, paused=False)


def _halted(state: RoomState, entry: Entry) -> RoomState:
    round_ = state.round
    if round_ is not None:
        round_ = replace(round_, halted=True, halted_seq=entry["seq"], pending=(), nudge=None)
    inbox = tuple(replace(one, halted=True) for one in state.inbox)
    return replace(state, round=round_, inbox=inbox, peers=(), queue=())


_STEPS: Mapping[str, Callable[[RoomState, Entry], RoomState]] = {
    "message": _message,
    "action": _action,
    "tool_started": _tool_started,
    "tool_ended": _tool_ended,
    "handoff_asked": _handoff_asked,
    "handoff_started": _handoff_started,
    "handoff": _handoff,
    "handoff_ended": _handoff_ended,
    "round_planned": _round_planned,
    "turn_started": _turn_started,
    "turn_ended": _turn_ended,
    "round_ended": _round_ended,
    "budget_exhausted": _budget_exhausted,
    "joined": _joined,
    "left": _left,
    "reloaded": _reloaded,
    "parked": _parked,
    "invited": _invited,
    "kicked": _kicked,
    "muted": _muted,
    "unmuted": _unmuted,
    "topic": _topic,
    "budget_set": _budget_set,
    "continued": _continued,
    "halted": _halted,
}
