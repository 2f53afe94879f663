"""A note that another program removed, as a file again, from what an index knew of it. Pure.

The text is the text; the fields are written anew, because an index keeps what they say and not how it was written:
comments, order and quotes are gone. Where the old bytes are kept themselves (`records.history`) these are the better ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from records import formats
from records.errors import InvalidValue, RecordError
from records.rows import MAX_BODY

MOST = 100  # notes removed at once that are kept: more are the work of `git checkout`, `rm -r` or a disk, not a slip
_FIELDS = {
    "title": "title",
    "class": "class_",
    "tags": "tags",
    "links": "links",
    "created": "created",
    "author": "author",
}


def as_file(row: Mapping[str, Any], author: str = "") -> bytes | None:
    """The bytes of a file that is read as `row` (see `Index.get`) says; None: the index does not have all of its text.
    `author`: who would be its author if it named none."""
    path, body, format_ = str(row["path"]), str(row["body"]), str(row["format"])
    if len(body) >= MAX_BODY:
        return None
    try:
        bare = formats.compose(format_, {}, body)
        plain = formats.parse(bare.encode(), path, author=author)
    except RecordError:
        return body.encode()  # the text of an org note that would be taken for its fields
    keys: dict[str, Any] = {}
    if row["id"] not in (plain.id, path):
        keys["id"] = row["id"]
    for key, name in _FIELDS.items():
        said, found = row[key], getattr(plain, name)
        if (list(found) if isinstance(found, tuple) else found) != said:
            keys[key] = said
    keys |= dict(row["meta"])
    try:
        return formats.compose(format_, keys, body).encode()
    except InvalidValue:
        return bare.encode()  # a key that cannot be written so: better without its fields than not at all
