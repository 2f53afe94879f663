"""Streams: credit, cancellation, abandonment."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncIterator

import psutil
import pytest

from ipc import Call, CallTimeout, LocalProtocolError, PeerDown, Refused, RemoteError
from ipc.streams import CREDIT
from ipc.testing import running_bus
from tests.ipc.processes import child, kill


async def count(call: Call, n: int, size: int = 0) -> AsyncIterator[object]:
    for i in range(n):
        yield [i, bytes(size)]


async def test_chunks_arrive_in_order_and_end() -> None:
    """A stream gives every chunk once, in order, then ends."""
    async with running_bus() as bus:
        await bus.peer("a", {"count": count})
        b = await bus.peer("b")
        async with b.stream("a", "count", n=3000, size=300) as chunks:
            assert [chunk[0] async for chunk in chunks] == list(range(3000))


async def test_what_many_streams_say_at_once_goes_together_and_in_order() -> None:
    """Items that are ready at once leave in few messages; each stream has its own in order, and its end or error last."""
    go = asyncio.Event()

    async def say(call: Call, n: int) -> AsyncIterator[object]:
        yield "ready"
        await go.wait()
        for item in range(n):
            yield [n, item]
            await asyncio.sleep(0)
        if n % 2:
            raise Refused("Odd", "as asked")

    async with running_bus() as bus:
        a = await bus.peer("a", {"say": say})
        peers = [await bus.peer(f"b{n}") for n in range(4)]
        ready, sent, heard = asyncio.Semaphore(0), [], {}
        assert a._out.link is not None
        a._out.link.send, really = (
            lambda header, payload: (sent.append(header), really(header, payload))[1],
            a._out.link.send,
        )

        async def read(n: int) -> None:
            heard[n] = []
            async with peers[n % 4].stream("a", "say", n=n) as chunks:
                assert await anext(chunks) == "ready"
                ready.release()
                try:
                    async for chunk in chunks:
                        heard[n].append(chunk)
                except RemoteError as error:
                    heard[n].append(error.type)

        reading = [asyncio.create_task(read(n)) for n in range(80)]
        for _ in reading:
            await ready.acquire()
        sent.clear()
        go.set()
        await asyncio.gather(*reading)
    assert heard == {n: [[n, item] for item in range(n)] + ["Odd"] * (n % 2) for n in range(80)}
    items = sum(range(80))
    assert len(sent) - 80 < items / 4  # beside the 80 ends


async def test_a_slow_reader_slows_the_producer() -> None:
    """A producer that is not read stops after the credit, instead of filling memory."""
    made = 0
    stuck = asyncio.Event()

    async def endless(call: Call) -> AsyncIterator[bytes]:
        nonlocal made
        while True:
            made += 1
            if made * 10_000 > CREDIT:
                stuck.set()
            yield bytes(10_000)

    async with running_bus() as bus:
        await bus.peer("a", {"endless": endless})
        b = await bus.peer("b")
        async with b.stream("a", "endless") as chunks:
            await anext(chunks)
            await asyncio.wait_for(stuck.wait(), 5)
            for _ in range(20):
                await b.call("bus", "ping")
            assert made <= CREDIT / 10_000 + 3
            for _ in range(100):
                await anext(chunks)
        assert made <= CREDIT / 10_000 + 104


@pytest.mark.parametrize("how", ["leave", "deadline", "caller gone"])
async def test_the_end_of_the_reader_reaches_the_producer(how: str) -> None:
    """Leaving the block, the deadline and the death of the reader cancel the producer, also while it waits for credit."""
    ended = asyncio.Event()

    async def endless(call: Call) -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(10_000)
        finally:
            ended.set()

    async with running_bus() as bus:
        await bus.peer("a", {"endless": endless})
        b = await bus.peer("b")
        if how == "deadline":
            async with b.stream("a", "endless", timeout=0.2) as chunks:
                with pytest.raises(CallTimeout):
                    async for _ in chunks:
                        await asyncio.sleep(0)
        else:
            async with b.stream("a", "endless") as chunks:
                await anext(chunks)
                if how == "caller gone":
                    await b.close()
        await asyncio.wait_for(ended.wait(), 10)


async def test_errors_come_after_the_chunks_before_them() -> None:
    """Chunks that were sent before the producer failed are given first."""

    async def two(call: Call) -> AsyncIterator[int]:
        yield 1
        yield 2
        raise Refused("Enough", "no more")

    async with running_bus() as bus:
        await bus.peer("a", {"two": two, "count": count})
        b = await bus.peer("b")
        got = []
        with pytest.raises(RemoteError, match="no more"):
            async with b.stream("a", "two") as chunks:
                async for chunk in chunks:
                    got.append(chunk)
        assert got == [1, 2]
        with pytest.raises(RemoteError, match="use stream"):
            await b.call("a", "count", n=1)


async def test_a_stream_of_a_dead_producer_breaks() -> None:
    """When the producer dies the stream raises PeerDown, and an absent one does so at once."""
    async with running_bus() as bus:
        b = await bus.peer("b")
        async with child(bus, "p") as process:
            with pytest.raises(PeerDown, match="p is down"):
                async with b.stream("p", "count", n=10**9, size=100) as chunks:
                    await anext(chunks)
                    await kill(process)
                    bus.down("p", "signal 9")
                    async for _ in chunks:
                        pass
        with pytest.raises(PeerDown):
            async with b.stream("nobody", "count", n=1) as chunks:
                await anext(chunks)


async def test_a_stream_must_be_opened_and_only_once() -> None:
    """A stream without its block would never cancel its producer: it is refused."""
    async with running_bus() as bus:
        await bus.peer("a", {"count": count})
        b = await bus.peer("b")
        stream = b.stream("a", "count", n=1)
        with pytest.raises(LocalProtocolError, match="async with"):
            async for _ in stream:
                pass
        async with stream:
            pass
        with pytest.raises(LocalProtocolError, match="used before"):
            async with stream:
                pass


async def test_streams_share_the_bus_with_calls() -> None:
    """While a large stream is read, calls of others are answered."""
    async with running_bus() as bus:
        await bus.peer("a", {"count": count})
        b, c = await bus.peer("b"), await bus.peer("c")

        async def read() -> int:
            async with b.stream("a", "count", n=200, size=50_000) as chunks:
                return sum([len(chunk[1]) async for chunk in chunks])

        task = asyncio.create_task(read())
        for _ in range(20):
            await c.call("bus", "ping", timeout=2)
        assert await task == 200 * 50_000


async def test_a_forgotten_stream_ends_at_its_producer() -> None:
    """A stream that was opened and dropped without leaving its block is cancelled, also while nothing is on its way."""
    ended = asyncio.Event()

    async def quiet(call: Call) -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with running_bus() as bus:
        await bus.peer("a", {"quiet": quiet})
        b = await bus.peer("b")

        async def look() -> int:
            chunks = await b.stream("a", "quiet").__aenter__()
            return int(await anext(chunks))

        assert await look() == 1
        gc.collect()
        await asyncio.wait_for(ended.wait(), 10)


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_a_reader_that_dies_or_hangs_does_not_keep_its_producer(how: str) -> None:
    """The producer ends when its reader is killed; when it hangs, soon after the reader's deadline; the bus forgets it."""
    started, ended = asyncio.Event(), asyncio.Event()

    async def endless(call: Call) -> AsyncIterator[bytes]:
        started.set()
        try:
            while True:
                yield bytes(10_000)
        finally:
            ended.set()

    async with running_bus() as bus:
        a = await bus.peer("a", {"endless": endless})
        async with child(bus, "reader", read=["a", "endless", 1.0]) as process:
            await asyncio.wait_for(started.wait(), 5)
            process.send_signal(signal.SIGKILL if how == "killed" else signal.SIGSTOP)
            await asyncio.wait_for(ended.wait(), 10)
            while (await a.call("bus", "stats"))["peers"][0]["serving"]:
                await asyncio.sleep(0)  # asked again at once: the bus tells nobody of this


async def test_a_slow_reader_of_a_fast_producer_costs_no_memory() -> None:
    """While 200 MB wait to be produced for a reader that stands still, neither bus nor reader grows by 8 MiB."""
    async with running_bus(process=True) as bus, child(bus, "p") as producer:
        b = await bus.peer("b")
        async with b.stream("p", "count", n=20_000, size=10_000) as chunks:
            await anext(chunks)
            processes = [psutil.Process(), psutil.Process(bus.pid), psutil.Process(producer.pid)]
            before = [process.memory_info().rss for process in processes]
            for _ in range(300):
                await b.call("bus", "ping")
            grown = [process.memory_info().rss - start for process, start in zip(processes, before, strict=True)]
            assert max(grown) < 8 * 1024 * 1024, grown
