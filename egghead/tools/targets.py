"""What a write needs, by what the record is before it and after it. Pure.

A note becomes an agent by one line of frontmatter, so the kind of authority a write needs cannot go by the tool's name:
it goes by the class of the target before and after, and whoever writes another's authority must hold all of it itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from egghead.agents.record import agent_id, authority_keys, authority_of
from egghead.capabilities.denials import Denial, deny_excess, deny_self
from egghead.capabilities.match import Authority, Request, exceeding

Record = Mapping[str, Any]
Needs = tuple[tuple[Request, ...], Denial | None]

RESERVED = ("id", "title", "class", "tags", "links", "created", "updated", "author", "body", "path", "revision")
"""Keys that are arguments of their own or nobody's to set; as `meta` they would be written past the checks."""

_SKILL = re.compile(r"skills/[^/]+(?:/SKILL)?\Z")


def place(path: str) -> str:
    """A record's path without its extension: what `paths` in a scope is matched against. The id may claim another
    place, the path cannot."""
    for suffix in (".md", ".org"):
        if path.lower().endswith(suffix):
            return path[: -len(suffix)]
    return path


def class_of(record: Record) -> str:
    found = str(record.get("class") or "durable")
    return "skill" if found == "durable" and _SKILL.match(place(str(record.get("path", "")))) else found


def request(verb: str, record: Record) -> Request:
    """The request for `verb` on this record."""
    facts: dict[str, tuple[str, ...]] = {"classes": (class_of(record),), "paths": (place(str(record["path"])),)}
    if verb == "records.read":
        facts["tags"] = tuple(str(tag) for tag in record.get("tags") or ())
    return Request.of(verb, **facts)


def _agent(record: Record | None) -> str | None:
    return agent_id(str(record["id"])) if record is not None and class_of(record) == "agent" else None


def needed(caller: Authority, before: Record | None, after: Record | None) -> Needs:
    """The requests of a write that turns `before` (None: nothing there) into `after` (None: nothing left), and the
    denial of a rule beyond grants. All requests must pass, and the denial must be None."""
    was, becomes = _agent(before), _agent(after)
    requests: list[Request] = []
    if before is not None:
        requests += _for_old(before, after, was, becomes)
    if after is not None:
        requests += _for_new(before, after, was, becomes)
    denial = _self(caller.agent, before, after, was, becomes)
    if denial is None and after is not None and becomes is not None and _writes_authority(before, after, was):
        missing = exceeding(authority_of(after), caller)
        denial = deny_excess(caller, becomes, missing) if missing else None
    return tuple(dict.fromkeys(requests)), denial


def _for_old(before: Record, after: Record | None, was: str | None, becomes: str | None) -> list[Request]:
    if was is not None:
        gone = becomes is None or becomes != was
        return [Request.of("agent.delete", ids=was)] if gone else [Request.of("agent.update", ids=was)]
    return [request("records.delete" if after is None else "records.update", before)]


def _for_new(before: Record | None, after: Record, was: str | None, becomes: str | None) -> list[Request]:
    if becomes is None:
        return [request("records.create" if before is None else "records.update", after)]
    found = [] if becomes == was else [Request.of("agent.create", ids=becomes)]
    if _writes_authority_keys(before, after, was):
        found.append(Request.of("agent.grant", ids=becomes))
    return found


def _writes_authority_keys(before: Record | None, after: Record, was: str | None) -> bool:
    """Whether keys of authority come into force: written in a new agent, or changed in an old one."""
    if before is None or was is None:
        return bool(authority_keys(after))
    return authority_keys(before) != authority_keys(after)


def _writes_authority(before: Record | None, after: Record, was: str | None) -> bool:
    """Whether an agent gets other authority than it had; without a key it gets the default, which counts."""
    if before is None or was is None:
        return True
    return authority_keys(before) != authority_keys(after)


def _self(
    agent: str, before: Record | None, after: Record | None, was: str | None, becomes: str | None
) -> Denial | None:
    """Nobody makes, removes, replaces or widens itself, by whatever record has its id."""
    if agent not in (was, becomes):
        return None
    if was == becomes and before is not None and after is not None:
        same = authority_keys(before) == authority_keys(after)
        return None if same else deny_self(agent, "change its own capabilities, access or sandbox")
    return deny_self(agent, "create, replace or remove its own record")


def merged(before: Record, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The record as it will be after `store.update(id, changes)`; a None in `meta` removes the key."""
    meta = {**(before.get("meta") or {}), **(changes.get("meta") or {})}
    rest = {key: value for key, value in changes.items() if key != "meta"}
    return {**before, **rest, "meta": {key: value for key, value in meta.items() if value is not None}}
