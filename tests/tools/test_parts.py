"""The pure parts of the tools: schemas, cutting, sections."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egghead.capabilities.catalog import VERBS
from egghead.tools.notes import TOOLS
from egghead.tools.results import capped
from egghead.tools.sections import NoSuchPart, lines, section

NAMES = [
    "search_records",
    "get_record",
    "get_record_body",
    "list_records",
    "find_links",
    "find_backlinks",
    "recent_records",
    "create_record",
    "update_record",
    "edit_record",
    "delete_record",
]


def test_the_tools_of_the_specification() -> None:
    """All record tools are there, each with verbs of the catalog."""
    assert list(TOOLS) == NAMES
    assert all(verb in VERBS for tool in TOOLS.values() for verb in tool.verbs)
    assert [name for name, tool in TOOLS.items() if tool.read_only] == NAMES[:7]


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_plain(name: str) -> None:
    """A schema is one closed object, without references, null types or Python's spelling of `class`."""
    schema = TOOLS[name].schema
    assert schema["type"] == "object" and schema["additionalProperties"] is False
    text = str(schema)
    assert "$ref" not in text and "'null'" not in text and "anyOf" not in text and "_'" not in text
    assert all("description" in part for part in schema["properties"].values())


@given(st.text(max_size=400), st.integers(8, 200))
@settings(max_examples=200, deadline=None)
def test_cutting(text: str, limit: int) -> None:
    """A short text is itself; a long one keeps its head and tail, whole characters, and says what is missing."""
    cut = capped(text, limit)
    if len(text.encode()) <= limit:
        assert cut == text
    else:
        head, _, rest = cut.partition("\n[… ")
        tail = rest.partition(" …]\n")[2]
        assert text.startswith(head) and text.endswith(tail)
        assert len(head.encode()) <= limit // 4 and len((head + tail).encode()) <= limit


@given(st.text("ab\n#", max_size=60), st.text(max_size=8))
@settings(max_examples=200, deadline=None)
def test_parts_are_parts(body: str, wanted: str) -> None:
    """A range of lines is in the body or an error; so is a section."""
    try:
        assert lines(body, wanted) in body
    except NoSuchPart as error:
        assert str(error)
    with pytest.raises(NoSuchPart):
        section(body, [], wanted)


def test_sections_nest() -> None:
    """A section holds its subsections and ends at its own level."""
    body = "# A\n\n## B\nb\n### C\nc\n## D\nd\n"
    positions = [(1, "A", 0), (2, "B", 5), (3, "C", 12), (2, "D", 20)]
    outline = [{"level": level, "text": text, "position": at} for level, text, at in positions]
    assert section(body, outline, "B") == "## B\nb\n### C\nc\n"
    assert section(body, outline, "### c") == "### C\nc\n"
    assert section(body, outline, "A") == body
