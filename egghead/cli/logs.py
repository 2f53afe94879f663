"""`egghead logs`: the node's log, also of a node that has ended; of one on another machine while it runs."""

from __future__ import annotations

from pathlib import Path

import click

from egghead.cli.common import asynchronous, connected, find_node, load_config, options, records_option, server, shown
from egghead.errors import EggheadError, ExitCode
from egghead.status import workers

LONG = 1e8  # seconds: following ends when somebody stops it


@click.command()
@click.option(
    "-n", "count", type=click.IntRange(min=0), default=50, show_default=True, help="How many of the last lines."
)
@click.option("-f", "follow", is_flag=True, help="Go on as lines are added.")
@click.option("--process", metavar="NAME", help="Only lines of this process, e.g. agents/index.")
@records_option
@asynchronous
async def logs(count: int, follow: bool, process: str | None) -> None:
    """What the node's processes reported: time, level, process, text."""
    if server() is not None:
        await _there(count, follow, process)
        return
    from egghead.nodelog import following, last_lines, unknown

    path = log_file()
    try:
        file = path.open(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise EggheadError(
            f"no log yet at {str(path)!r}; it is made by the first egghead serve", ExitCode.NOT_FOUND
        ) from None
    with file:
        lines = last_lines(file, count, process)
        if not lines and process is not None and (why := unknown(file, process, _running())) is not None:
            raise EggheadError(why, ExitCode.NOT_FOUND)
        _print(lines)
        if follow:
            async for lines in following(path, file, process):
                _print(lines)


async def _there(count: int, follow: bool, process: str | None) -> None:
    from egghead.client.connection import sentence
    from ipc import IpcError

    async with connected() as client:
        wanted = {"count": min(count, 10_000), "process": process, "follow": follow}
        try:
            async with client.peer.stream("node", "logs", timeout=LONG if follow else 60.0, **wanted) as pages:
                async for lines in pages:
                    _print(lines)
        except IpcError as error:
            raise sentence(error, "node") from error


def _print(lines: list[str]) -> None:
    for line in lines:
        click.echo(shown(line), nl=False)


def _running() -> list[str]:
    """The processes of the node that runs, if one does."""
    from egghead.client.connection import read_status

    found = find_node()
    return [process["name"] for process in workers(read_status(found[0])["tree"])] if found is not None else []


def log_file() -> Path:
    """The log of the node meant by the options, running or not."""
    from egghead import node, paths

    found = find_node()
    if found is not None:
        return paths.log_file(Path(found[1]["records"]))
    config, _ = load_config()
    return paths.log_file(node.resolve_records(config, options()["records"]))
