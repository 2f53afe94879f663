"""The network's side of a bus address: keys, fingerprints, and the options that make a TCP connection a CURVE one.

Only values live here. Who may connect is decided in `guests`, sockets are opened in `bus` and `link`. Keys are 32 bytes
(Curve25519); as text they are Z85 (40 characters, ZeroMQ's RFC 32) for libzmq, base64 for people and files, and a fingerprint as ssh
shows it for reading aloud.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass

import zmq
from zmq.utils import z85

from ipc.errors import LocalProtocolError

PORT = 9100
# A connection that brings nothing for IVL is asked (PING); one that does not answer within TIMEOUT is over: a vanished
# peer is known after IVL + TIMEOUT at the latest.
HEARTBEAT_IVL = 2_000  # milliseconds
HEARTBEAT_TIMEOUT = 6_000
BEATS: tuple[tuple[int, int], ...] = (
    (int(zmq.HEARTBEAT_IVL), HEARTBEAT_IVL),
    (int(zmq.HEARTBEAT_TIMEOUT), HEARTBEAT_TIMEOUT),
    (int(zmq.HEARTBEAT_TTL), HEARTBEAT_TIMEOUT),
)
_REMOTE: tuple[tuple[int, int], ...] = (
    *BEATS,
    (int(zmq.IPV6), 1),
    (int(zmq.CONNECT_TIMEOUT), 3_000),
    (int(zmq.RECONNECT_IVL), 100),
    (int(zmq.RECONNECT_IVL_MAX), 2_000),
)


@dataclass(frozen=True)
class KeyPair:
    """A Curve25519 key pair; both as Z85 text. `secret` is not shown by repr."""

    public: str
    secret: str

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public!r})"


def new_keys() -> KeyPair:
    """A fresh pair."""
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


def public_of(secret: str) -> str:
    """The public key that belongs to a secret one. Raises LocalProtocolError."""
    raw(secret)
    return zmq.curve_public(secret.encode()).decode()


def raw(key: str) -> bytes:
    """The 32 bytes of a key given as Z85 (40 characters) or base64 (43 or 44). Raises LocalProtocolError."""
    text = key.strip()
    try:
        if len(text) == 40:
            found = bytes(z85.decode(text.encode("ascii")))
        elif len(text) in (43, 44):
            found = base64.b64decode(text.rstrip("=") + "=", validate=True)
        else:
            raise ValueError(f"it has {len(text)} characters")
        if len(found) != 32:
            raise ValueError(f"it has {len(found)} bytes")
    except (ValueError, KeyError, IndexError, UnicodeEncodeError, struct.error) as error:
        raise LocalProtocolError(
            f"{text[:60]!r} is no key: 40 characters of Z85 or 44 of base64 are expected ({error})"
        ) from None
    return found


def text(key: bytes) -> str:
    """Z85 of a key's 32 bytes."""
    encoded: bytes = z85.encode(key)
    return encoded.decode()


def shown(key: str) -> str:
    """A key as people copy it: base64. Z85 has `#`, `$` and `-`, which files and shells take for something else."""
    return base64.b64encode(raw(key)).decode()


def fingerprint(key: str) -> str:
    """`SHA256:` and base64 of the hash of a public key, as ssh writes it."""
    digest = hashlib.sha256(raw(key)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


@dataclass(frozen=True)
class Remote:
    """A bus on the network, and the keys to speak to it with. For `Peer(remote, name=…, credential="-")`.

    `server`: the public key that the bus must have; nothing is said to another one.
    """

    host: str
    port: int
    server: str
    own: KeyPair

    inline = True  # events come on the one connection

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def bus(self) -> str:
        """Endpoint of the one connection."""
        return f"tcp://{self}"

    @property
    def directory(self) -> str:
        """Where it is, for people: the network has no directory."""
        return str(self)

    @property
    def events(self) -> str:
        """There is no second connection."""
        raise LocalProtocolError(f"{self}: events of a bus on the network come on its one connection")

    def options(self, user: str, credential: str) -> tuple[tuple[int, int | bytes], ...]:
        """Socket options of a connection; user and credential are for local ones."""
        return (
            *_REMOTE,
            (int(zmq.CURVE_SERVERKEY), self.server.encode()),
            (int(zmq.CURVE_PUBLICKEY), self.own.public.encode()),
            (int(zmq.CURVE_SECRETKEY), self.own.secret.encode()),
        )
