"""What the bus costs: calls, streams, fan-out, deaths, reconnects; beside raw ZeroMQ with the same payloads in the same run.

Every end is a process of its own: this file run with a role. The floor of a call is a raw ROUTER that forwards between
DEALERs which are read on asyncio loops over ZMQ_FD; the floor of fan-out is raw PUB and SUB. Ours and the floor take
turns, ROUNDS times; a row is the median of its rounds, a ratio the median of the ratios of each round.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

ROUNDS = 3
PAYLOAD = 200  # bytes
CALLS = 1500
PACED = 400  # calls, one each millisecond
FANOUT = 3000  # events
LATENCY = 200  # events, one each two milliseconds, of which each reader notes how long they took
CASTS = 30_000
VICTIMS = 40
CREDENTIAL = "c" * 32
# A process for each reader would measure the scheduler of two cores.
PROCESSES = 5

Figures = dict[str, float]


def run() -> Iterator[dict[str, Any]]:
    """Rows {name, value, unit, floor, ratio}; a ratio above 1 is worse than the floor."""
    with tempfile.TemporaryDirectory(prefix="eb-", dir="/tmp") as directory:
        yield {"name": f"load of {os.cpu_count()} cores before", "value": os.getloadavg()[0], "unit": ""}
        yield from calls(directory)
        for readers in (10, 100):
            yield from events(directory, readers)
        loads = [capacity(directory) for _ in range(ROUNDS)]
        yield row("casts that the bus forwards in a second of its CPU", "rate", loads, unit="1/s", limit="40000")
        downs = [deaths(directory) for _ in range(ROUNDS)]
        yield row("PeerDown after SIGKILL with a call in flight, p50", "p50", downs, unit="ms", limit="50 ms")
        yield row("PeerDown after SIGKILL with a call in flight, p99", "p99", downs, unit="ms", limit="50 ms")
        for peers, limit in ((100, "200 ms"), (1000, "1000 ms")):
            backs = [reconnect(directory, peers) for _ in range(3)]
            yield row(f"{peers} peers back after a kill of the bus", "ms", backs, unit="ms", limit=limit)
        yield {"name": f"load of {os.cpu_count()} cores after", "value": os.getloadavg()[0], "unit": ""}


def row(
    name: str,
    key: str,
    ours: list[Figures],
    floors: list[Figures] | None = None,
    unit: str = "µs",
    more: bool = False,
    limit: str | None = None,
) -> dict[str, Any]:
    """One line. `more`: more is better."""
    made: dict[str, Any] = {"name": name, "value": round(statistics.median(one[key] for one in ours), 3), "unit": unit}
    if floors is not None:
        pairs = [(mine[key], floor[key]) for mine, floor in zip(ours, floors, strict=True)]
        made["floor"] = round(statistics.median(floor for _, floor in pairs), 3)
        made["ratio"] = round(statistics.median(floor / mine if more else mine / floor for mine, floor in pairs), 2)
    return made if limit is None else {**made, "limit": limit}


def calls(directory: str) -> Iterator[dict[str, Any]]:
    """Calls and streams through the bus, beside a raw broker, and one read by zmq.asyncio."""
    ours, floors, others = [], [], []
    for _ in range(ROUNDS):
        floors.append(one(directory, "raw-broker", ["raw-echo"], "raw-caller"))
        ours.append(one(directory, "bus", ["echo"], "caller"))
        others.append(one(directory, "raw-broker", ["zmq-asyncio-echo"], "zmq-asyncio-caller"))
    for key, limit in (("p50", "1.3"), ("p99", None), ("paced p50", "1.3"), ("paced p99", None)):
        yield row(f"call through the bus, {key}", key, ours, floors, limit=limit)
    for key in ("p50", "paced p50"):
        yield row(f"call, ends of zmq.asyncio and a raw broker as floor, {key}", key, ours, others)
    for width in (10, 100):
        yield row(f"calls a second, {width} at once", f"rate {width}", ours, floors, "1/s", more=True)
    yield row("CPU of the caller for a call", "cpu", ours, floors)
    yield row("CPU of the caller for a call, zmq.asyncio as floor", "cpu", ours, others)
    yield row("stream of 50 B chunks", "stream 50", ours, unit="chunks/s")
    yield row("stream of 50 kB chunks", "stream 50000", ours, unit="MB/s")


def events(directory: str, readers: int) -> Iterator[dict[str, Any]]:
    """Fan-out through the bus, beside raw PUB and SUB, and SUBs read by zmq.asyncio."""
    ours, floors, others = [], [], []
    for _ in range(ROUNDS):
        floors.append(fan(directory, "", "raw-publisher", readers, "raw-reader"))
        ours.append(fan(directory, "bus", "publisher", readers, "reader"))
        others.append(fan(directory, "", "raw-publisher", readers, "zmq-asyncio-reader"))
    to = f"to {readers} subscribers"
    yield row(f"events {to}", "delivered", ours, floors, "1/s", more=True, limit="1.5")
    yield row(f"events {to}, zmq.asyncio as floor", "delivered", ours, others, "1/s", more=True)
    yield row(f"latency of an event {to}, p50", "p50", ours, floors)
    yield row(f"latency of an event {to}, p99", "p99", ours, floors)
    yield row(f"CPU of a reader for an event {to}", "cpu", ours, floors)
    yield row(f"CPU of a reader for an event {to}, zmq.asyncio as floor", "cpu", ours, others)


def spawn(role: str, directory: str, *options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, role, directory, *map(str, options)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@contextlib.contextmanager
def stage(directory: str) -> Iterator[Any]:
    """`start(role, *options)` for processes that end with the block; each says ready first."""
    started: list[subprocess.Popen[str]] = []

    def start(role: str, *options: Any) -> subprocess.Popen[str]:
        process = spawn(role, directory, *options)
        started.append(process)
        line = heard(process)
        assert line == "ready", (role, line)
        return process

    try:
        yield start
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def one(directory: str, middle: str, servers: list[str], driver: str) -> Figures:
    """What a driver measures between the middle and the servers."""
    with stage(directory) as start:
        for role in (middle, *servers):
            start(role)
        process = start(driver)
        go(process)
        figures: Figures = json.loads(heard(process))
        return figures


def fan(directory: str, middle: str, publisher: str, readers: int, reader: str) -> Figures:
    """Events delivered a second, latency and CPU of the readers."""
    with stage(directory) as start:
        if middle:
            start(middle)
        process = start(publisher, readers)
        others = [start(reader, readers // PROCESSES, n) for n in range(PROCESSES)]
        go(process)
        began = float(heard(process))
        results = [json.loads(heard(other)) for other in others]
        go(process)
        times = sorted(time for other in others for time in json.loads(heard(other)))
    return {
        "delivered": readers * FANOUT / (max(result["end"] for result in results) - began),
        "cpu": statistics.mean(result["cpu"] for result in results),
        "p50": times[len(times) // 2] * 1e6,
        "p99": times[len(times) * 99 // 100] * 1e6,
    }


def capacity(directory: str) -> Figures:
    """Messages for a second of CPU of both threads of the bus: what it could forward if others left it a core."""
    with stage(directory) as start:
        middle = psutil.Process(start("bus").pid)
        start("echo")
        process = start("hammer")
        before = middle.cpu_times()
        go(process)
        assert heard(process) == "done"
        after = middle.cpu_times()
        return {"rate": CASTS / (after.user + after.system - before.user - before.system)}


def deaths(directory: str) -> Figures:
    """How long after a SIGKILL a call in flight fails, in ms."""
    with stage(directory) as start:
        start("bus")
        start("victims")
        process = start("mourner")
        go(process)
        figures: Figures = json.loads(heard(process))
        return figures


def reconnect(directory: str, peers: int) -> Figures:
    """From the moment at which a new bus has bound its sockets until all peers are welcome there, in ms."""
    with stage(directory) as start:
        old = start("bus")
        flocks = [start("flock", peers // PROCESSES, n) for n in range(PROCESSES)]
        old.kill()
        old.wait()
        start("bus")
        began = time.monotonic()
        return {"ms": (max(float(heard(flock)) for flock in flocks) - began) * 1000}


def say(text: Any) -> None:
    print(text, flush=True)


# Roles: ours


def bus(directory: str) -> None:
    from ipc.bus import Bus
    from ipc.rights import ALL

    names = ["echo", "caller", "publisher", "mourner"]
    names += (
        [f"reader{n}" for n in range(100)] + [f"victim{n}" for n in range(VICTIMS)] + [f"p{n}" for n in range(1000)]
    )
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

    async def note(call: Any, x: bytes) -> None:
        pass

    peer.expose({"echo": echo_, "count": count, "note": note})
    await peer.connect()
    say("ready")
    await peer.wait_closed()


async def told_to_go() -> None:
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)


async def caller(directory: str) -> None:
    peer = await join(directory, "caller")
    await peer.connect()
    await told_to_go()
    data = bytes(PAYLOAD)
    result = await drive(lambda: peer.call("echo", "echo", x=data))
    for size, n in ((50, 20_000), (50_000, 2000)):
        began = time.perf_counter()
        async with peer.stream("echo", "count", n=n, size=size) as chunks:
            async for _ in chunks:
                pass
        rate = n / (time.perf_counter() - began)
        result[f"stream {size}"] = rate if size == 50 else rate * size / 1e6
    say(json.dumps(result))
    await peer.close()


async def hammer(directory: str) -> None:
    peer = await join(directory, "caller")
    await peer.connect()
    await told_to_go()
    data = bytes(PAYLOAD)
    for _ in range(CASTS):
        await peer.cast("echo", "note", x=data)
    await peer.call("echo", "echo", x=b"")
    say("done")


async def publisher(directory: str, _readers: str) -> None:
    peer = await join(directory, "publisher")
    await peer.connect()
    await told_to_go()
    data = bytes(PAYLOAD)
    say(time.monotonic())
    for _ in range(FANOUT):
        await peer.publish("t/", data)
    await asyncio.to_thread(sys.stdin.readline)
    for _ in range(LATENCY):
        await asyncio.sleep(0.002)
        await peer.publish("t/", struct.pack("d", time.monotonic()) + data[8:])
    await peer.wait_closed()


async def reader(directory: str, count: str, n: str) -> None:
    async def read(number: int) -> Any:
        peer = await join(directory, f"reader{number}")
        await peer.connect()
        return await peer.subscribe("t/")

    subscriptions = [await read(int(n) * int(count) + k) for k in range(int(count))]
    tally = Tally(int(count))
    say("ready")

    async def drain(subscription: Any) -> None:
        async for event in subscription:
            tally.event(event.data)

    await asyncio.gather(*(drain(s) for s in subscriptions))


class Tally:
    """What the readers of one process have read: the end of the burst, its CPU, then the latencies."""

    def __init__(self, readers: int) -> None:
        self._readers = readers
        self._left = readers * FANOUT
        self._cpu = time.process_time()
        self._times: list[float] = []

    def event(self, data: bytes) -> None:
        if self._left:
            self._left -= 1
            if not self._left:
                cpu = (time.process_time() - self._cpu) / (self._readers * FANOUT) * 1e6
                say(json.dumps({"end": time.monotonic(), "cpu": cpu}))
            return
        self._times.append(time.monotonic() - struct.unpack_from("d", data)[0])
        if len(self._times) == self._readers * LATENCY:
            say(json.dumps(self._times))


async def flock(directory: str, count: str, n: str) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    peers = [await join(directory, f"p{int(n) * int(count) + k}") for k in range(int(count))]
    for peer in peers:
        await peer.connect()
        await peer.announce()
    epoch = peers[0].epoch
    say("ready")
    while any(peer.epoch == epoch for peer in peers):
        await asyncio.sleep(0.002)
    say(time.monotonic())
    await asyncio.sleep(60)


def victims(directory: str) -> None:
    """Processes that never answer; forked, because a Python start for each would be most of the benchmark."""
    import ipc.peer as _warm

    assert _warm
    there, here = os.pipe()
    for n in range(VICTIMS):
        if os.fork() == 0:
            asyncio.run(victim(directory, n, here))
    for _ in range(VICTIMS):
        assert os.read(there, 1) == b"."
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    say("ready")
    signal.pause()


async def victim(directory: str, n: int, told: int) -> None:
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    peer = await join(directory, f"victim{n}")

    async def pid(call: Any) -> int:
        return os.getpid()

    async def never(call: Any) -> None:
        await asyncio.Event().wait()

    peer.expose({"pid": pid, "never": never})
    await peer.connect()
    os.write(told, b".")
    await peer.wait_closed()


async def mourner(directory: str) -> None:
    from ipc import PeerDown

    peer = await join(directory, "mourner")
    await peer.connect()
    await told_to_go()
    times = []
    for n in range(VICTIMS):
        pid = await peer.call(f"victim{n}", "pid")
        call = asyncio.ensure_future(peer.call(f"victim{n}", "never"))
        await peer.call("bus", "ping")
        began = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        try:
            await call
        except PeerDown:
            times.append((time.perf_counter() - began) * 1000)
    assert len(times) == VICTIMS
    say(json.dumps({"p50": statistics.median(times), "p99": max(times)}))


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


async def raw_caller(directory: str) -> None:
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

    await told_to_go()
    say(json.dumps(await drive(call)))


async def zmq_asyncio_echo(directory: str) -> None:
    import zmq
    import zmq.asyncio

    dealer = zmq.asyncio.Context().socket(zmq.DEALER)
    dealer.identity = b"echo"
    dealer.connect(f"ipc://{directory}/raw")
    await dealer.send_multipart([b"echo", b""])
    say("ready")
    while True:
        await dealer.send_multipart(await dealer.recv_multipart())


async def zmq_asyncio_caller(directory: str) -> None:
    import zmq
    import zmq.asyncio

    dealer = zmq.asyncio.Context().socket(zmq.DEALER)
    dealer.identity = b"caller"
    dealer.connect(f"ipc://{directory}/raw")
    waiting: dict[bytes, asyncio.Future[bytes]] = {}
    number = 0
    loop = asyncio.get_running_loop()
    data = bytes(PAYLOAD)

    async def read() -> None:
        while True:
            _, answer = await dealer.recv_multipart()
            future = waiting.pop(answer[:8], None)
            if future is not None and not future.done():
                future.set_result(answer)

    async def call() -> None:
        nonlocal number
        number += 1
        key = number.to_bytes(8, "big")
        future = waiting[key] = loop.create_future()
        await dealer.send_multipart([b"echo", key + data])
        await future

    reading = asyncio.ensure_future(read())
    await told_to_go()
    say(json.dumps(await drive(call)))
    reading.cancel()


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
    sys.stdin.readline()
    for _ in range(LATENCY):
        time.sleep(0.002)
        pub.send_multipart([b"t/", struct.pack("d", time.monotonic()) + data[8:]])
    time.sleep(60)


async def raw_reader(directory: str, count: str, _n: str) -> None:
    import zmq

    loop = asyncio.get_running_loop()
    context = zmq.Context()
    tally = Tally(int(count))
    kept = []

    def watch() -> None:
        sub = context.socket(zmq.SUB)
        sub.rcvhwm = 0
        sub.connect(f"ipc://{directory}/pub")
        sub.subscribe(b"t/")
        kept.append(sub)

        def readable() -> None:
            while True:
                try:
                    _, data = sub.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    return
                tally.event(data)

        loop.add_reader(sub.FD, readable)
        loop.call_soon(readable)

    for _ in range(int(count)):
        watch()
    say("ready")
    await asyncio.sleep(60)


async def zmq_asyncio_reader(directory: str, count: str, _n: str) -> None:
    import zmq
    import zmq.asyncio

    context = zmq.asyncio.Context()
    tally = Tally(int(count))

    async def drain(sub: Any) -> None:
        while True:
            _, data = await sub.recv_multipart()
            tally.event(data)

    subs = []
    for _ in range(int(count)):
        sub = context.socket(zmq.SUB)
        sub.rcvhwm = 0
        sub.connect(f"ipc://{directory}/pub")
        sub.subscribe(b"t/")
        subs.append(sub)
    say("ready")
    await asyncio.gather(*(drain(sub) for sub in subs))


async def drive(call: Any) -> dict[str, float]:
    """Closed loop, paced and concurrent calls of one kind: µs and calls a second."""
    for _ in range(200):
        await call()
    result: dict[str, float] = {}
    times = []
    cpu = time.process_time()
    for _ in range(CALLS):
        began = time.perf_counter()
        await call()
        times.append(time.perf_counter() - began)
    result |= percentiles("", times)
    result["cpu"] = (time.process_time() - cpu) / CALLS * 1e6
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
