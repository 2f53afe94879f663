"""What a small model is asked, and what is made of its answer."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egghead.llm.local.answer import Citations, Said
from egghead.llm.local.small import READING, Ask, Lookup, plan, schema_of
from egghead.llm.shapes import Block, Message, Request, Text, Tool, ToolResult, ToolUse, estimate_tokens

SEARCH = Tool("search_records", "Search.", {"type": "object", "properties": {"query": {"type": "string"}}}, True)
BODY = Tool("get_record_body", "Read.", {"type": "object", "properties": {"id": {"type": "string"}}}, True)
CREATE = Tool(
    "create_record",
    "Make a note. Long words follow.",
    {
        "type": "object",
        "properties": {
            "id": {"type": "string", "pattern": "x"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["id"],
    },
)
ROOM = "Room: a conversation of two, dm/smol. In this room: Smol (agent smol, you), ada (person)."
HIT = json.dumps({"results": [{"id": "garden/tomatoes", "title": "Tomatoes", "score": 0.9, "snippet": "Water"}]})
WATER = "# Tomatoes\n\nWater the tomatoes every second morning.\n"


def user(*blocks: Block | str) -> Message:
    return Message("user", [Text(block) if isinstance(block, str) else block for block in blocks])


def used(*uses: ToolUse) -> Message:
    return Message("assistant", list(uses))


def request(*messages: Message, tools: tuple[Tool, ...] = (SEARCH, BODY), **keys: Any) -> Request:
    return Request(messages=list(messages), system=ROOM, tools=list(tools), **keys)


QUESTION = user("ada: How often do I water the tomatoes?")
LOOKED = (used(ToolUse("s", "search_records", {"query": "water"})), user(ToolResult("s", HIT)))
READ = (
    used(ToolUse("b", "get_record_body", {"id": "garden/tomatoes"})),
    user(ToolResult("b", WATER)),
)


def asked(given: Request, window: int = 4096) -> Ask:
    found = plan(given, window)
    assert isinstance(found, Ask)
    return found


def words(ask: Ask) -> str:
    return "\n".join(block.text for m in ask.request.messages for block in m.content if isinstance(block, Text))


def test_the_notes_come_first() -> None:
    """A question is searched for and read with the agent's own tools, then it is asked with what was found before it."""
    first = plan(request(QUESTION), 4096)
    assert isinstance(first, Lookup) and {use.name for use in first.uses} == {"search_records"}
    second = plan(request(QUESTION, *LOOKED), 4096)
    assert isinstance(second, Lookup) and second.uses[0].input == {"id": "garden/tomatoes"}
    ask = asked(request(QUESTION, *LOOKED, *READ))
    assert "[[garden/tomatoes]]: # Tomatoes Water the tomatoes" in words(ask)
    assert words(ask).endswith("About these notes: How often do I water the tomatoes?")
    assert "garden/tomatoes" in ask.given and ask.sources == ("garden/tomatoes",)
    assert ask.schema is None and ask.request.tools == [] and "\nada:" in ask.stop


def test_without_the_right_to_read_it_is_asked_at_once() -> None:
    """An agent without search asks its model with nothing put before it."""
    ask = asked(request(QUESTION, tools=()))
    assert words(ask) == "How often do I water the tomatoes?" and ask.given == frozenset()


def test_tools_are_bound_by_one_schema() -> None:
    """What the model may call stands in one schema with its words; reading is done for it and is not offered."""
    ask = asked(request(QUESTION, *LOOKED, *READ, tools=(SEARCH, BODY, CREATE)))
    assert ask.schema is not None
    say, call = ask.schema["anyOf"]
    assert list(say["properties"]) == ["say"]
    assert call["properties"]["tool"] == {"const": "create_record"}
    assert call["properties"]["input"]["properties"]["id"] == {"type": "string", "maxLength": 500}
    assert call["properties"]["input"]["required"] == ["id"]
    assert "Tool create_record(id, tags): Make a note" in ask.request.system and "Long words" not in ask.request.system


def test_a_call_is_not_repeated_for_ever() -> None:
    """A model that asks for the same again, or for the fifth time, is left with words."""
    call = ToolUse("c", "create_record", {"id": "x"})
    once = (used(call), user(ToolResult("c", "made")))
    again = (used(ToolUse("d", "create_record", {"id": "x"})), user(ToolResult("d", "there is one")))
    tools = (SEARCH, BODY, CREATE)
    assert asked(request(QUESTION, *once, tools=tools)).schema is not None
    assert asked(request(QUESTION, *once, *again, tools=tools)).schema is None
    assert "(Result of create_record: made)" in words(asked(request(QUESTION, *once, tools=tools)))


def test_sides_take_turns() -> None:
    """What the model sees alternates, whatever tools were used between."""
    ask = asked(request(QUESTION, *LOOKED, *READ, Message("assistant", [Text("Daily.")]), user("ada: Sure?"), tools=()))
    assert [message.role for message in ask.request.messages] == ["user", "assistant", "user"]


