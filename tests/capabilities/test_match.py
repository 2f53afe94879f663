"""Matching, attenuation and denials: the laws, and the remedy that really is one."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egghead.capabilities.catalog import VERBS
from egghead.capabilities.denials import deny, deny_excess, deny_self, deny_unknown_tool, narrowest
from egghead.capabilities.grants import Grant, grant, parse_grant
from egghead.capabilities.match import Authority, Request, allows, could, covers, exceeding, inert_reason
from tests.capabilities.test_grants import grants

ALL = frozenset({"records", "agent", "fs", "net", "proc"})


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """A concrete request of any verb."""
    verb = draw(st.sampled_from(sorted(VERBS)))
    family = verb.partition(".")[0]
    path = draw(st.text("abx*", min_size=1, max_size=4))
    if family == "records":
        return Request.of(verb, classes=draw(st.sampled_from(["durable", "agent"])), paths=path, tags=["t"])
    if family == "agent":
        return Request.of(verb, ids=path)
    if family == "net":
        return Request.of(
            verb, hosts=[draw(st.sampled_from(["x.org", "a.x.org"])), draw(st.sampled_from(["443", "99"]))]
        )
    if family == "fs":
        return Request.of(verb, paths="/r/" + path)
    return Request.of(verb, cwd="/r", argv=["git", "log"])


@given(st.lists(grants(), max_size=3), grants(), requests())
@settings(max_examples=200, deadline=None)
def test_more_grants_never_allow_less(held: list[Grant], more: Grant, request: Request) -> None:
    """Adding a grant takes nothing away: allow-lists only."""
    if allows(Authority("a", tuple(held)), request):
        assert allows(Authority("a", (*held, more)), request)


@given(st.lists(grants(), max_size=3), grants(), requests())
@settings(max_examples=400, deadline=None)
def test_attenuation_is_sound(held: list[Grant], given_: Grant, request: Request) -> None:
    """What is not found to exceed the grantor allows nothing that the grantor is not allowed."""
    grantor = Authority("boss", tuple(held))
    if not exceeding(Authority("peer", (given_,)), grantor) and allows(Authority("peer", (given_,)), request):
        assert allows(grantor, request)


@given(grants())
@settings(max_examples=150, deadline=None)
def test_everything_covers_itself(one: Grant) -> None:
    """A grant is a part of itself."""
    assert covers((one,), one)


@given(st.lists(grants(), max_size=2), requests())
@settings(max_examples=200, deadline=None)
def test_the_remedy_is_one(held: list[Grant], request: Request) -> None:
    """Adding the grant that a denial names allows exactly what was asked; its command can be pasted in a shell."""
    authority = Authority("scout", tuple(held))
    denial = deny(authority, request)
    if denial is None:
        assert allows(authority, request)
        return
    assert denial.code == ("scope_violation" if authority.of(request.verb) else "capability_absent")
    words = shlex.split(denial.remedy)
    assert words[:4] == ["egghead", "agents", "grant", "scout"]
    assert allows(Authority("scout", (*held, parse_grant(words[4]))), request)
    assert parse_grant(words[4]) == narrowest(request)


@given(st.lists(grants(), max_size=3), requests())
@settings(max_examples=200, deadline=None)
def test_the_menu_never_hides_what_would_pass(held: list[Grant], request: Request) -> None:
    """If a request passes, its verb could pass: the first gate is never narrower than the second."""
    authority = Authority("a", tuple(held))
    if allows(authority, request):
        assert could(authority, request.verb, ALL)


def test_scopes_of_two_grants_do_not_mix() -> None:
    """Twice the same verb is a union of two scopes, not one scope with the parts of both."""
    authority = Authority("a", (grant("records.read", classes=["inbox"]), grant("records.read", paths=["open/**"])))
    assert allows(authority, Request.of("records.read", classes="inbox", paths="x", tags=[]))
    assert allows(authority, Request.of("records.read", classes="durable", paths="open/x", tags=[]))
    assert not allows(authority, Request.of("records.read", classes="durable", paths="x", tags=[]))


def test_a_request_without_the_fact_does_not_pass_a_scope() -> None:
    """What is not known of a target is not assumed to be fine."""
    authority = Authority("a", (grant("records.read", tags=["public"]),))
    assert not allows(authority, Request.of("records.read", classes="durable", paths="x"))


@pytest.mark.parametrize(
    ("line", "sandbox", "reason"),
    [
        ("records.read", None, None),
        ("records.read{classes=[]}", None, "classes is empty"),
        ("fs.read", None, "bare means nothing"),
        ("net.get{*}", None, "not available yet"),
        ("proc.exec{in=[/p]}", None, "not available yet"),
    ],
)
def test_inert_grants_say_why(line: str, sandbox: str | None, reason: str | None) -> None:
    """A grant that can do nothing here and now has a reason, and only such a grant."""
    found = inert_reason(parse_grant(line), sandbox)
    assert found is None if reason is None else found is not None and reason in found


def test_a_file_grant_without_a_folder_is_inert_where_files_are_available() -> None:
    """`in` comes from the grant or from the sandbox; without both nothing is allowed."""
    line = parse_grant("fs.read{paths=[*.txt]}")
    assert inert_reason(line, None, ALL) is not None and inert_reason(line, "/s", ALL) is None
    assert allows(Authority("a", (line,), "/s"), Request.of("fs.read", paths="/s/a.txt"))
    assert not allows(Authority("a", (line,), "/s"), Request.of("fs.read", paths="/t/a.txt"))


def test_the_sandbox_narrows_and_never_widens() -> None:
    """A grant's own `in` counts only inside the agent's sandbox."""
    held = Authority("a", (grant("fs.read", in_=["/s/deep", "/etc"]),), "/s")
    assert allows(held, Request.of("fs.read", paths="/s/deep/x"))
    assert not allows(held, Request.of("fs.read", paths="/etc/passwd"))
    assert not allows(held, Request.of("fs.read", paths="/s/x"))


def test_attenuation_takes_unions_apart() -> None:
    """A grant of two values is covered by two grants of one value each."""
    own = (grant("records.read", classes=["inbox"]), grant("records.read", classes=["durable"], paths=["p/**"]))
    assert covers(own, grant("records.read", classes=["inbox"], paths=["x"]))
    assert covers(own, grant("records.read", classes=["inbox", "durable"], paths=["p/x"]))
    assert not covers(own, grant("records.read", classes=["inbox", "durable"]))
    assert not covers(own, grant("records.read"))


def test_attenuation_sees_the_sandbox() -> None:
    """An explicit `"*"` in a sandbox is less than one without, and a narrower sandbox is less than a wider one."""
    free = Authority("boss", (Grant("fs.read", (), True),))
    boxed = Authority("peer", (Grant("fs.read", (), True),), "/s")
    assert exceeding(boxed, free) == ()
    assert exceeding(free, boxed) != ()
    assert exceeding(Authority("peer", boxed.grants, "/s/deep"), boxed) == ()


def test_denials_that_no_grant_cures() -> None:
    """Self modification sends to a person, excess names what is missing, an unknown tool names the nearest."""
    assert deny_self("scout", "change its own capabilities").remedy == "egghead agents edit scout"
    denial = deny_excess(Authority("boss"), "peer", [grant("records.read", paths=["a b"])])
    assert denial.code == "exceeds_grantor_authority"
    assert shlex.split(denial.remedy) == ["egghead", "agents", "grant", "peer", "records.read{paths=[a b]}"]
    assert "'get_record'" in deny_unknown_tool("scout", "get_recrod", ["get_record", "list_records"]).text
