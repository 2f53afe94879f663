"""Events, subscriptions and monitors over real sockets; the gap law alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipc import Change, Event, Forbidden, LocalProtocolError, Subscription
from ipc.events import Gaps
from ipc.monitors import Roll
from ipc.testing import running_bus


async def take(source: Any, n: int) -> list[Any]:
    return [await asyncio.wait_for(anext(source), 5) for _ in range(n)]


@pytest.mark.parametrize("inline", [False, True])
async def test_events_arrive_in_order_with_who_sent_them(inline: bool) -> None:
    """A subscriber gets the events below its prefix, stamped with sender, epoch and a seq for each (sender, topic)."""
    async with running_bus() as bus:
        a, b, c = [await bus.peer(name, inline=inline) for name in "abc"]
        read = await b.subscribe("log/")
        other = await c.subscribe("log/x/")
        for n in range(3):
            await a.publish("log/x/", {"n": n})
            await a.publish("log/y/", n)
            await a.publish("elsewhere/", n)
        got = await take(read, 6)
        assert [(e.topic, e.seq, e.data) for e in got[:2]] == [("log/x/", 1, {"n": 0}), ("log/y/", 1, 0)]
        assert {(e.by, e.epoch, e.gap) for e in got} == {("a", bus_epoch(a), False)}
        assert [e.data["n"] for e in await take(other, 3)] == [0, 1, 2]


async def test_prefixes_on_one_connection_match_whole_parts() -> None:
    """Each prefix of a topic is read, also the empty one; one that ends in the middle of a part is another topic's.
    An event below two prefixes of one reader comes once."""
    async with running_bus() as bus:
        a, b = await bus.peer("a"), await bus.peer("b", inline=True)
        every, wide, narrow, other = [await b.subscribe(p) for p in ("", "turns/", "turns/ada/", "turns/ad/")]
        for topic in ("turns/ada/", "turns/adam/", "turns/ad/"):
            await a.publish(topic, topic)
        assert [
            [e.topic for e in await take(read, n)] for read, n in ((every, 3), (wide, 3), (narrow, 1), (other, 1))
        ] == [
            ["turns/ada/", "turns/adam/", "turns/ad/"],
            ["turns/ada/", "turns/adam/", "turns/ad/"],
            ["turns/ada/"],
            ["turns/ad/"],
        ]
        rows = {row["name"]: row for row in (await a.call("bus", "stats"))["peers"]}
        assert rows["b"]["subscriptions"] == 0, "the event socket was not used"


def bus_epoch(peer: Any) -> int:
    return int(peer.epoch)


@pytest.mark.parametrize("inline", [False, True])
async def test_subscriptions_end_when_closed_and_do_not_disturb_others(inline: bool) -> None:
    """Two readers of one prefix are independent; the bus stops sending when the last one is closed."""
    async with running_bus() as bus:
        a, b = await bus.peer("a"), await bus.peer("b", inline=inline)
        first, second = await b.subscribe("t/"), await b.subscribe("t/")
        await a.publish("t/", 1)
        assert [e.data for e in await take(first, 1) + await take(second, 1)] == [1, 1]
        first.close()
        with pytest.raises(StopAsyncIteration):
            await anext(first)
        await a.publish("t/", 2)
        assert [e.data for e in await take(second, 1)] == [2]
        second.close()
        third = await b.subscribe("t/")
        await a.publish("t/", 3)
        assert [(e.data, e.gap) for e in await take(third, 1)] == [(3, False)]


async def test_a_subscription_that_is_cancelled_as_it_is_confirmed_is_cancelled() -> None:
    """Who cancels a task is not answered by one that goes on for ever, also when the bus answers in the same moment."""
    async with running_bus() as bus:
        peer = await bus.peer("a")
        task = asyncio.create_task(peer.subscribe("t/"))
        while "t/" not in peer._reader._confirming:
            await asyncio.sleep(0)
        peer._reader._confirming["t/"][0].set_result(None)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not peer._reader._subscriptions.get("t/")


@pytest.mark.parametrize("inline", [False, True])
async def test_subscriptions_outside_of_allow_are_forbidden(inline: bool) -> None:
    """A prefix that `allow` does not cover is refused at subscribe; the allowed ones work."""
    async with running_bus(allow={"a": "all", "b": {"subscribe": ["rooms/"]}}) as bus:
        a, b = await bus.peer("a"), await bus.peer("b", inline=inline)
        for prefix in ("", "secret/", "room/"):
            with pytest.raises(Forbidden, match="may not subscribe"):
                await b.subscribe(prefix)
        with pytest.raises(LocalProtocolError, match="end with"):
            await b.subscribe("rooms")
        read = await b.subscribe("rooms/default/")
        await a.publish("secret/", 1)
        await a.publish("rooms/default/", 2)
        assert [e.data for e in await take(read, 1)] == [2]


async def test_an_event_outside_of_allow_goes_nowhere() -> None:
    """Publishing on a topic that `allow` does not name reaches nobody."""
    async with running_bus(allow={"a": {"publish": ["ok/"]}, "b": "all"}) as bus:
        a, b = await bus.peer("a"), await bus.peer("b")
        read = await b.subscribe("")
        await a.publish("bad/", 1)
        await a.publish("ok/", 2)
        assert [e.topic for e in await take(read, 1)] == ["ok/"]
        with pytest.raises(LocalProtocolError, match="must end with"):
            await a.publish("ok", 1)


@pytest.mark.parametrize("inline", [False, True])
async def test_a_lost_tail_is_seen(inline: bool) -> None:
    """When the last event of a sender never arrives, the reader is told within the next second."""
    async with running_bus() as bus:
        a, b = await bus.peer("a"), await bus.peer("b", inline=inline)
        read = await b.subscribe("t/")
        await a.publish("t/", 1)
        assert (await take(read, 1))[0].seq == 1
        push = read.push
        lost = asyncio.Event()
        read.push = lambda event, size: lost.set()  # the network eats the second one
        await a.publish("t/", 2)
        await asyncio.wait_for(lost.wait(), 10)
        read.push = push
        tail = (await take(read, 1))[0]
        assert (tail.gap, tail.data, tail.seq, tail.by, tail.topic) == (True, None, 2, "a", "t/")


async def test_a_reader_that_does_not_keep_up_is_told_of_the_loss() -> None:
    """A full queue is dropped and replaced by one gap, instead of filling memory."""
    loop = asyncio.get_running_loop()
    subscription = Subscription("t/", lambda s: None, loop)
    size = 1024 * 1024
    for seq in range(1, 30):
        subscription.push(Event("t/", seq, "a", 1, 1, seq, False), size)
    first = await anext(subscription)
    assert (first.gap, first.data) == (True, None)
    rest = [(await anext(subscription)).seq for _ in range(12)]
    assert rest == list(range(rest[0], rest[0] + 12))
    assert subscription._bytes <= 16 * size


@settings(max_examples=200, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=30), st.booleans())
def test_a_loss_is_always_seen_and_never_invented(arrives: list[bool], with_tail: bool) -> None:
    """For any pattern of losses, a gap is told exactly where events are missing, and the tail tells the rest."""
    gaps = Gaps()
    gaps.event(1, "a", 1, "t/", 1)
    missing = False
    for seq, good in enumerate(arrives, start=2):
        if good:
            assert gaps.event(1, "a", 1, "t/", seq) is missing
            missing = False
        else:
            missing = True
    if with_tail:
        assert gaps.tail(1, "a", 1, "t/", len(arrives) + 1, True) is missing
        assert gaps.tail(1, "a", 1, "t/", len(arrives) + 1, True) is False


def test_new_lives_and_epochs() -> None:
    """A new epoch is a gap; a new life that begins with its first event is none; late joiners start without one."""
    gaps = Gaps()
    assert not gaps.event(1, "a", 1, "t/", 41)
    assert not gaps.event(1, "a", 2, "t/", 1)
    assert gaps.event(1, "a", 3, "t/", 2)
    assert gaps.event(2, "a", 3, "t/", 3)
    assert not gaps.tail(2, "a", 2, "t/", 9, True)
    assert not gaps.tail(2, "b", 2, "t/", 9, False)
    assert gaps.tail(2, "b", 2, "t/", 9, True)


async def test_monitors_tell_who_is_up_then_who_comes_and_goes() -> None:
    """A monitor begins with those that are up, says that this is all, and then tells each change with its reason."""
    async with running_bus() as bus:
        watcher = await bus.peer("watcher")
        one = await bus.peer("agents/one")
        await bus.peer("agents/silent", announce=False)
        await bus.peer("other")
        changes = watcher.monitor("agents/*")
        assert [(c.name, c.up, c.snapshot_end) for c in await take(changes, 2)] == [
            ("agents/one", True, False), ("", False, True),
        ]  # fmt: skip
        two = await bus.peer("agents/two")
        await one.close()
        got = await take(changes, 2)
        assert got[0] == Change("agents/two", two.incarnation, True)
        assert (got[1].name, got[1].up, got[1].reason, got[1].planned) == ("agents/one", False, "closed", True)


async def test_monitors_outside_of_allow_are_forbidden() -> None:
    """A pattern that `allow` does not cover is refused."""
    async with running_bus(allow={"w": {"monitor": ["agents/*"]}}) as bus:
        w = await bus.peer("w")
        with pytest.raises(Forbidden, match="may not monitor"):
            await anext(w.monitor("*"))
        assert (await anext(w.monitor("agents/*"))).snapshot_end


async def test_a_forgotten_monitor_is_given_up() -> None:
    """A monitor that was dropped without being closed stops being fed by the bus."""
    async with running_bus() as bus:
        w = await bus.peer("w")

        async def look() -> None:
            async for change in w.monitor("*"):
                if change.snapshot_end:
                    return

        await look()
        await bus.peer("x")
        await bus.peer("y")
        await w.call("bus", "ping")
        stats = await w.call("bus", "stats")
        assert next(row for row in stats["peers"] if row["name"] == "w")["monitors"] == 0


ups = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3), max_size=4)


@settings(max_examples=200, deadline=None)
@given(st.lists(ups, min_size=1, max_size=6))
def test_what_a_monitor_tells_over_restarts_adds_up(snapshots: list[dict[str, int]]) -> None:
    """After each snapshot of each bus, the changes told so far give exactly that snapshot, with no repetition."""
    roll, known = Roll(), {}
    for snapshot in snapshots:
        roll.begin()
        changes = [c for name, n in snapshot.items() for c in roll.changed(name, n, True, "", False)] + roll.complete()
        for change in changes[:-1]:
            assert (change.name in known) is not change.up
            if change.up:
                known[change.name] = change.incarnation
            else:
                assert known.pop(change.name) == change.incarnation
        assert changes[-1].snapshot_end
        assert known == snapshot
