"""What a person's editor can do to a command, and what the words in a note can do to a terminal."""

from __future__ import annotations

import fcntl
import json
import re
import signal
import subprocess
import termios
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.node import COMMAND, Home, Node, until
from tests.e2e.terminal import Terminal

EVIL = "\x1b]52;c;aGk=\x07 \x1b[2J \x9b31m \u202eflip\u2066 words"
OBEYED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def folder(home: Home) -> Path:
    """Two notes; the title, a tag, the text and a link of one of them hold what a terminal obeys."""
    notes = home.path / "notes"
    notes.mkdir()
    (notes / "roof.md").write_text("# Roof\n\nLeaks.\n")
    (notes / "evil.md").write_text(
        '---\ntitle: "Evil \\e]0;pwn\\a\\u202eflip"\ntags: ["\\e[5m"]\n---\n' + EVIL + " [[no\u202ewhere]]\n"
    )
    return notes


def told(home: Home, *arguments: str, **env: str) -> tuple[int, str]:
    """Exit status of a command on a terminal, and what it showed without our own colours."""
    terminal = Terminal(home, *arguments, TERM="xterm-256color", **env)
    try:
        status = terminal.process.wait(30)
        said = terminal.read()
    finally:
        terminal.close()
    return status, re.sub(r"\x1b\[[0-9;]*m|\x1b\[K", "", said)


def script(home: Home, text: str) -> str:
    path = home.path / "editor"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("command", ["show evil", "search flip", "links evil", "graph --dot", "show evil --json"])
def test_a_note_does_not_command_the_terminal(home: Home, folder: Path, command: str) -> None:
    """What a note holds is spelt out on a terminal, in JSON as JSON spells it; a pipe gets the text as it is."""
    asked = ("records", *command.split(), "--records", str(folder))
    status, said = told(home, *asked)
    assert status == 0 and "\\u202e" in said and not OBEYED.search(said), said
    if command == "show evil":
        assert EVIL in home.ok(*asked)
    if command.endswith("--json"):
        assert EVIL in json.loads(said)["body"]


@pytest.mark.parametrize(
    ("editor", "status", "said"),
    [
        ("/nowhere/ed", 1, "the editor '/nowhere/ed' cannot be started (No such file or directory); say which to use"),
        ("vi 'x", 1, "is no command (No closing quotation); say which to use, as in: export EDITOR=nano"),
        ("false", 1, "the editor 'false' failed with status 1; nothing was changed"),
        ("true", 0, "nothing changed"),
        ("rm", 1, "left no text in"),
    ],
)
def test_an_editor_that_changes_nothing_leaves_nothing(
    home: Home, folder: Path, editor: str, status: int, said: str
) -> None:
    """Missing, misspelt, failing or quit: the note is as it was, no copy of it lies about, and the line says what to do."""
    done = told(home, "records", "edit", "roof", "--records", str(folder), EDITOR=editor)
    assert done[0] == status and said in done[1], done
    assert (folder / "roof.md").read_text() == "# Roof\n\nLeaks.\n"
    assert not list((home.path.parent / "t").iterdir())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('printf "new\\377" > "$1"', "byte 3 of what was saved is no text; save it in UTF-8"),
        ('printf new > "$1"; exit 3', "failed with status 3; nothing was changed, your text is in"),
    ],
)
def test_what_was_typed_is_not_lost(home: Home, folder: Path, text: str, said: str) -> None:
    """Where the editor left something that cannot be taken, the note stays and the line names the file that has the text."""
    done = told(home, "records", "edit", "roof", "--records", str(folder), EDITOR=script(home, text))
    [kept] = (home.path.parent / "t").glob("egghead-*.md")
    assert done[0] == 1 and said in done[1] and kept.name in done[1] and kept.read_bytes()[:3] == b"new"
    assert (folder / "roof.md").read_text() == "# Roof\n\nLeaks.\n"


def test_an_agent_by_hand(node: Node) -> None:
    """A failing editor is status 1 and named; frontmatter that was saved broken is told at once; no terminal, no editor."""
    home = node.home
    home.ok("agents", "new", "Ada", "--can", "none")
    done = home.run("agents", "edit", "ada", EDITOR="/nowhere/ed")
    assert done.returncode == 1 and "'/nowhere/ed' cannot be started" in done.stderr
    done = home.run("agents", "edit", "ada")
    assert done.returncode == 2 and "no terminal for an editor here" in done.stderr
    done = home.run("agents", "edit", "ada", EDITOR=script(home, 'printf -- "---\\na: [1\\n---\\nx" > "$1"'))
    assert done.returncode == 1 and "'agents/ada.md' was saved, but frontmatter is not YAML" in done.stderr


