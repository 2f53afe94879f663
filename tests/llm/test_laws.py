"""Laws that hold for any notes and any question."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from egghead.llm.librarian import pieces
from egghead.llm.librarian.answer import clip, count_words
from egghead.llm.librarian.fold import fold
from egghead.llm.librarian.intents import intent
from egghead.llm.librarian.languages import detect
from egghead.llm.librarian.passages import passages, plain
from egghead.llm.librarian.steps import step
from egghead.llm.librarian.words import Term, Vocabulary, related, terms, tokens, within_one_edit
from egghead.llm.shapes import request_from
from tests.llm.shelf import TOOLS, Shelf, ask, cited, user

SOME = (
    "boiler water tomato garden link note [[ghost]] `[[code]]` publish Pages E18 morning the how often 1. - ## \n\n | . ? ! "
    "Häuser поливать помидоры 番茄 浇水 地下鉄 토마토 รดน้ำ 필터 ਕ \u202e [[a|b]] ```"
)
WORDS = SOME.split(" ")
text = st.one_of(st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join), st.text(max_size=200))
ids = st.from_regex(r"[a-zé日][a-zé日0-9_/-]{0,12}[a-z]", fullmatch=True)
notes = st.dictionaries(ids, text, max_size=8)


@settings(max_examples=150, deadline=None)
@given(notes, text)
def test_only_notes_that_were_read_are_cited(given_notes: dict[str, str], question: str) -> None:
    """Whatever the notes hold, every citation names a note whose body came back in this turn."""
    shelf = Shelf(given_notes)
    answer = asyncio.run(ask(shelf, question))
    assert set(cited(answer)) <= shelf.read <= set(given_notes)


@settings(max_examples=150, deadline=None)
@given(notes, text)
def test_an_answer_has_under_120_words(given_notes: dict[str, str], question: str) -> None:
    """By white space and by the librarian's own count."""
    answer = asyncio.run(ask(Shelf(given_notes), question))
    assert answer
    assert len(answer.split()) < 120
    assert count_words(answer) < 120


@settings(max_examples=50, deadline=None)
@given(notes, text)
def test_the_same_question_has_the_same_answer(given_notes: dict[str, str], question: str) -> None:
    """No randomness, no memory of other questions."""
    first = asyncio.run(ask(Shelf(given_notes), question))
    asyncio.run(ask(Shelf(given_notes), "How often do I water the garden?"))
    assert asyncio.run(ask(Shelf(dict(reversed(given_notes.items()))), question)) == first


content: st.SearchStrategy[Any] = st.one_of(
    st.builds(lambda t: {"type": "text", "text": t}, text),
    st.builds(
        lambda i, n, q: {"type": "tool_use", "id": i, "name": n, "input": {"query": q, "id": q, "limit": 3}},
        st.sampled_from("ab"),
        st.sampled_from([*TOOLS, "other"]),
        text,
    ),
    st.builds(
        lambda i, c, e: {"type": "tool_result", "tool_use_id": i, "content": c, "is_error": e},
        st.sampled_from("ab"),
        st.one_of(
            text, st.sampled_from(['{"hits": [{"id": "a", "title": null, "tags": 3}]}', "[]", '{"hits": 1}', "[1]"])
        ),
        st.booleans(),
    ),
)
messages = st.lists(
    st.builds(
        lambda r, c: {"role": r, "content": c}, st.sampled_from(["user", "assistant"]), st.lists(content, max_size=4)
    ),
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(messages, st.lists(st.sampled_from(TOOLS), unique=True), text)
def test_every_request_has_a_next_step(given_messages: list[Any], tools: list[str], system: str) -> None:
    """Any history, also one that no agent would make, gives words or tool calls and never an exception."""
    request = request_from({"messages": given_messages, "tools": [{"name": name} for name in tools], "system": system})
    decided = step(request)
    assert bool(decided.text) != bool(decided.uses)
    assert {use.name for use in decided.uses} <= set(tools)


@settings(max_examples=200, deadline=None)
@given(text)
def test_streamed_pieces_are_the_text(given_text: str) -> None:
    """Nothing is lost or added by streaming."""
    assert "".join(pieces(given_text)) == given_text


@settings(max_examples=200, deadline=None)
@given(text)
def test_any_text_is_read(given_text: str) -> None:
    """Passages, terms, language and intent are total; no passage can be mistaken for a citation."""
    for passage in passages(given_text):
        assert "[[" not in passage.text and passage.text
    assert "[[" not in plain(given_text)
    language = detect(given_text)
    vocabulary = Vocabulary(tokens(given_text))
    for term in terms(given_text, language):
        assert 0 < term.weight <= 1.2
        assert all(0 < sure <= 1 for sure in vocabulary.forms(term, language).values())
    assert intent(given_text).kind


@settings(max_examples=200, deadline=None)
@given(text, st.integers(3, 40))
def test_a_cut_text_fits(given_text: str, words: int) -> None:
    """Clipping keeps the budget, in scripts with and without spaces."""
    assert count_words(clip(given_text, words)) <= words + 1


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=20))
def test_folding_twice_is_folding_once(word: str) -> None:
    """Folded words compare with folded words."""
    assert fold(fold(word)) == fold(word)


letters = st.text("abcdeéнат", max_size=9)


@settings(max_examples=300, deadline=None)
@given(letters, letters, st.sampled_from(["en", "de", "ru", "fi", "he", "ar"]))
def test_word_relations_are_bounded(a: str, b: str, language: str) -> None:
    """A word is fully itself; no other word is more than that; one edit is symmetric."""
    assert related(a, a, language) == 1.0
    assert 0.0 <= related(a, b, language) <= 1.0
    assert within_one_edit(a, b) == within_one_edit(b, a)


def test_a_term_is_found_in_the_forms_people_write() -> None:
    """A table of forms: endings, compounds, umlauts spelled out, typing mistakes."""
    table = [
        ("publish", "publishing", "en"), ("library", "libraries", "en"), ("run", "running", "en"),
        ("create", "creating", "en"), ("creation", "created", "en"), ("stories", "story", "en"), ("stored", "store", "en"), ("editor", "edit", "en"), ("publisher", "publishing", "en"), ("picture", "image", "en"), ("reccomend", "recomend", "en"),
        ("haus", "hauser", "de"), ("plan", "bewasserungsplan", "de"), ("поливать", "поливаю", "ru"),
        ("помидоры", "помидоров", "ru"), ("tomaatteja", "tomaatti", "fi"), ("lammittaminen", "lammitys", "fi"),
        ("klimanin", "klima", "tr"), ("필터는", "필터", "ko"), ("القهوه", "قهوه", "ar"), ("migranas", "migrana", "es"),
    ]  # fmt: skip
    for asked, written, language in table:
        [term] = [t for t in terms(asked, language) if t.text == asked] or [Term(asked, 1.0)]
        assert Vocabulary([written]).forms(term, language), (asked, written)


def test_other_words_stay_other_words() -> None:
    """A common beginning alone makes no form."""
    for a, b in [
        ("publish", "public"),
        ("note", "nothing"),
        ("general", "generate"),
        ("house", "hour"),
        ("port", "post"),
    ]:
        assert not related(a, b, "en"), (a, b)


def test_an_empty_conversation_is_a_request_too() -> None:
    """No message at all is answered with what the librarian is."""
    assert step(request_from({"messages": []})).text
    assert step(request_from({"messages": [user("")]})).text
