"""A person's connection to a node: one peer on the bus, under a name the bus gives. No printing, no policy."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from egghead import __version__
from egghead.errors import EggheadError, ExitCode, NodeError
from egghead.paths import RuntimeDir
from ipc import Address, CallTimeout, Forbidden, IpcError, Peer, PeerDown, RemoteError


class Client:
    """Connected to one node. An async context manager; `peer` is open for `follow` and `append_reliably`.

    Raises NodeError when the node cannot be reached, and turns the bus's errors into EggheadError with a sentence.
    """

    def __init__(self, peer: Peer, node: dict[str, Any], place: RuntimeDir | None) -> None:
        """`place`: of a node on this machine; None: it is on another one, `node["server"]`."""
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

    @property
    def server(self) -> str | None:
        """Where the node is, when it is on another machine."""
        found: str | None = self.node.get("server")
        return found

    async def status(self) -> dict[str, Any]:
        """The frozen status value of the node's tree. Raises EggheadError."""
        if self.place is None:
            found: dict[str, Any] = await self.call("node", "status")
            return found
        return read_status(self.place)

    async def call(self, target: str, method: str, /, *, timeout: float = 10.0, **params: Any) -> Any:
        """`peer.call` for commands: a fault becomes one sentence. Raises EggheadError."""
        try:
            return await self.peer.call(target, method, timeout=timeout, **params)
        except CallTimeout as error:
            raise EggheadError(f"{target!r} did not answer {method!r} in {timeout:g} s", ExitCode.TIMEOUT) from error
        except IpcError as error:
            raise sentence(error, target) from error


def read_status(place: RuntimeDir) -> dict[str, Any]:
    """The status value that a root on this machine writes at every change. Raises NodeError."""
    try:
        status: dict[str, Any] = json.loads(place.status.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NodeError(f"cannot read the node's status {str(place.status)!r}: {error}") from error
    return status


class NodeGone(NodeError):
    """The node ended while a client was using it. What was said is in the rooms' logs."""

    exit_code = ExitCode.NO_NODE

    def __init__(self, pid: int) -> None:
        super().__init__(
            f"the node (pid {pid}) has ended; what was said is kept in its rooms. Start it again: egghead serve"
        )
        self.pid = pid


@asynccontextmanager
async def while_running(node: dict[str, Any]) -> AsyncIterator[None]:
    """Cuts the block with NodeGone as soon as the node's root process has ended: it would wait for nobody."""
    pid = int(node["pid"])
    gone = NodeGone(pid)
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        raise gone from None
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    ended = False

    def end() -> None:
        nonlocal ended
        ended = True
        loop.remove_reader(fd)
        task.cancel()

    loop.add_reader(fd, end)
    try:
        yield
    except asyncio.CancelledError:
        if ended and task.uncancel() == 0:
            raise gone from None
        raise
    finally:
        loop.remove_reader(fd)
        os.close(fd)


_REFUSALS = {
    "NotFound": ExitCode.NOT_FOUND,
    "NoSuchRoom": ExitCode.NOT_FOUND,
    "NoSuchAgent": ExitCode.NOT_FOUND,
    "BadRoomName": ExitCode.USAGE,  # no room could have this name
}


def sentence(error: IpcError, target: str) -> EggheadError:
    """What the bus says about a call to `target`, as one line for a person."""
    if isinstance(error, PeerDown) and error.name == "bus":
        return EggheadError(f"the connection to the node was lost ({error.reason})", ExitCode.NO_NODE)
    if isinstance(error, PeerDown):
        return EggheadError(f"{target!r} is not running now ({error}); see: egghead tree")
    if isinstance(error, CallTimeout):
        return EggheadError(f"{target!r} did not answer in time; see: egghead tree", ExitCode.TIMEOUT)
    if isinstance(error, Forbidden):
        return EggheadError(f"not allowed: {error}", ExitCode.REFUSED)
    if isinstance(error, RemoteError):
        return EggheadError(str(error.message), _REFUSALS.get(error.type, ExitCode.FAILED))
    return EggheadError(str(error))


def user() -> str:
    """The name of the person at this machine, as letters, digits, `_`, `-`."""
    try:
        name = os.environ.get("EGGHEAD_USER") or getpass.getuser()
    except (KeyError, OSError):  # no passwd entry: a container with a bare uid
        name = f"u{os.getuid()}"
    return "".join(c if c.isalnum() or c in "_-" else "-" for c in name)[:32] or "someone"
