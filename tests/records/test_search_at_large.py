"""Search among thousands of notes, where it reads no more than it must, and what holds however much there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records import Hit, Notes
from records.ranking import Term
from records.search import _affordable

MANY = 3200
SPECIAL = {
    "家/一": "---\ntags: [修理]\n---\n# 冰箱壞了\n\n昨天師傅來修理了冰箱和洗衣機。\n",
    "家/二": "# 冰箱大扫除\n\n每月一次。\n",
    "Ölçüm/a": "---\ntags: [Sağlık]\n---\n# Diş hekimi\n\nYarın sabah randevu.\n",
    "Ölçüm/b": "# Diş macunu\n\nAlınacak.\n",
    "th": "# บ้าน\n\nเมื่อวานช่างมาซ่อมตู้เย็นที่บ้าน\n",
    "ja": "# 掃除\n\n昨日ｴｱｺﾝの掃除をした。\n",
    "fr": "# Maison\n\nL’ÉTÉ, le réfrigérateur (neuf) tombe en panne.\n",
    "de": "# Umbau\n\nAuf der Straße liegt noch Sand.\n",
    "ar": "# بيت\n\nوصل الفنّي وأصلح الثَّلّاجة القديمة.\n",
    "twins/b": "# Zwilling\n\nnumber one\n",
    "twins/a": "# Zwilling\n\nnumber one\n",
    "go": "# Go\n\nA language.\n",
    "ai": "# AI\n\nA field.\n",
    "r": "# R\n\nAnother language.\n",
    **{
        f"g/{number}": f"# {word} soon\n\nThey go on with ai and r.\n"
        for number, word in enumerate(
            [
                "Gold",
                "Goat",
                "Gong",
                "Goal",
                "Goose",
                "Good",
                "Gown",
                "Goblin",
                "Gopher",
                "Gothic",
                "Govern",
                "Gossip",
                "Air",
                "Aim",
                "Aid",
                "Aisle",
                "Aida",
                "Aikido",
                "Ailment",
                "Ainu",
                "Aioli",
                "Aix",
                "Rail",
                "Road",
                "Rust",
                "Ruby",
                "Rain",
                "Row",
                "Roof",
                "Rome",
                "Rat",
                "Ring",
                "Raw",
            ]
        )
    },
    "zebra": "# Zebra crossing\n\nordinary words of the town\n",
}


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notes]:
    root: Path = tmp_path_factory.mktemp("many")
    for number in range(MANY):
        text = (
            f"# Entry {number}\n\nordinary words of day {number % 7}, zest and {'rare ' * (number % 400 == 0)}things\n"
        )
        (root / f"n{number:05}.md").write_text(text, encoding="utf-8")
    for name, text in SPECIAL.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / f"{name}.md").write_text(text, encoding="utf-8")
    with Notes(root) as made:
        yield made


def marked(hit: Hit) -> list[str]:
    """What is highlighted of a snippet."""
    return [hit.snippet[start:end] for start, end in hit.marks]


@pytest.mark.parametrize(
    ("query", "id_", "want"),
    [
        ("冰箱 修理", "家/一", ["修理", "冰箱"]), ("洗衣机", "家/一", ["洗衣機"]), ("ตู้เย็น", "th", ["ตู้เย็น"]), ("掃除", "ja", ["掃除", "掃除"]),
        ("refrigerateur l'été panne", "fr", ["réfrigérateur", "panne"]), ("strasse", "de", ["Straße"]), ("ثلاجه", "ar", ["الثَّلّاجة"]),
    ],
)  # fmt: skip
def test_the_characters_that_match_are_marked(notes: Notes, query: str, id_: str, want: list[str]) -> None:
    """In scripts without spaces the pieces that match, not the sentence; in folded text the word as it stands."""
    hit = notes.search(query)[0]
    assert (hit.id, marked(hit)) == (id_, want)


@pytest.mark.parametrize(
    ("query", "want"),
    [
        ("冰箱 tag:修理", {"家/一"}), ("冰箱 -扫除", {"家/一"}), ("冰箱 -掃除", {"家/一"}), ('"冰箱坏了"', {"家/一"}), ("in:家 冰箱", {"家/一", "家/二"}),
        ("dis tag:saglik", {"Ölçüm/a"}), ("diş -tag:SAĞLIK ", {"Ölçüm/b"}), ('"dis hekimi"', {"Ölçüm/a"}), ("diş -macun", {"Ölçüm/a"}),
        ("in:Ölçüm diş", {"Ölçüm/a", "Ölçüm/b"}), ("in:家 diş", set()), ("in:Ölçüm di", {"Ölçüm/a", "Ölçüm/b"}), ("冰箱 class:inbox", set()),
    ],
)  # fmt: skip
def test_filters_phrases_and_minus_work_in_every_script(notes: Notes, query: str, want: set[str]) -> None:
    """With a tag, a folder and words of the script, folded as text is."""
    assert {hit.id for hit in notes.search(query)} == want


@pytest.mark.parametrize(
    "text", ["ze", "zeb", "zebr", "zebra", "zebra c", "zebra cr", "zebra cross", "ordinary ze", "crossing zebra "]
)
def test_each_letter_that_is_typed_finds_the_name_it_begins(notes: Notes, text: str) -> None:
    """Also while thousands of notes have a word (zest) that begins so."""
    assert notes.search(text, limit=10)[0].id == "zebra"


@pytest.mark.parametrize("text", ["go", "Go", "ai", "r", "R"])
def test_a_name_of_one_letter_or_two_is_found_by_it(notes: Notes, text: str) -> None:
    """Also where more names than are shown begin so; before them."""
    assert notes.search(text, limit=10)[0].id == text.lower()


def test_notes_with_all_words_go_before_those_with_some(notes: Notes) -> None:
    """Eight notes are rare, all are ordinary: the eight come first, whatever else is shown."""
    rare = {f"n{number:05}" for number in range(0, MANY, 400)}
    assert {hit.id for hit in notes.search("ordinary rare ", limit=10)[:8]} == rare


def test_ties_are_in_the_order_of_ids_however_many_are_asked_for(notes: Notes) -> None:
    """The same note twice; and a shorter list is the beginning of a longer one."""
    assert [hit.id for hit in notes.search("zwilling")][:2] == ["twins/a", "twins/b"]
    assert [hit.id for hit in notes.search("zwilling", limit=1)] == ["twins/a"]
    assert notes.search("rare day 3") == notes.search("rare day 3")


@pytest.mark.parametrize("piece", ["zebra ", "a", "冰", '"', "-x ", "tag:", "\u0301", "\ud800", "ｴ", "( OR ", "ze\0"])
def test_a_megabyte_is_read_as_far_as_a_query_goes(notes: Notes, piece: str) -> None:
    """What is typed beyond the first four thousand characters is not looked at."""
    text = piece * (2**20 // len(piece))
    assert notes.search(text) == notes.search(text[:4000])


@given(st.text("zebra 冰箱ตู้ßİıΣς\u0301\u200d\ud800\0\"*^()-+:{}[]~'\\tag:in:class:", max_size=40), st.integers(1, 30))
def test_nothing_typed_raises(notes: Notes, query: str, limit: int) -> None:
    """Marks lie in the snippet and do not overlap, and there are never more hits than asked for."""
    hits = notes.search(query, limit=limit)
    assert len(hits) <= limit
    for hit in hits:
        ends = [0, *(end for _, end in hit.marks)]
        assert all(before <= start < end for before, (start, end) in zip(ends, hit.marks, strict=False)), hit.marks
        assert ends[-1] <= len(hit.snippet)


def test_common_forms_of_a_rare_word_find_nobody_where_it_finds_enough_itself() -> None:
    """What is looked for is in few notes: the surest forms while there is room. Where those are in hardly any, all are needed."""
    forms = {"soda": 1.0, "sodan": 0.8, "sodas": 0.7, "sod": 0.6, "soder": 0.5}
    docs = {"soda": 3800, "sodan": 200_000, "sodas": 8000, "sod": 500, "soder": 100}
    assert _affordable(Term("soda", forms), docs) == ["soda", "sodas", "soder"]
    assert _affordable(Term("soda", forms), {**docs, "soda": 3}) == ["soda", "sodan"]
    assert _affordable(Term("soda", {"soda": 1.0}), {"soda": 10**6}) == ["soda"]
    assert _affordable(Term("soda"), {}) == []
