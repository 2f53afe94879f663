"""The guardian: who stays when root and zygote are killed at the same instant and there is no PID namespace.

It is the stub that the root executes, standing between root and zygote as a second subreaper. It makes nothing, holds
no channel, and only waits for one of the two to end; then it kills the zygote and all that comes to it. In a PID
namespace the kernel does that, and there is no guardian.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import NoReturn

from supervisor.jail import linux
from supervisor.zygote.orphans import kill_orphans

HUNT = 10.0  # seconds to find and kill everything


def guard(zygote: int, root: int) -> NoReturn:
    """Become the guardian of the child `zygote`. `root`: a pidfd. Everything else that is open is closed."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
        linux.die_with_parent(0)  # from here on the root's end is seen by its pidfd, and survived
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):  # the zygote's output ends with the zygote
            os.dup2(null, fd)
        end = os.pidfd_open(zygote)
        linux.close_all_but((0, 1, 2, root, end))
        poll = select.poll()
        poll.register(root, select.POLLIN)
        poll.register(end, select.POLLIN)
        poll.poll()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(zygote, signal.SIGKILL)
        kill_orphans((), HUNT)
        os._exit(0)
