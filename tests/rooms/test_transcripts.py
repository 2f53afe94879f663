"""Rooms saved as transcripts, dropped, and brought back from them, on a real bus."""

from __future__ import annotations

import asyncio

import pytest

from egghead.client.follow import append_reliably
from egghead.rooms.transcript import parse
from ipc import PeerDown, RemoteError
from tests.rooms.stage import everything, message, stage

TALK = "\n".join(f"**ada** — 2026-01-02T03:04:05Z\n\nline {n}\n" for n in range(250))


async def test_a_saved_room_comes_back_from_its_transcript() -> None:
    """Dropping saves the transcript; opening the name again gives the same messages, authors and times, however long."""
    async with stage() as s:
        kept = await s.store()
        await s.start("lobby", "lobby")
        ada = await s.bus.client("ada")
        await ada.call("lobby", "open", room="plans")
        before = await append_reliably(ada, "plans", [message("one\n\ntwo"), message("z" * 250_000, "bob")])
        assert (await ada.call("lobby", "drop", room="plans"))["record"] == "chat/plans"
        assert kept["chat/plans"]["class"] == "transcript"
        await ada.call("lobby", "open", room="plans")
        after = await everything(s, "plans")
        assert [(e["author"], e["text"]) for e in after] == [(e["author"], e["text"]) for e in before]
        assert after[0]["said"] == before[0]["at"][:19] + "Z"


async def test_a_transcript_that_a_person_made_too_long_comes_back_whole() -> None:
    """A text or a name longer than an entry may be keeps nothing else out: the text comes in pieces, the name is cut."""
    async with stage() as s:
        body = (
            f"**{'n' * 300}** — 2026-01-02T03:04:05Z\n\none\n\n"
            f"**Scout** (`agents/scout`) — 2026-01-02T03:04:06Z\n\n{'z' * 300_000}\n\n**bob** — 2026-01-02T03:04:07Z\n\nlast\n"
        )
        kept = await s.store({"chat/plans": {"class": "transcript", "body": body, "revision": "1"}})
        await s.start("lobby", "lobby")
        ada = await s.bus.client("ada")
        assert (await ada.call("lobby", "open", room="plans"))["restored"] == 3
        said = await everything(s, "plans")
        assert said[0]["author"] == "n" * 256 and "".join(e["text"] for e in said) == f"one{'z' * 300_000}last"
        await append_reliably(ada, "plans", [message("more")])
        await ada.call("lobby", "save", room="plans")
        assert kept["chat/plans"]["body"].startswith(body.rstrip()) and kept["chat/plans"]["body"].count("more") == 1


async def test_a_lobby_that_died_over_a_transcript_brings_back_the_rest() -> None:
    """Killed before or in the middle of it, its next life brings the rest back when the room is opened: each message once."""
    async with stage() as s:
        await s.store({"chat/plans": {"class": "transcript", "body": TALK}})
        await s.start("lobby", "lobby")
        ada = await s.bus.client("ada")
        s.silent = {"plans"}
        opening = asyncio.create_task(ada.call("lobby", "open", room="plans"))
        async with asyncio.timeout(10):
            while "rooms/plans" not in s.children or not s.children["rooms/plans"].ready.done():
                await asyncio.sleep(0.01)  # the supervisor is this test: nobody tells it what it did
        await s.kill("lobby")
        with pytest.raises(PeerDown):
            await opening
        s.silent = set()
        await s.start("lobby", "lobby")
        assert (await ada.call("lobby", "open", room="plans"))["restored"] == 250
        for name in ("lobby", "rooms/plans"):
            await s.kill(name)
        rooms = s.records / ".egghead" / "rooms"
        lines = (rooms / "plans.jsonl").read_bytes().splitlines(keepends=True)
        (rooms / "plans.jsonl").write_bytes(b"".join(lines[:100]))  # as far as a life may come
        (rooms / "restoring.json").write_text('["plans"]')
        await s.start("lobby", "lobby")
        for restored in (250, 0):
            assert (await ada.call("lobby", "open", room="plans"))["restored"] == restored
        assert [e["text"] for e in await everything(s, "plans")] == [f"line {n}" for n in range(250)]


