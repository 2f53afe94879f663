"""The way to one provider, shared by all agents: a fair line, tries, and a breaker around the adapter.

The decisions are pure (`queueing`, `breaker`, `limits`); here are the clock, the tasks and the order of the steps. What
a provider speaks is its adapter's business. A lane outlives its adapter: when a key or an address changes, the calls
that wait go to the new one, and those that run end with the old.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from egghead.clock import utc_now
from egghead.llm import breaker as fuse
from egghead.llm import queueing
from egghead.llm.catalog import Catalog
from egghead.llm.errors import (
    AuthFailed,
    LlmError,
    OutOfCredit,
    Overloaded,
    ProviderTimeout,
    ProxyRefused,
    RateLimited,
    Transient,
    Unreachable,
    Untrusted,
)
from egghead.llm.limits import Limits, told_by
from egghead.llm.provider import Model, Provider
from egghead.llm.shapes import Event, Request, Stop, Waiting, estimate_input

logger = logging.getLogger("egghead.llm")

# Of the provider or the way to it, not of the request or the configuration.
DOWN = (Transient, ProviderTimeout, OutOfCredit, Untrusted, ProxyRefused)
LONGEST_PAUSE = 3600.0  # seconds that a provider is believed when it says how long it takes nothing
TELL_AFTER = 1.0  # seconds until a call that waits says so
TELL_EVERY = 2.0  # seconds between two tellings of one's place in the line
LONGER = 1.0  # seconds by which the end of a wait has moved when it is told anew
WHY = {
    queueing.REFUSED: "it takes no more requests now",
    queueing.SPENT: "what it said is left of its limits is used up",
    queueing.MINUTES: "its `limits` allow no more in a minute",
    queueing.BEHIND: "other calls are before it",
}


@runtime_checkable
class Telling(Protocol):
    """An adapter whose provider says what is left of its limits: `told` is called with the headers of each answer, and the
    model that was asked."""

    told: Callable[[Mapping[str, str], str], None] | None


@dataclass
class _Waiter:
    turn: asyncio.Future[None]
    ask: queueing.Ask
    tokens: int | None = None


@dataclass
class _Fault:
    error: LlmError
    at: float = field(default_factory=time.time)


class Lane:
    """A provider behind its line. `complete` raises what the adapter raises once tries are used up; Overloaded when too
    many wait, and the error that opened it while the breaker is open."""

    def __init__(self, provider: Provider, limits: Limits | None = None) -> None:
        self.provider = provider
        self._ids = itertools.count(1)
        self._waiters: dict[int, _Waiter] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._random = random.Random()
        self._retired = False
        self._calls = 0
        self._users: Counter[int] = Counter()  # adapter, by its id(): calls that it serves now
        self._old: dict[int, Provider] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self.fault: _Fault | None = None
        self.catalog = Catalog(lambda: self.provider.list_models())
        self._set(provider, limits or Limits())
        self._queue = queueing.Queue(self.limits.bounds())
        self._fuse = fuse.Breaker(self.limits.patience())

    @property
    def name(self) -> str:
        return self.provider.name

    def models(self) -> Sequence[Model]:
        return self.provider.models()

    async def list_models(self) -> Sequence[Model]:
        """What the provider says of its models, some hours old at most. Raises LlmError."""
        return await self.catalog.list_models()

    def renew(self, provider: Provider, limits: Limits | None = None) -> None:
        """Take another adapter, made of a changed configuration. Who waits goes to it; who runs ends with the old one."""
        old = self.provider
        self._set(provider, limits or Limits())
        self._queue = queueing.Queue(self.limits.bounds(), self._queue.waiting, self._queue.running, self._queue.begun)
        self._fuse = fuse.Breaker(self.limits.patience())
        self.fault = None
        self.catalog.forget()
        if self._users[id(old)]:
            self._old[id(old)] = old
        else:
            self._close(old)
        if self._waiters:
            self._happen(queueing.Tick())

    def retire(self) -> None:
        """Nobody new comes; the adapter is closed when the last call has ended."""
        self._retired = True
        if self.idle:
            self._close(self.provider)

    @property
    def idle(self) -> bool:
        """Whether no call waits, runs or is between two tries."""
        return not self._calls

    async def complete(self, request: Request, model: str, until: float = math.inf) -> AsyncGenerator[Event, None]:
        """One completion, in its turn. `until` (on the monotonic clock) is when the caller leaves. Tells `Waiting` while
        it waits. What passes is tried again until something of the answer has come."""
        ask = queueing.Ask(
            next(self._ids), request.agent, _now(), until,
            estimate_input(request) if self._queue.counts else 0, model,
        )  # fmt: skip
        self._calls += 1
        tries, begun = 0, False
        try:
            while True:
                async with aclosing(self._turn(ask, again=tries > 0)) as telling:
                    async for told in telling:
                        yield told
                tokens: int | None = None
                provider = self.provider
                self._users[id(provider)] += 1
                done: queueing.Event | None = None
                try:
                    async with aclosing(provider.complete(request, model)) as events:
                        async for event in events:
                            if not begun:
                                begun = True
                                self._blow(fuse.Event.FINE)
                            if isinstance(event, Stop):
                                tokens = event.usage.input + event.usage.output + event.usage.cached_write
                            yield event
                    done = queueing.Done(ask.id, tokens)
                    return
                except LlmError as error:
                    tries += 1
                    pause, failed = self._after(error, tries, begun), str(error)
                    if isinstance(error, RateLimited):
                        # All of its model wait: each trying again alone would be refused again.
                        wait = pause or error.after or self.limits.backoff
                        done = queueing.Limited(ask.id, min(wait, LONGEST_PAUSE))
                    if pause is None:
                        raise last(error, tries) from None
                    logger.warning("%s: %s; trying again in %.2f s", self.name, error, pause)
                finally:
                    # Also for a caller that left: whoever is next begins now.
                    if not begun and done is None:
                        self._blow(fuse.Event.LEFT)
                    self._happen(done or queueing.Left(ask.id, tokens))
                    self._users[id(provider)] -= 1
                    self._let_go(provider)
                if not isinstance(done, queueing.Limited):
                    if pause >= TELL_AFTER:
                        yield Waiting(self.name, 0, f"{failed}; it is tried again", utc_now(pause))
                    await asyncio.sleep(pause)  # the provider has trouble; who comes back at once makes it worse
        finally:
            self._calls -= 1
            if self._retired and self.idle:
                self._close(self.provider)

    async def aclose(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self.catalog.aclose()
        for provider in (self.provider, *self._old.values()):
            await provider.aclose()
        await asyncio.gather(*self._closing)

    def told(self) -> dict[str, Any]:
        """For people: `{breaker, again, running, waiting, places, paused, paused_models, error, error_at, limits}`;
        running and waiting by agent, seconds from now, the error's time on the wall clock."""
        now, queue = _now(), self._queue
        ahead = self._fuse.until - now
        most = min(queue.most, sum(pace.most for pace in queue.paces.values()) or math.inf)
        return {
            "breaker": self._fuse.state.value,
            "again": round(ahead, 1) if self._fuse.state is not fuse.State.CLOSED and 0 < ahead < math.inf else None,
            "needs_key": self._fuse.keyless,
            "running": dict(sorted(Counter(ask.agent for ask in queue.running.values()).items())),
            "waiting": {agent: len(line) for agent, line in queue.waiting.items()},
            "places": {agent: queueing.place(queue, line[0].id) for agent, line in queue.waiting.items()},
            "paused": round(queue.paused - now, 1) if queue.paused > now else None,
            "paused_models": {
                model: round(pace.paused - now, 1) for model, pace in queue.paces.items() if pace.paused > now
            },
            "at_once": int(most) if most < math.inf else None,
            "error": str(self.fault.error) if self.fault else None,
            "error_type": type(self.fault.error).__name__ if self.fault else None,
            "error_at": self.fault.at if self.fault else None,
            "limits": self.limits.shared(),
        }

    def close_breaker(self) -> None:
        """Somebody asked for a try of their own, whatever was before."""
        self._fuse = fuse.Breaker(self.limits.patience(), since=_now())

    # -- the line

    def _set(self, provider: Provider, limits: Limits) -> None:
        self.provider, self.limits = provider, limits
        if isinstance(provider, Telling):
            provider.told = lambda headers, model: self._hear(headers, model) if self.provider is provider else None

    async def _turn(self, ask: queueing.Ask, again: bool) -> AsyncGenerator[Event, None]:
        """Ends when the call may begin. Raises Overloaded, RateLimited, ProviderTimeout, or what the breaker was opened by."""
        self._check()
        waiter = self._waiters[ask.id] = _Waiter(asyncio.get_running_loop().create_future(), ask)
        passed = False
        try:
            self._happen(queueing.Asked(ask, again))
            told, end, shown, pause = None, 0.0, "", TELL_AFTER
            while not waiter.turn.done():
                await asyncio.wait({waiter.turn}, timeout=pause)
                pause = TELL_EVERY
                if (place := queueing.place(self._queue, ask.id)) is None:
                    continue
                why, until = queueing.hindrance(self._queue, ask, _now())
                moved = abs((until or 0.0) - end) > LONGER
                if moved:
                    end, shown = until or 0.0, utc_now(until - _now()) if until is not None else ""
                if moved or (place, why) != told:
                    told = (place, why)
                    yield Waiting(self.name, place, WHY[why], shown)
            waiter.turn.result()
            self._check()  # it may have gone down while this call waited
            if self._fuse.state is not fuse.State.CLOSED:
                self._blow(fuse.Event.DUE)
            passed = True
        finally:
            del self._waiters[ask.id]
            if not passed:
                self._happen(queueing.Left(ask.id))

    def _happen(self, event: queueing.Event) -> None:
        self._queue, actions = queueing.decide(self._queue, event, _now())
        for action in actions:
            waiter = self._waiters.get(action.id)
            if waiter is None or waiter.turn.done():
                continue
            if isinstance(action, queueing.Start):
                waiter.turn.set_result(None)
            else:
                waiter.turn.set_exception(self._refusal(action.why, waiter.ask))
                waiter.turn.exception()  # its caller may have gone in this moment: then nobody reads it
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = queueing.wake(self._queue, _now())
        if at is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, at - _now()), self._happen, queueing.Tick())

    def _refusal(self, why: str, ask: queueing.Ask) -> LlmError:
        waited = _now() - ask.since
        if why == queueing.LATE:
            return ProviderTimeout(
                f"{self.name} had no turn for this within {waited:.0f} s: {self._queue.length} calls wait for it; "
                "`egghead llm list` shows whose. Ask again later, or raise its `limits`"
            )
        if why == queueing.FULL:
            return Overloaded(
                f"too many calls wait for {self.name} ({self._queue.length} in all, "
                f"{len(self._queue.waiting.get(ask.agent, ()))} of {ask.agent or 'this caller'}); ask again later"
            )
        seconds = max(0.0, self._queue.pause(ask.model) - _now())
        return last(RateLimited(f"{self.name} takes no more requests now", seconds), 1)

    def _hear(self, headers: Mapping[str, str], model: str) -> None:
        for told in told_by(headers, time.time()):
            self._happen(replace(told, model=model))

    # -- tries and the breaker

    def _after(self, error: LlmError, tries: int, begun: bool) -> float | None:
        """Note a failure. Seconds until the call is tried again; None: it is not."""
        self.fault = _Fault(error)
        if isinstance(error, AuthFailed) and error.key:
            self._blow(fuse.Event.KEY)
        elif isinstance(error, DOWN) and not isinstance(error, RateLimited):
            self._blow(fuse.Event.DOWN)
        elif not begun:
            self._blow(fuse.Event.FINE)  # it answered, be it with a refusal
        if begun or not isinstance(error, Transient) or self._fuse.shut(_now()):
            return None
        return self.limits.pause(tries, error.after, self._random.random())

    def _blow(self, event: fuse.Event) -> None:
        before = self._fuse
        self._fuse = fuse.decide(before, event, _now())
        if self._fuse.state is before.state:
            return
        logger.log(
            logging.INFO if self._fuse.state is not fuse.State.OPEN else logging.WARNING,
            "%s: breaker %s%s", self.name, self._fuse.state.value, f": {self.fault.error}" if self.fault else "",
        )  # fmt: skip
        if self._fuse.shut(_now()):
            for waiter in self._waiters.values():
                if not waiter.turn.done():
                    waiter.turn.set_exception(self._shut())
                    waiter.turn.exception()

    def _check(self) -> None:
        if self._fuse.shut(_now()):
            raise self._shut()

    def _shut(self) -> LlmError:
        why = self.fault.error if self.fault else Unreachable(f"{self.name} does not answer")
        if self._fuse.keyless or isinstance(why, AuthFailed):
            return AuthFailed(str(why), self._fuse.keyless)
        seconds = max(1.0, self._fuse.until - _now())
        text = (
            f"{str(why).rstrip('.')}; it failed {self._fuse.most} times in a row and is tried again in {seconds:.0f} s"
        )
        return type(why)(text) if isinstance(why, DOWN) else Unreachable(text)

    # -- adapters that were replaced

    def _let_go(self, provider: Provider) -> None:
        if not self._users[id(provider)]:
            del self._users[id(provider)]
            if (old := self._old.pop(id(provider), None)) is not None:
                self._close(old)

    def _close(self, provider: Provider) -> None:
        task = asyncio.ensure_future(provider.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _now() -> float:
    return time.monotonic()


def last(error: LlmError, tries: int) -> LlmError:
    """The error that is told: how often it was tried, and how long the provider wants us to wait."""
    if not isinstance(error, Transient):
        return error
    facts = [f"tried {tries} times"] if tries > 1 else []
    if error.after is not None and error.after >= 1:
        facts.append(f"it asks to wait {error.after:.0f} s")
    return type(error)(f"{error} ({', '.join(facts)})", error.after) if facts else error
