"""Every operation of the specification as `egghead records …`: the same words with a node and without one."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from egghead.cli import cli
from egghead.cli.records import records as group
from egghead.cli.records_write import changed
from egghead.errors import EggheadError
from tests.e2e.node import Home, serving

FILES = {
    "bee.md": "---\n# kept\ntags: [insect, garden]\nstars: 3\n---\n# Bee\n\n[[a]] and [[nowhere]] and [[twin]]\n",
    "a.md": "# Ay\r\n\r\nfirst\r\n",
    "sea.md": "# Sea\n\n[[bee|the bee]] [b](bee.md#x)\n",
    "one/twin.md": "one\n",
    "two/twin.md": "two\n",
    "broken.md": "---\na: [1\n---\nstill found\n",
}

# (arguments, standard input, what stdout must be; an Exception: what the message must hold)
STORY: list[tuple[str, str | None, str | type[Exception], str]] = [
    ("new 'A roof' --tag house --body leaks", None, "a-roof\n", ""),
    ("new Sky --id far/sky --class inbox", "blue\n", "far/sky\n", ""),
    ("new Earth --format org --body brown", None, "earth\n", ""),
    ("new Again --id bee --body x", None, EggheadError, "a note 'bee' exists"),
    ("new Up --id ../up --body x", None, EggheadError, "has an empty, '.' or '..' part"),
    ("new X --class dureable --body x", None, EggheadError, "did you mean 'durable'?"),
    ("set bee stars=5 tags=insect,bee", None, "changed bee\n", ""),
    ("set bee 'rooms=[default, lab]' --unset stars", None, "changed bee\n", ""),
    ("set bee class=dureable", None, EggheadError, "did you mean 'durable'?"),
    ("set beee stars=5", None, EggheadError, "no such record: 'beee'; did you mean 'bee'?"),
    ("append a", "second\n", "changed a\n", ""),
    ("append a third", None, "changed a\n", ""),
    ("edit a --old first --new FIRST", None, "changed a\n", ""),
    ("edit a --old absent --new x", None, EggheadError, "stands 0 times in 'a'"),
    ("edit far/sky --body -", "grey\n", "changed far/sky\n", ""),
    ("edit far/sky --body red --revision 0123", None, EggheadError, "changed since it was read"),
    ("history nobody", None, EggheadError, "no such record: 'nobody'"),
    ("undo sky", None, "far/sky is as it was\n", ""),
    ("links sea", None, "-> bee\n-> bee#x\n", ""),
    ("backlinks bee", None, "sea\tbee\tSea\nsea\tbee#x\tSea\n", ""),
    ("unresolved", None, "bee\tnowhere\t\nbee\ttwin\tone/twin two/twin\n", ""),
    ("show twin", None, EggheadError, "'twin' may mean 'one/twin', 'two/twin'; give the whole id"),
    ("orphans", None, "a-roof\tA roof\nbroken\tbroken\nearth\tEarth\nfar/sky\tSky\none/twin\tone/twin\ntwo/twin\ttwo/twin\n", ""),
    ("graph", None, "bee\ta\nsea\tbee\n", ""),
    ("graph a --depth 1", None, "bee\ta\n", ""),
    ("tags", None, "1\tbee\n1\thouse\n1\tinsect\n", ""),
    ("list --tag house", None, "a-roof\tdurable\tA roof\n", ""),
    ("search 'the bee' --tag insect", None, "bee\tBee\n", ""),
    ("list --class dureable", None, EggheadError, "there is no class 'dureable'; did you mean 'durable'?"),
    ("search bee --class bogus", None, EggheadError, "there is no class 'bogus' (known: durable, inbox"),
    ("search zzzz", None, EggheadError, "nothing found for 'zzzz'"),
    ("faults", None, "broken.md\tfrontmatter is not YAML in line 3: did not find expected ',' or ']'\n", ""),
    ("set broken stars=1", None, EggheadError, "must be repaired by hand"),
    ("rename bee insects/wasp", None, "renamed bee to insects/wasp\n  links in sea.md\n", ""),
    ("rename wasp a", None, EggheadError, "a note 'a' exists"),
    ("trash a", None, "trashed a\n  a link in insects/wasp leads nowhere now\n", ""),
    ("trashed", None, "a\n", ""),
    ("restore b", None, EggheadError, "there is no 'b' in the trash"),
    ("restore a", None, "restored a\n", ""),
]  # fmt: skip
AFTER = {
    "a.md": b"# Ay\r\n\r\nFIRST\r\nsecond\r\nthird\r\n",
    "sea.md": b"# Sea\n\n[[wasp|the bee]] [b](insects/wasp.md#x)\n",
    "insects/wasp.md": b"---\n# kept\ntags: [insect, bee]\nrooms: [default, lab]\n---\n# Bee\n\n[[a]] and [[nowhere]] and [[twin]]\n",
    "broken.md": FILES["broken.md"].encode(),
    "far/sky.md": b"blue\n",
}


@pytest.fixture(params=["without a node", "with a node"])
def folder(request: pytest.FixtureRequest, short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The files above, in the home of a user who has a node or not."""
    home = Home(short_dir / "home")
    notes = short_dir / "notes"
    for name, text in FILES.items():
        (notes / name).parent.mkdir(parents=True, exist_ok=True)
        (notes / name).write_bytes(text.encode())
    for variable in ("HOME", "TMPDIR", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(variable, home.env[variable])
    monkeypatch.delenv("EGGHEAD_SERVER", raising=False)
    if request.param == "without a node":
        yield notes
        return
    with serving(home, notes):
        yield notes


def ran(folder: Path, line: str, text: str | None = None) -> Any:
    import shlex

    return CliRunner().invoke(cli, ["records", *shlex.split(line), "--records", str(folder)], input=text)


def test_every_operation(folder: Path) -> None:
    """Each line of the story says what it should, and the files have exactly the bytes that were asked for."""
    for line, text, expected, part in STORY:
        done = ran(folder, line, text)
        if isinstance(expected, str):
            assert done.exception is None, (line, done.exception)
            assert done.stdout == expected, line
        else:
            assert isinstance(done.exception, expected), (line, done.output)
            assert part in str(done.exception), line
    for name, data in AFTER.items():
        # A text without its frontmatter's moment of creation, which differs from run to run.
        found = (folder / name).read_bytes()
        assert (found.split(b"---\n\n", 1)[-1] if name.startswith("far/") else found) == data, name
    for line in ("list", "recent", "tags", "orphans", "unresolved", "graph", "trashed", "faults", "show wasp", "links sea",
                 "backlinks wasp", "history wasp", "diff wasp", "search bee"):  # fmt: skip
        done = ran(folder, f"{line} --json")
        assert done.exception is None, (line, done.exception)
        assert json.loads(done.stdout) is not None, line
    assert ran(folder, "history wasp").stdout.count("\n") == 2  # it went with the note when that was renamed
    assert ran(folder, "undo wasp").stdout == "insects/wasp is as it was\n"
    assert b"stars: 5" in (folder / "insects/wasp.md").read_bytes()


def test_reading_goes_on_beside_another_command(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody holds the folder and no node answers, another command reads the index as it is, and a write says who
    holds it."""
    from egghead import node
    from egghead.cli import common

    monkeypatch.setattr(common, "STARTING", 0.2)

    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_dir))
    monkeypatch.setenv("TMPDIR", str(short_dir))
    (short_dir / "notes").mkdir()
    (short_dir / "notes" / "a.md").write_text("# Ay\n")
    assert ran(short_dir / "notes", "list").stdout == "a\tdurable\tAy\n"
    lock = node.claim(short_dir / "notes")
    try:
        assert ran(short_dir / "notes", "list").stdout == "a\tdurable\tAy\n"
        done = ran(short_dir / "notes", "new X --body y")
        assert isinstance(done.exception, EggheadError) and f"(pid {os.getpid()}) is not ready" in str(done.exception)
    finally:
        lock.close()


def test_commands_at_once_all_get_their_turn(folder: Path) -> None:
    """Without a node a command that writes waits for the others, which nobody is told to kill."""
    command = [sys.executable, "-m", "egghead", "records", "append", "a", "--records", str(folder)]
    running = [subprocess.Popen([*command, f"line {number}"], stderr=subprocess.PIPE) for number in range(4)]
    assert [(process.communicate(timeout=50)[1], process.returncode) for process in running] == [(b"", 0)] * 4
    assert {f"line {number}" for number in range(4)} <= set((folder / "a.md").read_text().splitlines())


def test_a_text_that_is_shown_in_part_is_said_to_be(folder: Path) -> None:
    """A node sends at most some 14 MB of a note; who sees less than all of it is told where the rest is."""
    (folder / "a.md").write_text("# Ay\n" + "0123456789abcde\n" * 240_000 + "last\n")
    done = ran(folder, "show a")
    assert done.stdout.endswith("last\n") or "all of it is in the file 'a.md'" in done.stderr


def test_an_index_that_cannot_be_written_still_answers(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SQLite has no room for its log, as on a full disk, what it knows is read, and a write is refused with the reason."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_dir))
    monkeypatch.setenv("TMPDIR", str(short_dir))
    notes = short_dir / "notes"
    notes.mkdir()
    (notes / "a.md").write_text("# Ay\n")
    assert ran(notes, "list").stdout == "a\tdurable\tAy\n"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, limits[1]))  # bytes; the log's table of contents has 32 KiB
    try:
        found, shown = ran(notes, "search ay").stdout, ran(notes, "show a").stdout
        refused = [str(ran(notes, line).exception) for line in ("append a more", "new Fresh --body x", "trash a")]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert found == "a\tAy\n" and "# Ay" in shown
    assert all("make room on the disk" in text for text in refused), refused
    assert ran(notes, "append a more").stdout == "changed a\n" and (notes / "a.md").read_text() == "# Ay\nmore\n"


def test_every_command_of_the_group_is_in_the_story() -> None:
    """A command that nobody ran here is not known to work both ways."""
    told = {line.split()[0] for line, *_ in STORY} | {"show", "recent", "diff", "history"}
    elsewhere = {"stats", "verify", "reindex", "purge"}  # tests of their own
    assert set(group.commands) - elsewhere == told


def test_what_pairs_ask_for() -> None:
    """Fields are text or lists, other keys are YAML, and what is no pair is refused."""
    import click

    assert changed(("title=a=b", "tags=x, y", "n=3", "on=true", "l=[1, two]", "t=a: b", "e="), ("old", "author")) == {
        "title": "a=b", "tags": ["x", "y"], "author": None,
        "meta": {"n": 3, "on": True, "l": [1, "two"], "t": "a: b", "e": "", "old": None},
    }  # fmt: skip
    assert changed(('tags=[a, "b, c", 7]', "links=[[roof]], shed", "aliases=[", "up=[[roof]]"), ()) == {
        "tags": ["a", "b, c", "7"], "links": ["[[roof]]", "shed"], "aliases": ["["], "meta": {"up": "[[roof]]"},
    }  # fmt: skip
    for pairs, unset in ((("novalue",), ()), (("=x",), ()), (("body=x",), ()), ((), ("body",))):
        with pytest.raises(click.UsageError):
            changed(pairs, unset)


def test_verify_names_what_differs_and_rebuild_mends_it(folder: Path) -> None:
    """An index that says other than the files is told note by note with exit status 1, and built anew when asked for."""
    import sqlite3
    from contextlib import closing

    whole = ran(folder, "verify")
    assert whole.stdout == "6 notes; the index is as the files are\n", whole.exception
    with closing(sqlite3.connect(folder / ".egghead" / "index.db")) as db, db:
        db.execute("UPDATE notes SET title = 'Wasp' WHERE path = 'bee.md'")
        db.execute("DELETE FROM tags")
    done = ran(folder, "verify --json")
    assert isinstance(done.exception, EggheadError) and done.exception.exit_code == 1
    assert json.loads(done.stdout)["differences"] == ["'bee.md' is not in the index as its file has it (notes, tags)"]
    mended = ran(folder, "verify --rebuild")
    if (folder / ".egghead" / "node.lock").exists() and isinstance(mended.exception, EggheadError):
        assert "stop it" in str(mended.exception)
        return
    assert mended.stdout == "the index was built anew: asked for\n6 notes; the index is as the files are\n"


def test_stats_count_what_there_is(folder: Path) -> None:
    """Notes by class, sizes, tags, links and faults; as JSON with the same counts."""
    counts = json.loads(ran(folder, "stats --json").stdout)
    lines = ran(folder, "stats").stdout.splitlines()
    assert counts["notes"] == 6 and counts["building"] is False
    assert lines[0].startswith("notes    6  (") and f"tags     {counts['tags']}" in lines
    assert f"links    {counts['links']}" in lines and lines[1].endswith(" MiB")


def test_what_is_purged_is_gone_for_good(folder: Path) -> None:
    """One trashed note by its id, or all that are there long enough; never a note that is not in the trash. Its versions stay."""
    ran(folder, "append a more")
    for id_ in ("a", "one/twin", "sea"):
        ran(folder, f"trash {id_}")
    assert ran(folder, "purge a").stdout == "removed a for good\n"
    assert ran(folder, "purge --older-than 1").stdout == "" and ran(folder, "trashed").stdout == "one/twin\nsea\n"
    assert isinstance(ran(folder, "purge bee").exception, EggheadError) and (folder / "bee.md").exists()
    assert ran(folder, "purge").exit_code == 2
    assert ran(folder, "purge --older-than 0").stdout == "removed one/twin for good\nremoved sea for good\n"
    assert not list((folder / ".trash").rglob("*.md"))
    assert ran(folder, "history a").stdout.split("\t")[1] == "append"


def test_the_doctor_names_each_bad_file_and_what_to_do(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File and line of broken frontmatter, the nearest class, who holds an id, names that differ in case only, encodings."""
    home = Home(short_dir / "home")
    for variable in ("HOME", "TMPDIR", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(variable, home.env[variable])
    notes = short_dir / "notes"
    notes.mkdir()
    files = {
        "broken.md": b"---\na: [1\n---\n", "class.md": b"---\nclass: agnet\n---\n", "one.md": b"---\nid: x\n---\n", "two.md": b"---\nid: x\n---\n",
        "Case.md": b"a\n", "case.md": b"b\n", "latin.md": b"caf\xe9 text\n", "wide.md": b"\xff\xfe" + "x\n".encode("utf-16-le"), "program.md": bytes(range(32)) * 20,
        "links.md": b"[[x]] " * 20_001,
    }  # fmt: skip
    for name, data in files.items():
        (notes / name).write_bytes(data)
    done = CliRunner().invoke(cli, ["doctor", "--json", "--records", str(notes)])
    told = [f"{row['why']} -> {row['fix']}" for row in json.loads(done.stdout) if row["check"] == "notes"]
    for parts in (
        ("broken.md", "line 3"), ("class.md", "'agnet'", "class: agent"), ("two.md", "'x' belongs to 'one.md'", "'two'"), ("case.md", "case only"),
        ("latin.md", "Latin-1", "iconv -f latin1"), ("wide.md", "UTF-16", "iconv -f utf-16"), ("program.md", "not text"),
        ("links.md", "first 20,000 of its links", "split it"),
    ):  # fmt: skip
        assert any(all(part in line for part in parts) for line in told), (parts, told)
    assert {name: (notes / name).read_bytes() for name in files} == files


def test_the_doctor_names_two_notes_for_one_agent(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one of them is the agent, as `agents list` says; a model that nobody offers is named with the key it stands under."""
    home = Home(short_dir / "home")
    for variable in ("HOME", "TMPDIR", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(variable, home.env[variable])
    notes = short_dir / "notes"
    (notes / "agents").mkdir(parents=True)
    (notes / "agents" / "twin.md").write_text("---\nclass: agent\n---\none\n")
    (notes / "twin.md").write_text("---\nclass: agent\nfallback: nobody\n---\ntwo\n")
    done = CliRunner().invoke(cli, ["doctor", "--json", "--records", str(notes)])
    told = [f"{row['why']} -> {row['fix']}" for row in json.loads(done.stdout) if row["check"] == "agents"]
    assert sorted(told)[0].startswith("'agents/twin' and 'twin' are both the agent 'twin'; ") and len(told) == 2
    assert told[0].startswith("twin: unknown model 'nobody'") and told[0].endswith("correct `fallback:` in the note")


@pytest.mark.parametrize(
    ("editor", "code", "said", "left"),
    [
        ("sed -i s/old/new/", 0, "changed a", "# Ay\n\nnew\n"),
        ("true", 0, "nothing changed", "# Ay\n\nold\n"),
        ("false", 1, "nothing was changed", "# Ay\n\nold\n"),
        ("nosucheditor", 1, "nothing was changed", "# Ay\n\nold\n"),
        ("meanwhile", 1, "Your text is in", "# Ay\n\ntheirs\n"),
    ],
)
def test_a_note_in_the_editor(short_dir: Path, editor: str, code: int, said: str, left: str) -> None:
    """The text is written back when it changed, and kept in a named file when the note is another by then."""
    import os
    import pty
    import subprocess

    from tests.e2e.node import COMMAND

    home, notes = Home(short_dir / "home"), short_dir / "notes"
    notes.mkdir()
    (notes / "a.md").write_text("# Ay\n\nold\n")
    if editor == "meanwhile":
        script = short_dir / "meanwhile"
        script.write_text(f"#!/bin/sh\nsed -i s/old/theirs/ {notes}/a.md\nsed -i s/old/mine/ $1\n")
        script.chmod(0o755)
        editor = str(script)
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [*COMMAND, "records", "edit", "a", "--records", str(notes)], stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, timeout=60,
            env=home.env | {"EDITOR": editor, "VISUAL": ""},
        )  # fmt: skip
        os.close(theirs)
        shown = os.read(ours, 65536).decode() if code == 0 and said != "nothing changed" else ""
    finally:
        os.close(ours)
    assert done.returncode == code, done.stderr
    assert said in shown + done.stderr.decode()
    assert (notes / "a.md").read_text() == left
    kept = sorted((short_dir / "t").glob("egghead-*.md"))
    assert bool(kept) == ("theirs" in left)  # a copy of what is unchanged would only lie about
    if "theirs" in left:
        assert "mine" in kept[0].read_text()
