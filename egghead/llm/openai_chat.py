"""Chat Completions of OpenAI and of all who speak it: neutral request → its body, its stream → neutral events.

All pure; `openai` and `remote` speak it. How the servers differ is the table PRESETS and nothing
else. Sources, read 2026-11: the public API references of the providers (chat completions, streaming, errors).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

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
from egghead.llm.shapes import (
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
    cache_key,
    call_names,
    effort_of,
)
from egghead.llm.sse import Sse
from egghead.llm.wire import as_json, figure, read, tool_input, words


@dataclass(frozen=True)
class Preset:
    """How a server differs. `max_tokens`: its key for the longest answer; `usage`: whether figures must be asked for;
    `effort`: whether it takes `reasoning_effort`; `thoughts_back`: whether it wants its thoughts back with the results of
    the tools that they led to; `details_back`: the same in OpenRouter's way, sealed; `cache_key`: whether it takes a word
    that sends calls with one prefix to one cache."""

    base_url: str
    max_tokens: str = "max_tokens"
    usage: bool = True
    effort: bool = False
    thoughts_back: bool = False
    details_back: bool = False
    cache_key: bool = False


PRESETS: Mapping[str, Preset] = {
    "openai": Preset("https://api.openai.com/v1", "max_completion_tokens", effort=True, cache_key=True),
    "ollama": Preset("http://127.0.0.1:11434/v1"),
    "lmstudio": Preset("http://127.0.0.1:1234/v1"),
    "llamacpp": Preset("http://127.0.0.1:8080/v1"),
    "vllm": Preset("http://127.0.0.1:8000/v1"),
    "openrouter": Preset("https://openrouter.ai/api/v1", effort=True, details_back=True),
    "groq": Preset("https://api.groq.com/openai/v1"),
    "mistral": Preset(
        "https://api.mistral.ai/v1", usage=False
    ),  # sends them anyway, and refuses keys that it does not know
    "deepseek": Preset("https://api.deepseek.com/v1", thoughts_back=True),
    "xai": Preset("https://api.x.ai/v1"),
    "together": Preset("https://api.together.xyz/v1"),
}
OTHER = Preset("")  # anybody else's server, by its base_url

_REASONING = re.compile(r"o\d|codex|gpt-([5-9]|\d\d)(?![\d.]*-chat)")
_NO_EFFORT_BESIDE_TOOLS = re.compile(r"gpt-(5\.[4-9]|[6-9]|\d\d)")
_NONE_BESIDE_TOOLS = re.compile(r"gpt-(5\.[6-9]|6(?!\.))")
_OVERFLOW = re.compile(
    r"context[_ ](length|size|window)|maximum (context|prompt) length|too long|too large for model"
    r"|reduce the length|input is too large|max_new_tokens",
    re.I,
)
_NO_CREDIT = re.compile(
    r"insufficient_quota|insufficient balance|insufficient credits|exceeded your current quota|billing", re.I
)
_NO_MODEL = re.compile(
    r"model.{0,80}(not found|does not exist|not exist|is not available)|model_not_found|no such model", re.I
)
_DETAILS = "details:"  # before OpenRouter's reasoning_details, as JSON
_TROUBLE = ("server_error", "overloaded_error", "api_error", "internal_server_error", "service_unavailable")
_REASONS: dict[str, StopReason] = {
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "length": "max_tokens",
    "content_filter": "refusal",
}


def reasons(model: str) -> bool:
    """Whether OpenAI's model of this name reasons: such models take an effort and refuse a temperature."""
    return bool(_REASONING.match(model))


def build(request: Request, model: str, preset: Preset = OTHER) -> dict[str, Any]:
    """The body of `POST chat/completions`."""
    names = call_names(request)
    messages: list[dict[str, Any]] = []
    if request.system.strip():
        messages.append({"role": "system", "content": request.system})
    for message in request.messages:
        messages += _assistant(message, names, preset) if message.role == "assistant" else _user(message, names)
    body: dict[str, Any] = {"model": model, "stream": True, "messages": messages, preset.max_tokens: request.max_tokens}
    if preset.usage:
        body["stream_options"] = {"include_usage": True}
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.input_schema or {"type": "object", "properties": {}},
                },
            }
            for tool in request.tools
        ]
    if preset.cache_key and (key := cache_key(request)):
        body["prompt_cache_key"] = key
    name = model.rpartition("/")[2]
    reasoning = reasons(name)
    if preset.effort and reasoning and (effort := _effort(request, name)):
        body["reasoning_effort"] = effort
    if request.temperature is not None and not reasoning:
        body["temperature"] = request.temperature
    return body


