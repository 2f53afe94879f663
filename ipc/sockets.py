"""The sockets of a bus and the directory they are bound in: made, guarded, bound, closed.

What libzmq has to be told about them is here, each option with the failure that it prevents. What is read from them,
and when, is `bus`.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import stat

import zmq

from ipc.address import Address
from ipc.curve import BEATS
from ipc.errors import IpcError
from ipc.limits import Limits

_ZAP = "inproc://zeromq.zap.01"  # the address is fixed by libzmq
_DESCRIPTORS = 16 * 1024


class AddressTaken(IpcError):
    """Another bus lives in this directory."""


class Sockets:
    """`router` and `xpub` with their guard `zap` and a monitor for each; in a directory that is ours while they live."""

    def __init__(self, address: Address, limits: Limits, guests: bool) -> None:
        """Take the directory and make them. `guests`: a network will be served. Raises AddressTaken or OSError."""
        self._address = address
        self._limits = limits
        self._lock = take_directory(address.directory)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < _DESCRIPTORS:  # two for each peer; libzmq spins when it cannot accept
            wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        # libzmq numbers connections from rand(), which it never seeds, and aborts when a peer chose the next number for
        # its own routing id: whoever can guess that number can kill the bus.
        ctypes.CDLL(None).srand(int.from_bytes(os.urandom(4), "little"))
        # What strangers make it compute is a thread of its own: the processes of this machine do not wait for that.
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=2 if guests else 1)
        self._context.set(zmq.MAX_SOCKETS, 64 * 1024)
        self.zap = self._context.socket(zmq.ROUTER)
        self.zap.linger = 0
        self.zap.bind(_ZAP)
        self.router = self._guarded(zmq.ROUTER)
        self.router.router_mandatory = 1
        self.router.rcvhwm = 256
        self.router.affinity = 1
        self.xpub = self._guarded(zmq.XPUB)
        self.xpub.setsockopt(zmq.XPUB_MANUAL, 1)
        # What comes here are subscriptions. libzmq keeps each that it has read, a quarter of a kilobyte of prefix in some
        # five of memory, before the bus can refuse it: it must not read thousands at once.
        self.xpub.rcvhwm = 4
        self.xpub.maxmsgsize = 2048
        self.router_monitor = self._monitor(self.router, "bus")
        self.xpub_monitor = self._monitor(self.xpub, "events")

    def _guarded(self, kind: int) -> zmq.Socket[bytes]:
        made = self._context.socket(kind)
        made.linger = 0
        made.plain_server = True
        made.zap_domain = b"egghead-ipc"
        made.maxmsgsize = self._limits.frame + 64 * 1024
        made.sndhwm = 0  # bytes are counted instead: a high-water mark counts messages and drops in silence
        made.backlog = 4096  # a thousand peers come back at once after a restart
        return made

    def _monitor(self, watched: zmq.Socket[bytes], name: str) -> zmq.Socket[bytes]:
        watched.monitor(f"inproc://monitor-{name}", zmq.EVENT_DISCONNECTED | zmq.EVENT_ACCEPTED)
        made = self._context.socket(zmq.PAIR)
        made.linger = 0
        made.rcvhwm = 0  # a full monitor would stop the I/O thread
        made.connect(f"inproc://monitor-{name}")
        return made

    def bind(self) -> None:
        """Let the processes of this user in. Raises OSError."""
        # By the umask, not by chmod: a confined process may not change modes by path where only seccomp confines it.
        mask = os.umask(0o177)
        try:
            self.router.bind(self._address.bus)
            self.xpub.bind(self._address.events)
        finally:
            os.umask(mask)

    def bind_network(self, listener: int, secret_key: str) -> None:
        """Serve a listening TCP socket on the same ROUTER. Options count for what is bound after them."""
        router = self.router
        router.affinity = 2
        router.curve_server = 1  # in place of PLAIN: whoever speaks anything else is not answered
        router.setsockopt_string(zmq.CURVE_SECRETKEY, secret_key)
        router.maxmsgsize = self._limits.guest_frame + 64 * 1024
        router.handshake_ivl = int(self._limits.patience * 1000)
        for option, value in BEATS:
            router.setsockopt(option, value)
        router.setsockopt(zmq.USE_FD, os.dup(listener))  # libzmq closes what it is given
        router.bind("tcp://127.0.0.1:1")  # the address is not used: the socket is bound already
        router.setsockopt(zmq.USE_FD, -1)

    def close(self) -> None:
        """Close them and give up the directory; peers see the bus go."""
        for watched in (self.router, self.xpub):
            watched.disable_monitor()
        self._context.destroy(linger=0)
        for name in ("bus", "events"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self._address.directory, name))
        os.close(self._lock)


def take_directory(directory: str) -> int:
    """Make the directory ours alone; gives the descriptor that holds it. Raises AddressTaken with the other's pid."""
    os.makedirs(directory, 0o700, exist_ok=True)
    if stat.S_IMODE(os.stat(directory).st_mode) & 0o077:
        os.chmod(directory, 0o700)  # whoever can reach the sockets could try credentials
    # libzmq unlinks whatever is bound there: without the lock a second bus would take the names from the first.
    lock = os.open(os.path.join(directory, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise AddressTaken(
            f"{directory!r} belongs to a bus that is running (pid {pid}): stop it or use another directory"
        ) from None
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock
