"""An abstract world around the real fold, gate and decide, for exploring what crashes can do to a turn.

Real: `fold`, `decide`, `Gate`, `check_batch`. Abstract: a room that appends atomically, a network that delivers late, in
any order, twice or never, agents with lives that follow the turn protocol of docs/interfaces.md, a tool with an effect,
a coordinator with lives that reads, decides and appends with `expect`, and people who send again until acknowledged.

Every action of every process is one transition; a fault (crash, loss, lost acknowledgement, early timeout, an absence
that lasts too long) takes one from a budget. `explore` visits every state within the budget.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from egghead.rooms.decide import Absent, Present, World, decide
from egghead.rooms.entries import EntryError
from egghead.rooms.fold import fold
from egghead.rooms.gate import Gate, check_batch
from egghead.rooms.state import RoomState, empty

DOWN = 0


class Agent(NamedTuple):
    """One agent: `incarnation` 0 is down; `lives` is the last incarnation so far."""

    incarnation: int
    lives: int
    turn: str = ""
    attempt: int = 0
    stage: str = "idle"
    done: tuple[str, ...] = ()
    sent: str = ""  # the body whose answer it waits for; other answers are of calls it gave up


class Message(NamedTuple):
    """Something on the wire."""

    sender: str
    incarnation: int
    what: str  # append | run
    body: str  # JSON
    expect: int = -1


class S(NamedTuple):
    """A state of the world."""

    log: tuple[str, ...]
    agents: tuple[Agent, ...]
    view: tuple[int, ...]  # presence as the coordinator knows it
    coordinator: str  # down | idle | the body of the append that it waits for
    epoch: int
    people: tuple[str, ...]  # unsent | waiting | acked
    net: frozenset[Message]
    effects: tuple[str, ...]  # every tool execution, in order
    faults: int


@dataclass
class Script:
    """What the people say and how the agents behave."""

    agents: tuple[str, ...]
    people: tuple[dict[str, Any], ...]
    tools: frozenset[str] = frozenset()  # agents that use a tool with an effect first
    passes: frozenset[str] = frozenset()
    says: dict[str, str] | None = None
    budget: int | None = None
    handoffs: frozenset[str] = frozenset()  # agents whose first turn of their first life fills their context
    overflows: frozenset[str] = frozenset()  # agents whose first attempt of a first turn does not fit


class Broken(AssertionError):
    """A law does not hold."""


class Model:
    """The transitions of one script. `actions(s)` yields (label, is a fault, next state)."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.folded: dict[tuple[str, ...], tuple[RoomState, Gate, frozenset[str]]] = {}

    def start(self, faults: int) -> S:
        """Everything up, the agents in the room, nothing said."""
        log: tuple[str, ...] = ()
        for number, agent in enumerate(self.script.agents, 1):
            entry = {"kind": "joined", "agent": agent, "title": agent.title(), "seq": number, "id": f"j{number}"}
            log = (*log, json.dumps({**entry, "by": "roster", "at": ""}, sort_keys=True))
        if self.script.budget is not None:
            entry = {"kind": "budget_set", "budget": self.script.budget, "seq": len(log) + 1, "id": "b", "at": ""}
            log = (*log, json.dumps({**entry, "by": "clients/ada-1"}, sort_keys=True))
        agents = tuple(Agent(1, 1) for _ in self.script.agents)
        people = tuple("unsent" for _ in self.script.people)
        return S(log, agents, tuple(1 for _ in agents), "idle", 1, people, frozenset(), (), faults)

    def state(self, log: tuple[str, ...]) -> tuple[RoomState, Gate, frozenset[str]]:
        """The fold, the gate and the ids of a log; each log is folded once and its laws are checked then."""
        found = self.folded.get(log)
        if found is None:
            if not log:
                return empty("lab"), Gate(), frozenset()
            before, gate, ids = self.state(log[:-1])
            entry = json.loads(log[-1])
            after = fold(before, entry)
            check_step(before, entry, after)
            found = after, gate.after(entry), ids | {entry["id"]}
            self.folded[log] = found
        return found

    # -- transitions

    def actions(self, s: S) -> Iterator[tuple[str, bool, S]]:
        yield from self._people(s)
        yield from self._network(s)
        for number in range(len(s.agents)):
            yield from self._agent(s, number)
        yield from self._coordinator(s)

    def _people(self, s: S) -> Iterator[tuple[str, bool, S]]:
        for number, stage in enumerate(s.people):
            name = f"clients/ada-{number + 1}"
            if stage == "acked" or any(message.sender == name for message in s.net):
                continue
            body = json.dumps([{**self.script.people[number], "id": f"m{number + 1}"}])
            people = _set(s.people, number, "waiting")
            yield f"{name} sends", False, s._replace(people=people, net=s.net | {Message(name, 0, "append", body)})

    def _network(self, s: S) -> Iterator[tuple[str, bool, S]]:
        for message in sorted(s.net):
            gone = s._replace(net=s.net - {message})
            yield f"deliver {message.sender} {message.body}", False, self._delivered(gone, message, True)
            if s.faults:
                less = gone._replace(faults=s.faults - 1)
                yield f"lose {message.sender} {message.body}", True, less
                yield f"deliver unheard {message.sender}", True, self._delivered(less, message, False)
                if message.what == "append":
                    kept = s._replace(faults=s.faults - 1)
                    yield f"deliver twice {message.sender}", True, self._delivered(kept, message, True)

    def _delivered(self, s: S, message: Message, heard: bool) -> S:
        if message.what == "run":
            s = s._replace(effects=(*s.effects, message.body))
            return self._answered(s, message, "ok") if heard else s
        log, answer = self._append(s.log, message)
        s = s._replace(log=log)
        return self._answered(s, message, answer) if heard else s

    def _append(self, log: tuple[str, ...], message: Message) -> tuple[tuple[str, ...], str]:
        """The room: once by id, then `expect`, then the gate, then all or nothing."""
        entries = json.loads(message.body)
        _, gate, ids = self.state(log)
        known = [entry["id"] in ids for entry in entries]
        if all(known):
            return log, "ok"
        try:
            if any(known):
                raise EntryError("mixed")
            if message.expect >= 0 and message.expect != len(log):
                return log, "conflict"
            batch = check_batch(entries, message.sender, message.incarnation)
            gate.admit(batch, message.sender, message.incarnation)
        except EntryError:
            return log, "refused"
        for entry in batch:
            stamped = {**entry, "seq": len(log) + 1, "by": message.sender, "at": ""}
            log = (*log, json.dumps(stamped, sort_keys=True))
            self.state(log)
        return log, "ok"

    def _answered(self, s: S, message: Message, answer: str) -> S:
        sender = message.sender
        if sender.startswith("clients/"):
            return s._replace(people=_set(s.people, int(sender[-1]) - 1, "acked"))
        if sender == "coordinator":
            if s.coordinator == message.body and s.epoch == message.incarnation:
                return s._replace(coordinator="idle")
            return s
        number = self.script.agents.index(sender.removeprefix("agents/"))
        agent = s.agents[number]
        if agent.incarnation != message.incarnation or not agent.stage.startswith("wait"):
            return s
        waiting_for = agent.stage.removeprefix("wait ")
        if agent.sent != message.body:
            return s
        if answer == "refused":
            return s._replace(agents=_set(s.agents, number, _idle(agent)))
        if waiting_for == "handoff":
            stored = next(entry for entry in map(json.loads, s.log) if entry["id"] == json.loads(message.body)[0]["id"])
            # What a life before it has written is over: only the life of the entry leaves.
            after = Agent(DOWN, agent.lives) if stored["incarnation"] == agent.incarnation else _idle(agent)
            return s._replace(agents=_set(s.agents, number, after))
        follows = {"started": "run", "run": "ended", "ended": "answer", "unknown": "answer"}
        stage = follows.get(waiting_for, "idle")
        after = _idle(agent) if stage == "idle" else agent._replace(stage=stage)
        return s._replace(agents=_set(s.agents, number, after))

    def _agent(self, s: S, number: int) -> Iterator[tuple[str, bool, S]]:
        agent, name = s.agents[number], self.script.agents[number]
        if agent.incarnation == DOWN:
            back = Agent(agent.lives + 1, agent.lives + 1)
            yield f"{name} is back", False, s._replace(agents=_set(s.agents, number, back))
            return
        if s.faults:
            dead = Agent(DOWN, agent.lives)
            yield f"{name} dies", True, s._replace(agents=_set(s.agents, number, dead), faults=s.faults - 1)
        if agent.stage.startswith("wait"):
            yield from self._agent_waits(s, number)
        elif agent.stage == "idle":
            handoff = self.state(s.log)[0].handoffs.get(name)
            if handoff is not None and handoff.incarnation == agent.incarnation and not handoff.left:
                begun = agent._replace(stage="handoff", turn=f"{handoff.id} {handoff.record}")
                yield f"{name} hands off", False, s._replace(agents=_set(s.agents, number, begun))
            for turn in self.state(s.log)[0].turns.values():
                mine = turn.agent == name and turn.incarnation == agent.incarnation and turn.answer is None
                if mine and turn.id not in agent.done:
                    stage = "begin" if name in self.script.tools else "answer"
                    if name in self.script.overflows and turn.attempt == 1 and turn.id.startswith("r2-"):
                        stage = "overflow"
                    elif turn.calls:
                        stage = "unknown"
                    elif any(_is(entry, "tool_ended", turn.id) for entry in s.log):
                        stage = "answer"
                    after = agent._replace(turn=turn.id, attempt=turn.attempt, stage=stage)
                    yield f"{name} takes {turn.id}", False, s._replace(agents=_set(s.agents, number, after))
        else:
            yield self._agent_sends(s, number)

    def _agent_waits(self, s: S, number: int) -> Iterator[tuple[str, bool, S]]:
        agent, name = s.agents[number], self.script.agents[number]
        if any(m.body == agent.sent and m.incarnation == agent.incarnation for m in s.net):
            return
        stage = agent.stage.removeprefix("wait ")
        if stage == "run":
            after = agent._replace(stage="ended")  # PeerDown: outcome unknown, never run again
        else:
            after = agent._replace(stage="begin" if stage == "started" else stage)  # the same ids again
        yield f"{name} asks again", False, s._replace(agents=_set(s.agents, number, after))

    def _agent_sends(self, s: S, number: int) -> tuple[str, bool, S]:
        agent, name = s.agents[number], self.script.agents[number]
        turn, attempt = agent.turn, agent.attempt
        call = f"{turn}.{attempt}.c"
        what, entries = "append", []
        stage = agent.stage
        if stage == "begin":
            stage = "started"
            entries = [
                {
                    "id": f"{call}.s",
                    "kind": "tool_started",
                    "turn": turn,
                    "attempt": attempt,
                    "call": call,
                    "tool": "create_record",
                    "input": {},
                    "read_only": False,
                    "summary": "",
                }
            ]
        elif stage == "run":
            what = "run"
        elif stage in ("ended", "unknown"):
            call = call if stage == "ended" else next(iter(self.state(s.log)[0].turns[turn].calls), call)
            entries = [
                {
                    "id": f"{call}.e",
                    "kind": "tool_ended",
                    "turn": turn,
                    "call": call,
                    "outcome": "ok" if stage == "ended" else "unknown",
                    "result": "",
                    "summary": "",
                }
            ]
        elif stage == "handoff":
            id, record = turn.split()
            entries = [{"id": f"{id}.h", "kind": "handoff", "record": record}]
        elif stage == "overflow":
            entries = [{"id": f"{turn}.o", "kind": "handoff_asked", "reason": "overflow", "turn": turn}]
        elif name in self.script.passes:
            entries = [{"id": f"{turn}.m", "kind": "action", "turn": turn, "action": "passed"}]
        else:
            text = (self.script.says or {}).get(name, "done")
            entries = [{"id": f"{turn}.m", "kind": "message", "turn": turn, "author": name, "text": text, "usage": {}}]
            if agent.incarnation == 1 and name in self.script.handoffs:
                entries.insert(0, {"id": f"{turn}.c", "kind": "handoff_asked", "reason": "context"})
        body = turn if what == "run" else json.dumps(entries)
        message = Message(f"agents/{name}", agent.incarnation, what, body)
        after = agent._replace(stage=f"wait {stage}", sent=body)
        return f"{name} {stage}", False, s._replace(agents=_set(s.agents, number, after), net=s.net | {message})

    def _coordinator(self, s: S) -> Iterator[tuple[str, bool, S]]:
        lives = tuple(agent.incarnation for agent in s.agents)
        if s.coordinator == "down":
            yield "coordinator is back", False, s._replace(coordinator="idle", epoch=s.epoch + 1, view=lives)
            return
        if s.faults:
            yield "coordinator dies", True, s._replace(coordinator="down", faults=s.faults - 1)
        if s.view != lives:
            yield "coordinator looks", False, s._replace(view=lives)
        if s.coordinator != "idle":
            mine = any(m.body == s.coordinator and m.incarnation == s.epoch for m in s.net)
            if not mine:
                yield "coordinator reads again", False, s._replace(coordinator="idle")
            elif s.faults:
                yield "coordinator gives up", True, s._replace(coordinator="idle", faults=s.faults - 1)
            return
        yield from self._decides(s, 0.0, False)
        if s.faults and DOWN in s.view:
            yield from self._decides(s._replace(faults=s.faults - 1), 1000.0, True)

    def _decides(self, s: S, now: float, fault: bool) -> Iterator[tuple[str, bool, S]]:
        presence = {
            name: Present(life) if life else Absent(0.0) for name, life in zip(self.script.agents, s.view, strict=True)
        }
        decision = decide(self.state(s.log)[0], World(presence=presence), now)
        if decision.entries:
            message = Message("coordinator", s.epoch, "append", json.dumps(decision.entries), len(s.log))
            kinds = " ".join(entry["kind"] for entry in decision.entries)
            yield f"coordinator: {kinds}", fault, s._replace(coordinator=message.body, net=s.net | {message})

    # -- laws

    def check(self, s: S) -> None:
        """Laws of every state."""
        for effect in set(s.effects):
            if s.effects.count(effect) > 1:
                raise Broken(f"the effect of {effect} was caused twice")

    def check_end(self, s: S) -> None:
        """Laws of a world in which nothing is left to do."""
        state = self.state(s.log)[0]
        if not state.quiet:
            raise Broken(f"the world stands still, the room does not: {state}")
        if any(stage != "acked" for stage in s.people):
            raise Broken("a person's message was never taken")
        check_log([json.loads(line) for line in s.log])

    def settle(self, s: S, limit: int = 2000) -> S:
        """Go on without a fault until nothing is left to do; Broken when that does not end."""
        for _ in range(limit):
            step = next((after for _, fault, after in self.actions(s) if not fault), None)
            if step is None:
                self.check_end(s)
                return s
            s = step
            self.check(s)
        raise Broken("it goes on for ever")


