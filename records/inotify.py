"""File events of a folder and all below it, straight from Linux: `inotify(7)`.

Why not a library: those that exist add watches for new folders without saying when the kernel has none left, and drop the
kernel's word that it dropped events. Both are notes that never appear in search. What a path means is not decided
here, nor when a batch is over for whom; dot-folders are not entered.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

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
EVERYTHING = ""


class NoWatchLeft(OSError):
    """The kernel gives no more watches or instances; events would be missed from here on."""


class Inotify:
    """Watches on `root` and each folder below it. Raises OSError (`NoWatchLeft` at the limits) when it cannot begin."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._reading = threading.Lock()
        self._folders: dict[int, str] = {}  # watch -> folder, relative
        self._descriptor = self._call(self._libc.inotify_init1, os.O_NONBLOCK | os.O_CLOEXEC)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closed = False
        try:
            self._watch("")
        except OSError:
            self.close()
            raise

    def _call(self, function: Any, *arguments: Any) -> int:
        result = int(function(*arguments))
        if result < 0:
            code = ctypes.get_errno()
            kind = NoWatchLeft if code in (28, 24, 23) else OSError  # ENOSPC, EMFILE, ENFILE
            raise kind(code, os.strerror(code))
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

    def collect(self, wait: float, quiet: float, most: float) -> set[str] | None:
        """Relative paths of files and folders that changed, empty when nothing did for `wait` seconds; None: closed.

        A batch ends after `quiet` seconds without an event, at the latest after `most`. `EVERYTHING` among the paths:
        the kernel dropped events, or the root itself went. Blocks. Raises NoWatchLeft.
        """
        with self._reading:
            if self._closed:
                return None
            found: set[str] = set()
            end = None
            while True:
                now = time.monotonic()
                limit = wait if end is None else min(quiet, end - now)
                ready = select.select([self._descriptor, self._wake], [], [], max(limit, 0))[0]
                if self._wake in ready:
                    return None
                if not ready:
                    return found
                if end is None:
                    end = time.monotonic() + most
                found.update(self._read())
                if time.monotonic() >= end:
                    return found

    def _read(self) -> Iterator[str]:
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
                yield EVERYTHING
            elif mask & _IGNORED:
                self._folders.pop(watch, None)
            elif (folder := self._folders.get(watch)) is not None:
                yield from self._one(folder, name, mask)

    def _one(self, folder: str, name: str, mask: int) -> Iterator[str]:
        if mask & (_DELETE_SELF | _MOVE_SELF):
            if not folder:
                yield EVERYTHING
            return  # its parent tells of it by name
        if not name:
            return  # of the folder's own attributes
        path = f"{folder}/{name}" if folder else name
        if mask & _ISDIR and not name.startswith("."):
            if mask & _MOVED_FROM:
                self._forget(path)
            elif mask & (_CREATE | _MOVED_TO):
                self._watch(path)
            elif not mask & _DELETE:
                self._watch(path)  # it may be readable now
        yield path

    def close(self) -> None:
        """Give the watches back; `collect` returns None, in whatever thread it is. Safe to call twice."""
        if not self._closed:
            os.eventfd_write(self._wake, 1)
            with self._reading:
                self._closed = True
                os.close(self._descriptor)
                os.close(self._wake)
