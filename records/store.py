"""Notes as files: every write, each of which leaves the old file or the new one and nothing between.

Here is what a write means: which fields, which name, which part of the text. Reading is `records.folder`, how bytes get to
the disk `records.writing`, the trash `records.trash`, renames `records.moving`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from records import formats, frontmatter, ids
from records.errors import Exists, InvalidValue, NotFound
from records.fields import SETTABLE, check_fields, check_meta
from records.folder import MAX_NOTE as MAX_NOTE
from records.folder import PRIVATE as PRIVATE
from records.folder import Folder
from records.folder import owners as owners
from records.history import History, Version
from records.lines import difference, first_line
from records.lost import as_file
from records.markdown import revision_of
from records.model import Record, stamp
from records.moving import Moves
from records.moving import Renamed as Renamed
from records.trash import TRASH as TRASH
from records.trash import Trash
from records.writing import Writer


class Store(Folder):
    """The files under `root`, read and written. `locate`: as `Folder` has it."""

    def __init__(self, root: Path | str, *, locate: Callable[[str], str | None] | None = None) -> None:
        super().__init__(root, locate=locate)
        self.history = History(self.root / PRIVATE / "history")
        self._writer = Writer(self, self.history)
        self._trash = Trash(self, self._writer)
        self._moves = Moves(self, self._writer)

    def create(
        self, *, title: str = "", body: str = "", id: str | None = None, class_: str = "durable",
        tags: list[str] | tuple[str, ...] = (), links: list[str] | tuple[str, ...] = (),
        meta: Mapping[str, Any] | None = None, author: str = "", format: str = "markdown",
    ) -> Record:  # fmt: skip
        """Write a new note. Without `id` the title names it, or the moment. Raises Exists, InvalidId, InvalidValue, ReadOnly."""
        suffix = formats.suffix(format)
        check_fields({"title": title, "class": class_, "tags": tags, "links": links, "body": body, "author": author})
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
        for key, value in check_meta(meta).items():
            if key in SETTABLE and key != "aliases":
                raise InvalidValue(f"meta cannot hold {key!r}, which is a field of its own; pass it as such")
            keys[key] = value
        with self._writer.changing():
            given = id is not None
            name = ids.check_id(id) if id is not None else self._name(title, class_, now)
            count = 1
            while True:
                number = name if count == 1 else f"{name}-{count}"
                if not self.has(number):
                    parts = formats.compose(format, keys, body)
                    with suppress(FileExistsError):
                        return self._writer.place(number + suffix, parts.encode())
                if given:
                    raise Exists(f"a note {number!r} exists; choose another id, or update that one")
                count += 1

    def _name(self, title: str, class_: str, now: int) -> str:
        name = ids.slug(title)
        if name and not ids.ignored(name):
            return f"inbox/{name}" if class_ == "inbox" else name
        return datetime.fromtimestamp(now / 1e9, UTC).strftime("inbox/%Y-%m-%d-%H%M%S")

    def update(self, id_: str, changes: Mapping[str, Any], revision: str | None = None) -> Record:
        """Change fields, meta keys (`meta`: mapping; None removes a key) or the body. Raises NotFound, Conflict,
        InvalidValue, ReadOnly.

        With `revision`: refused when the file is another by now. Without: only what is asked is merged into the file
        as it is now.
        """
        changes = dict(changes)
        meta = check_meta(changes.pop("meta", None))
        check_fields(changes)

        def change(parts: frontmatter.Parts, record: Record) -> frontmatter.Parts:
            return formats.change(record.format, parts, {**meta, **changes})

        return self._writer.rewrite(id_, change, "update", revision)

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
            return formats.with_body(record.format, parts, body.replace(old, new, 1))

        return self._writer.rewrite(id_, change, "edit", revision)

    def append(self, id_: str, text: str) -> Record:
        """Put a text at the end of the body, as lines of its own. Whatever else changed meanwhile stays. Raises NotFound."""
        check_fields({"body": text})
        if not text.strip():
            raise InvalidValue("the text to append is empty; give the lines to add")

        def change(parts: frontmatter.Parts, record: Record) -> frontmatter.Parts:
            body = parts.text
            gap = "\n" if body and not body.endswith("\n") else ""
            return formats.with_body(record.format, parts, f"{body}{gap}{text}")

        return self._writer.rewrite(id_, change, "append")

    # --- trash and renames ---

    def trash(self, id_: str) -> Record:
        """Move a note to `.trash/` under the same path; the record as it was. Raises NotFound, ReadOnly."""
        return self._trash.put(id_)

    def restore(self, id_: str) -> Record:
        """Bring a note back from the trash. Raises NotFound, Exists, ReadOnly."""
        return self._trash.restore(id_)

    def purge(self, id_: str | None = None, older_than: float = 0.0) -> list[str]:
        """As `Trash.purge`. Raises NotFound, ReadOnly."""
        return self._trash.purge(id_, older_than)

    def trashed(self) -> list[str]:
        """Ids in the trash, sorted."""
        return self._trash.ids()

    def rename(
        self, old: str, new: str, linkers: Mapping[str, set[str]] | None = None, *, short: bool = True,
        rivals: Mapping[str, Mapping[str, set[str]]] | None = None,
    ) -> Renamed:  # fmt: skip
        """As `Moves.rename`. Raises NotFound, Exists, InvalidId, ReadOnly."""
        return self._moves.rename(old, new, linkers, short=short, rivals=rivals)

    def recover(self) -> Renamed | None:
        """What a killed process left undone: the links of a half rename are rewritten, unfinished files go. Raises ReadOnly."""
        return self._moves.recover()

    # --- history ---

    def versions(self, id_: str) -> list[Version]:
        """Kept versions of a note, newest first; of a note that is gone too, when the id is its path's."""
        return self.history.of(self._path_of(id_))

    def diff(self, id_: str, version: str | None = None) -> str:
        """Unified diff from a kept version (default: the newest) to the file, or to nothing when that is gone."""
        path = self._path_of(id_)
        name = version or self._newest(id_, path)
        now = b"" if self.is_lost(path) else self.read_bytes(path)[0]
        return difference(self.history.read(path, name), now, name, path)

    def _path_of(self, id_: str) -> str:
        """The path of a note, or of versions of one that is gone. Raises NotFound."""
        try:
            return self.path_of(id_)
        except NotFound:
            path = next((guess for guess in self.guesses(id_) if self.history.of(guess)), "")
            if not path:
                raise
            return path

    def is_lost(self, path: str) -> bool:
        """Whether there is no file at a path, and nobody closed its folder to us."""
        return not os.path.lexists(self.root / path) and not self.hidden(path)

    def keep_lost(self, row: Mapping[str, Any]) -> None:
        """Keep what an index knew (`row`: as of `Index.get`) of a note that another program removed, for `undo`. Where that
        cannot be written there is nothing to bring back, as without us."""
        path = str(row["path"])
        kept = self.history.of(path)
        with suppress(OSError, NotFound):
            if self._trash.since(path) and revision_of((self.root / TRASH / path).read_bytes()) == row["revision"]:
                return  # Obsidian moves what it deletes there too
            exact = next((version.name for version in kept if version.revision == row["revision"]), None)
            data = self.history.read(path, exact) if exact else as_file(row, self._owner(os.getuid()))
            if data is not None and not (kept and kept[0].revision == revision_of(data)):
                self.history.keep(path, data, "removed")

    def undo(self, id_: str, version: str | None = None) -> Record:
        """Put a kept version (default: the newest) back. What it replaces is kept in turn. A note that is gone is there again:
        out of the trash, or from what is kept of it, whichever is younger. Raises NotFound, ReadOnly."""
        with self._writer.changing():
            path = self._lost(id_)
            if path:
                return self._revive(id_, path, version)
            path = self.path_of(id_)
            return self._writer.put_back(id_, path, version or self._newest(id_, path))

    def _lost(self, id_: str) -> str:
        """The path of a note that is gone; nothing for one that is there."""
        try:
            path = self.path_of(id_)  # the file may be gone, and nobody has noticed yet
            return path if self.is_lost(path) else ""
        except NotFound:
            return next((path for path in self.guesses(id_) if self.history.of(path) or self._trash.since(path)), "")

    def _revive(self, id_: str, path: str, version: str | None) -> Record:
        trashed = self._trash.since(path)
        kept = self.history.of(path)
        if version is None and trashed and not (kept and kept[0].time > trashed):
            return self.restore(id_)
        if not kept:
            raise NotFound(
                f"{id_!r} was removed by another program, and no text of it is kept; a backup or version control may have it"
            )
        name = version or kept[0].name
        try:
            record = self._writer.place(path, self.history.read(path, name))
        except FileExistsError:
            raise Exists(f"a note {id_!r} is there again; undo it once more if an earlier version is wanted") from None
        self.history.forget(path, name)
        return record

    def _newest(self, id_: str, path: str) -> str:
        kept = self.history.of(path)
        older = [version for version in kept if version.action != "undo"] or (kept if self._lost(id_) else [])
        if not older:
            raise NotFound(f"no earlier version of {id_!r} is kept")
        return older[0].name


def _headed(body: str, title: str) -> bool:
    first = first_line(body)
    return first.startswith("# ") and first[2:].strip() == title.strip()
