"""What the process `llm` serves: completions, streamed and counted, and what is known of models and of their use.

A caller may name no agent but itself; a caller that goes away closes the stream, and with it the provider's work. Every
call is counted here, because here is where all of them pass. Which provider answers to a name is the business of
`registry`, what a day may cost that of `purse`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import asdict
from typing import Any

import msgspec

from egghead.clock import utc_now
from egghead.llm import looking
from egghead.llm.errors import LlmError, LocalDown
from egghead.llm.holding import most_of
from egghead.llm.lane import DOWN, TELL_AFTER, Lane
from egghead.llm.ledger import Ledger
from egghead.llm.models import cost
from egghead.llm.provider import Model
from egghead.llm.purse import Purse
from egghead.llm.registry import Registry
from egghead.llm.shapes import (
    Event,
    ProviderTool,
    Request,
    StandIn,
    Stop,
    Usage,
    Waiting,
    event_data,
    request_from,
    without_thoughts,
)
from egghead.llm.usage import Called
from egghead.rooms.ulid import ulid
from ipc import Call, IpcError, Refused

logger = logging.getLogger("egghead.llm")


HELD = "what is left of the day's limit is held for the calls that run"
Granted = Callable[[str], Awaitable[list[dict[str, Any]]]]


class Gateway:
    """What the process serves, without the process: tests drive it with a call of their own."""

    def __init__(
        self,
        registry: Registry,
        purse: Purse | None = None,
        configured: Callable[[], dict[str, Any]] = dict,
        granted: Granted | None = None,
    ) -> None:
        """`configured`: what is told of the configuration that the registry is made of. `granted`: which tools of a provider
        an agent may use at this moment; without it none may be used."""
        self.registry = registry
        self._granted = granted
        self._configured = configured
        self.purse = purse or Purse(Ledger(None))
        self.changed = asyncio.Event()
        self.purse.changed = self.changed.set
        self.running: dict[str, int] = {}  # caller -> streams open
        self.waits: dict[int, dict[str, Any]] = {}  # call -> whose it is, where, and what it waits for
        self._ids = itertools.count(1)
        self.rested: Callable[[], object] = lambda: None  # called when the last stream has ended

    def methods(self) -> dict[str, Callable[..., Any]]:
        """Name -> handler."""
        return {
            "complete": self.complete,
            "models": self.models,
            "usage": self.usage,
            "paused": self.paused,
            "providers": self.providers,
            "known": self.known,
            "unusable": self.unusable,
            "test": self.test,
        }

    async def complete(self, call: Call, request: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Streams the events of one completion. Refused: BadRequest, UnknownProvider, UnknownModel, ProviderMissing,
        LimitReached, and what the provider says.

        A provider that is down or over its limit before anything was said: the request's `fallback` is tried in order.
        When none of them answers, the refusal is the first one's, and says what the others said.
        """
        parsed, first = self._open(call, request)
        parsed = await self._allowed(call, parsed)
        self.running[call.caller] = self.running.get(call.caller, 0) + 1
        told: list[LlmError] = []
        waits = next(self._ids)
        try:
            for provider, model in self._ways(parsed, first, told):
                heard = False
                try:
                    asked = without_thoughts(parsed) if told else parsed
                    # aclosing: a caller that leaves closes the provider's stream now, not when it is collected.
                    async with (
                        self._held(call, asked, self.registry.model(provider, model)) as turn,
                        aclosing(self._answer(call, asked, provider, model, turn)) as events,
                    ):
                        async for event in events:
                            self._wait(waits, parsed, event)
                            if not heard and not isinstance(event, Waiting):
                                heard = True
                                if told:
                                    yield event_data(_stand_in(first, provider, model, told))
                            yield event_data(event)
                    return
                except LlmError as error:
                    if heard or not (told or isinstance(error, (*DOWN, LocalDown))):
                        raise
                    told.append(error)
                    kind = f"{provider.name}/{model}: {type(error).__name__}"
                    logger.warning("%s turn %s: %s: %s", call.caller, parsed.turn or "-", kind, error)
            raise Refused(type(told[0]).__name__, _all_said(told))
        except LlmError as error:
            logger.warning("%s turn %s: %s: %s", call.caller, parsed.turn or "-", type(error).__name__, error)
            raise _refused(error) from None
        finally:
            self.waits.pop(waits, None)
            self.running[call.caller] -= 1
            if not self.running[call.caller]:
                del self.running[call.caller]
            if not self.running:
                self.rested()

    def _wait(self, id: int, request: Request, event: Event) -> None:
        """Note that a call waits, or that it does not any more."""
        if isinstance(event, Waiting):
            self.waits[id] = {"agent": request.agent, "room": request.room, **event_data(event)}
        else:
            self.waits.pop(id, None)

    def _held(
        self, call: Call, request: Request, model: Model
    ) -> AbstractAsyncContextManager[asyncio.Future[None] | None]:
        """What this call may use, held back from the limits of the day while it runs; the future is done when it may, None:
        at once. Entering raises LimitReached."""
        if not self.purse.binds(spender := _spender(call)):
            return nullcontext()
        return self.purse.hold(spender, most_of(request, model))

    async def _answer(
        self, call: Call, request: Request, provider: Lane, model: str, turn: asyncio.Future[None] | None
    ) -> AsyncGenerator[Event, None]:
        """One model's answer, counted; it begins at its `turn`."""
        if turn is not None:
            soon = min(TELL_AFTER, max(0.0, call.until - asyncio.get_running_loop().time()))
            if not (await asyncio.wait({turn}, timeout=soon))[0]:
                yield Waiting(provider.name, 0, HELD)
            await self.purse.admitted(turn, call.until)
        account = _Account(self.purse, call, request, self.registry.model(provider, model))
        started = asyncio.get_running_loop().time()
        try:
            async with aclosing(provider.complete(request, model, call.until)) as events:
                async for event in events:
                    if isinstance(event, Waiting):
                        yield event
                        continue
                    if isinstance(event, Stop):
                        if account.model.window is None:
                            provider.catalog.refresh()  # the next call of this model may know how much it holds
                        event = _priced(event, account.model)
                        # Before the agent hears that it is over: then it is counted, whatever dies.
                        account.close(event)
                        await self.purse.durable()
                    account.begin()
                    yield event
                    if isinstance(event, Stop):
                        _note(call, request, event, asyncio.get_running_loop().time() - started)
        finally:
            account.close(None)

    def _ways(self, request: Request, first: tuple[Lane, str], told: list[LlmError]) -> Iterator[tuple[Lane, str]]:
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

    async def unusable(self, call: Call, models: list[str]) -> dict[str, str]:
        """Of these names of models ("": the default) those that cannot be asked, each with why and what to do."""
        found: dict[str, str] = {}
        for name in map(str, models):
            try:
                self.registry.resolve(name)
            except LlmError as error:
                found[name] = str(error)
        return found

    async def providers(self, call: Call) -> dict[str, Any]:
        """Every provider, its key's source, its line and its breaker, and which calls have waited for longer than a moment:
        `{providers, default, config, waits: [{agent, room, provider, place, why, until}]}`; no key."""
        waits = list(self.waits.values())
        return {**await looking.providers(self.registry), "config": self._configured(), "waits": waits}

    async def known(self, call: Call, provider: str | None = None) -> dict[str, Any]:
        """The models of a provider, or of all: `{models, faults}`; what its models endpoint says wins over the table."""
        return await looking.known(self.registry, provider)

    async def test(self, call: Call, provider: str, model: str | None = None) -> dict[str, Any]:
        """One tiny completion: see `looking.test`. Refused with what the provider says."""
        try:
            return await looking.test(self.registry, provider, model)
        except LlmError as error:
            raise _refused(error) from None

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
        await self.purse.durable()  # calls that were cut

    def _open(self, call: Call, request: dict[str, Any]) -> tuple[Request, tuple[Lane, str]]:
        try:
            parsed = request_from(request)
            first = self.registry.resolve(parsed.model)
            self.purse.check(spender := _spender(call))
        except LlmError as error:
            raise _refused(error) from None
        # An agent may not spend, or be heard, in another's name; usage is counted by the name that the bus stamps.
        if call.caller.startswith("agents/") and parsed.agent and parsed.agent != spender:
            raise Refused("BadRequest", f"{call.caller!r} asked for a completion in the name of {parsed.agent!r}")
        # Turns are given by the name that the bus stamps, too: nobody gets two of them by leaving the name out.
        return msgspec.structs.replace(parsed, agent=spender), first

    async def _allowed(self, call: Call, request: Request) -> Request:
        """The request with those of the provider's tools that its sender may use, and scoped as its grants say, whatever it
        says itself: an agent's word is no authority."""
        if not request.provider_tools:
            return request
        asked, granted = {tool.name for tool in request.provider_tools}, list[ProviderTool]()
        if self._granted is not None and call.caller.startswith("agents/"):
            try:
                granted = msgspec.convert(await self._granted(_spender(call)), list[ProviderTool])
            except (IpcError, msgspec.ValidationError) as error:  # who cannot be asked allows nothing
                logger.warning("%s: its grants are not known, so no provider's tools for it: %s", call.caller, error)
        allowed = [tool for tool in granted if tool.name in asked]
        if len(allowed) < len(asked):
            logger.warning("%s asked for %s and may use %s", call.caller, sorted(asked), [t.name for t in allowed])
        return msgspec.structs.replace(request, provider_tools=allowed)


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
        used = (usage.input, usage.output, usage.cached_read, usage.cached_write, cost)
        return Called(self._id, utc_now(), self._agent, self._room, self.model.name, *used, cut=stop is None)


def _priced(stop: Stop, model: Model) -> Stop:
    """What the agent needs to count its context and its money."""
    return Stop(stop.reason, stop.usage, model.name, model.window, cost(model, stop.usage))


def _all_said(told: list[LlmError]) -> str:
    """The fault of the model that was asked for, then those of its fallbacks."""
    first, *others = (str(error).rstrip(".") for error in told)
    return f"{first}. Nor did a fallback answer: {'; '.join(others)}." if others else str(told[0])


def _stand_in(first: tuple[Lane, str], provider: Lane, model: str, told: list[LlmError]) -> StandIn:
    return StandIn(f"{first[0].name}/{first[1]}", f"{provider.name}/{model}", str(told[0]))


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
