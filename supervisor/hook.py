"""What an application may add to a launch: data for the child, and a word to others before the child exists.

Here belong the values that cross that line. The root calls the hook; it never looks into what the hook gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


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
    """`data` becomes `context.handover` (JSON). `notices`: (name of a running child, message), sent before the fork."""

    data: dict[str, Any] = field(default_factory=dict)
    notices: Sequence[tuple[str, dict[str, Any]]] = ()


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
