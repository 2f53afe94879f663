"""Starting and ending peer processes in tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ipc import Call
from ipc.testing import RunningBus

ROOT = Path(__file__).parents[2]


class Stuck:
    """A method that answers nobody, and tells when it began and when it was cancelled."""

    def __init__(self) -> None:
        self.started, self.cancelled = asyncio.Event(), asyncio.Event()

    async def note(self, call: Call, id: str) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


async def spawn(bus: RunningBus, name: str, allow: Any = "all", **options: Any) -> asyncio.subprocess.Process:
    """Start `child.py` under a new registration; it may not be ready yet."""
    notice = bus.register(name, allow)
    given = {"directory": bus.directory, "name": name, "credential": notice["credential"], **options}
    return await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "tests/ipc/child.py"), json.dumps(given),
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


async def ready(process: asyncio.subprocess.Process) -> None:
    """Wait until a child says READY."""
    await says(process, "READY")


async def says(process: asyncio.subprocess.Process, what: str) -> None:
    """Wait for the next line of a child, which must be `what`."""
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 20)
    assert line == f"{what}\n".encode(), line


async def kill(process: asyncio.subprocess.Process) -> None:
    """SIGKILL, wait, and take what is left in the pipe, so that nothing is open afterwards."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    await process.wait()
    assert process.stdout is not None
    await process.stdout.read()
    process._transport.close()


@contextlib.asynccontextmanager
async def child(bus: RunningBus, name: str, **options: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    """A child that is ready, killed at the end."""
    process = await spawn(bus, name, **options)
    try:
        await ready(process)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
        await kill(process)
