"""Forms of short words, and endings of the scripts of India: what stands in the note is found by another form of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records import Notes
from records.relatives import relatives
from records.text import fold, stem, terms

# Of each pair either is asked for where a note has the other.
PAIRS = """
pl kawa:kawy dom:domem but:butów ryba:rybami kot:koty książka:książek
cs kolo:kola voda:vodu les:lesa káva:kávou ruka:ruce
de Rad:Räder Tag:Tage Uhr:Uhren Bad:Bäder Zug:Züge
nl kat:katten boom:bomen raam:ramen huis:huizen dak:daken
sv bil:bilen bil:bilar tåg:tåget dag:dagar bok:böcker
fi maa:maan vesi:veden kala:kalaa
hu kép:képek víz:vizet hal:halat ház:házban
tr ev:evde ev:evler göl:gölde
ro pat:paturi casă:case
it cane:cani pane:pani casa:case mano:mani
es luz:luces pez:peces pan:panes
pt pão:pães mês:meses avião:aviões papel:papéis
fr mal:maux journal:journaux
en tooth:teeth box:boxes city:cities leaf:leaves
ru дом:домов вода:воду чай:чаем лес:лесу
uk дім:дому кіт:коти вода:воду
bg дом:дома зъб:зъби
el γάτα:γάτες πόλη:πόλεις
ar كتاب:كتب بيت:بيوت قلم:أقلام باب:أبواب
he חלה:חלות שבת:שבתות שיר:שירים דג:דגים גן:גנים
id masak:memasak baca:membaca tulis:menulis sapu:menyapu beli:dibeli
ko 집:집에서 책:책을 물:물이
bn বই:বইয়ের ঘর:ঘরের মাছ:মাছের
ta தோட்டம்:தோட்டங்கள் தோட்டம்:தோட்டத்தில் வீடு:வீட்டில் மாடி:மாடியில் படம்:படங்கள்
te పుస్తకం:పుస్తకాలు చెట్టు:చెట్లు
ml പുസ്തകം:പുസ്തകങ്ങൾ വീട്:വീട്ടിൽ
"""


def pairs() -> list[tuple[str, str]]:
    both = [tuple(pair.split(":")) for line in PAIRS.strip().splitlines() for pair in line.split()[1:]]
    return [(one, other) for one, other in both] + [(other, one) for one, other in both]


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notes]:
    """A note for each word, said once in its text."""
    root = tmp_path_factory.mktemp("notes")
    for place, word in enumerate(dict.fromkeys(said for _, said in pairs())):
        (root / f"n{place}.md").write_text(f"---\ntitle: 1\n---\n\n77 {word} 88\n")
    with Notes(root) as opened:
        yield opened


@pytest.mark.parametrize(("asked", "said"), pairs())
def test_a_form_finds_the_other(notes: Notes, asked: str, said: str) -> None:
    """The plural the singular, a case another one, the verb its root; and the other way."""
    bodies = [notes.get(hit.id).body for hit in notes.search(asked, limit=10)]
    assert any(re.search(rf"77 {said} 88", body) for body in bodies), bodies


def test_the_word_itself_goes_first(notes: Notes) -> None:
    """Another form weighs less than what was typed."""
    for asked in ("kolo", "bil", "חלות", "дома", "ev"):
        found = notes.search(asked)
        assert f" {asked} " in notes.get(found[0].id).body
        assert found[0].score > found[1].score


def test_a_compound_finds_one_with_more_in_its_middle(tmp_path: Path) -> None:
    """Kinderrad finds Kinderfahrrad, where neither part stands alone; Kinderbuch does not."""
    (tmp_path / "a.md").write_text("# Kinderfahrrad\n\nRot, zwanzig Zoll.\n")
    (tmp_path / "b.md").write_text("# Zoll\n\nVordruck, rot.\n")
    with Notes(tmp_path) as opened:
        assert [hit.id for hit in opened.search("Kinderrad")] == ["a"]
        assert not opened.search("Kinderbuch")


@given(st.text(max_size=12))
def test_proposals_are_few_and_less_sure_than_the_word(text: str) -> None:
    """Whatever the word, at most 140 terms, none of them its own, none worth as much."""
    word = fold(text)
    found = relatives(word, unknown=True)
    assert relatives(word).items() <= found.items()
    assert len(found) <= 140 and stem(word) not in found
    assert all(0.0 < quality < 0.7 and len(term) >= 2 for term, quality in found.items())


@given(st.text(alphabet=st.characters(min_codepoint=0x0980, max_codepoint=0x0D7F), min_size=1, max_size=14))
def test_a_stem_of_india_begins_its_word(text: str) -> None:
    """Marks in snippets are found by it; and something is always left."""
    for word in terms(text):
        assert stem(word)
    folded = fold(text)
    assert folded.startswith(stem(folded))
    assert stem(folded)


def test_a_prefix_without_its_word_is_no_relative() -> None:
    """`daten` would be `meng` with a prefix of Malay, had the ending not cut all of it off again."""
    assert not {"meng", "meny", "mens", "mend"} & relatives("daten").keys()
    assert "menyap" in relatives("sapu")


CHANGED = """
fi katu:kadun leipä:leivän ranta:rannalla kaupunki:kaupungissa silta:sillan
tr kitap:kitabım çocuk:çocuğu renk:rengi burun:burnu şehir:şehre
hu bokor:bokrok álom:álmok
pl pies:psy sen:snu okno:okien
cs den:dny pes:psa sestra:sester
sv nyckel:nycklar
ru день:дня отец:отца окно:окон подарок:подарки
bg ден:дни
ka მეგობარი:მეგობრები წყალი:წყლის
ar مدرسة:مدارس مفتاح:مفاتيح رسالة:رسائل سوق:بالسوق وردة:ورود
id ajar:belajar kirim:pengiriman pakai:memakai
sw mtoto:watoto kitabu:vitabu mti:miti paa:mapaa jicho:macho
ja 読む:読んだ
"""


def changed() -> list[tuple[str, str]]:
    both = [tuple(pair.split(":")) for line in CHANGED.strip().splitlines() for pair in line.split()[1:]]
    return [(one, other) for one, other in both]


@pytest.mark.parametrize("turned", [False, True], ids=["one", "other"])
def test_a_form_with_another_middle_or_beginning_is_found_where_the_word_is_not(tmp_path: Path, turned: bool) -> None:
    """Consonants that change before an ending, vowels that go, prefixes: of each pair the notes have one, and the other is asked for."""
    pairs = [(other, one) if turned else (one, other) for one, other in changed()]
    for place, (_, said) in enumerate(pairs):
        (tmp_path / f"n{place}.md").write_text(f"---\ntitle: 1\n---\n\n77 {said} 88\n")
    with Notes(tmp_path) as opened:
        missed = [
            f"{asked}: {said}"
            for place, (asked, said) in enumerate(pairs)
            if f"n{place}" not in [hit.id for hit in opened.search(asked, limit=3)]
        ]
    assert not missed


def test_what_arabic_writes_together_with_a_word_is_no_part_of_it(tmp_path: Path) -> None:
    """`لجدتي`, for my grandmother, finds the grandmother."""
    for name, said in (("a", "الجدة"), ("b", "المدينة")):
        (tmp_path / f"{name}.md").write_text(f"---\ntitle: 1\n---\n\n77 {said} 88\n")
    with Notes(tmp_path) as opened:
        assert [hit.id for hit in opened.search("لجدتي")] == ["a"]
        assert [hit.id for hit in opened.search("لمدينتنا")] == ["b"]


ENDINGS = """
ka წიგნი:წიგნები წიგნი:წიგნში ქალაქი:ქალაქიდან ძაღლი:ძაღლების
hy գիրք:գիրքը քաղաք:քաղաքում ընկեր:ընկերների
am ልጅ:ልጆች ልጅ:ልጆቻችን ደንበኛ:ከደንበኞች ተማሪ:ተማሪዎቹ ውሻ:ውሾቹን
"""


@pytest.mark.parametrize("pair", [pair for line in ENDINGS.strip().splitlines() for pair in line.split()[1:]])
def test_endings_of_georgian_armenian_and_amharic_are_cut(pair: str) -> None:
    """Both are one term."""
    one, other = pair.split(":")
    assert terms(one) == terms(other)
