"""Whom a person's message activates, in which order, and why: spec "Who speaks", as one pure function.

Input is the room's state, the message and the agents' cards; the result is what `round_planned` says. Presence and
budget are `decide`'s business; here `away` names the agents that will not be back soon.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from egghead.rooms.addressing import Addressed, mentions
from egghead.rooms.names import DIRECT_PREFIX
from egghead.rooms.relevance import Corpus
from egghead.rooms.state import RoomState, Waiting

# What having just spoken adds to the score: the last agent, the one before, ... Texts score 0.05 to 0.6 in practice,
# so a clear topic wins over a recent speaker, and "and why?" goes to the last one alone.
RECENCY_BONUS = (0.15, 0.06, 0.03)
SHOWN_SCORES = 20  # scores logged with a plan; a room may have a thousand agents


@dataclass(frozen=True, slots=True)
class Card:
    """What an agent says about itself."""

    agent: str
    title: str
    tags: tuple[str, ...] = ()
    disposition: str = ""
    quiet: bool = False
    idle: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """The configuration of who speaks. Times in seconds."""

    open_speakers: int = 3
    budget: int | None = None
    reach: float = 0.5  # an open message asks those who score at least this share of the best
    absent_limit: float = 30.0
    halt_grace: float = 3.0
    join_grace: float = 3.0
    handoff_limit: float = 300.0  # how long an agent gets no turn because it is writing its hand-off
    planned_exits: int = 3  # of one agent in `planned_period`; the supervisor counts the next one as a crash
    planned_period: float = 61.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Who is to speak about a message."""

    mode: str
    order: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    reason: str = ""


def plan_message(
    state: RoomState,
    message: Waiting,
    cards: Mapping[str, Card],
    corpus: Corpus,
    policy: Policy,
    away: frozenset[str] = frozenset(),
    paused: frozenset[str] = frozenset(),
) -> Plan:
    """The plan for one message of a person. `paused`: those of the away that have reached a limit."""
    addressed = _named(message, state) if message.mentions else mentions(message.text, state.titles)
    notices = _notices(addressed)
    if not state.members:
        return Plan("open", reason=_join([*notices, "no agent is in the room; /invite brings one in"]))
    if addressed.broadcast:
        plan = _broadcast(state, message, addressed, corpus, away, paused)
    elif addressed.agents:
        plan = Plan("mention", addressed.agents)
    else:
        plan = _open(state, message, cards, corpus, policy, away, paused)
    return _fresh(state, message, plan, notices)


def _named(message: Waiting, state: RoomState) -> Addressed:
    here = tuple(dict.fromkeys(agent for agent in message.mentions if agent in state.members))
    return Addressed(here, unknown=tuple(agent for agent in message.mentions if agent not in state.members))


def _fresh(state: RoomState, message: Waiting, plan: Plan, notices: list[str]) -> Plan:
    """Without those whose turn began after the message: they have read it there."""
    order = tuple(agent for agent in plan.order if state.started.get(agent, 0) <= message.seq)
    reasons = [*notices, plan.reason]
    if plan.order and not order:
        reasons.append("it was read in the turns before")
    return Plan(plan.mode, order, plan.scores, _join(reasons))


def _broadcast(
    state: RoomState,
    message: Waiting,
    addressed: Addressed,
    corpus: Corpus,
    away: frozenset[str],
    paused: frozenset[str],
) -> Plan:
    called = [agent for agent in state.members if agent not in away and agent not in state.muted]
    scores = corpus.scores(message.text, called)
    called.sort(key=lambda agent: (-scores.get(agent, 0.0), agent))
    order = tuple(dict.fromkeys((*addressed.agents, *called)))
    reason = "" if order else _why_nobody(state, away, paused)
    return Plan(addressed.broadcast or "huddle", order, _shown(scores), reason)


def _open(
    state: RoomState,
    message: Waiting,
    cards: Mapping[str, Card],
    corpus: Corpus,
    policy: Policy,
    away: frozenset[str],
    paused: frozenset[str],
) -> Plan:
    direct = state.room.startswith(DIRECT_PREFIX)
    able = [agent for agent in state.members if agent not in away and agent not in state.muted]
    able = [agent for agent in able if direct or not _card(cards, agent).idle]
    loud = [agent for agent in able if not _card(cards, agent).quiet] or able
    if not loud:
        return Plan("open", reason=_why_nobody(state, away, paused))
    scores = corpus.scores(message.text, loud)
    for agent, bonus in zip(recent_speakers(state.recent), RECENCY_BONUS, strict=False):
        if agent in loud:
            scores[agent] = scores.get(agent, 0.0) + bonus
    if not scores:
        # Nobody knows the subject: the one who spoke last in this room, else the first by id.
        chosen = min(loud, key=lambda agent: (-state.members[agent].spoke, agent))
        return Plan("open", (chosen,))
    best = max(scores.values())
    ranked = sorted(scores, key=lambda agent: (-scores[agent], agent))
    within = [agent for agent in ranked if scores[agent] >= policy.reach * best]
    return Plan("open", tuple(within[: policy.open_speakers]), _shown(scores))


def recent_speakers(recent: Iterable[str]) -> list[str]:
    """The agents of the last few messages, newest first, each once."""
    return list(dict.fromkeys(agent for agent in reversed(list(recent)) if agent))


def _card(cards: Mapping[str, Card], agent: str) -> Card:
    return cards.get(agent) or Card(agent, agent)


def _shown(scores: Mapping[str, float]) -> Mapping[str, float]:
    best = sorted(scores, key=lambda agent: (-scores[agent], agent))[:SHOWN_SCORES]
    return {agent: round(scores[agent], 4) for agent in best}


def _notices(addressed: Addressed) -> list[str]:
    found = [f"@{typed} was read as {agent}" for typed, agent in addressed.near]
    found += [f"@{typed} could be {' or '.join(agents)}" for typed, agents in addressed.ambiguous]
    found += [f"nobody here is called @{typed}" for typed in addressed.unknown]
    return found


def _why_nobody(state: RoomState, away: frozenset[str], paused: frozenset[str]) -> str:
    parts = []
    muted = sorted(agent for agent in state.members if agent in state.muted)
    spent = sorted(agent for agent in state.members if agent in paused)
    gone = sorted(agent for agent in state.members if agent in away - paused)
    rest = sorted(agent for agent in state.members if agent not in state.muted and agent not in away)
    if muted:
        parts.append(f"muted: {_some(muted)}")
    if spent:
        parts.append(f"paused, the limit of the day is reached: {_some(spent)}")
    if gone:
        parked = {agent: state.members[agent].parked for agent in gone}
        parts.append(
            f"not running: {_some(f'{agent} (parked: {why})' if why else agent for agent, why in parked.items())}"
        )
    if rest:
        parts.append(f"only by name: {_some('@' + agent for agent in rest)}")
    return "nobody is free to answer (" + "; ".join(parts) + ")"


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")


def _join(parts: Iterable[str]) -> str:
    return "; ".join(part for part in parts if part)
