"""Looks at the authority of every agent's note: what has grown through a file from outside is told, and held back if so
configured. Holds the decisions of people and their file; what they mean is in `decisions`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from egghead.agents import decisions as decided
from egghead.agents.decisions import Decisions, held_by, review, reviewed
from egghead.agents.reconcile import entry_id
from egghead.agents.record import AgentSpec

logger = logging.getLogger("egghead.roster")


class Steward:
    """`held`: agent -> grants of its note that wait for somebody to approve them. `asked`: record -> the revision that
    somebody wrote through the store, which asked for their rights; that is not from outside."""

    def __init__(self, directory: Path, hold: bool) -> None:
        self._directory = directory
        self.hold = hold
        found = decided.load(directory)
        self.decisions = found or Decisions()
        self._trusting = found is None  # nothing was ever decided: what is there now is taken as seen
        self.asked: dict[str, str] = {}
        self.held: dict[str, tuple[str, ...]] = {}
        self._fine: dict[str, tuple[Any, ...]] = {}  # what was found in order is not looked at again until it changes

    async def decide(self, new: Decisions) -> None:
        """Keep a decision. Raises OSError when the disk does not take it: one that would be forgotten is none."""
        await asyncio.to_thread(decided.save, self._directory, new)
        self.decisions = new

    async def approve(self, spec: AgentSpec) -> tuple[str, ...]:
        """All that the note grants counts from now on: the grants that waited. Raises OSError."""
        await self.decide(self.decisions.approve(spec.id, reviewed(spec)))
        return self.held.pop(spec.id, ())

    def approved(self, agent: str, spec: AgentSpec | None) -> list[str]:
        """The grants of medium and high risk that count. A built-in agent comes with the program."""
        if spec is not None and spec.builtin:
            return [str(grant) for grant in reviewed(spec)]
        return list(self.decisions.approved.get(agent, ()))

    async def review(self, desired: Mapping[str, AgentSpec], revisions: Mapping[str, str]) -> list[tuple[str, str]]:
        """What to tell the default room: (id of the entry, text). `revisions`: of the notes as they were read."""
        new = self.decisions.without([id for id in self.decisions.approved if id not in desired])
        held: dict[str, tuple[str, ...]] = {}
        telling: list[tuple[str, str]] = []
        for id, spec in desired.items():
            if spec.builtin:
                continue
            known = new.approved.get(id)
            looked = (spec.capabilities, spec.sandbox, known)
            if self._fine.get(id) == looked:
                continue
            grants = reviewed(spec)
            inside = spec.record in self.asked and self.asked[spec.record] == revisions.get(spec.record)
            if self._trusting or inside:
                new = new.approve(id, grants) if grants or known else new
                continue
            found = review(held_by(spec), known or ())
            fresh = tuple(map(str, found.fresh))
            if not fresh:
                if tuple(map(str, found.force)) != (known or ()):
                    new = new.approve(id, found.force)  # what was taken away is new when it comes again
                else:
                    self._fine[id] = looked
                continue
            if new.told.get(id) != fresh:
                telling.append(
                    (entry_id("grants", id, f"{fresh} {known} {revisions.get(spec.record)}"), self._growth(spec, fresh))
                )
            new = new.approve(id, found.force).tell(id, found.fresh) if self.hold else new.approve(id, grants)
            if self.hold:
                held[id] = fresh
        self.held, self._trusting = held, False
        await self._keep(new)
        return telling

    async def _keep(self, new: Decisions) -> None:
        if new == self.decisions and (self._directory / decided.FILE).exists():
            return
        try:
            await self.decide(new)
        except OSError as error:
            # What counts is right in this life; the next one tells again what it cannot know to have been told.
            logger.error("what was seen of the agents' grants could not be written: %s", error)
            self.decisions = new

    def _growth(self, spec: AgentSpec, fresh: tuple[str, ...]) -> str:
        what = f"The note of {spec.title} (@{spec.id}) was changed from outside and grants more: {'  '.join(fresh)}."
        if self.hold:
            return f"{what} That is held back until somebody approves it: egghead agents approve {spec.id}"
        return f"{what} If that is not meant: egghead agents revoke {spec.id} {' '.join(repr(one) for one in fresh)}"
