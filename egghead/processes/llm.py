"""The process `llm`: the only one that holds keys. It streams completions to agents and says which models there are.

Only wiring: shapes, names, providers and the account of what they cost are in `egghead/llm`. A caller may name no agent but
itself; a caller that goes away closes the stream, and with it the provider's work. Every call is counted here, because
here is where all of them pass. Publishes `usage/paused/` when a limit is reached or over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egghead.llm.errors import LlmError, OutOfCredit, ProviderTimeout, Transient
from egghead.llm.ledger import Ledger, utc_now
from egghead.llm.librarian import warm_up
from egghead.llm.models import cost
from egghead.llm.provider import Model, Provider
from egghead.llm.purse import Purse
from egghead.llm.registry import Registry
from egghead.llm.shapes import Event, Request, Stop, Usage, event_data, request_from, without_thoughts
from egghead.llm.usage import Called
from egghead.processes.common import Service, run
from egghead.rooms.ulid import ulid
from ipc import Call, IpcError, Refused
from ipc import Event as BusEvent

if TYPE_CHECKING:
    from supervisor import Context

logger = logging.getLogger("egghead.llm")

LOOK_EVERY = 20.0  # seconds; a new day begins at midnight, asked or not
DOWN = (Transient, ProviderTimeout, OutOfCredit)  # of the provider, not of the request or the configuration


def main(context: Context) -> None:
    run(context, setup)


async def setup(service: Service) -> None:
    warm_up()  # the first person to ask does not wait for our tables
    # The settings that every process gets have stars for keys; the keys themselves come to this process alone.
    secret = service.context.handover.get("secret") or {}
    environ = {**os.environ, **secret.get("environ", {})}
    kept = service.context.handover.get("usage")
    gateway = Gateway(
        Registry.from_config({**service.config, "llm": secret.get("llm", [])}, environ),
        Purse(Ledger(Path(kept) if kept else None), service.config.get("limits")),
    )
    service.expose(gateway.methods())
    service.on_stop(gateway.aclose)
    await service.connect()
    limits = await service.peer.subscribe("limits/")
    service.start(_learn(service, gateway.purse, limits), "limits")
    service.start(_meet(service, gateway.purse), "roster")
    service.start(_publish(service, gateway), "paused")
    names = [model.name for model in gateway.registry.models()]
    service.info["models"] = names
    logger.info("models: %s; default %s", ", ".join(names), gateway.registry.default)


async def _learn(service: Service, purse: Purse, events: AsyncIterator[BusEvent]) -> None:
    """The limits that stand in agents' notes, as the roster publishes them."""
    async for event in events:
        if isinstance(event.data, dict) and isinstance(event.data.get("limits"), dict):
            purse.learn(event.data["limits"])
        elif event.gap:
            await _ask_limits(service, purse)


async def _meet(service: Service, purse: Purse) -> None:
    async for change in service.peer.monitor("roster"):
        if change.up:
            await _ask_limits(service, purse)


async def _ask_limits(service: Service, purse: Purse) -> None:
    try:
        purse.learn(await service.peer.call("roster", "limits", timeout=10.0))
    except IpcError as error:
        logger.info("the limits in agents' notes stay as they were: %s", error)  # the next change brings them


async def _publish(service: Service, gateway: Gateway) -> None:
    """Tell when who is paused has changed; a day may end while nobody asks for anything."""
    purse, told = gateway.purse, None
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(gateway.changed.wait(), LOOK_EVERY)
        gateway.changed.clear()
        purse.look()
        if (now := purse.told()["paused"]) == told:
            continue
        for agent in sorted(now.keys() - (told or {}).keys()):
            logger.warning("agent=%s paused: %s", agent, now[agent])
        try:
            await service.peer.publish("usage/paused/", purse.told())
            told = now
        except IpcError as error:
            logger.info("who is paused was not published: %s", error)
            gateway.changed.set()
            await asyncio.sleep(1.0)  # the bus is away; without a pause this would spin


