"""The commands of a room: one table for every surface (line chat, TUI, web, IRC, MCP).

A command is an entry in the room's log or a call, as for any other client, and answers with a `Reply`: lines of plain
text, the same as data, and where to go. Nothing here prints, asks or knows a terminal; how lines are drawn is the
surface's business. Whom a name means is `egghead.rooms.addressing.named`; what may stand in a log is `entries`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from egghead.client.connection import Client, sentence
from egghead.client.follow import RoomDropped, append_reliably, still_there
from egghead.errors import EggheadError, ExitCode
from egghead.llm.usage import money
from egghead.rooms.addressing import Named, named
from egghead.rooms.entries import MAX_BUDGET, new_id
from ipc import IpcError, RemoteError

LISTED = 60  # agents shown by /list; a room may have a thousand
FOUND = 10  # hits shown by /search
TRIES = 20  # how often a command that depends on what is in the room is decided anew
APPENDED = 30.0  # seconds for an entry to be on disk

_COMMAND = re.compile(r"/([A-Za-z][A-Za-z-]*)(?=\s|\Z)")


@dataclass(frozen=True)
class Reply:
    """What a command came to. `data`: the same as JSON values. `room`: go there; `leave`: this room is left."""

    lines: tuple[str, ...] = ()
    data: Any = None
    room: str | None = None
    leave: bool = False


@dataclass(frozen=True)
class Desk:
    """Where a person sits. `posted`: told the id of each entry before it is sent, so that a surface knows its own. `own`: what
    the surface understands beside the commands here, for /help."""

    client: Client
    room: str
    author: str
    posted: Callable[[str], object] = field(default=lambda id: None)
    own: Sequence[tuple[str, str]] = ()

    async def append(self, kind: str, **fields: Any) -> dict[str, Any]:
        """One entry in the room's log, once. Raises EggheadError."""
        entry = {"id": new_id(), "kind": kind, **fields, "author": self.author}
        self.posted(entry["id"])
        try:
            stored = await append_reliably(self.client.peer, self.room, [entry], APPENDED, still_there)
        except RoomDropped as gone:
            raise EggheadError(str(gone)) from gone
        except IpcError as error:
            raise sentence(error, f"rooms/{self.room}") from error
        return dict(stored[0])

    async def append_if(self, expect: int, kind: str, **fields: Any) -> bool:
        """The same, only as the entry right after `expect`; False when somebody was faster. Raises EggheadError."""
        entry = {"id": new_id(), "kind": kind, **fields, "author": self.author}
        self.posted(entry["id"])
        try:
            await self.client.peer.call(f"rooms/{self.room}", "append", entries=[entry], expect=expect, timeout=10.0)
        except RemoteError as error:
            if error.type == "Conflict":
                return False
            raise sentence(error, f"rooms/{self.room}") from error
        except IpcError as error:
            raise sentence(error, f"rooms/{self.room}") from error
        return True

    async def cards(self) -> list[dict[str, Any]]:
        """Every agent of the node."""
        found: list[dict[str, Any]] = await self.client.call("roster", "cards")
        return found

    async def shown(self) -> dict[str, Any]:
        """The room as the lobby shows it."""
        found: dict[str, Any] = await self.client.call("lobby", "show", room=self.room)
        return found


Run = Callable[[Desk, str], Awaitable[Reply]]


@dataclass(frozen=True)
class Command:
    """`usage`: the arguments, `[X]` may be left out. `rest`: what completion offers there: agent, room or note."""

    name: str
    usage: str
    line: str
    run: Run
    rest: str = ""

    @property
    def shown(self) -> str:
        """As it is typed."""
        return f"/{self.name} {self.usage}".strip()


def split(line: str) -> tuple[str, str] | None:
    """(command, rest) of a typed line; None when it is something to say. A path is no command, and `//x` says `/x`."""
    found = _COMMAND.match(line.strip())
    return None if found is None else (found[1].lower(), line.strip()[found.end() :].strip())


def spoken(line: str) -> str:
    """What a line that is no command says."""
    text = line.strip()
    return text[1:] if text.startswith("//") else text


# What makes no sense in a room that there is not yet; from the shell, a slip in its name makes no room for them.
NEED_ROOM = frozenset({"list", "usage", "save", "drop", "halt", "continue", "handoff", "kick", "mute", "unmute"})


