"""Calls and casts over real sockets."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from ipc import (
    Call,
    CallTimeout,
    Forbidden,
    IpcError,
    LocalProtocolError,
    Overloaded,
    PeerDown,
    Refused,
    RemoteError,
    TooBig,
    shielded,
)
from ipc.testing import running_bus


async def echo(call: Call, x: Any = None) -> list[Any]:
    return [x, call.caller, call.incarnation]


async def test_a_call_returns_the_result_and_tells_who_asks() -> None:
    """The handler gets the caller's name and incarnation from the bus, and the caller its result."""
    async with running_bus() as bus:
        await bus.peer("a", {"echo": echo})
        b = await bus.peer("b")
        assert await b.call("a", "echo", x={"k": [1, b"\x00", 1.5, None]}) == [
            {"k": [1, b"\x00", 1.5, None]}, "b", b.incarnation,
        ]  # fmt: skip


async def test_a_peer_can_call_itself() -> None:
    """Caller and callee may be the same peer."""
    async with running_bus() as bus:
        a = await bus.peer("a", {"echo": echo})
        assert (await a.call("a", "echo", x=1))[0] == 1


async def test_handler_errors_arrive_with_their_type(caplog: pytest.LogCaptureFixture) -> None:
    """Refused keeps type, message and data; anything else is an InternalError that names the class."""
    # A captured line with half a character in it cannot be sent to the parent of a parallel run.
    caplog.set_level(logging.CRITICAL, logger="ipc")

    class Conflict(Refused):
        pass

    async def refuse(call: Call) -> None:
        raise Conflict("Conflict", "it changed", last=7)

    async def half(call: Call) -> None:
        raise FileNotFoundError("caf\udce9.md")

    async def break_(call: Call) -> None:
        raise ZeroDivisionError("by zero")

    async with running_bus() as bus:
        await bus.peer("a", {"refuse": refuse, "break": break_, "half": half, "echo": echo})
        b = await bus.peer("b")
        with pytest.raises(RemoteError) as caught:
            await b.call("a", "refuse")
        assert (caught.value.type, caught.value.message, caught.value.data) == ("Conflict", "it changed", {"last": 7})
        for method, params, type_, text in (
            ("break", {}, "InternalError", "ZeroDivisionError: by zero"),
            ("nothing", {}, "NoSuchMethod", "'nothing'"),
            ("half", {}, "InternalError", "caf"),
            ("echo", {"y": 1}, "BadParameters", "'y'"),
        ):
            with pytest.raises(RemoteError, match=text) as caught:
                await b.call("a", method, **params)
            assert caught.value.type == type_


async def test_an_absent_target_is_down_at_once() -> None:
    """A call to a name that is not connected fails as PeerDown, without waiting for its deadline."""
    async with running_bus() as bus:
        b = await bus.peer("b")
        began = time.monotonic()
        with pytest.raises(PeerDown, match="ghost") as caught:
            await b.call("ghost", "echo", timeout=30)
        assert caught.value.name == "ghost"
        assert time.monotonic() - began < 10


async def test_a_deadline_travels_and_its_end_reaches_the_handler() -> None:
    """The callee sees how long is left; after the deadline the caller has CallTimeout and the handler is cancelled."""
    seen: dict[str, Any] = {}
    cancelled = asyncio.Event()

    async def slow(call: Call) -> None:
        seen["left"] = call.remaining()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with running_bus() as bus:
        await bus.peer("a", {"slow": slow})
        b = await bus.peer("b")
        with pytest.raises(CallTimeout, match=r"a\.slow.*0\.2 s"):
            await b.call("a", "slow", timeout=0.2)
        await asyncio.wait_for(cancelled.wait(), 10)
        assert 0 < seen["left"] <= 0.2


