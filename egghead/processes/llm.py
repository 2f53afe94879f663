"""The process `llm`: the only one that holds keys. It streams completions to agents and says which models there are.

Only wiring: shapes, names and providers are in `egghead/llm`. A caller may name no agent but itself; a caller that goes
away closes the stream, and with it the provider's work.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from egghead.llm.errors import LlmError
from egghead.llm.librarian import warm_up
from egghead.llm.models import cost
from egghead.llm.provider import Model, Provider
from egghead.llm.registry import Registry
from egghead.llm.shapes import Event, Request, Stop, event_data, request_from
from egghead.processes.common import Service, run
from ipc import Call, Refused

if TYPE_CHECKING:
    from supervisor import Context

logger = logging.getLogger("egghead.llm")


def main(context: Context) -> None:
    run(context, setup)


async def setup(service: Service) -> None:
    warm_up()  # the first person to ask does not wait for our tables
    # The settings that every process gets have stars for keys; the keys themselves come to this process alone.
    secret = service.context.handover.get("secret") or {}
    environ = {**os.environ, **secret.get("environ", {})}
    gateway = Gateway(Registry.from_config({**service.config, "llm": secret.get("llm", [])}, environ))
    service.expose({"complete": gateway.complete, "models": gateway.models})
    service.on_stop(gateway.aclose)
    await service.connect()
    names = [model.name for model in gateway.registry.models()]
    service.info["models"] = names
    logger.info("models: %s; default %s", ", ".join(names), gateway.registry.default)


class Gateway:
    """What the process serves, without the process: tests drive it with a call of their own."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.running: dict[str, int] = {}  # caller -> streams open

    async def complete(self, call: Call, request: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Streams the events of one completion. Refused: BadRequest, UnknownProvider, UnknownModel, ProviderMissing."""
        parsed, provider, model = self._open(call, request)
        self.running[call.caller] = self.running.get(call.caller, 0) + 1
        started = asyncio.get_running_loop().time()
        try:
            # aclosing: a caller that leaves closes the provider's stream now, not when it is collected.
            async with aclosing(_events(provider, parsed, model)) as events:
                async for event in events:
                    if isinstance(event, Stop):
                        event = _priced(event, self.registry.model(provider, model))
                    yield event_data(event)
                    if isinstance(event, Stop):
                        _note(call, parsed, event, asyncio.get_running_loop().time() - started)
        except LlmError as error:
            raise _refused(error) from None
        finally:
            self.running[call.caller] -= 1
            if not self.running[call.caller]:
                del self.running[call.caller]

    async def models(self, call: Call) -> list[dict[str, Any]]:
        """Every usable model: name, provider, whether it is the default, window and output limit in tokens, a note."""
        return [{**asdict(model), "default": model.name == self.registry.default} for model in self.registry.models()]

    async def aclose(self) -> None:
        await self.registry.aclose()

    def _open(self, call: Call, request: dict[str, Any]) -> tuple[Request, Provider, str]:
        try:
            parsed = request_from(request)
            provider, model = self.registry.resolve(parsed.model)
        except LlmError as error:
            raise _refused(error) from None
        caller = call.caller.removeprefix("agents/")
        # An agent may not spend, or be heard, in another's name; usage is counted by the name that the bus stamps.
        if call.caller.startswith("agents/") and parsed.agent and parsed.agent != caller:
            raise Refused("BadRequest", f"{call.caller!r} asked for a completion in the name of {parsed.agent!r}")
        return parsed, provider, model


async def _events(provider: Provider, request: Request, model: str) -> AsyncGenerator[Event, None]:
    """The provider's events, with the loop given to others now and then: the librarian never waits for anything."""
    async with aclosing(provider.complete(request, model)) as events:
        said = 0
        async for event in events:
            yield event
            said += 1
            if said % 8 == 0:
                await asyncio.sleep(0)  # one turn of the loop for the others


def _priced(stop: Stop, model: Model) -> Stop:
    """What the agent needs to count its context and its money."""
    return Stop(stop.reason, stop.usage, model.name, model.window, cost(model, stop.usage))


def _refused(error: LlmError) -> Refused:
    return Refused(type(error).__name__, str(error))


def _note(call: Call, request: Request, stop: Stop, seconds: float) -> None:
    logger.info(
        "%s turn %s: %s, %d tokens in, %d out, %.0f ms",
        call.caller,
        request.turn or "-",
        stop.reason,
        stop.usage.input,
        stop.usage.output,
        seconds * 1000,
    )
