"""Notes as files: scan, read, and every write, each of which leaves the old file or the new one and nothing between.

No SQLite here and no event loop: methods block, and whoever needs them beside other work runs them in a thread.
Where a note lies is asked of `locate`, because only an index or a catalog knows the ids that files claim.
"""

from __future__ import annotations

import difflib
import errno
import functools
import itertools
import os
import posixpath
import stat as stat_module
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from records import formats, frontmatter, ids, renaming
from records.disk import TEMPORARY, beside, confirm, exchange, lock, make_folders, move_new, same_file, sweep
from records.errors import Conflict, Exists, InvalidValue, NotFound, ReadOnly, RecordError, Unreadable
from records.fields import SETTABLE, check_fields
from records.history import History, Version
from records.ids import key_of
from records.markdown import clean, listed, revision_of
from records.model import FileStat, Record, stamp
from records.relink import retarget_value
from records.renaming import Renaming

PRIVATE = ".egghead"
TRASH = ".trash"
MAX_NOTE = 64 * 2**20  # bytes; a larger file is listed as unreadable rather than taken into memory
_DISK = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.ENOENT, errno.EIO}


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


@dataclass(frozen=True, slots=True)
class Renamed:
    """Result of a rename: the note, the notes whose links were rewritten, those that could not be."""

    record: Record
    rewritten: tuple[str, ...]
    failed: tuple[str, ...]


