"""The installed program on two machines with real addresses: found by mDNS, spoken to over CURVE, heard by nobody."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from egghead import mdns
from ipc.curve import fingerprint, new_keys, raw, text
from tests.e2e.node import Home, Node, until
from tests.ipc.lab import Lab, lab

ROOT = Path(__file__).resolve().parents[2]
WORDS = "What did nobody but us hear about backlinks?"
GROUP = ("224.0.0.251", 5353)


@pytest.fixture
def net() -> Iterator[Lab]:
    with lab() as made:
        yield made


def configured(base: Path, text_: str) -> Home:
    home = Home(base / "home")
    (base / "home/.config/egghead").mkdir(parents=True)
    (base / "home/.config/egghead/config.yml").write_text(text_)
    return home


def browse(net: Lab, seconds: float = 1.2) -> list[mdns.Found]:
    """What is announced, as the client's machine hears it."""
    return net.client.inside(lambda: asyncio.run(mdns.browse(seconds)))


def test_a_node_is_found_met_and_used_from_another_machine(net: Lab, short_dir: Path, foam: Path) -> None:
    """Announced with its key while it runs, used over the wire, withdrawn when it stops; the wire tells no word of it."""
    owner, guest = configured(short_dir, "server: {bind: 10.77.0.1, host: orca}\n"), Home(short_dir / "away")
    node = net.server.inside(lambda: Node(owner, foam))
    try:
        found = until("the announcement", lambda: browse(net))
        assert [(one.name, one.addresses, one.port) for one in found] == [("orca", ("10.77.0.1",), 9100)]
        assert owner.ok("key", "--server").splitlines()[0] == found[0].fingerprint
        listed = net.client.inside(lambda: guest.json("servers"))
        assert [(one["server"], one["fingerprint"], one["known"]) for one in listed] == [
            ("10.77.0.1:9100", found[0].fingerprint, False)
        ]
        stranger = net.client.inside(
            lambda: guest.run("--server", "10.77.0.1", "--accept-fingerprint", found[0].fingerprint, "tree")
        )
        assert "clients add" in stranger.stderr
        owner.ok("clients", "add", "ada", guest.ok("key").strip(), "--rights", "chat")
        answer = net.client.inside(lambda: guest.ok("chat", "default", WORDS, EGGHEAD_SERVER="10.77.0.1"))
        assert answer
        shown = net.client.inside(lambda: guest.ok("--server", "10.77.0.1", "rooms", "show", "default"))
        assert WORDS in shown
        # The resolver of that machine knows no such name; the node answers for it.
        by_name = ("--server", "orca.local", "--accept-fingerprint", found[0].fingerprint, "ps")
        assert "bus" in net.client.inside(lambda: guest.ok(*by_name))
        heard = net.cable.captured()
        [token] = [path.read_bytes() for path in (owner.path / "run").rglob("token")]
        for word in (
            WORDS.encode(),
            b"append",
            b"rooms/default",
            b"clients/ada",
            b"egghead-ipc",
            answer.split()[0].encode(),
            token,
        ):
            assert word not in heard, word
        assert b"_egghead" in heard and raw(found[0].key) in heard, (
            "the wire was heard: announcement and greeting are public"
        )
    finally:
        assert node.stop() == 0
    assert browse(net) == []


@pytest.mark.parametrize("server", ["server: {bind: 127.0.0.1}\n", "{}\n"])
def test_a_node_for_this_machine_only_sends_no_packet(net: Lab, short_dir: Path, foam: Path, server: str) -> None:
    """With the port on loopback, or none: nothing at all leaves the machine, from start to end."""
    home = configured(short_dir, server)
    node = net.server.inside(lambda: Node(home, foam))
    try:
        home.ok("tree")
    finally:
        node.stop()
    assert net.cable.captured() == b""


ANNOUNCE = """
import asyncio, sys
from egghead.mdns import Announcement
async def main():
    every = [Announcement("orca", "10.77.0.1", int(port), sys.argv[1]) for port in sys.argv[2:]]
    for one in every:
        await one.make()
    print("made", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    for one in every:
        await one.withdraw()
        await one.withdraw()
asyncio.run(main())
"""


@pytest.fixture
def announced(net: Lab) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Two nodes of one name, announced from the server's machine."""
    key = new_keys().public
    process = net.server.popen(
        [sys.executable, "-c", ANNOUNCE, key, "9100", "9101"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, cwd=ROOT,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline() == b"made\n"
        yield process, key
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def shout(sender: socket.socket, packets: list[bytes]) -> None:
    for packet in packets:
        sender.sendto(packet, GROUP)


def hostile() -> list[bytes]:
    """Datagrams that no good node sends: noise, half headers, loops of names, records that lie about their lengths."""
    chance = random.Random(11)
    packets = [b"", b"\0" * 12, os.urandom(1400), b"\0\0\x84\0\0\1\0\1\0\0\0\0" + b"\xc0\x0c" * 200]
    service = b"\x08_egghead\x04_tcp\x05local\0"
    for length in (0, 1, 63, 64, 192, 255):
        packets.append(b"\0\0\x84\0\0\0\0\1\0\0\0\0" + bytes([length]) + service + b"\0\x0c\0\x01\0\0\0\x78\xff\xff")
    bad = b"\x04evil" + service
    for properties in (b"", b"\xff", b"\x05key=\xff", b"\x03v=1\x08key=\x1b[2J", b"\x03v=1" * 60):
        record = bad + b"\0\x10\0\x01\0\0\0\x78" + len(properties).to_bytes(2, "big") + properties
        packets.append(b"\0\0\x84\0\0\0\0\1\0\0\0\0" + record)
    packets += [chance.randbytes(chance.randrange(1, 600)) for _ in range(200)]
    packets += [b"\0\0\x84\0" + chance.randbytes(chance.randrange(8, 300)) for _ in range(200)]
    return packets


def test_two_of_one_name_garbage_and_the_end(net: Lab, announced: tuple[subprocess.Popen[bytes], str]) -> None:
    """Two nodes of one name are both found; nonsense from the network disturbs neither who announces nor who looks."""
    process, key = announced
    with net.client.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.77.0.2"))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)  # so that who looks hears it too
        found: list[mdns.Found] = []

        def both() -> bool:
            shout(sender, hostile())
            found[:] = browse(net)
            return {one.port for one in found} == {9100, 9101}

        until("both nodes", both, 15)
    assert {one.key for one in found} == {text(raw(key))} and [one.name for one in found] == ["orca", "orca"]
    assert all(one.fingerprint == fingerprint(key) for one in found)
    assert process.poll() is None
