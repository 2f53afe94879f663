"""What people ask about providers: which models one has, and whether it answers. The same with a node and without.

A question to a provider's models endpoint has a short time and stands beside the calls of agents, not in their line. The
try of a provider is one tiny completion in nobody's name; it goes out whatever was before: the breaker is closed for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict, fields
from typing import Any

from egghead.llm import models as table
from egghead.llm.errors import LlmError, UnknownModel
from egghead.llm.lane import Lane
from egghead.llm.provider import Model
from egghead.llm.registry import Registry
from egghead.llm.shapes import Message, Request, Stop, Text, Usage, Waiting

LIST_TIMEOUT = 10.0  # seconds for a models endpoint
TEST_TIMEOUT = 60.0
FACTS = tuple(field.name for field in fields(Model) if field.name not in ("name", "provider", "note", "told"))
PLEASE = "Answer with the one word: ready"
LIBRARIAN = "What can you do?"  # it answers questions and takes no orders


async def providers(registry: Registry) -> dict[str, Any]:
    """`{providers, default}`: see `Registry.providers`."""
    return {"providers": registry.providers(), "default": registry.default}


async def known(registry: Registry, provider: str | None = None) -> dict[str, Any]:
    """`{models: [{…facts, sources: {fact: provider | table}, default}], faults: {provider: why}, table: date}`."""
    names = [provider] if provider is not None else registry.names()
    rows: list[dict[str, Any]] = []
    faults: dict[str, str] = {}
    for found in await asyncio.gather(*(_of(registry, name, faults) for name in names)):
        rows += found
    for row in rows:
        row["default"] = row["name"] == registry.default
    return {"models": rows, "faults": faults, "table": str(table.shipped()["date"])}


async def _of(registry: Registry, name: str, faults: dict[str, str]) -> list[dict[str, Any]]:
    try:
        lane = registry.lane(name)
    except LlmError as error:
        faults[name] = str(error)
        return []
    found: Sequence[Model] = ()
    try:
        async with asyncio.timeout(LIST_TIMEOUT):
            found = await lane.list_models()
    except TimeoutError:
        faults[name] = f"{name} did not list its models within {LIST_TIMEOUT:g} s"
    except LlmError as error:
        faults[name] = str(error)
    return [_row(model) for model in found or lane.models()]


def _row(model: Model) -> dict[str, Any]:
    row = asdict(model)
    told = row.pop("told")
    return {
        **row,
        "sources": {fact: "provider" if fact in told else "table" for fact in FACTS if row[fact] is not None},
    }


async def test(registry: Registry, provider: str, model: str | None = None) -> dict[str, Any]:
    """One tiny completion: `{model, text, first, seconds, input, output, cost}`, seconds from its beginning. Raises
    LlmError with what to do."""
    lane = registry.lane(provider)
    chosen = (model or "").removeprefix(f"{provider}/") or registry.first_model(provider) or await _any(lane)
    if chosen is None:
        raise UnknownModel(f"{provider} names no model to try; say one: egghead llm test {provider} --model MODEL")
    request = Request(
        [Message("user", [Text(LIBRARIAN if chosen == "librarian" else PLEASE)])], max_tokens=64, mode="mention"
    )
    lane.close_breaker()
    began, first, text, stop = time.monotonic(), None, "", Stop("end_turn", Usage())
    async with aclosing(lane.complete(request, chosen, began + TEST_TIMEOUT)) as events:
        async for event in events:
            if isinstance(event, Waiting):
                continue
            first = first if first is not None else time.monotonic() - began
            if isinstance(event, Text):
                text += event.text
            elif isinstance(event, Stop):
                stop = event
    info = registry.model(lane, chosen)
    return {
        "model": f"{provider}/{chosen}", "text": text.strip()[:200], "first": first, "seconds": time.monotonic() - began,
        "input": stop.usage.input + stop.usage.cached_read + stop.usage.cached_write, "output": stop.usage.output,
        "cost": table.cost(info, stop.usage),
    }  # fmt: skip


async def _any(lane: Lane) -> str | None:
    """Some model that the provider says it has: a server of one's own has what was loaded into it."""
    async with asyncio.timeout(LIST_TIMEOUT):
        found = await lane.list_models()
    return found[0].name.partition("/")[2] if found else None
