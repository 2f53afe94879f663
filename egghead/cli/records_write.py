"""`egghead records …`, the commands that change notes. Each names what it did in one line; `--json` gives the answer."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from egghead.cli.by_hand import edited
from egghead.cli.common import asynchronous, json_option, piped, print_json, records_option, shown
from egghead.cli.notes import notes, resolve, told
from egghead.errors import EggheadError

if TYPE_CHECKING:
    from egghead.client.notes import NotesPort

LISTS = ("tags", "links", "aliases")
TEXTS = ("title", "class", "created", "author", "id")


async def named(port: NotesPort, name: str) -> str:
    """The id of a note that is there, or of one that is gone and left versions. Raises EggheadError."""
    try:
        return await resolve(port, name)
    except EggheadError as missing:
        try:
            await port.store("history", id=name)
        except EggheadError:
            raise missing from None
        return name


@click.command()
@click.argument("title")
@click.option("--id", "record_id", metavar="ID", help="Default: a slug of the title.")
@click.option("--class", "class_", metavar="CLASS")
@click.option("--tag", "tags", multiple=True)
@click.option("--body", help="The text (default: standard input when it is piped).")
@click.option("--format", "format_", type=click.Choice(["markdown", "org"]), help="Default: markdown.")
@records_option
@json_option
@asynchronous
async def new(
    title: str, record_id: str | None, class_: str | None, tags: tuple[str, ...], body: str | None, format_: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Make a note; prints its id."""
    if body is None:
        body = "" if sys.stdin.isatty() else piped()
    wanted: dict[str, Any] = {
        "title": title, "body": body, "id": record_id, "class": class_, "tags": list(tags), "format": format_,
    }  # fmt: skip
    async with notes(write=True) as port:
        made = await port.store("create", **{k: v for k, v in wanted.items() if v not in (None, [])})
    _done(made, made["record"]["id"], as_json)


@click.command()
@click.argument("name")
@click.option("--old", metavar="TEXT", help="Replace this text, which stands exactly once ...")
@click.option("--new", "new_", metavar="TEXT", help="... by this. Without both: your $EDITOR.")
@click.option("--body", metavar="TEXT", help="The whole new text; `-` reads standard input.")
@click.option("--revision", metavar="REV", help="Only if the note is still this one.")
@records_option
@json_option
@asynchronous
async def edit(
    name: str, old: str | None, new_: str | None, body: str | None, revision: str | None, as_json: bool
) -> None:
    """Change the text of a note, in your editor or as said. A change somebody else made meanwhile is never lost."""
    if (old is None) != (new_ is None):
        raise click.UsageError("--old and --new go together")
    if old is not None and body is not None:
        raise click.UsageError("--body replaces the whole text, --old one place: give one of them")
    if body is None and old is None:
        await _edit_by_hand(name, as_json)
        return
    if body == "-":
        body = piped()  # before the folder is taken: nobody waits for a slow writer
    async with notes(write=True) as port:
        id_ = await resolve(port, name)
        if old is not None:
            answer = await port.store("edit", id=id_, old=old, new=new_, revision=revision)
        else:
            answer = await port.store("update", id=id_, changes={"body": body}, revision=revision)
    _done(answer, f"changed {id_}", as_json)


