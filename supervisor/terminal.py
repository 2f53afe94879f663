"""Is the terminal still there? SIGHUP says two things: read your file again, and: your terminal has gone.

The signal itself does not say which. The kernel takes the terminal from its session before it sends the signal, so
asking for /dev/tty tells.
"""

from __future__ import annotations

import os
import signal


class Terminal:
    """The controlling terminal at the time this is made, if there is one."""

    def __init__(self) -> None:
        self._there = _has_terminal()
        self.may_leave = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # nohup: it is to outlive its terminal

    def left(self) -> bool:
        """True once, when the terminal that was there has gone."""
        if not self._there or _has_terminal():
            return False
        self._there = False
        return True


def _has_terminal() -> bool:
    try:
        fd = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    os.close(fd)
    return True
