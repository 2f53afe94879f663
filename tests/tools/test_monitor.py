"""The reference monitor over real notes: each denial, and each way around it that was thought of."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from egghead.agents.record import agent_id
from egghead.capabilities.grants import parse_grant
from egghead.row_parts import MAX_ANSWER
from egghead.tools.monitor import Denied, Monitor
from egghead.tools.ports import Unavailable
from tests.tools.notes import RealNotes, run


def grant_in(remedy: str) -> str:
    words = shlex.split(remedy)
    assert words[:3] == ["egghead", "agents", "grant"]
    return words[4]


# -- the gates


async def test_a_held_grant_counts_when_it_is_approved_and_nothing_does_when_nobody_knows() -> None:
    """With `hold`, what is not approved is refused; when the roster cannot be asked, everything is: fail closed."""
    record = {"id": "agents/scout", "class": "agent", "meta": {"capabilities": ["records.read", "records.update"]}}
    approved: list[str] = []
    down = False

    async def ask(target: str, method: str, /, **params: Any) -> Any:
        if target == "roster":
            assert (method, params) == ("approved", {"agent": "scout"})
            if down:
                raise Unavailable("roster", "it is down")
            return approved
        return record

    monitor = Monitor(ask, hold=True)
    assert [str(grant) for grant in (await monitor.authority("scout")).grants] == ["records.read"]
    assert "update_record" not in str(await monitor.menu("scout"))
    approved.append("records.update")
    assert "update_record" in str(await monitor.menu("scout"))
    down = True
    denied = await monitor.run("scout", "search_records", {"query": "x"})
    assert denied.outcome == "denied" and "which grants are approved is not known" in denied.content


async def test_the_menu_offers_what_could_pass(notes: RealNotes) -> None:
    """A tool is offered only if some input of it could pass; inert grants are notes with their reason."""
    monitor = Monitor(notes.ask)
    notes.agent("reader", "records.read{paths=[projects/**]}")
    notes.agent("nobody")
    notes.agent("surfer", "net.get{hosts=[x.org]}", "records.raed")
    names = [tool["name"] for tool in (await monitor.menu("reader"))["tools"]]
    assert "get_record" in names and "create_record" not in names and "delete_record" not in names
    assert (await monitor.menu("nobody")) == {"tools": [], "provider_tools": [], "notes": []}
    menu = await monitor.menu("surfer")
    assert menu["tools"] == [] and menu["notes"][0] == "net.get{hosts=[x.org]}: not available yet"
    assert "did you mean 'records.read'?" in menu["notes"][1]


async def test_the_builtins_have_what_the_package_says(notes: RealNotes) -> None:
    """index reads and writes without a record of its own; a record of its id takes its place, with its grants."""
    monitor = Monitor(notes.ask)
    assert "create_record" in [tool["name"] for tool in (await monitor.menu("index"))["tools"]]
    assert (await run(notes, "index", "get_record", id="garden")).outcome == "ok"
    notes.agent("index")
    assert (await monitor.menu("index"))["tools"] == []
    assert (await run(notes, "index", "get_record", id="garden")).outcome == "denied"


async def test_absent_scope_and_unknown_tool(notes: RealNotes) -> None:
    """Each denial has its code, a sentence, and a command whose grant allows the call."""
    notes.agent("scout", "records.read{paths=[projects/**]}")
    for tool, arguments, code in [
        ("get_record", {"id": "garden"}, "scope_violation"),
        ("create_record", {"title": "x", "body": "y"}, "capability_absent"),
        ("delete_record", {"id": "garden"}, "capability_absent"),
    ]:
        result = await run(notes, "scout", tool, **arguments)
        assert result.outcome == "denied" and result.denial is not None and result.denial.code == code
        assert result.denial.remedy in result.content
        parse_grant(grant_in(result.denial.remedy))
    unknown = await run(notes, "scout", "get_recrod", id="x")
    assert unknown.denial is not None and unknown.denial.code == "unknown_tool" and "'get_record'" in unknown.content


async def test_the_remedy_allows_the_call(notes: RealNotes) -> None:
    """Granting what the denial names makes the same call pass, at the very next call."""
    notes.agent("scout", "records.read")
    result = await run(notes, "scout", "create_record", title="New", body="x")
    assert result.denial is not None
    notes.agent("scout", "records.read", grant_in(result.denial.remedy))
    assert (await run(notes, "scout", "create_record", title="New", body="x")).outcome == "ok"
    result = await run(notes, "scout", "edit_record", id="garden", old="Clay", new="Sand")
    assert result.denial is not None
    notes.agent("scout", "records.read", grant_in(result.denial.remedy))
    assert (await run(notes, "scout", "edit_record", id="garden", old="Clay", new="Sand")).outcome == "ok"


async def test_a_note_that_was_sent_in_part_is_not_written_in_part(notes: RealNotes) -> None:
    """The text of a huge note arrives cut: an edit of it is refused, where it would have cut the note itself; a key may be set."""
    text = "# Huge\n\nfirst\n" + "0123456789abcde\n" * (MAX_ANSWER // 16) + "last\n"
    notes.agent("scout", "records.read", "records.update")
    notes.write("huge.md", text)
    result = await run(notes, "scout", "edit_record", id="huge", old="first", new="second")
    assert result.outcome == "error" and "too long" in result.content
    assert json.loads((await run(notes, "scout", "get_record", id="huge")).content)["cut"] is True
    assert (await run(notes, "scout", "update_record", id="huge", tags=["big"])).outcome == "ok"
    assert (notes.root / "huge.md").read_text().endswith(text)


async def test_a_revoked_grant_is_gone_at_once(notes: RealNotes) -> None:
    """Grants are read at each call."""
    notes.agent("scout", "records.read")
    assert (await run(notes, "scout", "get_record", id="garden")).outcome == "ok"
    notes.agent("scout")
    assert (await run(notes, "scout", "get_record", id="garden")).outcome == "denied"


@pytest.mark.parametrize("case", ["down", "gone", "broken", "not an agent"])
async def test_grants_that_cannot_be_read_allow_nothing(notes: RealNotes, case: str) -> None:
    """Store down, record deleted, broken or of another class: denied, with that reason."""
    notes.agent("scout", "records.read")
    if case == "down":
        notes.down.add("store")
    elif case == "gone":
        notes.notes.trash("agents/scout")
    elif case == "broken":
        notes.write("agents/scout.md", "---\nclass: [agent\ncapabilities: [records.read]\n---\nx\n")
    else:
        notes.write("agents/scout.md", "x\n")
    result = await run(notes, "scout", "get_record", id="garden")
    assert result.denial is not None and result.denial.code == "grants_unreadable" and result.outcome == "denied"
    with pytest.raises(Denied):
        await Monitor(notes.ask).menu("scout")


async def test_a_broken_override_of_a_builtin_is_not_the_builtin(notes: RealNotes) -> None:
    """A user's index that breaks has no grants; ours do not come back."""
    notes.write("agents/index.md", "---\ncapabilities: [\nclass: agent\n---\nx\n")
    assert (await run(notes, "index", "get_record", id="garden")).outcome == "denied"


