"""Which paths may have changed, as somebody else changes them: a stream of sets of relative paths.

A path in a set is a hint, never a fact: whoever reads it compares the disk with what it knows. "" means: look at
everything. Where the kernel gives no events (network mounts, no inotify watches left) the same stream comes from a
clock, and `polling` says why.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from records import ids

logger = logging.getLogger("records.watch")

STEP = 15  # ms without an event after which a batch is complete
DEBOUNCE = 120  # ms after which it is complete anyway
WAIT = 1000  # ms between looks at whether the directory itself is still the same
AGAIN = 0.4  # seconds after which a new folder is looked at once more
_REMOTE = ("nfs", "cifs", "smb", "9p", "fuse.", "virtiofs", "vboxsf", "afs", "ceph", "lustre", "gpfs", "davfs")


class Watcher:
    """Hints about changes below `root`. `async with Watcher(root) as watcher: async for paths in watcher: ...`

    Watching begins when the block is entered, so that a scan made inside it misses nothing.
    """

    def __init__(self, root: Path | str, *, poll_every: float = 2.0, force_polling: bool = False) -> None:
        self.root = os.path.realpath(root)
        self.poll_every = poll_every
        self.polling: str | None = "asked for" if force_polling else _remote(self.root)
        self._notify: RustNotify | None = None
        self._stop = threading.Event()
        self._closed = asyncio.Event()
        self._identity: tuple[int, int] | None = None
        # Held open, so that a directory made anew cannot get the inode of the one that is gone and look like it.
        self._held = -1
        self._again: dict[str, float] = {}

    async def __aenter__(self) -> Watcher:
        await asyncio.to_thread(self._begin)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the stream; safe to call twice."""
        self._stop.set()
        self._closed.set()
        self._release()

    def _release(self) -> None:
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
            self._notify = RustNotify([self.root], False, False, 300, True, True)
        except (OSError, WatchfilesRustInternalError) as error:
            # inotify's limit of watches or instances (fs.inotify.max_user_watches), or none at all in this sandbox.
            self.polling = f"the system gives no file events ({error}); raise fs.inotify.max_user_watches"
            logger.warning("watching %s by polling every %.0f s: %s", self.root, self.poll_every, self.polling)

    async def __aiter__(self) -> AsyncIterator[frozenset[str]]:
        loop = asyncio.get_running_loop()
        while not self._closed.is_set():
            if self._notify is None:
                await self._pause(self.poll_every if self._identity else WAIT / 1000)
                if not self._closed.is_set() and await asyncio.to_thread(self._lives):
                    yield frozenset({""})
                continue
            wait = WAIT if not self._again else int(AGAIN * 500)
            raw = await asyncio.to_thread(self._notify.watch, DEBOUNCE, STEP, wait, self._stop)
            if raw == "stop" or self._closed.is_set():
                return
            paths: set[str] = set()
            if isinstance(raw, set):
                paths = await asyncio.to_thread(self._relative, raw, loop.time())
            due = [path for path, at in self._again.items() if at <= loop.time()]
            for path in due:
                del self._again[path]
            paths.update(due)
            if (not isinstance(raw, set) or not paths) and not await asyncio.to_thread(self._lives):
                paths.add("")
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
            self._notify = None
            self._release()
            return was is not None and self.polling is not None
        self._notify = None
        self._begin()
        return self.polling is not None or was is None

    def _relative(self, raw: set[tuple[int, str]], now: float) -> set[str]:
        found = set()
        prefix = self.root + os.sep
        for _, full in raw:
            if full == self.root:
                continue
            if not full.startswith(prefix):
                continue
            path = full[len(prefix) :]
            if path.startswith(".") or "/." in path:
                continue
            try:
                path.encode()
            except UnicodeEncodeError:
                continue
            if ids.is_note(path):
                found.add(path)
            elif not ids.ignored(path.rpartition("/")[2]):
                if os.path.isdir(full):
                    # Files made in a new folder before its own watch was set give no event: look twice.
                    found.add(path)
                    self._again[path] = now + AGAIN
                elif not os.path.lexists(full):
                    found.add(path)  # it may have been a folder
        return found


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
