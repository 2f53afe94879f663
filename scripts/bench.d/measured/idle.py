"""The measured children: an asyncio process that says ready and then waits. Two faces of one program.

`supervised` is the one for our supervisor; `bare` does the same over a plain socket, for the floor and for
`multiprocessing`. Asked to, both send requests, one after the other, and collect their garbage.
"""

from __future__ import annotations

import asyncio
import gc
import json
import socket
from typing import Any

from supervisor.aio import AsyncControl


def supervised(context: Any, beat: float = 0.0) -> None:
    """Entry point for our supervisor. `beat`: seconds between two heartbeats; 0: none."""

    async def main() -> None:
        control = AsyncControl(context)
        context.ready()
        worker = asyncio.create_task(_work(control))
        beater = asyncio.create_task(_beat(context, beat)) if beat else None
        await control.stop.wait()
        worker.cancel()
        if beater is not None:
            beater.cancel()

    asyncio.run(main())


async def _beat(context: Any, seconds: float) -> None:
    while True:
        context.beat()
        await asyncio.sleep(seconds)


async def _work(control: AsyncControl) -> None:
    while True:
        notice = await control.notices.get()
        for _ in range(notice["requests"]):
            await control.count_children("pool")
        gc.collect()
        print("done", flush=True)


def bare(channel: socket.socket) -> None:
    """The same over a socket: a byte says ready; end of file says stop."""
    channel.setblocking(False)
    asyncio.run(_bare(channel))


async def _bare(channel: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    buffer = bytearray()
    answers: dict[int, asyncio.Future[Any]] = {}
    working: set[asyncio.Task[None]] = set()

    async def work(requests: int) -> None:
        for number in range(requests):
            future = answers[number] = loop.create_future()
            channel.send(_line({"request": number, "method": "count_children", "params": {"supervisor": "pool"}}))
            await future
            del answers[number]
        gc.collect()
        channel.send(_line({"done": True}))

    def readable() -> None:
        data = channel.recv(65536)
        if not data:
            loop.remove_reader(channel)
            stop.set()
        buffer.extend(data)
        while (end := buffer.find(b"\n")) >= 0:
            message = json.loads(buffer[:end])
            del buffer[: end + 1]
            if "answer" in message:
                answers[message["answer"]].set_result(message["result"])
            else:
                working.add(asyncio.create_task(work(message["requests"])))

    loop.add_reader(channel, readable)
    channel.send(b"x")
    await stop.wait()


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def talk(channel: socket.socket, requests: int) -> None:
    """The parent's side of `requests` requests of a bare child; returns when it has collected its garbage."""
    channel.setblocking(True)
    channel.sendall(_line({"requests": requests}))
    counts = {"specs": 1000, "active": 1000, "supervisors": 0, "workers": 1000}
    for line in channel.makefile("rb"):
        message = json.loads(line)
        if "done" in message:
            return
        channel.sendall(_line({"answer": message["request"], "result": counts}))


def rehearse() -> None:
    """Run the bare child's life often enough that the interpreter has specialised its code."""
    for _ in range(12):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.send(_line({"requests": 0}))
            ours.shutdown(socket.SHUT_WR)
            bare(theirs)
