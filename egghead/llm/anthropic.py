"""The Messages API of Anthropic: neutral request → its body, its stream → neutral events, its errors → sentences.

All pure; `remote` speaks it. Sources, read 2026-11: the public API reference
(`Messages`, `Streaming messages`, `Prompt caching`, `Extended thinking`, `Errors`). Events and fields that are not known
here are read over, as that reference asks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from egghead.llm import listing
from egghead.llm.errors import (
    AuthFailed,
    ContextOverflow,
    LlmError,
    OutOfCredit,
    Overloaded,
    RateLimited,
    RequestRefused,
    UnknownModel,
    key_refused,
)
from egghead.llm.remote import Format, Remote
from egghead.llm.shapes import (
    ROOM_TO_THINK,
    Block,
    Event,
    Message,
    Request,
    Stop,
    StopReason,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Usage,
    call_names,
    effort_of,
    parted,
)
from egghead.llm.sources import Sources
from egghead.llm.sse import Sse
from egghead.llm.wire import as_json, figure, read, tool_input, words

if TYPE_CHECKING:
    from egghead.llm.registry import Entry

BASE_URL = "https://api.anthropic.com"
VERSION = "2023-06-01"
LEAST_THINKING = 1024  # tokens; the API refuses a smaller budget

MOST_SEARCHES = 5  # of one answer; each costs as much as some thousand tokens
_VERSIONS = {"web_search": "web_search_20250305", "code_execution": "code_execution_20250825"}
_PROVIDER_TOOLS = re.compile(r"claude-(opus|sonnet|haiku|fable)-([4-9]|\d\d)(?!\d)")

# The API has had three ways to think. Models of the first take a budget of tokens; those of the second think as much as
# they see fit, when asked to; all later ones (and, unknown, the next) think unless told otherwise, some always.
_BUDGETED = re.compile(r"claude-(2|3|instant|(opus|sonnet|haiku)-4(-[0-5])?(-20\d{6})?(-latest)?$)")
_OPTIONAL = re.compile(r"claude-(opus|sonnet|haiku)-4-[6-9]|(?!claude-)")
_TEMPERATE = re.compile(r"claude-(opus|sonnet)-4-6|(?!claude-)")  # besides the budgeted; later models refuse the key
_REDACTED = "redacted:"  # before the data of a thought that only the provider can read
_BLOCK = "block:"  # before a block of the provider's own tools, as JSON: it goes back as it came

_OVERFLOW = re.compile(
    r"prompt is too long|exceed(s|ed)? (the )?(available )?context (limit|window|size)|maximum context|too many tokens",
    re.I,
)
_NO_CREDIT = re.compile(r"credit balance|billing|usage limits", re.I)
_REASONS: dict[str, StopReason] = {
    "tool_use": "tool_use",
    "max_tokens": "max_tokens",
    "model_context_window_exceeded": "max_tokens",
    "refusal": "refusal",
}
_BREAKPOINT = {"cache_control": {"type": "ephemeral"}}


def build(request: Request, model: str) -> dict[str, Any]:
    """The body of `POST /v1/messages`. What stays the same from call to call comes first and ends with a cache
    breakpoint: tools, system, and the conversation up to its last user message; the one before it has one too, because the
    cache looks back 20 blocks from each, and a round of parallel calls may have more."""
    names = call_names(request)
    thinking = _thinking(request, model)
    sealed = bool(thinking) or not _BUDGETED.match(model)
    messages = [_message(message, names, sealed) for message in request.messages]
    messages = [message for message in messages if message["content"]]
    for message in [message for message in messages if message["role"] == "user"][-2:]:
        message["content"][-1].update(_BREAKPOINT)
    system, turn_words = parted(request)
    if turn_words and (asked := [message for message in messages if message["role"] == "user"]):
        asked[-1]["content"].append({"type": "text", "text": turn_words})  # behind the breakpoint
    body: dict[str, Any] = {"model": model, "max_tokens": request.max_tokens, "stream": True, "messages": messages}
    own = [
        {"name": t.name, "description": t.description, "input_schema": t.input_schema or {"type": "object"}}
        for t in request.tools
    ]
    if tools := [*_provider_tools(request, model), *own]:
        tools[-1].update(_BREAKPOINT)
        body["tools"] = tools
    if system.strip():
        body["system"] = [{"type": "text", "text": system, **_BREAKPOINT}]
    if thinking:
        body |= thinking
        body["max_tokens"] += thinking.get("thinking", {}).get("budget_tokens", ROOM_TO_THINK)
    elif request.temperature is not None and (_BUDGETED.match(model) or _TEMPERATE.match(model)):
        body["temperature"] = min(request.temperature, 1.0)
    return body


def _provider_tools(request: Request, model: str) -> list[dict[str, Any]]:
    """The API's own tools, for the models that have them."""
    if not _PROVIDER_TOOLS.match(model):
        return []
    found: list[dict[str, Any]] = []
    for tool in request.provider_tools:
        kind: dict[str, Any] = {"type": _VERSIONS[tool.name], "name": tool.name}
        if tool.name == "web_search":
            kind["max_uses"] = MOST_SEARCHES
            if tool.allowed_domains is not None:
                kind["allowed_domains"] = tool.allowed_domains
        found.append(kind)
    return found


