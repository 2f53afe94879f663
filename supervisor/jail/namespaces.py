"""Namespaces for a profile, made once and entered by every child of that profile.

Here belong user, mount, network and IPC namespaces: a helper process makes them, builds the file system that the
profile shows, hands the descriptors over and ends. A child enters with four system calls instead of some thirty
mounts. Sharing is safe: nobody inside has a capability to change a mount, and nothing in the tree is writable but
what the profile gives. Which paths are shown is decided by `layout`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from supervisor.jail import linux
from supervisor.jail.layout import Place, is_below

ATTRIBUTES = {
    "read": linux.MOUNT_ATTR_RDONLY | linux.MOUNT_ATTR_NOSUID | linux.MOUNT_ATTR_NODEV,
    "exec": linux.MOUNT_ATTR_RDONLY | linux.MOUNT_ATTR_NOSUID | linux.MOUNT_ATTR_NODEV,
    "write": linux.MOUNT_ATTR_NOSUID | linux.MOUNT_ATTR_NODEV | linux.MOUNT_ATTR_NOEXEC,
    "socket": linux.MOUNT_ATTR_RDONLY | linux.MOUNT_ATTR_NOSUID | linux.MOUNT_ATTR_NODEV | linux.MOUNT_ATTR_NOEXEC,
    "device": linux.MOUNT_ATTR_NOSUID | linux.MOUNT_ATTR_NOEXEC,
}
KINDS = (
    ("user", linux.CLONE_NEWUSER),
    ("mnt", linux.CLONE_NEWNS),
    ("ipc", linux.CLONE_NEWIPC),
    ("net", linux.CLONE_NEWNET),
)
PID_MAX = "/proc/sys/kernel/pid_max"
INOTIFY = 64
MOST_PIDS = 32768  # of a whole tree: the kernel's own default for a machine


class NamespaceError(OSError):
    """The namespaces of a profile could not be made; the text names the step."""


@dataclass(frozen=True)
class Namespaces:
    """Descriptors of prepared namespaces, in the order in which they are entered."""

    fds: tuple[tuple[int, int], ...]  # (descriptor, CLONE_NEW…)
    proc: int  # /proc as it is outside; inside there is none

    def enter(self) -> None:
        """Move this process in, and there into a user namespace of its own. Raises OSError.

        The own one has no power over the mounts, and the kernel counts processes and threads in it alone.
        """
        for fd, kind in self.fds:
            linux.setns(fd, kind)
        os.chdir("/")
        uid, gid = os.geteuid(), os.getegid()
        try:
            linux.unshare(linux.CLONE_NEWUSER)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            text = "each confined child takes a user namespace and none is left; run `sysctl user.max_user_namespaces=15000`"
            raise NamespaceError(error.errno, text) from None
        _map("self/uid_map", uid, self.proc)  # setgroups is denied already: that is inherited
        _map("self/gid_map", gid, self.proc)

    def descriptors(self) -> list[int]:
        """All that `enter` uses."""
        return [*(fd for fd, _ in self.fds), self.proc]

    def close(self) -> None:
        for fd in self.descriptors():
            os.close(fd)


def map_self(uid: int, gid: int) -> None:
    """Map our own user and group into the user namespace just made; no other id exists there."""
    with open("/proc/self/setgroups", "wb", buffering=0) as file:
        file.write(b"deny")
    _map("/proc/self/uid_map", uid)
    _map("/proc/self/gid_map", gid)


def _map(path: str, number: int, directory: int | None = None) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.write(fd, b"%d %d 1" % (number, number))
    finally:
        os.close(fd)


def own_pid_limit() -> int:
    """The limit for a PID namespace to be made in this one: half of the pids here. 0 where it cannot have its own.

    Since Linux 6.14 each namespace has its own; before, the file is the whole machine's and is left alone.
    """
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if version is None or (int(version[1]), int(version[2])) < (6, 14):
        return 0
    try:
        with open(PID_MAX, encoding="ascii") as file:
            return min(int(file.read()) // 2, MOST_PIDS)
    except (OSError, ValueError):
        return 0


def limit_inotify() -> None:
    """Let this user namespace, and all made in it, have half of the inotify instances that the kernel gives a user."""
    with open("/proc/sys/user/max_inotify_instances", "wb", buffering=0) as file:
        file.write(b"%d" % INOTIFY)


def limit_pids(limit: int) -> None:
    """Set the limit of our own PID namespace, whose /proc is mounted. Raises OSError where /proc/sys is read-only."""
    with open(PID_MAX, "wb", buffering=0) as file:
        file.write(b"%d" % limit)


def prepare(places: Sequence[Place], *, network: bool) -> Namespaces:
    """Make the namespaces of a profile. Call it from a single-threaded process. Raises NamespaceError."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            ours.close()
            fds = _build(places, network)
            socket.send_fds(theirs, [b"ok"], fds)
            code = 0
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            theirs.send(f"{error.strerror or error}{where}".encode()[:4000])
        except BaseException as error:  # the helper must never return into its parent's code
            theirs.send(f"{type(error).__name__}: {error}".encode()[:4000])
        finally:
            os._exit(code)
    theirs.close()
    try:
        data, fds, _flags, _address = socket.recv_fds(ours, 8192, 8)
    finally:
        ours.close()
        os.waitpid(pid, 0)
    for fd in fds:
        os.set_inheritable(fd, False)
    if data != b"ok":
        for fd in fds:
            os.close(fd)
        raise NamespaceError(1, data.decode(errors="replace") or "the helper process died")
    kinds = [kind for name, kind in KINDS if not (network and name == "net")]
    return Namespaces(tuple(zip(fds, kinds, strict=True)), os.open("/proc", os.O_PATH | os.O_CLOEXEC))


