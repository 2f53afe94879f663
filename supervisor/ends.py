"""What connects the root to a child that is about to be made: a control channel and a pipe for what it prints.

Here belongs making both together or neither, and saying no before the last descriptor is gone: the root needs some for
its own work, and one more for each child that the launcher has not reported yet.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from types import TracebackType

from supervisor.channel import Channel, Output

RESERVE = 32  # descriptors kept for the root's own work: status, /proc, another zygote
IN_FLIGHT = 3  # copies of a child's ends until the launcher has taken them


class NoDescriptors(Exception):
    """There are not enough descriptors for another child; the text says what would help."""


class Ends:
    """`channel`, `output`: the root's. `theirs`, `write`: the child's, closed here when the `with` block is left."""

    def __init__(self, awaited: int) -> None:
        """`awaited`: how many children have been asked for whose handles are still to come. Raises NoDescriptors."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        with contextlib.ExitStack() as undo:
            try:
                ours, theirs = socket.socketpair()
                undo.callback(ours.close)
                undo.callback(theirs.close)
                read, write = os.pipe()
            except OSError:
                raise NoDescriptors(_told(limit)) from None
            undo.callback(os.close, read)
            undo.callback(os.close, write)
            # The kernel gives out the lowest free number, so all below it are in use.
            if limit != resource.RLIM_INFINITY and write + awaited + IN_FLIGHT + RESERVE >= limit:
                raise NoDescriptors(_told(limit))
            undo.pop_all()
        self.channel, self.output = Channel(ours), Output(read)
        self._theirs = theirs
        self.theirs, self.write = theirs.fileno(), write

    def __enter__(self) -> Ends:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._theirs.close()
        os.close(self.write)


def _told(limit: int) -> str:
    return (
        f"no descriptors for another child: the limit is {limit} (RLIMIT_NOFILE) and each takes three; "
        "raise the hard limit (ulimit -Hn, LimitNOFILE= of systemd, --ulimit of docker)"
    )
