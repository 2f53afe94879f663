"""The line chat of `egghead chat ROOM` on a terminal: what the room says as it comes, one line typed at a time.

What a command does is `egghead.client.commands`; here its reply is printed and followed. Two ways to type: `editor` on
a terminal that can be drawn on, else plain lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import click

from egghead.cli.chat import NODES, TerminalPrinter
from egghead.cli.common import asynchronous, connected, load_config, options, print_json
from egghead.client.tell import harmless
from egghead.errors import EggheadError

if TYPE_CHECKING:
    from egghead.client import Client
    from egghead.client.commands import Desk, Reply

BACKLOG = 8  # messages shown when entering a room, with what happened between them
LOOKED_AT = 500  # entries among which they are looked for
QUIETLY = 20  # entries shown where nobody has said anything
OWN_DROP = 5.0  # seconds in which a command that dropped the room says so itself
OWN = (("/quit", "leave the chat (Ctrl-D)"),)
UNTOLD = frozenset({"turn_started", "round_ended"})


class Keyboard(Protocol):
    """Where lines come from and what is shown goes to. `echo`: a typed line does not stay on the screen by itself."""

    echo: bool

    def put(self, text: str, nl: bool = True) -> None: ...
    def opened(self, room: str) -> contextlib.AbstractAsyncContextManager[None]: ...
    async def read(self) -> str | None: ...


class Plain:
    """Lines as the terminal gives them, read by one thread for the whole chat: for what cannot be drawn on."""

    echo = False

    def __init__(self) -> None:
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._reading = False

    def put(self, text: str, nl: bool = True) -> None:
        click.echo(text, nl=nl)

    @asynccontextmanager
    async def opened(self, room: str) -> AsyncIterator[None]:
        yield

    async def read(self) -> str | None:
        """The next line; None at the end of the input."""
        self._read()
        return await self._lines.get()

    def _read(self) -> None:
        if self._reading:
            return
        self._reading = True
        loop = asyncio.get_running_loop()

        def read() -> None:
            line: str | None = ""
            while line is not None:
                try:
                    line = input()
                except (EOFError, KeyboardInterrupt, ValueError):
                    line = None
                with contextlib.suppress(RuntimeError):  # the chat has ended meanwhile
                    loop.call_soon_threadsafe(self._lines.put_nowait, line)

        # A daemon thread: a read of the terminal cannot be cancelled, and leaving must not wait for Enter.
        import threading

        threading.Thread(target=read, daemon=True).start()


class Typed:
    """The line in hand: it was read and has not been sent yet, and outlives the node that it was meant for."""

    def __init__(self, keyboard: Keyboard) -> None:
        self.keyboard = keyboard
        self.current: str | None = None
        self.message = ""  # the id of its entry, so that it is in the log once
        self.tried = False

    async def next(self) -> str | None:
        """The next line; None at the end of the input."""
        from egghead.rooms.entries import new_id

        if self.current is None:
            self.current = await self.keyboard.read()
            self.message, self.tried = new_id(), False
        return self.current

    def sent(self) -> None:
        """The current line is done with."""
        self.current = None


class RoomPrinter(TerminalPrinter):
    """As for one message, and people's lines too (not the one typed here, where that is on the screen already)."""

    untold = UNTOLD

    def __init__(self, keyboard: Keyboard) -> None:
        super().__init__()
        self.keyboard = keyboard
        self.own: set[str] = set()  # ids of what was typed here

    def put(self, text: str = "", nl: bool = True, err: bool = False) -> None:
        self.keyboard.put(text, nl)

    def say(self, line: str, fg: str | None = None) -> None:
        """A line of ours between what the room says."""
        self._aside(line, fg)

    def entry(self, entry: dict[str, Any]) -> None:
        if entry["kind"] == "message" and not entry.get("turn"):
            self._tell_looked()
            if self.keyboard.echo or entry["id"] not in self.own:
                self._close()
                self._name(entry["author"])
                self.put(harmless(entry["text"]))
            return
        if entry["id"] in self.own and not self.keyboard.echo:
            return
        super().entry(entry)


