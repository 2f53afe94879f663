"""The Responses API of OpenAI: neutral request → its body, its stream → neutral events.

All pure; `remote` speaks it, and its errors are read by `openai_chat.failure`: they have one shape. Nothing is stored with
the provider: the conversation goes along whole, and what the model thought goes back sealed (`encrypted_content`) as long
as the turn lasts. Sources, read 2026-11: the types of the package `openai` 3.54.0 (`types/responses`), which are made from
the public reference. Events, items and fields that are not known here are read over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from egghead.llm.openai_chat import failure, reasons
from egghead.llm.remote import Format
from egghead.llm.shapes import (
    ROOM_TO_THINK,
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
    parted,
)
from egghead.llm.sources import Sources
from egghead.llm.sse import Sse
from egghead.llm.wire import as_json, figure, read, tool_input

LEAST_OUTPUT = 16  # tokens; the API refuses a smaller max_output_tokens

_SILENT = re.compile(r"gpt-5\.[1-4](?!\d)")  # reason only when they are asked to; the others always do
_ONE_EFFORT = re.compile(r".*(-pro|-deep-research)\b")  # refuse every effort but their own
_PROVIDER_TOOLS = re.compile(r"gpt-([5-9]|\d\d)|gpt-4\.1(?!-nano)|o3(?!-mini)|o4")
# Items that the provider's own tools leave in an answer. They mean nothing to us and go back as they came.
_OPAQUE = ("reasoning", "web_search_call", "code_interpreter_call", "compaction")


def build(request: Request, model: str) -> dict[str, Any]:
    """The body of `POST responses`. What stays the same from call to call comes first."""
    names = call_names(request)
    body: dict[str, Any] = {"model": model, "stream": True, "store": False}
    system, turn_words = parted(request)
    if system.strip():
        body["instructions"] = system
    name = model.rpartition("/")[2]
    tools = _provider_tools(request, name)
    if tools or request.tools:
        body["tools"] = [
            *tools,
            *(
                {
                    "type": "function",
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.input_schema or {"type": "object", "properties": {}},
                    "strict": False,  # left out, the schema is rewritten: every argument becomes a required one
                }
                for tool in request.tools
            ),
        ]
    body["input"] = [item for message in request.messages for item in _items(message, names)]
    if turn_words:
        said = [{"type": "input_text", "text": turn_words}]
        body["input"].append({"type": "message", "role": "developer", "content": said})
    body["max_output_tokens"] = max(LEAST_OUTPUT, request.max_tokens)
    if key := cache_key(request):
        body["prompt_cache_key"] = key
    if reasons(name):
        body["include"] = ["reasoning.encrypted_content"]
        effort, room = _effort(request, name)
        body["max_output_tokens"] += room
        if effort:
            body["reasoning"] = {"effort": effort}
    elif request.temperature is not None:
        body["temperature"] = request.temperature
    return body


def _provider_tools(request: Request, model: str) -> list[dict[str, Any]]:
    """The API's own tools, for the models that have them."""
    found: list[dict[str, Any]] = []
    for tool in request.provider_tools if _PROVIDER_TOOLS.match(model) else ():
        if tool.name == "code_execution":
            found.append({"type": "code_interpreter", "container": {"type": "auto"}})
        elif tool.allowed_domains is None:
            found.append({"type": "web_search"})
        else:
            found.append({"type": "web_search", "filters": {"allowed_domains": tool.allowed_domains}})
    return found


def _effort(request: Request, model: str) -> tuple[str | None, int]:
    """The effort to ask for, and the tokens to add for what is thought."""
    if not request.thinking and _SILENT.match(model):
        return None, 0
    budget = ROOM_TO_THINK if isinstance(request.thinking, bool) else request.thinking
    if _ONE_EFFORT.match(model):
        return None, budget
    if request.thinking is True:
        return "medium", budget
    return (effort_of(request.thinking) if request.thinking else "low"), budget


def _items(message: Message, names: Mapping[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    kind = "output_text" if message.role == "assistant" else "input_text"
    for block in message.content:
        match block:
            case Text(text) if text.strip():
                found.append({"type": "message", "role": message.role, "content": [{"type": kind, "text": text}]})
            case Thinking(_, signature):
                if (item := _unsealed(signature)) is not None:
                    found.append(item)
            case ToolUse(id, name, arguments):
                text = json.dumps(arguments, ensure_ascii=False)
                found.append({"type": "function_call", "call_id": names[id], "name": name, "arguments": text})
            case ToolResult(id, content):
                found.append({"type": "function_call_output", "call_id": names[id], "output": content})
    return found


def _sealed(item: Mapping[str, Any]) -> str:
    """An item of the answer, to be handed back. One of reasoning without its seal is refused where nothing is stored."""
    kept = {key: value for key, value in item.items() if value is not None and key != "status"}
    if item.get("type") == "reasoning":
        kept = {"summary": [], **{key: value for key, value in kept.items() if key in _REASONING_KEYS and value}}
        if not (kept.get("encrypted_content") or kept.get("content")):
            return ""
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":"))


