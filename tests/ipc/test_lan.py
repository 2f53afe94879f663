"""Guests of the bus over TCP and CURVE: what they can do, who they are, and what strangers at the port can not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from ipc import Call, Forbidden, IpcError, Peer, PeerDown, Remote, TooBig, wire
from ipc.curve import KeyPair, new_keys
from ipc.limits import Limits
from ipc.testing import RunningBus, running_bus

QUICK = 3.0  # seconds in which somebody who is well served has an answer, whoever else is at the door


@contextlib.asynccontextmanager
async def serving(process: bool = False, **changes: Any) -> AsyncIterator[tuple[RunningBus, int, KeyPair, list[Any]]]:
    """A bus on a port of this machine with `store` behind it: (bus, port, keys that are let in, calls of `store.note`)."""
    noted: list[Any] = []

    async def note(call: Call, value: Any) -> str:
        noted.append(value)
        return call.caller

    async def count(call: Call, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        async with running_bus(listener=listener, process=process, **changes) as bus:
            keys = new_keys()
            bus.admit((keys, "ada", "all"))
            await bus.peer("store", expose={"note": note, "count": count})
            yield bus, listener.getsockname()[1], keys, noted


@contextlib.asynccontextmanager
async def guest(bus: RunningBus, port: int, keys: KeyPair, timeout: float = 10.0) -> AsyncIterator[Peer]:
    peer = Peer(Remote("127.0.0.1", port, bus.keys.public, keys), name="guest", credential="-")
    try:
        await peer.connect(timeout=timeout)
        yield peer
    finally:
        await peer.close()


async def test_a_guest_does_what_a_local_client_does() -> None:
    """Calls, streams, events, gaps and monitors work over the one connection, under the name that the bus gives."""
    async with serving() as (bus, port, keys, _noted), guest(bus, port, keys) as client:
        assert client.name == "clients/ada@lan-1"
        assert await client.call("store", "note", value=1) == client.name
        async with client.stream("store", "count", to=500) as numbers:
            assert [n async for n in numbers] == list(range(500))
        subscription = await client.subscribe("a/")
        store = bus.peers[0]
        await store.publish("b/", "not asked for")
        await store.publish("a/x/", "first")
        event = await anext(subscription)
        assert (event.topic, event.data, event.by, event.seq, event.gap) == ("a/x/", "first", "store", 1, False)
        subscription.close()
        again = await client.subscribe("a/")
        await store.publish("a/x/", "second")
        assert (await anext(again)).data == "second"
        changes = client.monitor("*")
        assert (await anext(changes)).name == "store"


async def test_a_longer_and_a_shorter_prefix_give_an_event_once_each() -> None:
    """Two subscriptions of one guest that overlap each get the event, and neither gets it twice."""
    async with serving() as (bus, port, keys, _noted), guest(bus, port, keys) as client:
        wide, narrow = await client.subscribe("a/"), await client.subscribe("a/b/")
        for number in range(3):
            await bus.peers[0].publish("a/b/", number)
        assert [(await anext(wide)).data for _ in range(3)] == [0, 1, 2]
        assert [(await anext(narrow)).data for _ in range(3)] == [0, 1, 2]


async def test_the_rights_of_a_guest_are_checked_for_every_kind() -> None:
    """What the rights of a key do not name is refused: a method, a topic, a pattern, publishing."""
    async with serving() as (bus, port, _keys, noted):
        keys = new_keys()
        bus.admit((keys, "eve", {"call": {"store": ["count"]}, "subscribe": ["a/"], "monitor": ["rooms/*"]}))
        async with guest(bus, port, keys) as client:
            with pytest.raises(Forbidden):
                await client.call("store", "note", value=1)
            with pytest.raises(Forbidden):
                await client.subscribe("")
            with pytest.raises(Forbidden):
                await client.subscribe("b/")
            with pytest.raises(Forbidden):
                await anext(client.monitor("*"))
            reader = await bus.peers[0].subscribe("a/")
            await client.subscribe("a/")
            await client.publish("a/", "forged")
            await bus.peers[0].publish("a/", "true")
            assert (await anext(reader)).data == "true"
            assert noted == []


async def test_nobody_from_the_network_passes_for_a_local_client() -> None:
    """Whatever a guest is called and wishes for, its name has an @, and local users cannot have one."""
    async with serving() as (bus, port, _keys, _noted):
        keys = new_keys()
        bus.admit((keys, "ada", "all"))
        local = await bus.client("ada")
        async with guest(bus, port, keys) as client:
            assert (local.name, client.name) == ("clients/ada-1", "clients/ada@lan-2")
        with pytest.raises(Forbidden):
            await bus.client("ada@lan")


@pytest.mark.parametrize("proof", ["", " ", f" {'0' * 32}"])
async def test_a_wish_without_proof_takes_nobodys_place(proof: str) -> None:
    """Another connection with the same key cannot end the first one by wishing for its name."""
    async with serving() as (bus, port, keys, _noted), guest(bus, port, keys) as first:
        async with raw_guest(port, bus, keys) as second:
            second.send(wire.encode(wire.Hello(wire.PROTOCOL, wire.VERSION, "", False, f"{first.name}{proof}")))
            welcome, _ = wire.decode_to_peer(await asyncio.to_thread(second.recv_multipart))
            assert isinstance(welcome, wire.Welcome) and welcome.name != first.name
        assert await first.call("store", "note", value=1) == first.name


@contextlib.asynccontextmanager
async def raw_guest(port: int, bus: RunningBus, keys: KeyPair) -> AsyncIterator[zmq.Socket[bytes]]:
    """A plain DEALER with the right keys, to say what a Peer would not."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        dealer = context.socket(zmq.DEALER)
        dealer.linger, dealer.rcvtimeo = 0, 5000
        dealer.setsockopt_string(zmq.CURVE_SERVERKEY, bus.keys.public)
        dealer.setsockopt_string(zmq.CURVE_PUBLICKEY, keys.public)
        dealer.setsockopt_string(zmq.CURVE_SECRETKEY, keys.secret)
        dealer.connect(f"tcp://127.0.0.1:{port}")
        yield dealer
    finally:
        context.destroy(0)


