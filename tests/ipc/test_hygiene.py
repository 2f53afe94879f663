"""What a process gets with a peer in it: cheap import, small memory, clean end, errors for misuse over fork and threads."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ipc import LocalProtocolError
from ipc.testing import running_bus
from tests.ipc.processes import ROOT, child
from tests.ipc.test_calls import echo


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout


def test_importing_the_package_loads_neither_zeromq_nor_asyncio() -> None:
    """`import ipc` and its errors are free of heavy modules."""
    loaded = python(
        "import sys, ipc; ipc.PeerDown, ipc.Forbidden; print([m for m in ('zmq', 'asyncio', 'msgspec') if m in sys.modules])"
    )
    assert loaded == "[]\n"


def test_every_public_name_exists() -> None:
    """All exported names can be imported, unknown ones are AttributeErrors."""
    assert (
        python("import ipc; print(all(getattr(ipc, n) for n in ipc.__all__), hasattr(ipc, 'nothing'))")
        == "True False\n"
    )


def test_routing_ids_cannot_be_guessed(short_dir: Path) -> None:
    """Two buses count their connections from different numbers: a guessed routing id would abort libzmq."""
    code = (
        "import sys, ctypes; from ipc.bus import Bus\n"
        f"bus = Bus({str(short_dir)!r}); bus.open(); print(ctypes.CDLL(None).rand()); bus.close()"
    )
    assert python(code) != python(code)


async def test_a_peer_cannot_be_used_after_a_fork() -> None:
    """A forked child that uses its parent's peer gets LocalProtocolError, not silence."""
    async with running_bus() as bus:
        a = await bus.peer("a", {"echo": echo})
        pid = os.fork()
        if pid == 0:
            try:
                a._check()
            except LocalProtocolError as error:
                os._exit(7 if "fork" in str(error) else 8)
            os._exit(9)
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        assert os.waitstatus_to_exitcode(status) == 7
        assert (await a.call("a", "echo", x=1))[0] == 1


async def test_a_peer_cannot_be_used_from_another_thread_or_loop() -> None:
    """Another thread gets LocalProtocolError, with and without a loop of its own."""
    async with running_bus() as bus:
        a = await bus.peer("a", {"echo": echo})
        errors: list[BaseException] = []

        def other() -> None:
            for use in (lambda: asyncio.run(a.call("a", "echo")), lambda: a.monitor("*")):
                try:
                    use()
                except LocalProtocolError as error:
                    errors.append(error)

        thread = threading.Thread(target=other)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert ["loop or thread" in str(error) for error in errors] == [True, True]


async def test_an_iterator_has_one_reader() -> None:
    """A second task that waits on the same subscription or monitor gets LocalProtocolError, and the first one goes on."""
    async with running_bus() as bus:
        a = await bus.peer("a")
        read = await a.subscribe("t/")
        watch = a.monitor("b")
        assert (await anext(watch)).snapshot_end
        for iterator in (read, watch):
            waiting = asyncio.ensure_future(anext(iterator))
            await a.call("bus", "ping")
            with pytest.raises(LocalProtocolError, match="one reader"):
                await anext(iterator)
            if iterator is read:
                await a.publish("t/", 1)
            else:
                await bus.peer("b")
            await asyncio.wait_for(waiting, 5)


async def test_closing_leaves_no_task_descriptor_or_thread() -> None:
    """After close everything is as before, also with calls, streams, subscriptions and monitors open."""

    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    async with running_bus(process=True) as bus:  # its end of each connection is closed when it pleases
        warm = await bus.peer("warm")
        await warm.close()
        gc.collect()
        before = threads(), descriptors(), len(asyncio.all_tasks())
        a = await bus.peer("a", {"echo": echo})
        waiting = [asyncio.create_task(a.call("a", "echo")) for _ in range(5)]
        await a.subscribe("t/")
        await anext(a.monitor("*"))
        await a.close()
        await asyncio.gather(*waiting, return_exceptions=True)
        # A thread that was joined may still be listed: the kernel wakes who joins it before it is quite gone.
        async with asyncio.timeout(5):
            while threads() > before[0]:
                await asyncio.sleep(0.01)
        assert (threads(), descriptors(), len(asyncio.all_tasks())) == before


async def test_an_idle_peer_is_small() -> None:
    """A connected, announced peer adds less than 3 MiB of private memory to its process."""
    async with running_bus() as bus, child(bus, "idle") as process:
        bare = int(python(
            "import asyncio, zmq, msgspec, ipc.peer\n"
            "def private():\n"
            " return sum(int(l.split()[1]) for l in open('/proc/self/smaps_rollup') if l.startswith('Private'))\n"
            "async def main(): print(private())\n"
            "asyncio.run(main())"
        ))  # fmt: skip
        with open(f"/proc/{process.pid}/smaps_rollup") as file:  # noqa: ASYNC230 - /proc does not block
            private = sum(int(line.split()[1]) for line in file if line.startswith("Private"))
        assert private - bare < 3 * 1024, (private, bare)
