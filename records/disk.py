"""What the store asks of the disk: a synced file beside another, two files exchanged, a folder made durable. Linux only here."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import logging
import os
import stat as stat_module
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

logger = logging.getLogger("records.disk")

TEMPORARY = ".egghead-"  # how the names of unfinished files begin; a scan ignores and later sweeps them
_STATX_BTIME, _BTIME_AT = 0x800, 80  # linux/stat.h: the mask, and where stx_btime lies in struct statx
_local = threading.local()
_AT_FDCWD, _RENAME_NOREPLACE, _RENAME_EXCHANGE = -100, 1, 2  # linux/fcntl.h, linux/fs.h


@contextmanager
def beside(full: str, data: bytes, like: os.stat_result | None) -> Iterator[str]:
    """A synced file beside `full` with these bytes, and mode and owner as `like`; removed at the end if it is still there.

    It is locked all the while: a file of such a name that nobody holds was left by a killed write (see `sweep`).
    """
    name, descriptor = _fresh(os.path.dirname(full))
    try:
        try:
            if like is not None:
                os.fchmod(descriptor, stat_module.S_IMODE(like.st_mode))
                with suppress(PermissionError):
                    os.fchown(descriptor, like.st_uid, like.st_gid)
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
            yield name
        finally:
            # What cannot be removed now is swept at the next start; it must not hide how the write itself ended.
            with suppress(OSError):
                os.unlink(name)
    finally:
        os.close(descriptor)


def _fresh(folder: str) -> tuple[str, int]:
    while True:
        name = os.path.join(folder, f"{TEMPORARY}{os.getpid()}-{time.time_ns()}.tmp")
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        lock(descriptor)
        if os.fstat(descriptor).st_nlink:
            return name, descriptor
        os.close(descriptor)  # swept between its making and its locking


def lock(descriptor: int, *, wait: bool = True) -> bool | None:
    """Lock an open file against every other process. False: somebody holds it. None: this disk has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS):
            raise
        return None
    return True


def sweep(full: str) -> bool:
    """Remove an unfinished file that no process holds. True: it is gone. Call with all writers of the folder kept out."""
    try:
        descriptor = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        free = lock(descriptor, wait=False)
        if free is None:
            free = time.time() - os.fstat(descriptor).st_mtime > 60
        if free:
            os.unlink(full)
        return free
    except OSError:
        return False
    finally:
        os.close(descriptor)


def make_folders(folder: str) -> None:
    """Make a folder and those above it, durably: a synced file in a folder whose own name is lost would be lost with it."""
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for path in reversed(missing):
        with suppress(FileExistsError):
            os.mkdir(path)
        sync_folder(os.path.dirname(path))


def move_new(old: str, new: str) -> None:
    """Rename a file to a name that nobody has. Raises FileExistsError, also when the name was taken this very moment."""
    call = _renameat2()
    if call is not None and call(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), _RENAME_NOREPLACE) == 0:
        return
    code = ctypes.get_errno() if call is not None else errno.ENOSYS
    if code not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        raise OSError(code, os.strerror(code), new)
    try:
        os.link(old, new)  # unlike rename, this never replaces a file that appeared meanwhile
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
            raise
        # A disk with neither: the name is reserved first.
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        os.replace(old, new)
    else:
        os.unlink(old)


def same_file(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_size, one.st_mtime_ns, one.st_ino) == (other.st_size, other.st_mtime_ns, other.st_ino)


def exchange(one: str, other: str) -> bool:
    """Swap two files in one step, so that neither is ever missing and none is lost. False: this system cannot."""
    call = _renameat2()
    if call is None or call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return call is not None
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), other)


@functools.cache
def _renameat2() -> Any:
    try:
        return ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return None  # not Linux, or an old C library


def born_ns(full: str, changed: int) -> int:
    """When a file was made, in ns, or `changed`, its mtime: where the file system does not know, or when that is earlier. A
    copy or a clone is born today and may keep the time of its original."""
    statx, found = _statx()
    if statx is None or statx(_AT_FDCWD, os.fsencode(full), 0, _STATX_BTIME, found) != 0:
        return changed
    (mask,) = struct.unpack_from("I", found)
    seconds, nanoseconds = struct.unpack_from("qI", found, _BTIME_AT)
    born = int(seconds) * 10**9 + int(nanoseconds)
    return min(born, changed) if mask & _STATX_BTIME and born > 0 else changed


def _statx() -> tuple[Any, Any]:
    """(the call, a buffer of this thread); Python has no name for it, nor for the time, on Linux."""
    known: tuple[Any, Any] | None = getattr(_local, "statx", None)
    if known is None:
        function = getattr(ctypes.CDLL(None), "statx", None)
        if function is not None:
            function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_char_p]
        known = _local.statx = (function, ctypes.create_string_buffer(256))
    return known


def sync_folder(folder: str) -> None:
    """Make a rename durable. Some filesystems cannot, and say EINVAL."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES):
            raise
    finally:
        os.close(descriptor)


def confirm(folders: Iterable[str], undo: Callable[[], object]) -> None:
    """Make a rename durable, or take it back and raise. Where even that fails it stands, unconfirmed, and the log says so."""
    folders = list(dict.fromkeys(folders))
    try:
        for folder in folders:
            sync_folder(folder)
    except OSError as error:
        try:
            undo()
        except OSError:
            logger.warning("a change in %s is done, but the disk did not confirm it: %s", " and ".join(folders), error)
        else:
            raise
