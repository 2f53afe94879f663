"""Writes the table of rights in docs/lan.md from `egghead.rights`, between its two markers; all else is by hand."""

from __future__ import annotations

import re
from pathlib import Path

from egghead.rights import TABLE

PAGE = Path(__file__).resolve().parents[1] / "docs" / "lan.md"
_WORDS = {"call": "call", "subscribe": "events", "monitor": "watch"}


def page() -> str:
    """The page with the table as the code has it."""
    text = PAGE.read_text(encoding="utf-8")
    marked = re.compile(r"(<!-- table: rights -->\n).*?(<!-- end -->)", re.DOTALL)
    if len(marked.findall(text)) != 1:
        raise SystemExit(f"{PAGE.name}: needs exactly one '<!-- table: rights -->' with its '<!-- end -->'")
    return marked.sub(lambda found: f"{found[1]}\n{_table()}\n\n{found[2]}", text)


def _table() -> str:
    lines = ["| from | | what | for |", "|---|---|---|---|"]
    for row in TABLE:
        what = f"`{row.what}`" + (": " + ", ".join(f"`{method}`" for method in row.methods) if row.methods else "")
        lines.append(f"| {row.level} | {_WORDS[row.kind]} | {what} | {row.why} |")
    return "\n".join(lines)
