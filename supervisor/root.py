"""The root: the one process that carries out what the policy decides, and reports to it what happened.

Here belong the event loop, signals, status and the execution of actions; processes are `children`'s, the zygote is
`launching`'s. It decides nothing about restarts (that is `policy`), runs no
application code but the launch hook, and never waits for a child: whatever a child does or fails to do, the next
event is handled.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import selectors
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor import policy
from supervisor.children import Children
from supervisor.hook import LaunchHook, NoHook
from supervisor.launcher import MakeLauncher
from supervisor.launching import Launching
from supervisor.reloads import Reloads
from supervisor.requests import Desk
from supervisor.sampling import Sampler
from supervisor.spares import Spares
from supervisor.spec import Tree
from supervisor.status import Tally, render, write
from supervisor.terminal import LOOK_EVERY, Terminal
from supervisor.timers import Timers
from supervisor.zygote.launcher import ZygoteLauncher, become_subreaper

logger = logging.getLogger("supervisor.root")
lines_logger = logging.getLogger("supervisor.child")

STATUS_INTERVAL = 0.05
ABSENCE = 0.5  # seconds without a turn after which the root was stopped, and its children very likely with it
STATUS_AGAIN = 1.0  # seconds until what could not be written is tried again
STOPPED_EARLY = "stopped before anything was started"


class Root:
    """Runs one tree. `run` blocks until the tree has ended and returns the exit code (`policy.EXIT_CODES`).

    `on_ready` is called once, when the whole tree is ready, with {level, level_notes, processes}. `status_path`: see
    docs/interfaces.md. `least_level`: confined children are not started where the machine allows less than this.
    `on_line` gets (name, line) for everything that a child prints; by default the logger `supervisor.child` does.
    `reload` reads the tree again when SIGHUP comes (TreeError: the tree stays as it is); without it SIGHUP is refused.
    `launcher` runs the processes; by default a zygote on this machine.
    """

    def __init__(
        self,
        tree: Tree,
        *,
        hook: LaunchHook | None = None,
        on_ready: Callable[[dict[str, Any]], None] | None = None,
        status_path: str | os.PathLike[str] | None = None,
        least_level: str = "none",
        on_line: Callable[[str, str], None] | None = None,
        launcher: MakeLauncher = ZygoteLauncher,
        reload: Callable[[], Tree] | None = None,
    ) -> None:
        self.make_launcher = launcher
        self.hook: LaunchHook = hook or NoHook()
        self.on_ready = on_ready
        self.on_line = on_line or (lambda name, line: lines_logger.info("%s: %s", name, line))
        self.status_path = Path(status_path) if status_path is not None else None
        self.least_level = least_level
        self.level = "none"
        self.level_notes: tuple[str, ...] = ()
        self.reason = ""  # of the end, for people
        self.exit_code: int | None = None
        self.started_at = time.time()
        self.state = policy.new(tree, incarnation=time.time_ns() // 1_000_000)
        self.reloads = Reloads(self, reload)
        self.terminal = Terminal()
        self.selector = selectors.DefaultSelector()
        self.timers = Timers()
        self.tally = Tally()
        self.desk = Desk(self)
        self.sampler = Sampler(self)
        self.children = Children(self)
        self.spares = Spares(self)
        self.launching = Launching(self)
        self.awake = 0.0  # monotonic: since when the root has run without a break
        self._seen = time.monotonic()
        self.booted = False  # the policy has been told to start
        self._events: deque[policy.Event] = deque()
        self._policy_timers: dict[str, int] = {}
        self._signals = 0
        self._noticed: set[int] = set()  # signals since the last look, should their bytes not have found room
        self._is_ready = False
        self._status_timer: int | None = None
        self._status_cost = 0.0
        self._status_fault = ""

    @property
    def tree(self) -> Tree:
        """The tree as it is wanted now; a reload replaces it."""
        return self.state.tree

    # ---- the loop --------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Run the tree to its end. Call it from the main thread: signals and PDEATHSIG belong to that one."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("Root.run() must be called from the main thread: signals are delivered there")
        _hold_standard_descriptors()
        become_subreaper()
        _raise_descriptor_limit()
        with self._signals_enqueued() as wake:
            try:
                self.selector.register(wake, selectors.EVENT_READ, lambda _: self._on_signal(wake))
                self._watch_terminal()
                self.launching.launch()
                self._seen = time.monotonic()
                while self.exit_code is None:
                    self._turn()
            finally:
                self._shut()
        logger.info("ended: %s (exit code %s)", self.reason, self.exit_code)
        return self.exit_code if self.exit_code is not None else policy.EXIT_GAVE_UP

    def _turn(self) -> None:
        following = self.timers.next()
        began = time.monotonic()
        timeout = None if following is None else max(0.0, following - began)
        selected = self.selector.select(timeout)
        if timeout is not None:
            self._notice_absence(max(began - self._seen, time.monotonic() - began - timeout))
        for key, mask in selected:
            current = self.selector.get_map().get(key.fd)
            if current is not None and current.data is key.data:  # an earlier one of this batch may have closed it
                key.data(mask)
        for callback in self.timers.due(time.monotonic()):
            callback()
        self.settle()

    def _notice_absence(self, seconds: float) -> None:
        """The root itself was stopped (SIGSTOP, a frozen container): what nobody saw pass counts against nobody."""
        self._seen = time.monotonic()
        if seconds > ABSENCE:
            self.awake = self._seen
            self.timers.shift(seconds)

    def settle(self) -> None:
        """Let the policy decide about everything that has happened, and carry it out."""
        while self._events and self.exit_code is None:
            event = self._events.popleft()
            self.state, actions = policy.decide(self.state, event, time.monotonic())
            for action in actions:
                self._execute(action)
            self.changed()
        if not self._is_ready and self.booted:
            live = self.state.supervisors.get(self.tree.root.id)
            if live is not None and live.started:
                self._is_ready = True
                self._write_status()  # whoever hears that we are ready finds a status that says so
                if self.on_ready is not None:
                    count = sum(process.ready for process in self.children.processes.values())
                    self.on_ready({"level": self.level, "level_notes": list(self.level_notes), "processes": count})

    def post(self, event: policy.Event) -> None:
        """Queue an event for the policy."""
        self._events.append(event)

    def _execute(self, action: policy.Action) -> None:
        match action:
            case policy.Start():
                self.children.start(action)
            case policy.Stop(path=path, incarnation=incarnation, how=how):
                process = self.children.by_path.get(path)
                if process is not None and process.action.incarnation == incarnation:
                    self.children.stop(process, how)
            case policy.ArmTimer(id=id, at=at):
                self._cancel_timer(id)
                self._policy_timers[id] = self.timers.add(at, lambda: self._policy_timer(id))
            case policy.CancelTimer(id=id):
                self._cancel_timer(id)
            case policy.Reply():
                self.desk.reply(action)
            case policy.SupervisorExit(path=path, reason=reason):
                logger.warning("supervisor %s ended: %s", path, reason)
            case policy.Note(path=path, text=text):
                logger.warning("%s: %s", path, text)
            case policy.Revised():
                self.children.revised(action)
            case policy.Reloaded():
                self.reloads.done(action)
            case policy.Exit(code=code, reason=reason):
                self.exit_code, self.reason = code, reason

    def _policy_timer(self, id: str) -> None:
        self._policy_timers.pop(id, None)
        self.post(policy.Timer(id))

    def _cancel_timer(self, id: str) -> None:
        number = self._policy_timers.pop(id, None)
        if number is not None:
            self.timers.cancel(number)

    # ---- signals ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals_enqueued(self) -> Any:
        """SIGTERM, SIGINT and SIGHUP become bytes on a socket; the handlers that were there come back at the end."""
        read, write_end = socket.socketpair()
        read.setblocking(False)
        write_end.setblocking(False)
        old = {
            number: signal.signal(number, lambda number, _: self._noticed.add(number))
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        }
        old[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)  # orphans of a lost zygote come to us
        old[signal.SIGCONT] = signal.signal(signal.SIGCONT, lambda *_: None)  # says that we were stopped
        old_fd = signal.set_wakeup_fd(write_end.fileno(), warn_on_full_buffer=False)
        try:
            yield read
        finally:
            signal.set_wakeup_fd(old_fd)
            for number, handler in old.items():
                signal.signal(number, handler)
            read.close()
            write_end.close()

    def _on_signal(self, wake: socket.socket) -> None:
        # What was noticed before we read has its byte here, or it was dropped: in a storm of one signal the socket is
        # full, and another must not be lost in it.
        noticed, self._noticed = self._noticed, set()
        arrived = bytearray()
        with contextlib.suppress(BlockingIOError):
            while data := wake.recv(4096):
                arrived += data
        if signal.SIGCONT in arrived:
            self.awake = time.monotonic()
        numbers = [number for number in arrived if number in (signal.SIGTERM, signal.SIGINT)]
        numbers += noticed.difference(arrived, (signal.SIGHUP,))
        for number in numbers:
            self.stop(signal.Signals(number).name)
        if signal.SIGHUP in noticed or signal.SIGHUP in arrived:
            self._hang_up()

    def _watch_terminal(self) -> None:
        self.terminal.look()
        if self.terminal.there:
            self.timers.add(time.monotonic() + LOOK_EVERY, self._watch_terminal)

    def _hang_up(self) -> None:
        if self.terminal.left():
            self.stop("SIGHUP, and the terminal has gone")
        elif self._signals or self.exit_code is not None:
            logger.info("SIGHUP: no reload, the tree is stopping")
        else:
            self.reloads.ask("SIGHUP")

    def stop(self, reason: str) -> None:
        """Stop the tree in order; the second time: at once."""
        self._signals += 1
        logger.info("%s: stopping%s", reason, " at once" if self._signals > 1 else "")
        if not self.booted:
            self.exit_code, self.reason = policy.EXIT_STOPPED, f"{reason}: {STOPPED_EARLY}"
            return
        self.post(policy.StopTree(reason=reason, now=self._signals > 1))

    def changed(self) -> None:
        """Something that status shows is different: write it soon."""
        if self.status_path is not None and self._status_timer is None:
            # At most a twentieth of the time goes into status, however large the tree.
            wait = max(STATUS_INTERVAL, 20 * self._status_cost)
            self._status_timer = self.timers.add(time.monotonic() + wait, self._write_status)

    def status(self) -> dict[str, Any]:
        """The status of this moment, as the file has it."""
        view = policy.view(self.state)
        launcher = self.launching.launcher
        return {
            "node": {
                "pid": os.getpid(),
                "started_at": self.started_at,
                "level": self.level,
                "level_notes": list(self.level_notes),
                "ready": self._is_ready,
                "ended": None if self.exit_code is None else {"code": self.exit_code, "reason": self.reason},
                "reloaded": self.reloads.last,
                "launcher": {"pid": launcher.pid if launcher is not None else None},
            },
            "tree": render(view, self.children.by_path.get, self.tally),
        }

    def _write_status(self) -> None:
        if self._status_timer is not None:
            self.timers.cancel(self._status_timer)
            self._status_timer = None
        if self.status_path is None:
            return
        began = time.perf_counter()
        try:
            write(self.status_path, self.status())
        except OSError as error:  # a full disk must not take the tree down
            self._status_failed(str(error.strerror or error))
        else:
            self._status_failed("")
        self._status_cost = time.perf_counter() - began

    def _status_failed(self, fault: str) -> None:
        """Say once that status cannot be written, and once that it can again. Tried until then: others read it."""
        if fault != self._status_fault:
            if fault:
                logger.warning(
                    "status %s cannot be written (%s); it is out of date until it can", self.status_path, fault
                )
            else:
                logger.warning("status %s is written again", self.status_path)
            self._status_fault = fault
        if fault and self.exit_code is None:
            self._status_timer = self.timers.add(time.monotonic() + STATUS_AGAIN, self._write_status)

    # ---- the end -----------------------------------------------------------------------------------------------------

    def _shut(self) -> None:
        """Leave nothing: zygote, children, descriptors, a status that is out of date."""
        self.launching.shut()
        for process in list(self.children.processes.values()):
            self.children.release(process)
        self._write_status()
        self.sampler.close()
        self.selector.close()


def _hold_standard_descriptors() -> None:
    """Were 0, 1 or 2 closed, the next socket would get that number and be printed into."""
    while (fd := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


def _raise_descriptor_limit() -> None:
    """Three descriptors a child: the soft limit of 1024 would end a tree at 300 children."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
