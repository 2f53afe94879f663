"""The codec is total: any frames give a message or RemoteProtocolError."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipc import LocalProtocolError, RemoteProtocolError, wire

frames = st.lists(st.binary(max_size=80), max_size=4)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
nearly = st.lists(values, max_size=8).map(lambda items: msgspec.msgpack.encode(items))
kinds = st.sampled_from(sorted(wire.KINDS))


def header(kind: int, fields: list[object]) -> bytes:
    return msgspec.msgpack.encode([kind, *fields])


@settings(max_examples=200, deadline=None)
@given(frames)
def test_any_bytes_give_a_message_or_a_remote_protocol_error(parts: list[bytes]) -> None:
    """No bytes make a decoder raise anything but RemoteProtocolError."""
    for decode in (wire.decode_to_bus, wire.decode_to_peer, wire.decode_event):
        try:
            decode(parts)
        except RemoteProtocolError:
            continue


@settings(max_examples=200, deadline=None)
@given(kinds, st.lists(values, max_size=8), st.booleans())
def test_well_formed_headers_with_odd_fields_are_decoded_or_refused(
    kind: int, fields: list[object], body: bool
) -> None:
    """Headers of every kind with fields of any type give a message or RemoteProtocolError."""
    parts = [header(kind, fields), *([b"\xc0"] if body else [])]
    for decode in (wire.decode_to_bus, wire.decode_to_peer):
        try:
            message, payload = decode(parts)
        except RemoteProtocolError:
            continue
        assert type(message) is wire.KINDS[kind]
        assert (payload is not None) == body == (type(message) in wire.WITH_PAYLOAD)


@settings(max_examples=100, deadline=None)
@given(values)
def test_payloads_come_back_as_they_were(value: object) -> None:
    """What can be packed is unpacked to an equal value."""
    assert wire.unpack(wire.pack(value)) == value


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_any_payload_is_unpacked_or_refused(data: bytes) -> None:
    """Payload bytes give a value or RemoteProtocolError."""
    for unpack in (wire.unpack, wire.unpack_map):
        try:
            unpack(data)
        except RemoteProtocolError:
            continue


def test_deep_nesting_is_refused() -> None:
    """A payload nested deeper than the interpreter's stack is an error, not a crash."""
    with pytest.raises(RemoteProtocolError):
        wire.unpack(b"\x91" * 100_000 + b"\xc0")
    with pytest.raises(RemoteProtocolError):
        wire.decode_to_bus([b"\x91" * 100_000])


def test_bytes_that_claim_more_than_they_are_cost_nothing() -> None:
    """Lengths of 4 GiB, extension types and headers over 64 KiB are refused at once."""
    for data in (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc7\x05\x09hello"):
        with pytest.raises(RemoteProtocolError):
            wire.unpack(data)
    long = wire.encode(wire.Error(1, "x", "y" * wire.HEADER))
    with pytest.raises(RemoteProtocolError, match="at most 65536 bytes"):
        wire.decode_to_bus([long, b"\x80"])
    many = wire.encode(wire.Tails([("a/", 1)] * (wire.TAILS + 1)))
    with pytest.raises(RemoteProtocolError, match="length"):
        wire.decode_to_bus([many])


@pytest.mark.parametrize(
    "message",
    [
        wire.Hello("egghead-ipc", 1, "x", True, "clients/a-1"), wire.Announce(), wire.Cast("a", "b"),
        wire.Credit(1, 2), wire.Cancel(3), wire.Tails([("a/", 1)]), wire.Monitor(1, "*"), wire.Mark(5), wire.Ack(5, True),
        wire.Bye(), wire.Call(1, "a", "b", 2), wire.Open(1, "a", "b", 2, 3), wire.Publish("a/", 1),
    ],
)  # fmt: skip
def test_messages_to_the_bus_survive_the_wire(message: wire.ToBus) -> None:
    """Encoding and decoding gives an equal message."""
    parts = [wire.encode(message), *([b"\x80"] if type(message) in wire.WITH_PAYLOAD else [])]
    assert wire.decode_to_bus(parts)[0] == message


def test_later_versions_may_append_fields() -> None:
    """Fields behind the known ones are ignored, so that Hello of a later version can be answered."""
    message, _ = wire.decode_to_bus([header(1, ["egghead-ipc", 9, "x", False, "", {"new": 1}])])
    assert message == wire.Hello("egghead-ipc", 9, "x")


def test_unsendable_values_are_the_callers_fault() -> None:
    """Values that msgpack does not know raise LocalProtocolError and name the reason."""
    for value in (object(), {1j: 2}, 2**70):
        with pytest.raises(LocalProtocolError, match="msgpack"):
            wire.pack(value)
