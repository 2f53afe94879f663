"""A line of a note ends with LF, CRLF or CR, wherever lines are counted, shown or compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egghead.tools.sections import lines as lines_of_tool
from records.errors import Conflict
from records.lines import LINE, lines, normal
from records.markdown import parse_markdown
from records.snippets import excerpt
from records.store import Store
from records.text import Wanted

ODD = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"  # what `str.splitlines` takes for line ends too


@given(st.text(st.sampled_from("a \r\n" + ODD), max_size=30))
def test_lines_are_all_of_a_text(text: str) -> None:
    """Joined again they are the text, with and without their endings, and none has an ending within."""
    assert "".join(LINE.findall(text)) == text
    assert "\n".join(lines(text)) in (normal(text), normal(text).removesuffix("\n"))
    assert [normal(line).rstrip("\n") for line in LINE.findall(text)] == lines(text)


@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_what_is_no_line_end_begins_no_line(short_dir: Path, odd: str) -> None:
    """In headings, in the differences that are shown, in the parts that an agent asks for and in what a search shows."""
    body = f"# Roof{odd}# top\n\n> one{odd}tiles are old\nlast\n"
    record = parse_markdown(body.encode())
    assert [heading.level for heading in record.outline] == [1]
    assert record.title.split() == ["Roof", "#", "top"]
    assert lines_of_tool(body, "3") == f"> one{odd}tiles are old\n"
    shown, marks = excerpt(body, Wanted({"tile": 1.0}))
    assert [shown[low:high] for low, high in marks] == ["tiles"]
    assert shown.startswith("one") and "· tiles" not in shown
    store = Store(short_dir)
    store.prepare()
    old = store.create(id="n", body=body)
    store.update("n", {"body": body.replace("last", "end")})
    assert store.diff("n").count("\n+") == 2 and f" > one{odd}tiles are old\n-last\n+end" in store.diff("n")
    with pytest.raises(Conflict) as refused:
        store.update("n", {"body": "x"}, revision=old.revision)
    assert f" > one{odd}tiles are old\n-last\n+end" in str(refused.value.data["diff"])
