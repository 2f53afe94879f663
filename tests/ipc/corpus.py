"""Real traffic of a real bus as inputs for `tests.ipc.fuzz`: every kind of message, handshake, subscription and notice."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

from ipc import Call, IpcError, Refused
from ipc import bus as bus_module
from ipc.bus import Bus
from ipc.switch import Switch
from ipc.testing import running_bus

MESSAGES, PAYLOADS, HANDSHAKES, SUBSCRIPTIONS, NOTICES, CONVERSATIONS = range(6)
_SAID = 3 * 6  # the first act of `conversations` that is a message


def joined(target: int, parts: Sequence[bytes]) -> bytes:
    """The input that gives these frames to a target."""
    return bytes([target]) + b"".join(len(part).to_bytes(2, "little") + part for part in parts)


class Recorder:
    """What went through a bus, once each."""

    def __init__(self) -> None:
        self.inputs: dict[bytes, None] = {}
        self.talk: list[bytes] = []

    def message(self, frames: Sequence[Any]) -> None:
        """Frames on one of the sockets."""
        self.inputs[joined(MESSAGES, [bytes(frame)[:2000] for frame in frames])] = None
        if len(frames) > 1:
            self.inputs[joined(PAYLOADS, [bytes(frames[-1])[:2000]])] = None

    def said(self, person: int, frames: Sequence[Any]) -> None:
        """Frames of a peer to the bus, as part of a conversation."""
        payload = [bytes(frame)[:2000] for frame in frames[1:]]
        act = _SAID + person + (128 if payload else 0)
        self.talk += [bytes([act]) + bytes(frames[0]), *payload]
        self.message(frames)


@contextlib.contextmanager
def recorded(recorder: Recorder) -> Iterator[None]:
    """Every bus of this process is recorded inside of the block."""
    received, subscription, control = Switch.received, Switch.subscription, Switch.control
    send, publish, read = Bus.send, Bus.publish, bus_module.read_handshake

    def on_received(self: Switch, rid: bytes, user: str, fd: int, frames: Any, now: float) -> None:
        recorder.said(user.startswith("b#"), frames)
        received(self, rid, user, fd, frames, now)

    def on_subscription(self: Switch, user: str, fd: int, prefix: str, on: bool, now: float) -> None:
        recorder.inputs[joined(SUBSCRIPTIONS, [bytes([on]) + prefix.encode()])] = None
        subscription(self, user, fd, prefix, on, now)

    def on_control(self: Switch, message: Any, now: float) -> None:
        recorder.inputs[joined(NOTICES, [json.dumps(message).encode()])] = None
        control(self, message, now)

    def on_send(self: Bus, rid: bytes, header: bytes, payload: Any) -> bool:
        recorder.message([header] if payload is None else [header, payload])
        return send(self, rid, header, payload)

    def on_publish(self: Bus, topic: str, header: bytes, payload: Any) -> None:
        recorder.message([topic.encode(), header] if payload is None else [topic.encode(), header, payload])
        publish(self, topic, header, payload)

    def on_handshake(frames: Sequence[bytes]) -> Any:
        recorder.inputs[joined(HANDSHAKES, frames)] = None
        return read(frames)

    changes = [
        (Switch, "received", on_received), (Switch, "subscription", on_subscription), (Switch, "control", on_control),
        (Bus, "send", on_send), (Bus, "publish", on_publish), (bus_module, "read_handshake", on_handshake),
    ]  # fmt: skip
    before = [(where, name, getattr(where, name)) for where, name, _ in changes]
    for where, name, new in changes:
        setattr(where, name, new)
    try:
        yield
    finally:
        for where, name, old in before:
            setattr(where, name, old)


async def talk() -> None:
    """Two peers and a client say everything that there is to say."""

    async def echo(call: Call, x: Any = None) -> Any:
        return x

    async def refuse(call: Call) -> None:
        raise Refused("Conflict", "it changed", last=7)

    async def never(call: Call) -> None:
        await asyncio.Event().wait()

    async def count(call: Call, n: int) -> AsyncIterator[int]:
        for i in range(n):
            yield i

    allow: dict[str, Any] = {"a": "all", "b": {"call": {"a": ["*"]}, "subscribe": ["t/"], "monitor": ["a"]}}
    async with running_bus(allow=allow, mark=500) as bus:
        a = await bus.peer("a", {"echo": echo, "refuse": refuse, "never": never, "count": count})
        b = await bus.peer("b")
        await a.subscribe("t/")
        read = await b.subscribe("t/")
        watch = b.monitor("a")
        await anext(watch)
        for n in range(10):
            await a.publish("t/", {"n": n, "text": "é" * 50})
            await anext(read)
        await b.call("a", "echo", x=[1, None, 2.5, {"k": b"\x00"}, True, -(2**40)])
        await b.cast("a", "echo", x=1)
        async with b.stream("a", "count", n=3) as chunks:
            assert [chunk async for chunk in chunks] == [0, 1, 2]
        async with b.stream("a", "count", n=30000) as chunks:
            for _ in range(9000):
                await anext(chunks)
        late = b.call("a", "never", timeout=0.05)
        for refused in (b.call("a", "refuse"), b.call("c", "x"), b.subscribe("no/"), anext(b.monitor("*")), late):
            with contextlib.suppress(IpcError):
                await refused
        client = await bus.client()
        await client.close()
        watch.close()
        await b.close()
        bus.down("b", "signal 9", planned=True)
        await a.call("bus", "stats")


def make(directory: Path) -> int:
    """Write the corpus; returns how many inputs it has."""
    recorder = Recorder()
    with recorded(recorder):
        asyncio.run(talk())
    inputs = [*recorder.inputs, *(joined(CONVERSATIONS, recorder.talk[n : n + 12]) for n in range(0, 400, 6))]
    directory.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(inputs):
        (directory / f"real-{number:04}").write_bytes(data)
    return len(inputs)
