"""A client written from docs/protocol.md alone: plain blocking ZeroMQ and msgpack, nothing of ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import zmq

PAYLOAD_COST = 64
pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode


class Problem(Exception):
    """Rejected, Failed or Error: its arguments are the fields."""


class Client:
    """Connects, says Hello, calls, reads streams and events, answers Marks."""

    def __init__(self, directory: str, user: str, password: str, version: int = 1) -> None:
        self.directory = directory
        self.context = zmq.Context()
        self.id = 0
        self.events: zmq.Socket[bytes] | None = None
        try:
            self._join(user, password, version)
        except BaseException:  # raised again
            self.context.destroy(0)
            raise

    def _join(self, user: str, password: str, version: int) -> None:
        self.main = self._socket(zmq.DEALER, user, password)
        self.main.immediate = 1
        watch = self.main.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH)
        watch.rcvtimeo = 5000
        self.main.connect(f"ipc://{self.directory}/bus")
        event = int.from_bytes(watch.recv_multipart()[0][:2], "little")
        self.main.disable_monitor()
        watch.close()
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            raise Problem("handshake", "wrong user name or password")
        self.send([1, "egghead-ipc", version, "minimal"])
        kind, fields, _ = self.receive()
        if kind == 33:
            raise Problem(*fields)
        _, self.name, self.incarnation, self.epoch, self.secret, self.marks, self.frame, self.window = fields

    def _socket(self, kind: int, user: str, password: str) -> zmq.Socket[bytes]:
        made = self.context.socket(kind)
        made.linger = 0
        made.rcvhwm = 0
        made.rcvtimeo = 5000
        made.plain_username, made.plain_password = user.encode(), password.encode()
        return made

    def send(self, header: list[Any], *payload: Any) -> None:
        self.main.send_multipart([pack(header), *(pack(value) for value in payload)])

    def receive(self) -> tuple[int, list[Any], bytes | None]:
        while True:
            header, *payload = self.main.recv_multipart()
            kind, *fields = unpack(header)
            if kind != 16:
                return kind, fields, payload[0] if payload else None
            self.send([17, fields[0], False])

    def _ask(self, header: list[Any], params: dict[str, Any]) -> None:
        self.id += 1
        self.send([header[0], self.id, *header[1:]], params)

    def _answers(self) -> Iterator[Any]:
        while True:
            kind, fields, payload = self.receive()
            if kind not in (6, 7, 8, 9, 36) or fields[0] != self.id:
                continue
            if kind in (7, 36):
                raise Problem(*fields[1:])
            if kind == 9:
                return
            yield unpack(payload or b"\xc0")
            if kind == 6:
                return
            self.send([10, self.id, len(payload or b"") + PAYLOAD_COST])

    def call(self, target: str, method: str, **params: Any) -> Any:
        self._ask([3, target, method, 5000], params)
        return next(self._answers())

    def stream(self, target: str, method: str, **params: Any) -> Iterator[Any]:
        self._ask([4, target, method, 5000, 100_000], params)
        return self._answers()

    def cancel(self) -> None:
        self.send([11, self.id])

    def publish(self, topic: str, seq: int, data: Any) -> None:
        self.send([12, topic, seq], data)

    def subscribe(self, prefix: str) -> None:
        if self.events is None:
            self.events = self._socket(zmq.SUB, "events", self.secret)
            self.events.connect(f"ipc://{self.directory}/events")
            self.events.subscribe(self.marks)
        self.events.subscribe(prefix)
        while True:
            kind, fields, _ = self.receive()
            if kind == 38 and fields[0] == prefix:
                raise Problem(*fields)
            if kind == 37 and fields[0] == prefix:
                return

    def event(self) -> tuple[str, list[Any], Any]:
        assert self.events is not None
        while True:
            topic, header, *payload = self.events.recv_multipart()
            kind, *fields = unpack(header)
            if kind == 16:
                self.send([17, fields[0], True])
            elif kind == 48:
                return topic.decode(), fields, unpack(payload[0])

    def serve_one(self, answers: dict[str, Any]) -> tuple[str, int, str]:
        """Answer one request from a table; returns who asked for what."""
        while True:
            kind, fields, _ = self.receive()
            if kind == 34:
                number, caller, incarnation, method, *_ = fields
                if method in answers:
                    self.send([6, number], answers[method])
                else:
                    self.send([7, number, "NoSuchMethod", method], {})
                return caller, incarnation, method

    def close(self) -> None:
        self.send([18])
        while self.receive()[0] != 42:
            pass
        self.context.destroy(0)
