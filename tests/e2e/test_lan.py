"""A node and a client with homes of their own, who know each other by keys only: every command over --server."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import psutil
import pytest

from egghead.cli import cli
from egghead.errors import ExitCode
from tests.e2e.node import COMMAND, Home, Node, serving, until
from tests.e2e.terminal import Terminal
from tests.e2e.test_levels import NO_USER_NAMESPACES

WORDS = "What are backlinks?"


class Pair:
    """A serving home and a visiting one. `at`: the server as the visitor writes it."""

    def __init__(self, base: Path, records: Path) -> None:
        self.owner, self.guest = Home(base / "home"), Home(base / "away")
        config = base / "home" / ".config" / "egghead"
        config.mkdir(parents=True)
        (config / "config.yml").write_text("server: {bind: 127.0.0.1, port: 0}\n")
        self.config = config
        self.records = records
        self.at = ""

    @contextlib.contextmanager
    def serving(self, wrap: Sequence[str] = ()) -> Iterator[Node]:
        with serving(self.owner, self.records, wrap=wrap) as node:
            found = re.search(r"network: 127.0.0.1 port (\d+), fingerprint (\S+)", node.ready_text)
            assert found, node.ready_text
            self.at, self.fingerprint = f"127.0.0.1:{found[1]}", found[2]
            # The same port for the next life of this node: known servers are known by it.
            (self.config / "config.yml").write_text(f"server: {{bind: 127.0.0.1, port: {found[1]}}}\n")
            yield node

    def introduce(self, name: str = "ada", rights: str = "full") -> None:
        self.owner.ok("clients", "add", name, self.guest.ok("key").strip(), "--rights", rights)
        self.guest.ok("servers", "trust", self.at, self.fingerprint)

    def away(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.guest.run("--server", self.at, *arguments, **options)

    def away_ok(self, *arguments: str, **options: Any) -> str:
        return self.guest.ok("--server", self.at, *arguments, **options)


@pytest.fixture
def pair(short_dir: Path, foam: Path) -> Pair:
    return Pair(short_dir, foam)


def test_the_first_contact_the_second_and_a_changed_key(pair: Pair) -> None:
    """Unknown: refused with the fingerprint; accepted: remembered; not authorised: told what to do; changed: refused."""
    with pair.serving():
        assert pair.owner.ok("key", "--server").splitlines()[0] == pair.fingerprint
        met = pair.away("tree")
        assert met.returncode == ExitCode.REFUSED and pair.fingerprint in met.stderr and "servers trust" in met.stderr
        wrong = pair.guest.run("--server", pair.at, "--accept-fingerprint", "SHA256:" + "A" * 43, "tree")
        assert wrong.returncode == ExitCode.REFUSED and "not connected" in wrong.stderr
        assert not (pair.guest.path / ".local/state/egghead/known_servers").exists()
        unknown = pair.away("tree", EGGHEAD_SERVER_FINGERPRINT=pair.fingerprint)
        assert unknown.returncode == ExitCode.REFUSED
        added = re.search(r"egghead (clients add) (\S+) (\S+)", unknown.stderr)
        assert added and added[3] == pair.guest.ok("key").strip(), unknown.stderr
        pair.owner.ok("clients", "add", "ada", added[3])
        assert "bus" in pair.away_ok("tree")
        known = pair.guest.path / ".local/state/egghead/known_servers"
        assert known.stat().st_mode & 0o777 == 0o600
        assert "bus" in pair.guest.ok("tree", EGGHEAD_SERVER=pair.at)
    (pair.config / "server.key").unlink()
    before = pair.fingerprint
    with pair.serving():
        changed = pair.away("tree")
        assert changed.returncode == ExitCode.REFUSED and "HAS CHANGED" in changed.stderr
        assert before in changed.stderr and pair.fingerprint in changed.stderr and "servers forget" in changed.stderr
        pair.guest.ok("servers", "forget", pair.at)
        pair.guest.ok("servers", "trust", pair.at, pair.fingerprint)
        assert "bus" in pair.away_ok("tree")


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if not isinstance(command, click.Group):
        yield path
        return
    if command.invoke_without_command and path:
        yield path
    context = click.Context(command)
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None
        yield from leaves(child, (*path, name))


# Every command, and how it is tried from afar. One that is not here yet is tried without arguments: it must not look for
# a node on this machine.
TRIED: dict[str, tuple[str, ...]] = {
    "chat": ("default", WORDS),
    "prompt": ("index", WORDS),
    "tree": (),
    "ps": (),
    "status": (),
    "records search": ("backlinks",),
    "records show": ("backlinking",),
    "records list": (),
    "records links": ("backlinking",),
    "records backlinks": ("backlinking",),
    "records recent": (),
    "records tags": (),
    "records orphans": (),
    "records unresolved": (),
    "records faults": (),
    "records graph": ("backlinking",),
    "records new": ("Made from afar", "--body", "x\n"),
    "records append": ("made-from-afar", "some notes"),
    "records set": ("made-from-afar", "title=Made from far away"),
    "records edit": ("made-from-afar", "--body", "other words"),
    "records history": ("made-from-afar",),
    "records diff": ("made-from-afar",),
    "records undo": ("made-from-afar",),
    "records rename": ("made-from-afar", "moved-from-afar"),
    "records trash": ("moved-from-afar",),
    "records trashed": (),
    "records restore": ("moved-from-afar",),
    "records verify": (),
    "records purge": ("--older-than", "0"),
    "agents list": (),
    "agents show": ("index",),
    "agents capabilities": ("index",),
    "agents revoke": ("index", "records.create"),
    "agents grant": ("index", "records.create"),
    "agents edit": ("index",),
    "agents handoff": ("index", "--room", "default"),
    "agents new": ("Made afar", "--can", "records.read", "--idle"),
    "agents park": ("made-afar", "for a while"),
    "agents unpark": ("made-afar",),
    "agents restart": ("made-afar",),
    "agents approve": ("made-afar",),
    "agents save": ("index",),
    "consult": (WORDS,),
    "usage": (),
    "rooms open": ("from-afar",),
    "rooms drop": ("from-afar",),
    "rooms save": ("default",),
    "rooms list": (),
    "rooms show": ("default",),
    "logs": ("-n", "5"),
    "doctor": (),
    "clients list": (),
}
HERE = {"serve": (), "clients add": ("x", "y"), "clients remove": ("x",), "servers": ()}
ABOUT_ITSELF = {
    "key",
    "servers trust",
    "servers forget",
    "config path",
    "config view",
    "version",
}  # of this machine, always
LOOKS = ("search", "show", "list", "links", "backlinks", "tags", "orphans", "unresolved", "faults", "graph")
SAME = (*(f"records {name}" for name in LOOKS), "agents capabilities")


@pytest.mark.timeout(600)  # a hundred commands, one after the other
def test_every_command_works_from_afar_or_says_that_it_is_about_this_machine(pair: Pair) -> None:
    """Each command of the table over --server, and for what only looks the same answer as on the node's own machine."""
    known = {" ".join(path) for path in leaves(cli)}
    tried = TRIED.keys() | HERE.keys() | ABOUT_ITSELF
    assert tried <= known, f"there is no such command any more: {sorted(tried - known)}"
    with pair.serving():
        pair.introduce()
        for name, arguments in TRIED.items():
            done = pair.away(*name.split(), *arguments, EDITOR="sed -i s/notes/records/")
            assert done.returncode == 0, (name, done.stdout, done.stderr)
            if name in SAME:
                words = (*name.split(), *arguments, "--json")
                assert json.loads(pair.away_ok(*words)) == pair.owner.json(*words[:-1]), name
        for name in known - tried:
            done = pair.away(*name.split())
            assert done.returncode != ExitCode.NO_NODE and "Traceback" not in done.stderr, (name, done.stderr)
        for name, arguments in HERE.items():
            done = pair.away(*name.split(), *arguments)
            assert done.returncode == ExitCode.USAGE and "about this machine" in done.stderr, (name, done.stderr)
        assert "moved-from-afar" in pair.owner.ok("records", "list")
        pids = {row["name"]: row["pid"] for row in pair.owner.json("ps")}
        assert {row["name"]: row["pid"] for row in json.loads(pair.away_ok("ps", "--json"))} == pids
        assert pair.away("--records", str(pair.records), "tree").returncode == ExitCode.USAGE
        log = pair.away_ok("logs", "-n", "1000")
        secrets = [(pair.config / "server.key").read_text().split()[-1], (pair.guest.path / ".config/egghead/client.key").read_text().split()[-1]]  # fmt: skip
        for said in (
            log,
            pair.away_ok("tree", "--json"),
            *(p.read_text(errors="replace") for p in pair.owner.path.rglob("*.json")),
        ):
            assert not any(secret in said for secret in secrets)
        assert "Traceback" not in log


