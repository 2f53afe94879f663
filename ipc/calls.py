"""The caller's side of a peer: calls and streams that were asked and are not answered yet.

Knows requests, answers and deadlines; the connection and what it is told belong to `peer`, one stream to `streams`.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from ipc import wire
from ipc.errors import (
    CallTimeout,
    Forbidden,
    IpcError,
    LocalProtocolError,
    Overloaded,
    PeerDown,
    RemoteError,
    RemoteProtocolError,
)
from ipc.outbox import Outbox
from ipc.serving import NOT_IDEMPOTENT, inherited
from ipc.streams import Stream

_PAUSE = 0.02  # seconds between the attempts of a call that is sent again; doubles each time
_LONGEST_PAUSE = 0.5


def name_of(text: str) -> str:
    """A name, method, topic or pattern as the wire takes it. Raises LocalProtocolError."""
    # The bus would take anything else for garbage and cut the connection, with everything in flight.
    if not isinstance(text, str) or not 0 < len(text) <= 255 or not text.encode("utf-8", "ignore").decode() == text:
        raise LocalProtocolError(f"{text!r} must be text of 1 to 255 characters")
    return text


def milliseconds(timeout: float) -> int:
    """A timeout in seconds as the wire takes it. Raises LocalProtocolError."""
    if not 0 <= timeout <= 1e9:
        raise LocalProtocolError(f"timeout {timeout!r} must be seconds from 0 to 1e9")
    return int(timeout * 1000)


def error_of(failed: wire.Failed) -> IpcError:
    """What the bus's refusal is for the caller."""
    if failed.code == "peer_down":
        return PeerDown(failed.name, failed.text, failed.sent)
    if failed.code == "overloaded":
        return Overloaded(failed.text)
    if failed.code == "forbidden":
        return Forbidden(failed.text)
    return IpcError(f"{failed.code}: {failed.text}")


def _inherited(target: str, method: str, timeout: float) -> float:
    """`timeout`, or what is left for the request that is being handled here. Raises CallTimeout when that is nothing."""
    left = inherited()
    if left is None or left >= timeout:
        return timeout
    if left <= 0.0:
        raise CallTimeout(target, method, left)
    return left


