"""`egghead tree`, `ps`, `status`: the live tree, read from the status that the root writes at every change."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click

from egghead.cli.common import (
    ago,
    asynchronous,
    connected,
    json_option,
    need_node,
    print_json,
    print_table,
    records_option,
    server,
    size,
)
from egghead.status import workers

STATE_COLOURS = {
    "running": "green",
    "starting": "yellow",
    "restarting": "yellow",
    "stopping": "yellow",
    "parked": "red",
}


async def read_status() -> tuple[dict[str, Any], dict[str, Any]]:
    """The frozen status value of the node that is meant, and what is known about that node. Raises NodeError.

    On this machine both are read from files: the tree is shown also when no process of it answers.
    """
    if server() is None:
        from egghead.client.connection import read_status as of_file

        place, info = need_node()
        return of_file(place), {**info, "sockets": str(place.root)}
    async with connected() as client:
        return await client.status(), client.node


def uptime(node: dict[str, Any]) -> str:
    started = node.get("started_at")
    return ago(time.time() - started) if started and node["state"] in ("running", "starting", "stopping") else "-"


def last_exit(node: dict[str, Any]) -> str:
    exit_ = node.get("last_exit")
    return f"{exit_['reason']} {ago(time.time() - exit_['at'])} ago" if exit_ else ""


@click.command()
@records_option
@json_option
@asynchronous
async def tree(as_json: bool) -> None:
    """The live supervision tree: state, pid, uptime, restarts, memory, last exit."""
    status, _ = await read_status()
    if as_json:
        print_json(status)
        return
    rows = list(_lines(status["tree"], "", ""))
    width = max(len(label) for label, _ in rows)
    click.echo(
        click.style(f"{'':{width}}  {'STATE':<10} {'PID':>7} {'UPTIME':>7} {'RST':>3} {'MEM':>6}  LAST EXIT", dim=True)
    )
    for label, node in rows:
        if node["kind"] == "supervisor":
            click.echo(f"{label:{width}}  " + click.style(f"({node['strategy']})", dim=True))
            continue
        state = click.style(f"{node['state']:<10}", fg=STATE_COLOURS.get(node["state"]))
        click.echo(
            f"{label:{width}}  {state} {node['pid'] or '-':>7} {uptime(node):>7} {node['restarts']:>3} "
            f"{size(node.get('memory')):>6}  {last_exit(node)}"
        )


def _lines(node: dict[str, Any], first: str, rest: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield first + (node.get("name") or node["id"]), node
    children = node.get("children", [])
    for index, child in enumerate(children):
        end = index == len(children) - 1
        yield from _lines(child, rest + ("└─ " if end else "├─ "), rest + ("   " if end else "│  "))


@click.command()
@records_option
@json_option
@asynchronous
async def ps(as_json: bool) -> None:
    """The processes of the node, one a line: pid, name, state, uptime, restarts, memory."""
    found = list(workers((await read_status())[0]["tree"]))
    if as_json:
        print_json(found)
        return
    print_table(
        ("PID", "NAME", "STATE", "UPTIME", "RESTARTS", "MEMORY"),
        [(n["pid"], n["name"], n["state"], uptime(n), n["restarts"], size(n.get("memory"))) for n in found],
    )


@click.command()
@records_option
@json_option
@asynchronous
async def status(as_json: bool) -> None:
    """Is the node well? What runs, how confined, what has crashed."""
    found, info = await read_status()
    processes = list(workers(found["tree"]))
    ill = [p for p in processes if p["state"] != "running"]
    if as_json:
        print_json({"node": info | found["node"], "processes": len(processes), "not_running": ill})
        return
    level, notes = found["node"]["level"], found["node"].get("level_notes", [])
    click.echo(f"node         pid {info['pid']}, up {ago(time.time() - info['started_at'])}, egghead {info['version']}")
    click.echo(f"records      {info['records']}")
    click.echo(f"confinement  {level}")
    for note in notes:
        click.echo(f"             {note}")
    reloaded = found["node"].get("reloaded")
    if reloaded is not None:
        text = f"{ago(time.time() - reloaded['at'])} ago: {reloaded['text']}"
        click.echo(f"tree file    {text if reloaded['ok'] else click.style(text, fg='red')}")
    agents = [p["name"].removeprefix("agents/") for p in processes if p["name"].startswith("agents/")]
    rooms = [p["name"].removeprefix("rooms/") for p in processes if p["name"].startswith("rooms/")]
    click.echo(f"agents       {' '.join(agents) or 'none'}")
    click.echo(f"rooms        {' '.join(rooms) or 'none'}")
    memory = sum(p.get("memory") or 0 for p in processes)
    restarts = sum(p["restarts"] for p in processes)
    click.echo(
        f"processes    {len(processes) - len(ill)} of {len(processes)} running, {restarts} restarts, {size(memory)}"
    )
    for process in ill:
        click.echo(click.style(f"  {process['name']}: {process['state']}  {last_exit(process)}", fg="red"))
    if info.get("lan"):
        click.echo(f"network      {info['lan']['bind']} port {info['lan']['port']}, {info['lan']['fingerprint']}")
    if info.get("server"):
        click.echo(f"server       {info['server']}")
    else:
        click.echo(f"sockets      {info['sockets']}")
