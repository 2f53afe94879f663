"""What a turn's words are taken for, and how it words a call for people. Pure.

A model that has nothing to say yields with `/pass`, dressed in whatever models dress it in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

PASS = "/pass"

# A yield, and what models put around it: quotes, brackets, emphasis, an emoji, the same once more.
_PASSES = re.compile(r"(?:(?:[^\w/]|_)*/pass)*(?:[^\w/]|_)*", re.IGNORECASE)
_TRAILING_PASS = re.compile(r"\s*\n\s*[`*_\"']*/pass[`*_\"'.!]*\s*\Z")


def is_pass(text: str) -> bool:
    """Whether a reply is only a yield, however the model dressed it."""
    found = _PASSES.match(text)
    return found is not None and found.end() == len(text) and PASS in text.lower()


def may_become_pass(text: str) -> bool:
    """Whether what has been said so far is only a yield, or the beginning of one."""
    bare = _PASSES.sub("", text, count=1).rstrip().lower()
    return PASS.startswith(bare) or is_pass(text)


def without_trailing_pass(text: str) -> str:
    """Substance beats a yield that was added to it."""
    return _TRAILING_PASS.sub("", text) if not is_pass(text) else text


def describe(tool: str, arguments: Any, limit: int = 120) -> str:
    """One line for people: the tool and what it was asked."""
    if isinstance(arguments, Mapping):
        shown = ", ".join(f"{key}={_plain(value)}" for key, value in arguments.items())
    else:
        shown = _plain(arguments)
    line = f"{tool} {shown}".strip()
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _plain(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return " ".join(text.split())[:80]


def first_line(text: str, limit: int = 160) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= limit else line[: limit - 1] + "…"
