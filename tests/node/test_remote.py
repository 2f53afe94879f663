"""A client before a node that is not as it should be: another version, half there, another key, or somebody in between."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from egghead import __version__, keys, lan, paths
from egghead.client import remote
from egghead.errors import EggheadError, ExitCode, NodeError
from ipc import Call, PeerDown
from ipc.curve import KeyPair, fingerprint, new_keys
from ipc.testing import RunningBus, running_bus

NOBODY = remote.Introduction()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and known servers of this test's own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("EGGHEAD_CONFIG", raising=False)


@contextlib.asynccontextmanager
async def bus_with(node: dict[str, Any] | None) -> AsyncIterator[tuple[RunningBus, keys.Place]]:
    """A bus on a port, known to this machine, which lets it in; its process `node` says `node` about itself."""

    async def info(call: Call) -> Any:
        return node

    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with running_bus(listener=listener) as bus:
            own = keys.own_pair(paths.client_key())
            bus.admit((own, "me", "all"))
            if node is not None:
                await bus.peer("node", expose={"info": info})
            place = keys.Place("127.0.0.1", listener.getsockname()[1])
            keys.trust(place, bus.keys.public)
            yield bus, place


class Teller(asyncio.DatagramProtocol):
    """Answers greetings as it is told to; `answers`: from a question to datagrams."""

    def __init__(self, answers: Any) -> None:
        self.answers = answers
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        for answer in self.answers(data):
            self.transport.sendto(answer, address)


@contextlib.asynccontextmanager
async def telling(port: int, answers: Any) -> AsyncIterator[int]:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Teller(answers), local_addr=("127.0.0.1", port)
    )
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


async def test_a_node_of_another_version_is_told_apart() -> None:
    """Both versions and what to do are in the sentence; a patch of the same version is no reason."""
    async with bus_with({"version": "99.1.0"}) as (_bus, place):
        with pytest.raises(NodeError, match=r"99\.1\.0") as caught:
            async with remote.connected(str(place), NOBODY):
                raise AssertionError("it was let in")
        assert __version__ in str(caught.value) and "restart" in str(caught.value)
    async with bus_with({"version": __version__ + ".7"}) as (_bus, place):
        async with remote.connected(str(place), NOBODY) as client:
            assert client.server == str(place)


async def test_a_node_without_its_process_for_guests_says_so() -> None:
    """The bus answers and `node` does not run: the sentence names it."""
    async with bus_with(None) as (_bus, place):
        with pytest.raises(NodeError, match="'node' does not run"):
            async with remote.connected(str(place), NOBODY):
                raise AssertionError("it was let in")


@pytest.mark.parametrize("what", ["calling", "waiting", "calling, and it takes long", "the first to hear"])
async def test_who_is_thrown_out_hears_why(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is removed in the middle of the block: it ends with the reason, whether it was calling or waiting."""
    if "long" in what:
        monkeypatch.setattr(remote, "VERDICT", 1.0)  # a refusal is final after two
    async with bus_with({"version": __version__}) as (bus, place):
        with pytest.raises(NodeError, match="not authorised") as caught:
            async with remote.connected(str(place), NOBODY) as client:
                bus.admit()
                if what == "waiting":
                    await asyncio.sleep(30)  # a block that calls nothing; it is ended long before
                if what == "the first to hear":
                    # As a call does when the connection has ended and its peer has not read that yet.
                    raise PeerDown("bus", "not connected", sent=False)
                while True:
                    await client.call("node", "info")
        assert caught.value.exit_code == ExitCode.REFUSED and "clients add" in str(caught.value)


async def test_a_cancelled_block_is_cancelled() -> None:
    """Ctrl-C, or somebody's timeout, is not taken for a refusal."""
    async with bus_with({"version": __version__}) as (_bus, place):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5), remote.connected(str(place), NOBODY):
                await asyncio.sleep(30)  # cancelled after half a second