async def test_cancelling_a_call_cancels_the_handler_unless_it_is_shielded() -> None:
    """A caller that stops waiting stops the handler; a shielded one runs to its end."""
    started, cancelled, finished, go = (asyncio.Event() for _ in range(4))

    async def slow(call: Call) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    @shielded
    async def write(call: Call) -> None:
        started.set()
        await go.wait()
        finished.set()

    async with running_bus() as bus:
        await bus.peer("a", {"slow": slow, "write": write, "echo": echo})
        b = await bus.peer("b")
        for method in ("slow", "write"):
            started.clear()
            task = asyncio.create_task(b.call("a", method))
            await asyncio.wait_for(started.wait(), 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await b.call("a", "echo")  # behind the cancellation
        await asyncio.wait_for(cancelled.wait(), 10)
        go.set()
        await asyncio.wait_for(finished.wait(), 10)


async def test_what_allow_does_not_name_is_forbidden_at_the_bus() -> None:
    """Targets and methods outside of `allow` are refused before the callee hears of them."""
    heard = []

    async def secret(call: Call) -> None:
        heard.append(call.caller)

    async with running_bus(allow={"a": {}, "b": {"call": {"a": ["echo"]}}}) as bus:
        a = await bus.peer("a", {"echo": echo, "secret": secret})
        b = await bus.peer("b")
        await b.call("a", "echo")
        with pytest.raises(Forbidden, match=r"b may not call a\.secret"):
            await b.call("a", "secret")
        with pytest.raises(Forbidden):
            await a.call("b", "echo")
        await b.cast("a", "secret")
        await b.call("a", "echo")
        assert heard == []


async def test_casts_keep_their_order_and_ask_for_no_answer() -> None:
    """Casts of one sender begin in the order in which they were sent; casts to nobody are no error."""
    heard: list[int] = []
    done = asyncio.Event()

    async def hear(call: Call, n: int) -> None:
        heard.append(n)
        if n == 99:
            done.set()

    async with running_bus() as bus:
        await bus.peer("a", {"hear": hear})
        b = await bus.peer("b")
        await b.cast("ghost", "hear", n=1)
        for n in range(100):
            await b.cast("a", "hear", n=n)
        await asyncio.wait_for(done.wait(), 5)
        assert heard == list(range(100))


async def test_a_message_over_the_frame_limit_is_refused_to_its_sender() -> None:
    """Parameters and results over the limit are an error of the side that made them; the connection stays."""

    async def big(call: Call) -> bytes:
        return bytes(200_000)

    async with running_bus(frame=100_000) as bus:
        await bus.peer("a", {"big": big, "echo": echo})
        b = await bus.peer("b")
        with pytest.raises(TooBig, match="200"):
            await b.call("a", "echo", x=bytes(200_000))
        with pytest.raises(RemoteError) as caught:
            await b.call("a", "big")
        assert caught.value.type == "TooBig"
        assert len((await b.call("a", "echo", x=bytes(99_000)))[0]) == 99_000


async def test_large_messages_pass() -> None:
    """Payloads up to the limit of 16 MiB arrive whole, both ways, one after the other."""
    async with running_bus() as bus:
        await bus.peer("a", {"echo": echo})
        b = await bus.peer("b")
        data = bytes(range(256)) * (15 * 4096)
        for _ in range(3):
            assert (await b.call("a", "echo", x=data, timeout=20))[0] == data


async def test_too_many_calls_in_flight_are_overload() -> None:
    """The calls that one caller may have in flight are bounded."""

    async def never(call: Call) -> None:
        await asyncio.Event().wait()

    async with running_bus(calls=5) as bus:
        await bus.peer("a", {"never": never})
        b = await bus.peer("b")
        tasks = [asyncio.create_task(b.call("a", "never")) for _ in range(5)]
        await asyncio.sleep(0)  # one turn of the loop, in which the five are sent
        with pytest.raises(Overloaded, match="5 calls in flight"):
            await b.call("a", "never")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_many_calls_at_once_each_get_their_own_answer() -> None:
    """Answers are never mixed up."""
    async with running_bus() as bus:
        await bus.peer("a", {"echo": echo})
        callers = [await bus.peer(f"b{n}") for n in range(4)]
        calls = [(peer, n) for n in range(200) for peer in callers]
        answers = await asyncio.gather(*(peer.call("a", "echo", x=n) for peer, n in calls))
        assert [(answer[0], answer[1]) for answer in answers] == [(n, peer.name) for peer, n in calls]


async def test_the_bus_answers_for_itself() -> None:
    """The target `bus` tells its figures to those who may ask."""
    async with running_bus() as bus:
        a = await bus.peer("a")
        assert await a.call("bus", "ping") is None
        stats = await a.call("bus", "stats")
        assert [row["name"] for row in stats["peers"]] == ["a"]
        with pytest.raises(RemoteError, match="no method"):
            await a.call("bus", "nothing")


async def test_misuse_says_what_to_do() -> None:
    """A peer that is not connected, closed, or used with what cannot be sent raises LocalProtocolError."""
    async with running_bus() as bus:
        a = await bus.peer("a", {"echo": echo})
        with pytest.raises(LocalProtocolError, match="msgpack"):
            await a.call("a", "echo", x=object())
        with pytest.raises(LocalProtocolError, match="async function"):
            a.expose({"x": lambda call: None})
        with pytest.raises(LocalProtocolError, match="connected before"):
            await a.connect()
        for target, method, timeout in (
            ("", "x", 1),
            ("a", "x" * 300, 1),
            (None, "x", 1),
            ("a", "\udc80", 1),
            ("a", "x", -1),
        ):
            with pytest.raises(LocalProtocolError, match="must be"):
                await a.call(target, method, timeout=timeout)
        await a.call("a", "echo")
        await a.close()
        await a.close()
        with pytest.raises(LocalProtocolError, match="closed"):
            await a.call("a", "echo")
        assert issubclass(LocalProtocolError, IpcError)
