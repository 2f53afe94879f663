"""Changing what a record grants: from its frontmatter and a grant to the change for `store.update`. Pure.

Shorthands are written out, because a grant that is taken away must not stay in force by another key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from egghead.capabilities.catalog import hint
from egghead.capabilities.grants import Grant, GrantError, expand
from egghead.capabilities.match import Authority, covers, hoisted


def effective(meta: Mapping[str, Any]) -> list[Grant]:
    """The grants of a record's frontmatter with every shorthand and sandbox written out. Raises GrantError when a part
    cannot be read: what is not understood must not be rewritten."""
    grants, problems = expand(
        meta.get("capabilities"), meta.get("access"), meta.get("sandbox"), written="capabilities" in meta
    )
    if problems:
        raise GrantError(f"the record has grants that cannot be read; repair them first: {problems[0]}")
    sandbox = meta.get("sandbox")
    if not isinstance(sandbox, str):
        return list(grants)  # config may still give the folder that an external grant has not
    return list(hoisted(Authority("", grants, sandbox.strip())))


def granted(meta: Mapping[str, Any], more: Iterable[Grant]) -> dict[str, Any]:
    """`{meta: …}` that adds grants. A grant that is a part of what is held changes nothing; one that is wider takes the
    place of what it covers."""
    held = effective(meta)
    for grant in more:
        if not covers(held, grant):
            held = [*(one for one in held if not covers([grant], one)), grant]
    return _change(meta, held)


def revoked(meta: Mapping[str, Any], less: Iterable[Grant]) -> dict[str, Any]:
    """`{meta: …}` that takes grants away, each as it is listed; a bare verb takes all grants of that verb.

    Raises GrantError for one that is not held, with the nearest.
    """
    held = effective(meta)
    for grant in less:
        kept = [one for one in held if one != grant and not (grant.bare and one.verb == grant.verb)]
        if len(kept) == len(held):
            raise GrantError(f"{str(grant)!r} is not granted{hint(str(grant), [str(one) for one in held])}")
        held = kept
    return _change(meta, held)


def _change(meta: Mapping[str, Any], held: Iterable[Grant]) -> dict[str, Any]:
    written: dict[str, Any] = {"capabilities": [str(grant) for grant in held]}
    return {"meta": {**written, **{key: None for key in ("access", "sandbox") if key in meta}}}
