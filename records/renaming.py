"""A rename written down before it is done, so that one that was killed half way is finished at the next start.

Only the note of it: what it means is `Store.rename`'s business. One file, `.egghead/renaming`, held locked while its writer
lives; a rename that needs no links rewritten is one step of the disk and writes none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from records.disk import lock, make_folders, sync_folder

NAME = "renaming"


@dataclass(frozen=True, slots=True)
class Renaming:
    """A note moves from path `old` to path `new` and is `id` then. `revision`: of its bytes before its own links are rewritten;
    `linkers`, `short`: as `Store.rename` has them."""

    old: str
    new: str
    id: str
    short: bool
    revision: str
    linkers: Mapping[str, list[str]]


@contextmanager
def begun(private: Path, intent: Renaming) -> Iterator[None]:
    """Keep the note of it, durably, while the rename is done. Raises OSError before anything has moved."""
    make_folders(os.fspath(private))
    path = private / NAME
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        lock(descriptor)
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps(asdict(intent)).encode("utf-8", "surrogateescape"))
            os.fsync(descriptor)
            sync_folder(os.fspath(private))
            yield
        finally:
            with suppress(OSError):
                os.unlink(path)
    finally:
        os.close(descriptor)


@contextmanager
def left(private: Path) -> Iterator[Renaming | None]:
    """The rename that a killed process left, or None; forgotten when the block ends well. Raises BlockingIOError: it goes on."""
    path = private / NAME
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        if lock(descriptor, wait=False) is False:
            raise BlockingIOError(f"{os.fspath(path)!r} belongs to a process that lives")
        yield _read(descriptor)
        with suppress(OSError):
            os.unlink(path)
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> Renaming | None:
    try:
        with open(descriptor, "rb", closefd=False) as file:
            return Renaming(**json.loads(file.read()))
    except (ValueError, TypeError):
        return None  # killed while it was written: nothing had moved yet
