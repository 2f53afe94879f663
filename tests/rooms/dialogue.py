"""Plays a dialogue against fold and decide alone: agents answer at once, the supervisor does what the script says."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from egghead.rooms.activation import Card
from egghead.rooms.decide import Absent, Parked, Presence, Present, World, decide
from egghead.rooms.fold import fold
from egghead.rooms.relevance import Corpus
from egghead.rooms.state import RoomState, Turn, empty

AGENTS: dict[str, dict[str, Any]] = {
    "scout": {"tags": ["research", "web"], "disposition": "You find things out and quote your sources."},
    "people/bob": {"title": "Bob the Builder", "tags": ["wood", "garden"]},
    "nib": {"tags": ["writing", "letters"]},
    "index": {"quiet": True, "disposition": "You know the records."},
}
MARKS = {"spoke": "", "passed": "-", "failed": "!", "halted": "~"}


class Dialogue:
    """A room, its agents, and the log so far."""

    def __init__(self, room: str, agents: dict[str, dict[str, Any]], replies: dict[str, list[str]]) -> None:
        self.state: RoomState = empty(room)
        self.log: list[dict[str, Any]] = []
        self.replies = {agent: list(texts) for agent, texts in replies.items()}
        self.presence: dict[str, Presence] = {agent: Present(1) for agent in agents}
        cards = [
            Card(
                agent,
                data.get("title", agent.rsplit("/", 1)[-1].title()),
                tuple(data.get("tags", ())),
                data.get("disposition", ""),
                data.get("quiet", False),
                data.get("idle", False),
            )
            for agent, data in agents.items()
        ]
        corpus = Corpus((card.agent, card.title, card.tags, card.disposition) for card in cards)
        self.world = World(cards={card.agent: card for card in cards}, corpus=corpus)
        for card in cards:
            self.put("roster", kind="joined", agent=card.agent, title=card.title)

    def put(self, by: str, **entry: Any) -> None:
        """Append to the log."""
        number = self.state.last + 1
        stored = {"seq": number, "id": f"e{number}", "at": "", "by": by, **entry}
        self.log.append(stored)
        self.state = fold(self.state, stored)

    def say(self, step: str) -> None:
        """A person's step or the supervisor's."""
        word, _, rest = step.partition(" ")
        commands = {"/mute": "muted", "/unmute": "unmuted", "/kick": "kicked", "/invite": "invited"}
        if word in commands:
            self.put("clients/ada-1", kind=commands[word], agent=rest, author="ada")
        elif step in ("/halt", "/continue"):
            self.put("clients/ada-1", kind={"/halt": "halted", "/continue": "continued"}[step])
        elif word == "/budget":
            self.put("clients/ada-1", kind="budget_set", budget=int(rest))
        elif word in ("pause", "resume"):
            paused = {agent: why for agent, why in self.world.paused.items() if agent != rest}
            self.world = replace(
                self.world, paused=paused | ({rest: f"{rest} has used 5 of 5 USD"} if word == "pause" else {})
            )
        elif word in ("park", "down", "up"):
            self.presence[rest] = {"park": Parked("it crashed"), "down": Absent(100.0), "up": Present(2)}[word]
        else:
            self.put("clients/ada-1", kind="message", author="ada", text=step)

    def settle(self, interruptions: dict[int, list[str]], now: float = 100.0) -> None:
        """Go on until nothing is left to do. `interruptions`: steps while the n-th turn from here is open."""
        count = 0
        for _ in range(500):
            decision = decide(self.state, replace(self.world, presence=self.presence), now)
            for entry in decision.entries:
                self.put("coordinator", **entry)
                count += entry["kind"] == "turn_started" and entry["incarnation"] > 0
            waiting = [turn for turn in self.state.turns.values() if turn.answer is None and turn.incarnation]
            interrupted = [
                step for number in sorted(interruptions) if number <= count for step in interruptions[number]
            ]
            if interrupted and waiting:
                for number in [number for number in interruptions if number <= count]:
                    del interruptions[number]
                for step in interrupted:
                    self.say(step)
                if "/halt" in interrupted or any(step.startswith(("park", "/kick")) for step in interrupted):
                    now += 10.0  # the agent is not heard of any more
                    continue
            for turn in waiting:
                self.answer(turn)
            if not waiting and not decision.entries:
                away = [agent for agent, found in self.presence.items() if isinstance(found, Absent)]
                if decision.wake_at is None or not away:
                    return
                self.presence[away[0]] = Present(2)
        raise AssertionError("the dialogue does not end")

    def answer(self, turn: Turn) -> None:
        """What the agent says next."""
        texts = self.replies.get(turn.agent) or ["ok"]
        text = texts.pop(0)
        own = {"turn": turn.id, "id": f"{turn.id}.m"}
        if text in ("/pass", "/fail"):
            action = {"/pass": "passed", "/fail": "failed"}[text]
            self.put(f"agents/{turn.agent}", kind="action", action=action, **own)
        else:
            self.put(f"agents/{turn.agent}", kind="message", author=turn.agent, text=text, usage={}, **own)

    def rounds(self) -> list[tuple[str, str]]:
        """(what happened, reason) of each round."""
        found: list[tuple[str, list[str], str]] = []
        for entry in self.log:
            if entry["kind"] == "round_planned":
                found.append((entry["mode"], [], entry.get("reason", "")))
            elif entry["kind"] == "turn_ended":
                found[-1][1].append(entry["agent"] + MARKS[entry["outcome"]])
            elif entry["kind"] == "budget_exhausted":
                text = "paused: " + " ".join(entry["queued"])
                if self._within_round(entry["seq"]):
                    found[-1][1].append(text)
                else:
                    found.append((text, [], ""))
        return [(f"{mode}: {', '.join(turns)}".strip(": ") if turns else mode, reason) for mode, turns, reason in found]

    def _within_round(self, seq: int) -> bool:
        kinds = [entry["kind"] for entry in self.log[:seq]]
        return kinds.count("round_planned") > kinds.count("round_ended")


def play(case: dict[str, Any]) -> Dialogue:
    """Play one case of dialogues.yaml."""
    agents = case.get("agents", AGENTS)
    dialogue = Dialogue(case.get("room", "lab"), agents, case.get("replies", {}))
    steps: list[str] = list(case["say"])
    while steps:
        dialogue.say(steps.pop(0))
        interruptions: dict[int, list[str]] = {}
        while steps and steps[0].startswith("+"):
            plus, _, text = steps.pop(0).partition(" ")
            interruptions.setdefault(len(plus), []).append(text)
        dialogue.settle(interruptions)
    return dialogue


def expected(line: str) -> tuple[str, str]:
    """(what happens, part of the reason) of an expectation."""
    match = re.fullmatch(r"(.*?)(?: ?\((.*)\))?", line)
    assert match is not None
    return match[1].strip().rstrip(":").strip(), match[2] or ""