async def test_another_version_is_told_to_those_who_are_let_in() -> None:
    """An authorised client that speaks another version hears which one is spoken; it is the first thing it hears."""
    async with serving() as (bus, port, keys, _noted), raw_guest(port, bus, keys) as dealer:
        dealer.send(wire.encode(wire.Hello(wire.PROTOCOL, 99)))
        rejected, _ = wire.decode_to_peer(await asyncio.to_thread(dealer.recv_multipart))
        assert isinstance(rejected, wire.Rejected)
        assert (rejected.code, rejected.version) == ("version", wire.VERSION) and "restart" in rejected.text


@pytest.mark.parametrize("change", ["removed", "fewer rights", "another name"])
async def test_a_changed_key_is_cut_at_once(change: str) -> None:
    """Removed, renamed or given other rights: the connection ends by itself; others do not notice."""
    async with serving() as (bus, port, keys, _noted):
        other = new_keys()
        both = (keys, "ada", "all"), (other, "bob", "all")
        bus.admit(*both)
        async with guest(bus, port, keys) as ada, guest(bus, port, other) as bob:
            lost = asyncio.get_running_loop().create_future()
            ada.on_change = lambda back: None if back or lost.done() else lost.set_result(None)
            after = {"removed": [], "fewer rights": [(keys, "ada", {})], "another name": [(keys, "eve", "all")]}[change]
            bus.admit(both[1], *after)
            await asyncio.wait_for(lost, 10)
            assert await bob.call("store", "note", value=2) == bob.name
            if change == "removed":
                with pytest.raises(Forbidden):
                    await asyncio.wait_for(ada.wait_closed(), 10)
            else:
                await ada.wait_connected()
                assert ada.name.startswith("clients/eve@" if change == "another name" else "clients/ada@")


async def test_what_is_too_big_is_refused_here_and_there() -> None:
    """A payload over a guest's limit is refused before it is sent; one who sends it all the same is cut, alone."""
    async with serving() as (bus, port, keys, noted), guest(bus, port, keys) as client:
        with pytest.raises(TooBig):
            await client.call("store", "note", value="x" * (Limits.guest_frame + 1))
        await client.call("store", "note", value="x" * (Limits.guest_frame - 1000))
        async with raw_guest(port, bus, keys) as dealer:
            dealer.send(wire.encode(wire.Hello(wire.PROTOCOL, wire.VERSION)))
            await asyncio.to_thread(dealer.recv_multipart)
            dealer.send_multipart([wire.encode(wire.Call(1, "store", "note", 1000)), bytes(Limits.guest_frame * 2)])
            assert await client.call("store", "note", value="still here")
        assert len(noted) == 2


async def test_one_key_has_so_many_connections_and_no_more() -> None:
    """The limit of one key is told to the one that is too many; another key still comes in."""
    async with serving(guest=3) as (bus, port, keys, _noted):
        other = new_keys()
        bus.admit((keys, "ada", "all"), (other, "bob", "all"))
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(guest(bus, port, keys))
            with pytest.raises(Forbidden, match="3 connections with this key"):
                await stack.enter_async_context(guest(bus, port, keys))
            await stack.enter_async_context(guest(bus, port, other))


