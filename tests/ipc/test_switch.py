"""The bus without sockets: its laws, for any order of messages and deaths."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ipc import wire
from ipc.limits import Limits
from ipc.rights import ALL, Rights
from ipc.sessions import Registration
from ipc.switch import Switch


class FakePort:
    """Notes what the switch does."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Any, Any]] = []
        self.published: list[tuple[str, Any]] = []
        self.cuts: list[int] = []
        self.held: list[int] = []
        self.subscribed: list[str] = []

    def send(self, rid: bytes, header: bytes, payload: Any) -> bool:
        parts = [header] if payload is None else [header, payload]
        self.sent.append((rid, wire.decode_to_peer(parts)[0], payload))
        return True

    def publish(self, topic: str, header: bytes, payload: Any) -> None:
        parts = [topic.encode(), header] if payload is None else [topic.encode(), header, payload]
        self.published.append((topic, wire.decode_event(parts)[1]))

    def subscribe(self, prefix: str) -> None:
        self.subscribed.append(prefix)

    def unsubscribe(self, prefix: str) -> None:
        self.subscribed.remove(prefix)

    def hold(self, fd: int) -> None:
        self.held.append(fd)

    def cut(self, fd: int, held: bool = False) -> None:
        self.cuts.append(fd)

    def to(self, rid: bytes) -> list[Any]:
        return [message for other, message, _ in self.sent if other == rid]


class Bench:
    """A switch with a hand on every lever."""

    def __init__(self, limits: Limits | None = None, **options: Any) -> None:
        self.port = FakePort()
        self.now = 100.0
        self.fd = 10
        self.incarnation = 0
        self.switch = Switch(self.port, 7, limits or Limits(), self.now, **options)

    def register(self, name: str, allow: Any = None) -> Registration:
        self.incarnation += 1
        registration = Registration(name, self.incarnation, "c" * 16, Rights(ALL if allow is None else allow))
        self.switch.register(registration, self.now)
        return registration

    def say(self, rid: bytes, user: str, fd: int, message: Any, payload: Any = None) -> None:
        parts = [wire.encode(message)] if payload is None else [wire.encode(message), payload]
        self.switch.received(rid, user, fd, parts, self.now)

    def join(self, name: str, allow: Any = None) -> tuple[bytes, str, int]:
        registration = self.register(name, allow)
        self.fd += 1
        who = (f"rid-{self.fd}".encode(), registration.user, self.fd)
        self.say(*who, wire.Hello(wire.PROTOCOL, wire.VERSION))
        self.say(*who, wire.Announce())
        return who


def test_items_of_many_streams_reach_their_readers() -> None:
    """One message with items of several streams gives each reader its own, in order; what nobody reads is discarded."""
    bench = Bench()
    producer, *readers = bench.join("a"), bench.join("b"), bench.join("c")
    for number, reader in enumerate(readers, start=5):
        bench.say(*reader, wire.Open(number, "a", "m", 1000, 100), wire.pack({}))
    one, other = (message.id for message in bench.port.to(producer[0]) if type(message) is wire.Request)
    payloads = [wire.pack(text) for text in ("x", "y", "z", "lost")]
    bench.say(*producer, wire.Chunks([one, other, one, 12345]), wire.pack(payloads))
    for reader, number, heard in zip(readers, (5, 6), (["x", "z"], ["y"]), strict=True):
        got = [(message, payload) for rid, message, payload in bench.port.sent if rid == reader[0]]
        assert [(m, wire.unpack(p)) for m, p in got if type(m) is wire.Chunk] == [
            (wire.Chunk(number), t) for t in heard
        ]
    assert bench.switch.stats()["discarded"] == 1


