"""`egghead rooms list|show|open|save|drop`."""

from __future__ import annotations

import json
from typing import Any

import click

from egghead.cli import Family
from egghead.cli.common import asynchronous, connected, json_option, print_json, print_table, records_option, to_json
from egghead.client.tell import harmless, waiting
from egghead.errors import EggheadError


def bare(ctx: click.Context, parameter: click.Parameter, room: str | None) -> str | None:
    """A room's name as it is written on IRC, too."""
    return room.removeprefix("#") if room else room


@click.group(cls=Family)
@records_option
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
@click.argument("room", callback=bare)
@click.option(
    "-n", "count", type=click.IntRange(min=0), default=30, show_default=True, help="How many of the last entries."
)
@records_option
@json_option
@asynchronous
async def show(room: str, count: int, as_json: bool) -> None:
    """The last entries of ROOM's log, and which of its agents wait for a model, and for what."""
    from egghead.cli.agents import waits_of

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
        waits = [] if as_json else await waits_of(client, room=room)
    if as_json:
        for entry in entries:
            click.echo(to_json(entry))
        return
    for entry in entries:
        click.echo(entry_line(entry))
    for one in waits:
        click.echo(click.style(f"{harmless(one['agent'])} {harmless(waiting(one))}", dim=True))


@rooms.command(name="open")
@click.argument("room", callback=bare)
@records_option
@json_option
@asynchronous
async def open_(room: str, as_json: bool) -> None:
    """Make ROOM, or bring the transcript that was saved of it back. Prints its name; talk there: egghead chat ROOM"""
    async with connected() as client:
        opened = await client.call("lobby", "open", room=room, timeout=60.0)
    if as_json:
        print_json(opened)
        return
    click.echo(opened["room"])
    if opened["restored"]:
        click.echo(f"with {opened['restored']} messages of its transcript", err=True)


@rooms.command()
@click.argument("room", callback=bare)
@records_option
@json_option
@asynchronous
async def save(room: str, as_json: bool) -> None:
    """Write ROOM's transcript as the note chat/ROOM; what you changed in that note stays."""
    async with connected() as client:
        saved = await client.call("lobby", "save", room=room, timeout=60.0)
    if as_json:
        print_json(saved)
        return
    if saved["record"] is None:
        raise EggheadError(f"nothing was said in {room!r} yet: there is nothing to save")
    click.echo(saved["record"])


@rooms.command()
@click.argument("room", callback=bare)
@click.option("--no-save", is_flag=True, help="Without writing its transcript.")
@records_option
@json_option
@asynchronous
async def drop(room: str, no_save: bool, as_json: bool) -> None:
    """Close ROOM for good, after writing its transcript. The newest twenty dropped logs are kept."""
    async with connected() as client:
        dropped = await client.call("lobby", "drop", room=room, save=not no_save, timeout=60.0)
    if as_json:
        print_json(dropped)
        return
    click.echo(f"{room} was dropped" + (f", saved as {dropped['record']}" if dropped["record"] else ""))


def entry_line(entry: dict[str, Any]) -> str:
    """One log entry as one line for people (a message keeps its lines)."""
    # A message out of a saved transcript was said when that says so, on another day than it was brought back.
    said = str(entry.get("said") or "")
    head = f"{entry['seq']:>5} {said[:10] + ' ' + said[11:19] if said else entry['at'][11:19]} "
    kind = entry["kind"]
    if kind == "message":
        return head + click.style(f"{harmless(entry['author'])}: ", bold=True) + harmless(str(entry["text"]))
    shown = {k: v for k, v in entry.items() if k not in ("seq", "id", "at", "by", "kind") and v not in (None, [], {})}
    return head + click.style(f"{kind} " + " ".join(f"{k}={_short(v)}" for k, v in shown.items()), dim=True)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = harmless(" ".join(text.split()))
    return text if len(text) <= 80 else text[:79] + "…"
