"""The callee's side alone: late handlers and the numbers of the next bus."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import weakref
from collections.abc import AsyncIterator

import pytest

from ipc import Call, PeerDown, shielded, wire
from ipc.serving import Server
from ipc.testing import running_bus


class Notes:
    """A sender that keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[wire.ToBus] = []

    async def send(self, message: wire.ToBus, payload: bytes | None = None) -> None:
        self.sent.append(message)


def request(number: int, method: str, credit: int | None = None) -> wire.Request:
    return wire.Request(number, "caller", 1, method, 10_000, credit)


async def turns(n: int = 10) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


async def test_a_shielded_handler_of_the_last_bus_does_not_answer_for_the_next() -> None:
    """A handler that outlives its bus answers nobody, although the next bus uses its number again."""
    first, second = asyncio.Event(), asyncio.Event()
    gates = [first, second]

    @shielded
    async def write(call: Call) -> str:
        await gates.pop(0).wait()
        return "written"

    notes = Notes()
    server = Server(notes, lambda: False)
    server.expose({"write": write})
    server.request(request(1, "write"), b"\x80")
    await turns()
    server.cancel_all()
    server.request(request(1, "write"), b"\x80")
    await turns()
    first.set()
    await turns()
    assert notes.sent == []
    second.set()
    await turns()
    assert notes.sent == [wire.Result(1)]


async def test_a_shielded_stream_without_reader_ends() -> None:
    """A shielded producer that waits for credit nobody will give is woken up and ends."""
    ended = asyncio.Event()

    @shielded
    async def produce(call: Call) -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(1000)
        finally:
            ended.set()

    notes = Notes()
    server = Server(notes, lambda: False)
    server.expose({"produce": produce})
    server.request(request(1, "produce", credit=1500), b"\x80")
    await turns(20)
    assert notes.sent == [wire.Chunk(1), wire.Chunk(1)]
    server.cancel(1)
    await asyncio.wait_for(ended.wait(), 10)
    assert wire.End(1) not in notes.sent


@pytest.mark.parametrize("method", ["wait", "produce"])
async def test_what_a_cancelled_handler_knew_is_forgotten_at_once(method: str) -> None:
    """No circle of references is left that would wait for the garbage collector with all that a caller had sent."""

    class Known:
        pass

    known: list[weakref.ref[Known]] = []

    async def wait(call: Call) -> None:
        mine = Known()
        known.append(weakref.ref(mine))
        await asyncio.Event().wait()

    async def produce(call: Call) -> AsyncIterator[bytes]:
        await wait(call)
        yield b""

    server = Server(Notes(), lambda: False)
    server.expose({"wait": wait, "produce": produce})
    gc.disable()
    try:
        server.request(request(1, method, None if method == "wait" else 1000), b"\x80")
        await turns()
        assert known and known[0]() is not None
        server.cancel(1)
        await turns()
        assert known[0]() is None
    finally:
        gc.enable()
        await server.close()


async def test_a_request_is_not_started_when_its_bus_is_gone() -> None:
    """A request that is read after the end of its bus runs nothing and answers nothing."""
    runs = []

    async def note(call: Call) -> None:
        runs.append(call)

    notes = Notes()
    server = Server(notes, lambda: True)
    server.expose({"note": note})
    server.request(request(1, "note"), b"\x80")
    server.told(wire.Told("caller", 1, "note"), b"\x80")
    await turns()
    assert (runs, notes.sent) == ([], [])


async def test_announcing_over_a_restart_of_the_bus_succeeds() -> None:
    """announce() that meets a dying bus returns when the next one knows that the peer is up."""
    async with running_bus(process=True) as bus:
        a = await bus.peer("a", announce=False)
        w = await bus.peer("w")
        changes = w.monitor("a")
        assert (await anext(changes)).snapshot_end
        os.kill(bus.pid, signal.SIGSTOP)
        announcing = asyncio.create_task(a.announce())
        await turns()
        await bus.restart()
        await asyncio.wait_for(announcing, 5)
        assert (await asyncio.wait_for(anext(changes), 5)).up


async def test_calls_that_wait_for_room_fail_with_their_bus() -> None:
    """A call that waits because too much is unread fails as PeerDown("bus") and is not sent to the next bus."""
    runs = []

    async def note(call: Call, x: bytes) -> None:
        runs.append(len(x))

    async with running_bus(process=True, window=100_000) as bus:
        a = await bus.peer("a", {"note": note})
        b = await bus.peer("b")
        os.kill(bus.pid, signal.SIGSTOP)
        calls = [asyncio.create_task(b.call("a", "note", x=bytes(50_000))) for _ in range(10)]
        await turns()
        await bus.restart()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, PeerDown) for result in results), results
        await a.wait_connected()
        await b.wait_connected()
        await b.call("a", "note", x=b"")
        assert runs == [0]
