"""Is the terminal still there? SIGHUP says two things: read your file again, and: your terminal has gone.

The signal itself does not say which. The kernel takes the terminal from its session before it sends the signal, so
asking for /dev/tty tells. A process in the background is not told at all when its terminal goes: a SIGHUP that comes
to it much later is somebody's wish. So one looks from time to time, and only a loss just now makes it the other kind.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

LOOK_EVERY = 5.0  # seconds
JUST_NOW = 3.0  # seconds between the loss of a terminal, once it is seen, and the SIGHUP for it


def has_terminal() -> bool:
    """This process has a controlling terminal."""
    try:
        fd = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    os.close(fd)
    return True


class Terminal:
    """The controlling terminal at the time this is made, if there is one. `now`: monotonic seconds."""

    def __init__(self, has: Callable[[], bool] = has_terminal, now: Callable[[], float] = time.monotonic) -> None:
        self._has = has
        self._now = now
        self._lost: float | None = None
        self.there = has()
        self.may_leave = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # nohup: it is to outlive its terminal

    def look(self) -> None:
        """See whether it has gone. To be called every `LOOK_EVERY` seconds while it is `there`."""
        if self.there and not self._has():
            self.there, self._lost = False, self._now()

    def left(self) -> bool:
        """A SIGHUP that comes now is because the terminal has just gone, and that matters."""
        self.look()
        return self._lost is not None and self._now() - self._lost < JUST_NOW and not self.may_leave
