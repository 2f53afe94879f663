"""The zygote: one single-threaded process that preloads the application and forks a child for each request.

Here belongs everything that runs between the root's `exec` and a child's entry point, plus the reaping. It decides
nothing: which child, when, and what its end means are the root's. It holds one socket to the root; a child never
does, so nothing leads from a child back to a process that can fork unconfined.

Messages on the socket (SOCK_SEQPACKET, JSON, descriptors as ancillary data):

    root   -> zygote  {"configure": {title, nofile, preload, profiles}}
                      {"profile": k, "spec": {...}}
                      {"fork": n, "start": "module:function", "profile": k | null, "beats": bool, "rlimits": {...}}
                                                   + [control, output, beats page file, files handed over]
    zygote -> root    {"pid": pid as the root sees it}            first, from the stub
                      {"serving": {level, notes, remarks, seconds}} | {"broken": traceback, "module": name or ""}
                      {"forked": n} + [pidfd] | {"refused": n, "reason": text}
                      {"exited": n, "status": wait status, "left": processes it left behind, now killed}
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from supervisor.jail import linux
from supervisor.zygote import datagrams, forking, heap, warm
from supervisor.zygote.ahead import Ahead
from supervisor.zygote.child import CONTROL_FD, MOST_FDS, detach, live
from supervisor.zygote.forking import threads
from supervisor.zygote.guardian import guard
from supervisor.zygote.reaping import Life, Lives

MESSAGE = 1 << 17
# Requests that follow one another within STREAK seconds are served from children forked ahead in between; after a lone
# one that fork waits LULL milliseconds, so as not to take the processor from the child that was asked for.
STREAK, LULL = 0.006, 4
AT_ONCE = 16  # requests until the dead are looked at again
HUNT_AGAIN = 20  # milliseconds until one looks again at what a dead child has left


def main(fd: int, parent: int) -> NoReturn:
    """Entry point of the stub that the root executes: make the PID namespace, fork the zygote into it, and go."""
    from supervisor.jail.namespaces import own_pid_limit

    # Set before anything slow: a root that dies now must not leave us behind.
    linux.die_with_parent()
    if os.getppid() != parent:
        os._exit(1)
    os.environ.pop(linux.BIND_NOW, None)  # it was for us: what a child may execute starts as ever
    if fd != CONTROL_FD:  # so that a child's control channel takes its place, and never that of something needed
        os.dup2(fd, CONTROL_FD, inheritable=False)
        os.close(fd)
    channel = socket.socket(fileno=CONTROL_FD)
    remarks: list[str] = []
    pids = own_pid_limit()
    isolated, borrowed = _own_pid_namespace(remarks)
    stub = os.getpid()
    stub_end, root_end = os.pidfd_open(stub), os.pidfd_open(parent)
    guarded = not isolated and linux.ARCH is not None
    pid = os.fork()
    if pid:
        channel.send(json.dumps({"pid": pid}).encode())
        if guarded:
            guard(pid, root_end)
        os._exit(0)
    code = 1
    zygote: Zygote | None = None
    try:
        if not guarded:
            # Readable only after its children were given away: earlier, the stub's own end would count as the root's.
            waiting = select.poll()
            waiting.register(stub_end, select.POLLIN)
            waiting.poll()
        os.close(stub_end)
        os.close(root_end)
        linux.die_with_parent()
        if guarded:
            os.setsid()  # whoever kills the guardian's process group must not mean us as well
        if (guarded and os.getppid() != stub) or _hung_up(channel):
            os._exit(1)  # somebody went before the kernel knew that it should tell us
        zygote = Zygote(channel, isolated, borrowed, remarks, pids)
        zygote.run()
        code = 0
    except BaseException:  # reported, whatever it is: a silent zygote is a hung tree
        text = traceback.format_exc()
        with contextlib.suppress(OSError):
            channel.send(json.dumps({"broken": text[-60000:], "module": zygote.loading if zygote else ""}).encode())
        sys.stderr.write(text)
    finally:
        os._exit(code)


def _hung_up(channel: socket.socket) -> bool:
    poll = select.poll()
    poll.register(channel, 0)
    return bool(poll.poll(0))


def _own_pid_namespace(remarks: list[str]) -> tuple[bool, bool]:
    """Make our next child PID 1 of a PID namespace of its own, so that all dies with it.

    Returns whether that worked, and whether it took a user namespace, whose capabilities children have to drop.
    """
    from supervisor.jail.namespaces import map_self

    if linux.ARCH is None:
        return False, False
    try:
        linux.unshare(linux.CLONE_NEWPID | linux.CLONE_NEWNS)
        return True, False
    except OSError:
        pass  # an ordinary user needs a user namespace around it
    uid, gid = os.geteuid(), os.getegid()
    try:
        linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWPID | linux.CLONE_NEWNS)
    except OSError as error:
        remarks.append(f"no PID namespace ({error.strerror}): orphans are hunted down instead")
        return False, False
    map_self(uid, gid)
    return True, True


@dataclass(slots=True)
class Asked:
    """A child that is asked for: the root's message and the descriptors with it, which the zygote closes; what `Life` says."""

    request: dict[str, Any]
    fds: list[int]
    childless: bool = False
    mark: int = 0

    @property
    def number(self) -> int:
        return int(self.request["fork"])


