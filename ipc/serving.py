"""The callee's side: running handlers for requests, streams with credit, and what their errors become.

Knows handlers and messages; sockets, reconnects and the caller's side are elsewhere.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from ipc import wire
from ipc.errors import IpcError, LocalProtocolError, Refused, RemoteProtocolError, TooBig
from ipc.seldom import seldom

log = seldom("ipc.peer")

CHUNK_COST = 64  # bytes that a chunk costs beyond its payload: empty chunks must use credit too

NOT_IDEMPOTENT = "NotIdempotent"
# Seconds after a deadline until the handler is cancelled here: its caller does that itself, unless it hangs.
_GRACE = 1.0

Handler = Callable[..., Any]
F = TypeVar("F", bound=Handler)


def shielded(handler: F) -> F:
    """Mark a handler that runs to its end although its caller stopped waiting (a write that must not be cut short)."""
    handler._ipc_shielded = True  # type: ignore[attr-defined]  # a mark on the function itself
    return handler


def idempotent(handler: F) -> F:
    """Mark a handler that may run twice for one call: `call(..., retry=True)` sends it again when its answer was lost."""
    handler._ipc_idempotent = True  # type: ignore[attr-defined]  # as above
    return handler


class Call:
    """Who asks, and how long they wait: the first argument of every handler."""

    __slots__ = ("caller", "incarnation", "method", "until")

    def __init__(self, caller: str, incarnation: int, method: str, until: float) -> None:
        self.caller = caller
        self.incarnation = incarnation
        self.method = method
        self.until = until  # on the monotonic clock

    def remaining(self) -> float:
        """Seconds left of the caller's deadline, 0.0 when it is over."""
        return max(0.0, self.until - time.monotonic())

    def __repr__(self) -> str:
        return f"Call({self.method!r} by {self.caller!r}, {self.remaining():.3f} s left)"


class Sender(Protocol):
    """How answers leave: `send` waits for room in the window; raises TooBig and PeerDown."""

    def send(self, message: wire.ToBus, payload: bytes | None = None) -> Awaitable[None]: ...


class _Job:
    """A request that is being handled. `credit`: bytes of chunks its reader still takes."""

    __slots__ = ("call", "credit", "more", "running", "shielded", "task")

    def __init__(self, call: Call, credit: int, shielded: bool) -> None:
        self.call = call
        self.task: asyncio.Task[None] | None = None
        self.credit = credit
        self.more: asyncio.Future[None] | None = None
        self.shielded = shielded
        self.running = True


_current: ContextVar[_Job | None] = ContextVar("ipc_current", default=None)


def inherited() -> float | None:
    """Seconds left for the request that is being handled here; None outside of one.

    A task that a handler started has the handler's deadline only until the handler has ended: it may be meant to live.
    A shielded handler goes on without its caller, so it passes no deadline on.
    """
    job = _current.get()
    return job.call.remaining() if job is not None and job.running and not job.shielded else None


