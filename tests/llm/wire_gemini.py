"""Gemini from the provider's side: https://ai.google.dev/api/generate-content, as a stream of events. No sockets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.llm import refusals
from tests.llm.steps import Asked, Search, Think, Tokens, Use


class Gemini:
    """Events out of steps, and what the real API would refuse."""

    name = "google"

    def __init__(self, model: str = "") -> None:
        self.reason: str | None = None
        self._model = model
        self._said = 0
        self._calls = 0
        self._seal = ""
        self._pages: list[dict[str, Any]] = []

    def fault(self, body: Mapping[str, Any], issued: refusals.Issued = ()) -> str | None:
        return refusals.gemini(body, self._model, issued)

    def keyless(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("x-goog-api-key")

    def error(self, kind: str, message: str) -> dict[str, Any]:
        return {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}

    def usual(self, code: int) -> Any:
        kinds = {
            401: "UNAUTHENTICATED",
            403: "PERMISSION_DENIED",
            404: "NOT_FOUND",
            409: "ABORTED",
            429: "RESOURCE_EXHAUSTED",
            503: "UNAVAILABLE",
        }
        kind = kinds.get(code, "INTERNAL" if code >= 500 else "INVALID_ARGUMENT")
        # An error before the stream comes in a list, as the whole answer would without `alt=sse`.
        return [{"error": {"code": code, "message": f"a {code} as scripted", "status": kind}}]

    def overflow(self, asked: Asked) -> dict[str, Any]:
        most = max(1, asked.tokens - 1)
        said = f"The input token count ({asked.tokens}) exceeds the maximum number of tokens allowed ({most})."
        return self.error("", said)

    def begin(self, asked: Asked, figures: Tokens) -> bytes:
        self._asked = asked
        return b""

    def ping(self) -> bytes:
        return b": ping\r\n\r\n"

    def text(self, piece: str) -> bytes:
        self._said += len(piece)
        return self._chunk([{"text": piece}])

    def use(self, use: Use) -> bytes:
        self._said += len(json.dumps(use.input))
        part: dict[str, Any] = {"functionCall": {"id": f"fn-{self._calls}", "name": use.name, "args": use.input}}
        if use.raw is not None:  # here the server reads the arguments, and says that it cannot
            self.reason = "MALFORMED_FUNCTION_CALL"
            return b""
        if self._seal:
            part["thoughtSignature"] = self._seal
        self._calls += 1
        self._seal = ""
        return self._chunk([part])

    def think(self, think: Think) -> bytes:
        self._said += len(think.text)
        self._seal = think.signature  # stands on the next call
        return self._chunk([{"text": think.text, "thought": True}])

    def search(self, search: Search) -> bytes:
        self._pages.append({"web": {"uri": search.url, "title": search.title}})
        return b""

    def failed(self, kind: str, message: str) -> bytes:
        status = {"overloaded_error": (503, "UNAVAILABLE"), "invalid_request_error": (400, "INVALID_ARGUMENT")}
        code, name = status.get(kind, (500, "INTERNAL"))
        return self._line({"error": {"code": code, "message": message, "status": name}})

    def end(self, asked: Asked, figures: Tokens) -> bytes:
        words = {"max_tokens": "MAX_TOKENS", "refusal": "SAFETY", "end_turn": "STOP", "tool_use": "STOP"}
        fresh = asked.tokens if figures.input is None else figures.input
        usage: dict[str, Any] = {
            "promptTokenCount": fresh + figures.cached_read,
            "candidatesTokenCount": max(1, self._said // 4) if figures.output is None else figures.output,
        }
        if figures.cached_read:
            usage["cachedContentTokenCount"] = figures.cached_read
        reason = words.get(self.reason or "end_turn", self.reason)
        candidate: dict[str, Any] = {"finishReason": reason, "index": 0}
        if self._pages:
            candidate["groundingMetadata"] = {"groundingChunks": self._pages}
        return self._line({"candidates": [candidate], "usageMetadata": usage})

    def _chunk(self, parts: list[dict[str, Any]]) -> bytes:
        candidate = {"content": {"parts": parts, "role": "model"}, "index": 0}
        return self._line({"candidates": [candidate], "usageMetadata": {"promptTokenCount": self._asked.tokens}})

    def _line(self, data: dict[str, Any]) -> bytes:
        return b"data: " + json.dumps({**data, "modelVersion": self._model}).encode() + b"\r\n\r\n"
