"""`egghead consult`: one question, the answers of several agents, and who is missing."""

from __future__ import annotations

import click

from egghead.cli.chat import author_name, something
from egghead.cli.common import Seconds, asynchronous, connected, json_option, print_json, records_option
from egghead.client.tell import harmless
from egghead.errors import EggheadError


@click.command()
@click.argument("question", required=False)
@click.option("--agents", metavar="A,B", help="Whom to ask (default: those that the question is for).")
@click.option("--timeout", type=Seconds(), default=120.0, show_default=True, help="Seconds in all.")
@click.option(
    "--budget", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many turns it may take."
)
@records_option
@json_option
@asynchronous
async def consult(question: str | None, agents: str | None, timeout: float, budget: int, as_json: bool) -> None:
    """Ask several agents in a room of its own and print their answers in order. QUESTION may be piped in.

    Over when everybody has answered or passed, at the budget, or at the timeout with what there is; who is missing is said.
    The transcript is kept as a note, the room is not. Exit status: 0 with an answer, 6 at the timeout, 7 without one.
    """
    from egghead.client.consult import Answer, Consultation, exit_code
    from egghead.client.consult import consult as ask

    def heard(answer: Answer) -> None:
        if not as_json:
            click.echo(click.style(f"{harmless(answer.title)}:", bold=True) + (" [cut off]" if answer.cut else ""))
            click.echo(harmless(answer.text) + "\n")

    names = [name for name in (agents or "").replace(",", " ").split() if name]
    if agents is not None and not names:
        raise click.UsageError("--agents needs at least one agent, as in --agents scout,nib")
    wanted = something(question)
    async with connected(start=True) as client:
        found: Consultation = await ask(client, wanted, author_name(), names, timeout, budget, heard)
    if as_json:
        print_json(found.to_dict())
    else:
        _tell(found)
    code = exit_code(found)
    if code and not as_json:
        ended = f"no end within {timeout:g} s" if found.ended == "timeout" else "nobody had an answer"
        raise EggheadError(ended + (f"; {found.reason}" if found.reason and not found.answers else ""), code)
    click.get_current_context().exit(int(code))


def _tell(found: object) -> None:
    from egghead.client.consult import Consultation

    assert isinstance(found, Consultation)
    for agent in found.passed:
        click.echo(click.style(f"* {agent} has nothing to add", dim=True), err=True)
    for agent, why in found.missing.items():
        click.echo(click.style(f"— {agent} is missing: {harmless(why)}", fg="yellow"), err=True)
    if found.record:
        click.echo(click.style(f"— kept as [[{found.record}]]", dim=True), err=True)
