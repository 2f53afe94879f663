"""The law of writing: nothing that passes gives anybody more than the writer holds, and nothing gives it to itself."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from egghead.agents.record import agent_id, authority_keys, authority_of
from egghead.capabilities.grants import Grant
from egghead.capabilities.match import Authority, allows, exceeding
from egghead.tools.targets import class_of, merged, needed
from tests.capabilities.test_grants import grants

IDS = st.sampled_from(["agents/scout", "scout", "agents/peer", "note", "skills/x"])
CLASSES = st.sampled_from(["durable", "agent", "inbox", "skill"])
LINES = st.lists(grants().map(str) | st.sampled_from(["records.read", "agent.grant", "nonsense"]), max_size=2)
METAS = st.fixed_dictionaries(
    {},
    optional={
        "capabilities": LINES | st.none(),
        "access": st.sampled_from(["r", "rw", "x", None]),
        "sandbox": st.sampled_from(["/p", None]),
        "colour": st.just("red"),
    },
)
WRITER = st.lists(
    grants()
    | st.sampled_from([Grant(f"agent.{v}") for v in ("create", "update", "delete", "grant")])
    | st.just(Grant("records.update")),
    max_size=6,
)


@st.composite
def records(draw: st.DrawFn, id: str | None = None) -> dict[str, Any]:
    found = id if id is not None else draw(IDS)
    meta = {key: value for key, value in draw(METAS).items() if value is not None}
    return {"id": found, "path": f"{found}.md", "class": draw(CLASSES), "tags": [], "meta": meta, "body": ""}


@given(st.data(), WRITER, st.none() | records(), CLASSES | st.none(), METAS)
@settings(max_examples=400, deadline=None)
def test_no_write_makes_more_than_the_writer_is(
    data: st.DataObject, held: list[Grant], before: dict[str, Any] | None, cls: str | None, meta: dict[str, Any]
) -> None:
    """For any writer, any record and any change: what passes needs a grant for the class before and after, leaves the
    writer's own authority as it is, and gives no other agent more than the writer has, unless it had it before."""
    writer = Authority("scout", tuple(held))
    if before is None:
        after = data.draw(records())
    else:
        after = merged(before, {"meta": meta, **({"class": cls} if cls is not None else {})})
    requests, denial = needed(writer, before, after)
    assert requests
    if denial is not None or not all(allows(writer, request) for request in requests):
        return
    was_agent = before is not None and class_of(before) == "agent"
    is_agent = class_of(after) == "agent"
    verbs = {request.verb.partition(".")[0] for request in requests}
    assert ("agent" in verbs) == (was_agent or is_agent)
    if before is not None and was_agent and is_agent and authority_keys(before) == authority_keys(after):
        return
    if was_agent or is_agent:
        assert agent_id(after["id"]) != "scout"
    if is_agent:
        assert exceeding(authority_of(after), writer) == ()
        if authority_keys(after):
            assert any(request.verb == "agent.grant" for request in requests)


@given(WRITER, records())
@settings(max_examples=100, deadline=None)
def test_deleting(held: list[Grant], before: dict[str, Any]) -> None:
    """Deleting needs one verb, by the class of what is deleted; one's own record is never deleted."""
    requests, denial = needed(Authority("scout", tuple(held)), before, None)
    agent = class_of(before) == "agent"
    assert [request.verb for request in requests] == ["agent.delete" if agent else "records.delete"]
    assert (denial is not None) == (agent and agent_id(before["id"]) == "scout")
