"""Deliberations: the records in which agents hand a session on to their next life. Their own, and nothing else.

An agent needs no grant to keep what it knew, so this road is as narrow as it can be: the id is the one that the
coordinator has written into the room's log for this agent and this life, the class, the author and the first tags are
ours, and what stands there already is replaced only when it is of the same handoff. What an entry of a log says is
looked up by the process; here it is only compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from egghead.agents.note import note_of
from egghead.tools.notes import safe_body
from egghead.tools.ports import Ask, Refusal

FOLDER = "deliberations"
CLASS = "deliberation"
MAX_BODY = 2_000_000  # characters of one record; an agent cuts its trail into smaller ones
MAX_PARTS = 500
MAX_LINKS = 300
KEY = "handoff"  # the frontmatter key that says which handoff a record belongs to


def part_id(record: str, part: int) -> str:
    """The id of the n-th record of a long trail, counted from 1."""
    return record if part == 1 else f"{record}-{part}"


def mismatch(entry: Mapping[str, Any] | None, agent: str, incarnation: int) -> str | None:
    """Why this entry of a room's log does not let this life of the agent write, or None when it does."""
    if entry is None or entry.get("kind") != "handoff_started":
        return "no handoff was begun there"
    if entry.get("agent") != agent:
        return f"the handoff is {entry.get('agent')!r}'s"
    if entry.get("incarnation") != incarnation:
        return "the handoff was given to another life of the agent"
    return None


def check(part: Any, title: Any, body: Any, links: Any) -> str | None:
    """What is wrong with the arguments of a write, or None."""
    if not isinstance(part, int) or isinstance(part, bool) or not 1 <= part <= MAX_PARTS:
        return f"part is a number from 1 to {MAX_PARTS}, not {part!r}"
    if not isinstance(title, str) or not 0 < len(title) <= 300:
        return "title is a text of 1 to 300 characters"
    if not isinstance(body, str) or len(body) > MAX_BODY:
        return f"body is a text of at most {MAX_BODY} characters"
    if not isinstance(links, list | tuple) or len(links) > MAX_LINKS or not all(isinstance(one, str) for one in links):
        return f"links is a list of at most {MAX_LINKS} ids"
    return None


async def write(
    ask: Ask, agent: str, room: str, entry: Mapping[str, Any], part: int, title: str, body: str, links: Sequence[str]
) -> str:
    """Write one record of the handoff that `entry` began, or write it again; its id. Raises Refusal, Unavailable."""
    id = part_id(str(entry["record"]), part)
    fields: dict[str, Any] = {
        "title": title,
        "body": safe_body(body),
        "class": CLASS,
        "tags": ["deliberation", f"agent:{agent}", f"room:{room}"],
        "links": list(links),
        "meta": {KEY: str(entry["handoff"])},
    }
    try:
        await ask("store", "create", **fields, id=id, author=f"agents/{agent}", format="markdown")
    except Refusal as refusal:
        if refusal.type != "Exists":
            raise
        before = await ask("store", "get", id=id)
        if not _own(before, agent) or (before.get("meta") or {}).get(KEY) != fields["meta"][KEY]:
            raise
        await ask("store", "update", id=id, changes=fields, revision=before["revision"])
    return id


async def read(ask: Ask, agent: str, record: str) -> dict[str, Any] | None:
    """`{note, handoff}` of one of the agent's own deliberations, None when there is none. Raises Refusal, Unavailable."""
    if not record.startswith(f"{FOLDER}/{agent}/"):
        return None
    try:
        found = await ask("store", "get", id=record)
    except Refusal as refusal:
        if refusal.type in ("NotFound", "InvalidId"):
            return None
        raise
    if not _own(found, agent):
        return None
    return {"note": note_of(str(found.get("body") or "")), "handoff": (found.get("meta") or {}).get(KEY)}


def _own(record: Mapping[str, Any], agent: str) -> bool:
    return record.get("class") == CLASS and record.get("author") == f"agents/{agent}"
