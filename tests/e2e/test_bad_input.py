"""What a user can get wrong, and what the machine can: a clear line, the right exit code, nothing lost."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.e2e.node import COMMAND, Home, Node, gone, serving, until
from tests.e2e.terminal import Terminal


def test_records_directory_missing(home: Home) -> None:
    """A folder that is not there is named, with what to do."""
    done = home.run("serve", "--records", str(home.path / "nothing"))
    assert done.returncode == 1 and "no records directory at" in done.stderr and "nothing" in done.stderr


def test_records_directory_is_a_file(home: Home) -> None:
    """A file in place of the folder is said to be one."""
    file = home.path / "note.md"
    file.write_text("hello")
    done = home.run("serve", "--records", str(file))
    assert done.returncode == 1 and "is a file" in done.stderr


def test_records_directory_read_only(home: Home, foam: Path) -> None:
    """A folder that cannot be written is refused with the reason, and nothing is left running."""
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "--map-root-user",
            "--user",
            "sh",
            "-c",
            script,
            str(foam),
            *COMMAND,
            "serve",
            "--records",
            str(foam),
        ],
        env=home.env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    assert "cannot write in" in done.stderr and "Read-only" in done.stderr


def test_second_node_is_refused_with_the_pid_of_the_first(node: Node) -> None:
    """One node on one folder; the second says who has it, and the first is not disturbed."""
    done = node.home.run("serve", "--records", str(node.records))
    assert done.returncode == 5 and str(node.pid) in done.stderr
    assert node.processes()["bus"]["state"] == "running"


def test_socket_directory_taken(home: Home, foam: Path) -> None:
    """Something else in the place of the runtime directory: named, not removed."""
    (home.path / "run" / "egghead").write_text("mine")
    done = home.run("serve", "--records", str(foam))
    assert done.returncode == 1 and "is in the way" in done.stderr
    assert (home.path / "run" / "egghead").read_text() == "mine"


def test_broken_yaml_in_one_note_stops_nothing(home: Home, foam: Path) -> None:
    """A note with broken frontmatter is served by its text; the others are as ever."""
    (foam / "broken.md").write_text("---\ntitle: [unclosed\n---\nMedlars must be bletted.\n")
    with serving(home, foam):
        assert "broken" in home.ok("records", "search", "medlars bletted")
        assert home.json("records", "show", "broken")["error"]
        assert "wikilinks" in home.ok("records", "search", "wikilinks")


def test_agent_record_with_nonsense_in_every_field(home: Home, foam: Path) -> None:
    """Every bad value falls back to its default and is reported; the agent runs."""
    (foam / "agents").mkdir()
    (foam / "agents" / "odd.md").write_text(
        "---\nclass: agent\ntitle: [1, 2]\nmodel: {a: b}\nprovider: 7\ncapabilities: {records: {read: {nope: 1}}}\n"
        "access: sideways\nsandbox: 9\ntags: {x: y}\nquiet: perhaps\nidle: 12\nthinking: [x]\ntemperature: hot\n"
        "max_tokens: -5\ncontext_threshold: 7\ncontext_window: big\nfallback: {}\n---\nHello.\n"
    )
    with serving(home, foam) as node:
        until("odd runs", lambda: node.processes().get("agents/odd", {}).get("state") == "running")
        card = next(c for c in home.json("agents", "list") if c["id"] == "odd")
        problems = " ".join(card["problems"])
        for field in ("title", "model", "provider", "capabilities", "access", "sandbox", "quiet", "temperature",
                      "max_tokens", "context_threshold", "context_window"):  # fmt: skip
            assert field in problems, field


def test_tree_file_with_a_module_that_does_not_exist(home: Home, foam: Path) -> None:
    """The node gives up with the name in one line; the traceback is shown once, not by everybody who passes it on."""
    tree = home.path / "tree.yaml"
    tree.write_text("id: x\nstrategy: one_for_one\nchildren:\n  - id: a\n    start: egghead.processes.nope:main\n")
    done = home.run("serve", "--records", str(foam), "--tree", str(tree))
    assert done.returncode != 0
    said = "the node gave up: the application could not be loaded: ModuleNotFoundError: No module named 'egghead.proc"
    assert said in done.stderr
    assert done.stderr.count("Traceback") == 1


def test_a_full_disk_behind_stdout_is_a_sentence(home: Home, foam: Path) -> None:
    """What cannot be printed fails with the system's words and exit code 1."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "records", "list", "--records", str(foam)],
            env=home.env, stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "egghead: No space left on device\n")


