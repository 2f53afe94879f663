"""Landlock: file, network and scope restrictions that a process puts on itself, without privileges.

Here belong the ruleset as the kernel takes it and the negotiation of what this kernel knows (its ABI). Which paths
are given is decided by `layout`. See landlock(7) and Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

from supervisor.jail import linux

EXECUTE = 1 << 0
WRITE_FILE = 1 << 1
READ_FILE = 1 << 2
READ_DIR = 1 << 3
REMOVE_DIR = 1 << 4
REMOVE_FILE = 1 << 5
MAKE_CHAR = 1 << 6
MAKE_DIR = 1 << 7
MAKE_REG = 1 << 8
MAKE_SOCK = 1 << 9
MAKE_FIFO = 1 << 10
MAKE_BLOCK = 1 << 11
MAKE_SYM = 1 << 12
REFER = 1 << 13  # ABI 2
TRUNCATE = 1 << 14  # ABI 3
IOCTL_DEV = 1 << 15  # ABI 5

NET_BIND_TCP = 1 << 0  # ABI 4
NET_CONNECT_TCP = 1 << 1
SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0  # ABI 6
SCOPE_SIGNAL = 1 << 1

CREATE_RULESET_VERSION = 1
RULE_PATH_BENEATH = 1

READ = READ_FILE | READ_DIR
WRITE = (
    WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO | MAKE_SYM | REFER | TRUNCATE
)
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  # the only rights a rule on a file may name


def abi() -> int:
    """The Landlock ABI of this kernel; 0 when Landlock is not there or switched off."""
    if linux.ARCH is None:
        return 0
    try:
        return linux.syscall("landlock_create_ruleset", 0, 0, CREATE_RULESET_VERSION)
    except OSError:
        return 0


def handled_files(version: int) -> int:
    """Every file right that a kernel with this ABI can refuse."""
    rights = (1 << 13) - 1
    if version >= 2:
        rights |= REFER
    if version >= 3:
        rights |= TRUNCATE
    if version >= 5:
        rights |= IOCTL_DEV
    return rights


def ruleset(rules: Iterable[tuple[str, int]], *, network: bool, version: int) -> int:
    """Make a ruleset: everything refused but the given rights below the given paths. Returns its descriptor.

    network: leave TCP alone. Raises OSError naming the path that could not be opened.
    """
    handled = handled_files(version)
    tcp = NET_BIND_TCP | NET_CONNECT_TCP if version >= 4 and not network else 0
    scope = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL if version >= 6 else 0
    size = 8 if version < 4 else 16 if version < 6 else 24
    attr = ctypes.create_string_buffer(struct.pack("QQQ", handled, tcp, scope), 24)
    fd = linux.syscall("landlock_create_ruleset", ctypes.addressof(attr), size, 0)
    try:
        for path, rights in rules:
            allow(fd, path, rights & handled)
    except OSError:
        os.close(fd)
        raise
    return fd


def allow(fd: int, path: str, rights: int) -> None:
    """Add one rule. Raises OSError naming the path."""
    target = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(target).st_mode):
            rights &= ON_FILES
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, target), 12)  # packed, see landlock.h
        linux.syscall("landlock_add_rule", fd, RULE_PATH_BENEATH, ctypes.addressof(rule), 0)
    except OSError as error:
        raise OSError(error.errno, f"Landlock rule: {os.strerror(error.errno or 0)}", path) from None
    finally:
        os.close(target)


def restrict(fd: int) -> None:
    """Put this process under the ruleset, for good. Needs no_new_privs. Raises OSError."""
    linux.syscall("landlock_restrict_self", fd, 0)
