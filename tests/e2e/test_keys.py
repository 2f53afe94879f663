"""Keys: in the process `llm` and in no other place of a node, wherever they come from; and changed while it runs."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.e2e.cast import cast
from tests.e2e.node import Home, Node, serving, until
from tests.llm.double import KEY as TAKEN
from tests.llm.double import Double, Gate, Reply, Status, Wait

# Never a constant of this file alone: a process that had this source in memory would be found guilty.
KEY = "sk-" + "7d1b4c0a9f6e42f08b35"[::-1]
ENVELOPE = "memfd:egghead-envelope"


def contents(pid: int) -> Iterator[tuple[str, bytes]]:
    """What a process holds: each readable stretch of its memory, its environment, its arguments, its open files."""
    process = Path(f"/proc/{pid}")
    yield "environ", (process / "environ").read_bytes()
    yield "cmdline", (process / "cmdline").read_bytes()
    with open(process / "mem", "rb") as memory:
        for line in (process / "maps").read_text().splitlines():
            places, mode, *_ = line.split()
            start, end = (int(place, 16) for place in places.split("-"))
            if mode.startswith("r") and "[v" not in line:  # the kernel's own pages
                try:
                    memory.seek(start)
                    yield f"memory {line.split()[-1]}", memory.read(end - start)
                except OSError:
                    continue
    for fd in (process / "fd").iterdir():
        try:
            name = os.readlink(fd)
            if stat.S_ISREG(fd.stat().st_mode):
                yield f"open {name}", fd.read_bytes()
        except OSError:
            continue


def holders(node: Node, key: str) -> dict[str, set[str]]:
    """Process -> where in it the key is, of every process of a node: the root, the launcher's and the tree's."""
    names = {p["pid"]: name for name, p in node.processes().items()}
    found: dict[str, set[str]] = {}
    for process in (psutil.Process(node.pid), *node.descendants()):
        name = "root" if process.pid == node.pid else names.get(process.pid, f"launcher {process.pid}")
        where = {place for place, content in contents(process.pid) if key.encode() in content}
        if where:
            found[name] = where
    return found


def files_with(key: str, *roots: Path) -> list[Path]:
    return [
        path
        for root in roots
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink() and key.encode() in path.read_bytes()
    ]


SOURCES = {
    "file": ({"api_key": KEY}, {}),
    "named variable": ({"api_key": "{env:MY_KEY}"}, {"MY_KEY": KEY}),
    "usual variable": ({}, {"OPENAI_API_KEY": KEY}),
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_key_is_known_to_llm_alone(home: Home, foam: Path, source: str) -> None:
    """Its memory has the key; no memory, environment, argument, open file, log, listing or file of any other has it, also
    after the key was refused and `llm` died of a fault. The root holds the sealed envelope and never reads it."""
    entry, environment = SOURCES[source]
    with Double([Status(401)]) as double:
        given = {"provider": "openai", "base_url": f"{double.url}/v1", "models": ["double"], **entry}
        config = home.configure({"default_model": "local/librarian", "llm": [given]})
        home.env |= environment
        with serving(home, foam) as node:
            refused = home.run("llm", "test", "openai")
            assert refused.returncode != 0 and "egghead llm add openai" in refused.stderr
            assert [asked.headers["authorization"] for asked in double.asked] == [f"Bearer {KEY}"]
            os.kill(old := int(node.processes()["llm"]["pid"]), signal.SIGSEGV)  # would dump core
            node.healed("llm", old)
            found = holders(node, KEY)
            assert any(place.startswith("memory") for place in found.pop("llm"))
            assert all(ENVELOPE in place for place in found.pop("root", set()))
            assert found == {}
            for pid in (node.pid, *(p.pid for p in node.descendants())):
                limits = Path(f"/proc/{pid}/limits").read_text()
                assert "Max core file size        0                    0  " in limits, limits
            shown = [home.ok(*words, "--json") for words in (("config", "view"), ("llm", "list"), ("llm", "models"))]
            shown += [home.ok("config", "view"), home.ok("logs", "-n", "1000"), home.ok("doctor"), node.stderr()]
            assert [text for text in shown if KEY in text] == [] and KEY not in refused.stdout + refused.stderr
            home.ok("chat", "default", "What is a placeholder?")
            assert files_with(KEY, home.path, foam) == ([config] if source == "file" else [])
        assert files_with(KEY, home.path, foam) == ([config] if source == "file" else [])


def test_a_revoked_key_is_replaced_while_the_node_runs(short_dir: Path) -> None:
    """A call that runs ends with the old key; the next is refused, and says how to mend it; after `llm add` the next works.
    No process is started again, and a broken edit in between changes nothing."""
    gate = Gate()
    script: dict[str, list[Reply]] = {
        "scout": [["Half of it. ", Wait(gate), "All of it."], "And again."],
        "*": ["ready"],
    }
    with Double(script) as double, cast(short_dir, double, {"scout": "anthropic/double"}) as play:
        config = play.home.path / ".config" / "egghead" / "config.yml"
        pids = {name: p["pid"] for name, p in play.node.processes().items() if not name.startswith("rooms/")}

        def configured(fact: str) -> Any:
            return play.home.json("llm", "list")["config"][fact]

        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(play.say, "@scout hello")
            assert gate.reached.wait(20)
            revoked, before = yaml.safe_load(config.read_text()), configured("digest")
            revoked["llm"][0]["api_key"] = "sk-revoked"
            config.write_text(json.dumps(revoked))
            until("the changed key is taken", lambda: configured("digest") != before)
            gate.open()
            assert "Half of it. All of it." in [entry.get("text") for entry in first.result()]
        [told] = [e for e in play.say("@scout hello") if e["kind"] == "action" and e["action"] == "failed"]
        assert "egghead llm add anthropic" in told["text"]
        assert [row["name"] for row in play.home.json("llm", "list")["providers"] if row.get("needs_key")] == [
            "anthropic"
        ]

        config.write_text("llm: [broken, sk-\n")
        fault = until("the broken file is told", lambda: configured("fault"))
        assert "not valid YAML" in fault and "sk-" not in fault
        assert "not valid YAML" in play.home.run("doctor").stdout
        config.write_text(json.dumps(revoked))
        until("the file is whole again", lambda: not configured("fault"))

        done = play.home.ok("llm", "add", "anthropic", text=TAKEN + "\n")
        assert "anthropic/double works" in done and "the running node uses it now" in done
        assert "And again." in [entry.get("text") for entry in play.say("@scout hello")]
        assert {n: p["pid"] for n, p in play.node.processes().items() if not n.startswith("rooms/")} == pids