def explore(model: Model, faults: int, most: int = 1_000_000, settle_every: int = 7) -> int:
    """Visit every state within `faults` faults (breadth first); returns how many. Broken carries the way there."""
    first = model.start(faults)
    came: dict[S, tuple[S, str] | None] = {first: None}
    todo = deque([first])
    visited = 0
    while todo:
        s = todo.popleft()
        visited += 1
        try:
            model.check(s)
            moves = list(model.actions(s))
            if not any(not fault for _, fault, _ in moves):
                model.check_end(s)
            if visited % settle_every == 0:
                model.settle(s)
        except AssertionError as broken:
            raise Broken(f"{broken}\n" + "\n".join(way(came, s))) from broken
        for label, _, after in moves:
            if after not in came:
                came[after] = (s, label)
                todo.append(after)
        if len(came) > most:
            raise Broken(f"more than {most} states")
    return visited


def way(came: dict[S, tuple[S, str] | None], s: S) -> list[str]:
    """The labels that lead to a state."""
    labels: list[str] = []
    step = came[s]
    while step is not None:
        labels.append(step[1])
        step = came[step[0]]
    return labels[::-1]


def check_step(before: RoomState, entry: dict[str, Any], after: RoomState) -> None:
    """Laws of one more entry."""
    kind = entry["kind"]
    if kind == "turn_started":
        turn = before.turns.get(entry["turn"])
        if entry["attempt"] == 1 and turn is not None:
            raise Broken(f"{entry['turn']} started twice")
        if entry["attempt"] == 2 and (turn is None or turn.attempt != 1 or turn.answer is not None):
            raise Broken(f"{entry['turn']} given again without need: {turn}")
        if entry["attempt"] == 2 and turn is not None and entry["incarnation"] <= turn.incarnation:
            raise Broken("given again to the same life")
    if kind == "turn_ended":
        turn = before.turns.get(entry["turn"])
        if turn is None:
            raise Broken(f"{entry['turn']} ended without being open")
        if turn.answer is not None and entry["outcome"] != turn.answer:
            raise Broken(f"{entry['turn']} answered {turn.answer} and ended {entry['outcome']}")
    if kind == "round_planned" and before.round is not None:
        raise Broken("rounds overlap")
    if kind == "round_ended" and before.turns:
        raise Broken("a round ended with turns open")
    used, used_before = after.spent + len(after.turns), before.spent + len(before.turns)
    # A limit that is lowered leaves what was spent; it must not be spent further.
    if after.spent < 0 or (used > used_before and used > after.limit()):
        raise Broken(f"more activations than the budget allows: {after.spent} + {len(after.turns)}")


