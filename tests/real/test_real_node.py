"""SmolLM2 on a real node: in its jail, on its socket, as an agent's model; cancelled, shared, overfilled, killed, removed."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from egghead.llm.errors import ContextOverflow
from egghead.llm.local.shelf import Local
from egghead.llm.shapes import Event, Message, Request, Stop, Text, Tool, ToolUse
from egghead.paths import RuntimeDir
from egghead.processes.model import BATCH
from tests.e2e.cast import Play, agent_note, cast
from tests.e2e.node import Home, until, workers
from tests.llm.double import Double

pytestmark = [pytest.mark.real_model, pytest.mark.e2e, pytest.mark.timeout(240)]

NAME = "models/smollm2"
TALE = Request(messages=[Message("user", [Text("Write a long story about a ship and its crew.")])], max_tokens=300)
NOTE = Tool(
    "create_record",
    "Make a note.",
    {
        "type": "object",
        "properties": {"id": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}},
        "required": ["id"],
    },
)


@pytest.fixture(scope="module")
def play(weights: Path) -> Iterator[Play]:
    """A node with the agent `smol`, who thinks with SmolLM2 and may read the notes."""
    base = Path(tempfile.mkdtemp(prefix="eh-", dir="/tmp"))
    try:
        home, records = Home(base / "home"), base / "notes"
        assert "local/smollm2" in home.ok("llm", "local", "add", str(weights), "--name", "smollm2", "--context", "2048")
        (records / "garden").mkdir(parents=True)
        (records / "garden" / "tomatoes.md").write_text("# Tomatoes\n\nWater the tomatoes every second morning.\n")
        keys = {"capabilities": ["records.read"], "max_tokens": 24}
        agent_note(records, "smol", "local/smollm2", "You answer questions about notes.", **keys)
        with Double(lambda asked: "unasked") as double, cast(base, double, {}) as play:
            play.present("smol")
            yield play
    finally:
        shutil.rmtree(base, ignore_errors=True)


def process(play: Play, name: str = NAME) -> dict[str, Any]:
    """The state of a process in the tree; empty when there is none."""
    found = [one for one in workers(play.home.json("tree")["tree"]) if one["name"] == name]
    return found[0] if found else {}


def running(play: Play) -> None:
    """Somebody has asked the model before."""
    if process(play).get("state") != "running":
        play.say("@smol Hello.", timeout=180.0)


def place(play: Play) -> RuntimeDir:
    return RuntimeDir(next((play.home.path / "run" / "egghead").iterdir()))


def busy(play: Play) -> int:
    """How many conversations the model is in, by its own word."""
    return sum(bool(slot["is_processing"]) for slot in slots(play))


def slots(play: Play) -> list[dict[str, Any]]:
    """What llama.cpp says of its conversations."""
    line = http.client.HTTPConnection("local")
    line.sock = socket.socket(socket.AF_UNIX)
    line.sock.connect(str(place(play).servers / "smollm2" / ".sock"))
    with contextlib.closing(line):
        line.request("GET", "/slots")
        told: list[dict[str, Any]] = json.load(line.getresponse())
        return told


class Runs:
    """The node's own supervisor has started it."""

    async def start(self, name: str, args: Mapping[str, Any]) -> str:
        return "running"

    async def stop(self, name: str) -> None:
        raise AssertionError("nobody asked for that")

    async def names(self) -> list[str]:
        return []


@contextlib.asynccontextmanager
async def shelf(play: Play) -> AsyncGenerator[Local, None]:
    """The provider as `llm` has it, in this process, over the node's model."""
    local = Local(play.home.path / ".local/share/egghead/models", place(play).servers, Runs())
    try:
        yield local
    finally:
        await local.aclose()


async def ask(local: Local, request: Request) -> list[Event]:
    async with contextlib.aclosing(local.complete(request, "smollm2")) as events:
        return [event async for event in events]


