"""A network without a way out: names and addresses with all their faults, asked by the gateway. Prints what came of them.

To be run in a network namespace and a mount namespace of its own, as their root:
`unshare --user --map-root-user --net --mount python -m tests.llm.apart`. No packet leaves the loopback device: the name
server is a thread here, and `/etc/resolv.conf`, `/etc/hosts` and `/etc/nsswitch.conf` are files of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from egghead.llm.surroundings import Surroundings, settle
from tests.llm.asking import ask, gateway, refusal
from tests.llm.faulty import Again, Answer, Faulty, whole

A, AAAA = 1, 28
OK, SERVER_FAILED, NO_NAME = 0, 2, 3
FAST = {"connect_timeout": 0.4, "retries": 0.0}


class Names:
    """A name server on 127.0.0.1:53. `zone`: name → addresses. It knows no other name, has a fault for `*.failing.example`
    and says nothing to `*.hanging.example`."""

    def __init__(self, zone: dict[str, list[str]]) -> None:
        self._zone = zone
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            question, who = self._socket.recvfrom(4096)
            if (answer := self._answer(question)) is not None:
                self._socket.sendto(answer, who)

    def _answer(self, question: bytes) -> bytes | None:
        """RFC 1035, 4.1."""
        labels, at = [], 12
        while length := question[at]:
            labels.append(question[at + 1 : at + 1 + length].decode())
            at += 1 + length
        name, asked = ".".join(labels), question[12 : at + 5]
        (kind,) = struct.unpack_from("!H", question, at + 1)
        if name.endswith("hanging.example"):
            return None
        code = SERVER_FAILED if name.endswith("failing.example") else OK if name in self._zone else NO_NAME
        family = {A: socket.AF_INET, AAAA: socket.AF_INET6}.get(kind)
        found = [
            socket.inet_pton(family, address)
            for address in self._zone.get(name, ())
            if family is not None and (":" in address) == (kind == AAAA)
        ]
        head = question[:2] + struct.pack("!5H", 0x8180 | code, 1, len(found), 0, 0)
        return head + asked + b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(a)) + a for a in found)


def prepare(folder: Path) -> None:
    """The loopback device, and the files of a machine with our name server."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    files = {
        "resolv.conf": "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n",
        "hosts": "127.0.0.1 localhost\n::1 localhost\n",
        "nsswitch.conf": "hosts: files dns\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
        target = Path("/etc", name)
        if target.exists():
            subprocess.run(["mount", "--bind", str(folder / name), str(target.resolve())], check=True)


async def sentence(url: str) -> str:
    async with gateway(p=("openai", url, FAST)) as served:
        return str((await refusal(served, [], "p")).message)


async def words(url: str, limits: dict[str, float] = FAST) -> str:
    async with gateway(p=("openai", url, limits)) as served:
        heard: list[str] = []
        await ask(served, heard, "p")
        return "".join(heard)


@contextlib.contextmanager
def deaf(port: int) -> Iterator[None]:
    """Something at [::1]:port that takes no connection."""
    with socket.socket(socket.AF_INET6) as listener, contextlib.ExitStack() as stack:
        listener.bind(("::1", port))
        listener.listen(0)
        for _ in range(4):
            caller = stack.enter_context(socket.socket(socket.AF_INET6))
            caller.setblocking(False)
            caller.connect_ex(("::1", port))
        yield


async def families() -> dict[str, str]:
    found: dict[str, str] = {}
    answers: Answer = [whole("openai"), Again()]
    with Faulty(answers, host="::1") as six, Faulty(answers) as four:
        found["localhost, on ::1 alone"] = await words(f"http://localhost:{six.port}")
        found["a name, on ::1 alone"] = await words(f"http://both.example:{six.port}")
        found["a name, on 127.0.0.1 alone"] = await words(f"http://both.example:{four.port}")
        found["an address"] = await words(six.url)
        with deaf(four.port):
            found["a name, and ::1 is silent"] = await words(
                f"http://both.example:{four.port}", {"connect_timeout": 5.0}
            )
    return found


async def hanging() -> dict[str, Any]:
    """A hundred calls that wait for names which nobody tells."""
    with Faulty([whole("openai"), Again()]) as other:
        urls = {f"h{n}": ("openai", f"http://n{n}.hanging.example:1", {"connect_timeout": 60.0}) for n in range(20)}
        async with gateway(good=("openai", f"http://both.example:{other.port}", {}), **urls) as served:
            waiting = [asyncio.create_task(ask(served, [], f"h{n % 20}")) for n in range(100)]
            await asyncio.wait(waiting, timeout=0.3)
            heard: list[str] = []
            await ask(served, heard, "good")
            still = sum(not task.done() for task in waiting)
            began = time.monotonic()
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            return {"other": "".join(heard), "waiting": still, "leaving": time.monotonic() - began}


async def faults() -> dict[str, Any]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        found: dict[str, Any] = {
            "no host": await sentence("http://nowhere.example/v1"),
            "a name that none can be": await sentence(f"http://{'x' * 64}.example/v1"),
            "no answer of the name server": await sentence("http://a.failing.example/v1"),
            "a silent name server": await sentence("http://a.hanging.example/v1"),
            "no way": await sentence("http://203.0.113.7/v1"),
            "nobody here": await sentence(f"http://127.0.0.1:{port}/v1"),
            "nobody there": await sentence(f"http://both.example:{port}/v1"),
        }
    settle(Surroundings({"HTTPS_PROXY": "http://nowhere.example:3128"}))
    found["the proxy has no host"] = await sentence("https://models.example/v1")
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        Names({"both.example": ["::1", "127.0.0.1"]})
        settle(Surroundings())
        found: dict[str, Any] = {"families": asyncio.run(families())}
        hung = asyncio.run(timed())
        ended = time.monotonic()
        found["hanging"] = {**hung, "end": ended - hung.pop("ended")}
        found |= asyncio.run(faults())
        print(json.dumps(found), flush=True)
    os._exit(0)  # the threads that wait for a name end with the process


async def timed() -> dict[str, Any]:
    return {**await hanging(), "ended": time.monotonic()}


if __name__ == "__main__":
    main()
