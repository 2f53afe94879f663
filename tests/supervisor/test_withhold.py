"""A process that holds secrets leaves no core, confined or not."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, os, resource, signal, sys
from supervisor.jail import withhold_memory
resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
withhold_memory()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)
os.kill(os.getpid(), signal.SIGABRT)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_its_memory_is_withheld() -> None:
    """The kernel says that it is not dumpable, and a signal that would dump ends it."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=20)
    assert done.stdout == "0\n" and done.returncode == -signal.SIGABRT
