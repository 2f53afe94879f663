"""JSON of a provider: whatever it sends, the quick way to read it finds what the plain one does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egghead.llm.wire import as_json

PARTS = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"a"',
    '"\\ud83d\\ude00"',
    '"\\udc00"',
    "1",
    "-0",
    "1.5e3",
    "1e400",
    "9" * 30,
    "NaN",
    "null",
    " ",
    "\x00",
    "\ufeff",
    "é",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)  # fmt: skip


def plain(text: str) -> Any:
    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        return json.loads(text, parse_constant=refuse)
    except ValueError:
        return None


@given(st.lists(st.sampled_from(PARTS), max_size=12).map("".join) | VALUES.map(json.dumps))
def test_the_quick_way_and_the_plain_one_agree(text: str) -> None:
    """Valid, nearly valid, and what only one of two readers takes: the value is the same, types and all."""
    said = json.dumps(plain(text), ensure_ascii=False)
    # Half a character, but not the letters of its escape, becomes a whole one.
    expected = json.dumps(json.loads(said.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")))
    assert json.dumps(as_json(text)) == expected
    assert json.dumps(as_json(text.encode("utf-8", "surrogatepass"))) == expected or text.startswith("\ufeff")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, "9" * 5000, ""])
def test_what_no_reader_takes_is_none_or_whole(text: str) -> None:
    """Depth without end, numbers without end, halves of characters: never an exception."""
    assert as_json(text) in (None, "\ufffd")
