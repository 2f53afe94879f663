"""Risk 1: what a confined child cannot reach, on the real kernel, in every world we know of."""

from __future__ import annotations

import ctypes
import os
import socket
import stat
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.supervisor import escape_table
from tests.supervisor.harness import running
from tests.supervisor.worlds import (
    NO_LANDLOCK,
    NO_USERNS,
    NOBODY,
    NOTHING,
    ROOT,
    ROOT_NO_LANDLOCK,
    ROOT_NO_USERNS,
    USER,
    World,
    worlds,
)

pytestmark = pytest.mark.kernel


COLUMN = {(): "full", ("userns",): "bare", ("landlock",): "unlocked"}  # of the table, by what the kernel refuses


class SystemV:
    """Memory, a semaphore and a queue that other processes of the machine use: their numbers can be guessed."""

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.shared_memory = self.libc.shmget(0, 4096, 0o1666)
        self.semaphore = self.libc.semget(0, 1, 0o1666)
        self.message_queue = self.libc.msgget(0, 0o1666)
        assert self.libc.msgsnd(self.message_queue, struct.pack("l8s", 1, b"sesame"), 8, 0) == 0

    def remove(self) -> None:
        """Raises when one of them is gone already."""
        assert self.libc.shmctl(self.shared_memory, 0, None) == 0
        assert self.libc.semctl(self.semaphore, 0, 0) == 0
        assert self.libc.msgctl(self.message_queue, 0, None) == 0


class Outside:
    """Things that lie outside a jail, and the few that are given."""

    def __init__(self, directory: Path) -> None:
        self.sockets: list[socket.socket] = []
        self.outside = directory / "outside"
        for name in ("outside", "read", "write", "sockets"):
            (directory / name).mkdir()
            (directory / name).chmod(0o777)
        for path in (
            directory / "secret",
            self.outside / "secret",
            directory / "read/note",
            directory / "sockets/token",
        ):
            path.write_text("sesame")
            path.chmod(0o666)
        foreign = self.listen(socket.SOCK_STREAM, str(self.outside / "s"))
        datagram = self.listen(socket.SOCK_DGRAM, str(self.outside / "d"))
        allowed = self.listen(socket.SOCK_STREAM, str(directory / "sockets/s"))
        abstract = f"eg-{directory.name}"
        self.listen(socket.SOCK_STREAM, "\0" + abstract)
        self.listen(socket.SOCK_DGRAM, "\0" + abstract + "-d")
        tcp = socket.create_server(("127.0.0.1", 0))
        self.sockets.append(tcp)
        self.sleeper = subprocess.Popen(["/bin/sleep", "1000"], user=NOBODY, group=NOBODY, extra_groups=[])
        self.system_v = SystemV()
        self.given: dict[str, Any] = {
            "secret": str(self.outside / "secret"),
            "outside": str(self.outside),
            "read": str(directory / "read"),
            "write": str(directory / "write"),
            "sockets": str(directory / "sockets"),
            "foreign_socket": foreign,
            "foreign_datagram": datagram,
            "allowed_socket": allowed,
            "abstract": abstract,
            "port": tcp.getsockname()[1],
            "pids": [self.sleeper.pid],
            **{kind: getattr(self.system_v, kind) for kind in ("shared_memory", "semaphore", "message_queue")},
        }

    def listen(self, kind: int, address: str) -> str:
        sock = socket.socket(socket.AF_UNIX, kind)
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen()
        if not address.startswith("\0"):
            Path(address).chmod(0o777)
        self.sockets.append(sock)
        return address

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()
        self.system_v.remove()
        self.sleeper.kill()
        self.sleeper.wait()


@pytest.fixture
def outside(directory: Path, request: pytest.FixtureRequest) -> Iterator[Outside]:
    """Foreign files, sockets and a process, and the directories that are given; all of the user who tries."""
    made = Outside(directory)
    user = request.node.callspec.params["world"].user
    for path in (directory, *directory.rglob("*")):
        os.chown(path, user, user)
    yield made
    made.close()


def tree_for(outside: Outside, **profile: Any) -> dict[str, Any]:
    given = outside.given
    confine = {
        "filesystem": {"read": [given["read"]], "write": [given["write"]]},
        "sockets": [given["sockets"]],
        "fork": True,  # the widest that cannot start programs
        **profile,
    }
    return {
        "id": "t",
        "strategy": "one_for_one",
        "children": [
            {"id": "victim", "start": "children:idle", "confine": confine},
            {"id": "open", "start": "children:idle"},
            {"id": "jailed", "start": "escapes:escape", "args": {"given": given}, "confine": confine, "heartbeat": 60},
            {"id": "pool", "strategy": "dynamic", "template": {"start": "children:idle"}},
        ],
    }


