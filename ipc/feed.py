"""What arrives on the loop and is read by one coroutine: a queue that can end or break.

The one place where a reader waits for news; what the items are, and what may be dropped, belongs to the owners.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from ipc.errors import LocalProtocolError

T = TypeVar("T")


class Feed(Generic[T]):
    """Items in order, then an end or an error. Items that arrived before are always given first."""

    __slots__ = ("_ended", "_error", "_items", "_waiter")

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._error: Exception | None = None
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> None:
        """Add an item."""
        self._items.append(item)
        self._wake()

    def pop(self) -> T:
        """The next item, which must be there."""
        return self._items.popleft()

    def clear(self) -> None:
        """Forget what was not read."""
        self._items.clear()

    def end(self) -> None:
        """Nothing will come any more."""
        self._ended = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """Nothing will come any more, because of `error`. The first error stays."""
        if self._error is None:
            self._error = error
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self) -> T:
        """The next item. Raises the error, StopAsyncIteration at the end, LocalProtocolError when somebody waits already."""
        while not self._items:
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            if self._waiter is not None:
                # The second waiter would take the first one's place, and that one would wait for ever.
                raise LocalProtocolError(
                    "another task waits on this iterator already: one reader each, or share its items"
                )
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._items.popleft()
