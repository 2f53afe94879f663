"""Notes on disk: parse, write, watch, index, search, link. A plain library: no processes, no ZeroMQ.

Names are imported when they are first used, so that `import records` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from records.catalog import Catalog, Entry
    from records.errors import (
        Conflict,
        Exists,
        IndexBroken,
        InvalidId,
        InvalidValue,
        NotFound,
        ReadOnly,
        RecordError,
        Unreadable,
    )
    from records.index import Index
    from records.keeper import Keeper
    from records.markdown import parse_markdown
    from records.model import CLASSES, Change, FileStat, Heading, Hit, Link, Record
    from records.notes import Notes
    from records.query import Query, search_query
    from records.store import Store
    from records.watch import Watcher

_WHERE = {
    "Catalog": "catalog", "Entry": "catalog",
    "Conflict": "errors", "Exists": "errors", "IndexBroken": "errors", "InvalidId": "errors", "InvalidValue": "errors",
    "NotFound": "errors", "ReadOnly": "errors", "RecordError": "errors", "Unreadable": "errors",
    "Index": "index", "Keeper": "keeper", "parse_markdown": "markdown",
    "CLASSES": "model", "Change": "model", "FileStat": "model", "Heading": "model", "Hit": "model", "Link": "model",
    "Record": "model",
    "Notes": "notes", "Query": "query", "search_query": "query", "Store": "store", "Watcher": "watch",
}  # fmt: skip

__all__ = [
    "CLASSES",
    "Catalog",
    "Change",
    "Conflict",
    "Entry",
    "Exists",
    "FileStat",
    "Heading",
    "Hit",
    "Index",
    "IndexBroken",
    "InvalidId",
    "InvalidValue",
    "Keeper",
    "Link",
    "NotFound",
    "Notes",
    "Query",
    "ReadOnly",
    "Record",
    "RecordError",
    "Store",
    "Unreadable",
    "Watcher",
    "parse_markdown",
    "search_query",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'records' has no attribute {name!r}")
    return getattr(importlib.import_module(f"records.{_WHERE[name]}"), name)
