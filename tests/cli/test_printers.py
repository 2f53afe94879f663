"""What a person sees of a round: the words of agents on stdout, everything about them on stderr, nothing twice."""

from __future__ import annotations

from typing import Any

import pytest

from egghead.cli.chat import JsonPrinter, PlainPrinter, Printer, TerminalPrinter, resolve_agent
from egghead.cli.linechat import RoomPrinter
from egghead.client.chat import Said
from egghead.errors import EggheadError, ExitCode


def entry(kind: str, **fields: Any) -> Said:
    return Said({"seq": 1, "id": f"{kind}-{fields.get('turn')}", "at": "", "by": "agents/a", "kind": kind, **fields})


def show(printer: Printer, *said: Said) -> None:
    for one in said:
        printer.show(one)


ASKED = Said({"seq": 1, "id": "m", "at": "", "by": "clients/x-1", "kind": "message", "author": "x", "text": "q"})
TOOL = entry("tool_started", turn="t", tool="get", read_only=True, summary="get x")
ANSWER = entry("message", turn="t", author="A", text="An answer.")
SPOKE = entry("turn_ended", turn="t", agent="a", outcome="spoke")


def test_streamed_text_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The final entry does not repeat what was streamed; look-ups are one line on stderr."""
    printer = TerminalPrinter()
    show(printer, ASKED, TOOL, TOOL, Said(None, "t", "a", "An "), Said(None, "t", "a", "answer."), ANSWER, SPOKE)
    printer.finish()
    out, err = capsys.readouterr()
    assert out == "a: An answer.\n"
    assert err == "* a looks it up in the notes (2 look-ups)\n"


def test_lost_deltas_are_made_good_by_the_entry(capsys: pytest.CaptureFixture[str]) -> None:
    """When a part of the stream was lost the whole message is printed."""
    printer = TerminalPrinter()
    show(printer, ASKED, Said(None, "t", "a", "swer."), ANSWER, SPOKE)
    printer.finish()
    assert capsys.readouterr().out == "a: swer.\nA: An answer.\n"


def test_piped_output_is_only_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """Plain: the text of agents and nothing else."""
    printer = PlainPrinter()
    show(printer, ASKED, TOOL, Said(None, "t", "a", "An "), ANSWER, SPOKE)
    printer.finish()
    assert capsys.readouterr() == ("An answer.\n", "")


def test_json_is_one_entry_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Every entry of the log, the posted one first; no deltas."""
    printer = JsonPrinter()
    show(printer, ASKED, Said(None, "t", "a", "An "), ANSWER, SPOKE)
    assert [line[:1] for line in capsys.readouterr().out.splitlines()] == ["{"] * 3


def test_no_answer_is_an_exit_code() -> None:
    """A round in which nobody spoke ends with NO_ANSWER, failures told."""
    printer = PlainPrinter()
    show(printer, ASKED, entry("turn_ended", turn="t", agent="a", outcome="failed", reason="no model"))
    with pytest.raises(EggheadError) as caught:
        printer.finish()
    assert caught.value.exit_code == ExitCode.NO_ANSWER


def test_a_second_attempt_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """When an agent died and is asked again, the reader is told, and sees the whole new text."""
    printer = TerminalPrinter()
    again = entry("turn_started", turn="t", round="r", agent="a", attempt=2)
    show(printer, ASKED, Said(None, "t", "a", "An "), again, Said(None, "t", "a", "An answer."), ANSWER, SPOKE)
    printer.finish()
    out, err = capsys.readouterr()
    assert out == "a: An \na: An answer.\n" and "asking again" in err


def test_own_lines_are_not_shown_again(capsys: pytest.CaptureFixture[str]) -> None:
    """The line chat shows what others typed, not what was typed here."""
    printer = RoomPrinter({"m"})
    show(printer, ASKED, Said({**(ASKED.entry or {}), "id": "other", "author": "bob", "text": "hello"}))
    assert capsys.readouterr().err == "bob: hello\n"


CARDS = [{"id": "index", "title": "Index"}, {"id": "people/bob", "title": "Robert"}, {"id": "x/bob2", "title": "Two"}]


@pytest.mark.parametrize(
    ("name", "agent"),
    [
        ("index", "index"),
        ("@Index", "index"),
        ("agents/index", "index"),
        ("bob", "people/bob"),
        ("robert", "people/bob"),
    ],
)
def test_an_agent_by_id_last_segment_or_title(name: str, agent: str) -> None:
    """The ways to name an agent at the command line."""
    assert resolve_agent(CARDS, name) == agent


def test_an_unknown_agent_gets_the_nearest() -> None:
    """A misspelt name is refused with what was meant."""
    with pytest.raises(EggheadError, match="'index'"):
        resolve_agent(CARDS, "indx")