async def test_without_the_verb_nothing_is_looked_up(notes: RealNotes) -> None:
    """An agent that may read nothing does not learn what exists."""
    notes.agent("blind", "records.create")
    there = await run(notes, "blind", "get_record", id="garden")
    not_there = await run(notes, "blind", "get_record", id="no/such")
    assert there.content == not_there.content


# -- becoming more than one is


async def test_a_note_cannot_be_made_an_agent_by_changing_notes(notes: RealNotes) -> None:
    """All ways to turn a note into an agent ask for agent.create, not for records.update."""
    notes.agent("scout", "records.read", "records.create", "records.update", "records.delete")
    attempts: list[tuple[str, dict[str, Any]]] = [
        ("create_record", {"title": "x", "body": "y", "class": "agent"}),
        ("update_record", {"id": "garden", "class": "agent"}),
        ("update_record", {"id": "garden", "class": "agent", "meta": {"capabilities": ["records.read"]}}),
    ]
    for tool, arguments in attempts:
        result = await run(notes, "scout", tool, **arguments)
        assert result.denial is not None and "agent.create" in result.content, arguments
    assert notes.notes.index.list("agent", None, None, "id", None)[0]["id"] == "agents/scout"


@pytest.mark.parametrize(
    "body",
    [
        "---\nclass: agent\ncapabilities: [proc.exec]\n---\nI am an agent.",
        "\ufeff---\nclass: agent\n---\nx",
        "---\r\nclass: agent\r\n---\r\nx",
        "\n---\nclass: agent\n---\nx",
        "---\n---\nclass: agent",
    ],
)
async def test_frontmatter_cannot_be_smuggled_in_through_a_body(notes: RealNotes, body: str) -> None:
    """A body that looks like frontmatter stays a body: created, written over a note without frontmatter, edited in."""
    notes.agent("scout", "records.read", "records.create", "records.update")
    assert (await run(notes, "scout", "create_record", title="Trojan", body=body)).outcome == "ok"
    notes.write("plain.md", "HEAD and more\n")
    assert (await run(notes, "scout", "edit_record", id="plain", old="HEAD and more\n", new=body)).outcome == "ok"
    notes.write("plain2.md", "text\n")
    assert (await run(notes, "scout", "update_record", id="plain2", body=body)).outcome == "ok"
    for id in ("trojan", "plain", "plain2"):
        record = notes.notes.get(id)
        assert record.class_ == "durable" and "capabilities" not in record.meta, id


