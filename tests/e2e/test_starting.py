"""Commands that come while a node starts: they wait for it, a little, and say so when it takes long."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from egghead import node
from egghead.cli import common
from egghead.errors import ExitCode, NodeError
from tests.e2e.node import COMMAND, Home, Node, until


class Held(Node):
    """A node that is stopped as soon as it has taken its folder, before it is ready; `go` lets it go on."""

    def _read_ready(self, timeout: float = 40.0) -> str:
        until("the folder is taken", lambda: node.lock_holder(self.records) == self.process.pid or None, timeout)
        self.process.send_signal(signal.SIGSTOP)
        return ""

    def go(self) -> str:
        self.process.send_signal(signal.SIGCONT)
        return super()._read_ready()


@pytest.fixture
def held(home: Home, foam: Path) -> Iterator[Held]:
    starting = Held(home, foam)
    try:
        yield starting
    finally:
        starting.process.send_signal(signal.SIGCONT)
        starting.stop()


def asleep(process: subprocess.Popen[str]) -> bool:
    """Whether the process waits for the next look, which no other part of a command does."""
    assert process.poll() is None, process.communicate()
    return "nanosleep" in Path(f"/proc/{process.pid}/wchan").read_text()


@contextlib.contextmanager
def asking(home: Home, *commands: list[str]) -> Iterator[list[subprocess.Popen[str]]]:
    """Commands that all wait for the node."""
    with contextlib.ExitStack() as stack:
        asked = []
        for command in commands:
            process = subprocess.Popen(
                [*COMMAND, *command],
                env=home.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            asked.append(stack.enter_context(process))
            stack.callback(process.kill)
        until("all wait", lambda: all(asleep(process) for process in asked))
        yield asked


def test_commands_wait_for_a_node_that_starts(home: Home, foam: Path, held: Held) -> None:
    """Whatever needs the node, writes, or has no index to read beside it: it is answered by the node once that is ready."""
    home.configure({"records_dir": str(foam)})
    here = ["--records", str(foam)]
    commands = (["status"], ["agents", "list", *here], ["records", "search", "publish"], ["chat", "default", "hi"])
    with asking(home, *commands) as asked:
        held.go()
        for process in asked:
            said, errors = process.communicate(timeout=60)
            assert (process.returncode, errors) == (0, ""), (process.args, errors)
            assert said


def test_who_waits_for_a_node_can_be_interrupted(home: Home, foam: Path, held: Held) -> None:
    """Ctrl-C ends the command at once, not when the node is there."""
    with asking(home, ["status", "--records", str(foam)], ["agents", "list", "--records", str(foam)]) as asked:
        for process in asked:
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130


def test_an_index_that_is_there_answers_before_the_node_does(home: Home, foam: Path) -> None:
    """A restarted node reads the folder first; a question meanwhile is answered from the index as it is."""
    home.ok("records", "search", "publish", "--records", str(foam))
    starting = Held(home, foam)
    try:
        assert "publish" in home.ok("records", "search", "publish", "--records", str(foam)).lower()
    finally:
        starting.process.send_signal(signal.SIGCONT)
        starting.stop()


def test_a_node_that_does_not_get_ready_is_said_to(
    home: Home, foam: Path, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has waited long enough is told what holds the folder and where to look."""
    for name, value in home.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(common, "STARTING", 0.2)
    with pytest.raises(NodeError, match=rf"\(pid {held.pid}\) is not ready yet.*egghead logs") as told:
        common._awaited(foam)
    assert told.value.exit_code == ExitCode.NO_NODE
