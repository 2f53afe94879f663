"""The bus on a real network between two namespaces: what is heard on the wire, and what bad links do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ipc import Call, CallTimeout, Forbidden, Peer, PeerDown, Remote
from ipc.curve import HEARTBEAT_IVL, HEARTBEAT_TIMEOUT, KeyPair, new_keys, raw
from ipc.testing import RunningBus, running_bus
from tests.ipc.lab import Lab, here, lab

BOUND = (HEARTBEAT_IVL + HEARTBEAT_TIMEOUT) / 1000 + 2.0  # seconds in which each side must know that the other vanished
SECRET = "the-word-that-must-not-be-heard"


@contextlib.asynccontextmanager
async def on_the_wire(lab: Lab) -> AsyncIterator[tuple[RunningBus, Peer, KeyPair]]:
    """A bus that serves the server's port, its `store`, and keys that it lets in."""

    async def echo(call: Call, value: Any) -> Any:
        return value

    listener = lab.server.listen()
    try:
        async with running_bus(listener=listener) as bus:
            keys = new_keys()
            bus.admit((keys, "ada", "all"))
            store = await bus.peer("store", expose={"echo": echo})
            yield bus, store, keys
    finally:
        listener.close()


@contextlib.asynccontextmanager
async def guest(lab: Lab, bus: RunningBus, keys: KeyPair, server_key: str | None = None) -> AsyncIterator[Peer]:
    """A connected client on the other machine."""
    peer = Peer(Remote(lab.server.address, 9100, server_key or bus.keys.public, keys), name="guest", credential="-")
    with here(lab.client):
        try:
            await peer.connect(timeout=20)
            yield peer
        finally:
            await peer.close()


async def persist(peer: Peer, value: Any, seconds: float = 20.0) -> float:
    """Calls until an answer comes; returns how long that took."""
    began = time.monotonic()
    while True:
        try:
            assert await peer.call("store", "echo", value=value, timeout=2.0) == value
            return time.monotonic() - began
        except (PeerDown, CallTimeout):
            assert time.monotonic() - began < seconds, "no answer"
            await asyncio.sleep(0.05)  # the link is broken on purpose; nothing says when it is whole


async def test_an_eavesdropper_hears_nothing_that_was_said() -> None:
    """No word, name, method or topic is on the wire; the same words are there when the same lab carries plain text."""
    words = [SECRET.encode(), b"echo", b"store", b"ada", b"egghead-ipc", b"topic", b"clients/"]
    with lab() as net:
        async with on_the_wire(net) as (bus, store, keys), guest(net, bus, keys) as client:
            assert await client.call("store", "echo", value=SECRET) == SECRET
            subscription = await client.subscribe("topic/")
            await store.publish("topic/x/", {"text": SECRET})
            assert (await anext(subscription)).data == {"text": SECRET}
        heard = net.cable.captured()
        assert b"CURVE" in heard and len(heard) > 1000, "the wire was not heard at all"
        assert [word for word in words if word in heard] == []
        # The control: the same words over the same wire in the clear, so that this test can fail.
        listener = net.server.listen(9101)
        with (
            listener,
            net.client.inside(lambda: socket.create_connection((net.server.address, 9101))) as out,
        ):
            out.sendall(b" ".join(words))
            there, _ = await asyncio.to_thread(listener.accept)
            with there:
                assert await asyncio.to_thread(there.recv, 1000)
        heard = net.cable.captured()
        assert [word for word in words if word not in heard] == []


async def test_a_stranger_gets_nothing_and_no_names() -> None:
    """A key that is not authorised hears a few hundred bytes of handshake, none of them a name, and is told no more."""
    with lab() as net:
        async with on_the_wire(net) as (bus, _store, _keys):
            with pytest.raises(Forbidden):
                async with guest(net, bus, new_keys()):
                    pass
        told = b"".join(net.cable.seen["down"])
        payload = sum(max(0, len(packet) - 52) for packet in net.cable.seen["down"])
        assert b"CURVE" in told and payload < 16_000, payload
        for word in (b"ada", b"store", b"guest", b"clients", b"egghead", b"not authorised", b"unknown"):
            assert word not in told


async def test_a_server_with_another_key_is_told_nothing() -> None:
    """Who insists on a key says nothing to a server that does not have it, not even its own public key."""
    with lab() as net:
        async with on_the_wire(net) as (bus, _store, keys):
            peer = Peer(Remote(net.server.address, 9100, new_keys().public, keys), name="x", credential="-")
            with here(net.client), pytest.raises(PeerDown):
                await peer.connect(timeout=1.5)
            await peer.close()
            assert await bus.peers[0].call("bus", "guests") == []
        assert raw(keys.public) not in net.cable.captured()


