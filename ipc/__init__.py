"""Named peers over ZeroMQ: one bus process, calls, streams, events and monitors between processes.

This file holds the public names and nothing else; they are imported on first use, because a command line that never
opens a connection must not pay for ZeroMQ. Knows nothing of egghead, supervision or notes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipc.address import Address as Address
    from ipc.curve import Remote as Remote
    from ipc.errors import CallTimeout as CallTimeout
    from ipc.errors import Forbidden as Forbidden
    from ipc.errors import IpcError as IpcError
    from ipc.errors import LocalProtocolError as LocalProtocolError
    from ipc.errors import Overloaded as Overloaded
    from ipc.errors import PeerDown as PeerDown
    from ipc.errors import Refused as Refused
    from ipc.errors import RemoteError as RemoteError
    from ipc.errors import RemoteProtocolError as RemoteProtocolError
    from ipc.errors import TooBig as TooBig
    from ipc.errors import VersionMismatch as VersionMismatch
    from ipc.events import Event as Event
    from ipc.events import Subscription as Subscription
    from ipc.limits import Limits as Limits
    from ipc.monitors import Change as Change
    from ipc.peer import Peer as Peer
    from ipc.serving import Call as Call
    from ipc.serving import idempotent as idempotent
    from ipc.serving import shielded as shielded

_HOME = {
    "Address": "ipc.address",
    "Call": "ipc.serving",
    "CallTimeout": "ipc.errors",
    "Change": "ipc.monitors",
    "Event": "ipc.events",
    "Forbidden": "ipc.errors",
    "IpcError": "ipc.errors",
    "Limits": "ipc.limits",
    "LocalProtocolError": "ipc.errors",
    "Overloaded": "ipc.errors",
    "Peer": "ipc.peer",
    "PeerDown": "ipc.errors",
    "Refused": "ipc.errors",
    "Remote": "ipc.curve",
    "RemoteError": "ipc.errors",
    "RemoteProtocolError": "ipc.errors",
    "Subscription": "ipc.events",
    "TooBig": "ipc.errors",
    "VersionMismatch": "ipc.errors",
    "idempotent": "ipc.serving",
    "shielded": "ipc.serving",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ipc' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value
