"""A launcher without processes: children are threads of the test. For tests of what stands on a launcher.

A thread cannot be killed, so a child of this launcher has to look at its channel: a signal that ends a process hangs
that up, and the child counts as gone when its function has returned.
"""

from __future__ import annotations

import contextlib
import importlib
import mmap
import os
import signal
import socket
import sys
import threading
import traceback
from collections import deque
from pathlib import Path
from typing import Any

from supervisor.context import Context
from supervisor.launcher import Broken, Ended, Forked, LaunchEvent, Order, Refused, Serving
from supervisor.spec import Profile, Tree
from supervisor.zygote.child import first_message
from supervisor.zygote.launcher import modules_of

DEADLY = (signal.SIGKILL, signal.SIGTERM, signal.SIGABRT, signal.SIGINT)


class FakeHandle:
    """A running thread. `pid` is 0: it is no process."""

    pid = 0

    def __init__(self, child: FakeChild) -> None:
        self._child = child
        self._fd = os.dup(child.gone)

    def fileno(self) -> int:
        return self._fd

    def signal(self, number: signal.Signals) -> None:
        self._child.signal(number)

    def close(self) -> None:
        os.close(self._fd)


class FakeChild:
    """One order being carried out by a thread."""

    def __init__(self, launcher: FakeLauncher, order: Order, control: int, output: int, beats: int) -> None:
        self.launcher, self.order, self.output, self.beats = launcher, order, output, beats
        self.channel = socket.socket(fileno=control)
        self.gone = os.eventfd(0, os.EFD_CLOEXEC)
        self.killed_by = 0
        self.finished = False
        self.thread = threading.Thread(target=self.run, name=f"fake child {order.number}", daemon=True)

    def run(self) -> None:
        status = 1 << 8
        try:
            boot, rest = first_message(self.channel)
            self.channel.setblocking(False)
            if boot is None:
                status = 0
                return
            beats = None
            if self.order.beats is not None:
                beats = mmap.mmap(self.beats, mmap.PAGESIZE, offset=mmap.PAGESIZE * self.order.beats[1])
            context = Context(self.channel, boot, beats, "none")
            context._buffer += rest
            module, _, name = self.order.start.partition(":")
            getattr(importlib.import_module(module), name)(context, **boot["args"])
            status = 0
        except SystemExit as error:
            status = (error.code if isinstance(error.code, int) else 1) << 8
        except Exception:  # as a process would: the traceback on stderr, and exit code 1
            if not self.killed_by:
                os.write(self.output, traceback.format_exc().encode())
        finally:
            with self.launcher.lock:
                self.finished = True
                for fd in (self.output, self.beats):
                    if fd >= 0:
                        os.close(fd)
                self.channel.close()
                self.launcher.say(Ended(self.order.number, self.killed_by or status, 0))
                os.eventfd_write(self.gone, 1)

    def signal(self, number: signal.Signals) -> None:
        with self.launcher.lock:
            if not self.finished and number in DEADLY:
                self.killed_by = self.killed_by or int(number)
                with contextlib.suppress(OSError):
                    self.channel.shutdown(socket.SHUT_RDWR)


class FakeLauncher:
    """Runs children in threads of this process. `stalled`: it takes no orders; for tests of what waits."""

    def __init__(self, tree: Tree, output: int, nofile: int) -> None:
        self.serving = False
        self.pid = 0
        self.end = os.eventfd(0, os.EFD_CLOEXEC)
        self.lock = threading.RLock()
        self.stalled = False
        self.children: list[FakeChild] = []
        self.lost = False
        self._events: deque[LaunchEvent] = deque()
        self._said = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._orders: deque[tuple[Order, int, int, int]] = deque()
        self._closed = False
        name = ""
        try:
            for name in modules_of(tree):
                importlib.import_module(name)
        except ImportError:
            self.say(Broken(traceback.format_exc(), name))
            self.kill()
        else:
            self.say(Serving("none", ("threads are not confined",), (), True, 0.0))

    def say(self, event: LaunchEvent) -> None:
        with self.lock:
            if not self.lost:
                self._events.append(event)
                os.eventfd_write(self._said, 1)

    def fileno(self) -> int:
        return -1 if self._closed else self._said

    @property
    def wants_write(self) -> bool:
        return bool(self._orders)

    def start(self, order: Order) -> None:
        beats = os.dup(order.beats[0]) if order.beats else -1
        self._orders.append((order, os.dup(order.control), os.dup(order.output), beats))
        self.flush()

    def flush(self) -> None:
        while self._orders and not self.stalled and not self.lost:
            order, *fds = self._orders.popleft()
            missing = _missing(order.profile)
            if missing:
                for fd in fds:
                    if fd >= 0:
                        os.close(fd)
                self.say(Refused(order.number, f"{missing}: No such file or directory"))
                continue
            child = FakeChild(self, order, *fds)
            self.children.append(child)
            self.say(Forked(order.number, FakeHandle(child)))
            child.thread.start()

    def withdraw(self, number: int) -> bool:
        for item in self._orders:
            if item[0].number == number:
                self._orders.remove(item)
                for fd in item[1:]:
                    if fd >= 0:
                        os.close(fd)
                return True
        return False

    def events(self) -> list[LaunchEvent]:
        with self.lock:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._said)
            events = list(self._events)
            self._events.clear()
            self.serving = self.serving or any(isinstance(event, Serving) for event in events)
            if self.lost:
                os.eventfd_write(self._said, 1)  # stays readable, as the end of a stream does
                if not events:
                    raise EOFError("the fake launcher is lost")
            return events

    def hung(self, now: float, awake: float) -> str:
        return ""

    def kill(self) -> None:
        with self.lock:
            if not self.lost:
                self.lost = True
                for child in self.children:
                    child.signal(signal.SIGKILL)
                os.eventfd_write(self._said, 1)
                threading.Thread(target=self._bury, daemon=True).start()

    def _bury(self) -> None:
        for child in self.children:
            child.thread.join()
        os.eventfd_write(self.end, 1)

    def hang_up(self) -> None:
        self.kill()

    def close(self, patience: float = 3.0) -> None:
        self.kill()
        os.eventfd_read(self.end)
        for item in list(self._orders):
            self.withdraw(item[0].number)
        for event in self._events:  # nobody took them
            if isinstance(event, Forked):
                event.handle.close()
        for child in self.children:
            os.close(child.gone)
        os.close(self.end)
        os.close(self._said)
        self._closed = True
        sys.stdout.flush()


def _missing(profile: Profile | None) -> str:
    files = profile.filesystem if profile is not None else None
    given: list[Any] = [*files.read, *files.write] if files is not None else []
    return next((path for path in given if not Path(path).exists()), "")
