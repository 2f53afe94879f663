"""What a room lets into its log: ids appended once, turns that are open, kinds by role, agents under their titles. Pure.

The gate is the integrity of the log, not its policy: it knows which turn is open for which incarnation and whether its
agent has already answered, nothing about who should speak. It is what makes an append of a dead incarnation, arriving
late, harmless.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from egghead.rooms.entries import ENDING_ACTIONS, MAX_BATCH, Entry, EntryError, role_of, validate
from egghead.rooms.names import agent_of, agent_of_room, default_title

# kinds that change what the gate knows; a log is replayed by looking at these alone
HANDOFFS = ("handoff_started", "handoff", "handoff_ended")
TITLED = ("joined", "reloaded")
CAME, WENT = ("joined", "invited"), ("left", "kicked")
WATCHED = frozenset({"turn_started", "turn_ended", "message", "action", *HANDOFFS, *TITLED, *CAME, *WENT})

Open = tuple[str, int, bool]  # agent, incarnation, has answered


class TurnClosed(EntryError):
    """An agent's entry for a turn that is not open for it."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The open turns of a log: turn -> (agent, incarnation, answered), the handoffs: agent -> the life that has it, what
    the roster calls an agent where that is not its `default_title`, and the agents that have come and not gone."""

    turns: Mapping[str, Open] = field(default_factory=lambda: MappingProxyType({}))
    handoffs: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    titles: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    present: frozenset[str] = frozenset()

    def may_read(self, room: str, reader: str) -> bool:
        """Whether a process may read this room. What a person and one agent say to each other is for no other agent,
        unless it was invited; everybody else sits where everybody sees everything."""
        agent, owner = agent_of(reader), agent_of_room(room)
        return agent is None or owner is None or agent == owner or agent in self.present

    def author(self, agent: str) -> str:
        """The name under which people are shown what this agent says, whatever it calls itself."""
        return self.titles.get(agent) or default_title(agent)

    def after(self, entry: Entry) -> Gate:
        """The gate once this entry is in the log. Total over anything that a log may hold."""
        kind = entry.get("kind")
        turn = entry.get("turn")
        if kind in HANDOFFS:
            return self._after_handoff(entry)
        if kind in CAME or kind in WENT:
            others = self.present - {entry["agent"]}
            gate = replace(self, present=others | {entry["agent"]} if kind in CAME else others)
            if kind in WENT:
                gate = gate._without(entry["agent"])
            return gate._titled(entry["agent"], entry["title"]) if kind in CAME and entry.get("title") else gate
        if kind in TITLED:
            return self._titled(entry["agent"], entry["title"])
        if kind not in WATCHED or not isinstance(turn, str):
            return self
        turns = dict(self.turns)
        if kind == "turn_started":
            turns[turn] = (entry["agent"], entry["incarnation"], False)
        elif kind == "turn_ended":
            turns.pop(turn, None)
        elif turn in turns and (kind == "message" or entry.get("action") in ENDING_ACTIONS):
            agent, incarnation, _ = turns[turn]
            turns[turn] = (agent, incarnation, True)
        else:
            return self
        return replace(self, turns=MappingProxyType(turns))

    def _without(self, gone: str) -> Gate:
        """Who has gone has no turn and no handoff here any more: nothing that was on its way comes in behind, not even
        after it was invited back."""
        turns = {turn: open_ for turn, open_ in self.turns.items() if open_[0] != gone}
        handoffs = {agent: life for agent, life in self.handoffs.items() if agent != gone}
        if len(turns) == len(self.turns) and len(handoffs) == len(self.handoffs):
            return self
        return replace(self, turns=MappingProxyType(turns), handoffs=MappingProxyType(handoffs))

    def _titled(self, agent: str, title: str) -> Gate:
        if self.author(agent) == title:
            return self
        return replace(self, titles=MappingProxyType({**self.titles, agent: title}))

    def _after_handoff(self, entry: Entry) -> Gate:
        agent = entry.get("agent") or agent_of(str(entry.get("by", ""))) or ""
        handoffs = {other: life for other, life in self.handoffs.items() if other != agent}
        if entry["kind"] == "handoff_started":
            handoffs[agent] = entry["incarnation"]
        return replace(self, handoffs=MappingProxyType(handoffs))

    def concerned(self, entry: Entry) -> tuple[str, ...]:
        """The agents that must hear of this entry at once: whose turn begins or ends, whose handoff begins or is given
        up, and on a halt all that are in a turn. Everybody else reads it when its own turn comes."""
        kind = entry.get("kind")
        if kind in ("turn_started", "turn_ended", "handoff_started"):
            return (entry["agent"],)
        if kind == "handoff_ended" and entry.get("outcome") == "failed" and "agent" in entry:
            return (entry["agent"],)  # lives before it may have left parts of their notes
        if kind == "halted":
            return tuple(sorted({agent for agent, _, _ in self.turns.values()}))
        return ()

    def again(self) -> Iterator[Entry]:
        """For each handoff, and each open turn without an answer, what its agent is told when the room begins anew: the
        life before may have written it and died before it could tell. Not an entry of the log."""
        for agent, life in self.handoffs.items():
            yield {"kind": "handoff_started", "agent": agent, "incarnation": life, "again": True}
        for turn, (agent, incarnation, answered) in self.turns.items():
            if not answered:
                yield {"kind": "turn_started", "turn": turn, "agent": agent, "incarnation": incarnation, "again": True}

    def admit(self, entries: Iterable[Entry], caller: str, incarnation: int) -> Gate:
        """The gate after this batch of valid entries; raises TurnClosed naming the first that may not come in."""
        gate = self
        agent = agent_of(caller)
        for entry in entries:
            if agent is not None:
                gate._check(entry, agent, incarnation)
            gate = gate.after(entry)
        return gate

    def _check(self, entry: Entry, agent: str, incarnation: int) -> None:
        turn = entry.get("turn")
        if entry["kind"] in HANDOFFS and self.handoffs.get(agent) != incarnation:
            raise TurnClosed(f"{agent!r} has no handoff to do here: none was begun, it is over, or another life has it")
        if entry["kind"] == "handoff_asked" and (agent, incarnation) not in {
            open_[:2] for open_ in self.turns.values()
        }:
            raise TurnClosed(f"{agent!r} asks for its handoff in a turn of its own, and has none here")
        if turn is None:
            return  # about the agent, not about a turn
        found = self.turns.get(turn)
        if found is None:
            raise TurnClosed(f"turn {turn!r} is not open: it or its agent's stay has ended, or it was never started")
        whose, which, answered = found
        if whose != agent:
            raise TurnClosed(f"turn {turn!r} belongs to {whose!r}, not to {agent!r}")
        if which != incarnation:
            raise TurnClosed(f"turn {turn!r} is open for incarnation {which} of {agent!r}, not for {incarnation}")
        if answered:
            raise TurnClosed(f"turn {turn!r} has its answer already; nothing more may follow it")


def check_batch(entries: object, caller: str, incarnation: int) -> list[dict[str, Any]]:
    """The entries of one append, each valid for the caller's role. Raises EntryError; total over any value."""
    role = role_of(caller)
    if role is None:
        raise EntryError(f"{caller!r} has no part in a room's log")
    if not isinstance(entries, list) or not entries:
        raise EntryError("an append takes a list of one or more entries")
    if len(entries) > MAX_BATCH:
        raise EntryError(f"an append takes at most {MAX_BATCH} entries, not {len(entries)}")
    found = [validate(entry, role) for entry in entries]
    ids = [entry["id"] for entry in found if "id" in entry]
    if len(set(ids)) < len(ids):
        raise EntryError("the same id stands twice in one append")
    if role == "agent":
        for entry in found:
            if entry["kind"] == "handoff":
                entry["incarnation"] = incarnation  # the room's word, so that the coordinator can rely on it
    return found
