"""File events of a folder and all below it, straight from Linux: `inotify(7)`.

Why not `watchfiles`, which other systems use: it adds watches for new folders without saying when the kernel has none left,
and drops the kernel's word that it dropped events. Both are notes that never appear in search. What a path means is not
decided here, nor when a batch is over for whom; dot-folders are not entered.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from records.events import Batch, NoWatchLeft, limit_error

# linux/inotify.h
_MODIFY, _ATTRIB, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO = 0x2, 0x4, 0x8, 0x40, 0x80
_CREATE, _DELETE, _DELETE_SELF, _MOVE_SELF = 0x100, 0x200, 0x400, 0x800
_OVERFLOW, _IGNORED, _ONLYDIR, _DONT_FOLLOW, _EXCL_UNLINK, _ISDIR = 0x4000, 0x8000, 1 << 24, 1 << 25, 1 << 26, 1 << 30
_WANTED = (
    _MODIFY | _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF
    | _ONLYDIR | _DONT_FOLLOW | _EXCL_UNLINK
)  # fmt: skip
_HEAD = struct.Struct("iIII")
_BUFFER = 1 << 18


@dataclass(slots=True)
class _Found:
    """A batch as it grows."""

    paths: set[str] = field(default_factory=set)
    unsettled: set[str] = field(
        default_factory=set
    )  # of those, the ones that were not written and closed, or moved here, last
    dropped: bool = False
    gone: bool = False

    @property
    def settled(self) -> bool:
        return bool(self.paths) and not (self.unsettled or self.dropped or self.gone)

    def batch(self) -> Batch:
        return Batch(frozenset(self.paths), self.dropped, self.gone)


class Inotify:
    """The interface of `records.events.Events`: watches on `root` and each folder below it.

    Raises OSError (`NoWatchLeft` at the limits) when it cannot begin.
    """

    name = "inotify"
    complete = True

    def __init__(self, root: str) -> None:
        self.root = root
        self._libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(self._libc, "inotify_init1"):
            raise OSError(errno.ENOSYS, "this system has no inotify")
        self._reading = threading.Lock()
        self._folders: dict[int, str] = {}  # watch -> folder, relative
        self._descriptor = self._call(self._libc.inotify_init1, os.O_NONBLOCK | os.O_CLOEXEC)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closed = False
        self._told = 0.0  # when the last batch ended
        try:
            self._watch("")
        except OSError:
            self.close()
            raise

    def _call(self, function: Any, *arguments: Any) -> int:
        result = int(function(*arguments))
        if result < 0:
            code = ctypes.get_errno()
            raise limit_error(code, os.strerror(code))
        return result

    def _watch(self, folder: str) -> None:
        """Watch a folder and those below it. Its watch comes before its listing, so that nothing falls between."""
        waiting = [folder]
        while waiting:
            place = waiting.pop()
            full = os.path.join(self.root, place) if place else self.root
            try:
                watch = self._call(self._libc.inotify_add_watch, self._descriptor, os.fsencode(full), _WANTED)
            except NoWatchLeft:
                raise
            except OSError:
                if not place:
                    raise
                continue  # gone again, or not ours to read: the regular look says so
            self._folders[watch] = place
            with suppress(OSError), os.scandir(full) as entries:
                for entry in entries:
                    if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                        waiting.append(f"{place}/{entry.name}" if place else entry.name)

    def _forget(self, folder: str) -> None:
        """A folder went elsewhere; its watches would tell of it under its old name."""
        for watch, place in list(self._folders.items()):
            if place == folder or place.startswith(folder + "/"):
                del self._folders[watch]
                self._libc.inotify_rm_watch(self._descriptor, watch)

    def collect(self, wait: float, quiet: float, most: float) -> Batch | None:
        """As `Events.collect`."""
        with self._reading:
            if self._closed:
                return None
            found = _Found()
            end = None
            alone = False
            while True:
                now = time.monotonic()
                limit = wait if end is None else min(quiet, end - now)
                ready = select.select([self._descriptor, self._wake], [], [], max(limit, 0))[0]
                if self._wake in ready:
                    return None
                now = time.monotonic()
                if ready:
                    if end is None:
                        end, alone = now + most, now - self._told > quiet
                    self._read(found)
                # A file that was saved by itself need not wait for more. In a burst each batch would be of a few files.
                if not ready or (alone and found.settled) or (end is not None and time.monotonic() >= end):
                    if found.paths:
                        self._told = time.monotonic()
                    return found.batch()

    def _read(self, found: _Found) -> None:
        try:
            data = os.read(self._descriptor, _BUFFER)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            watch, mask, _, size = _HEAD.unpack_from(data, at)
            name = os.fsdecode(data[at + _HEAD.size : at + _HEAD.size + size].rstrip(b"\0"))
            at += _HEAD.size + size
            if mask & _OVERFLOW:
                self._watch("")  # folders may have come unseen
                found.dropped = True
            elif mask & _IGNORED:
                self._folders.pop(watch, None)
            elif (folder := self._folders.get(watch)) is not None:
                self._one(found, folder, name, mask)

    def _one(self, found: _Found, folder: str, name: str, mask: int) -> None:
        if mask & (_DELETE_SELF | _MOVE_SELF):
            found.gone |= not folder  # of another folder its parent tells by name
            return
        if not (folder or name):
            if mask & _ATTRIB:  # the folder of all was closed or opened, of which no parent tells
                with suppress(PermissionError):
                    self._watch("")
                found.paths.add("")
            return
        if not name or name.startswith("."):
            return  # of the folder's own attributes, or hidden
        path = f"{folder}/{name}" if folder else name
        if mask & _ISDIR:
            if mask & _MOVED_FROM:
                self._forget(path)
            elif mask & (_CREATE | _MOVED_TO):
                self._watch(path)
            elif not mask & _DELETE:
                self._watch(path)  # it may be readable now
        found.paths.add(path)
        if mask & (_CLOSE_WRITE | _MOVED_TO) and not mask & _ISDIR:
            found.unsettled.discard(path)
        elif not mask & _ATTRIB:
            found.unsettled.add(path)

    def close(self) -> None:
        """As `Events.close`."""
        if not self._closed:
            os.eventfd_write(self._wake, 1)
            with self._reading:
                self._closed = True
                os.close(self._descriptor)
                os.close(self._wake)
