"""The bus is killed and started again under many peers: who comes back, how soon, with what, and what never runs."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from ipc import Call, Peer, PeerDown
from ipc.monitors import Monitor
from ipc.testing import running_bus
from tests.ipc.test_events import take

PEERS = 200


async def test_two_hundred_peers_come_back_with_everything_they_had() -> None:
    """After a kill of the bus with 200 calls in flight: each peer's methods, subscription and monitor work in the new epoch.

    Every other one has its events on its only connection. Each call in flight failed as PeerDown("bus") and ran at most once, then and later; each reader is told of the loss.
    """
    ran: Counter[str] = Counter()

    async def never(call: Call, id: str) -> None:
        ran[id] += 1
        await asyncio.Event().wait()

    async def echo(call: Call, x: int) -> list[object]:
        return [x, call.caller]

    async with running_bus(process=True) as bus:
        peers: list[Peer] = [
            await bus.peer(f"p{n}", {"never": never, "echo": echo}, inline=n % 2 == 1) for n in range(PEERS)
        ]
        reads = [await peer.subscribe("t/") for peer in peers]
        watches: list[Monitor] = [peer.monitor(f"p{n * 7 % PEERS}") for n, peer in enumerate(peers)]
        for watch in watches:
            assert [change.up for change in await take(watch, 2)] == [True, False]
        await peers[0].publish("t/", "before")
        assert [(await asyncio.wait_for(anext(read), 10)).data for read in reads] == ["before"] * PEERS
        epoch = peers[0].epoch
        calls = [
            asyncio.create_task(peer.call(f"p{(n + 1) % PEERS}", "never", id=str(n), timeout=50))
            for n, peer in enumerate(peers)
        ]
        while len(ran) < PEERS // 2:  # some are being handled, others are on their way
            await peers[0].call("bus", "ping")
        await bus.kill()
        failures = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10)
        assert [getattr(failure, "name", failure) for failure in failures] == ["bus"] * PEERS
        before = ran.copy()
        await bus.start()
        began = time.monotonic()
        await asyncio.gather(*(peer.wait_connected() for peer in peers))
        took = time.monotonic() - began
        answers = await asyncio.gather(*(peer.call(f"p{n // 2}", "echo", x=n) for n, peer in enumerate(peers)))
        assert answers == [[n, f"p{n}"] for n in range(PEERS)]
        assert {peer.epoch for peer in peers} == {peers[0].epoch} and peers[0].epoch > epoch
        for read in reads:
            gap = await asyncio.wait_for(anext(read), 10)
            assert (gap.gap, gap.data, gap.epoch) == (True, None, peers[0].epoch)
        await peers[1].publish("t/", "after")
        assert [(await asyncio.wait_for(anext(read), 10)).data for read in reads] == ["after"] * PEERS
        for watch in watches:
            assert (await asyncio.wait_for(anext(watch), 10)).snapshot_end, "nobody came or went"
        await peers[7].close()
        gone = await asyncio.wait_for(anext(watches[1]), 5)
        assert (gone.name, gone.up) == ("p7", False)
        assert ran == before and max(ran.values()) == 1
        assert took < 5, took


async def test_a_lost_last_event_of_the_old_bus_is_noticed_under_the_new_one() -> None:
    """An event that the dying bus took and did not deliver is a gap for its reader, although nothing follows it."""
    async with running_bus(process=True) as bus:
        a, b = await bus.peer("a"), await bus.peer("b")
        read = await b.subscribe("t/")
        await a.publish("t/", 1)
        assert (await take(read, 1))[0].data == 1
        with bus.stopped():
            await a.publish("t/", 2)
            await bus.kill()
        await bus.start()
        await b.wait_connected()
        gap = await asyncio.wait_for(anext(read), 5)
        assert gap.gap and gap.data is None and gap.epoch == b.epoch


async def test_a_call_that_the_dead_bus_had_not_read_is_never_executed() -> None:
    """What lay unread in the socket of a killed bus fails as PeerDown("bus") and reaches nobody afterwards."""
    ran = []

    async def note(call: Call, n: int) -> None:
        ran.append(n)

    async with running_bus(process=True) as bus:
        await bus.peer("a", {"note": note})
        b = await bus.peer("b")
        with bus.stopped():
            calls = [asyncio.create_task(b.call("a", "note", n=n)) for n in range(50)]
            casts = [asyncio.create_task(b.cast("a", "note", n=n)) for n in range(50, 100)]
            await asyncio.gather(*casts)
            await bus.kill()
        for call in calls:
            with pytest.raises(PeerDown, match="bus"):
                await call
        await bus.start()
        await b.wait_connected()
        await bus.peers[0].wait_connected()
        await b.call("a", "note", n=1000)
        assert ran == [1000]
