"""JSON datagrams with descriptors, for processes that share their memory with many: the zygote and its children.

What `json` and `socket` offer in Python for this is a dozen functions, and in a process that has just forked each
function that runs is some pages copied. Here the C parts of both are called directly.
"""

from __future__ import annotations

import json
import socket
import struct
from array import array
from collections.abc import Callable, Sequence
from typing import Any

_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # in C, and in no stub
_encode = json.JSONEncoder(separators=(",", ":")).encode
_INT = struct.calcsize("i")


def parse(data: bytes | bytearray) -> Any:
    """A JSON text without white space around it. Raises ValueError."""
    try:
        return _scan(data.decode(), 0)[0]
    except StopIteration:
        raise ValueError(f"no JSON: {bytes(data[:80])!r}") from None


def receive(channel: socket.socket, size: int, most: int, flags: int = 0) -> tuple[Any, list[int]]:
    """The next datagram and the descriptors with it, at most `most`. (None, []) when the other side is gone.

    `flags` are recvmsg's; with MSG_DONTWAIT BlockingIOError is raised when there is none."""
    try:
        data, ancillary, _flags, _address = channel.recvmsg(
            size, socket.CMSG_SPACE(most * _INT), socket.MSG_CMSG_CLOEXEC | flags
        )
    except ConnectionError:
        return None, []
    fds: list[int] = []
    for _level, _kind, descriptors in ancillary:
        fds += memoryview(descriptors).cast("i")
    return (parse(data), fds) if data else (None, fds)


def send(channel: socket.socket, message: Any, fds: Sequence[int] = ()) -> None:
    """Send one datagram. Raises OSError."""
    send_encoded(channel, encode(message), fds)


def encode(message: Any) -> bytes:
    """A message as JSON, without white space."""
    return _encode(message).encode()


def send_encoded(channel: socket.socket, data: bytes, fds: Sequence[int] = ()) -> None:
    """Send one datagram that is JSON already. Raises OSError."""
    if fds:
        channel.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))])
    else:
        channel.send(data)
