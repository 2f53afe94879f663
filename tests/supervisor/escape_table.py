"""The table of escapes as people read it: docs/escapes.md is written from the attempts themselves.

python -m tests.supervisor.escape_table        # write it
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "escapes.md"
PROGRAMS = Path(__file__).parent / "programs"
THEMES = {
    "files": "Files",
    "sockets": "Sockets and the network",
    "programs": "Programs, other entries, other code",
    "processes": "Other processes",
    "kernel": "The kernel",
    "itself": "What it was born with",
}
HEAD = """# Escapes that are tried

Each row is tried by a confined child on the real kernel in every run of the tests (`tests/supervisor/test_jail_escapes.py`),
as root and as an ordinary user. The child has one directory to read, one to write, one with a socket, and `fork: true`;
`network: none`, `exec: false`. The test fails when an outcome is another one than this table says.

An outcome is the errno of the refusal; `nothing` when there was nothing to be seen; `killed` when the kernel ends the
process for it; **reached** when it works. `full`: all layers. The other two columns are level `strong`: without user namespaces, and
without Landlock. At level `none` nothing is promised. This page is written by `python -m tests.supervisor.escape_table`.
"""


def rows() -> list[Any]:
    """Every attempt, by theme, in the order of the files."""
    sys.path.insert(0, str(PROGRAMS))
    try:
        for theme in THEMES:
            importlib.import_module(f"escapes_{theme}")
        attempts = importlib.import_module("attempts")
    finally:
        sys.path.remove(str(PROGRAMS))
    return sorted(attempts.ATTEMPTS.values(), key=lambda row: list(THEMES).index(row.theme))


def render() -> str:
    """The page."""
    parts = [HEAD]
    for theme, title in THEMES.items():
        parts.append(
            f"## {title}\n\n| name | what is tried | full | no namespaces | no Landlock |\n|---|---|---|---|---|"
        )
        for row in rows():
            if row.theme == theme:
                cells = [f"**{word}**" if word == "reached" else word.replace("|", " or ")
                         for word in (row.full, row.bare, row.unlocked)]  # fmt: skip
                parts[-1] += f"\n| `{row.name}` | {row.what} | {' | '.join(cells)} |"
        parts[-1] += "\n"
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(render())
