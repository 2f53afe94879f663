"""A node on another machine: learning its key once, believing it from then on, connecting, and saying why not.

What a person is asked is asked through `Introduction`; nothing here prints. First contact is as with ssh: the key comes
over the network and proves nothing, the fingerprint is compared by a person (or was given beforehand), and what was
accepted is what CURVE insists on afterwards.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from egghead import __version__, keys, lan, paths
from egghead.client.connection import Client, user
from egghead.errors import EggheadError, ExitCode, NodeError
from ipc import Forbidden, IpcError, Peer, PeerDown, Remote, VersionMismatch
from ipc.curve import KeyPair, fingerprint, shown, text

GREETING = (0.3, 0.7, 1.5)  # seconds that each of three questions is given
PATIENCE = 6.0  # seconds to connect
SUSPICION = 1.5  # seconds after which a greeting with another key is taken for the reason why nobody answers

VERDICT = 3.0  # seconds in which a connection that was lost is back, or is refused
FINAL = 10.0  # seconds in which a refusal is final: it is, in two, where the machines are not stalled

Confirm = Callable[[str, str], bool]
"""(server, fingerprint) -> whether the person accepts it."""


@dataclass(frozen=True)
class Introduction:
    """How an unknown server is met. `fingerprint`: the one that was given beforehand. `confirm`: asks the person."""

    fingerprint: str | None = None
    confirm: Confirm | None = None


async def reach(where: keys.Place) -> keys.Place:
    """The place with a name that the system can resolve. Raises NodeError when nobody has that name."""
    try:
        await asyncio.get_running_loop().getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)
        return where
    except (socket.gaierror, UnicodeError) as error:
        address = None
        if where.host.endswith(".local"):
            from egghead import mdns

            address = await mdns.resolve(where.host)
        if address is None:
            why = error.strerror if isinstance(error, socket.gaierror) else error
            raise NodeError(
                f"no machine is called {where.host!r} ({why}); which nodes there are: egghead servers", ExitCode.NO_NODE
            ) from error
        return keys.Place(address, where.port)


async def greet(where: keys.Place) -> str | None:
    """The public key that the machine at this place tells; None when it tells none. Anybody could have answered."""
    there = await reach(where)
    found = await asyncio.get_running_loop().getaddrinfo(there.host, there.port, type=socket.SOCK_DGRAM)
    for pause in GREETING:
        answers = await asyncio.gather(*(_greet(family, address, pause) for family, _, _, _, address in found[:4]))
        for key in answers:
            if key is not None:
                return text(key)
    return None


async def _greet(family: int, address: Any, seconds: float) -> bytes | None:
    loop = asyncio.get_running_loop()
    nonce = secrets.token_bytes(16)
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        try:
            await loop.sock_connect(asking, address)  # so that only this address can answer
            await loop.sock_sendall(asking, lan.ask(nonce))
            async with asyncio.timeout(seconds):
                while True:
                    key = lan.told(await loop.sock_recv(asking, 200), nonce)
                    if key is not None:
                        return key
        except (OSError, TimeoutError):
            return None


async def meet(where: keys.Place, introduction: Introduction) -> str:
    """The key to insist on: the known one, or the one that is accepted now and remembered. Raises NodeError."""
    known = keys.known_server(where)
    given = introduction.fingerprint
    if known is not None:
        if given is not None and not keys.same_fingerprint(given, known):
            raise _changed(where, known, given)
        return known
    key = await greet(where)
    if key is None:
        raise NodeError(
            f"nobody at {where} tells a key (UDP port {where.port}): is the node running with server.bind set? "
            f"Where only TCP passes: egghead servers trust {where} KEY, with the key that `egghead key --server` prints there",
            ExitCode.NO_NODE,
        )
    print_ = fingerprint(key)
    if given is not None:
        if not keys.same_fingerprint(given, key):
            raise NodeError(f"{where} has the fingerprint {print_}, not {given}: not connected", ExitCode.REFUSED)
    elif introduction.confirm is None:
        raise NodeError(
            f"{where} is not known yet; its key has the fingerprint {print_}. Compare it with `egghead key --server` there, "
            f"then: egghead servers trust {where} {print_}  (or --accept-fingerprint, EGGHEAD_SERVER_FINGERPRINT)",
            ExitCode.REFUSED,
        )
    elif not introduction.confirm(str(where), print_):
        raise NodeError(f"{where} was not accepted", ExitCode.REFUSED)
    keys.trust(where, key)
    return key


def _changed(where: keys.Place, known: str, now: str) -> NodeError:
    return NodeError(
        f"THE KEY OF {where} HAS CHANGED: it was {fingerprint(known)}, now it is {now}. Somebody may be in between, or the "
        f"node was set up anew. Ask its owner for `egghead key --server`; if that is the new one: egghead servers forget {where}",
        ExitCode.REFUSED,
    )


@asynccontextmanager
async def connected(
    server: str, introduction: Introduction, on_change: Callable[[bool], None] | None = None
) -> AsyncIterator[Client]:
    """A client of the node at `server`. `on_change`: called when the connection is lost (False) and back (True).

    While it is away calls fail; following and appending go on by themselves. When the node refuses this machine for
    good, the block is cut with NodeError.
    """
    where = keys.place(server)
    own = keys.own_pair(paths.client_key())
    key = await meet(where, introduction)
    there = await reach(where)
    peer = Peer(Remote(there.host, there.port, key, own), name=f"client:{user()}", credential="-")
    peer.on_change = on_change
    try:
        await _connect(peer, where, key, own)
        async with _while_welcome(peer, where, own):
            await peer.announce()  # who watches sees it come, and vanish
            info = await _info(peer, where)
            yield Client(peer, {**info, "server": str(where)}, None)
    finally:
        await peer.close()


async def _connect(peer: Peer, where: keys.Place, key: str, own: KeyPair) -> None:
    connecting = asyncio.ensure_future(peer.connect(timeout=PATIENCE))
    try:
        await asyncio.wait({connecting}, timeout=SUSPICION)
        if not connecting.done():
            # CURVE does not answer who asks with the wrong key: only a greeting can tell that from a machine that is off.
            now = await greet(where)
            if now is not None and now != key and not connecting.done():
                raise _changed(where, key, fingerprint(now))
        await connecting
    except VersionMismatch as error:
        raise NodeError(f"{where}: {error}") from error
    except Forbidden as error:
        raise _unwelcome(where, own, error) from error
    except PeerDown as error:
        raise NodeError(
            f"nobody answers at {where} (TCP): is the node running with server.bind set, and does the network let it pass? "
            f"The key this machine knows for it is {fingerprint(key)}",
            ExitCode.NO_NODE,
        ) from error
    finally:
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)


def _unwelcome(where: keys.Place, own: KeyPair, error: IpcError) -> NodeError:
    if "may be no more" in str(error):
        return NodeError(f"{where}: {error}", ExitCode.REFUSED)
    return NodeError(
        f"{where} does not let this machine in: its key is not authorised there. On that machine: "
        f"egghead clients add {user()} {shown(own.public)}",
        ExitCode.REFUSED,
    )


async def _info(peer: Peer, where: keys.Place) -> dict[str, Any]:
    for attempt in range(3):
        try:
            info: dict[str, Any] = await peer.call("node", "info", timeout=10.0)
            break
        except PeerDown:
            if attempt == 2:  # it is being started again, or does not run there
                raise NodeError(
                    f"{where} answers, but its process 'node' does not run; see there: egghead tree"
                ) from None
            await asyncio.sleep(0.3)  # about as long as `node` takes to be started again
        except IpcError as error:
            raise NodeError(f"{where} answers, but tells nothing about itself: {error}") from error
    if _minor(info.get("version")) != _minor(__version__):
        raise NodeError(
            f"{where} runs egghead {info.get('version')!r}, this is {__version__!r}: update the older one and restart the node"
        )
    return info


def _minor(version: Any) -> str:
    return ".".join(str(version).split(".")[:2])


@asynccontextmanager
async def _while_welcome(peer: Peer, where: keys.Place, own: KeyPair) -> AsyncIterator[None]:
    """Cuts the block when the node refuses this machine for good: its key was removed while it was connected."""
    task = asyncio.current_task()
    assert task is not None
    refused: list[IpcError] = []
    ended = False  # the block has ended by itself

    async def watch() -> None:
        try:
            await peer.wait_closed()
        except IpcError as error:
            refused.append(error)
            if not ended:
                task.cancel()

    watching = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if refused and task.uncancel() == 0:
            raise _unwelcome(where, own, refused[0]) from None
        raise
    except (EggheadError, IpcError) as error:
        ended = True
        # The call that failed is the first to hear of it, before the peer itself; the reason comes when it knocks again.
        if not peer.connected or _lost(error) or _lost(error.__cause__):
            await asyncio.wait({watching}, timeout=VERDICT)
        if peer.refused:
            await asyncio.wait({watching}, timeout=FINAL)
        if refused:
            raise _unwelcome(where, own, refused[0]) from None
        raise
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def _lost(error: BaseException | None) -> bool:
    return isinstance(error, PeerDown) and error.name == "bus"


def from_environment() -> str | None:
    """The fingerprint that the environment vouches for."""
    return os.environ.get("EGGHEAD_SERVER_FINGERPRINT") or None
