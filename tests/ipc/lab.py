"""Two machines on one wire: network namespaces, a TUN device in each, and this process as the cable between them.

Everything that crosses is seen here packet by packet, so an eavesdropper is a list, and a bad link is a decision:
packets are cut, delayed, lost and put out of order (the kernel of a test machine may have no `sch_netem`). Nothing has
a name in the file system; all is gone when the descriptors are closed.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import heapq
import itertools
import os
import random
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
SERVER, CLIENT = "10.77.0.1", "10.77.0.2"
_LIBC = ctypes.CDLL(None, use_errno=True)
_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
DEVICE = "lan0"


def _call(name: str, *arguments: int) -> None:
    if getattr(_LIBC, name)(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)} (network namespaces need root: sudo scripts/test)")


def in_thread(work: Callable[[], T]) -> T:
    """Runs `work` in a thread of its own: a namespace that it enters is that thread's only."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # handed to the caller
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


class Machine:
    """A network namespace with the address `address` on its one device."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.tun = -1
        self.namespace = in_thread(self._make)

    def _make(self) -> int:
        _call("unshare", _NEWNET)
        self.tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(self.tun, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
        for command in (
            f"addr add {self.address}/24 dev {DEVICE}",
            f"link set {DEVICE} addrgenmode none",
            f"link set {DEVICE} up",
            "link set lo up",
            f"route add 224.0.0.0/4 dev {DEVICE}",
        ):
            _ip(command)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def inside(self, work: Callable[[], T]) -> T:
        """Runs `work` in this machine's network, in a thread of its own."""

        def run() -> T:
            _call("setns", self.namespace, _NEWNET)
            return work()

        return in_thread(run)

    def listen(self, port: int = 9100) -> socket.socket:
        """A listening socket of this machine."""
        return self.inside(lambda: socket.create_server((self.address, port), backlog=512))

    def popen(self, arguments: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Starts a program in this machine's network."""
        return self.inside(lambda: subprocess.Popen(arguments, **options))

    def link(self, state: str) -> None:
        """`up` or `down`."""
        self.inside(lambda: _ip(f"link set {DEVICE} {state}"))
        if state == "up":
            self.inside(lambda: _ip(f"route replace 224.0.0.0/4 dev {DEVICE}"))

    def close(self) -> None:
        os.close(self.namespace)
        os.close(self.tun)


def _ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True, capture_output=True)


@dataclass
class Cable:
    """What happens to packets. `lost`: by direction, "up" (to the server) and "down"; 1.0 is a cut."""

    delay: float = 0.0
    jitter: float = 0.0  # seconds at random on top: puts packets out of order
    lost: dict[str, float] = field(default_factory=lambda: {"up": 0.0, "down": 0.0})
    random: random.Random = field(default_factory=lambda: random.Random(7))
    seen: dict[str, list[bytes]] = field(default_factory=lambda: {"up": [], "down": []})
    deaf_to: int = 0  # a TCP source port whose packets are lost, as after an address has changed
    reordered: int = 0
    dropped: int = 0

    def cut(self) -> None:
        self.lost = {"up": 1.0, "down": 1.0}

    def mend(self) -> None:
        self.lost = {"up": 0.0, "down": 0.0}

    def captured(self) -> bytes:
        """Everything that has crossed, both directions."""
        return b"".join(self.seen["up"]) + b"".join(self.seen["down"])


class Lab:
    """Use `lab`. `server` and `client` are machines, `cable` is what is between them."""

    def __init__(self) -> None:
        self.cable = Cable()
        with contextlib.ExitStack() as stack:
            self.server = Machine(SERVER)
            stack.callback(self.server.close)
            self.client = Machine(CLIENT)
            stack.callback(self.client.close)
            self._stop, self._stopped = os.pipe()
            stack.callback(os.close, self._stop)
            self._relay = threading.Thread(target=self._carry, name="cable")
            self._relay.start()
            self._stack = stack.pop_all()

    def close(self) -> None:
        os.close(self._stopped)
        self._relay.join()
        self._stack.close()

    def _carry(self) -> None:
        ends = {self.client.tun: ("up", self.server.tun), self.server.tun: ("down", self.client.tun)}
        waiting: list[tuple[float, int, int, bytes]] = []
        order = itertools.count()
        latest: dict[int, float] = {}
        poll = select.poll()
        for fd in (*ends, self._stop):
            poll.register(fd, select.POLLIN)
        while True:
            now = time.monotonic()
            while waiting and waiting[0][0] <= now:
                _, _, to, packet = heapq.heappop(waiting)
                with contextlib.suppress(OSError):  # that machine's device is down
                    os.write(to, packet)
            timeout = max(0.0, (waiting[0][0] - now) * 1000) if waiting else None
            for fd, _ in poll.poll(timeout):
                if fd == self._stop:
                    return
                direction, to = ends[fd]
                with contextlib.suppress(OSError):
                    while True:
                        packet = os.read(fd, 65536)
                        self.cable.seen[direction].append(packet)
                        gone = self.cable.deaf_to and packet[20:22] == self.cable.deaf_to.to_bytes(2, "big")
                        if gone or self.cable.random.random() < self.cable.lost[direction]:
                            self.cable.dropped += 1
                            continue
                        at = time.monotonic() + self.cable.delay + self.cable.random.random() * self.cable.jitter
                        if at < latest.get(to, 0.0):
                            self.cable.reordered += 1
                        latest[to] = max(at, latest.get(to, 0.0))
                        heapq.heappush(waiting, (at, next(order), to, packet))


@contextlib.contextmanager
def lab() -> Iterator[Lab]:
    """Two machines and a cable; all of it gone afterwards."""
    if os.geteuid() != 0:
        pytest.skip("only root can make network namespaces")
    made = Lab()
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def here(machine: Machine) -> Iterator[None]:
    """This thread, and the I/O threads of libzmq that it starts meanwhile, use that machine's network."""
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("setns", machine.namespace, _NEWNET)
        yield
    finally:
        _call("setns", back, _NEWNET)
        os.close(back)
