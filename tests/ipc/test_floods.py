"""What one connected peer can do to the memory and the service of the bus by asking for too much of everything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import zmq

from ipc import RemoteProtocolError, wire
from ipc.limits import Limits
from ipc.seldom import Seldom
from ipc.streams import CREDIT
from ipc.testing import RunningBus, running_bus
from tests.ipc.test_bounds import MiB, row, rss
from tests.ipc.test_calls import echo
from tests.ipc.test_identity import HELLO, dealer


@dataclass
class Raw:
    """A connection that speaks the protocol by hand and reads nothing it did not ask for."""

    bus: RunningBus
    main: zmq.Socket[bytes]
    welcome: wire.Welcome

    def send(self, message: wire.ToBus, payload: bytes | None = None) -> None:
        header = wire.encode(message)
        self.main.send_multipart([header] if payload is None else [header, payload])

    def settle(self) -> None:
        """Return when the bus has read everything that was sent, or has cut the connection."""
        self.send(wire.Mark(7))
        last = wire.encode(wire.Ack(7))
        while self.main.poll(300) and self.main.recv_multipart() != [last]:
            pass

    def subscribe(self, prefixes: Iterator[str]) -> None:
        with zmq.Context.instance().socket(zmq.SUB) as events:
            events.linger = 2000
            events.sndhwm = 0
            events.plain_username, events.plain_password = b"events", self.welcome.events_credential.encode()
            events.connect(self.bus.address.events)
            for prefix in prefixes:
                events.subscribe(prefix)
            while events.poll(100):
                events.recv_multipart()


@contextmanager
def raw(bus: RunningBus, name: str = "raw") -> Iterator[Raw]:
    notice = bus.register(name)
    with dealer(bus, name, notice["credential"]) as main:
        main.send(HELLO)
        welcome = wire.decode_to_peer(main.recv_multipart())[0]
        assert isinstance(welcome, wire.Welcome)
        yield Raw(bus, main, welcome)


def subscriptions(peer: Raw) -> None:
    peer.subscribe(f"{n}/" for n in range(10_000))


def long_subscriptions(peer: Raw) -> None:
    peer.subscribe(f"{n:06}{'x' * 244}/" for n in range(50_000))


def topics(peer: Raw) -> None:
    for n in range(100_000):
        peer.send(wire.Publish(f"{n}/", 1), b"\xc0")


def casts(peer: Raw) -> None:
    message = [wire.encode(wire.Cast("nobody", "x")), b"\x80"]
    for _ in range(1_000_000):
        peer.main.send_multipart(message)


def calls(peer: Raw) -> None:
    for n in range(50_000):
        peer.send(wire.Call(n, "raw", "never", 10**9), b"\x80")


def streams(peer: Raw) -> None:
    for n in range(50_000):
        peer.send(wire.Open(n, "raw", "never", 10**9, 2**62), b"\x80")


def monitors(peer: Raw) -> None:
    for n in range(50_000):
        peer.send(wire.Monitor(n, "*a" * 120))


def refused(peer: Raw) -> None:
    for n in range(50_000):
        peer.send(wire.Publish("~/", n), b"\xc0")
        peer.send(wire.Credit(n, n))
        peer.send(wire.Result(n), b"\xc0")


def names(peer: Raw) -> None:
    peer.send(wire.Call(1, "x" * 10_000_000, "y" * 5_000_000, 1), b"\x80")


def nested(peer: Raw) -> None:
    for n in range(20):
        peer.send(wire.Cast("a", "echo"), b"\x91" * 1_000_000)
        peer.send(wire.Call(n, "a", "echo", 1000), b"\x81\xa1x" * 300_000)
    peer.main.send(b"\x91" * 60_000)


@pytest.mark.parametrize(
    ("flood", "most"),
    [
        (subscriptions, 40), (long_subscriptions, 100), (topics, 40), (casts, 20), (calls, 40), (streams, 40),
        (monitors, 60), (refused, 90), (names, 40), (nested, 60),
    ],
)  # fmt: skip
async def test_a_flood_costs_the_bus_a_bounded_amount_of_memory(flood: Callable[[Raw], None], most: int) -> None:
    """Ten floods of one peer: the bus grows by no more than so many MiB, and answers others meanwhile and afterwards."""
    async with running_bus(process=True) as bus:
        a = await bus.peer("a", {"echo": echo})
        await a.call("bus", "ping")
        with raw(bus) as peer:
            before = rss(bus)
            task = asyncio.create_task(asyncio.to_thread(flood, peer))
            while not task.done():
                await a.call("bus", "ping", timeout=5.0)
            await task
            await asyncio.to_thread(peer.settle)
            assert (await a.call("a", "echo", x=1))[0] == 1
            assert (rss(bus) - before) / MiB < most


async def test_calls_in_flight_are_bounded_in_all_and_nobody_is_shut_out() -> None:
    """Above the bound of all calls together those who have many are refused; a peer with few is served."""
    async with running_bus(flights=500) as bus:
        a = await bus.peer("a", {"echo": echo})
        with raw(bus, "greedy") as first, raw(bus, "also") as second:
            for peer in (first, second):
                for n in range(400):
                    peer.send(wire.Call(n, "greedy", "never", 10**9), b"\x80")
            while (await a.call("bus", "stats"))["in_flight"] < 500:
                await asyncio.sleep(0)  # asked again at once: the bus tells nobody of this
            assert (await a.call("a", "echo", x=1))[0] == 1
            assert (await row(a, "also"))["calls"] in range(100, 401)
            assert (await a.call("bus", "stats"))["in_flight"] <= 501
        while (await a.call("bus", "stats"))["in_flight"] > 1:
            await asyncio.sleep(0)  # asked again at once: the bus tells nobody of this


async def test_a_producer_that_ignores_its_credit_is_stopped() -> None:
    """A raw producer that sends without credit breaks its stream with RemoteProtocolError; its reader keeps little."""
    async with running_bus() as bus:
        b = await bus.peer("b")
        with raw(bus) as peer:

            def produce() -> None:
                while True:
                    message, _ = wire.decode_to_peer(peer.main.recv_multipart())
                    if isinstance(message, wire.Request):
                        break
                for _ in range(1000):
                    peer.send(wire.Chunk(message.id), wire.pack(bytes(10_000)))

            task = asyncio.create_task(asyncio.to_thread(produce))
            async with b.stream("raw", "count") as chunks:
                await task
                while chunks._feed._error is None:
                    await b.call("bus", "ping")
                got = 0
                with pytest.raises(RemoteProtocolError, match="credit"):
                    async for chunk in chunks:
                        got += len(chunk)
                assert got <= CREDIT + 10_000
            assert (await row(b, "raw"))["serving"] == 0


async def test_a_peer_that_asks_for_too_many_subscriptions_is_cut_and_may_come_back() -> None:
    """Refused subscriptions above the bound end the session; the process may connect again."""
    async with running_bus(subscriptions=10) as bus:
        a = await bus.peer("a")
        with raw(bus) as peer:
            await asyncio.to_thread(peer.subscribe, (f"{n}/" for n in range(40)))
            while any(r["name"] == "raw" for r in (await a.call("bus", "stats"))["peers"]):
                await asyncio.sleep(0)  # asked again at once: the bus tells nobody of this
        with raw(bus) as peer:
            await asyncio.to_thread(peer.subscribe, (f"{n}/" for n in range(5)))
            assert peer.welcome.name == "raw"


def test_lines_that_others_cause_are_bounded() -> None:
    """Five lines a second of each kind about each peer are written; the next second begins with how many were not."""
    seldom = Seldom(most=5)

    def line(at: float, who: str, text: str = "%s floods") -> logging.LogRecord:
        record = logging.LogRecord("ipc.bus", logging.WARNING, "", 0, text, (who,), None)
        record.created = at
        return record

    assert sum(seldom.filter(line(10.0 + n / 1000, "a")) for n in range(900)) == 5
    assert seldom.filter(line(10.5, "b")) and seldom.filter(line(10.5, "a", "%s is cut"))
    after = line(11.5, "a")
    assert seldom.filter(after)
    assert after.getMessage() == "a floods (895 more like this were not written)"
    for n in range(5000):
        seldom.filter(line(12.0, f"peer-{n}"))
    assert len(seldom._seen) <= 1000


def test_the_bounds_of_a_bus_are_what_the_page_says() -> None:
    """The figures in docs/protocol.md are those of Limits."""
    from tests.ipc.processes import ROOT

    page = (ROOT / "docs/protocol.md").read_text()
    limits = Limits()
    for text in (
        f"{limits.calls:,} calls in flight", f"{limits.subscriptions:,} subscriptions", f"{limits.rate:,.0f} calls",
        f"{limits.flights:,} calls of all peers", f"Above {limits.budget // MiB} MiB", f"Above {limits.hard_budget // MiB} MiB",
    ):  # fmt: skip
        assert text in page, text
