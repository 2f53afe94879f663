"""Edit, save, the next message uses it: notes of agents that change under a running node, and models that see it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from tests.e2e.cast import Play, agent_note, cast
from tests.e2e.node import until
from tests.llm.double import Asked, Double, Gate, Reply, Wait

MODEL = "anthropic/double"
TOLD = ("joined", "left", "reloaded", "parked", "notice")


@dataclass
class Stage:
    """A node on which each test has agents of its own, and what their models say."""

    play: Play
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    _barriers: int = 0

    def note(self, agent: str, body: str = "", **keys: Any) -> Path:
        return agent_note(self.play.records, agent, keys.pop("model", MODEL), body, **keys)

    def begin(self, agent: str, body: str = "", **keys: Any) -> Path:
        """A new agent, present."""
        path = self.note(agent, body, **keys)
        self.play.present(agent)
        until(f"{agent} runs", lambda: self.pid(agent))
        return path

    def told(self, *agents: str, room: str = "default", kinds: Sequence[str] = TOLD) -> list[dict[str, Any]]:
        """What a room was told of these agents, as who they are and who comes and goes."""
        return [e for e in self.play.log(room) if e["kind"] in kinds and e.get("agent") in agents]

    def reloaded(self, agent: str, count: int = 1, timeout: float = 20.0) -> list[str]:
        """The lines that say what changed, waited for."""

        def found() -> list[str] | None:
            lines = [str(e.get("text")) for e in self.told(agent, kinds=["reloaded"])]
            return lines if len(lines) >= count else None

        return until(f"{agent} was reloaded {count} times", found, timeout)

    def settled(self) -> None:
        """What was saved before is done: a new agent came in after it."""
        self._barriers += 1
        self.begin(f"barrier{id(self)}-{self._barriers}")

    def lives(self, agent: str) -> int:
        """How often its process was started."""
        return self.play.node.home.ok("logs", "-n", "20000").count(f" agent={agent} started")

    def pid(self, agent: str) -> int:
        process = self.play.node.processes().get(f"agents/{agent}", {})
        return process.get("pid") or 0

    def answer(self, agent: str, text: str = "hello") -> tuple[Asked, list[dict[str, Any]]]:
        """Says something to the agent; what its model was asked, and the round."""
        entries = self.play.say(f"@{agent} {text}")
        return self.play.double.of(agent)[-1], entries

    def card(self, agent: str) -> dict[str, Any]:
        return next(card for card in self.play.home.json("agents", "list") if card["id"] == agent)


@contextlib.contextmanager
def speaking(stage: Stage, agent: str, text: str, gate: Gate) -> Iterator[list[dict[str, Any]]]:
    """Says something whose answer stops at the gate; the entries of its round are there when this is left."""
    entries: list[dict[str, Any]] = []
    person = threading.Thread(target=lambda: entries.extend(stage.play.say(f"@{agent} {text}")), daemon=True)
    person.start()
    try:
        assert gate.reached.wait(20)
        yield entries
    finally:
        gate.open()
        person.join(60)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """One node for the stories of this file."""
    replies: dict[str, list[Reply]] = {}

    def script(asked: Asked) -> Reply:
        waiting = replies.get(asked.agent)
        return waiting.pop(0) if waiting else "Yes."

    base = Path(tempfile.mkdtemp(prefix="eh-", dir="/tmp"))
    try:
        with Double(script) as double, cast(base, double, {}) as play:
            yield Stage(play, replies)
            assert double.faults == []
    finally:
        shutil.rmtree(base, ignore_errors=True)


def message_of(entries: list[dict[str, Any]], agent: str) -> dict[str, Any]:
    [found] = [e for e in entries if e["kind"] == "message" and e["by"] == f"agents/{agent}"]
    return found


def test_the_next_message_uses_what_was_saved(stage: Stage) -> None:
    """Its model sees the new disposition, is the new model, with the new tools; the room is told the difference in one line."""
    stage.begin("scout", "You know the woods.", capabilities=["records.read"])
    asked, _ = stage.answer("scout")
    assert "You know the woods." in asked.system and "create_record" not in asked.tools and asked.wire == "anthropic"
    stage.note("scout", "You know the sea.", capabilities=["records.create"], model="openai/other", title="Sailor")
    told = "Scout became Sailor, model anthropic/double → openai/other, +records.create, -records.read, new disposition"
    assert stage.reloaded("scout") == [told]
    asked, _ = stage.answer("scout", "and now?")
    assert "You know the sea." in asked.system and "the woods" not in asked.system and "Sailor" in asked.system
    assert "create_record" in asked.tools and "search_records" not in asked.tools
    assert (asked.wire, asked.model) == ("openai", "other")
    assert stage.lives("scout") == 2


def test_a_turn_in_progress_ends_under_the_old_record(stage: Stage) -> None:
    """Saved in mid-answer: the answer is finished by who began it; what is said meanwhile is answered by the new one."""
    stage.begin("slow", "You are of the first edition.")
    gate = Gate()
    stage.replies["slow"] = [["Half a", Wait(gate), " sentence."]]
    pid = stage.pid("slow")
    with speaking(stage, "slow", "tell me", gate) as entries:
        stage.note("slow", "You are of the second edition.")
        until("it is asked to stop", lambda: stage.play.node.processes()["agents/slow"]["state"] != "running")
        assert stage.pid("slow") == pid
        stage.play.home.run("chat", "default", "@slow and you?", "--timeout", "0.2")  # waits in the log
        assert len(stage.play.double.of("slow")) == 1
    assert message_of(entries, "slow")["text"] == "Half a sentence." and not message_of(entries, "slow").get("cut")
    stage.reloaded("slow")
    second = until("the second answer", lambda: stage.play.double.of("slow")[1:])
    assert "first edition" in stage.play.double.of("slow")[0].system
    assert "second edition" in second[0].system and second[0].last.endswith("and you?")
    assert second[0].messages[-2] == ("assistant", "Half a sentence.")
    outcomes = until(
        "both turns ended",
        lambda: found if len(found := [e for e in stage.play.log() if _ended(e, "slow")]) == 2 else None,
    )
    assert [e["outcome"] for e in outcomes] == ["spoke", "spoke"]
    assert stage.lives("slow") == 2


def _ended(entry: dict[str, Any], agent: str) -> bool:
    return bool(entry["kind"] == "turn_ended" and entry["agent"] == agent)


def test_a_turn_that_takes_too_long_is_cut(stage: Stage) -> None:
    """Past its `shutdown` the old process keeps what was said, marked as cut; the next message has the new record."""
    stage.begin("endless", "You never end.")
    gate = Gate()
    stage.replies["endless"] = [["Once upon a time", Wait(gate), " there was"]]
    with speaking(stage, "endless", "a story", gate):
        stage.note("endless", "You are brief.")
        stage.reloaded("endless")
    told = [e for e in stage.play.log() if e.get("by") == "agents/endless" and e["kind"] == "message"]
    assert [(e["text"], e.get("cut")) for e in told] == [("Once upon a time", True)]
    assert [e["outcome"] for e in stage.play.log() if _ended(e, "endless")] == ["spoke"]
    asked, entries = stage.answer("endless", "go on")
    assert "You are brief." in asked.system and message_of(entries, "endless")["text"] == "Yes."


@pytest.mark.parametrize("victim", ["roster", "store"])
def test_who_swaps_dies_in_the_middle_of_it(stage: Stage, victim: str) -> None:
    """Roster or store killed while the old process finishes its turn: the turn ends well, one new process has the record."""
    agent = f"orphan-{victim}"
    stage.begin(agent, "You are of the first edition.")
    gate = Gate()
    stage.replies[agent] = [["Half a", Wait(gate), " sentence."]]
    with speaking(stage, agent, "tell me", gate) as entries:
        stage.note(agent, "You are of the second edition.")
        until("it is asked to stop", lambda: stage.play.node.processes()[f"agents/{agent}"]["state"] != "running")
        old = stage.play.node.kill(victim)
        until("another", lambda: stage.play.node.processes()[victim]["pid"] not in (old, None))
    assert message_of(entries, agent)["text"] == "Half a sentence."
    stage.settled()
    asked, again = stage.answer(agent, "and now?")
    assert "second edition" in asked.system and message_of(again, agent)["text"] == "Yes."
    assert [e["kind"] for e in stage.told(agent, kinds=["joined", "left", "parked"])] == ["joined"]
    assert stage.lives(agent) == 2


def test_saves_while_the_old_process_ends_are_the_same_swap(stage: Stage) -> None:
    """Saved again, broken, and good while a turn is being finished: one new process, of what was saved last."""
    path = stage.begin("restless", "Edition 0.")
    gate = Gate()
    stage.replies["restless"] = [["Half a", Wait(gate), " sentence."]]
    with speaking(stage, "restless", "tell me", gate):
        stage.note("restless", "Edition 1.")
        until("it is asked to stop", lambda: stage.play.node.processes()["agents/restless"]["state"] != "running")
        path.write_text("---\nclass: [agent\n---\nEdition 2.\n")
        until("it is told", lambda: stage.card("restless")["problems"])
        stage.note("restless", "Edition 3.")
        until("it is mended", lambda: not stage.card("restless")["problems"])
    assert stage.reloaded("restless") == ["new disposition"]
    assert "Edition 3." in stage.answer("restless")[0].system
    stage.settled()
    assert len(stage.reloaded("restless")) == 1 and stage.lives("restless") == 2


def test_ten_saves_in_a_second_are_one_swap(stage: Stage) -> None:
    """An editor that saves all the time makes one new process, of the last content, and one line."""
    path = stage.begin("busy", "Edition 0.")
    for number in range(1, 11):
        if number % 2:
            stage.note("busy", f"Edition {number}.")
        else:  # as many editors do it
            draft = path.with_name(".busy.md.swp")
            draft.write_text(path.read_text().replace(f"Edition {number - 1}.", f"Edition {number}."))
            draft.replace(path)
        sleep(0.09)  # the pace is what is tested
    stage.reloaded("busy")
    asked, _ = stage.answer("busy")
    assert "Edition 10." in asked.system
    stage.settled()
    assert stage.reloaded("busy") == ["new disposition"] and stage.lives("busy") == 2


def test_a_broken_edit_keeps_the_old_process(stage: Stage) -> None:
    """A note that cannot be read changes nothing and is named by list, card and doctor; the next good save mends it."""
    path = stage.begin("frail", "You are whole.")
    pid, good = stage.pid("frail"), path.read_text()
    path.write_text(good.replace("model:", "model: [").replace("whole", "broken"))
    problem = until("it is told", lambda: stage.card("frail")["problems"])[0]
    assert "the record is broken, the agent goes on as it was" in problem
    assert stage.card("frail")["state"] == "running" and stage.card("frail")["model"] == MODEL
    assert "the record is broken" in stage.play.home.ok("agents", "list")
    assert "the record is broken" in stage.play.home.ok("agents", "show", "frail")
    assert f"correct the frontmatter of {path}" in stage.play.home.run("doctor").stdout
    asked, entries = stage.answer("frail")
    assert "You are whole." in asked.system and asked.tools == [], "rights that cannot be read are no rights"
    assert message_of(entries, "frail")["text"] == "Yes." and stage.pid("frail") == pid
    path.write_text(good.replace("whole", "mended"))
    assert stage.reloaded("frail") == ["new disposition"]
    asked, _ = stage.answer("frail", "and now?")
    assert "You are mended." in asked.system and "create_record" in asked.tools
    assert stage.card("frail")["problems"] == [] and stage.lives("frail") == 2


def test_a_new_title_is_one_line(stage: Stage) -> None:
    """Who gets another name became it, once, in every room, and is called by it."""
    stage.begin("walker", title="Walker")
    stage.note("walker", title="Ranger")
    assert stage.reloaded("walker") == ["Walker became Ranger"]
    stage.settled()
    assert stage.reloaded("walker") == ["Walker became Ranger"]
    entries = stage.play.say("@Ranger hello")
    assert message_of(entries, "walker")["author"] == "Ranger"


def test_a_note_that_moves_is_another_agent(stage: Stage) -> None:
    """The file's new name is a new id: the old agent has left, the new one is here, in one step each."""
    old = stage.begin("before")
    old.rename(old.with_name("after.md"))
    stage.play.present("after")
    until("the old one left", lambda: stage.told("before", kinds=["left"]))
    stage.settled()
    assert [e["kind"] for e in stage.told("before")] == ["joined", "left"]
    assert [e["kind"] for e in stage.told("after")] == ["joined"]
    assert stage.pid("before") == 0
    assert message_of(stage.answer("after")[1], "after")["text"] == "Yes."