def _thinking(request: Request, model: str) -> dict[str, Any]:
    """What the body says about thinking, {} for a model that then does not think."""
    if _BUDGETED.match(model):
        # Refused when the tool calls that are being answered come without the thoughts that led to them, as after a
        # crash: these are not in the log.
        if not request.thinking or not all(map(_thought, _pending(request.messages))):
            return {}
        budget = ROOM_TO_THINK if request.thinking is True else max(LEAST_THINKING, int(request.thinking))
        return {"thinking": {"type": "enabled", "budget_tokens": budget}}
    if not request.thinking:
        # Thinking cannot be turned off in one way for all of these models; little of it can be asked for.
        return {} if _OPTIONAL.match(model) else {"output_config": {"effort": "low"}}
    effort = {} if request.thinking is True else {"output_config": {"effort": effort_of(request.thinking)}}
    return {"thinking": {"type": "adaptive"}, **effort}


def _pending(messages: Sequence[Message]) -> Iterable[Message]:
    """The assistant's messages of the tool loop that is going on: after the last words of somebody else."""
    for message in reversed(messages):
        if message.role == "user" and any(isinstance(block, Text) for block in message.content):
            return
        if message.role == "assistant":
            yield message


def _thought(message: Message) -> bool:
    first = message.content[0] if message.content else None
    return isinstance(first, Thinking) and bool(first.signature)


def _message(message: Message, names: dict[str, str], sealed: bool) -> dict[str, Any]:
    blocks = (_block(block, names, sealed) for block in message.content)
    return {"role": message.role, "content": [block for block in blocks if block is not None]}


def _block(block: Block, names: dict[str, str], sealed: bool) -> dict[str, Any] | None:
    match block:
        case Text(text):
            return {"type": "text", "text": text} if text.strip() else None  # an empty one is refused
        case Thinking(text, signature):
            if signature.startswith(_BLOCK):
                given = as_json(signature.removeprefix(_BLOCK))
                return given if isinstance(given, dict) else None
            if not sealed or not signature:
                return None
            if signature.startswith(_REDACTED):
                return {"type": "redacted_thinking", "data": signature.removeprefix(_REDACTED)}
            return {"type": "thinking", "thinking": text, "signature": signature}
        case ToolUse(id, name, arguments):
            return {"type": "tool_use", "id": names[id], "name": name, "input": arguments}
        case ToolResult(id, content, is_error):
            result = {"type": "tool_result", "tool_use_id": names[id], "content": content}
            return {**result, "is_error": True} if is_error else result


