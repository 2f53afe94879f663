"""The node's door to the network: its listening socket, the greeting that tells its key, and which processes it takes.

Made in the root before anything runs, so that a port that is taken is a sentence at the start and the socket outlives
the bus. Who may come in is `keys` and `rights`; the protocol behind the door is `ipc`'s (docs/protocol.md).
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from egghead import keys, paths
from egghead.errors import NodeError
from ipc.curve import KeyPair, fingerprint, raw

if TYPE_CHECKING:
    from egghead.config import Server
    from egghead.envelope import Door as Address
    from supervisor import Tree

BACKLOG = 512
EDGE = "edge"  # the supervisor of what is there for other machines only
_ASK, _TELL, _VERSION = b"egghead?", b"egghead!", 1
_ASK_LENGTH, _NONCE = 64, 16


@dataclass(frozen=True)
class Door:
    """An open door: the listening socket, where it is bound, and the node's key pair."""

    listener: socket.socket
    bind: str
    port: int
    name: str
    pair: KeyPair

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.bind)

    def info(self) -> dict[str, Any]:
        """For node.json and the READY line."""
        return {"bind": self.bind, "port": self.port, "fingerprint": fingerprint(self.pair.public)}

    def beacon(self) -> dict[str, Any]:
        """What the process `lan` must know: nothing secret."""
        return {"bind": self.bind, "port": self.port, "key": self.pair.public, "name": self.name,
                "announce": not self.loopback}  # fmt: skip


@contextmanager
def opened(server: Server | Address) -> Iterator[Door | None]:
    """The door that the configuration asks for; None when it asks for none. Raises NodeError."""
    # A profile of the tree names this directory; it must be there, network or not.
    try:
        paths.authorized_keys().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise NodeError(f"cannot make {str(paths.authorized_keys().parent)!r}: {error.strerror}") from error
    if not server.bind:
        yield None
        return
    pair = keys.own_pair(paths.server_key())
    with listen(server.bind, server.port) as listener:
        bind, port = listener.getsockname()[:2]
        yield Door(listener, bind, port, server.host or socket.gethostname(), pair)


def listen(bind: str, port: int) -> socket.socket:
    """A listening TCP socket. Raises NodeError with what to do."""
    try:
        family, _, _, _, address = socket.getaddrinfo(bind, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise NodeError(
            f"server.bind: {bind!r} is no address of this machine ({error.strerror}); e.g. 0.0.0.0 for all, 127.0.0.1 for none"
        ) from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # "::" is everything, IPv4 too, as people expect of "all addresses".
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        why = {
            errno.EADDRINUSE: f"port {port} is taken; stop what has it (ss -ltnp) or set server.port",
            errno.EADDRNOTAVAIL: f"{bind!r} is no address of this machine (ip address)",
            errno.EACCES: f"port {port} needs privileges; use one above 1023",
        }.get(error.errno or 0, error.strerror)
        raise NodeError(f"cannot listen on {bind!r} port {port}: {why}") from error
    return listener


def is_loopback(bind: str) -> bool:
    """Whether an address is one of this machine only."""
    try:
        address = ipaddress.ip_address(bind.partition("%")[0])
    except ValueError:
        return bind == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def fit(tree: Tree, door: Door | None) -> Tree:
    """The tree without the edge when there is no door: what serves other machines does not run for nobody."""
    if door is not None:
        return tree
    return replace(tree, root=replace(tree.root, children=tuple(c for c in tree.root.children if c.id != EDGE)))


# The greeting: a datagram that asks for the public key of a node, and the shorter one that tells it. Pure.


def ask(nonce: bytes) -> bytes:
    """The question, with 16 bytes of the asker's choice."""
    return (_ASK + bytes([_VERSION]) + nonce[:_NONCE].ljust(_NONCE, b"\0")).ljust(_ASK_LENGTH, b"\0")


def tell(question: bytes, key: str) -> bytes | None:
    """The answer to a question, None to what is none: no error, no name, nothing but the key."""
    if len(question) != _ASK_LENGTH or question[:9] != _ASK + bytes([_VERSION]):
        return None
    return _TELL + bytes([_VERSION]) + question[9 : 9 + _NONCE] + raw(key)


def told(answer: bytes, nonce: bytes) -> bytes | None:
    """The 32 bytes of the key in an answer to `ask(nonce)`; None when it is none."""
    head = _TELL + bytes([_VERSION]) + nonce[:_NONCE].ljust(_NONCE, b"\0")
    return answer[len(head) :] if len(answer) == len(head) + 32 and answer.startswith(head) else None