_REASONING_KEYS = ("type", "id", "summary", "content", "encrypted_content")


def _unsealed(signature: str) -> dict[str, Any] | None:
    item = as_json(signature) if signature else None
    return item if isinstance(item, dict) and item.get("type") in _OPAQUE else None


class Parser:
    """One answer, event by event."""

    paused = False

    def __init__(self, model: str, provider: str) -> None:
        self.ended = False
        self._model = model
        self._provider = provider
        self._usage = Usage()
        self._reason: StopReason = "end_turn"
        self._uses = False
        self._refused = False
        self._spoken: set[Any] = set()
        self._sources = Sources()

    def feed(self, event: Sse) -> Sequence[Event]:
        if event.data.strip() == "[DONE]":  # some who speak this format say so after the last event
            return ()
        return read(event, self._provider, self._take)

    def at_end(self) -> bool:
        return self.ended

    def finish(self) -> Sequence[Event]:
        reason = self._reason
        if reason == "end_turn":
            reason = "refusal" if self._refused else "tool_use" if self._uses else "end_turn"
        line = self._sources.line()
        return [*([Text(line)] if line else []), Stop(reason, self._usage)]

    def _take(self, data: dict[str, Any]) -> Sequence[Event]:
        match data.get("type"):
            case "response.output_text.delta":
                return self._say(_place(data), str(data["delta"]))
            case "response.refusal.delta":
                self._refused = True
                return self._say(_place(data), str(data["delta"]))
            case "response.output_text.annotation.added":
                self._cite(data["annotation"])
            case "response.output_item.done":
                return self._item(_place(data, data["item"]), data["item"])
            case "response.completed" | "response.incomplete":
                self._end(data["response"])
            case "response.failed":
                raise failure(self._provider, self._model, 0, {"error": data["response"].get("error") or {}})
            case "error":
                raise failure(self._provider, self._model, 0, {"error": data.get("error") or data})
        return ()

    def _say(self, index: Any, text: str) -> Sequence[Event]:
        if not text:
            return ()
        apart = "\n\n" if self._spoken and index not in self._spoken else ""  # another message of the same answer
        self._spoken.add(index)
        self._sources.heard(text)
        return [Text(apart + text)]

    def _cite(self, annotation: Mapping[str, Any]) -> None:
        if annotation.get("type") == "url_citation":
            self._sources.add(annotation.get("url"), annotation.get("title"))

    def _item(self, index: Any, item: Mapping[str, Any]) -> Sequence[Event]:
        match item.get("type"):
            case "function_call":
                text = str(item.get("arguments") or "")
                if item.get("status") == "incomplete" and not isinstance(as_json(text), dict):
                    return ()  # the answer ended in the middle of this call
                self._uses = True
                return [ToolUse(str(item.get("call_id") or item.get("id") or ""), str(item["name"]), tool_input(text))]
            case "reasoning":
                thought = "".join(str(p.get("text") or "") for p in item.get("summary") or item.get("content") or ())
                return [Thinking(thought, _sealed(item))]
            case "message":
                return self._message(index, item)
            case kind if kind in _OPAQUE:
                return [Thinking("", _sealed(item))]
        return ()

    def _message(self, index: Any, item: Mapping[str, Any]) -> Sequence[Event]:
        """The whole message; its words only when they did not come in pieces."""
        found: list[Event] = []
        heard = index in self._spoken
        for part in item.get("content") or ():
            for annotation in part.get("annotations") or ():
                self._cite(annotation)
            self._refused = self._refused or part.get("type") == "refusal"
            if not heard:
                found += self._say(index, str(part.get("text") or part.get("refusal") or ""))
        return found

    def _end(self, response: Mapping[str, Any]) -> None:
        self.ended = True
        if isinstance(response.get("usage"), dict):
            self._usage = usage_of(response["usage"])
        if response.get("status") == "incomplete" or response.get("incomplete_details"):
            why = (response.get("incomplete_details") or {}).get("reason")
            self._reason = "refusal" if why == "content_filter" else "max_tokens"


def _place(event: Mapping[str, Any], item: Mapping[str, Any] | None = None) -> Any:
    """What tells one output of an answer from another: its number, or its name from those who give none (llama.cpp)."""
    index = event.get("output_index")
    return index if index is not None else item.get("id") if item is not None else event.get("item_id")


def usage_of(usage: Mapping[str, Any]) -> Usage:
    """Neutral figures: what was read from a cache or written to it is taken out of the input."""
    details = usage.get("input_tokens_details") or {}
    prompt = figure(usage.get("input_tokens"))
    cached = min(prompt, figure(details.get("cached_tokens")))
    written = min(prompt - cached, figure(details.get("cache_write_tokens")))
    thought = figure((usage.get("output_tokens_details") or {}).get("reasoning_tokens"))
    return Usage(prompt - cached - written, figure(usage.get("output_tokens")), cached, written, thought)


FORMAT = Format("responses", build, Parser, failure)
