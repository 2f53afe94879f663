"""The zygote's children from fork to burial: who lives, who has died, and what the dead have left behind.

Here belong waitpid and the hunt for processes that came to the zygote because their parent, or their parent's parent,
is dead. What a death means is the root's to say; forking is `server`'s.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Container
from dataclasses import dataclass

from supervisor.jail import linux
from supervisor.zygote.orphans import children, count

UTS = "/proc/self/ns/uts"
HUNT_LIMIT = 2.0  # seconds that an exit is held back for what the dead child left behind


@dataclass(slots=True)
class Life:
    """A child that was forked. `number` is -1 until somebody has asked for it.

    mark: inode of the UTS namespace made for it and all that it starts; 0 without. childless: the kernel lets it make
    no process, so it leaves none behind.
    """

    number: int
    mark: int
    childless: bool = False
    status: int | None = None
    dead_at: float = 0.0
    left: frozenset[int] = frozenset()


class Lives:
    """All children that are alive or not yet reported, by pid."""

    def __init__(self) -> None:
        self.marks = False  # children have a UTS namespace of their own, by which their orphans are known
        self.hunts = known_children() is not None  # /proc tells our children
        self._lives: dict[int, Life] = {}
        self._dead: dict[int, Life] = {}
        self._marked: set[int] = set()  # their marks

    def add(self, pid: int, life: Life) -> None:
        self._lives[pid] = life
        self._marked.add(life.mark)

    def of(self, pid: int) -> Life:
        """The life of a pid that was added and not yet reported."""
        return self._lives[pid]

    def new_mark(self, given: Container[int] = ()) -> int:
        """Move to a fresh UTS namespace, which the next child inherits and all its descendants keep.

        The kernel gives the number of one that nobody is in any more to the next. Until the death of the child that had it
        is told, and while it is among `given`, it is not taken again: an orphan would be laid to that one's charge.
        """
        held: list[int] = []
        try:
            while True:
                linux.unshare(linux.CLONE_NEWUTS)
                mark = os.stat(UTS).st_ino
                if mark not in given and mark not in self._marked:
                    return mark
                # Else the one after it would get this number again.
                held.append(os.open(UTS, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            return 0
        finally:
            for fd in held:
                os.close(fd)

    def reap(self) -> list[tuple[int, Life]]:
        """Collect the dead, hunt what they left, and give those (pid, life) that are done. `hunting` says if some are not."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if os.WIFSTOPPED(status):
                # Only one that made us its tracer (PTRACE_TRACEME) stops here. It is not dead and would stay so for ever.
                _kill(pid)
                continue
            life = self._lives.get(pid)
            if life is not None:
                life.status, life.dead_at = status, time.monotonic()
                self._dead[pid] = life
        return self._bury()

    @property
    def hunting(self) -> bool:
        """Somebody dead is not reported yet because of what it left behind."""
        return bool(self._dead)

    def kill_all(self, seconds: float = 5.0) -> None:
        """Kill and collect every child and every orphan."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for pid in known_children() or list(self._lives):
                _kill(pid)
            try:
                pid, _ = os.waitpid(-1, 0)
            except ChildProcessError:
                return
            life = self._lives.pop(pid, None)
            if life is not None:
                self._marked.discard(life.mark)

    # ---- what the dead have left -------------------------------------------------------------------------------------

    def _strangers(self) -> bool:
        """We have children that we did not make. Cheap: asked for at every death, with a thousand children alive."""
        return self.hunts and count() != len(self._lives) - len(self._dead)

    def _bury(self) -> list[tuple[int, Life]]:
        remaining: dict[int, int] = {}
        settled = True
        theirs = not self._dead or not all(life.childless for life in self._dead.values())
        if theirs and self._strangers():
            remaining, settled = self._hunt()
        now = time.monotonic()
        done = []
        for pid, life in list(self._dead.items()):
            left = {orphan for orphan, mark in remaining.items() if mark == life.mark or not self.marks}
            life.left |= left
            if (left or not settled) and now - life.dead_at < HUNT_LIMIT:
                continue
            del self._dead[pid], self._lives[pid]
            self._marked.discard(life.mark)
            done.append((pid, life))
        return done

    def _hunt(self) -> tuple[dict[int, int], bool]:
        """Kill adopted processes whose supervised ancestor is dead.

        Returns {pid: mark} of those not yet gone, and whether these are all: one that is just ending has no mark any
        more, and its own children come to us only now. Without marks an orphan cannot be told from another's, so every
        adopted process is killed.
        """
        found: dict[int, int] = {}
        settled = True
        living = {life.mark for life in self._lives.values() if life.status is None}
        for pid in set(known_children() or ()) - self._lives.keys():
            mark = 0
            if self.marks:
                try:
                    mark = os.stat(f"/proc/{pid}/ns/uts").st_ino
                except FileNotFoundError:
                    settled = False
                    continue
                except OSError:  # it lets nobody look into it, so it is nobody's: else it would outlive whoever left it
                    _kill(pid)
                    settled = False
                    continue
                if mark in living:
                    continue  # a daemon of a child that still lives
            _kill(pid)
            found[pid] = mark
        return found, settled


def known_children() -> list[int] | None:
    """Pids of our children, from /proc; None when it does not tell (or tells those of another namespace)."""
    try:
        return children()
    except OSError:
        return None


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
