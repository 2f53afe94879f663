"""Every error this package raises on purpose, by what the caller can do about it.

Belongs here: exception classes only. Each message names the note, shows the offending value and says the remedy.
"""

from __future__ import annotations

from typing import Any


class RecordError(Exception):
    """Base of all errors of this package. `data` holds what a program can use beside the sentence."""

    def __init__(self, message: str, **data: Any) -> None:
        super().__init__(message)
        self.message = message
        self.data = data


class NotFound(RecordError):
    """No note, trashed note or kept version has that name."""


class Exists(RecordError):
    """A note of that id is there already."""


class Conflict(RecordError):
    """The file changed since it was read. `data`: `revision` (current) and `diff` (unified, capped)."""


class InvalidId(RecordError):
    """The id cannot name a file inside the records directory."""


class InvalidValue(RecordError):
    """A field has a value that cannot be written, or there is no such field."""


class ReadOnly(RecordError):
    """The records directory, or the disk under it, takes no writes now; reads go on."""


class Unreadable(RecordError):
    """The file is there but is not text, or may not be read."""


class IndexBroken(RecordError):
    """The index is damaged. It is derived: delete and rebuild it."""