class Screen:
    """What the person sees of one room, whatever node it comes from. `last`: seq of the last entry, None: none yet."""

    def __init__(self, room: str, keyboard: Keyboard) -> None:
        self.room = room
        self.last: int | None = None
        self.printer = RoomPrinter(keyboard)


def keyboard() -> Keyboard:
    """The editor where the terminal can be drawn on."""
    if sys.stdout.isatty() and sys.stdin.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown"):
        from egghead import paths
        from egghead.cli.editor import Editor

        return Editor(paths.state_dir() / "chat_history")
    return Plain()


@asynchronous
async def line_chat(room: str, author: str) -> None:
    """Runs until /quit, Ctrl-D or Ctrl-C; when the node ends meanwhile, it goes on with another."""
    from egghead.client.connection import NodeGone

    keys = keyboard()
    typed, screen = Typed(keys), Screen(room, keys)
    for left in reversed(range(NODES)):
        try:
            async with connected(start=True) as client:
                if client.server is None:
                    options()["records"] = client.node["records"]
                while (going := await _in_room(client, author, typed, screen)) is not None:
                    screen = Screen(going, keys)
            return
        except NodeGone as gone:
            if not left:
                raise
            click.echo(click.style(f"— the node (pid {gone.pid}) has ended; going on with another", dim=True), err=True)


async def _in_room(client: Client, author: str, typed: Typed, screen: Screen) -> str | None:
    """The chat in one room until it is left: the room to go to, None at the end."""
    from egghead.client.commands import Desk

    opened = await client.call("lobby", "open", room=screen.room, timeout=30.0)
    last = int(opened.get("last", 0))
    if screen.last is None:
        where = client.server or client.node["records"]
        screen.printer.say(f"{screen.room} on {where}. /help lists commands, /quit leaves.")
        screen.last = await _backlog(client, screen.room, last)
    elif screen.last > last:
        screen.last = 0  # another log under the same name
    desk = Desk(client, screen.room, author, screen.printer.own.add, OWN)
    _offer(client, typed.keyboard)
    async with typed.keyboard.opened(screen.room):
        showing = asyncio.create_task(_show(client, screen))
        typing = asyncio.create_task(_type(desk, typed, screen))
        dropping = asyncio.create_task(_dropped(client, screen.room))
        tasks: set[asyncio.Task[Any]] = {showing, typing, dropping}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if dropping.done() and not typing.done() and typed.current is not None:
                await asyncio.wait({typing}, timeout=OWN_DROP)  # perhaps it was dropped from here
            if typing.done():
                return typing.result()
            if not dropping.done():
                return showing.result()
            dropping.result()
            screen.printer.say(f"— {screen.room} was dropped")
            if typed.current is not None:
                screen.printer.say(f"— not sent: {typed.current.strip()[:60]!r}")
                typed.sent()
            return _default_instead(screen.room)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _backlog(client: Client, room: str, last: int) -> int:
    """Behind which entry the last messages begin. A turn with many tools has more entries than one would think."""
    try:
        page = await client.call(f"rooms/{room}", "since", seq=max(0, last - LOOKED_AT), limit=LOOKED_AT)
    except EggheadError:
        page = {"entries": []}  # it has just died, perhaps; who follows it will see
    messages = [entry["seq"] for entry in page["entries"] if entry["kind"] == "message"]
    return messages[-BACKLOG:][0] - 1 if messages else max(0, last - QUIETLY)


async def _dropped(client: Client, room: str) -> None:
    """Returns when somebody has dropped the room; following it would wait for ever."""
    from egghead.client.connection import sentence
    from egghead.client.follow import dropped
    from ipc import IpcError

    try:
        await dropped(client.peer, room)
    except IpcError as error:
        raise sentence(error, "lobby") from error