def _build(places: Sequence[Place], network: bool) -> list[int]:
    """In the helper: unshare, build the root, and return the descriptors of the namespaces."""
    uid, gid = os.geteuid(), os.getegid()
    flags = 0
    for name, kind in KINDS:
        if not (network and name == "net"):
            flags |= kind
    linux.unshare(flags)
    map_self(uid, gid)
    with contextlib.suppress(OSError):  # /proc/sys may be read-only around us
        limit_inotify()
    fds = [
        os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        for name, _ in KINDS
        if not (network and name == "net")
    ]
    build_root(places)
    return fds


def build_root(places: Sequence[Place]) -> None:
    """Replace the root of this mount namespace by an empty tmpfs that shows `places` and nothing else."""
    os.umask(0o022)
    linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
    sources: list[tuple[str, int, bool]] = []  # taken before anything is covered by the new root
    links: list[tuple[str, str]] = []
    mounted: dict[str, Place] = {}
    for place in places:
        real = os.path.realpath(place.path)
        if real != place.path:
            links.append((place.path, real))
        around = [other for other in mounted if is_below(real, other)]
        nearest = mounted[max(around, key=len)] if around else None
        if nearest is not None and nearest.access == place.access:
            continue  # shown already; where the accesses differ, the inner one is mounted over the outer one
        is_directory = stat.S_ISDIR(os.stat(real).st_mode)
        sources.append((real, linux.clone_tree(real, ATTRIBUTES[place.access]), is_directory))
        mounted[real] = place
    base = next(path for path in ("/tmp", "/mnt", "/dev", "/proc") if os.path.isdir(path))
    linux.mount("egghead-jail", base, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "size=1m,mode=755")
    for real, fd, is_directory in sorted(sources, key=lambda source: source[0].count("/")):
        target = base + real
        if not os.path.lexists(target):
            os.makedirs(target if is_directory else os.path.dirname(target), 0o755, exist_ok=True)
            if not is_directory:
                os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        linux.attach_tree(fd, target)
        os.close(fd)
    for path, real in links:
        _link(base, path, real)
    os.chdir(base)
    linux.pivot_root_here()
    linux.set_mount_attributes(
        linux.AT_FDCWD, linux.MOUNT_ATTR_RDONLY | linux.MOUNT_ATTR_NODEV, path="/", recursive=False
    )


def _link(base: str, path: str, real: str) -> None:
    """Show `real` under the name `path` too, unless that name already leads somewhere."""
    parent = os.path.dirname(base + path)
    if os.path.lexists(base + path):
        return
    try:
        os.makedirs(parent, 0o755, exist_ok=True)
        os.symlink(real, base + path)
    except OSError as error:
        if error.errno not in (17, 30):  # EEXIST, EROFS: the name lies in a place that is shown anyway
            raise
