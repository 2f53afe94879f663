"""The standard library's own way: `multiprocessing` with the forkserver and the same modules preloaded.

`-c "import forkserver_pool; forkserver_pool.main(CHILDREN)"`: not `-m`, so that no child has to import `__main__` again.
The loop around it is the floor's: wait for the sentinel, start another, wait for its byte.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import socket
import time
from multiprocessing import connection, forkserver
from typing import Any

import idle
import stand

CONTEXT = multiprocessing.get_context("forkserver")


def child(pipe: Any) -> None:
    """The process of one child."""
    os.setsid()
    with socket.socket(fileno=os.dup(pipe.fileno())) as channel:
        pipe.close()
        idle.bare(channel)


class Pool:
    """Processes of the forkserver, and the pipe to each."""

    def __init__(self, children: int) -> None:
        self.wanted = children
        self.children: dict[Any, Any] = {}
        self.random = random.Random(7)
        CONTEXT.set_forkserver_preload(["idle", "forkserver_pool"])
        self.end_of(self.begin())  # the server itself is not measured

    def begin(self) -> Any:
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=child, args=(theirs,))
        process.start()
        theirs.close()
        self.children[process] = ours
        return process

    def heard(self, process: Any) -> None:
        if os.read(self.children[process].fileno(), 1) != b"x":
            raise RuntimeError("a child of the forkserver ended before it was ready")

    def end_of(self, process: Any) -> None:
        process.kill()
        self.bury(process)

    def bury(self, process: Any) -> None:
        process.join()
        process.close()
        self.children.pop(process).close()

    def start(self, how: str) -> dict[str, float]:
        """See `fork_floor`."""
        began = time.perf_counter()
        made = []
        for _ in range(self.wanted):
            made.append(self.begin())
            if how == "one":
                self.heard(made[-1])
        if how == "all":
            for process in made:
                self.heard(process)
        return {"ms": _since(began)}

    def kill(self, times: int) -> dict[str, list[float]]:
        """See `fork_floor`."""
        took = []
        for _ in range(times):
            process = self.random.choice(list(self.children))
            began = time.perf_counter()
            os.kill(process.pid, signal.SIGKILL)
            connection.wait([process.sentinel])
            self.bury(process)
            self.heard(self.begin())
            took.append(_since(began))
            time.sleep(stand.PAUSE)
        return {"ms": took}

    def burst(self, count: int, how: str) -> dict[str, float]:
        """See `fork_floor`."""
        victims = {process.sentinel: process for process in self.random.sample(list(self.children), count)}
        began = time.perf_counter()
        for process in victims.values():
            os.kill(process.pid, signal.SIGKILL)
        back = []
        while victims:
            for sentinel in connection.wait(list(victims)):
                self.bury(victims.pop(sentinel))
                back.append(self.begin())
                if how == "one":
                    self.heard(back[-1])
        if how == "all":
            for process in back:
                self.heard(process)
        return {"ms": _since(began)}

    def memory(self, count: int) -> dict[str, Any]:
        pids = [process.pid for process in list(self.children)[:count]]
        return {"child": stand.memory(pids), "root_rss": stand.rss(os.getpid())}

    def messages(self, count: int, requests: int) -> dict[str, Any]:
        """See `fork_floor`."""
        some = list(self.children)[:count]
        for process in some:
            with socket.socket(fileno=os.dup(self.children[process].fileno())) as channel:
                idle.talk(channel, requests)
        return {"child": stand.memory(process.pid for process in some)}

    def end(self) -> None:
        for process in self.children:
            os.kill(process.pid, signal.SIGKILL)
        for process in list(self.children):
            self.bury(process)


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000


def main(children: int) -> None:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    pool = Pool(children)
    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]  # the module does not tell otherwise
    stand.say({"level": "none", "pids": {"root": os.getpid(), "zygote": server}})
    stand.serve(
        {"start": pool.start, "kill": pool.kill, "burst": pool.burst, "memory": pool.memory, "messages": pool.messages},
        pool.end,
    )
