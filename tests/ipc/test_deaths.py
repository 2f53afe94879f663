"""Deaths: what is delivered before, what is told, how fast; restarts of the bus."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time

import pytest

from ipc import Call, PeerDown
from ipc.testing import running_bus
from tests.ipc.processes import ROOT, Stuck, child, kill, ready, says, spawn
from tests.ipc.test_calls import echo
from tests.ipc.test_events import take


async def test_a_reply_sent_just_before_death_is_delivered() -> None:
    """An answer that lies in the kernel when its sender is killed arrives, although `down` is told to the bus first."""
    async with running_bus(process=True) as bus:
        b = await bus.peer("b")
        process = await spawn(bus, "a")
        await ready(process)
        other = asyncio.create_task(b.call("a", "never"))
        call = asyncio.create_task(b.call("a", "last_words"))
        await says(process, "ASKED")  # and what was sent before it has arrived too
        with bus.stopped():
            process.send_signal(signal.SIGUSR1)  # it answers, and dies when the answer lies in the kernel
            await asyncio.wait_for(process.wait(), 20)
            bus.down("a", "signal 9")
        assert await call == "last words"
        with pytest.raises(PeerDown, match="signal 9"):
            await other
        await kill(process)


async def test_a_killed_peer_is_down_at_once() -> None:
    """Calls in flight to a process fail with its SIGKILL (`scripts/bench ipc` says how soon), with the supervisor's reason told to
    monitors."""
    async with running_bus() as bus:
        b = await bus.peer("b")
        changes = b.monitor("victim")
        assert (await anext(changes)).snapshot_end
        waits = []
        for _ in range(5):
            async with child(bus, "victim") as process:
                assert (await asyncio.wait_for(anext(changes), 5)).up
                call = asyncio.create_task(b.call("victim", "never"))
                await b.call("victim", "echo")
                began = time.monotonic()
                os.kill(process.pid, signal.SIGKILL)
                with pytest.raises(PeerDown):
                    await call
                waits.append(time.monotonic() - began)
                bus.down("victim", "signal 9", planned=True)
                change = await asyncio.wait_for(anext(changes), 5)
                assert (change.up, change.reason in ("signal 9", "connection lost")) == (False, True)
        assert min(waits) < 0.5, waits  # not by a missed beat, nor by the end of a deadline


async def test_the_calls_of_a_dead_caller_are_cancelled() -> None:
    """When a caller dies its handlers are cancelled."""
    stuck = Stuck()
    async with running_bus() as bus:
        await bus.peer("callee", {"note": stuck.note})
        async with child(bus, "caller", chatter=["callee"]) as process:
            await asyncio.wait_for(stuck.started.wait(), 5)
            await kill(process)
        await asyncio.wait_for(stuck.cancelled.wait(), 10)


async def test_a_stopped_peer_times_out_and_its_late_answer_is_nobodys() -> None:
    """A SIGSTOPped callee is a timeout, not a death; what it answers later goes nowhere."""
    from ipc import CallTimeout

    async with running_bus() as bus:
        b = await bus.peer("b")
        async with child(bus, "a") as process:
            await b.call("a", "echo")
            os.kill(process.pid, signal.SIGSTOP)
            with pytest.raises(CallTimeout):
                await b.call("a", "echo", x=1, timeout=0.2)
            os.kill(process.pid, signal.SIGCONT)
            assert await b.call("a", "echo", x=2) == 2


@pytest.mark.parametrize("process", [False, True])
async def test_everything_comes_back_after_a_restart_of_the_bus(process: bool) -> None:
    """Calls in flight fail as PeerDown("bus"); methods, subscriptions and monitors come back in a new epoch."""
    runs = []

    async def never(call: Call) -> None:
        runs.append(call)
        await asyncio.Event().wait()

    async with running_bus(process=process) as bus:
        a = await bus.peer("a", {"echo": echo, "never": never})
        b = await bus.peer("b")
        read = await b.subscribe("t/")
        changes = b.monitor("*")
        assert {c.name for c in await take(changes, 3)} == {"a", "b", ""}
        epoch = b.epoch
        call = asyncio.create_task(b.call("a", "never"))
        while not runs:
            await b.call("a", "echo")
        await bus.restart()
        with pytest.raises(PeerDown, match="bus"):
            await call
        await a.wait_connected()
        await b.wait_connected()
        assert (await b.call("a", "echo", x=3))[0] == 3
        assert b.epoch > epoch
        gap = await asyncio.wait_for(anext(read), 5)
        assert (gap.gap, gap.data, gap.epoch) == (True, None, b.epoch)
        await a.publish("t/", "again")
        assert (await take(read, 1))[0].data == "again"
        assert (await take(changes, 1))[0].snapshot_end, "nobody came or went"
        assert len(runs) == 1


async def test_while_the_bus_is_away_everything_fails_at_once() -> None:
    """Without a bus, calls, casts and events raise PeerDown("bus") and are not kept for later."""
    heard = []

    async def hear(call: Call) -> None:
        heard.append(call)

    async with running_bus() as bus:
        await bus.peer("a", {"hear": hear})
        b = await bus.peer("b")
        await bus.stop()
        while b.connected:
            await asyncio.sleep(0)  # until the loop has seen the end of the connection
        for attempt in (b.call("a", "hear"), b.cast("a", "hear"), b.publish("t/", 1), b.subscribe("t/")):
            with pytest.raises(PeerDown, match="bus"):
                await attempt
        await bus.start()
        await b.wait_connected()
        await bus.peers[0].wait_connected()
        await b.call("a", "hear")
        assert len(heard) == 1


async def test_who_died_while_the_bus_was_away_is_told_as_down() -> None:
    """A monitor over a restart tells the processes that are no longer there."""
    async with running_bus() as bus:
        a, b = await bus.peer("a"), await bus.peer("b")
        changes = b.monitor("a")
        await take(changes, 2)
        await bus.stop()
        await a.close()
        bus.down("a")
        await bus.start()
        change = await asyncio.wait_for(anext(changes), 5)
        assert (change.name, change.up) == ("a", False)


async def test_a_hundred_peers_are_back_soon() -> None:
    """After a restart of the bus 100 peers come back by themselves, together and not one behind the other."""
    async with running_bus(process=True) as bus:
        peers = [await bus.peer(f"p{n}") for n in range(100)]
        await bus.kill()
        await bus.start()
        began = time.monotonic()
        await asyncio.gather(*(peer.wait_connected() for peer in peers))
        assert time.monotonic() - began < 10


@pytest.mark.chaos
async def test_500_kills_under_load(short_dir: os.PathLike[str]) -> None:
    """500 kills of bus and peers under load: no call hangs or runs twice or under another bus, nobody stale speaks."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.ipc.kills", str(short_dir), "500", "38", cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 58)
    result = json.loads(out)
    assert result["faults"] == []
    assert result["kills"] >= 200 and result["answered"] > 1000 and result["failed"] > 100, result
