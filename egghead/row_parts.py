"""A note too long for one message: as several on its way from `store` to `index`, and whole again; in an answer, cut. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from records.model import Record
from records.rows import Row

LONG = 1_000_000  # characters of a body from which on a note goes in parts: with its links and headings it may exceed a frame
PART = 4 * 2**20  # bytes of one part
MAX_ANSWER = 14 * 2**20  # bytes of a note in an answer, under the 16 MiB of a frame
MAX_BESIDE = 6 * 2**20  # of them beside the text: headings and links are in it too
HELD = 128 * 2**20  # bytes of parts that are held for those still to come, beside one note of any size
AT_ONCE = 32  # notes of which some parts have come: as many messages as `store` has on their way


def parts_of(row: Row) -> list[dict[str, Any]]:
    """`{path, name, part, of, data}`: in their order they are the row. `name`: of these bytes, for the same note may be told twice
    at once, as it was and as it is."""
    data = msgspec.msgpack.encode(row)
    name = blake2b(data, digest_size=16).hexdigest()
    pieces = [data[at : at + PART] for at in range(0, len(data), PART)]
    return [
        {"path": row.path, "name": name, "part": number, "of": len(pieces), "data": piece}
        for number, piece in enumerate(pieces)
    ]


def answer(record: Record) -> dict[str, Any]:
    """A note as a message: `cut: true` when it was too long for one and is not all there."""
    data = record.to_dict()
    if len(record.body) <= LONG:
        return data
    data["body"] = ""
    beside = len(msgspec.msgpack.encode(data, enc_hook=str))
    if beside > MAX_BESIDE:
        data["outline"], data["wikilinks"], beside = [], [], 0
        data["cut"] = True
    body = record.body.encode()
    data["body"] = body[: MAX_ANSWER - beside].decode("utf-8", "ignore")
    if len(data["body"]) < len(record.body):
        data["cut"] = True
    return data


class Gathered:
    """The parts that have come, by the name of what they belong to; of those that never became whole the oldest go, when they
    are many or much: `store` tells anew what went too early."""

    def __init__(self, most: int = HELD) -> None:
        self._parts: dict[str, list[bytes]] = {}
        self._most = most
        self.size = 0  # bytes of all that is held

    def whole(self, upserts: Iterable[Any]) -> list[Any]:
        """The upserts without parts, and with each row whose last part is among them. Raises ValueError for a part out of turn."""
        return [made for upsert in upserts if (made := self._take(upsert)) is not None]

    def _take(self, upsert: Any) -> Any:
        if not isinstance(upsert, Mapping) or "part" not in upsert:
            return upsert
        name, number = upsert["name"], upsert["part"]
        held = self._parts.pop(name, [])
        self.size -= sum(map(len, held))
        if not number:
            held = []  # told anew from the first
        if number != len(held):
            raise ValueError(
                f"part {number} of {upsert['path']!r} came instead of part {len(held)}; tell the note again"
            )
        held.append(upsert["data"])
        if len(held) == upsert["of"]:
            return msgspec.msgpack.decode(b"".join(held))
        size = sum(map(len, held))
        while self._parts and (len(self._parts) >= AT_ONCE or self.size + size > self._most):
            self.size -= sum(map(len, self._parts.pop(next(iter(self._parts)))))
        self._parts[name] = held
        self.size += size
        return None
