"""`egghead agents list|show|capabilities|grant|revoke|edit|handoff`; what starts and stops agents is in `agents_care`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from egghead.cli import Family
from egghead.cli.by_hand import edited, open_file
from egghead.cli.chat import resolve_agent
from egghead.cli.common import Seconds, asynchronous, connected, json_option, print_json, print_table, records_option
from egghead.cli.tree import last_exit, uptime
from egghead.client.tell import harmless, waiting
from egghead.errors import EggheadError, ExitCode
from egghead.status import workers

if TYPE_CHECKING:
    from egghead.capabilities.grants import Grant
    from egghead.client import Client


@click.group(cls=Family)
@records_option
def agents() -> None:
    """The agents: notes with `class: agent`, each a running process."""


async def _processes(client: Client) -> dict[str, dict[str, Any]]:
    found = {p["name"]: p for p in workers((await client.status())["tree"])}
    return {name.removeprefix("agents/"): p for name, p in found.items() if name.startswith("agents/")}


@agents.command(name="list")
@records_option
@json_option
@asynchronous
async def list_(as_json: bool) -> None:
    """Every agent: id, state, model, tags, what is wrong with its record."""
    async with connected() as client:
        cards = await with_faults(client, await client.call("roster", "cards"))
        processes = await _processes(client)
        waiting = await _waiting(client)
    if as_json:
        rows = [{"process": processes.get(card["id"]), "waiting": waiting.get(card["id"])} for card in cards]
        print_json([card | row for card, row in zip(cards, rows, strict=True)])
        return
    print_table(
        ("ID", "TITLE", "STATE", "MODEL", "TAGS", "PROBLEMS"),
        [
            (
                card["id"],
                card["title"],
                ", ".join(
                    filter(None, (processes.get(card["id"], card).get("state", "absent"), waiting.get(card["id"])))
                ),
                card.get("model"),
                card["tags"],
                "; ".join(_wrong(card)),
            )
            for card in cards
        ],
    )


async def _waiting(client: Client) -> dict[str, str]:
    """Agent -> where it waits for a model's provider; nothing of a gateway that does not answer now."""
    found = await _providers(client)
    places = {
        agent: f"{place}. in line for {row['name']}"
        for row in found["providers"]
        for agent, place in (row.get("places") or {}).items()
    }
    return {one["agent"]: f"waits for {one['provider']}" for one in found["waits"]} | places


