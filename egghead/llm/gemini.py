"""The Gemini API of Google: neutral request → its body, its stream → neutral events, its errors → sentences.

All pure; `remote` speaks it. The key goes in a header, never into the address. Sources, read 2026-11: the types of the
package `google-genai` 3.4.0, which are made from the public reference (`generateContent`, `Function calling`, `Thinking`,
`Thought signatures`). Fields and parts that are not known here are read over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
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
)
from egghead.llm.sources import Sources
from egghead.llm.sse import Sse
from egghead.llm.wire import as_json, figure, read, tool_input, words

if TYPE_CHECKING:
    from egghead.llm.registry import Entry

BASE_URL = "https://generativelanguage.googleapis.com/v1beta"
PATH = "models/{model}:streamGenerateContent?alt=sse"

# What the reference gives for a call whose signature is lost, as after a crash: from Gemini 3 on one is demanded.
NO_SIGNATURE = "skip_thought_signature_validator"
_CALL = "call:"  # before the signature of the tool call that follows
_PART = "part:"  # before a part of the answer that means nothing to us, as JSON

_GENERATION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
_LEAST, _MOST = {"pro": 128, "lite": 512}, {"pro": 32768}  # tokens of a budget of Gemini 2.5, where not 1 and 24576

_OVERFLOW = re.compile(
    r"exceeds the maximum number of tokens|exceeds the maximum allowed.{0,40}token|too many tokens", re.I
)
_NO_CREDIT = re.compile(r"billing (is )?(not|disabled|account)|enable billing|credits? (are|is) depleted|prepay", re.I)
_NO_KEY = re.compile(r"api[ _]key (not valid|not found|expired|invalid)|API_KEY_INVALID|invalid api key", re.I)
_REASONS: dict[str, StopReason] = {
    "STOP": "end_turn",
    "MAX_TOKENS": "max_tokens",
    "CONTINUATION": "max_tokens",
}
# What the model wrote could not be read, or was written where no call was wanted. The next try may be better.
_GARBLED = ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE")
_OPAQUE = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")


def build(request: Request, model: str) -> dict[str, Any]:
    """The body of `POST models/MODEL:streamGenerateContent`. What stays the same from call to call comes first."""
    body: dict[str, Any] = {}
    if request.system.strip():
        body["systemInstruction"] = {"parts": [{"text": request.system}]}
    theirs = _provider_tools(request, model)
    own = [{"functionDeclarations": [_declaration(tool) for tool in request.tools]}] if request.tools else []
    if theirs or own:
        body["tools"] = [*theirs, *own]
    if theirs and own:
        body["toolConfig"] = {"includeServerSideToolInvocations": True}  # without it the two are not taken together
    calls = _Calls(request, model)
    contents = [calls.content(message) for message in request.messages]
    body["contents"] = [content for content in contents if content["parts"]]
    thinking, room = _thinking(request, model)
    body["generationConfig"] = {"maxOutputTokens": request.max_tokens + room, **thinking}
    if request.temperature is not None:
        body["generationConfig"]["temperature"] = min(request.temperature, 2.0)
    return body


def _provider_tools(request: Request, model: str) -> list[dict[str, Any]]:
    """The API's own tools. Its search cannot be held to some domains, so it is for who may look everywhere; before
    Gemini 3 none of them stands beside tools of ours."""
    if generation(model) < ((3, 0) if request.tools else (2, 0)):
        return []
    found: list[dict[str, Any]] = []
    for tool in request.provider_tools:
        if tool.name == "code_execution":
            found.append({"codeExecution": {}})
        elif tool.allowed_domains is None:
            found.append({"googleSearch": {}})
    return found


def _declaration(tool: Any) -> dict[str, Any]:
    found = {"name": tool.name, "description": tool.description}
    if (tool.input_schema or {}).get("properties"):  # a schema without any is refused; none means no arguments
        found["parametersJsonSchema"] = tool.input_schema
    return found


def generation(model: str) -> tuple[int, int]:
    """(3, 1) of `gemini-3.1-pro`. A name of Google's without a number is the newest; (0, 0): none of its Geminis."""
    found = _GENERATION.match(model)
    if found:
        return int(found[1]), int(found[2] or 0)
    return (99, 0) if model.startswith("gemini-") else (0, 0)


