"""A client in another language, written from docs/protocol.md alone, does everything that the page describes."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ipc import Call, Refused, RemoteError
from ipc.testing import TOKEN, RunningBus, running_bus
from tests.ipc.processes import ROOT
from tests.ipc.test_calls import echo
from tests.ipc.test_events import take


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The compiled client; warnings are errors, and a wrong byte or a leak ends it."""
    made = tmp_path_factory.mktemp("c") / "client"
    subprocess.run(
        ["gcc", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined", "-o", str(made),
         str(ROOT / "tests/ipc/minimal_client.c"), "-lzmq"],
        check=True, timeout=50,
    )  # fmt: skip
    yield made
    made.unlink()


class Client:
    """The program, and its answers to commands."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def read(self) -> list[str]:
        assert self._process.stdout is not None
        lines = []
        while (line := (await asyncio.wait_for(self._process.stdout.readline(), 20)).decode()) not in (".\n", ""):
            lines.append(line.rstrip("\n"))
        return lines

    async def do(self, command: str) -> list[str]:
        assert self._process.stdin is not None
        self._process.stdin.write(command.encode() + b"\n")
        return await self.read()


@contextlib.asynccontextmanager
async def client(program: Path, bus: RunningBus, user: str, password: str, *more: str) -> AsyncIterator[Client]:
    process = await asyncio.create_subprocess_exec(
        str(program), bus.directory, user, password, *more, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield Client(process)
        assert process.stdin is not None
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 20) == (2 if more else 0)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        process._transport.close()


async def count(call: Call, n: int, size: int) -> AsyncIterator[object]:
    for i in range(n):
        yield [i, bytes(size)]


async def test_it_calls_casts_and_streams(program: Path) -> None:
    """Results, errors with their data, refusals of the bus, a stream beyond its credit, and one that is cancelled."""
    told: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def refuse(call: Call) -> None:
        raise Refused("Conflict", "it changed", last=7)

    async def hear(call: Call, x: str) -> None:
        told.put_nowait((call.caller, x))

    allow = {"call": {"a": ["*"], "ghost": ["*"]}}
    async with running_bus(client_allow=allow) as bus:
        a = await bus.peer("a", {"echo": echo, "refuse": refuse, "hear": hear, "count": count})
        async with client(program, bus, "client:ada", TOKEN) as ada:
            assert await ada.read() == [f"welcome clients/ada-1 {a.epoch} {a.epoch}"]
            assert await ada.do("call a echo héllo") == [f"result [héllo clients/ada-1 {a.epoch}]"]
            assert await ada.do("call a refuse") == ["error Conflict: it changed {last:7}"]
            assert await ada.do("call a nothing") == ["error NoSuchMethod: there is no method 'nothing' {}"]
            assert await ada.do("call ghost echo") == ["failed peer_down ghost"]
            assert await ada.do("call b echo") == ["failed forbidden b"]
            assert await ada.do("stream a count 300") == ["end after 300 chunks, 3001716 bytes"]
            assert await ada.do("stream a count 1000000 50") == ["cancelled after 50 chunks"]
            assert await ada.do("cast a hear there") == []
            assert await asyncio.wait_for(told.get(), 5) == ("clients/ada-1", "there")
            assert await ada.do("bye") == []
        assert (await a.call("a", "echo", x=1))[0] == 1


async def test_it_answers_and_produces_within_its_credit(program: Path) -> None:
    """A process written in C answers calls, refuses what it does not know, hears casts, and streams as it is read."""
    async with running_bus() as bus:
        b = await bus.peer("b")
        changes = b.monitor("c")
        assert (await take(changes, 1))[0].snapshot_end
        notice = bus.register("c")
        async with client(program, bus, "c", notice["credential"]) as c:
            assert (await c.read())[0].startswith(f"welcome c {notice['incarnation']} ")
            assert await c.do("announce") == []
            assert (await take(changes, 1))[0].up
            asked = f"b {b.incarnation}"
            for call, line in (
                (
                    b.call("c", "echo", x=[1, None, b"\x00"]),
                    f"request echo {asked} {{x:[1 nil bin1]}} timeout set attempt 1",
                ),
                (b.call("c", "other"), f"request other {asked} {{}} timeout set attempt 1"),
                (b.cast("c", "note", n=1), f"told note {asked} {{n:1}}"),
            ):
                task = asyncio.ensure_future(call)
                assert await c.do("serve") == [line]
                results = await asyncio.gather(task, return_exceptions=True)
                if "echo" in line:
                    assert results == [{"x": [1, None, b"\x00"]}]
                elif "other" in line:
                    assert isinstance(results[0], RemoteError)
                    assert (results[0].type, results[0].data) == ("NoSuchMethod", {"method": "other"})
            async with b.stream("c", "count") as chunks:
                serving = asyncio.create_task(c.do("serve 200 10000"))
                assert [chunk[0] async for chunk in chunks] == list(range(200))
                assert (await serving)[-1] == "gave 200 chunks"
            async with b.stream("c", "count") as chunks:
                serving = asyncio.create_task(c.do("serve 100000 10000"))
                await anext(chunks)
            line = (await serving)[-1]
            assert line.startswith("stopped after ") and int(line.split()[2]) < 60
        gone = (await take(changes, 1))[0]
        assert (gone.name, gone.up) == ("c", False)


async def test_it_publishes_subscribes_and_watches(program: Path) -> None:
    """Events both ways, more than any window or mark, in order; denials; who comes and goes, with the reason."""
    allow = {
        "a": "all",
        "c": {"publish": ["c/"], "subscribe": ["t/"], "monitor": ["x*"], "call": {"a": ["echo"]}},
        "x1": {},
    }
    async with running_bus(allow=allow) as bus:
        a = await bus.peer("a", {"echo": echo})
        read = await a.subscribe("c/")
        notice = bus.register("c")
        async with client(program, bus, "c", notice["credential"]) as c:
            await c.read()
            assert await c.do("subscribe secret/") == ["denied"]
            assert await c.do("subscribe t/") == ["subscribed"]
            reading = asyncio.create_task(c.do("events 600"))
            for n in range(600):
                await a.publish("t/", [n, bytes(10_000)])
            assert await reading == ["event t/ a 600 gaps 0 [599 bin10000]"]
            publishing = asyncio.create_task(c.do("publish c/ 600"))
            seen = [await asyncio.wait_for(anext(read), 10) for _ in range(600)]
            await publishing
            assert [(event.by, event.seq, event.gap) for event in seen] == [("c", n + 1, False) for n in range(600)]
            assert await c.do("monitor *") == ["failed forbidden"]
            assert await c.do("monitor x*") == ["snapshot"]
            await bus.peer("x1")
            assert await c.do("changes 1") == ["up x1 "]
            bus.down("x1", "signal 9", planned=True)
            assert await c.do("changes 1") == ["down x1 signal 9 planned"]
            assert await c.do("call a echo") == [f"result [nil c {notice['incarnation']}]"]


async def test_it_is_told_when_it_is_wrong(program: Path) -> None:
    """A wrong token ends the handshake; another version is told which one the bus speaks."""
    async with running_bus() as bus:
        async with client(program, bus, "client:ada", "0" * 64, "1") as wrong:
            assert await wrong.read() == ["fatal wrong user name or password"]
        async with client(program, bus, "client:ada", TOKEN, "2") as old:
            assert await old.read() == ["fatal version"]