class Zygote:
    """Serves the root until it hangs up."""

    def __init__(self, channel: socket.socket, isolated: bool, borrowed: bool, remarks: list[str], pids: int) -> None:
        self.channel = channel
        self.isolated = isolated
        self.borrowed = borrowed
        self.remarks = remarks
        self.pids = pids  # limit of process ids for our PID namespace; 0: it has none of its own
        self.lives: Lives
        self.jails: dict[int, Any] = {}
        self.profiles: dict[int, Any] = {}
        self.ability: Any = None
        self.python: list[str] = []
        self.pid = os.getpid()
        self.wake_read, self.wake_write = -1, -1
        self.title: Any = None
        self.loading = ""  # the module that is being imported
        self.plugs: list[bytes] = []
        self.ahead = Ahead()
        self.fork: Callable[[], int] = os.fork
        self.asked_at = 0.0
        self.ahead_in: int | None = 0  # milliseconds without a request until the next child is forked ahead
        self.name = ""
        self.nofile = 0  # soft limit of open descriptors for children

    # ---- start ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Configure, preload, say so, serve. Returns when the root is gone."""
        began = time.monotonic()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)  # ending is the root's decision, told by hanging up
        if linux.ARCH is not None:
            linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
        self._own_proc()
        self.lives = Lives()
        message, _ = self._read()
        if message is None:
            return
        self.name = message["configure"]["title"]
        if self.title is not None:
            self.title.set(f"{self.name}: zygote")
        self._configure(message["configure"])
        self._watch_children()
        self._freeze()
        level, notes = self.ability.level, self.ability.notes
        serving = {
            "level": level,
            "notes": notes,
            "remarks": self.remarks,
            "isolated": self.isolated,
            "seconds": time.monotonic() - began,
        }
        self._send({"serving": serving})
        if not self.isolated:
            # From here on the guardian's death does not end us, and the root's is seen by the channel: first we kill
            # what our children left behind.
            linux.die_with_parent(signal.SIGUSR2)
            signal.signal(signal.SIGUSR2, lambda *_: None)
        self._serve()
        if self.isolated:
            os._exit(0)  # as PID 1 our end is everybody's
        self.lives.kill_all()

    def _own_proc(self) -> None:
        """In a PID namespace of its own /proc must show that namespace, or every pid read there is a wrong one."""
        from supervisor.jail.namespaces import limit_pids
        from supervisor.jail.title import Title

        if self.isolated:
            try:
                linux.mount("none", "/", None, linux.MS_REC | linux.MS_SLAVE)
                self.title = Title.find()
                linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
            except OSError as error:
                self.remarks.append(f"/proc shows the pids of the machine ({error})")
                return
            if self.pids:  # whatever runs in the tree, and be it root: somebody can still log in
                try:
                    limit_pids(self.pids)
                except OSError as error:
                    self.remarks.append(f"the tree may take every process id of the machine ({error})")
        else:
            self.title = Title.find()

    def _configure(self, configuration: dict[str, Any]) -> None:
        from supervisor.jail import layout, levels

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # The root has raised its own; children get what they would have had without it, and so does what is imported.
        self.nofile = min(configuration["nofile"], soft)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.nofile, hard))
        faulthandler.enable()  # a crash in native code leaves its Python stack among the last lines of stderr
        before = threads()
        rehearsals: list[Callable[[], None]] = []
        for name in configuration["preload"]:
            self.loading = name
            module = importlib.import_module(name)
            self.loading = ""
            if threads() > before:
                self.remarks.append(
                    f"importing {name!r} started a thread; children do not have it, and its locks may hang"
                )
                before = threads()
            warm = getattr(module, "supervisor_warm", None)
            if warm is not None:
                rehearsals.append(warm)
        importlib.import_module("supervisor.jail.confine")  # not before the application: it may not need one
        for warm in rehearsals:
            warm()  # what every child would do first is done once, here, and shared; last, so that it stays settled
            if threads() > before:
                self.remarks.append(f"{warm.__module__}.supervisor_warm() left a thread; children do not have it")
        self.ability = levels.measure()
        self.python = layout.python_places()
        for index, spec in enumerate(configuration["profiles"]):
            self.profiles[index] = _profile(spec)
        self.lives.marks = self.lives.hunts and self.lives.new_mark() != 0
        # The kernel lets nobody send a descriptor while this user has more of them in flight than the sender's own limit.
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def _watch_children(self) -> None:
        self.wake_read, self.wake_write = os.pipe()
        os.set_blocking(self.wake_read, False)
        os.set_blocking(self.wake_write, False)
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _woken)

    def _freeze(self) -> None:
        """Take what is loaded out of the collector's sight: a collection in a child would copy every page of it."""
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # for all children; it is a real file here
        self.fork = forking.forker()
        warm.up(self.title)
        gc.collect()
        gc.disable()
        self.plugs = heap.fill()
        gc.freeze()
        heap.on_huge_pages()

    # ---- serve -----------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        poll.register(self.wake_read, select.POLLIN)
        timeout: int | None = None
        while True:
            ready = {fd for fd, _ in poll.poll(self.ahead_in if self.ahead_in is not None else timeout)}
            if not ready and self.ahead_in is not None:
                self._make_ahead()
                continue
            if self.wake_read in ready:
                os.read(self.wake_read, 512)  # what is left makes it readable again
            if self.wake_read in ready or timeout is not None:
                self._reap()
                timeout = HUNT_AGAIN if self.lives.hunting else None
            if self.channel.fileno() in ready and not self._requests():
                return

    def _requests(self) -> bool:
        """Read what is asked for, as much as there is at once, and do it. False when the root is gone."""
        asked: list[Asked] = []
        try:
            while len(asked) < AT_ONCE:
                message, fds = datagrams.receive(self.channel, MESSAGE, MOST_FDS, socket.MSG_DONTWAIT)
                if message is None:
                    return False
                if "fork" in message:
                    asked.append(Asked(message, fds))
                elif "profile" in message:
                    self.profiles[message["profile"]] = _profile(message["spec"])
        except BlockingIOError:
            pass
        if asked:
            try:
                self._make(asked)
            finally:
                for one in asked:
                    for fd in one.fds:
                        os.close(fd)
            now = time.monotonic()
            self.ahead_in = 0 if now - self.asked_at < STREAK else LULL
            self.asked_at = now
        return True

    def _make(self, asked: list[Asked]) -> None:
        """A child for each, or the reason why there is none."""
        able = []
        for one in asked:
            try:
                jail = self._jail(one.request["profile"])
            except (OSError, ValueError) as error:
                self._refuse(one, error)
                continue
            one.childless = jail is not None and jail.childless
            able.append(one)
        if able and (pid := self.ahead.give(able[0].request, able[0].fds)):
            one = able.pop(0)
            life = self.lives.of(pid)
            life.number, life.childless = one.number, one.childless
            self._born(one, pid)
        for one, pid_or_error in zip(able, self._fork(able), strict=True):
            if isinstance(pid_or_error, OSError):
                self._refuse(one, pid_or_error)
            else:
                self.lives.add(pid_or_error, Life(one.number, one.mark, one.childless))
                self._born(one, pid_or_error)

    def _fork(self, asked: list[Asked]) -> list[int | OSError]:
        """Fork a child for each; gives their pids, or why there is none.

        One after the other, and all that can be done before or after them is not done in between: what is written between two
        forks is a page that is copied here once more *(measured: 37 pages a child instead of 135)*.
        """
        made: list[int | OSError] = []
        given: set[int] = set()
        fork, marks = self.fork, self.lives.marks
        for one in asked:
            if marks and not one.childless:
                one.mark = self.lives.new_mark(given)
                given.add(one.mark)
            try:
                pid = fork()
            except OSError as error:
                made.append(error)
                continue
            if pid == 0:
                os.close(self.wake_read)
                os.close(self.wake_write)
                self.ahead.drop()
                detach(self.pid)
                self._become(one.request, one.fds)
            made.append(pid)
        return made

    def _born(self, asked: Asked, pid: int) -> None:
        """Tell the root of a child that was made for it."""
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as error:  # out of descriptors: a child that the root cannot watch must not live
            os.kill(pid, signal.SIGKILL)
            self._send({"refused": asked.number, "reason": f"no descriptor for the child: {error.strerror}"})
            self.lives.of(pid).number = -1
            return
        try:
            self._tell(b'{"forked":%d}' % asked.number, [pidfd])
        finally:
            os.close(pidfd)

    def _refuse(self, asked: Asked, error: Exception) -> None:
        self._send({"refused": asked.number, "reason": _why_not(error)})

    def _become(self, request: dict[str, Any], fds: list[int]) -> NoReturn:
        """In a child: be what was asked for."""
        jail = self.jails[request["profile"]] if request["profile"] is not None else None
        live(
            request | {"drop": self.borrowed, "nofile": self.nofile, "tree": self.name}, fds, jail, self.pid, self.title
        )

    def _name_waiting(self) -> None:
        if self.title is not None:
            self.title.set(f"{self.name}: waiting")

    def _make_ahead(self) -> None:
        """Fork the next child while nobody asks for it. Where that fails it is forked when it is asked for."""
        self.ahead_in = None
        if self.ahead.pid:
            return
        mark = self.lives.new_mark() if self.lives.marks else 0
        with contextlib.suppress(OSError):
            keep = [fd for jail in self.jails.values() for fd in jail.descriptors()]
            self.ahead.make(keep, self._become, self._name_waiting, self.fork)
            self.lives.add(self.ahead.pid, Life(-1, mark))

    def _jail(self, index: int | None) -> Any:
        """The prepared jail of a profile; made at first use, and again when a directory in it was replaced."""
        if index is None:
            return None
        jail = self.jails.get(index)
        if jail is not None and jail.stale():
            jail.close()
            jail = None
        if jail is None:
            from supervisor.jail import confine

            self.ahead.drop()  # it does not have what is made here
            self.jails.pop(index, None)
            jail = self.jails[index] = confine.prepare(self.profiles[index], self.ability, self.python)
        return jail

    def _reap(self) -> None:
        """Tell the root who has died and left nothing behind."""
        for pid, life in self.lives.reap():
            if pid == self.ahead.pid:  # somebody killed it; the next fork asks for another
                self.ahead.drop()
            if life.number >= 0:
                self._send({"exited": life.number, "status": life.status, "left": len(life.left)})

    # ---- messages --------------------------------------------------------------------------------------------------

    def _read(self) -> tuple[Any, list[int]]:
        return datagrams.receive(self.channel, MESSAGE, MOST_FDS)

    def _send(self, message: dict[str, Any]) -> None:
        self._tell(datagrams.encode(message), [])

    def _tell(self, data: bytes, fds: list[int]) -> None:
        try:  # noqa: SIM105 - `suppress` is ten pages more to copy for each fork
            datagrams.send_encoded(self.channel, data, fds)
        except ConnectionError:
            pass  # the root is gone; the next read says so


def _woken(*_: object) -> None:
    """The handler of a signal that only has to wake us. No lambda: each child would free it, and copy pages for that."""


def _why_not(error: Exception) -> str:
    """Why a child could not be made, with what helps where the number alone (EAGAIN) does not say it."""
    if isinstance(error, BlockingIOError):
        limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
        most = "" if limit == resource.RLIM_INFINITY else f" is {limit} for this user"
        return (
            f"no process can be made (fork: {error.strerror}): the limit{most or ' of the machine is reached'}; "
            "raise ulimit -u (RLIMIT_NPROC), TasksMax= of systemd, --pids-limit of docker or kernel.pid_max"
        )
    return str(error)


def _profile(spec: dict[str, Any]) -> Any:
    from supervisor.spec import Files, Profile

    files = spec["filesystem"]
    return Profile(
        filesystem=None if files is None else Files(tuple(files["read"]), tuple(files["write"])),
        network=spec["network"],
        exec=spec["exec"],
        sockets=tuple(spec["sockets"]),
        fork=spec["fork"],
        name=spec["name"],
    )
