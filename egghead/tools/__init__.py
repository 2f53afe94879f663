"""The tools agents can call, and the two gates before them.

Here belong the registry (a tool is a typed function), the record tools, the rules that turn a concrete call into
requests, and the reference monitor that checks all of them before anything happens. The bus is not known here: the
monitor is given functions; `egghead/processes/tools.py` connects it.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Monitor": "monitor",
    "Refusal": "ports",
    "Tool": "registry",
    "TOOLS": "notes",
    "capped": "results",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
