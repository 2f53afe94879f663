"""The state of a room: the values that `fold` makes of a log. What an entry changes in them is in `fold`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from egghead.rooms.names import agent_of_room, default_title

LOWEST_BUDGET, HIGHEST_BUDGET = 6, 21

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Member:
    """An agent in the room. `spoke`: seq of its last message; `parked`: why the supervisor gave up on it."""

    agent: str
    title: str
    joined_seq: int = 0
    spoke: int = 0
    parked: str | None = None


@dataclass(frozen=True, slots=True)
class Handoff:
    """A handoff that was asked for and is not over. `id`: made from the entry that asked; `turn`: the open turn that cannot go
    on without it; `incarnation`: the life it was given to last, `left`: the life that has done it and is leaving."""

    id: str
    agent: str
    record: str
    reason: str
    text: str = ""
    turn: str | None = None
    attempt: int = 0  # 0: not begun
    incarnation: int = 0
    given_seq: int = 0
    left: int = 0  # 0: not done
    left_seq: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A person's entry that has no round yet: a message, or a `/continue`. `mentions`: whom it is for, when its author's
    program has said so; then its text names nobody."""

    id: str
    seq: int
    text: str
    kind: str = "message"
    halted: bool = False
    mentions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Activation:
    """An agent that is to speak about an entry, but not yet."""

    agent: str
    message: str
    seq: int
    mode: str


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn that has started and not ended. `answer`: how the agent itself says that it ended."""

    id: str
    agent: str
    attempt: int
    incarnation: int
    mode: str
    seq: int
    nudge: bool = False
    answer: str | None = None
    reason: str | None = None
    calls: Mapping[str, bool] = field(default_factory=lambda: NOTHING)  # open tool calls: id -> read_only


@dataclass(frozen=True, slots=True)
class Round:
    """The open round. `pending`: who has not had the turn yet, in order."""

    id: str
    message: str
    mode: str
    order: tuple[str, ...]
    pending: tuple[str, ...]
    seq: int
    turns: int = 0
    nudged: frozenset[str] = frozenset()
    nudge: str | None = None  # whose next turn is a nudge
    halted: bool = False
    halted_seq: int = 0


@dataclass(frozen=True, slots=True)
class RoomState:
    """Everything a log says about its room now."""

    room: str
    last: int = 0
    members: Mapping[str, Member] = field(default_factory=lambda: NOTHING)
    muted: frozenset[str] = frozenset()
    kicked: frozenset[str] = frozenset()
    ever_joined: bool = False
    topic: str = ""
    topic_by: str = ""
    budget: int | None = None
    spent: int = 0
    paused: bool = False
    inbox: tuple[Waiting, ...] = ()
    peers: tuple[Activation, ...] = ()
    queue: tuple[Activation, ...] = ()
    round: Round | None = None
    turns: Mapping[str, Turn] = field(default_factory=lambda: NOTHING)
    handoffs: Mapping[str, Handoff] = field(default_factory=lambda: NOTHING)  # by agent
    started: Mapping[str, int] = field(default_factory=lambda: NOTHING)  # agent -> seq of its last turn's start
    recent: tuple[str, ...] = ()  # agents of the last messages, newest last; "" for a person who named nobody

    @property
    def quiet(self) -> bool:
        """Nobody speaks and nobody will until a person says something."""
        return self.round is None and not self.inbox and not self.peers and not self.turns

    @property
    def titles(self) -> dict[str, str]:
        """Agent id -> title, of all members."""
        return {agent: member.title for agent, member in self.members.items()}

    def limit(self, configured: int | None = None) -> int:
        """Activations between two messages of people: `/budget`, else the configuration, else 1.5 x the roster,
        6 at least and 21 at most."""
        if self.budget is not None:
            return self.budget
        if configured is not None:
            return configured
        return max(LOWEST_BUDGET, min(HIGHEST_BUDGET, math.ceil(1.5 * len(self.members))))

    def free(self, configured: int | None = None) -> int:
        """Activations left; a turn in progress holds one."""
        return self.limit(configured) - self.spent - len(self.turns)


def empty(room: str) -> RoomState:
    """The state of a room with no entry. The agent of a `dm/` room is in it from the start."""
    agent = agent_of_room(room)
    members = {agent: Member(agent, default_title(agent))} if agent else {}
    return RoomState(room, members=MappingProxyType(members), ever_joined=bool(agent))
