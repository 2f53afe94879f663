"""Disks of a node's own: it runs in user and mount namespaces of its own, where a test may fill, remount or hide what it likes.

Nothing of the machine is mounted, and no right of root is needed.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

from tests.e2e.node import Node

# The folder becomes a disk of this size with what was in it. It is filled beside its place and moved there, so that nobody
# sees it without its notes.
OWN_DISK = (
    'mkdir "$0.new" && mount -t tmpfs -o size={size} own "$0.new" && cp -a "$0/." "$0.new/" && '
    'mount --move "$0.new" "$0" && exec "$@"'
)


def own_disk(folder: Path, size: str) -> list[str]:
    """For `serving(wrap=...)`: `folder` is a disk of `size` (as 24m) for the node, and nothing but it sees that disk."""
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", OWN_DISK.format(size=size), str(folder)]


def inside(node: Node, path: Path) -> Path:
    """Where a test finds what the node sees at `path`."""
    return Path(f"/proc/{node.pid}/root{path}")


def entering(node: Node) -> list[str]:
    """What a command begins with that is to see what the node sees: for `Home.within`."""
    return ["nsenter", "--target", str(node.pid), "--user", "--mount", "--preserve-credentials"]


def fill(folder: Path) -> Path:
    """Writes until no byte more fits on the disk below `folder`; the file to remove."""
    filler = folder / ".filler"
    with open(filler, "wb", buffering=0) as file:
        for size in (65536, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
    return filler


# mount_setattr(2): only this flag, and only of the mounts at or below a folder. In Python, as a jail has no mount(8).
SET_READ_ONLY = """
import ctypes, fcntl, os, struct, sys
pid, folder, on = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "on"
libc = ctypes.CDLL(None, use_errno=True)
places = [line.split()[4] for line in open(f"/proc/{pid}/mountinfo")]
mounts = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
owner = fcntl.ioctl(mounts, 0xB701)  # NS_GET_USERNS: a jailed process is in another one by now
if os.fstat(owner).st_ino != os.stat("/proc/self/ns/user").st_ino and libc.setns(owner, 0) or libc.setns(mounts, 0):
    sys.exit(f"setns: {os.strerror(ctypes.get_errno())}")
attributes = ctypes.create_string_buffer(struct.pack("QQQQ", on, not on, 0, 0))  # MOUNT_ATTR_RDONLY is 1
found = [place for place in places if (place + "/").startswith(folder + "/")]
for place in found:
    if libc.syscall(442, -100, place.encode(), 0, attributes, ctypes.sizeof(attributes) - 1):
        sys.exit(f"mount_setattr {place}: {os.strerror(ctypes.get_errno())}")
sys.exit(None if found else f"{folder} is not mounted for {pid}")
"""


def set_read_only(pid: int, folder: Path, on: bool) -> None:
    """Makes what a process has mounted at and below `folder` read-only, or not any more. It may hold no file open for writing."""
    command = [sys.executable, "-c", SET_READ_ONLY, str(pid), str(folder), "on" if on else "off"]
    subprocess.run(command, check=True)