async def test_who_says_bye_and_stays_is_cut() -> None:
    """A connection without a session is a stranger's, whoever opened it: it is not kept for ever."""
    async with serving(patience=0.3) as (bus, port, keys, _noted), raw_guest(port, bus, keys) as dealer:
        watch = dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        watch.rcvtimeo = 5000
        dealer.send(wire.encode(wire.Hello(wire.PROTOCOL, wire.VERSION)))
        await asyncio.to_thread(dealer.recv_multipart)
        dealer.send(wire.encode(wire.Bye()))
        assert wire.decode_to_peer(await asyncio.to_thread(dealer.recv_multipart))[0] == wire.Goodbye()
        await asyncio.to_thread(watch.recv_multipart)
        dealer.disable_monitor()
        watch.close()
        assert await bus.peers[0].call("bus", "guests") == []


async def test_events_for_a_guest_that_does_not_read_are_dropped_and_it_is_told() -> None:
    """Bounded: what waits for it stays at the budget; when it reads again it sees a gap and then what is new."""
    async with serving(event_budget=512 * 1024, mark=32 * 1024) as (bus, port, keys, _noted):
        async with guest(bus, port, keys) as client:
            subscription = await client.subscribe("big/")
            assert client._link is not None
            client._loop.remove_reader(client._link._dealer.get(zmq.FD))
            store = bus.peers[0]
            for _ in range(400):
                await store.publish("big/", bytes(16 * 1024))
            await store.call("bus", "ping")
            stats = await store.call("bus", "stats")
            waiting = next(peer["waiting_bytes"] for peer in stats["peers"] if peer["name"] == client.name)
            assert 256 * 1024 < waiting < 1024 * 1024, waiting
            client._loop.add_reader(client._link._dealer.get(zmq.FD), client._link._read_dealer)
            client._link._read_dealer()
            while not (await asyncio.wait_for(anext(subscription), 10)).gap:
                pass
            await store.publish("big/", b"new")
            while (await asyncio.wait_for(anext(subscription), 10)).data != b"new":
                pass


# Strangers


def dial(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=5)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def greeting(mechanism: bytes) -> bytes:
    """ZMTP 3.0: signature, version, mechanism, as-server, filler."""
    return b"\xff" + bytes(8) + b"\x7f\x03\x00" + mechanism.ljust(20, b"\0") + bytes(32)


def drained(connection: socket.socket) -> bytes:
    """What arrives until the other end closes."""
    told = b""
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(65536):
            told += data
    return told


