"""The disk of the notes turns read-only under a running node, and back: what is refused, how it is said, what goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.cast import cast
from tests.e2e.disks import own_disk, set_read_only
from tests.e2e.node import until
from tests.llm.double import Double, Use

REMEDY = "is mounted read-only: see why (dmesg), and mount it for writing again"
MAKE = Use("create_record", {"title": "Fern", "body": "green"})


@pytest.mark.kernel
def test_a_disk_that_turns_read_only_and_back(short_dir: Path) -> None:
    """Every write, by people and by an agent, is refused with the remedy and changes nothing; reads, searches and the talk go
    on; when the disk takes writes again the same writes go through."""
    notes = short_dir / "notes"
    notes.mkdir()
    (notes / "roof.md").write_text("# Roof\n\nLeaks at the chimney.\n")
    script = {"scout": [[MAKE], "It was refused.", [MAKE], "Kept."]}
    with (
        Double(script) as double,
        cast(short_dir, double, {"scout": "anthropic/double"}, wrap=own_disk(notes, "24m")) as play,
    ):
        home, store = play.home, play.node.processes()["store"]["pid"]
        before = {path.name: path.read_bytes() for path in play.records.rglob("*.md")}
        set_read_only(store, notes, True)
        for words in (
            ("new", "Moss"), ("append", "roof", "more"), ("set", "roof", "tags=house"), ("trash", "roof"),
            ("rename", "roof", "top"),
        ):  # fmt: skip
            refused = home.run("records", *words)
            assert refused.returncode == 1 and REMEDY in refused.stderr, words
        said = play.say("@scout keep the fern")
        [ended] = [entry for entry in said if entry["kind"] == "tool_ended"]
        assert ended["outcome"] == "error" and any(REMEDY in str(result) for result in double.asked[-1].results)
        assert "chimney" in home.ok("records", "show", "roof") and "roof" in home.ok("records", "search", "leaks")
        assert {path.name: path.read_bytes() for path in play.records.rglob("*.md")} == before
        set_read_only(store, notes, False)
        said = play.say("@scout and now?")
        assert [entry["outcome"] for entry in said if entry["kind"] == "tool_ended"] == ["ok"]
        home.ok("records", "append", "roof", "And at the gutter.")
        until("what was written is found", lambda: "roof" in home.run("records", "search", "gutter").stdout)
        assert (play.records / "fern.md").exists() and not (play.records / "moss.md").exists()
        assert "the index is as the files are" in home.ok("records", "verify")
        assert {process["restarts"] for process in play.node.processes().values()} == {0}
