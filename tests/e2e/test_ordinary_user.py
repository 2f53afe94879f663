"""The node as an ordinary user: without root's rights everything works and is confined, and what is closed to the user
is said. Where the tests already run as one, they run as themselves."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import egghead
from tests.e2e.node import until

USER = 65534
# The checkout's own Python may lie in a private home.
SYSTEM_PYTHON = f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
NOT_NEEDED = (
    "mypy*",
    "ruff*",
    "pip*",
    "setuptools*",
    "hypothesis*",
    "pytest*",
    "_pytest",
    "*.dist-info",
    "__pycache__",
    "*.pth",
)
REPOSITORY = Path(egghead.__file__).parents[1]


class Ordinary:
    """Commands run by an ordinary user who can read a copy of the program, whatever the checkout's own modes are."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.switch = os.geteuid() == 0
        program = base / "program"
        packages = Path(os.path.dirname(os.path.dirname(pytest.__file__)))
        shutil.copytree(packages, program, ignore=shutil.ignore_patterns(*NOT_NEEDED))
        for name in ("egghead", "supervisor", "ipc", "records"):
            shutil.copytree(REPOSITORY / name, program / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.env = {"PATH": os.environ["PATH"], "HOME": str(base / "home"), "XDG_RUNTIME_DIR": str(base / "run"),
                    "TMPDIR": str(base / "t"), "PYTHONPATH": str(program), "LANG": "C.UTF-8"}  # fmt: skip
        for name in ("home", "run", "t"):
            (base / name).mkdir(mode=0o700)

    def own(self, path: Path) -> None:
        """Gives a folder and what is in it to the user."""
        if self.switch:
            for one in (path, *path.rglob("*")):
                os.chown(one, USER, USER)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        identity = {"user": USER, "group": USER, "extra_groups": []} if self.switch else {}
        return subprocess.Popen(
            [SYSTEM_PYTHON if self.switch else sys.executable, "-m", "egghead", *arguments],
            env=self.env, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            **identity,
        )  # fmt: skip

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


@pytest.fixture
def ordinary(short_dir: Path) -> Iterator[Ordinary]:
    short_dir.chmod(0o755)
    user = Ordinary(short_dir)
    for name in ("home", "run", "t"):
        user.own(short_dir / name)
    yield user


@pytest.mark.kernel
def test_an_ordinary_user_runs_a_confined_node(ordinary: Ordinary, foam: Path) -> None:
    """serve, chat and a stop, by a user without any right: answered, and confined as far as the machine allows. Also over
    the network, with keys of its own."""
    ordinary.own(foam)
    config = ordinary.base / "home/.config/egghead/config.yml"
    config.parent.mkdir(parents=True)
    config.write_text("server: {bind: 127.0.0.1, port: 0}\n")
    ordinary.own(ordinary.base / "home")
    node = ordinary.start("serve", "--records", str(foam))
    try:
        until("it serves", lambda: ordinary.run("status")[0] == 0, 40)
        code, answer, errors = ordinary.run("chat", "default", "How do I publish my notes with GitHub Pages?")
        assert code == 0 and "[[user/publishing/publish-to-github-pages]]" in answer, errors
        allowed = subprocess.run(["unshare", "--user", "true"], check=False).returncode == 0
        status = ordinary.run("status")[1]
        assert f"confinement  {'full' if allowed else 'strong'}" in status
        found = re.search(r"network +127.0.0.1 port (\d+), (\S+)", status)
        assert found, status
        assert ordinary.run("clients", "add", "me", ordinary.run("key")[1].strip())[0] == 0
        there = ("--server", f"127.0.0.1:{found[1]}", "--accept-fingerprint", found[2], "ps")
        assert "bus" in until("the key counts", lambda: ordinary.run(*there)[1])
    finally:
        node.send_signal(signal.SIGTERM)
        out, errors = node.communicate(timeout=30)
    assert node.returncode == 0 and "READY" in out, errors


def test_a_folder_that_the_user_may_not_read(ordinary: Ordinary, foam: Path) -> None:
    """An unreadable records directory is refused with its name and what to check."""
    foam.chmod(0)
    try:
        code, _, errors = ordinary.run("serve", "--records", str(foam))
    finally:
        foam.chmod(0o700)
    assert code == 1 and "cannot be read by you" in errors and "Traceback" not in errors


@pytest.mark.kernel
def test_a_folder_that_is_closed_under_its_node(ordinary: Ordinary, foam: Path) -> None:
    """Said where people look, and by the agent; what was found is found, nothing counts as removed, and opened again all is
    as it was."""
    ordinary.own(foam)
    node = ordinary.start("serve", "--records", str(foam))
    try:
        until("it serves", lambda: ordinary.run("status")[0] == 0, 40)
        before = ordinary.run("records", "search", "publish")
        count = ordinary.run("records", "stats")[1].splitlines()[0]
        foam.chmod(0)
        told = until("it is said", lambda: ordinary.run("records", "faults")[1])
        assert told.startswith("-\t.: Permission denied; check who owns it") and told.count("\n") == 1
        assert ordinary.run("records", "search", "publish") == before
        code, _, errors = ordinary.run("records", "new", "More", "--body", "x")
        assert code == 1 and "cannot be written: Permission denied" in errors
        _, answer, _ = ordinary.run("chat", "default", "How do I publish my notes?")
        assert answer.startswith("I cannot look into the notes now.") and "Permission denied" in answer
        foam.chmod(0o755)
        until("it is seen", lambda: not ordinary.run("records", "faults")[1])
        assert ordinary.run("records", "stats")[1].splitlines()[0] == count
        assert "[[" in ordinary.run("chat", "default", "How do I publish my notes with GitHub Pages?")[1]
        assert "the index is as the files are" in ordinary.run("records", "verify")[1]
    finally:
        foam.chmod(0o755)
        node.send_signal(signal.SIGTERM)
        _, errors = node.communicate(timeout=30)
    assert "Traceback" not in errors


def test_a_folder_that_the_user_may_not_write(ordinary: Ordinary, foam: Path) -> None:
    """A folder of somebody else that can be read only is refused: a node keeps its index and rooms in it."""
    for path in (foam, *foam.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        code, _, errors = ordinary.run("serve", "--records", str(foam))
    finally:
        for path in (foam, *foam.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert code == 1 and "cannot write in" in errors and "Traceback" not in errors


@pytest.mark.kernel
def test_what_cannot_be_read_is_said_and_no_more_is_lost(ordinary: Ordinary, short_dir: Path) -> None:
    """A note that is closed to the user is no missing one: each command says that it cannot be read and why, none takes
    another note for it, all else works; and when it is opened it is found."""
    notes = short_dir / "notes"
    (notes / "private").mkdir(parents=True)
    for name, text in {"open": "[[closed]] [[private/x]] [[others]] quince", "closed": "marmalade", "others": "x",
                       "private/x": "x", "other": "---\ntitle: Closed\n---\nx"}.items():  # fmt: skip
        (notes / f"{name}.md").write_text(text + "\n")
    ordinary.own(notes)
    if ordinary.switch:
        os.chown(notes / "others.md", 0, 0)
    (notes / "others.md").chmod(0o600 if ordinary.switch else 0)
    (notes / "closed.md").chmod(0)
    (notes / "private").chmod(0)

    def run(*words: str) -> tuple[int, str]:
        code, out, err = ordinary.run("--records", str(notes), "records", *words)
        return code, out + err

    for words in (("show", "closed"), ("show", "private/x")):  # without a node
        code, told = run(*words)
        assert code == 1 and "Permission denied; check who owns it" in told, (words, told)
    server = ordinary.start("serve", "--records", str(notes))
    assert server.stdout is not None and server.stderr is not None
    try:
        assert any("attach:" in line for line in server.stdout)
        for words in (
            ("show", "closed"), ("set", "closed", "tags=a"), ("append", "others", "x"), ("rename", "closed", "c"),
            ("show", "private/x"), ("trash", "closed"),
        ):  # fmt: skip
            code, told = run(*words)
            assert code == 1 and "Permission denied; check who owns it" in told, (words, told)
        code, told = run("links", "open")
        assert code == 0 and told.count("Permission denied") == 2, told
        code, told = run("unresolved")
        assert told.count("'closed.md' cannot be read") == 1
        code, told = run("faults")
        assert all(place in told for place in ("'closed.md' cannot", "'others.md' cannot", "private/: "))
        code, told = run("search", "quince")
        assert code == 0 and told.startswith("open")
        assert run("append", "open", "more")[0] == 0 and run("new", "Fresh")[0] == 0
        code, told = run("verify")
        assert code == 0 and told.count("not compared: ") == 3 and "the index is as the files are" in told, told
        assert "Closed" in run("show", "other")[1]
        (notes / "closed.md").chmod(0o600)
        (notes / "private").chmod(0o700)
        until("what was opened is found", lambda: run("search", "marmalade")[1].startswith("closed"))
        until("and the folder is", lambda: run("show", "private/x")[0] == 0)
        (notes / "private" / "x.md").write_text("kumquat\n")
        until("its note is found", lambda: run("search", "kumquat")[1].startswith("private/x"))
        (notes / "private").chmod(0)
        (notes / "open.md").write_text("[[private/x]] [[others]] damson\n")
        until("the node has looked again", lambda: run("search", "damson")[1].startswith("open"))
        assert run("search", "kumquat")[1].startswith("private/x"), "a note that is closed is not gone"
        for name in ("x", "nowhere"):
            code, told = run("show", name)
            assert code == 1 and "private" in told and "check who owns it" in told, told
        code, told = run("verify")
        assert code == 0 and "not compared: private/: " in told, told
        (notes / "private").chmod(0o700)
        until("it is open again", lambda: run("show", "x")[0] == 0 and "private" not in run("faults")[1])
        assert run("links", "open")[1].count("Permission denied") == 1
    finally:
        (notes / "private").chmod(0o700)
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
        server.stdout.close()
        server.stderr.close()
