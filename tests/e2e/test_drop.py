"""A room that is dropped while somebody speaks in it: the turn ends, what was said is kept, and nobody waits for more."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cast import Play, cast
from tests.e2e.node import COMMAND, until
from tests.llm.double import Asked, Double, Hang


def script(asked: Asked) -> Any:
    return ["Half an answer", Hang()] if asked.last.endswith("hang") else "At once."


@pytest.fixture
def play(short_dir: Path) -> Iterator[Play]:
    with Double(script) as double, cast(short_dir, double, {"scout": "anthropic/double"}) as found:
        yield found


def asking(play: Play, room: str) -> subprocess.Popen[str]:
    """`egghead chat` that waits for an answer which does not end, once the model has been asked."""
    play.home.ok("rooms", "open", room)
    command = [*COMMAND, "chat", room, "@scout hang"]
    chat = subprocess.Popen(
        command, env=play.home.env, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    until("the model is asked", lambda: any(asked.room == room for asked in play.double.asked))
    return chat


def test_a_drop_in_a_turn_ends_the_turn(play: Play) -> None:
    """The model's answer is broken off, the chat that waited ends, and the agent is free for the room when it is opened
    again, with what was asked before."""
    chat = asking(play, "lab")
    play.home.ok("rooms", "drop", "lab")
    assert play.double.asked[-1].gone.wait(10)
    chat.communicate(timeout=10)
    assert chat.returncode == 7  # nobody had an answer to the end
    assert "@scout hang" in (play.records / "chat" / "lab.md").read_text()
    done = play.home.run("chat", "lab", "@scout again")
    assert (done.returncode, done.stdout) == (0, "At once.\n")


def test_a_drop_that_nobody_can_end_the_turn_for(play: Play) -> None:
    """With a coordinator that hangs the room goes all the same, and soon: what the agent had said is kept, for it is the
    agent that writes it; and the chat that waits is told."""
    chat = asking(play, "lab")
    coordinator = int(play.node.processes()["coordinator"]["pid"])
    os.kill(coordinator, signal.SIGSTOP)
    try:
        began = time.monotonic()
        play.home.ok("rooms", "drop", "lab")
        # 5 s for agents that do not answer, 0.5 s for the coordinator alone; the command takes some time of its own
        assert time.monotonic() - began < 4
        _, errors = chat.communicate(timeout=10)
    finally:
        os.kill(coordinator, signal.SIGCONT)
    assert chat.returncode == 1 and "the room 'lab' was dropped" in errors
    assert "Half an answer" in (play.records / "chat" / "lab.md").read_text()


async def test_two_who_drop_a_room_at_once(play: Play) -> None:
    """One of them drops it, and the other is told that there is no such room."""
    chat = await asyncio.to_thread(asking, play, "lab")
    async with await play.connect() as ada, await play.connect() as bea:
        calls = [one.call("lobby", "drop", room="lab") for one in (ada, bea)]
        done = await asyncio.gather(*calls, return_exceptions=True)
    chat.communicate(timeout=10)
    assert [one for one in done if isinstance(one, dict)] == [{"room": "lab", "record": "chat/lab"}]
    refused = [str(one) for one in done if not isinstance(one, dict)]
    assert refused == ["there is no room 'lab'; see: egghead rooms list"]
