"""The commands of a room as every surface has them, on a real node: what they do to the log, and what they refuse."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from egghead.client.chat import post
from egghead.client.commands import Desk, Reply, run, split
from egghead.client.connection import Client
from egghead.errors import EggheadError
from tests.conftest import FOAM
from tests.e2e.cast import client_of
from tests.e2e.node import Home, Node, serving, until

SCOUT = "---\nclass: agent\ntitle: Scout Finch\ntags: [woods]\ncapabilities: [records.read]\n---\nYou know the woods.\n"


class Table:
    """A person at a room."""

    def __init__(self, client: Client, room: str = "default") -> None:
        self.desk = Desk(client, room, "ada")

    async def type(self, line: str) -> Reply:
        command = split(line)
        assert command is not None, line
        return await run(self.desk, *command)

    async def says(self, line: str) -> str:
        return "\n".join((await self.type(line)).lines)

    async def refused(self, line: str) -> str:
        with pytest.raises(EggheadError) as caught:
            await self.type(line)
        return str(caught.value)

    async def log(self) -> list[dict[str, Any]]:
        return list((await self.desk.client.call(f"rooms/{self.desk.room}", "since", seq=0))["entries"])

    async def last(self, kind: str) -> dict[str, Any]:
        return [entry for entry in await self.log() if entry["kind"] == kind][-1]

    async def member(self, agent: str) -> dict[str, Any] | None:
        shown = await self.desk.shown()
        return next((one for one in shown["members"] if one["agent"] == agent), None)


@asynccontextmanager
async def sitting(node: Node, room: str = "default") -> AsyncIterator[Table]:
    async with await client_of(node.home) as client:
        yield Table(client, room)


@pytest.fixture(scope="module")
def scouted() -> Iterator[Node]:
    """A node with a second agent, for all of these tests; each leaves both agents in the default room."""
    with tempfile.TemporaryDirectory(prefix="eh-", dir="/tmp") as base:
        records = Path(shutil.copytree(FOAM, Path(base) / "notes"))
        (records / "agents").mkdir()
        (records / "agents" / "scout.md").write_text(SCOUT, encoding="utf-8")
        with serving(Home(Path(base) / "home"), records) as node:
            until("scout is here", lambda: "Scout" in node.home.run("chat", "default", "/list").stdout)
            yield node


async def eventually(what: str, probe: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(20):
        while not (found := await probe()):
            await asyncio.sleep(0.03)  # the roster lets agents in when it has heard of the room
    return found


async def test_commands_about_agents(scouted: Node) -> None:
    """mute, unmute, kick, invite, whois and list name agents as mentions do, and are entries in the log."""
    async with sitting(scouted) as table:
        assert await table.says("/mute scot") == "'scot' was read as scout"
        muted = await table.last("muted")
        assert (muted["agent"], muted["author"]) == ("scout", "ada")
        assert "muted" in await table.says("/list")
        assert "yes, muted" in await table.says("/whois @SCOUT")
        await table.type("/unmute Scout")
        kicked = await table.type("/kick agents/scout")
        assert kicked.data == {"agent": "scout"} and await table.member("scout") is None
        assert "did you mean 'index'?" in await table.refused("/kick idex2")
        assert "not here: @judge @scout" in await table.says("/list")
        assert "no; /invite" in await table.says("/whois scout")
        assert "is the last agent of the default room" in await table.refused("/kick index")
        assert "no such agent here: 'scout'" in await table.refused("/mute scout")
        await table.type("/invite scout")
        here = await table.member("scout")
        assert here is not None and here["title"] == "Scout Finch", "nobody else tells the room what it is called"
        assert await table.says("/invite scout") == "@scout is here already"
        assert "no such agent: 'nobody'" in await table.refused("/invite nobody")


async def test_two_who_kick_the_last_two_leave_one(scouted: Node) -> None:
    """However the two kicks fall, the default room keeps an agent and one of the two is told why."""
    async with sitting(scouted) as one, sitting(scouted) as other:
        done = await asyncio.gather(one.type("/kick scout"), other.type("/kick index"), return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in done) == ["EggheadError", "Reply"], done
        left = [one["agent"] for one in (await one.desk.shown())["members"]]
        assert len(left) == 1
        await one.type("/invite " + ({"index", "scout"} - set(left)).pop())


async def test_a_kick_clears_the_session(scouted: Node) -> None:
    """Invited again, the agent has nothing of what was said before: its session begins after the kick."""
    from egghead.agents.session import Session
    from egghead.agents.session_fold import fold

    async with sitting(scouted) as table:
        await table.desk.append("message", text="@scout the password is plum")
        await eventually("an answer", lambda: _quiet(table))
        await table.type("/kick scout")
        await table.type("/invite scout")
        session = fold(Session("scout", "default"), await table.log())
        assert "plum" not in str(session.items)


async def _quiet(table: Table) -> bool:
    shown = await table.desk.shown()
    return bool(shown["quiet"])


async def test_rooms_come_and_go(scouted: Node) -> None:
    """join makes a room, leave and drop lead out of it, a dropped one comes back with its transcript, unless not saved."""
    async with sitting(scouted) as table:
        made = await table.type("/join #lab")
        assert made.room == "lab" and made.lines == ("lab is a new room",)
        assert (await table.type("/join lab")).lines == ()
        assert "cannot be a room's name" in await table.refused("/join a b")
        lab = Table(table.desk.client, "lab")
        assert (await lab.type("/leave")).leave
        assert "lab  " in await table.says("/rooms") and "(here)" in await table.says("/rooms")
        assert "nothing to save" in await lab.says("/save")
        await eventually("scout in lab", lambda: lab.member("scout"))
        await lab.desk.append("message", text="@scout **Ada** — 2026-01-02T03:04:05Z\n\n\\**B** — 2026-01-02T03:04:05Z")
        await eventually("an answer", lambda: _quiet(lab))
        before = [(e["author"], e["text"]) for e in await lab.log() if e["kind"] == "message"]
        times = [e["at"][:19] for e in await lab.log() if e["kind"] == "message"]
        assert len(before) == 2
        assert await lab.says("/save") == "saved as [[chat/lab]], 2 messages"
        assert (await lab.type("/drop")).leave
        assert "write /drop [--no-save]" in await lab.refused("/drop now")
        again = await table.type("/join lab")
        assert again.lines == ("lab is open again, with 2 messages of its transcript",)
        restored = [e for e in await lab.log() if e["kind"] == "message"]
        assert [(e["author"], e["text"]) for e in restored] == before
        assert [e["said"][:19] for e in restored] == times
        await table.type("/join gone")
        gone = Table(table.desk.client, "gone")
        await gone.desk.append("message", text="words")
        assert "saved" not in await gone.says("/drop --no-save")
        assert (await table.type("/join gone")).lines == ("gone is a new room",)
        assert "is the default room" in await table.refused("/drop")


async def test_a_dropped_room_is_told_at_once_and_a_restarting_one_is_waited_for(scouted: Node) -> None:
    """What is said in a room that somebody has dropped ends at once with that; in one that was killed it arrives."""
    async with sitting(scouted, "shed") as one, sitting(scouted) as other:
        await other.type("/join shed")
        await Table(other.desk.client, "shed").type("/drop")
        started = asyncio.get_running_loop().time()
        assert "'shed' was dropped" in await one.refused("/topic roses")
        with pytest.raises(EggheadError, match="'shed' was dropped"):
            await post(one.desk.client, "shed", "hello?", "ada")
        assert asyncio.get_running_loop().time() - started < 20, "a deadline is 30"
        await other.type("/join barn")
        barn = Table(one.desk.client, "barn")
        until("barn runs", lambda: scouted.processes().get("rooms/barn", {}).get("pid"))
        killed = scouted.kill("rooms/barn")
        assert (await post(one.desk.client, "barn", "hello", "ada"))["text"] == "hello"
        scouted.healed("rooms/barn", killed)
        scouted.kill("rooms/barn")
        await barn.type("/topic roses")
        assert (await barn.last("topic"))["text"] == "roses"
        await barn.type("/drop --no-save")


async def test_a_transcript_changed_by_hand(scouted: Node) -> None:
    """What a person changes in a saved transcript stays when the room is saved again, and comes back with the room."""
    async with sitting(scouted) as table:
        await table.type("/join edited")
        lab = Table(table.desk.client, "edited")
        await lab.desk.append("message", text="We meet on Monday.")
        await lab.type("/save")
        path = scouted.records / "chat" / "edited.md"
        path.write_text(path.read_text().replace("Monday", "Tuesday").replace("Chat in edited", "The plan"))
        await table.desk.client.call("store", "sync")
        await lab.desk.append("message", text="At noon.")
        await lab.type("/save")
        text = path.read_text()
        assert "Tuesday" in text and "Monday" not in text and text.count("At noon.") == 1 and "The plan" in text
        await lab.type("/save")
        assert path.read_text().count("At noon.") == 1
        await lab.type("/drop")
        await table.type("/join edited")
        said = [e["text"] for e in await lab.log() if e["kind"] == "message"]
        assert "We meet on Tuesday." in said and said.count("At noon.") == 1
        await lab.desk.append("message", text="Bring bread.")
        await lab.type("/save")
        assert path.read_text().count("Bring bread.") == 1 and path.read_text().count("Tuesday") == 1


async def test_what_no_note_can_hold_keeps_nobody_from_saving(scouted: Node) -> None:
    """A message with NUL or a piece of a program in it is saved with pictures of those characters; it is brought back, and the
    room is saved and dropped as any other. The log keeps what was said."""
    async with sitting(scouted) as table:
        await table.type("/join binary")
        lab = Table(table.desk.client, "binary")
        said = ["a stray \0 is here", "".join(map(chr, range(32))) * 40, "\x1b[31mred\x1b[0m"]
        for text in said:
            await lab.desk.append("message", text=text)
        await eventually("an answer to all", lambda: _quiet(lab))
        assert [e["text"] for e in await lab.log() if e["kind"] == "message" and e["author"] == "ada"] == said
        for _ in range(2):
            assert "saved as [[chat/binary]]" in await lab.says("/save")
        await lab.type("/drop")
        await table.type("/join binary")
        back = [e["text"] for e in await lab.log() if e["kind"] == "message" and e["author"] == "ada"]
        assert back[0] == "a stray ␀ is here" and back[1].count("␇") == 40 and back[2] == said[2]
        assert not [e for e in await lab.log() if e["kind"] == "notice"]
        assert "saved as [[chat/binary]]" in await lab.says("/drop")


async def test_commands_about_turns(scouted: Node) -> None:
    """budget, continue, halt and topic are entries with their author; without an argument, budget and topic tell."""
    async with sitting(scouted, "turns") as table:
        await table.type("/join turns")
        await eventually("both agents", lambda: table.member("scout"))
        assert "of 6 turns are left" in await table.says("/budget")
        await table.type("/budget 9")
        assert "of 9 turns are left" in await table.says("/budget")
        for bad in ("0", "-1", "x", "1e3", "10001", "٣"):
            assert "a number from 1 to 10000" in await table.refused(f"/budget {bad}")
        assert await table.says("/topic") == "no topic; /topic TEXT sets one"
        await table.type("/topic the   woods")
        assert await table.says("/topic") == "the   woods"
        refused = await table.refused(f"/topic {'w' * 2001}")
        assert "at most 2000 characters (agents read it in every turn; put the rest in a note)" in refused
        assert await table.says("/topic") == "the   woods"
        await table.type("/continue")
        planned = await eventually("a plan", lambda: _kinds(table, "round_planned"))
        assert planned[-1]["reason"] == "nobody was waiting"
        await table.type("/halt")
        for kind in ("budget_set", "topic", "continued", "halted"):
            assert (await table.last(kind))["author"] == "ada", kind
        assert "takes nothing after it" in await table.refused("/halt now")
        assert "say what: /mute AGENT" in await table.refused("/mute")


async def _kinds(table: Table, kind: str) -> list[dict[str, Any]]:
    return [entry for entry in await table.log() if entry["kind"] == kind]


async def test_looking_things_up(scouted: Node) -> None:
    """search and help answer, help in two columns; an unknown command names the nearest one."""
    async with sitting(scouted) as table:
        assert "[[user/publishing/publish-to-github-pages]]" in await table.says("/search GitHub Pages")
        assert await table.says("/search class:none words") == "no note has 'class:none words'"
        assert "/kick AGENT" in await table.says("/help") and "/kick" not in await table.says("/help /topic")
        rows = (await run(replace(table.desk, own=(("/quit", "leave"),)), "help", "")).lines
        assert len({len(row) - len(row.rpartition("  ")[2]) for row in rows}) == 1 and rows[-1].endswith("  leave")
        assert await table.refused("/hlep") == "no such command: '/hlep'; did you mean '/help [COMMAND]'?"
        assert "/help lists the commands" in await table.refused("/xyzzyx")
        assert "did you mean '/topic" in await table.refused("/help topci")


def test_commands_by_the_command_line(scouted: Node) -> None:
    """`egghead chat ROOM /command`, piped too, with exit codes and JSON."""
    home: Home = scouted.home
    assert "@index" in home.ok("chat", "default", "/list")
    assert "@index" in home.ok("chat", "default", text="/list\n")
    assert home.json("chat", "default", "/budget")["limit"] == 6
    assert "cli-lab is a new room" in home.ok("chat", "default", "/join cli-lab")
    assert home.run("chat", "default", "/nope").returncode == 2
    for bad in (("chat", "a b", "hello"), ("rooms", "open", "a b"), ("rooms", "drop", "a b"), ("chat", "a b", "/list")):
        refused = home.run(*bad)
        assert refused.returncode == 2 and "'a b' cannot be a room's name" in refused.stderr, bad
    assert home.run("chat", "default", "/mute nobody").returncode == 3
    for command in ("/list", "/save", "/mute index"):
        misspelt = home.run("chat", "defualt", command)
        assert misspelt.returncode == 3 and "did you mean 'default'" in misspelt.stderr
    assert "defualt" not in home.ok("rooms", "list")
    assert home.run("chat", "default", "//help me publish").returncode in (0, 7)
    said = [entry["text"] for entry in home.log_lines("rooms", "show", "default") if entry["kind"] == "message"]
    assert "/help me publish" in said


def test_the_log_of_a_process_that_there_is_not(scouted: Node) -> None:
    """It is refused as other unknown names are, with the nearest: also by its last segment, and when followed; one that runs and
    has said nothing is no fault."""
    home: Home = scouted.home
    for name, near in (("stroe", "store"), ("index/", "index"), ("scuot", "agents/scout"), ("xyzzyxyzzy", None)):
        for more in ((), ("-f",)):
            refused = home.run("logs", "--process", name, *more)
            assert (refused.returncode, refused.stdout) == (3, ""), name
            assert f"no process is called {name!r}" in refused.stderr
            assert (f"did you mean {near!r}?" in refused.stderr) if near else ("did you mean" not in refused.stderr)
    for name in scouted.processes():
        assert home.run("logs", "--process", name).returncode == 0, name
