"""What the supervisor tells the bus over the control channel: who may connect (also from the network), who is dead. Pure and total.

Any JSON gives a Registration, all Guests, a Death, None for what is not for the bus, or LocalProtocolError. What follows from them
is decided in `switch`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ipc.errors import LocalProtocolError
from ipc.guests import Guest
from ipc.sessions import Registration

_REASON = 500  # characters


@dataclass(frozen=True, slots=True)
class Death:
    """A process life is over, or (`revoked`) may not speak any more."""

    name: str
    incarnation: int
    reason: str
    planned: bool


def read_notice(message: Any) -> Registration | list[Guest] | Death | None:
    """The meaning of one message. Raises LocalProtocolError for a notice or death that is none."""
    if not isinstance(message, dict):
        raise LocalProtocolError(f"a control message is a mapping, not {message!r:.80}")
    notice = message.get("notice")
    if isinstance(notice, dict):
        if "register" in notice:
            return Registration.read(notice)
        if "guests" in notice:
            return _guests(notice["guests"])
        if "revoke" in notice:
            return _death(notice, "revoke", "revoked", planned=False)
        return None
    if "down" not in message:
        return None
    reason = message.get("reason") or ""
    if not isinstance(reason, str):
        raise LocalProtocolError(f"the reason of a death is text, not {reason!r:.80}")
    # File names in a reason may hold half characters, which no frame can.
    clean = reason[:_REASON].encode("utf-8", "replace").decode()
    return _death(message, "down", clean, planned=bool(message.get("planned")))


def _guests(guests: Any) -> list[Guest]:
    if not isinstance(guests, list) or not all(isinstance(guest, dict) for guest in guests):
        raise LocalProtocolError(f"guests are a list of mappings, not {guests!r:.80}")
    return [Guest.read(guest) for guest in guests]


def _death(message: dict[Any, Any], key: str, reason: str, planned: bool) -> Death:
    name, incarnation = message[key], message.get("incarnation")
    if not isinstance(name, str) or isinstance(incarnation, bool) or not isinstance(incarnation, int):
        raise LocalProtocolError(f"{key} needs a name and an incarnation, not {name!r:.80} and {incarnation!r:.80}")
    return Death(name, incarnation, reason, planned)
