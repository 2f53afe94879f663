"""Lines of a note as Markdown, org, YAML 1.2 and editors count them: they end with LF, CRLF or CR and with nothing else.

`str.splitlines` does not belong in this package: for it a form feed, U+0085, U+2028 and five other characters end a line
too, so that places and numbers of lines would not be those that a person sees.
"""

from __future__ import annotations

import difflib
import re

LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+")  # a line with its ending


def normal(text: str) -> str:
    """Text with `\\n` line endings."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def lines(text: str) -> list[str]:
    """The lines of a text without their endings; an ending at the end begins no line of its own."""
    found = normal(text).split("\n")
    if not found[-1]:
        found.pop()
    return found


def difference(old: bytes, new: bytes, old_name: str, new_name: str) -> str:
    """What a file's bytes were and are, as a unified diff."""
    was, now = (lines(data.decode("utf-8", "replace")) for data in (old, new))
    return "\n".join(difflib.unified_diff(was, now, old_name, new_name, lineterm=""))


def first_line(text: str) -> str:
    """The first line that is not blank, or nothing."""
    return next((line for line in lines(text) if line.strip()), "")
