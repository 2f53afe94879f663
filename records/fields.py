"""Which fields a write may set, and what values they take. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from records import ids
from records.errors import InvalidValue
from records.markdown import FIELDS
from records.model import CLASSES

SETTABLE = (*FIELDS, "body", "aliases")


def check_fields(changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if key not in SETTABLE:
            near = difflib.get_close_matches(key, SETTABLE, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(SETTABLE)}, meta"
            raise InvalidValue(f"a note has no field {key!r}{hint}")
        if key in ("body", "title", "author", "created", "id") and not isinstance(value, str | None):
            raise InvalidValue(f"{key} must be text, not {value!r}")
        if key in ("tags", "links", "aliases") and not (
            value is None or (isinstance(value, list | tuple) and all(isinstance(item, str) for item in value))
        ):
            raise InvalidValue(f"{key} must be a list of texts, not {value!r}")
        if key == "class" and value is not None:
            check_class(value)
        if key == "id" and value is not None:
            ids.check_id(value)
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise InvalidValue(f"{key} contains a lone surrogate and cannot be written as UTF-8") from None


def check_meta(meta: Any) -> Mapping[str, Any]:
    """Keys of no field, as a write takes them: a mapping of texts to plain values, or nothing. Raises InvalidValue."""
    if meta is not None and not isinstance(meta, Mapping):
        raise InvalidValue(f"meta must be a mapping, not {type(meta).__name__}")
    for key in meta or {}:
        if not isinstance(key, str) or not key.strip():
            raise InvalidValue(f"a key of meta must be text, not {key!r}")
    return meta or {}


def check_class(value: Any) -> None:
    """Raises InvalidValue, with the nearest, for what is no class of notes."""
    if value not in CLASSES:
        near = difflib.get_close_matches(str(value), CLASSES, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InvalidValue(f"there is no class {value!r}{hint} (known: {', '.join(CLASSES)})")
