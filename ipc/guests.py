"""Who may come in from the network, under which name, and how many strangers may stand at the door. Pure.

A guest is known by a public key and by nothing else. What happens to its messages is `switch`'s business, its
connections are `bus`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ipc.curve import raw, text
from ipc.errors import LocalProtocolError
from ipc.rights import Rights

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_USER = "guest:"


@dataclass(frozen=True)
class Guest:
    """One key that may connect. `allow` as in the tree file; `label`: what its rights are called, for people."""

    key: bytes
    name: str
    allow: Mapping[str, Any]
    label: str
    rights: Rights

    @classmethod
    def read(cls, notice: Mapping[str, Any]) -> Guest:
        """From `{"key": Z85, "name": text, "allow": {…}, "label": text}`. Raises LocalProtocolError."""
        name, key = notice.get("name"), notice.get("key")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise LocalProtocolError(f"guest name {name!r} must have 1 to 32 letters, digits, '.', '_' or '-'")
        if not isinstance(key, str):
            raise LocalProtocolError(f"guest {name!r} has no key")
        allow = notice.get("allow") or {}
        return cls(raw(key), name, allow, str(notice.get("label") or ""), Rights(allow))

    @property
    def user(self) -> str:
        """The User-Id of its authenticated connections: its key and nothing that it could choose."""
        return f"{_USER}{text(self.key)}"


class Guests:
    """The keys that may connect."""

    def __init__(self, guests: Iterable[Guest] = ()) -> None:
        self._by_user = {guest.user: guest for guest in guests}

    def __len__(self) -> int:
        return len(self._by_user)

    def of_key(self, key: bytes) -> Guest | None:
        """The guest with this public key."""
        return self._by_user.get(f"{_USER}{text(key)}") if len(key) == 32 else None

    def of_user(self, user: str) -> Guest | None:
        """The guest of an authenticated connection, if it may still come in."""
        return self._by_user.get(user)

    def same(self, other: Guest) -> bool:
        """Whether this guest is still there with the same name and rights."""
        now = self._by_user.get(other.user)
        return now is not None and (now.name, now.allow) == (other.name, other.allow)


def is_guest(user: str) -> bool:
    """Whether an authenticated User-Id is that of a guest."""
    return user.startswith(_USER)


class Door:
    """Connections from the network that have not said who they are: at most so many, and not for long.

    The one that must go is the oldest of the address that has most of them, so that one machine cannot keep others out.
    Descriptors are given by `bus`. Times are monotonic seconds.
    """

    def __init__(self, most: int, patience: float) -> None:
        self._most = most
        self._patience = patience
        self._waiting: dict[int, tuple[str, float]] = {}  # descriptor -> address, until when; in order of arrival

    def __len__(self) -> int:
        return len(self._waiting)

    def arrived(self, fd: int, address: str, now: float) -> list[int]:
        """Somebody stands at the door. Returns whom to send away."""
        self._waiting.pop(fd, None)  # its number was given to this connection
        self._waiting[fd] = (address, now + self._patience)
        gone = []
        while len(self._waiting) > self._most:
            gone.append(self._worst())
        return gone

    def _worst(self) -> int:
        counts: dict[str, int] = {}
        for address, _ in self._waiting.values():
            counts[address] = counts.get(address, 0) + 1
        most = max(counts.values())
        fd = next(fd for fd, (address, _) in self._waiting.items() if counts[address] == most)
        del self._waiting[fd]
        return fd

    def left(self, fd: int) -> None:
        """The connection ended, or is somebody known now."""
        self._waiting.pop(fd, None)

    def due(self) -> float | None:
        """When `tick` has something to do."""
        return next((until for _, until in self._waiting.values()), None)

    def tick(self, now: float) -> list[int]:
        """Whose time is over; they are forgotten."""
        late = [fd for fd, (_, until) in self._waiting.items() if until <= now]
        for fd in late:
            del self._waiting[fd]
        return late
