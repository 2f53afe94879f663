"""`egghead agents new|save|restart|park|unpark|approve`: what makes agents, and what starts and stops them."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from egghead.cli.agents import agents, typed_grants, with_faults
from egghead.cli.by_hand import edited
from egghead.cli.chat import resolve_agent, say
from egghead.cli.common import Seconds, asynchronous, connected, json_option, piped, print_json, records_option
from egghead.errors import EggheadError, ExitCode

if TYPE_CHECKING:
    from egghead.capabilities.grants import Grant
    from egghead.client import Client

STARTING = 10.0  # seconds in which a new agent should run
TEMPLATE = "You are {name}. Say what you are there for, what you know, and how you answer.\n"

# The whole instruction: the agent does it in a turn like any other, with its own tools and its own rights.
DISTIL = (
    "@{agent} Write down as notes what is worth keeping of this conversation: facts, decisions and their reasons, open "
    "questions. Look first whether there is a note already and extend it rather than make another; one subject a note; link "
    "notes with [[id]]. Then say in one line each which notes you have written. If nothing is worth keeping, or you may not "
    "write notes, say that and do nothing else."
)


@agents.command()
@click.argument("name", required=False)
@click.option("--id", "id_", metavar="ID", help="Default: made from the name.")
@click.option("--model", metavar="MODEL", help="provider/model; without it the node's default.")
@click.option(
    "--can", "can", metavar="SPEC", multiple=True, help="A capability, e.g. records.create; `none` for none at all."
)
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="What it is asked about.")
@click.option("--text", metavar="TEXT", help="What it is told; `-` reads standard input.")
@click.option("--quiet", is_flag=True, help="Answers open messages only when nobody else is there.")
@click.option("--idle", is_flag=True, help="Joins a room only when invited.")
@records_option
@json_option
@asynchronous
async def new(
    name: str | None, id_: str | None, model: str | None, can: tuple[str, ...], tags: tuple[str, ...], text: str | None,
    quiet: bool, idle: bool, as_json: bool,
) -> None:  # fmt: skip
    """Make an agent: asks its name, its model and what it may do, and opens your editor.

    With NAME and any option, or when it is not run on a terminal, it asks nothing.
    """
    asking = (
        sys.stdin.isatty() and sys.stdout.isatty() and not (name and (model or can or tags or text or quiet or idle))
    )
    if not asking and not name:
        raise click.UsageError("give the agent a NAME")
    typed: Path | None = None
    async with connected() as client:
        if asking:
            # In a thread: the connection is kept alive while somebody thinks.
            asked = await asyncio.to_thread(_ask, name, await client.call("llm", "models"), model, can)
            name, model, can, text, typed = asked
        with _safe(typed):
            assert name is not None
            meta: dict[str, Any] = {"model": model} if model else {}
            meta |= {key: True for key, given in (("quiet", quiet), ("idle", idle)) if given}
            if can:
                meta["capabilities"] = [str(grant) for grant in _grants(can)]
            agent = id_.removeprefix("agents/") if id_ else _slug(name)
            _check_id(agent, name)
            body = piped() if text == "-" and typed is None else text
            fields = {"title": name, "body": body or TEMPLATE.format(name=name), "tags": list(tags), "meta": meta}
            await client.call("store", "create", id=f"agents/{agent}", timeout=30.0, **{"class": "agent", **fields})
        [card] = await with_faults(client, [await _started(client, agent)])
    if as_json:
        print_json(card)
        return
    click.echo(card["record"])
    for problem in card["problems"]:
        click.echo(f"egghead: {problem}", err=True)
    then = f"ask it: egghead prompt {agent} TEXT" if card["state"] == "running" else card.get("reason") or ""
    click.echo(f"{card['title']} is {card['state']}; {then}", err=True)


def _ask(
    name: str | None, models: list[dict[str, Any]], model: str | None, can: tuple[str, ...]
) -> tuple[str, str | None, tuple[str, ...], str | None, Path | None]:
    """What a person answers; last the file that its text is in."""
    from egghead.capabilities.catalog import HIGH, LOW, MEDIUM, VERBS

    name = name or click.prompt("Name", err=True)
    if model is None:
        click.echo("Models: " + ", ".join(m["name"] + (" (default)" if m["default"] else "") for m in models), err=True)
        model = click.prompt("Model (Enter: the default)", default="", show_default=False, err=True) or None
    if not can:
        for risk in (LOW, MEDIUM, HIGH):
            click.echo(f"  {risk:<7}" + "  ".join(verb.name for verb in VERBS.values() if verb.risk == risk), err=True)
        while True:
            given = click.prompt("What it may do, separated by spaces", default="records.read", err=True)
            try:
                _grants(tuple(given.split()))
            except EggheadError as error:
                click.echo(f"{error}", err=True)
                continue
            can = tuple(given.split())
            break
    made = edited(TEMPLATE.format(name=name), ".md")
    return name, model, can, *(made or (None, None))


@contextmanager
def _safe(path: Path | None) -> Iterator[None]:
    """Removes the file of what was typed once it is a note; else says where it is."""
    try:
        yield
    except EggheadError as error:
        raise EggheadError(
            f"{error}" + (f"\nYour text is in {str(path)!r}" if path else ""), error.exit_code
        ) from error
    if path is not None:
        path.unlink(missing_ok=True)


def _grants(specs: tuple[str, ...]) -> list[Grant]:
    return [] if specs == ("none",) else typed_grants(specs)


def _slug(name: str) -> str:
    return re.sub(r"-{2,}", "-", re.sub(r"[^\w./-]+", "-", name.strip().lower())).strip("-./")


def _check_id(agent: str, name: str) -> None:
    from egghead.agents.record import unusable

    reason = unusable(agent) if agent else f"the name {name!r} has no letter or digit"
    if reason is not None:
        raise EggheadError(f"{reason}; or say it: --id ID", ExitCode.USAGE)


async def _started(client: Client, agent: str) -> dict[str, Any]:
    """The card of an agent that was just made, when it runs or will not."""
    card: dict[str, Any] | None = None
    deadline = asyncio.get_running_loop().time() + STARTING
    while asyncio.get_running_loop().time() < deadline:
        cards = await client.call("roster", "cards")
        # The note of a built-in's id was made this moment: until the roster has read it, the card is not the note's.
        card = next((dict(card) for card in cards if card["id"] == agent and not card["builtin"]), None)
        if card is not None and card["state"] != "starting":
            return card
        await asyncio.sleep(0.05)  # the roster publishes cards, but a client of a moment need not follow them
    if card is None:
        raise EggheadError(f"the note agents/{agent} is there, but the roster does not know it; see: egghead logs")
    return card


@agents.command()
@click.argument("agent")
@click.option(
    "--room", metavar="ROOM", help="Of this room; else of every room where it has spoken since its last handoff."
)
@click.option("--timeout", type=Seconds(), default=300.0, show_default=True, help="Seconds to wait for each room.")
@records_option
@json_option
def save(agent: str, room: str | None, timeout: float, as_json: bool) -> None:
    """Have AGENT write down what is worth keeping of its conversations, as notes, with its own rights."""
    found, rooms = _where(agent, room)
    if not rooms:
        raise EggheadError(f"{found} has said nothing since its last handoff: there is nothing to write down")
    for one in rooms:
        say(one, DISTIL.format(agent=found), as_json, timeout)


@asynchronous
async def _where(agent: str, room: str | None) -> tuple[str, list[str]]:
    from egghead.client.handoff import spoken_in

    async with connected() as client:
        found = resolve_agent(await client.call("roster", "cards"), agent)
        if room:
            await client.call("lobby", "show", room=room)  # talking there would make a room that is misspelt
        return found, [room] if room else await spoken_in(client, found)


async def _one(method: str, agent: str, as_json: bool, **more: Any) -> dict[str, Any]:
    async with connected() as client:
        wanted = resolve_agent(await client.call("roster", "cards"), agent)
        done: dict[str, Any] = await client.call("roster", method, agent=wanted, timeout=60.0, **more)
    if as_json:
        print_json(done)
    return done


@agents.command()
@click.argument("agent")
@records_option
@json_option
@asynchronous
async def restart(agent: str, as_json: bool) -> None:
    """Start AGENT's process anew; it finishes its turns first, and knows afterwards what it knew."""
    done = await _one("restart", agent, as_json)
    _say_state(done, as_json)


