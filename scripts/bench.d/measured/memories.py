"""What a person would use instead of our store: basic-memory (PyPI), and ripgrep.

basic-memory asks for Python 3.12 and has an environment of its own under the user's cache. It writes into the notes it
indexes, so it gets a copy. It runs without a network where we may take that from it, and without its embeddings.
"""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

REQUIREMENT = "basic-memory==0.21.6"
INSTALL_LIMIT = 300  # seconds
NEWEST = (14, 13, 12)


class Unavailable(Exception):
    """It cannot be measured on this machine; says why."""


def program(*, download: bool) -> Path:
    """The command `basic-memory`, installed once. Raises Unavailable."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "egghead-bench" / f"venv-{REQUIREMENT}"
    if not download and not (home / "complete").exists():
        raise Unavailable("not asked for")
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with open(home.parent / "memories.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two first runs at once install once
            if not (home / "complete").exists():
                shutil.rmtree(home, ignore_errors=True)
                _run([_python(), "-m", "venv", str(home)])
                _run([str(home / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", REQUIREMENT])
                (home / "complete").touch()
    except OSError as error:
        raise Unavailable(f"{home.parent}: {error.strerror}") from None
    return home / "bin" / "basic-memory"


def _python() -> str:
    for minor in NEWEST:
        versions = sorted(glob.glob(str(Path.home() / f".pyenv/versions/3.{minor}.*/bin/python3")))
        for command in (shutil.which(f"python3.{minor}"), *versions):
            # A pyenv shim is there for every version and refuses to run those that are not chosen.
            if command and subprocess.run([command, "-c", "pass"], capture_output=True).returncode == 0:
                return command
    raise Unavailable("it needs Python 3.12 or newer, and none is here")


def _run(command: Sequence[str], **more: Any) -> str:
    limit = more.pop("timeout", INSTALL_LIMIT)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, **more)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{Path(command[0]).name} was not done within {limit} s") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Unavailable(f"{Path(command[0]).name} failed: {lines[-1] if lines else done.returncode}")
    return done.stdout


def basic_memory(command: Path, notes: Path, base: Path, words: list[str], limit: float) -> dict[str, float]:
    """`{index, indexed, peak, search}`: seconds, the notes that are searchable then (not all when `limit` seconds were too few),
    MiB, and milliseconds above a command that does nothing. Raises Unavailable."""
    copy = shutil.copytree(notes, base / "copy", ignore=shutil.ignore_patterns(".egghead"))
    env = os.environ | {
        "HOME": str(base),
        "BASIC_MEMORY_CONFIG_DIR": str(base / "config"),
        "BASIC_MEMORY_SEMANTIC_SEARCH_ENABLED": "false",
        "BASIC_MEMORY_LOG_LEVEL": "ERROR",
        "BASIC_MEMORY_AUTO_UPDATE": "false",
    }
    apart = ["unshare", "-n"] if os.geteuid() == 0 else []
    whole = [*apart, str(command)]
    _run([*whole, "project", "add", "bench", str(copy)], env=env)
    began = time.perf_counter()
    peak = _bounded([*whole, "reindex", "--search", "--full", "-p", "bench"], env, limit)
    took = time.perf_counter() - began
    indexed = _searchable(base / "config" / "memory.db")
    began = time.perf_counter()
    _run([*whole, "--version"], env=env)
    nothing = time.perf_counter() - began
    began = time.perf_counter()
    _run([*whole, "tool", "search-notes", " ".join(words), "--project", "bench"], env=env)
    search = 1000 * max(0.0, time.perf_counter() - began - nothing)
    return {"index": took, "indexed": indexed, "peak": peak, "search": search}


def _bounded(command: Sequence[str], env: dict[str, str], limit: float) -> float:
    """Run a command for `limit` seconds at most; MiB of memory at its peak. Raises Unavailable when it fails by itself."""
    with tempfile.TemporaryFile() as told:
        # In a session of its own, so that what it started ends with it.
        started = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=told, stderr=told, start_new_session=True
        )
        stop = threading.Timer(limit, os.killpg, (started.pid, signal.SIGKILL))
        stop.start()
        _, status, usage = os.wait4(started.pid, 0)
        stop.cancel()
        code = started.returncode = os.waitstatus_to_exitcode(status)
        if code not in (0, -signal.SIGKILL):
            told.seek(0)
            lines = told.read().decode(errors="replace").strip().splitlines()
            raise Unavailable(f"basic-memory failed: {lines[-1] if lines else code}")
        return usage.ru_maxrss / 1024


def _searchable(db: Path) -> int:
    """How many notes its own search table holds. Raises Unavailable."""
    try:
        with closing(sqlite3.connect(f"{db.as_uri()}?mode=ro", uri=True, timeout=10)) as opened:
            return int(opened.execute("SELECT count(*) FROM search_index WHERE type = 'entity'").fetchone()[0])
    except sqlite3.Error as error:
        raise Unavailable(f"its database {str(db)!r} is not what it was in {REQUIREMENT}: {error}") from None


def ripgrep(notes: Path, queries: list[list[str]]) -> list[float]:
    """Milliseconds to list the notes that have a word, per query. Raises Unavailable."""
    command = shutil.which("rg")
    if command is None:
        raise Unavailable("ripgrep is not installed (Debian: ripgrep)")
    times = []
    for words in queries:
        began = time.perf_counter()
        subprocess.run([command, "-l", "-w", "-i", words[0], str(notes)], stdout=subprocess.DEVNULL, check=False)
        times.append((time.perf_counter() - began) * 1000)
    return times
