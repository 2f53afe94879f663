"""What the bus costs: calls, streams, fan-out, reconnects; beside raw ZeroMQ with the same payloads in the same run.

Every end is a process of its own: this file run with a role. The floor of a call is a raw ROUTER that forwards between
DEALERs which are read on asyncio loops over ZMQ_FD; the floor of fan-out is raw PUB and SUB.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

PAYLOAD = 200  # bytes
CALLS = 2000
PACED = 500  # calls, one each millisecond
FANOUT = 3000  # events
CREDENTIAL = "c" * 32


def run() -> list[dict[str, Any]]:
    """Rows {name, value, unit, floor, ratio}; a ratio above 1 is worse than the floor."""
    rows: list[dict[str, Any]] = []

    def add(
        name: str, value: float, unit: str, floor: float | None, more_is_better: bool = False, limit: str | None = None
    ) -> None:
        ratio = None
        if floor:
            ratio = round(floor / value if more_is_better else value / floor, 2)
        row = {"name": name, "value": round(value, 3), "unit": unit, "floor": floor and round(floor, 3), "ratio": ratio}
        rows.append(row if limit is None else {**row, "limit": limit})

    with tempfile.TemporaryDirectory(prefix="eb-", dir="/tmp") as directory:
        raw = one(directory, "raw-broker", ["raw-echo"], "raw-caller")
        ours = one(directory, "bus", ["echo"], "caller")
        for key, unit in (("p50", "µs"), ("p99", "µs"), ("paced p50", "µs"), ("paced p99", "µs")):
            add(f"ipc: call through the bus, {key}", ours[key], unit, raw[key], limit="1.3" if key == "p50" else None)
        add("ipc: calls a second, 10 at once", ours["rate 10"], "1/s", raw["rate 10"], True)
        add("ipc: calls a second, 100 at once", ours["rate 100"], "1/s", raw["rate 100"], True)
        add("ipc: stream of 50 B chunks", ours["stream 50"], "chunks/s", None)
        add("ipc: stream of 50 kB chunks", ours["stream 50000"] * 0.05, "MB/s", None)
        for readers in (10, 100):
            floor = one(directory, "", [], "raw-publisher", readers, "raw-reader")
            value = one(directory, "bus", [], "publisher", readers, "reader")
            add(f"ipc: events to {readers} subscribers", value["delivered"], "1/s", floor["delivered"], True, "1.5")
        add("ipc: 300 peers back after a restart of the bus", one(directory, "", [], "reconnect")["ms"], "ms", None)
    return rows


def spawn(role: str, directory: str, *options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, role, directory, *map(str, options)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def one(
    directory: str, middle: str, servers: list[str], driver: str, readers: int = 0, reader: str = ""
) -> dict[str, float]:
    """Start the middle, the servers and readers, then the driver; return what the driver measured."""
    started: list[subprocess.Popen[str]] = []

    def start(role: str, *options: Any) -> None:
        process = spawn(role, directory, *options)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", role

    try:
        if middle:
            start(middle)
        for server in servers:
            start(server)
        if driver == "raw-publisher":
            process = spawn(driver, directory, readers)
            started.append(process)
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for n in range(min(readers, 5)):
            start(reader, readers // 5, n)
        if driver != "raw-publisher":
            process = spawn(driver, directory, readers)
            started.append(process)
        assert process.stdout is not None and process.stdin is not None
        if readers:
            process.stdin.write("go\n")
            process.stdin.flush()
            began = float(process.stdout.readline())
            ends = []
            for other in started:
                if other is not process and len(other.args) > 4:  # type: ignore[arg-type]
                    assert other.stdout is not None
                    ends.append(float(other.stdout.readline()))
            return {"delivered": readers * FANOUT / (max(ends) - began)}
        result: dict[str, float] = json.loads(process.stdout.readline())
        return result
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def say(text: Any) -> None:
    print(text, flush=True)


# Roles: ours


def bus(directory: str) -> None:
    from ipc.bus import Bus
    from ipc.rights import ALL

    names = ["echo", "caller", "publisher", *(f"reader{n}" for n in range(100))]
    registrations = [{"register": n, "incarnation": 1, "credential": CREDENTIAL, "allow": ALL} for n in names]
    Bus(directory + "/bus", registrations=registrations).run(on_ready=lambda: say("ready"))


async def join(directory: str, name: str) -> Any:
    from ipc import Peer

    return Peer(directory + "/bus", name=name, credential=CREDENTIAL)


async def echo(directory: str) -> None:
    peer = await join(directory, "echo")

    async def echo_(call: Any, x: bytes) -> bytes:
        return x

    async def count(call: Any, n: int, size: int) -> Any:
        chunk = bytes(size)
        for _ in range(n):
            yield chunk

    peer.expose({"echo": echo_, "count": count})
    await peer.connect()
    say("ready")
    await peer.wait_closed()


async def caller(directory: str, _readers: str) -> None:
    peer = await join(directory, "caller")
    await peer.connect()
    data = bytes(PAYLOAD)
    result = await drive(lambda: peer.call("echo", "echo", x=data))
    for size, n in ((50, 20_000), (50_000, 2000)):
        began = time.perf_counter()
        async with peer.stream("echo", "count", n=n, size=size) as chunks:
            async for _ in chunks:
                pass
        result[f"stream {size}"] = n / (time.perf_counter() - began)
    say(json.dumps(result))
    await peer.close()


async def publisher(directory: str, _readers: str) -> None:
    peer = await join(directory, "publisher")
    await peer.connect()
    await asyncio.to_thread(sys.stdin.readline)
    data = bytes(PAYLOAD)
    say(time.monotonic())
    for _ in range(FANOUT):
        await peer.publish("t/", data)
    await peer.wait_closed()


async def reader(directory: str, count: str, n: str) -> None:
    async def read(number: int) -> Any:
        peer = await join(directory, f"reader{number}")
        await peer.connect()
        return await peer.subscribe("t/")

    subscriptions = [await read(int(n) * int(count) + k) for k in range(int(count))]
    say("ready")

    async def drain(subscription: Any) -> None:
        for _ in range(FANOUT):
            await anext(subscription)

    await asyncio.gather(*(drain(s) for s in subscriptions))
    say(time.monotonic())
    await asyncio.sleep(60)


async def reconnect(_directory: str, _readers: str) -> None:
    from ipc.testing import running_bus

    async with running_bus(process=True) as running:
        peers = [await running.peer(f"p{n}") for n in range(300)]
        await running.kill()
        await running.start()
        began = time.monotonic()
        await asyncio.gather(*(peer.wait_connected() for peer in peers))
        took = time.monotonic() - began
    say(json.dumps({"ms": took * 1000}))


# Roles: raw


def raw_broker(directory: str) -> None:
    import zmq

    router = zmq.Context().socket(zmq.ROUTER)
    router.bind(f"ipc://{directory}/raw")
    say("ready")
    while True:
        source, target, data = router.recv_multipart()
        router.send_multipart([target, source, data])


def raw_dealer(directory: str, identity: bytes, arrived: Any) -> Any:
    import zmq

    dealer = zmq.Context().socket(zmq.DEALER)
    dealer.identity = identity
    dealer.connect(f"ipc://{directory}/raw")

    def readable() -> None:
        while True:
            try:
                frames = dealer.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            arrived(frames)

    loop = asyncio.get_running_loop()
    loop.add_reader(dealer.FD, readable)

    def send(frames: list[bytes]) -> None:
        dealer.send_multipart(frames)
        if dealer.EVENTS & zmq.POLLIN:
            loop.call_soon(readable)

    return send


async def raw_echo(directory: str) -> None:
    send = raw_dealer(directory, b"echo", lambda frames: send(frames))
    send([b"echo", b""])
    say("ready")
    await asyncio.Event().wait()


async def raw_caller(directory: str, _readers: str) -> None:
    waiting: dict[bytes, asyncio.Future[bytes]] = {}
    number = 0

    def arrived(frames: list[bytes]) -> None:
        future = waiting.pop(frames[1][:8], None)
        if future is not None and not future.done():
            future.set_result(frames[1])

    send = raw_dealer(directory, b"caller", arrived)
    loop = asyncio.get_running_loop()
    data = bytes(PAYLOAD)

    async def call() -> None:
        nonlocal number
        number += 1
        key = number.to_bytes(8, "big")
        future = waiting[key] = loop.create_future()
        send([b"echo", key + data])
        await future

    say(json.dumps(await drive(call)))


def raw_publisher(directory: str, readers: str) -> None:
    import zmq

    pub = zmq.Context().socket(zmq.XPUB)
    pub.sndhwm = 0
    pub.bind(f"ipc://{directory}/pub")
    pub.setsockopt(zmq.XPUB_VERBOSE, 1)
    say("ready")
    for _ in range(int(readers)):
        pub.recv()
    sys.stdin.readline()
    data = bytes(PAYLOAD)
    say(time.monotonic())
    for _ in range(FANOUT):
        pub.send_multipart([b"t/", data])
    time.sleep(60)


async def raw_reader(directory: str, count: str, _n: str) -> None:
    import zmq

    loop = asyncio.get_running_loop()
    context = zmq.Context()
    left = int(count) * FANOUT
    done = asyncio.Event()

    def watch() -> None:
        sub = context.socket(zmq.SUB)
        sub.rcvhwm = 0
        sub.connect(f"ipc://{directory}/pub")
        sub.subscribe(b"t/")

        def readable() -> None:
            nonlocal left
            while True:
                try:
                    sub.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    return
                left -= 1
                if not left:
                    done.set()

        loop.add_reader(sub.FD, readable)
        loop.call_soon(readable)

    for _ in range(int(count)):
        watch()
    say("ready")
    await done.wait()
    say(time.monotonic())
    await asyncio.sleep(60)


async def drive(call: Any) -> dict[str, float]:
    """Closed loop, paced and concurrent calls of one kind: µs and calls a second."""
    for _ in range(200):
        await call()
    result: dict[str, float] = {}
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await call()
        times.append(time.perf_counter() - began)
    result |= percentiles("", times)
    times = []
    for _ in range(PACED):
        await asyncio.sleep(0.001)
        began = time.perf_counter()
        await call()
        times.append(time.perf_counter() - began)
    result |= percentiles("paced ", times)
    for width in (10, 100):

        async def work(n: int) -> None:
            for _ in range(n):
                await call()

        began = time.perf_counter()
        await asyncio.gather(*(work(CALLS * 2 // width) for _ in range(width)))
        result[f"rate {width}"] = CALLS * 2 / (time.perf_counter() - began)
    return result


def percentiles(prefix: str, times: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=100)
    return {prefix + "p50": cuts[49] * 1e6, prefix + "p99": cuts[98] * 1e6}


if __name__ == "__main__":
    role, *given = sys.argv[1:]
    work = globals()[role.replace("-", "_")](*given)
    if work is not None:
        asyncio.run(work)
