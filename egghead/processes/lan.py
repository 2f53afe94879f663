"""The process `lan`: tells this node's public key to who asks (UDP), and announces the node by mDNS.

It holds nothing secret and has no rights on the bus: what it can give away is what it is there to give away. Without it
the node serves all the same; only strangers do not find it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping
from typing import Any

from egghead import lan
from egghead.processes.common import Service, configure_logging, run
from supervisor import Context

logger = logging.getLogger("egghead.lan")


def main(context: Context) -> None:
    configure_logging(context.name)
    run(context, setup)


async def setup(service: Service) -> None:
    beacon: Mapping[str, Any] = service.context.handover["lan"]
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: Greeter(beacon["key"]), sock=_datagrams(beacon["bind"], beacon["port"])
    )

    async def close() -> None:
        transport.close()

    service.on_stop(close)
    if beacon["announce"]:
        service.start(_announce(service, beacon), "announce", fatal=False)


def _datagrams(bind: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind((bind, port))
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


class Greeter(asyncio.DatagramProtocol):
    """Answers a greeting with the public key, and nothing else with nothing."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        answer = lan.tell(data, self._key)
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, address)

    def error_received(self, error: Exception) -> None:
        """Somebody who asked has gone: no business of ours."""


async def _announce(service: Service, beacon: Mapping[str, Any]) -> None:
    from egghead.mdns import Announcement

    announcement = Announcement(beacon["name"], beacon["bind"], beacon["port"], beacon["key"])
    service.on_stop(announcement.withdraw)
    await announcement.make()
