"""`egghead consult` on a real node: answers in order, who passed, who is missing and why, and nothing left but the note."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cast import Play, cast
from tests.e2e.node import COMMAND
from tests.llm.double import PASS, Asked, Double, Hang


def script(asked: Asked) -> Any:
    if asked.agent == "stuck":
        return ["I think", Hang()]
    if asked.agent == "shy":
        return PASS
    if asked.agent == "sage":
        return "Ferns like shade."
    return "Ask @sage about ferns." if "refer" in asked.last else "In the woods."


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Any:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="eh-", dir="/tmp") as base, Double(script) as double:
        agents = dict.fromkeys(("scout", "sage", "shy", "stuck"), "anthropic/double")
        with cast(Path(base), double, agents) as found:
            yield found


def consult(play: Play, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = play.home.run("consult", *arguments, "--json")
    assert done.stdout, (done.returncode, done.stderr)
    return done.returncode, json.loads(done.stdout)


def test_everybody_who_is_asked_answers_passes_or_is_named(play: Play) -> None:
    """Two answers in order and a pass: over without waiting; the transcript is a note and the room is gone."""
    code, found = consult(play, "Where do ferns grow?", "--agents", "scout,shy,@Sage")
    assert code == 0 and found["ended"] == "all"
    assert [(one["agent"], one["text"]) for one in found["answers"]] == [
        ("scout", "In the woods."),
        ("sage", "Ferns like shade."),
    ]
    assert found["passed"] == ["shy"] and found["missing"] == {}
    assert found["record"] == f"chat/{found['room']}"
    note = (play.records / f"{found['record']}.md").read_text()
    assert "Where do ferns grow?" in note and "Ferns like shade." in note
    assert found["room"] not in [room["room"] for room in play.home.json("rooms", "list")]


def test_the_timeout_keeps_what_there_is(play: Play) -> None:
    """Who hangs is stopped at the timeout with what it had said, marked as cut; who had no turn is missing; exit status 6."""
    code, found = consult(play, "Where?", "--agents", "scout,stuck,sage", "--timeout", "4")
    assert code == 6 and found["ended"] == "timeout"
    assert [(one["agent"], one["cut"]) for one in found["answers"]] == [("scout", False), ("stuck", True)]
    assert found["missing"] == {"sage": "it had no time to answer"}


def test_the_budget_ends_it(play: Play) -> None:
    """When the turns are used up it is over, with who was not asked any more; a peer that is mentioned is asked within it."""
    code, found = consult(play, "Where?", "--agents", "scout sage", "--budget", "1")
    assert code == 0 and found["ended"] == "budget"
    assert [one["agent"] for one in found["answers"]] == ["scout"]
    assert found["missing"] == {"sage": "the budget of 1 turns was used up"}
    code, found = consult(play, "Please refer me.", "--agents", "scout")
    assert code == 0 and [one["agent"] for one in found["answers"]] == ["scout", "sage"]


def test_only_those_who_are_listed_are_asked(play: Play) -> None:
    """Names and broadcast words in the question ask nobody beside `--agents`; the transcript has the question as it was put."""
    code, found = consult(play, "@everyone and @sage: where?", "--agents", "scout")
    assert code == 0 and [one["agent"] for one in found["answers"]] == ["scout"] and found["missing"] == {}
    assert "\n@everyone and @sage: where?\n" in (play.records / f"{found['record']}.md").read_text()


def test_a_question_that_is_taken_back_stops_the_room(play: Play) -> None:
    """Ctrl-C ends the command, and nobody goes on spending on its question."""
    before = len(play.double.asked)
    process = subprocess.Popen(
        [*COMMAND, "consult", "Where?", "--agents", "stuck"], env=play.home.env, stderr=subprocess.PIPE
    )
    with process:
        asked = play.double.wait(before + 1)[before]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert asked.gone.wait(20), "the model's answer is not waited for any more"


def test_nobody_and_the_unknown(play: Play) -> None:
    """All pass: 7. A name that nobody has: 3 with the nearest, and no room is made. Nothing asked, nobody named: 2."""
    done: subprocess.CompletedProcess[str] = play.home.run("consult", "Anything?", "--agents", "shy")
    assert done.returncode == 7 and "shy has nothing to add" in done.stderr and "nobody had an answer" in done.stderr
    rooms = play.home.json("rooms", "list")
    done = play.home.run("consult", "x", "--agents", "scoot2x")
    assert done.returncode == 3 and "did you mean 'scout'?" in done.stderr
    assert play.home.json("rooms", "list") == rooms
    assert play.home.run("consult", "  ").returncode == 2
    assert play.home.run("consult", "x", "--agents", ",").returncode == 2
    assert play.home.run("consult", "x", "--budget", "0").returncode == 2


def test_an_open_question_goes_to_those_it_is_for(play: Play) -> None:
    """Without names the room decides as for any open message, and the answers are printed for people."""
    out = play.home.run("consult", "What does sage say?", "--timeout", "20")
    assert (
        out.returncode == 0 and "Sage:\nFerns like shade.\n" in out.stdout and "kept as [[chat/consult-" in out.stderr
    )
