"""The file of one room: JSON lines, appended, synced, and read back by seq.

Here is everything that touches the disk and nothing else: the room process decides what goes in (`gate`) and when to
commit. One process holds the file at a time (flock). A batch is all or nothing even across a power cut: each line but
the last of a batch carries `"more": true`, and recovery cuts a tail that does not end a batch.

Memory is flat: one offset for every 256 entries and the last ids are kept, never the entries.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from egghead.rooms.entries import log_id
from egghead.rooms.gate import WATCHED, Gate

logger = logging.getLogger("egghead.rooms.log")

STRIDE = 256  # entries between two remembered offsets
REMEMBERED = 4096  # ids for which an append twice is one entry
PAGE_BYTES = 1 << 20  # of one page of `read`; a bus frame holds 16 MiB
_CHUNK = 1 << 18
_MOST_ASIDE = 64 * 2**20  # bytes of older damage that are kept beside a log

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(dict[str, Any])


class LogError(Exception):
    """The log cannot be used; the message names the file and the remedy."""


class LogBusy(LogError):
    """Another process holds the file."""


class LogFull(LogError):
    """The disk did not take the batch; the file is as it was before."""


class LogBroken(LogError):
    """What is on disk is no longer known. The process must end: its successor reads what is there."""


class _Head(msgspec.Struct):
    """What recovery needs of a line; other fields are skipped without being built."""

    seq: int
    id: str
    kind: str
    at: str = ""
    turn: str | None = None
    agent: str | None = None
    title: str | None = None
    incarnation: int | None = None
    action: str | None = None
    more: bool = False


_head = msgspec.json.Decoder(_Head)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What opening found: entries in the log, bytes of a torn tail that were cut, why."""

    entries: int
    cut: int = 0
    why: str = ""


