"""People look after agents: make, park, restart, approve, have them write down what they know."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from egghead.errors import ExitCode
from tests.e2e.cast import Play, agent_note, cast
from tests.e2e.node import COMMAND, Home, Node, serving, until
from tests.llm.double import Asked, Double, Use


def state(node: Node, agent: str) -> str:
    return str(node.processes().get(f"agents/{agent}", {}).get("state"))


def card(home: Home, agent: str) -> dict[str, Any]:
    found: dict[str, Any] = home.json("agents", "show", agent)
    return found


@pytest.fixture
def tidy(shared_node: Node) -> Iterator[Node]:
    """The shared node, without the agents that a test has made."""
    yield shared_node
    made = list((shared_node.records / "agents").iterdir())
    for path in made:
        path.unlink()
    (shared_node.records / "agents").rmdir()
    for path in made:
        until(f"{path.stem} is gone", lambda name=path.stem: f"agents/{name}" not in shared_node.processes())  # type: ignore[misc]  # mypy gives a default no type


def test_an_agent_is_made_by_flags(tidy: Node) -> None:
    """With a name and options nothing is asked: the note says what was given and the agent runs; bad ones make no note."""
    home = tidy.home
    made = home.ok("agents", "new", "Wood Expert", "--can", "records.read", "--can", "records.create{paths=[inbox/**]}",
                   "--tag", "wood", "--text", "You know wood.", "--quiet")  # fmt: skip
    assert made == "agents/wood-expert\n"
    text = (tidy.records / "agents" / "wood-expert.md").read_text()
    assert "You know wood." in text and "title: Wood Expert" in text
    found = card(home, "wood-expert")
    assert found["capabilities"] == ["records.read", "records.create{paths=[inbox/**]}"]
    assert (found["state"], found["quiet"], found["tags"], found["held"]) == ("running", True, ["wood"], [])
    assert "exists" in home.run("agents", "new", "wood expert", "--idle").stderr
    for arguments, word in (
        (("X", "--can", "records.raed"), "did you mean 'records.read'?"),
        (("***",), "--id ID"),
        ((), "NAME"),
    ):
        done = home.run("agents", "new", *arguments)
        assert done.returncode == ExitCode.USAGE and word in done.stderr, (arguments, done.stderr)
    assert [path.name for path in (tidy.records / "agents").iterdir()] == ["wood-expert.md"]
    piped = home.run("agents", "new", "Nib", "--text", "-", text="You write letters.\n")
    assert piped.returncode == 0 and "You write letters." in (tidy.records / "agents" / "nib.md").read_text()


def test_a_model_that_nobody_offers_is_told_where_agents_are_shown(tidy: Node) -> None:
    """When it is made, in the list and on its card, with what to do; an agent whose model is there has no problem."""
    home = tidy.home
    made = home.run("agents", "new", "Mistaken", "--model", "anthropc/claude-x")
    assert made.returncode == 0 and "did you mean 'anthropic'?" in made.stderr
    home.ok("agents", "new", "Keyless", "--model", "mistral/large")
    home.ok("agents", "new", "Fine", "--idle")
    problems = {found["id"]: found["problems"] for found in home.json("agents", "list")}
    assert problems["fine"] == [] and len(problems["mistaken"]) == 1
    assert "egghead llm add mistral" in problems["keyless"][0]
    assert card(home, "mistaken")["problems"] == problems["mistaken"]
    assert "did you mean 'anthropic'?" in home.ok("agents", "list")


def test_a_note_in_place_of_a_built_in_is_shown_once_it_runs(tidy: Node) -> None:
    """What `agents new` tells is of the note that it made, not of the agent that was there before."""
    made = tidy.home.json("agents", "new", "index", "--text", "You know all.")
    assert (made["state"], made["builtin"], made["disposition"]) == ("running", False, "You know all.")
    (tidy.records / "agents" / "index.md").unlink()
    until("the built-in is back", lambda: card(tidy.home, "index")["builtin"])


def test_an_agent_is_made_by_answers(tidy: Node) -> None:
    """On a terminal it asks name, model and capabilities, low risk first, again when one is no capability, and opens the editor."""
    ours, theirs = pty.openpty()
    env = tidy.home.env | {"TERM": "dumb", "EDITOR": "sed -i 's/Say what.*/You know the woods./'"}
    process = subprocess.Popen(
        [*COMMAND, "agents", "new"], env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    said = ""

    def read(word: str) -> bool:
        nonlocal said
        with contextlib.suppress(BlockingIOError, OSError):
            said += os.read(ours, 65536).decode(errors="replace")
        return word in said

    try:
        for question, answer in (("Name", "Scout"), ("Model", ""), ("What it may do", "records.raed"),
                                 ("did you mean", "records.read records.update")):  # fmt: skip
            until(question, lambda question=question: read(question))  # type: ignore[misc]  # mypy gives a default no type
            os.write(ours, answer.encode() + b"\n")
        until("it runs", lambda: read("Scout is running"))
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert said.index("records.read") < said.index("records.update") < said.index("records.delete")
    assert "You know the woods." in (tidy.records / "agents" / "scout.md").read_text()
    assert card(tidy.home, "scout")["capabilities"] == ["records.read", "records.update"]


def test_parked_by_a_person_until_unparked(home: Home, foam: Path) -> None:
    """A parked agent stops, its rooms know why, and a new node keeps it parked; unparked it runs. A restart is another life."""
    agent_note(foam, "scout", "local/librarian", tags=["woods"])
    with serving(home, foam) as node:
        until("scout", lambda: state(node, "scout") == "running")
        assert home.ok("agents", "park", "scout", "it shouts") == "scout is parked: it shouts\n"
        # The status file is written at most 20 times a second: it may be a moment behind the answer of a command.
        until("scout has stopped", lambda: "agents/scout" not in node.processes())
        assert (card(home, "scout")["state"], card(home, "scout")["parked"]) == ("parked", "it shouts")
        assert "scout is parked: it shouts" in home.run("chat", "default", "@scout hello").stderr
        agent_note(foam, "scout", "local/librarian", tags=["trees"])
        until("the new note", lambda: card(home, "scout")["tags"] == ["trees"])
        assert card(home, "scout")["state"] == "parked", "an edit does not undo what a person decided"
        assert "first: egghead agents unpark scout" in home.run("agents", "restart", "scout").stderr
        node.kill("roster")
        until("the roster is back", lambda: state_of(home, "scout") == "parked", 40)
    with serving(home, foam) as node:
        assert card(home, "scout")["parked"] == "it shouts" and "agents/scout" not in node.processes()
        assert home.ok("agents", "unpark", "scout") == "scout is running\n"
        until("scout runs", lambda: state(node, "scout") == "running")
        old = node.processes()["agents/scout"]["pid"]
        assert "is not parked" in home.run("agents", "unpark", "scout").stderr
        assert home.ok("agents", "restart", "scout") == "scout is running\n"
        until("another life", lambda: node.processes().get("agents/scout", {}).get("pid") not in (None, old))
        assert home.run("agents", "park", "scoot").returncode == ExitCode.NOT_FOUND


def state_of(home: Home, agent: str) -> str | None:
    done = home.run("agents", "show", agent, "--json")
    return None if done.returncode else str(json.loads(done.stdout)["state"])


def test_parked_by_the_supervisor(home: Home, foam: Path) -> None:
    """An agent that dies again and again is parked with its reason and last exit in `show`; unpark starts it again."""
    agent_note(foam, "scout", "local/librarian")
    with serving(home, foam) as node:
        for _ in range(12):
            until("scout", lambda: state(node, "scout") in ("running", "parked"))
            process = node.processes()["agents/scout"]
            if process["state"] == "parked":
                break
            node.kill("agents/scout")
            until("it died", lambda pid=process["pid"]: node.processes()["agents/scout"]["pid"] != pid)  # type: ignore[misc]  # mypy gives a default no type
        until("parked", lambda: card(home, "scout")["parked"])
        shown = home.ok("agents", "show", "scout")
        assert "it crashed too often" in shown and "last exit" in shown and "SIGKILL" in shown
        assert card(home, "index")["state"] == "running"
        assert home.ok("agents", "unpark", "scout") == "scout is running\n"
        until("scout runs", lambda: state(node, "scout") == "running")  # the status file is behind an answer


def saving(asked: Asked) -> Any:
    if asked.results:
        return f"Written: {asked.results[-1][:60]}"
    if "Write down as notes" in asked.last:
        return [Use("create_record", {"title": "Ferns like shade", "body": "Told by Ada."})]
    return "I see."


def test_an_agent_writes_down_what_it_knows(short_dir: Path) -> None:
    """`agents save` is a turn with the agent's own rights: a note by the one that may, a denial for the one that may not."""
    records = short_dir / "notes"
    records.mkdir()
    agent_note(records, "nib", "anthropic/double", capabilities=["records.read"])
    with (
        Double(saving) as double,
        cast(short_dir, double, {"scout": "anthropic/double", "nib": "anthropic/double"}) as play,
    ):
        nothing = play.home.run("agents", "save", "scout")
        assert nothing.returncode == 1 and "has said nothing" in nothing.stderr
        play.say("@scout ferns like shade")
        assert "Written" in play.home.ok("agents", "save", "scout")
        assert "Told by Ada." in (records / "ferns-like-shade.md").read_text()
        assert "Ada" not in str(list(records.glob("ferns-like-shade-*")))
        play.home.run("agents", "save", "nib", "--room", "default")
        misspelt = play.home.run("agents", "save", "nib", "--room", "defualt")
        assert misspelt.returncode == 3 and "did you mean 'default'" in misspelt.stderr
        assert not (records / ".egghead" / "rooms" / "defualt.jsonl").exists()
        assert [entry["agent"] for entry in play.log() if entry["kind"] == "denied"] == ["nib"]
        assert any("Write down as notes" in asked.last and asked.agent == "scout" for asked in double.asked)


