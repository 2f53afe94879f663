"""Cutting a connection ends that connection, never the one that was given its descriptor afterwards."""

from __future__ import annotations

import socket
from pathlib import Path

from ipc.bus import Bus


def test_a_descriptor_given_to_another_socket_is_not_cut(short_dir: Path) -> None:
    """The number of a closed connection belongs to somebody else soon: a held cut leaves that one alone."""
    bus = Bus(short_dir / "bus")
    first, _first_end = socket.socketpair()
    fd = first.fileno()
    bus.hold(fd)
    first.close()
    stranger, end = socket.socketpair()
    while stranger.fileno() != fd:  # the lowest free number is given next; the pair's other end may have it
        stranger, end = end, stranger
        assert fd in (stranger.fileno(), end.fileno())
    bus.cut(fd, held=True)
    end.sendall(b"x")
    assert stranger.recv(1) == b"x"
    bus.hold(fd)
    bus.cut(fd, held=True)
    assert end.recv(1) == b"", "the held connection itself is cut"
    for one in (stranger, end, _first_end):
        one.close()
