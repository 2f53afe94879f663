"""What the store asks of the disk: a synced file beside another, two files exchanged, a folder made durable. Linux only here."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import stat as stat_module
import time
from contextlib import suppress
from typing import Any

TEMPORARY = ".egghead-"  # how the names of unfinished files begin; a scan ignores and later sweeps them
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


def write_beside(full: str, data: bytes, like: os.stat_result | None) -> str:
    """A synced file beside `full` with these bytes, and mode and owner as `like`."""
    name = os.path.join(os.path.dirname(full), f"{TEMPORARY}{os.getpid()}-{time.time_ns()}.tmp")
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with open(descriptor, "wb") as file:
            if like is not None:
                os.fchmod(descriptor, stat_module.S_IMODE(like.st_mode))
                with suppress(PermissionError):
                    os.fchown(descriptor, like.st_uid, like.st_gid)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except OSError:
        with suppress(OSError):
            os.unlink(name)
        raise
    return name


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
