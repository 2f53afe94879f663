"""The life that all processes share: READY, failing, stopping, leaving."""

from __future__ import annotations

import asyncio
import signal
import socket
import tempfile
from pathlib import Path

import pytest

from egghead.processes.common import ABSENT, _absence
from tests.rooms.stage import stage

PLANNED = 75


async def test_ready_comes_when_the_process_can_be_called() -> None:
    """When READY is said the process is on the bus, visible, and its info is in the message."""
    async with stage() as s:
        child = await s.start("child", "child", how="serves")
        ada = await s.bus.client("ada")
        assert child.ready.result() == {"what": "serves"}
        assert (await ada.call("child", "hello")).startswith("hello clients/ada")


@pytest.mark.parametrize("how", ["stop", "sigterm"])
async def test_a_process_that_is_asked_to_end_says_its_last_words(how: str) -> None:
    """On stop and on SIGTERM the callbacks run with the bus still there, and the exit code is 0."""
    async with stage() as s:
        await s.start("child", "child", how="serves")
        ada = await s.bus.client("ada")
        words = await ada.subscribe("log/last/")
        code = await (s.stop("child") if how == "stop" else s.kill("child", signal.SIGTERM))
        assert code == 0
        assert (await asyncio.wait_for(anext(words), 5)).data == {"said": "bye"}


async def test_a_planned_exit_has_its_own_code() -> None:
    """Leaving on purpose ends in order with the code that the supervisor does not count as a crash."""
    async with stage() as s:
        child = await s.start("child", "child", how="serves")
        ada = await s.bus.client("ada")
        await ada.cast("child", "leave")
        assert await asyncio.to_thread(child.process.wait, 10) == PLANNED
        await s.kill("child")


async def test_a_failing_setup_ends_the_process_with_its_traceback() -> None:
    """An exception before READY is exit code 1 and a traceback on stderr."""
    async with stage() as s:
        with pytest.raises(RuntimeError, match="no such luck"):
            await s.start("child", "child", how="fails_in_setup")
        assert s.children["child"].process.wait(5) == 1


async def test_a_task_that_dies_takes_its_process_with_it() -> None:
    """A process whose loop has failed does not stay up doing nothing."""
    async with stage() as s:
        child = await s.start("child", "child", how="fails_in_task")
        ada = await s.bus.client("ada")
        await ada.cast("child", "break")
        assert await asyncio.to_thread(child.process.wait, 10) == 1
        assert "the loop broke" in s.stderr()


async def test_an_unimportant_task_dies_alone() -> None:
    """A task marked as not fatal is logged and the process goes on."""
    async with stage() as s:
        await s.start("child", "child", how="fails_unimportantly")
        assert await s.stop("child") == 0
        assert "never mind" in s.stderr()


async def test_a_process_can_be_stopped_before_it_is_ready() -> None:
    """A stop during a setup that hangs is obeyed."""
    async with stage() as s:
        ada = await s.bus.client("ada")
        hangs = await ada.subscribe("log/hangs/")
        starting = asyncio.create_task(s.start("child", "child", how="never_ready"))
        await asyncio.wait_for(anext(hangs), 15)
        assert await s.stop("child") == 0
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)


async def test_a_busy_bus_is_there_and_a_dead_one_is_not() -> None:
    """Who waits for the bus does not disturb one that listens and does nothing; when it has died it is missed soon."""
    with tempfile.TemporaryDirectory(prefix="eb-") as directory:
        with socket.socket(socket.AF_UNIX) as bus:
            bus.bind(f"{directory}/bus")
            bus.listen()
            bus.setblocking(False)
            missing = asyncio.create_task(_absence(directory))
            done, _ = await asyncio.wait({missing}, timeout=2 * ABSENT)
            assert not done
            with pytest.raises(BlockingIOError):
                bus.accept()
        await asyncio.wait_for(missing, 10 * ABSENT)
        Path(directory, "bus").unlink()
        await asyncio.wait_for(_absence(directory), 10 * ABSENT)
