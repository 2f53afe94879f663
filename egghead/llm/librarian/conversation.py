"""A request seen from the librarian's chair: the question, what was asked before, and what the tools gave since.

The librarian keeps nothing between calls; everything it knows is in the request: the messages, and the one line of the
system prompt that says who is in the room. How agents write both is in `egghead/agents`. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from egghead.llm.shapes import Block, Request, Text, ToolResult, ToolUse

_ROSTER = re.compile(r"^(?:Room: .*?\. )?In this room: (?P<names>.*)\.$", re.MULTILINE)
_AGENT = re.compile(r"(?P<title>[^,()][^()]*?) \(agent (?P<id>[^,()]+)(?P<you>, you)?\)")
_PERSON = re.compile(r"(?P<name>[^,()][^()]*?) \(person\)")
_BY_AGENT = re.compile(r"^(?P<name>[^\n:]{1,80}) \(agent [^()\n]+\): ")
_BY_NAME = re.compile(r"^(?P<name>[^\n:]{1,80}): ")
_REMARK = re.compile(r"^\([^()]*\)$")


@dataclass(frozen=True)
class Roster:
    """Who is in the room, as the system prompt says it; empty when it does not."""

    agents: tuple[str, ...] = ()  # titles of the others
    people: tuple[str, ...] = ()
    line: str = ""

    @property
    def alone(self) -> bool:
        """Whether nobody else could answer instead."""
        return not self.agents


@dataclass(frozen=True)
class Talk:
    """`question` is what is to be answered, without the speaker's name; `earlier` the people's lines before it (oldest
    first); `asked` the tool calls since, each with its result (None: not yet)."""

    question: str
    earlier: tuple[str, ...] = ()
    asked: tuple[tuple[ToolUse, ToolResult | None], ...] = ()
    roster: Roster = Roster()
    said: tuple[str, ...] = ()  # what other agents answered to the question before us

    def results(self, tool: str) -> list[tuple[ToolUse, ToolResult]]:
        """The answered calls of one tool, in order."""
        return [(use, result) for use, result in self.asked if use.name == tool and result is not None]

    def called(self, tool: str) -> bool:
        return any(use.name == tool for use, _ in self.asked)


@dataclass(frozen=True)
class _Line:
    at: int
    text: str
    agent: bool


def talk(request: Request) -> Talk:
    """The conversation so far. A request without any text of a user has the empty question."""
    roster = roster_of(request.system)
    blocks = [(message.role, block) for message in request.messages for block in message.content]
    lines = [
        _line(at, block.text, roster)
        for at, (role, block) in enumerate(blocks)
        if role == "user" and isinstance(block, Text) and not _REMARK.match(block.text.strip())
    ]
    chosen = _chosen(lines, blocks, request.mode)
    if chosen is None:
        return Talk("", roster=roster)
    own = (at for at, (role, block) in enumerate(blocks) if role == "assistant" and isinstance(block, Text))
    since = max([chosen.at, *own])  # what was looked up for an answer already given is not this turn's reading
    uses = [block for _, block in blocks[since + 1 :] if isinstance(block, ToolUse)]
    results = {block.tool_use_id: block for _, block in blocks[since + 1 :] if isinstance(block, ToolResult)}
    return Talk(
        chosen.text,
        tuple(line.text for line in lines if line.at < chosen.at and not line.agent),
        tuple((use, results.get(use.id)) for use in uses),
        roster,
        tuple(line.text for line in lines if line.at > chosen.at and line.agent),
    )


def _chosen(lines: Sequence[_Line], blocks: Sequence[tuple[str, Block]], mode: str) -> _Line | None:
    """A peer that addressed us is answered; otherwise the last person, whoever spoke since."""
    if not lines:
        return None
    if mode != "peer":
        people = [line for line in lines if not line.agent]
        if people:
            return people[-1]
    return lines[-1]


def _line(at: int, text: str, roster: Roster) -> _Line:
    by_agent = _BY_AGENT.match(text)
    if by_agent:
        return _Line(at, text[by_agent.end() :], True)
    by_name = _BY_NAME.match(text)
    # A name is taken off only when the room knows it: "foam.orphans: what is it" has no speaker.
    if by_name and by_name["name"] in roster.people:
        return _Line(at, text[by_name.end() :], False)
    return _Line(at, text, False)


def roster_of(system: str) -> Roster:
    """Who is in the room, from the line of the system prompt that says so."""
    match = _ROSTER.search(system)
    if not match:
        return Roster()
    agents = tuple(found["title"].strip() for found in _AGENT.finditer(match["names"]) if not found["you"])
    people = tuple(found["name"].strip() for found in _PERSON.finditer(match["names"]))
    return Roster(agents, people, match["names"])


def hits(result: ToolResult) -> list[dict[str, Any]]:
    """The records that a tool found, whatever the key they are under; empty when it is not JSON (an error text)."""
    try:
        data = json.loads(result.content)
    except ValueError:
        return []
    if isinstance(data, dict):
        data = next((value for value in data.values() if isinstance(value, list)), [])
    if not isinstance(data, list):
        return []
    return [hit for hit in data if isinstance(hit, dict) and isinstance(hit.get("id"), str)]
