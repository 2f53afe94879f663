"""What a small model needs besides a large one's request: notes put before it, and tool calls bound by a schema. Pure.

A small model searches badly and writes calls that do not parse. So the librarian's search comes first (the agent's own
tools, its own grants), what it found stands in the prompt, and where tools are left to the model its whole answer is one
JSON object that llama.cpp holds it to: `{"say": …}` or `{"tool": …, "input": …}`. `answer` reads that.

Nothing of a conversation is left out to make it fit: only what we add is cut to the room that there is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from egghead.llm.librarian.conversation import roster_of
from egghead.llm.librarian.steps import step
from egghead.llm.shapes import Message, Request, Text, Thinking, Tool, ToolResult, ToolUse, estimate_tokens

READING = frozenset(
    (
        "search_records",
        "get_record_body",
        "get_record",
        "list_records",
        "recent_records",
        "find_links",
        "find_backlinks",
    )
)
NOTES_SHARE, MOST_NOTES = 4, 600  # of the window, one part in so many; and tokens at most
TOOLS_SHARE = 6
MOST_ANSWER = 400  # tokens; a small model that goes on longer repeats itself
MOST_SOURCES = 3
MOST_CALLS = 4  # of tools in one turn; then it is asked for words only
MOST_LOOKS = 4  # rounds of the librarian's search in one turn
RESULT_WORDS = 150  # of what a tool gave back
MOST_DEPTH = 6  # of a tool's schema
MOST_TEXT = 500  # characters of one text among the arguments of a tool
CITED = re.compile(r"\[\[([^\[\]|#\n]{1,300})[^\[\]\n]{0,300}\]\]")

_TOOLS_LISTED = re.compile(r"^Your tools: .*\n*", re.MULTILINE)
_REMARK = re.compile(r"\([^()]*\)\Z")  # our own word to the model, such as that it is its turn
_KEPT = ("type", "enum", "const")
_RULE = "Answer in a few plain sentences. Use only what the notes say; name a note as [[id]] exactly as it is given."
_CHOICE = (
    "Either `say` something, or use one `tool` with its `input`. Use a tool only when you are asked to do what it does."
)


@dataclass(frozen=True)
class Lookup:
    """First look into the notes: tools for the agent to call."""

    uses: tuple[ToolUse, ...]


@dataclass(frozen=True)
class Ask:
    """Then ask the model. `schema` binds its answer (None: plain words); `given` are the ids that it may cite, folded;
    `stop` where its answer ends though it goes on; `extract` is what the librarian would say, for a model that says
    nothing, and `sources` the notes that it is from, for one that names none."""

    request: Request
    schema: Mapping[str, Any] | None
    given: frozenset[str]
    stop: tuple[str, ...] = ()
    extract: str = ""
    sources: tuple[str, ...] = ()


def plan(request: Request, window: int) -> Lookup | Ask:
    """What to do next for this request; the tools' results since the question are all that is remembered."""
    own, looked = _calls(request)
    found = step(request)
    if found.uses and looked < MOST_LOOKS and not own:
        return Lookup(found.uses)
    results = _results(request)
    extract = found.text if CITED.search(found.text) else ""
    room = min(MOST_NOTES, window // NOTES_SHARE)
    sources = tuple(dict.fromkeys(CITED.findall(extract)))[:MOST_SOURCES]
    notes = _notes(extract, [(use, result) for use, result in results if use.name == "get_record_body"], room)
    tools = () if own >= MOST_CALLS or _repeats(results) else _offered(request.tools, window // TOOLS_SHARE)
    # The agent's own list of tools is not what this model may use, and a small one goes on listing.
    parts = [
        _TOOLS_LISTED.sub("", request.system).strip(),
        _RULE,
        _CHOICE if tools else "",
        *(_described(tool) for tool in tools),
    ]
    asked = Request(
        messages=_messages(request, notes),
        model=request.model,
        system="\n\n".join(part for part in parts if part),
        max_tokens=min(request.max_tokens, max(64, window // 4), MOST_ANSWER),
        temperature=0.2 if request.temperature is None else request.temperature,
        agent=request.agent,
        room=request.room,
        turn=request.turn,
        mode=request.mode,
    )
    return Ask(asked, schema_of(tools) if tools else None, _given(request, notes), _stops(request), extract, sources)


def folded(id: str) -> str:
    """An id as it is compared: a model may write it in capitals, or with its suffix."""
    return id.strip().removesuffix(".md").casefold()


def schema_of(tools: Sequence[Tool]) -> dict[str, Any]:
    """One schema: words, or one of the tools with what that tool takes."""
    say = {"type": "object", "properties": {"say": {"type": "string"}}}
    calls = [{"type": "object", "properties": {"tool": {"const": t.name}, "input": _input(t)}} for t in tools]
    return {
        "anyOf": [{**one, "required": list(one["properties"]), "additionalProperties": False} for one in [say, *calls]]
    }


def _input(tool: Tool) -> dict[str, Any]:
    schema = _plain(tool.input_schema, MOST_DEPTH)
    return (
        schema
        if schema.get("type") == "object"
        else {"type": "object", "properties": {}, "additionalProperties": False}
    )


def _plain(schema: Any, depth: int) -> dict[str, Any]:
    """The part of a JSON schema that a grammar can hold a model to; what is too deep may be any value."""
    if not isinstance(schema, Mapping) or depth == 0:
        return {}
    for several in ("anyOf", "oneOf"):
        if isinstance(schema.get(several), Sequence):
            return {"anyOf": [_plain(one, depth - 1) for one in schema[several]]}
    kept: dict[str, Any] = {key: schema[key] for key in _KEPT if key in schema}
    kind = kept.get("type")
    if kind == "string" and "enum" not in kept:
        kept["maxLength"] = MOST_TEXT
    if kind == "array":
        kept |= {"items": _plain(schema.get("items") or {"type": "string"}, depth - 1), "maxItems": 20}
    properties = schema.get("properties")
    if kind == "object" and isinstance(properties, Mapping):
        kept["properties"] = {str(name): _plain(one, depth - 1) for name, one in properties.items()}
        kept["required"] = [name for name in schema.get("required") or () if name in properties]
        kept["additionalProperties"] = False
    return kept


def _offered(tools: Sequence[Tool], room: int) -> tuple[Tool, ...]:
    """The tools that are left to the model: what it reads is put before it. As many as fit in the room, in their order."""
    chosen = []
    for tool in tools:
        if tool.name in READING:
            continue
        room -= estimate_tokens(_described(tool)) + 4
        if room < 0:
            break
        chosen.append(tool)
    return tuple(chosen)


def _described(tool: Tool) -> str:
    names = ", ".join((tool.input_schema.get("properties") or {}).keys())
    return f"Tool {tool.name}({names}): {clipped(tool.description.partition('. ')[0], 30)}"


def _calls(request: Request) -> tuple[int, int]:
    """How many calls of the model's own this turn has had, and how many rounds of reading."""
    turn = _this_turn(request)
    rounds = [{b.name for b in m.content if isinstance(b, ToolUse)} for m in turn if m.role == "assistant"]
    own = sum(isinstance(b, ToolUse) and b.name not in READING for m in turn for b in m.content)
    return own, sum(bool(names) and names <= READING for names in rounds)


def _this_turn(request: Request) -> list[Message]:
    """What came after the last words of somebody else: this turn's own rounds, and their results."""
    for at in range(len(request.messages) - 1, -1, -1):
        message = request.messages[at]
        if message.role != "user":
            continue
        for place in range(len(message.content) - 1, -1, -1):
            block = message.content[place]
            if isinstance(block, Text) and not _REMARK.match(block.text.strip()):
                return [Message("user", message.content[place + 1 :]), *request.messages[at + 1 :]]
    return list(request.messages)


def _results(request: Request) -> list[tuple[ToolUse, ToolResult]]:
    blocks = [block for message in _this_turn(request) for block in message.content]
    results = {block.tool_use_id: block for block in blocks if isinstance(block, ToolResult)}
    return [(use, results[use.id]) for use in blocks if isinstance(use, ToolUse) and use.id in results]


def _repeats(results: Sequence[tuple[ToolUse, ToolResult]]) -> bool:
    """Whether the model has asked for the same thing twice: it would ask a third time."""
    own = [(use.name, json.dumps(use.input, sort_keys=True)) for use, _ in results if use.name not in READING]
    return len(own) != len(set(own))


def _notes(extract: str, bodies: Sequence[tuple[ToolUse, ToolResult]], room: int) -> str:
    """What the notes say, within the room: the passages that answer best, then the notes from their beginning."""
    parts = [clipped(extract, room)] if extract else []
    for use, result in bodies:
        left = room - sum(estimate_tokens(part) for part in parts)
        if left < 40:
            break
        if not result.is_error:
            parts.append(f"[[{use.input.get('id')}]]: {clipped(' '.join(result.content.split()), left * 3 // 4 - 8)}")
    return "\n\n".join(parts)


def _messages(request: Request, notes: str) -> list[Message]:
    """The conversation in words alone, sides in turn: many small models' templates know nothing else."""
    names = {b.id: b.name for m in request.messages for b in m.content if isinstance(b, ToolUse)}
    roster = roster_of(request.system)
    only = roster.people[0] if roster.alone and len(roster.people) == 1 else ""
    said: list[tuple[str, str]] = []
    for message in request.messages:
        for block in message.content:
            match block:
                case Text(text) if text.strip():
                    said.append((message.role, _unnamed(text, only)))
                case ToolUse(_, name, given) if name not in READING:
                    said.append(("assistant", json.dumps({"tool": name, "input": given}, ensure_ascii=False)))
                case ToolResult(id, content) if names.get(id) not in READING:
                    said.append(("user", f"(Result of {names.get(id, 'a tool')}: {clipped(content, RESULT_WORDS)})"))
                case Text() | ToolUse() | ToolResult() | Thinking():
                    pass
    if notes:
        last = next((at for at in range(len(said) - 1, -1, -1) if said[at][0] == "user"), None)
        question = said.pop(last)[1] if last is not None else ""
        said.insert(
            len(said) if last is None else last, ("user", f"Notes:\n\n{notes}\n\nAbout these notes: {question}".strip())
        )
    merged: list[Message] = []
    for role, text in said:
        if merged and merged[-1].role == role:
            before = merged.pop().content[0]
            assert isinstance(before, Text)
            text = f"{before.text}\n\n{text}"
        merged.append(Message("user" if role == "user" else "assistant", [Text(text)]))
    return merged


def _unnamed(text: str, only: str) -> str:
    """The words of the only person there, without the name: a model that sees a play goes on with it."""
    return text.removeprefix(f"{only}: ") if only else text


def _stops(request: Request) -> tuple[str, ...]:
    """A small model goes on with what the others would say next: it is stopped where their names begin a line."""
    roster = roster_of(request.system)
    return tuple(f"\n{name}:" for name in (*roster.people[:4], *roster.agents[:4]))


def _given(request: Request, notes: str) -> frozenset[str]:
    """The ids that the model was shown: in the conversation, in the results of its tools, in the notes before it."""
    texts = [notes]
    ids: list[str] = []
    for message in request.messages:
        for block in message.content:
            match block:
                case Text(text) | ToolResult(_, text):
                    texts.append(text)
                case ToolUse(_, _, given) if isinstance(given.get("id"), str):
                    ids.append(given["id"])
                case _:
                    pass
    cited = (found for text in texts for found in CITED.findall(text))
    named = (found for text in texts for found in re.findall(r'"id":\s*"([^"\\]{1,300})"', text))
    return frozenset(map(folded, (*ids, *cited, *named)))


def clipped(text: str, words: int) -> str:
    """At most that many words, and of a text without spaces at most eight signs for each."""
    if words <= 0:
        return ""
    parts = text.split(" ")
    short = text if len(parts) <= words else " ".join(parts[:words]) + " …"
    return short if len(short) <= words * 8 else short[: words * 8] + "…"