def test_arguments_that_are_no_text(home: Home, folder: Path) -> None:
    """Bytes that are no UTF-8 in a name are refused in words, as JSON or not."""
    for more in ([], ["--json"]):
        done = subprocess.run(
            [*COMMAND, "records", "show", b"caf\xe9", "--records", str(folder), *more],
            env=home.env,
            capture_output=True,
        )
        assert done.returncode == 1 and b"at character 4 is no text; write it in UTF-8" in done.stderr, done


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "soon"])
def test_a_time_that_cannot_be_waited_asks_nobody(home: Home, given: str) -> None:
    """The question would be asked, and paid for, and nobody would hear the answer."""
    for command in (["chat", "default", "hi"], ["prompt", "index", "hi"], ["consult", "hi"]):
        done = home.run(*command, "--timeout", given)
        assert done.returncode == 2 and "Invalid value for '--timeout'" in done.stderr, done


def test_a_reader_that_leaves_is_no_failure(home: Home, folder: Path) -> None:
    """`egghead … | head` ends with 0, also under `set -o pipefail`."""
    for n in range(40):
        (folder / f"{n}.md").write_text("# " + "long " * 400)
    line = f'set -o pipefail; "{COMMAND[0]}" records list --json --records "{folder}" | true'
    done = subprocess.run(["bash", "-c", line], env=home.env, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_no_colour_when_none_is_wanted(home: Home, folder: Path) -> None:
    """NO_COLOR and a dumb terminal get the words alone."""
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        terminal = Terminal(home, "records", "show", "roof", "--records", str(folder), **({"TERM": "xterm"} | env))
        try:
            assert terminal.process.wait(30) == 0
            assert "title    Roof" in terminal.read() and "\x1b" not in terminal.said
        finally:
            terminal.close()


def test_a_misspelt_command_of_a_family(home: Home) -> None:
    """The nearest command of `records`, `agents`, … is named, as it is for those of egghead itself."""
    for typed, meant in (
        ("records shwo", "show"),
        ("agents parc", "park"),
        ("llm local lst", "list"),
        ("servers lst", "list"),
    ):
        done = home.run(*typed.split())
        assert done.returncode == 2 and f"did you mean {meant!r}?" in done.stderr, done


def test_questions_as_they_are_typed(node: Node) -> None:
    """Piped questions, `#room`, and names that nobody has: those are answered, these are refused and make no room."""
    home = node.home
    assert home.ok("prompt", "index", text="What is Foam?\n") and home.ok("consult", text="What is Foam?\n")
    assert home.run("consult").returncode == 2
    assert "there is nothing to save" in home.run("rooms", "save", "#default").stderr
    for command in (["consult", "hi", "--agents", "indx"], ["chat", "dm/indx", "hi"]):
        done = home.run(*command)
        assert done.returncode == 3 and "did you mean 'index'?" in done.stderr, done
    assert {room["room"] for room in home.json("rooms", "list")} == {"default", "dm/index"}


def test_half_an_input_is_not_written(home: Home, folder: Path) -> None:
    """Ctrl-C while a text is being piped in ends with 130; nothing of it is written."""
    for command in (["new", "Half"], ["append", "roof"], ["edit", "roof", "--body", "-"]):
        process = subprocess.Popen(
            [*COMMAND, "records", *command, "--records", str(folder)], env=home.env, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        pipe = process.stdin
        assert pipe is not None
        pipe.write(b"half of it")
        pipe.flush()
        until("it reads", partial(_taken, pipe.fileno()))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 130, command
    assert sorted(path.name for path in folder.glob("*.md")) == ["evil.md", "roof.md"]
    assert (folder / "roof.md").read_text() == "# Roof\n\nLeaks.\n"


def _taken(fd: int) -> bool:
    """Whether what was written into a pipe has been read."""
    return fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0") == b"\0\0\0\0"


@pytest.mark.parametrize("command", [["search", "wet"], ["verify"]])
def test_a_long_work_ends_when_it_is_interrupted(home: Home, command: list[str]) -> None:
    """Ctrl-C in the middle of a first index ends it with 130, with nothing left behind; the next command does it anew."""
    notes = home.path / "many"
    notes.mkdir()
    for number in range(3000):
        (notes / f"n{number}.md").write_text(f"# Note {number}\n\nwet " + f"word{number} " * 200)
    process = subprocess.Popen(
        [*COMMAND, "records", *command, "--records", str(notes)], env=home.env, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    until("it indexes", lambda: [*notes.glob(".egghead/index*")])
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err.strip()) == (130, b"", b"")
    assert "index is as the files are" in home.run("records", "verify", "--records", str(notes), timeout=150).stdout
    assert not [*notes.glob(".egghead/*new*"), *notes.glob(".egghead/*tmp*")]
