"""A bus that is not there: sockets that answer a peer on the spot, without libzmq and its threads.

For a rehearsal: a process from which others are forked runs, once and in front of this stage, what each of them will
do first, so that they share the memory that it takes. It welcomes, confirms and acknowledges; calls
get None. No decision about delivery, rights or life is made here, and nothing but a rehearsal may use it.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Iterable
from typing import Any

import zmq

from ipc import wire
from ipc.limits import Limits
from ipc.raw import Sockets

_NOTHING = wire.pack(None)
_MARKS = "~marks/"


class StageSocket:
    """As much of a socket as `ipc.link` uses. Its descriptor is readable while a message waits."""

    def __init__(self, kind: int, stage: Stage) -> None:
        self.kind = kind
        self.closed = False
        self.waiting: deque[list[zmq.Frame]] = deque()
        self._stage = stage
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def put(self, *frames: bytes) -> None:
        """A message for whoever reads this socket."""
        self.waiting.append([zmq.Frame(frame) for frame in frames])
        os.eventfd_write(self._bell, 1)

    def take(self) -> list[zmq.Frame]:
        """The next message. Raises zmq.Again."""
        if not self.waiting:
            raise zmq.Again
        if len(self.waiting) == 1:
            os.eventfd_read(self._bell)
        return self.waiting.popleft()

    def set(self, option: int, value: int | bytes) -> None:
        """Accept an option; a subscription is confirmed."""
        option = zmq.SocketOption(option)  # as pyzmq does for each call
        if option == zmq.SUBSCRIBE and isinstance(value, bytes):
            self._stage.subscribed(value.decode())

    def get(self, option: int) -> int:
        """The descriptor, or what can be done now."""
        if zmq.SocketOption(option) == zmq.FD:
            return self._bell
        return int(zmq.POLLIN) if self.waiting else 0

    def connect(self, endpoint: str) -> None:
        """Succeeds."""
        self._stage.connected(self)

    def disconnect(self, endpoint: str) -> None:
        """Succeeds."""

    def monitor(self, endpoint: str | None, events: int) -> None:
        """What happens on this stage is told to the one monitor there is."""

    def close(self, linger: int | None = None) -> None:
        """Close the descriptor."""
        if not self.closed:
            self.closed = True
            os.close(self._bell)


class Stage(Sockets):
    """The sockets of one rehearsing peer, and the bus behind them."""

    def __init__(self) -> None:
        self._opened: dict[int, StageSocket] = {}
        self._connection = -1

    def open(self, kind: int, options: Iterable[tuple[int, int | bytes]] = ()) -> StageSocket:
        """A socket that leads here."""
        made = self._opened[kind] = StageSocket(kind, self)
        for option, value in options:
            made.set(option, value)
        return made

    def readable(self, socket: Any) -> bool:
        """Whether a message can be read."""
        return bool(socket.get(zmq.EVENTS))

    def receive(self, socket: Any) -> list[zmq.Frame]:
        """One message that is there. Raises zmq.Again when there is none."""
        frames: list[zmq.Frame] = socket.take()
        return frames

    def receive_known(self, socket: Any, before: int, bodied: frozenset[int]) -> list[bytes]:
        """One message that is there. Raises zmq.Again when there is none."""
        return [frame.bytes for frame in self.receive(socket)]

    def send2(self, socket: Any, header: bytes, payload: Any) -> None:
        """Read what the peer says, and answer."""
        frames = [header] if payload is None else [header, payload]
        message, _ = wire.decode_to_bus(frames)
        match message:
            case wire.Hello():
                limits = Limits()
                self._say(wire.Welcome(wire.VERSION, "stage", 1, 1, "stage", _MARKS, limits.frame, limits.window))
            case wire.Mark(total=total):
                self._say(wire.Ack(total))
            case wire.Call(id=id):
                self._say(wire.Result(id), _NOTHING)
            case wire.Subscribe(prefix=prefix):
                self._say(wire.Subscribed(prefix))
                self._say(wire.Delivered(prefix or "stage/", "stage", 1, 1, 1), wire.pack({"kind": "notice"}))
            case wire.Bye():
                self._say(wire.Goodbye())

    def connected(self, socket: StageSocket) -> None:
        """Tell the monitor of a main connection that it is open and that the handshake went well."""
        if socket.kind == zmq.DEALER:
            self._connection = os.eventfd(0, os.EFD_CLOEXEC)
            for event, value in ((zmq.EVENT_CONNECTED, self._connection), (zmq.EVENT_HANDSHAKE_SUCCEEDED, 0)):
                self._opened[zmq.PAIR].put(struct.pack("=Hi", event, value), b"stage")

    def subscribed(self, prefix: str) -> None:
        """Confirm a subscription, and have one event come."""
        if prefix != _MARKS:
            self._say(wire.Subscribed(prefix))
            topic = f"{prefix or 'stage/'}".encode()
            self._opened[zmq.SUB].put(topic, wire.encode(wire.Event("stage", 1, 1, 1)), wire.pack({"kind": "notice"}))

    def _say(self, message: Any, payload: bytes | None = None) -> None:
        self._opened[zmq.DEALER].put(wire.encode(message), *([] if payload is None else [payload]))

    def close(self) -> None:
        """Close what is left open."""
        for socket in self._opened.values():
            socket.close()
        if self._connection >= 0:
            os.close(self._connection)
            self._connection = -1
