"""`egghead rooms list|show`."""

from __future__ import annotations

import json
from typing import Any

import click

from egghead.cli.common import asynchronous, connected, json_option, print_json, print_table, records_option


@click.group()
def rooms() -> None:
    """The live rooms; each is one process and one log."""


@rooms.command(name="list")
@records_option
@json_option
@asynchronous
async def list_(as_json: bool) -> None:
    """Every live room: entries, size."""
    async with connected() as client:
        found = await client.call("lobby", "list")
    if as_json:
        print_json(found)
        return
    print_table(("ROOM", "ENTRIES", "BYTES"), [(r["room"], r.get("entries"), r.get("bytes")) for r in found])


@rooms.command()
@click.argument("room")
@click.option(
    "-n", "count", type=click.IntRange(min=0), default=30, show_default=True, help="How many of the last entries."
)
@records_option
@json_option
@asynchronous
async def show(room: str, count: int, as_json: bool) -> None:
    """The last entries of ROOM's log."""
    async with connected() as client:
        info = await client.call("lobby", "show", room=room)
        start = max(0, info["last"] - count)
        entries: list[dict[str, Any]] = []
        while True:
            page = await client.call(f"rooms/{room}", "since", seq=start, limit=500)
            entries += page["entries"]
            if not page["more"] or not page["entries"]:
                break
            start = page["entries"][-1]["seq"]
    if as_json:
        for entry in entries:
            click.echo(json.dumps(entry, ensure_ascii=False))
        return
    for entry in entries:
        click.echo(entry_line(entry))


def entry_line(entry: dict[str, Any]) -> str:
    """One log entry as one line for people (a message keeps its lines)."""
    head = f"{entry['seq']:>5} {entry['at'][11:19]} "
    kind = entry["kind"]
    if kind == "message":
        return head + click.style(f"{entry['author']}: ", bold=True) + str(entry["text"])
    shown = {k: v for k, v in entry.items() if k not in ("seq", "id", "at", "by", "kind") and v not in (None, [], {})}
    return head + click.style(f"{kind} " + " ".join(f"{k}={_short(v)}" for k, v in shown.items()), dim=True)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= 80 else text[:79] + "…"
