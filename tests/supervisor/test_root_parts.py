"""The parts of the root that decide without doing: stop schedules, ends, channels, output, timers, environments."""

from __future__ import annotations

import json
import os
import signal
import socket
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from supervisor import channel as channel_module
from supervisor.channel import TAIL_LINES, Channel, ChannelFault, Output, visible
from supervisor.context import EXIT_PLANNED, EXIT_SHUTDOWN, Context
from supervisor.process import describe, spell, stop_schedule
from supervisor.spec import ChildSpec, SupervisorSpec, Tree
from supervisor.timers import Timers
from supervisor.zygote.launcher import base_environment, beyond_base, modules_of

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
messages = st.dictionaries(st.text(), values, max_size=4)


@given(st.floats(0, 1e6) | st.sampled_from(["brutal_kill", "infinity"]))
def test_a_stop_schedule_only_gets_sharper(how: Any) -> None:
    """The steps of a stop are in order of time and of force, begin at once, and end with SIGKILL unless infinite."""
    schedule = stop_schedule(how)
    times = [at for at, _ in schedule]
    force = ["asked", "unread", "terminated", "killed"]
    assert times == sorted(times) and times[0] == 0
    assert [force.index(step) for _, step in schedule] == sorted(force.index(step) for _, step in schedule)
    assert (schedule[-1][1] == "killed") == (how != "infinity")
    if isinstance(how, float):
        assert schedule[-1][0] == how


@pytest.mark.parametrize(
    ("status", "planned", "fault", "reason", "detail", "is_planned"),
    [
        (0, None, "", "normal", "exit code 0", False),
        (1 << 8, None, "", "crash", "exit code 1", False),
        (3 << 8, None, "", "crash", "exit code 3", False),
        (signal.SIGKILL, None, "", "crash", "SIGKILL", False),
        (signal.SIGSEGV | 0x80, None, "", "crash", "SIGSEGV", False),
        (EXIT_PLANNED << 8, "handoff", "", "crash", "handoff", True),
        (EXIT_PLANNED << 8, None, "", "crash", "exit code 75 without saying planned_exit", False),
        (0, "reload", "", "normal", "reload", True),
        (signal.SIGKILL, "handoff", "", "crash", "SIGKILL", False),
        (EXIT_SHUTDOWN << 8, None, "", "shutdown", "said that it was told to end", False),
        (signal.SIGKILL, None, "no heartbeat for 5 s", "crash", "no heartbeat for 5 s", False),
        (None, None, "", "crash", "lost with the launcher", False),
    ],
)
def test_what_an_exit_means(
    status: int | None, planned: str | None, fault: str, reason: str, detail: str, is_planned: bool
) -> None:
    """An exit status, an announcement and a fault of the root's finding give one reason and one text."""
    end = describe(status, planned=planned, fault=fault)
    assert (end.reason, end.detail, end.planned) == (reason, detail, is_planned)


@settings(max_examples=50, deadline=None)
@given(st.lists(messages, max_size=8), st.integers(1, 40))
def test_messages_survive_any_fragmentation(sent: list[dict[str, Any]], size: int) -> None:
    """Messages arrive whole and in order, however the bytes are cut."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(ours)
        data = b"".join(json.dumps(message).encode() + b"\n" for message in sent)
        received = []
        for start in range(0, len(data), size):
            theirs.sendall(data[start : start + size])
            received += channel.receive()
        assert received == sent
        theirs.close()
        assert channel.receive() == [] and channel.ended


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_messages_or_a_fault(data: bytes) -> None:
    """Whatever a child writes, the root gets messages or a ChannelFault, and nothing else."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(ours)
        theirs.sendall(data + b"\n")
        try:
            assert all(isinstance(message, dict) for message in channel.receive())
            while channel.faulty:
                channel.receive()
        except ChannelFault:
            pass


def test_what_came_before_a_fault_counts() -> None:
    """Messages before the faulty one are given first; then the fault is raised, again and again."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(ours)
        theirs.sendall(b'{"ready": {}}\nnonsense\n')
        assert channel.receive() == [{"ready": {}}] and channel.faulty
        for _ in range(2):
            with pytest.raises(ChannelFault, match="nonsense"):
                channel.receive()


def test_a_child_that_does_not_read_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a child does not read is kept up to a bound; one message more is a fault. Sending never blocks."""
    monkeypatch.setattr(channel_module, "OUTPUT_LIMIT", 1 << 20)  # reached sooner
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(ours)
        assert not channel.unread()
        with pytest.raises(ChannelFault, match="does not read"):
            for _ in range(10000):
                channel.send({"x": "y" * 1000})
        assert channel.wants_write and channel.unread()
        while channel.wants_write:
            theirs.recv(1 << 16)
            channel.flush()
        theirs.recv(1 << 20)


