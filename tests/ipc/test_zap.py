"""Handshakes, subscription frames and notices: total, and guessing is slow."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from ipc import Forbidden, LocalProtocolError, Peer, RemoteProtocolError
from ipc.notices import Death, read_notice
from ipc.sessions import Registration
from ipc.testing import TOKEN, running_bus
from ipc.zap import Guesses, read_handshake, read_subscription
from tests.ipc.test_calls import echo

REQUEST = [b"route", b"", b"1.0", b"1", b"egghead-ipc", b"", b"id", b"PLAIN", b"a", b"secret"]

keys = st.sampled_from(["notice", "guests", "key", "name", "down", "register", "revoke", "incarnation", "credential", "allow", "reason", "planned",
                        "call", "publish", "subscribe", "monitor", "*"])  # fmt: skip
json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.text("0123456789abcdef", min_size=16),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys | st.text(max_size=5), inner, max_size=6),
    max_leaves=12,
)  # fmt: skip


def test_a_zap_request_is_read_and_answered() -> None:
    """Route, request number and credentials come out; the answer goes back the same way."""
    handshake = read_handshake(REQUEST)
    assert (handshake.mechanism, handshake.credentials) == ("PLAIN", (b"a", b"secret"))
    assert handshake.answer("a#1") == [b"route", b"", b"1.0", b"1", b"200", b"OK", b"a#1", b""]
    assert handshake.answer(None)[4] == b"400"


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=10) | st.sampled_from(REQUEST), max_size=12))
def test_any_zap_frames_are_a_handshake_or_refused(frames: list[bytes]) -> None:
    """No frames make the parser raise anything but RemoteProtocolError."""
    try:
        handshake = read_handshake(frames)
    except RemoteProtocolError:
        return
    assert len(handshake.answer(None)) == 8 and len(handshake.credentials) == len(frames) - 8


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400) | st.text(max_size=300).map(lambda text: b"\x01" + text.encode()))
def test_any_subscription_frame_names_a_prefix_or_is_refused(frame: bytes) -> None:
    """A prefix has at most 255 characters of UTF-8; anything else is RemoteProtocolError."""
    try:
        begins, prefix = read_subscription(frame)
    except RemoteProtocolError:
        return
    assert bytes([begins]) + prefix.encode() == frame and len(prefix) <= 255


@settings(max_examples=300, deadline=None)
@given(json | st.dictionaries(keys, json, max_size=5) | st.fixed_dictionaries({"notice": st.dictionaries(keys, json)}))
def test_any_json_is_a_notice_or_refused(message: Any) -> None:
    """A control message is a registration, a death, nothing for the bus, or LocalProtocolError."""
    try:
        notice = read_notice(message)
    except LocalProtocolError:
        return
    if isinstance(notice, Registration):
        assert notice.credential.isascii() and notice.user.encode()
    elif isinstance(notice, Death):
        assert notice.reason.encode() is not None and notice.incarnation == int(notice.incarnation)


def test_refused_handshakes_are_answered_at_a_bounded_rate() -> None:
    """After a burst the answers come one by one, in order, at the rate; the rest waits, and not without bound."""
    guesses, handshake = Guesses(0.0, rate=10.0, burst=5.0, most=20), read_handshake(REQUEST)
    assert [guesses.add(handshake, 0.0) for _ in range(30)] == [True] * 5 + [False] * 25
    assert len(guesses) == 20 and guesses.due() == pytest.approx(0.1)
    assert guesses.ready(0.05) == []
    assert len(guesses.ready(1.0)) == 10
    assert len(guesses.ready(100.0)) == 10 and guesses.due() is None
    assert guesses.add(handshake, 200.0)


async def test_guessing_is_slow_and_disturbs_nobody() -> None:
    """Of 300 guesses at once 50 are answered, the others wait; a right credential is let in meanwhile, at once."""
    async with running_bus() as bus:
        bus.register("victim")
        answered = 0
        context = zmq.Context()
        began = time.monotonic()
        try:
            guesses, watches = [], []
            for n in range(300):
                guess = context.socket(zmq.DEALER)
                guess.linger = 0
                guess.plain_username, guess.plain_password = b"victim", b"%032x" % n
                guesses.append(guess)
                watches.append(guess.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH))
                guess.connect(bus.address.bus)
            asked = time.monotonic()
            a = await bus.peer("a", {"echo": echo})
            assert (await a.call("a", "echo", x=1))[0] == 1
            let_in = time.monotonic() - asked
            poller = zmq.Poller()
            for watch in watches:
                poller.register(watch, zmq.POLLIN)
            while answered < 60:
                for watch, _ in await asyncio.to_thread(poller.poll, 5000):
                    watch.recv_multipart()
                    answered += 1
            took = time.monotonic() - began
        finally:
            await asyncio.to_thread(context.destroy, 0)
        assert took >= 0.4 and let_in < 5.0, (took, let_in)
        assert answered <= 51 + 20 * took, (answered, took)


@pytest.mark.parametrize("known", ["", "0", "5" * 63, "5" * 65, "5" * 63 + "é"])
async def test_a_part_of_a_credential_opens_nothing(known: str) -> None:
    """A prefix of the token, one character more, or one that is not ASCII is as wrong as any other guess."""
    async with running_bus() as bus:
        assert TOKEN == "5" * 64
        if not known:
            with pytest.raises(LocalProtocolError, match="1 to 255"):
                Peer(bus.address, name="client:ada", credential=known)
            return
        peer = Peer(bus.address, name="client:ada", credential=known)
        with pytest.raises(Forbidden):
            await peer.connect(timeout=2)
