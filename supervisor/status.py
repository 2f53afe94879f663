"""The status of a node as plain data and as a file: what the policy knows joined with what only the root knows.

Only the shape and the atomic write. When it is written is decided by the root; nobody is asked how it is.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from supervisor.policy import SupervisorView, WorkerView
from supervisor.process import End, Process

DEATHS = 20
TALLIES = 4000  # paths whose deaths are remembered; dynamic children come and go under ever new names


class Tally:
    """The last deaths of each path, bounded both ways."""

    def __init__(self) -> None:
        self._deaths: dict[str, deque[dict[str, Any]]] = {}

    def add(self, process: Process, end: End, at: float, uptime: float, left: int) -> None:
        """Remember one death. `at`: unix seconds; `uptime`: seconds since it was begun, whatever the wall clock did."""
        path = process.action.path
        deaths = self._deaths.pop(path, None) or deque(maxlen=DEATHS)
        death = {
            "at": at,
            "incarnation": process.action.incarnation,
            "reason": end.detail,
            "code": end.code,
            "signal": end.signal,
            "planned": end.planned,
            "step": process.step,
            "ready": process.ready,
            "uptime": round(uptime, 3),
            "left": left,
            "stderr": list(process.output.tail),
        }
        deaths.append(death)
        self._deaths[path] = deaths  # the newest is last, so that the oldest path is dropped first
        if len(self._deaths) > TALLIES:
            del self._deaths[next(iter(self._deaths))]

    def of(self, path: str) -> list[dict[str, Any]]:
        """The deaths of a path, oldest first."""
        return list(self._deaths.get(path, ()))


def render(root: SupervisorView, find: Callable[[str], Process | None], tally: Tally) -> dict[str, Any]:
    """The tree of a status file. `find` gives the running process of a path."""

    def node(view: SupervisorView | WorkerView) -> dict[str, Any]:
        if isinstance(view, SupervisorView):
            return {
                "id": view.id,
                "kind": "supervisor",
                "strategy": view.strategy,
                "state": view.state,
                "restarts": view.restarts,
                "reason": view.reason,
                "children": [node(child) for child in view.children],
            }
        process = find(view.path)
        live = process is not None and not process.lost
        deaths = tally.of(view.path)
        return {
            "id": view.id,
            "name": view.name,
            "kind": "worker",
            "state": "restarting" if process is not None and process.lost else view.state,
            "pid": process.pid if live and process is not None and process.pid else None,
            "incarnation": view.incarnation,
            "started_at": process.started_at if live and process is not None else None,
            "restarts": view.restarts,
            "restart": view.restart,
            "reason": view.reason,
            "memory": (process.pss or process.memory or None) if live and process is not None else None,
            "info": dict(process.said) if live and process is not None else {},
            "last_exit": deaths[-1] if deaths else None,
            # only the last one with its words: a thousand children times twenty would be megabytes, twenty times a second
            "deaths": [{key: value for key, value in death.items() if key != "stderr"} for death in deaths],
        }

    return node(root)


def write(path: Path, status: dict[str, Any]) -> None:
    """Replace the status file atomically: a reader sees the old or the new one, never a part.

    Raises OSError, and then leaves the old one.
    """
    data = json.dumps(status, separators=(",", ":"), ensure_ascii=False, default=str).encode("utf-8", "replace")
    temporary = path.with_name(path.name + ".new")
    try:
        with open(temporary, "wb", opener=_private) as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)  # on a full disk every byte counts
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def statm(pid: int) -> int:
    """Resident memory of a process in bytes; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def pss(pid: int) -> int:
    """Proportional memory of a process in bytes; 0 when the kernel does not tell (confined, and we are not root)."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            return _field(file, b"Pss:") * 1024
    except OSError:
        return 0


def _field(lines: Iterable[bytes], name: bytes) -> int:
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)
