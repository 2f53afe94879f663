"""The pure parts of the network: the rights table row by row, the greeting, what strangers announce, what runs when."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egghead import lan, mdns
from egghead.config import Server
from egghead.errors import NodeError
from egghead.launch import allow
from egghead.node import default_tree
from egghead.rights import LEVELS, TABLE, Row
from ipc.curve import new_keys, raw
from ipc.rights import Rights
from supervisor import load_tree
from supervisor.spec import ChildSpec
from supervisor.zygote.launcher import modules_of

KEY = new_keys().public
NONCE = bytes(range(16))

# what a node gives its tree
GIVEN = ("records", "bus", "lan", "status", "log", "usage", "roster", "models", "servers", "scratch")


def permitted(rights: Rights, row: Row) -> list[bool]:
    """Whether each thing that a row names may be done."""
    if row.kind == "call":
        target = row.what.replace("*", "default")
        return [rights.may_call(target, method) for method in row.methods]
    if row.kind == "subscribe":
        return [rights.may_subscribe(row.what)]
    return [rights.may_monitor(row.what)]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.level}-{row.kind}-{row.what}")
def test_a_row_is_for_its_level_and_those_above(row: Row, level: str) -> None:
    """What a row names is allowed from its level on, and all of it is refused below."""
    wanted = LEVELS.index(level) >= LEVELS.index(row.level)
    assert set(permitted(Rights(allow(level)), row)) == {wanted}


@pytest.mark.parametrize("level", LEVELS)
def test_what_no_row_names_is_allowed_to_nobody(level: str) -> None:
    """No publishing, no private method, no private topic, whatever the level."""
    rights = Rights(allow(level))
    for target, method in (("tools", "run"), ("llm", "complete"), ("index", "apply"), ("agents/x", "about"), ("rooms/x", "x"), ("bus", "x")):  # fmt: skip
        assert not rights.may_call(target, method), (target, method)
    assert not any(rights.may_publish(topic) for topic in ("log/default/", "text/", "records/", "x/"))
    assert not rights.may_subscribe("") and not rights.may_subscribe("secret/")


def test_every_row_names_what_exists() -> None:
    """Targets of the table are processes of the tree, so a row cannot quietly name nothing."""
    variables = dict.fromkeys(GIVEN, "/tmp")
    tree = load_tree(default_tree(), variables)
    names = {spec.id for _, spec in tree.workers()} | {f"{s.id}/*" for _, s in tree.supervisors() if s.dynamic}
    assert {row.what for row in TABLE if row.kind == "call"} <= names
    assert all(row.why and row.level in LEVELS and (row.kind != "call") == (not row.methods) for row in TABLE)


def test_the_edge_runs_only_with_a_door() -> None:
    """Without server.bind nothing of the edge is started; with it all of it is."""
    variables = dict.fromkeys(GIVEN, "/tmp")
    tree = load_tree(default_tree(), variables)
    without = {spec.id for _, spec in lan.fit(tree, None).workers()}
    with lan.listen("127.0.0.1", 0) as listener:
        door = lan.Door(listener, "127.0.0.1", 1, "x", new_keys())
        assert {spec.id for _, spec in lan.fit(tree, door).workers()} - without == {"node", "lan"}
        assert door.pair.secret not in str(door.beacon()) and door.pair.secret not in repr(door)


def test_without_a_door_nothing_of_the_network_is_imported() -> None:
    """What the zygote loads without server.bind holds neither the processes of the edge nor the library of the beacon."""
    tree = lan.fit(load_tree(default_tree(), dict.fromkeys(GIVEN, "/tmp")), None)
    code = (
        "import importlib, sys\n"
        f"for name in {modules_of(tree)!r}: importlib.import_module(name)\n"
        "edge = ['zeroconf', 'ifaddr', 'egghead.lan', 'egghead.mdns', 'egghead.processes.lan', 'egghead.processes.node']\n"
        "print([name for name in edge if name in sys.modules], 'egghead.processes.bus' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[] True"


def test_who_crashes_the_edge_does_not_stop_the_node() -> None:
    """A process of the edge that dies as often as it can be started stays within the restarts that its supervisor has."""
    tree = load_tree(default_tree(), dict.fromkeys(GIVEN, "/tmp"))
    edge = next(spec for _, spec in tree.supervisors() if spec.id == lan.EDGE)
    restarts = 0
    for child in edge.children:
        assert isinstance(child, ChildSpec)
        at, row = 0.0, 0
        while at < edge.period:  # it dies at once, each time
            at, row = at + max(child.backoff.delay(row), 0.001), row + 1
        restarts += row
    assert restarts <= edge.intensity


def test_a_greeting_is_answered_with_the_key_and_less_than_was_asked() -> None:
    """The answer carries the asker's nonce and the key, and is shorter than the question: no amplifier."""
    question = lan.ask(NONCE)
    answer = lan.tell(question, KEY)
    assert answer is not None and lan.told(answer, NONCE) == raw(KEY)
    assert len(answer) < len(question) and lan.told(answer, bytes(16)) is None
    assert answer == b"egghead!\x01" + NONCE + raw(KEY)


