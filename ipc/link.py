"""The sockets of a peer on an asyncio loop: one DEALER, one SUB when events are read, one monitor.

Plain sockets, read until empty when their descriptor wakes. ZMQ_FD is edge-triggered and every call on a socket may eat
the edge, so after each send the socket is asked again whether something can be read. No meaning of any message here.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import struct
from collections.abc import Callable
from typing import Protocol

import zmq

from ipc.address import Address
from ipc.errors import PeerDown
from ipc.raw import readable, receive, send2

_BATCH = 500  # messages read before the loop may do other things
_CONNECTED = zmq.EVENT_HANDSHAKE_SUCCEEDED
_REFUSED = zmq.EVENT_HANDSHAKE_FAILED_AUTH
_LOST = zmq.EVENT_DISCONNECTED
_OPENED = zmq.EVENT_CONNECTED


class Listener(Protocol):
    """What a link tells its owner."""

    def arrived(self, frames: list[bytes]) -> None: ...

    def event_arrived(self, frames: list[bytes]) -> None: ...

    def link_up(self) -> None: ...

    def link_lost(self) -> None: ...

    def link_refused(self) -> None: ...


class Link:
    """Sockets to one bus. Made, used and closed on one loop."""

    def __init__(self, address: Address, user: str, password: str, listener: Listener) -> None:
        self._loop = asyncio.get_running_loop()
        self._address = address
        self._listener = listener
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._readers: dict[int, zmq.Socket[bytes]] = {}
        self._dealer = self._socket(zmq.DEALER, user, password)
        self._dealer.immediate = 1  # nothing is queued for a bus that is not there: it would be a ghost later
        events = _OPENED | _CONNECTED | _REFUSED | _LOST
        self._dealer.monitor("inproc://monitor", events)
        self._monitor = self._context.socket(zmq.PAIR)
        self._monitor.linger = 0
        self._monitor.rcvhwm = 0
        self._monitor.connect("inproc://monitor")
        self._sub: zmq.Socket[bytes] | None = None
        self._descriptor = -1  # of the main connection, as libzmq told it
        self._hangup = select.poll()
        self._again: dict[zmq.Socket[bytes], bool] = {}
        self._read_monitor = self._drain(self._monitor, self._monitored)
        self._read_dealer = self._drain(self._dealer, listener.arrived)
        self._watch(self._monitor, self._read_monitor)
        self._watch(self._dealer, self._read_dealer)
        self._dealer.connect(address.bus)
        self._read_monitor()

    def _socket(self, kind: int, user: str, password: str) -> zmq.Socket[bytes]:
        made = self._context.socket(kind)
        made.linger = 0
        made.plain_username = user.encode()
        made.plain_password = password.encode()
        made.sndhwm = 0  # the window counts bytes
        made.rcvhwm = 0  # the bus counts bytes; a bound here would drop events in silence
        made.reconnect_ivl = 20
        made.reconnect_ivl_max = 160
        made.handshake_ivl = 10_000
        return made

    def _watch(self, socket: zmq.Socket[bytes], read: Callable[[], None]) -> None:
        descriptor = socket.getsockopt(zmq.FD)
        assert isinstance(descriptor, int)
        self._readers[descriptor] = socket
        self._loop.add_reader(descriptor, read)

    def _drain(self, socket: zmq.Socket[bytes], give: Callable[[list[bytes]], None]) -> Callable[[], None]:
        def read() -> None:
            self._again[socket] = False
            for _ in range(_BATCH):
                if socket.closed:
                    return
                try:
                    frames = receive(socket)
                except zmq.Again:
                    return
                give([frame.bytes for frame in frames])
            self._soon(socket, read)

        return read

    def _soon(self, socket: zmq.Socket[bytes], read: Callable[[], None]) -> None:
        if not self._again.get(socket):
            self._again[socket] = True
            self._loop.call_soon(read)

    def _monitored(self, frames: list[bytes]) -> None:
        event, value = struct.unpack("=Hi", frames[0])
        if event == _OPENED:
            self._opened(value)
        elif event == _CONNECTED:
            self._listener.link_up()
        elif event == _REFUSED:
            self._listener.link_refused()
        elif event == _LOST:
            self._opened(-1)
            self._empty()
            self._listener.link_lost()

    def _opened(self, descriptor: int) -> None:
        if self._descriptor >= 0:
            self._hangup.unregister(self._descriptor)
        self._descriptor = descriptor
        if descriptor >= 0:
            self._hangup.register(descriptor, select.POLLHUP | select.POLLRDHUP)

    def connect_again(self) -> None:
        """Try again after a refused handshake: libzmq gives an endpoint up for good when that happens."""
        if not self._dealer.closed:
            with contextlib.suppress(zmq.ZMQError):
                self._dealer.disconnect(self._address.bus)
            self._dealer.connect(self._address.bus)

    def _empty(self) -> None:
        """Give what the old connection still brought before its end is told."""
        while not self._dealer.closed and readable(self._dealer):
            self._listener.arrived([frame.bytes for frame in receive(self._dealer)])

    def send(self, header: bytes, payload: bytes | None) -> None:
        """Queue a message for the bus. Raises PeerDown("bus") when there is no connection."""
        dealer = self._dealer
        if dealer.closed:
            raise PeerDown("bus", "this peer is closed")
        try:
            send2(dealer, header, payload)
        except zmq.Again:
            readable(dealer)  # makes libzmq look at its mailbox, where a new connection may wait
            try:
                send2(dealer, header, payload)
            except zmq.Again:
                raise PeerDown("bus", "not connected") from None
        if readable(dealer):
            self._soon(dealer, self._read_dealer)

    def ended(self) -> bool:
        """Whether the other end has closed the connection, be the news read or not."""
        if readable(self._monitor):
            self._soon(self._monitor, self._read_monitor)
            return True
        # The kernel knows before the I/O thread has read what is left and has told the monitor.
        return self._descriptor >= 0 and bool(self._hangup.poll(0))

    def open_events(self, credential: str) -> None:
        """Connect for events, in place of an earlier event connection."""
        self.close_events()
        self._sub = self._socket(zmq.SUB, "events", credential)
        self._read_sub = self._drain(self._sub, self._listener.event_arrived)
        self._watch(self._sub, self._read_sub)
        self._sub.connect(self._address.events)

    def close_events(self) -> None:
        """End the event connection, if there is one."""
        if self._sub is not None:
            self._close(self._sub)
            self._sub = None

    @property
    def has_events(self) -> bool:
        """Whether there is an event connection."""
        return self._sub is not None

    def subscribe(self, prefix: str, on: bool) -> None:
        """Ask for, or no longer want, events below a prefix."""
        if self._sub is None:
            return
        self._sub.setsockopt(zmq.SUBSCRIBE if on else zmq.UNSUBSCRIBE, prefix.encode())
        if readable(self._sub):
            self._soon(self._sub, self._read_sub)

    def _close(self, socket: zmq.Socket[bytes]) -> None:
        for descriptor, known in list(self._readers.items()):
            if known is socket:
                self._loop.remove_reader(descriptor)
                del self._readers[descriptor]
        self._again.pop(socket, None)
        socket.close(0)

    def close(self) -> None:
        """Close all sockets and the context."""
        if not self._dealer.closed:
            self.close_events()
            self._dealer.disable_monitor()
            self._close(self._monitor)
            self._close(self._dealer)
            self._context.destroy(linger=0)
