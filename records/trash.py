"""The trash: notes moved to `.trash/` under their own paths, back, and out of it for good."""

from __future__ import annotations

import difflib
import itertools
import os
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from records import formats, ids
from records.errors import Exists, NotFound, RecordError
from records.folder import Folder
from records.model import Record
from records.writing import Writer

TRASH = ".trash"


class Trash:
    """The trash of one folder."""

    def __init__(self, folder: Folder, writer: Writer) -> None:
        self._folder = folder
        self._writer = writer

    def put(self, id_: str) -> Record:
        """Move a note to `.trash/` under the same path; the record as it was. Raises NotFound, ReadOnly."""
        with self._writer.changing():
            path = self._folder.path_of(id_)
            record = replace(self._folder.read(path), id=id_)
            target = self._folder.root / TRASH / path
            if os.path.lexists(target):
                # The same note was trashed before: the older one keeps its time in its name.
                self._writer.move(target, self._older(target), path)
            self._writer.move(self._folder.root / path, target, path)
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
        base = self._folder.root / TRASH
        with self._writer.changing():
            paths = [self._path_of(id_)] if id_ is not None else self._paths()
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
                    raise self._folder.refused(error, f"{TRASH}/{path}") from error
                gone.append(ids.id_of(path))
                with suppress(OSError):
                    os.removedirs(full.parent)  # folders that are empty now
            return sorted(gone)

    def since(self, path: str) -> float:
        """When the note of this path went to the trash, in seconds of the clock; 0 when it is not there."""
        try:
            # A rename sets the time of the file's last status change.
            return os.lstat(self._folder.root / TRASH / path).st_ctime
        except (OSError, ValueError):
            return 0.0

    def ids(self) -> list[str]:
        """Ids in the trash, sorted."""
        return sorted(ids.id_of(path) for path in self._paths())

    def _paths(self) -> list[str]:
        base = self._folder.root / TRASH
        found = []
        for folder, _, names in os.walk(base):
            for name in names:
                path = os.path.relpath(os.path.join(folder, name), base).replace(os.sep, "/")
                if path.lower().endswith(ids.EXTENSIONS):
                    found.append(path)
        return found

    def restore(self, id_: str) -> Record:
        """Bring a note back from the trash. Raises NotFound, Exists, ReadOnly."""
        with self._writer.changing():
            path = self._path_of(id_)
            if os.path.lexists(self._folder.root / path):
                raise Exists(f"a note {id_!r} exists again; rename it before the old one is restored")
            self._writer.move(self._folder.root / TRASH / path, self._folder.root / path, path)
            return self._folder.read(path)

    def _path_of(self, id_: str) -> str:
        for path in self._folder.guesses(id_):
            full = self._folder.root / TRASH / path
            if full.is_symlink() or full.is_file():  # a link that led to a note beside it leads nowhere from here
                return path
        return self._claimed(id_)

    def _claimed(self, id_: str) -> str:
        for folder, _, names in os.walk(self._folder.root / TRASH):
            for name in sorted(names):
                full = Path(folder) / name
                path = full.relative_to(self._folder.root / TRASH).as_posix()
                if path.lower().endswith(ids.EXTENSIONS):
                    with suppress(RecordError, OSError):
                        if formats.parse(full.read_bytes(), path).id == id_:
                            return path
        near = difflib.get_close_matches(id_, self.ids(), 1)
        hint = f"; nearest: {near[0]!r}" if near else ""
        raise NotFound(f"there is no {id_!r} in the trash{hint}")
