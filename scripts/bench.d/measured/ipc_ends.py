"""The ends that `scripts/bench ipc` measures: bus, peers, raw ZeroMQ, Erlang nodes; each role is a process of its own.

`ipc_ends.py ROLE DIRECTORY [OPTION ...]` with DIRECTORY for sockets and keys; a role says ready on its output, most then
wait for a line. How much is measured and how calls are timed is in `ipc_plan`. No row is made here.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import resource
import signal
import socket
import statistics
import struct
import sys
import time
from pathlib import Path
from typing import Any

from ipc_plan import PLAN, drive

PAYLOAD = 200  # bytes
CREDENTIAL = "c" * 32
ESCRIPT = Path(__file__).with_name("otp_ping.escript")


def end_with_parent() -> None:
    """Die when the process dies that started this one: a killed bench must not leave a bus or a node behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def say(text: Any) -> None:
    print(text, flush=True)


# Roles: ours


def bus(directory: str, network: str = "") -> None:
    """Our bus; with `network` it also serves guests on a port of 127.0.0.1, and leaves in `remote` what these need."""
    from ipc.bus import Bus
    from ipc.curve import new_keys
    from ipc.rights import ALL

    names = ["echo", "caller", "publisher", "mourner"]
    names += (
        [f"reader{n}" for n in range(100)]
        + [f"victim{n}" for n in range(PLAN.victims)]
        + [f"p{n}" for n in range(1000)]
    )
    registrations = [{"register": n, "incarnation": 1, "credential": CREDENTIAL, "allow": ALL} for n in names]
    served: dict[str, Any] = {}
    if network:
        keys, guest = new_keys(), new_keys()
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        port = listener.getsockname()[1]
        Path(directory, "remote").write_text(json.dumps([port, keys.public, guest.public, guest.secret]))
        admitted = {"key": guest.public, "name": "bench", "allow": ALL}
        served = {"listener": listener.fileno(), "secret_key": keys.secret, "guests": [admitted]}
    Bus(directory + "/bus", registrations=registrations, **served).run(on_ready=lambda: say("ready"))


async def join(directory: str, name: str, network: str = "") -> Any:
    """A peer over the unix socket, or a guest over TCP and CURVE."""
    from ipc import Peer, Remote
    from ipc.curve import KeyPair

    if not network:
        return Peer(directory + "/bus", name=name, credential=CREDENTIAL)
    port, server, public, secret = json.loads(Path(directory, "remote").read_text())
    return Peer(Remote("127.0.0.1", port, server, KeyPair(public, secret)), name=name, credential="-")


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


async def caller(directory: str, network: str = "") -> None:
    peer = await join(directory, "caller", network)
    await peer.connect()
    await told_to_go()
    data = bytes(PAYLOAD)
    result = await drive(lambda: peer.call("echo", "echo", x=data))
    for size, n in ((50, PLAN.small), (50_000, PLAN.large)):
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
    for _ in range(PLAN.casts):
        await peer.cast("echo", "note", x=data)
    await peer.call("echo", "echo", x=b"")
    say("done")


async def publisher(directory: str, _readers: str) -> None:
    peer = await join(directory, "publisher")
    await peer.connect()
    await told_to_go()
    data = bytes(PAYLOAD)
    say(time.monotonic())
    for _ in range(PLAN.events):
        await peer.publish("t/", data)
    await asyncio.to_thread(sys.stdin.readline)
    for _ in range(PLAN.latency):
        await asyncio.sleep(0.002)  # one at a time: the latency of an event, not of a queue
        await peer.publish("t/", struct.pack("d", time.monotonic()) + data[8:])
    await peer.wait_closed()


async def reader(directory: str, count: str, n: str, network: str = "") -> None:
    async def read(number: int) -> Any:
        peer = await join(directory, f"reader{number}", network)
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
        self._left = readers * PLAN.events
        self._cpu = time.process_time()
        self._times: list[float] = []

    def event(self, data: bytes) -> None:
        if self._left:
            self._left -= 1
            if not self._left:
                cpu = (time.process_time() - self._cpu) / (self._readers * PLAN.events) * 1e6
                say(json.dumps({"end": time.monotonic(), "cpu": cpu}))
            return
        self._times.append(time.monotonic() - struct.unpack_from("d", data)[0])
        if len(self._times) == self._readers * PLAN.latency:
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
        await asyncio.sleep(0.002)  # a task for each peer that waits for its own would be measured with it
    say(time.monotonic())
    await asyncio.Event().wait()  # the peers stay until the benchmark ends this process


def victims(directory: str) -> None:
    """Processes that never answer; forked, because a Python start for each would be most of the benchmark."""
    import ipc.peer as _warm

    assert _warm
    there, here = os.pipe()
    for n in range(PLAN.victims):
        if os.fork() == 0:
            asyncio.run(victim(directory, n, here))
    for _ in range(PLAN.victims):
        assert os.read(there, 1) == b"."
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    say("ready")
    signal.pause()


async def victim(directory: str, n: int, told: int) -> None:
    end_with_parent()
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
    for n in range(PLAN.victims):
        pid = await peer.call(f"victim{n}", "pid")
        call = asyncio.ensure_future(peer.call(f"victim{n}", "never"))
        await peer.call("bus", "ping")
        began = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        try:
            await call
        except PeerDown:
            times.append((time.perf_counter() - began) * 1000)
    assert len(times) == PLAN.victims
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
    for _ in range(PLAN.events):
        pub.send_multipart([b"t/", data])
    sys.stdin.readline()
    for _ in range(PLAN.latency):
        time.sleep(0.002)  # as our publisher
        pub.send_multipart([b"t/", struct.pack("d", time.monotonic()) + data[8:]])
    signal.pause()  # what libzmq still holds is sent; the benchmark ends this process


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
    await asyncio.Event().wait()  # the loop calls `readable`; the benchmark ends this process


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


# Roles: Erlang. Nothing listens beyond loopback, and the cookie is a file of this run.


def epmd(_directory: str, port: str) -> None:
    """The port mapper of this run; a child of it says ready when it answers."""
    if os.fork():
        os.execvp("epmd", ["epmd", "-address", "127.0.0.1", "-port", port])
    end_with_parent()
    while True:
        try:
            with socket.create_connection(("127.0.0.1", int(port))) as connection:
                connection.sendall(b"\0\1n")  # which names are there?
                connection.recv(4)
        except ConnectionRefusedError:
            time.sleep(0.01)  # epmd does not say when it listens
        else:
            say("ready")
            os._exit(0)


def erlang(directory: str, port: str, *arguments: str) -> None:
    """A node that runs `otp_ping.escript` with these arguments."""
    os.environ |= {"HOME": directory, "ERL_EPMD_PORT": port, "ERL_EPMD_ADDRESS": "127.0.0.1"}
    os.execvp("escript", ["escript", str(ESCRIPT), *arguments])


if __name__ == "__main__":
    end_with_parent()
    role, *given = sys.argv[1:]
    work = globals()[role.replace("-", "_")](*given)
    if work is not None:
        asyncio.run(work)
