"""Denials: which rule refused, what was asked, what is held, and the exact command that would allow it.

A denial is told three times, from this one value: to the model as an error result, to the room as an entry, to the log
as fields.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from egghead.capabilities.catalog import LOW, VERBS, nearest
from egghead.capabilities.grants import Grant
from egghead.capabilities.match import Authority, Request, allows

ABSENT = "capability_absent"
SCOPE = "scope_violation"
SELF = "self_modification"
EXCEEDS = "exceeds_grantor_authority"
UNKNOWN_TOOL = "unknown_tool"
UNREADABLE = "grants_unreadable"
"""Not a rule but its absence: the grants could not be read, so nothing is allowed."""

CODES = (ABSENT, SCOPE, SELF, EXCEEDS, UNKNOWN_TOOL, UNREADABLE)


@dataclass(frozen=True)
class Denial:
    """`text` is a sentence; `remedy` is a command, or empty where no command helps."""

    code: str
    agent: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.text} To allow it: {self.remedy}" if self.remedy else self.text


def grant_command(agent: str, grants: Iterable[Grant]) -> str:
    """The command line, safe to paste in a shell."""
    return " ".join(["egghead", "agents", "grant", shlex.quote(agent), *(shlex.quote(str(grant)) for grant in grants)])


def narrowest(request: Request) -> Grant:
    """The smallest grant worth writing that allows the request: a low risk bare, anything else for this thing only."""
    verb, facts = VERBS[request.verb], dict(request.facts)
    if verb.family == "records":
        path = facts.get("paths", ())
        bare = verb.risk == LOW or not path
        return Grant(verb.name) if bare else Grant(verb.name, (("paths", path),))
    if verb.family == "agent":
        ids = facts.get("ids", ())
        return Grant(verb.name, (("ids", ids),)) if ids else Grant(verb.name)
    if verb.family == "net" and len(facts.get("hosts", ())) == 2:
        name, port = facts["hosts"]
        return Grant(verb.name, (("hosts", (name if port in ("80", "443") else f"{name}:{port}",)),))
    if verb.family == "fs" and facts.get("paths"):
        folder = facts["paths"][0].rpartition("/")[0] or "/"
        return Grant(verb.name, (("in", (folder,)),))
    if verb.family == "proc" and facts.get("cwd"):
        argv = facts.get("argv", ())
        command = (("cmds", argv[:1]),) if verb.name == "proc.exec" and argv else ()
        return Grant(verb.name, (("in", facts["cwd"]), *command))
    return Grant(verb.name, (), True)


def _held(authority: Authority, verb: str) -> str:
    same = [str(grant) for grant in authority.of(verb)]
    if same:
        return ", ".join(same)
    family = verb.partition(".")[0]
    near = [str(grant) for grant in authority.grants if grant.verb.startswith(family + ".")]
    return f"no {verb} (only {', '.join(near)})" if near else f"nothing of {family}"


def deny(authority: Authority, request: Request) -> Denial | None:
    """None when the request is allowed, else why not."""
    if allows(authority, request):
        return None
    code = SCOPE if authority.of(request.verb) else ABSENT
    return Denial(
        code,
        authority.agent,
        f"Denied ({code}): {authority.agent} asked for {request} and holds {_held(authority, request.verb)}.",
        grant_command(authority.agent, [narrowest(request)]),
    )


def deny_self(agent: str, what: str) -> Denial:
    return Denial(
        SELF,
        agent,
        f"Denied ({SELF}): {agent} may not {what}; only a person changes an agent's own authority.",
        f"egghead agents edit {shlex.quote(agent)}",
    )


def deny_excess(grantor: Authority, target: str, missing: Iterable[Grant]) -> Denial:
    listed = tuple(missing)
    names = ", ".join(str(grant) for grant in listed)
    return Denial(
        EXCEEDS,
        grantor.agent,
        f"Denied ({EXCEEDS}): {grantor.agent} would give {target} more than it holds itself: {names}.",
        grant_command(target, listed),
    )


def deny_unknown_tool(agent: str, tool: str, known: Iterable[str]) -> Denial:
    names = sorted(known)
    near = nearest(tool, names)
    tail = f" Did you mean {near!r}?" if near else f" There are: {', '.join(names)}." if names else ""
    return Denial(UNKNOWN_TOOL, agent, f"Denied ({UNKNOWN_TOOL}): there is no tool {tool!r}.{tail}")


def deny_unreadable(agent: str, reason: str) -> Denial:
    return Denial(
        UNREADABLE,
        agent,
        f"Denied ({UNREADABLE}): the grants of {agent} cannot be read, so nothing is allowed: {reason}",
    )
