"""What people decided about agents besides what their notes say: whom they parked, and which authority they have seen.

Kept in one small file of the process `roster`, outside the notes: who can change notes through a sync must not be able
to approve them. `Review` is pure: which grants of a note are new, and which are in force until somebody approves.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from egghead.agents.record import AgentSpec
from egghead.capabilities.catalog import LOW, VERBS
from egghead.capabilities.grants import Grant, GrantError, parse_grant
from egghead.capabilities.match import Authority, covers, hoisted

logger = logging.getLogger("egghead.roster")

FILE = "decisions.json"


@dataclass(frozen=True)
class Decisions:
    """`parked`: agent -> why. `approved`: agent -> its grants of medium and high risk that count. `told`: agent -> the new
    ones that people were told of."""

    parked: Mapping[str, str] = field(default_factory=dict)
    approved: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    told: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def park(self, agent: str, why: str) -> Decisions:
        """A person has parked it."""
        return replace(self, parked={**self.parked, agent: why})

    def unpark(self, agent: str) -> Decisions:
        """It may run again."""
        return replace(self, parked={id: why for id, why in self.parked.items() if id != agent})

    def approve(self, agent: str, grants: Iterable[Grant]) -> Decisions:
        """These are its grants, and people know."""
        told = {id: texts for id, texts in self.told.items() if id != agent}
        return replace(self, approved={**self.approved, agent: tuple(map(str, grants))}, told=told)

    def tell(self, agent: str, fresh: Iterable[Grant]) -> Decisions:
        """People were told of these."""
        return replace(self, told={**self.told, agent: tuple(map(str, fresh))})

    def without(self, gone: Iterable[str]) -> Decisions:
        """No grants of agents that are no more: one that comes again is new. Whom a person has parked stays parked."""
        left = set(gone)
        return Decisions(
            self.parked,
            {id: texts for id, texts in self.approved.items() if id not in left},
            {id: texts for id, texts in self.told.items() if id not in left},
        )


@dataclass(frozen=True)
class Review:
    """`fresh`: grants that nobody has approved; `force`: those of medium and high risk that count meanwhile."""

    fresh: tuple[Grant, ...] = ()
    force: tuple[Grant, ...] = ()


def review(held: Iterable[Grant], approved: Iterable[str]) -> Review:
    """What a note grants against what was approved. `held`: with sandboxes written out. A grant that was widened counts as
    it was before; one that was taken away does not count any more, and is new when it comes again."""
    now = [grant for grant in held if VERBS[grant.verb].risk != LOW]
    before = _grants(approved)
    fresh = tuple(grant for grant in now if not covers(before, grant))
    force = [grant for grant in now if covers(before, grant)]
    force += [grant for grant in before if covers(now, grant) and not covers(force, grant)]
    return Review(fresh, tuple(force))


def in_force(authority: Authority, approved: Iterable[str]) -> Authority:
    """The authority without what nobody has approved yet."""
    held = hoisted(authority)
    low = [grant for grant in held if VERBS[grant.verb].risk == LOW]
    return Authority(authority.agent, (*low, *review(held, approved).force), authority.sandbox)


def held_by(spec: AgentSpec) -> tuple[Grant, ...]:
    """The grants of a spec with the sandbox written out."""
    return _held(spec.capabilities, spec.sandbox)


@lru_cache(maxsize=1024)  # a thousand agents are looked at after each save, and most have the same few grants
def _held(capabilities: tuple[str, ...], sandbox: str | None) -> tuple[Grant, ...]:
    return hoisted(Authority("", tuple(_grants(capabilities)), sandbox))


def reviewed(spec: AgentSpec) -> list[Grant]:
    """The grants of a spec that are looked at: of medium and high risk."""
    return [grant for grant in held_by(spec) if VERBS[grant.verb].risk != LOW]


def _grants(texts: Iterable[str]) -> list[Grant]:
    found = []
    for text in texts:
        try:
            found.append(parse_grant(text))
        except GrantError as error:  # a grant of another version grants nothing
            logger.warning("%s", error)
    return found


def load(directory: Path) -> Decisions | None:
    """What was decided; None when nothing ever was: then whatever is there is taken as seen. A file that cannot be read
    approves nothing."""
    path = directory / FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Decisions(
            parked={str(id): str(why) for id, why in data["parked"].items()},
            approved={str(id): tuple(map(str, texts)) for id, texts in data["approved"].items()},
            told={str(id): tuple(map(str, texts)) for id, texts in data["told"].items()},
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.error("%s cannot be read, so no grant counts as approved: %s", path, error)
        return Decisions()


def save(directory: Path, decisions: Decisions) -> None:
    """Put the file in place, whole. Raises OSError."""
    data: dict[str, Any] = {
        "parked": dict(decisions.parked),
        "approved": {id: list(texts) for id, texts in sorted(decisions.approved.items())},
        "told": {id: list(texts) for id, texts in sorted(decisions.told.items())},
    }
    new = directory / f"{FILE}.new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(data, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    new.replace(directory / FILE)
