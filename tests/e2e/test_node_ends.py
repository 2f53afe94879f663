"""The node ends under a client that waits: nobody waits for nobody."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

from egghead import node
from tests.e2e.node import COMMAND, Home, Node, serving, until

QUESTION = "How do I publish my notes with GitHub Pages?"


def asking(home: Home, records: Path, *more: str) -> subprocess.Popen[str]:
    """A chat in a pipe, on its way."""
    return subprocess.Popen(
        [*COMMAND, "chat", "default", QUESTION, "--records", str(records), *more],
        env=home.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def asked(node: Node) -> bool:
    """Whether a turn has been given in the default room."""
    log = node.records / ".egghead" / "rooms" / "default.jsonl"
    return any(json.loads(line)["kind"] == "turn_started" for line in log.read_text().splitlines())


def test_a_chat_outlives_the_node_that_is_killed_under_it(home: Home, foam: Path) -> None:
    """kill -9 of the root while an answer is being made: the waiting client says so, goes on with a node of its own, and
    the message, which is in the log once, is answered."""
    with serving(home, foam) as node:
        os.kill(int(node.processes()["llm"]["pid"]), signal.SIGSTOP)  # the answer will not come from this node
        chat = asking(home, foam, "--timeout", "60")
        until("the turn has begun", lambda: asked(node))
        node.process.kill()
        node.process.wait()
        out, err = chat.communicate(timeout=60)
    assert chat.returncode == 0, err
    assert "[[user/publishing/publish-to-github-pages]]" in out
    assert f"the node (pid {node.pid}) has ended; going on with another" in err
    log = [json.loads(line) for line in (foam / ".egghead/rooms/default.jsonl").read_text().splitlines()]
    assert sum(entry["kind"] == "message" and entry["by"].startswith("clients/") for entry in log) == 1


def test_two_chats_without_a_node_are_both_answered(home: Home, foam: Path) -> None:
    """Each would bring a node of its own: one does, and whoever is still waiting when it ends goes on. Each prints the
    answer to its own question alone."""
    chats = [asking(home, foam) for _ in range(3)]
    answers = [chat.communicate(timeout=90) for chat in chats]
    assert [chat.returncode for chat in chats] == [0, 0, 0], answers
    assert all(out.count("[[user/publishing/publish-to-github-pages]]") == 1 for out, _ in answers), answers


def test_nothing_to_say_is_refused(home: Home) -> None:
    """An empty message is a usage error, and starts no node."""
    for arguments in (["chat", "default", " "], ["prompt", "index", ""]):
        done = home.run(*arguments)
        assert (done.returncode, "nothing to say" in done.stderr) == (2, True)


def test_the_folder_is_removed_and_brought_back(home: Home, foam: Path, tmp_path: Path) -> None:
    """`rm -rf` of the records directory and its return from a backup: the node stands on the new folder, and finds what is
    written there."""
    with serving(home, foam):
        shutil.copytree(foam, tmp_path / "backup", ignore=shutil.ignore_patterns(".egghead"))
        shutil.rmtree(foam)
        (tmp_path / "backup").rename(foam)
        until("the node is on the new folder", lambda: home.run("ps", "--records", str(foam)).returncode == 0)
        (foam / "back.md").write_text("# Returned\n\nquokkas\n")
        until("what is written there is found", lambda: found(home, foam, "quokkas") == ["back"])
        assert len(found(home, foam, "placeholder")) > 1


def test_while_the_folder_is_gone_its_node_answers(home: Home, foam: Path, tmp_path: Path) -> None:
    """Commands still find the node: searches are answered, writes refused with the reason. A command that takes the folder that
    is there again is waited for, and the node goes on."""
    with serving(home, foam) as served:
        shutil.copytree(foam, tmp_path / "backup", ignore=shutil.ignore_patterns(".egghead"))
        shutil.rmtree(foam)
        assert len(found(home, foam, "placeholder")) > 1
        refused = home.run("records", "append", "inbox", "more", "--records", str(foam))
        assert refused.returncode != 0 and f"the records directory {str(foam)!r} is gone" in refused.stderr
        claimed = node.claim(tmp_path / "backup", command=True)
        (tmp_path / "backup").rename(foam)
        until("the node has let go of what it had", lambda: not list((home.path / "run").rglob("node.json")))
        claimed.close()
        until("the node is on the new folder", lambda: node.lock_holder(foam) == served.pid)
        until("notes are found there", lambda: len(found(home, foam, "placeholder")) > 1)


def test_the_folder_of_the_index_is_removed(home: Home, foam: Path) -> None:
    """`rm -rf .egghead` under a running node loses nothing: it is made again, and locked again."""
    with serving(home, foam):
        shutil.rmtree(foam / ".egghead")
        until("the node has its lock again", lambda: home.run("ps", "--records", str(foam)).returncode == 0)
        assert home.run("serve", "--records", str(foam)).returncode != 0
        (foam / "back.md").write_text("# Returned\n\nquokkas\n")
        until("what is written is found", lambda: found(home, foam, "quokkas") == ["back"])


def found(home: Home, records: Path, words: str) -> list[str]:
    """Ids that the running node finds; nothing when there is none."""
    done = home.run("records", "search", words, "--json", "--records", str(records))
    return [hit["id"] for hit in json.loads(done.stdout)] if done.returncode == 0 else []
