"""Agents with a fault of their own, for a node whose tree file starts them from here: the note says which.

The process is the real one; the fault is in it as a bug would be. `FAULT start`: it raises before it is ready; `FAULT crash`: it
raises soon after; `FAULT hang`: its loop stands still; `FAULT eat`: it takes memory until it is stopped.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egghead import node
from egghead.processes import agent as real
from egghead.processes.common import Service, run

if TYPE_CHECKING:
    from supervisor import Context

HEARTBEAT, MEMORY = 4, "120MiB"
SOON = 0.3  # seconds after the start: READY has been said


def main(context: Context, agent: Mapping[str, Any]) -> None:
    """The entry point of the real agent, with the fault that the note names."""
    body = str(agent.get("disposition", ""))
    if "FAULT start" in body:
        raise RuntimeError("the weak agent broke on purpose")
    run(context, lambda service: _setup(service, agent, body), beat_every=HEARTBEAT / 8)


async def _setup(service: Service, agent: Mapping[str, Any], body: str) -> None:
    await real.AgentProcess(service, real.AgentSpec.from_dict(agent), real.GRACE).setup()
    loop = asyncio.get_running_loop()
    if "FAULT crash" in body:
        loop.call_later(SOON, lambda: service.fail(RuntimeError("the weak agent broke on purpose")))
    elif "FAULT hang" in body:
        loop.call_later(SOON, time.sleep, 3600)
    elif "FAULT eat" in body:
        loop.call_later(SOON, threading.Thread(target=_eat, daemon=True).start)


def _eat() -> None:
    held = []
    while True:
        held.append(b"x" * (1 << 20))
        time.sleep(0.01)  # no faster than a sampling timer can see


def tree(path: Path) -> Path:
    """A tree file as the shipped one, but for agents that are started from here, and watched more closely."""
    text = node.default_tree().read_text(encoding="utf-8")
    changes = {
        "preload: [egghead.processes.warm]": "preload: [egghead.processes.warm, tests.e2e.weak_agents]",
        "start: egghead.processes.agent:main": "start: tests.e2e.weak_agents:main",
        "max_memory: 300MiB": f"max_memory: {MEMORY}",
    }
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    head, agents = text.split("start: tests.e2e.weak_agents:main")
    agents = agents.replace("heartbeat: 30", f"heartbeat: {HEARTBEAT}", 1)
    path.write_text(head + "start: tests.e2e.weak_agents:main" + agents, encoding="utf-8")
    return path
