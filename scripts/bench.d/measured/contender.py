"""A measured program as the bench holds it: started in a session of its own, asked by lines, gone at the end.

Here belongs the bench's end of `stand`, and leaving nothing behind. What is compared with what is `supervisor.py`'s.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from supervisor.zygote.launcher import become_subreaper
from supervisor.zygote.orphans import children, kill_orphans

HERE = Path(__file__).parent
PATIENCE = 90.0  # seconds for an answer
STOP_PATIENCE = 20.0  # seconds for a program to end what it started

PLAIN: dict[str, Any] = {"kind": "static", "confined": False, "spares": 0, "heartbeat": None}


class Failed(Exception):
    """A measured program did not do what it was asked."""


class Contender:
    """One measured program. `hello`: what it said of itself: {level, pids: {root, zygote?}}."""

    def __init__(self, name: str, arguments: Sequence[str]) -> None:
        self.name = name
        environment = os.environ | {"PYTHONPATH": f"{HERE.parents[2]}:{HERE}"}
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # ^C is ours to handle
        )
        self._buffer = b""
        self._hello: dict[str, Any] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def hello(self) -> dict[str, Any]:
        if self._hello is None:
            self._hello = self._answer("start")
        return self._hello

    def ask(self, do: str, **parameters: Any) -> Any:
        """Have it do something and give its answer. Raises Failed."""
        _ = self.hello
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **parameters}).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Failed(f"{self.name}: ended before {do!r} (exit code {self._process.wait(5)})") from None
        return self._answer(do)

    def _answer(self, to: str) -> Any:
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            if not select.select([fd], [], [], PATIENCE)[0]:
                raise Failed(f"{self.name}: no answer to {to!r} for {PATIENCE:.0f} s")
            data = os.read(fd, 1 << 16)
            if not data:
                raise Failed(f"{self.name}: ended instead of answering {to!r} (exit code {self._process.wait(5)})")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def close(self) -> None:
        """Hang up, by which it ends all it started; what does not end in time is killed."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def supervised(name: str, count: int, **plan: Any) -> Contender:
    """Our supervisor with that many children; `plan`: what differs from `PLAIN`."""
    return Contender(name, ["-m", "supervised_tree", json.dumps(PLAIN | {"children": count} | plan)])


def floor(name: str, count: int, *options: str) -> Contender:
    return Contender(name, ["-m", "fork_floor", str(count), *options])


def forkserver(name: str, count: int) -> Contender:
    return Contender(name, ["-c", f"import forkserver_pool; forkserver_pool.main({count})"])


@contextlib.contextmanager
def closing(contenders: Sequence[Contender]) -> Iterator[None]:
    """Whatever happens in the block, these end; all at the same time, for that takes a second each."""
    try:
        yield
    finally:
        for contender in contenders:
            with contextlib.suppress(BrokenPipeError):
                assert contender._process.stdin is not None
                contender._process.stdin.close()
        for contender in contenders:
            contender.close()


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """Whatever happens in the block, also SIGTERM and ^C: no process that it started outlives it."""
    strangers = set(children())
    become_subreaper()  # what a program leaves behind comes to us
    old = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)
        kill_orphans(strangers)
