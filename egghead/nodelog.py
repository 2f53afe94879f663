"""The node's log: one line an event, time, level, process, logger, text; a rotated file, and stderr for who watches.

The processes write such lines on their stderr (`processes.common`); the root passes them on as they are and gives its
own the same form. What a process prints besides (a traceback, native code) gets the head it lacks.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import logging.handlers
import os
import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import TextIO

from supervisor.writer import Writer, WriterHandler

MAX_BYTES = 5 * 1024 * 1024
KEPT = 3
FORM = "%(asctime)s.%(msecs)03dZ %(levelname)s node %(name)s %(message)s"
TIME = "%Y-%m-%dT%H:%M:%S"
LINE = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) ")
PROCESS_LINES = "egghead.lines"


def _formatter() -> logging.Formatter:
    formatter = logging.Formatter(FORM, TIME)
    formatter.converter = time.gmtime
    return formatter


def to_stderr(verbose: bool) -> None:
    """What a person at `egghead serve` sees: warnings, and with `verbose` everything."""
    # Who watches may stop reading (a terminal under ^S); the root must not wait for that.
    handler = WriterHandler(Writer(2))
    handler.setFormatter(_LineOrOwn())
    handler.setLevel(logging.INFO if verbose else logging.WARNING)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # A full or closed stderr must not stop a node, nor print a traceback about itself for each line.
    logging.raiseExceptions = False


class _LineOrOwn(logging.Formatter):
    """Lines of processes as they came, the root's own with the same head."""

    def __init__(self) -> None:
        super().__init__()
        self._own = _formatter()

    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage() if record.name == PROCESS_LINES else self._own.format(record)


class Lines:
    """The sink of what processes print."""

    def __init__(self) -> None:
        self._logger = logging.getLogger(PROCESS_LINES)

    def of_process(self, name: str, line: str) -> None:
        found = LINE.match(line)
        level = getattr(logging, found[1]) if found else logging.WARNING
        if not found:
            now = time.time()
            stamp = time.strftime(TIME, time.gmtime(now))
            line = f"{stamp}.{int(now * 1000) % 1000:03d}Z WARNING {name} stderr {line}"
        self._logger.log(level, "%s", line)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Lines]:
    """The log file at `path`, rotated; when it cannot be written the node runs without it and says so."""
    logger = logging.getLogger()
    logger.setLevel(logging.INFO)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(path, maxBytes=MAX_BYTES, backupCount=KEPT, encoding="utf-8")
    except OSError as error:
        logging.getLogger("egghead.node").warning("no log file: cannot write %s: %s", path, error.strerror)
        yield Lines()
        return
    handler.setFormatter(_LineOrOwn())
    logger.addHandler(handler)
    try:
        yield Lines()
    finally:
        logger.removeHandler(handler)
        handler.close()


# Reading it


def last_lines(file: TextIO, count: int, process: str | None) -> list[str]:
    """The last `count` lines of (`process`) from where the file stands; it stands at its end afterwards."""
    return list(collections.deque((line for line in file if _of(line, process)), maxlen=count))


def unknown(file: TextIO, process: str, running: Iterable[str]) -> str | None:
    """Why there are no lines of `process`, with the nearest name: neither does it run nor has it ever written to the log.
    None when it has, or may yet. Reads `file` from its beginning; it stands at its end afterwards."""
    file.seek(0)
    names = {*running, *(line.split(" ", 3)[2] for line in file if LINE.match(line))}
    if process in names:
        return None
    import difflib

    near = difflib.get_close_matches(process, sorted(names), n=1, cutoff=0.4)
    last = [name for name in sorted(names) if name.rpartition("/")[2] == process]
    hint = f"; did you mean {(last or near)[0]!r}?" if last or near else ""
    return f"no process is called {process!r}, and the log has no line of one{hint} See: egghead tree"


async def following(path: Path, file: TextIO, process: str | None) -> AsyncIterator[list[str]]:
    """Lines as they are added to `file`, which was opened at `path`; goes on in its successor. For ever."""
    try:
        while True:
            lines = [line for line in iter(file.readline, "") if _of(line, process)]
            if lines:
                yield lines
            elif _replaced(path, file.fileno()):
                following_file = path.open(encoding="utf-8", errors="replace")  # rotated: go on in the new one
                file.close()
                file = following_file
            else:
                await asyncio.sleep(0.2)  # a file that grows gives no event to wait for without a watcher
    finally:
        file.close()


def _of(line: str, process: str | None) -> bool:
    return process is None or f" {process} " in line[:160]


def _replaced(path: Path, fd: int) -> bool:
    try:
        return path.stat().st_ino != os.fstat(fd).st_ino
    except FileNotFoundError:
        return False