def _effort(request: Request, model: str) -> str | None:
    """The `reasoning_effort` of the body, None for no such key. Later models of OpenAI take no effort beside tools in
    Chat Completions; some of them demand that it be turned off in so many words."""
    if request.tools and _NONE_BESIDE_TOOLS.match(model):
        return "none"
    if not request.thinking or (request.tools and _NO_EFFORT_BESIDE_TOOLS.match(model)):
        return None
    return "medium" if request.thinking is True else effort_of(request.thinking)


def _user(message: Message, names: dict[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"role": "tool", "tool_call_id": names[block.tool_use_id], "content": block.content}
        for block in message.content
        if isinstance(block, ToolResult)
    ]
    text = _text(message)
    return [*found, {"role": "user", "content": text}] if text else found


def _assistant(message: Message, names: dict[str, str], preset: Preset) -> list[dict[str, Any]]:
    calls = [
        {
            "id": names[block.id],
            "type": "function",
            "function": {"name": block.name, "arguments": json.dumps(block.input, ensure_ascii=False)},
        }
        for block in message.content
        if isinstance(block, ToolUse)
    ]
    text = _text(message)
    if calls:
        found: dict[str, Any] = {"role": "assistant", "content": text or None, "tool_calls": calls}
        if preset.thoughts_back:
            found["reasoning_content"] = "".join(b.text for b in message.content if isinstance(b, Thinking))
        if preset.details_back and (details := _details(message)):
            found["reasoning_details"] = details
        return [found]
    return [{"role": "assistant", "content": text}] if text else []


def _details(message: Message) -> list[Any]:
    """The sealed thoughts of a message, as OpenRouter gave them."""
    seals = [b.signature.removeprefix(_DETAILS) for b in message.content if _sealed(b)]
    return [detail for seal in seals for detail in as_json(seal) or ()]


def _sealed(block: Any) -> TypeGuard[Thinking]:
    return isinstance(block, Thinking) and block.signature.startswith(_DETAILS)


def _text(message: Message) -> str:
    return "\n\n".join(block.text for block in message.content if isinstance(block, Text) and block.text.strip())


@dataclass
class _Call:
    id: str
    name: str
    arguments: list[str]


class Parser:
    """One answer, chunk by chunk. Tool calls come in pieces by `index` and are told when the answer is whole."""

    paused = False

    def __init__(self, model: str, provider: str) -> None:
        self.ended = False
        self._model = model
        self._provider = provider
        self._calls: dict[Any, _Call] = {}
        self._thought: list[str] = []
        self._details: dict[Any, dict[str, Any]] = {}
        self._reason: StopReason | None = None
        self._usage = Usage()

    def feed(self, event: Sse) -> Sequence[Event]:
        if event.data.strip() == "[DONE]":
            self.ended = True
            return ()
        return read(event, self._provider, self._take)

    def at_end(self) -> bool:
        """Whether the answer is whole though nobody said `[DONE]`: some servers close after the reason."""
        return self._reason is not None

    def finish(self) -> Sequence[Event]:
        found: list[Event] = []
        if self._thought or self._details:
            seal = list(self._details.values())
            found.append(Thinking("".join(self._thought), _DETAILS + _compact(seal) if seal else ""))
        cut = self._reason == "max_tokens"
        for number, call in enumerate(self._calls.values()):
            text = "".join(call.arguments)
            if cut and not isinstance(as_json(text), dict):
                continue  # the answer ended in the middle of this call
            found.append(ToolUse(call.id or f"call{number}", call.name, tool_input(text)))
        uses = any(isinstance(event, ToolUse) for event in found)
        reason = self._reason or "end_turn"
        return [*found, Stop("tool_use" if uses and reason == "end_turn" else reason, self._usage)]

    def _take(self, data: dict[str, Any]) -> Sequence[Event]:
        if data.get("error"):
            raise failure(self._provider, self._model, 0, data)
        if isinstance(data.get("usage"), dict):
            self._usage = usage_of(data["usage"])
        choice = (data.get("choices") or [{}])[0]
        delta = choice.get("delta") or {}
        found: list[Event] = []
        if content := delta.get("content"):
            said, inner = _plain(content)
            found += [Text(said)] if said else []
            self._thought += [inner] if inner else []
        if refusal := delta.get("refusal"):
            self._reason = "refusal"
            found.append(Text(str(refusal)))
        if thought := delta.get("reasoning_content") or delta.get("reasoning"):
            self._thought.append(str(thought))
        for detail in delta.get("reasoning_details") or ():
            self._detail(detail)
        for position, part in enumerate(delta.get("tool_calls") or ()):
            self._call(position, part)
        if (reason := choice.get("finish_reason")) and self._reason != "refusal":
            self._reason = _REASONS.get(reason, "end_turn")
        return found

    def _detail(self, part: dict[str, Any]) -> None:
        """Pieces of one detail have its index; words are joined, what else they say is kept."""
        kept = self._details.setdefault(part.get("index", len(self._details)), {})
        for key, value in part.items():
            joined = key in ("text", "summary", "data") and isinstance(value, str) and isinstance(kept.get(key), str)
            if value is not None:
                kept[key] = kept[key] + value if joined else value

    def _call(self, position: int, part: dict[str, Any]) -> None:
        index = part.get("index")
        if index is None:  # servers that send each call whole
            index = part.get("id") or position
        function = part.get("function") or {}
        call = self._calls.setdefault(index, _Call("", "", []))
        call.id = call.id or str(part.get("id") or "")
        call.name = call.name or str(function.get("name") or "")
        arguments = function.get("arguments")
        if arguments:
            call.arguments.append(arguments if isinstance(arguments, str) else json.dumps(arguments))


