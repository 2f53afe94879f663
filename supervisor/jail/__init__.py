"""The jail: what a confined child may still do, enforced by the Linux kernel.

Here belongs everything that knows Linux's confinement: system calls, namespaces, Landlock, seccomp, the paths a
Python process needs, and the measured level. Who is confined and how is said by the tree file; nothing here reads one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supervisor.jail.levels import Ability


def probe() -> Ability:
    """Measure what this machine allows: `.level` (full | strong | none), `.notes` (sentences). Takes about 10 ms."""
    from supervisor.jail.levels import measure

    return measure()


def withhold_memory() -> None:
    """From now on this process leaves no core and cannot be traced or read by others of its user (PR_SET_DUMPABLE 0). Every
    confined child is so; this is for one that holds secrets where the machine confines nothing. Without Linux it does nothing."""
    import sys

    if sys.platform == "linux":
        from supervisor.jail import linux

        linux.prctl(linux.PR_SET_DUMPABLE, 0)
