"""What the store knows of the files without reading them: marks, ids, classes. Pure, in memory.

It answers three questions: which path holds an id, which files differ from what was seen, and which id a file gets
when several claim one. No file access here; `Store` and the store process feed it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from records.filenames import original
from records.ids import id_of
from records.model import FileStat


@dataclass(frozen=True, slots=True)
class Entry:
    """One known file. `wanted`: the id its author gave or its path gives; `mark`: size, mtime (ns), inode."""

    path: str
    mark: tuple[int, int, int]
    wanted: str
    class_: str
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """Files that are new or changed, and paths that are gone. `moved`: new path -> old path with the same inode and size."""

    changed: tuple[str, ...]
    removed: tuple[str, ...]
    moved: dict[str, str]


class Catalog:
    """Known files by path and by claim."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._files: dict[str, Entry] = {}
        # Tuples, not sets: almost all hold one path, and there is one for each note.
        self._claims: dict[str, tuple[str, ...]] = {}  # ids that files ask for and their paths do not give
        self._stems: dict[str, tuple[str, ...]] = {}
        for entry in entries:
            self.put(entry)

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, path: str) -> bool:
        return path in self._files

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._files.values()))

    def get(self, path: str) -> Entry | None:
        return self._files.get(path)

    def put(self, entry: Entry) -> None:
        self.drop(entry.path)
        self._files[entry.path] = entry
        stem = id_of(entry.path)
        if entry.wanted != stem:
            self._claims[entry.wanted] = (*self._claims.get(entry.wanted, ()), entry.path)
        self._stems[stem] = (*self._stems.get(stem, ()), entry.path)

    def drop(self, path: str) -> Entry | None:
        entry = self._files.pop(path, None)
        if entry is None:
            return None
        for table, key in ((self._claims, entry.wanted), (self._stems, id_of(path))):
            paths = tuple(other for other in table.get(key, ()) if other != path)
            if paths:
                table[key] = paths
            else:
                table.pop(key, None)
        return entry

    def path_of(self, id_: str) -> str | None:
        """The file that has an id now, or None."""
        stems = self._stems.get(id_)
        if stems:
            first = min(stems)
            # The file may have claimed and got another id; then nobody has this one.
            return first if self.id_at(first) == id_ else None
        claims = self._claims.get(id_)
        if claims:
            return min(claims)
        return id_ if id_ in self._files and self.id_at(id_) == id_ else None

    def id_at(self, path: str) -> str:
        """The id of a known file, by `effective`."""
        entry = self._files[path]
        return effective(path, entry.wanted, self._stems.get, self._claims.get)

    def compare(
        self, seen: Iterable[FileStat], under: Iterable[str] | None = None, closed: Iterable[str] = ()
    ) -> Difference:
        """What differs between the files seen and the files known. `under`: only these paths and what is below them; `closed`:
        what begins so could not be looked at, and is not gone."""
        found: dict[str, FileStat] = {stat.path: stat for stat in seen}
        changed = []
        for path, stat in found.items():
            known = self._files.get(path)
            if known is None or known.mark != stat.mark:
                changed.append(path)
        hidden = tuple(closed)
        removed = [path for path in self._scope(under) if path not in found and not path.startswith(hidden)]
        by_inode: dict[int, str] = {}
        for path in removed:
            by_inode[self._files[path].mark[2]] = path
        moved = {}
        for path in changed:
            old = by_inode.get(found[path].inode)
            # An inode is given to the next new file; one that only moved has its size too, and its bytes: see who reads it.
            if old is None or path in self._files or not found[path].inode:
                continue
            if self._files[old].mark[0] == found[path].size:
                moved[path] = old
        return Difference(tuple(sorted(changed)), tuple(sorted(removed)), moved)

    def _scope(self, under: Iterable[str] | None) -> list[str]:
        if under is None:
            return list(self._files)
        roots = set(under)
        if "" in roots:
            return list(self._files)
        exact = [path for path in roots if path in self._files]
        folders = {root for root in roots if root not in self._files}
        if not folders:
            return exact
        return exact + [path for path in self._files if any(above in folders for above in _above(path))]


def _above(path: str) -> Iterator[str]:
    """The folders a path lies in."""
    place = path.rfind("/")
    while place > 0:
        yield path[:place]
        place = path.rfind("/", 0, place)


Claimants = Callable[[str], Collection[str] | None]


def effective(path: str, wanted: str, stems: Claimants, claims: Claimants) -> str:
    """The id a file gets. `stems(id)`, `claims(id)`: the paths that give that id, that ask for it; None for nobody.

    The rule depends on the set of files only, never on their order of arrival: an id that a path gives is never
    taken by a claim; of several the first path has it, a sync program's conflicted copy last; who loses gets the id of its path, or the path itself.
    """
    stem = id_of(path)
    if wanted != stem and not stems(wanted) and _first(claims(wanted), path):
        return wanted
    others = stems(stem) or (path,)
    return stem if min(others) >= path else path


def _first(claimants: Collection[str] | None, path: str) -> bool:
    """Whether no other of those that ask for an id comes before this path."""
    return not claimants or len(claimants) == 1 or min((path, *claimants), key=_turn) == path


def _turn(path: str) -> tuple[bool, str]:
    return original(path) is not None, path
