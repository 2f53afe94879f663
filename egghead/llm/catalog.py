"""What a provider said of its models when it was last asked: kept for hours, asked for once at a time, never waited for by
a completion."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from egghead.llm.errors import LlmError
from egghead.llm.provider import Model

logger = logging.getLogger("egghead.llm")

FRESH = 6 * 3600.0  # seconds that an answer is kept
AGAIN = 900.0  # seconds after a failure until `refresh` asks again


class Catalog:
    """`known` is by the model's whole name. `list_models` asks when what is known is old; `refresh` does so behind the
    caller's back, and tells a failure to the log alone."""

    def __init__(
        self, ask: Callable[[], Awaitable[Sequence[Model]]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.known: Mapping[str, Model] = {}
        self._ask = ask
        self._clock = clock
        self._until = 0.0  # what is known is fresh till then
        self._quiet = 0.0  # nobody asks unasked before
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def list_models(self) -> Sequence[Model]:
        """What the provider says of its models, at most `FRESH` seconds old. Raises LlmError."""
        async with self._lock:
            if self._clock() >= self._until:
                told = await self._ask()
                self.known = {model.name: model for model in told}
                self._until = self._clock() + FRESH
            return tuple(self.known.values())

    def refresh(self) -> None:
        """See to it that something is known soon."""
        now = self._clock()
        if now >= max(self._until, self._quiet) and (self._task is None or self._task.done()):
            self._quiet = now + AGAIN
            self._task = asyncio.create_task(self._quietly(), name="models of a provider")

    async def _quietly(self) -> None:
        try:
            await self.list_models()
        except LlmError as error:
            logger.info("what the provider knows of its models stays unknown: %s", error)

    def forget(self) -> None:
        """The provider is another one now."""
        self.known, self._until, self._quiet = {}, 0.0, 0.0

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
