"""What an agent may do: grants as data, requests as data, and a pure answer.

Here belong the grammar of grants, the catalog of verbs, the patterns, the matcher, attenuation and the wording of
denials. Nothing here reads a file, a clock or a socket: `egghead.tools` turns a concrete call into requests and asks.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Authority": "match",
    "Denial": "denials",
    "Grant": "grants",
    "GrantError": "grants",
    "Request": "match",
    "VERBS": "catalog",
    "Verb": "catalog",
    "allows": "match",
    "could": "match",
    "covers": "match",
    "deny": "denials",
    "exceeding": "match",
    "expand": "grants",
    "inert_reason": "match",
    "parse_grant": "grants",
    "parse_grants": "grants",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
