"""The records as a client uses them: over the bus when a node runs, else straight on the folder. Same methods, same
results, so a command does not care which it has.
"""

from __future__ import annotations

from collections.abc import Callable
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
    """No node runs: the folder itself. The caller holds the node's lock, so that a node cannot start under a write."""

    def __init__(self, records: Path) -> None:
        from records import Notes

        self._notes = Notes(records)

    def close(self) -> None:
        self._notes.close()

    async def index(self, method: str, /, **params: Any) -> Any:
        return self._ask(getattr(self._notes.index, method), _named(params))

    async def store(self, method: str, /, **params: Any) -> Any:
        if method == "create":
            return {"record": self._ask(self._notes.create, _named(params)), "indexed": True}
        return self._ask(getattr(self._notes, method), _named(params))

    @staticmethod
    def _ask(method: Callable[..., Any], params: dict[str, Any]) -> Any:
        from records import NotFound, RecordError

        try:
            return _plain(method(**params))
        except NotFound as error:
            raise EggheadError(str(error), ExitCode.NOT_FOUND) from error
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
