"""What the commands about notes share: the notes themselves, whoever holds them, and which note a name means."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from egghead.cli import unknown
from egghead.cli.common import connected, find_node, interruptible, load_config, options, server
from egghead.errors import EggheadError, ExitCode, NodeError

if TYPE_CHECKING:
    from egghead.client.notes import NotesPort
    from egghead.node import Claim

WAIT = 10.0  # seconds for another command to be done: a first index of a large folder takes longer, and says so itself


@asynccontextmanager
async def notes(write: bool = False, tell: bool = True) -> AsyncIterator[NotesPort]:
    """The notes of the node that runs, else of the folder. Reading goes on beside another command that holds the folder,
    from the index as it is; writing waits a little for another command, and else says who holds it. `tell`: say on stderr that
    the index was built anew, and why."""
    from egghead import node
    from egghead.client.notes import LocalNotes, NodeNotes

    if server() is None and find_node() is None:
        config, _ = load_config()
        root = node.resolve_records(config, options()["records"])
        # A node that only starts is waited for, unless what it has of the index answers already.
        here = find_node(wait=write or not (root / node.OWN_DIR / "index.db").exists()) is None
    else:
        here = False
    if not here:
        async with connected() as client:
            yield NodeNotes(client)
        return
    try:
        lock = await _claim(root) if write else node.claim(root, command=True)
    except NodeError:
        # Another command at work, a folder that takes no writes: an index that is there can still be read.
        if write or not (root / node.OWN_DIR / "index.db").exists():
            raise
        lock = None
    try:
        with (
            interruptible()
        ):  # a first index or `verify` takes minutes; what is half done is undone, as after any death
            local = LocalNotes(root, read_only=lock is None, progress=Meter())
            try:
                yield local
            finally:
                local.close()
                if tell and local.rebuilt:
                    click.echo(f"egghead: the index was built anew: {local.rebuilt}", err=True)
    finally:
        if lock is not None:
            lock.close()


async def _claim(root: Path) -> Claim:
    """The folder for a command that writes. One that is at work there is done in a moment: ten at once all get their turn."""
    from egghead import node

    last = time.monotonic() + WAIT
    while True:
        try:
            return node.claim(root, command=True)
        except node.Busy:
            if time.monotonic() > last:
                raise
        await asyncio.sleep(0.02)


class Meter:
    """What a person sees of a first index: files read, on a terminal, from the second second on."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if sys.stderr.isatty() and (time.monotonic() - self._began > 1.0 or done == total):
            left = f"\r{done} of {total} notes indexed" if done < total else "\r\x1b[K"
            click.echo(left, nl=False, err=True)


async def resolve(port: NotesPort, name: str) -> str:
    """The id meant by `name`: an id, the last segment of one, an alias or a title. Raises EggheadError."""
    wanted = name.strip().removeprefix("[[").removesuffix("]]")
    found = await port.index("resolve", target=wanted)
    if found is None:
        await _look(port, wanted)
        raise await missing(port, name)
    return str(found)


async def _closed(port: NotesPort, name: str) -> EggheadError | None:
    """What is said of a note that nobody found while folders are closed to us: it may be there."""
    closed = (await port.store("faults")).get("closed") or ()
    if not closed:
        return None
    places = ", ".join(map(repr, closed[:3])) + (f" and {len(closed) - 3} more" if len(closed) > 3 else "")
    return EggheadError(
        f"no record {name!r} is known; it may be in {places}, which cannot be read: check who owns it and the folders "
        "above it, and their modes"
    )


async def _look(port: NotesPort, id_: str) -> None:
    """Raises EggheadError when nobody can know whether there is such a note: its folder is closed to us."""
    try:
        await port.store("get", id=id_)
    except EggheadError as error:
        if error.exit_code != ExitCode.NOT_FOUND:
            raise


async def missing(port: NotesPort, name: str) -> EggheadError:
    """No note has this name, or several do; with the nearest id, or with all that it may mean."""
    ids = [row["id"] for row in await port.index("list", limit=5000)]
    last = name.rsplit("/", 1)[-1].casefold()
    several = sorted(i for i in ids if i.rsplit("/", 1)[-1].casefold() == last)
    if len(several) > 1:
        shown = ", ".join(repr(i) for i in several[:5])
        return EggheadError(f"{name!r} may mean {shown}; give the whole id", ExitCode.NOT_FOUND)
    if (closed := await _closed(port, name)) is not None:
        return closed
    short = {i.rsplit("/", 1)[-1]: i for i in ids}
    return EggheadError(unknown("record", name, [*ids, *short]), ExitCode.NOT_FOUND)


def told(answer: Any) -> None:
    """Says on stderr what a person must know of a write that went well."""
    if not answer.get("indexed", True):
        click.echo("egghead: saved; it will be found by search once the index is back", err=True)