def _offer(client: Client, keyboard: Keyboard) -> None:
    if hasattr(keyboard, "candidates"):
        from egghead.client.complete import Names

        keyboard.candidates = Names(client).candidates


async def _show(client: Client, screen: Screen) -> None:
    from egghead.client.chat import Said
    from egghead.client.connection import sentence
    from egghead.client.follow import RoomReplaced, follow, text
    from ipc import IpcError

    printer = screen.printer

    async def stream() -> None:
        async for piece in text(client.peer, screen.room):
            printer.show(Said.of_piece(piece))

    streaming = asyncio.create_task(stream())
    try:
        async for entry in follow(client.peer, screen.room, since=screen.last or 0):
            printer.entry(entry)
            screen.last = entry["seq"]
    except IpcError as error:
        raise sentence(error, f"rooms/{screen.room}") from error
    except RoomReplaced as replaced:
        raise EggheadError(str(replaced)) from replaced
    finally:
        streaming.cancel()


async def _type(desk: Desk, typed: Typed, screen: Screen) -> str | None:
    """Does what is typed, line by line, until a line leads elsewhere: the room to go to, None at the end."""
    from egghead.client.commands import split
    from egghead.client.connection import sentence
    from egghead.client.follow import AWAY
    from ipc import IpcError

    while (line := await typed.next()) is not None:
        try:
            if not line.strip():
                pass
            elif (command := split(line)) is None:
                await _say(desk, typed, screen, line)
            elif command[0] == "quit":
                return None
            else:
                reply = await _command(desk, screen, line, command)
                if reply.room is not None or reply.leave:
                    typed.sent()
                    return _next_room(desk, reply)
        except EggheadError as error:
            screen.printer.say(f"{error}", "red")
        except IpcError as error:
            if desk.client.server is not None and isinstance(error, AWAY):
                # A laptop may sleep for days: what was typed is sent when the node can be reached again, once.
                screen.printer.say(f"— not sent yet: {line.strip()[:60]!r}")
                await desk.client.peer.wait_connected(timeout=1e8)
                continue
            screen.printer.say(f"{sentence(error, f'rooms/{desk.room}')}", "red")
        typed.sent()
    return None


async def _say(desk: Desk, typed: Typed, screen: Screen, line: str) -> None:
    from egghead.client.chat import post
    from egghead.client.commands import spoken

    again, typed.tried = typed.tried, True
    screen.printer.own.add(typed.message)
    await post(desk.client, desk.room, spoken(line), desk.author, 30.0, typed.message, again)


async def _command(desk: Desk, screen: Screen, line: str, command: tuple[str, str]) -> Reply:
    from egghead.client.commands import run

    if typed_off_screen := screen.printer.keyboard.echo:
        screen.printer.say(line.strip())
    reply = await run(desk, *command)
    for row in reply.lines:
        screen.printer.say(("  " if typed_off_screen else "") + row)
    return reply


def _next_room(desk: Desk, reply: Reply) -> str | None:
    """Where a reply leads. Who leaves the default room leaves the chat."""
    if reply.room is not None:
        return reply.room
    return _default_instead(desk.room)


def _default_instead(room: str) -> str | None:
    default = load_config()[0].default_room
    return default if room != default else None


@asynchronous
async def one_command(room: str, author: str, command: tuple[str, str], as_json: bool = False) -> None:
    """`egghead chat ROOM /command`: as if it had been typed in the room. Raises EggheadError."""
    from egghead.client.commands import NEED_ROOM, TABLE, Desk, run

    async with connected(start=True) as client:
        if command[0] in NEED_ROOM:
            await client.call("lobby", "show", room=room, timeout=30.0)
        elif command[0] in TABLE and command[0] != "join":
            await client.call("lobby", "open", room=room, timeout=30.0)
        reply = await run(Desk(client, room, author), *command)
    if as_json:
        print_json(reply.data)
        return
    for row in reply.lines:
        click.echo(harmless(row))
