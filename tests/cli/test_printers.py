"""What a person sees of a round: the words of agents on stdout, everything about them on stderr, nothing twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from egghead.cli.chat import JsonPrinter, PlainPrinter, Printer, TerminalPrinter, resolve_agent
from egghead.cli.linechat import Plain, RoomPrinter
from egghead.cli.llm import _state
from egghead.cli.rooms import entry_line
from egghead.client.chat import Round, Said
from egghead.errors import EggheadError, ExitCode


def entry(kind: str, **fields: Any) -> Said:
    return Said({"seq": 1, "id": f"{kind}-{fields.get('turn')}", "at": "", "by": "agents/a", "kind": kind, **fields})


def show(printer: Printer, *said: Said) -> None:
    for number, one in enumerate(said, 1):
        printer.show(one if one.entry is None else replace(one, entry={**one.entry, "seq": number}))


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


@pytest.mark.parametrize("kind", [PlainPrinter, TerminalPrinter])
def test_what_others_ask_meanwhile_does_not_pass_for_the_answer(
    kind: type[Printer], capsys: pytest.CaptureFixture[str]
) -> None:
    """Answers to somebody else's message in the same room are neither printed nor counted."""
    printer = kind()
    other = entry("message", turn="o", author="A", text="Another answer.")
    foreign = [Said(None, "o", "a", "Anoth"), other, entry("turn_ended", turn="o", agent="a", outcome="spoke")]
    show(printer, ASKED, *(replace(one, own=False) for one in foreign))
    with pytest.raises(EggheadError, match="nobody"):
        printer.finish()
    show(printer := kind(), ASKED, *(replace(one, own=False) for one in foreign), ANSWER, SPOKE)
    printer.finish()
    assert "Anoth" not in (out := capsys.readouterr().out) and out.endswith("An answer.\n")


def test_what_is_told_again_under_another_node_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A conversation that begins again from its first entry goes on where it was."""
    printer = PlainPrinter()
    show(printer, ASKED, ANSWER)
    show(printer, ASKED, ANSWER, SPOKE)
    printer.finish()
    assert capsys.readouterr().out == "An answer.\n"


SECOND = entry("message", turn="u", author="B", text="Another one.")
SPOKE_TOO = entry("turn_ended", turn="u", agent="b", outcome="spoke")


def test_answers_that_come_at_once_have_their_names_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """In a jam the second message comes before the first one's turn has ended, and is told from it all the same."""
    printer = PlainPrinter()
    show(printer, ASKED, ANSWER, SECOND, SPOKE, SPOKE_TOO)
    printer.finish()
    assert capsys.readouterr().out == "An answer.\n\nB:\nAnother one.\n"


def test_of_those_that_write_at_once_one_streams(capsys: pytest.CaptureFixture[str]) -> None:
    """In a jam one answer is read as it is written; the others come whole, or go on streaming when it has ended."""
    printer = TerminalPrinter()
    mixed = [
        Said(None, turn, turn, text) for turn, text in (("t", "An "), ("u", "Another "), ("v", "A th"), ("t", "ans"))
    ]
    show(
        printer,
        ASKED,
        *mixed,
        SECOND,
        SPOKE_TOO,
        Said(None, "t", "t", "wer."),
        ANSWER,
        SPOKE,
        Said(None, "v", "v", "ird."),
    )
    assert capsys.readouterr().out == "t: An ans\nB: Another one.\nt: wer.\nv: A third."


def test_a_turn_that_ends_without_a_word_lets_others_stream(capsys: pytest.CaptureFixture[str]) -> None:
    """Who wrote and then failed or passed, and a piece that came after its message, keep nobody from being read."""
    printer = TerminalPrinter()
    failed = entry("turn_ended", turn="t", agent="a", outcome="failed", reason="no model")
    show(printer, ASKED, Said(None, "t", "a", "Hm"), failed, Said(None, "u", "u", "Ano"))
    assert capsys.readouterr().out.endswith("u: Ano")
    late = Said(None, "t", "a", ".")
    show(
        printer := TerminalPrinter(),
        ASKED,
        ANSWER,
        SPOKE,
        late,
        entry("round_ended", round="r"),
        Said(None, "u", "u", "Ano"),
    )
    assert capsys.readouterr().out.endswith("u: Ano")


@pytest.mark.parametrize("kind", [PlainPrinter, TerminalPrinter, JsonPrinter])
def test_an_answer_that_was_stopped_is_not_taken_for_a_whole_one(
    kind: type[Printer], capsys: pytest.CaptureFixture[str]
) -> None:
    """Who was halted is said behind what it had said by then."""
    stopped = entry("message", turn="u", author="B", text="Ano", cut=True)
    show(printer := kind(), ASKED, ANSWER, SPOKE, stopped, entry("turn_ended", turn="u", agent="b", outcome="halted"))
    printer.finish()
    assert capsys.readouterr().err == "egghead: b was stopped\n"


