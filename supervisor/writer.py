"""Writing lines for people without ever waiting for whoever reads them.

A terminal under ^S, a pager, a log collector that hangs: a blocked write would stop the root, and with it every
restart. Here a thread waits instead; beyond a bound lines are dropped and counted. Used by `python -m supervisor run`,
and for applications that log from the root.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque

LIMIT = 1 << 20  # bytes that may wait for the reader


class Writer:
    """Lines to a descriptor, in order. The descriptor stays the caller's."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._lines: deque[bytes] = deque()
        self._waiting = 0
        self._dropped = 0
        self._changed = threading.Condition()
        self._closed = False
        # A daemon: one that hangs in a write must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Give one line, without its newline; returns at once."""
        data = line.encode("utf-8", "replace") + b"\n"
        with self._changed:
            if self._waiting + len(data) > LIMIT:
                self._dropped += 1
                return
            if self._dropped:
                self._lines.append(b"... %d lines were dropped here: nobody read them\n" % self._dropped)
                self._dropped = 0
            self._lines.append(data)
            self._waiting += len(data)
            self._changed.notify()

    def close(self, patience: float = 1.0) -> None:
        """Give the reader at most `patience` seconds more."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(patience)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._closed)
                if not self._lines:
                    return
                data = b"".join(self._lines)
                self._lines.clear()
            size = len(data)
            try:
                while data:
                    data = data[os.write(self.fd, data) :]
            except OSError:
                pass  # the reader is gone for good; there is nobody to tell
            with self._changed:
                self._waiting = max(0, self._waiting - size)


class WriterHandler(logging.Handler):
    """Log records through a Writer."""

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self.writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        self.writer.write(self.format(record))

    def close(self) -> None:
        """Also called by `logging` when the interpreter ends."""
        self.writer.close()
        super().close()
