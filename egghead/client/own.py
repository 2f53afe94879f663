"""A node for the length of one client's life: started, waited for, stopped. The node itself is `egghead serve`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from egghead import node, paths
from egghead.errors import ExitCode, NodeError

START_TIMEOUT = 120.0  # seconds; the first index of a large store takes its time
STOP_TIMEOUT = 15.0


@asynccontextmanager
async def own_node(
    records: Path, config: Path | None = None, timeout: float = START_TIMEOUT
) -> AsyncIterator[tuple[paths.RuntimeDir, dict[str, Any]]]:
    """Starts `egghead serve` on `records` and yields (runtime directory, node.json) once it is ready; stops it after.

    When somebody else starts one at the same moment, theirs is used and left running. Raises NodeError with what the
    node said when it does not come up.
    """
    arguments = [sys.executable, "-m", "egghead", "--records", str(records)]
    if config is not None:
        arguments += ["--config", str(config)]
    place = paths.runtime_dir(records)
    with tempfile.TemporaryFile() as said:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            "serve",
            "--ephemeral",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,  # Ctrl-C is for the client; the node is told by us
        )
        try:
            yield place, await _ready(process, place, said, timeout)
        finally:
            await _stop(process)


async def _ready(
    process: asyncio.subprocess.Process, place: paths.RuntimeDir, said: Any, timeout: float
) -> dict[str, Any]:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = node.read_node(place)
        if found is not None:
            return found
        if process.returncode is not None and process.returncode != int(ExitCode.REFUSED):
            said.seek(max(0, said.seek(0, os.SEEK_END) - 4000))
            last = said.read().decode("utf-8", "replace").strip()
            raise NodeError(f"the node did not start (exit code {process.returncode}):\n{last}")
        await asyncio.sleep(0.02)  # node.json is renamed into place; there is no event to wait for that is cheaper
    raise NodeError(f"the node was not ready within {timeout:g} s", ExitCode.TIMEOUT)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
