"""A server that has every fault: raw sockets in threads, whose answers are lists of steps, and steps are data.

No HTTP library: what is wrong here must be wrong on the wire. It reads a request, whatever it is, and takes the steps of
its answer: bytes are sent as they are; the others are below. The first answer is for the first request of all; the last
one is repeated. What the other side did is counted: connections, requests, and whether it left while a step went on. Who
asks which models there are (GET), on its own account and beside the calls, is told "not here" and is not counted.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Silence:
    """Nothing, until the other side leaves."""


@dataclass(frozen=True)
class Endless:
    """These bytes again and again, until the other side leaves, or `most` bytes were sent."""

    piece: bytes
    most: int = 1 << 30


@dataclass(frozen=True)
class Drip:
    """These bytes every so many seconds, until the other side leaves."""

    piece: bytes
    every: float = 0.05


@dataclass(frozen=True)
class Reset:
    """RST instead of a polite end."""


@dataclass(frozen=True)
class Again:
    """The connection is good for another request."""


@dataclass(frozen=True)
class HangUp:
    """As `Again`, but the connection is closed when the test says so: `Faulty.hang_up`."""


@dataclass(frozen=True)
class Deaf:
    """Before anything is read: nothing at all, until the other side leaves. Also no TLS."""


Step = bytes | Silence | Endless | Drip | Reset | Again | HangUp | Deaf
Answer = Sequence[Step]


class Faulty:
    """The server, on a free port of `host`. A context manager."""

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self.sent = 0  # bytes of answers that the other side, or its kernel, took
        self.reached = threading.Event()  # a step without end goes on
        self.left = threading.Event()  # the other side closed the connection during a step
        self.hang_up = threading.Event()
        self._answers = answers
        self._tls = tls
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=64)
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._asked: set[socket.socket] = set()  # connections on which requests came
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.hang_up.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), thread.name

    @property
    def lines(self) -> int:
        """Connections on which there was a request."""
        return len(self._asked)

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name="faulty server", daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            if any(isinstance(step, Deaf) for step in self._answer(len(self.requests))):
                self._silence(connection)
                return
            with contextlib.suppress(OSError):  # also what TLS finds fault with
                if self._tls is not None:
                    with self._lock:
                        self._open.discard(connection)
                    connection = self._tls.wrap_socket(connection, server_side=True)
                    with self._lock:
                        self._open.add(connection)
                while self._exchange(connection):
                    pass
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _answer(self, number: int) -> Answer:
        return self._answers[min(number, len(self._answers) - 1)] if self._answers else ()

    def _exchange(self, connection: socket.socket) -> bool:
        """One request and its answer; True when the connection is good for another."""
        while (request := _request(connection)).startswith(b"GET "):
            connection.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        if not request:
            return False
        with self._lock:
            self._asked.add(connection)
            self.requests.append(request)
            answer = self._answer(len(self.requests) - 1)
        for step in answer:
            match step:
                case bytes():
                    connection.sendall(step)
                    self.sent += len(step)
                case Silence():
                    self._silence(connection)
                    return False
                case Endless(piece, most):
                    self._endless(connection, piece, most)
                case Drip(piece, every):
                    self._drip(connection, piece, every)
                case Reset():
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return False
                case Again():
                    return True
                case HangUp():
                    self.reached.set()
                    self.hang_up.wait(30)
                    return False
        return False

    def _silence(self, connection: socket.socket) -> None:
        self.reached.set()
        with contextlib.suppress(OSError):
            while connection.recv(65536):
                pass
        self._gone()

    def _endless(self, connection: socket.socket, piece: bytes, most: int) -> None:
        block = piece * max(1, 65536 // len(piece))
        begun = self.sent
        try:
            while self.sent - begun < most:
                connection.sendall(block)
                self.sent += len(block)
                self.reached.set()
        except OSError:
            self._gone()
            raise

    def _drip(self, connection: socket.socket, piece: bytes, every: float) -> None:
        connection.settimeout(every)  # what waits between two drips also hears the other side leave
        with contextlib.suppress(ConnectionError):
            while not self._over.is_set():
                connection.sendall(piece)
                self.sent += len(piece)
                self.reached.set()
                try:
                    if not connection.recv(65536):
                        break
                except TimeoutError:
                    continue
        self._gone()

    def _gone(self) -> None:
        if not self._over.is_set():
            self.left.set()


def _request(connection: socket.socket) -> bytes:
    """The bytes of one request; empty when none comes."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (
            int(v)
            for k, _, v in (line.partition(b":") for line in head.split(b"\r\n"))
            if k.lower() == b"content-length"
        ),
        0,
    )
    while len(body) < length:
        piece = connection.recv(65536)
        if not piece:
            return b""
        body += piece
    return head + b"\r\n\r\n" + body


# ---- what a provider says, in bytes


def head(status: str = "200 OK", kind: str = "text/event-stream", **headers: str) -> bytes:
    """The head of an answer whose body ends with the connection."""
    lines = {"content-type": kind, "connection": "close", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return f"HTTP/1.1 {status}\r\n".encode() + b"".join(f"{k}: {v}\r\n".encode() for k, v in lines.items()) + b"\r\n"


CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def said(wire: str, text: str) -> bytes:
    """The beginning of an answer: these words."""
    if wire == "anthropic":
        return (
            b'data: {"type": "message_start", "message": {"usage": {"input_tokens": 3}}}\n\n'
            b'data: {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}\n\n'
            + more(wire, text)
        )
    return more(wire, text)


def more(wire: str, text: str) -> bytes:
    """Further words."""
    if wire == "anthropic":
        delta = b'{"type": "text_delta", "text": "%b"}' % text.encode()
        return b'data: {"type": "content_block_delta", "index": 0, "delta": %b}\n\n' % delta
    return b'data: {"choices": [{"index": 0, "delta": {"content": "%b"}, "finish_reason": null}]}\n\n' % text.encode()


def used(wire: str, number: int, arguments: str = "{}") -> bytes:
    """A call of the tool `look`; `arguments` are JSON."""
    text = json.dumps(arguments).encode()
    if wire == "anthropic":
        block = b'{"type": "tool_use", "id": "toolu_%d", "name": "look", "input": {}}' % number
        return (
            b'data: {"type": "content_block_start", "index": %d, "content_block": %b}\n\n' % (number, block)
            + b'data: {"type": "content_block_delta", "index": %d, "delta": {"type": "input_json_delta", "partial_json": %b}}\n\n'
            % (number, text)
            + b'data: {"type": "content_block_stop", "index": %d}\n\n' % number
        )
    call = b'{"index": %d, "id": "c%d", "function": {"name": "look", "arguments": %b}}' % (number, number, text)
    return b'data: {"choices": [{"index": 0, "delta": {"tool_calls": [%b]}}]}\n\n' % call


def ended(wire: str) -> bytes:
    """The end of an answer."""
    if wire == "anthropic":
        return (
            b'data: {"type": "content_block_stop", "index": 0}\n\n'
            b'data: {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}\n\n'
            b'data: {"type": "message_stop"}\n\n'
        )
    return b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


def whole(wire: str, text: str = "Whole.") -> bytes:
    """An answer, chunked, after which the connection can be used again."""
    return CHUNKED + chunk(said(wire, text) + ended(wire)) + b"0\r\n\r\n"
