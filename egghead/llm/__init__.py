"""Models behind one interface: neutral shapes, the registry of providers, and the built-in librarian.

Here belongs everything between a neutral request and a provider's answer. What an agent does with an answer, and the
bus, do not: `egghead/agents` and `egghead/processes/llm.py`.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Registry": "registry",
    "Model": "provider",
    "Provider": "provider",
    "Request": "shapes",
    "request_from": "shapes",
    "event_data": "shapes",
    "LlmError": "errors",
    "BadRequest": "errors",
    "ProviderMissing": "errors",
    "UnknownModel": "errors",
    "UnknownProvider": "errors",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
