"""What the bus remembers: who may connect, who is connected, what is in flight, who reads which events.

Records and small lookups only. Every decision is in `switch`, every socket in `bus`.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ipc.errors import LocalProtocolError
from ipc.guests import Guest
from ipc.limits import Bucket, Limits
from ipc.rights import Pattern, Rights

_NAME = re.compile(r"[^\x00-\x20#~*\x7f\ud800-\udfff]{1,200}")
_USER = re.compile(r"[A-Za-z0-9._-]{1,64}")
RESERVED = ("bus", "events")


@dataclass(frozen=True)
class Registration:
    """A process that may connect: one credential for one life. `credential` is what it sends as its password."""

    name: str
    incarnation: int
    credential: str
    rights: Rights

    @classmethod
    def read(cls, notice: Mapping[str, Any]) -> Registration:
        """From `{"register": name, "incarnation": n, "credential": hex, "allow": {...}}`; raises LocalProtocolError."""
        name, incarnation, credential = notice.get("register"), notice.get("incarnation"), notice.get("credential")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise LocalProtocolError(f"cannot register {name!r}: a name has 1 to 200 characters, no space, #, ~ or *")
        if name in RESERVED or name.startswith(("clients/", "client:", "guest:")):
            raise LocalProtocolError(f"cannot register {name!r}: the name belongs to the bus")
        if not isinstance(incarnation, int) or isinstance(incarnation, bool) or not 0 <= incarnation < 2**63:
            raise LocalProtocolError(
                f"cannot register {name!r}: incarnation must be a positive integer: {incarnation!r}"
            )
        if not isinstance(credential, str) or not 16 <= len(credential) <= 255 or not credential.isascii():
            raise LocalProtocolError(f"cannot register {name!r}: a credential has 16 to 255 ASCII characters")
        return cls(name, incarnation, credential, Rights(notice.get("allow")))

    @property
    def user(self) -> str:
        """The User-Id of its authenticated connections."""
        return f"{self.name}#{self.incarnation}"


def client_user(username: str) -> str | None:
    """`ada` for the PLAIN user name `client:ada`; None when it is no client or no good user name."""
    kind, _, user = username.partition(":")
    return user if kind == "client" and _USER.fullmatch(user) else None


@dataclass(frozen=True)
class Doors:
    """Who may connect: the registered processes, and clients with the token."""

    registrations: dict[str, Registration] = field(default_factory=dict)
    token: str | None = None

    def user(self, username: str, password: str) -> str | None:
        """User-Id for credentials, None when they are not valid."""
        if client_user(username) is not None:
            good = self.token is not None and hmac.compare_digest(self.token.encode(), password.encode())
            return username if good else None
        registration = self.registrations.get(username)
        if registration is not None and hmac.compare_digest(registration.credential.encode(), password.encode()):
            return registration.user
        return None


@dataclass(eq=False, slots=True)
class Flight:
    """A call or stream between two sessions. `number` names it towards the target, `id` towards the caller."""

    caller: Session
    id: int
    target: Session
    number: int
    stream: bool


@dataclass(eq=False, slots=True)
class Watch:
    """A monitor of a session."""

    session: Session
    id: int
    pattern: Pattern


@dataclass(eq=False, slots=True)
class Node:
    """A subscribed prefix: bytes published below it since it exists, and who reads it."""

    prefix: str
    total: int = 0
    check_at: int = 0
    readers: dict[Session, int] = field(default_factory=dict)  # session -> total when it began


@dataclass(frozen=True, slots=True)
class Doom:
    """A session that is to end, at the latest `at`, because its process is dead or does not read."""

    at: float
    reason: str
    planned: bool = False


class Session:
    """One authenticated connection of a peer, from Hello to its end."""

    __slots__ = (
        "acked",
        "announced",
        "bucket",
        "calls",
        "doom",
        "dropped",
        "event_fd",
        "events_acked",
        "events_before",
        "events_marked",
        "fd",
        "guest",
        "incarnation",
        "inline",
        "lagging",
        "marked",
        "marks",
        "name",
        "nodes",
        "number",
        "rid",
        "rights",
        "secret",
        "sent",
        "serving",
        "since",
        "slow_until",
        "unwanted",
        "user",
        "watches",
    )

    def __init__(
        self, rid: bytes, user: str, fd: int, number: int, name: str, incarnation: int, rights: Rights, limits: Limits
    ) -> None:
        self.rid = rid
        self.user = user
        self.fd = fd
        self.number = number
        self.name = name
        self.incarnation = incarnation
        self.rights = rights
        self.secret = secrets.token_hex(16)
        self.marks = f"~{number}/"
        self.announced = False
        self.doom: Doom | None = None
        self.calls: dict[int, Flight] = {}
        self.serving: dict[int, Flight] = {}
        self.watches: dict[int, Watch] = {}
        self.nodes: dict[str, Node] = {}
        self.sent = self.marked = self.acked = 0
        self.event_fd: int | None = None
        self.events_before = self.events_marked = self.events_acked = 0
        self.bucket = Bucket(limits.rate, limits.burst)
        self.unwanted = 0  # subscriptions of its event connection that were refused
        self.slow_until = 0.0
        self.since = 0.0  # monotonic, when it said Hello
        self.guest: Guest | None = None  # who came in from the network
        self.inline: dict[str, None] = {}  # prefixes whose events come on this connection
        self.lagging = False  # and some of them were dropped
        self.dropped = 0

    @property
    def event_user(self) -> str:
        """User-Id of its event connection."""
        return f"{self.user}~{self.number}"

    @property
    def waiting(self) -> int:
        """Bytes sent and not known to be read (exact to one mark)."""
        return self.sent - self.acked

    def events_sent(self) -> int:
        """Bytes of events that were given to its event connection."""
        return self.events_before + sum(node.total - node.readers[self] for node in self.nodes.values())
