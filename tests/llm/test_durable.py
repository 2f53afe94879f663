"""The account outlives a power cut: what an agent heard the end of is synced, and a slow disk holds up no stream."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from egghead.llm import ledger as ledger_module
from egghead.llm.gateway import Gateway
from egghead.llm.ledger import Ledger
from egghead.llm.purse import Purse
from egghead.llm.registry import Registry
from egghead.llm.usage import Called, Figures
from ipc import Call

HELLO = {"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]}


class Disk:
    """The disk's own word for what it has for good: what a power cut would leave. `hold` makes it hang, `refuse` fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kept: dict[str, bytes] = {}
        self.names: set[str] = set()
        self.syncs = 0
        self.refuse = False
        self.hold: threading.Event | None = None
        self.held = threading.Event()
        self._directory, self._file = os.fsync, os.fdatasync
        monkeypatch.setattr(os, "fdatasync", self._fdatasync)
        monkeypatch.setattr(os, "fsync", self._fsync)

    def _fdatasync(self, fd: int) -> None:
        self.syncs += 1
        path = os.readlink(f"/proc/self/fd/{fd}")
        there = Path(path).read_bytes()  # what comes later is not in this sync
        if self.hold is not None:
            self.held.set()
            self.hold.wait(30)
        if self.refuse:
            raise OSError(errno.EIO, "Input/output error")
        self._file(fd)
        self.kept[path] = there

    def _fsync(self, fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        self._directory(fd)
        if os.path.isdir(path):
            self.names |= {str(one) for one in Path(path).iterdir()}

    def calls(self, directory: Path, other: Path) -> Figures:
        """What the next life counts when the power goes now."""
        other.mkdir()
        for path, data in self.kept.items():
            if path in self.names and Path(path).parent == directory:
                (other / Path(path).name).write_bytes(data)
        return sum((one for _, sums in Ledger(other).days() for one in sums.values()), Figures())


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


async def ask(served: Gateway) -> list[dict[str, Any]]:
    call = Call("agents/scout", 1, "complete", time.monotonic() + 60)
    async with contextlib.aclosing(served.complete(call, HELLO)) as events:
        return [event async for event in events]


def done(number: int) -> Called:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Called(f"c{number}", at, "scout", "r", "p/m", 1, 1)


async def test_a_call_whose_end_was_heard_outlives_a_power_cut(tmp_path: Path, disk: Disk) -> None:
    """After each stop the disk has the call for good, and the name of its file; a day's file is named once."""
    (kept := tmp_path / "usage").mkdir()
    served = Gateway(Registry(), Purse(Ledger(kept)))
    for number in (1, 2, 3):
        call = Call("agents/scout", 1, "complete", time.monotonic() + 60)
        async with contextlib.aclosing(served.complete(call, HELLO)) as events:
            async for event in events:
                if event["type"] == "stop":
                    found = disk.calls(kept, tmp_path / f"cut{number}")
                    assert (found.calls, found.cut) == (number, 0)
    await served.aclose()


async def test_calls_that_end_together_share_a_sync(tmp_path: Path, disk: Disk) -> None:
    """Two hundred calls that end while the disk is busy cost it two syncs: the one that was under way, and one for all."""
    ledger = Ledger(tmp_path)
    disk.hold = threading.Event()
    ledger.add(done(0))
    first = asyncio.ensure_future(ledger.durable())
    await asyncio.to_thread(disk.held.wait, 30)
    for number in range(1, 201):
        ledger.add(done(number))
    rest = [asyncio.ensure_future(ledger.durable()) for _ in range(200)]
    await asyncio.sleep(0)
    disk.hold.set()
    await asyncio.gather(first, *rest)
    assert disk.syncs == 2
    assert disk.calls(tmp_path, tmp_path / "cut").calls == 201


async def test_a_disk_that_hangs_holds_up_no_call_for_long(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that does not return costs the end of a call a bounded time, and the loop none; limits hold meanwhile."""
    monkeypatch.setattr(ledger_module, "PATIENCE", 0.1)
    disk.hold = threading.Event()
    served = Gateway(Registry(), Purse(Ledger(tmp_path)))
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)

    watching = asyncio.ensure_future(watch())
    heard = await asyncio.wait_for(asyncio.gather(*(ask(served) for _ in range(5))), 30)
    watching.cancel()
    assert all(events[-1]["type"] == "stop" for events in heard) and longest < 2.0
    assert served.purse.ledger.spent["scout"].calls == 5
    disk.hold.set()
    await served.aclose()
    assert disk.calls(tmp_path, tmp_path / "cut").calls == 5


async def test_what_a_sync_refused_is_written_again(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After a failed sync the kernel may forget the pages: the lines are written once more, and count once."""
    monkeypatch.setattr(ledger_module, "AGAIN_AFTER", 0.0)
    ledger = Ledger(tmp_path)
    disk.refuse = True
    ledger.add(done(1))
    await ledger.durable()
    assert "the disk did not take it for good: [Errno 5] Input/output error" in caplog.text
    (lines,) = tmp_path.glob("*.jsonl")
    lines.write_bytes(b"")  # the pages that the kernel dropped
    disk.refuse = False
    await ledger.durable()
    assert disk.calls(tmp_path, tmp_path / "cut").calls == 1
    ledger.add(done(1))
    ledger.add(done(2))
    await ledger.durable()
    assert disk.calls(tmp_path, tmp_path / "cut2").calls == 2


async def test_a_day_that_ends_while_the_disk_is_busy(tmp_path: Path, disk: Disk) -> None:
    """The file of yesterday may become sums under a sync of it: nothing is lost, raised, or counted twice."""
    now = [datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)]
    ledger = Ledger(tmp_path, lambda: now[0])
    disk.hold = threading.Event()
    ledger.add(done(1))
    waiting = asyncio.ensure_future(ledger.durable())
    await asyncio.to_thread(disk.held.wait, 30)
    disk.refuse, now[0] = True, datetime(2026, 2, 1, tzinfo=UTC)
    ledger.add(done(2))
    disk.hold.set()
    await waiting
    disk.hold, disk.refuse = None, False
    ledger.add(done(3))
    assert sum((one for _, sums in ledger.days() for one in sums.values()), Figures()).calls == 3
    assert (
        sum((one for _, sums in Ledger(tmp_path, lambda: now[0]).days() for one in sums.values()), Figures()).calls == 3
    )
