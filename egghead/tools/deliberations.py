"""Deliberations: the records in which agents hand a session on to their next life. Their own, and nothing else.

An agent needs no grant to keep what it knew, so this road is as narrow as it can be: the id is the one that the
coordinator has written into the room's log for this agent and this life, the class, the author and the first tags are
ours, and what stands there already is replaced only when it is of the same handoff. What an entry of a log says is
looked up by the process; here it is only compared.

A handoff that was given up may have written parts of a trail and no record that they belong to: those go to the trash
again, unless somebody has changed one since.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from egghead.agents.note import note_of
from egghead.rooms.names import deliberation_folder
from egghead.tools.notes import safe_body
from egghead.tools.ports import Ask, Refusal

CLASS = "deliberation"
MAX_BODY = 2_000_000  # characters of one record; an agent cuts its trail into smaller ones
MAX_PARTS = 500
MAX_LINKS = 300
KEY = "handoff"  # the frontmatter key that says which handoff a record belongs to
SUM = (
    "handoff_sum"  # the one of a part that says what we wrote there: a part that says something else is somebody's text
)


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


def given_up(started: Mapping[str, Any] | None, ended: Mapping[str, Any] | None, agent: str) -> str | None:
    """Why these entries do not say that a handoff of the agent was begun and given up, or None when they do."""
    if started is None or started.get("kind") != "handoff_started" or started.get("agent") != agent:
        return "no handoff of it was begun there"
    if ended is None or ended.get("kind") != "handoff_ended" or ended.get("outcome") != "failed":
        return "no handoff was given up there"
    if agent not in (ended.get("agent"), str(ended.get("by")).removeprefix("agents/")):
        return "the handoff that was given up is not its own"
    return None if started["seq"] < ended["seq"] else "the handoff that was begun there is another one"


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
        "meta": {KEY: str(entry["handoff"])} | ({SUM: _sum(safe_body(body))} if part > 1 else {}),
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


async def discard(ask: Ask, agent: str, entry: Mapping[str, Any]) -> list[str]:
    """Trash what the handoff that `entry` began has left behind: parts without their record; the ids. A handoff whose record
    stands is complete and stays, and so does a part that was changed since. Raises Refusal, Unavailable."""
    record, handoff = str(entry["record"]), str(entry["handoff"])
    if await read(ask, agent, record) is not None:
        return []
    rows = await ask("index", "list", **{"class": CLASS}, prefix=record + "-", order="id", limit=MAX_PARTS)
    ids = [row["id"] for row in rows if re.fullmatch(r"-\d+", row["id"].removeprefix(record), re.ASCII)]
    found: list[str] = []
    for id in ids:
        try:
            part = await ask("store", "get", id=id)
            meta = part.get("meta") or {}
            ours = _own(part, agent) and meta.get(KEY) == handoff and meta.get(SUM) == _sum(str(part.get("body") or ""))
            if ours:
                await ask("store", "trash", id=id)
                found.append(id)
        except Refusal as refusal:
            if refusal.type != "NotFound":  # somebody was quicker
                raise
    return found


async def read(ask: Ask, agent: str, record: str) -> dict[str, Any] | None:
    """`{note, handoff}` of one of the agent's own deliberations, None when there is none. Raises Refusal, Unavailable."""
    if not record.startswith(deliberation_folder(agent)):
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


def _sum(body: str) -> str:
    return hashlib.sha256(body.strip().encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _own(record: Mapping[str, Any], agent: str) -> bool:
    return record.get("class") == CLASS and record.get("author") == f"agents/{agent}"
