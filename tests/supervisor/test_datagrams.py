"""The datagrams between the root, the zygote and its children."""

from __future__ import annotations

import json
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.zygote import datagrams

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_parse_reads_what_json_writes(value: object) -> None:
    """What the standard encoder writes is read as the standard decoder reads it."""
    text = json.dumps(value, separators=(",", ":")).encode()
    assert datagrams.parse(text) == json.loads(text)


@given(st.binary(max_size=40))
def test_parse_is_total(data: bytes) -> None:
    """Any bytes are a value or a ValueError."""
    try:
        datagrams.parse(data)
    except (ValueError, RecursionError):
        return


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_message_and_its_descriptors_arrive_together(count: int) -> None:
    """A datagram comes with the descriptors that were sent with it, in order, and they are not inherited."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pipes = [os.pipe() for _ in range(count)]
    with ours, theirs:
        datagrams.send(ours, {"n": count}, [write for _, write in pipes])
        message, fds = datagrams.receive(theirs, 4096, 4)
        assert message == {"n": count} and len(fds) == count
        for number, fd in enumerate(fds):
            assert not os.get_inheritable(fd)
            os.write(fd, b"%d" % number)
            assert os.read(pipes[number][0], 10) == b"%d" % number
    for fd in [*fds, *(end for pipe in pipes for end in pipe)]:
        os.close(fd)


def test_the_end_is_no_message() -> None:
    """A side that has gone gives None, whether it closed or was reset."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    datagrams.send(theirs, {})
    theirs.close()
    with ours:
        assert datagrams.receive(ours, 4096, 1) == ({}, [])
        assert datagrams.receive(ours, 4096, 1) == (None, [])
