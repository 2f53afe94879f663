"""Bounds with real processes that stop reading: memory of the bus, the others' service, recovery."""

from __future__ import annotations

import asyncio
import logging
import os
import signal

import psutil
import pytest

from ipc import CallTimeout, Overloaded, Peer, wire
from ipc.testing import RunningBus, running_bus
from tests.ipc.processes import child
from tests.ipc.test_calls import echo
from tests.ipc.test_identity import HELLO, dealer

MiB = 1024 * 1024


def rss(bus: RunningBus) -> int:
    return int(psutil.Process(bus.pid).memory_info().rss)


async def row(peer: Peer, name: str) -> dict[str, int]:
    stats = await peer.call("bus", "stats")
    return next(row for row in stats["peers"] if row["name"] == name)


async def test_a_stopped_subscriber_costs_the_bus_no_more_than_its_budget() -> None:
    """A SIGSTOPped subscriber is cut at its budget; others get every event; it comes back when it is continued."""
    async with running_bus(process=True, event_budget=8 * MiB) as bus:
        a, b = await bus.peer("a"), await bus.peer("b")
        read = await b.subscribe("t/")
        async with child(bus, "stuck", subscribe=["t/"]) as process:
            before = rss(bus)
            os.kill(process.pid, signal.SIGSTOP)
            for n in range(1000):
                await a.publish("t/", bytes(100_000))
                event = await asyncio.wait_for(anext(read), 5)
                assert (event.seq, event.gap) == (n + 1, False)
            assert rss(bus) - before < 40 * MiB
            assert (await row(a, "stuck"))["subscriptions"] == 0
            os.kill(process.pid, signal.SIGCONT)
            while (await row(a, "stuck"))["subscriptions"] == 0:
                await a.call("stuck", "echo")


async def test_a_stuck_callee_is_overload_for_its_callers_and_bounded_for_the_bus() -> None:
    """Requests to a SIGSTOPped process are refused above its budget, casts are dropped, and memory stays bounded."""
    async with running_bus(process=True, budget=8 * MiB) as bus:
        a = await bus.peer("a")
        await bus.peer("b", {"echo": echo})
        async with child(bus, "stuck") as process:
            before = rss(bus)
            os.kill(process.pid, signal.SIGSTOP)
            calls = [asyncio.create_task(a.call("stuck", "echo", x=bytes(100_000), timeout=20)) for _ in range(300)]
            done, waiting = await asyncio.wait(calls, timeout=3, return_when=asyncio.FIRST_EXCEPTION)
            refused = [task for task in done if isinstance(task.exception(), Overloaded)]
            assert refused and "does not read" in str(refused[0].exception())
            for _ in range(500):
                await a.cast("stuck", "echo", x=bytes(100_000))
            assert (await a.call("b", "echo", x=1))[0] == 1
            assert rss(bus) - before < 60 * MiB
            os.kill(process.pid, signal.SIGCONT)
            answers = await asyncio.gather(*waiting, return_exceptions=True)
            assert sum(answer == bytes(100_000) for answer in answers) > 20
            assert await a.call("stuck", "echo", x=2) == 2


async def test_a_caller_that_does_not_read_its_answers_is_cut() -> None:
    """A raw caller that never reads loses its connection at the hard budget; the bus stays small and serves others."""
    async with running_bus(process=True, budget=4 * MiB, hard_budget=8 * MiB) as bus:
        a = await bus.peer("a", {"echo": echo})
        notice = bus.register("greedy")
        before = rss(bus)
        with dealer(bus, "greedy", notice["credential"]) as raw:
            raw.rcvhwm = 1
            raw.send(HELLO)
            while not any(row["name"] == "greedy" for row in (await a.call("bus", "stats"))["peers"]):
                await a.call("bus", "ping")
            number = 0
            # Little at a time: what comes while `a` has much to read is refused in a few bytes, which do not fill a budget.
            while any(row["name"] == "greedy" for row in (await a.call("bus", "stats"))["peers"]):
                for _ in range(10):
                    number += 1
                    raw.send_multipart(
                        [wire.encode(wire.Call(number, "a", "echo", 60_000)), wire.pack({"x": bytes(100_000)})]
                    )
        assert rss(bus) - before < 80 * MiB


