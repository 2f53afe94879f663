"""A model server that costs next to nothing: prebuilt events on a clock tick, to any number of streams, in one thread.

It speaks Anthropic Messages and OpenAI Chat Completions on a free port of 127.0.0.1. The model's name says what is
answered: `r50` is 50 tokens a second without end, `r50n20` ends after 20. The text of each token is the moment at which it
was sent, in microseconds of the monotonic clock, in WIDTH characters: whoever reads it knows how late it is, also when
several were joined. Streams are spread over the ticks, as they are in the world; one that is not read gets its tokens late.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass, field

from stand import say

WIDTH = 17  # sixteen digits and a space
TICK = 0.002  # seconds
_MODEL = re.compile(rb'"model": ?"r(\d+)(?:n(\d+))?"')
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
_DIGITS = b"0" * (WIDTH - 1) + b" "


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(kind: str, data: str) -> bytes:
    return f"event: {kind}\ndata: {data}\n\n".encode()


@dataclass(frozen=True)
class Wire:
    """The bytes of one format: before the first token, around the moment in each token, after the last one."""

    begin: bytes
    token: tuple[bytes, bytes]
    end: bytes


def _wire(begin: bytes, token: bytes, end: bytes) -> Wire:
    before, _, behind = _chunk(token).partition(_DIGITS)
    return Wire(_HEAD + (_chunk(begin) if begin else b""), (before, behind), _chunk(end) + b"0\r\n\r\n")


_USAGE = '{"input_tokens": 10, "output_tokens": 1}'
ANTHROPIC = _wire(
    _event(
        "message_start",
        '{"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "content": [], '
        f'"model": "m", "stop_reason": null, "usage": {_USAGE}}}}}',
    )
    + _event(
        "content_block_start",
        '{"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}',
    ),
    _event(
        "content_block_delta",
        f'{{"type": "content_block_delta", "index": 0, "delta": {{"type": "text_delta", "text": "{_DIGITS.decode()}"}}}}',
    ),
    _event("content_block_stop", '{"type": "content_block_stop", "index": 0}')
    + _event("message_delta", f'{{"type": "message_delta", "delta": {{"stop_reason": "end_turn"}}, "usage": {_USAGE}}}')
    + _event("message_stop", '{"type": "message_stop"}'),
)
_COMMON = '"id": "chatcmpl-0123456789", "object": "chat.completion.chunk", "created": 1700000000, "model": "m"'
OPENAI = _wire(
    b"",
    f'data: {{{_COMMON}, "choices": [{{"index": 0, "delta": {{"content": "{_DIGITS.decode()}"}}, '
    '"finish_reason": null}]}\n\n'.encode(),
    f'data: {{{_COMMON}, "choices": [{{"index": 0, "delta": {{}}, "finish_reason": "stop"}}]}}\n\n'
    f'data: {{{_COMMON}, "choices": [], "usage": {{"prompt_tokens": 10, "completion_tokens": 1}}}}\n\n'
    "data: [DONE]\n\n".encode(),
)


def moment() -> bytes:
    return b"%016d " % (time.monotonic_ns() // 1000)


@dataclass(eq=False)
class Stream:
    """One connection: what it has asked so far, and what it is being told."""

    sock: socket.socket
    asked: bytearray = field(default_factory=bytearray)
    wire: Wire = ANTHROPIC
    left: int = 0  # tokens to be sent; -1: without end
    kept: bytearray = field(default_factory=bytearray)  # what the socket did not take
    place: int = -1  # among the ticks


class Server:
    """One thread, one epoll. `ticks` has the streams of each tick of a second."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.listener.setblocking(False)
        self.epoll = select.epoll()
        self.epoll.register(self.listener, select.EPOLLIN)
        self.epoll.register(sys.stdin, select.EPOLLIN)
        self.streams: dict[int, Stream] = {}
        self.periods: dict[int, list[set[Stream]]] = {}  # ticks between two tokens -> the streams of each of them
        self.next_place = 0

    def serve(self) -> None:
        """Until nobody holds our standard input any more."""
        stdin, door = sys.stdin.fileno(), self.listener.fileno()
        started, ticks = time.monotonic(), 0
        while True:
            wait = max(0.0, started + (ticks + 1) * TICK - time.monotonic()) if self.periods else 1.0
            for descriptor, _ in self.epoll.poll(wait):
                if descriptor == stdin:
                    return
                if descriptor == door:
                    self.accept()
                else:
                    self.heard(self.streams[descriptor])
            while started + (ticks + 1) * TICK <= time.monotonic():
                ticks += 1
                self.tick(ticks)

    def accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = self.listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.streams[sock.fileno()] = Stream(sock)
                self.epoll.register(sock, select.EPOLLIN)

    def heard(self, stream: Stream) -> None:
        try:
            data = stream.sock.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self.drop(stream)
            return
        stream.asked += data
        head, found, body = stream.asked.partition(b"\r\n\r\n")
        length = _LENGTH.search(head) if found else None
        if length is not None and len(body) >= int(length[1]):
            self.begin(stream, head, body)
            stream.asked.clear()

    def begin(self, stream: Stream, head: bytes, body: bytes) -> None:
        asked = _MODEL.search(body)
        assert asked is not None, body[:200]
        rate, count = int(asked[1]), int(asked[2] or -1)
        stream.wire = ANTHROPIC if b"/messages" in head.split(b"\r\n", 1)[0] else OPENAI
        stream.left = count
        before, behind = stream.wire.token
        self.send(stream, stream.wire.begin)
        if self.step(stream, before + moment() + behind):
            period = max(1, round(1 / rate / TICK))
            self.next_place += 1
            stream.place = self.next_place * 7 % period
            self.periods.setdefault(period, [set() for _ in range(period)])[stream.place].add(stream)

    def tick(self, number: int) -> None:
        for period, places in self.periods.items():
            due = places[number % period]
            if not due:
                continue
            now = moment()
            tokens = {wire: now.join(wire.token) for wire in (ANTHROPIC, OPENAI)}
            for stream in tuple(due):
                if not self.step(stream, tokens[stream.wire]):
                    due.discard(stream)

    def step(self, stream: Stream, token: bytes) -> bool:
        """Send a token, and the end behind the last one. False when there is nothing more to send."""
        stream.left -= 1
        self.send(stream, token + stream.wire.end if stream.left == 0 else token)
        return stream.left != 0

    def send(self, stream: Stream, data: bytes) -> None:
        if stream.kept:
            stream.kept += data
            data = bytes(stream.kept)
            stream.kept.clear()
        try:
            sent = stream.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # it has left: its end is read next
        if sent < len(data):
            stream.kept += data[sent:]

    def drop(self, stream: Stream) -> None:
        for places in self.periods.values():
            for place in places:
                place.discard(stream)
        self.epoll.unregister(stream.sock)
        del self.streams[stream.sock.fileno()]
        stream.sock.close()


def main() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # with who started it, also when that is killed
    server = Server()
    say({"port": server.listener.getsockname()[1]})
    server.serve()


if __name__ == "__main__":
    main()