def test_a_change_of_class_stops_and_starts_it(stage: Stage) -> None:
    """A note that is no agent any more has no process; made one again, it has."""
    path = stage.begin("moody")
    path.write_text(path.read_text().replace('class: "agent"', "class: durable"))
    until("it left", lambda: stage.told("moody", kinds=["left"]))
    until("its process is gone", lambda: stage.pid("moody") == 0)
    path.write_text(path.read_text().replace("class: durable", 'class: "agent"'))
    until("it is back", lambda: [e["kind"] for e in stage.told("moody")] == ["joined", "left", "joined"])
    assert message_of(stage.answer("moody")[1], "moody")["text"] == "Yes."


def test_the_trash_and_back(stage: Stage) -> None:
    """Trashed it is gone, restored it is here, and remembers what was said in the room."""
    stage.begin("phoenix")
    stage.answer("phoenix", "the word is amber")
    stage.play.home.ok("records", "trash", "agents/phoenix")
    until("it left", lambda: stage.told("phoenix", kinds=["left"]))
    until("its process is gone", lambda: stage.pid("phoenix") == 0)
    stage.play.home.ok("records", "restore", "agents/phoenix")
    until("it is back", lambda: [e["kind"] for e in stage.told("phoenix")] == ["joined", "left", "joined"])
    asked, _ = stage.answer("phoenix", "which word?")
    assert any("the word is amber" in text for _, text in asked.messages)
    assert stage.lives("phoenix") == 2


