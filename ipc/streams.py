"""The caller's side of a stream: an async iterator whose reading speed is the producer's."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from typing import Any, Protocol

from ipc import wire
from ipc.errors import CallTimeout, IpcError, LocalProtocolError, RemoteProtocolError
from ipc.feed import Feed
from ipc.serving import CHUNK_COST

CREDIT = 256 * 1024  # bytes of chunks that may be on their way


class Opener(Protocol):
    """What a stream needs of its peer."""

    def send_now(self, message: wire.ToBus, payload: bytes | None = None) -> None: ...

    async def send(self, message: wire.ToBus, payload: bytes | None = None) -> None: ...

    def add_stream(self, stream: Stream) -> int: ...

    def drop_stream(self, stream: Stream) -> None: ...

    def abandon(self, number: int) -> None: ...


def _late(stream: weakref.ref[Stream]) -> None:
    alive = stream()
    if alive is not None:
        alive.late()


class Stream:
    """`async with peer.stream(...) as chunks: async for chunk in chunks`. Leaving the block cancels the producer.

    Iterating raises PeerDown, CallTimeout (after `timeout` seconds for the whole stream), RemoteError, Forbidden,
    Overloaded.
    """

    def __init__(self, peer: Opener, target: str, method: str, timeout: float, payload: bytes) -> None:
        self.id = -1
        self._peer = peer
        self._target = target
        self._method = method
        self._timeout = timeout
        self._payload = payload
        self._feed: Feed[bytes] = Feed()
        self._consumed = 0
        self._credit = CREDIT  # what the producer may still send
        self._ended = False  # the producer is known to have ended
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Stream:
        if self.id >= 0:
            raise LocalProtocolError(f"stream {self._target}.{self._method} was used before: make a new one")
        self.id = self._peer.add_stream(self)
        self._loop = asyncio.get_running_loop()
        # The timer must not keep what nobody reads any more.
        self._timer = self._loop.call_later(self._timeout, _late, weakref.ref(self))
        opening = wire.Open(self.id, self._target, self._method, int(self._timeout * 1000), CREDIT)
        try:
            await self._peer.send(opening, self._payload)
        except BaseException:  # raised again: only that it is over is noted
            self._ended = True
            self._close()
            raise
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._peer.drop_stream(self)
        if not self._ended:
            self._ended = True
            try:
                self._peer.send_now(wire.Cancel(self.id))
            except IpcError:
                return  # no bus, so no producer either: it was cancelled with the connection

    def __del__(self) -> None:
        if not self._ended and self._loop is not None:
            if self._timer is not None:
                self._timer.cancel()
            with contextlib.suppress(RuntimeError):  # the loop is closed, and with it the connection
                self._loop.call_soon_threadsafe(self._peer.abandon, self.id)

    def late(self) -> None:
        """Its time is over (called by the timer)."""
        self.fail(CallTimeout(self._target, self._method, self._timeout), ended=False)

    def push(self, payload: bytes | None) -> None:
        """A chunk arrived (called by the peer)."""
        if self._credit <= 0:
            if not self._ended:
                self.fail(RemoteProtocolError(f"{self._target}.{self._method} sends more than it was given credit for"))
                with contextlib.suppress(IpcError):
                    self._peer.send_now(wire.Cancel(self.id))
            return
        self._credit -= len(payload or b"") + CHUNK_COST
        self._feed.put(payload or b"")

    def end(self) -> None:
        """The producer is done (called by the peer)."""
        self._ended = True
        self._feed.end()

    def fail(self, error: IpcError, ended: bool = True) -> None:
        """The stream is broken. Chunks that arrived are still given (called by the peer)."""
        self._ended = self._ended or ended
        self._feed.fail(error)

    def __aiter__(self) -> Stream:
        if self.id < 0:
            raise LocalProtocolError("a stream is opened with `async with`, so that leaving it cancels the producer")
        return self

    async def __anext__(self) -> Any:
        payload = await self._feed.take()
        self._consumed += len(payload) + CHUNK_COST
        if self._consumed >= CREDIT // 2 and not self._ended:
            amount, self._consumed = self._consumed, 0
            self._credit += amount
            with contextlib.suppress(IpcError):  # the bus went away: the chunks that arrived are still given
                self._peer.send_now(wire.Credit(self.id, amount))
        return wire.unpack(payload)
