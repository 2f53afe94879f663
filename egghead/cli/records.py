"""`egghead records …`: the notes, with a node or without one. Here: what looks; `records_write`: what changes."""

from __future__ import annotations

import sys
from typing import Any

import click

from egghead.cli import Family, records_care, records_write
from egghead.cli.common import asynchronous, json_option, print_json, print_table, records_option, shown
from egghead.cli.notes import notes, resolve
from egghead.client.tell import harmless
from egghead.errors import EggheadError, ExitCode


@click.group(cls=Family)
@records_option
def records() -> None:
    """The notes. Works with a running node, and without one."""


for _command in (*records_write.COMMANDS, *records_care.COMMANDS):
    records.add_command(_command)


@records.command()
@click.argument("query", nargs=-1, required=True)
@click.option("-n", "limit", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--class", "class_", metavar="CLASS")
@click.option("--tag", "tags", multiple=True)
@click.option("--since", metavar="DATE", help="Changed at this date or time or later, such as 2026-01-31.")
@records_option
@json_option
@asynchronous
async def search(
    query: tuple[str, ...], limit: int, class_: str | None, tags: tuple[str, ...], since: str | None, as_json: bool
) -> None:
    """Search the notes: words, "quoted phrases", -without, tag:x, class:x, in:folder."""
    async with notes() as port:
        hits = await port.index(
            "search", **{"query": " ".join(query), "class": class_, "tags": list(tags), "limit": limit, "since": since}
        )
    if as_json:
        print_json(hits)
        return
    for hit in hits:
        if not sys.stdout.isatty():
            click.echo(f"{hit['id']}\t{hit['title']}")
            continue
        click.echo(click.style(harmless(hit["id"]), bold=True) + f"  {harmless(hit['title'])}")
        if hit.get("snippet"):
            click.echo(click.style("    " + harmless(" ".join(hit["snippet"].split())), dim=True))
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
    own = [f"#{tag}" for tag in record.get("inline_tags", ())]
    for key in ("id", "title", "class", "tags", "links", "created", "updated", "author", "path", "error"):
        value = [*record["tags"], *own] if key == "tags" else record.get(key)
        if value not in (None, "", []):
            click.echo(
                click.style(f"{key:<9}", dim=True)
                + shown(" ".join(map(str, value)) if isinstance(value, list) else str(value))
            )
    # color: what looks like a colour in the text of a note belongs to it, also in a pipe.
    click.echo("\n" + shown(record["body"].strip("\n")), color=True)
    if record.get("cut"):
        click.echo(f"egghead: too long to be sent whole; all of it is in the file {record['path']!r}", err=True)


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
        return shown(str(row))
    name = shown(f"{row.get('id') or row.get('target')}" + (f"#{row['fragment']}" if row.get("fragment") else ""))
    if row.get("id"):
        return name
    from records.graph import ATTACHMENTS

    if not row.get("unread") and str(row.get("target")).casefold().endswith(ATTACHMENTS):
        return name  # a file of another kind, of which there is no list
    return name + click.style(f"  ({row.get('unread') or 'no such note'})", fg="yellow")


@records.command()
@click.argument("name")
@records_option
@json_option
@asynchronous
async def backlinks(name: str, as_json: bool) -> None:
    """The notes that link to a note, and as what."""
    async with notes() as port:
        rows = await port.index("backlinks", id=await resolve(port, name))
    if as_json:
        print_json(rows)
        return
    print_table(
        ("ID", "LINK", "TITLE"),
        [(r["id"], r["target"] + (f"#{r['fragment']}" if r["fragment"] else ""), r["title"]) for r in rows],
    )


@records.command()
@click.option("--by", "order_by", type=click.Choice(["updated", "created"]), default="updated", show_default=True)
@click.option("--since", metavar="DATE", help="Not older than this date or time, such as 2026-01-31.")
@click.option("-n", "limit", type=click.IntRange(min=1), default=20, show_default=True)
@records_option
@json_option
@asynchronous
async def recent(order_by: str, since: str | None, limit: int, as_json: bool) -> None:
    """The notes that changed or were made last, newest first."""
    async with notes() as port:
        rows = await port.index("recent", order_by=order_by, since=since, limit=limit)
    if as_json:
        print_json(rows)
        return
    print_table((order_by.upper(), "ID", "TITLE"), [(r[order_by][:16], r["id"], r["title"]) for r in rows])


@records.command()
@records_option
@json_option
@asynchronous
async def tags(as_json: bool) -> None:
    """The tags, most used first."""
    async with notes() as port:
        rows = await port.index("tags")
    if as_json:
        print_json(rows)
        return
    print_table(("NOTES", "TAG"), [(r["count"], r["tag"]) for r in rows])


@records.command()
@records_option
@json_option
@asynchronous
async def orphans(as_json: bool) -> None:
    """The notes that link to no note and that no note links to."""
    async with notes() as port:
        rows = await port.index("orphans")
    if as_json:
        print_json(rows)
        return
    print_table(("ID", "TITLE"), [(r["id"], r["title"]) for r in rows])


@records.command()
@records_option
@json_option
@asynchronous
async def unresolved(as_json: bool) -> None:
    """The links that mean no note, or several (then which)."""
    async with notes() as port:
        rows = await port.index("unresolved")
    if as_json:
        print_json(rows)
        return
    print_table(
        ("IN", "LINK", "MAY MEAN"), [(r["source"], r["target"], r.get("unread") or r["candidates"]) for r in rows]
    )


@records.command()
@click.argument("name", required=False)
@click.option("--depth", type=click.IntRange(1, 10), default=1, show_default=True, help="How many links away.")
@click.option("--dot", is_flag=True, help="As Graphviz wants it: egghead records graph --dot | dot -Tsvg")
@records_option
@json_option
@asynchronous
async def graph(name: str | None, depth: int, dot: bool, as_json: bool) -> None:
    """The links between all notes, or around one: a line for each, from and to."""
    async with notes() as port:
        around = await resolve(port, name) if name else None
        found = await port.index("graph", around=around, depth=depth)
    if as_json:
        print_json(found)
    elif dot:
        click.echo("digraph notes {")
        for node in found["nodes"]:
            click.echo(f"  {_quoted(node['id'])} [label={_quoted(node['title'])}];")
        for source, target in found["edges"]:
            click.echo(f"  {_quoted(source)} -> {_quoted(target)};")
        click.echo("}")
    else:
        print_table(("FROM", "TO"), found["edges"])


def _quoted(text: str) -> str:
    """A string of the DOT language."""
    return '"' + shown(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


@records.command()
@records_option
@json_option
@asynchronous
async def faults(as_json: bool) -> None:
    """What is wrong with files: broken frontmatter, not text, too long to be searched whole, an id that
    another has, a folder that cannot be read, a sync program's conflicted copy."""
    async with notes() as port:
        rows = await port.index("faults")
        store = await port.store("faults")
    texts = store["faults"] + ([f"changes are found by polling: {store['polling']}"] if store["polling"] else [])
    rows += [{"path": None, "id": None, "error": text} for text in texts]
    if as_json:
        print_json(rows)
        return
    print_table(("PATH", "WHAT"), [(r["path"], r["error"]) for r in rows])


@records.command()
@click.argument("name")
@records_option
@json_option
@asynchronous
async def history(name: str, as_json: bool) -> None:
    """The earlier versions that are kept of a note, newest first. One that is in the trash, or was purged, has them too."""
    async with notes() as port:
        rows = await port.store("history", id=await records_write.named(port, name))
    if as_json:
        print_json(rows)
        return
    print_table(
        ("REPLACED", "BY", "BYTES", "VERSION"), [(r["at"][:19], r["action"], r["size"], r["name"]) for r in rows]
    )


@records.command()
@click.argument("name")
@click.argument("version", required=False)
@records_option
@json_option
@asynchronous
async def diff(name: str, version: str | None, as_json: bool) -> None:
    """What changed in a note since a kept version (default: the newest)."""
    async with notes() as port:
        id_ = await resolve(port, name)
        text = await port.store("diff", id=id_, version=version)
    if as_json:
        print_json({"id": id_, "diff": text})
        return
    for line in text.split("\n"):
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1]) if sys.stdout.isatty() else None
        click.echo(click.style(shown(line), fg=colour) if colour else shown(line))