@pytest.mark.parametrize("roster_dies", [False, True], ids=["", "and the roster dies"])
def test_the_trash_in_mid_answer(stage: Stage, roster_dies: bool) -> None:
    """Trashed while it speaks: what people saw it say stays, marked as cut, and only then it leaves, once."""
    agent = f"talker{roster_dies:d}"
    stage.begin(agent)
    gate = Gate()
    stage.replies[agent] = [["Once upon a time", Wait(gate), " there was"]]
    with speaking(stage, agent, "a story", gate):
        stage.play.home.ok("records", "trash", f"agents/{agent}")
        until("it is asked to stop", lambda: stage.play.node.processes()[f"agents/{agent}"]["state"] != "running")
        assert stage.told(agent, kinds=["left"]) == []
        if roster_dies:
            stage.play.node.healed("roster", stage.play.node.kill("roster"))
        until("it left", lambda: stage.told(agent, kinds=["left"]))
    mine = [e for e in stage.play.log() if f"agents/{agent}" == e.get("by") or agent == e.get("agent")]
    assert [e["kind"] for e in mine] == ["joined", "turn_started", "message", "turn_ended", "left"]
    assert (mine[2]["text"], mine[2].get("cut"), mine[3]["outcome"]) == ("Once upon a time", True, "spoke")
    until("its process is gone", lambda: stage.pid(agent) == 0)


