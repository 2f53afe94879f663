"""The wire protocol: frames to message and back. Pure; docs/protocol.md is the specification.

A message is a header frame (a msgpack array that begins with its kind) and, for some kinds, one payload frame. The
codec is total: any frames give a message or RemoteProtocolError. No sockets, no clock, no state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, get_args

import msgspec

from ipc.errors import LocalProtocolError, RemoteProtocolError

PROTOCOL = "egghead-ipc"
VERSION = 1

U64 = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Topic = Annotated[str, msgspec.Meta(max_length=255)]

HEADER = 64 * 1024  # bytes; a decoded header takes many times its size, and only payloads are counted against the frame
TAILS = 50
CHUNKS = 64  # in one message; the bus serves nobody else while it hands them out


class Message(msgspec.Struct, array_like=True, frozen=True, gc=False, tag_field="kind"):
    """Base of all messages: an array that begins with the kind."""


class Hello(Message, tag=1, frozen=True):
    """First message of a connection. Its first three fields keep their place in every version."""

    protocol: str
    version: U64
    software: str = ""
    announced: bool = False
    wish: str = ""


class Announce(Message, tag=2, frozen=True):
    """The peer can serve now: monitors see it as up."""


class Call(Message, tag=3, frozen=True):
    """Ask `target` for one result. `attempt`: above 1 an earlier one may have been executed. Payload: parameters."""

    id: U64
    target: Name
    method: Name
    timeout_ms: U64
    attempt: U64 = 1


class Open(Message, tag=4, frozen=True):
    """Ask `target` for a stream, with `credit` bytes of chunks to begin with. Payload: parameters."""

    id: U64
    target: Name
    method: Name
    timeout_ms: U64
    credit: U64


class Cast(Message, tag=5, frozen=True):
    """Tell `target` something; no answer. Payload: parameters."""

    target: Name
    method: Name


class Result(Message, tag=6, frozen=True):
    """The answer to a call. Payload: the value."""

    id: U64


class Error(Message, tag=7, frozen=True):
    """The handler's error, in place of a result or as the end of a stream. Payload: data (a map)."""

    id: U64
    type: str
    message: str


class Chunk(Message, tag=8, frozen=True):
    """One item of a stream. Payload: the value."""

    id: U64


class End(Message, tag=9, frozen=True):
    """The stream is complete."""

    id: U64


class Credit(Message, tag=10, frozen=True):
    """The reader of a stream takes `amount` more bytes."""

    id: U64
    amount: U64


class Cancel(Message, tag=11, frozen=True):
    """Nobody waits for this call or stream any more."""

    id: U64


class Publish(Message, tag=12, frozen=True):
    """An event on `topic`, the `seq`-th of this sender on it. Payload: data."""

    topic: Topic
    seq: U64


class Tails(Message, tag=13, frozen=True):
    """The last seq of topics that this sender used lately, said again after a reconnect."""

    tails: Annotated[list[tuple[Topic, U64]], msgspec.Meta(max_length=TAILS)]


class Monitor(Message, tag=14, frozen=True):
    """Watch the processes whose names match `pattern`."""

    id: U64
    pattern: Topic


class Unmonitor(Message, tag=15, frozen=True):
    """Stop watching."""

    id: U64


class Mark(Message, tag=16, frozen=True):
    """So many bytes were sent to you; answer with Ack when this is read."""

    total: U64


class Ack(Message, tag=17, frozen=True):
    """A Mark was read; `events` tells a mark that came as an event from one that came on the main connection."""

    total: U64
    events: bool = False


class Bye(Message, tag=18, frozen=True):
    """The peer leaves in order; the bus answers with Goodbye when everything before was handled."""


class Subscribe(Message, tag=19, frozen=True):
    """Read the events below `prefix` on this connection."""

    prefix: Topic


class Unsubscribe(Message, tag=20, frozen=True):
    """Stop reading them."""

    prefix: Topic


class Chunks(Message, tag=21, frozen=True):
    """Items of several streams, each as in Chunk, in order. Payload: their payloads, an array of bin."""

    ids: Annotated[list[U64], msgspec.Meta(max_length=CHUNKS)]


