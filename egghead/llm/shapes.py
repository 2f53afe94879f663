"""The neutral shapes that agents and providers share: requests, blocks, events, usage.

Here belong the values and how they come out of plain data. What a provider's wire format looks like does not belong
here: an adapter turns these shapes into its own and back. `docs/interfaces.md`, "agents → tools, llm", is the contract.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from typing import Any, Literal

import msgspec

from egghead.llm.errors import BadRequest

Mode = Literal["open", "mention", "huddle", "jam", "peer", "handoff"]
StopReason = Literal["end_turn", "tool_use", "max_tokens", "refusal"]


_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]")


# What stands in the place of a tool's arguments that cannot be handed on: the text that is no JSON object, or a sentence.
NO_OBJECT, TOO_LONG = "not_a_json_object", "too_long"
_TOOL = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}\Z")  # OpenAI's pattern, and Gemini's first character
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]")


class Text(msgspec.Struct, frozen=True, tag="text", tag_field="type"):
    """Words of a person or of the model. As an event: the next piece of them."""

    text: str


class Thinking(msgspec.Struct, frozen=True, tag="thinking", tag_field="type"):
    """What a model thought aloud; never an answer. `signature` is opaque: the provider's seal, or whatever else of the
    answer must go back in the same turn as it came and where it stood. Only the adapter that wrote it reads it."""

    text: str
    signature: str = ""


class ToolUse(msgspec.Struct, frozen=True, tag="tool_use", tag_field="type"):
    """The model asks for a tool. `id` names the request within the turn."""

    id: str
    name: str
    input: dict[str, Any] = {}


class ToolResult(msgspec.Struct, frozen=True, tag="tool_result", tag_field="type"):
    """What a tool gave back to the request `tool_use_id`."""

    tool_use_id: str
    content: str = ""
    is_error: bool = False


Block = Text | Thinking | ToolUse | ToolResult


class Message(msgspec.Struct, frozen=True):
    role: Literal["user", "assistant"]
    content: list[Block]


class Tool(msgspec.Struct, frozen=True):
    name: str
    description: str = ""
    input_schema: dict[str, Any] = {}
    read_only: bool = False


class ProviderTool(msgspec.Struct, frozen=True):
    """A tool that the model's provider runs itself. `allowed_domains`: where a search may look, each with all that is below
    it; None for everywhere. A provider that cannot keep to them is not given the tool."""

    name: Literal["web_search", "code_execution"]
    allowed_domains: list[str] | None = None


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model call. `model` is the name the agent's record says, `fallback` those to try in its place, in order;
    `turn_words` is the end of `system` that is about this turn alone: an adapter that can says it behind the
    conversation instead, so that the conversation before it is found in the provider's cache. `mode` is how the turn
    came about; `thinking` is False, True or a budget of tokens, for models that can."""

    messages: list[Message]
    model: str = ""
    fallback: list[str] = []
    system: str = ""
    turn_words: str = ""
    tools: list[Tool] = []
    provider_tools: list[ProviderTool] = []
    max_tokens: int = 4096
    temperature: float | None = None
    thinking: bool | int = False
    agent: str = ""
    room: str = ""
    turn: str = ""
    mode: Mode = "open"


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one call. `input` does not include what was read from or written to a prompt cache; `reasoning` is the
    part of `output` that was thought and not said, where the provider tells."""

    input: int = 0
    output: int = 0
    cached_read: int = 0
    cached_write: int = 0
    reasoning: int = 0


class Stop(msgspec.Struct, frozen=True, tag="stop", tag_field="type"):
    """The last event of every call that did not fail. `model` is the whole name of what answered, `window` its context
    in tokens and `cost` what the call took in USD, each None when nobody says; the gateway fills these three in."""

    reason: StopReason
    usage: Usage = Usage()
    model: str = ""
    window: int | None = None
    cost: float | None = None


class StandIn(msgspec.Struct, frozen=True, tag="stand_in", tag_field="type"):
    """Nothing of the answer yet: it comes from `model` in place of `asked`, because of `why`, a sentence."""

    asked: str
    model: str
    why: str


class Waiting(msgspec.Struct, frozen=True, tag="waiting", tag_field="type"):
    """Nothing of the answer yet, and `why`. `place`: in the line in front of `provider`, 0 when it stands in none; `until`:
    RFC 3339 for people, "" when no clock decides."""

    provider: str
    place: int
    why: str = ""
    until: str = ""


Event = Text | Thinking | ToolUse | Waiting | StandIn | Stop


def request_from(data: Any) -> Request:
    """A request out of plain data (what came over the bus). Raises BadRequest naming the place that does not fit."""
    if isinstance(data, dict):
        known = Request.__struct_fields__
        for key in data:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.4)
                hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
                raise BadRequest(f"unknown key {key!r} in a model request{hint}")
    try:
        request = msgspec.convert(data, Request)
    except msgspec.ValidationError as error:
        raise BadRequest(f"this is not a model request: {error}") from None
    return _called_as_taken(request)


def _called_as_taken(request: Request) -> Request:
    """The request with calls of tools that there are, or whose names every provider takes back. A model may make one up
    (`functions.search`): sent back as it is, the call is refused, and so is each later one, since the conversation has it."""
    known = {tool.name for tool in request.tools}

    def taken(block: Block) -> Block:
        if not isinstance(block, ToolUse) or block.name in known or _TOOL.match(block.name):
            return block
        return msgspec.structs.replace(block, name=("_" + _NOT_IN_A_NAME.sub("_", block.name).lstrip("_-"))[:64])

    messages = [
        message
        if message.role == "user"
        else msgspec.structs.replace(message, content=[taken(block) for block in message.content])
        for message in request.messages
    ]
    return msgspec.structs.replace(request, messages=messages)


def parted(request: Request) -> tuple[str, str]:
    """The system prompt that stays the same from turn to turn, and what is to be said behind the conversation."""
    words = request.turn_words.strip()
    if not words or not request.system.endswith(words):
        return request.system, ""
    return request.system.removesuffix(words).rstrip(), f"<turn>\n{words}\n</turn>"


def without_thoughts(request: Request) -> Request:
    """The request for another model than it was made for: the seal of a thought is good only where it was thought."""
    messages = [
        msgspec.structs.replace(
            message, content=[block for block in message.content if not isinstance(block, Thinking)]
        )
        for message in request.messages
    ]
    return msgspec.structs.replace(request, messages=messages)


def event_data(event: Event) -> dict[str, Any]:
    """The plain data of an event, as it crosses the bus."""
    data: dict[str, Any] = msgspec.to_builtins(event)
    return data


def call_names(request: Request) -> dict[str, str]:
    """An id for each tool call that every provider takes: nine letters and digits (Mistral wants exactly that). The same
    conversation gives the same ids, so that a cached prefix holds while it grows."""
    names: dict[str, str] = {}
    for message in request.messages:
        for block in message.content:
            match block:
                case ToolUse(id) | ToolResult(id):
                    names.setdefault(id, f"call{len(names):05d}")
    return names


ROOM_TO_THINK = 8192  # tokens added for thinking, which counts as answer, when the note does not say how many


def cache_key(request: Request) -> str:
    """The same for all calls of one agent in one room, which share a prefix: they are sent to the same cache. A hash, so
    that no name goes out for it; "" when nobody says whose call it is."""
    if not request.agent:
        return ""
    return hashlib.sha256(f"{request.agent}\0{request.room}".encode()).hexdigest()[:32]


def effort_of(budget: int) -> str:
    """The word for a budget of tokens, for providers that take a word."""
    return "low" if budget <= 2048 else "medium" if budget <= 16384 else "high"


def estimate_tokens(text: str) -> int:
    """Tokens of a text without a tokenizer: four thirds of its words, and one for each sign of a script that does not
    put spaces between words. An estimate; a provider that counts is believed instead."""
    unspaced = 0 if text.isascii() else len(_UNSPACED.findall(text))
    return len(text.split()) * 4 // 3 + unspaced


def estimate_input(request: Request) -> int:
    """Estimated tokens of everything the model is given."""
    total = estimate_tokens(request.system)
    for message in request.messages:
        for block in message.content:
            match block:
                case Text(text) | Thinking(text):
                    total += estimate_tokens(text)
                case ToolResult(_, content):
                    total += estimate_tokens(content)
                case ToolUse(_, name, arguments):
                    total += 1 + estimate_tokens(name) + estimate_tokens(" ".join(map(str, arguments.values())))
    return total
