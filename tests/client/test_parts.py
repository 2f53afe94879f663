"""What the client library decides without a node: command lines, completion, what entries say, names of agents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.utils import get_cwidth

from egghead.cli.editor import KEPT, BoundedHistory, _wrapped, last_rows
from egghead.client import tell
from egghead.client.commands import TABLE, choose, split, spoken
from egghead.client.complete import Wanted, fitting, wanted
from egghead.client.follow import piece_of
from egghead.errors import EggheadError
from egghead.rooms.addressing import Named, named
from egghead.rooms.entries import KINDS
from egghead.rooms.transcript import Line, merged, parse, render
from ipc import Event

TITLES = {"scout": "Scout", "people/bob": "Bob the Builder", "team/ann": "Ann", "people/ann": "Ann", "nib": "Nib"}
LINES = [Line("Ada", None, f"2026-01-02T03:04:{n:02}Z", f"line {n}") for n in range(6)]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("scout", Named("scout")),
        ("@SCOUT", Named("scout")),
        ("agents/scout", Named("scout")),
        ("bob", Named("people/bob")),
        ("Bob  the builder", Named("people/bob")),
        ("bob-the-builder", Named("people/bob")),
        ("scot", Named("scout", near=True)),
        ("scouts", Named("scout", near=True)),
        ("scout about the wood", Named()),
        ("ann", Named(could_be=("people/ann", "team/ann"))),
        ("team/ann", Named("team/ann")),
        ("", Named()),
        ("@", Named()),
        ("zorro", Named()),
    ],
)
def test_a_name_in_a_command_means_what_a_mention_means(typed: str, expected: Named) -> None:
    """Id, last segment, title, unique near miss; but a name is taken whole, because commands do something."""
    assert named(typed, TITLES) == expected


def test_a_name_that_means_nobody_is_answered_with_the_nearest() -> None:
    """The error names what was typed and who is near; with several, it says to write the whole id."""
    with pytest.raises(EggheadError, match=r"no such agent here: 'bobby'; did you mean 'people/bob'\?"):
        choose("bobby", TITLES, " here")
    with pytest.raises(EggheadError, match="could be people/ann or team/ann"):
        choose("@ann", TITLES, "")
    assert choose("scot", TITLES, "") == ("scout", ("'scot' was read as scout",))
    with pytest.raises(EggheadError, match="did you mean 'scout'"):
        choose("scot", TITLES, "", near=False)


@pytest.mark.parametrize(
    ("line", "command", "said"),
    [
        ("/help", ("help", ""), None),
        ("  /Topic  a b ", ("topic", "a b"), None),
        ("/drop --no-save", ("drop", "--no-save"), None),
        ("/etc/passwd is a file", None, "/etc/passwd is a file"),
        ("//help is a command", None, "/help is a command"),
        ("1/2 of it", None, "1/2 of it"),
        ("/", None, "/"),
        ("/ help", None, "/ help"),
        ("say /help", None, "say /help"),
        ("/topic two\nlines", ("topic", "two\nlines"), None),
    ],
)
def test_what_is_a_command_and_what_is_said(line: str, command: tuple[str, str] | None, said: str | None) -> None:
    """A slash and a word is a command; a path, a fraction, and what begins with two slashes are said."""
    assert split(line) == command
    if said is not None:
        assert spoken(line) == said


@given(st.text(max_size=200))
def test_any_line_is_one_of_both(line: str) -> None:
    """No input breaks the reading of a line, or what completion asks for."""
    command = split(line)
    assert command is None or line.strip().startswith("/")
    assert spoken(line).strip() or not line.strip().strip("/")
    asked = wanted(line)
    assert asked is None or asked.typed in line.casefold() + line


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("/", Wanted("command", "")),
        ("/mu", Wanted("command", "mu")),
        ("/mute @sc", Wanted("agent", "sc")),
        ("/join #la", Wanted("room", "la")),
        ("/topic sc", None),
        ("/topic see [[da", Wanted("note", "da")),
        ("see [[daily no", Wanted("note", "daily no")),
        ("see [[daily]] and", None),
        ("ask @people/b", Wanted("mention", "people/b")),
        ("mail ada@exa", None),
        ("/help /mu", Wanted("command", "mu")),
        ("hello", None),
        ("", None),
    ],
)
def test_what_completion_is_asked_for(before: str, expected: Wanted | None) -> None:
    """The text before the cursor decides: a command, whom it is about, a room, a note, a mention."""
    assert wanted(before) == expected


def test_names_that_fit() -> None:
    """First what begins so, then what has a word that does, in the title too."""
    assert [one.text for one in fitting("b", TITLES)] == ["people/bob"]
    assert [one.text for one in fitting("ann", TITLES)] == ["people/ann", "team/ann"]
    assert [one.text for one in fitting("", {"b": "", "a": ""})] == ["a", "b"]
    assert fitting("a.*(", TITLES) == []
    assert [one.text for one in fitting("b", TITLES, titles=False)] == []


def test_every_command_says_what_it_does() -> None:
    """The table has all commands of a room, each with a line of help."""
    wanted_ = "join leave rooms list invite kick mute unmute whois handoff continue halt budget topic save drop search usage help"
    assert set(TABLE) == set(wanted_.split())
    for name, command in TABLE.items():
        assert command.name == name and command.line and command.shown.startswith(f"/{name}")


def test_what_entries_say() -> None:
    """Each kind gives a line or nothing, and a yield looks the same wherever it is shown."""
    passed = {"id": "r1.1.m", "by": "agents/scout", "kind": "action", "action": "passed"}
    assert tell.line(passed) == tell.line(dict(passed)) == f"scout {tell.gesture(passed)}"
    assert len({tell.gesture({"id": f"x{n}"}) for n in range(200)}) == len(tell.GESTURES)
    sample = {
        "text": "x",
        "agent": "a",
        "title": "A",
        "author": "ada",
        "record": "r",
        "outcome": "failed",
        "queued": ["a"],
    }
    sample |= {"budget": "3", "action": "note", "reason": "why", "order": "", "attempt": ""}
    told = {kind for kind, _ in KINDS if tell.line({"id": "1", "by": "agents/a", "kind": kind, **sample})}
    assert {kind for kind, _ in KINDS} - told == {
        "message",
        "tool_started",
        "tool_ended",
        "turn_started",
        "round_ended",
        "handoff_asked",
        "handoff",
    }


@pytest.mark.parametrize(
    "text", ["", "one", "x" * 1000, "漢字" * 50, "\x1b[1mbold\x1b[0m " + "y" * 30, "\x1b[", "e\u0301" * 90]
)
def test_rows_of_an_unfinished_paragraph(text: str) -> None:
    """The last rows, none wider than the terminal, colours kept whole."""
    rows = last_rows(text, 20, 4)
    assert len(rows) <= 4 and (bool(rows) == bool(text))
    assert text.replace(" ", "").endswith("".join(rows).replace(" ", ""))  # a space may break a row


def test_history_is_private_bounded_and_may_be_garbage(tmp_path: Path) -> None:
    """The file is for its owner alone, holds the last lines, and a row that was cut or a folder that is gone does not matter."""
    path = tmp_path / "state" / "chat_history"
    history = BoundedHistory(path)
    for number in range(2 * KEPT + 5):
        history.store_string(f"line {number} " + "x" * 60)
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    rows = path.read_text().splitlines()
    assert KEPT <= len(rows) < 2 * KEPT
    history.store_string("two\nlines \udcff é")
    history.store_string(" a secret")
    history.store_string("x" * 20_000)
    with path.open("a") as file:
        file.write('{"a": 1}\n"cut of')
    found = list(BoundedHistory(path).load_history_strings())
    assert found[0] == "two\nlines \udcff é" and len(found) <= KEPT
    assert not any("secret" in line for line in found)
    assert list(tmp_path.rglob("*")) == [path.parent, path], "nothing else is left"
    blocked = tmp_path / "file"
    blocked.write_text("")
    BoundedHistory(blocked / "history").store_string("x")
    assert list(BoundedHistory(blocked / "history").load_history_strings()) == []


def test_a_transcript_saved_again_has_what_was_said_since() -> None:
    """Untouched, it is written anew; what stands before the first message stays."""
    assert merged(render(LINES[:3]), LINES, 3) == render(LINES)
    assert merged("A word before.\n\n" + render(LINES[:3]), LINES, 3) == "A word before.\n\n" + render(LINES)
    assert merged("", LINES, 0) == render(LINES)
    assert merged(render(LINES), LINES, 3) == render(LINES), "a save that could not tell that it had saved"


def test_what_was_changed_by_hand_in_a_transcript_stays() -> None:
    """Edited, cut or added messages are kept as they are, and what was said since is added once."""
    edited = render([*LINES[:2], Line("Ada", None, LINES[2].at, "corrected")])
    first = merged(edited, LINES[:5], 3)
    assert parse(first) == [*parse(edited), *LINES[3:5]]
    assert parse(merged(first, LINES, 5)) == [*parse(edited), *LINES[3:]]
    assert parse(merged(first, LINES, 3)) == [*parse(edited), *LINES[3:]], "a save that could not tell"
    cut = render(LINES[:1])
    assert parse(merged(cut, LINES, 3)) == [LINES[0], *LINES[3:]]
    assert merged(edited, LINES[:3], 3) == edited, "nothing new: the note is left alone"


lines = st.lists(
    st.builds(Line, st.sampled_from(["Ada", "Bo*b"]), st.none() | st.just("scout"), st.just(LINES[0].at),
              st.text(st.characters(blacklist_characters="\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"), min_size=1)),
    max_size=8,
)  # fmt: skip


@given(said=lines, edited=st.text(max_size=300), at=st.integers(0, 8))
def test_saving_loses_no_message_and_no_edit(said: list[Line], edited: str, at: int) -> None:
    """Whatever the note says, after a save it has every message since the last one, and what it said before."""
    saved = min(at, len(said))
    after = parse(merged(edited, said, saved))
    fresh = said[saved:]
    assert not fresh or after[-len(fresh) :] == fresh or after == said
    assert parse(edited) == after[: len(parse(edited))] or after == said


@pytest.mark.parametrize(
    ("by", "data"),
    [
        ("agents/scout", ["a", "list"]),
        ("agents/scout", {"agent": "scout", "text": "no turn"}),
        ("agents/scout", {"turn": "t", "agent": "scout", "text": 7}),
        ("agents/scout", {"turn": "t", "agent": "nib", "text": "I am nib"}),
        ("clients/eve-1", {"turn": "t", "agent": "nib", "text": "I am nib"}),
        ("agents/scout", None),
    ],
)
def test_no_agent_writes_in_the_name_of_another(by: str, data: Any) -> None:
    """What an agent publishes as its text is shown as its own or not at all, and garbage ends no chat."""
    assert piece_of(Event("text/default/", data, by, 1, 1, 1, False)) is None
    own = {"turn": "t", "agent": "scout", "text": "I am scout"}
    assert piece_of(Event("text/default/", own, "agents/scout", 1, 1, 1, False)) == own


@pytest.mark.parametrize(
    ("line", "rows"),
    [
        ("short", ["short"]),
        ("one two three four", ["one two", "three four"]),
        ("one two   three", ["one two", "three"]),
        ("exactly_10 exactly_10", ["exactly_10", "exactly_10"]),
        ("see https://example.org/a/long/path now", ["see", "https://example.org/a/long/path now"]),
        ("\x1b[1mBold: \x1b[0mand then", ["\x1b[1mBold: \x1b[0mand", "then"]),
        ("日本語の文章はここで", ["日本語の文章はここで"]),  # the terminal breaks it between any two letters
        ("    code that is longer than that", ["    code that is longer than that"]),
        ("", [""]),
    ],
)
def test_lines_break_between_words(line: str, rows: list[str]) -> None:
    """Rows of ten columns. A word that is longer is one piece, so that it can be copied; code stays as it is."""
    assert _wrapped(line, 10).split("\n") == rows


@given(st.text(alphabet="ab 日é\u0301", max_size=60), st.integers(2, 12))
def test_no_row_is_wider_than_the_terminal_and_no_word_is_lost(line: str, columns: int) -> None:
    """Whatever is written: what breaks a row is a space or the terminal itself."""
    assert _wrapped(line, columns).replace("\n", " ").split() == line.split() or line.startswith("    ")
    for row in last_rows(line, columns, 1000):
        assert sum(get_cwidth(letter) for letter in row) <= columns