async def test_a_slow_lossy_reordering_link_loses_nothing() -> None:
    """With 40 ms of delay, a tenth of the packets lost and many out of order every call and event arrives once, in order."""
    with lab() as net:
        net.cable.delay, net.cable.jitter = 0.005, 0.03
        net.cable.lost = {"up": 0.06, "down": 0.06}
        async with on_the_wire(net) as (bus, store, keys), guest(net, bus, keys) as client:
            subscription = await client.subscribe("n/")
            for number in range(60):
                await store.publish("n/", number)
            answers = await asyncio.gather(
                *(client.call("store", "echo", value=[n, "x" * 3000], timeout=30) for n in range(30))
            )
            assert [answer[0] for answer in answers] == list(range(30))
            got = []
            while len(got) < 60:
                event = await asyncio.wait_for(anext(subscription), 30)
                if event.data is not None:
                    got.append(event.data)
            assert got == list(range(60))
        assert net.cable.dropped > 5 and net.cable.reordered > 20, (net.cable.dropped, net.cable.reordered)


async def test_both_sides_notice_a_half_open_connection() -> None:
    """With the cable cut and no word of it, client and bus each know within the bound; mended, the client is back by itself."""
    with lab() as net:
        async with on_the_wire(net) as (bus, store, keys), guest(net, bus, keys) as client:
            await client.announce()
            name = client.name
            monitor = store.monitor("clients/*")
            assert (await anext(monitor)).name == name
            subscription = await client.subscribe("n/")
            lost = asyncio.get_running_loop().create_future()
            client.on_change = lambda back: None if back or lost.done() else lost.set_result(time.monotonic())
            cut = time.monotonic()
            net.cable.cut()

            async def gone() -> float:
                async for change in monitor:
                    if not change.snapshot_end and not change.up:
                        assert change.name == name
                        return time.monotonic()
                raise AssertionError("the monitor ended")

            at_bus, at_client = await asyncio.wait_for(asyncio.gather(gone(), lost), BOUND + 5)
            assert at_bus - cut < BOUND and at_client - cut < BOUND, (at_bus - cut, at_client - cut)
            await store.publish("n/", "while it was away")
            net.cable.mend()
            assert await persist(client, 1) < 10
            assert client.name == name
            await store.publish("n/", "back")
            seen = []
            while True:
                event = await asyncio.wait_for(anext(subscription), 10)
                seen.append((event.data, event.gap))
                if event.data == "back":
                    break
            assert any(gap for _, gap in seen), "what was missed must be noticed"


async def test_a_client_that_returns_before_it_was_missed_keeps_its_name() -> None:
    """Its old connection is still open at the bus: who was that client, and can prove it, takes its place at once."""
    with lab() as net:
        async with on_the_wire(net) as (bus, _store, keys), guest(net, bus, keys) as client:
            name = client.name
            assert client._link is not None
            with socket.socket(fileno=os.dup(client._link._descriptor)) as connection:
                net.cable.deaf_to = connection.getsockname()[1]  # the bus hears nothing of the end
                connection.shutdown(socket.SHUT_RDWR)
            await persist(client, 2)
            assert client.name == name
            assert [one["name"] for one in await client.call("bus", "guests")] == [name]


async def test_an_interface_that_goes_down_and_up_is_survived() -> None:
    """The laptop's network goes away and comes back: the client goes on, with what it subscribed."""
    with lab() as net:
        async with on_the_wire(net) as (bus, store, keys), guest(net, bus, keys) as client:
            subscription = await client.subscribe("n/")
            net.client.link("down")
            with pytest.raises((PeerDown, CallTimeout)):
                await client.call("store", "echo", value=1, timeout=0.5)
            net.client.link("up")
            await persist(client, 3)
            await store.publish("n/", "after")
            while (await asyncio.wait_for(anext(subscription), 10)).data != "after":
                pass


async def test_a_bus_that_is_started_again_finds_its_guests_waiting() -> None:
    """The socket outlives the bus: guests come back to the new epoch by themselves, and nobody was refused."""
    with lab() as net:
        async with on_the_wire(net) as (bus, _store, keys), guest(net, bus, keys) as client:
            epoch = client.epoch
            subscription = await client.subscribe("n/")
            await bus.restart()
            await persist(client, 4)
            assert client.epoch > epoch
            await bus.peers[0].wait_connected()
            await bus.peers[0].publish("n/", "new")
            while (await asyncio.wait_for(anext(subscription), 10)).data != "new":
                pass
