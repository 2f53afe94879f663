"""A bus for tests: real sockets, real credentials, in a thread or in a process that can be killed.

    async with running_bus(directory, allow={"scout": "all"}) as bus:
        scout = await bus.peer("scout", expose={"ask": ask})

Plays the supervisor towards the bus: registers peers before they connect, tells deaths, starts a killed bus again.
Nothing here is used by production code.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from ipc.address import Address
from ipc.curve import KeyPair, new_keys
from ipc.limits import Limits
from ipc.peer import Peer
from ipc.rights import ALL
from ipc.serving import Handler

TOKEN = "5" * 64


class Channel:
    """One end of a control channel as the bus wants it: JSON lines over a socket."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._end.setblocking(False)
        self._rest = b""

    def fileno(self) -> int:
        """Its descriptor."""
        return self._end.fileno()

    def receive(self) -> list[dict[str, Any]]:
        """Messages that arrived. Raises EOFError when the other end is closed."""
        while True:
            try:
                data = self._end.recv(65536)
            except BlockingIOError:
                break
            if not data:
                raise EOFError
            self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        return [json.loads(line) for line in lines]


class RunningBus:
    """A bus under test and the peers made through it. Use `running_bus`."""

    def __init__(
        self, directory: str, allow: Mapping[str, Any] | None, limits: Limits, process: bool, client_allow: Any
    ) -> None:
        self.directory = directory
        self.address = Address(directory)
        self.peers: list[Peer] = []
        self.pid = 0
        self._allow = allow
        self._limits = limits
        self._in_process = process
        self._client_allow = client_allow
        self._incarnation = 1_700_000_000_000
        self._living: dict[str, dict[str, Any]] = {}
        self._control: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._network: dict[str, Any] = {}
        self._guests: list[dict[str, Any]] = []
        self.keys = KeyPair("", "")

    def open_network(self, listener: socket.socket) -> None:
        """Before `start`: serve this listening socket (which stays the caller's) to guests."""
        self.keys = new_keys()
        self._network = {"listener": listener.fileno(), "secret_key": self.keys.secret}

    def admit(self, *guests: tuple[KeyPair, str, Any]) -> None:
        """These may come in from the network and nobody else: (keys, name, allow: a mapping or "all")."""
        self._guests = [
            {"key": keys.public, "name": name, "allow": ALL if allow == "all" else allow, "label": "some"}
            for keys, name, allow in guests
        ]
        self._tell({"notice": {"guests": self._guests}})

    async def start(self) -> None:
        """Start the bus with everything that is registered, and wait until it has bound its sockets."""
        ours, theirs = socket.socketpair()
        self._control = ours
        options = {
            "directory": self.directory,
            "registrations": list(self._living.values()),
            "token": TOKEN,
            "client_allow": self._client_allow,
            "limits": asdict(self._limits),
            "guests": self._guests,
            **self._network,
        }
        ready, told = os.pipe()
        try:
            if self._in_process:
                self._process = _spawn(options, theirs.fileno(), told)
                self.pid = self._process.pid
                theirs.close()
                os.close(told)
            else:
                self._thread = threading.Thread(target=_serve, args=(options, theirs, told), name="bus", daemon=True)
                self._thread.start()
            answer = await asyncio.to_thread(os.read, ready, 1000)
        finally:
            os.close(ready)
        if answer != b"ready":
            raise RuntimeError(f"the bus did not start: {answer.decode()}")

    def _tell(self, message: dict[str, Any]) -> None:
        if self._control is not None:
            with contextlib.suppress(OSError):  # a killed bus is told everything when it is started again
                self._control.sendall(json.dumps(message).encode() + b"\n")

    def register(self, name: str, allow: Any = None) -> dict[str, Any]:
        """A new life of `name`; returns the notice, with its credential. `allow`: a mapping or "all"."""
        if allow is None:
            allow = "all" if self._allow is None else self._allow.get(name, {})
        self._incarnation += 1
        notice = {
            "register": name,
            "incarnation": self._incarnation,
            "credential": secrets.token_hex(16),
            "allow": ALL if allow == "all" else allow,
        }
        self._living[name] = notice
        self._tell({"notice": notice})
        return notice

    async def peer(
        self,
        name: str,
        expose: Mapping[str, Handler] | None = None,
        allow: Any = None,
        announce: bool = True,
        inline: bool = False,
    ) -> Peer:
        """A connected and announced peer under a new registration."""
        notice = self.register(name, allow)
        peer = Peer(Address(self.address.directory, inline), name=name, credential=notice["credential"])
        peer.expose(expose or {})
        self.peers.append(peer)
        await peer.connect()
        if announce:
            await peer.announce()
        return peer

    async def client(self, user: str = "ada") -> Peer:
        """A connected client with the token."""
        peer = Peer(self.address, name=f"client:{user}", credential=TOKEN)
        self.peers.append(peer)
        await peer.connect()
        return peer

    def down(self, name: str, reason: str = "killed", planned: bool = False) -> None:
        """What the supervisor says when a process has exited."""
        notice = self._living.pop(name)
        self._tell({"down": name, "incarnation": notice["incarnation"], "reason": reason, "planned": planned})

    async def stop(self) -> None:
        """Stop the bus in order."""
        self._tell({"stop": True})
        await self._ended()

    async def kill(self) -> None:
        """SIGKILL (only with process=True)."""
        assert self._process is not None
        self._process.kill()
        await self._ended()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """SIGSTOP, and SIGCONT afterwards if it still lives (only with process=True)."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)  # until every thread of it stands
        try:
            yield
        finally:
            if self._process is not None:
                os.kill(self.pid, signal.SIGCONT)

    async def restart(self) -> None:
        """Kill (or stop) the bus and start it again with all registrations."""
        await (self.kill() if self._in_process else self.stop())
        await self.start()

    async def _ended(self) -> None:
        if self._process is not None:
            await asyncio.to_thread(self._process.wait)
            self._process = None
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        if self._control is not None:
            self._control.close()
            self._control = None

    async def close(self) -> None:
        """Close all peers and stop the bus."""
        for peer in self.peers:
            await peer.close()
        await self.stop()


@contextlib.asynccontextmanager
async def running_bus(
    directory: str | os.PathLike[str] | None = None,
    allow: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
    process: bool = False,
    client_allow: Any = None,
    listener: socket.socket | None = None,
    **changes: Any,
) -> AsyncIterator[RunningBus]:
    """A bus in `directory` (absent: a short temporary one, removed afterwards).

    `allow`: rights by name, each a mapping or "all"; names that are not in it may nothing; absent: everybody may
    everything. `listener`: a TCP socket to serve. `process`: in a process of its own instead of a thread. Other
    keywords change single limits.
    """
    own = tempfile.mkdtemp(prefix="bus-", dir="/tmp") if directory is None else None
    limits = replace(limits or Limits(), **changes)
    bus = RunningBus(os.fspath(directory or own or ""), allow, limits, process, client_allow or ALL)
    if listener is not None:
        bus.open_network(listener)
    try:
        await bus.start()
        try:
            yield bus
        finally:
            await bus.close()
    finally:
        if own is not None:
            shutil.rmtree(own, ignore_errors=True)


def _spawn(options: dict[str, Any], control: int, told: int) -> subprocess.Popen[bytes]:
    code = "from ipc.testing import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(options), str(control), str(told)],
        pass_fds=(control, told, *([options["listener"]] if "listener" in options else [])),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def _serve(options: dict[str, Any], control: socket.socket, told: int) -> None:
    from ipc.bus import Bus

    with control:
        try:
            bus = Bus(**{**options, "limits": Limits(**options["limits"])})
            bus.open()
        except Exception as error:  # the test that waits must see why, not hang
            os.write(told, f"{type(error).__name__}: {error}".encode())
            os.close(told)
            raise
        os.write(told, b"ready")
        os.close(told)
        bus.run(Channel(control))


def main() -> None:
    """Entry point of the bus process: options as JSON, descriptor of the control channel, descriptor to say ready."""
    options, control, told = sys.argv[-3:]
    _serve(json.loads(options), socket.socket(fileno=int(control)), int(told))
