"""What every command needs: its options, the node it talks to, and how results are printed. No command lives here."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from egghead.client.tell import harmless
from egghead.errors import ConfigError, ExitCode, NodeError

if TYPE_CHECKING:
    from egghead.client import Client
    from egghead.config import Config
    from egghead.paths import RuntimeDir

F = TypeVar("F", bound=Callable[..., Any])


def records_option(function: F) -> F:
    """`--records DIR` and `--server HOST` after the command too, where people put them."""
    for name, metavar, text in (
        ("--server", "HOST[:PORT]", "A node on another machine."),
        ("--records", "DIR", "The folder of notes."),
    ):
        function = click.option(name, metavar=metavar, expose_value=False, callback=_keep, help=text)(function)
    return function


class Seconds(click.ParamType[float]):
    """A time to wait: some, and finite. With nought, or what is no number, the question would be asked and not heard."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = float(value)
        except ValueError:
            self.fail(f"{value!r} is no number of seconds", param, ctx)
        if not 0.1 <= seconds <= 1e8:
            self.fail(f"{value} is no time to wait: give from 0.1 to 100000000 seconds", param, ctx)
        return seconds


def json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def _keep(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.find_root().obj[str(parameter.name)] = value


def asynchronous(function: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    """Runs a coroutine command to its end."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        async def go() -> Any:
            return await function(*args, **kwargs)

        return asyncio.run(go())

    return run


def options() -> dict[str, Any]:
    found: dict[str, Any] = click.get_current_context().find_root().obj
    return found


def load_config() -> tuple[Config, Path]:
    from egghead import config

    return config.load(options()["config"])


STARTING = 15.0  # seconds for a node that starts, or stops; the first index of a large folder takes longer


def find_node(wait: bool = False) -> tuple[RuntimeDir, dict[str, Any]] | None:
    """The running node meant by the options: of --records, else the only one of this user, else the config's. With `wait`
    also one that is about to be ready. Raises NodeError, also when that takes too long."""
    from egghead import node, paths

    given = options()["records"]
    if given:
        records = Path(given).expanduser().resolve()
        return _of(records) or (_awaited(records) if wait else None)
    nodes = node.running()
    if len(nodes) == 1 or not (nodes or wait):
        return nodes[0] if nodes else None
    try:
        config, _ = load_config()
    except ConfigError:
        if nodes:
            raise
        return None  # which folder is meant nobody can say
    wanted = Path(config.records_dir or paths.default_records_dir()).expanduser().resolve()
    found = next((one for one in nodes if one[1]["records"] == str(wanted)), None)
    if found is not None or not nodes:
        return found or _awaited(wanted)
    several = ", ".join(repr(info["records"]) for _, info in nodes)
    raise NodeError(f"{len(nodes)} nodes are running, on {several}; say which: --records DIR")


def _of(records: Path) -> tuple[RuntimeDir, dict[str, Any]] | None:
    from egghead import node

    return next((one for one in node.running() if one[1]["records"] == str(records)), None)


def _awaited(records: Path) -> tuple[RuntimeDir, dict[str, Any]] | None:
    """The node of these notes as soon as it is ready; None when none holds them, or no longer."""
    from egghead import node

    until = time.monotonic() + STARTING
    said = False
    while (pid := node.unready(records)) is not None:
        if time.monotonic() > until:
            raise NodeError(
                f"the node on {str(records)!r} (pid {pid}) is not ready yet: it starts, or it stops; `egghead logs` says "
                "what it does",
                ExitCode.NO_NODE,
            )
        if not said and sys.stderr.isatty():
            click.echo(click.style(f"— a node is starting on {records}", dim=True), err=True)
        said = True
        with interruptible():
            time.sleep(0.05)
    return _of(records)


def need_node() -> tuple[RuntimeDir, dict[str, Any]]:
    """As `find_node`, but there must be one. Raises NodeError."""
    found = find_node(wait=True)
    if found is None:
        where = f" on {options()['records']!r}" if options()["records"] else ""
        raise NodeError(f"no node is running{where}; start one: egghead serve", ExitCode.NO_NODE)
    return found


def server() -> str | None:
    """The server that is meant: --server, else EGGHEAD_SERVER; None: a node on this machine. Raises UsageError."""
    given: str | None = options().get("server")
    found = given or os.environ.get("EGGHEAD_SERVER") or None
    if found is not None and options()["records"]:
        if given is None:
            return None  # a folder on this machine was named; the variable is only a habit
        raise click.UsageError("--records names a folder of this machine, --server another one: give one of them")
    return found


def only_here(command: str) -> None:
    """Refuses --server for what is about this machine. Raises NodeError."""
    if options().get("server"):
        raise NodeError(
            f"`egghead {command}` is about this machine; it cannot be run on {options()['server']!r} from here",
            ExitCode.USAGE,
        )


def _confirm(where: str, fingerprint: str) -> bool:
    click.echo(
        f"{where} is not known yet. Its key has the fingerprint\n  {fingerprint}\n"
        "It is the right one if `egghead key --server` prints the same on that machine.",
        err=True,
    )
    return click.confirm("Connect, and remember it?", err=True)


def _told(where: str) -> Callable[[bool], None]:
    def tell(back: bool) -> None:
        line = f"— {where} is back" if back else f"— the connection to {where} was lost; trying again"
        click.echo(click.style(line, dim=True), err=True)

    return tell


@asynccontextmanager
async def connected(start: bool = False) -> AsyncIterator[Client]:
    """A client of the node that is meant; with `start`, of a node made for the length of the block when none runs.

    Raises NodeGone out of the block when a node on this machine ends.
    """
    where = server()
    if where is not None:
        import logging

        from egghead.client import remote

        # What the library notes about its connection is said here in words for people.
        logging.getLogger("ipc").addHandler(logging.NullHandler())
        fingerprint = options().get("fingerprint") or remote.from_environment()
        ask = _confirm if sys.stdin.isatty() and sys.stderr.isatty() else None
        async with remote.connected(where, remote.Introduction(fingerprint, ask), _told(where)) as client:
            yield client
        return
    from egghead.client import Client, own_node
    from egghead.client.connection import while_running

    found = find_node(wait=True)
    if found is not None:
        async with while_running(found[1]), await Client.connect(found[0], found[1]) as client:
            yield client
        return
    if not start:
        need_node()
    from egghead import node

    config, path = load_config()
    records = node.resolve_records(config, options()["records"])
    async with own_node(records, options()["config"] and path) as (place, info):
        async with while_running(info), await Client.connect(place, info) as client:
            yield client


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C ends what is done in here at once: asyncio's own handler waits until the loop is given back."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def piped() -> str:
    """All of standard input. Interrupted, none of it: half of a text must not be written as if it were all."""
    with interruptible():
        return sys.stdin.read()


def shown(text: str) -> str:
    """Text of a note on its way to stdout: a terminal obeys nothing in it, a pipe gets it as it is."""
    return harmless(text) if sys.stdout.isatty() else text


# Inside strings only, where JSON may spell any character: a terminal obeys C1 and bidi controls as well as C0, and a
# lone surrogate (a name that is no UTF-8) cannot be written at all.
_SPELT = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON for stdout: readable, and nothing in it that a terminal would obey."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, default=str)
    return _SPELT.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def print_json(value: Any) -> None:
    click.echo(to_json(value, indent=2))


def print_table(header: Sequence[str], rows: Iterable[Sequence[Any]], empty: str = "none") -> None:
    """A table for people on a terminal, tab-separated lines without the header's rule when piped."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not sys.stdout.isatty():
        for row in cells:
            click.echo("\t".join(row))
        return
    if not cells:
        click.echo(click.style(empty, dim=True))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(header):
        table.add_column(name, overflow="fold" if index == len(header) - 1 else "ellipsis", no_wrap=index == 0)
    for row in cells:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple | set):
        value = " ".join(str(v) for v in value)
    return harmless(str(value).replace("\t", " ").replace("\n", " "))


def ago(seconds: float) -> str:
    """A duration for people: 42s, 3m10s, 2h05m, 4d02h."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def size(count: int | None) -> str:
    if count is None:
        return "-"
    return f"{count / 1048576:.1f}M" if count >= 1048576 else f"{count // 1024}K"
