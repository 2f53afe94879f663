"""Each tool over real notes: what it gives, and what a model that asks wrongly is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from egghead.tools.monitor import Monitor
from tests.tools.notes import RealNotes, run


async def test_search_and_read(notes: RealNotes) -> None:
    """The contract of docs/interfaces.md: hits as JSON, a body as text, fields as JSON."""
    found = await run(notes, "index", "search_records", query="roses", limit=5)
    hits = json.loads(found.content)["hits"]
    assert found.records[0] == hits[0]["id"] and {"id", "title", "class", "tags", "snippet", "score"} <= set(hits[0])
    body = await run(notes, "index", "get_record_body", id="garden")
    assert body.content.startswith("# Garden") and body.records == ("garden",) and body.summary == "read [[garden]]"
    fields = json.loads((await run(notes, "index", "get_record", id="garden")).content)
    assert fields["outline"][1] == {"level": 2, "text": "Water"} and "Roses" in fields["preview"]
    assert fields["size"]["lines"] == 11 and fields["revision"]


async def test_parts_of_a_body(notes: RealNotes) -> None:
    """A section ends at the next heading of its level; lines count from 1; a miss names what is there."""
    section = await run(notes, "index", "get_record_body", id="garden", section="water")
    assert section.content == "## Water\n\nEvery day.\n"
    assert (await run(notes, "index", "get_record_body", id="garden", lines="5-7")).content == section.content
    assert (await run(notes, "index", "get_record_body", id="garden", lines=11)).outcome == "error"
    assert (await run(notes, "index", "get_record_body", id="garden", lines="11-")).content == "Clay.\n"
    missing = await run(notes, "index", "get_record_body", id="garden", section="Watre")
    assert missing.outcome == "error" and "did you mean 'Water'?" in missing.content
    few = await run(notes, "index", "get_record_body", id="garden", lines="3", characters="1-5")
    assert (few.content, few.summary) == ("Roses", "read [[garden]] lines 3 characters 1-5")
    assert (await run(notes, "index", "get_record_body", id="garden", characters="90-")).outcome == "error"
    assert "there are 11 lines" in (await run(notes, "index", "get_record_body", id="garden", lines="40-50")).content


async def test_ids_as_models_write_them(notes: RealNotes) -> None:
    """A wikilink in brackets and a unique last segment find the note; a wrong id is an error that says so."""
    assert (await run(notes, "index", "get_record_body", id="[[garden]]")).records == ("garden",)
    assert (await run(notes, "index", "get_record_body", id="wall")).records == ("projects/wall",)
    assert "no/such" in (await run(notes, "index", "get_record", id="no/such")).content


async def test_writes_want_the_very_id(notes: RealNotes) -> None:
    """What is changed or removed is named exactly; a near miss names the note that was meant and touches nothing."""
    notes.agent("scout", "records.read", "records.update", "records.delete")
    for tool, more in (
        ("delete_record", {}),
        ("update_record", {"title": "x"}),
        ("edit_record", {"old": "Dry", "new": "Wet"}),
    ):
        result = await run(notes, "scout", tool, id="wall", **more)
        assert result.outcome == "error" and "did you mean 'projects/wall'?" in result.content
    assert "Dry stone." in notes.notes.get("projects/wall").body
    assert (await run(notes, "scout", "delete_record", id="[[projects/wall]]")).outcome == "ok"


async def test_links(notes: RealNotes) -> None:
    """Links and backlinks of a note."""
    links = json.loads((await run(notes, "index", "find_links", id="garden")).content)["links"]
    assert [row["id"] for row in links] == ["projects/wall"]
    backlinks = await run(notes, "index", "find_backlinks", id="garden")
    assert [row["id"] for row in json.loads(backlinks.content)["backlinks"]] == ["secret/plan"]


async def test_write_change_edit_trash(notes: RealNotes) -> None:
    """The life of a note by tools: made with its author, changed, edited, trashed; ids come back."""
    notes.agent("scout", "records.read", "records.create", "records.update", "records.delete")
    made = await run(notes, "scout", "create_record", title="Hot Bed", body="Dung.", tags=["compost"])
    assert made.records == ("hot-bed",) and notes.notes.get("hot-bed").author == "agents/scout"
    again = await run(notes, "scout", "create_record", title="Hot Bed", body="Dung.")
    assert again.outcome == "error" and "exists already" in again.content
    changed = await run(notes, "scout", "update_record", id="hot-bed", tags=["heat"], meta={"depth": 40})
    assert notes.notes.get("hot-bed").tags == ("heat",) and notes.notes.get("hot-bed").meta["depth"] == 40
    assert json.loads(changed.content)["revision"] == notes.notes.get("hot-bed").revision
    assert (await run(notes, "scout", "edit_record", id="hot-bed", old="Dung", new="Straw")).outcome == "ok"
    assert "Straw." in notes.notes.get("hot-bed").body
    twice = await run(notes, "scout", "edit_record", id="garden", old="a", new="b")
    assert twice.outcome == "error" and "times" in twice.content
    assert (await run(notes, "scout", "delete_record", id="hot-bed")).records == ("hot-bed",)
    assert (await run(notes, "scout", "get_record", id="hot-bed")).outcome == "error"


async def test_a_note_that_changed_is_not_overwritten(notes: RealNotes) -> None:
    """A stale revision is an error that says to read again; a change between look and write is a conflict."""
    notes.agent("scout", "records.read", "records.update")
    stale = notes.notes.get("garden").revision
    notes.write("garden.md", "# Garden\n\nBy hand.\n")
    result = await run(notes, "scout", "update_record", id="garden", body="Mine.", revision=stale)
    assert result.outcome == "error" and "read it again" in result.content

    async def meddling(target: str, method: str, /, **params: Any) -> Any:
        if method == "update":
            notes.write("garden.md", "---\nclass: deliberation\n---\n# Garden\n\nBy another hand.\n")
        return await notes.ask(target, method, **params)

    result = await Monitor(meddling).run("scout", "update_record", {"id": "garden", "body": "Mine."})
    assert result.outcome == "error" and "Conflict" in result.content
    assert "By another hand." in notes.notes.get("garden").body


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("search_records", {}, "query"),
        ("search_records", {"query": "x", "limit": 0}, "limit"),
        ("search_records", {"qery": "x"}, "did you mean 'query'?"),
        ("search_records", {"query": "x", "class": "agnet"}, "class"),
        ("get_record", {"id": ""}, "id"),
        ("get_record", {"id": ["x"]}, "id"),
        ("update_record", {"id": "garden"}, "nothing to change"),
        ("create_record", {"title": "!!!", "body": "x"}, "give an id"),
        ("create_record", {"title": "x", "body": "x", "id": "../x"}, "id"),
    ],
)
async def test_bad_arguments_are_errors_to_learn_from(
    notes: RealNotes, tool: str, arguments: dict[str, Any], says: str
) -> None:
    """What does not fit comes back as an error that names the argument."""
    notes.agent("scout", "records.read", "records.create", "records.update")
    result = await run(notes, "scout", tool, **arguments)
    assert result.outcome == "error" and says in result.content


@pytest.mark.parametrize("junk", [None, 5, "x", [], [1], {"query": None}, {1: 2}])
async def test_any_input_is_an_answer(notes: RealNotes, junk: Any) -> None:
    """Whatever a model sends as input gives a result, never an exception."""
    assert (await Monitor(notes.ask).run("index", "search_records", junk)).outcome in ("ok", "error")


async def test_null_means_not_given(notes: RealNotes) -> None:
    """Models that write null for every optional argument are understood."""
    result = await run(notes, "index", "search_records", query="roses", tags=None, limit=None, **{"class": None})
    assert result.outcome == "ok" and result.records


async def test_an_absent_index_is_an_error_and_an_absent_store_after_the_gate_too(notes: RealNotes) -> None:
    """What does not answer is named; a write whose outcome is unknown says so."""
    notes.agent("scout", "records.read", "records.create")
    notes.down.add("index")
    result = await run(notes, "scout", "search_records", query="x")
    assert result.outcome == "error" and "index does not answer" in result.content

    async def failing(target: str, method: str, /, **params: Any) -> Any:
        if method == "create":
            notes.down.add("store")
        return await notes.ask(target, method, **params)

    result = await Monitor(failing).run("scout", "create_record", {"title": "x", "body": "y"})
    assert result.outcome == "error" and "unknown" in result.content


async def test_large_results_are_cut(notes: RealNotes) -> None:
    """A huge note comes as head and tail with what is missing between; the rest is read by range."""
    notes.write("big.md", "".join(f"line {n} ü\n" for n in range(30_000)))
    result = await run(notes, "index", "get_record_body", id="big")
    assert len(result.content.encode()) < 121_000 and "left out here; read the rest by section" in result.content
    assert result.content.startswith("line 0 ") and result.content.endswith("line 29999 ü\n")
    part = await run(notes, "index", "get_record_body", id="big", lines="15000-15001")
    assert part.content == "line 14999 ü\nline 15000 ü\n"
