"""Where a bus is: a directory that holds its sockets.

Paths and their checks only; nothing here opens a socket.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ipc.errors import LocalProtocolError

_PLAIN_USERNAME, _PLAIN_PASSWORD = 45, 46  # zmq.h; this module does not load ZeroMQ
_LONGEST = 107  # sun_path of Linux, less the closing zero


@dataclass(frozen=True)
class Address:
    """A directory with the two sockets of a bus: `bus` (ROUTER) and `events` (XPUB).

    Raises LocalProtocolError when a socket path would not fit into a unix address.
    """

    directory: str

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        object.__setattr__(self, "directory", os.path.abspath(os.fspath(directory)))
        path = os.path.join(self.directory, "events")
        if len(os.fsencode(path)) > _LONGEST:
            raise LocalProtocolError(
                f"socket path {path!r} has {len(os.fsencode(path))} bytes, unix sockets take {_LONGEST}: "
                "put the bus into a directory with a shorter path, e.g. below $XDG_RUNTIME_DIR"
            )

    inline = False  # events come on a connection of their own

    def __str__(self) -> str:
        return self.directory

    def options(self, user: str, credential: str) -> tuple[tuple[int, int | bytes], ...]:
        """Socket options of a connection of this user."""
        return ((_PLAIN_USERNAME, user.encode()), (_PLAIN_PASSWORD, credential.encode()))

    @property
    def bus(self) -> str:
        """Endpoint of everything a peer sends and of all answers."""
        return f"ipc://{self.directory}/bus"

    @property
    def events(self) -> str:
        """Endpoint of published events."""
        return f"ipc://{self.directory}/events"
