"""Disks of a node's own: it runs in user and mount namespaces of its own, where a test may fill, remount or hide what it likes.

Nothing of the machine is mounted, and no right of root is needed.
"""

from __future__ import annotations

import contextlib
import subprocess
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


def remount(node: Node, folder: Path, how: str) -> None:
    """Mounts the node's own disk anew, `how`: ro or rw."""
    subprocess.run([*entering(node), "mount", "-o", f"remount,{how}", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Writes until no byte more fits on the disk below `folder`; the file to remove."""
    filler = folder / ".filler"
    with open(filler, "wb", buffering=0) as file:
        for size in (65536, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
    return filler