@agents.command()
@click.argument("agent")
@click.argument("reason", required=False, default="")
@records_option
@json_option
@asynchronous
async def park(agent: str, reason: str, as_json: bool) -> None:
    """Stop AGENT and keep it stopped, over restarts of the node too, until `agents unpark`. REASON is shown to all."""
    done = await _one("park", agent, as_json, reason=reason)
    if not as_json:
        click.echo(f"{done['agent']} is parked: {done['parked']}")


@agents.command()
@click.argument("agent")
@records_option
@json_option
@asynchronous
async def unpark(agent: str, as_json: bool) -> None:
    """Let AGENT run again, whoever has parked it: a person, or the supervisor because it crashed too often."""
    _say_state(await _one("unpark", agent, as_json), as_json)


def _say_state(done: dict[str, Any], as_json: bool) -> None:
    if not as_json:
        click.echo(f"{done['agent']} is {done['state']}")
    if done["state"] not in ("running", "restarting"):
        raise EggheadError(f"{done['agent']} is {done['state']}; why: egghead agents show {done['agent']}")


@agents.command()
@click.argument("agent")
@records_option
@json_option
@asynchronous
async def approve(agent: str, as_json: bool) -> None:
    """Let grants count that came into AGENT's note from outside (config `review_grants: hold`)."""
    done = await _one("approve", agent, as_json)
    if not as_json:
        click.echo(f"{done['agent']}: {'  '.join(done['approved']) or 'nothing was waiting'}")
