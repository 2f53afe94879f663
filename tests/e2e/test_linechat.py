"""The line chat on a terminal that can be drawn on: text that streams in and the line being typed leave each other alone."""

from __future__ import annotations

import os
import signal
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cast import Play, cast
from tests.e2e.node import until
from tests.e2e.terminal import Drawn
from tests.llm.double import Double, Gate, Say, Use, Wait

FERN = "Ferns like shade, and they like it damp, which is why you will find them where nobody mows the grass at all."
UP, TAB, CTRL_C = "\x1b[A", "\t", "\x03"


@pytest.fixture
def gates() -> list[Gate]:
    return [Gate(), Gate()]


@pytest.fixture
def play(short_dir: Path, gates: list[Gate]) -> Iterator[Play]:
    half = len(FERN) // 2
    reply = [Say(FERN[:half], 9), Wait(gates[0]), Say(FERN[half:], 9), Say("\n\nThat is all.", 2)]
    with Double({"scout": [reply]}) as double, cast(short_dir, double, {"scout": "anthropic/double"}) as found:
        yield found


def messages(play: Play) -> list[str]:
    return [entry["text"] for entry in play.log() if entry["kind"] == "message" and not entry.get("turn")]


def test_typing_while_an_answer_streams(play: Play, gates: list[Gate]) -> None:
    """A half-typed line is whole after the answer has come, and the answer stands on the screen in one piece."""
    chat = Drawn(play.home, "chat", EGGHEAD_USER="ada")
    try:
        chat.shows("default>")
        chat.type("@scout tell me", "\r")
        assert gates[0].reached.wait(20)
        chat.shows(f"Scout: {FERN[: len(FERN) // 2]}".rstrip(), "default>")
        chat.type("half a line", "")
        chat.shows(f"Scout: {FERN[: len(FERN) // 2]}".rstrip(), "default> half a line")
        gates[0].open()
        chat.shows(*textwrap.wrap(f"Scout: {FERN}", 80), "", "That is all.", "default> half a line")
        chat.type(", and the rest", "\r")
        until("both answers", lambda: [e["outcome"] for e in play.log() if e["kind"] == "turn_ended"] == ["spoke"] * 2)
        assert messages(play)[-1] == "half a line, and the rest"
        chat.shows("That is all.", "ada: half a line, and the rest")
        chat.shows("That is all.", "default>")

        chat.type("/wh" + TAB, "")
        chat.shows("default> /whois")
        chat.type(" scot", "\r")
        chat.shows("/whois scot", "  'scot' was read as scout", "  agent  @scout  Scout")
        chat.type("first" + CTRL_C + UP, "")
        chat.shows("default> /whois scot")
        chat.type(CTRL_C, "")
        chat.type("/join lab", "\r")
        chat.shows("  lab is a new room")
        chat.shows("lab>")
        play.home.ok("rooms", "drop", "lab")
        chat.shows("— lab was dropped")
        chat.shows("default>")
        chat.type("/join lab", "\r")
        chat.shows("— Scout (@scout) is here", "lab>")
        chat.type("/drop", "\r")
        chat.shows("/drop", "  lab was dropped")
        chat.shows("default>")
        chat.type("/join lab", "\r")
        chat.shows("lab>")
        chat.type("/leave", "\r")
        chat.shows("default>")

        # The node dies under the line: it is typed on, and sent to the next one.
        chat.type("kept over", "")
        chat.shows("default> kept over")
        os.kill(play.node.pid, signal.SIGKILL)
        play.node.process.wait()
        chat.shows(f"— the node (pid {play.node.pid}) has ended; going on with another", timeout=30)
        chat.shows("default> kept over", timeout=60)
        chat.type(" a death", "\r")
        until("the message", lambda: "kept over a death" in messages(play))
        chat.shows("default>")
        chat.type(CTRL_C, "")
        assert chat.process.wait(30) == 0
    finally:
        chat.close()
    assert "first" not in messages(play)
    history = play.home.path / ".local" / "state" / "egghead" / "chat_history"
    assert history.stat().st_mode & 0o777 == 0o600 and "half a line, and the rest" in history.read_text()


def test_a_room_is_entered_with_its_last_messages(short_dir: Path) -> None:
    """Also where each answer took dozens of tool calls: what was asked is on the screen, and no more than one reads."""
    uses = [Use("search_records", {"query": f"fern {number}"}) for number in range(12)]
    replies = [reply for number in range(6) for reply in (uses, f"Answer {number}.")]
    with Double({"scout": replies}) as double, cast(short_dir, double, {"scout": "anthropic/double"}) as play:
        for number in range(6):
            play.home.ok("chat", "default", f"@scout question {number}")
        chat = Drawn(play.home, "chat", EGGHEAD_USER="ada")
        try:
            chat.shows("Scout: Answer 5.", "default>")
            shown = [line for line in chat.rows() if "uestion " in line or "Answer" in line]
            assert [line[-2:].strip(".").strip() for line in shown] == ["2", "2", "3", "3", "4", "4", "5", "5"]
        finally:
            chat.close()


def test_a_jam_can_be_read(short_dir: Path) -> None:
    """Two who write at the same time: one streams, the other's answer stands there whole when it is done."""
    agents = ("nib", "scout")
    parts = {agent: (Gate(), Gate()) for agent in agents}
    said = {
        agent: [[f"{agent} begins ", Wait(parts[agent][0]), "goes on ", Wait(parts[agent][1]), "and ends."]]
        for agent in agents
    }
    with Double(said) as double, cast(short_dir, double, dict.fromkeys(agents, "anthropic/double")) as play:
        play.home.ok("chat", "default", "/kick index")
        chat = Drawn(play.home, "chat", "default", "@jam go")
        try:
            assert all(parts[agent][0].reached.wait(20) for agent in agents)
            first = until("one of them streams", lambda: next((row for row in chat.rows() if "begins" in row), ""))
            one, other = agents if first.startswith("Nib") else agents[::-1]
            for agent in (other, one):
                parts[agent][0].open()
                assert parts[agent][1].reached.wait(20)
            chat.shows(f"{one.capitalize()}: {one} begins goes on")
            parts[other][1].open()
            chat.shows(
                f"{one.capitalize()}: {one} begins goes on", f"{other.capitalize()}: {other} begins goes on and ends."
            )
            parts[one][1].open()
            chat.shows(f"{other.capitalize()}: {other} begins goes on and ends.", f"{one.capitalize()}: and ends.")
        finally:
            chat.close()
