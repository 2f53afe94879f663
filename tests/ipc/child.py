"""A peer process for tests, written to misbehave when asked: `python child.py '{"directory", "name", …}'`.

Says READY on stdout when it has announced itself.
"""

from __future__ import annotations

import asyncio
import fcntl
import functools
import json
import os
import signal
import struct
import sys
import termios
import time
from collections.abc import AsyncIterator
from typing import Any

from ipc import Call, IpcError, Peer, idempotent

SIOCOUTQ = termios.TIOCOUTQ


async def serve(options: dict[str, Any]) -> None:
    peer = Peer(options["directory"], name=options["name"], credential=options["credential"])
    diary = os.open(options["diary"], os.O_WRONLY | os.O_APPEND | os.O_CREAT) if "diary" in options else -1

    async def echo(call: Call, x: Any = None) -> Any:
        return x

    async def note(call: Call, id: str) -> list[Any]:
        if diary >= 0:
            os.write(diary, f"{id} {peer.epoch} {time.monotonic()}\n".encode())
        return [id, peer.incarnation]

    async def once(call: Call, id: str) -> str:
        os.write(diary, f"{call.method} {id}\n".encode())
        if options.get("deaf"):
            await asyncio.Event().wait()
        await asyncio.sleep(0.01)  # work that takes a moment, in which this process can be killed
        return id

    safe = idempotent(functools.partial(once))

    async def never(call: Call) -> None:
        await asyncio.Event().wait()

    async def last_words(call: Call) -> str:
        told = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, told.set)
        print("ASKED", flush=True)
        await told.wait()
        asyncio.get_running_loop().call_soon(asyncio.ensure_future, die_when_sent())
        return "last words"

    async def die_when_sent() -> None:
        """Kill this process once its answer lies in the kernel, where a stopped bus has not read it."""
        assert peer._link is not None
        while True:
            waiting = fcntl.ioctl(peer._link._descriptor, SIOCOUTQ, bytes(4))
            if struct.unpack("i", waiting)[0] > 0:
                os.kill(os.getpid(), signal.SIGKILL)
            await asyncio.sleep(0)  # the kernel does not tell that a buffer is no longer empty

    async def count(call: Call, n: int, size: int = 0) -> AsyncIterator[Any]:
        for i in range(n):
            yield [i, bytes(size)]

    peer.expose(
        {
            "echo": echo,
            "note": note,
            "once": once,
            "safe": safe,
            "never": never,
            "last_words": last_words,
            "count": count,
        }
    )
    await peer.connect()
    for prefix in options.get("subscribe", []):
        asyncio.get_running_loop().set_debug(False)
        subscription = await peer.subscribe(prefix)
        task = asyncio.ensure_future(drain(subscription))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        peer.reader = task
    await peer.announce()
    print("READY", flush=True)
    if options.get("read"):
        target, method, timeout = options["read"]
        async with peer.stream(target, method, timeout=timeout) as chunks:
            async for _ in chunks:
                await asyncio.sleep(0.01)  # a slow reader
    if options.get("chatter"):
        asyncio.ensure_future(chatter(peer, options["chatter"])).add_done_callback(lambda done: done.exception())
    await peer.wait_closed()


async def drain(subscription: Any) -> None:
    async for _ in subscription:
        pass


async def chatter(peer: Peer, targets: list[str]) -> None:
    """Call everybody, for ever."""
    n = 0
    while True:
        n += 1
        try:
            await peer.call(targets[n % len(targets)], "note", id=f"{peer.name}-{peer.incarnation}-{n}", timeout=2.0)
            await peer.publish("talk/", n)
        except IpcError:
            await asyncio.sleep(0.005)  # the rate of the load while the bus is away


if __name__ == "__main__":
    try:
        asyncio.run(serve(json.loads(sys.argv[1])))
    except IpcError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        sys.exit(3)
