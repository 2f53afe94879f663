"""The catalog: every verb there is, its risk, and the scope keys it understands.

One table. Help, documentation, validation and the menu are derived from it; a verb that is not here does not exist.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

LOW, MEDIUM, HIGH = "low", "medium", "high"

EXTERNAL = frozenset({"fs", "net", "proc"})
"""Families that reach outside the store. Bare means nothing there until it is scoped."""

AVAILABLE = frozenset({"records", "agent"})
"""Families that have tools in this version. A grant of another family is kept, shown, and inert."""


@dataclass(frozen=True)
class Verb:
    """One kind of authority, such as `records.update`."""

    name: str
    risk: str
    scopes: tuple[str, ...]

    @property
    def family(self) -> str:
        return self.name.partition(".")[0]

    @property
    def external(self) -> bool:
        return self.family in EXTERNAL


def _table(rows: Iterable[tuple[str, str, str]]) -> dict[str, Verb]:
    return {name: Verb(name, risk, tuple(scopes.split())) for name, risk, scopes in rows}


VERBS: dict[str, Verb] = _table(
    [
        ("records.read", LOW, "classes paths tags"),
        ("records.create", LOW, "classes paths"),
        ("records.update", MEDIUM, "classes paths"),
        ("records.delete", HIGH, "classes paths"),
        ("agent.create", MEDIUM, "ids"),
        ("agent.update", MEDIUM, "ids"),
        ("agent.delete", HIGH, "ids"),
        ("agent.grant", HIGH, "ids"),
        ("fs.read", MEDIUM, "in paths"),
        ("fs.write", HIGH, "in paths"),
        ("fs.delete", HIGH, "in paths"),
        ("net.get", MEDIUM, "hosts"),
        ("net.post", HIGH, "hosts"),
        ("net.put", HIGH, "hosts"),
        ("net.patch", HIGH, "hosts"),
        ("net.delete", HIGH, "hosts"),
        ("proc.exec", HIGH, "in cmds patterns"),
        ("proc.eval", HIGH, "in"),
    ]
)

CLASSES = ("durable", "inbox", "deliberation", "transcript", "agent", "skill")
"""The record classes, for spotting a misspelt one in a scope."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, or None when nothing is close."""
    found = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def hint(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or what there is when nothing is near; of a long list of verbs only the families."""
    choices = sorted(known)
    near = nearest(word, choices)
    if near is not None:
        return f"; did you mean {near!r}?"
    if len(choices) > 8:
        choices = sorted({f"{choice.partition('.')[0]}.*" if "." in choice else choice for choice in choices})
    return f"; known are {', '.join(choices)}" if choices else ""
