"""A jail for a profile: prepared once, entered by each child right after the fork.

Here belongs the order of the steps; each step's mechanism has its own module. A child that cannot be confined as its
level promises does not run: every step raises.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
from dataclasses import dataclass

from supervisor.jail import landlock, layout, linux, namespaces, seccomp
from supervisor.jail.levels import Ability, Level
from supervisor.spec import Profile

RIGHTS = {
    "read": landlock.READ,
    "exec": landlock.READ | landlock.EXECUTE,
    "write": landlock.READ | landlock.WRITE,
    "device": landlock.READ_FILE | landlock.WRITE_FILE,
}


@dataclass(frozen=True)
class Jail:
    """What a child of one profile needs to lock itself in. Holds descriptors; `close` when it is replaced."""

    level: Level
    program: seccomp.Program | None
    ruleset: int | None
    spaces: namespaces.Namespaces | None
    sources: tuple[tuple[str, int, int], ...]  # path, device, inode of what was given, to see when it was replaced

    def stale(self) -> bool:
        """True when a given directory is not the one it was: a mount would show the old, deleted one."""
        try:
            return any(_identity(path) != (path, device, inode) for path, device, inode in self.sources)
        except OSError:
            return True

    def enter(self) -> None:
        """Lock this process in, for good. The caller closes descriptors and then calls `seal`. Raises OSError."""
        if self.spaces is not None:
            self.spaces.enter()
        if self.program is not None or self.ruleset is not None:
            linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        if self.ruleset is not None:
            landlock.restrict(self.ruleset)
        if linux.ARCH is not None:
            linux.drop_capabilities()
            linux.prctl(linux.PR_SET_DUMPABLE, 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def seal(self) -> None:
        """The last step, which refuses the calls that the others needed. Raises OSError."""
        if self.program is not None:
            seccomp.install(self.program)

    def close(self) -> None:
        if self.ruleset is not None:
            os.close(self.ruleset)
        if self.spaces is not None:
            self.spaces.close()


def rules_for(profile: Profile, ability: Ability) -> seccomp.Rules:
    """What the system call filter decides, given what the other layers already refuse."""
    hidden = not ability.namespaces
    return seccomp.Rules(
        exec=profile.exec,
        network=profile.network == "host",
        unix=hidden or bool(profile.sockets) or profile.network == "host",
        metadata=hidden,
        writes=profile.filesystem is not None and bool(profile.filesystem.write),
        signals=profile.exec or ability.landlock >= 6,
    )


def prepare(profile: Profile, ability: Ability, python: Iterable[str]) -> Jail:
    """Make the jail of a profile in this (single-threaded) process.

    Raises FileNotFoundError for a path of the profile that is not there, OSError when the kernel refuses a step that
    worked when it was measured.
    """
    places = layout.places(profile, python)
    given = profile.sockets
    if profile.filesystem is not None:
        given += profile.filesystem.read + profile.filesystem.write
    sources = tuple(_identity(path) for path in given)
    program = None if ability.seccomp or linux.ARCH is None else seccomp.build(rules_for(profile, ability), linux.ARCH)
    ruleset = None
    if ability.landlock:
        rights = [(place.path, RIGHTS[place.access]) for place in places if place.access in RIGHTS]
        ruleset = landlock.ruleset(rights, network=profile.network == "host", version=ability.landlock)
    spaces = None
    try:
        if not ability.namespaces:
            spaces = namespaces.prepare(places, network=profile.network == "host")
    except OSError:
        if ruleset is not None:
            os.close(ruleset)
        raise
    return Jail(ability.level, program, ruleset, spaces, sources)


def _identity(path: str) -> tuple[str, int, int]:
    status = os.stat(path)
    return path, status.st_dev, status.st_ino