def _thinking(request: Request, model: str) -> tuple[dict[str, Any], int]:
    """What the body says about thinking, and the tokens to add for it: it counts as answer."""
    version = generation(model)
    if version < (2, 5):
        return {}, 0
    if version >= (3, 0):
        # These think always; the middle level is not known to all of them.
        if request.thinking is True:
            return {}, ROOM_TO_THINK
        low = not request.thinking or effort_of(request.thinking) == "low"
        level = {"thinkingConfig": {"thinkingLevel": "low" if low else "high"}}
        return level, request.thinking or ROOM_TO_THINK
    size = next((size for size in ("lite", "pro") if size in model), "")
    if request.thinking is True:
        return {"thinkingConfig": {"thinkingBudget": -1}}, ROOM_TO_THINK
    if request.thinking:
        budget = min(max(int(request.thinking), _LEAST.get(size, 1)), _MOST.get(size, 24576))
    else:
        budget = _LEAST["pro"] if size == "pro" else 0  # the one that cannot do without
    return {"thinkingConfig": {"thinkingBudget": budget}}, budget


class _Calls:
    """The tool calls of a conversation: a result says the name of what it answers."""

    def __init__(self, request: Request, model: str) -> None:
        self._ids = call_names(request)
        self._names: dict[str, str] = {}
        self._sealed = generation(model) >= (3, 0)

    def content(self, message: Message) -> dict[str, Any]:
        parts: list[dict[str, Any]] = []
        seal, called = "", False
        for block in message.content:
            match block:
                case Thinking(_, signature) if signature.startswith(_CALL):
                    seal = signature.removeprefix(_CALL)
                case ToolUse():
                    if self._sealed and not called:
                        seal = seal or NO_SIGNATURE
                    parts.append(self._call(block, seal))
                    seal, called = "", True
                case _:
                    parts += self._part(block)
        return {"role": "model" if message.role == "assistant" else "user", "parts": parts}

    def _call(self, use: ToolUse, seal: str) -> dict[str, Any]:
        self._names[use.id] = use.name
        part: dict[str, Any] = {"functionCall": {"id": self._ids[use.id], "name": use.name, "args": use.input}}
        return {**part, "thoughtSignature": seal} if seal else part

    def _part(self, block: Block) -> list[dict[str, Any]]:
        match block:
            case Text(text) if text.strip():
                return [{"text": text}]
            case Thinking(_, signature) if signature.startswith(_PART):
                part = as_json(signature.removeprefix(_PART))
                return [part] if isinstance(part, dict) else []
            case ToolResult(id, content, is_error):
                answer = {"error" if is_error else "output": content}
                said = {"id": self._ids[id], "name": self._names.get(id, "unknown"), "response": answer}
                return [{"functionResponse": said}]
        return []


class Parser:
    """One answer, chunk by chunk. It has no last event: it is whole when the connection ends after a reason."""

    paused = False

    ended = False

    def __init__(self, model: str, provider: str) -> None:
        self._model = model
        self._provider = provider
        self._usage = Usage()
        self._reason: str | None = None
        self._calls = 0
        self._said = False
        self._thought: list[str] = []
        self._sources = Sources()

    def feed(self, event: Sse) -> Sequence[Event]:
        return read(event, self._provider, self._take)

    def at_end(self) -> bool:
        return self._reason is not None

    def finish(self) -> Sequence[Event]:
        found: list[Event] = [Thinking("".join(self._thought))] if self._thought else []
        if line := self._sources.line():
            found.append(Text(line))
        reason = _REASONS.get(self._reason or "STOP", "refusal")
        if self._reason == "OTHER" and (self._said or self._calls):
            reason = "end_turn"
        if reason == "end_turn" and self._calls:
            reason = "tool_use"
        return [*found, Stop(reason, self._usage)]

    def _take(self, data: dict[str, Any]) -> Sequence[Event]:
        if data.get("error"):
            raise failure(self._provider, self._model, 0, data)
        if isinstance(data.get("usageMetadata"), dict):
            self._usage = usage_of(data["usageMetadata"])
        if blocked := (data.get("promptFeedback") or {}).get("blockReason"):
            self._reason = f"blocked: {blocked}"
        candidate = (data.get("candidates") or [{}])[0]
        found: list[Event] = []
        for part in (candidate.get("content") or {}).get("parts") or ():
            found += self._part(part)
        for chunk in (candidate.get("groundingMetadata") or {}).get("groundingChunks") or ():
            page = chunk.get("web") or {}
            self._sources.add(page.get("uri"), page.get("title"))
        if reason := candidate.get("finishReason"):
            self._end(str(reason), str(candidate.get("finishMessage") or ""))
        return found

    def _part(self, part: Mapping[str, Any]) -> Sequence[Event]:
        if call := part.get("functionCall"):
            return self._call(call, str(part.get("thoughtSignature") or ""))
        if any(key in part for key in _OPAQUE):
            return [Thinking("", _PART + json.dumps(part, ensure_ascii=False, separators=(",", ":")))]
        text = str(part.get("text") or "")
        if not text:
            return ()
        if part.get("thought"):
            self._thought.append(text)
            return ()
        self._said = True
        self._sources.heard(text)
        return [Text(text)]

    def _call(self, call: Mapping[str, Any], seal: str) -> Sequence[Event]:
        use = ToolUse(str(call.get("id") or f"call{self._calls}"), str(call["name"]), tool_input("", call.get("args")))
        self._calls += 1
        return [Thinking("", _CALL + seal), use] if seal else [use]

    def _end(self, reason: str, message: str) -> None:
        self._reason = reason
        if reason in _GARBLED and not self._calls:
            raise Overloaded(
                f"{self._provider}/{self._model} wrote a tool call that cannot be read ({reason}); ask again"
            )
        if reason == "MISSING_THOUGHT_SIGNATURE":
            raise RequestRefused(
                f"{self._provider} refuses the request ({reason}): {words(message or 'no reason given')}"
            )


