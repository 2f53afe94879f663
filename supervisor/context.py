"""What a child process holds of its supervisor: its name, its control channel, its heartbeat.

Here belongs the child's end only. The messages are JSON, one a line; the root's end is `root`, the asyncio face `aio`.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import socket
import sys
import time
from typing import Any, NoReturn

EXIT_OK = 0  # normal: the work is done
EXIT_EXCEPTION = 1  # the entry point raised; the traceback is on stderr
EXIT_SETUP = 71  # the jail, a limit or the entry point could not be set up (EX_OSERR)
EXIT_PLANNED = 75  # planned exit (EX_TEMPFAIL): start it again at once, not counted as a crash
EXIT_SHUTDOWN = 76  # "I was told to end": a transient child is not started again
CHILD_EXIT_CODES = {
    EXIT_OK: "normal end",
    EXIT_EXCEPTION: "the entry point raised",
    EXIT_SETUP: "the process could not be set up: confinement, limits, entry point",
    EXIT_PLANNED: "planned exit, if announced on the control channel; else a crash",
    EXIT_SHUTDOWN: "it says that it was told to end (OTP's `shutdown`)",
}


class Context:
    """One life of one child. Made by the launcher and handed to the entry point.

    name, incarnation, supervisor (tree path of the parent), handover (from the launch hook), files (descriptors from
    there, by name; this process's own), level (confinement reached). It belongs to the process that it was made for:
    in a fork of it every method raises RuntimeError.
    """

    def __init__(self, channel: socket.socket, boot: dict[str, Any], beats: mmap.mmap | None, level: str) -> None:
        self.name: str = boot["name"]
        self.incarnation: int = boot["incarnation"]
        self.supervisor: str = boot["supervisor"]
        self.handover: dict[str, Any] = boot.get("handover") or {}
        self.files: dict[str, int] = {}
        self.level = level
        self._channel = channel
        self._beats = memoryview(beats).cast("Q") if beats is not None else None
        self._pid = os.getpid()
        self._buffer = bytearray()
        self._last_request = 0
        self._ready = False
        self._ended = False

    def ready(self, **info: Any) -> None:
        """Say that this process can do its work. Once; `info` (JSON) is shown in status."""
        if self._ready:
            raise RuntimeError(f"{self.name} has already said ready(); say it once, when the process can do its work")
        self._ready = True
        self.beat()
        self._send({"ready": info})

    def beat(self) -> None:
        """Tick the heartbeat slot: a store to shared memory, no message. Does nothing when no heartbeat is set."""
        if self._beats is not None:
            self._beats[0] = time.monotonic_ns()

    def planned_exit(self, reason: str) -> NoReturn:
        """Tell the root that this exit is meant (handoff, reload), then leave. Call it from the main thread."""
        self._send({"planned_exit": reason})
        sys.exit(EXIT_PLANNED)

    def fileno(self) -> int:
        """The control channel, non-blocking, for a selector."""
        return self._channel.fileno()

    def receive(self) -> list[dict[str, Any]]:
        """Every message that has arrived; never blocks. Raises EOFError when the root is gone and all was read."""
        self._own()
        while not self._ended:
            try:
                data = self._channel.recv(65536)
            except BlockingIOError:
                break
            except ConnectionError:
                data = b""
            if not data:
                self._ended = True
                break
            self._buffer += data
        lines = self._buffer.split(b"\n")
        self._buffer = lines.pop()
        if not lines and self._ended:
            raise EOFError(f"{self.name}: the supervisor is gone")
        return [json.loads(line) for line in lines]

    def request(self, method: str, **params: Any) -> int:
        """Ask the root for something; returns the number that the answer will carry."""
        self._last_request += 1
        self._send({"request": self._last_request, "method": method, "params": params})
        return self._last_request

    def _send(self, message: dict[str, Any]) -> None:
        self._own()
        data = memoryview(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        while data:
            try:
                data = data[self._channel.send(data) :]
            except BlockingIOError:  # the root reads all the time; this is a matter of microseconds
                select.select([], [self._channel], [])
            except ConnectionError:
                raise EOFError(f"{self.name}: the supervisor is gone") from None

    def _own(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError(
                f"the Context of {self.name} belongs to process {self._pid} and was used in {os.getpid()}: "
                "a forked helper must not speak for its parent"
            )