@pytest.mark.parametrize("mechanism", [b"NULL", b"PLAIN", b"GSSAPI", b"NONSENSE"])
async def test_whoever_does_not_speak_curve_gets_the_greeting_and_the_door(mechanism: bytes) -> None:
    """The 64 bytes that every ZMTP socket says first, which tell that CURVE is spoken; then the end."""
    async with serving() as (_bus, port, _keys, noted):
        with dial(port) as stranger:
            stranger.sendall(greeting(mechanism) + b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER")
            told = await asyncio.to_thread(drained, stranger)
        assert len(told) <= 64 and told[12:17] in (b"CURVE", b""), told
        assert noted == []


async def test_garbage_slow_talkers_and_a_thousand_silent_ones_keep_nobody_out() -> None:
    """1,000 connections that never finish, drip or talk nonsense: few are held, memory is bounded, guests are served."""
    async with serving(process=True, patience=1.5) as (bus, port, keys, _noted), contextlib.AsyncExitStack() as stack:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
        before = memory(bus.pid)
        client = await stack.enter_async_context(guest(bus, port, keys))
        hello = greeting(b"CURVE")
        crowd = []
        for number in range(1000):
            one = dial(port)
            stack.callback(one.close)
            crowd.append(one)
            with contextlib.suppress(OSError):
                one.sendall(
                    (b"", hello[:11], os.urandom(300), hello, hello + b"\x06" + bytes([0, 0, 0, 0, 0, 64, 0, 0]))[
                        number % 5
                    ]
                )
            if number % 250 == 0:
                began = time.monotonic()
                assert await client.call("store", "note", value=number, timeout=QUICK) == client.name
                assert time.monotonic() - began < QUICK
        async with guest(bus, port, keys, timeout=QUICK * 2) as late:
            assert await late.call("store", "note", value=1, timeout=QUICK) == late.name
        assert sockets(bus.pid) < 64 + 60, "strangers are held"
        assert memory(bus.pid) - before < 64 * 1024 * 1024
        drip = crowd[-1]
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - began < 6:  # one that says a byte now and then is not patient enough either
                drip.sendall(b"\0")
                await asyncio.sleep(0.1)  # the pace of the drip is what is tested
        assert time.monotonic() - began < 6, "it was not cut"


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def sockets(pid: int) -> int:
    """How many sockets a process has open."""
    count = 0
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            count += os.readlink(fd).startswith("socket:")
    return count


async def test_big_commands_of_strangers_are_not_kept() -> None:
    """Handshake commands of megabytes from many at once do not fill the bus: few may stand at the door at a time."""
    async with serving(process=True, strangers=8, patience=1.0) as (bus, port, keys, _noted):
        before = memory(bus.pid)
        loop = asyncio.get_running_loop()
        huge = greeting(b"CURVE") + b"\x06" + (4 * 1024 * 1024 - 1).to_bytes(8, "big") + bytes(3 * 1024 * 1024)

        async def push() -> None:
            with contextlib.suppress(OSError, TimeoutError), dial(port) as stranger:
                stranger.setblocking(False)
                async with asyncio.timeout(3):
                    await loop.sock_sendall(stranger, huge)
                    while await loop.sock_recv(stranger, 65536):
                        pass

        await asyncio.gather(*(push() for _ in range(60)))
        async with guest(bus, port, keys) as client:
            assert await client.call("store", "note", value=1) == client.name
        assert peak(bus.pid) - before < 8 * 4 * 1024 * 1024 + 32 * 1024 * 1024


def peak(pid: int) -> int:
    """The most resident bytes that a process ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


async def test_a_flood_of_handshakes_leaves_the_node_at_work() -> None:
    """Strangers who knock with good handshakes and unknown keys, again and again, do not keep local calls waiting."""
    async with serving(process=True) as (bus, port, keys, _noted), guest(bus, port, keys) as client:
        stop = asyncio.Event()

        async def knock() -> int:
            refused = 0
            while not stop.is_set():
                peer = Peer(Remote("127.0.0.1", port, bus.keys.public, new_keys()), name="x", credential="-")
                with contextlib.suppress(IpcError):
                    try:
                        await peer.connect(timeout=0.5)
                    except Forbidden:
                        refused += 1
                        raise
                    finally:
                        await peer.close()
            return refused

        knocking = [asyncio.create_task(knock()) for _ in range(8)]
        waits = []
        for number in range(40):
            began = time.monotonic()
            await client.call("store", "note", value=number, timeout=QUICK)
            waits.append(time.monotonic() - began)
        stop.set()
        assert sum(await asyncio.gather(*knocking)) > 0
        assert sorted(waits)[len(waits) // 2] < 0.5


async def test_a_recorded_session_cannot_be_played_again() -> None:
    """Every byte of a guest sent once more to the same bus does nothing: its short-term keys are gone."""
    async with serving() as (bus, port, keys, noted):
        recorded: list[bytes] = []
        server = await asyncio.start_server(lambda r, w: _tap(r, w, port, recorded), "127.0.0.1", 0)
        async with server:
            through = server.sockets[0].getsockname()[1]
            async with guest(bus, through, keys) as client:
                await client.call("store", "note", value="once")
        assert noted == ["once"] and len(b"".join(recorded)) > 500
        discarded = (await bus.peers[0].call("bus", "stats"))["discarded"]
        with dial(port) as replay:
            for piece in recorded:
                with contextlib.suppress(OSError):
                    replay.sendall(piece)
            told = await asyncio.to_thread(drained, replay)
        assert noted == ["once"]
        assert len(told) < 500, "more than a greeting and the answer to a Hello came back"
        stats = await bus.peers[0].call("bus", "stats")
        assert stats["discarded"] == discarded
        assert await bus.peers[0].call("bus", "guests") == []


async def _tap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, recorded: list[bytes]) -> None:
    there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, keep: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                if keep:
                    recorded.append(data)
                sink.write(data)
                await sink.drain()
        sink.close()

    await asyncio.gather(pump(reader, there_writer, True), pump(there_reader, writer, False))


async def test_a_bus_without_a_key_does_not_open_the_port() -> None:
    """A listener without a secret key is refused: without CURVE it would speak in the clear."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        from ipc.bus import Bus

        with pytest.raises(IpcError, match="secret_key"):
            Bus("/tmp/never", listener=listener.fileno())


async def test_nobody_is_let_in_where_no_key_is_authorised() -> None:
    """With an empty list the port answers nobody."""
    async with serving() as (bus, port, keys, _noted):
        bus.admit()
        with pytest.raises((Forbidden, PeerDown)):
            async with guest(bus, port, keys, timeout=3.0):
                pass
