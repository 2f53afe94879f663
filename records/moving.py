"""A note moved to another id, with the links to it: planned from what the index resolved, finished when it was cut short.

How a link is spelled anew is `records.relink`'s business; that a half rename is known of, `records.renaming`'s.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from records import filenames, formats, frontmatter, ids, renaming
from records.errors import Exists, NotFound, RecordError
from records.folder import PRIVATE, Folder
from records.ids import key_of
from records.markdown import clean, listed, revision_of
from records.model import Record
from records.relink import retarget_value
from records.renaming import Renaming
from records.writing import Writer, is_same


@dataclass(frozen=True, slots=True)
class Renamed:
    """Result of a rename: the note, the notes whose links were rewritten, those that could not be."""

    record: Record
    rewritten: tuple[str, ...]
    failed: tuple[str, ...]


class Moves:
    """Renames in one folder."""

    def __init__(self, folder: Folder, writer: Writer) -> None:
        self._folder = folder
        self._writer = writer

    def rename(
        self, old: str, new: str, linkers: Mapping[str, set[str]] | None = None, *, short: bool = True,
        rivals: Mapping[str, Mapping[str, set[str]]] | None = None,
    ) -> Renamed:  # fmt: skip
        """Move a note to another id and rewrite the links to it. Raises NotFound, Exists, InvalidId, ReadOnly.

        `linkers`: path of each note that links to it -> its link targets that mean this note, as the index resolved
        them. None: every file is read and a target that spells the old id or its unique last part is taken. `short`:
        a link that named only the last part may do so again (the new last part is unique).
        `rivals`: id of another note -> its linkers that would mean the new id as well or instead; they name it by its whole id
        from now on.
        """
        with self._writer.changing():
            path = self._folder.path_of(old)
            ids.check_id(new)
            if self._folder.has(new):
                raise Exists(f"a note {new!r} exists; choose another id")
            record = self._folder.read(path)
            stays = record.id != ids.id_of(path) and record.id == old
            target = new + os.path.splitext(path)[1]
            if (
                not stays
                and os.path.lexists(self._folder.root / target)
                and not is_same(self._folder.root / path, self._folder.root / target)
            ):
                raise Exists(f"the file {target!r} exists; choose another id")
            # Before the move: a link that is spelled out early leads where it led, also when we are killed here.
            spelled, failed = self._spell_out(rivals or {})
            done = (
                self._reclaim(path, old, new, linkers) if stays else self._moved(path, target, old, new, linkers, short)
            )
            spelled = {done.record.path if other == path else other for other in spelled}
            return Renamed(
                done.record, tuple(sorted({*spelled, *done.rewritten})), tuple(sorted({*failed, *done.failed}))
            )

    def _moved(
        self, path: str, target: str, old: str, new: str, linkers: Mapping[str, set[str]] | None, short: bool
    ) -> Renamed:
        if linkers is None:
            linkers = self._find_linkers(old, path)
        data, info = self._folder.read_bytes(path)
        linkers = _lost(linkers, self._folder.parse(target, data, info), path)
        intent = Renaming(path, target, new, short, revision_of(data), {k: sorted(v) for k, v in linkers.items()})
        try:
            with renaming.begun(self._folder.root / PRIVATE, intent):
                self._writer.move(self._folder.root / path, self._folder.root / target, path)
                return self._finish(intent)
        except OSError as error:
            raise self._folder.refused(error, path) from error

    def _spell_out(self, rivals: Mapping[str, Mapping[str, set[str]]]) -> tuple[set[str], set[str]]:
        spelled: set[str] = set()
        failed: set[str] = set()
        for rival, linkers in rivals.items():
            try:
                path = self._folder.path_of(rival)
            except NotFound:
                continue  # gone since the index saw it: what meant it means nothing any more
            done, refused = self._retarget(linkers, path, path, rival, False)
            spelled.update(done)
            failed.update(refused)
        return spelled, failed

    def recover(self) -> Renamed | None:
        """What a killed process left undone: the links of a half rename are rewritten, unfinished files go. Raises ReadOnly."""
        with self._writer.lock, suppress(BlockingIOError), renaming.left(self._folder.root / PRIVATE) as intent:
            self._writer.history.sweep()
            moved = (
                intent is not None
                and self._folder.stat(intent.old) is None
                and self._folder.stat(intent.new) is not None
            )
            return self._finish(intent) if intent is not None and moved else None
        return None

    def _finish(self, intent: Renaming) -> Renamed:
        """The links of a note that has moved. Done twice it does no more than once."""
        failed: list[str] = []
        with suppress(OSError):  # versions that stay under the old name are found under that
            self._writer.history.follow(intent.old, intent.new)
        record = self._folder.read(intent.new)
        # Not asked of the links that it has now: `../x.md` is none any more where it leads out of the folder of all.
        if posixpath.dirname(intent.old) != posixpath.dirname(intent.new) and record.revision == intent.revision:
            kind = formats.of(intent.new)
            try:
                self._writer.rewrite(
                    intent.id, lambda parts, _: frontmatter.with_body(parts, kind.relink(parts.text, intent.old, intent.new, self._known)),
                    "rename", path=intent.new,
                )  # fmt: skip
            except RecordError:
                failed.append(intent.new)  # the note has moved; that is told with what did not follow
        linkers = {linker: set(targets) for linker, targets in intent.linkers.items()}
        rewritten, more = self._retarget(linkers, intent.old, intent.new, intent.id, intent.short)
        return Renamed(self._folder.read(intent.new), rewritten, tuple(sorted({*failed, *more})))

    def _reclaim(self, path: str, old: str, new: str, linkers: Mapping[str, set[str]] | None) -> Renamed:
        """A note whose id stands in its frontmatter keeps its file; the key changes."""
        if linkers is None:
            linkers = self._find_linkers(old, path)
        # The file stays where it is: only links that name the id are lost.
        linkers = {
            linker: {t for t in targets if key_of(listed(t)) == key_of(old)} for linker, targets in linkers.items()
        }
        record = self._writer.rewrite(
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
                before = self._folder.read(source)
                change = partial(_retargeted, source, targets, old_path, new_path, new, short)
                after = self._writer.rewrite(before.id, change, "rename", path=source)
                if after.revision != before.revision:
                    rewritten.append(source)
            except RecordError:
                # One note that cannot be written must not leave the others pointing at nothing.
                failed.append(source)
        return tuple(rewritten), tuple(failed)

    def _known(self, stem: str) -> bool:
        return any(os.path.exists(os.path.join(self._folder.root, stem + suffix)) for suffix in ids.EXTENSIONS)

    def _find_linkers(self, old: str, path: str) -> dict[str, set[str]]:
        last = key_of(old.rpartition("/")[2])
        stats = list(self._folder.scan())
        unique = sum(1 for s in stats if key_of(ids.id_of(s.path).rpartition("/")[2]) == last) == 1
        whole = {key_of(old), key_of(ids.id_of(path))}
        wanted = whole | ({last} if unique else set())
        wanted.update(key_of(name) for name in filenames.names(ids.id_of(path)))
        linkers: dict[str, set[str]] = {}
        for found in stats:
            with suppress(RecordError):
                record = self._folder.read(found.path)
                named = [link.target for link in record.wikilinks] + list(record.links)
                folder = posixpath.dirname(found.path)
                targets = {
                    target for target in named
                    if key_of(listed(target)) in wanted or key_of(_placed(target, folder)) in whole
                }  # fmt: skip
                if targets:
                    linkers[found.path] = targets
        return linkers


def _placed(target: str, folder: str) -> str:
    """A target that is a path, from the folder of the note that links or from the top, as the path it leads to; else empty."""
    if target.startswith(("./", "../")):
        return posixpath.normpath(posixpath.join(folder, target))
    return target.lstrip("/") if target.startswith("/") else ""


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
    plain = [
        new if "[[" not in link and not targets.isdisjoint((link, clean(link))) else moved(link)
        for link in record.links
    ]
    return kind.change(parts, {"links": plain}) if plain != links else parts


def _lost(linkers: Mapping[str, set[str]], record: Record, path: str) -> dict[str, set[str]]:
    """The linkers with the targets that will not find the note at its new place: `record`, as it will be there. Its title and
    aliases go with it, and what its new name says."""
    whole = key_of(ids.id_of(path))
    ends = {whole[place:] for place in range(len(whole)) if place == 0 or whole[place - 1] == "/"}
    names = (*record.aliases, *filenames.names(ids.id_of(record.path)))
    if record.title == record.id:
        stays = {key_of(name) for name in names} - ends
    else:
        stays = {key_of(name) for name in (*names, record.title)} - ends
    folder = key_of(posixpath.dirname(path))
    stays -= {folder, folder.rpartition("/")[2]}  # `index` in a folder is also found by the name of that
    kept = {linker: {t for t in targets if key_of(listed(t)) not in stays} for linker, targets in linkers.items()}
    return {linker: targets for linker, targets in kept.items() if targets}
