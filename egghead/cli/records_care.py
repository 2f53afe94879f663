"""`egghead records verify`, `stats` and `purge`: whether the index can be trusted, how much there is, what leaves for good."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

from egghead.cli.common import asynchronous, find_node, json_option, print_json, records_option, server, shown
from egghead.cli.notes import notes
from egghead.errors import EggheadError, ExitCode


@click.command()
@click.option("--rebuild", is_flag=True, help="Throw the index away and build it from the files; no note is touched.")
@records_option
@json_option
@asynchronous
async def verify(rebuild: bool, as_json: bool) -> None:
    """Whether the index says what the files say: reads every note, builds a second index and compares the two.

    The exit status is 0 when they agree and 1 when they differ; each difference is named.
    """
    running = find_node() if server() is None else None
    if rebuild and (running is not None or server() is not None):
        raise EggheadError(
            "a node has these notes open, and only it writes its index; stop it (Ctrl-C where `egghead serve` runs), then run this again",
            ExitCode.REFUSED,
        )
    async with notes(write=rebuild, tell=False) as port:
        if rebuild:
            await port.store("rebuild")
        if running is None:
            found = await port.store("verify")
        else:
            found = await _beside(port, Path(running[1]["records"]))
        counts = await port.index("stats")
        unread = await _unread(port)
    if as_json:
        told = {"differences": found, "unread": unread, "notes": counts["notes"], "rebuilt": counts.get("rebuilt")}
        print_json(told)
    else:
        for line in found + [f"not compared: {line}" for line in unread]:
            click.echo(shown(line))
        if counts.get("rebuilt"):
            click.echo(f"the index was built anew: {counts['rebuilt']}")
        click.echo(
            f"{counts['notes']} notes; " + (f"{len(found)} differ" if found else "the index is as the files are")
        )
    if found:
        raise EggheadError(
            f"{len(found)} differences between the index and the files; `egghead records verify --rebuild` mends them"
        )


async def _unread(port: Any) -> list[str]:
    """Files and folders of which nobody can say what they hold, as sentences."""
    files = [row["error"] for row in await port.index("faults") if row["id"] is None]
    return [*files, *(await port.store("faults"))["faults"]]


async def _beside(port: Any, root: Path) -> list[str]:
    """A node runs on this machine: its index is read from here, so that it goes on answering meanwhile."""

    def compare() -> list[str]:
        from records import Notes, RecordError

        try:
            with Notes(root, read_only=True) as held:
                return held.verify(_progress)
        except RecordError as error:
            raise EggheadError(str(error)) from error

    await port.store("sync")
    found = await asyncio.to_thread(compare)
    if found:
        # A note that was being written meanwhile looks like a difference once, not twice.
        await port.store("sync")
        again = set(await asyncio.to_thread(compare))
        found = [line for line in found if line in again]
    return found


def _progress(count: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{count} files", nl=False, err=True)


@click.command()
@click.argument("id_", metavar="[ID]", required=False)
@click.option(
    "--older-than", metavar="DAYS", type=click.FloatRange(min=0), help="All that went to the trash before that."
)
@records_option
@json_option
@asynchronous
async def purge(id_: str | None, older_than: float | None, as_json: bool) -> None:
    """Remove notes from the trash for good: one, or all that are there longer than some days (0: all)."""
    if (id_ is None) == (older_than is None):
        raise click.UsageError("give the ID of one trashed note, or --older-than DAYS (0: the whole trash)")
    async with notes(write=True) as port:
        gone = await port.store("purge", id=id_, older_than=(older_than or 0.0) * 86400)
    if as_json:
        print_json(gone)
        return
    for name in gone:
        click.echo(shown(f"removed {name} for good"))


@click.command()
@records_option
@json_option
@asynchronous
async def stats(as_json: bool) -> None:
    """How many notes, tags and links there are, how large they and the index are, whether it is being built, and how
    changes are found."""
    async with notes(tell=False) as port:
        counts = await port.index("stats")
        counts["watching"] = await port.store("watching")
    if as_json:
        print_json(counts)
        return
    classes = ", ".join(f"{count} {kind}" for kind, count in counts["classes"].items())
    click.echo(f"notes    {counts['notes']}" + (f"  ({classes})" if classes else ""))
    click.echo(f"size     {_mib(counts['bytes'])}, index {_mib(counts['index_bytes'])}")
    click.echo(f"tags     {counts['tags']}\nlinks    {counts['links']}")
    click.echo(f"faults   {counts['errors']} notes with an error, {counts['skipped']} files skipped")
    click.echo(f"changes  are found {counts['watching']['text']}")
    if counts["building"]:
        click.echo("a new index is being built; until it is complete the old one answers")
    if counts["rebuilt"]:
        click.echo(f"the index was built anew: {counts['rebuilt']}")


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


COMMANDS = (verify, purge, stats)
