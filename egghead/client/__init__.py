"""The one client library: what CLI, TUI, web, IRC and MCP stand on. It speaks to a node over the bus, nothing else.

Names are loaded when they are used: the command line imports this package long before it needs a socket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from egghead.client.chat import Round, Said
    from egghead.client.connection import Client
    from egghead.client.notes import LocalNotes, NodeNotes
    from egghead.client.own import own_node

_WHERE = {
    "Client": "connection",
    "own_node": "own",
    "Round": "chat",
    "Said": "chat",
    "NodeNotes": "notes",
    "LocalNotes": "notes",
}
__all__ = ["Client", "LocalNotes", "NodeNotes", "Round", "Said", "own_node"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