def test_rights_and_their_end(pair: Pair) -> None:
    """A reader cannot speak, a talker cannot write notes; who is removed is cut in the middle of what he reads, and told."""
    with pair.serving():
        pair.introduce(rights="read")
        assert "bus" in pair.away_ok("tree") and pair.away_ok("records", "list")
        for words in (
            ("chat", "default", "hello"),
            ("chat", "default", "/mute index"),
            ("chat", "default", "/join x"),
            ("agents", "park", "index"),
            ("records", "new", "x", "--body", "x"),
            ("logs",),
            ("clients", "list"),
        ):
            refused = pair.away(*words)
            assert refused.returncode == ExitCode.REFUSED and "not allowed" in refused.stderr, (words, refused.stderr)
        pair.owner.ok("clients", "remove", "ada")
        pair.owner.ok("clients", "add", "ada", pair.guest.ok("key").strip(), "--rights", "chat")
        until("chat rights", lambda: pair.away("chat", "default", WORDS).returncode == 0)
        assert pair.away("chat", "default", "/topic from afar").returncode == 0
        assert pair.away("chat", "mine", "hello").returncode in (0, 7)
        for words in (
            ("records", "new", "x", "--body", "x"),
            ("chat", "mine", "/drop"),
            ("agents", "restart", "index"),
        ):
            refused = pair.away(*words)
            assert refused.returncode == ExitCode.REFUSED and "not allowed" in refused.stderr, (words, refused.stderr)
        pair.owner.ok("clients", "remove", "ada")
        pair.owner.ok("clients", "add", "ada", pair.guest.ok("key").strip())
        until("full rights", lambda: pair.away("logs", "-n", "1").returncode == 0)
        following = subprocess.Popen(
            [*COMMAND, "--server", pair.at, "logs", "-f"], env=pair.guest.env, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        with following:
            assert following.stdout is not None and following.stderr is not None
            following.stdout.readline()
            present = pair.owner.json("clients", "list")
            assert [c["address"] for c in present[0]["connections"]] == ["127.0.0.1"]
            pair.owner.ok("clients", "remove", "ada")
            assert following.wait(20) == ExitCode.REFUSED
            assert "not authorised" in following.stderr.read()
        assert pair.owner.json("clients", "list") == []
        refused = pair.away("tree")
        assert refused.returncode == ExitCode.REFUSED and "clients add" in refused.stderr


def listening(node: Node) -> set[int]:
    """The TCP ports on which any process of a node listens, as this machine's network shows them."""
    return {
        connection.laddr.port
        for process in (psutil.Process(node.pid), *node.descendants())
        for connection in process.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    }


def test_the_bus_that_serves_the_network_has_none(pair: Pair) -> None:
    """The process with the port lives in an empty network namespace: all that it has of the network was handed to it."""
    with pair.serving() as node:
        pair.introduce()
        processes = node.processes()
        network = {n: os.readlink(f"/proc/{processes[n]['pid']}/ns/net") for n in ("bus", "node", "lan", "llm")}
        ours = os.readlink("/proc/self/ns/net")
        if json.loads(pair.away_ok("status", "--json"))["node"]["level"] == "full":
            assert ours not in (network["bus"], network["node"]) and network["lan"] == ours
        assert listening(node) == {int(pair.at.rpartition(":")[2])}, "exactly one port"
        old = node.kill("bus")
        node.healed("bus", old)
        assert "bus" in pair.away_ok("tree"), "the port is open again with the next bus"


@pytest.mark.kernel
def test_guests_come_in_where_the_kernel_gives_less(pair: Pair) -> None:
    """At level strong, without namespaces, the bus serves the socket that it was handed, and can make none of its own."""
    with pair.serving(wrap=NO_USER_NAMESPACES) as node:
        assert "confinement: strong" in node.ready_text
        pair.introduce()
        assert "bus" in until("the key counts", lambda: pair.away("ps").stdout)
        assert pair.away_ok("logs", "-n", "1") and "running" in pair.away_ok("status")


def test_a_port_that_is_taken_is_a_sentence(pair: Pair) -> None:
    """A second node with the same port does not start, names it, and leaves nothing behind."""
    with pair.serving():
        other = pair.owner.path / "other"
        other.mkdir()
        done = pair.owner.run("serve", "--records", str(other))
        assert done.returncode == ExitCode.FAILED and "is taken" in done.stderr and "Traceback" not in done.stderr


@pytest.fixture
def terminal(pair: Pair) -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for one in opened:
        one.close()


def messages(pair: Pair, text: str) -> int:
    """How often a text is in the log of the default room."""
    entries = pair.owner.log_lines("rooms", "show", "default", "-n", "1000")
    return sum(entry["kind"] == "message" and entry["text"] == text for entry in entries)


def test_a_line_chat_outlives_the_node_and_keeps_what_was_typed(pair: Pair, terminal: list[Terminal]) -> None:
    """The person is told that the node is away; what is typed meanwhile is in the room once when it is back."""
    with pair.serving():
        pair.introduce()
        chat = Terminal(pair.guest, "--server", pair.at, "chat", "default")
        terminal.append(chat)
        chat.expect(f"default on {pair.at}")
        chat.type("before it went")
        until("the first line", lambda: messages(pair, "before it went") == 1)
    chat.expect("was lost; trying again")
    chat.type("typed while it was away")
    with pair.serving():
        chat.expect("is back")
        until("the second line", lambda: messages(pair, "typed while it was away") == 1, 40)
        pair.owner.ok("chat", "default", "said on the node's own machine")
        chat.expect("said on the node's own machine")
        assert messages(pair, "before it went") == 1 and messages(pair, "typed while it was away") == 1
        chat.type("/quit")
        assert chat.process.wait(10) == 0


def test_a_laptop_that_sleeps_comes_back(pair: Pair, terminal: list[Terminal]) -> None:
    """Stopped for longer than the heartbeat the client is gone for the node; woken, it is back and has missed nothing."""
    with pair.serving():
        pair.introduce()
        chat = Terminal(pair.guest, "--server", pair.at, "chat", "default")
        terminal.append(chat)
        chat.expect(f"default on {pair.at}")
        assert pair.owner.json("clients", "list")[0]["connections"]
        chat.process.send_signal(signal.SIGSTOP)
        until("the node misses it", lambda: not pair.owner.json("clients", "list")[0]["connections"], 12)
        pair.owner.ok("chat", "default", "said while it slept")
        chat.process.send_signal(signal.SIGCONT)
        chat.expect("said while it slept", 15)
        chat.type("awake again")
        until("its line", lambda: messages(pair, "awake again") == 1)


def test_a_person_is_asked_at_the_first_contact(pair: Pair, terminal: list[Terminal]) -> None:
    """On a terminal the fingerprint is shown and a question asked; no is no, yes is remembered."""
    with pair.serving():
        pair.owner.ok("clients", "add", "ada", pair.guest.ok("key").strip())
        for answer, said in (("n", "was not accepted"), ("y", "bus")):
            asked = Terminal(pair.guest, "--server", pair.at, "ps")
            terminal.append(asked)
            asked.expect(pair.fingerprint)
            asked.expect("remember it?")
            asked.type(answer)
            asked.expect(said)
        assert "bus" in pair.away_ok("ps")


def test_without_a_bind_the_network_costs_nothing(shared_node: Node) -> None:
    """By default no process of a node has a socket of the network or its library in memory, and none of the edge runs."""
    everybody = [psutil.Process(shared_node.pid), *shared_node.descendants()]
    assert len(everybody) > 10
    for process in everybody:
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            assert process.net_connections("inet") == []
            assert "zeroconf" not in Path(f"/proc/{process.pid}/maps").read_text()
    assert not {"lan", "node"} & shared_node.processes().keys()
    assert "network" not in shared_node.ready_text
    assert not list(shared_node.home.path.rglob("server.key"))