async def run(desk: Desk, name: str, rest: str) -> Reply:
    """Run one command. Raises EggheadError with a sentence: unknown command, wrong arguments, no rights, refused."""
    command = TABLE.get(name)
    if command is None:
        near = difflib.get_close_matches(name, TABLE, n=1, cutoff=0.5)
        hint = f"; did you mean {TABLE[near[0]].shown!r}?" if near else "; /help lists the commands"
        raise EggheadError(f"no such command: {'/' + name!r}{hint}", ExitCode.USAGE)
    if not command.usage and rest:
        raise EggheadError(f"{command.shown} takes nothing after it, not {rest!r}", ExitCode.USAGE)
    if command.usage and not command.usage.startswith("[") and not rest:
        raise EggheadError(f"say what: {command.shown}", ExitCode.USAGE)
    return await command.run(desk, rest)


# -- rooms


async def _join(desk: Desk, rest: str) -> Reply:
    room = rest.removeprefix("#")
    opened = await desk.client.call("lobby", "open", room=room, timeout=30.0)
    how = ""
    if opened.get("fresh"):
        count = opened.get("restored") or 0
        how = f"{room} is a new room" if not count else f"{room} is open again, with {count} messages of its transcript"
    return Reply((how,) if how else (), opened, room=str(opened["room"]))


async def _leave(desk: Desk, rest: str) -> Reply:
    return Reply(leave=True)


async def _rooms(desk: Desk, rest: str) -> Reply:
    found = await desk.client.call("lobby", "list")
    return Reply(tuple(_room_line(room, desk.room) for room in found), found)


def _room_line(room: Mapping[str, Any], here: str) -> str:
    if room.get("error"):
        return f"{room['room']}  not running: {room['error']}"
    notes = [f"{room.get('entries') or 0} entries"]
    if room.get("ephemeral"):
        notes.append("closes when idle")
    return f"{room['room']}  {', '.join(notes)}" + ("  (here)" if room["room"] == here else "")


async def _topic(desk: Desk, rest: str) -> Reply:
    if not rest:
        shown = await desk.shown()
        return Reply((shown["topic"] or "no topic; /topic TEXT sets one",), {"topic": shown["topic"]})
    return Reply(data=await desk.append("topic", text=rest))


async def _save(desk: Desk, rest: str) -> Reply:
    saved = await desk.client.call("lobby", "save", room=desk.room, timeout=60.0)
    if saved["record"] is None:
        return Reply(("nothing was said here yet: there is nothing to save",), saved)
    return Reply((f"saved as [[{saved['record']}]], {saved['messages']} messages",), saved)


async def _drop(desk: Desk, rest: str) -> Reply:
    if rest not in ("", "--no-save"):
        raise EggheadError(f"write {TABLE['drop'].shown}, not {rest!r}", ExitCode.USAGE)
    dropped = await desk.client.call("lobby", "drop", room=desk.room, save=not rest, timeout=60.0)
    kept = f", saved as [[{dropped['record']}]]" if dropped["record"] else ""
    return Reply((f"{desk.room} was dropped{kept}",), dropped, leave=True)


# -- agents


async def _list(desk: Desk, rest: str) -> Reply:
    shown, cards = await desk.shown(), {card["id"]: card for card in await desk.cards()}
    here = [{**cards.get(one["agent"], {"id": one["agent"]}), **one} for one in shown["members"]]
    lines = [_agent_line(one) for one in here[:LISTED]]
    if len(here) > LISTED:
        lines.append(f"and {len(here) - LISTED} more")
    members = {one["agent"] for one in here}
    away = [id for id in sorted(cards) if id not in members]
    if away:
        more = f" and {len(away) - LISTED} more" if len(away) > LISTED else ""
        lines.append("not here: " + " ".join("@" + id for id in away[:LISTED]) + f"{more}  (/invite brings one in)")
    return Reply(tuple(lines) or ("no agent is here; /invite A brings one in",), here)


def _agent_line(one: Mapping[str, Any]) -> str:
    notes = [word for word in ("muted", "quiet", "idle") if one.get(word)]
    if one.get("state") not in (None, "running"):
        notes.append(f"{one['state']}: {one['reason']}" if one.get("reason") else str(one["state"]))
    if one.get("paused"):
        notes.append(f"paused: {one['paused']}")
    about = f"  {', '.join(one['tags'])}" if one.get("tags") else ""
    return f"@{one['id']}  {one.get('title') or ''}{about}" + (f"  ({'; '.join(notes)})" if notes else "")


