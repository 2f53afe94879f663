"""Forking from a process with one thread, without what only others need.

`os.fork` lets each module that asked for it set itself right in the child: locks that another thread may have held,
the list of threads, the state of the random numbers. In a process with one thread nothing of it has changed but the
random numbers, and looking at it all is a quarter of a millisecond of each child and some sixty pages that it and its
zygote copy *(measured)*. So where only modules have asked whose work is not needed here, the C library is asked for
the fork. As soon as anybody else did, or on a Python whose fork nobody has looked into, it is `os.fork`.
"""

from __future__ import annotations

import _random
import ctypes
import gc
import os
import random
import sys
from collections.abc import Callable
from typing import Any

# Of the standard library: who asks for something at a fork. All but `random` care for other threads only.
KNOWN = frozenset({"random", "threading", "logging", "concurrent.futures.thread", "asyncio.events"})
LOOKED_INTO = (
    (3, 11),
    (3, 12),
    (3, 13),
)  # what PyOS_AfterFork_Child does beside calling the hooks: nothing that one thread needs

# Keeps the GIL: in the child it is held by who holds it here.
_fork: Callable[[], int] = ctypes.PyDLL(None, use_errno=True).fork


def _before() -> None: ...


def _after_in_child() -> None: ...


def _after_in_parent() -> None: ...


def forker() -> Callable[[], int]:
    """The cheapest way to fork this process; call it when everything is imported, and before the heap is frozen."""
    if sys.implementation.name != "cpython" or sys.version_info[:2] not in LOOKED_INTO or threads() != 1:
        return os.fork
    hooks = _hooks()
    return os.fork if hooks is None or not all(map(_needless, hooks)) else fork


def threads() -> int:
    """How many threads this process has, native ones too; 1 where /proc does not tell."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 1


def fork() -> int:
    """As `os.fork`, for a process with one thread whose modules need no hook."""
    pid = _fork()
    if pid == 0:
        settle()
    elif pid < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
    return pid


def settle() -> None:
    """What is to be done in a child of this process: it gets other random numbers than its siblings."""
    _random.Random.seed(random._inst)  # the generator behind `random.random`
    random._inst.__dict__["gauss_next"] = None  # half of a pair that is told already


def _hooks() -> list[Any] | None:
    """All that was registered with `os.register_at_fork`, found by what we register ourselves; None when it is not."""
    own = (_before, _after_in_child, _after_in_parent)
    os.register_at_fork(before=_before, after_in_child=_after_in_child, after_in_parent=_after_in_parent)
    found: list[Any] = []
    for hook in own:
        lists = [thing for thing in gc.get_referrers(hook) if type(thing) is list]
        if len(lists) != 1:
            return None
        found += [other for other in lists[0] if other is not hook]
    return found


def _needless(hook: Any) -> bool:
    """True for a hook of a module that we know."""
    module = getattr(hook, "__module__", None)
    if module is None:  # a method of a lock: `concurrent.futures` registers those
        futures = sys.modules.get("concurrent.futures.thread")
        return futures is not None and getattr(hook, "__self__", None) is futures._global_shutdown_lock
    return module in KNOWN