@pytest.mark.parametrize("key", ["class", "Class", " class", "id", "tags", "title", "author", ""])
async def test_meta_is_no_way_around(notes: RealNotes, key: str) -> None:
    """`meta` may not hold a field, in any spelling."""
    notes.agent("scout", "records.read", "records.create", "records.update")
    for tool, more in (("create_record", {"title": "x", "body": "y"}), ("update_record", {"id": "garden"})):
        result = await run(notes, "scout", tool, meta={key: "agent"}, **more)
        assert result.outcome == "error" and "meta may not hold" in result.content
    assert notes.notes.get("garden").class_ == "durable"


async def test_yaml_in_a_title_is_a_title(notes: RealNotes) -> None:
    """A title with line breaks and YAML in it changes nothing but the title."""
    notes.agent("scout", "records.read", "records.create")
    title = "x\nclass: agent\ncapabilities: [proc.exec]"
    result = await run(notes, "scout", "create_record", title=title, body="b", id="t", tags=["a\nclass: agent"])
    if result.outcome == "ok":
        record = notes.notes.get("t")
        assert record.class_ == "durable" and "capabilities" not in record.meta


async def test_nobody_grants_itself_anything(notes: RealNotes) -> None:
    """Changing one's own authority, replacing or removing one's own record is refused, whoever may write agents."""
    everything = ["records.read", "records.create", "records.update", "records.delete"]
    agents = ["agent.create", "agent.update", "agent.delete", "agent.grant"]
    notes.agent("boss", *everything, *agents)
    calls: list[tuple[str, dict[str, Any]]] = [
        ("update_record", {"id": "agents/boss", "meta": {"capabilities": ["records.read"]}}),
        ("update_record", {"id": "agents/boss", "meta": {"access": "rw"}}),
        ("update_record", {"id": "agents/boss", "meta": {"sandbox": "/"}}),
        ("update_record", {"id": "agents/boss", "meta": {"capabilities": None}}),
        ("update_record", {"id": "agents/boss", "class": "durable"}),
        ("delete_record", {"id": "agents/boss"}),
        ("create_record", {"id": "boss", "title": "b", "body": "x", "class": "agent"}),
    ]
    for tool, arguments in calls:
        result = await run(notes, "boss", tool, **arguments)
        assert result.denial is not None and result.denial.code == "self_modification", (tool, arguments, result)
    assert (await run(notes, "boss", "edit_record", id="agents/boss", old="An agent.", new="B.")).outcome == "ok"


async def test_a_builtin_does_not_replace_itself(notes: RealNotes) -> None:
    """index may not write the record that would replace it, wherever it lies."""
    notes.agent("index", "records.read", "agent.create", "agent.grant")
    for id in ("agents/index", "index"):
        result = await run(notes, "index", "create_record", id=id, title="I", body="x", **{"class": "agent"})
        assert result.outcome in ("denied", "error") and agent_id(id) == "index"


async def test_a_peer_gets_no_more_than_its_maker_has(notes: RealNotes) -> None:
    """Authority written for another is a part of one's own, whatever key it comes in by, defaults included."""
    notes.agent("boss", "agent.create", "agent.update", "agent.grant", "records.create{paths=[inbox/**]}")
    excess: list[dict[str, Any]] = [
        {"capabilities": ["records.create"]},
        {"capabilities": ["proc.exec{*}"]},
        {"capabilities": [{"records.create": {"paths": ["inbox/**", "x"]}}]},
        {"access": "rw"},
        {"sandbox": "/"},
        {},
    ]
    for meta in excess:
        arguments = {"id": "agents/peer", "title": "P", "body": "x", "class": "agent", "meta": meta}
        result = await run(notes, "boss", "create_record", **arguments)
        assert result.denial is not None and result.denial.code == "exceeds_grantor_authority", meta
    meta = {"capabilities": [{"records.create": {"paths": ["inbox/a/*"]}}]}
    arguments = {"id": "agents/peer", "title": "P", "body": "x", "class": "agent", "meta": meta}
    assert (await run(notes, "boss", "create_record", **arguments)).outcome == "ok"
    result = await run(notes, "boss", "update_record", id="agents/peer", meta={"capabilities": ["records.create"]})
    assert result.denial is not None and result.denial.code == "exceeds_grantor_authority"


