"""Anthropic Messages and Chat Completions from the provider's side: events out of steps. What they refuse is in `refusals`.

Written from the public references, not from our adapters. No sockets here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.llm import refusals
from tests.llm.steps import Asked, Search, Think, Tokens, Use

WHOLE_CALLS = ("ollama", "mistral")  # say each call in one piece
PLAIN_REASONING = ("groq", "ollama", "vllm", "together")  # call thoughts `reasoning`
FIGURES_IN_THE_LAST_CHUNK = ("mistral", "deepseek")  # and not in one of their own


def _pieces(arguments: str) -> Iterator[str]:
    """Arguments as they are streamed: cut anywhere."""
    size = max(7, len(arguments) // 2000)
    return (arguments[at : at + size] for at in range(0, len(arguments), size))


class Anthropic:
    """Messages: https://docs.anthropic.com/en/api/messages-streaming."""

    name = "anthropic"

    def __init__(self) -> None:
        self.reason: str | None = None
        self.index = -1
        self.open = False  # a text block
        self.used = False
        self.said = 0

    def fault(self, body: Mapping[str, Any], issued: refusals.Issued = ()) -> str | None:
        return refusals.messages(body, issued)

    def keyless(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("x-api-key") if headers.get("anthropic-version") else None

    def error(self, kind: str, message: str) -> dict[str, Any]:
        return {"type": "error", "error": {"type": kind, "message": message}}

    def usual(self, code: int) -> dict[str, Any]:
        kinds = {
            401: "authentication_error",
            402: "billing_error",
            403: "permission_error",
            404: "not_found_error",
            413: "request_too_large",
            429: "rate_limit_error",
            529: "overloaded_error",
        }
        kind = kinds.get(code, "api_error" if code >= 500 else "invalid_request_error")
        return self.error(kind, f"a {code} as scripted")

    def overflow(self, asked: Asked) -> dict[str, Any]:
        most = max(1, asked.tokens - 1)
        return self.error("invalid_request_error", f"prompt is too long: {asked.tokens} tokens > {most} maximum")

    def begin(self, asked: Asked, figures: Tokens) -> bytes:
        usage = {
            "input_tokens": asked.tokens if figures.input is None else figures.input,
            "cache_read_input_tokens": figures.cached_read,
            "cache_creation_input_tokens": figures.cached_write,
            "output_tokens": 1,
        }
        message: dict[str, Any] = {
            "id": f"msg_{asked.number}",
            "type": "message",
            "role": "assistant",
            "model": asked.model,
        }
        message |= {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        return _event("message_start", {"message": message}) + self.ping()

    def ping(self) -> bytes:
        return _event("ping", {})

    def text(self, piece: str) -> bytes:
        data = b""
        if not self.open:
            self.index += 1
            self.open = True
            data = self._start({"type": "text", "text": ""})
        self.said += len(piece)
        return data + self._delta({"type": "text_delta", "text": piece})

    def use(self, use: Use) -> bytes:
        data = self._close()
        self.index += 1
        self.used = True
        arguments = json.dumps(use.input) if use.raw is None else use.raw
        self.said += len(arguments)
        data += self._start({"type": "tool_use", "id": f"toolu_{self.index}", "name": use.name, "input": {}})
        pieces = (self._delta({"type": "input_json_delta", "partial_json": piece}) for piece in _pieces(arguments))
        return data + b"".join(pieces) + self._stop()

    def think(self, think: Think) -> bytes:
        data = self._close()
        self.index += 1
        self.said += len(think.text)
        data += self._start({"type": "thinking", "thinking": "", "signature": ""})
        data += self._delta({"type": "thinking_delta", "thinking": think.text})
        return data + self._delta({"type": "signature_delta", "signature": think.signature}) + self._stop()

    def search(self, search: Search) -> bytes:
        data = self._close()
        id = f"srvtoolu_{self.index}"
        page = {"type": "web_search_result", "title": search.title, "url": search.url, "encrypted_content": "EqgfCio="}
        found = {"type": "web_search_tool_result", "tool_use_id": id, "content": [page]}
        for block in ({"type": "server_tool_use", "id": id, "name": "web_search", "input": {}}, found):
            self.index += 1
            data += self._start(block)
            if block["type"] == "server_tool_use":
                data += self._delta({"type": "input_json_delta", "partial_json": json.dumps({"query": search.query})})
            data += self._stop()
        data += self.text("")
        cited = {"type": "web_search_result_location", "url": search.url, "title": search.title}
        return data + self._delta({"type": "citations_delta", "citation": cited})

    def failed(self, kind: str, message: str) -> bytes:
        return _event("error", {"error": {"type": kind, "message": message}})

    def end(self, asked: Asked, figures: Tokens) -> bytes:
        reason = self.reason or ("tool_use" if self.used else "end_turn")
        output = max(1, self.said // 4) if figures.output is None else figures.output
        delta = {"delta": {"stop_reason": reason, "stop_sequence": None}, "usage": {"output_tokens": output}}
        return self._close() + _event("message_delta", delta) + _event("message_stop", {})

    def _start(self, block: dict[str, Any]) -> bytes:
        return _event("content_block_start", {"index": self.index, "content_block": block})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", {"index": self.index, "delta": delta})

    def _stop(self) -> bytes:
        return _event("content_block_stop", {"index": self.index})

    def _close(self) -> bytes:
        was, self.open = self.open, False
        return self._stop() if was else b""


class OpenAi:
    """Chat Completions: https://platform.openai.com/docs/api-reference/chat-streaming, and how others speak it."""

    name = "openai"

    def __init__(self, dialect: str = "openai") -> None:
        self.dialect = dialect
        self.reason: str | None = None
        self.calls = 0
        self.said = 0
        self.asked: Asked | None = None

    def fault(self, body: Mapping[str, Any], issued: refusals.Issued = ()) -> str | None:
        return refusals.chat(body, self.dialect, issued)

    def keyless(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("authorization", "").removeprefix("Bearer ")

    def error(self, kind: str, message: str) -> dict[str, Any]:
        return {"error": {"message": message, "type": kind, "param": None, "code": None}}

    def usual(self, code: int) -> dict[str, Any]:
        codes = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
        kind = "server_error" if code >= 500 else "invalid_request_error"
        return {"error": {"message": f"a {code} as scripted", "type": kind, "param": None, "code": codes.get(code)}}

    def overflow(self, asked: Asked) -> dict[str, Any]:
        text = (
            f"This model's maximum context length is {max(1, asked.tokens - 1)} tokens. However, your messages resulted "
            f"in {asked.tokens} tokens. Please reduce the length of the messages."
        )
        error = {
            "message": text,
            "type": "invalid_request_error",
            "param": "messages",
            "code": "context_length_exceeded",
        }
        return {"error": error}

    def begin(self, asked: Asked, figures: Tokens) -> bytes:
        self.asked = asked
        return self._chunk({"role": "assistant", "content": ""})

    def ping(self) -> bytes:
        return b": keep-alive\n\n"

    def text(self, piece: str) -> bytes:
        self.said += len(piece)
        return self._chunk({"content": piece})

    def use(self, use: Use) -> bytes:
        index, self.calls = self.calls, self.calls + 1
        arguments = json.dumps(use.input) if use.raw is None else use.raw
        self.said += len(arguments)
        if self.dialect in WHOLE_CALLS:
            whole = {"id": f"call_{index}", "index": index, "type": "function"}
            return self._chunk({"tool_calls": [{**whole, "function": {"name": use.name, "arguments": arguments}}]})
        call = {
            "index": index,
            "id": f"call_{index}",
            "type": "function",
            "function": {"name": use.name, "arguments": ""},
        }
        data = self._chunk({"tool_calls": [call]})
        parts = ({"index": index, "function": {"arguments": piece}} for piece in _pieces(arguments))
        return data + b"".join(self._chunk({"tool_calls": [part]}) for part in parts)

    def think(self, think: Think) -> bytes:
        self.said += len(think.text)
        if self.dialect == "openrouter":
            detail = {"type": "reasoning.text", "text": think.text, "signature": think.signature, "index": 0}
            return self._chunk({"content": "", "reasoning": think.text, "reasoning_details": [detail]})
        if self.dialect == "mistral":
            return self._chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": think.text}]}]})
        return self._chunk({"reasoning" if self.dialect in PLAIN_REASONING else "reasoning_content": think.text})

    def search(self, search: Search) -> bytes:
        raise AssertionError("Chat Completions has no web search of its own")

    def failed(self, kind: str, message: str) -> bytes:
        return b"data: " + json.dumps({"error": {"type": kind, "message": message, "code": None}}).encode() + b"\n\n"

    def end(self, asked: Asked, figures: Tokens) -> bytes:
        words = {"end_turn": "stop", "tool_use": "tool_calls", "max_tokens": "length", "refusal": "content_filter"}
        reason = words[self.reason or ("tool_use" if self.calls else "end_turn")]
        fresh = asked.tokens if figures.input is None else figures.input
        usage: dict[str, Any] = {
            "prompt_tokens": fresh + figures.cached_read,
            "completion_tokens": max(1, self.said // 4) if figures.output is None else figures.output,
        }
        if self.dialect == "deepseek":
            usage |= {"prompt_cache_hit_tokens": figures.cached_read, "prompt_cache_miss_tokens": fresh}
        else:
            usage["prompt_tokens_details"] = {"cached_tokens": figures.cached_read}
        if self.dialect in FIGURES_IN_THE_LAST_CHUNK:
            return self._chunk({}, reason, usage=usage) + b"data: [DONE]\n\n"
        data = self._chunk({}, reason)
        if (asked.body.get("stream_options") or {}).get("include_usage"):
            data += self._line({"choices": [], "usage": usage})
        return data + b"data: [DONE]\n\n"

    def _chunk(self, delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
        return self._line({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}], **more})

    def _line(self, data: dict[str, Any]) -> bytes:
        assert self.asked is not None
        head = {"id": f"chatcmpl-{self.asked.number}", "object": "chat.completion.chunk", "model": self.asked.model}
        return b"data: " + json.dumps({**head, **data}).encode() + b"\n\n"


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()
