"""Errors of this package. They name the thing, show the value and say the remedy; only the command line prints them.

Nothing here formats for a terminal or decides an exit code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


class SupervisorError(Exception):
    """Base class of every error that this package raises on purpose."""


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing wrong with a tree file: `line` and `column` count from 1; `path` is the tree path or key it concerns."""

    line: int
    column: int
    message: str
    path: str = ""
    file: str = ""

    def __str__(self) -> str:
        return f"{self.file or '<tree>'}:{self.line}:{self.column}: {self.message}"


class TreeError(SupervisorError):
    """A tree that cannot be used; `faults` holds every fault found, in file order."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(faults))
        super().__init__("\n".join(str(fault) for fault in self.faults))


class EventsError(SupervisorError):
    """An event list for `simulate` that makes no sense; says which entry and why."""


def nearest(word: object, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the known word nearest to `word`, or the empty string when none is near."""
    matches = get_close_matches(str(word), sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""
