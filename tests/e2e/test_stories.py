"""The five stories of a user, told by the installed program in an empty home."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.e2e.node import Home, Node, gone, serving, until

QUESTION = "How do I publish my notes with GitHub Pages?"
RIGHT = "user/publishing/publish-to-github-pages"


def fingerprint(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and ".egghead" not in path.relative_to(folder).parts
    }


def cited(text: str) -> list[str]:
    return [part.split("]]")[0] for part in text.split("[[")[1:]]


def test_serve_says_what_runs_and_leaves_the_notes_alone(home: Home, foam: Path) -> None:
    """READY names the processes, the confinement and how to attach; nothing but .egghead/ is added to the folder."""
    before = fingerprint(foam)
    with serving(home, foam) as node:
        assert "READY" in node.ready_text and str(foam) in node.ready_text
        assert "confinement: " in node.ready_text and "egghead chat" in node.ready_text
        home.ok("chat", "default", QUESTION)
        assert node.stop() == 0
    assert fingerprint(foam) == before
    assert {p.name for p in foam.iterdir() if p.name.startswith(".")} == {".egghead"}


def test_chat_gives_a_cited_answer(node: Node) -> None:
    """One message to a running node: an answer of `index` whose citations are notes that exist and say so."""
    answer = node.home.ok("chat", "default", QUESTION)
    ids = cited(answer)
    assert RIGHT in ids
    for note in ids:
        assert (node.records / f"{note}.md").exists(), note
    entries = node.home.log_lines("chat", "default", "Can I use math formulas on my published site?")
    kinds = [entry["kind"] for entry in entries]
    assert kinds[0] == "message" and kinds[-1] == "round_ended"
    assert [e["by"] for e in entries if e["kind"] == "message" and e.get("turn")] == ["agents/index"]
    assert kinds.count("turn_started") == kinds.count("turn_ended") == 1
    piped = node.home.run("chat", "default", text="What is a placeholder link?")
    assert piped.returncode == 0 and cited(piped.stdout)


def test_chat_without_a_node_brings_its_own(home: Home, foam: Path) -> None:
    """With no node running, one command on a folder gives a cited answer and leaves no process behind."""
    before = {p.pid for p in psutil.process_iter()}
    answer = home.ok("chat", "default", QUESTION, "--records", str(foam))
    assert RIGHT in cited(answer)
    ours = [p for p in psutil.process_iter(["cmdline"]) if p.pid not in before and str(foam) in str(p.info["cmdline"])]
    gone(ours)
    assert home.run("tree").returncode == 4
    again = home.run("rooms", "show", "default", "--records", str(foam))
    assert "no node is running" in again.stderr


def test_the_tree_is_shown_live(node: Node) -> None:
    """tree, ps and status tell pid, state, uptime, restarts and memory of processes that are really there."""
    names = set(node.processes())
    assert {"bus", "index", "store", "lobby", "tools", "llm", "coordinator", "roster"} <= names
    assert {"rooms/default", "agents/index"} <= names
    for process in node.home.json("ps"):
        name = process["name"]
        assert psutil.pid_exists(process["pid"]), name
        assert process["state"] == "running" and process["restarts"] == 0
    tree = node.home.ok("tree")
    for word in ("rest_for_one", "dynamic", "agents/index", "STATE", "LAST EXIT"):
        assert word in tree
    status = node.home.ok("status")
    assert str(node.records) in status and "confinement" in status


@pytest.mark.parametrize(
    "command",
    [
        ("records", "search", "daily notes"),
        ("records", "show", "wikilinks"),
        ("records", "list", "--in", "user/features"),
        ("records", "links", "graph-view"),
        ("agents", "list"),
        ("agents", "show", "index"),
        ("rooms", "list"),
        ("rooms", "show", "default"),
        ("logs", "-n", "5"),
        ("config", "path"),
        ("config", "view"),
        ("version",),
    ],
)
def test_commands_answer(shared_node: Node, command: tuple[str, ...]) -> None:
    """Each command prints its result, and as JSON where it lists or shows."""
    assert shared_node.home.ok(*command).strip()
    if command[0] not in ("logs",) and command[:2] not in (("config", "path"), ("rooms", "show")):
        assert shared_node.home.json(*command)


def test_prompt_is_a_room_of_two(node: Node) -> None:
    """`prompt index` answers in dm/index, and the room remembers it."""
    answer = node.home.ok("prompt", "index", QUESTION)
    assert RIGHT in cited(answer)
    assert any("GitHub Pages" in line for line in node.home.ok("rooms", "show", "dm/index").splitlines())


def test_new_note_is_found_at_once(node: Node) -> None:
    """A note made by command, and one saved by an editor, are found."""
    made = node.home.ok("records", "new", "Marmalade", "--body", "Boil the bitter oranges twice.").strip()
    assert (node.records / f"{made}.md").exists()
    assert made in node.home.ok("records", "search", "bitter oranges")
    (node.records / "by-editor.md").write_text("# Quince\n\nQuinces keep until February.\n", encoding="utf-8")
    until("the editor's note is found", lambda: "by-editor" in node.home.run("records", "search", "quinces").stdout)


def test_saving_a_note_deploys_an_agent(node: Node) -> None:
    """Save agents/scout.md: scout runs and answers; edit it: the next message gets the new one; delete it: gone."""
    home, path = node.home, node.records / "agents" / "scout.md"
    path.parent.mkdir()
    path.write_text("---\nclass: agent\ntitle: Scout\ntags: [publishing]\n---\nYou find things.\n", encoding="utf-8")
    until("scout runs", lambda: node.processes().get("agents/scout", {}).get("state") == "running")
    entries = until("scout answers", lambda: _answered_by(home, "scout"), 30)
    assert any(e["kind"] == "message" and e.get("author") == "Scout" for e in entries)

    old = node.processes()["agents/scout"]["pid"]
    path.write_text("---\nclass: agent\ntitle: Ranger\ntags: [publishing]\n---\nYou find more.\n", encoding="utf-8")
    until("a new process", lambda: node.processes().get("agents/scout", {}).get("pid") not in (None, old))
    entries = until("the new one answers", lambda: _answered_by(home, "scout"), 30)
    assert [e["author"] for e in entries if e["kind"] == "message" and e.get("turn")] == ["Ranger"]

    path.unlink()
    until("scout is gone", lambda: "agents/scout" not in node.processes())
    assert "scout" not in [card["id"] for card in home.json("agents", "list")]


def _answered_by(home: Home, agent: str) -> list[dict] | None:
    entries = home.log_lines("chat", "default", f"@{agent} {QUESTION}")
    spoke = {e["by"] for e in entries if e["kind"] == "message" and e.get("turn")}
    return entries if spoke == {f"agents/{agent}"} else None


EVERY = ["bus", "index", "store", "rooms/default", "lobby", "tools", "llm", "coordinator", "agents/index", "roster"]


@pytest.mark.parametrize("name", EVERY)
def test_kill_of_any_process_heals(shared_node: Node, name: str) -> None:
    """kill -9 of any process: it comes back by the tree's rules, and the next question is answered."""
    old = shared_node.kill(name)
    shared_node.healed(name, old)
    assert RIGHT in cited(shared_node.home.ok("chat", "default", QUESTION))