class Welcome(Message, tag=32, frozen=True):
    """Answer to Hello: who the peer is, which bus this is, and how to read events."""

    version: U64
    name: str
    incarnation: U64
    epoch: U64
    events_credential: str
    marks: str
    frame: U64
    window: U64


class Rejected(Message, tag=33, frozen=True):
    """Hello was not accepted. Its fields keep their place in every version."""

    code: str
    text: str
    version: U64


class Request(Message, tag=34, frozen=True):
    """A call (credit absent) or stream for this peer. Answers carry `id`. Payload: parameters."""

    id: U64
    caller: str
    incarnation: U64
    method: str
    timeout_ms: U64
    credit: U64 | None = None
    attempt: U64 = 1


class Told(Message, tag=35, frozen=True):
    """A cast for this peer. Payload: parameters."""

    caller: str
    incarnation: U64
    method: str


class Failed(Message, tag=36, frozen=True):
    """The bus ends a call, stream or monitor: peer_down, forbidden, overloaded or too_big.

    `sent` false: the target never got it, nothing was executed.
    """

    id: U64
    code: str
    name: str
    text: str
    sent: bool = True


class Subscribed(Message, tag=37, frozen=True):
    """Events below `prefix` are delivered from now on."""

    prefix: str


class Denied(Message, tag=38, frozen=True):
    """The subscription to `prefix` is not allowed."""

    prefix: str
    text: str


class Changed(Message, tag=39, frozen=True):
    """A monitored process came up or went down."""

    id: U64
    name: str
    incarnation: U64
    up: bool
    reason: str
    planned: bool


class Snapshot(Message, tag=40, frozen=True):
    """All processes that are up when the monitor began have been told."""

    id: U64


class Slow(Message, tag=41, frozen=True):
    """The peer sends too much; it should start nothing for `ms`."""

    ms: U64
    text: str


class Goodbye(Message, tag=42, frozen=True):
    """Everything before Bye was handled."""


class Delivered(Message, tag=43, frozen=True):
    """An event below a prefix that was subscribed on this connection. Payload: data."""

    topic: str
    by: str
    incarnation: U64
    epoch: U64
    seq: U64


class Repeated(Message, tag=44, frozen=True):
    """The last seq of a sender on a topic, as Tail, on this connection."""

    topic: str
    by: str
    incarnation: U64
    epoch: U64
    seq: U64
    age_ms: U64


class Event(Message, tag=48, frozen=True):
    """Header of an event (on the event connection, behind the topic frame). Payload: data."""

    by: str
    incarnation: U64
    epoch: U64
    seq: U64


class Tail(Message, tag=49, frozen=True):
    """The last seq of a sender on a topic, `age_ms` after it was published."""

    by: str
    incarnation: U64
    epoch: U64
    seq: U64
    age_ms: U64


ToBus = (
    Hello | Announce | Call | Open | Cast | Result | Error | Chunk | End | Credit | Cancel | Publish | Tails | Monitor |
    Unmonitor | Mark | Ack | Bye | Subscribe | Unsubscribe | Chunks
)  # fmt: skip
ToPeer = (
    Welcome | Rejected | Request | Told | Result | Error | Chunk | End | Credit | Cancel | Failed | Subscribed | Denied |
    Changed | Snapshot | Slow | Mark | Ack | Goodbye | Delivered | Repeated
)  # fmt: skip
OnEvents = Event | Tail | Mark

WITH_PAYLOAD = frozenset({Call, Open, Cast, Result, Error, Chunk, Chunks, Publish, Request, Told, Event, Delivered})

_encoder = msgspec.msgpack.Encoder()
_to_bus = msgspec.msgpack.Decoder(ToBus)
_to_peer = msgspec.msgpack.Decoder(ToPeer)
_on_events = msgspec.msgpack.Decoder(OnEvents)
_payloads = msgspec.msgpack.Decoder(list[bytes])


def _no_extension(code: int, _data: memoryview) -> Any:
    raise ValueError(f"extension type {code} is not part of the protocol")