def growing(play: Play) -> list[str]:
    return [e["text"] for e in play.log() if e["kind"] == "notice" and "changed from outside" in e["text"]]


def test_authority_from_outside_waits_for_a_person(short_dir: Path) -> None:
    """With `hold`, a grant that comes in a file is told once and refused until it is approved, over restarts; what a command
    grants counts at once."""
    records = short_dir / "notes"
    records.mkdir()
    (records / "old.md").write_text("# Old\n\nNote.\n")
    agent_note(records, "scout", "anthropic/double", capabilities=["records.read"])

    def script(asked: Asked) -> Any:
        if asked.results:
            return f"It said: {asked.results[-1]}"
        return [Use("update_record", {"id": "old", "title": asked.last.rpartition(" ")[2]})]

    with (
        Double(script) as double,
        cast(short_dir, double, {"scout": "anthropic/double"}, config={"review_grants": "hold"}) as play,
    ):
        agent_note(records, "scout", "anthropic/double", capabilities=["records.read", "records.update"])
        text = until("it is told", lambda: growing(play))[0]
        assert "records.update" in text and "egghead agents approve scout" in text
        assert card(play.home, "scout")["held"] == ["records.update"]
        until("the new life", lambda: "records.update" in card(play.home, "scout")["capabilities"])
        assert "held   records.update" in play.home.ok("chat", "default", "/whois scout")
        play.say("@scout call it One")
        assert "title: One" not in (records / "old.md").read_text()
        assert [e["agent"] for e in play.log() if e["kind"] == "denied"] == ["scout"]
        old = play.node.kill("roster")
        play.node.healed("roster", old, 40)
        play.say("@scout call it Two")
        assert len(growing(play)) == 1 and "Two" not in (records / "old.md").read_text()
        assert play.home.ok("agents", "approve", "scout") == "scout: records.update\n"
        assert play.home.ok("agents", "approve", "scout") == "scout: nothing was waiting\n"
        play.say("@scout call it Three")
        assert "Three" in (records / "old.md").read_text()
        play.home.ok("agents", "grant", "scout", "records.delete")
        until("granted", lambda: "records.delete" in card(play.home, "scout")["capabilities"])
        assert card(play.home, "scout")["held"] == [] and len(growing(play)) == 1
