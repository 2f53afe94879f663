"""Where file events come from: one small interface, and which implementation a system gets.

`inotify` (records.inotify) on Linux, the library `watchfiles` (records.rustnotify) on every other system. Both are tried by
tests/records/test_events.py with the same changes. What a path means, and what is done when events are lost, is decided by
who reads (`records.watch`); nothing is imported here before it is needed.
"""

from __future__ import annotations

import errno
import sys
from dataclasses import dataclass
from typing import Protocol

KINDS = ("auto", "inotify", "watchfiles", "poll")
_LIMITS = {
    errno.ENOSPC: "no watch left",
    errno.EMFILE: "no instance or open file left",
    errno.ENFILE: "no open file left",
}


class NoWatchLeft(OSError):
    """The kernel gives no more watches or instances; events would be missed from here on."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What changed: relative paths of files and folders, with `/`, none of them hidden.

    `dropped`: more changed than `paths` tells, look at everything. `gone`: the folder itself was removed, moved or unmounted.
    """

    paths: frozenset[str] = frozenset()
    dropped: bool = False
    gone: bool = False


class Events(Protocol):
    """File events of one folder and all below it, from the moment the object was made. Dot-folders are not told of."""

    name: str
    complete: bool  # False: it may lose events without a word, so who reads must look at everything now and then

    def collect(self, wait: float, quiet: float, most: float) -> Batch | None:
        """What changed, as an empty Batch when nothing did for `wait` seconds; None: closed.

        A batch ends after `quiet` seconds without an event, at the latest after `most`; a source may end it as soon as every file
        in it was written and closed, or moved there, when nothing else was told shortly before. Blocks; one thread at a time.
        Raises NoWatchLeft when a new folder cannot be watched (where the source knows), OSError when it has broken.
        """

    def close(self) -> None:
        """Give everything back; `collect` returns None, in whatever thread it is. Safe to call twice."""


def open_events(root: str, kind: str = "auto") -> Events:
    """The source `kind` for a real path. Raises NoWatchLeft at a limit, OSError when this system has no such events."""
    if kind == "auto":
        kind = "inotify" if sys.platform == "linux" else "watchfiles"
    if kind == "inotify":
        from records.inotify import Inotify

        return Inotify(root)
    try:
        from records.rustnotify import RustEvents
    except ImportError as error:
        raise OSError(errno.ENOSYS, f"the library watchfiles cannot be loaded: {error}") from error
    return RustEvents(root)


def limit_error(code: int, text: str) -> OSError:
    """The error for a code of the kernel: NoWatchLeft at a limit."""
    return NoWatchLeft(code, f"{text}: {_LIMITS[code]}") if code in _LIMITS else OSError(code, text)
