"""The installed program as a user runs it: in an empty home, by its command line, watched from outside."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psutil

T = TypeVar("T")
COMMAND = [str(Path(sys.executable).with_name("egghead"))]


def until(what: str, probe: Callable[[], T | None], timeout: float = 20.0) -> T:
    """Asks `probe` until it gives something true; fails the test after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        # Watching a program from outside: there is no event to wait for.
        time.sleep(0.03)


def workers(node: dict[str, Any]) -> list[dict[str, Any]]:
    """Every process below a node of the status tree."""
    if node["kind"] == "worker":
        return [node]
    return [worker for child in node.get("children", ()) for worker in workers(child)]


class Home:
    """An empty home directory and the commands run in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.within: Sequence[str] = ()  # what commands begin with, to see what a node in a world of its own sees
        path.mkdir(exist_ok=True)
        runtime = path / "run"
        runtime.mkdir(mode=0o700, exist_ok=True)
        temporary = path.parent / "t"
        temporary.mkdir(mode=0o700, exist_ok=True)
        self.env = {
            "HOME": str(path),
            "TMPDIR": str(temporary),  # a node elsewhere on this machine is not ours to find
            "PATH": os.environ["PATH"],
            "XDG_RUNTIME_DIR": str(runtime),
            "LANG": "C.UTF-8",
            "PYTHONWARNINGS": "default",
        }

    def configure(self, config: Mapping[str, Any]) -> Path:
        """Writes the user's configuration file."""
        path = self.path / ".config" / "egghead" / "config.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(config, indent=2))  # JSON is YAML
        path.chmod(0o600)
        return path

    def run(
        self, *arguments: str, timeout: float = 60.0, text: str | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs one command to its end, its output captured."""
        return subprocess.run(
            [*self.within, *COMMAND, *arguments],
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=None if text is not None else subprocess.DEVNULL,
            input=text,
        )

    def ok(self, *arguments: str, **options: Any) -> str:
        """Standard output of a command that must succeed."""
        done = self.run(*arguments, **options)
        assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: str, **options: Any) -> Any:
        return json.loads(self.ok(*arguments, "--json", **options))

    def log_lines(self, *arguments: str, **options: Any) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.ok(*arguments, "--json", **options).splitlines()]


class Node:
    """A running `egghead serve`."""

    def __init__(self, home: Home, records: Path, *arguments: str, wrap: Sequence[str] = ()) -> None:
        self.home = home
        self.records = records
        self.errors = open(home.path / f"serve-{time.monotonic_ns()}.err", "w+b")  # noqa: SIM115 - closed in `stop`
        self.process = subprocess.Popen(
            [*wrap, *COMMAND, "serve", "--records", str(records), *arguments],
            env=home.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.errors,
        )
        self.ready_text = self._read_ready()

    def _read_ready(self, timeout: float = 40.0) -> str:
        assert self.process.stdout is not None
        text, deadline = b"", time.monotonic() + timeout
        while b"attach:" not in text:
            readable, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            chunk = os.read(self.process.stdout.fileno(), 65536) if readable else b""
            if not chunk:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"no READY line:\n{text.decode()}\n{self.stderr()}")
            text += chunk
        return text.decode()

    def stderr(self) -> str:
        self.errors.flush()
        return Path(self.errors.name).read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        return self.process.pid

    def descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def processes(self) -> dict[str, dict[str, Any]]:
        """name -> status of each process of the tree, from the file that `egghead ps` reads; asked many times."""
        [status] = (self.home.path / "run" / "egghead").glob("*/status/status.json")
        return {p["name"]: p for p in workers(json.loads(status.read_text())["tree"])}

    def kill(self, name: str) -> int:
        """SIGKILL to the process `name`; returns the pid it had."""
        pid = int(self.processes()[name]["pid"])
        os.kill(pid, signal.SIGKILL)
        return pid

    def healed(self, name: str, old: int, timeout: float = 20.0) -> dict[str, Any]:
        """Waits until `name` runs again under another pid and the whole tree is running."""

        def probe() -> dict[str, Any] | None:
            found = self.processes()
            new = found.get(name)
            well = all(p["state"] == "running" for p in found.values())
            return new if new and well and new["pid"] not in (None, old) else None

        return until(f"{name} healed", probe, timeout)

    def stop(self, timeout: float = 30.0) -> int:
        left = self.descendants()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the node did not stop in {timeout:g} s:\n{self.stderr()[-4000:]}") from None
        finally:
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.errors.close()
        gone(left)
        return code


def memory_has(pid: int, wanted: bytes) -> bool:
    """Whether `wanted` stands in the writable memory of a process."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
        for line in maps:
            places, mode = line.split()[:2]
            if not mode.startswith("rw"):
                continue
            start, end = (int(place, 16) for place in places.split("-"))
            try:
                memory.seek(start)
                if wanted in memory.read(end - start):
                    return True
            except (OSError, ValueError, OverflowError):
                continue
    return False


def gone(processes: list[psutil.Process], timeout: float = 5.0) -> None:
    """Fails when one of `processes` is still alive after `timeout` seconds."""
    _, alive = psutil.wait_procs(processes, timeout=timeout)
    alive = [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert not alive, f"left behind: {alive}"


@contextlib.contextmanager
def serving(home: Home, records: Path, *arguments: str, wrap: Sequence[str] = ()) -> Iterator[Node]:
    node = Node(home, records, *arguments, wrap=wrap)
    try:
        yield node
    finally:
        if node.process.poll() is None or not node.errors.closed:
            node.stop()
