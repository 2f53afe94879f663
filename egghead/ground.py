"""Whether the folder under a node is still the one it stands on. Looks, in a thread of its own; stops nothing.

The processes of a node see the records directory as it was when their jails were closed. When somebody removes it and
brings it back (a restored backup, `git clone` again), or removes `.egghead` in it, they hold the folder that is gone:
the node has to start anew on the one that is there.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOOK_EVERY = 1.0  # seconds
OTHER = "the records directory is another one now"

Identity = tuple[int, int]
Sight = tuple[Identity, Identity | None, int]  # the folder, its `.egghead`, when the folder changed last


def sight(records: Path, own: Path) -> Sight | None:
    """What stands at `records` now, with its own folder `own`; None: nothing, or an empty folder, the place of a disk that is
    not mounted."""
    try:
        info = os.stat(records)
        if not os.listdir(records):
            return None
    except OSError:
        return None
    try:
        inside = os.stat(own)
    except OSError:
        return ((info.st_dev, info.st_ino), None, info.st_mtime_ns)
    return ((info.st_dev, info.st_ino), (inside.st_dev, inside.st_ino), info.st_mtime_ns)


@contextmanager
def watched(records: Path, own: Path, every: float = LOOK_EVERY) -> Iterator[threading.Event]:
    """An event that is set once another folder stands at `records`, or `own` was removed from it, and both are at rest: what
    is just being deleted or copied is not built upon."""
    other, ended = threading.Event(), threading.Event()
    first = sight(records, own)

    def look() -> None:
        # In a thread: on a network disk that has gone, `stat` waits for ever, and the root may not.
        before: Sight | None = None
        while not ended.wait(every):
            now = sight(records, own)
            if now is not None and first is not None and now[:2] != first[:2] and now == before:
                other.set()
                return
            before = now

    threading.Thread(target=look, name="ground", daemon=True).start()
    try:
        yield other
    finally:
        ended.set()
