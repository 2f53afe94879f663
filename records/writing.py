"""How bytes get to the disk: a new file where none was, a file replaced if it is still the one that was read, a file moved.

`Writer` owns the lock: one write at a time. Each leaves the old file or the new one and nothing between. What is written,
and under which name, is not decided here.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from records import formats, frontmatter
from records.disk import beside, confirm, exchange, make_folders, move_new, same_file
from records.errors import Conflict, Exists, InvalidValue, NotFound
from records.folder import Folder
from records.history import History, Version
from records.lines import difference
from records.markdown import revision_of
from records.model import Record

ATTEMPTS = 40  # at a file that another program keeps rewriting; with the pauses about a second
MAX_PAUSE = 0.02  # seconds


class Writer:
    """The one way to change a file of `folder`. Replaced bytes go to `history`."""

    def __init__(self, folder: Folder, history: History) -> None:
        self._folder = folder
        self.history = history
        self.lock = threading.RLock()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """One write at a time. A folder that is gone as a whole (an unmounted disk) is not made anew, empty, by a write."""
        with self.lock:
            self._folder.there()
            yield

    def place(self, path: str, data: bytes) -> Record:
        """Put a new file where none is. Raises FileExistsError."""
        full = self._folder.target(path)
        folder = os.path.dirname(full)
        try:
            make_folders(folder)
            if not self._folder.below(os.path.realpath(folder)):
                raise InvalidValue(f"{path!r} leads outside the records directory by a symbolic link")
            with beside(full, data, None) as temporary:
                move_new(temporary, full)
                confirm([folder], lambda: os.rename(full, temporary))  # refused means that it is not there
        except FileExistsError:
            raise
        except OSError as error:
            raise self._folder.refused(error, path) from error
        return self._folder.read(path)

    def rewrite(
        self, id_: str, change: Callable[[frontmatter.Parts, Record], frontmatter.Parts], action: str,
        revision: str | None = None, path: str | None = None,
    ) -> Record:  # fmt: skip
        """Put `change(parts, record)` in the place of the file as it is now, again when another program was faster.

        `action`: how the history calls it. With `revision`: refused when the file is another by now. Raises NotFound,
        Conflict, ReadOnly.
        """
        with self.changing():
            path = self._folder.path_of(id_) if path is None else path
            full = self._folder.target(path)
            for pause in _pauses():
                time.sleep(pause)  # the other program says nothing when it is done; 0 before the first try
                data, info = self._folder.read_bytes(path)
                current = self._folder.parse(path, data, info)
                if revision is not None and revision != current.revision:
                    raise self._conflict(id_, path, revision, data)
                parts = change(formats.of(path).split(data, path), current)
                new = parts.encode()
                if new == data:
                    return replace(current, id=id_)
                if self._replace(full, path, new, (data, info), action):
                    record = self._folder.read(path)
                    return record if record.id != current.id else replace(record, id=id_)
            raise Conflict(
                f"{id_!r} is being rewritten by another program; try again", revision=current.revision, diff=""
            )

    def put_back(self, id_: str, path: str, name: str) -> Record:
        """Put the kept version `name` back. What it replaces is kept in turn. Raises NotFound, Conflict, ReadOnly."""
        with self.changing():
            old = self.history.read(path, name)
            for pause in _pauses():
                time.sleep(pause)  # the other program says nothing when it is done; 0 before the first try
                data, info = self._folder.read_bytes(path)
                if self._replace(self._folder.target(path), path, old, (data, info), "undo"):
                    self.history.forget(path, name)
                    return self._folder.read(path)
            raise Conflict(
                f"{id_!r} is being rewritten by another program; try again", revision=revision_of(data), diff=""
            )

    def _conflict(self, id_: str, path: str, revision: str, data: bytes) -> Conflict:
        old = self._version(path, revision)
        current = revision_of(data)
        diff = difference(old, data, revision, current)[:20_000] if old is not None else ""
        return Conflict(
            f"{id_!r} changed since it was read (revision {revision!r}, now {current!r}); read it again and repeat the change",
            revision=current, diff=diff,
        )  # fmt: skip

    def _version(self, path: str, revision: str) -> bytes | None:
        for version in self.history.of(path):
            if version.revision == revision:
                with suppress(NotFound):  # taken back meanwhile by a writer of another process that was too late
                    return self.history.read(path, version.name)
        return None

    def _replace(self, full: str, path: str, new: bytes, seen: tuple[bytes, os.stat_result], action: str) -> bool:
        """Keep the bytes that were seen and put `new` in their place. False: the file is another by now, and nothing is kept."""
        kept = self._keep(path, seen[0], action)
        if self._swap(full, path, new, seen[1]):
            return True
        self.history.forget(path, kept.name)
        return False

    def _keep(self, path: str, data: bytes, action: str) -> Version:
        try:
            return self.history.keep(path, data, action)
        except OSError as error:
            # Without the old bytes a write could not be undone, so it is refused.
            raise self._folder.refused(error, path) from error

    def _swap(self, full: str, path: str, data: bytes, seen: os.stat_result) -> bool:
        """Replace a file's bytes, if it is still the file that was seen. False: it is not."""
        folder = os.path.dirname(full)
        try:
            with beside(full, data, seen) as temporary, self._folder.only_writer():
                found = os.stat(full)
                if not same_file(found, seen) or found.st_ctime_ns != seen.st_ctime_ns:
                    return False
                if not exchange(temporary, full):
                    os.replace(temporary, full)
                    confirm([folder], lambda: _cannot(full))
                    return True
                if not same_file(os.stat(temporary), seen):
                    # An editor saved between the look and the exchange: its file goes back to where it was.
                    exchange(temporary, full)
                    return False
                confirm([folder], lambda: exchange(temporary, full))  # refused means that the old file is there
                if not same_file(os.stat(temporary), seen):
                    # Written meanwhile through a descriptor that was open before: those bytes go on top again.
                    exchange(temporary, full)
                    return False
        except FileNotFoundError:
            raise NotFound(f"{path!r} was removed while it was being changed") from None
        except OSError as error:
            raise self._folder.refused(error, path) from error
        return True

    def move(self, old: Path, new: Path, path: str) -> None:
        """Move a file to a name that nobody has; `path` is what a refusal calls it. Raises Exists, InvalidValue, ReadOnly."""
        try:
            make_folders(os.fspath(new.parent))
            if not self._folder.below(os.path.realpath(new.parent)):
                raise InvalidValue(f"{path!r} leads outside the records directory by a symbolic link")
            if os.path.lexists(new) and is_same(old, new):
                os.rename(old, new)  # another case of the same name, on a disk that does not tell them apart
            else:
                move_new(os.fspath(old), os.fspath(new))
            folders = [os.fspath(new.parent), os.fspath(old.parent)]
            confirm(folders, lambda: move_new(os.fspath(new), os.fspath(old)))
        except FileExistsError:
            raise Exists(f"the file {os.path.relpath(new, self._folder.root)!r} exists; choose another id") from None
        except OSError as error:
            raise self._folder.refused(error, path) from error


def _pauses() -> Iterator[float]:
    """Seconds to wait before each attempt: a program that writes in bursts is let through, one that never rests is outlasted."""
    return (min(MAX_PAUSE, 0.0005 * 2**count) if count else 0.0 for count in range(ATTEMPTS))


def _cannot(full: str) -> None:
    raise OSError(errno.ENOTSUP, "the old bytes are in the history only", full)


def is_same(one: Path, other: Path) -> bool:
    """Whether two names are one file."""
    with suppress(OSError):
        return os.path.samefile(one, other)
    return False