@worlds(ROOT, USER, NO_USERNS, NO_LANDLOCK, ROOT_NO_USERNS, ROOT_NO_LANDLOCK)
def test_nothing_gets_out(world: World, directory: Path, outside: Outside) -> None:
    """Of all attempts to get out of a jail, exactly those succeed that the level's notes name."""
    with running(tree_for(outside), directory, world) as node:
        info = node.ready()
        said = node.workers()["jailed"]["info"]
        results = said["results"]
        table = {row.name: getattr(row, COLUMN[world.refuse]) for row in escape_table.rows()}
        other = {name: (results[name], table[name]) for name in table if results[name][0] not in table[name].split("|")}
        assert not other, "\n".join(f"{name}: {was}" for name, was in other.items())
        assert set(results) == set(table) and len(table) >= 100
        assert info["level"] == world.level == said["level"]
        assert bool(info["level_notes"]) == (world.level != "full")
        assert node.workers()["victim"]["state"] == "running" and node.workers()["victim"]["restarts"] == 0
        assert outside.sleeper.poll() is None
        assert (outside.outside / "secret").read_text() == "sesame"
        facts = said["facts"]
        assert [fd for fd, _ in facts["fds"]] == [0, 1, 2, 3], facts["fds"]
        assert [kind for _, kind in facts["fds"]] == [stat.S_IFCHR, stat.S_IFIFO, stat.S_IFIFO, stat.S_IFSOCK]
        assert facts["capabilities"] == [0] * 6
        assert facts["no_new_privs"] == 1 and facts["dumpable"] == 0
        assert "SECRET_KEY" not in facts["environ"]
        assert facts["session"][0] == facts["session"][1]
        assert facts["uid"] == world.user


# What a profile with `exec: true` may do besides, as it says.
PROGRAMS_MAY = {
    *("execute", "spawn", "execute_python", "execute_by_loader", "execute_in_thread", "execute_script", "x32_exec"),
    *("execute_memfd", "execveat_memfd", "execveat_library", "open_pidfd", "load_written_library"),
}


@worlds(ROOT, USER)
def test_programs_get_no_further(world: World, directory: Path, outside: Outside) -> None:
    """With `exec: true` a child may start programs; all other attempts end as without."""
    with running(tree_for(outside, exec=True), directory, world) as node:
        node.ready()
        results = node.workers()["jailed"]["info"]["results"]
        table = {row.name: row.full for row in escape_table.rows()}
        other = {name: results[name] for name in table if results[name][0] not in table[name].split("|")}
        assert set(other) <= PROGRAMS_MAY, other
        assert {"execute", "spawn"} <= set(other)


def test_the_page_of_escapes_is_the_table() -> None:
    """docs/escapes.md says of every attempt what the tests hold it to; `python -m tests.supervisor.escape_table` writes it."""
    assert escape_table.PAGE.read_text() == escape_table.render()


@worlds(NO_USERNS)
def test_strong_without_sockets_makes_no_unix_socket(world: World, directory: Path, outside: Outside) -> None:
    """Where paths of sockets cannot be told apart, a profile without socket directories may make no socket at all."""
    with running(tree_for(outside, sockets=[]), directory, world) as node:
        node.ready()
        results = node.workers()["jailed"]["info"]["results"]
        assert results["foreign_unix_socket"][0] == "EPERM", results["foreign_unix_socket"]
        assert results["foreign_unix_datagram"][0] == "EPERM"


@worlds(ROOT, USER, NO_USERNS, NO_LANDLOCK)
def test_the_profile_gives_what_it_says(world: World, directory: Path, outside: Outside) -> None:
    """Inside a jail the given directories, the given sockets, late imports, time zones and SQLite work."""
    tree = tree_for(outside)
    tree["children"][2]["start"] = "given:use_what_is_given"
    with running(tree, directory, world) as node:
        node.ready()
        results = node.workers()["jailed"]["info"]["results"]
        assert {name: text for name, (outcome, text) in results.items() if outcome != "reached"} == {}
        assert results["read"][1] == "sesame" and results["forked"][1] == "7"
        assert (directory / "write/renamed").read_text() == "made"


