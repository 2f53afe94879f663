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
from typing import Any, Protocol

import zmq

from ipc import wire
from ipc.address import Address
from ipc.curve import Remote
from ipc.errors import PeerDown
from ipc.raw import Sockets
from ipc.wire import BODIED

_BATCH = 500  # messages read before the loop may do other things
# Plain numbers: an operation on pyzmq's enums runs Python code.
_CONNECTED = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
_REFUSED = int(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
_LOST = int(zmq.EVENT_DISCONNECTED)
_OPENED = int(zmq.EVENT_CONNECTED)
_FD, _SUBSCRIBE, _UNSUBSCRIBE = int(zmq.FD), int(zmq.SUBSCRIBE), int(zmq.UNSUBSCRIBE)
# Nothing is queued for a bus that is not there: it would be a ghost later.
_MAIN = ((int(zmq.IMMEDIATE), 1),)
# A full monitor would stop the I/O thread.
_MONITOR = ((int(zmq.LINGER), 0), (int(zmq.RCVHWM), 0))
_EACH = (
    (int(zmq.LINGER), 0),
    (int(zmq.SNDHWM), 0),  # the window counts bytes
    (int(zmq.RCVHWM), 0),  # the bus counts bytes; a bound here would drop events in silence
    (int(zmq.RECONNECT_IVL), 20),
    (int(zmq.RECONNECT_IVL_MAX), 160),
    (int(zmq.HANDSHAKE_IVL), 10_000),
)


class Listener(Protocol):
    """What a link tells its owner."""

    def arrived(self, frames: list[bytes]) -> None: ...

    def event_arrived(self, frames: list[bytes]) -> None: ...

    def link_up(self) -> None: ...

    def link_lost(self) -> None: ...

    def link_refused(self) -> None: ...


class Link:
    """Sockets to one bus. Made, used and closed on one loop."""

    def __init__(
        self, address: Address | Remote, user: str, password: str, listener: Listener, sockets: Sockets
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._address = address
        self._listener = listener
        self._sockets = sockets
        self._readers: dict[int, Any] = {}
        self._dealer = self._socket(zmq.DEALER, user, password, _MAIN)
        self._dealer.monitor("inproc://monitor", _OPENED | _CONNECTED | _REFUSED | _LOST)
        self._monitor = sockets.open(zmq.PAIR, _MONITOR)
        self._monitor.connect("inproc://monitor")
        self._sub: Any = None
        self._reads = False  # events come on the main connection, and were asked for
        self._descriptor = -1  # of the main connection, as libzmq told it
        self._hangup = select.poll()
        self._again: dict[Any, bool] = {}
        self._read_monitor = self._drain(self._monitor, self._monitored, None)
        self._read_dealer = self._drain(self._dealer, listener.arrived, 0)
        self._watch(self._monitor, self._read_monitor)
        self._watch(self._dealer, self._read_dealer)
        self._dealer.connect(address.bus)
        self._read_monitor()

    def _socket(self, kind: int, user: str, password: str, options: tuple[tuple[int, int], ...] = ()) -> Any:
        return self._sockets.open(int(kind), (*_EACH, *options, *self._address.options(user, password)))

    def _watch(self, socket: Any, read: Callable[[], None]) -> None:
        descriptor = socket.get(_FD)
        assert isinstance(descriptor, int)
        self._readers[descriptor] = socket
        self._loop.add_reader(descriptor, read)

    def _drain(self, socket: Any, give: Callable[[list[bytes]], None], before: int | None) -> Callable[[], None]:
        """A reader of what is there. `before`: frames in front of a header of the protocol; None: it has none."""
        receive, receive_known = self._sockets.receive, self._sockets.receive_known

        def read() -> None:
            self._again[socket] = False
            for _ in range(_BATCH):
                if socket.closed:
                    return
                try:
                    if before is None:
                        frames = [frame.bytes for frame in receive(socket)]
                    else:
                        frames = receive_known(socket, before, BODIED)
                except zmq.Again:
                    return
                give(frames)
            self._soon(socket, read)

        return read

    def _soon(self, socket: Any, read: Callable[[], None]) -> None:
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
        while not self._dealer.closed and self._sockets.readable(self._dealer):
            self._listener.arrived([frame.bytes for frame in self._sockets.receive(self._dealer)])

    def send(self, header: bytes, payload: bytes | None) -> None:
        """Queue a message for the bus. Raises PeerDown("bus") when there is no connection."""
        dealer = self._dealer
        if dealer.closed:
            raise PeerDown("bus", "this peer is closed", sent=False)
        try:
            self._sockets.send2(dealer, header, payload)
        except zmq.Again:
            self._sockets.readable(dealer)  # makes libzmq look at its mailbox, where a new connection may wait
            try:
                self._sockets.send2(dealer, header, payload)
            except zmq.Again:
                raise PeerDown("bus", "not connected", sent=False) from None
        if self._sockets.readable(dealer):
            self._soon(dealer, self._read_dealer)

    def ended(self) -> bool:
        """Whether the other end has closed the connection, be the news read or not."""
        if self._sockets.readable(self._monitor):
            self._soon(self._monitor, self._read_monitor)
            return True
        # The kernel knows before the I/O thread has read what is left and has told the monitor.
        return self._descriptor >= 0 and bool(self._hangup.poll(0))

    def open_events(self, credential: str) -> None:
        """Connect for events, in place of an earlier event connection."""
        self.close_events()
        self._reads = True
        if self._address.inline:
            return
        self._sub = self._socket(zmq.SUB, "events", credential)
        self._read_sub = self._drain(self._sub, self._listener.event_arrived, 1)
        self._watch(self._sub, self._read_sub)
        self._sub.connect(self._address.events)

    def close_events(self) -> None:
        """End the event connection, if there is one."""
        self._reads = False
        if self._sub is not None:
            self._close(self._sub)
            self._sub = None

    @property
    def inline(self) -> bool:
        """Whether events come on the main connection."""
        return self._address.inline

    @property
    def has_events(self) -> bool:
        """Whether there is an event connection."""
        return self._reads

    def subscribe(self, prefix: str, on: bool) -> None:
        """Ask for, or no longer want, events below a prefix."""
        if self._reads and self._address.inline:
            with contextlib.suppress(PeerDown):  # asked again when the bus is back
                self.send(wire.encode(wire.Subscribe(prefix) if on else wire.Unsubscribe(prefix)), None)
            return
        if self._sub is None:
            return
        self._sub.set(_SUBSCRIBE if on else _UNSUBSCRIBE, prefix.encode())
        if self._sockets.readable(self._sub):
            self._soon(self._sub, self._read_sub)

    def _close(self, socket: Any) -> None:
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
            self._dealer.monitor(None, 0)
            self._close(self._monitor)
            self._close(self._dealer)
            self._sockets.close()