@given(st.binary(max_size=100))
def test_what_is_no_greeting_is_not_answered(data: bytes) -> None:
    """Any other datagram gets nothing; any other answer is none."""
    assert lan.tell(data, KEY) is None or data.startswith(b"egghead?\x01")
    assert lan.told(data, NONCE) is None or data.startswith(b"egghead!\x01")


@pytest.mark.parametrize(
    ("bind", "port", "said"),
    [("nowhere.invalid", 9100, "no address"), ("203.0.113.7", 0, "no address"), ("::1::", 1, "no address")],
)
def test_a_bind_that_cannot_be_is_a_sentence(bind: str, port: int, said: str) -> None:
    """An address that this machine does not have is told with the key and the value."""
    with pytest.raises(NodeError, match=said) as caught:
        lan.listen(bind, port)
    assert repr(bind) in str(caught.value)


def test_a_port_that_is_taken_is_a_sentence() -> None:
    """The port is named, and how to see who has it."""
    with lan.listen("127.0.0.1", 0) as first, pytest.raises(NodeError, match="is taken"):
        lan.listen("127.0.0.1", first.getsockname()[1])


def test_no_door_without_bind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default nothing is bound and no key is made; with a bind the key is made, 0600, outside of the notes."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("EGGHEAD_CONFIG", raising=False)
    with lan.opened(Server()) as door:
        assert door is None
    assert not (tmp_path / "egghead" / "server.key").exists()
    with lan.opened(Server(bind="127.0.0.1", port=0)) as door:
        assert door is not None and door.port and door.loopback and not door.beacon()["announce"]
    assert (tmp_path / "egghead" / "server.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("bind", "only_here"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("::ffff:127.0.0.1", True),
     ("0.0.0.0", False), ("::", False), ("192.168.1.5", False), ("orca", False)],
)  # fmt: skip
def test_what_is_loopback(bind: str, only_here: bool) -> None:
    """Only addresses of this machine alone are: everything else is announced."""
    assert lan.is_loopback(bind) is only_here


_VALUES = st.one_of(st.none(), st.integers(), st.text(), st.binary(), st.just(KEY.encode()), st.just(b"1"))


@given(
    st.text(), st.text(), st.lists(st.one_of(st.text(), st.just("10.0.0.1"))), _VALUES,
    st.one_of(st.none(), st.dictionaries(st.sampled_from([b"v", b"key", b"x"]), _VALUES)),
)  # fmt: skip
def test_any_announcement_is_a_node_or_nothing(
    name: str, host: str, addresses: list[str], port: Any, text: Any
) -> None:
    """What strangers announce never raises, and what is listed is printable, bounded and has a key."""
    found = mdns.found(name, host, addresses, port, text)
    if found is not None:
        assert found.name.isprintable() and found.host.isprintable() and len(found.name) <= 100
        assert 0 < found.port < 65536 and found.addresses and len(raw(found.key)) == 32


def test_an_announcement_as_ours_is_understood() -> None:
    """The record that a node publishes gives back its name, place and key."""
    found = mdns.found(f"orca.{mdns.SERVICE}", "orca.local.", ["10.0.0.1"], 9100, {b"v": b"1", b"key": KEY.encode()})
    assert found == mdns.Found("orca", "orca.local", ("10.0.0.1",), 9100, KEY)


@given(st.text())
def test_any_name_makes_a_label(name: str) -> None:
    """Whatever a machine is called, it is announced under one DNS label."""
    made = mdns.label(name)
    assert 1 <= len(made.encode()) <= 63 and "." not in made and made.isascii()