async def _edit_by_hand(name: str, as_json: bool) -> None:
    """The notes are not held while somebody thinks: the note is read, edited, and written if it is still the same."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("no terminal for an editor here; give --old and --new, or --body")
    async with notes() as port:
        record = await port.store("get", id=await resolve(port, name))
    if record.get("cut"):
        raise EggheadError(f"{record['id']!r} is too long to be sent whole; edit the file {record['path']!r}")
    made = await asyncio.to_thread(edited, record["body"], Path(record["path"]).suffix)
    if made is None:
        click.echo("nothing changed", err=True)
        return
    text, path = made
    try:
        async with notes(write=True) as port:
            answer = await port.store("update", id=record["id"], changes={"body": text}, revision=record["revision"])
    except EggheadError as error:
        raise EggheadError(f"{error}\nYour text is in {str(path)!r}", error.exit_code) from error
    path.unlink(missing_ok=True)
    _done(answer, f"changed {record['id']}", as_json)


@click.command(name="set")
@click.argument("name")
@click.argument("pairs", nargs=-1, metavar="KEY=VALUE...")
@click.option("--unset", multiple=True, metavar="KEY", help="Remove a key.")
@click.option("--revision", metavar="REV", help="Only if the note is still this one.")
@records_option
@json_option
@asynchronous
async def set_(name: str, pairs: tuple[str, ...], unset: tuple[str, ...], revision: str | None, as_json: bool) -> None:
    """Set fields or frontmatter keys of a note; every other line of the file stays.

    `tags`, `links` and `aliases` are words between commas, or `[a, "b, c"]`; another key's value is YAML: `stars=4`,
    `done=true`, `rooms=[default, lab]`, `up=[[roof]]` (a link).
    """
    changes = changed(pairs, unset)
    if not changes:
        raise click.UsageError("nothing to set: give KEY=VALUE or --unset KEY")
    async with notes(write=True) as port:
        id_ = await resolve(port, name)
        answer = await port.store("update", id=id_, changes=changes, revision=revision)
    _done(answer, f"changed {id_}", as_json)


def changed(pairs: tuple[str, ...], unset: tuple[str, ...]) -> dict[str, Any]:
    """The changes that `KEY=VALUE` and the keys to remove ask for. Raises UsageError."""
    changes: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            raise click.UsageError(f"{pair!r} is not KEY=VALUE")
        if key == "body":
            raise click.UsageError("the text is changed by: egghead records edit NAME --body TEXT")
        if key in LISTS:
            changes[key] = _words(value)
        elif key in TEXTS:
            changes[key] = value
        else:
            meta[key] = _value(value)
    for key in unset:
        if key in ("body", "id"):
            raise click.UsageError(f"a note has always {key!r}; it cannot be unset")
        (changes if key in LISTS or key in TEXTS else meta)[key] = None
    return {**changes, "meta": meta} if meta else changes


def _words(text: str) -> list[str]:
    """What a list field is set to: words between commas, or as any other key a list of YAML: `[a, "b, c"]`."""
    listed = _value(text) if text.startswith("[") else None
    if isinstance(listed, list) and not any(isinstance(item, list | dict) for item in listed):
        return [str(item) for item in listed]
    return [word.strip() for word in text.split(",") if word.strip()]


def _value(text: str) -> Any:
    from records.frontmatter import load

    if text.startswith("[["):
        return text  # a wikilink; to YAML it would be a list in a list, and no link any more
    fields, fault = load(f"value: {text}\n")
    return text if fault is not None or set(fields) != {"value"} or fields["value"] is None else fields["value"]


@click.command()
@click.argument("name")
@click.argument("text", required=False)
@records_option
@json_option
@asynchronous
async def append(name: str, text: str | None, as_json: bool) -> None:
    """Add lines at the end of a note: TEXT, or standard input."""
    if text is None:
        if sys.stdin.isatty():
            raise click.UsageError("nothing to append: give TEXT, or pipe it in")
        text = piped()
    async with notes(write=True) as port:
        id_ = await resolve(port, name)
        answer = await port.store("append", id=id_, text=text)
    _done(answer, f"changed {id_}", as_json)


@click.command()
@click.argument("name")
@click.argument("new_id", metavar="NEW")
@records_option
@json_option
@asynchronous
async def rename(name: str, new_id: str, as_json: bool) -> None:
    """Move a note to the id NEW and rewrite the links that meant it."""
    async with notes(write=True) as port:
        id_ = await resolve(port, name)
        answer = await port.store("rename", old=id_, new=new_id)
    told(answer)
    if as_json:
        print_json(answer)
        return
    click.echo(shown(f"renamed {id_} to {answer['record']['id']}"))
    for path in answer["rewritten"]:
        click.echo(shown(f"  links in {path}"))
    if answer["failed"]:
        raise EggheadError("links could not be rewritten in " + ", ".join(map(repr, answer["failed"])))


@click.command()
@click.argument("name")
@records_option
@json_option
@asynchronous
async def trash(name: str, as_json: bool) -> None:
    """Move a note to the trash; says which links now lead nowhere. `records restore` brings it back."""
    async with notes(write=True) as port:
        id_ = await resolve(port, name)
        answer = await port.store("trash", id=id_)
    told(answer)
    if as_json:
        print_json(answer)
        return
    click.echo(shown(f"trashed {id_}"))
    for source in dict.fromkeys(row["id"] for row in answer["broken"] or ()):
        click.echo(shown(f"  a link in {source} leads nowhere now"))


@click.command()
@click.argument("id_", metavar="ID")
@records_option
@json_option
@asynchronous
async def restore(id_: str, as_json: bool) -> None:
    """Bring a note back from the trash."""
    async with notes(write=True) as port:
        answer = await port.store("restore", id=id_)
    _done(answer, f"restored {answer['record']['id']}", as_json)


@click.command()
@records_option
@json_option
@asynchronous
async def trashed(as_json: bool) -> None:
    """The notes in the trash."""
    async with notes() as port:
        rows = await port.store("trashed")
    if as_json:
        print_json(rows)
        return
    for row in rows:
        click.echo(shown(row))


@click.command()
@click.argument("name")
@click.argument("version", required=False)
@records_option
@json_option
@asynchronous
async def undo(name: str, version: str | None, as_json: bool) -> None:
    """Put an earlier version of a note back (default: the newest of `records history`). One that is gone is there again."""
    async with notes(write=True) as port:
        try:
            id_ = await named(port, name)
        except EggheadError:
            if name not in await port.store("trashed"):
                raise
            id_ = name
        answer = await port.store("undo", id=id_, version=version)
    _done(answer, f"{id_} is as it was", as_json)


def _done(answer: Mapping[str, Any], line: str, as_json: bool) -> None:
    told(answer)
    if as_json:
        print_json(answer)
    else:
        click.echo(shown(line))


COMMANDS = (new, edit, set_, append, rename, trash, restore, trashed, undo)