def check_log(log: list[dict[str, Any]]) -> None:
    """Laws of a whole log at rest: what was started has ended, once; what was said has been answered or passed over."""
    starts: dict[str, list[int]] = {}
    ends: dict[str, list[str]] = {}
    answers: dict[str, int] = {}
    planned: dict[str, int] = {}
    rounds: list[str] = []
    spoke = 0
    for entry in log:
        kind = entry["kind"]
        if kind == "turn_started":
            starts.setdefault(entry["turn"], []).append(entry["attempt"])
        elif kind == "turn_ended":
            ends.setdefault(entry["turn"], []).append(entry["outcome"])
            spoke += entry["outcome"] == "spoke"
        elif kind == "round_planned":
            planned[entry["message"]] = planned.get(entry["message"], 0) + 1
            rounds.append(entry["round"])
        elif kind == "round_ended":
            if not rounds or rounds[-1] != entry["round"]:
                raise Broken(f"round {entry['round']} ended out of order")
        elif entry.get("turn") and (kind == "message" or entry.get("action") in ("passed", "failed")):
            answers[entry["turn"]] = answers.get(entry["turn"], 0) + 1
            if entry["turn"] in ends:
                raise Broken("an answer after the end")
    if starts.keys() != ends.keys() or any(len(found) != 1 for found in ends.values()):
        raise Broken(f"turns and ends differ: {starts} {ends}")
    if any(attempts not in ([1], [1, 2]) for attempts in starts.values()):
        raise Broken(f"attempts: {starts}")
    if any(count > 1 for count in answers.values()):
        raise Broken("a turn was answered twice")
    begun = {entry["handoff"]: entry["record"] for entry in log if entry["kind"] == "handoff_started"}
    done = [entry["record"] for entry in log if entry["kind"] == "handoff"]
    over = [entry["record"] for entry in log if entry["kind"] == "handoff_ended" and entry["outcome"] == "back"]
    failed = sum(entry["kind"] == "handoff_ended" and entry["outcome"] == "failed" for entry in log)
    if sorted(done) != sorted(over) or len(done) + failed != len(begun):
        raise Broken(f"handoffs begun {begun}, done {done}, over {over}, failed {failed}")
    for entry in log:
        person = entry["by"].startswith("clients/")
        if person and entry["kind"] in ("message", "continued") and planned.get(entry["id"], 0) != 1:
            raise Broken(f"{entry['id']} has {planned.get(entry['id'], 0)} rounds")


def _is(line: str, kind: str, turn: str) -> bool:
    entry = json.loads(line)
    return entry["kind"] == kind and entry.get("turn") == turn


def _idle(agent: Agent) -> Agent:
    return agent._replace(turn="", attempt=0, stage="idle", done=(*agent.done, agent.turn), sent="")


def _set(values: tuple[Any, ...], at: int, value: Any) -> tuple[Any, ...]:
    return (*values[:at], value, *values[at + 1 :])
