"""The launcher of this machine: the root's end of the zygote. It asks for children and hears of their ends.

Here belong the zygote's process and its messages as the root sees them, behind the interface of `launcher`. What the
loss of it means is the root's.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from supervisor.jail import linux
from supervisor.launcher import Broken, Ended, Forked, LaunchEvent, Order, Refused, Serving
from supervisor.spec import Profile, Tree

logger = logging.getLogger("supervisor.launcher")

START_LIMIT = 120.0  # seconds for the zygote to preload the application
SILENCE_LIMIT = 10.0  # seconds without a word while something is asked of it, until it is held for hung
STOPPED_LIMIT = 2.0  # seconds that somebody may keep the zygote stopped (SIGSTOP), to look at it, until it is replaced
WITH_US = 3.0  # seconds after the root itself went on: a zygote that is stopped then was stopped together with it
MESSAGE = 1 << 17

# The zygote's environment can be read in every child, so it gets what a Python needs and nothing that may be secret.
BASE_ENVIRONMENT = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV")
BASE_PREFIXES = ("LC_", "PYTHON", "XDG_")


class PidHandle:
    """A child of the zygote, held by its pidfd: a signal never goes to a process that took over a pid."""

    def __init__(self, pidfd: int) -> None:
        self._pidfd = pidfd
        self.pid = _pid_of(pidfd)

    def fileno(self) -> int:
        return self._pidfd

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def close(self) -> None:
        os.close(self._pidfd)


def _pid_of(pidfd: int) -> int:
    """The pid behind a pidfd as this process sees it; 0 where /proc does not tell."""
    try:
        with open(f"/proc/self/fdinfo/{pidfd}", "rb") as file:
            for line in file:
                if line.startswith(b"Pid:"):
                    return max(0, int(line.split()[1]))
    except OSError:
        return 0
    return 0


def base_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that is given to the zygote, and so to every child."""
    return {name: value for name, value in environ.items() if _in_base(name)}


def beyond_base(environ: Mapping[str, str]) -> dict[str, str]:
    """The rest, for children that are not confined."""
    return {name: value for name, value in environ.items() if not _in_base(name)}


def _in_base(name: str) -> bool:
    return name in BASE_ENVIRONMENT or name.startswith(BASE_PREFIXES)


def modules_of(tree: Tree) -> list[str]:
    """What the zygote imports: `preload`, then the module of every `start`, each once, in order."""
    starts = [spec.start for _, spec in tree.workers()]
    starts += [spec.template.start for _, spec in tree.supervisors() if spec.template is not None]
    return list(dict.fromkeys([*tree.preload, *(start.partition(":")[0] for start in starts)]))