class Parser:
    """One answer, event by event."""

    def __init__(self, model: str, provider: str) -> None:
        self.ended = False
        self.paused = False
        self._model = model
        self._provider = provider
        self._blocks: dict[int, dict[str, Any]] = {}  # open blocks; `parts` are what came of them so far
        self._usage: dict[str, int] = {}
        self._thought = 0  # tokens
        self._reason: StopReason = "end_turn"
        self._sources = Sources()

    def feed(self, event: Sse) -> Sequence[Event]:
        return read(event, self._provider, self._take)

    def at_end(self) -> bool:
        return self.ended

    def finish(self) -> Sequence[Event]:
        given, said, read_back, written = (self._usage.get(key, 0) for key in _USAGE)
        usage = Usage(given, said, read_back, written, self._thought)
        line = self._sources.line()
        return [*([Text(line)] if line else []), Stop(self._reason, usage)]

    def _take(self, data: dict[str, Any]) -> Sequence[Event]:
        match data.get("type"):
            case "message_start":
                self._count(data["message"].get("usage"))
            case "content_block_start":
                return self._begin(int(data["index"]), data["content_block"])
            case "content_block_delta":
                return self._more(int(data["index"]), data["delta"])
            case "content_block_stop":
                return self._end(int(data["index"]))
            case "message_delta":
                self._count(data.get("usage"))
                reason = (data.get("delta") or {}).get("stop_reason")
                self.paused = reason == "pause_turn"
                if reason:
                    self._reason = _REASONS.get(reason, "end_turn")
            case "message_stop":
                self.ended = True
            case "error":
                raise failure(self._provider, self._model, 0, data)
        return ()

    def _count(self, usage: Any) -> None:
        """Figures are running totals: what comes later replaces what came before."""
        for key in _USAGE:
            if (value := (usage or {}).get(key)) is not None:
                self._usage[key] = figure(value)
        self._thought = (
            figure(((usage or {}).get("output_tokens_details") or {}).get("thinking_tokens")) or self._thought
        )

    def _begin(self, index: int, block: dict[str, Any]) -> Sequence[Event]:
        self._blocks[index] = {**block, "parts": []}
        return self._say(block.get("text")) if block.get("type") == "text" else ()

    def _say(self, text: Any) -> Sequence[Event]:
        if not text:
            return ()
        self._sources.heard(str(text))
        return [Text(str(text))]

    def _more(self, index: int, delta: dict[str, Any]) -> Sequence[Event]:
        block = self._blocks.get(index)
        match delta.get("type"):
            case "text_delta":
                return self._say(delta["text"])
            case "citations_delta":
                self._sources.add(delta["citation"].get("url"), delta["citation"].get("title"))
            case "input_json_delta" if block is not None:
                block["parts"].append(str(delta["partial_json"]))
            case "thinking_delta" if block is not None:
                block["parts"].append(str(delta["thinking"]))
            case "signature_delta" if block is not None:
                block["signature"] = str(delta["signature"])
        return ()

    def _end(self, index: int) -> Sequence[Event]:
        block = self._blocks.pop(index, {"parts": []})
        text = "".join(block["parts"])
        match block.get("type"):
            case "tool_use":
                return [ToolUse(str(block["id"]), str(block["name"]), tool_input(text, block.get("input")))]
            case "thinking":
                return [Thinking(str(block.get("thinking") or "") + text, str(block.get("signature") or ""))]
            case "redacted_thinking":
                return [Thinking("", _REDACTED + str(block["data"]))]
            case kind if kind == "server_tool_use" or str(kind).endswith("_tool_result"):
                given = {key: value for key, value in block.items() if key != "parts"}
                if kind == "server_tool_use":
                    given["input"] = tool_input(text, block.get("input"))
                return [Thinking("", _BLOCK + json.dumps(given, ensure_ascii=False, separators=(",", ":")))]
        return ()


_USAGE = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def failure(provider: str, model: str, status: int, data: Any, after: float | None = None) -> LlmError:
    """The error of an answer that is none: HTTP `status` (0: within a stream) and the body as JSON."""
    error = data.get("error") if isinstance(data, dict) else None
    error = error if isinstance(error, dict) else {}
    kind, said = str(error.get("type") or ""), words(error.get("message") or "no reason given")
    if kind == "request_too_large" or status == 413 or _OVERFLOW.search(said):
        return ContextOverflow(f"the conversation is too long for {provider}/{model}: {said}")
    if _NO_CREDIT.search(said) or kind == "billing_error" or status == 402:
        return OutOfCredit(f"the account of {provider} cannot pay: {said}")
    if kind == "authentication_error" or status == 401:
        return key_refused(provider)
    if kind == "permission_error" or status == 403:
        return AuthFailed(f"the key of {provider} may not use {model!r}: {said}")
    if kind == "not_found_error" or status == 404:
        return UnknownModel(f"{provider} has no model {model!r}: {said}; `model:` in the agent's note names another")
    if kind == "rate_limit_error" or status == 429:
        return RateLimited(f"{provider} takes no more requests for now: {said}", after)
    if kind == "overloaded_error" or status == 529:
        return Overloaded(f"{provider} is overloaded: {said}", after)
    if kind in ("api_error", "timeout_error") or status >= 500 or status in (408, 409):
        return Overloaded(f"{provider} has a fault of its own ({status or kind}): {said}", after)
    return RequestRefused(f"{provider} refuses the request ({status or kind}): {said}")


FORMAT = Format("v1/messages", build, Parser, failure)


def provider(entry: Entry) -> Remote:
    """The provider of one entry of the configuration."""
    headers = {"x-api-key": entry.api_key or "", "anthropic-version": VERSION}
    return Remote(entry, BASE_URL, headers, FORMAT, listing.ANTHROPIC)