def test_tree_file_with_a_typo(home: Home, foam: Path) -> None:
    """The line, the key and the nearest known key."""
    text = (Path(__file__).parents[2] / "egghead" / "tree.yaml").read_text().replace("intensity: 30", "intensty: 30", 1)
    tree = home.path / "tree.yaml"
    tree.write_text(text)
    line = text.splitlines().index("intensty: 30") + 1
    done = home.run("serve", "--records", str(foam), "--tree", str(tree))
    assert done.returncode == 1
    assert f":{line}:" in done.stderr and "'intensty'" in done.stderr and "'intensity'" in done.stderr


def test_config_with_a_typo(home: Home, foam: Path) -> None:
    """An unknown key is refused with line, column and the nearest."""
    config = home.path / "config.yml"
    config.write_text("default_room: x\nopen_speeker: 3\n")
    done = home.run("--config", str(config), "serve", "--records", str(foam))
    assert done.returncode == 1 and ":2:1:" in done.stderr and "'open_speakers'" in done.stderr


def test_home_path_of_200_characters(foam: Path) -> None:
    """A path too long for a unix socket is handled: the node serves and answers."""
    base = Path(tempfile.mkdtemp(prefix="eh-", dir="/tmp"))
    try:
        deep = base / ("x" * 100) / ("y" * 100)
        deep.mkdir(parents=True)
        home = Home(deep)
        home.env["TMPDIR"] = str(base)
        records = Path(shutil.move(foam, deep / "notes"))
        with serving(home, records):
            assert "[[" in home.ok("chat", "default", "What is a placeholder?")
    finally:
        shutil.rmtree(base, ignore_errors=True)


def test_no_utf8_locale(node: Node) -> None:
    """In the C locale an answer is printed, escaped where it must be; never a traceback."""
    (node.records / "tea.md").write_text("# Tee\n\nGrüner Tee zieht bei 70 °C zwei Minuten – nicht länger.\n", "utf-8")
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = until(
        "tea found", lambda: (r := node.home.run("records", "show", "tea", **env)).returncode == 0 and r, timeout=10
    )
    assert "Tee zieht" in done.stdout and "Traceback" not in done.stderr


