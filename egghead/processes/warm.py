"""The dress rehearsal of an agent's start, run in the zygote before it forks, so that agents share what it leaves.

A forked process shares every page with its siblings until it writes there, and CPython writes nearly everywhere it
looks: reference counts, and in 3.11 the code itself, which is specialised where it lies in its first runs. What runs
here until it has settled is settled for all; an agent that starts and then waits has 1 MiB less of its own for it
(`scripts/bench node`). The start is the real one (`common.run`, the agent's setup, the peer), in front of a stage
in place of the bus. Nothing may be left behind: no thread, descriptor, handler or signal.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from types import CodeType
from typing import Any

from egghead.agents.record import AgentSpec
from egghead.processes import agent
from egghead.processes.common import Service, one_connection, run
from ipc import Address, Peer
from ipc.stage import Stage
from supervisor import Context, dense

# CPython 3.11 specialises a function after 8 calls, and then each of its instructions takes a few more to settle.
ROUNDS = 24

_SPEC = AgentSpec("rehearsal", "rehearsal", "Rehearsal", capabilities=("records.read",), tags=("agent",))
# What a child runs before its entry point, and which cannot be rehearsed.
_BEFORE = (
    *(f"supervisor.zygote.{module}" for module in ("server", "forking", "ahead", "child", "datagrams")),
    *(f"supervisor.jail.{module}" for module in ("confine", "namespaces", "landlock", "bpf", "linux", "title")),
    "supervisor.context",
    "ipc.raw",  # the stage stands in for it
)
_QUIET = (signal.SIGINT, signal.SIGTERM)


def supervisor_warm() -> None:
    """What the zygote calls when everything is imported."""
    logging.getLogger().setLevel(logging.INFO)  # as all have it: setting it touches each logger there is
    rehearse(1)  # the first time differs: caches, imports inside functions
    hot = _hot()
    dense.gather_functions(hot)  # before their code is: after it `hot` is the old code of nobody
    dense.gather(hot)
    del hot
    sys._clear_type_cache()  # full of what the imports looked up; each entry that a child replaces costs it two pages
    rehearse(ROUNDS)
    dense.fill_holes()


def _hot() -> list[CodeType]:
    """The code that an agent runs at its start."""
    rehearsed = dense.called(lambda: rehearse(1))
    return [*rehearsed, agent.main.__code__, one_connection.__code__, *dense.codes_of(*_BEFORE)]


def rehearse(rounds: int) -> None:
    """Start and stop an agent so many times, in this thread."""
    logs = logging.getLogger()
    handlers, level = list(logs.handlers), logs.level
    dispositions = [(number, signal.getsignal(number)) for number in _QUIET]
    # Held back meanwhile: asyncio leaves the default behind, and a SIGTERM then would end the zygote.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _QUIET)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a child
        for _ in range(rounds):
            _act()
    finally:
        for number, disposition in dispositions:
            signal.signal(number, disposition)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        logs.handlers[:] = handlers
        logs.setLevel(level)


def _act() -> None:
    """One life: boot message, connect, subscribe, announce, READY, stop."""
    root, child = socket.socketpair()
    with root, child:
        child.setblocking(False)
        root.setblocking(False)
        handover = {"bus": {"directory": os.sep, "credential": "stage"}, "settings": {"config": {}}}
        boot = {"name": f"agents/{_SPEC.id}", "incarnation": 1, "supervisor": "agents", "handover": handover}
        boot = json.loads(json.dumps({**boot, "args": {"agent": _SPEC.to_dict()}}))
        importlib.import_module(agent.__name__)  # as for the entry point
        spec = AgentSpec.from_dict(boot["args"]["agent"])
        run(Context(child, boot, None, "none"), lambda service: _set_up(service, spec, root), make_peer=_peer)


async def _set_up(service: Service, spec: AgentSpec, root: socket.socket) -> None:
    asyncio.get_running_loop().add_reader(root, _answer, root)
    await agent.AgentProcess(service, spec, agent.GRACE).setup()


def _answer(root: socket.socket) -> None:
    """The root's part: when the child says that it is ready, ask it to stop."""
    if b"ready" in root.recv(65536):
        asyncio.get_running_loop().remove_reader(root)
        root.send(b'{"stop":true}\n')


def _peer(context: Context, bus: Mapping[str, Any]) -> Peer:
    return Peer(Address(bus["directory"], inline=True), name=context.name, credential=bus["credential"], sockets=Stage)
