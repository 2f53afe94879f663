"""Coverage-guided fuzzing of everything in `ipc` that reads bytes from outside: `python -m tests.ipc.fuzz CORPUS …`.

An input is one byte that names a target and frames, each behind two bytes of length. Arguments behind the corpus go to
libFuzzer. A target raises only when a law is broken; what may be raised is caught in it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import atheris

with atheris.instrument_imports(include=["ipc"]):
    from ipc import wire, zap
    from ipc.errors import LocalProtocolError, RemoteProtocolError
    from ipc.limits import Limits
    from ipc.notices import read_notice
    from ipc.rights import ALL, Rights
    from ipc.sessions import Registration
    from ipc.switch import Switch

LIMITS = Limits(frame=4096, calls=8, subscriptions=8, budget=2**16, hard_budget=2**17, mark=2**12, burst=200.0)


def frames(data: bytes) -> list[bytes]:
    """The frames of an input. Whatever is left of a cut input is the last one."""
    found = []
    while len(data) > 2:
        length = int.from_bytes(data[:2], "little")
        found.append(data[2 : 2 + length])
        data = data[2 + length :]
    return found


def messages(parts: list[bytes]) -> None:
    """Each decoder gives a message that survives the wire, or RemoteProtocolError."""
    for decode in (wire.decode_to_bus, wire.decode_to_peer):
        try:
            message, payload = decode(parts)
        except RemoteProtocolError:
            continue
        again = [wire.encode(message), *([] if payload is None else [payload])]
        assert decode(again)[0] == message
    try:
        topic, event, payload = wire.decode_event(parts)
    except RemoteProtocolError:
        return
    again = [topic.encode(), wire.encode(event), *([] if payload is None else [payload])]
    assert wire.decode_event(again)[:2] == (topic, event)


def payloads(parts: list[bytes]) -> None:
    """A payload is a value that can be sent again, or RemoteProtocolError."""
    for part in parts:
        try:
            value = wire.unpack(part)
            wire.pack(value)
            wire.unpack_map(part)
        except (RemoteProtocolError, LocalProtocolError):
            continue


def handshakes(parts: list[bytes]) -> None:
    """A ZAP request has an answer of eight frames, or is a RemoteProtocolError."""
    try:
        handshake = zap.read_handshake(parts)
    except RemoteProtocolError:
        return
    for user in (None, "a#1"):
        assert len(handshake.answer(user)) == 8


def subscriptions(parts: list[bytes]) -> None:
    """A subscription frame names a prefix, or is a RemoteProtocolError."""
    for part in parts:
        try:
            _, prefix = zap.read_subscription(part)
        except RemoteProtocolError:
            continue
        assert prefix.encode() == part[1:]


def notices(parts: list[bytes]) -> None:
    """A line of JSON is a notice, nothing for the bus, or LocalProtocolError."""
    for part in parts:
        try:
            read_notice(json.loads(part))
        except (ValueError, RecursionError, LocalProtocolError):
            continue


class Port:
    """Decodes what a bus would send: it must be a message too."""

    def send(self, rid: bytes, header: bytes, payload: Any) -> bool:
        wire.decode_to_peer([header] if payload is None else [header, payload])
        return True

    def publish(self, topic: str, header: bytes, payload: Any) -> None:
        wire.decode_event([topic.encode(), header] if payload is None else [topic.encode(), header, payload])

    def subscribe(self, prefix: str) -> None:
        pass

    unsubscribe = subscribe

    def hold(self, fd: int) -> None:
        pass

    def cut(self, fd: int, held: bool = False) -> None:
        pass


def conversations(parts: list[bytes]) -> None:
    """A bus takes any frames of two peers and any events around them; its books balance afterwards.

    The first byte of a frame says who does what, the rest is the header; 128 more says that the next frame is its payload.
    """
    rights = Rights(ALL)
    switch = Switch(Port(), 1, LIMITS, 0.0, [Registration(n, 1, "c" * 16, rights) for n in "ab"], "t" * 16, rights)
    hello = wire.encode(wire.Hello(wire.PROTOCOL, wire.VERSION))
    people = [(b"ra", "a#1", 10), (b"rb", "b#1", 11), (b"rc", "client:c", 12)]
    for who in people:
        switch.received(*who, [hello], 0.0)
    now = 0.0
    queue = iter(parts)
    for part in queue:
        act, rest = part[:1] or b"\0", part[1:]
        rid, user, fd = people[act[0] % 3]
        now += 0.01
        match act[0] % 128 // 3:
            case 0:
                switch.lost(fd, now)
            case 1:
                switch.control({"down": user[0], "incarnation": 1}, now)
            case 2:
                switch.tick(now + 1.0)
            case 3 | 4 as on:
                session = switch.sessions.get(rid)
                if session is not None:
                    switch.subscription(session.event_user, fd + 10, rest.decode(errors="replace"), on == 3, now)
            case 5:
                switch.events_lost(fd + 10)
            case _:
                following = [next(queue, b"")] if act[0] >= 128 else []
                switch.received(rid, user, fd, [rest, *following], now)
    calls = {id(f) for s in switch.sessions.values() for f in s.calls.values()}
    serving = {id(f) for s in switch.sessions.values() for f in s.serving.values()}
    assert calls == serving and len(calls) == switch.stats()["in_flight"]
    assert switch.stats()["waiting_bytes"] == sum(session.waiting for session in switch.sessions.values())


TARGETS: tuple[Callable[[list[bytes]], None], ...] = (
    messages, payloads, handshakes, subscriptions, notices, conversations,
)  # fmt: skip


def one(data: bytes) -> None:
    """One input."""
    if data:
        TARGETS[data[0] % len(TARGETS)](frames(data[1:]))


def main() -> None:
    """Fuzz until a law breaks or libFuzzer's arguments say that it is enough."""
    import logging

    logging.disable(logging.CRITICAL)
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
