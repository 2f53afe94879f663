"""Connections by their descriptor: whose it is, where it comes from, and how it is ended.

libzmq 4.3.5 without drafts has no call that ends one connection: `cut` shuts down its descriptor, which libzmq takes for
the end of the connection. Only descriptors here, no libzmq.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat

from ipc.seldom import seldom

log = seldom("ipc.bus")


class Connections:
    """The descriptors of one bus's connections, which libzmq opens and closes in its own threads."""

    def __init__(self) -> None:
        self._held: dict[int, int] = {}  # descriptor of a connection -> inode of its socket

    def hold(self, fd: int) -> None:
        """Remember which socket is behind a descriptor."""
        with contextlib.suppress(OSError):  # it ended by itself; the monitor will say so
            self._held[fd] = os.fstat(fd).st_ino

    def cut(self, fd: int, held: bool = False) -> None:
        """End the connection behind a descriptor, if it is still a connected unix or TCP socket.

        libzmq closes a lost connection in its own thread, and the kernel gives the number to the next one: with `held`
        the socket must be the one that was remembered, or a stranger would be cut.
        """
        wanted = self._held.pop(fd, None)
        try:
            copy = os.dup(fd)
        except OSError:
            return  # it ended by itself
        try:
            found = os.fstat(copy)
            if not stat.S_ISSOCK(found.st_mode) or (held and found.st_ino != wanted):
                os.close(copy)
                return
            with socket.socket(fileno=copy) as connection:
                connection.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            log.debug("descriptor %d was gone before it was cut: %s", fd, error)


def origin(fd: int) -> str:
    """The network address at the other end of a descriptor; empty when it is local or gone."""
    try:
        copy = os.dup(fd)
    except OSError:
        return ""
    try:
        with socket.socket(fileno=copy) as connection:
            if connection.family not in (socket.AF_INET, socket.AF_INET6):
                return ""
            return str(connection.getpeername()[0]).removeprefix("::ffff:")
    except OSError:
        return ""
