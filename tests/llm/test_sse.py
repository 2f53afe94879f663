"""Events out of bytes: the standard's cases, any bytes at all, any cuts."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egghead.llm.sse import Decoder, Sse


def whole(data: bytes, limit: int = 1000) -> list[Sse]:
    return Decoder(limit).feed(data)


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"data: a\n\n", [Sse("", "a")]),
        (b"data:a\n\n", [Sse("", "a")]),
        (b"data:  a\n\n", [Sse("", " a")]),
        (b"event: e\ndata: a\n\n", [Sse("e", "a")]),
        (b"data: a\ndata: b\n\n", [Sse("", "a\nb")]),
        (b"data\n\n", [Sse("", "")]),
        (b"data: a\r\n\r\ndata: b\r\r", [Sse("", "a"), Sse("", "b")]),
        (b"\xef\xbb\xbfdata: a\n\n", [Sse("", "a")]),
        (b": comment\n\nid: 3\nretry: 5\nunknown: x\n\n", []),
        (b"event: lost\n\ndata: a\n\n", [Sse("", "a")]),
        (b"data: unfinished\n", []),
        (b"data: \xff\xc3\xa4\n\n", [Sse("", "\ufffdä")]),
        (b"dat\x00a: x\n\n: \n\n\n", []),
    ],
)
def test_the_format(data: bytes, events: list[Sse]) -> None:
    """Fields, line ends, comments and the byte order mark are read as the HTML standard says."""
    assert whole(data) == events


PIECES = st.lists(
    st.sampled_from(
        [b"data: ", b"event: ", b"x", b"\n", b"\r", b"\r\n", b"\n\n", b":", b" ", b"\xc3", b"\xa4", b"\xef\xbb\xbf"]
    )
    | st.binary(max_size=4),
    max_size=40,
).map(b"".join)


@given(PIECES, st.data())
def test_cuts_change_nothing(data: bytes, draw: st.DataObject) -> None:
    """Whatever the bytes, and wherever they are cut, the same events come out, and too much is too much."""
    limit = draw.draw(st.sampled_from([5, 1000]))
    cuts = sorted(draw.draw(st.sets(st.integers(0, len(data)), max_size=len(data) + 1)))
    pieces, whole_ = Decoder(limit), Decoder(limit)
    events = [e for a, b in pairwise([0, *cuts, len(data)]) for e in pieces.feed(data[a:b])]
    assert events == whole_.feed(data)
    assert pieces.flooded == whole_.flooded


def test_every_byte_alone() -> None:
    """A stream that comes byte by byte is the same stream."""
    data = 'event: e\r\ndata: {"a": "ä😀"}\r\n\r\n: ping\n\ndata: b\n\n'.encode()
    decoder = Decoder()
    assert [e for i in range(len(data)) for e in decoder.feed(data[i : i + 1])] == whole(data)


def test_an_event_without_end_is_not_kept() -> None:
    """A flood is noticed at the limit and takes no memory beyond it."""
    decoder = Decoder(1000)
    for _ in range(100):
        assert decoder.feed(b"data: " + b"x" * 100) == []
    assert decoder.flooded and decoder._line == []
    assert decoder.feed(b"\n\ndata: a\n\n") == []
