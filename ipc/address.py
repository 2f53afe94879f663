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

    `inline`: events come on the main connection. One connection costs a peer and the bus half of two; for whoever reads
    a few topics that nobody else reads. What many read is spread by libzmq on the event socket, for less than by the bus.

    Raises LocalProtocolError when a socket path would not fit into a unix address.
    """

    directory: str
    inline: bool = False

    def __init__(self, directory: str | os.PathLike[str], inline: bool = False) -> None:
        object.__setattr__(self, "inline", inline)
        object.__setattr__(self, "directory", os.path.abspath(os.fspath(directory)))
        path = os.path.join(self.directory, "events")
        if len(os.fsencode(path)) > _LONGEST:
            raise LocalProtocolError(
                f"socket path {path!r} has {len(os.fsencode(path))} bytes, unix sockets take {_LONGEST}: "
                "put the bus into a directory with a shorter path, e.g. below $XDG_RUNTIME_DIR"
            )

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
