"""A child forked ahead of time: it waits, like its zygote and nobody yet, for the next request.

Here belongs the waiting and the handing over, both ends. Forking takes as long as everything else that happens between
a child's death and its successor's first line of code, so it is done while nothing else is asked for. What is given to
a waiting child, and whether one is made, is the zygote's to say.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection
from typing import Any, NoReturn

from supervisor.jail import linux
from supervisor.zygote import child, datagrams

MESSAGE = 1 << 17


class Ahead:
    """At most one waiting child. `pid` is 0 while there is none."""

    def __init__(self) -> None:
        self.pid = 0
        self._socket: socket.socket | None = None

    def make(
        self,
        keep: Collection[int],
        become: Callable[[dict[str, Any], list[int]], NoReturn],
        name: Callable[[], None],
        fork: Callable[[], int],
    ) -> None:
        """Fork one, by `fork`. In it every descriptor but `keep` is closed, and `become(request, fds)` is called when it is asked for.

        name: gives it a title until then. Raises OSError when the machine has no room for it.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            zygote = os.getpid()
            pid = fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            _wait(theirs, keep, zygote, become, name)
        theirs.close()
        self.pid, self._socket = pid, ours

    def give(self, request: dict[str, Any], fds: list[int]) -> int:
        """Make the waiting child the one that is asked for. Its pid, or 0: there was none, or it was dead."""
        pid, channel = self.pid, self._socket
        self.pid, self._socket = 0, None
        if channel is None:
            return 0
        with channel:
            try:
                datagrams.send(channel, request, fds)
            except OSError:  # killed while it waited, or a request beyond what a datagram holds
                return 0
        return pid

    def drop(self) -> None:
        """Let the waiting child go: it ends by itself."""
        if self._socket is not None:
            self._socket.close()
        self.pid, self._socket = 0, None


def _wait(
    channel: socket.socket,
    keep: Collection[int],
    zygote: int,
    become: Callable[[dict[str, Any], list[int]], NoReturn],
    name: Callable[[], None],
) -> NoReturn:
    try:
        child.detach(zygote)
        name()
        # Above all the zygote's way to the root: with a copy of it here the root would not hear the zygote end.
        os.dup2(channel.detach(), child.CONTROL_FD, inheritable=False)  # a place that nothing given may take
        linux.close_all_but((0, 1, 2, child.CONTROL_FD, *keep))
        channel = socket.socket(fileno=child.CONTROL_FD)
        request, fds = datagrams.receive(channel, MESSAGE, child.MOST_FDS)
        channel.detach()
        if request is not None:
            become(request, fds)
    finally:
        os._exit(0)