async def with_faults(client: Client, cards: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cards, with a model that cannot be asked among the problems; as they are while the gateway does not answer."""
    models = sorted({card.get("model") or "" for card in cards})
    try:
        why = await client.call("llm", "unusable", models=models, timeout=2.0)
    except EggheadError:
        return cards
    faults = [filter(None, [why.get(card.get("model") or "")]) for card in cards]
    return [{**card, "problems": [*card["problems"], *fault]} for card, fault in zip(cards, faults, strict=True)]


async def _providers(client: Client) -> dict[str, Any]:
    try:
        found: dict[str, Any] = await client.call("llm", "providers", timeout=2.0)
    except EggheadError:
        return {"providers": [], "waits": []}
    return found


async def waits_of(client: Client, **only: str) -> list[dict[str, Any]]:
    """The model calls of an agent, or of a room, that wait: `[{agent, room, provider, place, why, until}]`; none of a
    gateway that does not answer now."""
    found = await _providers(client)
    return [one for one in found["waits"] if all(one[key] == value for key, value in only.items())]


def _wrong(card: dict[str, Any]) -> list[str]:
    """What keeps an agent from being as its note says."""
    held = [f"waits for `agents approve`: {'  '.join(card['held'])}"] if card.get("held") else []
    return [*card.get("problems", ()), *filter(None, (card.get("parked"), card.get("paused"))), *held]


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
        [card] = await with_faults(client, [cards[wanted]])
        process = (await _processes(client)).get(wanted)
        waits = await waits_of(client, agent=wanted)
    if as_json:
        print_json(card | {"process": process, "waits": waits})
        return
    for key, value in card.items():
        if key == "disposition" or value in (None, [], "", {}):
            continue
        click.echo(f"{key:<14}{_words(value)}")
    for one in waits:
        click.echo(f"{'waits':<14}in {harmless(one['room'] or '-')}: {harmless(waiting(one))}")
    if process:
        click.echo(f"{'process':<14}{process['state']}, pid {process['pid'] or '-'}, up {uptime(process)}, "
                   f"{process['restarts']} restarts")  # fmt: skip
        if process.get("last_exit"):
            click.echo(f"{'last exit':<14}{last_exit(process)}")
            for line in process["last_exit"].get("stderr") or ():
                click.echo(f"  {harmless(line)}")
    if card.get("disposition"):
        click.echo("\n" + harmless(card["disposition"].strip()))


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{key}={one}" for key, one in value.items())
    return harmless("  ".join(map(str, value)) if isinstance(value, list) else str(value))


async def _record(client: Client, agent: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The card of an agent and its note; a built-in without a note of its own gets one that says the same."""
    cards = await client.call("roster", "cards")
    wanted = resolve_agent(cards, agent)
    card = next(card for card in cards if card["id"] == wanted)
    if not card.get("builtin"):
        return card, await client.call("store", "get", id=card["record"])
    from egghead.agents.record import builtin_records

    shipped = builtin_records()[wanted]
    fields = {key: shipped[key] for key in ("title", "tags", "meta", "body") if shipped.get(key)}
    made = await client.call("store", "create", **{"id": card["record"], "class": "agent", **fields})
    click.echo(f"egghead: {wanted} is built in; its copy is now the note {card['record']}", err=True)
    return card, made["record"]


@agents.command()
@click.argument("agent")
@records_option
@json_option
@asynchronous
async def capabilities(agent: str, as_json: bool) -> None:
    """What AGENT may do: its grants, and the tools that they open."""
    async with connected() as client:
        cards = await client.call("roster", "cards")
        wanted = resolve_agent(cards, agent)
        card = next(card for card in cards if card["id"] == wanted)
        menu = await client.call("tools", "menu", agent=wanted)
    if as_json:
        print_json({"agent": wanted, "capabilities": card.get("capabilities", []), **menu})
        return
    click.echo("grants  " + (harmless("  ".join(card.get("capabilities", []))) or "none"))
    for tool in menu["tools"]:
        click.echo(f"  {tool['name']:<20} {tool['description'].splitlines()[0]}")
    for note in menu["notes"]:
        click.echo(click.style(f"  {harmless(note)}", fg="yellow"))


def typed_grants(specs: tuple[str, ...]) -> list[Grant]:
    """The grants of a command line. Raises EggheadError (USAGE) for one that cannot be."""
    from egghead.capabilities.grants import GrantError, parse_grant

    try:
        return [parse_grant(spec) for spec in specs]
    except GrantError as error:
        raise EggheadError(str(error), ExitCode.USAGE) from error


@agents.command()
@click.argument("agent")
@click.argument("spec", nargs=-1, required=True)
@records_option
@asynchronous
async def grant(agent: str, spec: tuple[str, ...]) -> None:
    """Give AGENT capabilities, e.g. `records.create` or `net.get{hosts=[example.org]}`, by editing its note."""
    await _regrant(agent, spec, "granted")


@agents.command()
@click.argument("agent")
@click.argument("spec", nargs=-1, required=True)
@records_option
@asynchronous
async def revoke(agent: str, spec: tuple[str, ...]) -> None:
    """Take capabilities away from AGENT, as `egghead agents capabilities` lists them."""
    await _regrant(agent, spec, "revoked")


async def _regrant(agent: str, spec: tuple[str, ...], how: str) -> None:
    from egghead.capabilities import edit
    from egghead.capabilities.grants import GrantError

    grants = typed_grants(spec)
    async with connected() as client:
        card, record = await _record(client, agent)
        try:
            changes = getattr(edit, how)(record["meta"], grants)
        except GrantError as error:
            raise EggheadError(str(error)) from error
        await client.call("store", "update", id=card["record"], changes=changes, revision=record["revision"])
    click.echo(f"{card['id']}: {'  '.join(changes['meta']['capabilities']) or 'no grants'}")


@agents.command()
@click.argument("agent")
@records_option
@asynchronous
async def edit(agent: str) -> None:
    """Open AGENT's note in $VISUAL or $EDITOR; saving it is the whole deployment. Of a node on another machine: its text,
    which is what the agent is told; its fields stay as they are."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) and not (os.environ.get("VISUAL") or os.environ.get("EDITOR")):
        raise click.UsageError(f"no terminal for an editor here; egghead records edit agents/{agent} --body TEXT")
    async with connected() as client:
        _, record = await _record(client, agent)
        if client.server is not None:
            await _edit_there(client, record)
            return
        path = Path(client.node["records"], record["path"])
    open_file(path)
    async with connected() as client:
        fault = (await client.call("store", "get", id=record["id"])).get("error")
    if fault:
        raise EggheadError(
            f"{record['path']!r} was saved, but {fault}; the agent goes on as it was until that is mended"
        )


@agents.command()
@click.argument("agent")
@click.option("--room", help="Only in this room; else in every room where it has spoken since its last handoff.")
@click.option("--timeout", type=Seconds(), default=180.0, show_default=True, help="Seconds to wait until it is back.")
@records_option
@json_option
@asynchronous
async def handoff(agent: str, room: str | None, timeout: float, as_json: bool) -> None:
    """Have AGENT write down where it stands, as a note, and begin afresh with it. Waits until it is back."""
    import asyncio

    from egghead.cli.chat import author_name
    from egghead.client.handoff import hand_off, spoken_in

    async with connected() as client:
        wanted = resolve_agent(await client.call("roster", "cards"), agent)
        rooms = [room] if room else await spoken_in(client, wanted)
        try:
            async with asyncio.timeout(timeout):
                over = await hand_off(client, wanted, rooms, author_name())
        except TimeoutError:
            raise EggheadError(
                f"{wanted} is not back after {timeout:g} s; it was asked, and does it when it can: egghead agents show {wanted}",
                ExitCode.TIMEOUT,
            ) from None
    if as_json:
        print_json(over)
    elif not over:
        click.echo(f"{wanted} has said nothing since its last handoff: there is nothing to hand off", err=True)
    else:
        for entry in over:
            click.echo(f"{entry['room']}: {harmless(entry['text'])}")
    if any(entry["outcome"] == "failed" for entry in over):
        raise SystemExit(ExitCode.FAILED)


async def _edit_there(client: Client, record: dict[str, Any]) -> None:
    import asyncio

    if record.get("cut"):
        raise EggheadError(f"{record['id']!r} is too long to be sent whole; edit the file on the node's machine")
    # In a thread: the connection is kept alive while somebody thinks.
    made = await asyncio.to_thread(edited, record["body"], ".md")
    if made is None:
        click.echo("egghead: nothing changed", err=True)
        return
    text, path = made
    try:
        await client.call("store", "update", id=record["id"], changes={"body": text}, revision=record["revision"])
    except EggheadError as error:
        raise EggheadError(f"{error}\nYour text is in {str(path)!r}", error.exit_code) from error
    path.unlink(missing_ok=True)


from egghead.cli import agents_care  # noqa: E402, F401 - its commands join the group
