"""The line chat of `egghead chat ROOM` on a terminal: what the room says as it comes, one line typed at a time.

Commands are a table; every one is an entry appended to the room's log or a call, as for any other client.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from egghead.cli import unknown
from egghead.cli.chat import NODES, TerminalPrinter
from egghead.cli.common import asynchronous, connected, options
from egghead.errors import EggheadError

if TYPE_CHECKING:
    from egghead.client import Client

BACKLOG = 20  # entries shown when entering a room


@dataclass
class Here:
    client: Client
    room: str
    author: str
    done: asyncio.Event = field(default_factory=asyncio.Event)
    own: set[str] = field(default_factory=set)  # ids of what was typed here: it is on the screen already

    async def append(self, kind: str, **fields: Any) -> None:
        from egghead.client.follow import append_reliably
        from egghead.rooms.entries import new_id

        entry = {"id": new_id(), "kind": kind, **fields}
        self.own.add(entry["id"])
        await append_reliably(self.client.peer, self.room, [entry], 30.0)


async def _who(here: Here, rest: str) -> None:
    for card in await here.client.call("roster", "cards"):
        flags = [f for f in ("quiet", "idle") if card.get(f)]
        click.echo(f"  {card['id']:<20} {card['title']}" + (f"  ({', '.join(flags)})" if flags else ""))


async def _rooms(here: Here, rest: str) -> None:
    for room in await here.client.call("lobby", "list"):
        click.echo(f"  {room['room']}")


async def _search(here: Here, rest: str) -> None:
    for hit in await here.client.call("index", "search", query=rest, limit=8):
        click.echo(f"  [[{hit['id']}]]  {hit['title']}")


async def _save(here: Here, rest: str) -> None:
    saved = await here.client.call("lobby", "save", room=here.room, timeout=60.0)
    click.echo(f"  saved as [[{saved['record']}]]")


async def _quit(here: Here, rest: str) -> None:
    here.done.set()


async def _help(here: Here, rest: str) -> None:
    for name, (usage, line, _) in COMMANDS.items():
        click.echo(f"  /{name} {usage}".ljust(24) + line)


def _about_agent(kind: str) -> Callable[[Here, str], Awaitable[None]]:
    async def run(here: Here, rest: str) -> None:
        agent = rest.strip().removeprefix("@")
        cards = {card["id"] for card in await here.client.call("roster", "cards")}
        if agent not in cards:
            raise EggheadError(unknown("agent", agent, cards))
        await here.append(kind, agent=agent, author=here.author)

    return run


def _plain(kind: str) -> Callable[[Here, str], Awaitable[None]]:
    async def run(here: Here, rest: str) -> None:
        await here.append(kind)

    return run


async def _topic(here: Here, rest: str) -> None:
    await here.append("topic", text=rest)


async def _budget(here: Here, rest: str) -> None:
    if not rest.isdigit() or not 1 <= int(rest) <= 1000:
        raise EggheadError(f"a budget is a number from 1 to 1000, not {rest!r}")
    await here.append("budget_set", budget=int(rest))


# name -> (usage, one line, what it does)
COMMANDS: dict[str, tuple[str, str, Callable[[Here, str], Awaitable[None]]]] = {
    "who": ("", "the agents of this node", _who),
    "rooms": ("", "the live rooms", _rooms),
    "search": ("TEXT", "search the notes", _search),
    "invite": ("AGENT", "bring an agent into this room", _about_agent("invited")),
    "kick": ("AGENT", "take an agent out of this room", _about_agent("kicked")),
    "mute": ("AGENT", "let an agent speak only when named", _about_agent("muted")),
    "unmute": ("AGENT", "let it speak again", _about_agent("unmuted")),
    "topic": ("TEXT", "set the topic", _topic),
    "budget": ("N", "how many turns a message may cause", _budget),
    "continue": ("", "go on after the budget was used up", _plain("continued")),
    "halt": ("", "stop whoever is speaking", _plain("halted")),
    "save": ("", "write this room's transcript as a note", _save),
    "help": ("", "this list", _help),
    "quit": ("", "leave (Ctrl-D)", _quit),
}


@asynchronous
async def line_chat(room: str, author: str) -> None:
    """Runs until /quit, Ctrl-D or Ctrl-C; when the node ends meanwhile, it goes on with another."""
    from egghead.client.connection import NodeGone

    typed, screen = Typed(), Screen()
    for left in reversed(range(NODES)):
        try:
            async with connected(start=True) as client:
                if client.server is None:
                    options()["records"] = client.node["records"]
                await _in_room(Here(client, room, author), typed, screen)
            return
        except NodeGone as gone:
            if not left:
                raise
            click.echo(click.style(f"— the node (pid {gone.pid}) has ended; going on with another", dim=True), err=True)


async def _in_room(here: Here, typed: Typed, screen: Screen) -> None:
    opened = await here.client.call("lobby", "open", room=here.room)
    last = int(opened.get("last", 0))
    if screen.last is None:
        click.echo(
            click.style(
                f"{here.room} on {here.client.server or here.client.node['records']}. /help lists commands, /quit leaves.",
                dim=True,
            )
        )
        screen.last = max(0, last - BACKLOG)
    elif screen.last > last:
        screen.last = 0  # another log under the same name
    here.own = screen.own
    tasks = [
        asyncio.create_task(_show(here, screen)),
        asyncio.create_task(_type(here, typed)),
        asyncio.create_task(here.done.wait()),
    ]
    try:
        finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in finished:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Screen:
    """What the person has seen, whatever node it came from. `last`: seq of the last entry, None before the first."""

    def __init__(self) -> None:
        self.last: int | None = None
        self.own: set[str] = set()
        self.printer = RoomPrinter(self.own)


class Typed:
    """Lines from the terminal, read by one thread for the whole chat. `current` was read and has not been sent yet:
    it outlives the node that it was meant for."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[str | None] = asyncio.Queue()
        self.current: str | None = None
        self.message = ""  # the id of its entry, so that it is in the log once
        self.tried = False
        self._reading = False

    async def next(self) -> str | None:
        """The next line; None at the end of the input."""
        from egghead.rooms.entries import new_id

        if self.current is None:
            self._read()
            self.current = await self.lines.get()
            self.message, self.tried = new_id(), False
        return self.current

    def sent(self) -> None:
        """The current line is done with."""
        self.current = None

    def _read(self) -> None:
        if self._reading:
            return
        self._reading = True
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - importing it gives input() its editing and history
        loop = asyncio.get_running_loop()

        def read() -> None:
            line: str | None = ""
            while line is not None:
                try:
                    line = input()
                except (EOFError, KeyboardInterrupt, ValueError):
                    line = None
                with contextlib.suppress(RuntimeError):  # the chat has ended meanwhile
                    loop.call_soon_threadsafe(self.lines.put_nowait, line)

        # A daemon thread: a read of the terminal cannot be cancelled, and leaving must not wait for Enter.
        import threading

        threading.Thread(target=read, daemon=True).start()


