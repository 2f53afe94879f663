"""Signs are searched for as words are: emoji, arrows, currencies, and C++, C#, .NET, +1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records import Notes, symbols
from records.text import _WORD, Wanted, root, term_set, terms

WOMAN, LAPTOP, THUMB, SHRUG = "\U0001f469", "\U0001f4bb", "\U0001f44d", "\U0001f937"


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("🎉🎉", ["🎉", "🎉"]), ("Party🎉time", ["part", "🎉", "time"]), ("❤️ ❤", ["❤", "❤"]), (f"{THUMB}\U0001f3fd {THUMB}", [THUMB] * 2),
        (f"{WOMAN}\u200d{LAPTOP}", [WOMAN, LAPTOP]), (f"{SHRUG}\U0001f3fb\u200d\u2642\ufe0f ok", [SHRUG, "ok"]), ("🇩🇪🇫🇷", ["🇩🇪", "🇫🇷"]),
        ("✓ done → 5 €, § 12", ["✓", "done", "→", "5", "€", "§", "12"]), ("C", ["c"]), ("C++, c++17", ["c∔∔", "c∔∔", "17"]),
        ("(C#)/F# in B#flat", ["c♯", "f♯", "in", "b", "flat"]), ("# A heading #", ["a", "head"]), ("C♯", ["c♯"]), ("Notepad++", ["notepad∔∔", "notepad"]),
        (".NET", ["∙net", "net"]), ("asp.net ../up ...and 3.14", ["asp", "net", "up", "and", "3", "14"]), ("+1 x+1", ["∔1", "1", "x", "1"]),
        ("C++开发🎉", ["c∔∔", "开发", "🎉"]), ("│──┤ • ⠿", []), ("a_.b_🎉", ["a", "∙b", "b", "🎉"]),
    ],
)  # fmt: skip
def test_what_is_a_word(text: str, wanted: list[str]) -> None:
    """A sign is one by itself; what belongs to a word makes another word of it; frames and bullets are none."""
    assert terms(text) == wanted


MIXED = st.text(st.sampled_from(f"abc1+#.♯ _-üж中ก(/🎉❤\ufe0f\u200d♂🇩🇪€\U0001f3fd{WOMAN}"), max_size=12)


@given(MIXED)
def test_a_text_without_signs_is_cut_as_ever(text: str) -> None:
    """The quick look and the pattern agree: where it sees no sign, cutting with signs gives the words."""
    if not symbols.has(text):
        text = text.replace("_", " ")
        assert [word for _, _, word in symbols.cut(text, _WORD)] == _WORD.findall(text)


@given(MIXED, MIXED)
def test_what_a_text_says_is_found_in_it(text: str, more: str) -> None:
    """Each term of a text counts where the text stands among others, and its place can be marked."""
    whole = f"{more} {text} {more}"
    for term in term_set(text):
        wanted = Wanted({term: 1.0})
        assert term in term_set(whole)
        if "♯" in term and "♯" in whole:
            continue  # marked where it is written with `#`
        assert wanted.value(whole) == 1.0 and wanted.spans(whole), (term, root(term))
        assert all(0 <= start < end <= len(whole) for start, end in wanted.spans(whole))


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notes]:
    """A note for each sign, and others that are nearly it."""
    folder: Path = tmp_path_factory.mktemp("signs")
    for name, text in {
        "party": "# 🎉 New year\n\nWith friends.", "vote": f"# Vote\n\nMany {THUMB}\U0001f3ff and +1 for it.", "list": "# Chores\n\n✓ wash → dry",
        "tagged": "---\ntags: [🌱, ❤️]\n---\nSeeds.", "coder": f"# Jobs\n\nShe is a {WOMAN}\U0001f3fd\u200d{LAPTOP} now.", "c": "# C\n\nPointers in C, and 1 more.",
        "cpp": "# Templates\n\nC++ has them. C++ again.", "csharp": "# Linq\n\nIn C# only.", "net": "# Runtime\n\nAll of .NET and ASP.NET.",
        "fishing": "# Fishing\n\nA net for carp.", "price": "# Price\n\n12 € a kilo, see § 7.", "flag": "# Berlin 🇩🇪\n\nA town.", "plain": "# Roof\n\nTiles.",
    }.items():  # fmt: skip
        (folder / f"{name}.md").write_text(text)
    with Notes(folder) as opened:
        yield opened


@pytest.mark.parametrize(
    "query, wanted",
    [
        ("🎉", ["party"]), (THUMB, ["vote"]), (f"{THUMB}\U0001f3fb", ["vote"]), ("+1", ["vote"]), ("✓", ["list"]), ("✓ wash", ["list"]),
        ("→", ["list"]), ("🌱", ["tagged"]), ("❤", ["tagged"]), ("tag:❤", ["tagged"]), ("tag:🌱 ❤️", ["tagged"]), (LAPTOP, ["coder"]),
        (f"{WOMAN}\u200d{LAPTOP}", ["coder"]), ("c++", ["cpp"]), ("C#", ["csharp"]), ("c♯", ["csharp"]), ("C", ["c"]), ('"C++ has"', ["cpp"]),
        ("€", ["price"]), ("§ 7", ["price"]), ("🇩🇪", ["flag"]), ("🇫🇷", []), ("🦖", []), ("roof 🦖", ["plain"]), ("New year -🎉", []),
    ],
)  # fmt: skip
def test_a_sign_finds_the_notes_that_have_it(notes: Notes, query: str, wanted: list[str]) -> None:
    """Alone, beside words, in phrases, as a tag, and to leave notes out."""
    found = [hit.id for hit in notes.search(query)]
    assert found[: max(1, len(wanted))] == wanted, query
    # The 1 of `+1` alone is a word too; behind C come the names that begin so.
    if query not in ("+1", "✓ wash", "§ 7", "C"):
        assert found == wanted


def test_a_word_with_a_sign_is_better_found_with_it(notes: Notes) -> None:
    """`.NET` is the runtime first, the net of a fisher after it; and the sign is marked with its word."""
    hits = notes.search(".NET")
    assert [hit.id for hit in hits] == ["net", "fishing"]
    assert [hits[0].snippet[low:high] for low, high in hits[0].marks] == [".NET", "NET"]
    (hit,) = notes.search("C++")
    assert [hit.snippet[low:high] for low, high in hit.marks] == ["C++", "C++"]


def test_signs_are_found_in_a_large_store(tmp_path: Path) -> None:
    """Where fewer notes are looked at, too."""
    for number in range(3100):
        (tmp_path / f"{number}.md").write_text(
            f"# Note {number}\n\n{'🎉 ' if number == 7 else ''}C{'++' if number % 100 == 3 else ''} word"
        )
    with Notes(tmp_path) as notes:
        assert [hit.id for hit in notes.search("🎉")] == ["7"]
        assert {int(hit.id) % 100 for hit in notes.search("c++ word", limit=20)} == {3}
        assert notes.search("word 🎉")[0].id == "7"
