"""What carries a question: expressions of several words, everyday words, names."""

from __future__ import annotations

import pytest

from egghead.llm.librarian.words import LIGHT_WEIGHT, WEAK_WEIGHT, Vocabulary, terms


@pytest.mark.parametrize(
    ("question", "word", "surface"),
    [
        ("how do I turn it off", "disable", "turn it off"),
        ("switch on the lamp", "enable", "switch on"),
        ("tags on the command line", "commandline", "command line"),
        ("where is the Command-Line tool", "commandline", "Command-Line"),
        ("send it as an e-mail", "email", "e-mail"),
        ("roll back the last change", "rollback", "roll back"),
    ],
)
def test_an_expression_is_one_term(question: str, word: str, surface: str) -> None:
    """Several words that mean one thing are looked for as that thing, and shown as they were written."""
    found = {term.text: term.surface for term in terms(question, "en")}
    assert found[word] == surface
    assert not {part.lower() for part in surface.replace("-", " ").split()} & set(found)


@pytest.mark.parametrize(("word", "weight"), [("open", LIGHT_WEIGHT), ("note", WEAK_WEIGHT), ("thermostat", 1.0)])
def test_a_word_of_many_senses_weighs_less(word: str, weight: float) -> None:
    """Everyday words tell half as much as words with one sense; words every note has, less."""
    assert [term.weight for term in terms(f"the {word}", "en")] == [weight]


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("restore notes from iCloud", "icloud"),
        ("Does Foam run on a Kindle?", "kindle"),
        ("export to PDF", "pdf"),
        ("the E18 error", "e18"),
    ],
)
def test_names_are_told_by_their_letters(question: str, name: str) -> None:
    """A capital inside a sentence or a word, and digits among letters, make a name."""
    assert name in {term.text for term in terms(question, "en") if term.name}


def test_a_title_has_no_names_by_its_capitals() -> None:
    """When All Words Have Capitals, none is told by them."""
    assert not any(term.name for term in terms("Water Your Garden Tomatoes", "en"))


def test_a_short_name_is_not_taken_for_a_misspelling() -> None:
    """Slack is not stack, but a longer name may have a slip, and so may a plain word."""
    vocabulary = Vocabulary(["stack", "nottingham", "garden"])
    asked = {term.text: term for term in terms("my Slack and Notingham and gardn", "en")}
    assert not vocabulary.forms(asked["slack"], "en")
    assert vocabulary.forms(asked["notingham"], "en")
    assert vocabulary.forms(asked["gardn"], "en")