class RoomPrinter(TerminalPrinter):
    """As for one message, and people's lines too (but not the one typed here)."""

    def __init__(self, own: set[str]) -> None:
        super().__init__()
        self._own = own

    def entry(self, entry: dict[str, Any]) -> None:
        if entry["kind"] == "message" and not entry.get("turn"):
            if entry["id"] not in self._own:
                self._aside(f"{entry['author']}: {entry['text']}")
            return
        if entry["kind"] == "turn_ended" and entry["outcome"] == "failed":
            self._aside(f"— {entry['agent']}: {entry.get('reason') or 'failed'}", fg="yellow")
        super().entry(entry)


async def _show(here: Here, screen: Screen) -> None:
    from egghead.client.chat import Said
    from egghead.client.connection import sentence
    from egghead.client.follow import RoomReplaced, follow, text
    from ipc import IpcError

    printer = screen.printer

    async def stream() -> None:
        async for piece in text(here.client.peer, here.room):
            printer.text(Said(None, piece["turn"], piece["agent"], piece["text"]))

    streaming = asyncio.create_task(stream())
    try:
        async for entry in follow(here.client.peer, here.room, since=screen.last or 0):
            printer.entry(entry)
            screen.last = entry["seq"]
    except IpcError as error:
        raise sentence(error, f"rooms/{here.room}") from error
    except RoomReplaced as replaced:
        raise EggheadError(str(replaced)) from replaced
    finally:
        streaming.cancel()


async def _type(here: Here, typed: Typed) -> None:
    from egghead.client.chat import post
    from egghead.client.connection import sentence
    from egghead.client.follow import AWAY
    from ipc import IpcError

    while not here.done.is_set():
        line = await typed.next()
        if line is None:
            return
        try:
            if line.strip() and not line.startswith("/"):
                again, typed.tried = typed.tried, True
                here.own.add(typed.message)
                await post(here.client, here.room, line.strip(), here.author, 30.0, typed.message, again)
            else:
                await _line(here, line.strip())
        except EggheadError as error:
            click.echo(f"{error}", file=sys.stderr)
        except IpcError as error:
            if here.client.server is not None and isinstance(error, AWAY) and not line.startswith("/"):
                # A laptop may sleep for days: what was typed is sent when the node can be reached again, once.
                click.echo(click.style(f"— not sent yet: {line.strip()[:60]!r}", dim=True), err=True)
                await here.client.peer.wait_connected(timeout=1e8)
                continue
            click.echo(f"{sentence(error, f'rooms/{here.room}')}", file=sys.stderr)
        typed.sent()


@asynchronous
async def one_command(room: str, author: str, line: str) -> None:
    """`egghead chat ROOM /command`: as if it had been typed in the room. Raises EggheadError."""
    async with connected(start=True) as client:
        await client.call("lobby", "open", room=room)
        await _line(Here(client, room, author), line)


async def _line(here: Here, line: str) -> None:
    if not line:
        return
    if line.startswith("/"):
        name, _, rest = line[1:].partition(" ")
        if name not in COMMANDS:
            raise EggheadError(unknown("command", f"/{name}", [f"/{c}" for c in COMMANDS]))
        await COMMANDS[name][2](here, rest.strip())
        return
    await here.append("message", author=here.author, text=line)
