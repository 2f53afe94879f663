"""Running what every child runs, once, in the zygote, before its heap is frozen.

The interpreter rewrites the code of a function that is called often, makes caches, and touches objects. Done here, it
is done in memory that all children share; done in a child, each page of it is copied. An application adds its own by
`supervisor_warm()` in a preloaded module.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # no stub; what `child` calls is what is to be warm
import json
import os
import random
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

from supervisor.zygote import forking

if TYPE_CHECKING:
    from supervisor.jail.title import Title

TOUCHED = "SUPERVISOR_TOUCHED"
ROUNDS = 12  # the interpreter specializes a function after eight calls (3.11: QUICKENING_WARMUP)


def up(title: Title | None) -> None:
    """Run everything that a child does with the standard library and with its context. `title`: of this process."""
    for _ in range(ROUNDS):
        _after_fork()
        forking.settle()
        _identity(title)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            _talk(ours, theirs)
        if "asyncio" in sys.modules:
            _loop()


def _after_fork() -> None:
    """What os.fork() calls in every child; to call it in a process without other threads changes nothing."""
    random.seed()
    for module, name in ((threading, "_after_fork"), (sys.modules.get("logging"), "_after_at_fork_child_reinit_locks")):
        hook = getattr(module, name, None)
        if hook is not None:
            hook()


def _identity(title: Title | None) -> None:
    """What a child does to become who it is (`child._set_up`), as far as it changes nothing here."""
    from supervisor.jail import linux
    from supervisor.zygote import child

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        _signal.signal(int(number), _signal.getsignal(int(number)))
    if linux.ARCH is not None:
        linux.prctl(linux.PR_GET_DUMPABLE)
        linux.close_all_but(range(256))
    os.environ.update({TOUCHED: "1"})
    del os.environ[TOUCHED]
    if title is not None:
        title.set(title.text)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(json.dumps({"boot": {"name": "warm", "env": {}, "args": {}}}).encode() + b"\n")
        child.first_message(ours)


def _context(ours: socket.socket) -> Any:
    from supervisor.context import Context

    boot = {"name": "warm", "incarnation": 1, "supervisor": "warm", "handover": {}}
    return Context(ours, boot, None, "none")


def _talk(ours: socket.socket, theirs: socket.socket) -> None:
    context = _context(ours)
    context.ready(warm=True)
    context.request("which_children", supervisor="warm")
    context.beat()
    theirs.send(json.dumps({"answer": 1, "result": [["a", "running"]]}).encode() + b"\n")
    context.receive()


def _loop() -> None:
    """An asyncio child's life: loop, reader, tasks, timers, queue, event, control."""
    import asyncio

    from supervisor.aio import AsyncControl

    async def life(ours: socket.socket, theirs: socket.socket) -> None:
        control = AsyncControl(_context(ours))
        control.context.ready()
        queue: asyncio.Queue[int] = asyncio.Queue()

        async def consume() -> int:
            return await queue.get()

        task = asyncio.create_task(consume())
        await asyncio.sleep(0.0001)  # not to wait: to run the loop's timers once
        queue.put_nowait(1)
        await asyncio.wait_for(task, 1)
        theirs.send(b'{"stop": true}\n')
        await asyncio.wait_for(control.stop.wait(), 1)
        control.close()

    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        asyncio.run(life(ours, theirs))