def choose(typed: str, titles: Mapping[str, str], where: str, *, near: bool = True) -> tuple[str, tuple[str, ...]]:
    """(the agent that is meant, lines that say how it was read). Raises EggheadError with the nearest."""
    found = named(typed, titles, near=near)
    if found.agent is not None:
        return found.agent, ((f"{typed!r} was read as {found.agent}",) if found.near else ())
    raise EggheadError(_nobody(typed, found, titles, where), ExitCode.NOT_FOUND)


def _nobody(typed: str, found: Named, titles: Mapping[str, str], where: str) -> str:
    if found.could_be:
        return f"{typed!r} could be {' or '.join(found.could_be)}; write the whole id"
    known = {
        name.casefold(): agent for agent, title in titles.items() for name in (title, agent.rpartition("/")[2], agent)
    }
    near = difflib.get_close_matches(typed.removeprefix("@").casefold(), known, n=1, cutoff=0.5)
    return f"no such agent{where}: {typed!r}" + (f"; did you mean {known[near[0]]!r}?" if near else "")


def _titles(cards: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {str(card.get("id") or card.get("agent")): str(card.get("title") or "") for card in cards}


async def _invite(desk: Desk, rest: str) -> Reply:
    titles = _titles(await desk.cards())
    agent, told = choose(rest, titles, "")
    if any(one["agent"] == agent for one in (await desk.shown())["members"]):
        return Reply((*told, f"@{agent} is here already"), {"agent": agent})
    return Reply(told, await desk.append("invited", **invitation(agent, titles)))


def invitation(agent: str, titles: Mapping[str, str]) -> dict[str, str]:
    """The fields of an invitation: with the agent's title, because nobody else tells the room what it is called there."""
    return {"agent": agent, **({"title": titles[agent]} if titles.get(agent) else {})}


async def _member(desk: Desk, typed: str, shown: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The agent of this room that is meant, and how it was read. Raises EggheadError."""
    agent, told = choose(typed, _titles(shown["members"]), " here")
    if told:
        # `scout-2` is near to `scout`, but not when there is a scout-2 elsewhere.
        exact = named(typed, _titles(await desk.cards()), near=False).agent
        if exact is not None:
            raise EggheadError(f"@{exact} is not here; /invite brings it in", ExitCode.NOT_FOUND)
    return agent, told


async def _kick(desk: Desk, rest: str) -> Reply:
    for _ in range(TRIES):
        shown = await desk.shown()
        agent, told = await _member(desk, rest, shown)
        if shown.get("default") and len(shown["members"]) == 1:
            raise EggheadError(
                f"@{agent} is the last agent of the default room; /invite another one first, or /mute {agent}",
                ExitCode.REFUSED,
            )
        # Right after what was looked at: two people who kick the last two agents at once leave one of them.
        if await desk.append_if(shown["last"], "kicked", agent=agent):
            return Reply(told, {"agent": agent})
    raise EggheadError("too much is happening in this room now; try again")


def _about_member(kind: str) -> Run:
    async def run(desk: Desk, rest: str) -> Reply:
        agent, told = await _member(desk, rest, await desk.shown())
        return Reply(told, await desk.append(kind, agent=agent))

    return run


async def _handoff(desk: Desk, rest: str) -> Reply:
    agent, told = await _member(desk, rest, await desk.shown())
    return Reply((*told, f"@{agent} was asked to write a hand-off note and begin afresh"),
                 await desk.append("handoff_asked", agent=agent))  # fmt: skip


async def _whois(desk: Desk, rest: str) -> Reply:
    cards = await desk.cards()
    agent, told = choose(rest, _titles(cards), "")
    card = next(card for card in cards if card["id"] == agent)
    member = next((one for one in (await desk.shown())["members"] if one["agent"] == agent), None)
    here = "no; /invite brings it in" if member is None else "yes, muted" if member["muted"] else "yes"
    facts = {
        "agent": f"@{agent}  {card['title']}",
        "here": here,
        "state": card["state"] + (f": {card['reason']}" if card.get("reason") else ""),
        "paused": card.get("paused"),
        "model": card.get("model") or "default",
        "about": ", ".join(card["tags"]),
        "may": "  ".join(card["capabilities"]) or "nothing",
        "note": None if card["builtin"] else f"[[{card['record']}]]",
        "held": "  ".join(card.get("held") or ()),
        "wrong": "; ".join(card["problems"]),
    }
    return Reply((*told, *(f"{key:<7}{value}" for key, value in facts.items() if value)), {**card, "here": member})


# -- what people say about turns


def _plain(kind: str) -> Run:
    async def run(desk: Desk, rest: str) -> Reply:
        return Reply(data=await desk.append(kind))

    return run


async def _budget(desk: Desk, rest: str) -> Reply:
    if not rest:
        budget = (await desk.shown())["budget"]
        paused = "; paused, /continue goes on" if budget["paused"] else ""
        left = max(0, budget["free"])  # a limit may be set below what was used
        return Reply((f"{left} of {budget['limit']} turns are left{paused}",), budget)
    if not (rest.isascii() and rest.isdigit() and 1 <= int(rest) <= MAX_BUDGET):
        raise EggheadError(f"a budget is a number from 1 to {MAX_BUDGET}, not {rest!r}", ExitCode.USAGE)
    return Reply(data=await desk.append("budget_set", budget=int(rest)))


# -- looking things up


async def _search(desk: Desk, rest: str) -> Reply:
    hits = await desk.client.call("index", "search", query=rest, limit=FOUND)
    lines = tuple(f"[[{hit['id']}]]  {hit['title']}" for hit in hits)
    return Reply(lines or (f"no note has {rest!r}",), hits)


def cost_text(figures: Mapping[str, Any]) -> str:
    """Dollars for people; a price that nobody knows is said to be unknown, never to be nothing."""
    if not figures["calls"]:
        return "0"
    if figures["cost"] is None:
        return "unknown"
    known = money(figures["cost"])
    return (
        f"{known} and {figures['unpriced']} call{'s' * (figures['unpriced'] != 1)} unknown"
        if figures["unpriced"]
        else known
    )


async def _usage(desk: Desk, rest: str) -> Reply:
    found = await desk.client.call("llm", "usage", by="agent", room=desk.room, timeout=30.0)
    told = [(f"@{row['agent']}", _used(row)) for row in found["rows"][:LISTED]]
    told += [("this room", _used(found["total"])), ("today", _used(found["today"]))] if told else []
    lines = (*_columns(told), *found["paused"].values())
    return Reply(lines or ("no model was called in this room yet",), found)


def _columns(rows: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Two columns, the second as far in as the widest of the first needs."""
    width = max((len(first) for first, _ in rows), default=0)
    return tuple(f"{first:<{width}}  {second}" for first, second in rows)


def _used(figures: Mapping[str, Any]) -> str:
    calls = "1 call" if figures["calls"] == 1 else f"{figures['calls']} calls"
    return f"{figures['tokens']} tokens in {calls}, {cost_text(figures)} USD"


async def _help(desk: Desk, rest: str) -> Reply:
    name = rest.removeprefix("/")
    if name and name not in TABLE:
        await run(desk, name, "")  # says what is nearest
    listed = [(command.shown, command.line) for command in ([TABLE[name]] if name else TABLE.values())]
    shown = listed if name else [*listed, *desk.own]
    return Reply(_columns(shown), [{"command": command, "text": text} for command, text in listed])


TABLE: dict[str, Command] = {
    command.name: command
    for command in (
        Command("join", "ROOM", "go to a room; makes it, or brings a saved transcript back", _join, "room"),
        Command("leave", "", "leave this room", _leave),
        Command("rooms", "", "the live rooms", _rooms),
        Command("list", "", "the agents here, and those that are not", _list),
        Command("invite", "AGENT", "bring an agent into this room", _invite, "agent"),
        Command("kick", "AGENT", "take an agent out of this room; it forgets what was said", _kick, "agent"),
        Command("mute", "AGENT", "let an agent speak only when a person names it", _about_member("muted"), "agent"),
        Command("unmute", "AGENT", "let it speak again", _about_member("unmuted"), "agent"),
        Command("whois", "AGENT", "who an agent is and what it may do", _whois, "agent"),
        Command("handoff", "AGENT", "have an agent write down where it stands and begin afresh", _handoff, "agent"),
        Command("continue", "", "go on after the budget was used up", _plain("continued")),
        Command("halt", "", "stop whoever is speaking", _plain("halted")),
        Command("budget", "[N]", "how many turns a message may cause", _budget),
        Command("topic", "[TEXT]", "what this room is about", _topic),
        Command("save", "", "write this room's transcript as a note", _save),
        Command("drop", "[--no-save]", "close this room for good, after saving it", _drop),
        Command("search", "TEXT", "search the notes", _search, "note"),
        Command("usage", "", "what this room has used: tokens, and money where the price is known", _usage),
        Command("help", "[COMMAND]", "this list", _help, "command"),
    )
}
