"""`egghead records …`: the notes, with a node or without one."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import click

from egghead.cli import unknown
from egghead.cli.common import (
    asynchronous,
    connected,
    find_node,
    json_option,
    load_config,
    options,
    print_json,
    print_table,
    records_option,
    server,
)
from egghead.errors import EggheadError, ExitCode

if TYPE_CHECKING:
    from egghead.client.notes import NotesPort


@click.group()
def records() -> None:
    """The notes. Works with a running node, and without one."""


@asynccontextmanager
async def notes() -> AsyncIterator[NotesPort]:
    from egghead.client.notes import LocalNotes, NodeNotes

    if server() is not None or find_node() is not None:
        async with connected() as client:
            yield NodeNotes(client)
        return
    from egghead import node

    config, _ = load_config()
    root = node.resolve_records(config, options()["records"])
    lock = node.claim(root)
    try:
        local = LocalNotes(root)
        try:
            yield local
        finally:
            local.close()
    finally:
        lock.close()


async def resolve(port: NotesPort, name: str) -> str:
    """The id meant by `name`: an id, the last segment of one, an alias or a title. Raises EggheadError."""
    found = await port.index("resolve", target=name)
    if found is None:
        ids = [row["id"] for row in await port.index("list", limit=5000)]
        short = {i.rsplit("/", 1)[-1]: i for i in ids}
        raise EggheadError(unknown("record", name, [*ids, *short]), ExitCode.NOT_FOUND)
    return str(found)


@records.command()
@click.argument("query", nargs=-1, required=True)
@click.option("-n", "limit", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--class", "class_", metavar="CLASS")
@click.option("--tag", "tags", multiple=True)
@records_option
@json_option
@asynchronous
async def search(query: tuple[str, ...], limit: int, class_: str | None, tags: tuple[str, ...], as_json: bool) -> None:
    """Search the notes: words, "quoted phrases", -without, tag:x, class:x, in:folder."""
    async with notes() as port:
        hits = await port.index(
            "search", **{"query": " ".join(query), "class": class_, "tags": list(tags), "limit": limit}
        )
    if as_json:
        print_json(hits)
        return
    for hit in hits:
        click.echo(click.style(hit["id"], bold=True) + f"  {hit['title']}" if sys.stdout.isatty() else
                   f"{hit['id']}\t{hit['title']}")  # fmt: skip
        if sys.stdout.isatty() and hit.get("snippet"):
            click.echo(click.style("    " + " ".join(hit["snippet"].split()), dim=True))
    if not hits:
        raise EggheadError(f"nothing found for {' '.join(query)!r}", ExitCode.NOT_FOUND)


@records.command()
@click.argument("name")
@records_option
@json_option
@asynchronous
async def show(name: str, as_json: bool) -> None:
    """One note: its fields and its text."""
    async with notes() as port:
        record = await port.store("get", id=await resolve(port, name))
    if as_json:
        print_json(record)
        return
    for key in ("id", "title", "class", "tags", "links", "created", "updated", "author", "path", "error"):
        value = record.get(key)
        if value not in (None, "", []):
            click.echo(
                click.style(f"{key:<9}", dim=True)
                + (" ".join(map(str, value)) if isinstance(value, list) else str(value))
            )
    click.echo("\n" + record["body"].strip("\n"))


@records.command(name="list")
@click.option("--class", "class_", metavar="CLASS")
@click.option("--tag", metavar="TAG")
@click.option("--in", "prefix", metavar="FOLDER", help="Only ids that begin with this.")
@click.option("-n", "limit", type=click.IntRange(min=1), default=1000, show_default=True)
@records_option
@json_option
@asynchronous
async def list_(class_: str | None, tag: str | None, prefix: str | None, limit: int, as_json: bool) -> None:
    """The notes, by id."""
    async with notes() as port:
        rows = await port.index(
            "list", **{"class": class_, "tag": tag, "prefix": prefix, "order": "id", "limit": limit}
        )
    if as_json:
        print_json(rows)
        return
    print_table(("ID", "CLASS", "TITLE"), [(r["id"], r["class"], r["title"]) for r in rows])


@records.command()
@click.argument("name")
@records_option
@json_option
@asynchronous
async def links(name: str, as_json: bool) -> None:
    """What a note links to, and what links to it."""
    async with notes() as port:
        record = await resolve(port, name)
        out = await port.index("links", id=record, depth=1)
        back = await port.index("backlinks", id=record)
    if as_json:
        print_json({"id": record, "links": out, "backlinks": back})
        return
    for arrow, rows in (("->", out), ("<-", back)):
        for row in rows:
            click.echo(f"{arrow} {_link(row)}")


def _link(row: Any) -> str:
    if not isinstance(row, dict):
        return str(row)
    name = row.get("id") or row.get("target")
    return str(name) + ("" if row.get("id") else click.style("  (no such note)", fg="yellow"))


@records.command()
@click.argument("title")
@click.option("--id", "record_id", metavar="ID", help="Default: a slug of the title.")
@click.option("--class", "class_", metavar="CLASS")
@click.option("--tag", "tags", multiple=True)
@click.option("--body", help="The text (default: standard input when it is piped).")
@records_option
@json_option
@asynchronous
async def new(
    title: str, record_id: str | None, class_: str | None, tags: tuple[str, ...], body: str | None, as_json: bool
) -> None:
    """Make a note; prints its id."""
    if body is None:
        body = "" if sys.stdin.isatty() else sys.stdin.read()
    wanted: dict[str, Any] = {"title": title, "body": body, "id": record_id, "class": class_, "tags": list(tags)}
    async with notes() as port:
        made = await port.store("create", **{k: v for k, v in wanted.items() if v not in (None, [])})
    if as_json:
        print_json(made)
        return
    click.echo(made["record"]["id"])
    if not made.get("indexed", True):
        click.echo("egghead: saved; it will be found by search once the index is back", err=True)
