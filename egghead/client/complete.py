"""What a half-typed line may become: commands, agents, rooms, `[[notes]]`. The same for every surface, without one.

`wanted` is pure and says what is asked for; `Names` asks a node for it and remembers the answer for a moment, so that
a key does not wait for the bus.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from egghead.client.commands import TABLE
from egghead.client.connection import Client
from egghead.errors import EggheadError

MOST = 50
FRESH = 3.0  # seconds for which agents and rooms are remembered
PATIENCE = 1.0  # seconds an answer may take; later than that nobody waits for it

_NOTE = re.compile(r"\[\[([^\[\]\n|]*)\Z")
_MENTION = re.compile(r"(?:\A|[\s(,;:*])@([\w./-]*)\Z")
_FIRST = re.compile(r"\A\s*/([A-Za-z-]*)\Z")
_SECOND = re.compile(r"\A\s*/([A-Za-z-]+)\s+([^\n]*)\Z")

BROADCASTS = {"everyone": "all, one after another", "jam": "all at once"}


@dataclass(frozen=True)
class Wanted:
    """`kind`: command, agent, room, note or mention; `typed`: what there is of it so far."""

    kind: str
    typed: str


@dataclass(frozen=True)
class Candidate:
    """`text` takes the place of what was typed; `about` is shown beside it."""

    text: str
    about: str = ""


def wanted(before: str) -> Wanted | None:
    """What the text before the cursor asks for; None: nothing that can be completed."""
    if found := _NOTE.search(before):
        return Wanted("note", found[1])
    if found := _FIRST.match(before):
        return Wanted("command", found[1].lower())
    if found := _SECOND.match(before):
        command = TABLE.get(found[1].lower())
        if command is not None and command.rest in ("agent", "room", "command"):
            return Wanted(command.rest, found[2].removeprefix("@").removeprefix("#").removeprefix("/"))
    if found := _MENTION.search(before):
        return Wanted("mention", found[1])
    return None


def fitting(typed: str, known: Mapping[str, str], titles: bool = True) -> list[Candidate]:
    """Known names that begin with `typed`; with `titles`, then those where a word of the name or of the title does."""
    word = typed.casefold()
    first = [name for name in sorted(known) if name.casefold().startswith(word)]
    if not titles:
        return [Candidate(name, known[name]) for name in first]
    inside = re.compile(rf"(?:\b|/){re.escape(word)}", re.IGNORECASE)
    then = [name for name in sorted(known) if name not in first and (inside.search(name) or inside.search(known[name]))]
    return [Candidate(name, known[name]) for name in (*first, *then)][:MOST]


class Names:
    """What there is on a node, as it was a moment ago. A node that does not answer offers nothing."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[str, tuple[float, dict[str, str]]] = {}

    async def candidates(self, before: str) -> list[tuple[Wanted, Candidate]]:
        """What may stand in the place of what is being typed."""
        what = wanted(before)
        if what is None:
            return []
        if what.kind == "command":
            known = {name: command.line for name, command in TABLE.items()}
        elif what.kind == "note":
            return [(what, one) for one in await self._notes(what.typed)]
        else:
            known = await self._names("rooms" if what.kind == "room" else "agents")
            if what.kind == "mention":
                known = known | BROADCASTS
        return [(what, one) for one in fitting(what.typed, known, titles=what.kind != "command")]

    async def _names(self, kind: str) -> dict[str, str]:
        at, known = self._known.get(kind, (0.0, {}))
        if time.monotonic() - at < FRESH:
            return known
        try:
            if kind == "rooms":
                rows = await self._client.call("lobby", "list", timeout=PATIENCE)
                known = {str(row["room"]): "" for row in rows}
            else:
                rows = await self._client.call("roster", "cards", timeout=PATIENCE)
                known = {str(row["id"]): str(row["title"]) for row in rows}
        except EggheadError:
            return known
        self._known[kind] = time.monotonic(), known
        return known

    async def _notes(self, typed: str) -> list[Candidate]:
        """Notes whose id begins so, then those that a search for the words finds."""
        try:
            begun = await self._client.call("index", "list", prefix=typed, limit=MOST, timeout=PATIENCE)
            found = (
                await self._client.call("index", "search", query=typed, limit=MOST, timeout=PATIENCE) if typed else []
            )
        except EggheadError:
            return []
        return [Candidate(id, title) for id, title in _titles((*begun, *found)).items()][:MOST]


def _titles(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in rows:
        found.setdefault(str(row["id"]), str(row["title"]))
    return found
