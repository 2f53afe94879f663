"""A jail for a profile: prepared once, entered by each child right after the fork.

Here belongs the order of the steps; each step's mechanism has its own module. A child that cannot be confined as its
level promises does not run: every step raises.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from supervisor.jail import landlock, layout, linux, namespaces, seccomp
from supervisor.jail.bpf import Program
from supervisor.jail.levels import Ability, Level
from supervisor.spec import Profile

RIGHTS = {
    "read": landlock.READ,
    "exec": landlock.READ | landlock.EXECUTE,
    "write": landlock.READ | landlock.WRITE,
    "device": landlock.READ_FILE | landlock.WRITE_FILE,
}

# What the kernel counts per user and a confined process could take from all others; `rlimits` of the child comes first.
BOUNDS = {
    "memlock": 8 << 20,  # bytes kept from being swapped
    "msgqueue": 0,
    "rtprio": 0,  # a real-time thread that spins takes a core from everybody
    "sigpending": 1024,  # queued signals, which every timer holds one of
}
DESCRIPTORS = 16384  # a socket holds up to 400 KiB of the kernel's memory
TASKS = 1024  # processes and threads of one child, where the count is its own


@dataclass(frozen=True)
class Jail:
    """What a child of one profile needs to lock itself in. Holds descriptors; `close` when it is replaced."""

    level: Level
    program: Program | None
    ruleset: int | None
    spaces: namespaces.Namespaces | None
    bounds: tuple[tuple[str, int, int], ...]  # name and number of a limit, and what it is set to
    exec: bool  # programs may be started
    childless: bool  # the filter lets it make no process
    sources: tuple[tuple[str, int, int], ...]  # path, device, inode of what was given, to see when it was replaced

    def stale(self) -> bool:
        """True when a given directory is not the one it was: a mount would show the old, deleted one."""
        try:
            for path, device, inode in self.sources:
                status = os.stat(path)
                if status.st_ino != inode or status.st_dev != device:
                    return True
        except OSError:
            return True
        return False

    def enter(self, limits: Mapping[str, int]) -> None:
        """Lock this process in, for good. The caller closes descriptors and then calls `seal`. Raises OSError.

        limits: those of the child's own that were set before (but `nproc`, which is set here), by name.
        """
        if self.spaces is not None:
            self.spaces.enter()
        self._bound(limits)
        if self.program is not None or self.ruleset is not None:
            linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        if self.ruleset is not None:
            landlock.restrict(self.ruleset)
        if linux.ARCH is not None:
            linux.drop_capabilities(bounding=self.program is None or self.exec)
            linux.prctl(linux.PR_SET_DUMPABLE, 0)

    def _bound(self, limits: Mapping[str, int]) -> None:
        """Take what is left of the machine's shared resources, at most.

        RLIMIT_NPROC is counted in each user namespace and compared with the limit that its maker had: it is set after
        the child's own namespace was made, or one child's limit would be that of all. Without a namespace it counts
        everything that the user runs, and only a limit somebody asked for is set.
        """
        for name, which, bound in self.bounds:
            if name not in limits:
                resource.setrlimit(which, (bound, bound))
        if "nproc" in limits:
            resource.setrlimit(resource.RLIMIT_NPROC, (limits["nproc"], limits["nproc"]))
        # Fewer descriptors than the root and the launcher have: who may hold as many can put as many in flight to itself, and then
        # neither can send one, which is how children are started.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = hard // 2 if "nofile" in limits else min(hard // 2, DESCRIPTORS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, most), most))

    def seal(self, beats: mmap.mmap | None) -> None:
        """The last step, which refuses the calls that the others needed. Raises OSError."""
        if self.program is not None:
            at = 0 if beats is None else ctypes.addressof(ctypes.c_char.from_buffer(beats))
            self.program.install(at)

    def descriptors(self) -> list[int]:
        """What a process must hold to enter."""
        ruleset = [] if self.ruleset is None else [self.ruleset]
        return ruleset + (self.spaces.descriptors() if self.spaces is not None else [])

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
        fork=profile.fork or profile.exec,
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
    childless = program is not None and not (profile.exec or profile.fork)
    return Jail(ability.level, program, ruleset, spaces, _bounds(spaces is not None), profile.exec, childless, sources)


def _bounds(counted: bool) -> tuple[tuple[str, int, int], ...]:
    """The limits of a child that asks for no others. counted: processes and threads are, for each child by itself."""
    bounds = []
    for name, bound in {**BOUNDS, **({"nproc": TASKS} if counted else {})}.items():
        which = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if which is not None:
            hard = resource.getrlimit(which)[1]
            bounds.append((name, which, bound if hard == resource.RLIM_INFINITY else min(bound, hard)))
    return tuple(bounds)


def _identity(path: str) -> tuple[str, int, int]:
    status = os.stat(path)
    return path, status.st_dev, status.st_ino