def test_kill_of_the_zygote_restarts_the_tree_once(node: Node) -> None:
    """kill -9 of the forker: everything is started again, and the room still has its log."""
    node.home.ok("chat", "default", QUESTION)
    last = node.home.json("rooms", "list")[0]["entries"]
    before = {name: p["pid"] for name, p in node.processes().items()}
    zygote = next(
        p for p in node.descendants() if any(n != "agents/index" and p.pid not in before.values() for n in [""])
    )
    os.kill(zygote.pid, signal.SIGKILL)
    until("all new", lambda: _all_new(node, before), 30)
    assert node.home.json("rooms", "list")[0]["entries"] >= last
    assert RIGHT in cited(node.home.ok("chat", "default", QUESTION))


def _all_new(node: Node, before: dict[str, int]) -> bool:
    now = node.processes()
    return set(before) <= set(now) and all(
        p["state"] == "running" and p["pid"] != before.get(name) for name, p in now.items()
    )


def test_kill_of_the_root_leaves_nothing_and_the_rooms_come_back(home: Home, foam: Path) -> None:
    """kill -9 of the root: no process is left; the next serve reopens the room with every entry in it."""
    with serving(home, foam) as node:
        home.ok("chat", "default", QUESTION)
        entries = home.ok("rooms", "show", "default", "-n", "1000", "--json")
        left = node.descendants()
        assert len(left) > 8
        os.kill(node.pid, signal.SIGKILL)
        node.process.wait()
        gone(left, 2)
    with serving(home, foam):
        again = home.ok("rooms", "show", "default", "-n", "1000", "--json")
        assert again.splitlines()[: len(entries.splitlines())] == entries.splitlines()
        assert RIGHT in cited(home.ok("chat", "default", QUESTION))


def test_a_command_in_place_of_a_message(node: Node) -> None:
    """`chat ROOM /save` writes the transcript as a note; an unknown command is refused with the nearest."""
    node.home.ok("chat", "default", QUESTION)
    assert "[[chat/default]]" in node.home.ok("chat", "default", "/save")
    assert QUESTION in node.home.json("records", "show", "chat/default")["body"]
    refused = node.home.run("chat", "default", "/svae")
    assert refused.returncode == 2 and "'/save'" in refused.stderr
