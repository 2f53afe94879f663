"""What leaves a peer: sending within the bus's window, marks, pauses.

Counts bytes and waits; what the messages mean, and the sockets, are elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib

from ipc import wire
from ipc.errors import Overloaded, PeerDown, TooBig
from ipc.limits import OVERHEAD, Limits
from ipc.link import Link
from ipc.seldom import seldom

log = seldom("ipc.peer")

PATIENCE = 10.0  # seconds to wait for a bus that does not read
_LONGEST_PAUSE = 10.0  # seconds, whatever a bus asks for
_SMALL = 4 * 1024  # bytes of a chunk that is worth being sent together with others


class Outbox:
    """The way to the bus, over the life of one connection after another."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.welcome: wire.Welcome | None = None
        self.up = False
        self._sent = self._marked = self._acked = 0
        self._waiters: list[asyncio.Future[None]] = []
        self._slow_until = 0.0
        self._chunks: list[tuple[int, bytes]] = []  # to be sent together in the next turn of the loop

    def welcomed(self, link: Link, welcome: wire.Welcome) -> None:
        """There is a (new) bus, which has nothing unread of us."""
        self.link = link
        self.welcome = welcome
        self.up = True
        self._sent = self._marked = self._acked = 0
        self._slow_until = 0.0

    def lost(self) -> None:
        """The bus is gone: who waits for room is woken up, to fail."""
        self.up = False
        self._chunks.clear()  # they were for callers of the bus that is gone
        self._wake()

    def gone(self) -> bool:
        """Whether the bus is known to be gone, be the news handled or not."""
        return not self.up or self.link is None or self.link.ended()

    def send_now(self, message: wire.ToBus, payload: bytes | None = None) -> None:
        """Queue a message. Raises PeerDown("bus")."""
        if self._chunks:
            self._give()  # what was sent before arrives before
        self._put(message, payload)

    def _put(self, message: wire.ToBus, payload: bytes | None) -> None:
        if not self.up or self.link is None:
            raise PeerDown("bus", "not connected", sent=False)
        header = wire.encode(message)
        self.link.send(header, payload)
        self._sent += len(header) + OVERHEAD + (len(payload) if payload is not None else 0)
        if self._sent - self._marked >= Limits.mark:
            # The message itself is on its way: to say that nothing was sent would be a lie.
            with contextlib.suppress(PeerDown):
                self._mark()

    def _gather(self, number: int, payload: bytes) -> None:
        """Send a chunk together with those of other streams that are ready in the same turn of the loop. Each message
        wakes a thread here and is taken apart by the bus: with many streams that is most of what a small one costs."""
        if not self.up:
            raise PeerDown("bus", "not connected", sent=False)
        if not self._chunks:
            asyncio.get_running_loop().call_soon(self._turn)
        self._chunks.append((number, payload))
        if len(self._chunks) == wire.CHUNKS:
            self._give()

    def _turn(self) -> None:
        """Nobody waits for what is sent here: when the bus is gone, its callers are told, and so are theirs."""
        if self._chunks:
            with contextlib.suppress(PeerDown):
                self._give()

    def _give(self) -> None:
        chunks, self._chunks = self._chunks, []
        if len(chunks) == 1:
            number, payload = chunks[0]
            self._put(wire.Chunk(number), payload)
        else:
            numbers, payloads = zip(*chunks, strict=True)
            self._put(wire.Chunks(list(numbers)), wire.pack(payloads))

    def quietly(self, message: wire.ToBus) -> None:
        """Queue a message that nobody misses when the bus is gone."""
        try:
            self.send_now(message)
        except PeerDown:
            log.debug("%s is not sent: the bus is gone", type(message).__name__)

    async def send(self, message: wire.ToBus, payload: bytes | None = None) -> None:
        """Queue a message when the bus has room for it. Raises TooBig, PeerDown("bus"), Overloaded after 10 s."""
        await self.ready(payload)
        if type(message) is wire.Chunk and payload is not None and len(payload) < _SMALL:
            self._gather(message.id, payload)
        else:
            self.send_now(message, payload)

    async def ready(self, payload: bytes | None = None) -> None:
        """Return when a message may be sent. Raises as `send`."""
        welcome = self.welcome
        if welcome is None:
            raise PeerDown("bus", "not connected", sent=False)
        if payload is not None and len(payload) > welcome.frame:
            raise TooBig(len(payload), welcome.frame)
        if self._sent - self._acked <= welcome.window:
            return
        if self._marked < self._sent and self.up:
            self._mark()  # a window smaller than the distance of marks would never open again
        while self.up and self.welcome is welcome and self._sent - self._acked > welcome.window:
            await self._news()
        if self.welcome is not welcome:
            raise PeerDown(
                "bus", "the connection was lost", sent=False
            )  # what was meant for one bus is not for the next

    def crowded(self) -> bool:
        """Whether `ready` would wait."""
        return self.welcome is not None and self._sent - self._acked > self.welcome.window

    async def flush(self) -> None:
        """Return when the bus has read everything that was sent. Raises PeerDown("bus"), Overloaded."""
        welcome = self.welcome
        total = self._sent
        self._mark()
        while self.up and self.welcome is welcome and self._acked < total:
            await self._news()
        if not self.up or self.welcome is not welcome:
            raise PeerDown("bus", "the connection was lost")

    async def pace(self) -> None:
        """Wait as long as the bus asked for."""
        if self._slow_until:
            loop = asyncio.get_running_loop()
            while (wait := self._slow_until - loop.time()) > 0:
                await asyncio.sleep(wait)

    def slow(self, seconds: float) -> None:
        """The bus asks for a pause."""
        self._slow_until = asyncio.get_running_loop().time() + min(seconds, _LONGEST_PAUSE)

    def acked(self, total: int) -> None:
        """The bus has read so much."""
        self._acked = max(self._acked, min(total, self._marked))
        self._wake()

    def _mark(self) -> None:
        if not self.up or self.link is None:
            raise PeerDown("bus", "not connected", sent=False)
        if self._chunks:
            self._give()  # a mark stands behind everything that was sent before it
        self._marked = self._sent
        self.link.send(wire.encode(wire.Mark(self._sent)), None)

    async def _news(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(PATIENCE):
                await waiter
        except TimeoutError:
            raise Overloaded(f"the bus has not read {self._sent - self._acked} bytes for {PATIENCE:g} s") from None

    def _wake(self) -> None:
        waiting, self._waiters = self._waiters, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