def spoken(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The one end of the one turn among them."""
    [end] = [entry for entry in entries if entry["kind"] in ("message", "action") and entry.get("turn")]
    return end


def test_a_room_with_a_small_model(play: Play) -> None:
    """An agent with SmolLM2 answers in a room: one end of one turn, notes looked up first, at no cost."""
    entries = play.say("@smol How often do I water the tomatoes?", timeout=180.0)
    said = spoken(entries)
    assert said["kind"] == "message" and said["text"].strip()
    called = [entry["tool"] for entry in play.log() if entry["kind"] == "tool_started"]
    assert "search_records" in called and "get_record_body" in called
    assert "[[garden/tomatoes]]" in said["text"]
    assert process(play)["state"] == "running"
    [row] = play.home.json("usage", "--by", "model")["rows"]
    assert row["model"] == "local/smollm2" and row["output"] > 0 and row["cost"] == 0


def test_its_process_has_a_file_and_a_socket(play: Play) -> None:
    """What runs native code sees its one file, has no port, no network, no bus, and is filtered."""
    running(play)
    pid = process(play)["pid"]
    root = Path(f"/proc/{pid}/root")
    assert psutil.Process(pid).net_connections("inet") == []
    assert "Seccomp:\t2" in Path(f"/proc/{pid}/status").read_text()
    models = root / str(play.home.path / ".local/share/egghead/models").lstrip("/")
    assert [entry.name for entry in (models / "smollm2").iterdir()] == ["model.gguf"]
    assert not (root / str(place(play).bus).lstrip("/")).exists()
    assert not (root / str(play.records).lstrip("/")).exists()
    assert (place(play).servers / "smollm2").stat().st_mode & 0o077 == 0


async def test_leaving_stops_the_work(play: Play) -> None:
    """Closing an answer ends its work; nothing is computed for nobody."""
    await asyncio.to_thread(running, play)
    async with shelf(play) as local:
        async with contextlib.aclosing(local.complete(TALE, "smollm2")) as events:
            assert isinstance(await anext(events), Text)
            assert await asyncio.to_thread(busy, play) == 1
        left = time.monotonic()
        while await asyncio.to_thread(busy, play):
            assert time.monotonic() - left < 3


async def test_leaving_stops_the_reading(play: Play) -> None:
    """Who leaves while the model still reads a long prompt has it read two more batches at most."""
    await asyncio.to_thread(running, play)

    async def read() -> list[int]:
        told = await asyncio.to_thread(slots, play)
        return [slot.get("n_prompt_tokens_processed", 0) for slot in told if slot["is_processing"]]

    long = Request(messages=[Message("user", [Text("other words house " * 400)])], max_tokens=8)
    async with shelf(play) as local:
        asking = asyncio.create_task(ask(local, long))
        while not (done := await read()) or not done[0]:
            await asyncio.sleep(0.01)  # watching a program from outside
        asking.cancel()
        await asyncio.wait({asking})
        left, last = done[0], done[0]
        while done := await read():
            last = max(last, *done)
        assert last - left <= 3 * BATCH, (left, last)


async def test_two_share_it(play: Play) -> None:
    """Two conversations at once are both told as they are thought; neither waits for the other's end."""
    await asyncio.to_thread(running, play)
    told: list[int] = []

    async def one(number: int, local: Local) -> None:
        async with contextlib.aclosing(local.complete(TALE, "smollm2")) as events:
            count = 0
            async for event in events:
                told.append(number)
                count += isinstance(event, Text)
                if count == 15:
                    return

    async with shelf(play) as local:
        await asyncio.gather(one(1, local), one(2, local))
    first = max(told.index(1), told.index(2))  # where both have begun
    shared = told[first:]
    assert min(shared.count(1), shared.count(2)) >= 4, told


async def test_what_the_schema_allows_parses(play: Play) -> None:
    """However wildly it answers, with tools it says words or calls one of them with what that takes."""
    await asyncio.to_thread(running, play)
    async with shelf(play) as local:
        for heat in (0.2, 1.8):
            text = [Text("Make a note with the id garden/roses and the tags flower and red.")]
            request = Request(messages=[Message("user", text)], tools=[NOTE], temperature=heat, max_tokens=80)
            events = await ask(local, request)
            stop = events[-1]
            assert isinstance(stop, Stop)
            uses = [event for event in events if isinstance(event, ToolUse)]
            assert bool(uses) == (stop.reason == "tool_use")
            for use in uses:
                assert use.name == "create_record" and isinstance(use.input["id"], str)
                assert all(isinstance(tag, str) for tag in use.input.get("tags", []))
            assert uses or any(isinstance(event, Text) for event in events)


async def test_too_much_is_said_to_be_that(play: Play) -> None:
    """A conversation larger than the window is an overflow, which is no failure, and is told at once."""
    await asyncio.to_thread(running, play)
    long = Request(messages=[Message("user", [Text("word " * 6000)])])
    async with shelf(play) as local:
        with pytest.raises(ContextOverflow):
            await ask(local, long)


def test_native_code_may_crash_alone(play: Play) -> None:
    """SIGSEGV in the middle of an answer: the turn ends, that process starts again, nobody else does, the next one works."""
    running(play)
    before, llm = process(play), process(play, "llm")

    async def crash() -> list[dict[str, Any]]:
        saying = asyncio.create_task(asyncio.to_thread(play.say, "@smol Tell me a very long story.", timeout=180.0))
        while not saying.done() and not await asyncio.to_thread(busy, play):
            await asyncio.sleep(0.02)  # watching a program from outside
        os.kill(before["pid"], signal.SIGSEGV)
        return await saying

    assert spoken(asyncio.run(crash()))["kind"] in ("message", "action")
    until("it runs again", lambda: process(play).get("state") == "running" and process(play)["pid"] != before["pid"])
    assert process(play)["last_exit"]["reason"] == "SIGSEGV"
    assert process(play, "llm")["pid"] == llm["pid"] and process(play, "llm")["restarts"] == llm["restarts"]
    assert spoken(play.say("@smol Hello.", timeout=180.0))["kind"] == "message"


def test_removed_it_goes(play: Play) -> None:
    """Removed from the catalog while it runs its process ends, and the agent says what is missing and what to do; added
    again it answers, and the node was never started again."""
    running(play)
    listed = play.home.json("llm", "local", "list")
    assert listed[0]["model"] == "local/smollm2" and listed[0]["state"] == "running"
    play.home.ok("llm", "local", "remove", "smollm2")
    until("its process is gone", lambda: process(play) == {})
    text = spoken(play.say("@smol Are you there?", timeout=60.0))["text"]
    assert "smollm2" in text and "egghead llm local add" in text
    play.home.ok("llm", "local", "add", listed[0]["file"], "--name", "smollm2", "--context", "2048")
    assert spoken(play.say("@smol Hello.", timeout=180.0))["kind"] == "message"