class RoomLog:
    """An open log. Not thread-safe; `write` and `sync` may run in a worker thread while `read` goes on."""

    def __init__(self, path: str, *, sync: bool = True) -> None:
        """Open or create. Raises LogBusy when another process has it, LogError when the file cannot be opened."""
        self.path = path
        self.last = 0
        self.size = 0
        self.log_id: str | None = None
        self.gate = Gate()
        self._sync = sync
        self._seqs: list[int] = []  # of every STRIDE-th entry
        self._offsets: list[int] = []
        self._ids: OrderedDict[str, int] = OrderedDict()
        self._fd, self._writable = self._open()
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise LogBusy(f"the room log {path!r} is held by another process; stop that one first") from error
        try:
            self.recovered = self._recover()
            self._sync_directory()
        except BaseException:  # a lock that nobody holds must not stay
            os.close(self._fd)
            raise

    def _open(self) -> tuple[int, bool]:
        """The file, and whether it can be written: on a disk that was made read-only a room can still be read."""
        flags = os.O_APPEND | os.O_CLOEXEC
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | flags, 0o600), True
        except OSError as error:
            fault = error
        if fault.errno == errno.EROFS:
            with suppress(FileNotFoundError):
                return os.open(self.path, os.O_RDONLY | flags), False
        raise LogError(f"cannot open the room log {self.path!r}: {fault.strerror}") from fault

    def close(self) -> None:
        """Give up the file and its lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def seq_of(self, entry_id: str) -> int | None:
        """The seq of an id that was appended lately."""
        return self._ids.get(entry_id)

    def read(self, after: int, limit: int = 500, max_bytes: int = PAGE_BYTES) -> list[dict[str, Any]]:
        """Entries with seq > `after`, at most `limit`, and about `max_bytes` of them but at least one.

        Raises LogBroken when the file does not hold what was written to it.
        """
        found: list[dict[str, Any]] = []
        if after >= self.last or limit <= 0:
            return found
        used = 0
        for line in self._lines(self._offset_before(after + 1), self.size):
            entry = self._entry(line)
            if entry["seq"] <= after:
                continue
            if found and used + len(line) > max_bytes:
                return found
            entry.pop("more", None)
            found.append(entry)
            used += len(line)
            if len(found) >= limit:
                return found
        if (found[-1]["seq"] if found else after) < self.last:
            # Answered with less than there is, every reader would ask for the rest for ever.
            raise LogBroken(f"{self.path!r} ends before entry {self.last}: somebody else has changed it")
        return found

    def _entry(self, line: bytes) -> dict[str, Any]:
        try:
            entry = _decoder.decode(line)
            if not isinstance(entry["seq"], int):
                raise KeyError("seq")
        except (msgspec.DecodeError, KeyError) as error:
            raise LogBroken(f"{self.path!r} is damaged, or somebody else has changed it: {error}") from error
        return entry

    def append(self, batches: Sequence[Sequence[dict[str, Any]]]) -> None:
        """Write, sync and remember batches of complete entries (seq, id, at, by), in order.

        Raises LogFull when nothing was written, LogBroken when nobody knows. After LogBroken the log is unusable.
        """
        data = encode(batches)
        self.write(data)
        self.remember(batches, data)

    def write(self, data: bytes) -> None:
        """Put bytes at the end and sync them; on a full disk cut back to the last good entry and raise LogFull.

        Raises LogBroken, with nothing written, when somebody else has changed, replaced or removed the file, or when it was
        opened only for reading and can be written by now.
        """
        if not self._writable:
            self._open_again()
        self._check_untouched()
        try:
            self._write_all(data)
        except OSError as error:
            if os.fstat(self._fd).st_size != self.size:
                self._cut(self.size)
            raise self._refused(error) from error
        if self._sync:
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                # After a failed sync the kernel may drop the pages: asking again would answer "fine" for lost data.
                raise LogBroken(
                    f"cannot sync {self.path!r}: {error.strerror}; what it holds must be read again"
                ) from error

    def _open_again(self) -> None:
        """Whether the disk takes writes again. What it holds now is read by a successor, as after any death."""
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            raise self._refused(error) from error
        raise LogBroken(f"{self.path!r} can be written again: it is opened anew")

    def _refused(self, error: OSError) -> LogFull:
        why, remedy = error.strerror, "free some space"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            why = "the disk is full"
        elif error.errno == errno.EROFS:
            why, remedy = "its disk is read-only now", "see why (dmesg) and mount it for writing again"
        return LogFull(f"{self.path!r} took nothing: {why}; {remedy}, then say it again")

    def _check_untouched(self) -> None:
        # Behind half a line, or in a file that has no name any more, an acknowledged entry would be lost.
        found = os.fstat(self._fd)
        if found.st_nlink == 0:
            raise LogBroken(f"somebody has removed or replaced {self.path!r}; what stands there now is read again")
        if found.st_size != self.size:
            raise LogBroken(
                f"{self.path!r} has {found.st_size} bytes instead of {self.size}: somebody else has changed it; "
                "what stands there now is read again"
            )

    def remember(self, batches: Sequence[Sequence[dict[str, Any]]], data: bytes) -> None:
        """Bring index, ids and gate up to what `write` has put on disk."""
        offset = self.size
        for line, entry in zip(
            data.splitlines(keepends=True), (one for batch in batches for one in batch), strict=True
        ):
            self._index(entry["seq"], entry["id"], entry.get("at", ""), offset)
            self.gate = self.gate.after(entry)
            offset += len(line)
        self.size = offset

    def _index(self, seq: int, entry_id: str, at: str, offset: int) -> None:
        if self.log_id is None:
            self.log_id = log_id({"id": entry_id, "at": at})
        if not self._seqs or seq >= self._seqs[-1] + STRIDE:
            self._seqs.append(seq)
            self._offsets.append(offset)
        self._ids[entry_id] = seq
        if len(self._ids) > REMEMBERED:
            self._ids.popitem(last=False)
        self.last = seq

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.write(self._fd, view)
            view = view[written:]

    def _cut(self, size: int) -> None:
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise LogBroken(f"cannot cut {self.path!r} back to {size} bytes: {error.strerror}") from error

    def _sync_directory(self) -> None:
        # A new file whose name is not on disk yet is a room that a power cut makes disappear.
        directory = os.open(os.path.dirname(self.path) or ".", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        except OSError as error:
            logger.warning("cannot sync the directory of %r: %s", self.path, error.strerror)
        finally:
            os.close(directory)

    def _offset_before(self, seq: int) -> int:
        at = bisect_right(self._seqs, seq) - 1
        return self._offsets[at] if at >= 0 else 0

    def _lines(self, offset: int, end: int) -> Iterator[bytes]:
        rest = b""
        while offset < end:
            chunk = os.pread(self._fd, min(_CHUNK, end - offset), offset)
            if not chunk:
                return
            offset += len(chunk)
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            yield from lines

    # -- recovery

    def _recover(self) -> Recovered:
        end = os.fstat(self._fd).st_size
        good = offset = 0  # good: behind the last complete batch
        batch: list[tuple[_Head, int]] = []
        why = ""
        entries = 0
        expected = 1
        for line in self._lines(0, end):
            try:
                head = _head.decode(line)
            except msgspec.DecodeError as error:
                why = f"line at byte {offset} is no entry ({error})"
                break
            if head.seq != expected:
                why = f"line at byte {offset} has seq {head.seq} instead of {expected}"
                break
            expected += 1
            batch.append((head, offset))
            offset += len(line) + 1
            if not head.more:
                entries += len(batch)
                self._remember_heads(batch)
                batch.clear()
                self.size = good = offset
        if good == end or not self._writable:
            return Recovered(entries)  # what must be cut is cut once it can be
        if why and end - offset > 0 and self._holds_entries(offset, end):
            # Whole entries behind the bad place: this is damage or a hand's edit, not a write cut short.
            self._set_aside(good, end, why)
        self._cut(good)
        return Recovered(entries, end - good, why or "the last write was cut short")

    def _remember_heads(self, batch: list[tuple[_Head, int]]) -> None:
        for head, offset in batch:
            self._index(head.seq, head.id, head.at, offset)
            if head.kind in WATCHED:
                self.gate = self.gate.after(msgspec.structs.asdict(head))

    def _holds_entries(self, start: int, end: int) -> bool:
        lines = self._lines(start, end)
        next(lines, None)
        for line in lines:
            try:
                _head.decode(line)
            except msgspec.DecodeError:
                continue
            return True
        return False

    def _set_aside(self, start: int, end: int, why: str) -> None:
        aside = f"{self.path}.damaged"
        with open(aside, "ab") as file:
            if file.tell() > _MOST_ASIDE:
                file.truncate(0)  # a disk that damages log after log must not be filled by what it damaged
            for at in range(start, end, _CHUNK):
                file.write(os.pread(self._fd, min(_CHUNK, end - at), at))
            file.flush()
            os.fsync(file.fileno())
        logger.error("%s in %r; what followed is kept in %r", why, self.path, aside)


def encode(batches: Sequence[Sequence[dict[str, Any]]]) -> bytes:
    """Batches as lines; every line but the last of its batch says that there is more."""
    lines: list[bytes] = []
    for batch in batches:
        for entry in batch[:-1]:
            lines.append(_encoder.encode({**entry, "more": True}))
        lines.append(_encoder.encode(batch[-1]))
    lines.append(b"")
    return b"\n".join(lines)
