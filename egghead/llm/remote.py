"""One configured provider over HTTP: a wire format, which is data and pure functions, and the connections to speak it on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from egghead.llm import models
from egghead.llm.errors import LlmError, ProviderMissing, RequestRefused, UnknownModel
from egghead.llm.limits import Limits
from egghead.llm.listing import MOST, PAGES, Listing, models_of
from egghead.llm.provider import Model
from egghead.llm.shapes import Block, Event, Message, Request, Stop, Text, Thinking, ToolUse, Usage
from egghead.llm.wire import Parser, Wire

if TYPE_CHECKING:
    from egghead.llm.registry import Entry


@dataclass(frozen=True)
class Format:
    """How one API is spoken: where to post (`{model}` is the model's name), the body for (request, model), a parser for
    an answer of (model, provider), and the error for (provider, model, HTTP status, body as JSON, seconds that it asks to
    wait)."""

    path: str
    build: Callable[[Request, str], Mapping[str, Any]]
    parser: Callable[[str, str], Parser]
    failure: Callable[[str, str, int, Any, float | None], LlmError]


MOST_PARTS = 8  # of one answer; each is a request


class Remote:
    """A provider. `format` is how its models are asked, or which of two ways each is. Raises ProviderMissing for a
    configuration that cannot be used."""

    def __init__(
        self,
        entry: Entry,
        base_url: str,
        headers: Mapping[str, str],
        format: Format | Callable[[str], Format],
        listing: Listing,
    ) -> None:
        if entry.api is not None and isinstance(format, Format):
            raise ProviderMissing(
                f"{entry.name} has only one api: take `api: {entry.api}` out of its entry under `llm:`"
            )
        self.name = entry.name
        self.told: Callable[[Mapping[str, str], str], None] | None = None  # headers of each answer, and the model asked
        self._format = format
        self._models = models.offered(entry)
        self._listing = listing
        self._kind = entry.kind
        limits = Limits.of(entry.limits, entry.name)
        self._wire = Wire(entry.name, entry.base_url or base_url, headers, entry.api_key, limits)

    def models(self) -> Sequence[Model]:
        return self._models

    async def list_models(self) -> Sequence[Model]:
        rows: list[Any] = []
        path = self._listing.path
        for _ in range(PAGES):
            data = await self._wire.get(path, self._not_listed)
            page, path = self._listing.read(data)
            rows += page
            if not path or not page or len(rows) >= MOST:
                break
        return models_of(self._kind, self.name, rows)

    def _not_listed(self, status: int, body: Any, after: float | None) -> LlmError:
        spoken = self._format if isinstance(self._format, Format) else self._format("")
        error = spoken.failure(self.name, "", status, body, after)
        return RequestRefused(f"{self.name} does not list its models") if isinstance(error, UnknownModel) else error

    async def complete(self, request: Request, model: str) -> AsyncGenerator[Event, None]:
        """One answer, be it in several parts: a provider whose own tools take long pauses, and is asked to go on."""
        spoken = self._format if isinstance(self._format, Format) else self._format(model)
        used = Usage()
        for part in range(1, MOST_PARTS + 1):
            parser = spoken.parser(model, self.name)
            may_pause = bool(request.provider_tools) and part < MOST_PARTS
            heard: list[Block] = []
            async with aclosing(self._part(spoken, request, model, parser)) as events:
                async for event in events:
                    if isinstance(event, Stop):
                        used = _added(used, event.usage)
                        if may_pause and parser.paused and heard:
                            break
                        event = msgspec.structs.replace(event, usage=used)
                    elif may_pause and isinstance(event, Text | Thinking | ToolUse):
                        heard.append(event)
                    yield event
                else:
                    return
            more = Message("assistant", _joined(heard))
            request = msgspec.structs.replace(request, messages=[*request.messages, more])

    def _part(self, spoken: Format, request: Request, model: str, parser: Parser) -> AsyncGenerator[Event, None]:
        return self._wire.stream(
            spoken.path.replace("{model}", quote(model, safe="")),  # a name is no way to another address
            spoken.build(request, model),
            lambda: parser,
            lambda status, body, after: spoken.failure(self.name, model, status, body, after),
            lambda headers: self.told(headers, model) if self.told is not None else None,
        )

    async def aclose(self) -> None:
        await self._wire.aclose()


def _added(one: Usage, other: Usage) -> Usage:
    return Usage(*(a + b for a, b in zip(msgspec.structs.astuple(one), msgspec.structs.astuple(other), strict=True)))


def _joined(blocks: Sequence[Block]) -> list[Block]:
    """Pieces of text that belong together as one."""
    found: list[Block] = []
    for block in blocks:
        if isinstance(block, Text) and found and isinstance(found[-1], Text):
            found[-1] = Text(found[-1].text + block.text)
        else:
            found.append(block)
    return found
