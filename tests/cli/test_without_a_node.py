"""Commands about notes give the same with a node and without one."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from egghead.cli import cli
from egghead.client.notes import LocalNotes
from egghead.errors import EggheadError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three notes, and no node that could be found."""
    for name in ("home", "run", "t", "notes"):
        (tmp_path / name).mkdir(mode=0o700)
    for variable, name in (("HOME", "home"), ("XDG_RUNTIME_DIR", "run"), ("TMPDIR", "t")):
        monkeypatch.setenv(variable, str(tmp_path / name))
    notes = tmp_path / "notes"
    (notes / "b.md").write_text("# Bee\n\n[[a]] and [[nowhere]]\n")
    (notes / "a.md").write_text("# Ay\n")
    (notes / "c.md").write_text("# Sea\n\n[[b]]\n")
    return notes


def ran(folder: Path, *arguments: str) -> Any:
    return CliRunner().invoke(cli, [*arguments, "--records", str(folder)], catch_exceptions=False)


def test_links_and_backlinks(folder: Path) -> None:
    """`records links` reads the folder's own index."""
    assert ran(folder, "records", "links", "b").output == "-> a\n-> nowhere  (no such note)\n<- c\n"


def test_a_list_is_by_id(folder: Path) -> None:
    """As its help says."""
    lines = ran(folder, "records", "list").output.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["a", "b", "c"]


@pytest.mark.parametrize("command", [["records", "list"], ["records", "search", "x"], ["logs"]])
def test_counts_that_make_no_sense_are_refused(folder: Path, command: list[str]) -> None:
    """A negative number of lines is a usage error, not a traceback and not everything."""
    done = CliRunner().invoke(cli, [*command, "-n", "-3", "--records", str(folder)])
    assert done.exit_code == 2 and "-3 is not in the range" in done.output


async def test_every_read_of_the_port(folder: Path) -> None:
    """Whatever a command asks of the index over the bus is there without one, by the same parameters."""
    notes = LocalNotes(folder)
    try:
        for method, params in {
            "resolve": {"target": "a"},
            "list": {"class": None, "tag": None, "prefix": "a", "limit": 5},
            "links": {"id": "b", "depth": 1},
            "backlinks": {"id": "a"},
            "search": {"query": "bee", "class": None, "tags": [], "limit": 3},
        }.items():
            assert await notes.index(method, **params), method
        assert (await notes.store("get", id="b"))["title"] == "Bee"
    finally:
        notes.close()


def test_quitting_a_chat_that_was_not_begun_starts_no_node(folder: Path) -> None:
    """`/quit` is one of the commands that the documentation lists for the shell; there it has nothing to do."""
    result = ran(folder, "chat", "default", "/quit")
    assert result.exit_code == 0 and result.output == ""


def test_a_damage_that_only_a_question_meets_is_mended(folder: Path) -> None:
    """The command that meets it answers all the same, and says that the index was built anew; the next says nothing."""
    ran(folder, "records", "stats")
    with closing(sqlite3.connect(folder / ".egghead" / "index.db")) as db:
        db.execute("DELETE FROM fts_data WHERE id > 10")
        db.commit()
    found = ran(folder, "records", "search", "bee")
    assert found.exit_code == 0 and found.stdout == "b\tBee\n"
    assert found.stderr.startswith("egghead: the index was built anew: the index is damaged")
    assert ran(folder, "records", "search", "bee").stderr == ""


def test_a_search_can_leave_out_what_is_old(folder: Path) -> None:
    """`--since` is a date or a time; anything else is refused with an example."""
    os.utime(folder / "a.md", (0, 0))
    assert ran(folder, "records", "search", "ay", "--since", "1970").stdout == "a\tAy\n"
    with pytest.raises(EggheadError, match="nothing found"):
        ran(folder, "records", "search", "ay", "--since", "2000-01-01")
    with pytest.raises(EggheadError, match="'monday' is no date; write 2026-01-31"):
        ran(folder, "records", "search", "ay", "--since", "monday")


def test_the_folder_is_said_wherever_people_put_it(folder: Path) -> None:
    """Before the command, behind it, and between its two words."""
    for line in (["--records", str(folder), "records", "list"], ["records", "--records", str(folder), "list"]):
        done = CliRunner().invoke(cli, line, catch_exceptions=False)
        assert done.exit_code == 0 and done.stdout == ran(folder, "records", "list").stdout != ""