def _plain(content: Any) -> tuple[str, str]:
    """What was said and what was thought; Mistral's reasoning models send a list of parts."""
    if isinstance(content, str):
        return content, ""
    said = "".join(str(part.get("text") or "") for part in content if part.get("type") == "text")
    thoughts = [part.get("thinking") or () for part in content if part.get("type") == "thinking"]
    return said, "".join(str(piece.get("text") or "") for thought in thoughts for piece in thought)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def usage_of(usage: Mapping[str, Any]) -> Usage:
    """Neutral figures: what was read from a cache or written to it is taken out of the input."""
    details = usage.get("prompt_tokens_details") or {}
    prompt = figure(usage.get("prompt_tokens"))
    cached = min(prompt, figure(details.get("cached_tokens") or usage.get("prompt_cache_hit_tokens")))
    written = min(prompt - cached, figure(details.get("cache_write_tokens")))
    thought = figure((usage.get("completion_tokens_details") or {}).get("reasoning_tokens"))
    return Usage(prompt - cached - written, figure(usage.get("completion_tokens")), cached, written, thought)


def failure(provider: str, model: str, status: int, data: Any, after: float | None = None) -> LlmError:
    """The error of an answer that is none: HTTP `status` (0: within a stream) and the body as JSON."""
    kind, code, said = _told(data)
    every = f"{kind} {code} {said}"
    if status == 0 and isinstance(code, int):
        status = code  # OpenRouter and llama.cpp put the status there
    if (status != 429 and _OVERFLOW.search(every)) or status == 413:
        return ContextOverflow(f"the conversation is too long for {provider}/{model}: {said}")
    if _NO_CREDIT.search(every) or status == 402:
        return OutOfCredit(f"the account of {provider} cannot pay: {said}")
    if status == 401 or code == "invalid_api_key" or kind == "authentication_error":
        return key_refused(provider)
    if "v1/responses" in said:  # also said as 404, of a model that there is
        return RequestRefused(
            f"{provider}/{model} is asked only over the Responses API, at least with tools: "
            f"write `api: responses` in the entry of {provider} under `llm:` in the configuration"
        )
    if _NO_MODEL.search(every) or status == 404:
        return UnknownModel(f"{provider} has no model {model!r}: {said}; `model:` in the agent's note names another")
    if status == 403:
        return AuthFailed(f"the key of {provider} may not use {model!r}: {said}")
    if status == 429 or code == "rate_limit_exceeded":
        return RateLimited(f"{provider} takes no more requests for now: {said}", after)
    if status == 529 or kind == "overloaded_error":
        return Overloaded(f"{provider} is overloaded: {said}", after)
    if status >= 500 or status in (408, 409) or kind in _TROUBLE or code in _TROUBLE:
        return Overloaded(f"{provider} has a fault of its own ({status or kind}): {said}", after)
    return RequestRefused(f"{provider} refuses the request ({status or kind}): {said}")


def _told(data: Any) -> tuple[str, Any, str]:
    """Type, code and words of an error body, in any of the shapes that servers give it."""
    error = data.get("error", data) if isinstance(data, dict) else data
    if isinstance(error, dict):
        said = error.get("message") or error.get("detail") or "no reason given"
        return (
            str(error.get("type") or ""),
            error.get("code"),
            words(said if isinstance(said, str) else json.dumps(said)),
        )
    return "", None, words(error or "no reason given")