async def test_a_key_that_has_changed_is_told_before_patience_ends() -> None:
    """The node has another key than this machine knows: refused with both fingerprints, in a few seconds."""
    async with bus_with({"version": __version__}) as (bus, place):
        before = new_keys().public
        keys.trust(place, before)
        async with telling(place.port, lambda question: [lan.tell(question, bus.keys.public)]):
            began = time.monotonic()
            with pytest.raises(NodeError, match="HAS CHANGED") as caught:
                async with remote.connected(str(place), NOBODY):
                    raise AssertionError("it was let in")
            assert time.monotonic() - began < 5
        assert fingerprint(before) in str(caught.value) and fingerprint(bus.keys.public) in str(caught.value)
        assert keys.known_server(place) == before, "what is known is not given up by itself"


async def test_a_liar_at_the_greeting_does_not_stop_a_known_server() -> None:
    """Somebody answers greetings with a key of his own: who knows the server's key connects all the same."""
    async with bus_with({"version": __version__}) as (_bus, place):
        async with telling(place.port, lambda question: [lan.tell(question, new_keys().public)]):
            async with remote.connected(str(place), NOBODY) as client:
                assert await client.call("node", "info")


async def test_answers_that_are_none_are_passed_over() -> None:
    """Noise, a stale nonce, a key too short: ignored; the true answer behind them counts."""
    key = new_keys().public

    def answers(question: bytes) -> list[bytes | None]:
        good = lan.tell(question, key)
        assert good is not None
        return [b"", b"noise" * 20, good[:9] + bytes(16) + good[25:], good[:-1], good + b"x", good]

    async with telling(0, answers) as port:
        assert await remote.greet(keys.Place("127.0.0.1", port)) == key


async def test_silence_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown server by the greeting, a known one by TCP, each with what to look at."""
    monkeypatch.setattr(remote, "PATIENCE", 2.0)  # a person's patience is longer than a test's
    monkeypatch.setattr(remote, "GREETING", (0.1, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = keys.Place("127.0.0.1", silent.getsockname()[1])
        with pytest.raises(NodeError, match="tells a key"):
            await remote.meet(place, NOBODY)
        keys.trust(place, new_keys().public)
        with pytest.raises(NodeError, match="nobody answers") as caught:
            async with remote.connected(str(place), NOBODY):
                raise AssertionError("nobody was there")
        assert caught.value.exit_code == ExitCode.NO_NODE


async def test_what_a_person_says_decides() -> None:
    """No: refused and not remembered. Yes: remembered, and not asked again. A fingerprint given beforehand needs no question."""
    pair: KeyPair = new_keys()
    asked: list[tuple[str, str]] = []

    def person(answer: bool) -> remote.Introduction:
        def confirm(where: str, print_: str) -> bool:
            asked.append((where, print_))
            return answer

        return remote.Introduction(confirm=confirm)

    async with telling(0, lambda question: [lan.tell(question, pair.public)]) as port:
        place = keys.Place("127.0.0.1", port)
        with pytest.raises(NodeError, match="not accepted"):
            await remote.meet(place, person(False))
        assert keys.known_server(place) is None
        assert await remote.meet(place, person(True)) == pair.public == await remote.meet(place, person(False))
        assert asked == [(str(place), fingerprint(pair.public))] * 2
        keys.forget(place)
        with pytest.raises(NodeError, match="not connected"):
            await remote.meet(place, remote.Introduction(fingerprint(new_keys().public)))
        assert await remote.meet(place, remote.Introduction(fingerprint(pair.public))) == pair.public
        with pytest.raises(NodeError, match="HAS CHANGED"):
            await remote.meet(place, remote.Introduction(fingerprint(new_keys().public)))


async def test_a_name_that_nobody_has_is_a_sentence() -> None:
    """A host that does not resolve is named, with the command that lists those there are."""
    with pytest.raises(EggheadError, match=r"no machine is called 'nobody\.invalid'.*egghead servers"):
        await remote.reach(keys.Place("nobody.invalid", 9100))