def test_closed_stdout_and_stdin(node: Node) -> None:
    """Closed descriptors are no crash: the exit code tells."""
    shell = f"{COMMAND[0]} records list >&- 2>&- <&-"
    done = subprocess.run(["sh", "-c", shell], env=node.home.env, timeout=30)
    assert done.returncode in (0, 1)
    piped = subprocess.run(
        ["sh", "-c", f"{COMMAND[0]} records list | head -n 1"],
        env=node.home.env,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert piped.stdout.strip() and piped.stderr == ""


def test_serve_with_closed_streams(home: Home, foam: Path) -> None:
    """A node started with every stream closed serves all the same."""
    process = subprocess.Popen(["sh", "-c", f"exec {COMMAND[0]} serve --records {foam} >&- 2>&- <&-"], env=home.env)
    try:
        until("it serves", lambda: home.run("status").returncode == 0 or None, 30)
        assert "[[" in home.ok("chat", "default", "What is a placeholder?")
    finally:
        left = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        gone(left)


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.15, 0.3, 0.5, 0.8, 1.2])
def test_sigterm_in_the_middle_of_start(home: Home, foam: Path, delay: float) -> None:
    """A stop that comes at any moment of the start ends the node, with no process and no lock left."""
    process = subprocess.Popen(
        [*COMMAND, "serve", "--records", str(foam)], env=home.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    family: set[psutil.Process] = set()

    def passed() -> bool:
        nonlocal delay
        family.update(psutil.Process(process.pid).children(recursive=True))
        delay -= 0.03
        return delay <= 0

    until("the moment", passed)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode in (0, -signal.SIGTERM, 143), errors.decode()
    assert b"Traceback" not in errors
    gone(list(family))
    with serving(home, foam):
        pass


def test_nothing_is_left_in_the_runtime_directory(home: Home, foam: Path) -> None:
    """After a stop the sockets and the token are gone."""
    with serving(home, foam) as node:
        assert node.stop() == 0
    assert list((home.path / "run" / "egghead").iterdir()) == []


def test_unknown_names_get_the_nearest(node: Node) -> None:
    """Unknown command, agent, record, room: the nearest known one, exit code by kind."""
    assert "'chat'" in node.home.run("chatt").stderr
    done = node.home.run("agents", "show", "indx")
    assert done.returncode == 3 and "'index'" in done.stderr
    done = node.home.run("records", "show", "wikilink")
    assert done.returncode == 3 and "wikilinks" in done.stderr
    done = node.home.run("rooms", "show", "defalt")
    assert done.returncode == 3 and "default" in done.stderr
    done = node.home.run("prompt", "indx", "hello")
    assert done.returncode == 3 and "'index'" in done.stderr


def test_node_gone_is_said(home: Home, foam: Path) -> None:
    """Commands that need a node say that there is none and how to start one."""
    for command in (["tree"], ["status"], ["agents", "list"], ["rooms", "list"]):
        done = home.run(*command)
        assert done.returncode == 4 and "egghead serve" in done.stderr, command
    assert os.listdir(foam)


def test_an_index_that_cannot_lie_with_the_notes_does_not_stop_the_node(home: Home, foam: Path) -> None:
    """A confined node goes on with an index of this run only: killed, it comes back with every note and nothing of its last
    life; what it kept goes with the node."""
    (foam / ".egghead" / "index.db").mkdir(parents=True)  # in its place
    with serving(home, foam) as node:
        [scratch] = (home.path / "run" / "egghead").glob("*/scratch")
        before = home.json("records", "stats")["notes"]
        assert before == 86 and (scratch / "index.db").exists()
        (scratch / "index.db.new").write_text("half")
        old = node.kill("index")
        node.healed("index", old)
        until("all notes are there", lambda: home.json("records", "stats")["notes"] == before)
        assert not (scratch / "index.db.new").exists()
        assert "is kept in" in home.ok("logs", "-n", "500")
    assert not scratch.exists() and not list((home.path.parent / "t").iterdir())


def test_words_of_others_do_not_command_the_terminal(home: Home, foam: Path) -> None:
    """Control characters in a topic, a title, a tag, a note or an error are shown on a terminal, not obeyed."""
    (foam / "agents").mkdir()
    (foam / "agents" / "scout.md").write_text(
        '---\nclass: agent\ntitle: "Sco\\e]0;owned\\aut"\ntags: ["\\e[31mwoods"]\n---\nYou are \x1b[2Jscout.\n'
    )
    asked = (
        ("agents", "list"), ("agents", "show", "scout"), ("chat", "default", "/topic"), ("chat", "default", "/list"),
        ("chat", "default", "/whois scout"), ("prompt", "\x1b[31mnobody", "hi"),
    )  # fmt: skip
    with serving(home, foam):
        until("scout is here", lambda: "@scout" in home.run("chat", "default", "/list").stdout)
        home.ok("chat", "default", "/topic \x1b]52;c;cm0gLXJm\x07roses")
        for command in asked:
            terminal = Terminal(home, *command, TERM="xterm-256color")
            try:
                terminal.process.wait(20)
                said = terminal.read()
            finally:
                terminal.close()
            left = re.sub(
                r"\x1b\[[0-9;]*m", "", said.replace("\x1b[31mwoods", "\x07")
            )  # our own colours are none of theirs
            assert "\\x1b" in said and not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", left), (command, said)


def test_what_is_no_text_or_too_much_is_said_in_words(node: Node) -> None:
    """Bytes that are no UTF-8 are named with their place, a text that is too long with its length, and nothing is posted."""
    done = subprocess.run(
        [*COMMAND, "chat", "default", b"caf\xe9 @scout"], env=node.home.env, capture_output=True, timeout=60
    )
    assert done.returncode == 1 and b"at character 4 is no text; write it in UTF-8" in done.stderr
    long = node.home.run("chat", "default", text="x" * 300_000)
    assert long.returncode == 1 and "at most 262144 characters (put the rest in a note)" in long.stderr
    assert "(300000 characters)" in long.stderr
    assert "message" not in node.home.ok("rooms", "show", "default", "--json")