def test_unread_is_known_from_the_kernel() -> None:
    """A message that lies in the socket counts as unread until the other side takes it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(ours)
        channel.send({"stop": True})
        assert not channel.wants_write and channel.unread()
        theirs.recv(100)
        assert not channel.unread()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=40) | st.integers(0, 2 * TAIL_LINES).map(lambda n: b"line\n" * n), max_size=30))
@example([b"%d\n" % n for n in range(TAIL_LINES + 1)])
def test_output_keeps_the_last_lines(chunks: list[bytes]) -> None:
    """Lines come out whole whatever the chunks, undecodable bytes are replaced, and the last `TAIL_LINES` are kept."""
    read, write = os.pipe()
    output = Output(read)
    lines = []
    for chunk in chunks:
        os.write(write, chunk)
        lines += output.read()
    os.close(write)
    lines += output.drain()
    whole = b"".join(chunks)
    expected = [visible(line.decode("utf-8", "replace").rstrip("\r")) for line in whole.split(b"\n")]
    if not whole or whole.endswith(b"\n"):
        expected.pop()
    assert lines == expected
    assert list(output.tail) == expected[-TAIL_LINES:]
    output.close()


@given(st.text())
def test_nothing_printed_commands_a_terminal(text: str) -> None:
    """Of what a process prints no control character reaches a terminal but the tab; all else is as it was."""
    shown = visible(text)
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in shown if c != "\t")
    assert visible(shown) == shown
    assert visible("\x1b]0;owned\x07 \u00fc\t\x9b") == "\\x1b]0;owned\\x07 \u00fc\t\\x9b"


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=20), st.floats(0, 100))
def test_timers_come_in_order_and_once(made: list[tuple[float, bool]], now: float) -> None:
    """Exactly the timers that are due and not cancelled are called, in order of time, once."""
    timers = Timers()
    called: list[float] = []
    for at, cancel in made:
        number = timers.add(at, lambda at=at: called.append(at))
        if cancel:
            timers.cancel(number)
    for callback in timers.due(now):
        callback()
    wanted = sorted(at for at, cancel in made if not cancel)
    assert called == [at for at in wanted if at <= now]
    assert timers.due(now) == []
    assert timers.next() == next((at for at in wanted if at > now), None)


def test_environments_are_two_halves() -> None:
    """What the zygote gets and what is sent later make up the whole environment, and keys are in the second half."""
    environ = {"PATH": "/bin", "LANG": "C", "LC_ALL": "C", "OPENAI_API_KEY": "x", "PYTHONPATH": "y", "AWS_SECRET": "z"}
    assert base_environment(environ) | beyond_base(environ) == environ
    assert set(beyond_base(environ)) == {"OPENAI_API_KEY", "AWS_SECRET"}


def test_modules_are_preloaded_once_and_in_order() -> None:
    """The zygote imports `preload`, then the module of every start, also of templates."""
    pool = SupervisorSpec("p", strategy="dynamic", template=ChildSpec("", "c.d:main"))
    tree = Tree(SupervisorSpec("t", children=(ChildSpec("a", "a:x"), ChildSpec("b", "a:y"), pool)), preload=("z", "a"))
    assert modules_of(tree) == ["z", "a", "c.d"]


def context(sock: socket.socket) -> Context:
    return Context(sock, {"name": "a", "incarnation": 1, "supervisor": "t"}, None, "none")


def test_a_context_belongs_to_its_process() -> None:
    """A forked helper cannot speak for its parent: every method raises and says so."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        mine = context(ours)
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                mine.ready()
            except RuntimeError as error:
                os.write(write, str(error).encode())
            finally:
                os._exit(0)
        os.close(write)
        with open(read, encoding="utf-8") as file:
            assert "belongs to process" in file.read()
        os.waitpid(pid, 0)


def test_ready_is_said_once() -> None:
    """A second ready() raises: it would hide which of the two was meant."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        mine = context(ours)
        mine.ready(port=1)
        assert json.loads(theirs.recv(100)) == {"ready": {"port": 1}}
        with pytest.raises(RuntimeError, match="already"):
            mine.ready()


def test_the_end_of_the_root_is_the_last_message() -> None:
    """What the root said before it went is received first; then receive() raises EOFError."""
    ours, theirs = socket.socketpair()
    with ours:
        ours.setblocking(False)
        mine = context(ours)
        assert mine.receive() == []
        theirs.sendall(b'{"stop": true}\n')
        theirs.close()
        assert mine.receive() == [{"stop": True}]
        with pytest.raises(EOFError, match="supervisor is gone"):
            mine.receive()
        with pytest.raises(EOFError):
            mine.request("which_children", supervisor="x")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.012, "0.012 s"),
        (0.25, "0.25 s"),
        (9.96, "10 s"),
        (12, "12 s"),
        (180, "3 min"),
        (7300, "2 h"),
        (864000, "10 days"),
    ],
)
def test_times_are_spelled_for_people(seconds: float, text: str) -> None:
    """A time is written with the unit and the digits that a person would use."""
    assert spell(seconds) == text
