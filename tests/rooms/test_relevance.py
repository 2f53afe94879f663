"""Who is first for an open message, in users' own words and forms of words, among agents of several languages."""

from __future__ import annotations

import pytest

from egghead.rooms.relevance import Corpus, same_word

STAFF = (
    ("gardener", "Gärtner", ("Garten", "Pflanzen"), "Du kennst den Garten: Rosen, Beete, Kompost, Schneiden, Gießen."),
    ("cook", "Cocinera", ("cocina", "recetas"), "Conoces las recetas de la casa: pan, sopa, horno y masa madre."),
    ("tax", "Steuerberater", ("Steuern", "Buchhaltung"), "Du hilfst bei Steuererklärung, Rechnungen und Belegen."),
    ("travel", "Voyageuse", ("voyages", "trains"), "Tu connais les horaires, les billets de train et les hôtels."),
    ("code", "Programmer", ("python", "software"), "You write and review Python code, tests and pull requests."),
    ("ja", "料理人", ("料理", "レシピ"), "日本の料理とレシピに詳しい。味噌汁や寿司。"),
    ("zh", "园丁", ("花园", "植物"), "你了解花园里的植物、浇水和施肥。"),
    ("ru", "Юрист", ("право", "договоры"), "Ты знаешь договоры, законы и суды."),
    ("ar", "معلم", ("تعليم", "مدرسة"), "أنت تعرف الدروس والواجبات والمدرسة."),
    ("hi", "वैद्य", ("स्वास्थ्य",), "तुम दवा और बीमारी के बारे में जानते हो।"),
    ("music", "Musician", ("music", "guitar"), "You know chords, songs and how to practise the guitar."),
    ("legal", "Lawyer", ("contracts", "law"), "You read contracts and know the law."),
    ("ops", "Sysadmin", ("servers", "backup"), "You keep servers, backups and networks running."),
    ("editor", "Editor", ("writing", "style"), "You improve texts: grammar, style, and letters."),
)


@pytest.mark.parametrize(
    ("question", "agent"),
    [
        ("Wie schneide ich meine Rosen?", "gardener"),
        ("Wo sind die Belege und die Rechnung?", "tax"),
        ("¿Cómo se hace el pan de masa madre?", "cook"),
        ("¿Tienes una receta de sopas?", "cook"),
        ("À quelle heure part le train pour Lyon ?", "travel"),
        ("Can you review this Python function?", "code"),
        ("one test is failing", "code"),
        ("味噌汁の作り方を教えて", "ja"),
        ("我的植物要怎么浇水？", "zh"),
        ("Проверь, пожалуйста, мой договор", "ru"),
        ("ما هي واجبات المدرسة اليوم؟", "ar"),
        ("मुझे कौन सी दवा लेनी चाहिए?", "hi"),
        ("which chord does this song have?", "music"),
        ("is this contract legal?", "legal"),
        ("the server is down and there is no backup", "ops"),
        ("correct the grammar in my letter", "editor"),
    ],
)
def test_the_one_who_knows_is_first(question: str, agent: str) -> None:
    """Singular for plural, another case, an article written together with its word: the right agent scores best."""
    scores = Corpus(STAFF).scores(question, [one[0] for one in STAFF])
    assert max(sorted(scores), key=lambda one: scores[one], default=None) == agent


def test_the_word_itself_beats_another_form_of_it() -> None:
    """Of two agents with forms of a word, the one with the word as it was asked is first."""
    corpus = Corpus([("a", "A", ("contracts",), ""), ("b", "B", ("contract",), "")])
    scores = corpus.scores("contract", ["a", "b"])
    assert scores["b"] > scores["a"] > 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("contract", "contracts", True),
        ("договор", "договорами", True),
        ("receta", "recetas", True),
        ("server", "service", False),
        ("test", "testament", False),
        ("code", "coding", False),
        ("car", "cars", False),
        ("art", "arts", False),
        ("port", "portugal", False),
    ],
)
def test_forms_of_a_word_differ_in_a_short_ending(one: str, other: str, same: bool) -> None:
    """Most of both words is the same beginning; what is as long as the beginning is another word."""
    assert same_word(one, other) is same_word(other, one) is same
