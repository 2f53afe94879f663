"""File events where there is no inotify: FSEvents, ReadDirectoryChangesW and kqueue, through the library `watchfiles`.

It follows a folder without being told which are below it, and says no word when the system drops events or, on Linux, when
the watches run out on a new folder. So `complete` is False, and who reads looks at everything now and then.
"""

from __future__ import annotations

import errno
import os
import re
import threading

from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from records.events import Batch, NoWatchLeft, limit_error

STEP = (
    0.05  # seconds: the library looks for new events, and whether to stop, this often; less keeps the processor awake
)
POLL = 2000  # milliseconds between its looks where it polls by itself, on a kernel without such events
_CODE = re.compile(r"\(os error (\d+)\)")


class RustEvents:
    """The interface of `records.events.Events`. Raises OSError (`NoWatchLeft` at the limits) when it cannot begin."""

    name = "watchfiles"
    complete = False

    def __init__(self, root: str) -> None:
        self.root = root
        self._stop = threading.Event()
        self._reading = threading.Lock()
        try:
            self._notify = _begin(root)
        except (OSError, WatchfilesRustInternalError) as error:
            raise _told(error) from error

    def collect(self, wait: float, quiet: float, most: float) -> Batch | None:
        """As `Events.collect`. `quiet` and `most` are taken in steps of STEP."""
        step = max(quiet, STEP)
        with self._reading:
            if self._stop.is_set():
                return None
            try:
                found = self._notify.watch(
                    int(max(most, step) * 1000), int(step * 1000), int(max(wait, step) * 1000), self._stop
                )
            except (OSError, WatchfilesRustInternalError) as error:
                raise _told(error) from error
        if isinstance(found, str):
            if found == "signal":
                raise KeyboardInterrupt  # it was taken from Python by the library, which says so in this way
            return Batch() if found == "timeout" else None
        paths = {self._relative(path) for _, path in found}
        return Batch(frozenset(path for path in paths if path and not path.startswith(".") and "/." not in path),
                     gone="" in paths and not os.path.isdir(self.root))  # fmt: skip

    def _relative(self, path: str) -> str:
        inside = path[len(self.root) :] if path.startswith(self.root) else ""
        return inside.replace(os.sep, "/").strip("/")

    def close(self) -> None:
        """As `Events.close`."""
        self._stop.set()
        with self._reading:
            self._notify.close()


def _begin(root: str) -> RustNotify:
    try:
        return RustNotify([root], False, False, POLL, True, False)
    except PermissionError:
        # A folder that is not ours to read must not keep the others from being followed. Not tried first: told to pass
        # over such folders, the library also passes over those for which no watch was left.
        return RustNotify([root], False, False, POLL, True, True)


def _told(error: Exception) -> OSError:
    """The library's errors carry their number, if any, in the text."""
    text = str(error).splitlines()[0]
    if "watch limit reached" in text:
        return NoWatchLeft(errno.ENOSPC, "OS file watch limit reached")
    found = _CODE.search(text)
    return limit_error(int(found.group(1)) if found else errno.EIO, text)
