"""Run real trees in real processes: as root, as an ordinary user, and where the kernel refuses what it sometimes does."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.supervisor.worlds import ROOT, World

PROGRAMS = Path(__file__).parent / "programs"
MISBEHAVING = Path(__file__).parents[1] / "children" / "misbehaving.py"


def one_for_one(*children: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """A tree with one supervisor that does not give up soon."""
    return {"id": "t", "strategy": "one_for_one", "intensity": 50, "children": list(children), **keys}


def misbehaving(id: str, *steps: Any, **keys: Any) -> dict[str, Any]:
    """A child of a tree that takes these steps (tests/children/misbehaving.py)."""
    return {"id": id, "start": "misbehaving:child", "args": {"steps": list(steps)}, **keys}


@dataclass
class Node:
    """A running root, its directory and its output so far."""

    process: subprocess.Popen[bytes]
    directory: Path
    output: str = ""
    _pids: set[int] = field(default_factory=set)

    def status(self) -> dict[str, Any]:
        try:
            status: dict[str, Any] = json.loads((self.directory / "status.json").read_text())
        except FileNotFoundError:
            return {}
        return status

    def workers(self) -> dict[str, dict[str, Any]]:
        """Every worker of the status, by name."""
        found: dict[str, dict[str, Any]] = {}

        def walk(node: dict[str, Any]) -> None:
            if node.get("kind") == "worker":
                found[node["name"]] = node
            for child in node.get("children", ()):
                walk(child)

        walk(self.status().get("tree", {}))
        return found

    def read(self, seconds: float) -> None:
        """Take in what the root prints, for at most this long; returns as soon as something came."""
        assert self.process.stdout is not None
        if select.select([self.process.stdout], [], [], seconds)[0]:
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            self.output += data.decode(errors="replace")
            if not data and self.process.poll() is None:
                self.process.wait(5)

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
        """Wait until `condition` gives something true, and give that."""
        deadline = time.monotonic() + seconds
        while True:
            result = condition()
            if result:
                return result
            if time.monotonic() > deadline:
                pytest.fail(f"not within {seconds} s: {what}\n{self.output}\n{json.dumps(self.status())[:3000]}")
            self.read(0.01)

    def ready(self, seconds: float = 30) -> dict[str, Any]:
        """Wait for the READY line; gives what it says."""
        line = self.until(lambda: self.line("READY ") or self.line("ENDED "), "ready", seconds)
        assert line in self.output and "READY " in self.output, self.output
        info: dict[str, Any] = json.loads(line)
        return info

    def line(self, start: str) -> str:
        """The rest of the first complete line that begins so."""
        for line in self.output.split("\n")[:-1]:
            if line.startswith(start):
                return line[len(start) :]
        return ""

    def pid(self, name: str) -> int:
        """Wait until a worker runs, and give its pid."""

        def running() -> int:
            worker = self.workers().get(name, {})
            return int(worker.get("pid") or 0) if worker.get("state") == "running" else 0

        return int(self.until(running, f"{name} running"))

    def pids(self) -> dict[str, Any]:
        """The pid of every worker, or None."""
        return {name: worker["pid"] for name, worker in self.workers().items()}

    def wait(self, seconds: float = 20) -> int:
        """Wait for the root's own end; gives its exit code."""
        self.until(lambda: self.process.poll() is not None, "the root's end", seconds)
        while True:
            before = len(self.output)
            self.read(0)
            if len(self.output) == before:
                return int(self.process.returncode)

    def launcher(self) -> int:
        """The pid of the zygote."""
        return int(self.until(lambda: self.status()["node"]["launcher"]["pid"], "a zygote"))


@contextlib.contextmanager
def running(
    tree: dict[str, Any],
    directory: Path,
    world: World = ROOT,
    environment: dict[str, str] | None = None,
    wrap: Sequence[str] = (),
) -> Iterator[Node]:
    """Start a root for this tree in this world. Whatever the test does, nothing of it is left afterwards."""
    path = directory / "p"
    if not path.exists():  # a copy that every user can read; the checkout may lie below a private home
        shutil.copytree(PROGRAMS, path, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(MISBEHAVING, path)
        source = Path(__file__).parents[2] / "supervisor"
        shutil.copytree(source, path / "supervisor", ignore=shutil.ignore_patterns("__pycache__"))
    (directory / "tree.json").write_text(json.dumps(tree))
    python = sys.executable if world.user == 0 else "/usr/bin/python3.11"
    if not os.access(python, os.X_OK):
        pytest.skip(f"{python} is not there")
    command = [python, "-X", "utf8", str(path / "run_tree.py"), str(directory)]
    if world.refuse:
        command = [python, str(path / "refusals.py"), ",".join(world.refuse), *command]
    command = [*wrap, *command]
    identity: dict[str, Any] = {}
    if world.user != os.geteuid():
        if os.geteuid() != 0:
            pytest.skip("only root can become somebody else")
        identity = {"user": world.user, "group": world.user, "extra_groups": []}
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(path),
            "SECRET_KEY": "sesame",
            "PYTHONDONTWRITEBYTECODE": "1",
            **(environment or {}),
        },
        **identity,
    )
    node = Node(process, directory)
    try:
        yield node
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
        assert process.stdout is not None
        if not process.stdout.closed:
            process.stdout.close()
        wait_until(lambda: not strays(directory), f"nothing left of {directory}: {strays(directory)}", 5)


def strays(directory: Path) -> list[int]:
    """Pids of processes that belong to a test: those whose environment (also an inherited one) names its directory."""
    found = []
    mark = str(directory / "p").encode()
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError):
                if mark in Path(f"/proc/{name}/environ").read_bytes():
                    found.append(int(name))
    return found


def descriptors(pid: int) -> Counter[str]:
    """What a process has open, counted by kind."""
    found: Counter[str] = Counter()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[os.readlink(f"/proc/{pid}/fd/{name}").partition(":")[0]] += 1
        except FileNotFoundError:
            continue  # open only while we looked
    return found


def alive(pid: int) -> bool:
    """A process of this pid exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 10) -> Any:
    """Wait until `condition` gives something true; fails saying `what`."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}")
        select.select([], [], [], 0.01)