_value = msgspec.msgpack.Decoder(ext_hook=_no_extension)

BODIED = frozenset(int(str(kind.__struct_config__.tag)) for kind in WITH_PAYLOAD)

KINDS: dict[int, type] = {
    kind.__struct_config__.tag: kind for union in (ToBus, ToPeer, OnEvents) for kind in get_args(union)
}

encode = _encoder.encode  # message -> header frame; messages are ours, so this cannot fail

# Everything that msgspec is known to raise for hostile bytes: bad msgpack, wrong types, nesting, unhashable keys.
_GARBAGE = (msgspec.MsgspecError, RecursionError, TypeError, ValueError, OverflowError, MemoryError)


def _decode(decoder: msgspec.msgpack.Decoder[Any], frames: Sequence[bytes]) -> tuple[Any, bytes | None]:
    if not 1 <= len(frames) <= 2:
        raise RemoteProtocolError(f"a message has 1 or 2 frames, not {len(frames)}")
    if len(frames[0]) > HEADER:
        raise RemoteProtocolError(f"a header has at most {HEADER} bytes, not {len(frames[0])}")
    try:
        message = decoder.decode(frames[0])
    except _GARBAGE as error:
        raise RemoteProtocolError(f"header {bytes(frames[0][:40])!r} is no message: {error}") from None
    if (len(frames) == 2) != (type(message) in WITH_PAYLOAD):
        raise RemoteProtocolError(f"{type(message).__name__} came with {len(frames) - 1} payload frames")
    return message, frames[1] if len(frames) == 2 else None


def decode_to_bus(frames: Sequence[bytes]) -> tuple[ToBus, bytes | None]:
    """Frames that a peer sent (without routing id). Raises RemoteProtocolError and nothing else."""
    return _decode(_to_bus, frames)


def decode_to_peer(frames: Sequence[bytes]) -> tuple[ToPeer, bytes | None]:
    """Frames that the bus sent on the main connection. Raises RemoteProtocolError and nothing else."""
    return _decode(_to_peer, frames)


def decode_event(frames: Sequence[bytes]) -> tuple[str, OnEvents, bytes | None]:
    """Frames of the event connection: topic, message, payload. Raises RemoteProtocolError and nothing else."""
    if not frames:
        raise RemoteProtocolError("an event has 2 or 3 frames, not 0")
    try:
        topic = str(frames[0], "utf-8")
    except UnicodeDecodeError as error:
        raise RemoteProtocolError(f"topic {bytes(frames[0][:40])!r} is not UTF-8: {error}") from None
    message, payload = _decode(_on_events, frames[1:])
    return topic, message, payload


def pack(value: Any) -> bytes:
    """A payload: None, bool, int (64 bits), float, str, bytes, list, dict. Raises LocalProtocolError for the rest."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError as error:
        wrong = error.object[error.start : error.end]
        raise LocalProtocolError(
            f"cannot be sent: {wrong!r} at character {error.start + 1} is no text; write it in UTF-8"
        ) from None
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise LocalProtocolError(f"cannot be sent as msgpack: {error}") from None


def parts(chunks: Chunks, payload: Any) -> list[tuple[int, bytes]]:
    """The streams of a Chunks and what goes to each. Raises RemoteProtocolError."""
    try:
        return list(zip(chunks.ids, _payloads.decode(payload), strict=True))
    except _GARBAGE as error:
        raise RemoteProtocolError(f"Chunks for {len(chunks.ids)} streams with another payload: {error}") from None


def unpack(payload: bytes | None) -> Any:
    """The value of a payload. Raises RemoteProtocolError and nothing else."""
    try:
        return _value.decode(payload or b"")
    except _GARBAGE as error:
        raise RemoteProtocolError(f"payload is not msgpack: {error}") from None


def unpack_map(payload: bytes | None) -> dict[str, Any]:
    """A payload that must be a map with text keys (parameters, error data). Raises RemoteProtocolError."""
    value = unpack(payload)
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise RemoteProtocolError(f"parameters must be a map with text keys, not {type(value).__name__}")
    return value