async def test_what_is_said_into_half_a_transcript_is_in_the_next_one() -> None:
    """A room that runs may be spoken in before its transcript is back as a whole: saved, it has the old lines, then the new."""
    async with stage() as s:
        notes = {"chat/plans": {"class": "transcript", "body": TALK, "revision": "0"}}
        await s.store(notes)
        await s.start("lobby", "lobby")
        ada = await s.bus.client("ada")
        await ada.call("lobby", "open", room="plans")
        for name in ("lobby", "rooms/plans"):
            await s.kill(name)
        rooms = s.records / ".egghead" / "rooms"
        lines = (rooms / "plans.jsonl").read_bytes().splitlines(keepends=True)
        (rooms / "plans.jsonl").write_bytes(b"".join(lines[:100]))
        (rooms / "restoring.json").write_text('["plans"]')
        await s.start("lobby", "lobby")  # which starts the room
        await append_reliably(ada, "plans", [message("in between")])
        await ada.call("lobby", "open", room="plans")
        await ada.call("lobby", "save", room="plans")
        told = [line.text for line in parse(notes["chat/plans"]["body"])]
        assert told == [*(f"line {n}" for n in range(250)), "in between"]


async def test_a_room_is_not_opened_without_its_transcript() -> None:
    """While the notes are away nobody knows what the room had: it is refused with a sentence, and whole afterwards."""
    async with stage() as s:
        await s.start("lobby", "lobby")
        ada = await s.bus.client("ada")
        with pytest.raises(
            RemoteError, match=r"the notes do not answer now .* 'plans' may have a transcript; try again"
        ):
            await ada.call("lobby", "open", room="plans")
        assert [room["room"] for room in await ada.call("lobby", "list")] == ["default"]
        await s.store({"chat/plans": {"class": "transcript", "body": TALK}})
        assert (await ada.call("lobby", "open", room="plans"))["restored"] == 250


async def test_what_is_said_while_a_room_is_dropped_is_in_its_transcript() -> None:
    """Everything that was acknowledged until the room was gone stands in the note once, whoever was typing."""
    async with stage() as s:
        kept = await s.store()
        await s.start("lobby", "lobby")
        ada, bob = await s.bus.client("ada"), await s.bus.client("bob")
        await ada.call("lobby", "open", room="plans")
        said: list[str] = []
        begun = asyncio.Event()

        async def talk() -> None:
            while True:
                text = f"word{len(said)}."
                await bob.call("rooms/plans", "append", entries=[message(text, "bob")])
                said.append(text)
                begun.set()

        talking = asyncio.create_task(talk())
        await begun.wait()
        assert (await ada.call("lobby", "drop", room="plans"))["record"] == "chat/plans"
        with pytest.raises(PeerDown):
            await talking
        rows = kept["chat/plans"]["body"].split("\n")
        assert [rows.count(text) for text in said] == [1] * len(said)


async def test_a_note_that_is_no_transcript_is_left_alone() -> None:
    """A room is not saved over somebody's own note of that name: it is refused with what to do, and a drop keeps the room."""
    async with stage() as s:
        plan = {"id": "chat/plans", "class": "agent", "body": "You plan.", "revision": "1"}
        kept = await s.store({"chat/plans": plan})
        await s.start("lobby", "lobby")
        ada = await s.bus.client("ada")
        assert (await ada.call("lobby", "open", room="plans"))["restored"] == 0
        await append_reliably(ada, "plans", [message("one")])
        for method in ("save", "drop"):
            with pytest.raises(RemoteError, match="'chat/plans' is of class 'agent' and no transcript; rename it"):
                await ada.call("lobby", method, room="plans")
        assert kept == {"chat/plans": plan}
        await append_reliably(ada, "plans", [message("two")])