class Gateway:
    """What the process serves, without the process: tests drive it with a call of their own."""

    def __init__(self, registry: Registry, purse: Purse | None = None) -> None:
        self.registry = registry
        self.purse = purse or Purse(Ledger(None))
        self.changed = asyncio.Event()
        self.purse.changed = self.changed.set
        self.running: dict[str, int] = {}  # caller -> streams open

    def methods(self) -> dict[str, Callable[..., Any]]:
        """Name -> handler."""
        return {"complete": self.complete, "models": self.models, "usage": self.usage, "paused": self.paused}

    async def complete(self, call: Call, request: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Streams the events of one completion. Refused: BadRequest, UnknownProvider, UnknownModel, ProviderMissing,
        LimitReached, and what the provider says.

        A provider that is down or over its limit before anything was said: the request's `fallback` is tried in order.
        When none of them answers, the refusal is the first one's, and says what the others said.
        """
        parsed, first = self._open(call, request)
        self.running[call.caller] = self.running.get(call.caller, 0) + 1
        told: list[LlmError] = []
        try:
            for provider, model in self._ways(parsed, first, told):
                heard = False
                try:
                    asked = without_thoughts(parsed) if told else parsed
                    # aclosing: a caller that leaves closes the provider's stream now, not when it is collected.
                    async with aclosing(self._answer(call, asked, provider, model)) as events:
                        async for event in events:
                            heard = True
                            yield event_data(event)
                    return
                except LlmError as error:
                    if heard or not (told or isinstance(error, DOWN)):
                        raise
                    told.append(error)
                    logger.warning(
                        "%s turn %s: %s/%s: %s", call.caller, parsed.turn or "-", provider.name, model, error
                    )
            raise Refused(type(told[0]).__name__, _all_said(told))
        except LlmError as error:
            raise _refused(error) from None
        finally:
            self.running[call.caller] -= 1
            if not self.running[call.caller]:
                del self.running[call.caller]

    async def _answer(
        self, call: Call, request: Request, provider: Provider, model: str
    ) -> AsyncGenerator[Event, None]:
        """One model's answer, counted."""
        account = _Account(self.purse, call, request, self.registry.model(provider, model))
        started = asyncio.get_running_loop().time()
        try:
            async with aclosing(_events(provider, request, model)) as events:
                async for event in events:
                    if isinstance(event, Stop):
                        event = _priced(event, account.model)
                        # Before the agent hears that it is over: then it is counted, whatever dies.
                        account.close(event)
                    account.begin()
                    yield event
                    if isinstance(event, Stop):
                        _note(call, request, event, asyncio.get_running_loop().time() - started)
        finally:
            account.close(None)

    def _ways(
        self, request: Request, first: tuple[Provider, str], told: list[LlmError]
    ) -> Iterator[tuple[Provider, str]]:
        """The model that was asked for, then each fallback once; one that cannot be asked says why among `told`."""
        seen = [first]
        yield first
        for name in request.fallback:
            try:
                other = self.registry.resolve(name)
            except LlmError as error:
                told.append(error)
                continue
            if other not in seen:
                seen.append(other)
                yield other

    async def models(self, call: Call) -> list[dict[str, Any]]:
        """Every usable model: name, provider, whether it is the default, window and output limit in tokens, a note."""
        return [{**asdict(model), "default": model.name == self.registry.default} for model in self.registry.models()]

    async def usage(
        self, call: Call, by: str = "agent", since: str | None = None,
        agent: str | None = None, room: str | None = None, model: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """What was used, summed by agent, room, model or day: `{by, rows, total, today, paused}`. `since`: a day."""
        only = {name: value for name, value in (("agent", agent), ("room", room), ("model", model)) if value}
        try:
            return await asyncio.to_thread(self.purse.usage, by, since, only)
        except ValueError as error:
            raise Refused("BadRequest", str(error)) from None

    async def paused(self, call: Call) -> dict[str, Any]:
        """Who may not spend any more today: `{day, paused: {agent, or * for all: sentence}}`."""
        return self.purse.told()

    async def aclose(self) -> None:
        await self.registry.aclose()

    def _open(self, call: Call, request: dict[str, Any]) -> tuple[Request, tuple[Provider, str]]:
        try:
            parsed = request_from(request)
            first = self.registry.resolve(parsed.model)
            self.purse.check(_spender(call))
        except LlmError as error:
            raise _refused(error) from None
        caller = call.caller.removeprefix("agents/")
        # An agent may not spend, or be heard, in another's name; usage is counted by the name that the bus stamps.
        if call.caller.startswith("agents/") and parsed.agent and parsed.agent != caller:
            raise Refused("BadRequest", f"{call.caller!r} asked for a completion in the name of {parsed.agent!r}")
        return parsed, first


def _spender(call: Call) -> str:
    """Whose account a call goes to: the name that the bus stamps, whatever the request says."""
    return call.caller.removeprefix("agents/")


class _Account:
    """One call, counted once: with its usage when it ended well, as cut when it did not and had begun."""

    def __init__(self, purse: Purse, call: Call, request: Request, model: Model) -> None:
        self.model = model
        self._purse = purse
        self._id, self._agent, self._room = ulid(), _spender(call), request.room
        self._begun = self._closed = False

    def begin(self) -> None:
        """Something of the answer has come: from now on it has used what nobody knows, until `close` does."""
        if not self._begun and not self._closed:
            self._begun = True
            self._purse.begin(self._called(None))

    def close(self, stop: Stop | None) -> None:
        """The call is over. Without a `stop` and without anything begun nothing was used."""
        if not self._closed and (stop is not None or self._begun):
            self._closed = True
            self._purse.add(self._called(stop))

    def _called(self, stop: Stop | None) -> Called:
        usage, cost = (stop.usage, stop.cost) if stop is not None else (Usage(), None)
        at = utc_now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        used = (usage.input, usage.output, usage.cached_read, usage.cached_write, cost)
        return Called(self._id, at, self._agent, self._room, self.model.name, *used, cut=stop is None)


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


def _all_said(told: list[LlmError]) -> str:
    """The fault of the model that was asked for, then those of its fallbacks."""
    first, *others = (str(error).rstrip(".") for error in told)
    return f"{first}. Nor did a fallback answer: {'; '.join(others)}." if others else str(told[0])


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
