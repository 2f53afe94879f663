"""The grammar of grants: three spellings, one value, and errors that say what to write."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egghead.capabilities.catalog import CLASSES, VERBS
from egghead.capabilities.denials import CODES
from egghead.capabilities.grants import Grant, GrantError, expand, parse_grant, parse_grants
from egghead.tools.notes import TOOLS

VALUES = {
    "classes": st.sampled_from(CLASSES),
    "hosts": st.sampled_from(
        ["*", "example.org", "*.github.com", "api.x.com:8443", "x.org:*", "[::1]:80", "münchen.de"]
    ),
    "patterns": st.sampled_from(["git:*", "git status", "git log *", 'x "a b"']),
}
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)


@st.composite
def grants(draw: st.DrawFn) -> Grant:
    """Any grant that the grammar can say."""
    verb = VERBS[draw(st.sampled_from(sorted(VERBS)))]
    if draw(st.integers(0, 5)) == 0:
        return Grant(verb.name, (), True)
    keys = [key for key in verb.scopes if draw(st.booleans())]
    scope = tuple(
        (key, tuple(dict.fromkeys(draw(st.lists(VALUES.get(key, TEXT), min_size=0, max_size=3))))) for key in keys
    )
    return Grant(verb.name, scope)


@given(grants())
@settings(max_examples=150, deadline=None)
def test_canonical_form_reads_back(grant: Grant) -> None:
    """Every grant's canonical line parses to the same grant."""
    assert parse_grant(str(grant)) == grant


@given(grants())
@settings(max_examples=80, deadline=None)
def test_map_form_is_the_same_grant(grant: Grant) -> None:
    """The single-key map with the same scope is the same grant."""
    scope: object = "*" if grant.anything else {key: list(values) for key, values in grant.scope} or None
    assert parse_grant({grant.verb: scope}) == grant


@given(st.one_of(TEXT, st.none(), st.integers(), st.lists(TEXT), st.dictionaries(TEXT, TEXT, max_size=2)))
@settings(max_examples=150, deadline=None)
def test_parsing_is_total(value: object) -> None:
    """Anything a YAML file may hold gives a grant or a GrantError; lists of anything never raise."""
    try:
        assert isinstance(parse_grant(value), Grant)
    except GrantError as error:
        assert str(error)
    found, problems = parse_grants([value, value])
    assert isinstance(found, tuple) and isinstance(problems, list)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("records.read", "records.read"),
        (" net.get{hosts=[*.github.com,api.x.com]} ", "net.get{hosts=[*.github.com,api.x.com]}"),
        ("net.get{hosts=api.x.com}", "net.get{hosts=[api.x.com]}"),
        ({"records.read": {"paths": "projects/**"}}, "records.read{paths=[projects/**]}"),
        ({"fs.read": "*"}, "fs.read{*}"),
        ("fs.read{ * }", "fs.read{*}"),
        ("proc.exec{in=[~/p],patterns=[git:*,git log *]}", "proc.exec{in=[~/p],patterns=[git:*,git log *]}"),
        ('records.read{paths=["a,b"]}', 'records.read{paths=["a,b"]}'),
        ("records.read{tags=[x],classes=[durable]}", "records.read{classes=[durable],tags=[x]}"),
    ],
)
def test_spellings(written: object, canonical: str) -> None:
    """Each spelling has one canonical line, with the scope keys in the catalog's order."""
    assert str(parse_grant(written)) == canonical


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("record.read", "did you mean 'records.read'?"),
        ("records.raed", "did you mean 'records.read'?"),
        ("records.read{path=[a]}", "did you mean 'paths'?"),
        ({"records.read": {"classes": ["durabel"]}}, "did you mean 'durable'?"),
        ("net.get{hosts=[*.1.2.3.4]}", "list the address itself"),
        ("net.get{hosts=[a.org:99999]}", "no valid port"),
        ("records.read{paths=[a", "expected"),
        ("records.read{paths=[a]} x", "nothing after the closing brace"),
        ({"records.read": 5}, "not 5"),
        ({"a": 1, "b": 2}, "a map with one key"),
        (7, "not 7"),
    ],
)
def test_errors_say_what_to_write(written: object, says: str) -> None:
    """A grant that cannot be read names the part and the remedy."""
    with pytest.raises(GrantError, match=says.replace("?", r"\?").replace("*", r"\*")):
        parse_grant(written)


def test_a_bad_grant_grants_nothing_and_the_others_stand() -> None:
    """One unreadable entry is a problem; it takes nothing from the rest and gives nothing itself."""
    found, problems = parse_grants(["records.read", "records.wipe", {"records.create": None}])
    assert [str(grant) for grant in found] == ["records.read", "records.create"]
    assert len(problems) == 1 and "records.wipe" in problems[0]


def test_defaults_and_shorthands() -> None:
    """No key is records.read, an empty list is nothing, access and sandbox are written out."""
    assert [str(g) for g in expand()[0]] == ["records.read"]
    assert expand([])[0] == () and expand(None, written=True)[0] == ()
    assert [str(g) for g in expand(access="rw")[0]] == ["records.read", "records.create", "records.update"]
    assert [str(g) for g in expand([], sandbox="~/p")[0]] == [
        "fs.read{in=[~/p]}",
        "fs.write{in=[~/p]}",
        "proc.exec{in=[~/p]}",
    ]


@pytest.mark.parametrize("access", ["x", 5, ["r"], True])
def test_bad_access_grants_nothing(access: object) -> None:
    """A value of `access` that is none of r, w, rw is reported, and grants nothing, not even the default."""
    found, problems = expand(access=access)
    assert found == () and len(problems) == 1


def test_the_documentation_is_the_catalog() -> None:
    """The tables of docs/capabilities.md are the catalog, the denial codes and the tools."""
    text = (Path(__file__).parents[2] / "docs" / "capabilities.md").read_text()
    for verb in VERBS.values():
        scopes = ", ".join(f"`{scope}`" for scope in verb.scopes)
        assert f"| `{verb.name}` | {verb.risk} | {scopes} |" in text
    assert all(f"| `{code}` |" in text for code in CODES)
    for tool in TOOLS.values():
        arguments = ", ".join(f"`{name}`" for name in tool.schema["properties"])
        assert f"| `{tool.name}` | {arguments} |" in text
