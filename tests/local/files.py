"""GGUF heads written by hand, by the format's page: enough of a model for everything but llama.cpp."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEXT, LIST, NUMBER = 8, 9, 4

PLAIN: Mapping[str, Any] = {
    "general.architecture": "llama",
    "general.name": "Tiny",
    "llama.context_length": 8192,
    "llama.block_count": 30,
    "llama.embedding_length": 576,
    "llama.attention.head_count": 9,
    "llama.attention.head_count_kv": 3,
    "tokenizer.ggml.tokens": ["a", "b", "c"],
    "tokenizer.chat_template": "{{ x }}",
}


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value(given: Any) -> bytes:
    if isinstance(given, str):
        return struct.pack("<I", TEXT) + text(given)
    if isinstance(given, list):
        return struct.pack("<IIQ", LIST, TEXT, len(given)) + b"".join(map(text, given))
    return struct.pack("<II", NUMBER, given)


def head(keys: Mapping[str, Any] = PLAIN, *, version: int = 3, offset: int = 64, weights: int = 128) -> bytes:
    """A file with one tensor at `offset` of `weights` bytes."""
    body = b"GGUF" + struct.pack("<IQQ", version, 1, len(keys))
    body += b"".join(text(name) + value(given) for name, given in keys.items())
    body += text("w") + struct.pack("<IQIQ", 1, 4, 0, offset)
    return body + b"\0" * (-len(body) % 32 + weights)


def model(directory: Path, name: str = "Tiny-1.Q4.gguf", **keys: Any) -> Path:
    path = directory / name
    path.write_bytes(head({**PLAIN, **keys}))
    return path