def usage_of(usage: Mapping[str, Any]) -> Usage:
    """Neutral figures: what was read from a cache is taken out of the input, and what was thought is output."""
    prompt = figure(usage.get("promptTokenCount")) + figure(usage.get("toolUsePromptTokenCount"))
    cached = min(prompt, figure(usage.get("cachedContentTokenCount")))
    thought = figure(usage.get("thoughtsTokenCount"))
    return Usage(prompt - cached, figure(usage.get("candidatesTokenCount")) + thought, cached, 0, thought)


def failure(provider: str, model: str, status: int, data: Any, after: float | None = None) -> LlmError:
    """The error of an answer that is none: HTTP `status` (0: within a stream) and the body as JSON, be it in a list."""
    while isinstance(data, list) and data:
        data = data[0]
    error = data.get("error") if isinstance(data, dict) else None
    error = error if isinstance(error, dict) else {}
    kind, said = str(error.get("status") or ""), words(error.get("message") or "no reason given")
    details = [detail for detail in _listed(error.get("details")) if isinstance(detail, dict)]
    every = " ".join([kind, said, *(str(detail.get("reason") or "") for detail in details)])
    if status == 0 and isinstance(error.get("code"), int):
        status = error["code"]
    if _OVERFLOW.search(said) or status == 413:
        return ContextOverflow(f"the conversation is too long for {provider}/{model}: {said}")
    if status == 401 or _NO_KEY.search(every):
        return key_refused(provider)
    if status == 402 or _NO_CREDIT.search(said):
        return OutOfCredit(f"the account of {provider} cannot pay: {said}")
    if status == 404:
        return UnknownModel(f"{provider} has no model {model!r}: {said}; `model:` in the agent's note names another")
    if status == 403:
        return AuthFailed(f"the key of {provider} may not use {model!r}: {said}")
    if status == 429 or kind == "RESOURCE_EXHAUSTED":
        return RateLimited(f"{provider} takes no more requests for now: {said}", _wait(details, after))
    if status >= 500 or status in (408, 409, 499) or kind in ("UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED"):
        return Overloaded(f"{provider} has a fault of its own ({status or kind}): {said}", _wait(details, after))
    return RequestRefused(f"{provider} refuses the request ({status or kind}): {said}")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _wait(details: Sequence[Mapping[str, Any]], after: float | None) -> float | None:
    """Seconds that an error asks to wait: here they stand in its body, as "34.5s"."""
    for detail in details:
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)s", str(detail.get("retryDelay") or ""))
        if found and after is None:
            return float(found[1])
    return after


FORMAT = Format(PATH, build, Parser, failure)


def provider(entry: Entry) -> Remote:
    """The provider of one entry of the configuration."""
    return Remote(entry, BASE_URL, {"x-goog-api-key": entry.api_key or ""}, FORMAT, listing.GOOGLE)