class ZygoteLauncher:
    """One zygote process."""

    def __init__(self, tree: Tree, output: int, nofile: int) -> None:
        """`output`: descriptor for the zygote's own stdout and stderr; `nofile`: its and its children's soft limit.

        Raises OSError when Python cannot be run.
        """
        self.serving = False
        self.pid = 0  # of the zygote, as this process sees it; 0 until it has said so
        self.end = -1
        self._began = time.monotonic()
        self._heard = self._began
        self._guarded = False  # the stub has stayed as guardian
        self._stopped = 0.0  # since when it is seen to be stopped; 0: it is not
        self._open: set[int] = set()  # forks asked for and not answered
        self._queue: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._profiles: dict[Profile, int] = {}
        for profile in _profiles_of(tree):
            self._profiles.setdefault(profile, len(self._profiles))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = ours
        ours.setblocking(False)
        code = f"import sys; sys.path[:] = {[path or os.getcwd() for path in sys.path]!r}; from supervisor.zygote.server import main; main({theirs.fileno()}, {os.getpid()})"
        arguments = [sys.executable, *_flags(), "-c", code]
        with theirs:
            self._stub = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(theirs.fileno(),),
                # Else the loader looks up what only children call in each child anew, on ten pages.
                env=base_environment(os.environ) | {linux.BIND_NOW: "1"},
                start_new_session=True,
            )
        configure = {
            "title": tree.root.id,
            "nofile": nofile,
            "preload": modules_of(tree),
            "profiles": [_plain(profile) for profile in self._profiles],
        }
        self._enqueue({"configure": configure})

    # ---- the interface -----------------------------------------------------------------------------------------------

    def start(self, order: Order) -> None:
        number, profile, beats = order.number, order.profile, order.beats
        index = None
        if profile is not None:
            if profile not in self._profiles:
                self._profiles[profile] = len(self._profiles)
                self._enqueue({"profile": self._profiles[profile], "spec": _plain(profile)})
            index = self._profiles[profile]
        request: dict[str, Any] = {
            "fork": number,
            "start": order.start,
            "profile": index,
            "rlimits": dict(order.rlimits),
            "beats": beats is not None,
            "slot": beats[1] if beats else 0,
        }
        fds = [os.dup(order.control), os.dup(order.output)]
        if beats:
            fds.append(os.dup(beats[0]))
        fds += [os.dup(file) for file in order.files]
        if not self._open:
            self._heard = time.monotonic()
        self._open.add(number)
        self._enqueue(request, tuple(fds))

    def withdraw(self, number: int) -> bool:
        for item in self._queue:
            if json.loads(item[0]).get("fork") == number:
                self._queue.remove(item)
                _close(item[1])
                self._open.discard(number)
                return True
        return False

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def wants_write(self) -> bool:
        return bool(self._queue)

    def events(self) -> list[LaunchEvent]:
        events: list[LaunchEvent] = []
        for _ in range(256):  # then others get their turn
            try:
                data, fds, _flags, _address = socket.recv_fds(self._socket, MESSAGE, 2)
            except BlockingIOError:
                break
            except ConnectionError:
                data, fds = b"", []
            if not data:
                if events:
                    break  # what it said before it went comes first
                raise EOFError("the zygote is gone")
            self._heard = time.monotonic()
            event = self._event(json.loads(data), fds)
            if event is not None:
                events.append(event)
        return events

    def flush(self) -> None:
        while self._queue:
            data, fds = self._queue[0]
            try:
                socket.send_fds(self._socket, [data], fds)
            except BlockingIOError:
                return
            except ConnectionError:
                return  # the next `events` says that it is gone
            self._queue.popleft()
            _close(fds)

    def hung(self, now: float, awake: float) -> str:
        if self._stub.poll() is not None and self._guarded:  # else it has ended long ago, and was a zombie until now
            logger.warning("the guardian of the zygote is gone; killing root and zygote at once may leave daemons")
            self._guarded = False
        if not self.pid or _state(self.pid) != "T":
            self._stopped = 0.0
        elif awake > 0 and now - awake < WITH_US:
            logger.warning("the zygote was stopped (SIGSTOP) together with the root, and is woken")
            self._signal(signal.SIGCONT)
        elif not self._stopped:
            logger.warning("the zygote is stopped (SIGSTOP); it is replaced in %.0f s", STOPPED_LIMIT)
            self._stopped = now
        elif now - self._stopped >= STOPPED_LIMIT:
            return f"it has been stopped (SIGSTOP) for {STOPPED_LIMIT:.0f} s"
        if not self.serving:
            return f"not serving after {START_LIMIT:.0f} s" if now - max(self._began, awake) > START_LIMIT else ""
        if self._open and now - max(self._heard, awake) > SILENCE_LIMIT:
            return f"no answer for {SILENCE_LIMIT:.0f} s"
        return ""

    def _signal(self, number: signal.Signals) -> None:
        if self.end >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.end, number)

    def kill(self) -> None:
        if self.end >= 0:
            self._signal(signal.SIGKILL)
        elif self._stub.poll() is None:
            self._stub.kill()

    def hang_up(self) -> None:
        self._socket.close()
        for _, fds in self._queue:
            _close(fds)
        self._queue.clear()

    def close(self, patience: float = 3.0) -> None:
        self.hang_up()
        if self.end >= 0:
            if not _wait(self.end, patience):
                self.kill()
                _wait(self.end, 5.0)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)
            os.close(self.end)
            self.end = -1
        elif self._stub.poll() is None:
            self._stub.kill()
        try:
            self._stub.wait(patience)  # a guardian ends when all that the zygote left is gone
        except subprocess.TimeoutExpired:
            self._stub.kill()
            self._stub.wait()

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _event(self, message: dict[str, Any], fds: Sequence[int]) -> LaunchEvent | None:
        if "forked" in message:
            self._open.discard(message["forked"])
            return Forked(message["forked"], PidHandle(fds[0]))
        if "exited" in message:
            return Ended(message["exited"], message["status"], message["left"])
        if "refused" in message:
            self._open.discard(message["refused"])
            return Refused(message["refused"], message["reason"])
        if "pid" in message:
            # The stub has ended or is about to, and its child, the zygote, is ours by PR_SET_CHILD_SUBREAPER; or it has
            # become the guardian.
            self.pid = message["pid"]
            with contextlib.suppress(ProcessLookupError):
                self.end = os.pidfd_open(self.pid)
            return None
        if "serving" in message:
            self.serving = True
            serving = message["serving"]
            self._guarded = not serving["isolated"]
            return Serving(
                serving["level"],
                tuple(serving["notes"]),
                tuple(serving["remarks"]),
                serving["isolated"],
                serving["seconds"],
            )
        return Broken(message["broken"], message["module"])

    def _enqueue(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        self._queue.append((json.dumps(message, separators=(",", ":")).encode(), fds))
        self.flush()


def _state(pid: int) -> str:
    """The state of a process as ps shows it; T: stopped by a signal (t would be: by a debugger, which is left alone)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0].decode()
    except (OSError, IndexError):
        return ""


def _wait(pidfd: int, seconds: float) -> bool:
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def _flags() -> list[str]:
    """The interpreter options of this process, for the zygote."""
    return list(subprocess._args_from_interpreter_flags())  # type: ignore[attr-defined]  # what multiprocessing uses too


def _profiles_of(tree: Tree) -> list[Profile]:
    specs = [spec for _, spec in tree.workers()]
    specs += [spec.template for _, spec in tree.supervisors() if spec.template is not None]
    return [spec.confine for spec in specs if spec.confine is not None]


def _plain(profile: Profile) -> dict[str, Any]:
    files = profile.filesystem
    return {
        "filesystem": None if files is None else {"read": list(files.read), "write": list(files.write)},
        "network": profile.network,
        "exec": profile.exec,
        "sockets": list(profile.sockets),
        "fork": profile.fork,
        "name": profile.name,
    }


def become_subreaper() -> None:
    """Let orphans come to this process: the zygote, whose stub ends, and what it leaves where it is no PID 1."""
    if linux.ARCH is not None:
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
