"""The root's ends of what connects it to a child: JSON lines on a socket, and the lines that it prints.

Neither side ever blocks the root: what a child does not read is kept up to a bound and then its fault, what it writes
is read in bounded portions. What the messages mean is `root`'s business.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import termios
from collections import deque
from typing import Any

OUTPUT_LIMIT = 16 << 20  # bytes that may wait for a child that does not read
LINE_LIMIT = 8 << 20  # bytes of one message from a child
DEPTH_LIMIT = 100  # levels of one message: deeper ones could not be written out again by Python's json
PORTION = 1 << 16
TAIL_LINES = 40  # a traceback of asyncio is 25
TAIL_WIDTH = 2000

# What a terminal obeys rather than shows; some answers are typed into the shell of whoever looks at a log.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code != ord("\t")}

_DECODER = json.JSONDecoder(parse_constant=str)


def visible(text: str) -> str:
    """The text with its control characters (but the tab) written out, as `\\x1b`."""
    return text if text.isprintable() else text.translate(_CONTROLS)


class ChannelFault(Exception):
    """The child broke the rules of the channel; the text says how. It is killed for it."""


class Channel:
    """JSON lines to and from one child."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.ended = False
        self._out: deque[bytes] = deque()
        self._waiting = 0
        self._in = bytearray()
        self._fault = ""
        sock.setblocking(False)

    def fileno(self) -> int:
        return self.socket.fileno()

    @property
    def wants_write(self) -> bool:
        return bool(self._out)

    def send(self, message: dict[str, Any]) -> None:
        """Queue a message and send what the child takes now. Raises ChannelFault when it has not read for too long."""
        if self.ended:
            return
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        if self._waiting + len(data) > OUTPUT_LIMIT and self._out:
            raise ChannelFault(f"does not read its control channel: {self._waiting} bytes are waiting")
        self._out.append(data)
        self._waiting += len(data)
        self.flush()

    def flush(self) -> None:
        """Send what is waiting, as far as it goes."""
        while self._out:
            data = self._out[0]
            try:
                sent = self.socket.send(data)
            except BlockingIOError:
                return
            except OSError:  # the child closed its end; its exit is reported by its pidfd
                self._out.clear()
                self._waiting = 0
                return
            self._waiting -= sent
            if sent == len(data):
                self._out.popleft()
            else:
                self._out[0] = data[sent:]

    def unread(self) -> bool:
        """True while the child has not read all that was sent (SIOCOUTQ: bytes the receiver has not taken)."""
        if self._out:
            return True
        try:
            return bool(struct.unpack("i", fcntl.ioctl(self.socket, termios.TIOCOUTQ, b"\0" * 4))[0])
        except OSError:
            return False

    @property
    def faulty(self) -> bool:
        """The next `receive` will raise."""
        return bool(self._fault)

    def receive(self) -> list[dict[str, Any]]:
        """The messages that have arrived, at most a portion's worth. Sets `ended` at the end.

        Raises ChannelFault, but only after what came before the fault has been given.
        """
        if self._fault:
            raise ChannelFault(self._fault)
        try:
            data = self.socket.recv(PORTION)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.ended = True
            return []
        self._in += data
        messages: list[dict[str, Any]] = []
        if b"\n" in data:
            *lines, self._in = self._in.split(b"\n")
            for line in lines:
                message = _parse(line)
                if message is None:
                    self._fault = f"sent what is no message: {bytes(line[:80])!r}"
                    break
                messages.append(message)
        if len(self._in) > LINE_LIMIT:
            self._fault = self._fault or f"sent a message of more than {LINE_LIMIT} bytes"
        if self._fault and not messages:
            raise ChannelFault(self._fault)
        return messages

    def close(self) -> None:
        self.socket.close()
        self._out.clear()


def _parse(line: bytes | bytearray) -> dict[str, Any] | None:
    """The message of a line, such that it can be written out again anywhere; None when it is none.

    Halves of surrogate pairs (as in names of files that are no UTF-8) become "?", which UTF-8 can express. NaN and
    Infinity, which are no JSON, become texts.
    """
    try:
        message = _DECODER.decode(line.decode())
        if b"\\u" in line:
            json.dumps(message, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        message = json.loads(json.dumps(message, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or _too_deep(line, message):
        return None
    return message


def _too_deep(line: bytes | bytearray, message: Any) -> bool:
    if line.count(b"{") + line.count(b"[") <= DEPTH_LIMIT:
        return False
    level = [message]
    for _ in range(DEPTH_LIMIT):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
    return bool(level)


class Output:
    """What a process prints: whole lines, of which the last ones are kept."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.ended = False
        self._partial = b""
        os.set_blocking(fd, False)

    def fileno(self) -> int:
        return self.fd

    def read(self) -> list[str]:
        """The lines that have come, at most a portion's worth. Sets `ended` when nobody can write any more."""
        try:
            data = os.read(self.fd, PORTION)
        except BlockingIOError:
            return []
        if not data:
            self.ended = True
            rest, self._partial = self._partial, b""
            return self._keep([rest] if rest else [])
        *lines, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > PORTION:  # a line without end is cut, not collected
            lines.append(self._partial)
            self._partial = b""
        return self._keep(lines)

    def drain(self) -> list[str]:
        """What is left after the writer's death; does not wait for others that may hold the pipe. Bounded."""
        lines: list[str] = []
        for _ in range(16):
            before = len(lines)
            lines += self.read()
            if self.ended or len(lines) == before:
                break
        if self._partial:
            lines += self._keep([self._partial])
            self._partial = b""
        return lines

    def close(self) -> None:
        os.close(self.fd)

    def _keep(self, lines: list[bytes]) -> list[str]:
        texts = [visible(line[:TAIL_WIDTH].decode("utf-8", "replace").rstrip("\r")) for line in lines]
        self.tail.extend(texts)
        return texts
