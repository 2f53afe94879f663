"""Who may speak: credentials, forgery, replay, stale lives, clients."""

from __future__ import annotations

import asyncio
import os
import time

import pytest
import zmq

from ipc import Forbidden, LocalProtocolError, Peer, PeerDown, VersionMismatch, wire
from ipc.bus import Bus
from ipc.sockets import AddressTaken
from ipc.testing import TOKEN, RunningBus, running_bus
from tests.ipc.test_calls import echo


def dealer(bus: RunningBus, user: str, password: str, identity: bytes = b"") -> zmq.Socket[bytes]:
    """A raw connection, as an attacker with a credential would make it."""
    made = zmq.Context.instance().socket(zmq.DEALER)
    made.linger = 0
    made.plain_username, made.plain_password = user.encode(), password.encode()
    if identity:
        made.identity = identity
    made.rcvtimeo = 3000
    made.sndhwm = 0
    made.connect(bus.address.bus)
    return made


HELLO = wire.encode(wire.Hello(wire.PROTOCOL, wire.VERSION))


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("scout", "0" * 32),
        ("nobody", "0" * 32),
        ("client:ada", "0" * 64),
        ("client:", TOKEN),
        ("events", "x"),
    ],
)
async def test_a_bad_credential_is_an_error_and_no_silent_hang(user: str, password: str) -> None:
    """connect() raises Forbidden at once for a wrong or unknown credential."""
    async with running_bus() as bus:
        bus.register("scout")
        peer = Peer(bus.address, name=user, credential=password)
        began = time.monotonic()
        with pytest.raises(Forbidden):
            await peer.connect(timeout=10)
        assert time.monotonic() - began < 5
        await peer.close()


def test_a_peer_without_name_or_credential_is_refused_before_it_connects() -> None:
    """An empty name or credential would switch authentication off: LocalProtocolError."""
    for name, credential in (("", "c" * 32), ("a", "")):
        with pytest.raises(LocalProtocolError, match="credential"):
            Peer("/tmp", name=name, credential=credential)


async def test_no_bus_is_an_error_after_the_timeout(short_dir: os.PathLike[str]) -> None:
    """Without a bus, connect() raises PeerDown and names the directory."""
    peer = Peer(short_dir, name="a", credential="0" * 32)
    with pytest.raises(PeerDown, match=r"no answer at .*eh-"):
        await peer.connect(timeout=0.2)
    await peer.close()


async def test_a_replayed_credential_gets_nothing_while_its_owner_lives() -> None:
    """The first connection of a credential stays; the second is refused and reads nothing."""
    async with running_bus() as bus:
        notice = bus.register("a")
        first = Peer(bus.address, name="a", credential=notice["credential"])
        first.expose({"echo": echo})
        bus.peers.append(first)
        await first.connect()
        thief = Peer(bus.address, name="a", credential=notice["credential"])
        with pytest.raises(Forbidden, match="one connection at a time"):
            await thief.connect(timeout=10)
        await thief.close()
        b = await bus.peer("b")
        assert (await b.call("a", "echo", x=1))[0] == 1


async def test_a_forged_sender_or_answer_is_impossible() -> None:
    """A raw peer can neither choose the name it speaks under nor answer for another."""
    async with running_bus() as bus:
        await bus.peer("a", {"echo": echo})
        notice = bus.register("mallory")
        with dealer(bus, "mallory", notice["credential"], identity=b"a") as raw:
            raw.send(HELLO)
            await asyncio.to_thread(raw.recv_multipart)
            for number in range(20):
                raw.send_multipart([wire.encode(wire.Result(number)), b"\x01"])
            raw.send_multipart([wire.encode(wire.Call(1, "a", "echo", 1000)), wire.pack({"x": 1})])
            header, payload = await asyncio.to_thread(raw.recv_multipart)
            assert wire.decode_to_peer([header, payload])[0] == wire.Result(1)
            assert wire.unpack(payload)[1] == "mallory"


