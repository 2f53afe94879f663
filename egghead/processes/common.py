"""The life that every process of the tree shares: connect, serve, beat, stop.

Here belongs what all entry points in this folder would otherwise repeat: the peer on the bus, the control channel
to the root, the heartbeat, log lines on stderr, and an orderly end. What a process is *for* does not belong here.

An entry point is a few lines:

    def main(context: Context, room: str) -> None:
        run(context, lambda service: setup(service, room))

    async def setup(service: Service, room: str) -> None:
        service.expose({"since": ...})           # before connect
        await service.connect()                  # the bus has welcomed us
        subscription = await service.peer.subscribe("log/")
        service.start(work(subscription), "log")  # a task; when it fails, the process fails
        service.on_stop(flush)                   # awaited at the end, last one first, while the bus is still there

When `setup` returns, the peer is announced and the root is told READY. A process that must be visible earlier awaits
`service.announce()` itself; the second call does nothing.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # no stub; `signal` wraps it in enums, which costs a child many pages
import asyncio
import contextlib
import errno
import logging
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, TypeVar

from ipc import Address, Peer, PeerDown, Refused
from supervisor.aio import AsyncControl

if TYPE_CHECKING:
    from supervisor import Context

logger = logging.getLogger("egghead.process")

CONNECT_TIMEOUT = 20.0  # seconds for the bus to welcome us; the tree's start_timeout is longer
PROMPT = 0.1  # seconds for the bus to welcome us before we look whether there is one
ABSENT = 0.5  # seconds without a listening bus after which a start is given up
STOP_TIMEOUT = 60.0  # seconds for the stop callbacks; the root's own deadline is the one that counts
BEAT_EVERY = 8.0  # seconds between beats: a thousand idle agents must not be felt; a `heartbeat` should be at least 24

_TERM = int(signal.SIGTERM)

T = TypeVar("T")
Setup = Callable[["Service"], Awaitable[None]]
MakePeer = Callable[["Context", Mapping[str, Any]], Peer]


def _peer(context: Context, bus: Mapping[str, Any]) -> Peer:
    return Peer(Address(bus["directory"]), name=context.name, credential=bus["credential"])


def one_connection(context: Context, bus: Mapping[str, Any]) -> Peer:
    """A peer for `run(make_peer=…)` of which there are many: events come on its main connection (`ipc.Address`)."""
    return Peer(Address(bus["directory"], inline=True), name=context.name, credential=bus["credential"])


class Service:
    """One running process: its peer, its control channel, its settings and its tasks."""

    def __init__(self, context: Context, make_peer: MakePeer = _peer) -> None:
        self.context = context
        self.name = context.name
        self.incarnation = context.incarnation
        self.settings: dict[str, Any] = dict(context.handover.get("settings") or {})
        self.config: dict[str, Any] = dict(self.settings.get("config") or {})
        self.control = AsyncControl(context)
        self.peer = make_peer(context, context.handover["bus"])
        self.info: dict[str, Any] = {}  # shown in status beside the process
        self._connected = False
        self._announced = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._on_stop: list[Callable[[], Awaitable[None]]] = []
        self._failure: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._planned: str | None = None
        self._left: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def expose(self, methods: Mapping[str, Callable[..., Any]]) -> None:
        """Offer methods on the bus; call before `connect`."""
        self.peer.expose(dict(methods))

    async def connect(self, timeout: float = CONNECT_TIMEOUT) -> None:
        """Join the bus. Raises ipc.Forbidden when the credential is refused, TimeoutError when nobody answers."""
        if not self._connected:
            joining = asyncio.ensure_future(self.peer.connect(timeout=timeout))
            try:
                await asyncio.wait({joining}, timeout=PROMPT)
                if not joining.done():
                    await self._wait_for_bus(joining)
                joining.result()
            finally:
                joining.cancel()
            self._connected = True

    async def _wait_for_bus(self, joining: asyncio.Future[None]) -> None:
        """Returns when `joining` is done. Raises PeerDown when there is no bus."""
        watching = asyncio.ensure_future(_absence(self.peer.address.directory))
        try:
            await asyncio.wait({joining, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not joining.done():
                raise PeerDown("bus", f"nobody listens in {self.peer.address.directory}")
        finally:
            watching.cancel()
            if not joining.done():
                joining.cancel()
                await asyncio.gather(joining, watching, return_exceptions=True)

    async def announce(self) -> None:
        """Become visible to monitors. Done after `setup` unless it was done before."""
        if not self._announced:
            self._announced = True
            await self.connect()
            await self.peer.announce()

    def start(self, work: Coroutine[Any, Any, Any], name: str, *, fatal: bool = True) -> asyncio.Task[Any]:
        """Run work beside the process. If it raises and is `fatal`, the process ends with that traceback: a process
        whose loop has silently died would look alive and do nothing."""
        task = asyncio.create_task(work, name=f"{self.name}:{name}")
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._finished(done, fatal))
        return task

    def on_stop(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Await this when the process stops, last registered first, with the bus still connected."""
        self._on_stop.append(callback)

    def leave(self, reason: str) -> None:
        """Stop in good order and exit with the planned exit code, which the supervisor does not count as a crash."""
        self._planned = reason
        if not self._left.done():
            self._left.set_result(None)

    def fail(self, error: BaseException) -> None:
        """End the process with this error: its traceback becomes the reason of the exit."""
        if not self._failure.done():
            self._failure.set_result(error)

    @property
    def stopping(self) -> bool:
        """True once the process has been asked to stop or is leaving."""
        return self.control.stop.is_set() or self._left.done()

    def _finished(self, task: asyncio.Task[Any], fatal: bool) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        if fatal:
            self.fail(error)
        else:
            logger.error("task %s failed", task.get_name(), exc_info=error)