@pytest.mark.parametrize(
    ("numbers", "payload"), [([1, 2], wire.pack([b"x"])), ([1], wire.pack(["text"])), ([1], b"\xc1"), ([], b"")]
)
def test_items_that_fit_no_streams_are_garbage(numbers: list[int], payload: bytes) -> None:
    """More numbers than items, items that are no bytes, no array: who sends that is told and cut off, nobody else."""
    bench = Bench()
    producer, other = bench.join("a"), bench.join("b")
    bench.say(*producer, wire.Chunks(numbers), payload)
    assert type(bench.port.to(producer[0])[-1]) is wire.Rejected
    assert bench.port.cuts == [producer[2]] and set(bench.switch.names) == {"b"}
    assert type(bench.port.to(other[0])[-1]) is not wire.Rejected


def test_a_call_is_answered_once() -> None:
    """The second answer to a request is discarded."""
    bench = Bench()
    a, b = bench.join("a"), bench.join("b")
    bench.say(*a, wire.Call(5, "b", "m", 1000), b"\x80")
    request = bench.port.to(b[0])[-1]
    assert request == wire.Request(request.id, "a", 1, "m", 1000, None)
    bench.say(*b, wire.Result(request.id), b"\x01")
    bench.say(*b, wire.Result(request.id), b"\x02")
    assert [m for m in bench.port.to(a[0]) if isinstance(m, wire.Result)] == [wire.Result(5)]
    assert bench.switch.stats()["discarded"] == 1


def test_an_answer_to_somebody_elses_request_is_discarded() -> None:
    """Only the process a call was given to can answer it."""
    bench = Bench()
    a, b, thief = bench.join("a"), bench.join("b"), bench.join("thief")
    bench.say(*a, wire.Call(5, "b", "m", 1000), b"\x80")
    number = bench.port.to(b[0])[-1].id
    bench.say(*thief, wire.Result(number), b"\x01")
    bench.say(*thief, wire.Error(number, "X", "y"), b"\x80")
    assert not [m for m in bench.port.to(a[0]) if isinstance(m, wire.Result | wire.Error)]


def test_frames_under_another_user_id_do_not_speak_for_a_session() -> None:
    """A routing id that somebody else chose again is not who he is."""
    bench = Bench()
    a, b = bench.join("a"), bench.join("b")
    before = len(bench.port.to(b[0]))
    bench.say(a[0], b[1], 99, wire.Call(5, "b", "m", 1000), b"\x80")
    assert len(bench.port.to(b[0])) == before
    assert 99 in bench.port.cuts


def test_frames_before_hello_are_discarded_and_the_connection_cut() -> None:
    """What was queued for an earlier bus is never executed by this one."""
    bench = Bench()
    b = bench.join("b")
    registration = bench.register("a")
    bench.say(b"new", registration.user, 50, wire.Call(5, "b", "m", 1000), b"\x80")
    assert not [m for m in bench.port.to(b[0]) if isinstance(m, wire.Request)]
    assert bench.port.cuts == [50]


def test_a_death_waits_for_the_last_words() -> None:
    """After `down` the answers that are still read are delivered, then the death is told, later ones are discarded."""
    bench = Bench()
    a, b = bench.join("a"), bench.join("b")
    bench.say(*a, wire.Call(1, "b", "m", 1000), b"\x80")
    bench.say(*a, wire.Call(2, "b", "m", 1000), b"\x80")
    first, second = (m.id for m in bench.port.to(b[0]) if isinstance(m, wire.Request))
    bench.switch.control({"down": "b", "incarnation": 2, "reason": "signal 9", "planned": False}, bench.now)
    bench.say(*b, wire.Result(first), b"\x01")
    bench.switch.lost(b[2], bench.now)
    bench.say(*b, wire.Result(second), b"\x01")
    answers = [m for m in bench.port.to(a[0]) if isinstance(m, wire.Result | wire.Failed)]
    assert answers == [wire.Result(1), wire.Failed(2, "peer_down", "b", "signal 9")]


