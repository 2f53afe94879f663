"""A provider's words on their way through llm and the bus to an agent: nothing lost, nothing hoarded, nothing left open."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import re
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from egghead.llm.gateway import Gateway
from egghead.llm.registry import Registry
from egghead.llm.shapes import Text, request_from
from ipc import Peer
from ipc.testing import running_bus

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
Say = Callable[[asyncio.StreamWriter], Awaitable[None]]


def token(text: str) -> bytes:
    data = b"data: %b\n\n" % json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


def end() -> bytes:
    data = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)


class Told:
    """Who serves, who asks, and when the server's connections have ended."""

    def __init__(self, agents: list[Peer], gateway: Gateway) -> None:
        self.agents = agents
        self.gateway = gateway
        self.left = asyncio.Semaphore(0)

    def stream(self, number: int = 0) -> Any:
        message = {"role": "user", "content": [{"type": "text", "text": "go on"}]}
        request = {"model": "near/m", "messages": [message]}
        return self.agents[number % len(self.agents)].stream("llm", "complete", request=request, timeout=60)


@contextlib.asynccontextmanager
async def node(say: Say, agents: int = 1) -> AsyncIterator[Told]:
    """A provider that says what `say` writes, the process llm and agents on a bus."""
    answering: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        answering.add(task)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                await reader.readexactly(int(length[1]) if length else 0)
                writer.write(HEAD)
                await say(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # its end is what is looked at
        finally:
            told.left.release()
            writer.transport.abort()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=500)
    port = server.sockets[0].getsockname()[1]
    entry = {"provider": "openai", "name": "near", "api_key": "k", "base_url": f"http://127.0.0.1:{port}/v1"}
    gateway = Gateway(Registry.from_config({"llm": [entry]}, {}))
    async with running_bus() as bus:
        await bus.peer("llm", gateway.methods())
        told = Told([await bus.peer(f"agents/a{n}") for n in range(agents)], gateway)
        yield told
        await gateway.aclose()
    server.close()
    for task in answering:
        task.cancel()
    await asyncio.gather(*answering, return_exceptions=True)


async def test_an_agent_that_does_not_read_stops_the_provider() -> None:
    """The provider of a reader that stalls is stalled too; when it reads on, every word is there, in order."""
    blocked = asyncio.Event()
    sent = 0

    async def say(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        for sent in range(1, 30_001):
            writer.write(token(f"{sent:06d}" + "x" * 994))
            while sent % 50 == 0:
                try:
                    await asyncio.wait_for(writer.drain(), 0.5)
                    break
                except TimeoutError:
                    blocked.set()
        writer.write(end())

    async with node(say) as told, told.stream() as events:
        parts = [(await anext(events))["text"]]
        await asyncio.wait_for(blocked.wait(), 30)
        assert sent < 15_000  # most of it in the buffers of the kernel
        parts += [event.get("text", "") async for event in events]
    heard = "".join(parts)
    assert len(heard) == 30_000 * 1000
    assert [int(heard[at : at + 6]) for at in range(0, len(heard), 1000)] == list(range(1, 30_001))


async def test_many_streams_at_once_lose_and_mix_nothing() -> None:
    """A hundred answers at once, word by word: each agent hears its own, whole."""
    number = 0

    async def say(writer: asyncio.StreamWriter) -> None:
        nonlocal number
        number += 1
        own = number
        for word in range(50):
            writer.write(token(f"{own}:{word} "))
            await asyncio.sleep(0)
        writer.write(end())

    heard = []

    async def ask(told: Told, n: int) -> None:
        async with told.stream(n) as events:
            found = [event async for event in events]
        assert found[-1]["type"] == "stop"
        heard.append("".join(event.get("text", "") for event in found).split())

    async with node(say, agents=10) as told:
        await asyncio.gather(*(ask(told, n) for n in range(100)))
        assert not told.gateway.running
    assert sorted(heard) == sorted([f"{own}:{word}" for word in range(50)] for own in range(1, 101))


async def test_agents_that_leave_close_every_connection() -> None:
    """When all agents leave in the middle of their answers, the provider sees every connection end."""
    begun = asyncio.Semaphore(0)

    async def say(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(token("and "))
            await writer.drain()
            await asyncio.sleep(0.01)  # a model's pace

    async def ask(told: Told, n: int) -> None:
        async with told.stream(n) as events:
            await anext(events)
            begun.release()
            async for _ in events:
                pass

    async with node(say, agents=5) as told:
        asking = [asyncio.create_task(ask(told, n)) for n in range(50)]
        for _ in asking:
            await begun.acquire()
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        async with asyncio.timeout(10):
            for _ in asking:
                await told.left.acquire()
        assert not told.gateway.running


async def test_what_was_asked_is_not_held_while_it_is_answered() -> None:
    """From the first word of an answer on, the bytes of the question are gone: many long conversations at once are served."""
    size = 8_000_000
    question = {"role": "user", "content": [{"type": "text", "text": "word " * (size // 5)}]}
    request = request_from({"model": "near/m", "messages": [question]})

    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(token("and "))
        await asyncio.Event().wait()

    async with node(say) as told:
        provider, model = told.gateway.registry.resolve("near/m")
        tracemalloc.start()
        try:
            async with contextlib.aclosing(provider.complete(request, model)) as events:
                assert await anext(events) == Text("and ")
                gc.collect()
                held, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most > size and held < size / 4
