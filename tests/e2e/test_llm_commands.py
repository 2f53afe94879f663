"""`egghead llm` as a person types it: with a node and without, at a terminal and in a pipe."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.e2e.cast import cast
from tests.e2e.node import COMMAND, Home, until
from tests.llm.double import KEY, Double, Gate, Reply, Status, Wait


@pytest.fixture
def file(home: Home) -> Path:
    return home.path / ".config" / "egghead" / "config.yml"


def test_a_provider_is_added_tried_listed_and_removed(home: Home, file: Path) -> None:
    """Without a node; the key comes by a pipe; comments stay; what others could read is closed, and that is said."""
    file.parent.mkdir(parents=True)
    file.write_text("# mine\ndefault_model: local/librarian # for now\n")
    file.chmod(0o644)
    with Double(["ready"]) as double:
        address = ("--base-url", double.url, "--model", "double")
        done = home.ok("llm", "add", "anthropic", *address, text=KEY + "\n")
        assert "anthropic/double works: it said 'ready'" in done and "0600" in done and KEY not in done
        text = file.read_text()
        assert text.startswith("# mine\ndefault_model: local/librarian # for now\n") and KEY in text
        assert file.stat().st_mode & 0o777 == 0o600
        [row] = [row for row in home.json("llm", "list")["providers"] if row["name"] == "anthropic"]
        assert (row["key"], row["usable"], row["base_url"]) == ("configuration", True, double.url)
        tried = home.json("llm", "test", "anthropic")
        assert (
            tried["model"] == "anthropic/double" and tried["text"] == "ready" and tried["seconds"] >= tried["first"] > 0
        )
        assert home.json("llm", "test", "anthropic/double")["model"] == "anthropic/double"
        assert double.faults == []
        home.ok("llm", "add", "anthropic", "--name", "work", *address, text=KEY + "\n")
        assert "work/double works" in home.ok("llm", "add", "work", text=KEY + "\n")  # as an error of it would say
        assert len(yaml.safe_load(file.read_text())["llm"]) == 2
    assert "no longer in" in home.ok("llm", "remove", "anthropic") and "no longer in" in home.ok(
        "llm", "remove", "work"
    )
    assert "# for now" in file.read_text() and KEY not in file.read_text()
    assert "no provider called 'anthropic'" in home.run("llm", "remove", "anthropic").stderr


def test_what_does_not_work_is_not_saved(home: Home, file: Path) -> None:
    """A refused key, no key, a name that is none, a variable that is not set: a sentence, and the file as it was."""
    file.parent.mkdir(parents=True)
    file.write_text("# mine\n")
    with Double([Status(401)]) as double:
        address = ("--base-url", double.url, "--model", "double")
        for words, text, told in (
            (("anthropic", *address), "sk-wrong\n", "Nothing was saved; --no-test"),
            (("anthropic",), "", "needs a key"),
            (("anthropic",), "sk wrong\n", "that is no key"),
            (("antropic",), "x\n", "did you mean 'anthropic'?"),
            (("anthropic", *address, "--api-key-env", "NOT_SET"), "", "NOT_SET is not set here"),
            ((), "x\n", "which provider?"),
        ):
            done = home.run("llm", "add", *words, text=text)
            assert done.returncode != 0 and told in done.stderr, done.stderr
            assert "sk-wrong" not in done.stdout + done.stderr
            assert file.read_text() == "# mine\n"
    home.ok("llm", "add", "anthropic", "--api-key-env", "NOT_SET", "--no-test")
    assert yaml.safe_load(file.read_text())["llm"] == [{"provider": "anthropic", "api_key": "{env:NOT_SET}"}]


def test_a_key_that_is_typed_is_not_shown(home: Home, file: Path) -> None:
    """At a terminal it is asked for, and no echo of it appears."""
    with Double(["ready"]) as double:
        ours, theirs = pty.openpty()
        command = [*COMMAND, "llm", "add", "anthropic", "--base-url", double.url, "--model", "double"]
        process = subprocess.Popen(
            command, env=home.env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        seen = b""
        while b"not shown" not in seen:
            seen += os.read(ours, 4096)
        os.write(ours, KEY.encode() + b"\n")
        try:
            while piece := os.read(ours, 4096):
                seen += piece
        except OSError:
            pass  # the other end is closed: it is over
        os.close(ours)
        assert process.wait(20) == 0 and b"works" in seen and KEY.encode() not in seen
    assert KEY in file.read_text()


def test_the_line_in_front_of_a_provider_is_seen(short_dir: Path) -> None:
    """Of two agents at a provider that takes one at a time, one answers and the other is shown as waiting."""
    gate = Gate()
    script: dict[str, list[Reply]] = {"scout": [[Wait(gate), "One."]], "sage": ["Two."]}
    agents = {"scout": "anthropic/double", "sage": "anthropic/double"}
    with Double(script) as double, cast(short_dir, double, agents, config=double.config(concurrent=1)) as play:
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(play.say, "@scout hello")
            assert gate.reached.wait(20)
            second = pool.submit(play.home.ok, "prompt", "sage", "hello")

            def waiting() -> bool:
                [row] = [row for row in play.home.json("llm", "list")["providers"] if row["name"] == "anthropic"]
                return bool(row["running"] == {"scout": 1} and row["waiting"] == {"sage": 1} and row["at_once"] == 1)

            until("sage waits for scout", waiting)
            assert "1. in line for anthropic" in play.home.ok("agents", "list")
            gate.open()
            assert "One." in [entry.get("text") for entry in first.result()] and "Two." in second.result()
        told = json.loads(play.home.ok("llm", "models", "anthropic", "--json"))
        assert [row["name"] for row in told["models"]] and told["table"].startswith("20")