@worlds(ROOT, USER, NO_USERNS)
def test_each_child_of_a_template_has_its_own_file(world: World, directory: Path) -> None:
    """`{id}` in a template's profile is the child's own: it reads the file that its link leads to, and no sibling's."""
    paths = []
    for id in ("x", "y"):
        (directory / f"{id}-far").mkdir()
        (directory / f"{id}-far" / "file").write_text(id)
        (directory / f"{id}.link").symlink_to(directory / f"{id}-far" / "file")
        paths.append(str(directory / f"{id}.link"))
    for path in (directory, *directory.rglob("*")):
        os.chown(path, world.user, world.user)
    confine = {"filesystem": {"read": [f"{directory}/{{id}}.link"]}}
    template = {"start": "given:look", "args": {"paths": paths}, "confine": confine}
    tree = {
        "id": "t",
        "strategy": "one_for_one",
        "children": [
            {"id": "pool", "strategy": "dynamic", "template": template},
            {"id": "s", "start": "children:starter", "args": {"ids": ["x", "y", "z"]}, "control": ["pool"]},
        ],
    }
    with running(tree, directory, world) as node:
        node.ready()
        node.until(lambda: "z.link" in node.output, "the third start to be refused")
        told = [
            node.until(lambda id=id: node.workers().get(f"pool/{id}", {}).get("info", {}).get("results"), id)
            for id in ("x", "y")
        ]
        read = dict(zip(("x", "y"), told, strict=True))
        assert {id: list(results.values()).count(id) for id, results in read.items()} == {"x": 1, "y": 1}
        assert read["x"][paths[0]] == "x" and read["x"][paths[1]] in ("FileNotFoundError", "PermissionError")
        assert read["y"][paths[1]] == "y" and read["y"][paths[0]] in ("FileNotFoundError", "PermissionError")


@worlds(ROOT, USER, NO_USERNS)
def test_exec_profile_runs_programs(world: World, directory: Path) -> None:
    """With `exec: true` a child may run programs and stop them."""
    child = {"id": "a", "start": "given:programs", "confine": {"exec": True}}
    with running({"id": "t", "strategy": "one_for_one", "children": [child]}, directory, world) as node:
        node.ready()
        info = node.workers()["a"]["info"]
        assert info == {"output": "from a program\n", "error": "", "code": 0, "killed": -9}


@worlds(ROOT, USER, NO_USERNS)
def test_network_profile_reaches_the_machine(world: World, directory: Path, outside: Outside) -> None:
    """With `network: host` a child may use TCP and look up names."""
    confine = {"network": "host"}
    child = {"id": "a", "start": "given:network", "args": {"port": outside.given["port"]}, "confine": confine}
    with running({"id": "t", "strategy": "one_for_one", "children": [child]}, directory, world) as node:
        node.ready()
        assert node.workers()["a"]["info"]["addresses"] >= 1


@worlds(ROOT, USER, NO_USERNS, NO_LANDLOCK)
def test_network_profile_keeps_to_the_network(world: World, directory: Path, outside: Outside) -> None:
    """With `network: host` the machine's network is reached and nothing else; abstract sockets where Landlock is missing."""
    network = {"tcp_connect", "udp_send", "tcp_listen", "netlink", "every_family"}
    missing = {"foreign_abstract_socket", "foreign_abstract_datagram"} if world is NO_LANDLOCK else set()
    with running(tree_for(outside, network="host"), directory, world) as node:
        node.ready()
        results = node.workers()["jailed"]["info"]["results"]
        table = {row.name: getattr(row, COLUMN[world.refuse]) for row in escape_table.rows()}
        reached = {name for name, (outcome, _) in results.items() if outcome == "reached"}
        assert reached - {name for name in table if table[name] == "reached"} == network | missing


@worlds(NO_USERNS, NOTHING)
def test_lower_levels_say_what_is_missing(world: World, directory: Path) -> None:
    """Below full the notes name what is missing and the remedy, and the status has them as data."""
    child = {"id": "a", "start": "children:idle", "confine": {}}
    with running({"id": "t", "strategy": "one_for_one", "children": [child]}, directory, world) as node:
        info = node.ready()
        notes = " ".join(info["level_notes"])
        assert info["level"] == world.level
        assert "user namespaces are refused" in notes and "max_user_namespaces" in notes
        assert ("Landlock is not available" in notes) == (world is NOTHING)
        assert node.status()["node"]["level"] == world.level
        assert node.status()["node"]["level_notes"] == info["level_notes"]


def test_least_level_is_enforced(directory: Path) -> None:
    """A confined child is not started where the machine allows less than is demanded, and the reason is said."""
    tree = {
        "id": "t",
        "strategy": "one_for_one",
        "options": {"least_level": "strong"},
        "children": [{"id": "a", "start": "children:idle", "confine": {}}],
    }
    with running(tree, directory, NOTHING) as node:
        assert node.wait() == 3
        assert "confinement level none is below the least allowed, strong" in node.output


def test_a_missing_directory_is_named(directory: Path) -> None:
    """A profile that gives a directory which is not there fails the start and names the directory."""
    confine = {"filesystem": {"read": [str(directory / "nowhere")]}}
    tree = {
        "id": "t",
        "strategy": "one_for_one",
        "children": [{"id": "a", "start": "children:idle", "confine": confine}],
    }
    with running(tree, directory) as node:
        assert node.wait() == 3
        assert "nowhere" in node.output and "does not exist" in node.output
