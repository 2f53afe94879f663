"""Which paths may have changed, as somebody else changes them: a stream of sets of relative paths.

A path in a set is a hint, never a fact: whoever reads it compares the disk with what it knows. "" means: look at
everything. Where the kernel gives no events (network mounts, no inotify watches left) the same stream comes from a
clock, and `polling` says why.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

from records import ids
from records.inotify import EVERYTHING, Inotify, NoWatchLeft

logger = logging.getLogger("records.watch")

STEP = 0.015  # seconds without an event after which a batch is complete
DEBOUNCE = 0.12  # seconds after which it is complete anyway
WAIT = 1.0  # seconds between looks at whether the directory itself is still the same
SHARE = 5  # while polling, the pause is at least this many times as long as the look at everything took
_REMOTE = ("nfs", "cifs", "smb", "9p", "fuse.", "virtiofs", "vboxsf", "afs", "ceph", "lustre", "gpfs", "davfs")


class Watcher:
    """Hints about changes below `root`. `async with Watcher(root) as watcher: async for paths in watcher: ...`

    Watching begins when the block is entered, so that a scan made inside it misses nothing.
    """

    def __init__(self, root: Path | str, *, poll_every: float = 2.0, force_polling: bool = False) -> None:
        self.root = os.path.realpath(root)
        self.poll_every = poll_every
        self.polling: str | None = "asked for" if force_polling else _remote(self.root)
        self._notify: Inotify | None = None
        self._closed = asyncio.Event()
        self._identity: tuple[int, int] | None = None
        # Held open, so that a directory made anew cannot get the inode of the one that is gone and look like it.
        self._held = -1

    async def __aenter__(self) -> Watcher:
        await asyncio.to_thread(self._begin)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the stream; safe to call twice."""
        self._closed.set()
        self._release()

    def _release(self) -> None:
        notify, self._notify = self._notify, None
        if notify is not None:
            notify.close()
        held, self._held = self._held, -1
        if held >= 0:
            os.close(held)

    def _begin(self) -> None:
        self._release()
        self._identity = None
        try:
            self._held = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            info = os.fstat(self._held)
            self._identity = (info.st_dev, info.st_ino)
        except OSError:
            pass
        if self.polling is not None or self._identity is None:
            return
        try:
            self._notify = Inotify(self.root)
        except OSError as error:
            self._poll(error)

    def _poll(self, error: OSError) -> None:
        """From now on a clock gives the hints: there are no events here, or no more of them."""
        notify, self._notify = self._notify, None
        if notify is not None:
            notify.close()
        remedy = "; raise fs.inotify.max_user_watches and max_user_instances" if isinstance(error, NoWatchLeft) else ""
        self.polling = f"the system gives no file events ({error.strerror}){remedy}"
        logger.warning("watching %s by polling every %.0f s: %s", self.root, self.poll_every, self.polling)

    async def __aiter__(self) -> AsyncIterator[frozenset[str]]:
        loop = asyncio.get_running_loop()
        took = 0.0
        while not self._closed.is_set():
            notify = self._notify
            if notify is None:
                # A look at a large folder takes its time; polling must not become all that the machine does.
                await self._pause(max(self.poll_every, SHARE * took) if self._identity else WAIT)
                if not self._closed.is_set() and await asyncio.to_thread(self._lives):
                    before = loop.time()
                    yield frozenset({EVERYTHING})
                    took = loop.time() - before
                continue
            try:
                raw = await asyncio.to_thread(notify.collect, WAIT, STEP, DEBOUNCE)
            except OSError as error:
                # New folders could not be watched: what lies in them would never be seen.
                await asyncio.to_thread(self._poll, error)
                yield frozenset({EVERYTHING})
                continue
            if raw is None or self._closed.is_set():
                return
            paths = {path for path in raw if path != EVERYTHING and self._meant(path)}
            if EVERYTHING in raw or not paths:
                if not await asyncio.to_thread(self._lives):
                    paths.add(EVERYTHING)
                elif EVERYTHING in raw:
                    logger.warning("file events of %s were dropped; looking at everything", self.root)
                    paths = {EVERYTHING}
            if paths:
                yield frozenset(paths)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            pass

    def _lives(self) -> bool:
        """Whether the directory is the one that is watched. When it was replaced, the new one is watched from now on."""
        now = _identity(self.root)
        if now == self._identity and now is not None:
            return True
        was = self._identity
        if now is None:
            if was is not None:
                logger.warning("the records directory %s is gone", self.root)
            self._identity = None
            self._release()
            return was is not None and self.polling is not None
        self._begin()
        return self.polling is not None or was is None

    def _meant(self, path: str) -> bool:
        """Whether a change there may be one of a note: a note's name, a folder, or what may have been one."""
        if path.startswith(".") or "/." in path:
            return False
        try:
            path.encode()
        except UnicodeEncodeError:
            return False  # a name that is not UTF-8 cannot be an id
        if ids.is_note(path):
            return True
        if ids.ignored(path.rpartition("/")[2]):
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
