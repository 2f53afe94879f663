"""`egghead logs`: the node's log file, also of a node that has ended."""

from __future__ import annotations

import collections
import os
import time
from pathlib import Path
from typing import TextIO

import click

from egghead.cli.common import find_node, load_config, options, records_option
from egghead.errors import EggheadError, ExitCode


@click.command()
@click.option(
    "-n", "count", type=click.IntRange(min=0), default=50, show_default=True, help="How many of the last lines."
)
@click.option("-f", "follow", is_flag=True, help="Go on as lines are added.")
@click.option("--process", metavar="NAME", help="Only lines of this process, e.g. agents/index.")
@records_option
def logs(count: int, follow: bool, process: str | None) -> None:
    """What the node's processes reported: time, level, process, text."""
    path = log_file()
    try:
        file = path.open(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise EggheadError(
            f"no log yet at {str(path)!r}; it is made by the first egghead serve", ExitCode.NOT_FOUND
        ) from None
    with file:
        for line in collections.deque((x for x in file if _of(x, process)), maxlen=count):
            click.echo(line, nl=False)
        if follow:
            _follow(path, file, process)


def _follow(path: Path, file: TextIO, process: str | None) -> None:
    while True:
        line = file.readline()
        if line:
            if _of(line, process):
                click.echo(line, nl=False)
        elif _replaced(path, file.fileno()):
            file = path.open(encoding="utf-8", errors="replace")  # rotated: go on in the new one
        else:
            time.sleep(0.2)  # a file that grows gives no event to wait for without a watcher


def log_file() -> Path:
    """The log of the node meant by the options, running or not."""
    from egghead import node, paths

    found = find_node()
    if found is not None:
        return paths.log_file(Path(found[1]["records"]))
    config, _ = load_config()
    return paths.log_file(node.resolve_records(config, options()["records"]))


def _of(line: str, process: str | None) -> bool:
    return process is None or f" {process} " in line[:160]


def _replaced(path: Path, fd: int) -> bool:
    try:
        return path.stat().st_ino != os.fstat(fd).st_ino
    except FileNotFoundError:
        return False
