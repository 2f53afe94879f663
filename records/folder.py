"""The folder of the notes, as it is looked at: which files are notes, where an id lies, what may be read.

No SQLite here and no event loop: methods block, and whoever needs them beside other work runs them in a thread.
Where a note lies is asked of `locate`, because only an index or a catalog knows the ids that files claim. How a note is
written does not belong here, only what reading and writing share: what is inside the folder, and who else writes to it.
"""

from __future__ import annotations

import errno
import functools
import os
import stat as stat_module
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from records import formats, ids
from records.disk import TEMPORARY, born_ns, lock, sweep
from records.errors import NotFound, ReadOnly, RecordError, Unreadable
from records.model import FileStat, Record

PRIVATE = ".egghead"
MAX_NOTE = 64 * 2**20  # bytes; a larger file is listed as unreadable rather than taken into memory
MAX_NAME = 255  # characters between two slashes that some file may have
_DISK = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.ENOENT, errno.EIO}
_SPACE, _RIGHTS = "Free space on the disk below {root!r}", "Check who owns {root!r} and what is in it, and their modes"
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}  # not there; else nobody knows
_MODES = "check who owns it and the folders above it, and their modes"
_REMEDIES = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: "The disk below {root!r} is mounted read-only: see why (dmesg), and mount it for writing again",
}


@functools.cache
def owners() -> dict[int, str]:
    """Names of this machine's users by number. Ask once before a jail hides them: a note's author must not depend on who reads it."""
    import pwd

    found: dict[int, str] = {}
    with suppress(OSError), open("/etc/passwd", encoding="utf-8", errors="replace") as table:
        for line in table:
            name, _, rest = line.partition(":")
            with suppress(IndexError, ValueError):
                found.setdefault(int(rest.split(":")[1]), name)
    with suppress(KeyError):  # one whom only the network knows
        found.setdefault(os.getuid(), pwd.getpwuid(os.getuid()).pw_name)
    return found


def _whole(file: int, size: int) -> bytes:
    """All of an open file of about `size` bytes; one call for one that does not change meanwhile."""
    data = os.read(file, size + 1)
    if len(data) == size:
        return data
    parts = [data]
    while data:
        data = os.read(file, 2**20)
        parts.append(data)
    return b"".join(parts)


def _unseen(path: str, error: OSError, faults: list[str] | None, closed: list[str] | None) -> None:
    """Tell of a note, or a folder (`private/`), that could not be looked at."""
    if faults is not None:
        remedy = f"; {_MODES}" if isinstance(error, PermissionError) else ""
        faults.append(f"{path or '.'}: {error.strerror}{remedy}")
    if closed is not None and error.errno not in _GONE:
        closed.append(path)


