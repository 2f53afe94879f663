"""OpenAI Responses from the provider's side: https://platform.openai.com/docs/api-reference/responses-streaming. No sockets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.llm import refusals
from tests.llm.steps import Asked, Search, Think, Tokens, Use
from tests.llm.wires import OpenAi


class Responses:
    """Events out of steps, and what the real API would refuse."""

    name = "responses"

    def __init__(self, dialect: str = "openai") -> None:
        self.reason: str | None = None
        self._number = 0
        self._index = -1
        self._said = 0
        self._text = ""
        self._speaking = False
        self._annotations: list[dict[str, Any]] = []
        self._asked: Asked | None = None

    def fault(self, body: Mapping[str, Any], issued: refusals.Issued = ()) -> str | None:
        return refusals.responses(body, issued)

    def keyless(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("authorization", "").removeprefix("Bearer ")

    error = OpenAi.error
    usual = OpenAi.usual

    def overflow(self, asked: Asked) -> dict[str, Any]:
        text = "Your input exceeds the context window of this model. Please adjust your input and try again."
        code = "context_length_exceeded"
        return {"error": {"message": text, "type": "invalid_request_error", "param": "input", "code": code}}

    def begin(self, asked: Asked, figures: Tokens) -> bytes:
        self._asked = asked
        return self._event("response.created", response=self._response()) + self._event(
            "response.in_progress", response=self._response()
        )

    def ping(self) -> bytes:
        return b": keep-alive\n\n" + self._event("keepalive")

    def text(self, piece: str) -> bytes:
        data = b""
        if not self._speaking:
            self._index += 1
            self._speaking, self._text = True, ""
            part = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
            data = self._added({"type": "message", "status": "in_progress", "role": "assistant", "content": []})
            data += self._event("response.content_part.added", **self._place(), part=part)
        self._said += len(piece)
        self._text += piece
        return data + self._event("response.output_text.delta", **self._place(), delta=piece, logprobs=[])

    def use(self, use: Use) -> bytes:
        data = self._close()
        self._index += 1
        arguments = json.dumps(use.input) if use.raw is None else use.raw
        self._said += len(arguments)
        item = {"type": "function_call", "call_id": f"call_{self._index}", "name": use.name}
        data += self._added({**item, "status": "in_progress", "arguments": ""})
        place = {"item_id": f"fc_{self._index}", "output_index": self._index}
        for at in range(0, len(arguments), 7):
            data += self._event("response.function_call_arguments.delta", **place, delta=arguments[at : at + 7])
        data += self._event("response.function_call_arguments.done", **place, arguments=arguments)
        return data + self._done({**item, "status": "completed", "arguments": arguments})

    def think(self, think: Think) -> bytes:
        data = self._close()
        self._index += 1
        self._said += len(think.text)
        summary = [{"type": "summary_text", "text": think.text}] if think.text else []
        data += self._added({"type": "reasoning", "summary": []})
        place = {"item_id": f"rs_{self._index}", "output_index": self._index, "summary_index": 0}
        data += self._event("response.reasoning_summary_text.delta", **place, delta=think.text)
        wanted = self._asked is not None and "reasoning.encrypted_content" in (self._asked.body.get("include") or ())
        return data + self._done(
            {"type": "reasoning", "summary": summary, "encrypted_content": think.signature if wanted else None}
        )

    def search(self, search: Search) -> bytes:
        data = self._close()
        self._index += 1
        data += self._added({"type": "web_search_call", "status": "in_progress"})
        action = {"type": "search", "query": search.query}
        self._annotations.append(
            {"type": "url_citation", "start_index": 0, "end_index": 1, "title": search.title, "url": search.url}
        )
        return data + self._done({"type": "web_search_call", "status": "completed", "action": action})

    def failed(self, kind: str, message: str) -> bytes:
        code = "server_error" if kind == "overloaded_error" else kind
        return self._event(
            "response.failed", response=self._response("failed", error={"code": code, "message": message})
        )

    def end(self, asked: Asked, figures: Tokens) -> bytes:
        data = self._close()
        fresh = asked.tokens if figures.input is None else figures.input
        output = max(1, self._said // 4) if figures.output is None else figures.output
        kept = {"cached_tokens": figures.cached_read, "cache_write_tokens": figures.cached_write}
        usage = {
            "input_tokens": fresh + figures.cached_read + figures.cached_write,
            "input_tokens_details": kept,
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": 0},
        }
        why = {"max_tokens": "max_output_tokens", "refusal": "content_filter"}.get(self.reason or "")
        if why:
            cut = self._response("incomplete", usage=usage, incomplete_details={"reason": why})
            return data + self._event("response.incomplete", response=cut)
        return data + self._event("response.completed", response=self._response("completed", usage=usage))

    def _close(self) -> bytes:
        if not self._speaking:
            return b""
        self._speaking = False
        data = b""
        for number, annotation in enumerate(self._annotations):
            data += self._event(
                "response.output_text.annotation.added",
                **self._place(),
                annotation_index=number,
                annotation=annotation,
            )
        part = {"type": "output_text", "annotations": self._annotations, "logprobs": [], "text": self._text}
        data += self._event("response.output_text.done", **self._place(), text=self._text)
        return data + self._done({"type": "message", "status": "completed", "role": "assistant", "content": [part]})

    def _place(self) -> dict[str, Any]:
        return {"item_id": f"msg_{self._index}", "output_index": self._index, "content_index": 0}

    def _added(self, item: dict[str, Any]) -> bytes:
        return self._event("response.output_item.added", output_index=self._index, item=self._named(item))

    def _done(self, item: dict[str, Any]) -> bytes:
        return self._event("response.output_item.done", output_index=self._index, item=self._named(item))

    def _named(self, item: dict[str, Any]) -> dict[str, Any]:
        prefix = {"message": "msg", "function_call": "fc", "reasoning": "rs"}.get(item["type"], "ws")
        return {"id": f"{prefix}_{self._index}", **item}

    def _response(self, status: str = "in_progress", **more: Any) -> dict[str, Any]:
        assert self._asked is not None
        head = {"id": f"resp_{self._asked.number}", "object": "response", "status": status, "model": self._asked.model}
        return {**head, "error": None, "incomplete_details": None, "output": [], "usage": None, **more}

    def _event(self, kind: str, **data: Any) -> bytes:
        self._number += 1
        return (
            f"event: {kind}\ndata: {json.dumps({'type': kind, 'sequence_number': self._number, **data})}\n\n".encode()
        )
