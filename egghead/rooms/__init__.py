"""Rooms: one append-only log for each, and everything else a fold over it.

`entries` is the table of what may stand in a log, `fold` turns a log into a state, `decide` says what the coordinator
appends next, `gate` what a room accepts, `log` keeps the file. All but `log` are pure. No process and no socket here:
those are in `egghead.processes`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from egghead.rooms.decide import Decision, World, decide
    from egghead.rooms.entries import EntryError, validate
    from egghead.rooms.fold import fold
    from egghead.rooms.names import RoomNameError, check_room
    from egghead.rooms.state import RoomState, empty
    from egghead.rooms.ulid import ulid

_HOMES = {
    "Decision": "decide",
    "World": "decide",
    "decide": "decide",
    "EntryError": "entries",
    "validate": "entries",
    "RoomState": "state",
    "empty": "state",
    "fold": "fold",
    "RoomNameError": "names",
    "check_room": "names",
    "ulid": "ulid",
}

__all__ = [
    "Decision",
    "EntryError",
    "RoomNameError",
    "RoomState",
    "World",
    "check_room",
    "decide",
    "empty",
    "fold",
    "ulid",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