async def test_frames_before_hello_are_never_executed() -> None:
    """A connection that does not begin with Hello is cut, and its calls go nowhere."""
    calls = []

    async def note(call: object) -> None:
        calls.append(call)

    async with running_bus() as bus:
        await bus.peer("a", {"note": note})
        notice = bus.register("mallory")
        with dealer(bus, "mallory", notice["credential"]) as raw:
            raw.send_multipart([wire.encode(wire.Call(1, "a", "note", 1000)), wire.pack({})])
            raw.rcvtimeo = 200
            with pytest.raises(zmq.Again):
                await asyncio.to_thread(raw.recv_multipart)
        b = await bus.peer("b")
        assert (await b.call("bus", "stats"))["discarded"] >= 1
        assert calls == []


async def test_garbage_ends_the_connection_of_its_sender_and_no_other() -> None:
    """Frames that are no message are answered with the reason, and only their sender is cut off."""
    async with running_bus() as bus:
        a = await bus.peer("a", {"echo": echo})
        for garbage in ([b"\xff\xff"], [b""], [b"\x91\x05"] * 5, [b"\x92\x01", b"x"], []):
            notice = bus.register("mallory")
            with dealer(bus, "mallory", notice["credential"]) as raw:
                raw.send(HELLO)
                await asyncio.to_thread(raw.recv_multipart)
                raw.send_multipart(garbage or [b"\x91\x63"])
                b = await bus.peer("b")
                assert (await b.call("a", "echo", x=1))[0] == 1
                await b.close()
        names = [row["name"] for row in (await a.call("bus", "stats"))["peers"]]
        assert names == ["a"]


async def test_a_stale_life_is_cut_and_cannot_come_back() -> None:
    """When a newer life is registered the old one is cut off at once, cannot reconnect, and its peer says why."""
    async with running_bus() as bus:
        old = await bus.peer("a", {"echo": echo})
        b = await bus.peer("b")
        new = await bus.peer("a", {"echo": echo})
        with pytest.raises(Forbidden, match="does not know"):
            await asyncio.wait_for(old.wait_closed(), 10)
        with pytest.raises(Forbidden):
            await old.call("b", "x")
        assert (await b.call("a", "echo"))[0] is None
        assert new.incarnation > old.incarnation


async def test_down_voids_the_credential() -> None:
    """After the supervisor said `down`, the credential opens nothing."""
    async with running_bus() as bus:
        notice = bus.register("a")
        bus.down("a")
        late = Peer(bus.address, name="a", credential=notice["credential"])
        with pytest.raises(Forbidden):
            await late.connect(timeout=3)
        await late.close()


async def test_an_event_credential_is_for_its_session_only() -> None:
    """The secret for events dies with its session, and a second event connection with it is cut."""
    async with running_bus() as bus:
        a, b = await bus.peer("a"), await bus.peer("b")
        await b.subscribe("t/")
        assert b._welcome is not None
        secret = b._welcome.events_credential
        with zmq.Context.instance().socket(zmq.SUB) as thief:
            thief.linger = 0
            thief.plain_username, thief.plain_password = b"events", secret.encode()
            thief.connect(bus.address.events)
            thief.subscribe(b"t/")
            await a.publish("t/", 1)
            assert not await asyncio.to_thread(thief.poll, 300)
            await b.close()
            await a.publish("t/", 2)
            assert not await asyncio.to_thread(thief.poll, 300)


async def test_a_raw_subscription_outside_of_allow_delivers_nothing() -> None:
    """A hand-made subscription frame is authorised like any other."""
    async with running_bus(allow={"a": "all", "b": {"subscribe": ["ok/"]}}) as bus:
        a, b = await bus.peer("a"), await bus.peer("b")
        assert b._welcome is not None
        with zmq.Context.instance().socket(zmq.SUB) as raw:
            raw.linger = 0
            raw.plain_username, raw.plain_password = b"events", b._welcome.events_credential.encode()
            raw.connect(bus.address.events)
            raw.subscribe(b"")
            raw.subscribe(b"ok/")
            while not (await a.call("bus", "stats"))["peers"][1]["subscriptions"]:
                await asyncio.sleep(0)  # asked again at once: the bus tells nobody of this
            await a.publish("secret/", 1)
            await a.publish("ok/", 2)
            frames = await asyncio.to_thread(raw.recv_multipart)
            assert frames[0] == b"ok/"


