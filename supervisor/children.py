"""The running children of one root: starting, hearing, stopping and burying processes.

Here belongs what is done with a process that the policy asked for. Whether it is started again is not decided here,
how it is made is `launching`'s, and what it may ask for is `requests`'s.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from supervisor import policy
from supervisor.channel import Channel, ChannelFault, Output
from supervisor.ends import Ends, NoDescriptors
from supervisor.hook import MOST_FILES, ChildInfo, Handover
from supervisor.launcher import Handle, Launcher, Order
from supervisor.process import ASKED, KILLED, TERMINATED, Process, describe, spell, stop_schedule
from supervisor.zygote.launcher import beyond_base

if TYPE_CHECKING:
    from supervisor.root import Root

logger = logging.getLogger("supervisor.root")

TRACE_TIME = 0.3  # seconds for a hung child to say where it hangs


class Children:
    """Every process that was asked for and is not yet buried, by number, by tree path and by name."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.processes: dict[int, Process] = {}
        self.by_path: dict[str, Process] = {}
        self.by_name: dict[str, Process] = {}
        self.observers: dict[int, Process] = {}
        self._awaited: set[int] = set()  # numbers whose handles are still to come
        self._number = 0
        self._environment = beyond_base(os.environ)

    def next_number(self) -> int:
        """A number that no launch of this root has had."""
        self._number += 1
        return self._number

    def start(self, action: policy.Start) -> None:
        """Ask the launcher for this process. Whatever goes wrong is reported to the policy as a failed start."""
        spec = action.spec
        info = ChildInfo(
            action.name, action.incarnation, action.supervisor, spec.id, spec.start, dict(spec.args), dict(spec.allow)
        )
        launcher = self.root.launching.usable
        spare = self.root.spares.take(action) if launcher is not None else None
        if spare is not None:
            process = self._process(action, info, spare.number, spare.channel, spare.output)
            process.slot = spare.slot[1] if spare.slot is not None else None
            self._launch(process, launcher, None)
        else:
            try:
                ends = Ends(awaited=len(self._awaited))
            except NoDescriptors as error:
                self.root.post(policy.StartFailed(action.path, action.incarnation, str(error)))
                return
            with ends:
                process = self._process(action, info, self.next_number(), ends.channel, ends.output)
                self._awaited.add(process.number)
                self._launch(process, launcher, ends)
        if process.lost:
            return
        process.interest = selectors.EVENT_READ | (selectors.EVENT_WRITE if process.channel.wants_write else 0)
        self.root.selector.register(process.channel, process.interest, lambda mask: self._on_channel(process, mask))
        self.root.selector.register(process.output, selectors.EVENT_READ, lambda _: self._on_output(process))
        if spare is not None and spare.handle is not None:
            self.forked(process.number, spare.handle)
        if process.fault:
            self.signal(process, signal.SIGKILL)
            self.finish(process, None, 0)
            return
        self.root.launching.write_interest()

    def _launch(self, process: Process, launcher: Launcher | None, ends: Ends | None) -> None:
        """Send what makes it this child, and unless it is a spare, have it made."""
        if launcher is None:  # the policy does not know yet that everything is lost
            process.lost = process.dead = True
            return
        try:
            files = self._hand_over(process)
            if files and ends is None:
                raise _CannotStart("a spare has been forked already: nothing can be handed over to it but data")
            if ends is not None:
                spec = process.spec
                slot = self.root.sampler.slot(process)
                order = Order(
                    process.number, spec.start, spec.confine, spec.rlimits, ends.theirs, ends.write, slot, files
                )
                launcher.start(order)
        except (ChannelFault, _CannotStart) as error:
            process.fault = str(error)

    def _process(self, action: policy.Start, info: ChildInfo, number: int, channel: Channel, output: Output) -> Process:
        process = Process(number, action, channel, output, info, began=time.monotonic(), started_at=time.time())
        self.processes[number] = process
        if action.spec.observe:
            self.observers[number] = process
        self.by_path[action.path] = process
        return process

    def _hand_over(self, process: Process) -> tuple[int, ...]:
        """Everything that makes a process this child, in its first message. Returns the descriptors that go with it.

        Raises _CannotStart, ChannelFault.
        """
        spec, action = process.spec, process.action
        if spec.confine is not None and _below(self.root.level, self.root.least_level):
            notes = " ".join(self.root.level_notes)
            raise _CannotStart(
                f"confinement level {self.root.level} is below the least allowed, {self.root.least_level}. {notes}"
            )
        try:
            handover = self.root.hook.launching(process.info)
        except Exception as error:  # whatever the application's hook does, the root goes on
            logger.exception("launch hook for %s", action.name)
            raise _CannotStart(f"launch hook: {type(error).__name__}: {error}") from error
        if len(handover.files) > MOST_FILES:
            raise _CannotStart(f"the launch hook hands over {len(handover.files)} descriptors, at most {MOST_FILES} go")
        try:
            for name, message in handover.notices:
                self.tell(name, {"notice": message})
            self._introduce(process, handover)
        except (TypeError, RecursionError) as error:  # what YAML or a hook can hold, JSON may not: dates, sets, bytes
            raise _CannotStart(f"args and handover must be plain JSON data: {error}") from error
        return tuple(handover.files.values())

    def _introduce(self, process: Process, handover: Handover) -> None:
        spec, action = process.spec, process.action
        # The zygote has the base; only what differs from it is sent, and a confined child gets nothing more.
        environment = {} if spec.confine is not None else self._environment
        boot = {
            "name": action.name,
            "incarnation": action.incarnation,
            "supervisor": action.supervisor,
            "args": dict(spec.args),
            "env": environment | dict(spec.env),
            "handover": handover.data,
            "files": list(handover.files),
        }
        process.channel.send({"boot": boot})
        self.by_name[action.name] = process  # not before: what others are told for it must not come before its name
        if spec.observe:
            process.channel.send({"snapshot": self.root.desk.snapshot()})

    def forked(self, number: int, handle: Handle) -> None:
        """The process exists; `handle` is ours now."""
        process = self.processes.get(number)
        if process is None:
            handle.close()
            return
        process.handle = handle
        self._awaited.discard(number)
        self.root.selector.register(handle, selectors.EVENT_READ, lambda _: self._on_death(process, handle))
        if process.early is not None and process.step != KILLED:
            self.root.desk.handle(process, process.early)  # also when a fault came after it: then it has been up
        if process.step == KILLED or process.fault:
            self.signal(process, signal.SIGKILL)
        self.root.changed()

    def _on_channel(self, process: Process, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE:
                process.channel.flush()
            if mask & selectors.EVENT_READ:
                for message in process.channel.receive():
                    self.root.desk.handle(process, message)
                if process.channel.faulty:
                    process.channel.receive()
        except ChannelFault as error:
            self.kill(process, str(error))
        if process.channel.ended:
            self.root.selector.unregister(process.channel)
        else:
            self._channel_interest(process)

    def _channel_interest(self, process: Process) -> None:
        """Watch a channel for room only while something waits to be sent."""
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if process.channel.wants_write else 0)
        if wanted != process.interest and process.channel.fileno() in self.root.selector.get_map():
            process.interest = wanted
            self.root.selector.modify(process.channel, wanted, lambda mask: self._on_channel(process, mask))

    def _on_output(self, process: Process) -> None:
        for line in process.output.read():
            self.root.on_line(process.name, line)
        if process.output.ended:
            self.root.selector.unregister(process.output)

    def _on_death(self, process: Process, handle: Handle) -> None:
        """Its handle says that it is gone. What of is said by the launcher; or by nobody, if that is lost."""
        process.dead = True
        process.ready_at = time.monotonic()  # from here on: when it died
        self.root.selector.unregister(handle)
        if process.lost and process.stop is not None:
            self.finish(process, None, 0)
        self.root.launching.relaunch()

    def finish(self, process: Process, status: int | None, left: int) -> None:
        """A life is over and nothing is left of it: free what it held, remember it, tell the policy and observers."""
        try:
            while messages := process.channel.receive():
                for message in messages:
                    self.root.desk.handle(process, message)
        except ChannelFault as error:
            logger.warning("%s %s", process.name, error)
        for line in process.output.drain():
            self.root.on_line(process.name, line)
        pid = process.pid
        self.release(process)
        end = describe(status, planned=process.planned, fault=process.fault)
        action = process.action
        self.root.tally.add(process, end, time.time(), time.monotonic() - process.began, left)
        if process.stop is not None:
            self.root.post(policy.Stopped(action.path, action.incarnation, process.step))
        elif not process.ready:
            last = process.output.tail[-1] if process.output.tail else ""
            reason = f"{end.detail} before ready(){': ' + last if last else ''}"
            self.root.post(policy.StartFailed(action.path, action.incarnation, process.fault or reason))
        else:
            if not process.lost:  # that was said once, for all of them
                level = logging.INFO if end.planned or end.reason != "crash" else logging.WARNING
                up = time.monotonic() - process.began
                who = f"{process.name} (pid {pid})" if pid else process.name  # it may have been dead before it was seen
                logger.log(level, "%s ended after %s: %s", who, spell(up), end.detail)
            self.root.post(policy.Exited(action.path, action.incarnation, end.reason, end.planned, end.detail))
        try:
            self.root.hook.exited(process.info, end.detail)
        except Exception:  # whatever the application's hook does, the root goes on
            logger.exception("launch hook, exit of %s", process.name)
        self.root.desk.down(process, end)
        self.root.changed()

    def release(self, process: Process) -> None:
        """Close and forget everything that belongs to a life."""
        for number in process.terms:
            self.root.timers.cancel(number)
        for fileobj in (process.channel, process.output):
            if fileobj.fileno() in self.root.selector.get_map():
                self.root.selector.unregister(fileobj)
            fileobj.close()
        if process.handle is not None:
            if process.handle.fileno() in self.root.selector.get_map():
                self.root.selector.unregister(process.handle)
            process.handle.close()
            process.handle = None
        self.root.sampler.release(process)
        self._awaited.discard(process.number)
        del self.processes[process.number]
        self.observers.pop(process.number, None)
        for table, key in ((self.by_path, process.action.path), (self.by_name, process.name)):
            if table.get(key) is process:
                del table[key]

    # ---- stopping ----------------------------------------------------------------------------------------------------

    def stop(self, process: Process, how: Any) -> None:
        """Begin, or sharpen, a graded stop."""
        process.stop = how
        if process.lost:  # with the launcher; nobody is there to be asked
            if process.dead:
                self.finish(process, None, 0)
            return
        for number in process.terms:
            self.root.timers.cancel(number)
        process.terms.clear()
        if (
            self.root.launching.launcher is not None
            and process.handle is None
            and self.root.launching.launcher.withdraw(process.number)
        ):
            self.finish(process, None, 0)  # it was never made
            return
        now = time.monotonic()
        for delay, step in stop_schedule(how):
            if delay <= 0:
                self._stop_step(process, step)
            else:
                process.terms.append(self.root.timers.add(now + delay, partial(self._stop_step, process, step)))

    def _stop_step(self, process: Process, step: str) -> None:
        if process.lost:
            return
        if step == "unread":
            if process.step != ASKED or not (process.channel.unread() or process.channel.ended):
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
                self.signal(process, signal.SIGTERM)
                self.signal(process, signal.SIGCONT)  # a stopped process would sleep through the one before
        else:
            process.step = KILLED
            self.signal(process, signal.SIGKILL)
        self.root.changed()

    def revised(self, action: policy.Revised) -> None:
        """The process has other limits from now on."""
        process = self.by_path.get(action.path)
        if process is not None and process.action.incarnation == action.incarnation:
            process.action = replace(process.action, spec=action.spec)

    def kill(self, process: Process, why: str, *, trace: bool = False) -> None:
        """Kill for a fault of the child's own; `why` becomes the reason of its exit.

        trace: with SIGABRT first, by which a Python that can still do so writes where it hangs to stderr.
        """
        if process.fault:
            return
        process.fault = why
        logger.warning("%s: killed: %s", process.name, why)
        if trace:
            self.signal(process, signal.SIGABRT)
            self.signal(process, signal.SIGCONT)  # a stopped process would sleep through the one before
            later = time.monotonic() + TRACE_TIME
            process.terms.append(self.root.timers.add(later, lambda: self.signal(process, signal.SIGKILL)))
        else:
            self.signal(process, signal.SIGKILL)

    def signal(self, process: Process, number: signal.Signals) -> None:
        """Send a signal; to nobody when the process is gone, or was never made."""
        if process.handle is not None:
            process.handle.signal(number)

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


class _CannotStart(Exception):
    """A child cannot be launched; the text is the reason."""


def _below(level: str, least: str) -> bool:
    order = ("none", "strong", "full")
    return order.index(level) < order.index(least)
