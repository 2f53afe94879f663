"""What somebody typed, as a Query."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from records import InvalidValue, search_query
from records.query import Query, moment
from records.text import _TERMS, analyse, distance, raw_words, stem, term_set, terms, word_terms


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("two words", Query("two words", unfinished=True)),
        ("two words ", Query("two words")),
        ("really?", Query("really?")), ("हि", Query("हि", unfinished=True)), ("שָ", Query("שָ", unfinished=True)), ("e\u0301", Query("e\u0301", unfinished=True)),
        ("می\u200c", Query("می\u200c", unfinished=True)),
        ('"a phrase" x', Query("x", phrases=("a phrase",), unfinished=True)),
        ('-no -"not this" yes ', Query("yes", excluded=("no", "not this"))),
        ("tag:#a TAG:b -tag:c class:agent in:x/y/ q ", Query("q", tags=("a", "b"), without_tags=("c",), class_="agent", folder="x/y")),
        ('tag:"two words" ', Query("", tags=("two words",))),
        ("well-known c-d - e ", Query("well-known c-d - e")),
        ('5" disk ', Query('5 disk')),
        ("note: in: tag: ", Query("note: in: tag:")),
        ("", Query("")),
    ],
)  # fmt: skip
def test_what_is_typed_is_understood(text: str, query: Query) -> None:
    """Each operator of the search box, and things that only look like one."""
    assert search_query(text) == query


@given(st.text(max_size=300))
def test_any_text_is_a_query(text: str) -> None:
    """The parser is total."""
    assert isinstance(search_query(text), Query)


@given(st.text(max_size=300))
def test_any_text_has_terms_without_syntax(text: str) -> None:
    """Terms hold no space, quote or other character that FTS5 could take for syntax, and are the same each time."""
    found = terms(text)
    assert found == analyse(text).split()
    assert all(not set(term) & set(" \"'*()^:-+,") for term in found)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=0x24F), max_size=60))
def test_words_with_accents_have_the_terms_that_a_query_has(text: str) -> None:
    """The short way that most words of a text take ends where the long one does, also with their accents written apart."""
    text = text.lower()
    slowly = [term for word in raw_words(text) for term in word_terms(word)]
    assert terms(text) == slowly == terms(unicodedata.normalize("NFD", text))


@pytest.mark.parametrize(
    "group",
    ["publish published publishing publishes", "note notes", "tag tags tagging tagged", "template templates", "Notiz Notizen",
     "Bücher Buch", "image images", "save saving saved", "página páginas", "заметка заметки заметку", "книга книги книгу",
     "ملاحظة الملاحظات الملاحظة", "muistiinpanot muistiinpanoja", "recette recettes", "müller Müller MULLER", "straße STRASSE"],
)  # fmt: skip
def test_inflected_forms_meet(group: str) -> None:
    """Forms of one word have one term, without knowing the language."""
    assert len({terms(word)[0] for word in group.split()}) == 1


def test_scripts_without_spaces_fall_into_pieces() -> None:
    """Han, kana and Hangul give pairs, Thai gives triples, so that a part of a sentence is found."""
    assert terms("大阪市") == ["大阪", "阪市"]
    assert set(terms("노트를")) >= {"노트"}
    assert set(terms("ภาษาไทย")) & set(terms("เรียนภาษาไทยวันนี้"))
    assert terms("iPhoneの画面")[0] == "iphon" and "画面" in terms("iPhoneの画面")


def test_long_sentences_without_spaces_fall_into_pieces_too() -> None:
    """A sentence of a script without spaces has no limit of length, while a hash or base64 is one short term."""
    assert terms("ภาษาไทย" * 20)[-1] == "ไทย"
    assert len(terms("山水" * 100)) == 199
    assert terms("0123456789abcdef" * 10) == ["0123456789abcdef" * 4]
    assert terms("A" + "x" * 70 + "山水") == ["a" + "x" * 63, "山水"]


@settings(deadline=None)
@given(
    st.lists(st.text(st.sampled_from("aBé\u0301 _.+#🎉-\u00a0\u2028\u2000\n山ไ'1"), max_size=30), max_size=5),
    st.sampled_from(" \n\u3000"),
)
def test_a_text_has_the_terms_of_its_words(pieces: list[str], space: str) -> None:
    """Cutting a text at white space first, which is what makes it fast, changes none of its terms."""
    text = space.join(pieces)
    assert terms(text) == [term for word in raw_words(text) for term in _TERMS[word].split()]
    assert term_set(text) == set(terms(text))


@given(st.text("abc", max_size=7), st.text("abc", max_size=7))
def test_distance_is_symmetric_and_bounded(one: str, other: str) -> None:
    """Edit distance does not depend on the order, is zero for equals only, and stops at its bound."""
    steps = distance(one, other, 3)
    assert steps == distance(other, one, 3)
    assert (steps == 0) == (one == other)
    assert steps <= 4


@given(st.text(max_size=20))
def test_a_stem_is_never_empty(word: str) -> None:
    """Whatever is cut off, something stays."""
    assert bool(stem(word)) == bool(word)


@pytest.mark.parametrize(
    ("given", "compared"),
    [
        (None, None), ("2026", "2026"), ("2026-02", "2026-02"), ("2026-02-03", "2026-02-03"),
        ("2026-02-03 04:05", "2026-02-03T04:05:00"), ("2026-02-03T04:05:06+02:00", "2026-02-03T02:05:06"),
        ("2026-02-03T04:05:06.7Z", "2026-02-03T04:05:06"),
    ],
)  # fmt: skip
def test_a_date_is_compared_as_the_index_has_it(given: str | None, compared: str | None) -> None:
    """Whatever zone it was written in."""
    assert moment(given) == compared


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13", "2026-02-30", "05/06/2026", "9999999999"])
def test_what_is_no_date_is_refused(text: str) -> None:
    """An answer without notes would look like one of a quiet week."""
    with pytest.raises(InvalidValue, match="is no date"):
        moment(text)
