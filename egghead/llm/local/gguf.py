"""What a GGUF file says of itself: architecture, context, size of its memory for a token. Reads the head of a file; the
weights are llama.cpp's business.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little endian). Everything in a
file is somebody else's claim: counts and lengths are bounded before they are believed.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from egghead.llm.errors import RequestRefused

MOST_KEYS = 10_000
MOST_TENSORS = 200_000
MOST_TEXT = 1 << 20  # bytes of one text; a chat template has some kilobytes
MOST_ITEMS = 1 << 23  # of one list; a vocabulary has some hundred thousand
MOST_HEAD = 1 << 28  # bytes until the weights

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9
_NOT_FOR_TALK = ("bert", "clip", "t5encoder", "wavtokenizer")


class NotAModel(RequestRefused):
    """The file is no GGUF model that can talk; the message says why."""


@dataclass(frozen=True)
class Facts:
    """`context`: tokens it was trained for; `cell`: bytes of memory for one token of context (16 bit keys and values); None
    when the file does not say. `size`: bytes of the file."""

    architecture: str
    size: int
    context: int | None = None
    cell: int | None = None
    title: str = ""
    template: bool = False


def read(path: Path) -> Facts:
    """The facts of a file. Raises NotAModel, or OSError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return _Reader(file, path, os.fstat(file.fileno()).st_size).facts()
    except struct.error:
        raise NotAModel(f"{str(path)!r} ends within its head: it was not downloaded whole; fetch it again") from None


class _Reader:
    def __init__(self, file: BinaryIO, path: Path, size: int) -> None:
        self.file, self.path, self.size = file, path, size

    def facts(self) -> Facts:
        magic = self.file.read(4)
        if magic != b"GGUF":
            raise self._fault(f"begins with {magic!r} and not with b'GGUF'; give a model in the GGUF format")
        (version,) = self._take("I")
        if version not in (2, 3):
            raise self._fault(f"is GGUF version {version}; versions 2 and 3 are known. Convert it again")
        tensors, keys = self._take("QQ")
        if keys > MOST_KEYS or tensors > MOST_TENSORS:
            raise self._fault(f"claims {keys} keys and {tensors} tensors; it is damaged or no model")
        values = {}
        for _ in range(keys):
            name = self._text()
            values[name] = self._value(self._take("I")[0])
        architecture = str(values.get("general.architecture") or "")
        if not architecture:
            raise self._fault("does not say its architecture (general.architecture); it is no model")
        if any(word in architecture for word in _NOT_FOR_TALK):
            raise self._fault(f"is of the architecture {architecture!r}, which cannot talk; take a chat model")
        if int(values.get("split.count") or 0) > 1:
            raise self._fault("is one part of a model that was split; join the parts with llama-gguf-split --merge")
        if not tensors:
            raise self._fault("has no weights (a vocabulary only); take the whole model")
        self._whole(tensors, values)
        return Facts(
            architecture,
            self.size,
            _positive(values.get(f"{architecture}.context_length")),
            _cell(values, architecture),
            str(values.get("general.name") or "")[:200],
            bool(values.get("tokenizer.chat_template")),
        )

    def _whole(self, tensors: int, values: dict[str, Any]) -> None:
        """Refuse a file that ends before its last tensor begins: a download that was cut."""
        last = 0
        for _ in range(tensors):
            self._text()
            (dimensions,) = self._take("I")
            if dimensions > 8:
                raise self._fault(f"has a tensor of {dimensions} dimensions; it is damaged")
            self.file.seek(8 * dimensions + 4, os.SEEK_CUR)
            last = max(last, self._take("Q")[0])
        alignment = _positive(values.get("general.alignment")) or 32
        begin = -(-self.file.tell() // alignment) * alignment
        if begin + last >= self.size:
            raise self._fault(f"ends after {self.size} bytes, before its last weights; fetch it again")

    def _value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self._take(_SCALARS[kind])[0]
        if kind == _TEXT:
            return self._text()
        if kind != _LIST:
            raise self._fault(f"has a value of the unknown type {kind}; it is damaged")
        inner, count = self._take("IQ")
        if count > MOST_ITEMS:
            raise self._fault(f"has a list of {count} items; it is damaged")
        if inner in _SCALARS:
            self.file.seek(count * struct.calcsize("<" + _SCALARS[inner]), os.SEEK_CUR)
        elif inner == _TEXT:
            for _ in range(count):
                self._skip_text()
        else:
            raise self._fault(f"has a list of the type {inner}; it is damaged")
        return None  # vocabularies are nobody's business here; figures that differ from layer to layer are not said

    def _text(self) -> str:
        return self._bytes(self._length()).decode("utf-8", "replace")

    def _skip_text(self) -> None:
        self.file.seek(self._length(), os.SEEK_CUR)

    def _length(self) -> int:
        (length,) = self._take("Q")
        if length > MOST_TEXT:
            raise self._fault(f"has a text of {length} bytes in its head; it is damaged")
        return int(length)

    def _take(self, format: str) -> tuple[Any, ...]:
        if self.file.tell() > MOST_HEAD:
            raise self._fault(f"has a head of more than {MOST_HEAD >> 20} MiB; it is damaged")
        return struct.unpack("<" + format, self._bytes(struct.calcsize("<" + format)))

    def _bytes(self, count: int) -> bytes:
        data = self.file.read(count)
        if len(data) != count:
            raise struct.error("short")
        return data

    def _fault(self, text: str) -> NotAModel:
        return NotAModel(f"{str(self.path)!r} {text}")


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**32 else None


def _cell(values: dict[str, Any], architecture: str) -> int | None:
    """Bytes of keys and values for one token: 2 bytes for each number of each layer."""
    layers = _positive(values.get(f"{architecture}.block_count"))
    heads = _positive(values.get(f"{architecture}.attention.head_count"))
    width = _positive(values.get(f"{architecture}.embedding_length"))
    if layers is None or heads is None or width is None:
        return None
    kept = _positive(values.get(f"{architecture}.attention.head_count_kv")) or heads
    key = _positive(values.get(f"{architecture}.attention.key_length")) or width // heads
    value = _positive(values.get(f"{architecture}.attention.value_length")) or width // heads
    return 2 * layers * kept * (key + value)
