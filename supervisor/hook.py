"""What an application may add to a launch: data for the child, and a word to others before the child exists.

Here belong the values that cross that line. The root calls the hook; it never looks into what the hook gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

MOST_FILES = 8  # descriptors that one launch may hand over


@dataclass(frozen=True)
class ChildInfo:
    """A child about to be launched, or one that has just ended. `allow` is as the tree file says it."""

    name: str
    incarnation: int
    supervisor: str
    id: str
    start: str
    args: Mapping[str, Any]
    allow: Mapping[str, Any]


@dataclass(frozen=True)
class Handover:
    """`data` becomes `context.handover` (JSON). `notices`: (name of a running child, message), sent before the fork.

    `files`: open descriptors of the root by name, at most `MOST_FILES`; the child gets copies, as `context.files`. So a
    jailed child serves a socket that it could not have opened, and the socket outlives the child. They stay the hook's.
    """

    data: dict[str, Any] = field(default_factory=dict)
    notices: Sequence[tuple[str, dict[str, Any]]] = ()
    files: Mapping[str, int] = field(default_factory=dict)


class LaunchHook(Protocol):
    """Called by the root, in its own process; it must not block. An exception from `launching` is a failed start."""

    def launching(self, child: ChildInfo) -> Handover: ...
    def exited(self, child: ChildInfo, reason: str) -> None: ...


class NoHook:
    """Gives nothing, hears nothing."""

    def launching(self, child: ChildInfo) -> Handover:
        return Handover()

    def exited(self, child: ChildInfo, reason: str) -> None:
        return None
