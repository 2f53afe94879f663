"""Agents: from a record to a spec, from a room's log to a session, from a session to a turn.

Here belong the reading of agent records, the fold of a log to what the model sees, the system prompt and the turn loop.
None of it knows the bus: `egghead/processes/agent.py` and `roster.py` connect it.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "AgentSpec": "record",
    "agent_id": "record",
    "builtins": "record",
    "load": "record",
    "roll": "record",
    "Session": "session",
    "fold": "session",
    "system_prompt": "prompt",
    "Turn": "turn",
    "take_turn": "turn",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
