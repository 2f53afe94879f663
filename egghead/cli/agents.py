"""`egghead agents list|show`."""

from __future__ import annotations

from typing import Any

import click

from egghead.cli.chat import resolve_agent
from egghead.cli.common import asynchronous, connected, json_option, print_json, print_table, records_option
from egghead.cli.tree import last_exit, read_status, uptime, workers


@click.group()
def agents() -> None:
    """The agents: notes with `class: agent`, each a running process."""


def _processes() -> dict[str, dict[str, Any]]:
    found = {p["name"]: p for p in workers(read_status()["tree"])}
    return {name.removeprefix("agents/"): p for name, p in found.items() if name.startswith("agents/")}


@agents.command(name="list")
@records_option
@json_option
@asynchronous
async def list_(as_json: bool) -> None:
    """Every agent: id, state, model, tags, what is wrong with its record."""
    async with connected() as client:
        cards = await client.call("roster", "cards")
    processes = _processes()
    if as_json:
        print_json([card | {"process": processes.get(card["id"])} for card in cards])
        return
    print_table(
        ("ID", "TITLE", "STATE", "MODEL", "TAGS", "PROBLEMS"),
        [
            (
                card["id"],
                card["title"],
                processes.get(card["id"], {}).get("state", "absent"),
                card.get("model"),
                card["tags"],
                "; ".join(card.get("problems", [])),
            )
            for card in cards
        ],
    )


@agents.command()
@click.argument("agent")
@records_option
@json_option
@asynchronous
async def show(agent: str, as_json: bool) -> None:
    """One agent: its record as it is understood, its process, its last exits."""
    async with connected() as client:
        cards = {card["id"]: card for card in await client.call("roster", "cards")}
    wanted = resolve_agent(list(cards.values()), agent)
    card = cards[wanted]
    process = _processes().get(wanted)
    if as_json:
        print_json(card | {"process": process})
        return
    for key, value in card.items():
        if key == "disposition" or value in (None, [], ""):
            continue
        click.echo(f"{key:<14}{' '.join(map(str, value)) if isinstance(value, list) else value}")
    if process:
        click.echo(f"{'process':<14}{process['state']}, pid {process['pid'] or '-'}, up {uptime(process)}, "
                   f"{process['restarts']} restarts")  # fmt: skip
        if process.get("last_exit"):
            click.echo(f"{'last exit':<14}{last_exit(process)}")
            for line in process["last_exit"].get("stderr") or ():
                click.echo(f"  {line}")
    if card.get("disposition"):
        click.echo("\n" + card["disposition"].strip())
