"""The rehearsal in the zygote: it settles what agents would settle each on their own, and leaves no trace."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from typing import Any

from egghead.processes.warm import rehearse
from ipc import Address, Peer
from ipc.stage import Stage


def _traces() -> dict[str, Any]:
    return {
        "threads": threading.active_count(),
        "tasks": len(os.listdir("/proc/self/task")),
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "handlers": list(logging.getLogger().handlers),
        "level": logging.getLogger().level,
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "blocked": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "profile": sys.getprofile(),
    }


def test_a_rehearsal_leaves_nothing_behind() -> None:
    """After an agent was started and stopped on the stage, threads, descriptors, log handlers and signals are as before."""
    before = _traces()
    rehearse(3)
    assert _traces() == before


def test_the_zygotes_hook_leaves_nothing_behind() -> None:
    """The whole hook, in a process of its own: one thread, the descriptors it had, ignored signals still ignored."""
    program = (
        "import json, os, signal, sys, threading, logging\n"
        "from egghead.processes import warm\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "before = os.listdir('/proc/self/fd')\n"
        "warm.supervisor_warm()\n"
        "ignored = [signal.getsignal(n) == signal.SIG_IGN for n in (signal.SIGTERM, signal.SIGINT)]\n"
        "print(json.dumps([os.listdir('/proc/self/fd') == before, len(os.listdir('/proc/self/task')), ignored,\n"
        "                  len(logging.getLogger().handlers)]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [True, 1, [True, True], 0]


async def test_the_stage_answers_as_a_bus_does() -> None:
    """A peer in front of the stage is welcomed, subscribes, hears an event, calls, announces and says goodbye."""
    peer = Peer(Address("/"), name="agents/x", credential="c", sockets=Stage)
    await peer.connect()
    assert (peer.name, peer.epoch, peer.connected) == ("stage", 1, True)
    subscription = await peer.subscribe("log/")
    await peer.announce()
    event = await asyncio.wait_for(anext(subscription), 5)
    assert (event.topic, event.data) == ("log/", {"kind": "notice"})
    assert await peer.call("store", "get", id="x") is None
    await peer.close()
    assert not peer.connected