def test_the_notes_leave_room() -> None:
    """However long the notes are, what is put before the model is a part of its window, and the talk is not cut."""
    long = "tomatoes and water every morning " * 4000
    body = (READ[0], user(ToolResult("b", f"# Tomatoes\n\n{long}")))
    for window in (512, 2048, 8192):
        ask = asked(request(QUESTION, *LOOKED, *body), window)
        assert estimate_tokens(words(ask)) < window // 3 + 40
        assert "How often do I water the tomatoes?" in words(ask)
        assert 64 <= ask.request.max_tokens <= window // 4 or window == 512


def test_a_schema_of_any_tool_is_plain() -> None:
    """What no grammar holds (patterns, references, endless depth) is left out of the schema."""
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(50):
        deep = {"type": "object", "properties": {"x": deep}, "$ref": "#/x", "pattern": "^a$"}
    text = json.dumps(schema_of([Tool("t", "", deep), Tool("u"), CREATE]))
    assert "$ref" not in text and "pattern" not in text and text.count('"x"') < 20


def test_reading_is_all_that_is_done_for_it() -> None:
    """No tool that changes anything is among those that are used without the model."""
    assert not {name for name in READING if not name.startswith(("search", "get", "list", "recent", "find"))}


SAID = '{ "say" : "Zeile\\n\\"x\\" \\u00e9 \\ud83d\\ude00 [[garden/tomatoes]] \\ud83d!" }'
PLAINLY = 'Zeile\n"x" é 😀 [[garden/tomatoes]] \ufffd!'


@given(cuts=st.lists(st.integers(0, len(SAID)), max_size=12))
def test_words_are_the_same_however_they_are_cut(cuts: list[int]) -> None:
    """The words of a JSON answer come out the same in any pieces, and none is told twice."""
    said = Said()
    places = [0, *sorted(cuts), len(SAID)]
    text = "".join(said.feed(SAID[a:b]) for a, b in itertools.pairwise(places))
    assert text == PLAINLY and said.ended and said.call() is None


def test_words_cut_at_every_byte() -> None:
    """Two pieces, cut at each place: the same words."""
    for at in range(len(SAID) + 1):
        said = Said()
        assert said.feed(SAID[:at]) + said.feed(SAID[at:]) == PLAINLY


@given(text=st.text(max_size=60), ascii=st.booleans())
def test_any_words_survive_json(text: str, ascii: bool) -> None:
    """Whatever is said comes out as it was, signs beyond the plane too."""
    said = Said()
    told = "".join(said.feed(sign) for sign in json.dumps({"say": text}, ensure_ascii=ascii))
    assert told == text and said.ended


@given(text=st.text(alphabet='{}"say: \\u[]dD8c0,tol', max_size=40))
def test_garbage_is_no_answer(text: str) -> None:
    """What is no such JSON gives words or nothing, never an error."""
    said = Said()
    "".join(said.feed(sign) for sign in text)
    said.call()


def test_a_call_is_read() -> None:
    """A tool and its input come out of the other branch; one that was cut off is none."""
    whole = '{"tool": "create_record", "input": {"id": "x"}}'
    said = Said()
    assert said.feed(whole) == "" and said.call() == ("create_record", {"id": "x"})
    cut = Said()
    cut.feed(whole[:-3])
    assert cut.call() is None and not cut.ended


@pytest.mark.parametrize(
    ("text", "shown", "left_out"),
    [
        ("See [[a/b]].", "See [[a/b]].", 0),
        ("See [[A/B.md]].", "See [[A/B.md]].", 0),
        ("See [[a/b|it]].", "See [[a/b|it]].", 0),
        ("See [[made/up]].", "See made/up.", 1),
        ("See [[made/up|this note]].", "See this note.", 1),
        ("[[x]] and [[y]] and [[a/b]]", "x and y and [[a/b]]", 2),
        ("[1] [x](y) [[", "[1] [x](y) [[", 0),
        ("[[open\nline [[a/b]]", "[[open\nline [[a/b]]", 0),
        ("[[[a/b]]]", "[[[a/b]]]", 0),
        ("[[]] [[|x]]", "[[]] [[|x]]", 0),
    ],
)
def test_only_given_notes_are_cited(text: str, shown: str, left_out: int) -> None:
    """A link to a note that the model was not shown becomes its words, however the text was cut."""
    for at in range(len(text) + 1):
        cited = Citations(frozenset(("a/b",)))
        assert cited.feed(text[:at]) + cited.feed(text[at:]) + cited.finish() == shown
        assert cited.left_out == left_out


@given(text=st.text(alphabet="[]ab/|# \n", max_size=50), size=st.integers(1, 7))
def test_citations_are_the_same_however_they_are_cut(text: str, size: int) -> None:
    """Checking is a function of the whole text; nothing without a link is changed."""
    whole, pieces = Citations(frozenset(("a",))), Citations(frozenset(("a",)))
    once = whole.feed(text) + whole.finish()
    assert once == "".join(pieces.feed(text[at : at + size]) for at in range(0, len(text), size)) + pieces.finish()
    assert "[[" in text or once == text
