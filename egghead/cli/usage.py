"""`egghead usage`: tokens and money, by agent, room, model or day."""

from __future__ import annotations

from datetime import date

import click

from egghead.cli.common import asynchronous, connected, json_option, print_json, print_table, records_option
from egghead.client.commands import cost_text
from egghead.llm.usage import BY


@click.command()
@click.option("--by", type=click.Choice(BY), default="agent", show_default=True, help="What a line is about.")
@click.option("--since", metavar="DAY", help="From this day on (UTC), such as 2026-01-31; `today`.")
@click.option("--agent", metavar="AGENT", help="Only this agent.")
@click.option("--room", metavar="ROOM", help="Only this room.")
@click.option("--model", metavar="MODEL", help="Only this model.")
@records_option
@json_option
@asynchronous
async def usage(
    by: str, since: str | None, agent: str | None, room: str | None, model: str | None, as_json: bool
) -> None:
    """What the agents' model calls used: tokens, and money where the price is known.

    Every call counts, also of turns that failed or passed, and of hand-off notes. `cut`: calls that ended before the provider
    told what they used.
    """
    async with connected() as client:
        if agent is not None:
            from egghead.cli.chat import resolve_agent

            cards = await client.call("roster", "cards")
            agent = resolve_agent(cards, agent)
        found = await client.call(
            "llm", "usage", by=by, since=_day(since), agent=agent, room=room, model=model, timeout=60.0
        )
    if as_json:
        print_json(found)
        return
    rows = [_row(row[by], row) for row in found["rows"]]
    if len(rows) > 1:
        rows.append(_row("all", found["total"]))
    if found["rows"] and by != "day":
        rows.append(_row("today", found["today"]))
    print_table(
        (by.upper(), "CALLS", "INPUT", "OUTPUT", "CACHED", "CUT", "TOKENS", "USD"), rows, "no model was called yet"
    )
    for name, why in found["paused"].items():
        click.echo(click.style(f"{'all' if name == '*' else name}: {why}", fg="yellow"), err=True)


def _row(name: str, one: dict[str, int]) -> tuple[object, ...]:
    cached = one["cached_read"] + one["cached_write"]
    return (name, one["calls"], one["input"], one["output"], cached, one["cut"], one["tokens"], cost_text(one))


def _day(text: str | None) -> str | None:
    if text is None:
        return None
    if text == "today":
        from datetime import UTC, datetime

        return datetime.now(UTC).date().isoformat()
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise click.UsageError(f"--since is a day such as 2026-01-31, not {text!r}") from None
