"""Brings the configuration file to the process that may read it: opens it, reads nothing, sends the descriptor.

The process `llm` sees no file beyond what it is given. A descriptor is that file and no other, wherever it lies and
whatever leads to it; after an editor has put another file in its place, another descriptor comes. The looking is done in
a thread: on a network disk that has gone, `stat` waits for ever, and the root may not.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOOK_EVERY = 0.5  # seconds; a change is sent once the file has been the same twice

Sight = tuple[int, ...] | str


def sight(path: Path) -> Sight:
    """What tells one state of a file from another; a word for why there is none."""
    try:
        info = os.stat(path)
    except OSError as error:
        return error.strerror or type(error).__name__
    return (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


class Courier:
    """One file, and the process that it is brought to. `line` is called for each life of that process, in the root's own
    thread; it does not block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._ended = False
        self._new = False
        self._sent: Sight | None = None

    def line(self) -> int:
        """The descriptor of a new connection, for a process about to be started: the file as it is comes first. It stays
        open here until the next one."""
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ends[0].setblocking(False)
        with self._lock:
            self._hang_up()
            self._ends, self._new = ends, True
        self._wake.set()
        return ends[1].fileno()

    def run(self) -> None:
        """In a thread, until `close`."""
        before: Sight | None = None
        while not self._ended:
            now = sight(self.path)
            with self._lock:
                due = self._new or (now == before and now != self._sent)
                if due and self._ends is not None:
                    self._new = False
                    self._sent = now
                    _send(self._ends[0], self.path)
            before = now
            self._wake.wait(LOOK_EVERY)
            self._wake.clear()

    def close(self) -> None:
        self._ended = True
        self._wake.set()
        with self._lock:
            self._hang_up()

    def _hang_up(self) -> None:
        for end in self._ends or ():
            end.close()
        self._ends = None


@contextmanager
def courier(path: Path) -> Iterator[Courier]:
    """A courier at work."""
    found = Courier(path)
    threading.Thread(target=found.run, name="courier", daemon=True).start()
    try:
        yield found
    finally:
        found.close()


def _send(end: socket.socket, path: Path) -> None:
    with contextlib.suppress(OSError):  # nobody reads any more: the next life gets a line of its own
        try:
            # O_NONBLOCK: a pipe in its place must not hold us.
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            end.send(json.dumps({"missing": True}).encode())
            return
        except OSError as error:
            end.send(json.dumps({"error": error.strerror}).encode())
            return
        try:
            socket.send_fds(end, [b"{}"], [fd])
        finally:
            os.close(fd)
