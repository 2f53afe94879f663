"""The records as a client uses them: over the bus when a node runs, else straight on the folder. Same methods, same
results, so a command does not care which it has.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from egghead.client.connection import Client
from egghead.errors import EggheadError, ExitCode


class NotesPort(Protocol):
    """What a command asks of the records. Raises EggheadError."""

    async def index(self, method: str, /, **params: Any) -> Any: ...
    async def store(self, method: str, /, **params: Any) -> Any: ...


class NodeNotes:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def index(self, method: str, /, **params: Any) -> Any:
        return await self._client.call("index", method, **params)

    async def store(self, method: str, /, **params: Any) -> Any:
        return await self._client.call("store", method, timeout=30.0, **params)


class LocalNotes:
    """No node runs: the folder itself. The caller holds the node's lock, so that a node cannot start under a write.

    `progress`: see `records.Notes`. `read_only`: the lock is somebody else's; the index is read as it is, and every write is refused.
    """

    def __init__(
        self, records: Path, read_only: bool = False, progress: Callable[[int, int], object] = lambda done, total: None
    ) -> None:
        from records import Notes, RecordError

        self._full = ""
        try:
            try:
                self._notes = Notes(records, read_only=read_only, progress=progress)
            except (sqlite3.OperationalError, OSError) as error:
                # A full disk. What the index knows can still be read; and a write would not go through either.
                self._full = f"the index cannot be written ({error}): make room on the disk of {str(records)!r}"
                self._notes = Notes(records, read_only=True)
        except RecordError as error:
            raise EggheadError(self._full or str(error)) from error
        except (sqlite3.OperationalError, OSError) as error:
            raise EggheadError(self._full or f"the index cannot be read: {error}") from error

    def close(self) -> None:
        self._notes.close()

    @property
    def rebuilt(self) -> str | None:
        """Why the index was built anew since this was opened; None: it was not."""
        return self._notes.index.rebuilt

    async def index(self, method: str, /, **params: Any) -> Any:
        call = getattr(self._notes.index, method)
        return self._ask(lambda: self._mended(lambda: call(**_named(params))))

    def _mended(self, read: Callable[[], Any]) -> Any:
        """What an index says; one that turns out to be damaged is built anew first, if nobody else holds it."""
        from records import IndexBroken

        try:
            return read()
        except IndexBroken as broken:
            if self._notes.read_only:
                raise
            self._notes.rebuild(str(broken))
            return read()

    async def store(self, method: str, /, **params: Any) -> Any:
        return self._ask(lambda: getattr(self, f"_{method}")(**_named(params)))

    # What the process `store` serves, with its answers.

    def _get(self, id_: str) -> Any:
        return self._notes.get(id_)

    def _create(self, id_: str | None = None, **fields: Any) -> Any:
        return {"record": self._notes.create(id=id_, **fields), "indexed": self._notes.indexed}

    def _update(self, id_: str, changes: dict[str, Any], revision: str | None = None) -> Any:
        return {"record": self._notes.update(id_, changes, revision), "indexed": self._notes.indexed}

    def _edit(self, id_: str, old: str, new: str, revision: str | None = None) -> Any:
        return {"record": self._notes.edit(id_, old, new, revision), "indexed": self._notes.indexed}

    def _append(self, id_: str, text: str) -> Any:
        return {"record": self._notes.append(id_, text), "indexed": self._notes.indexed}

    def _trash(self, id_: str) -> Any:
        return {**self._notes.trash(id_), "indexed": self._notes.indexed}

    def _restore(self, id_: str) -> Any:
        return {"record": self._notes.restore(id_), "indexed": self._notes.indexed}

    def _rename(self, old: str, new: str) -> Any:
        return {**self._notes.rename(old, new), "indexed": self._notes.indexed}

    def _undo(self, id_: str, version: str | None = None) -> Any:
        return {"record": self._notes.undo(id_, version), "indexed": self._notes.indexed}

    def _history(self, id_: str) -> Any:
        return [asdict(version) for version in self._notes.store.versions(id_)]

    def _diff(self, id_: str, version: str | None = None) -> Any:
        return self._notes.store.diff(id_, version)

    def _trashed(self) -> Any:
        return self._notes.store.trashed()

    def _faults(self) -> Any:
        return {
            "faults": list(self._notes.faults), "closed": list(self._notes.store.closed), "polling": None, "behind": 0,
        }  # fmt: skip

    def _watching(self) -> Any:
        from records.watch import Watching

        return Watching("nothing", "no node runs; each command compares the files with the index").to_dict()

    def _sync(self) -> Any:
        self._notes.sync()
        return {"notes": self._notes.index.stats()["notes"], "behind": 0}

    def _verify(self) -> Any:
        return self._notes.verify()

    def _rebuild(self) -> Any:
        self._notes.rebuild()
        return {"notes": self._notes.index.stats()["notes"]}

    def _purge(self, id_: str | None = None, older_than: float = 0.0) -> Any:
        return self._notes.purge(id_, older_than)

    def _ask(self, work: Callable[[], Any]) -> Any:
        from records import NotFound, ReadOnly, RecordError

        try:
            return _plain(work())
        except NotFound as error:
            raise EggheadError(str(error), ExitCode.NOT_FOUND) from error
        except ReadOnly as error:
            raise EggheadError(self._full or str(error)) from error
        except sqlite3.OperationalError as error:
            raise EggheadError(f"the index cannot be used now: {error}") from error
        except RecordError as error:
            raise EggheadError(str(error)) from error


def _named(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters of the bus as the library spells them: `class` and `id` are taken in Python."""
    return {f"{key}_" if key in ("class", "id") else key: value for key, value in params.items()}


def _plain(value: Any) -> Any:
    """As the bus would give it: records and hits as dicts."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.to_dict() if hasattr(value, "to_dict") else value
