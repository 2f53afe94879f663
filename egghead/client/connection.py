"""A person's connection to a node: one peer on the bus, under a name the bus gives. No printing, no policy."""

from __future__ import annotations

import getpass
import os
from typing import Any

from egghead import __version__
from egghead.errors import EggheadError, ExitCode, NodeError
from egghead.paths import RuntimeDir
from ipc import Address, CallTimeout, Forbidden, IpcError, Peer, PeerDown, RemoteError


class Client:
    """Connected to one node. An async context manager; `peer` is open for `follow` and `append_reliably`.

    Raises NodeError when the node cannot be reached, and turns the bus's errors into EggheadError with a sentence.
    """

    def __init__(self, peer: Peer, node: dict[str, Any], place: RuntimeDir) -> None:
        self.peer = peer
        self.node = node
        self.place = place

    @classmethod
    async def connect(cls, place: RuntimeDir, node: dict[str, Any], timeout: float = 10.0) -> Client:
        if node.get("version") != __version__:
            raise NodeError(
                f"the running node is egghead {node.get('version')!r}, this command is {__version__!r}; restart the node"
            )
        try:
            token = place.token.read_text(encoding="ascii")
        except OSError as error:
            raise NodeError(f"cannot read the node's token {str(place.token)!r}: {error.strerror}") from error
        peer = Peer(Address(str(place.bus)), name=f"client:{user()}", credential=token)
        try:
            await peer.connect(timeout=timeout)
        except IpcError as error:
            await peer.close()
            raise NodeError(
                f"the node (pid {node.get('pid')}) does not let us in: {error}", ExitCode.NO_NODE
            ) from error
        return cls(peer, node, place)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.peer.close()

    async def call(self, target: str, method: str, /, *, timeout: float = 10.0, **params: Any) -> Any:
        """`peer.call` for commands: a fault becomes one sentence. Raises EggheadError."""
        try:
            return await self.peer.call(target, method, timeout=timeout, **params)
        except PeerDown as error:
            raise EggheadError(f"{target!r} is not running now ({error}); see: egghead tree") from error
        except CallTimeout as error:
            raise EggheadError(f"{target!r} did not answer {method!r} in {timeout:g} s", ExitCode.TIMEOUT) from error
        except Forbidden as error:
            raise EggheadError(f"not allowed: {error}", ExitCode.REFUSED) from error
        except RemoteError as error:
            code = ExitCode.NOT_FOUND if error.type in ("NotFound", "NoSuchRoom", "NoSuchAgent") else ExitCode.FAILED
            raise EggheadError(str(error.message), code) from error
        except IpcError as error:
            raise EggheadError(str(error)) from error


def user() -> str:
    """The name of the person at this machine, as letters, digits, `_`, `-`."""
    try:
        name = os.environ.get("EGGHEAD_USER") or getpass.getuser()
    except (KeyError, OSError):  # no passwd entry: a container with a bare uid
        name = f"u{os.getuid()}"
    return "".join(c if c.isalnum() or c in "_-" else "-" for c in name)[:32] or "someone"
