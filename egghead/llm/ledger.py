"""The account of every model call, on disk: one file a day, one line a call, in the directory of the process `llm`.

Append-only, and each call has an id, so that nothing is counted twice. A call is written when its answer begins, as one
whose use nobody told, and again before its agent hears that it is over; the last line of an id counts. Lines of a day
that is over become sums, one small file; where both are there, the sums are right. When the disk is full the lines wait
in memory (limits hold meanwhile) and are written later.

A kill loses nothing that was written; a power cut nothing that `durable` waited for. That is one sync in a thread for all
who wait at the time, so that a slow disk holds up ends of calls and never a stream. What the figures mean is in `usage`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from egghead.llm.usage import EVERYBODY, Called, Figures, Key, Sums, count, figures

logger = logging.getLogger("egghead.llm")

MOST_WAITING = 10_000  # lines kept in memory while the disk is full, or does not sync
PATIENCE = 1.0  # seconds that the end of a call waits for the disk
AGAIN_AFTER = 5.0  # seconds after a sync that failed
LINES, SUMS = ".jsonl", ".sums"


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Ledger:
    """`directory` None: nothing is kept longer than this process. One writer; anybody in it may read."""

    def __init__(self, directory: Path | None, now: Callable[[], datetime] = _utc_now) -> None:
        self._directory = directory
        self._now = now
        self._waiting: deque[str] = deque(maxlen=MOST_WAITING)
        self._kept: dict[str, Sums] = {}  # days of a ledger without a directory
        self._open: set[str] = set()  # calls under way in this life
        self._torn = True  # the file may end in the middle of a line: our last life may have been cut there
        self._doubt: deque[str] = deque(maxlen=MOST_WAITING)  # written to this day's file, and not synced yet
        self._named = False  # whether the directory is known to hold this day's file
        self._now_syncing: asyncio.Future[None] | None = None
        self._next_sync: asyncio.Future[None] | None = None
        self._not_before = 0.0  # on the loop's clock
        self.day = self.today()
        self.used: Sums = {}
        self.spent: dict[str, Figures] = {}  # of this day: by agent, and of all together
        self._begin()

    def today(self) -> str:
        """The day it is now, in UTC."""
        return self._now().date().isoformat()

    def turn(self) -> bool:
        """Begin a new day if it is one: True when it is."""
        if self.today() == self.day:
            return False
        if self._directory is None:
            self._kept[self.day] = self.used
        self.day, self.used, self.spent, self._torn = self.today(), {}, {}, True
        self._doubt.clear()  # the sums of the day that is over are synced, or its file stays
        self._named = False
        self._begin()
        return True

    def begin(self, call: Called) -> None:
        """A call is under way: when this process dies before `add` comes with the same id, it counts as `call` says."""
        self.turn()
        self._open.add(call.id)
        self._note(call)

    def add(self, call: Called) -> None:
        """Count one call. It is in the file when this returns, or waits in memory until the disk takes it."""
        self.turn()
        self._open.discard(call.id)
        count(self.used, call)
        self._spend(call.agent, figures(call))
        self._note(call)

    def _note(self, call: Called) -> None:
        if self._directory is None:
            return
        self._waiting.append(msgspec.json.encode(call).decode() + "\n")
        self._try_write()

    def _try_write(self) -> None:
        try:
            self._write()
        except OSError as error:
            logger.error("usage is counted, but could not be written yet: %s", error)

    # -- a power cut

    async def durable(self) -> None:
        """Returns when all that was counted before is on the disk, or after PATIENCE when the disk hangs: a call is not
        lost for the sake of its account. Never raises OSError; what the disk refused is told, and tried again later."""
        if self._waiting:
            self._try_write()
        loop = asyncio.get_running_loop()
        if not self._doubt or loop.time() < self._not_before:
            return
        if self._next_sync is None:
            self._next_sync = asyncio.ensure_future(self._commit(self._now_syncing))
        await asyncio.wait({self._next_sync}, timeout=PATIENCE)

    async def _commit(self, before: asyncio.Future[None] | None) -> None:
        """One sync for all who came while the one before was under way, which may have begun before their lines."""
        if before is not None:
            await asyncio.wait({before})
        self._now_syncing, self._next_sync = self._next_sync, None
        day, lines = self.day, len(self._doubt)
        try:
            await asyncio.to_thread(_sync, self._path(day, LINES), self._named)
        except FileNotFoundError:
            return  # the day is over and its sums are synced, or somebody removed the file
        except OSError as error:
            logger.error("usage is counted and written, but the disk did not take it for good: %s", error)
            self._not_before = asyncio.get_running_loop().time() + AGAIN_AFTER
            if day == self.day:
                # After a failed sync the kernel may drop the pages: only a line that is written again is there again.
                self._waiting.extendleft(reversed(self._doubt))
                self._doubt.clear()
            return
        if day == self.day:
            self._named = True
            for _ in range(min(lines, len(self._doubt))):
                self._doubt.popleft()

    def days(self, since: str | None = None) -> Iterator[tuple[str, dict[Key, Figures]]]:
        """(day, sums) of every day that is known, the oldest first. Reads files."""
        for day in self._days():
            if since is None or day >= since:
                yield day, self.used if day == self.day else self._read(day)

    # -- files

    def _begin(self) -> None:
        """Read what this day has so far, and make sums of days that are over."""
        if self._directory is None:
            return
        try:
            for day in self._days():
                if day < self.day or self._summed(day)[1]:
                    self._close(day)
        except OSError as error:
            logger.error("usage of earlier days stays as it is: %s", error)
        self.used = self._read(self.day)
        for (agent, _, _), one in self.used.items():
            self._spend(agent, one)

    def _spend(self, agent: str, one: Figures) -> None:
        for name in (agent, EVERYBODY):
            self.spent[name] = self.spent.get(name, Figures()) + one

    def _days(self) -> list[str]:
        if self._directory is None:
            return sorted({*self._kept, self.day})
        names = [Path(name) for name in os.listdir(self._directory)] if self._directory.is_dir() else []
        return sorted({*(path.stem for path in names if path.suffix in (LINES, SUMS)), self.day})

    def _path(self, day: str, suffix: str) -> Path:
        assert self._directory is not None
        return self._directory / f"{day}{suffix}"

    def _write(self) -> None:
        """All that waits, in one piece. What was not written whole is written again behind a new line: the torn one has
        no end and is no call."""
        fd = os.open(self._path(self.day, LINES), os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            size = os.fstat(fd).st_size
            torn = self._torn and size > 0 and os.pread(fd, 1, size - 1) != b"\n"
            data = ("\n" * torn + "".join(self._waiting)).encode()
            self._torn = True
            if os.write(fd, data) < len(data):
                os.ftruncate(fd, size)
                raise OSError("the disk took only a part of it")
            self._torn = False
            self._doubt.extend(self._waiting)
            self._waiting.clear()
        finally:
            os.close(fd)

    def _read(self, day: str) -> Sums:
        """All of a day: what was summed, and the lines that were not. A clock that was put back writes lines again."""
        if self._directory is None:
            return self._kept.get(day, {})
        (found, taken), (lines, first) = self._summed(day), self._lines(day)
        if first != taken:
            for key, one in lines.items():
                found[key] = found.get(key, Figures()) + one
        return found

    def _lines(self, day: str) -> tuple[Sums, str]:
        """The lines of a day, and the id of the first: which file it is. No lines: no id."""
        calls: dict[str, Called] = {}
        with contextlib.suppress(FileNotFoundError), self._path(day, LINES).open("rb") as file:
            for line in file:
                with contextlib.suppress(msgspec.DecodeError, ValueError):  # torn, or somebody's own: no call
                    call = msgspec.json.decode(line, type=Called)
                    calls[call.id] = call  # the last word about it
        found: Sums = {}
        for id, call in calls.items():
            if id not in self._open:  # it will be counted on the day on which it ends
                count(found, call)
        return found, next(iter(calls), "")

    def _summed(self, day: str) -> tuple[Sums, str]:
        """The sums of a day, and the id of the first line that went into them last; nothing when none can be read."""
        try:
            taken, *rows = msgspec.json.decode(self._path(day, SUMS).read_bytes())
            return _sums(rows), str(taken)
        except FileNotFoundError:
            return {}, ""
        except (msgspec.DecodeError, ValueError, TypeError, IndexError) as error:
            logger.error("the sums of %s cannot be read, its lines are: %s", day, error)
            return {}, ""

    def _close(self, day: str) -> None:
        """Lines of a day that is over become sums. Killed in between, both are there, and the sums know whose they are."""
        lines, sums = self._path(day, LINES), self._path(day, SUMS)
        if not lines.exists():
            return
        first = self._lines(day)[1]
        if first and first != self._summed(day)[1]:
            rows = [[*key, *_values(one)] for key, one in sorted(self._read(day).items())]
            new = sums.with_suffix(".new")
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(msgspec.json.encode([first, *rows]))
                file.flush()
                os.fsync(file.fileno())
            new.replace(sums)
            _sync_directory(lines.parent)  # else a power cut might leave neither
        lines.unlink()


def _sync(path: Path, named: bool) -> None:
    """The file; and, unless it is known to be `named` there, its directory: else a power cut could take the file whole."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)
    if not named:
        _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _values(one: Figures) -> list[Any]:
    return [getattr(one, name) for name in Figures.__dataclass_fields__]


def _sums(rows: Any) -> Sums:
    return {(str(row[0]), str(row[1]), str(row[2])): Figures(*row[3:]) for row in rows}
