"""Which paths may have changed, as somebody else changes them: a stream of sets of relative paths.

A path in a set is a hint, never a fact: whoever reads it compares the disk with what it knows. "" means: look at
everything. Where the system gives no events (network mounts, no inotify watches left) the same stream comes from a
clock, and `watching` says why; events are tried again at intervals.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from records import ids
from records.errors import InvalidValue
from records.events import KINDS, Events, NoWatchLeft, open_events

logger = logging.getLogger("records.watch")

EVERYTHING = ""
ALL = frozenset({EVERYTHING})
STEP = 0.015  # seconds without an event after which a batch is complete
DEBOUNCE = 0.12  # seconds after which it is complete anyway
WAIT = 1.0  # seconds between looks at whether the directory itself is still the same
SHARE = 5  # while polling, the pause is at least this many times as long as the look at everything took
LOOK = 60.0  # seconds between looks at everything beside a source that loses events without a word
RETRY, MOST = 30.0, 600.0  # seconds until events are tried again while polling: at first, and after many failures
_REMOTE = ("nfs", "cifs", "smb", "9p", "fuse.", "virtiofs", "vboxsf", "afs", "ceph", "lustre", "gpfs", "davfs")


@dataclass(frozen=True, slots=True)
class Watching:
    """How changes are found at this moment. `by`: inotify, watchfiles, polling, or nothing (the folder is gone).

    `why`: of polling, a sentence; else empty. `every`: seconds between looks at everything, None where events tell all.
    """

    by: str
    why: str = ""
    every: float | None = None

    @property
    def text(self) -> str:
        """What a person is told: how changes are found."""
        if self.by == "nothing":
            return f"by nothing: {self.why}"
        if self.by == "polling":
            return f"by polling every {self.every:g} s: {self.why}"
        return f"by events ({self.by})" + (f", and a look at everything every {self.every:g} s" if self.every else "")

    def to_dict(self) -> dict[str, Any]:
        """The fields and the `text`."""
        return {**asdict(self), "text": self.text}


class Watcher:
    """Hints about changes below `root`. `async with Watcher(root) as watcher: async for paths in watcher: ...`

    Watching begins when the block is entered, so that a scan made inside it misses nothing. `kind`: auto (what the system
    has), inotify, watchfiles or poll. `retry`: seconds until events are tried again when they could not be had.
    Raises InvalidValue.
    """

    def __init__(
        self, root: Path | str, *, kind: str = "auto", poll_every: float = 2.0, retry: float = RETRY
    ) -> None:  # fmt: skip
        if kind not in KINDS:
            near = difflib.get_close_matches(kind, KINDS, 1)
            raise InvalidValue(
                f"changes cannot be watched by {kind!r}; {f'did you mean {near[0]!r}?' if near else f'known: {KINDS}'}"
            )
        self.root = os.path.realpath(root)
        self.kind = kind
        self.poll_every = poll_every
        self.polling: str | None = None  # why
        self._retry = retry
        self._patience = retry  # until the next try
        self._again: float | None = None  # when events are tried again; None: not while the folder is the same
        self._since = time.monotonic()
        self._events: Events | None = None
        self._identity: tuple[int, int] | None = None
        # Held open, so that a directory made anew cannot get the inode of the one that is gone and look like it.
        self._held = -1
        self._closed = asyncio.Event()
        self._handing = threading.Lock()  # a thread that has just opened something must not outrun `close`

    @property
    def watching(self) -> Watching:
        """How changes are found at this moment."""
        events = self._events
        if events is not None:
            return Watching(events.name, every=None if events.complete else LOOK)
        if self._identity is None:
            return Watching("nothing", f"the folder {self.root} is not there")
        return Watching("polling", self.polling or "", self.poll_every)

    async def __aenter__(self) -> Watcher:
        await asyncio.to_thread(self._begin)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the stream; safe to call twice."""
        with self._handing:
            self._closed.set()
        self._release()

    def _release(self) -> None:
        self._drop()
        with self._handing:
            held, self._held = self._held, -1
        if held >= 0:
            os.close(held)

    def _drop(self) -> None:
        with self._handing:
            events, self._events = self._events, None
        if events is not None:
            events.close()

    # --- in a thread ---

    def _begin(self) -> None:
        """Watch the folder that is there now, by events if they can be had."""
        self._release()
        with self._handing:
            if self._closed.is_set():
                return
            with suppress(OSError):
                self._held = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._identity = _identity(self.root)
        self._again = None
        if self._identity is not None:
            self.polling = "asked for" if self.kind == "poll" else _remote(self.root)
            if self.polling is None:
                self._try()

    def _try(self) -> None:
        began = time.monotonic()
        try:
            events = open_events(self.root, self.kind)
        except OSError as error:
            self._poll(error, time.monotonic() - began)
            return
        with self._handing:
            if self._closed.is_set():
                events.close()
                return
            self._events, self._since = events, time.monotonic()
        if self.polling is not None:
            logger.warning("watching %s by events (%s) again", self.root, events.name)
        self.polling = self._again = None

    def _poll(self, error: OSError, took: float = 0.0) -> None:
        """For now a clock gives the hints: there are no events here, or no more of them. They are tried again later."""
        now = time.monotonic()
        if self._events is not None and now - self._since > MOST:
            self._patience = self._retry  # after so long it is a new fault, not the old one
        self._drop()
        # A try takes its time too; and where folders come and go at the limit, it may succeed in vain again and again.
        self._again = now + max(self._patience, SHARE * took)
        self._patience = min(2 * self._patience, MOST)
        remedy = "; raise fs.inotify.max_user_watches and max_user_instances" if isinstance(error, NoWatchLeft) else ""
        was, self.polling = self.polling, f"the system gives no file events ({error.strerror}){remedy}"
        if was is None:
            logger.warning("watching %s by polling every %.0f s: %s", self.root, self.poll_every, self.polling)

    def _heard(self, events: Events) -> frozenset[str]:
        """What the events tell next."""
        try:
            batch = events.collect(WAIT, STEP, DEBOUNCE)
        except OSError as error:
            # New folders could not be watched: what lies in them would never be seen.
            self._poll(error)
            return ALL
        if batch is None:
            return frozenset()
        paths = frozenset(path for path in batch.paths if self._meant(path))
        if (batch.dropped or batch.gone or not paths) and not self._same():
            return ALL
        if batch.dropped:
            logger.warning("file events of %s were dropped; looking at everything", self.root)
            return ALL
        return paths

    def _looked(self) -> frozenset[str]:
        """What the clock tells."""
        if not self._same():
            return ALL
        if self._again is not None and time.monotonic() >= self._again:
            self._try()
        return ALL if self._identity is not None else frozenset()

    def _same(self) -> bool:
        """Whether the folder is the one that is watched. When it was replaced, the new one is watched from now on."""
        now = _identity(self.root)
        if now == self._identity:
            return True
        if now is None:
            logger.warning("the records directory %s is gone", self.root)
            self._identity = self._again = None
            self._release()
        else:
            self._begin()
        return False

    # --- the stream ---

    async def __aiter__(self) -> AsyncIterator[frozenset[str]]:
        loop = asyncio.get_running_loop()
        took = 0.0
        looked = loop.time()
        while not self._closed.is_set():
            events = self._events
            if events is not None:
                paths = await asyncio.to_thread(self._heard, events)
                if not events.complete and loop.time() - looked > max(LOOK, 10 * SHARE * took):
                    paths = ALL
            else:
                # A look at a large folder takes its time; polling must not become all that the machine does.
                await self._pause(max(self.poll_every, SHARE * took) if self._identity else WAIT)
                paths = frozenset() if self._closed.is_set() else await asyncio.to_thread(self._looked)
            if not paths or self._closed.is_set():
                continue
            before = loop.time()
            yield paths
            if EVERYTHING in paths:
                looked = loop.time()
                took = looked - before

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            pass

    def _meant(self, path: str) -> bool:
        """Whether a change there may be one of a note: a note's name, a folder, or what may have been one."""
        try:
            path.encode()
        except UnicodeEncodeError:
            return False  # a name that is not UTF-8 cannot be an id
        if ids.is_note(path):
            return True
        if ids.ignored(path.rpartition("/")[2]) or ids.is_copy(path):
            return False
        full = os.path.join(self.root, path)
        return os.path.isdir(full) or not os.path.lexists(full)


def _identity(root: str) -> tuple[int, int] | None:
    try:
        info = os.stat(root)
    except OSError:
        return None
    return (info.st_dev, info.st_ino)


def _remote(root: str) -> str | None:
    """The kind of a network filesystem that `root` is on, as a reason for polling; None for a local one."""
    best, kind = "", ""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as table:
            for line in table:
                left, _, right = line.partition(" - ")
                fields, types = left.split(), right.split()
                if len(fields) < 5 or not types:
                    continue
                mount = fields[4].replace("\\040", " ")
                inside = root == mount or root.startswith(mount.rstrip("/") + "/")
                if inside and len(mount) >= len(best):
                    best, kind = mount, types[0]
    except OSError:
        return None  # no /proc in a jail: events are tried, and the regular look at everything finds what they miss
    return f"{best} is a {kind} mount" if kind.startswith(_REMOTE) else None
