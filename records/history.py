"""The bytes that writes replaced, kept in `.egghead/history/` so that a spoiled note is one command away.

Layout: `history/<path of the note>/<UTC time>-<revision>-<action>`. Bounded by age and by total size; the newest
version of a note is never pruned by size alone.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from records.disk import TEMPORARY, beside, make_folders, sweep, sync_folder
from records.errors import NotFound
from records.markdown import revision_of

STAMP = "%Y%m%dT%H%M%S.%fZ"
REMEMBERED = 1000  # notes that were written last
PRUNED = "pruned"  # its time is that of the last pruning


@dataclass(frozen=True, slots=True)
class Version:
    """One kept version: when it was replaced (RFC 3339), its revision, size in bytes, and by which action."""

    name: str
    at: str
    revision: str
    action: str
    size: int

    @property
    def time(self) -> float:
        """`at` in seconds of the clock; 0 for a name that nobody here gave."""
        try:
            return datetime.fromisoformat(self.at).timestamp()
        except ValueError:
            return 0.0


class History:
    """Kept versions below `directory`. `max_age` in seconds, `max_bytes` in all."""

    def __init__(self, directory: Path, max_age: float = 90 * 86400, max_bytes: int = 256 * 2**20) -> None:
        self.directory = directory
        self.max_age = max_age
        self.max_bytes = max_bytes
        self._kept = 0  # bytes since the last pruning
        self._last: dict[Path, str] = {}  # when the last one was kept, by folder; of many versions a list takes long

    def keep(self, path: str, data: bytes, action: str, now: float | None = None) -> Version:
        """Store replaced bytes, durably, before the write that replaces them. Raises OSError."""
        moment = datetime.fromtimestamp(time.time() if now is None else now, UTC)
        folder = self.directory / path
        make_folders(os.fspath(folder))
        at = self._after_last(folder, moment.strftime(STAMP))
        name = f"{at}-{revision_of(data)}-{action}"
        target = folder / name
        with beside(os.fspath(self.directory / name), data, None) as temporary:
            os.replace(temporary, target)
        sync_folder(os.fspath(folder))
        self._kept += len(data)
        if self._kept > self.max_bytes // 8:
            self.prune(now)
        return _version(target)

    def _after_last(self, folder: Path, at: str) -> str:
        """A time behind that of every version in a folder: a clock that was set back must not make the newest one old."""
        last = self._last.pop(folder, None)
        if last is None:
            last = max((name.partition("-")[0] for name in os.listdir(folder) if name[:1].isdigit()), default="")
        if at <= last:
            with suppress(ValueError, OverflowError):
                at = (datetime.strptime(last, STAMP) + timedelta(microseconds=1)).strftime(STAMP)
        while len(self._last) >= REMEMBERED:
            del self._last[next(iter(self._last))]
        self._last[folder] = at
        return at

    def follow(self, old: str, new: str) -> None:
        """The versions of a note that moved are found under its new path. Raises OSError."""
        source = self.directory / old
        self._last.pop(self.directory / new, None)
        if not source.is_dir() or old == new:
            return
        make_folders(os.fspath(self.directory / new))
        for entry in list(source.iterdir()):
            if entry.is_file():
                os.replace(entry, self.directory / new / entry.name)
        sync_folder(os.fspath(self.directory / new))
        with suppress(OSError):
            source.rmdir()  # not when another note lies below it

    def sweep(self) -> None:
        """Remove what killed writes left, and once a day what is too old or too much."""
        with suppress(OSError):
            for entry in list(os.scandir(self.directory)):
                if entry.name.startswith(TEMPORARY):
                    sweep(entry.path)
        try:
            pruned = (self.directory / PRUNED).stat().st_mtime
        except OSError:
            pruned = 0.0
        if time.time() - pruned > 86400:
            self.prune()

    def of(self, path: str) -> list[Version]:
        """Kept versions of a note, newest first."""
        folder = self.directory / path
        try:
            names = [entry for entry in os.listdir(folder) if not entry.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            return []
        found = []
        for name in sorted(names, reverse=True):
            with suppress(
                FileNotFoundError
            ):  # another process prunes, or takes back what it kept for a write that was too late
                if (folder / name).is_file():
                    found.append(_version(folder / name))
        return found

    def read(self, path: str, name: str) -> bytes:
        """The bytes of a kept version. Raises NotFound."""
        if "/" in name or name.startswith("."):
            raise NotFound(f"{name!r} is not the name of a kept version of {path!r}")
        try:
            return (self.directory / path / name).read_bytes()
        except (OSError, ValueError):
            raise NotFound(
                f"no version {name!r} of {path!r} is kept; list them with `egghead records history`"
            ) from None

    def forget(self, path: str, name: str) -> None:
        """Remove one kept version (it has become the file again)."""
        with suppress(OSError):  # the note is as it was asked for; a version too many harms nobody
            (self.directory / path / name).unlink(missing_ok=True)

    def prune(self, now: float | None = None) -> int:
        """Remove what is too old or too much. Returns how many versions went."""
        moment = time.time() if now is None else now
        kept: list[tuple[str, Path, int]] = []
        newest: dict[Path, str] = {}
        gone = 0
        for base, _, names in os.walk(self.directory):
            for name in names:
                file = Path(base) / name
                if name.startswith(".") or name == PRUNED:
                    continue  # a version that is being written
                try:
                    size = file.stat().st_size
                except OSError:
                    continue
                kept.append((name, file, size))
                newest[file.parent] = max(newest.get(file.parent, ""), name)
        kept.sort()
        total = sum(size for _, _, size in kept)
        oldest = datetime.fromtimestamp(max(moment - self.max_age, 0), UTC).strftime("%Y%m%dT%H%M%S")
        for name, file, size in kept:
            late = name < oldest
            over = total > self.max_bytes and newest[file.parent] != name
            if late or over:
                with suppress(OSError):
                    file.unlink(missing_ok=True)
                    total -= size
                    gone += 1
                with suppress(OSError):
                    os.removedirs(file.parent)  # folders that are empty now
        self._kept = 0
        with suppress(OSError):
            (self.directory / PRUNED).touch()
        return gone


def _version(file: Path) -> Version:
    stamp, _, rest = file.name.partition("-")
    revision, _, action = rest.partition("-")
    try:
        at = datetime.strptime(stamp, STAMP).replace(tzinfo=UTC).isoformat()
    except ValueError:
        at = stamp
    return Version(file.name, at.replace("+00:00", "Z"), revision, action, file.stat().st_size)
