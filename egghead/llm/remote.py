"""One configured provider over HTTP: a wire format, which is data and pure functions, and the connections to speak it on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from egghead.llm import models
from egghead.llm.errors import LlmError
from egghead.llm.limits import Limits
from egghead.llm.provider import Model
from egghead.llm.shapes import Event, Request
from egghead.llm.wire import Parser, Wire

if TYPE_CHECKING:
    from egghead.llm.registry import Entry


@dataclass(frozen=True)
class Format:
    """How one API is spoken: where to post, the body for (request, model), a parser for an answer of (model, provider),
    and the error for (provider, model, HTTP status, body as JSON, seconds that it asks to wait)."""

    path: str
    build: Callable[[Request, str], Mapping[str, Any]]
    parser: Callable[[str, str], Parser]
    failure: Callable[[str, str, int, Any, float | None], LlmError]


class Remote:
    """A provider. Raises ProviderMissing for a configuration that cannot be used."""

    def __init__(self, entry: Entry, base_url: str, headers: Mapping[str, str], format: Format) -> None:
        self.name = entry.name
        self._format = format
        self._models = models.offered(entry)
        limits = Limits.of(entry.limits, entry.name)
        self._wire = Wire(entry.name, entry.base_url or base_url, headers, entry.api_key, limits)

    def models(self) -> Sequence[Model]:
        return self._models

    async def complete(self, request: Request, model: str) -> AsyncGenerator[Event, None]:
        stream = self._wire.stream(
            self._format.path,
            self._format.build(request, model),
            lambda: self._format.parser(model, self.name),
            lambda status, body, after: self._format.failure(self.name, model, status, body, after),
        )
        async with aclosing(stream) as events:
            async for event in events:
                yield event

    async def aclose(self) -> None:
        await self._wire.aclose()
