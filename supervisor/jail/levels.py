"""The level of confinement that this machine allows, measured and explained.

Here belongs the measurement (a helper process tries the real thing) and the words for people: what is missing, what
stays reachable because of it, and what to do. Enforcing a least level is the business of who starts the root.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from supervisor.jail import landlock, linux, seccomp
from supervisor.jail.layout import DEVICES, Place
from supervisor.jail.namespaces import NamespaceError, prepare

Level = Literal["full", "strong", "none"]
LEVELS: tuple[Level, ...] = ("none", "strong", "full")  # weakest first


@dataclass(frozen=True)
class Ability:
    """What this process can do to confine a child, as measured.

    namespaces: empty when user, mount, network and IPC namespaces work, else why not. landlock: its ABI, 0 without.
    seccomp: empty when filters work, else why not.
    """

    namespaces: str
    landlock: int
    seccomp: str

    @property
    def level(self) -> Level:
        if self.seccomp:
            return "none"
        if not self.namespaces and self.landlock:
            return "full"
        return "strong" if self.landlock or not self.namespaces else "none"

    @property
    def notes(self) -> tuple[str, ...]:
        """What is missing, what stays reachable, and the remedy; one sentence each. Empty when all layers work."""
        notes: list[str] = []
        if self.namespaces:
            notes.append(
                f"user namespaces are refused here ({self.namespaces}): confined processes share the machine's file tree"
            )
            if self.landlock:
                notes.append(
                    "still reachable from a confined process that is given a socket directory: other unix sockets "
                    "that this user may connect to (for example D-Bus or a container engine)"
                )
                notes.append(
                    "still visible: names, sizes and owners of files, and when they change; not their contents"
                )
                notes.append(
                    "still possible where a profile may write: to change the mode of this user's files it may read"
                )
            notes.append(f"remedy: {userns_remedy(_setting)}")
        if not self.landlock:
            notes.append(
                "Landlock is not available: add `landlock` to the kernel's lsm= list, or use Linux 5.13 or later"
            )
            if not self.namespaces:
                notes.append(
                    "still reachable from a confined process: files in a directory that is given for its sockets"
                )
        elif self.landlock < 6 and self.namespaces:
            notes.append(
                "still reachable too: abstract unix sockets, from a confined process that is given a socket directory"
            )
        if self.landlock < 6:
            notes.append(
                f"still reachable with Landlock ABI {self.landlock} (6 comes with Linux 6.12): other processes of this user "
                "by signals, with `exec: true`; abstract unix sockets, with `network: host`"
            )
        if self.seccomp:
            notes.append(f"seccomp filters do not work here ({self.seccomp})")
        if self.level == "none":
            notes.append("confined processes can reach whatever this user can; do not run agents that you do not trust")
        return tuple(notes)


def userns_remedy(setting: Callable[[str], str | None]) -> str:
    """What to change so that user namespaces work, as far as the machine's settings (files below /proc/sys) tell."""
    if setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return (
            "Ubuntu's AppArmor restricts them: add an AppArmor profile with `userns,` for this Python, or run "
            "`sysctl kernel.apparmor_restrict_unprivileged_userns=0`"
        )
    if setting("user/max_user_namespaces") == "0":
        return "run `sysctl user.max_user_namespaces=15000`"
    if setting("kernel/unprivileged_userns_clone") == "0":
        return "run `sysctl kernel.unprivileged_userns_clone=1`"
    return (
        "if this is a container, allow user namespaces in its seccomp and AppArmor profile; else see user_namespaces(7)"
    )


def _setting(name: str) -> str | None:
    try:
        with open(f"/proc/sys/{name}", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None


def measure() -> Ability:
    """Try namespaces, Landlock and seccomp on this machine, in helper processes. Takes about 5 ms."""
    if linux.ARCH is None:
        reason = "this system is not Linux on x86_64 or aarch64"
        return Ability(reason, 0, reason)
    return Ability(_try_namespaces(), landlock.abi(), _try_seccomp())


def _try_namespaces() -> str:
    places = [Place(path, "device") for path in DEVICES if os.path.exists(path)]
    try:
        spaces = prepare(places, network=False)
    except NamespaceError as error:
        return str(error.strerror)
    try:
        return _in_helper(spaces.enter)
    finally:
        spaces.close()


def _try_seccomp() -> str:
    """Install a filter and see that it refuses what it names."""

    def attempt() -> None:
        seccomp.build(seccomp.Rules(), linux.ARCH or "").install()
        try:
            os.kill(1, 0)
        except PermissionError:
            return
        raise OSError(0, "the filter had no effect")

    return _in_helper(attempt)


def _in_helper(attempt: Callable[[], None]) -> str:
    """Try something irrevocable in a child. Empty when it worked, else why not."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        text = "the helper process died"
        try:
            attempt()
            text = "-"
        except OSError as error:
            text = str(error.strerror or error)
        finally:
            os.write(write, text.encode())
            os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        answer = file.read().decode()
    os.waitpid(pid, 0)
    return "" if answer == "-" else answer or "the helper process died"