async def test_a_flood_is_throttled_and_its_sender_named(caplog: pytest.LogCaptureFixture) -> None:
    """A raw peer that floods is slowed down, refused and named in the log, and others are still answered."""
    caplog.set_level(logging.WARNING)
    async with running_bus(rate=1000, burst=1000) as bus:
        a = await bus.peer("a", {"echo": echo})
        notice = bus.register("flooder")
        with dealer(bus, "flooder", notice["credential"]) as raw:
            raw.send(HELLO)
            await asyncio.to_thread(raw.recv_multipart)
            for _ in range(5000):
                raw.send_multipart([wire.encode(wire.Cast("a", "echo")), b"\x80"])
            while (await row(a, "flooder"))["throttled"] == 0:
                assert (await a.call("a", "echo", x=1))[0] == 1
    assert any("flooder floods the bus" in record.getMessage() for record in caplog.records)


async def test_an_honest_peer_that_sends_too_much_is_only_slowed_down() -> None:
    """A peer over the rate waits as it is told, and loses nothing."""
    async with running_bus(rate=500, burst=100) as bus:
        a, b = await bus.peer("a"), await bus.peer("b")
        read = await b.subscribe("t/")

        async def publish() -> None:
            for n in range(300):
                await a.publish("t/", n)
                if n % 10 == 9:
                    await asyncio.sleep(0.005)  # the rate of an honest peer: over the bound, no flood

        task = asyncio.create_task(publish())
        seen = [(await asyncio.wait_for(anext(read), 10)).seq for _ in range(100)]
        await task
        assert seen == list(range(1, 101))


async def test_sending_faster_than_the_bus_reads_waits_instead_of_filling_memory() -> None:
    """With the bus stopped, a publisher stops after its window; it goes on when the bus does."""
    async with running_bus(process=True, window=MiB) as bus:
        a, b = await bus.peer("a"), await bus.peer("b")
        read = await b.subscribe("t/")
        sent = 0

        async def publish() -> None:
            nonlocal sent
            for _ in range(100):
                await a.publish("t/", bytes(50_000))
                sent += 1

        os.kill(bus.pid, signal.SIGSTOP)
        task = asyncio.create_task(publish())
        done, _ = await asyncio.wait({task}, timeout=0.3)
        assert not done and sent < 30
        os.kill(bus.pid, signal.SIGCONT)
        await asyncio.wait_for(task, 10)
        assert [(await asyncio.wait_for(anext(read), 5)).seq for _ in range(100)] == list(range(1, 101))


async def test_a_frame_over_the_limit_from_a_raw_peer_ends_only_its_connection() -> None:
    """libzmq refuses the frame before the bus allocates it; the others do not notice."""
    async with running_bus(frame=100_000) as bus:
        a = await bus.peer("a", {"echo": echo})
        notice = bus.register("raw")
        with dealer(bus, "raw", notice["credential"]) as raw:
            raw.send(HELLO)
            await asyncio.to_thread(raw.recv_multipart)
            raw.send_multipart([wire.encode(wire.Call(1, "a", "echo", 1000)), bytes(10 * MiB)])
            while any(r["name"] == "raw" for r in (await a.call("bus", "stats"))["peers"]):
                await a.call("a", "echo")


async def test_a_call_that_waits_for_room_keeps_its_deadline() -> None:
    """With the bus stopped and the window full, a call still ends at its timeout."""
    async with running_bus(process=True, window=100_000) as bus:
        a = await bus.peer("a", {"echo": echo})
        os.kill(bus.pid, signal.SIGSTOP)
        calls = [asyncio.create_task(a.call("a", "echo", x=bytes(50_000), timeout=0.3)) for _ in range(6)]
        results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 20)
        assert [type(result) for result in results] == [CallTimeout] * 6
        os.kill(bus.pid, signal.SIGCONT)
        assert (await a.call("a", "echo", x=1))[0] == 1