class Calls:
    """What one peer waits for. `check` raises when the peer may not be used here and now."""

    def __init__(self, out: Outbox, ids: Iterator[int], check: Callable[[], None]) -> None:
        self._out = out
        self._ids = ids
        self._check = check
        self._pending: dict[int, asyncio.Future[bytes | None]] = {}
        self._streams: weakref.WeakValueDictionary[int, Stream] = weakref.WeakValueDictionary()
        self._failing: tuple[asyncio.TimerHandle, list[asyncio.Future[Any]], list[Stream]] | None = None

    async def call(self, target: str, method: str, timeout: float, params: dict[str, Any], retry: bool) -> Any:
        """Send a call and wait for its answer, again if it may be. Raises what `Peer.call` raises."""
        milliseconds(timeout)
        timeout = _inherited(target, method, timeout)
        payload = wire.pack(params)
        if not retry:
            return await self._once(target, method, timeout, payload, 1)
        loop = asyncio.get_running_loop()
        until, pause, attempt = loop.time() + timeout, _PAUSE, 1
        failure: PeerDown | None = None
        while True:
            try:
                return await self._once(target, method, max(0.0, until - loop.time()), payload, attempt)
            except PeerDown as down:
                if failure is None or down.sent:  # once it may have run, "it was not sent" is no longer the whole truth
                    failure = down
                attempt += down.sent  # what was never given to anybody was no attempt
            except RemoteError as error:
                if error.type == NOT_IDEMPOTENT and failure is not None:
                    raise failure from None  # it was not run again: what is known is still the first failure
                raise
            if loop.time() + pause >= until:
                raise failure
            await asyncio.sleep(pause)  # the target is being started again; nothing says when it is there
            pause = min(2 * pause, _LONGEST_PAUSE)
            self._check()

    async def _once(self, target: str, method: str, timeout: float, payload: bytes, attempt: int) -> Any:
        loop = asyncio.get_running_loop()
        call = wire.Call(next(self._ids), name_of(target), name_of(method), milliseconds(timeout), attempt)
        await self._out.pace()
        number = call.id
        future: asyncio.Future[bytes | None] = loop.create_future()
        self._pending[number] = future
        timer = loop.call_later(timeout, self._late, number, target, method, timeout)
        try:
            if self._out.crowded():
                await self._in_time(self._out.ready(payload), target, method, timeout)
            await self._out.send(call, payload)
            answer = await future
        finally:
            timer.cancel()
            if self._pending.pop(number, None) is not None:
                self._out.quietly(wire.Cancel(number))
            if future.done() and not future.cancelled():
                future.exception()  # read here: when sending failed nobody awaited it
        return wire.unpack(answer)

    @staticmethod
    async def _in_time(waiting: Awaitable[None], target: str, method: str, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await waiting
        except TimeoutError:
            raise CallTimeout(target, method, timeout) from None

    def _late(self, number: int, target: str, method: str, timeout: float) -> None:
        pending = self._pending.get(number)
        if pending is not None and not pending.done():
            pending.set_exception(CallTimeout(target, method, timeout))

    def stream(self, target: str, method: str, timeout: float, params: dict[str, Any]) -> Stream:
        """A stream that is not open yet."""
        milliseconds(timeout)
        timeout = _inherited(target, method, timeout)
        return Stream(self, name_of(target), name_of(method), timeout, wire.pack(params))

    # What a stream needs

    def send_now(self, message: wire.ToBus, payload: bytes | None = None) -> None:
        """Queue a message. Raises PeerDown("bus")."""
        self._out.send_now(message, payload)

    async def send(self, message: wire.ToBus, payload: bytes | None = None) -> None:
        """Queue a message when there is room for it."""
        await self._out.send(message, payload)

    def add_stream(self, stream: Stream) -> int:
        """A number for a stream that opens."""
        self._check()
        number = next(self._ids)
        self._streams[number] = stream
        return number

    def drop_stream(self, stream: Stream) -> None:
        """Forget a stream."""
        self._streams.pop(stream.id, None)

    # What the bus answers

    def result(self, result: wire.Result, payload: bytes | None) -> None:
        """A call is answered."""
        pending = self._pending.pop(result.id, None)
        if pending is not None and not pending.done():
            pending.set_result(payload)

    def error(self, error: wire.Error, payload: bytes | None) -> None:
        """The handler of a call or stream raised."""
        try:
            data = wire.unpack_map(payload)
        except RemoteProtocolError:
            data = {}
        self.fail(error.id, RemoteError(error.type, error.message, data))

    def fail(self, number: int, error: IpcError) -> None:
        """A call or stream ends with an error."""
        pending = self._pending.pop(number, None)
        if pending is not None and not pending.done():
            pending.set_exception(error)
        stream = self._streams.pop(number, None)
        if stream is not None:
            stream.fail(error)

    def chunk(self, chunk: wire.Chunk, payload: bytes | None) -> None:
        """One item of a stream."""
        stream = self._streams.get(chunk.id)
        if stream is not None:
            stream.push(payload)

    def abandon(self, number: int) -> None:
        """A stream was forgotten without leaving its block: nobody will read it."""
        self._out.quietly(wire.Cancel(number))

    def end(self, end: wire.End, _payload: bytes | None) -> None:
        """A stream is complete."""
        stream = self._streams.pop(end.id, None)
        if stream is not None:
            stream.end()

    # The end of the connection

    def drop(self, error: IpcError, also: list[asyncio.Future[None]], after: float) -> None:
        """Fail everything that waits for the bus, and `also` these, in `after` seconds."""
        waiting: list[asyncio.Future[Any]] = [*self._pending.values(), *also]
        streams = list(self._streams.values())
        self._pending = {}
        self._streams.clear()
        if after:
            handle = asyncio.get_running_loop().call_later(after, self._fail_all, waiting, streams, error)
            self._failing = (handle, waiting, streams)
            return
        if self._failing is not None:  # closed within the delay: nobody may be left waiting
            handle, late, broken = self._failing
            handle.cancel()
            waiting, streams = waiting + late, streams + broken
        self._fail_all(waiting, streams, error)

    def _fail_all(self, waiting: list[asyncio.Future[Any]], streams: list[Stream], error: IpcError) -> None:
        self._failing = None
        for future in waiting:
            if not future.done():
                future.set_exception(error)
        for stream in streams:
            stream.fail(error)
