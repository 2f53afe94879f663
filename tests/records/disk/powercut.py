"""What a disk may hold after the power went: pure, from the log of the shim and the folder as it was before.

The model is POSIX at its least friendly, not one filesystem: the bytes of a file are certain once that file was synced,
an entry of a folder once that folder was. Until then any part of them may have arrived: of the bytes none, half or all;
of the entries any set in which no entry came before an earlier one of the same folder. A rename is one step in both
folders (every journalling filesystem promises that), and a folder whose own entry is lost is lost with all in it.
After ALICE (Pillai et al., OSDI 2014) and CrashMonkey (Mohan et al., OSDI 2018).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = 0
MOST = 48  # sets of folder entries tried at one point; more are thinned evenly


@dataclass(frozen=True)
class Entry:
    """A pending change of folder entries: {(folder, name): node or None}, done at once."""

    changes: tuple[tuple[int, str, int | None], ...]

    @property
    def folders(self) -> set[int]:
        return {folder for folder, _, _ in self.changes}


@dataclass
class Disk:
    """Nodes by number. A folder is {name: node}; a file is the bytes that are certain and the states it went through."""

    folders: dict[int, dict[str, int]] = field(default_factory=dict)  # certain entries
    current: dict[int, dict[str, int]] = field(default_factory=dict)  # entries as a process sees them
    synced: dict[int, bytes] = field(default_factory=dict)
    bytes: dict[int, bytearray] = field(default_factory=dict)
    pending: list[Entry] = field(default_factory=list)

    @classmethod
    def of(cls, root: Path) -> Disk:
        disk = cls()
        disk._load(root, {})
        return disk

    def _new(self) -> int:
        return len(self.current) + len(self.bytes)

    def _load(self, folder: Path, seen: dict[int, int]) -> int:
        node = self._new()
        self.folders[node], self.current[node] = {}, {}
        for entry in sorted(folder.iterdir()):
            if entry.name.endswith("-shm"):
                continue  # shared memory of SQLite, not a file that lasts
            if entry.is_dir():
                child = self._load(entry, seen)
            elif (inode := entry.stat().st_ino) in seen:
                child = seen[inode]
            else:
                child = seen[inode] = self._new()
                self.synced[child], self.bytes[child] = entry.read_bytes(), bytearray(entry.read_bytes())
            self.folders[node][entry.name] = self.current[node][entry.name] = child
        return node

    def _find(self, path: str) -> tuple[int, str]:
        *above, name = path.split("/")
        node = ROOT
        for part in above:
            node = self.current[node][part]
        return node, name

    def _node(self, path: str) -> int:
        if path in ("", "."):
            return ROOT
        folder, name = self._find(path)
        return self.current[folder][name]

    def _change(self, *changes: tuple[int, str, int | None]) -> None:
        self.pending.append(Entry(changes))
        for folder, name, node in changes:
            if node is None:
                del self.current[folder][name]
            else:
                self.current[folder][name] = node

    def do(self, what: str, *arguments: str) -> None:
        """One line of the log, its paths relative to the root."""
        path = arguments[0]
        if what in ("make", "mkdir"):
            node = self._new()
            if what == "mkdir":
                self.folders[node], self.current[node] = {}, {}
            else:
                self.synced[node], self.bytes[node] = b"", bytearray()
            self._change((*self._find(path), node))
        elif what in ("write", "empty", "cut"):
            held = self.bytes[self._node(path)]
            if what == "write":
                offset, data = int(arguments[1]), bytes.fromhex(arguments[2])
                held.extend(b"\0" * (offset - len(held)))
                held[offset : offset + len(data)] = data
            else:
                size = int(arguments[1]) if what == "cut" else 0
                held.extend(b"\0" * (size - len(held)))
                del held[size:]
        elif what == "sync":
            node = self._node(path)
            if node in self.bytes:
                self.synced[node] = bytes(self.bytes[node])
            else:
                self._settle([entry for entry in self.pending if node in entry.folders])
        elif what in ("unlink", "rmdir"):
            self._change((*self._find(path), None))
        elif what == "link":
            self._change((*self._find(arguments[1]), self._node(path)))
        elif what == "rename":
            old, new = self._find(path), self._find(arguments[1])
            self._change((*new, self._node(path)), (*old, None))
        elif what == "swap":
            one, other = self._node(path), self._node(arguments[1])
            self._change((*self._find(path), other), (*self._find(arguments[1]), one))
        else:
            raise ValueError(f"the log has an unknown step {what!r}")

    def _settle(self, wanted: list[Entry]) -> None:
        """Make entries certain, and with each the earlier ones of its folders."""
        needed: set[int] = set()
        folders: set[int] = set()
        for place in range(len(self.pending) - 1, -1, -1):
            entry = self.pending[place]
            if entry in wanted or entry.folders & folders:
                needed.add(place)
                folders |= entry.folders
        for place in sorted(needed):
            _enter(self.folders, self.pending[place])
        self.pending = [entry for place, entry in enumerate(self.pending) if place not in needed]

    def states(self) -> Iterator[dict[str, bytes]]:
        """Every tree (path -> bytes; a folder ends in '/') that may be found when the power goes now."""
        sets = list(self._sets())
        if len(sets) > MOST:
            sets = [*sets[:: -(-len(sets) // MOST)], sets[-1]]
        for chosen in sets:
            folders = {node: dict(entries) for node, entries in self.folders.items()}
            for entry in chosen:
                _enter(folders, entry)
            for share in (0.0, 0.5, 1.0):
                yield self._tree(folders, share)

    def _sets(self) -> Iterator[list[Entry]]:
        for chosen in itertools.product((False, True), repeat=min(len(self.pending), 10)):
            kept, missing = [], set()
            for entry, taken in itertools.zip_longest(self.pending, chosen, fillvalue=True):
                assert isinstance(entry, Entry)
                if taken and entry.folders & missing:
                    break
                if taken:
                    kept.append(entry)
                else:
                    missing |= entry.folders
            else:
                yield kept

    def _tree(self, folders: dict[int, dict[str, int]], share: float) -> dict[str, bytes]:
        tree: dict[str, bytes] = {}
        stack = [(ROOT, "")]
        while stack:
            node, above = stack.pop()
            for name, child in folders[node].items():
                if child in folders:
                    tree[f"{above}{name}/"] = b""
                    stack.append((child, f"{above}{name}/"))
                else:
                    tree[above + name] = self._bytes(child, share)
        return tree

    def _bytes(self, node: int, share: float) -> bytes:
        certain, now = self.synced[node], bytes(self.bytes[node])
        if certain == now or share == 1.0:
            return now
        if share == 0.0:
            return certain
        half = len(now) // 2
        return now[:half] + certain[half : len(now)]


def _enter(folders: dict[int, dict[str, int]], entry: Entry) -> None:
    for folder, name, node in entry.changes:
        if node is None:
            folders[folder].pop(name, None)
        else:
            folders[folder][name] = node


def read_log(path: Path, root: Path) -> Iterator[tuple[str, ...]]:
    """The steps of a log, their paths relative to the root."""
    for line in path.read_text().splitlines():
        what, *rest = line.split(" ")
        texts = []
        for place, item in enumerate(item for item in rest if item):
            if place == 0 or what in ("rename", "swap", "link"):
                texts.append(os.path.relpath(bytes.fromhex(item).decode(), root))
            else:
                texts.append(item)
        if not texts[0].endswith("-shm"):
            yield (what, *texts)


def write_tree(tree: dict[str, bytes], root: Path) -> None:
    """Make a fresh folder with that tree."""
    root.mkdir()
    for path, data in sorted(tree.items()):
        if path.endswith("/"):
            (root / path).mkdir(parents=True, exist_ok=True)
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