class Server:
    """Runs exposed methods. One for each peer. `gone`: whether the bus of the requests is known to be dead."""

    def __init__(self, sender: Sender, gone: Callable[[], bool]) -> None:
        self._sender = sender
        self._gone = gone
        self._methods: dict[str, Handler] = {}
        self._streams: set[str] = set()
        self._jobs: dict[int, _Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.TimerHandle | None = None

    def expose(self, methods: Mapping[str, Handler]) -> None:
        """Add methods: `async def f(call, **params)` or an async generator. Raises LocalProtocolError for others."""
        for name, handler in methods.items():
            if inspect.isasyncgenfunction(handler):
                self._streams.add(name)
            elif not inspect.iscoroutinefunction(handler):
                raise LocalProtocolError(f"method {name!r} must be an async function or async generator: {handler!r}")
            else:
                self._streams.discard(name)
            self._methods[name] = handler

    def request(self, request: wire.Request, payload: bytes | None) -> None:
        """Start to handle a request."""
        deadline = time.monotonic() + request.timeout_ms / 1000
        call = Call(request.caller, request.incarnation, request.method, deadline)
        handler = self._methods.get(request.method)
        job = self._jobs[request.id] = _Job(call, request.credit or 0, getattr(handler, "_ipc_shielded", False))
        job.task = self._start(self._handle(request, job, payload))
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(_GRACE, self._sweep)

    def _sweep(self) -> None:
        """Cancel what is overdue: a caller that hangs cancels nothing, and its request would be here for ever."""
        late = time.monotonic() - _GRACE
        for number in [number for number, job in self._jobs.items() if job.call.until < late]:
            self.cancel(number)
            answer = _error(number, "DeadlineOver", "its caller did not cancel it", {})
            self._start(self._answer(*answer))
        again = asyncio.get_running_loop().call_later(_GRACE, self._sweep) if self._jobs else None
        self._sweeping = again

    def told(self, told: wire.Told, payload: bytes | None) -> None:
        """Start to handle a cast."""
        self._start(self._cast(Call(told.caller, told.incarnation, told.method, time.monotonic()), payload))

    def cancel(self, number: int) -> None:
        """Nobody waits for a request any more."""
        job = self._jobs.pop(number, None)
        if job is None or job.task is None:
            return
        if not job.shielded:
            job.task.cancel()
        elif job.more is not None and not job.more.done():
            job.more.set_result(None)  # it must not wait for credit that nobody will give

    def credit(self, number: int, amount: int) -> None:
        """The reader of a stream takes more."""
        job = self._jobs.get(number)
        if job is not None:
            job.credit += amount
            if job.credit > 0 and job.more is not None and not job.more.done():
                job.more.set_result(None)

    def cancel_all(self) -> None:
        """The bus is gone, and with it everybody who waits."""
        for number in list(self._jobs):
            self.cancel(number)

    async def close(self) -> None:
        """Cancel what runs, shielded too, and wait until it has ended."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop keeps only a weak reference
        task.add_done_callback(self._tasks.discard)
        return task

    async def _handle(self, request: wire.Request, job: _Job, payload: bytes | None) -> None:
        message: wire.Result | wire.Error | wire.End
        _current.set(job)  # of this task alone
        try:
            params = wire.unpack_map(payload)
            payload = None  # a long one is not held twice while a long stream answers it
            if request.method not in self._methods:
                raise Refused("NoSuchMethod", f"there is no method {request.method!r}")
            if (request.method in self._streams) != (request.credit is not None):
                kind = ("a stream", "stream()") if request.method in self._streams else ("not a stream", "call()")
                raise Refused("WrongKind", f"{request.method!r} is {kind[0]}: use {kind[1]}")
            if self._gone():
                # Its caller has been told, or is about to be told, PeerDown("bus"): run now, the call would be a ghost.
                self._done(request.id, job)
                return
            handler = self._methods[request.method]
            if request.attempt > 1 and not getattr(handler, "_ipc_idempotent", False):
                raise Refused(NOT_IDEMPOTENT, f"{request.method!r} may have run before, and may not run twice")
            started = self._bind(handler, job.call, params)
            if request.credit is not None:
                await self._stream(request.id, job, started)
                message, answer = wire.End(request.id), None
            else:
                message, answer = wire.Result(request.id), wire.pack(await started)
        except Refused as refused:
            message, answer = _error(request.id, refused.type, refused.message, refused.data)
        except RemoteProtocolError as error:
            message, answer = _error(request.id, "BadParameters", str(error), {})
        except asyncio.CancelledError:
            self._done(request.id, job)
            job.task = None  # it keeps this error, and so this frame: a circle that would hold all a handler knew
            raise
        except Exception as error:  # the handler's own failure is the caller's answer, never the end of this process
            if not isinstance(error, IpcError):
                log.exception("%s for %s failed", request.method, request.caller)
            message, answer = _error(request.id, "InternalError", f"{type(error).__name__}: {error}", {})
        finally:
            job.running = False
        if self._done(request.id, job):
            await self._answer(message, answer)

    def _done(self, number: int, job: _Job) -> bool:
        """Forget a job; whether somebody still waits for it. The number may be another job's under the next bus."""
        if self._jobs.get(number) is not job:
            return False
        del self._jobs[number]
        return True

    async def _answer(self, message: wire.Result | wire.Error | wire.End, payload: bytes | None) -> None:
        try:
            await self._sender.send(message, payload)
        except TooBig as error:
            await self._sender.send(*_error(message.id, "TooBig", str(error), {}))
        except IpcError as error:
            log.debug("answer %d is lost: %s", message.id, error)  # the bus went away: the caller was told PeerDown

    @staticmethod
    def _bind(handler: Handler, call: Call, params: dict[str, Any]) -> Any:
        try:
            return handler(call, **params)  # binds the parameters, runs nothing yet
        except TypeError as error:
            raise Refused("BadParameters", str(error)) from None

    async def _stream(self, number: int, job: _Job, chunks: AsyncGenerator[Any, None]) -> None:
        try:
            async for chunk in chunks:
                payload = wire.pack(chunk)
                while job.credit <= 0 and self._jobs.get(number) is job:
                    job.more = asyncio.get_running_loop().create_future()
                    await job.more
                if self._jobs.get(number) is not job:
                    return  # nobody reads any more, and this handler is shielded
                job.credit -= len(payload) + CHUNK_COST
                await self._sender.send(wire.Chunk(number), payload)
        finally:
            await chunks.aclose()

    async def _cast(self, call: Call, payload: bytes | None) -> None:
        try:
            if self._gone():
                return
            handler = self._methods.get(call.method)
            if handler is None or call.method in self._streams:
                raise Refused("NoSuchMethod", f"there is no method {call.method!r} to cast to")
            await self._bind(handler, call, wire.unpack_map(payload))
        except Refused as refused:
            log.warning("cast %s of %s refused: %s", call.method, call.caller, refused)
        except Exception:  # nobody waits for an answer: the log is the only place for the failure
            log.exception("cast %s of %s failed", call.method, call.caller)


def _error(number: int, type: str, message: str, data: dict[str, Any]) -> tuple[wire.Error, bytes]:
    try:
        payload = wire.pack(data)
    except LocalProtocolError:
        payload = wire.pack({"data": repr(data)})
    # File names may hold half characters; an answer that cannot be encoded would leave its caller waiting.
    return wire.Error(number, _clean(type), _clean(message[:8000])), payload


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