def test_a_budget_that_is_used_up_is_said_in_a_pipe_too(capsys: pytest.CaptureFixture[str]) -> None:
    """Who still waits for a turn, and how to go on, is told on stderr."""
    show(PlainPrinter(), ASKED, ANSWER, SPOKE, entry("budget_exhausted", queued=["b", "c"]))
    assert capsys.readouterr().err == "the budget of turns is used up; waiting: b, c. /continue goes on\n"


def test_how_a_name_was_read_is_said_in_a_pipe_too(capsys: pytest.CaptureFixture[str]) -> None:
    """A mention that matched nobody, or nearly, is told on stderr."""
    printer = PlainPrinter()
    show(printer, ASKED, entry("round_planned", round="r", reason="nobody here is called @nobody"), ANSWER, SPOKE)
    printer.finish()
    out, err = capsys.readouterr()
    assert (out, err) == ("An answer.\n", "nobody here is called @nobody\n")


def test_a_second_attempt_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """When an agent died and is asked again, the reader is told, and sees the whole new text."""
    printer = TerminalPrinter()
    again = entry("turn_started", turn="t", round="r", agent="a", attempt=2)
    show(printer, ASKED, Said(None, "t", "a", "An "), again, Said(None, "t", "a", "An answer."), ANSWER, SPOKE)
    printer.finish()
    out, err = capsys.readouterr()
    assert out == "a: An \na: An answer.\n" and "asking again" in err


def test_own_lines_are_not_shown_again(capsys: pytest.CaptureFixture[str]) -> None:
    """Where the terminal keeps what was typed, the line chat shows what others typed and not that."""
    printer = RoomPrinter(Plain())
    printer.own.add("m")
    show(printer, ASKED, Said({**(ASKED.entry or {}), "id": "other", "author": "bob", "text": "hello"}))
    assert capsys.readouterr().out == "bob: hello\n"


def test_nobody_else_moves_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters in what people, agents and records say are shown, not obeyed."""
    printer = RoomPrinter(Plain())
    evil = "\x1b[2Jgone\r\x9b1m\a"
    show(
        printer,
        Said({**(ASKED.entry or {}), "author": evil, "text": evil}),
        Said(None, "t", evil, evil),
        Said({**(ANSWER.entry or {}), "author": evil, "text": evil + "\n\tend"}),
        entry("notice", text=evil),
    )
    out = "".join(capsys.readouterr())
    assert not {c for c in out if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160}
    assert "\\x1b[2Jgone\\x0d\\x9b1m\\x07\n\tend" in out


def test_a_turn_that_began_after_the_message_has_read_it() -> None:
    """Whoever is given a turn of an earlier round after the message was posted answers it there; a turn that had begun
    before, and what others say, is not about it."""
    round_ = Round("m")
    foreign = [entry("message", turn="old", author="A", text="x"), entry("round_ended", round="r0")]
    mine = [
        entry("turn_started", turn="t", round="r0", agent="a", attempt=1),
        ANSWER,
        entry("round_planned", round="r1", message="m", order=[]),
        entry("notice", text="x"),
    ]
    for said in [*foreign, *mine]:
        assert said.entry is not None
        round_.take(said.entry)
    assert [round_.owns(said.entry or {}) for said in foreign] == [False, False]
    assert [round_.owns(said.entry or {}) for said in mine] == [True, True, True, True]
    assert round_.owns(ASKED.entry or {}) is True
    assert round_.owns({**(ASKED.entry or {}), "id": "other"}) is False


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


def test_who_is_writing_is_called_as_in_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    """Streamed text stands under the agent's title, as its message will, and not under its id."""
    printer = TerminalPrinter()
    piece = {"turn": "t", "agent": "research-assistant", "author": "Research Assistant", "text": "An answer.", "n": 0}
    show(printer, ASKED, Said.of_piece(piece))
    assert "Research Assistant: An answer." in capsys.readouterr().out


def test_a_message_of_a_transcript_has_the_time_when_it_was_said() -> None:
    """`rooms show` of a room that was brought back does not say that all was said just now."""
    brought = {
        "seq": 1,
        "at": "2026-11-22T21:07:59.000Z",
        "kind": "message",
        "author": "ada",
        "text": "hi",
        "restored": True,
    }
    assert "2025-01-02 03:04:05" in entry_line({**brought, "said": "2025-01-02T03:04:05Z"})


def test_a_model_that_is_full_is_named() -> None:
    """`llm list` says which model of a provider takes nothing now, and how long; a provider that takes nothing as a whole
    is full, whatever its models are."""
    row = {"usable": True, "breaker": "closed", "paused": None, "paused_models": {}}
    assert _state(row) == "ok"
    assert _state({**row, "paused_models": {"large": 59.6}}) == "large full for 60 s"
    assert _state({**row, "paused": 7.0, "paused_models": {"large": 59.6}}) == "full for 7 s"
