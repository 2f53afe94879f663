"""The root: the one process that carries out what the policy decides, and reports to it what happened.

Here belong the event loop and the execution of actions. It decides nothing about restarts (that is `policy`), runs no
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
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor import policy
from supervisor.channel import Channel, ChannelFault, Output
from supervisor.hook import ChildInfo, LaunchHook, NoHook
from supervisor.launcher import (
    Broken,
    Ended,
    Forked,
    Refused,
    Serving,
    ZygoteLauncher,
    base_environment,
    become_subreaper,
)
from supervisor.orphans import children, kill_orphans
from supervisor.process import ASKED, KILLED, TERMINATED, Process, describe, stop_schedule
from supervisor.requests import Desk
from supervisor.sampling import Sampler
from supervisor.spec import Tree
from supervisor.status import Tally, render, write
from supervisor.timers import Timers

logger = logging.getLogger("supervisor.root")
lines_logger = logging.getLogger("supervisor.child")

EXIT_SIGNAL_NOW = 130  # a second signal: everything was killed at once
STATUS_INTERVAL = 0.05
REPORT_LIMIT = 10.0  # seconds between a child's death and the zygote's word about it, until the zygote is held for hung
TRACE_TIME = 0.3  # seconds for a hung child to say where it hangs
STOPPED_EARLY = "stopped before anything was started"


class Root:
    """Runs one tree. `run` blocks until the tree has ended and returns the exit code (`policy.EXIT_CODES`).

    `on_ready` is called once, when the whole tree is ready, with {level, level_notes, processes}. `status_path`: see
    docs/interfaces.md. `least_level`: confined children are not started where the machine allows less than this.
    `on_line` gets (name, line) for everything that a child prints; by default the logger `supervisor.child` does.
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
    ) -> None:
        self.tree = tree
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
        self.selector = selectors.DefaultSelector()
        self.timers = Timers()
        self.tally = Tally()
        self.desk = Desk(self)
        self.sampler = Sampler(self)
        self.launcher: ZygoteLauncher | None = None
        self.launcher_output: Output | None = None
        self.processes: dict[int, Process] = {}
        self.by_path: dict[str, Process] = {}
        self.by_name: dict[str, Process] = {}
        self._events: deque[policy.Event] = deque()
        self._policy_timers: dict[str, int] = {}
        self._number = 0
        self._signals = 0
        self._booted = False
        self._is_ready = False
        self._losing = ""
        self._nofile = 1024
        self._dying: ZygoteLauncher | None = None  # a lost one that is not gone yet
        self._isolated = False  # the zygote is PID 1 of a PID namespace
        self._strangers: set[int] = set()  # children of the program around us
        self._status_timer: int | None = None
        self._status_cost = 0.0

    # ---- the loop --------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Run the tree to its end. Call it from the main thread: signals and PDEATHSIG belong to that one."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("Root.run() must be called from the main thread: signals are delivered there")
        become_subreaper()
        self._strangers = set(children())
        self._nofile = _raise_descriptor_limit()
        with self._signals_enqueued() as wake:
            try:
                self.selector.register(wake, selectors.EVENT_READ, lambda _: self._on_signal(wake))
                self._launch()
                while self.exit_code is None:
                    self._turn()
            finally:
                self._shut()
        logger.info("ended: %s (exit code %s)", self.reason, self.exit_code)
        return self.exit_code if self.exit_code is not None else policy.EXIT_GAVE_UP

    def _turn(self) -> None:
        following = self.timers.next()
        timeout = None if following is None else max(0.0, following - time.monotonic())
        for key, mask in self.selector.select(timeout):
            current = self.selector.get_map().get(key.fd)
            if current is not None and current.data is key.data:  # an earlier one of this batch may have closed it
                key.data(mask)
        for callback in self.timers.due(time.monotonic()):
            callback()
        self.settle()

    def settle(self) -> None:
        """Let the policy decide about everything that has happened, and carry it out."""
        while self._events and self.exit_code is None:
            event = self._events.popleft()
            self.state, actions = policy.decide(self.state, event, time.monotonic())
            for action in actions:
                self._execute(action)
            self.changed()
        if not self._is_ready and self._booted:
            live = self.state.supervisors.get(self.tree.root.id)
            if live is not None and live.started:
                self._is_ready = True
                self._write_status()  # whoever hears that we are ready finds a status that says so
                if self.on_ready is not None:
                    count = sum(process.ready for process in self.processes.values())
                    self.on_ready({"level": self.level, "level_notes": list(self.level_notes), "processes": count})

    def post(self, event: policy.Event) -> None:
        """Queue an event for the policy."""
        self._events.append(event)

    def _execute(self, action: policy.Action) -> None:
        match action:
            case policy.Start():
                self._start(action)
            case policy.Stop(path=path, incarnation=incarnation, how=how):
                process = self.by_path.get(path)
                if process is not None and process.action.incarnation == incarnation:
                    self._stop(process, how)
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
            number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        }
        old[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)  # orphans of a lost zygote come to us
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
        with contextlib.suppress(BlockingIOError):
            for number in wake.recv(256):
                if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                    self.stop(signal.Signals(number).name)

    def stop(self, reason: str) -> None:
        """Stop the tree in order; the second time: at once."""
        self._signals += 1
        logger.info("%s: stopping%s", reason, " at once" if self._signals > 1 else "")
        if not self._booted:
            self.exit_code, self.reason = policy.EXIT_STOPPED, f"{reason}: {STOPPED_EARLY}"
            return
        self.post(policy.StopTree(reason=reason, now=self._signals > 1))

    # ---- the launcher ----------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        read, write_end = os.pipe()
        try:
            self.launcher = ZygoteLauncher(self.tree, write_end, self._nofile)
        except OSError as error:
            os.close(read)
            self.exit_code, self.reason = policy.EXIT_START, f"{sys.executable} cannot be run: {error}"
            return
        finally:
            os.close(write_end)
        self.launcher_output = Output(read)
        self.selector.register(read, selectors.EVENT_READ, lambda _: self._on_launcher_output())
        self.selector.register(self.launcher, selectors.EVENT_READ, self._on_launcher)
        self._watch_launcher()

    def _watch_launcher(self) -> None:
        """Look now and then whether the zygote still answers; it may be stopped, or hang in native code."""
        launcher = self.launcher
        if launcher is None:
            return
        now = time.monotonic()
        why = launcher.hung(now)
        late = [p for p in self.processes.values() if p.dead and not p.lost and now - p.ready_at > REPORT_LIMIT]
        if not why and late and launcher.serving:
            why = f"did not report the end of {late[0].name}"
        if why:
            self._lose(f"the zygote hangs: {why}")
            return
        self.timers.add(now + 1.0, lambda: self._watch_launcher() if launcher is self.launcher else None)

    def _on_launcher_output(self) -> None:
        output = self.launcher_output
        if output is None:
            return
        for line in output.read():
            self.on_line("zygote", line)
        if output.ended:
            self.selector.unregister(output.fd)

    def _on_launcher(self, mask: int) -> None:
        launcher = self.launcher
        if launcher is None:
            return
        if mask & selectors.EVENT_WRITE:
            launcher.flush()
        try:
            events = launcher.events()
        except EOFError:
            self._lose("the zygote died")
            return
        for event in events:
            match event:
                case Forked(number=number, pidfd=pidfd):
                    self._forked(number, pidfd)
                case Refused(number=number, reason=reason):
                    process = self.processes.get(number)
                    if process is not None:
                        process.fault = reason
                        self._finish(process, None, 0)
                case Ended(number=number, status=status, left=left):
                    process = self.processes.get(number)
                    if process is not None:
                        self._finish(process, status, left)
                case Serving(level=level, notes=notes, remarks=remarks, isolated=isolated):
                    self.level, self.level_notes, self._isolated = level, notes, isolated
                    for remark in remarks:
                        logger.warning("zygote: %s", remark)
                    self._serving()
                case Broken(text=text):
                    self.exit_code, self.reason = policy.EXIT_START, f"the application could not be loaded\n{text}"
                    logger.error("%s", self.reason)
        self.write_interest()

    def write_interest(self) -> None:
        """Watch the launcher's socket for room only while something waits to be sent."""
        if self.launcher is not None and self.launcher.fileno() >= 0:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.launcher.wants_write else 0)
            self.selector.modify(self.launcher, wanted, self._on_launcher)

    def _serving(self) -> None:
        if not self._booted:
            self._booted = True
            self.post(policy.Boot())
            return
        # A new zygote after a lost one: only now is the policy told, so that its start timers do not run meanwhile.
        self.post(policy.LauncherLost(self._losing))
        self._losing = ""
        for process in [process for process in self.processes.values() if process.lost]:
            self._finish(process, None, 0)

    def _lose(self, why: str) -> None:
        """The zygote is gone or is of no more use: everything it made dies with it, and a new one is started."""
        launcher, self.launcher = self.launcher, None
        if launcher is None:
            return
        logger.error("%s; everything starts again with a new one", why)
        self.selector.unregister(launcher)
        if self.launcher_output is not None:
            if not self.launcher_output.ended:
                for line in self.launcher_output.drain():
                    self.on_line("zygote", line)
                self.selector.unregister(self.launcher_output.fd)
            tail = list(self.launcher_output.tail)
            self.launcher_output.close()
            self.launcher_output = None
        else:
            tail = []
        launcher.kill()
        launcher.hang_up()
        if not self._booted or not launcher.serving:
            launcher.close()
            self.exit_code, self.reason = policy.EXIT_START, "\n".join([f"{why} while loading the application", *tail])
            return
        self._losing = why
        for process in list(self.processes.values()):
            process.lost = True
            if process.pidfd < 0 or process.dead:
                process.dead = True
            else:  # where there is no PID namespace a child may outlive its zygote
                self._signal(process, signal.SIGKILL)
        self._dying = launcher
        self.selector.register(launcher.pidfd, selectors.EVENT_READ, lambda _: self._buried())
        self.changed()

    def _buried(self) -> None:
        """The lost zygote is gone, and as PID 1 only after everything that it made."""
        if self._dying is not None:
            self.selector.unregister(self._dying.pidfd)
            self._dying.close()
            self._dying = None
            self._relaunch()

    def _relaunch(self) -> None:
        """Start the new zygote once the last process of the old one is gone."""
        gone = self._dying is None and all(process.dead for process in self.processes.values())
        if self._losing and self.launcher is None and gone:
            self._hunt()
            self._launch()

    def _hunt(self) -> None:
        """Where the zygote is no PID 1, what it has left comes to us as subreaper."""
        if not self._isolated:
            kill_orphans(self._strangers)

    # ---- children ----------------------------------------------------------------------------------------------------

    def _start(self, action: policy.Start) -> None:
        spec = action.spec
        info = ChildInfo(
            action.name, action.incarnation, action.supervisor, spec.id, spec.start, dict(spec.args), dict(spec.allow)
        )
        ours, theirs = socket.socketpair()
        read, write_end = os.pipe()
        self._number += 1
        process = Process(
            self._number, action, Channel(ours), Output(read), info, began=time.monotonic(), started_at=time.time()
        )
        self.processes[process.number] = process
        self.by_path[action.path] = process
        with theirs:
            try:
                if self.launcher is None:  # the policy does not know yet that everything is lost
                    process.lost = process.dead = True
                else:
                    self._hand_over(process, theirs, write_end, self.launcher)
            except (ChannelFault, _CannotStart) as error:
                process.fault = str(error)
            finally:
                os.close(write_end)
        if process.lost:
            return
        if process.fault:
            self._finish(process, None, 0)
            return
        self.selector.register(process.channel, selectors.EVENT_READ, lambda mask: self._on_channel(process, mask))
        self.selector.register(process.output, selectors.EVENT_READ, lambda _: self._on_output(process))
        self.write_interest()
        self._channel_interest(process)

    def _hand_over(self, process: Process, theirs: socket.socket, output: int, launcher: ZygoteLauncher) -> None:
        spec, action = process.spec, process.action
        if spec.confine is not None and _below(self.level, self.least_level):
            notes = " ".join(self.level_notes)
            raise _CannotStart(
                f"confinement level {self.level} is below the least allowed, {self.least_level}. {notes}"
            )
        try:
            handover = self.hook.launching(process.info)
        except Exception as error:  # whatever the application's hook does, the root goes on
            logger.exception("launch hook for %s", action.name)
            raise _CannotStart(f"launch hook: {type(error).__name__}: {error}") from error
        for name, message in handover.notices:
            self.tell(name, {"notice": message})
        environment = dict(os.environ) if spec.confine is None else base_environment(os.environ)
        boot = {
            "name": action.name,
            "incarnation": action.incarnation,
            "supervisor": action.supervisor,
            "title": self.tree.root.id,
            "args": dict(spec.args),
            "env": environment | dict(spec.env),
            "handover": handover.data,
        }
        process.channel.send({"boot": boot})
        self.by_name[action.name] = process  # not before: what others are told for it must not come before its name
        if spec.observe:
            process.channel.send({"snapshot": self.desk.snapshot()})
        slot = self.sampler.slot(process)
        launcher.start(process.number, spec.start, spec.confine, spec.rlimits, theirs.fileno(), output, slot)

    def _forked(self, number: int, pidfd: int) -> None:
        process = self.processes.get(number)
        if process is None:
            os.close(pidfd)
            return
        process.pidfd = pidfd
        process.pid = _pid_of(pidfd)
        self.selector.register(pidfd, selectors.EVENT_READ, lambda _: self._on_death(process))
        if process.step == KILLED:
            self._signal(process, signal.SIGKILL)
        self.changed()

    def _on_channel(self, process: Process, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE:
                process.channel.flush()
            if mask & selectors.EVENT_READ:
                for message in process.channel.receive():
                    self.desk.handle(process, message)
                if process.channel.faulty:
                    process.channel.receive()
        except ChannelFault as error:
            self.kill(process, str(error))
        if process.channel.ended:
            self.selector.unregister(process.channel)
        else:
            self._channel_interest(process)

    def _channel_interest(self, process: Process) -> None:
        channel = process.channel
        if channel.fileno() in self.selector.get_map():
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if channel.wants_write else 0)
            self.selector.modify(channel, wanted, lambda mask: self._on_channel(process, mask))

    def _on_output(self, process: Process) -> None:
        for line in process.output.read():
            self.on_line(process.name, line)
        if process.output.ended:
            self.selector.unregister(process.output)

    def _on_death(self, process: Process) -> None:
        """The pidfd says that it is gone. What of is said by the zygote, which reaps it; or by nobody, if that is lost."""
        process.dead = True
        process.ready_at = time.monotonic()  # from here on: when it died
        self.selector.unregister(process.pidfd)
        self._relaunch()

    def _finish(self, process: Process, status: int | None, left: int) -> None:
        """A life is over and nothing is left of it: free what it held, remember it, tell the policy and observers."""
        try:
            while messages := process.channel.receive():
                for message in messages:
                    self.desk.handle(process, message)
        except ChannelFault as error:
            logger.warning("%s %s", process.name, error)
        for line in process.output.drain():
            self.on_line(process.name, line)
        self._release(process)
        end = describe(status, planned=process.planned, fault=process.fault)
        action = process.action
        self.tally.add(process, end, time.time(), left)
        if process.stop is not None:
            self.post(policy.Stopped(action.path, action.incarnation, process.step))
        elif not process.ready:
            last = process.output.tail[-1] if process.output.tail else ""
            reason = f"{end.detail} before ready(){': ' + last if last else ''}"
            self.post(policy.StartFailed(action.path, action.incarnation, process.fault or reason))
        else:
            self.post(policy.Exited(action.path, action.incarnation, end.reason, end.planned, end.detail))
        try:
            self.hook.exited(process.info, end.detail)
        except Exception:  # whatever the application's hook does, the root goes on
            logger.exception("launch hook, exit of %s", process.name)
        self.desk.down(process, end)
        self.changed()

    def _release(self, process: Process) -> None:
        for number in process.terms:
            self.timers.cancel(number)
        for fileobj in (process.channel, process.output):
            if fileobj.fileno() in self.selector.get_map():
                self.selector.unregister(fileobj)
            fileobj.close()
        if process.pidfd >= 0:
            if process.pidfd in self.selector.get_map():
                self.selector.unregister(process.pidfd)
            os.close(process.pidfd)
        self.sampler.release(process)
        del self.processes[process.number]
        for table, key in ((self.by_path, process.action.path), (self.by_name, process.name)):
            if table.get(key) is process:
                del table[key]

    # ---- stopping ----------------------------------------------------------------------------------------------------

    def _stop(self, process: Process, how: Any) -> None:
        """Begin, or sharpen, a graded stop."""
        process.stop = how
        for number in process.terms:
            self.timers.cancel(number)
        process.terms.clear()
        if self.launcher is not None and process.pidfd < 0 and self.launcher.withdraw(process.number):
            self._finish(process, None, 0)  # it was never made
            return
        now = time.monotonic()
        for delay, step in stop_schedule(how):
            if delay <= 0:
                self._stop_step(process, step)
            else:
                process.terms.append(self.timers.add(now + delay, lambda step=step: self._stop_step(process, step)))  # type: ignore[misc]

    def _stop_step(self, process: Process, step: str) -> None:
        if process.lost:
            return
        if step == "unread":
            if process.step != ASKED or not process.channel.unread():
                return
            step = TERMINATED
        if step == ASKED:
            if process.step:
                return  # it has been asked before; this is the second, sharper request
            process.step = ASKED
            self.send(process, {"stop": True})
        elif step == TERMINATED:
            if process.step == ASKED:
                process.step = TERMINATED
                self._signal(process, signal.SIGTERM)
                self._signal(process, signal.SIGCONT)  # a stopped process would sleep through the one before
        else:
            process.step = KILLED
            self._signal(process, signal.SIGKILL)
        self.changed()

    def kill(self, process: Process, why: str, *, trace: bool = False) -> None:
        """Kill for a fault of the child's own; `why` becomes the reason of its exit.

        trace: with SIGABRT first, by which a Python that can still do so writes where it hangs to stderr.
        """
        if process.fault:
            return
        process.fault = why
        logger.warning("%s: killed: %s", process.name, why)
        if trace:
            self._signal(process, signal.SIGABRT)
            later = time.monotonic() + TRACE_TIME
            process.terms.append(self.timers.add(later, lambda: self._signal(process, signal.SIGKILL)))
        else:
            self._signal(process, signal.SIGKILL)

    def _signal(self, process: Process, number: signal.Signals) -> None:
        if process.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process.pidfd, number)

    # ---- telling -----------------------------------------------------------------------------------------------------

    def send(self, process: Process, message: dict[str, Any]) -> None:
        """Send a message on a child's control channel; a child that has not read for too long is killed instead."""
        try:
            process.channel.send(message)
        except ChannelFault as error:
            self.kill(process, str(error))
            return
        if process.channel.wants_write:
            self._channel_interest(process)

    def tell(self, name: str, message: dict[str, Any]) -> None:
        """The same by name; nobody of that name, nothing sent."""
        process = self.by_name.get(name)
        if process is not None:
            self.send(process, message)

    def changed(self) -> None:
        """Something that status shows is different: write it soon."""
        if self.status_path is not None and self._status_timer is None:
            # At most a twentieth of the time goes into status, however large the tree.
            wait = max(STATUS_INTERVAL, 20 * self._status_cost)
            self._status_timer = self.timers.add(time.monotonic() + wait, self._write_status)

    def status(self) -> dict[str, Any]:
        """The status of this moment, as the file has it."""
        view = policy.view(self.state)
        launcher = self.launcher
        return {
            "node": {
                "pid": os.getpid(),
                "started_at": self.started_at,
                "level": self.level,
                "level_notes": list(self.level_notes),
                "ready": self._is_ready,
                "ended": None if self.exit_code is None else {"code": self.exit_code, "reason": self.reason},
                "launcher": {"pid": launcher.pid if launcher is not None else None},
            },
            "tree": render(view, self.by_path.get, self.tally),
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
            logger.warning("status %s: %s", self.status_path, error)
        self._status_cost = time.perf_counter() - began

    # ---- the end -----------------------------------------------------------------------------------------------------

    def _shut(self) -> None:
        """Leave nothing: zygote, children, descriptors, a status that is out of date."""
        if self.launcher is not None:
            launcher, self.launcher = self.launcher, None
            with contextlib.suppress(KeyError, ValueError):
                self.selector.unregister(launcher)
            for process in self.processes.values():  # only after an error: the policy ends with nothing running
                self._signal(process, signal.SIGKILL)
            launcher.close()
        if self._dying is not None:
            self._dying.close()
        for process in list(self.processes.values()):
            self._release(process)
        if self.launcher_output is not None:
            for line in self.launcher_output.drain():
                self.on_line("zygote", line)
            self.launcher_output.close()
            self.launcher_output = None
        self._hunt()
        self._write_status()
        self.sampler.close()
        self.selector.close()


class _CannotStart(Exception):
    """A child cannot be launched; the text is the reason."""


def _below(level: str, least: str) -> bool:
    order = ("none", "strong", "full")
    return order.index(level) < order.index(least)


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


def _raise_descriptor_limit() -> int:
    """Three descriptors a child: the soft limit of 1024 would end a tree at 300 children. Returns the old one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft
