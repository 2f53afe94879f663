"""`egghead chat` and `egghead prompt`: one message and its answers, or a line chat on a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from egghead.cli.common import (
    Seconds,
    asynchronous,
    connected,
    json_option,
    load_config,
    options,
    piped,
    records_option,
    to_json,
)
from egghead.client.tell import harmless, line, waiting
from egghead.errors import EggheadError, ExitCode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from egghead.client import Client, Said

NODES = 4  # how many nodes may end under one message before it is given up


def author_name() -> str:
    from egghead.client.connection import user

    config, _ = load_config()
    return config.user.name or user()


@click.command()
@click.argument("room", required=False)
@click.argument("text", required=False)
@records_option
@json_option
@click.option("--timeout", type=Seconds(), default=300.0, show_default=True, help="Seconds to wait for the answers.")
def chat(room: str | None, text: str | None, as_json: bool, timeout: float) -> None:
    """Talk in ROOM (default: the default room).

    With TEXT, or with standard input that is not a terminal: one message (or a /command); prints the answers and exits
    when the round has ended. Without: a line chat. When no node is running, one is started for as long as this command runs.
    """
    room = (room or "").removeprefix("#") or load_config()[0].default_room
    if text is None and not sys.stdin.isatty():
        text = piped()
    if text is not None:
        text = something(text)
    if text is None:
        from egghead.cli.linechat import line_chat

        line_chat(room, author_name())
    else:
        from egghead.client.commands import split, spoken

        if (command := split(text)) is not None:
            from egghead.cli.linechat import one_command

            if command != ("quit", ""):  # piped from a script for the line chat: there is nothing to leave
                one_command(room, author_name(), command, as_json)
        else:
            say(room, spoken(text), as_json, timeout)


@click.command()
@click.argument("agent")
@click.argument("text", required=False)
@records_option
@json_option
@click.option("--timeout", type=Seconds(), default=300.0, show_default=True, help="Seconds to wait for the answer.")
def prompt(agent: str, text: str | None, as_json: bool, timeout: float) -> None:
    """Ask AGENT, in a room of two that remembers: TEXT, or standard input."""
    say(None, something(text), as_json, timeout, agent)


def something(text: str | None) -> str:
    """`text`, else what is piped in, without the space around it. Raises UsageError when nothing is left: agents would
    answer to nothing; UnicodeEncodeError for bytes that are no UTF-8."""
    if text is None:
        text = "" if sys.stdin.isatty() else piped()
    if not text.strip():
        raise click.UsageError("nothing to say: give TEXT, or pipe it in")
    text.encode()  # what is no text is refused before a node is asked, or started, for it
    return text.strip()


@asynchronous
async def say(room: str | None, text: str, as_json: bool, timeout: float, agent: str | None = None) -> None:
    """Posts `text` in `room`, or in the room of two with `agent`, and shows what follows until the round has ended.

    When the node ends meanwhile (it may have been another client's own), the same message goes on under a new one.
    """
    from egghead.client.chat import converse
    from egghead.client.connection import NodeGone
    from egghead.rooms.entries import new_id

    printer: Printer = JsonPrinter() if as_json else TerminalPrinter() if sys.stdout.isatty() else PlainPrinter()
    message, again, where = new_id(), False, room
    deadline = time.monotonic() + timeout
    for left in reversed(range(NODES)):
        try:
            async with connected(start=True) as client:
                # The next node, if there must be one, is for these notes, whichever this one was found by.
                if client.server is None:
                    options()["records"] = client.node["records"]
                if where is None:
                    cards = await client.call("roster", "cards")
                    where = f"dm/{resolve_agent(cards, agent or '')}"
                elif where.startswith("dm/"):
                    await _somebody_there(client, where)
                await client.call("lobby", "open", room=where)
                remaining = max(0.1, deadline - time.monotonic())
                await _listen(printer, converse(client, where, text, author_name(), remaining, message, again))
            break
        except NodeGone as gone:
            if not left:
                raise
            again = True
            click.echo(f"egghead: the node (pid {gone.pid}) has ended; going on with another", err=True)
        except TimeoutError:
            raise EggheadError(
                f"no end of the answers within {timeout:g} s. What comes later is kept: egghead rooms show {where}; "
                "what holds it up: egghead logs",
                ExitCode.TIMEOUT,
            ) from None
    printer.finish()


async def _somebody_there(client: Client, room: str) -> None:
    """Raises EggheadError for a room of two that is not there and never would have an agent in it: a name misspelt."""
    try:
        await client.call("lobby", "show", room=room)
    except EggheadError as error:
        if error.exit_code != ExitCode.NOT_FOUND:
            raise
        cards = await client.call("roster", "cards")
        name = room.removeprefix("dm/")
        if all(card["id"] != name for card in cards):
            found = resolve_agent(cards, name)
            raise EggheadError(
                f"there is no agent with the id {name!r}; write dm/{found}", ExitCode.NOT_FOUND
            ) from None


async def _listen(printer: Printer, conversation: AsyncGenerator[Said, None]) -> None:
    # aclosing: an interrupted conversation must leave its subscriptions before the connection goes
    async with contextlib.aclosing(conversation) as happenings:
        async for said in happenings:
            printer.show(said)


def resolve_agent(cards: list[dict[str, Any]], name: str) -> str:
    """The id meant by `name`: an id, its last segment, or a title. Raises EggheadError with the nearest: a command that
    changes or spends something guesses nobody."""
    from egghead.client.commands import choose

    return choose(name, {card["id"]: card["title"] for card in cards}, "", near=False)[0]


class Printer:
    """Shows what happens after a message. Agents' words go to stdout, what is about them to stderr."""

    def __init__(self) -> None:
        self.seen = 0  # seq of the last entry: under another node the conversation is told again from its beginning
        self.spoke = 0
        self.failures: list[str] = []
        self.waiting: dict[str | None, tuple[Any, Any]] = {}  # turn -> what was told last of what it waits for

    def show(self, said: Said) -> None:
        if said.entry is None:
            if said.own and said.waits is None:
                self.text(said)
            elif said.own and (told := self.news(said)):
                self.wait(told)
            return
        entry = said.entry
        if entry["seq"] <= self.seen:
            return
        self.seen = entry["seq"]
        if not said.own:
            self.other(entry)
            return
        self.entry(entry)
        if entry["kind"] == "turn_ended":
            self.spoke += entry["outcome"] == "spoke"
            if entry["outcome"] in ("failed", "halted"):
                self.failures.append(str(line(entry)))

    def text(self, said: Said) -> None:
        """More text of a turn."""

    def news(self, said: Said) -> str:
        """What a model call waits for, once until the reason or the end of it changes: not for each place in a line."""
        waits = said.waits or {}
        now = (waits.get("why"), waits.get("until"))
        if self.waiting.get(said.turn) == now:
            return ""
        self.waiting[said.turn] = now
        return f"{said.author or said.agent} {waiting(waits)}"

    def wait(self, told: str) -> None:
        """A sentence about a model call that waits."""

    def entry(self, entry: dict[str, Any]) -> None:
        """One entry of the log about the message that was posted."""

    def other(self, entry: dict[str, Any]) -> None:
        """One entry about what somebody else said in the room meanwhile: it would pass for an answer."""

    def finish(self) -> None:
        for failure in self.failures:
            click.echo(f"egghead: {harmless(failure)}", err=True)
        if not self.spoke:
            raise EggheadError("nobody had an answer", ExitCode.NO_ANSWER)


class JsonPrinter(Printer):
    def entry(self, entry: dict[str, Any]) -> None:
        click.echo(to_json(entry))

    other = entry


class PlainPrinter(Printer):
    """For pipes: only what agents said, each message whole; with a name when there is more than one speaker."""

    def __init__(self) -> None:
        super().__init__()
        self.named = False  # a second message has its name; in a jam it comes before the first one's turn has ended

    def wait(self, told: str) -> None:
        click.echo(harmless(told), err=True)

    def entry(self, entry: dict[str, Any]) -> None:
        if entry["kind"] == "message" and entry.get("turn"):
            if self.named:
                click.echo(f"\n{entry['author']}:")
            self.named = True
            click.echo(entry["text"])
        elif entry["kind"] in ("denied", "notice", "round_planned", "budget_exhausted") and (told := line(entry)):
            click.echo(harmless(told), err=True)


class TerminalPrinter(Printer):
    """For people: text as it comes, tools as dim lines. Of agents that write at once (a jam) one streams, the others'
    messages come whole: pieces of all of them would be a jumble."""

    def __init__(self) -> None:
        super().__init__()
        self.open: str | None = None  # the turn whose text is on the screen
        self.floor: str | None = None  # the turn that streams, until it ends
        self.held: dict[str, str] = {}  # what the others have written meanwhile
        self.shown: dict[str, str] = {}
        self.afresh: set[str] = set()  # who has handed off meanwhile: that is why it is asked again
        self.looked: dict[str, int] = {}  # who is looking things up -> how many read-only calls so far

    def put(self, text: str = "", nl: bool = True, err: bool = False) -> None:
        """Write to the terminal."""
        click.echo(text, nl=nl, err=err)

    def wait(self, told: str) -> None:
        self._aside(f"— {told}")

    def text(self, said: Said) -> None:
        turn = said.turn or ""
        self.floor = self.floor or turn
        text = self.held.pop(turn, "") + said.text
        if self.floor != turn:
            self.held[turn] = text
            return
        self._tell_looked()
        if self.open != turn:
            self._close()
            self._name(said.author or said.agent or "")
            self.open = turn
        self.put(harmless(text), nl=False)
        self.shown[turn] = self.shown.get(turn, "") + text

    def _give_floor(self, turn: str) -> None:
        """What this turn writes has come to its end, or begins anew."""
        self.held.pop(turn, None)
        if self.floor == turn:
            self.floor = None

    def entry(self, entry: dict[str, Any]) -> None:
        kind = entry["kind"]
        if kind == "tool_started" and entry.get("read_only"):
            speaker = entry["by"].removeprefix("agents/")
            self.looked[speaker] = self.looked.get(speaker, 0) + 1
            return
        if kind != "tool_ended":
            self._tell_looked()
        if kind == "message" and entry.get("turn"):
            if self.shown.get(entry["turn"], "").strip() != entry["text"].strip():
                # Deltas were lost, or an attempt before this one was cut short: the entry is the truth.
                self._close()
                self._name(entry["author"])
                self.put(harmless(entry["text"]), nl=False)
            self.open = entry["turn"]
            self._close()
            self._give_floor(entry["turn"])
        elif kind == "tool_started":
            self._aside(f"* {entry['by'].removeprefix('agents/')} {entry.get('summary') or entry['tool']}")
        elif kind == "turn_started" and entry["attempt"] > 1:
            self.shown.pop(entry["turn"], None)
            self._give_floor(entry["turn"])
            if entry["agent"] not in self.afresh:
                self._aside(f"— {entry['agent']} died in the middle of this; asking again")
        else:
            if kind == "handoff_started":
                self.afresh.add(entry["agent"])
            elif kind == "turn_ended":
                self._give_floor(entry["turn"])
            elif kind == "round_ended":  # a piece that came late has no end of its own
                self.floor = None
            self._tell(entry)

    def _tell(self, entry: dict[str, Any]) -> None:
        """One entry that is about the conversation, as every surface tells it."""
        told = line(entry)
        if told is not None and entry["kind"] not in self.untold:
            mark = "*" if entry["kind"] == "action" else "—"
            self._aside(f"{mark} {told}", fg="yellow" if entry["kind"] in ("denied", "parked", "turn_ended") else None)

    # What a single question does not show: its failures are told at the end, its own plan only with a reason.
    untold: frozenset[str] = frozenset({"turn_ended", "joined", "saved"})

    def finish(self) -> None:
        self._tell_looked()
        self._close()
        super().finish()

    def _tell_looked(self) -> None:
        """One line for all the looking up; a line for each search and each note read would bury the answer."""
        looked, self.looked = self.looked, {}
        for speaker, times in looked.items():
            self._aside(f"* {speaker} looks it up in the notes ({times} look-up{'s' * (times != 1)})")

    def _name(self, name: str) -> None:
        self.put(click.style(f"{harmless(name)}: ", bold=True), nl=False)

    def _close(self) -> None:
        if self.open is not None:
            self.put()
            self.open = None

    def _aside(self, text: str, fg: str | None = None) -> None:
        self._close()
        self.put(click.style(harmless(text), dim=fg is None, fg=fg), err=True)
