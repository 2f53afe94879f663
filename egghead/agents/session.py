"""The session: what an agent knows in one room. Values only.

A session is never stored. A crashed agent folds the log again (`session_fold`) and knows what it knew, its own tool calls and their
results with it. How a session looks to a model is `conversation` and `prompt`; what happens in a turn is `turn`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_LINE_END = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_EACH_LINE = re.compile(r"^(?=.)", re.MULTILINE)
_SPOOF = re.compile(r"^[^\n:]{1,80}(?:: | \(agent )", re.MULTILINE)


@dataclass(frozen=True)
class Line:
    """Something said. `own`: by this agent; `jam`: by another in a jam in which this agent had not answered yet."""

    text: str
    own: bool = False
    jam: bool = False
    said: bool = True  # False for a remark of ours about the conversation; not part of a backfill


@dataclass(frozen=True)
class ToolCall:
    """One call of the agent's own. `outcome` None: started and never seen to end."""

    call: str
    tool: str
    input: Mapping[str, Any]
    read_only: bool
    outcome: str | None = None
    result: str = ""
    left_out: bool = False


@dataclass(frozen=True)
class Used:
    """The calls that one reply of the model asked for."""

    turn: str
    group: str
    calls: tuple[ToolCall, ...]


@dataclass(frozen=True)
class OpenTurn:
    """A turn that was given to this agent and has no end yet."""

    turn: str
    round: str
    attempt: int
    incarnation: int
    mode: str
    seq: int
    nudge: bool = False
    halted: bool = False


@dataclass(frozen=True)
class Handing:
    """A handoff that was begun and is not over. `handoff`: its name, the same in every attempt; `seq`: of the entry that
    began it for this life, `at`: when."""

    handoff: str
    seq: int
    at: str
    record: str
    attempt: int
    incarnation: int
    reason: str


@dataclass(frozen=True)
class Session:
    """What one agent knows in one room, up to and including entry `seq`.

    `waiting`: what was said and is not to be seen yet; `jam`: the others' turns of a jam in which this agent has not
    answered, None when there is no such jam.
    `context` is input + output tokens of the last exchange: the only figure compared with the window; `base` that of
    the first exchange after the last handoff, 0 before there was one; `window` is that of the model that answered last.
    `lifetime` counts tokens since the last handoff. The trail of the next handoff is what came after the entry `since`,
    up to the entry `begun` once it has begun. `given_up`: the entries that began the last handoff and gave it up, which may
    have left parts of a trail behind. `note` is the hand-off note as it was written, `keep` the characters of
    talk that were kept with it.
    """

    agent: str
    room: str
    seq: int = 0
    items: tuple[Line | Used, ...] = ()
    waiting: tuple[Line, ...] = ()
    open: OpenTurn | None = None
    jam: frozenset[str] | None = None
    ended: frozenset[str] = frozenset()
    titles: Mapping[str, str] = field(default_factory=dict)
    people: tuple[str, ...] = ()
    member: bool = False
    topic: str = ""
    handoff: str | None = None
    note: str = ""
    keep: int | None = None
    handing: Handing | None = None
    given_up: tuple[int, int] | None = None
    since: int = 0
    begun: int = 0
    context: int = 0
    base: int = 0
    window: int | None = None
    lifetime: int = 0


def call_id(turn: str, attempt: int, round_: int, number: int) -> str:
    """The id of a tool call: made from the turn, so that writing it twice is one entry, unique in the room, and within
    what every provider accepts as a tool call id (letters, digits, `-`, at most 40)."""
    digest = hashlib.blake2s(turn.encode(), digest_size=6).hexdigest()
    return f"call-{digest}-{attempt}-{round_}-{number}"


def spoken(author: str, text: str, agent: str | None = None) -> str:
    """A peer's line as the model sees it: `ada: text` for a person, `Scout (agent scout): text` for an agent.

    When a later line looks like a speaker's, all later lines are indented: nobody puts words into another's mouth with a
    newline, and YAML or code keeps its shape.
    """
    first, newline, rest = _LINE_END.sub("\n", text).partition("\n")
    if _SPOOF.search(rest):
        rest = _EACH_LINE.sub(" ", rest)
    name = " ".join(author.split()) or "somebody"
    who = f"{name} (agent {agent})" if agent is not None else name.replace("(agent ", "(")
    return f"{who}: {first}{newline}{rest}"
