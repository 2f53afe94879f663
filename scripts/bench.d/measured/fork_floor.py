"""The floor: a frozen, single-threaded Python process that forks idle children and nothing more.

`-m fork_floor CHILDREN [jailed]`. A child takes a session of its own and runs `idle.bare`; the parent sees a death by
waitpid and a READY by a byte. No supervisor can do with less: there is no policy, no status, no limit, no isolation.
`jailed`: each child also enters the jail of our supervisor's default profile, so that its share of the time is known.
"""

from __future__ import annotations

import gc
import os
import random
import select
import signal
import socket
import sys
import time
import traceback
from typing import TYPE_CHECKING

import idle
import stand

if TYPE_CHECKING:
    from typing import Any

    from supervisor.jail.confine import Jail


class Floor:
    """The children by pid, and the socket to each."""

    def __init__(self, children: int, jailed: bool) -> None:
        self.wanted = children
        self.children: dict[int, socket.socket] = {}
        self.random = random.Random(7)
        self.jail = _jail() if jailed else None
        idle.rehearse()
        gc.collect()
        gc.disable()
        gc.freeze()

    def fork(self) -> socket.socket:
        """One more child; its socket gives a byte when it is ready."""
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.setsid()
                ours.close()
                if self.jail is not None:
                    self.jail.enter({})
                    self.jail.seal(None)
                gc.enable()
                idle.bare(theirs)
                code = 0
            except BaseException:  # else nobody would hear why
                traceback.print_exc()
            finally:
                os._exit(code)
        theirs.close()
        self.children[pid] = ours
        return ours

    def start(self, how: str) -> dict[str, float]:
        """All children to all ready: `one` after the other, or `all` at once."""
        began = time.perf_counter()
        if how == "one":
            for _ in range(self.wanted):
                _heard(self.fork())
        else:
            _all_heard([self.fork() for _ in range(self.wanted)])
        return {"ms": _since(began)}

    def kill(self, times: int) -> dict[str, list[float]]:
        """Kill a child, see its death, fork another, hear its byte: milliseconds of each."""
        took = []
        for _ in range(times):
            pid = self.random.choice(list(self.children))
            began = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            self.bury()
            _heard(self.fork())
            took.append(_since(began))
            time.sleep(stand.PAUSE)
        return {"ms": took}

    def bury(self) -> None:
        """Wait until any child is gone."""
        pid, _ = os.waitpid(-1, 0)
        self.children.pop(pid).close()

    def burst(self, count: int, how: str) -> dict[str, float]:
        """Kill `count` at once, until all are back: `one` after the other, or `all` at once."""
        victims = self.random.sample(list(self.children), count)
        began = time.perf_counter()
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        back = []
        for _ in victims:
            self.bury()
            back.append(self.fork())
            if how == "one":
                _heard(back[-1])
        if how == "all":
            _all_heard(back)
        return {"ms": _since(began)}

    def memory(self, count: int) -> dict[str, Any]:
        return {"child": stand.memory(list(self.children)[:count]), "root_rss": stand.rss(os.getpid())}

    def messages(self, count: int, requests: int) -> dict[str, Any]:
        """Memory of `count` children after as many requests each and a collection."""
        pids = list(self.children)[:count]
        for pid in pids:
            idle.talk(self.children[pid], requests)
        return {"child": stand.memory(pids)}

    def end(self) -> None:
        for pid in self.children:
            os.kill(pid, signal.SIGKILL)
        while self.children:
            self.bury()


def _heard(channel: socket.socket) -> None:
    if channel.recv(1) != b"x":
        raise RuntimeError("a child of the floor ended before it was ready")


def _all_heard(channels: list[socket.socket]) -> None:
    poll = select.poll()
    waiting = {channel.fileno(): channel for channel in channels}
    for fd in waiting:
        poll.register(fd, select.POLLIN)
    while waiting:
        for fd, _ in poll.poll():
            _heard(waiting.pop(fd))
            poll.unregister(fd)


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000


def _jail() -> Jail:
    from supervisor.jail import confine, layout, levels
    from supervisor.spec import Profile

    return confine.prepare(Profile(), levels.measure(), layout.python_places())


def main() -> None:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    floor = Floor(int(sys.argv[1]), "jailed" in sys.argv[2:])
    stand.say({"level": floor.jail.level if floor.jail is not None else "none", "pids": {"root": os.getpid()}})
    stand.serve(
        {
            "start": floor.start,
            "kill": floor.kill,
            "burst": floor.burst,
            "memory": floor.memory,
            "messages": floor.messages,
        },
        floor.end,
    )


if __name__ == "__main__":
    main()
