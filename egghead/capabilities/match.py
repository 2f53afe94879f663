"""Does this authority allow that request? Is that authority part of this one? Both pure, both with no exceptions.

A request is one verb on one concrete thing. A call may need several; the monitor asks for all of them. An authority is
the list of an agent's grants; a request passes when one grant alone allows it, so two grants of a verb are a union and
never mix their scopes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from egghead.capabilities.catalog import AVAILABLE, VERBS
from egghead.capabilities.grants import Grant
from egghead.capabilities.patterns import (
    command_covers,
    command_matches,
    glob_covers,
    glob_matches,
    host_covers,
    host_matches,
    inside,
)

Facts = Mapping[str, tuple[str, ...]]

MAX_ATOMS = 10_000
"""A scope with more combinations of values than this is not taken apart: attenuation says no instead of hanging."""


@dataclass(frozen=True)
class Request:
    """One verb on one thing. `facts` say what is known of it, by the scope keys of the verb.

    records: `classes` (one), `paths` (record path without extension), `tags`. agent: `ids` (one). net: `hosts`
    (name, port). fs: `paths` (absolute, resolved). proc: `cwd` (absolute, resolved), `argv`.
    """

    verb: str
    facts: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @classmethod
    def of(cls, verb: str, **facts: str | Iterable[str]) -> Request:
        return cls(verb, tuple((key, (v,) if isinstance(v, str) else tuple(v)) for key, v in sorted(facts.items())))

    def __str__(self) -> str:
        known = ", ".join(f"{key} {' '.join(values)}" for key, values in self.facts if values)
        return f"{self.verb} ({known})" if known else self.verb


@dataclass(frozen=True)
class Authority:
    """What an agent holds. `agent` is whose it is; `sandbox` narrows `in` for the outside families."""

    agent: str
    grants: tuple[Grant, ...] = ()
    sandbox: str | None = None

    def of(self, verb: str) -> tuple[Grant, ...]:
        return tuple(grant for grant in self.grants if grant.verb == verb)


def inert_reason(grant: Grant, sandbox: str | None = None, available: Iterable[str] = AVAILABLE) -> str | None:
    """Why a grant can never allow anything here and now, or None when it can."""
    verb = VERBS[grant.verb]
    empty = [key for key, values in grant.scope if not values]
    if empty:
        return f"{empty[0]} is empty, so nothing matches"
    if verb.external and grant.bare:
        return f'bare means nothing outside the store; give it {" or ".join(verb.scopes)}, or "*" for any'
    if verb.family not in available:
        return "not available yet"
    if "in" in verb.scopes and "in" not in grant.scopes and not grant.anything and sandbox is None:
        return "no folder: give it `in`, or the agent a `sandbox`"
    return None


def _one_of(allowed: tuple[str, ...], values: tuple[str, ...]) -> bool:
    return bool(values) and all(value in allowed for value in values)


def _any_of(allowed: tuple[str, ...], values: tuple[str, ...]) -> bool:
    return any(value in allowed for value in values)


def _glob(allowed: tuple[str, ...], values: tuple[str, ...]) -> bool:
    return bool(values) and all(any(glob_matches(pattern, value) for pattern in allowed) for value in values)


def _host(allowed: tuple[str, ...], values: tuple[str, ...]) -> bool:
    if len(values) != 2 or not values[1].isdigit():
        return False
    return any(host_matches(pattern, values[0], int(values[1])) for pattern in allowed)


_INTERNAL: dict[str, Callable[[tuple[str, ...], tuple[str, ...]], bool]] = {
    "classes": _one_of,
    "paths": _glob,
    "tags": _any_of,
    "ids": _glob,
    "hosts": _host,
}


def _roots(grant: Grant, sandbox: str | None) -> tuple[str, ...]:
    """The folders a grant reaches: its own `in`, each inside the sandbox above it, else the sandbox itself."""
    own = grant.scopes.get("in")
    if own is None:
        return ("/",) if grant.anything and sandbox is None else (sandbox,) if sandbox else ()
    return tuple(root for root in own if sandbox is None or inside(sandbox, root))


def _relative(root: str, path: str) -> str:
    return path[len(root.rstrip("/")) :].lstrip("/")


def _file_allowed(grant: Grant, facts: Facts, sandbox: str | None) -> bool:
    paths, patterns = facts.get("paths", ()), grant.scopes.get("paths")
    roots = _roots(grant, sandbox)
    if not paths or not roots:
        return False
    for path in paths:
        within = [root for root in roots if inside(root, path)]
        if not within:
            return False
        if patterns is not None and not any(
            glob_matches(pattern, path if pattern.startswith("/") else _relative(root, path))
            for root in within
            for pattern in patterns
        ):
            return False
    return True


def _process_allowed(grant: Grant, facts: Facts, sandbox: str | None) -> bool:
    cwd, argv = facts.get("cwd", ()), facts.get("argv", ())
    roots, scopes = _roots(grant, sandbox), grant.scopes
    if len(cwd) != 1 or not any(inside(root, cwd[0]) for root in roots):
        return False
    if "cmds" in scopes and (not argv or argv[0] not in scopes["cmds"]):
        return False
    return "patterns" not in scopes or any(command_matches(pattern, argv) for pattern in scopes["patterns"])


def grant_allows(grant: Grant, request: Request, sandbox: str | None = None) -> bool:
    """Whether this one grant allows this request."""
    if grant.verb != request.verb:
        return False
    verb = VERBS[grant.verb]
    if verb.external and grant.bare:
        return False
    facts = dict(request.facts)
    if verb.family == "fs":
        return _file_allowed(grant, facts, sandbox)
    if verb.family == "proc":
        return _process_allowed(grant, facts, sandbox)
    if grant.anything:
        return True
    return all(_INTERNAL[key](allowed, facts.get(key, ())) for key, allowed in grant.scope)


def allows(authority: Authority, request: Request) -> bool:
    """Whether some grant alone allows the request."""
    return any(grant_allows(grant, request, authority.sandbox) for grant in authority.of(request.verb))


def could(authority: Authority, verb: str, available: Iterable[str] = AVAILABLE) -> bool:
    """Whether some input could pass: what decides that a tool is on the menu."""
    return any(inert_reason(grant, authority.sandbox, available) is None for grant in authority.of(verb))


def _value_covers(key: str, wide: str, narrow: str) -> bool:
    if key == "hosts":
        return host_covers(wide, narrow)
    if key == "patterns":
        return command_covers(wide, narrow)
    if key == "in":
        return inside(wide, narrow)
    if key in ("paths", "ids"):
        return glob_covers(wide, narrow)
    return wide == narrow


def _atoms(grant: Grant) -> list[Grant] | None:
    """The grant as a union of grants with one value a key, or None when there are too many."""
    total = 1
    for _, values in grant.scope:
        total *= len(values)
    if total > MAX_ATOMS:
        return None
    keys = [key for key, _ in grant.scope]
    return [
        Grant(grant.verb, tuple((key, (value,)) for key, value in zip(keys, combination, strict=True)), grant.anything)
        for combination in itertools.product(*(values for _, values in grant.scope))
    ]


def _atom_covered(atom: Grant, by: Grant) -> bool:
    external = VERBS[atom.verb].external
    if external and by.bare:
        return False
    if by.anything:
        return True
    if atom.anything:
        return by.bare and not external
    scopes = atom.scopes
    return all(
        key in scopes and any(_value_covers(key, wide, scopes[key][0]) for wide in values) for key, values in by.scope
    )


def covers(authority: Iterable[Grant], grant: Grant) -> bool:
    """Whether everything that `grant` could ever allow is allowed by `authority`. Sound, not complete.

    Both sides are taken with their `in` written out: the caller hoists sandboxes first.
    """
    if VERBS[grant.verb].external and grant.bare:
        return True  # it allows nothing
    atoms = _atoms(grant)
    if atoms is None:
        return False
    own = [other for other in authority if other.verb == grant.verb]
    return all(any(_atom_covered(atom, other) for other in own) for atom in atoms)


def hoisted(authority: Authority) -> tuple[Grant, ...]:
    """The grants with the sandbox written into `in`, so that two authorities can be compared without it."""
    found: list[Grant] = []
    for grant in authority.grants:
        if "in" not in VERBS[grant.verb].scopes or grant.bare:
            found.append(grant)
            continue
        roots = _roots(grant, authority.sandbox)
        if roots == ("/",) and grant.anything:
            found.append(grant)
        else:
            rest = tuple((key, values) for key, values in grant.scope if key != "in")
            found.append(Grant(grant.verb, (("in", roots), *rest)))
    return tuple(found)


def exceeding(granted: Authority, grantor: Authority) -> tuple[Grant, ...]:
    """The grants of `granted` that are not a part of what `grantor` holds itself."""
    own = hoisted(grantor)
    return tuple(grant for grant in hoisted(granted) if not covers(own, grant))