def in_pool(pool: Executor, work: Callable[[], T]) -> asyncio.Future[T]:
    """Start blocking work in a thread of a pool. Raises Refused Unavailable once the process stops and has closed the pool."""
    try:
        return asyncio.get_running_loop().run_in_executor(pool, work)
    except RuntimeError as error:
        raise Refused(
            "Unavailable", f"the process is stopping, nothing was done; ask again in a moment ({error})"
        ) from None


async def _absence(directory: str) -> None:
    """Returns when nobody has listened at the bus's socket for ABSENT seconds. A bus that is only slow does listen.

    A supervisor starts one child at a time: a process that waited long for a dead bus would keep their common
    supervisor from starting that bus.
    """
    since: float | None = None
    while since is None or time.monotonic() - since < ABSENT:
        # Of the wrong kind: the kernel says whether anybody has bound the place, and a busy bus does not hear of it.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as probe:
            found = probe.connect_ex(f"{directory}/bus")
        since = (since or time.monotonic()) if found in (errno.ENOENT, errno.ECONNREFUSED) else None
        await asyncio.sleep(0.1)  # a socket that is not there gives no event


def run(context: Context, setup: Setup, *, beat_every: float = BEAT_EVERY, make_peer: MakePeer = _peer) -> None:
    """Be a process of the tree until the root says stop.

    `setup` prepares and returns; everything after READY happens in exposed methods and in `service.start` tasks.
    An exception of `setup` or of a fatal task ends the process with a traceback and exit code 1.
    """
    configure_logging(context.name)
    reason = _run(_serve(context, setup, beat_every, make_peer))
    if reason is not None:
        context.planned_exit(reason)


def _run(life: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, without what it does for a program at a terminal: that touches eighty pages of each child."""
    loop = asyncio.SelectorEventLoop()
    try:
        return loop.run_until_complete(life)
    finally:
        try:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(_ended(left))
        finally:
            loop.close()


async def _ended(tasks: Collection[asyncio.Task[Any]]) -> None:
    loop = asyncio.get_running_loop()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            logger.error("failed while the process ended", exc_info=result)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
    _loud_signals()


async def _serve(context: Context, setup: Setup, beat_every: float, make_peer: MakePeer) -> str | None:
    service = Service(context, make_peer)
    _quiet_signals(service)
    service.start(_beat(context, beat_every), "beat")
    preparing = asyncio.create_task(_prepare(service, setup), name=f"{context.name}:setup")
    stopping = asyncio.create_task(service.control.stop.wait(), name=f"{context.name}:stop")
    try:
        if not await _first(service, stopping, preparing):
            return None
        await _first(service, stopping, None)
        return service._planned
    finally:
        stopping.cancel()
        await _close(service, preparing)


async def _prepare(service: Service, setup: Setup) -> None:
    await setup(service)
    await service.announce()
    service.context.ready(**service.info)


async def _first(service: Service, stopping: asyncio.Task[Any], preparing: asyncio.Task[None] | None) -> bool:
    """Wait for setup, a stop, a planned exit or a failure. True when setup is through and life goes on."""
    watched: set[asyncio.Future[Any]] = {stopping, service._left, service._failure}
    if preparing is not None:
        watched.add(preparing)
    await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
    if service._failure.done():
        raise service._failure.result()
    if preparing is not None and preparing.done():
        preparing.result()
        return not service.control.stop.is_set()
    return False


async def _close(service: Service, preparing: asyncio.Task[None]) -> None:
    preparing.cancel()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_TIMEOUT):
            for callback in reversed(service._on_stop):
                try:
                    await callback()
                except Exception:  # one failing callback must not keep the others from flushing
                    logger.exception("stopping %s", service.name)
    for task in list(service._tasks):
        task.cancel()
    await asyncio.gather(preparing, *service._tasks, return_exceptions=True)
    with contextlib.suppress(OSError):
        await service.peer.close()
    service.control.close()


async def _beat(context: Context, every: float) -> None:
    while True:
        context.beat()
        await asyncio.sleep(every)


def _quiet_signals(service: Service) -> None:
    # SIGTERM is the second step of a graded stop: it asks again, it must not cut a callback in half.
    # By hand: `loop.add_signal_handler` makes an enum of each signal there is, on a hundred pages.
    loop = asyncio.get_running_loop()
    wake = getattr(loop, "_csock", None)  # asyncio has no name for it; a signal just before it sleeps must wake it
    with contextlib.suppress(ValueError):  # not in the main thread: a test
        if wake is not None:
            signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        _signal.signal(_TERM, lambda *_: loop.call_soon_threadsafe(service.control.stop.set))


def _loud_signals() -> None:
    """As before `_quiet_signals`: from now on SIGTERM ends the process at once."""
    with contextlib.suppress(ValueError):  # not in the main thread: a test
        _signal.signal(_TERM, _signal.SIG_DFL)
        signal.set_wakeup_fd(-1)


class _Lines(logging.Formatter):
    """One line an event: time (UTC), level, process, logger, text."""

    process = ""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.processName = self.process
        return super().formatMessage(record)


# Made here, before processes are forked: each of them only says who it is.
_lines = _Lines(
    "%(asctime)s.%(msecs)03dZ %(levelname)s %(processName)s %(name)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S"
)
_lines.converter = time.gmtime
_handler = logging.StreamHandler()
_handler.setFormatter(_lines)


def configure_logging(name: str, level: int = logging.INFO) -> None:
    """One line an event on stderr, where the root reads it: time (UTC), level, process, logger, text."""
    _lines.process = name
    if _handler.stream is not sys.stderr:
        _handler.setStream(sys.stderr)
    root = logging.getLogger()
    root.handlers[:] = [_handler]
    if root.level != level:  # it empties the cache of each logger
        root.setLevel(level)
