"""What the root wants of whatever runs its children: the interface, its events, and the handle of a running child.

Here belong only types. The launcher of this machine is `zygote.launcher`; another place to run processes is another
class with these methods, and passes `tests/supervisor/test_launchers.py`.

The law of a launcher:

- It never blocks. `fileno()` is readable when `events()` has something to give, or raises EOFError because the
  launcher is lost; what cannot be sent at once is kept (`wants_write`) and sent by `flush()`.
- Every `start` is answered by one `Forked` or one `Refused`, every `Forked` is followed by one `Ended`, in that order,
  unless the launcher is lost first. `Ended` comes when nothing of the child is left.
- A handle becomes readable when its process is gone; signals to a process that is gone do nothing.
- A lost or killed launcher takes all that it started with it (`Serving.isolated`), or at least says by their handles
  when they are gone. After `close` nothing is left, neither process nor descriptor.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from supervisor.spec import Profile, Tree


class Handle(Protocol):
    """A running child, whatever becomes of its pid. Belongs to whoever took the `Forked` event."""

    @property
    def pid(self) -> int:
        """The pid as this process sees it; 0 where there is none."""

    def fileno(self) -> int:
        """Readable when the process is gone."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal. Does nothing when the process is gone."""

    def close(self) -> None:
        """Give the handle back; the process goes on."""


@dataclass(frozen=True)
class Order:
    """A child to be started. The descriptors are the caller's and are copied.

    control: the child's end of its channel. output: its stdout and stderr. beats: (file, page) of its heartbeat.
    files: what else it gets, in the order in which its first message names them.
    """

    number: int
    start: str
    profile: Profile | None
    rlimits: Mapping[str, int]
    control: int
    output: int
    beats: tuple[int, int] | None = None
    files: tuple[int, ...] = ()


@dataclass(frozen=True)
class Forked:
    """A child exists. `handle` belongs to whoever takes this event."""

    number: int
    handle: Handle


@dataclass(frozen=True)
class Refused:
    """A child could not be made."""

    number: int
    reason: str


@dataclass(frozen=True)
class Ended:
    """A child is gone, and everything it left behind (`left` processes) has been killed. `status`: as from waitpid."""

    number: int
    status: int
    left: int


@dataclass(frozen=True)
class Serving:
    """The application is loaded; children can be made. `level`, `notes`: the confinement of this machine."""

    level: str
    notes: tuple[str, ...]
    remarks: tuple[str, ...]
    isolated: bool  # its death is that of everything it started
    seconds: float


@dataclass(frozen=True)
class Broken:
    """The application could not be loaded; `text` is the traceback, `module` what was being imported, if anything was."""

    text: str
    module: str = ""


LaunchEvent = Forked | Refused | Ended | Serving | Broken


class Launcher(Protocol):
    """One launcher. Once it is lost it is of no more use; make another."""

    serving: bool
    pid: int  # for people; 0: not known, or none
    end: int  # a descriptor that is readable when the launcher itself is gone; -1 before it was there

    def fileno(self) -> int: ...

    @property
    def wants_write(self) -> bool: ...

    def start(self, order: Order) -> None:
        """Ask for a child; an event answers."""

    def withdraw(self, number: int) -> bool:
        """Take back an order that has not gone out yet. False when it is too late."""

    def events(self) -> list[LaunchEvent]:
        """What has happened. Raises EOFError when the launcher is lost, after all that it had said."""

    def flush(self) -> None:
        """Send what is waiting, as far as it goes."""

    def hung(self, now: float, awake: float) -> str:
        """Why the launcher is held for hung at monotonic time `now`, or nothing. Asked about once a second.

        awake: since when the caller has run without a break; silence before that is not held against the launcher.
        """

    def kill(self) -> None:
        """End it at once, with everything it started where it is `isolated`."""

    def hang_up(self) -> None:
        """Say goodbye: a healthy launcher ends by that, with everything it started."""

    def close(self, patience: float = 3.0) -> None:
        """Hang up, wait until it is gone (killing it after `patience` seconds) and free everything."""


MakeLauncher = Callable[[Tree, int, int], Launcher]
"""(tree, descriptor for the launcher's own output, soft limit of descriptors for children) -> a launcher that starts.

Raises OSError when it cannot be started at all.
"""