def test_a_death_is_told_although_the_connection_stays() -> None:
    """A grandchild that keeps the socket open does not hold up the news for longer than the grace; it is cut off."""
    bench = Bench()
    a, b = bench.join("a"), bench.join("b")
    bench.say(*a, wire.Call(1, "b", "m", 1000), b"\x80")
    bench.switch.control({"down": "b", "incarnation": 2}, bench.now)
    due = bench.switch.due(bench.now)
    assert due is not None and due <= 0.25
    bench.now += due
    bench.switch.tick(bench.now)
    assert bench.port.to(a[0])[-1] == wire.Failed(1, "peer_down", "b", "exited")
    assert b[2] in bench.port.cuts
    assert bench.switch.due(bench.now) is None


def test_a_new_life_ends_the_old_one() -> None:
    """Registering a newer incarnation voids the credential and the session of the older."""
    bench = Bench()
    a, old = bench.join("a"), bench.join("b")
    bench.say(*a, wire.Call(1, "b", "m", 1000), b"\x80")
    newer = bench.register("b")
    bench.switch.tick(bench.now)
    assert bench.port.to(a[0])[-1] == wire.Failed(1, "peer_down", "b", "replaced by a newer incarnation")
    assert old[2] in bench.port.cuts
    bench.say(b"again", old[1], 60, wire.Hello(wire.PROTOCOL, wire.VERSION))
    assert bench.port.to(b"again")[-1].code == "stale"
    bench.say(b"young", newer.user, 61, wire.Hello(wire.PROTOCOL, wire.VERSION))
    assert isinstance(bench.port.to(b"young")[-1], wire.Welcome)


def test_last_words_are_delivered_although_the_next_life_is_registered() -> None:
    """A restart that is told together with the death neither swallows an answer nor its reason."""
    bench = Bench()
    a, b = bench.join("a"), bench.join("b")
    bench.say(*a, wire.Call(1, "b", "m", 1000), b"\x80")
    bench.say(*a, wire.Call(2, "b", "m", 1000), b"\x80")
    first = next(m.id for m in bench.port.to(b[0]) if isinstance(m, wire.Request))
    bench.switch.control({"down": "b", "incarnation": 2, "reason": "signal 9"}, bench.now)
    newer = bench.register("b")
    bench.say(*b, wire.Result(first), b"\x01")
    bench.say(b"young", newer.user, 61, wire.Hello(wire.PROTOCOL, wire.VERSION))
    assert isinstance(bench.port.to(b"young")[-1], wire.Welcome)
    answers = [m for m in bench.port.to(a[0]) if isinstance(m, wire.Result | wire.Failed)]
    assert answers == [wire.Result(1), wire.Failed(2, "peer_down", "b", "signal 9")]
    assert b[2] in bench.port.cuts


def test_a_second_connection_with_the_credential_is_refused() -> None:
    """The first connection of a life stays; a replayed credential gets nothing."""
    bench = Bench()
    a = bench.join("a")
    bench.say(b"replay", a[1], 60, wire.Hello(wire.PROTOCOL, wire.VERSION))
    assert bench.port.to(b"replay")[-1].code == "connected"
    bench.say(*a, wire.Call(1, "bus", "ping", 1000), b"\x80")
    assert bench.port.to(a[0])[-1] == wire.Result(1)


def test_another_version_is_told_so() -> None:
    """Hello of another version is answered with the versions and what to do."""
    bench = Bench()
    registration = bench.register("a")
    bench.say(b"x", registration.user, 60, wire.Hello(wire.PROTOCOL, 99))
    rejected = bench.port.to(b"x")[-1]
    assert (rejected.code, rejected.version) == ("version", wire.VERSION)
    assert "99" in rejected.text and "restart" in rejected.text


def test_monitors_get_the_reason_of_the_supervisor() -> None:
    """The end of a connection is told with the supervisor's reason, when that arrives within the grace."""
    bench = Bench()
    a, b = bench.join("a"), bench.join("b")
    bench.say(*a, wire.Monitor(3, "b"))
    bench.switch.lost(b[2], bench.now)
    assert not [m for m in bench.port.to(a[0]) if isinstance(m, wire.Changed) and not m.up]
    bench.switch.control({"down": "b", "incarnation": 2, "reason": "signal 11", "planned": True}, bench.now)
    assert bench.port.to(a[0])[-1] == wire.Changed(3, "b", 2, False, "signal 11", True)


