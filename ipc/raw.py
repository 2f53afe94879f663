"""Sockets without the conveniences of pyzmq, which cost more than the message itself.

`send_multipart`, `recv_multipart`, enum flags and attribute access took 12 µs a message where the calls below take 2
(measured). Making a socket through them ran code in so many places that each process had a third of a megabyte less
to share with the others. Only how to open sockets and move frames; nothing here knows what they mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import zmq
from zmq.backend import Context as _Context
from zmq.backend import Socket as _Socket

_recv: Any = _Socket.recv
_send: Any = _Socket.send
_get: Any = _Socket.get
_NOBLOCK = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK) | int(zmq.SNDMORE)
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)


def readable(socket: zmq.Socket[bytes]) -> bool:
    """Whether a message can be read. Also makes libzmq look at its mailbox."""
    return bool(_get(socket, _EVENTS) & _POLLIN)


def receive(socket: zmq.Socket[bytes]) -> list[zmq.Frame]:
    """One message that is there. Raises zmq.Again when there is none."""
    frame = _recv(socket, _NOBLOCK, False)
    return [frame, *rest(socket, frame)]


def receive_routed(socket: zmq.Socket[bytes]) -> tuple[bytes, zmq.Frame]:
    """Routing id and first frame of a message on a ROUTER; `rest` gives the others. Raises zmq.Again when there is none."""
    return _recv(socket, _NOBLOCK, True), _recv(socket, _NOBLOCK, False)


def rest(socket: zmq.Socket[bytes], frame: zmq.Frame) -> list[zmq.Frame]:
    """The frames behind one."""
    frames = []
    while frame.more:
        frame = _recv(socket, _NOBLOCK, False)
        frames.append(frame)
    return frames


def receive_known(socket: zmq.Socket[bytes], before: int, bodied: frozenset[int]) -> list[bytes]:
    """A message of which the header tells whether a payload follows: a quarter of the cost of asking for each frame.

    `before`: frames in front of the header; `bodied`: kinds (second byte of the header) with a payload. For a sender that
    keeps the protocol; another one's frames are shifted, and no message for the codec. Raises zmq.Again.
    """
    frames = [_recv(socket, _NOBLOCK, True)]
    if before:
        frames.append(_recv(socket, _NOBLOCK, True))
    header = frames[-1]
    if len(header) > 1 and header[1] in bodied:
        frames.append(_recv(socket, _NOBLOCK, True))
    return frames


def send2(socket: zmq.Socket[bytes], header: bytes, payload: Any) -> None:
    """Header and payload (None: header alone), without blocking. Raises zmq.ZMQError, before anything is sent."""
    if payload is None:
        _send(socket, header, _NOBLOCK)
    else:
        _send(socket, header, _MORE)
        _send(socket, payload, _NOBLOCK)


def send3(socket: zmq.Socket[bytes], first: bytes, header: bytes, payload: Any) -> None:
    """An address or topic, then as `send2`."""
    _send(socket, first, _MORE)
    send2(socket, header, payload)


class Sockets:
    """The sockets of one peer and how to use them. A subclass may pretend: then no libzmq is needed, nor its threads."""

    def __init__(self) -> None:
        self._context: Any = _Context(1)

    def open(self, kind: int, options: Iterable[tuple[int, int | bytes]] = ()) -> Any:
        """A socket with these options set. It has `set`, `get`, `connect`, `disconnect`, `monitor`, `close`, `closed`."""
        made = _Socket(self._context, kind)
        for option, value in options:
            made.set(option, value)
        return made

    readable = staticmethod(readable)
    receive = staticmethod(receive)
    receive_known = staticmethod(receive_known)
    send2 = staticmethod(send2)

    def close(self) -> None:
        """End the context. All its sockets must be closed."""
        self._context.term()
