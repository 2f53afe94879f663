"""A second implementation, written from docs/protocol.md, talks to the bus; and the page and the codec agree."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from ipc import Call, RemoteError, wire
from ipc.testing import TOKEN, running_bus
from tests.ipc.minimal_client import Client, Problem
from tests.ipc.processes import ROOT
from tests.ipc.test_calls import echo


async def count(call: Call, n: int) -> AsyncIterator[object]:
    for i in range(n):
        yield [i, bytes(10_000)]


async def test_it_calls_and_sees_every_kind_of_failure() -> None:
    """Results, handler errors and refusals of the bus arrive as the page says."""
    async with running_bus(client_allow={"call": {"a": ["*"], "ghost": ["x"]}}) as bus:
        await bus.peer("a", {"echo": echo})

        def use() -> None:
            client = Client(bus.directory, "client:ada", TOKEN)
            assert client.name == "clients/ada-1"
            assert client.call("a", "echo", x=[1, "é", b"\x00"]) == [
                [1, "é", b"\x00"],
                "clients/ada-1",
                client.incarnation,
            ]
            for target, method, code in (
                ("a", "nothing", "NoSuchMethod"),
                ("ghost", "x", "peer_down"),
                ("a2", "x", "forbidden"),
            ):
                with pytest.raises(Problem) as caught:
                    client.call(target, method)
                assert caught.value.args[0] == code
            client.close()

        await asyncio.to_thread(use)


async def test_it_streams_with_credit_and_cancels() -> None:
    """A stream longer than its credit arrives whole, and one that is cancelled ends."""
    async with running_bus() as bus:
        a = await bus.peer("a", {"count": count, "echo": echo})

        def use() -> None:
            client = Client(bus.directory, "client:ada", TOKEN)
            assert [chunk[0] for chunk in client.stream("a", "count", n=200)] == list(range(200))
            assert next(client.stream("a", "count", n=10**9))[0] == 0
            client.cancel()
            assert client.call("a", "echo", x=1)[0] == 1
            client.close()

        await asyncio.to_thread(use)
        assert (await a.call("bus", "stats"))["peers"][0]["serving"] == 0


async def test_it_reads_publishes_and_serves() -> None:
    """Events go both ways, a subscription that is not allowed is denied, and a process can be served by it."""
    allow = {"a": "all", "raw": {"subscribe": ["t/"], "publish": ["raw/"]}}
    async with running_bus(allow=allow) as bus:
        a = await bus.peer("a")
        read = await a.subscribe("raw/")
        notice = bus.register("raw")
        client = await asyncio.to_thread(Client, bus.directory, "raw", notice["credential"])
        assert (client.name, client.incarnation) == ("raw", notice["incarnation"])
        await asyncio.to_thread(client.subscribe, "t/")
        with pytest.raises(Problem):
            await asyncio.to_thread(client.subscribe, "secret/")
        for n in range(400):
            await a.publish("t/", [n, bytes(10_000)])
        for n in range(400):
            topic, (by, _, epoch, seq), data = await asyncio.to_thread(client.event)
            assert (topic, by, epoch, seq, data[0]) == ("t/", "a", a.epoch, n + 1, n)
        client.publish("raw/", 1, "hello")
        assert (await anext(read)).data == "hello"
        call = asyncio.create_task(a.call("raw", "ask"))
        assert await asyncio.to_thread(client.serve_one, {"ask": 42}) == ("a", a.incarnation, "ask")
        assert await call == 42
        call = asyncio.create_task(a.call("raw", "other"))
        await asyncio.to_thread(client.serve_one, {})
        with pytest.raises(RemoteError, match="NoSuchMethod"):
            await call
        await asyncio.to_thread(client.close)


async def test_it_is_told_when_it_is_wrong() -> None:
    """A wrong token and another version are errors that say so."""
    async with running_bus() as bus:
        with pytest.raises(Problem, match="wrong"):
            await asyncio.to_thread(Client, bus.directory, "client:ada", "0" * 64)
        with pytest.raises(Problem) as caught:
            await asyncio.to_thread(Client, bus.directory, "client:ada", TOKEN, 2)
        assert caught.value.args[0] == "version"


def test_the_page_lists_exactly_the_messages_of_the_codec() -> None:
    """Every kind stands in docs/protocol.md with its name and as many fields as the codec has."""
    page = (ROOT / "docs/protocol.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (\w+) \|(.*?)\|(.*?)\|$", page, re.M)
    listed = {int(kind): (name, fields, payload) for kind, name, fields, payload in rows}
    assert {kind: row[0] for kind, row in listed.items()} == {kind: t.__name__ for kind, t in wire.KINDS.items()}
    for kind, (name, fields, payload) in listed.items():
        flat = re.sub(r"\[\[.*?\], …\]", "tails", re.sub(r"\(.*?\)", "", fields))
        count = len([field for field in flat.split(",") if field.strip()])
        assert count == len(wire.KINDS[kind].__struct_fields__), (name, fields)
        assert bool(payload.strip()) == (wire.KINDS[kind] in wire.WITH_PAYLOAD), name