def test_an_end_is_told_before_the_next_beginning() -> None:
    """A process that is back before the grace is over is first told as down."""
    bench = Bench()
    a, b = bench.join("a"), bench.join("b")
    bench.say(*a, wire.Monitor(3, "b"))
    bench.switch.lost(b[2], bench.now)
    bench.join("b")
    changes = [(m.up, m.incarnation) for m in bench.port.to(a[0]) if isinstance(m, wire.Changed)]
    assert changes == [(True, 2), (False, 2), (True, 3)]


def test_a_restarted_bus_waits_before_it_says_who_is_there() -> None:
    """A snapshot is complete when all that were registered at the start are back, or after the settling time."""
    known = [Registration(name, 1, "c" * 16, Rights(ALL)) for name in ("a", "b", "c")]
    bench = Bench(registrations=known)
    for fd, name in ((1, "a"), (2, "b")):
        bench.say(name.encode(), f"{name}#1", fd, wire.Hello(wire.PROTOCOL, wire.VERSION, announced=True))
    bench.say(b"a", "a#1", 1, wire.Monitor(9, "*"))
    assert not [m for m in bench.port.to(b"a") if isinstance(m, wire.Snapshot)]
    bench.switch.tick(bench.now + 1.1)
    assert bench.port.to(b"a")[-1] == wire.Snapshot(9)


def test_a_peer_that_does_not_read_gets_no_more_requests_and_then_no_connection() -> None:
    """Above its budget requests are refused to the caller; above the hard budget the peer is cut."""
    bench = Bench(Limits(budget=10_000, hard_budget=20_000, mark=1000))
    a, b = bench.join("a"), bench.join("b")
    for number in range(12):
        bench.say(*a, wire.Call(number, "b", "m", 1000), bytes(1000))
    failed = [m for m in bench.port.to(a[0]) if isinstance(m, wire.Failed)]
    assert failed and {m.code for m in failed} == {"overloaded"}
    assert "does not read" in failed[0].text
    marks = [m for m in bench.port.to(b[0]) if isinstance(m, wire.Mark)]
    bench.say(*b, wire.Ack(marks[-1].total))
    bench.say(*a, wire.Call(50, "b", "m", 1000), bytes(1000))
    assert isinstance(bench.port.to(b[0])[-1], wire.Request | wire.Mark)
    for number in range(100):
        bench.say(*b, wire.Call(number, "bus", "stats", 1000), b"\x80")
    bench.switch.tick(bench.now)
    assert b[2] in bench.port.cuts


def test_a_flood_is_slowed_down_then_dropped() -> None:
    """A peer over its rate is told to slow down; when it goes on, its messages are refused and counted."""
    bench = Bench(Limits(rate=10, burst=10))
    a, b = bench.join("a"), bench.join("b")
    for number in range(60):
        bench.say(*a, wire.Call(number, "b", "m", 1000), b"\x80")
    answers = bench.port.to(a[0])
    assert [m for m in answers if isinstance(m, wire.Slow)]
    refused = [m for m in answers if isinstance(m, wire.Failed)]
    assert refused and refused[0].code == "overloaded"
    assert {row["name"]: row["throttled"] for row in bench.switch.stats()["peers"]}["a"] == len(refused)
    assert len([m for m in bench.port.to(b[0]) if isinstance(m, wire.Request)]) <= 20


