"""The zygote's fork: the same child as from `os.fork`, without what only processes with threads need."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

IMPORTS = "import asyncio, concurrent.futures.thread, json, logging, os, random, subprocess, sys, threading\n"
CHILDREN = """
from supervisor.zygote import forking
fork = forking.forker()
read, write = os.pipe()
for _ in range(3):
    if fork() == 0:
        ran = []
        thread = threading.Thread(target=ran.append, args=("thread",))
        thread.start()
        thread.join()
        async def life():
            return await asyncio.get_running_loop().run_in_executor(None, os.getpid)
        found = {
            "ran": ran,
            "loop": asyncio.run(life()) == os.getpid(),
                "threads": threading.active_count(),
            "program": subprocess.run(["true"]).returncode,
            "number": random.random(),
            "hook": os.environ.get("HOOK"),
        }
        again = os.fork()
        if again == 0:
            os._exit(7)
        found["again"] = os.waitstatus_to_exitcode(os.waitpid(again, 0)[1])
        os.write(write, json.dumps(found).encode() + b"\\n")
        os._exit(0)
for _ in range(3):
    os.wait()
print(fork is forking.fork)
sys.stdout.flush()
os.write(1, os.read(read, 65536))
"""


def _children(before: str = "") -> tuple[bool, list[dict[str, Any]]]:
    """Whether the cheap fork was taken, and what three children found."""
    done = subprocess.run([sys.executable, "-c", IMPORTS + before + CHILDREN], capture_output=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, b"")
    cheap, *found = done.stdout.decode().splitlines()
    return cheap == "True", [json.loads(line) for line in found]


def _sound(children: list[dict[str, Any]]) -> bool:
    assert len({child.pop("number") for child in children}) == 3, "each has random numbers of its own"
    expected = {"ran": ["thread"], "loop": True, "threads": 1, "program": 0, "again": 7}
    return all({k: v for k, v in child.items() if k != "hook"} == expected for child in children)


def test_a_child_of_the_cheap_fork_can_do_what_any_process_can() -> None:
    """Threads, an asyncio loop with an executor, programs and forks of its own work; random numbers differ."""
    cheap, children = _children()
    assert cheap and _sound(children)


def test_a_hook_of_somebody_else_is_honoured() -> None:
    """As soon as a module that we do not know wants to hear of forks, all children come from `os.fork`, and it hears."""
    for when in ("after_in_child=set_hook", "after_in_child=set_hook, before=lambda: None"):
        cheap, children = _children(f"def set_hook(): os.environ['HOOK'] = 'heard'\nos.register_at_fork({when})\n")
        assert not cheap and _sound(children)
        assert [child["hook"] for child in children] == ["heard"] * 3
    for other in ("before", "after_in_parent"):
        assert not _children(f"os.register_at_fork({other}=lambda: None)\n")[0]


def test_with_a_second_thread_nothing_is_spared() -> None:
    """A process with more than one thread, even a native one, is forked by `os.fork`."""
    program = (
        IMPORTS + "from supervisor.zygote import forking\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "print(forking.forker() is os.fork)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