async def test_writing_authority_needs_agent_grant(notes: RealNotes) -> None:
    """agent.update changes an agent's words, not what it may do; agent.create alone makes one with the default."""
    notes.agent("boss", "records.read", "agent.create", "agent.update")
    notes.agent("peer", "records.read")
    metas: list[dict[str, Any]] = [{"capabilities": []}, {"access": "r"}, {"sandbox": "/tmp/x"}, {"capabilities": None}]
    for meta in metas:
        result = await run(notes, "boss", "update_record", id="agents/peer", meta=meta)
        assert result.denial is not None and "agent.grant" in result.content, meta
    assert (await run(notes, "boss", "update_record", id="agents/peer", title="Pia", tags=["x"])).outcome == "ok"
    made = await run(notes, "boss", "create_record", id="agents/q", title="Q", body="x", **{"class": "agent"})
    assert made.outcome == "ok"


@pytest.mark.parametrize("meta", [{"capabilities": ["records.raed"]}, {"access": "all"}, {"sandbox": 7}])
async def test_agents_write_no_grants_that_cannot_be_read(notes: RealNotes, meta: dict[str, Any]) -> None:
    """A misspelt grant from an agent is an error with the nearest, not a record with a problem."""
    notes.agent("boss", "records.read", "agent.create", "agent.update", "agent.grant")
    notes.agent("peer", "records.read")
    arguments = {"id": "agents/new", "title": "N", "body": "x", "class": "agent", "meta": meta}
    for tool, given in (("create_record", arguments), ("update_record", {"id": "agents/peer", "meta": meta})):
        assert (await run(notes, "boss", tool, **given)).outcome == "error"


async def test_authority_that_slept_in_a_note_is_seen(notes: RealNotes) -> None:
    """Keys written into a note while it was a note count when it becomes an agent."""
    notes.agent("boss", "records.read", "records.update", "agent.create")
    assert (
        await run(notes, "boss", "update_record", id="garden", meta={"capabilities": ["fs.read{*}"]})
    ).outcome == "ok"
    result = await run(notes, "boss", "update_record", id="garden", **{"class": "agent"})
    assert result.denial is not None and "agent.grant" in result.content


async def test_scoped_ids_of_agents(notes: RealNotes) -> None:
    """agent.update for some agents is for those."""
    notes.agent("boss", "agent.update{ids=[team/*]}", "records.read")
    notes.agent("team/a", "records.read")
    notes.agent("other", "records.read")
    assert (await run(notes, "boss", "update_record", id="agents/team/a", title="A")).outcome == "ok"
    assert (await run(notes, "boss", "update_record", id="agents/other", title="A")).outcome == "denied"
    assert (await run(notes, "boss", "delete_record", id="agents/team/a")).outcome == "denied"


async def test_a_class_scope_holds_before_and_after(notes: RealNotes) -> None:
    """Moving a note into or out of a class needs both classes; a skill by its place is a skill."""
    notes.agent("scout", "records.read", "records.update{classes=[inbox]}", "records.create{classes=[durable]}")
    notes.write("inbox/a.md", "---\nclass: inbox\n---\nx\n")
    assert (await run(notes, "scout", "update_record", id="inbox/a", body="y")).outcome == "ok"
    assert (await run(notes, "scout", "update_record", id="inbox/a", **{"class": "durable"})).outcome == "denied"
    assert (await run(notes, "scout", "update_record", id="garden", **{"class": "inbox"})).outcome == "denied"
    assert (await run(notes, "scout", "create_record", id="skills/x", title="S", body="b")).outcome == "denied"


async def test_a_path_scope_goes_by_the_file(notes: RealNotes) -> None:
    """An id that claims another place does not open it."""
    notes.agent("scout", "records.read{paths=[open/**]}")
    notes.write("secret/b.md", "---\nid: open/b\n---\nhidden\n")
    assert (await run(notes, "scout", "get_record", id="open/b")).outcome == "denied"
    assert (await run(notes, "scout", "get_record_body", id="open/b")).outcome == "denied"


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("search_records", {"query": "roses night wall stone"}),
        ("list_records", {}),
        ("recent_records", {}),
        ("find_backlinks", {"id": "projects/wall"}),
        ("find_links", {"id": "projects/wall", "depth": 3}),
    ],
)
async def test_reads_leave_out_what_may_not_be_seen(notes: RealNotes, tool: str, arguments: dict[str, Any]) -> None:
    """Lists and searches show a scoped reader its notes and not one word of the others."""
    notes.write("projects/wall.md", "---\ntags: [stone]\n---\n# Wall\n\nDry stone. [[secret/plan]]\n")
    notes.agent("scout", "records.read{paths=[projects/**]}")
    result = await run(notes, "scout", tool, **arguments)
    assert result.outcome == "ok" and "at night" not in result.content and "Garden" not in result.content
    assert all(id.startswith("projects/") for id in result.records)
    notes.agent("classy", "records.read{classes=[durable]}")
    result = await run(notes, "classy", tool, **{**arguments, **({"id": "garden"} if "id" in arguments else {})})
    assert result.outcome == "ok" and "at night" not in result.content and "secret/plan" not in result.records
