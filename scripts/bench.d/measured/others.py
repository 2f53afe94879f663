"""Other supervisors on the same work: supervisord, circus, Erlang/OTP, and a bare loop that starts programs.

Here belongs how each is installed, configured and driven. Each starts `ready_program.py` so many times; a READY is seen
here, on a socket, as its arrival. The two from PyPI live in an environment of their own under the user's cache: one of
them is called `supervisor`, as our package is, and is never imported here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from supervisor.jail import linux

PROGRAM = Path(__file__).with_name("ready_program.py")
ESCRIPT = Path(__file__).with_name("otp_tree.escript")
PYTHON = getattr(sys, "_base_executable", sys.executable)
REQUIREMENTS = ("supervisor==4.3.0", "circus==0.19.0", "setuptools<81")  # supervisor asks for pkg_resources
INSTALL_LIMIT = 120  # seconds
PATIENCE = 60.0  # seconds for a READY
SETTLED = 1.2  # seconds a child has to be up before it is killed: supervisord takes less for a failed start
QUIET_ERLANG = os.environ | {"ERL_CRASH_DUMP": os.devnull}  # else a failure leaves a file where we stand


# (directory, number of children, program to run) -> what to execute
Command = Callable[[Path, int, list[str]], list[str]]


class Unavailable(Exception):
    """A supervisor cannot be measured on this machine; says why."""


def environment(*, download: bool) -> Path:
    """The `bin` of an environment with supervisord and circusd, made once. Raises Unavailable."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "egghead-bench"
    if not download:
        raise Unavailable("not asked for")
    name = "-".join(["venv", f"{sys.version_info[0]}.{sys.version_info[1]}", *REQUIREMENTS[:2]])
    home = cache / name.replace("==", "-")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with open(cache / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two first runs at once install once
            if not (home / "complete").exists():
                shutil.rmtree(home, ignore_errors=True)
                _run([PYTHON, "-m", "venv", str(home)])
                pip = [str(home / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", "--retries", "1"]
                _run([*pip, *REQUIREMENTS])
                (home / "complete").touch()
    except OSError as error:
        raise Unavailable(f"{cache}: {error.strerror}") from None
    return home / "bin"


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_LIMIT)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"not installed within {INSTALL_LIMIT} s") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Unavailable(f"could not be installed: {lines[-1] if lines else done.returncode}")


class Other:
    """One of them with its children."""

    def __init__(self, name: str, directory: Path, count: int, command: Command) -> None:
        self.name = name
        self.count = count
        self.directory = directory / name.replace(" ", "-").replace(",", "")
        self.directory.mkdir()
        self.up: dict[int, float] = {}  # since when, by pid
        self.random = random.Random(7)
        self._command = command
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.directory / "s"))
        self._socket.settimeout(PATIENCE)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def program(self) -> list[str]:
        return [PYTHON, "-I", "-S", str(PROGRAM), str(self.directory / "s")]

    def start(self) -> float:
        """Milliseconds from starting it to the READY of all its children. Raises Unavailable."""
        command = self._command(self.directory, self.count, self.program())
        began = time.perf_counter()
        with open(self.directory / "output", "wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=self.directory,
                env=QUIET_ERLANG,
                preexec_fn=lambda: linux.die_with_parent(signal.SIGTERM),  # a bench that was killed leaves nothing
            )
        for _ in range(self.count):
            self._ready()
        return (time.perf_counter() - began) * 1000

    def restart(self) -> float:
        """Milliseconds from killing a child that is settled to the READY of another. Raises Unavailable."""
        pid = self.random.choice(sorted(self.up, key=self.up.__getitem__)[: max(1, self.count // 2)])
        time.sleep(max(0.0, self.up.pop(pid) + SETTLED - time.monotonic()))
        began = time.perf_counter()
        self.kill(pid)
        self._ready()
        return (time.perf_counter() - began) * 1000

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    def _ready(self) -> None:
        try:
            self.up[int(self._socket.recv(64))] = time.monotonic()
        except TimeoutError:
            text = (self.directory / "output").read_text(errors="replace").strip().splitlines()
            raise Unavailable(f"no READY for {PATIENCE:.0f} s: {text[-1] if text else 'it says nothing'}") from None

    def close(self) -> None:
        """End it, politely if it lets itself be asked, and its children."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            for pid in self.up:  # those it has left; none can be another's process: they come to us as subreaper
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    if os.waitpid(pid, os.WNOHANG) == (0, 0):
                        os.kill(pid, signal.SIGKILL)
                        os.waitpid(pid, 0)
        self._socket.close()


class ExecLoop(Other):
    """Start a program, wait for its end, start it again, and nothing more: the floor of those who start programs."""

    def __init__(self, directory: Path, count: int) -> None:
        super().__init__("exec loop", directory, count, lambda _d, _n, program: program)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._read, self._write = os.pipe()  # their input: they end with it, and it with us

    @property
    def pid(self) -> int:
        return os.getpid()

    def start(self) -> float:
        began = time.perf_counter()
        for _ in range(self.count):
            self._begin()
        for _ in range(self.count):
            self._ready()
        return (time.perf_counter() - began) * 1000

    def _begin(self) -> None:
        command = [*self.program(), "stdio"]
        process = subprocess.Popen(command, stdin=self._read, stdout=subprocess.DEVNULL, start_new_session=True)
        self._processes[process.pid] = process

    def kill(self, pid: int) -> None:
        process = self._processes.pop(pid)
        process.kill()
        process.wait()
        self._begin()

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
        os.close(self._read)
        os.close(self._write)
        super().close()


def supervisord(bin: Path, *, fastest: bool) -> Command:
    """As it comes; or without waiting for a child to prove itself, and without logs."""
    more = ["startsecs=0", "stdout_logfile=NONE", "stderr_logfile=NONE"] if fastest else []

    def command(directory: Path, count: int, program: list[str]) -> list[str]:
        path = directory / "conf"
        head = ["[supervisord]", "nodaemon=true", f"logfile={directory}/log", f"pidfile={directory}/pid"]
        what = ["[program:c]", f"command={' '.join(program)}", f"numprocs={count}", "process_name=c%(process_num)d"]
        path.write_text("\n".join([*head, f"childlogdir={directory}", *what, *more, ""]))
        return [str(bin / "supervisord"), "-n", "-c", str(path)]

    return command


def circusd(bin: Path, *, fastest: bool) -> Command:
    """As it comes, looking at its children each 5 s; or each 10 ms."""

    def command(directory: Path, count: int, program: list[str]) -> list[str]:
        path = directory / "conf"
        ends = [f"endpoint=ipc://{directory}/e", f"pubsub_endpoint=ipc://{directory}/p"]  # no port of the machine
        head = ["[circus]", *ends, *(["check_delay=0.01"] if fastest else [])]
        what = ["[watcher:c]", f"cmd={' '.join(program)}", f"numprocesses={count}"]
        path.write_text("\n".join([*head, *what, ""]))
        return [str(bin / "circusd"), str(path)]

    return command


def otp_ports(directory: Path, count: int, program: list[str]) -> list[str]:
    """An OTP supervisor of gen_servers that own one port each."""
    return [_escript(), str(ESCRIPT), "ports", str(count), program[0], *program[-2:]]


def otp_processes(count: int, kills: int) -> list[float]:
    """Milliseconds of restarts of Erlang processes by an OTP supervisor. Raises Unavailable."""
    command = [_escript(), str(ESCRIPT), "processes", str(count), str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=QUIET_ERLANG)
    if done.returncode:
        raise Unavailable(f"escript: {(done.stderr or done.stdout).strip()[-200:]}")
    return [float(text) / 1000 for text in done.stdout.strip(" []\n").split(",")]


def _escript() -> str:
    found = shutil.which("escript")
    if found is None:
        raise Unavailable("escript is not there; on Debian and Ubuntu: apt-get install erlang-base")
    return found
