"""The provider `local`: the built-in librarian, and every model of the catalog, started when it is first used.

A model runs in a process of its own (`egghead.processes.model`), which this asks the supervisor for, talks to over a unix
socket, and stops when nobody has used it for a while or it was taken out of the catalog. A process that dies in the
middle takes the answers in progress with it and nothing else; one that had not begun to answer is asked once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from egghead.llm.errors import LocalDown, NoNotes, ProviderMissing, StreamBroken, UnknownModel, Unreachable
from egghead.llm.librarian import Librarian
from egghead.llm.limits import Limits
from egghead.llm.local import catalog
from egghead.llm.local.answer import LEFT_OUT, SOURCES, Citations, Said
from egghead.llm.local.small import Ask, Lookup, plan
from egghead.llm.provider import Model
from egghead.llm.shapes import Event, Request, Stop, Text, ToolUse, Usage, estimate_input
from egghead.paths import MAX_SOCKET_PATH

logger = logging.getLogger("egghead.llm")

IDLE = 900.0  # seconds without a call after which a model's process is stopped and its memory is free again
LOOK = 3.0  # seconds between two looks at what is idle, removed or changed, while any model runs
START = 620.0  # seconds that a start may take; the supervisor's own limit is 600
AGAIN = 0.1  # seconds between two looks at a process that is starting again
LIMITS = Limits()
# llama.cpp's samplers against saying the same for ever
CALM = {"repeat_penalty": 1.1, "repeat_last_n": 256, "dry_multiplier": 0.8, "dry_penalty_last_n": 1024}
MODULE = "xllamacpp"  # what the processes need, looked for and not loaded
INSTALL = "pip install 'egghead[local]'"


class Starter(Protocol):
    """How a model's process is started and stopped: the supervisor's answers, for a name of the catalog."""

    async def start(self, name: str, args: Mapping[str, Any]) -> str:
        """`running` when it can be used; `starting`, `parked`; or why it cannot be started, as a sentence."""
        ...

    async def stop(self, name: str) -> None: ...

    async def names(self) -> list[str]:
        """Those that there are, in whatever state."""
        ...


@dataclass
class _Running:
    """A process that we have seen ready. `shelved` is what it was started for."""

    shelved: catalog.Shelved
    wire: Any
    used: float
    busy: int = 0


class Local:
    """The provider. `directory`: the catalog; `sockets`: a directory for each model's socket; `starter` None: no model can be
    started here, and none is offered."""

    name = "local"

    def __init__(
        self,
        directory: Path | None = None,
        sockets: Path | None = None,
        starter: Starter | None = None,
        *,
        idle: float = IDLE,
        look: float = LOOK,
        module: str = MODULE,
    ) -> None:
        self._librarian = Librarian()
        self._directory, self._sockets, self._starter = directory, sockets, starter
        self._idle, self._look, self._module = idle, look, module
        self._running: dict[str, _Running] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._parked: dict[str, catalog.Shelved] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._known: tuple[int, dict[str, catalog.Shelved]] = (-1, {})

    # -- what there is

    def shelved(self) -> dict[str, catalog.Shelved]:
        """The catalog as it is now; read again when it has changed."""
        if self._directory is None or self._starter is None:
            return {}
        try:
            changed = self._directory.stat().st_mtime_ns
        except OSError:
            return {}
        if changed != self._known[0]:
            self._known = (changed, {one.name: one for one in catalog.listing(self._directory)})
        return self._known[1]

    def models(self) -> Sequence[Model]:
        return (*self._librarian.models(), *map(_model, self.shelved().values()))

    async def list_models(self) -> Sequence[Model]:
        return self.models()

    def states(self) -> dict[str, dict[str, Any]]:
        """Name -> {running, busy, idle in seconds}, for those that have been used."""
        now = time.monotonic()
        return {
            name: {"running": True, "busy": one.busy, "idle": round(now - one.used)}
            for name, one in self._running.items()
        }

    # -- a completion

    async def complete(self, request: Request, model: str) -> AsyncGenerator[Event, None]:
        shelved = self.shelved().get(model)
        if shelved is None:
            if model != "librarian":
                raise UnknownModel(f"there is no model 'local/{model}' any more; `egghead llm local list`")
            events = self._librarian.complete(request, model)
        elif shelved.settings.small:
            events = self._small(request, shelved)
        else:
            events = self._asked(request, shelved, {})
        async with aclosing(events):
            async for event in events:
                yield event

    async def _small(self, request: Request, shelved: catalog.Shelved) -> AsyncGenerator[Event, None]:
        if request.mode == "handoff":
            raise NoNotes(f"local/{shelved.name} is a small model and writes no notes")
        planned = plan(request, shelved.settings.window)
        if isinstance(planned, Lookup):
            for use in planned.uses:
                yield use
            yield Stop("tool_use", Usage(estimate_input(request), 0))
            return
        reading = _reading_call if planned.schema is not None else _reading_words
        async with aclosing(reading(planned, functools.partial(self._asked, shelved=shelved))) as events:
            async for event in events:
                yield event

    async def _asked(
        self, request: Request, shelved: catalog.Shelved, more: Mapping[str, Any]
    ) -> AsyncGenerator[Event, None]:
        """One answer of the model's process, started if need be. Dead before it said anything, it is asked once more."""
        from egghead.llm import openai_chat

        # With progress it writes after each batch of the prompt, and so sees that nobody reads any more.
        body = {**openai_chat.build(request, shelved.name), "return_progress": True, **more}
        for last in (False, True):
            running = await self._ready(shelved)
            running.busy += 1
            try:
                stream = running.wire.stream(
                    "chat/completions",
                    body,
                    lambda: openai_chat.Parser(shelved.name, "local"),
                    lambda status, data, after: openai_chat.failure("local", shelved.name, status, data, after),
                )
                async with aclosing(stream) as events:
                    async for event in events:
                        yield event
                return
            except (Unreachable, StreamBroken) as error:
                await self._lost(running)
                if last or isinstance(error, StreamBroken):
                    raise (StreamBroken if isinstance(error, StreamBroken) else LocalDown)(
                        f"the process of local/{shelved.name} went down while it answered ({error}); it is started again, and "
                        f"`egghead tree` says why it ended (models/{shelved.name})"
                    ) from None
                logger.warning("local/%s went down before it answered; asking again", shelved.name)
            finally:
                running.busy -= 1
                running.used = time.monotonic()

    # -- its process

    async def _ready(self, shelved: catalog.Shelved) -> _Running:
        """The running process of a model. Raises ProviderMissing or LocalDown with what is to be done."""
        name = shelved.name
        self._check(shelved)
        async with self._locks.setdefault(name, asyncio.Lock()):
            running = self._running.get(name)
            if running is not None and running.shelved == shelved:
                return running
            if running is not None:  # another file or window under the same name
                await self._stop(name)
            await self._start(shelved)
            running = _Running(shelved, self._wire(name), time.monotonic())
            self._running[name] = running
            if self._keeper is None or self._keeper.done():
                self._keeper = asyncio.create_task(self._keep(), name="local models")
            return running

    async def _start(self, shelved: catalog.Shelved) -> None:
        assert self._starter is not None
        settings = shelved.settings
        args = {"window": settings.window, "slots": settings.slots, "threads": settings.threads}
        began = time.monotonic()
        while (said := await self._starter.start(shelved.name, args)) != "running" or not await self._listens(
            shelved.name
        ):
            if said == "parked" and self._parked.setdefault(shelved.name, shelved) != shelved:
                del self._parked[shelved.name]
                await self._starter.stop(shelved.name)  # it was added anew, and is forgiven
                continue
            if said == "parked":
                raise LocalDown(
                    f"local/{shelved.name} crashed too often and is not started any more; `egghead tree` says why "
                    f"(models/{shelved.name}). `egghead llm local remove {shelved.name}` and add it again to try anew"
                )
            if said not in ("starting", "running"):
                if "path does not exist" in said:  # said by the jail, which was to show it
                    raise LocalDown(
                        f"the file of local/{shelved.name} is gone from {shelved.file!r}: bring it back, or "
                        f"`egghead llm local remove {shelved.name}` and add it from where it is now"
                    )
                raise LocalDown(
                    f"local/{shelved.name} cannot be started: {said} (`egghead logs` has llama.cpp's own words)"
                )
            if time.monotonic() - began > START:
                raise LocalDown(f"local/{shelved.name} was not ready after {START:.0f} s")
            await asyncio.sleep(AGAIN)  # nobody tells us when the supervisor has started it again
        logger.info("local/%s runs, ready after %.1f s", shelved.name, time.monotonic() - began)

    def _socket(self, name: str) -> str:
        assert self._sockets is not None
        return str(self._sockets / name / catalog.SOCKET)

    async def _listens(self, name: str) -> bool:
        """Whether somebody is behind the socket. The supervisor may not have heard yet that its process is dead."""
        from egghead.llm import net  # late, as in `_wire`

        try:
            (await net.unix(self._socket(name))).close()
        except OSError:
            return False
        return True

    def _wire(self, name: str) -> Any:
        from egghead.llm.wire import Wire  # late: httpx, which a node without such a model never loads

        return Wire(f"local/{name}", "http://local/v1", {}, None, LIMITS, uds=self._socket(name))

    def _check(self, shelved: catalog.Shelved) -> None:
        """Raises ProviderMissing for what can be told before a process is started."""
        name, path = shelved.name, self._socket(shelved.name)
        if shelved.fault:
            raise ProviderMissing(f"local/{name} cannot be used: {shelved.fault}")
        if importlib.util.find_spec(self._module) is None:
            raise ProviderMissing(f"local/{name} needs llama.cpp, which is not installed: {INSTALL}")
        if len(path.encode()) > MAX_SOCKET_PATH:
            raise ProviderMissing(
                f"the socket of local/{name} would have a path longer than {MAX_SOCKET_PATH} bytes ({path!r}): set "
                "XDG_RUNTIME_DIR to a shorter directory, or give the model a shorter name"
            )

    async def _lost(self, running: _Running) -> None:
        if self._running.get(running.shelved.name) is running:
            del self._running[running.shelved.name]
        with contextlib.suppress(Exception):  # its connections are broken in whatever way; they are let go of
            await running.wire.aclose()

    async def _stop(self, name: str) -> None:
        running = self._running.pop(name, None)
        if running is not None:
            await running.wire.aclose()
        assert self._starter is not None
        await self._starter.stop(name)

    async def _keep(self) -> None:
        """While any model runs: stop what is idle, and what the catalog has no more or has otherwise."""
        while self._running:
            await asyncio.sleep(self._look)
            now, there = time.monotonic(), self.shelved()
            for name, running in list(self._running.items()):
                wanted = there.get(name) == running.shelved
                if running.busy or (wanted and now - running.used < self._idle):
                    continue
                async with self._locks[name]:
                    if running.busy == 0 and self._running.get(name) is running:
                        logger.info("local/%s is stopped: %s", name, "idle" if wanted else "removed or changed")
                        await self._stop(name)

    async def adopt(self) -> None:
        """Stop processes that a life of ours before this one has started and whose model is no more; the others are found
        again when they are used, and stopped when they are not."""
        if self._starter is None:
            return
        there = self.shelved()
        for name in await self._starter.names():
            if name in there and not there[name].fault:
                with contextlib.suppress(ProviderMissing, LocalDown):
                    await self._ready(there[name])
            else:
                await self._starter.stop(name)

    async def aclose(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        for running in self._running.values():
            await running.wire.aclose()


def _model(shelved: catalog.Shelved) -> Model:
    settings = shelved.settings
    return Model(
        name=f"local/{shelved.name}",
        provider="local",
        window=settings.window,
        max_output=settings.window,
        input_price=0.0,
        output_price=0.0,
        cache_read_price=0.0,
        cache_write_price=0.0,
        tools=True,
        note=shelved.fault or f"on this machine: {shelved.title or shelved.architecture}",
    )


Asking = Callable[..., AsyncGenerator[Event, None]]


async def _reading_words(planned: Ask, ask: Asking) -> AsyncGenerator[Event, None]:
    """Plain words, with their citations checked."""
    cited = Citations(planned.given)
    spoke = False
    more = {**CALM, "stop": list(planned.stop)} if planned.stop else CALM
    async with aclosing(ask(planned.request, more=more)) as events:
        async for event in events:
            if isinstance(event, Text):
                if words := cited.feed(event.text):
                    spoke = spoke or bool(words.strip())
                    yield Text(words)
            elif isinstance(event, Stop):
                for words in _last(cited, planned, spoke):
                    yield Text(words)
                yield event


async def _reading_call(planned: Ask, ask: Asking) -> AsyncGenerator[Event, None]:
    """Words or one call out of the JSON that the schema holds it to. A call that was cut off is asked for again as words."""
    said, cited, spoke = Said(), Citations(planned.given), False
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": planned.schema}}
    stop = Stop("end_turn")
    async with aclosing(ask(planned.request, more={**CALM, "response_format": form})) as events:
        async for event in events:
            if isinstance(event, Text):
                if words := cited.feed(said.feed(event.text)):
                    spoke = spoke or bool(words.strip())
                    yield Text(words)
            elif isinstance(event, Stop):
                stop = event
    call = said.call()
    if call is not None:
        yield ToolUse("call", call[0], call[1])
        yield Stop("tool_use", stop.usage)
        return
    if not spoke and not said.ended:
        async with aclosing(_reading_words(planned, ask)) as events:
            async for event in events:
                yield event
        return
    for words in _last(cited, planned, spoke):
        yield Text(words)
    yield stop


def _last(cited: Citations, planned: Ask, spoke: bool) -> list[str]:
    """What is said at the end: what was held back; what the librarian found, when the model said nothing; and the truth about
    links that were taken out."""
    held = cited.finish()
    words = [held] if held else []
    if not spoke and not held.strip():
        words = [planned.extract] if planned.extract else []
    elif planned.sources and not cited.kept:
        words.append(f"\n\n{SOURCES} {', '.join(f'[[{id}]]' for id in planned.sources)}")
    return [*words, f"\n\n{LEFT_OUT}"] if cited.left_out else words