class Folder:
    """The files under `root`. `locate(id)` gives the path of an id that its path does not tell, or None."""

    def __init__(self, root: Path | str, *, locate: Callable[[str], str | None] | None = None) -> None:
        self.root = Path(root)
        self.locate = locate
        self.closed: tuple[str, ...] = ()  # as `scan` gave them to who looked last, and keeps this up to date
        self._folders: dict[str, tuple[bool, bool, float]] = {}

    def there(self) -> None:
        """Raises ReadOnly when the folder is gone as a whole."""
        if not self.root.is_dir():
            raise ReadOnly(f"the records directory {str(self.root)!r} is not there; create it or set records_dir")

    def prepare(self) -> None:
        """Make `.egghead/` with its own `.gitignore`; nothing else is touched. Raises ReadOnly."""
        self.there()
        private = self.root / PRIVATE
        try:
            private.mkdir(exist_ok=True)
            ignore = private / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
        except OSError as error:
            raise self.refused(error, PRIVATE) from error

    # --- looking ---

    def scan(
        self, under: str = "", faults: list[str] | None = None, closed: list[str] | None = None
    ) -> Iterator[FileStat]:
        """Every note below `under` (a relative folder or file), in no order. Unreadable folders go to `faults`, and to `closed`
        what the paths of all that they may hold begin with (`private/`): whether a note is there still nobody knows. So does a
        single note that cannot be looked at (`link.md`)."""
        top = os.path.join(self.root, under) if under else os.fspath(self.root)
        if under and os.path.isdir(top) and (self._through_link(top) or ids.is_copy(under)):
            return
        if under and not os.path.isdir(top):
            found = self.stat(under)
            if found is not None and ids.is_note(under):
                yield found
            elif closed is not None and found is None and self.hidden(under):
                closed.append(under)
            return
        folders = [(top, under + "/" if under else "")]
        while folders:
            folder, prefix = folders.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        name = entry.name
                        if name.startswith("."):
                            if name.startswith(TEMPORARY):
                                self._sweep(entry.path)
                            continue
                        try:
                            if entry.is_dir(follow_symlinks=False):
                                if not ids.is_copy(prefix + name):
                                    folders.append((entry.path, f"{prefix}{name}/"))
                            elif name.lower().endswith(ids.EXTENSIONS) and not ids.ignored(name):
                                name.encode()  # a name that is not UTF-8 cannot be an id
                                if entry.is_symlink() and not self.inside(entry.path):
                                    continue
                                info = entry.stat()
                                if stat_module.S_ISREG(info.st_mode):
                                    yield FileStat.of(prefix + name, info)
                        except UnicodeEncodeError:
                            if faults is not None:
                                faults.append(f"{prefix}{name!r}: the file name is not UTF-8; rename it")
                        except OSError as error:
                            if error.errno in _GONE:
                                continue
                            if not os.access(folder, os.X_OK):
                                raise  # a folder that can be listed and not entered
                            # A link into a closed folder, a bad sector: the notes beside it are none the worse.
                            _unseen(prefix + name, error, faults, closed)
            except OSError as error:
                _unseen(prefix, error, faults, closed)

    def stat(self, path: str) -> FileStat | None:
        """What `stat` says of a note's file, or None when it is not there."""
        full = os.path.join(self.root, path)
        try:
            info = os.stat(full)
        except (OSError, ValueError):
            return None
        if not stat_module.S_ISREG(info.st_mode) or not self.inside(full) or self._through_link(os.path.dirname(full)):
            return None
        return FileStat.of(path, info)

    def hidden(self, path: str) -> bool:
        """Whether nobody can say if there is anything at a path: a folder above it is closed to us, or its disk fails."""
        try:
            os.stat(os.path.join(self.root, path))
        except OSError as error:
            return error.errno not in _GONE
        except ValueError:
            pass
        return False

    def read(self, path: str) -> Record:
        """Read the note at a relative path. Raises NotFound, Unreadable."""
        data, info = self.read_bytes(path)
        return self.parse(path, data, info)

    def read_bytes(self, path: str) -> tuple[bytes, os.stat_result]:
        """The bytes of a note's file and its stat, of the same moment. Raises NotFound, Unreadable."""
        full = os.path.join(self.root, path)
        if not self.inside(full):
            raise NotFound(f"there is no note at {path!r}")
        try:
            # Not waiting: a pipe that took the file's place would keep us until somebody writes into it.
            file = os.open(full, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                info = os.fstat(file)
                if not stat_module.S_ISREG(info.st_mode):
                    raise Unreadable(f"{path!r} is not a regular file")
                if info.st_size > MAX_NOTE:
                    raise Unreadable(f"{path!r} has {info.st_size} bytes; notes have at most {MAX_NOTE}")
                return _whole(file, info.st_size), info
            finally:
                os.close(file)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"there is no note at {path!r}") from None
        except PermissionError as error:
            raise Unreadable(f"{path!r} cannot be read: {error.strerror}; {_MODES}") from error
        except (OSError, ValueError) as error:
            raise Unreadable(f"{path!r} cannot be read: {getattr(error, 'strerror', error)}") from error

    def path_of(self, id_: str) -> str:
        """The path of an id. Raises NotFound."""
        if self.locate is not None:
            path = self.locate(id_)
            if path is not None:
                return path
        for path in self.guesses(id_):
            if self.stat(path) is not None and ids.is_note(path):
                return path
        for path in self.guesses(id_):
            self._may_look(path)
        if self._gone():
            raise Unreadable(
                f"{id_!r} cannot be read or changed: the records directory {os.fspath(self.root)!r} is gone; put it back, or mount "
                "its disk"
            )
        raise NotFound(f"there is no note {id_!r}{self._perhaps()}")

    def _gone(self) -> bool:
        """Whether the directory of all is removed. Within a confinement its name stays, without a place on the disk."""
        try:
            return os.stat(self.root).st_nlink == 0
        except FileNotFoundError:
            return True
        except OSError:
            return False  # closed, or its disk fails: that is said elsewhere

    def _perhaps(self) -> str:
        """Where a note may be that was not found."""
        closed = [place for place in self.closed if not os.access(os.path.join(self.root, place), os.R_OK | os.X_OK)]
        names = ", ".join(repr(place or ".") for place in closed[:3]) + (
            f" and {len(closed) - 3} more" if len(closed) > 3 else ""
        )
        return f"; it may be in {names}, which cannot be read: {_MODES}" if closed else ""

    def _may_look(self, path: str) -> None:
        """Raises Unreadable for a path in a folder that is closed to us: whether a note is there nobody knows."""
        try:
            os.stat(os.path.join(self.root, path))
        except PermissionError as error:
            raise Unreadable(f"{path!r} cannot be looked for: {error.strerror}; {_MODES}") from None
        except (OSError, ValueError):
            return

    def get(self, id_: str) -> Record:
        """Read the note with an id. Raises NotFound, Unreadable."""
        path = self.path_of(id_)
        record = self.read(path)
        # A note that lost its claimed id to another is known by the id that was asked for.
        return record if record.id == id_ else replace(record, id=id_)

    def has(self, id_: str) -> bool:
        """Whether some note has this id."""
        try:
            self.path_of(id_)
        except (NotFound, Unreadable):
            return False
        return True

    def guesses(self, id_: str) -> list[str]:
        """Paths at which a note with this id may lie, the likeliest first; none for what cannot be an id."""
        parts = id_.split("/")
        if not id_ or id_.startswith("/") or "\0" in id_ or ".." in parts or len(max(parts, key=len)) > MAX_NAME:
            return []
        guesses = [id_ + suffix for suffix in ids.EXTENSIONS]
        if id_.startswith("skills/"):
            guesses.append(f"{id_}/SKILL.md")
        return [*guesses, id_]

    def parse(self, path: str, data: bytes, info: os.stat_result) -> Record:
        """The note in these bytes, by the stat of their file. Raises Unreadable."""
        found = FileStat.of(path, info)
        return formats.parse(
            data, path, stat=found, author=self._owner(info.st_uid),
            born=lambda: born_ns(os.path.join(self.root, path), info.st_mtime_ns),
        )  # fmt: skip

    def _owner(self, uid: int) -> str:
        return owners().get(uid) or str(uid)

    # --- what is inside ---

    def inside(self, full: str) -> bool:
        """Whether a path leads to something below the root, symbolic links followed. Folders are remembered for a second:
        a scan asks the same ones again and again."""
        if os.path.islink(full) or os.path.basename(full) in ("", ".", ".."):
            return self.below(os.path.realpath(full))
        return self._place(os.path.dirname(full))[0]

    def forget_folders(self) -> None:
        """Ask the disk again which folders are reached by a symbolic link: something has changed."""
        self._folders.clear()

    def _place(self, folder: str) -> tuple[bool, bool, float]:
        """(inside the root, reached by a symbolic link, when that was seen) of a folder."""
        now = time.monotonic()
        known = self._folders.get(folder)
        if known is None or now - known[2] > 1.0:
            if len(self._folders) > 1000:
                self._folders.clear()
            real = os.path.realpath(folder)
            plain = os.path.normpath(os.path.join(os.path.realpath(self.root), os.path.relpath(folder, self.root)))
            known = self._folders[folder] = (self.below(real), real != plain, now)
        return known

    def _through_link(self, folder: str) -> bool:
        """Whether a folder is reached by a symbolic link. A scan enters none, so a hint must not either: loops, notes twice."""
        return self._place(folder)[1]

    def below(self, real: str) -> bool:
        """Whether a path without symbolic links lies in the folder."""
        base = os.path.realpath(self.root)
        return real == base or real.startswith(base + os.sep)

    def target(self, path: str) -> str:
        """The real file behind a relative path, so that a write through a symbolic link keeps the link."""
        full = os.path.join(self.root, path)
        if not self.inside(full):
            raise NotFound(f"{path!r} leads outside the records directory")
        return os.path.realpath(full) if os.path.islink(full) else full

    # --- who writes ---

    @contextmanager
    def only_writer(self) -> Iterator[None]:
        """Keep every other Store of this directory, in any process, from replacing a file meanwhile."""
        private = self.root / PRIVATE
        if not private.is_dir():
            self.prepare()
        descriptor = os.open(private / "write.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            lock(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _sweep(self, full: str) -> None:
        """Remove a temporary file that a killed write left."""
        # With the writers kept out, what one of them has just exchanged is not taken for abandoned.
        with suppress(OSError, RecordError), self.only_writer():
            sweep(full)

    def refused(self, error: OSError, path: str) -> RecordError:
        """What to raise when the disk refused a write."""
        if error.errno in _DISK:
            reason = error.strerror or str(error)
            return ReadOnly(
                f"{path!r} cannot be written: {reason}; the old file is unchanged. "
                + _REMEDIES.get(error.errno, "Look at the disk below {root!r} (dmesg)").format(root=str(self.root)),
                errno=error.errno,
            )
        return RecordError(f"{path!r} cannot be written: {error}")