async def test_clients_are_numbered_and_keep_their_name() -> None:
    """A client with the token is called clients/<user>-<n>; it keeps that name over a restart of the bus."""
    async with running_bus(client_allow={"call": {"a": ["echo"]}}) as bus:
        await bus.peer("a", {"echo": echo})
        first, second, other = await bus.client("ada"), await bus.client("ada"), await bus.client("bob")
        assert [p.name for p in (first, second, other)] == ["clients/ada-1", "clients/ada-2", "clients/bob-3"]
        assert (await second.call("a", "echo"))[1] == "clients/ada-2"
        with pytest.raises(Forbidden):
            await second.call("bus", "stats")
        await bus.restart()
        await second.wait_connected()
        assert second.name == "clients/ada-2"


async def test_a_vanished_client_is_told_to_monitors() -> None:
    """A client whose connection ends without a word is down, although no supervisor stands behind it."""
    async with running_bus() as bus:
        w = await bus.peer("w")
        client = await bus.client()
        await client.announce()
        changes = w.monitor("clients/*")
        assert (await anext(changes)).up
        assert (await anext(changes)).snapshot_end
        assert client._link is not None
        client._link.close()
        gone = await asyncio.wait_for(anext(changes), 10)
        assert (gone.name, gone.up, gone.reason) == (client.name, False, "connection lost")


async def test_another_version_is_told_so() -> None:
    """A peer of another protocol version raises VersionMismatch with both numbers and what to do."""
    async with running_bus() as bus:
        notice = bus.register("a")
        peer = Peer(bus.address, name="a", credential=notice["credential"])

        def hello() -> None:
            if peer._link is None:
                asyncio.get_running_loop().call_soon(hello)
            else:
                peer._link.send(wire.encode(wire.Hello(wire.PROTOCOL, 99)), None)

        peer.link_up = hello
        with pytest.raises(VersionMismatch, match="version 1, you speak egghead-ipc 99"):
            await peer.connect(timeout=3)
        await peer.close()


async def test_the_directory_is_private_and_belongs_to_one_bus(short_dir: os.PathLike[str]) -> None:
    """The directory and its sockets are for the owner only; a second bus is refused with the pid of the first."""
    directory = os.path.join(short_dir, "b")
    async with running_bus(directory):
        assert os.stat(directory).st_mode & 0o777 == 0o700
        assert os.stat(os.path.join(directory, "bus")).st_mode & 0o777 == 0o600
        with pytest.raises(AddressTaken, match=f"pid {os.getpid()}"):
            Bus(directory).open()
    bus = Bus(directory)
    bus.open()
    bus.close()
    assert sorted(os.listdir(directory)) == ["lock"]


def test_a_directory_with_a_long_name_is_refused_with_the_remedy() -> None:
    """Socket paths over the system's limit raise LocalProtocolError before anything is opened."""
    with pytest.raises(LocalProtocolError, match="XDG_RUNTIME_DIR"):
        Peer("/tmp/" + "x" * 120, name="a", credential="c")


@pytest.mark.parametrize("name", ["bus", "clients/ada-1", "a b", "", "a#1", "x" * 300, "\udc80", 7])
async def test_bad_registrations_are_ignored_with_a_log_line(name: object, caplog: pytest.LogCaptureFixture) -> None:
    """A notice with a name that belongs to the bus or cannot be a name is logged and changes nothing."""
    async with running_bus() as bus:
        bus._tell({"notice": {"register": name, "incarnation": 1, "credential": "c" * 32}})
        await bus.peer("good")
    assert any("cannot register" in record.message for record in caplog.records)