def test_a_reader_that_is_too_far_behind_loses_its_event_connection() -> None:
    """Events that wait for one subscriber are bounded in bytes; the others go on."""
    bench = Bench(Limits(event_budget=10_000, mark=1000))
    a, b = bench.join("a"), bench.join("b")
    session = bench.switch.names["b"]
    bench.switch.subscription(session.event_user, 77, "t/", True, bench.now)
    for seq in range(1, 5):
        bench.say(*a, wire.Publish("t/", seq), bytes(1000))
        marks = [m for topic, m in bench.port.published if topic == session.marks]
        bench.say(*b, wire.Ack(marks[-1].total, True))
    assert 77 not in bench.port.cuts
    for seq in range(5, 30):
        bench.say(*a, wire.Publish("t/", seq), bytes(1000))
    assert 77 in bench.port.cuts


@pytest.mark.parametrize("topic", ["other/", "t", "~1/"])
def test_topics_that_are_not_allowed_are_not_published(topic: str) -> None:
    """An event on a topic outside of `allow`, without delimiter or of the bus itself goes nowhere."""
    bench = Bench()
    a = bench.join("a", {"publish": ["t/"]})
    bench.say(*a, wire.Publish(topic, 1), b"\xc0")
    assert bench.port.published == []


class SwitchMachine(RuleBasedStateMachine):
    """Random peers, calls, answers and deaths."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.live: dict[str, tuple[bytes, str, int]] = {}
        self.calls: list[tuple[bytes, int]] = []
        self.next = 0

    @rule(name=st.sampled_from("abc"))
    def join(self, name: str) -> None:
        self.live[name] = self.bench.join(name)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), callee=st.sampled_from("abcd"), stream=st.booleans())
    def call(self, data: st.DataObject, callee: str, stream: bool) -> None:
        caller = self.live[data.draw(st.sampled_from(sorted(self.live)))]
        self.next += 1
        self.calls.append((caller[0], self.next))
        extra = (100,) if stream else ()
        message = (wire.Open if stream else wire.Call)(self.next, callee, "m", 1000, *extra)
        self.bench.say(*caller, message, b"\x80")

    @precondition(lambda self: self.live)
    @rule(
        data=st.data(),
        kind=st.sampled_from([wire.Result, wire.Chunk, wire.End, wire.Cancel]),
        number=st.integers(1, 30),
    )
    def answer(self, data: st.DataObject, kind: Any, number: int) -> None:
        who = self.live[data.draw(st.sampled_from(sorted(self.live)))]
        self.bench.say(*who, kind(number), b"\x01" if kind in wire.WITH_PAYLOAD else None)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), how=st.sampled_from(["lost", "down", "both", "bye"]))
    def die(self, data: st.DataObject, how: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.live)))
        who = self.live.pop(name)
        incarnation = int(who[1].partition("#")[2])
        if how in ("down", "both"):
            self.bench.switch.control({"down": name, "incarnation": incarnation}, self.bench.now)
        if how == "bye":
            self.bench.say(*who, wire.Bye())
        if how in ("lost", "both"):
            self.bench.switch.lost(who[2], self.bench.now)
        self.bench.now += 1
        self.bench.switch.tick(self.bench.now)

    @invariant()
    def one_answer(self) -> None:
        """Every call has at most one answer or failure."""
        ends = [
            (rid, m.id)
            for rid, m, _ in self.bench.port.sent
            if isinstance(m, wire.Result | wire.Failed | wire.End | wire.Error)
        ]
        assert len(ends) == len(set(ends))

    @invariant()
    def tables_agree(self) -> None:
        """What is in flight at the caller is in flight at the target, and only between live sessions."""
        switch = self.bench.switch
        out = {id(f) for s in switch.sessions.values() for f in s.calls.values()}
        serving = {id(f) for s in switch.sessions.values() for f in s.serving.values()}
        assert out == serving
        assert switch.stats()["in_flight"] == len(out)
        assert switch.stats()["waiting_bytes"] == sum(s.waiting for s in switch.sessions.values())

    @invariant()
    def the_dead_are_silent(self) -> None:
        """Names of ended sessions are free."""
        assert set(self.bench.switch.names) == set(self.live)


SwitchMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestSwitch = SwitchMachine.TestCase