def test_an_edit_through_the_node_restarts_once(stage: Stage) -> None:
    """What is written through Egghead is told by the store and seen by the watcher; it is one swap all the same."""
    stage.begin("tended", "You are patient.", capabilities=["records.read"])
    home = stage.play.home
    home.ok("records", "set", "agents/tended", "quiet=true")
    assert stage.reloaded("tended") == ["quiet"]
    home.ok("agents", "grant", "tended", "records.create")
    assert stage.reloaded("tended", 2)[1:] == ["+records.create"]
    home.ok("agents", "edit", "tended", EDITOR="sed -i s/patient/quick/")
    assert stage.reloaded("tended", 3)[2:] == ["new disposition"]
    stage.settled()
    assert len(stage.reloaded("tended", 3)) == 3 and stage.lives("tended") == 4
    assert "You are quick." in stage.answer("tended")[0].system


def test_another_branch_is_one_batch(short_dir: Path) -> None:
    """`git checkout` changes, adds and removes ten agents at once: each room is told once of each, and nobody starts twice."""

    def git(*arguments: str) -> None:
        user = ("-c", "user.name=ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *user, *arguments], cwd=records, check=True, capture_output=True)

    records = short_dir / "notes"
    records.mkdir()
    old, both, new = ([f"{kind}{n}" for n in range(count)] for kind, count in (("old", 3), ("both", 4), ("new", 3)))
    later = {("left",): old, ("reloaded",): both, (): new}
    git("init", "-q", "-b", "one")
    (records / ".gitignore").write_text(".egghead/\n")
    for agent in (*old, *both):
        agent_note(records, agent, MODEL, f"{agent}, first edition.")
    git("add", ".")
    git("commit", "-qm", "one")
    git("checkout", "-qb", "two")
    for agent in old:
        (records / "agents" / f"{agent}.md").unlink()
    for agent in (*both, *new):
        agent_note(records, agent, MODEL, f"{agent}, second edition.")
    git("add", "-A")
    git("commit", "-qm", "two")
    git("checkout", "-q", "one")
    with Double(["Yes."]) as double, cast(short_dir, double, dict.fromkeys([*old, *both], MODEL)) as play:
        stage = Stage(play)
        play.home.ok("rooms", "open", "garden")
        until("all in the garden", lambda: len(stage.told(*old, *both, room="garden")) == 7)
        git("checkout", "-q", "two")
        rooms = ("default", "garden")
        everybody = (*old, *both, *new)
        until("all are told", lambda: all(len(stage.told(*everybody, room=room)) >= 17 for room in rooms))
        stage.settled()
        for room in rooms:
            told = {agent: [e["kind"] for e in stage.told(agent, room=room)] for agent in everybody}
            expected = {agent: ["joined", *after] for after, some in later.items() for agent in some}
            assert told == expected
        assert {agent: stage.lives(agent) for agent in everybody} == {
            **dict.fromkeys([*old, *new], 1),
            **dict.fromkeys(both, 2),
        }
        assert {stage.pid(agent) for agent in old} == {0}
        assert "both1, second edition." in stage.answer("both1")[0].system
        assert message_of(stage.answer("new2")[1], "new2")["text"] == "Yes."