class Store:
    """The files under `root`. `locate(id)` gives the path of an id that its path does not tell, or None."""

    def __init__(self, root: Path | str, *, locate: Callable[[str], str | None] | None = None) -> None:
        self.root = Path(root)
        self.locate = locate
        self.history = History(self.root / PRIVATE / "history")
        self._folders: dict[str, tuple[bool, float]] = {}
        self._lock = threading.RLock()

    # --- looking ---

    def _there(self) -> None:
        if not self.root.is_dir():
            raise ReadOnly(f"the records directory {str(self.root)!r} is not there; create it or set records_dir")

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One write at a time. A folder that is gone as a whole (an unmounted disk) is not made anew, empty, by a write."""
        with self._lock:
            self._there()
            yield

    def prepare(self) -> None:
        """Make `.egghead/` with its own `.gitignore`; nothing else is touched. Raises ReadOnly."""
        self._there()
        private = self.root / PRIVATE
        try:
            private.mkdir(exist_ok=True)
            ignore = private / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
        except OSError as error:
            raise self._refused(error, PRIVATE) from error

    def scan(self, under: str = "", faults: list[str] | None = None) -> Iterator[FileStat]:
        """Every note below `under` (a relative folder or file), in no order. Unreadable folders go to `faults`."""
        top = os.path.join(self.root, under) if under else os.fspath(self.root)
        if under and os.path.isdir(top) and self._through_link(top):
            return
        if under and not os.path.isdir(top):
            found = self.stat(under)
            if found is not None and ids.is_note(under):
                yield found
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
                                folders.append((entry.path, f"{prefix}{name}/"))
                            elif name.lower().endswith(ids.EXTENSIONS) and not ids.ignored(name):
                                name.encode()  # a name that is not UTF-8 cannot be an id
                                if entry.is_symlink() and not self._inside(entry.path):
                                    continue
                                info = entry.stat()
                                if stat_module.S_ISREG(info.st_mode):
                                    yield FileStat.of(prefix + name, info)
                        except UnicodeEncodeError:
                            if faults is not None:
                                faults.append(f"{prefix}{name!r}: the file name is not UTF-8; rename it")
                        except OSError:
                            continue  # gone between listing and stat
            except OSError as error:
                if faults is not None:
                    faults.append(f"{prefix or '.'}: {error.strerror}")

    def stat(self, path: str) -> FileStat | None:
        """What `stat` says of a note's file, or None when it is not there."""
        full = os.path.join(self.root, path)
        try:
            info = os.stat(full)
        except (OSError, ValueError):
            return None
        if not stat_module.S_ISREG(info.st_mode) or not self._inside(full) or self._through_link(os.path.dirname(full)):
            return None
        return FileStat.of(path, info)

    def read(self, path: str) -> Record:
        """Read the note at a relative path. Raises NotFound, Unreadable."""
        data, info = self.read_bytes(path)
        return self._parse(path, data, info)

    def read_bytes(self, path: str) -> tuple[bytes, os.stat_result]:
        """The bytes of a note's file and its stat, of the same moment. Raises NotFound, Unreadable."""
        full = os.path.join(self.root, path)
        if not self._inside(full):
            raise NotFound(f"there is no note at {path!r}")
        try:
            with open(full, "rb") as file:
                info = os.fstat(file.fileno())
                if not stat_module.S_ISREG(info.st_mode):
                    raise Unreadable(f"{path!r} is not a regular file")
                if info.st_size > MAX_NOTE:
                    raise Unreadable(f"{path!r} has {info.st_size} bytes; notes have at most {MAX_NOTE}")
                return file.read(), info
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"there is no note at {path!r}") from None
        except (OSError, ValueError) as error:
            raise Unreadable(f"{path!r} cannot be read: {getattr(error, 'strerror', error)}") from error

    def path_of(self, id_: str) -> str:
        """The path of an id. Raises NotFound."""
        if self.locate is not None:
            path = self.locate(id_)
            if path is not None:
                return path
        for path in self._guesses(id_):
            if self.stat(path) is not None and ids.is_note(path):
                return path
        raise NotFound(f"there is no note {id_!r}")

    def get(self, id_: str) -> Record:
        """Read the note with an id. Raises NotFound, Unreadable."""
        path = self.path_of(id_)
        record = self.read(path)
        # A note that lost its claimed id to another is known by the id that was asked for.
        return record if record.id == id_ else replace(record, id=id_)

    def _guesses(self, id_: str) -> list[str]:
        if not id_ or id_.startswith("/") or "\0" in id_ or ".." in id_.split("/"):
            return []
        guesses = [id_ + suffix for suffix in ids.EXTENSIONS]
        if id_.startswith("skills/"):
            guesses.append(f"{id_}/SKILL.md")
        return [*guesses, id_]

    def _parse(self, path: str, data: bytes, info: os.stat_result) -> Record:
        found = FileStat.of(path, info)
        return formats.parse(data, path, stat=found, author=self._owner(info.st_uid))

    def _owner(self, uid: int) -> str:
        return owners().get(uid) or str(uid)

    def _inside(self, full: str) -> bool:
        """Whether a path leads to something below the root, symbolic links followed. Folders are remembered for a second:
        a scan asks the same ones again and again."""
        if os.path.islink(full) or os.path.basename(full) in ("", ".", ".."):
            return self._below(os.path.realpath(full))
        folder = os.path.dirname(full)
        now = time.monotonic()
        known = self._folders.get(folder)
        if known is None or now - known[1] > 1.0:
            if len(self._folders) > 1000:
                self._folders.clear()
            known = self._folders[folder] = (self._below(os.path.realpath(folder)), now)
        return known[0]

    def _through_link(self, folder: str) -> bool:
        """Whether a folder is reached by a symbolic link. A scan enters none, so a hint must not either: loops, notes twice."""
        inside = os.path.relpath(folder, self.root)
        return os.path.realpath(folder) != os.path.normpath(os.path.join(os.path.realpath(self.root), inside))

    def _below(self, real: str) -> bool:
        base = os.path.realpath(self.root)
        return real == base or real.startswith(base + os.sep)

    def _sweep(self, full: str) -> None:
        """Remove a temporary file that a killed write left."""
        # With the writers kept out, what one of them has just exchanged is not taken for abandoned.
        with suppress(OSError, RecordError), self._only_writer():
            sweep(full)

    # --- writing ---

    def create(
        self, *, title: str = "", body: str = "", id: str | None = None, class_: str = "durable",
        tags: list[str] | tuple[str, ...] = (), links: list[str] | tuple[str, ...] = (),
        meta: Mapping[str, Any] | None = None, author: str = "", format: str = "markdown",
    ) -> Record:  # fmt: skip
        """Write a new note. Without `id` the title names it, or the moment. Raises Exists, InvalidId, InvalidValue, ReadOnly."""
        suffix = formats.suffix(format)
        check_fields({"title": title, "class": class_, "tags": list(tags), "links": list(links), "body": body})
        now = time.time_ns()
        keys: dict[str, Any] = {}
        if title and not _headed(body, title):
            keys["title"] = " ".join(title.split())
        if class_ != "durable":
            keys["class"] = class_
        if tags:
            keys["tags"] = list(tags)
        if links:
            keys["links"] = list(links)
        keys["created"] = stamp(now)[:19] + "Z"
        if author:
            keys["author"] = author
        for key, value in (meta or {}).items():
            if key in SETTABLE and key != "aliases":
                raise InvalidValue(f"meta cannot hold {key!r}, which is a field of its own; pass it as such")
            keys[key] = value
        with self._changing():
            given = id is not None
            name = ids.check_id(id) if id is not None else self._name(title, class_, now)
            count = 1
            while True:
                number = name if count == 1 else f"{name}-{count}"
                if not self._taken(number):
                    parts = formats.compose(format, keys, body)
                    with suppress(FileExistsError):
                        return self._place(number + suffix, parts.encode())
                if given:
                    raise Exists(f"a note {number!r} exists; choose another id, or update that one")
                count += 1

    def _taken(self, id_: str) -> bool:
        try:
            self.path_of(id_)
        except NotFound:
            return False
        return True

    def _name(self, title: str, class_: str, now: int) -> str:
        name = ids.slug(title)
        if name and not ids.ignored(name):
            return f"inbox/{name}" if class_ == "inbox" else name
        return datetime.fromtimestamp(now / 1e9, UTC).strftime("inbox/%Y-%m-%d-%H%M%S")

    def _place(self, path: str, data: bytes) -> Record:
        """Put a new file where none is. Raises FileExistsError."""
        full = self._target(path)
        folder = os.path.dirname(full)
        try:
            make_folders(folder)
            if not self._below(os.path.realpath(folder)):
                raise InvalidValue(f"{path!r} leads outside the records directory by a symbolic link")
            with beside(full, data, None) as temporary:
                move_new(temporary, full)
                confirm([folder], lambda: os.rename(full, temporary))  # refused means that it is not there
        except FileExistsError:
            raise
        except OSError as error:
            raise self._refused(error, path) from error
        return self.read(path)

    def update(self, id_: str, changes: Mapping[str, Any], revision: str | None = None) -> Record:
        """Change fields, meta keys (`meta`: mapping; None removes a key) or the body. Raises NotFound, Conflict, InvalidValue, ReadOnly.

        With `revision`: refused when the file is another by now. Without: only what is asked is merged into the file as it is now.
        """
        changes = dict(changes)
        meta = changes.pop("meta", None) or {}
        check_fields(changes)
        if not isinstance(meta, Mapping):
            raise InvalidValue(f"meta must be a mapping, not {type(meta).__name__}")

        def change(parts: frontmatter.Parts, record: Record) -> frontmatter.Parts:
            return formats.change(record.format, parts, {**meta, **changes})

        return self._rewrite(id_, change, "update", revision)

    def edit(self, id_: str, old: str, new: str, revision: str | None = None) -> Record:
        """Replace the one place in the body that reads `old`. Raises NotFound, InvalidValue when it is not exactly one."""

        def change(parts: frontmatter.Parts, record: Record) -> frontmatter.Parts:
            body = parts.text
            count = body.count(old) if old else 0
            if count != 1:
                raise InvalidValue(
                    f"the text to replace stands {count} times in {id_!r}; it must stand exactly once, so give more of it"
                    if old
                    else "the text to replace is empty; give the exact text as it stands in the body"
                )
            return frontmatter.with_body(parts, body.replace(old, new, 1))

        return self._rewrite(id_, change, "edit", revision)

    def append(self, id_: str, text: str) -> Record:
        """Put a text at the end of the body, as lines of its own. Whatever else changed meanwhile stays. Raises NotFound."""
        check_fields({"body": text})
        if not text.strip():
            raise InvalidValue("the text to append is empty; give the lines to add")

        def change(parts: frontmatter.Parts, record: Record) -> frontmatter.Parts:
            body = parts.text
            gap = "\n" if body and not body.endswith("\n") else ""
            return frontmatter.with_body(parts, f"{body}{gap}{text}")

        return self._rewrite(id_, change, "append")

    def _rewrite(
        self, id_: str, change: Callable[[frontmatter.Parts, Record], frontmatter.Parts], action: str,
        revision: str | None = None, path: str | None = None,
    ) -> Record:  # fmt: skip
        with self._changing():
            path = self.path_of(id_) if path is None else path
            full = self._target(path)
            for _ in range(8):
                data, info = self.read_bytes(path)
                current = self._parse(path, data, info)
                if revision is not None and revision != current.revision:
                    raise self._conflict(id_, path, revision, data)
                parts = change(formats.of(path).split(data, path), current)
                new = parts.encode()
                if new == data:
                    return replace(current, id=id_)
                self._keep(path, data, action)
                if self._swap(full, path, new, info):
                    record = self.read(path)
                    return record if record.id != current.id else replace(record, id=id_)
            raise Conflict(
                f"{id_!r} is being rewritten by another program; try again", revision=current.revision, diff=""
            )

    def _conflict(self, id_: str, path: str, revision: str, data: bytes) -> Conflict:
        old = self._version(path, revision)
        current = revision_of(data)
        if old is None:
            diff = ""
        else:
            lines = difflib.unified_diff(
                old.decode("utf-8", "replace").splitlines(), data.decode("utf-8", "replace").splitlines(),
                revision, current, lineterm="",
            )  # fmt: skip
            diff = "\n".join(lines)[:20_000]
        return Conflict(
            f"{id_!r} changed since it was read (revision {revision!r}, now {current!r}); read it again and repeat the change",
            revision=current, diff=diff,
        )  # fmt: skip

    def _version(self, path: str, revision: str) -> bytes | None:
        for version in self.history.of(path):
            if version.revision == revision:
                return self.history.read(path, version.name)
        return None

    def _keep(self, path: str, data: bytes, action: str) -> None:
        try:
            self.history.keep(path, data, action)
        except OSError as error:
            # Without the old bytes a write could not be undone, so it is refused.
            raise self._refused(error, path) from error

    def _swap(self, full: str, path: str, data: bytes, seen: os.stat_result) -> bool:
        """Replace a file's bytes, if it is still the file that was seen. False: it is not."""
        folder = os.path.dirname(full)
        try:
            with beside(full, data, seen) as temporary, self._only_writer():
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
            raise self._refused(error, path) from error
        return True

    @contextmanager
    def _only_writer(self) -> Iterator[None]:
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

    def _target(self, path: str) -> str:
        """The real file behind a relative path, so that a write through a symbolic link keeps the link."""
        full = os.path.join(self.root, path)
        if not self._inside(full):
            raise NotFound(f"{path!r} leads outside the records directory")
        return os.path.realpath(full) if os.path.islink(full) else full

    def _refused(self, error: OSError, path: str) -> RecordError:
        if error.errno in _DISK:
            reason = error.strerror or str(error)
            return ReadOnly(
                f"{path!r} cannot be written: {reason}; the old file is unchanged. "
                f"Free space on the disk or check the permissions of {str(self.root)!r}",
                errno=error.errno,
            )
        return RecordError(f"{path!r} cannot be written: {error}")

    # --- trash, restore, rename ---

    def trash(self, id_: str) -> Record:
        """Move a note to `.trash/` under the same path; the record as it was. Raises NotFound, ReadOnly."""
        with self._changing():
            path = self.path_of(id_)
            record = replace(self.read(path), id=id_)
            target = self.root / TRASH / path
            if os.path.lexists(target):
                # The same note was trashed before: the older one keeps its time in its name.
                self._move(target, self._older(target), path)
            self._move(self.root / path, target, path)
            return record

    def _older(self, target: Path) -> Path:
        moment = datetime.fromtimestamp(target.stat().st_mtime, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        for count in itertools.count(1):
            number = "" if count == 1 else f"-{count}"
            name = target.with_name(f"{target.stem}.{moment}{number}{target.suffix}")
            if not os.path.lexists(name):
                return name
        raise AssertionError("unreachable")

    def purge(self, id_: str | None = None, older_than: float = 0.0) -> list[str]:
        """Remove one trashed note for good, or all that went to the trash more than `older_than` seconds ago; their ids.

        Their kept versions stay until they are too old. Raises NotFound, ReadOnly.
        """
        base = self.root / TRASH
        with self._changing():
            paths = [self._in_trash(id_)] if id_ is not None else self._trash_paths()
            gone = []
            for path in paths:
                full = base / path
                try:
                    # A rename sets the time of the file's last status change: that is when it was trashed.
                    if id_ is None and time.time() - full.lstat().st_ctime < older_than:
                        continue
                    full.unlink()
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise self._refused(error, f"{TRASH}/{path}") from error
                gone.append(ids.id_of(path))
                with suppress(OSError):
                    os.removedirs(full.parent)  # folders that are empty now
            return sorted(gone)

    def trashed(self) -> list[str]:
        """Ids in the trash, sorted."""
        return sorted(ids.id_of(path) for path in self._trash_paths())

    def _trash_paths(self) -> list[str]:
        base = self.root / TRASH
        found = []
        for folder, _, names in os.walk(base):
            for name in names:
                path = os.path.relpath(os.path.join(folder, name), base).replace(os.sep, "/")
                if path.lower().endswith(ids.EXTENSIONS):
                    found.append(path)
        return found

    def restore(self, id_: str) -> Record:
        """Bring a note back from the trash. Raises NotFound, Exists, ReadOnly."""
        with self._changing():
            path = self._in_trash(id_)
            if os.path.lexists(self.root / path):
                raise Exists(f"a note {id_!r} exists again; rename it before the old one is restored")
            self._move(self.root / TRASH / path, self.root / path, path)
            return self.read(path)

    def _in_trash(self, id_: str) -> str:
        for path in self._guesses(id_):
            if (self.root / TRASH / path).is_file():
                return path
        return self._trashed_path(id_)

    def _trashed_path(self, id_: str) -> str:
        for folder, _, names in os.walk(self.root / TRASH):
            for name in sorted(names):
                full = Path(folder) / name
                path = full.relative_to(self.root / TRASH).as_posix()
                if path.lower().endswith(ids.EXTENSIONS):
                    with suppress(RecordError, OSError):
                        if formats.parse(full.read_bytes(), path).id == id_:
                            return path
        near = difflib.get_close_matches(id_, self.trashed(), 1)
        hint = f"; nearest: {near[0]!r}" if near else ""
        raise NotFound(f"there is no {id_!r} in the trash{hint}")

    def _move(self, old: Path, new: Path, path: str) -> None:
        try:
            make_folders(os.fspath(new.parent))
            if not self._below(os.path.realpath(new.parent)):
                raise InvalidValue(f"{path!r} leads outside the records directory by a symbolic link")
            if os.path.lexists(new) and _same_file(old, new):
                os.rename(old, new)  # another case of the same name, on a disk that does not tell them apart
            else:
                move_new(os.fspath(old), os.fspath(new))
            folders = [os.fspath(new.parent), os.fspath(old.parent)]
            confirm(folders, lambda: move_new(os.fspath(new), os.fspath(old)))
        except FileExistsError:
            raise Exists(f"the file {os.path.relpath(new, self.root)!r} exists; choose another id") from None
        except OSError as error:
            raise self._refused(error, path) from error

    def rename(
        self, old: str, new: str, linkers: Mapping[str, set[str]] | None = None, *, short: bool = True
    ) -> Renamed:
        """Move a note to another id and rewrite the links to it. Raises NotFound, Exists, InvalidId, ReadOnly.

        `linkers`: path of each note that links to it -> its link targets that mean this note, as the index resolved
        them. None: every file is read and a target that spells the old id or its unique last part is taken. `short`:
        a link that named only the last part may do so again (the new last part is unique).
        """
        with self._changing():
            path = self.path_of(old)
            ids.check_id(new)
            if self._taken(new):
                raise Exists(f"a note {new!r} exists; choose another id")
            record = self.read(path)
            if record.id != ids.id_of(path) and record.id == old:
                return self._reclaim(path, old, new, linkers)
            target = new + os.path.splitext(path)[1]
            if os.path.lexists(self.root / target) and not _same_file(self.root / path, self.root / target):
                raise Exists(f"the file {target!r} exists; choose another id")
            if linkers is None:
                linkers = self._find_linkers(old, path)
            linkers = _lost(linkers, record, path)
            intent = Renaming(path, target, new, short, record.revision, {k: sorted(v) for k, v in linkers.items()})
            try:
                with renaming.begun(self.root / PRIVATE, intent):
                    self._move(self.root / path, self.root / target, path)
                    return self._finish(intent)
            except OSError as error:
                raise self._refused(error, path) from error

    def recover(self) -> Renamed | None:
        """What a killed process left undone: the links of a half rename are rewritten, unfinished files go. Raises ReadOnly."""
        with self._lock, suppress(BlockingIOError), renaming.left(self.root / PRIVATE) as intent:
            self.history.sweep()
            moved = intent is not None and self.stat(intent.old) is None and self.stat(intent.new) is not None
            return self._finish(intent) if intent is not None and moved else None
        return None

    def _finish(self, intent: Renaming) -> Renamed:
        """The links of a note that has moved. Done twice it does no more than once."""
        failed: list[str] = []
        with suppress(OSError):  # versions that stay under the old name are found under that
            self.history.follow(intent.old, intent.new)
        record = self.read(intent.new)
        if record.wikilinks and record.revision == intent.revision:
            kind = formats.of(intent.new)
            try:
                self._rewrite(
                    intent.id, lambda parts, _: frontmatter.with_body(parts, kind.relink(parts.text, intent.old, intent.new, self._known)),
                    "rename", path=intent.new,
                )  # fmt: skip
            except RecordError:
                failed.append(intent.new)  # the note has moved; that is told with what did not follow
        linkers = {linker: set(targets) for linker, targets in intent.linkers.items()}
        rewritten, more = self._retarget(linkers, intent.old, intent.new, intent.id, intent.short)
        return Renamed(self.read(intent.new), rewritten, tuple(sorted({*failed, *more})))

    def _reclaim(self, path: str, old: str, new: str, linkers: Mapping[str, set[str]] | None) -> Renamed:
        """A note whose id stands in its frontmatter keeps its file; the key changes."""
        if linkers is None:
            linkers = self._find_linkers(old, path)
        # The file stays where it is: only links that name the id are lost.
        linkers = {
            linker: {t for t in targets if key_of(listed(t)) == key_of(old)} for linker, targets in linkers.items()
        }
        record = self._rewrite(
            old, lambda parts, rec: formats.change(rec.format, parts, {"id": new}), "rename", path=path
        )
        rewritten, failed = self._retarget(linkers, path, path, new, False)
        return Renamed(record, rewritten, failed)

    def _retarget(
        self, linkers: Mapping[str, set[str]], old_path: str, new_path: str, new: str, short: bool
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        rewritten, failed = [], []
        for linker, targets in sorted(linkers.items()):
            source = new_path if linker == old_path else linker
            try:
                before = self.read(source)
                change = partial(_retargeted, source, targets, old_path, new_path, new, short)
                after = self._rewrite(before.id, change, "rename", path=source)
                if after.revision != before.revision:
                    rewritten.append(source)
            except RecordError:
                # One note that cannot be written must not leave the others pointing at nothing.
                failed.append(source)
        return tuple(rewritten), tuple(failed)

    def _known(self, stem: str) -> bool:
        return any(os.path.exists(os.path.join(self.root, stem + suffix)) for suffix in ids.EXTENSIONS)

    def _find_linkers(self, old: str, path: str) -> dict[str, set[str]]:
        last = key_of(old.rpartition("/")[2])
        stats = list(self.scan())
        unique = sum(1 for s in stats if key_of(ids.id_of(s.path).rpartition("/")[2]) == last) == 1
        wanted = {key_of(old), key_of(ids.id_of(path))} | ({last} if unique else set())
        linkers: dict[str, set[str]] = {}
        for found in stats:
            with suppress(RecordError):
                record = self.read(found.path)
                named = [link.target for link in record.wikilinks] + list(record.links)
                targets = {target for target in named if key_of(listed(target)) in wanted}
                if targets:
                    linkers[found.path] = targets
        return linkers

    # --- history ---

    def versions(self, id_: str) -> list[Version]:
        """Kept versions of a note, newest first; of a note that is gone too, when the id is its path's."""
        try:
            path = self.path_of(id_)
        except NotFound:
            path = next((guess for guess in self._guesses(id_) if self.history.of(guess)), "")
            if not path:
                raise
        return self.history.of(path)

    def diff(self, id_: str, version: str | None = None) -> str:
        """Unified diff from a kept version (default: the newest) to the file."""
        path = self.path_of(id_)
        name = version or self._newest(id_, path)
        old = self.history.read(path, name).decode("utf-8", "replace").splitlines()
        new = self.read_bytes(path)[0].decode("utf-8", "replace").splitlines()
        return "\n".join(difflib.unified_diff(old, new, name, path, lineterm=""))

    def undo(self, id_: str, version: str | None = None) -> Record:
        """Put a kept version (default: the newest) back. What it replaces is kept in turn. Raises NotFound, ReadOnly."""
        with self._changing():
            path = self.path_of(id_)
            name = version or self._newest(id_, path)
            old = self.history.read(path, name)
            for _ in range(8):
                data, info = self.read_bytes(path)
                self._keep(path, data, "undo")
                if self._swap(self._target(path), path, old, info):
                    self.history.forget(path, name)
                    return self.read(path)
            raise Conflict(
                f"{id_!r} is being rewritten by another program; try again", revision=revision_of(data), diff=""
            )

    def _newest(self, id_: str, path: str) -> str:
        kept = [version for version in self.history.of(path) if version.action != "undo"]
        if not kept:
            raise NotFound(f"no earlier version of {id_!r} is kept")
        return kept[0].name


def _retargeted(
    source: str, targets: set[str], old_path: str, new_path: str, new: str, short: bool, parts: frontmatter.Parts,
    record: Record,
) -> frontmatter.Parts:  # fmt: skip
    """A note with its links to a note that moved leading there: those of the body, those its author listed, and wikilinks in
    other keys."""
    kind = formats.of(source)
    parts = frontmatter.with_body(parts, kind.retarget(parts.text, source, targets, old_path, new_path, new, short))

    def moved(text: str) -> str:
        return retarget_value(text, source, targets, new_path, new, short) if "[[" in text else text

    parts = frontmatter.with_values(parts, moved)
    links = [moved(link) for link in record.links]
    wanted = {key_of(target) for target in targets}
    plain = [new if "[[" not in link and key_of(clean(link)) in wanted else moved(link) for link in record.links]
    return kind.change(parts, {"links": plain}) if plain != links else parts


def _lost(linkers: Mapping[str, set[str]], record: Record, path: str) -> dict[str, set[str]]:
    """The linkers with the targets that will not find the note at its new place; its title and aliases go with it."""
    whole = key_of(ids.id_of(path))
    ends = {whole[place:] for place in range(len(whole)) if place == 0 or whole[place - 1] == "/"}
    if record.title == record.id:
        stays = {key_of(alias) for alias in record.aliases} - ends
    else:
        stays = {key_of(name) for name in (*record.aliases, record.title)} - ends
    folder = key_of(posixpath.dirname(path))
    stays -= {folder, folder.rpartition("/")[2]}  # `index` in a folder is also found by the name of that
    kept = {linker: {t for t in targets if key_of(listed(t)) not in stays} for linker, targets in linkers.items()}
    return {linker: targets for linker, targets in kept.items() if targets}


def _cannot(full: str) -> None:
    raise OSError(errno.ENOTSUP, "the old bytes are in the history only", full)


def _headed(body: str, title: str) -> bool:
    first = next((line for line in body.splitlines() if line.strip()), "")
    return first.startswith("# ") and first[2:].strip() == title.strip()


def _same_file(one: Path, other: Path) -> bool:
    with suppress(OSError):
        return os.path.samefile(one, other)
    return False
