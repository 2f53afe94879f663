"""The sender's side of events in a peer: the count of each topic, and what is said again to the next bus.

The reader's side is in `reading`; whether a topic is allowed is the business of the bus.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ipc import wire
from ipc.calls import name_of
from ipc.errors import LocalProtocolError, PeerDown
from ipc.limits import Limits
from ipc.outbox import Outbox

_TOPICS = 10_000
_AGAIN = 1_000  # tails; more topics than that within five seconds are left to the new epoch, which is a gap anyway


class Publisher:
    """Counts the events of one peer by topic, over the life of one connection after another."""

    def __init__(self, out: Outbox) -> None:
        self._out = out
        self._last: dict[str, tuple[int, float]] = {}  # topic -> seq, when

    async def publish(self, topic: str, data: Any) -> None:
        """Send an event. Raises LocalProtocolError, PeerDown("bus"), TooBig."""
        if not name_of(topic).endswith("/") or topic.startswith("~"):
            raise LocalProtocolError(f"topic {topic!r} must end with '/' and not begin with '~'")
        payload = wire.pack(data)
        await self._out.pace()
        await self._out.ready(payload)
        if not self._out.up:
            raise PeerDown("bus", "not connected")
        seq = self._last.get(topic, (0, 0.0))[0] + 1
        if seq == 1 and len(self._last) >= _TOPICS:
            self._last.pop(next(iter(self._last)))
        self._last[topic] = (seq, asyncio.get_running_loop().time())
        self._out.send_now(wire.Publish(topic, seq), payload)

    def again(self) -> None:
        """Tell a new bus the last seqs of topics that were used lately."""
        since = asyncio.get_running_loop().time() - Limits.tail
        tails = [(topic, seq) for topic, (seq, at) in self._last.items() if at > since]
        for begin in range(0, min(len(tails), _AGAIN), wire.TAILS):
            self._out.quietly(wire.Tails(tails[begin : begin + wire.TAILS]))
