"""Ranking looks closely only at notes that can win, and that never changes who wins."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from records.cuts import Cut, Memory, cut_heads, cut_text, sections
from records.ranking import Candidate, Term, best
from records.text import analyse

WORDS = ["roof", "leak", "pump", "garden", "solar", "tile", "beam", "door", "lamp", "sink"]
PLANNED = [
    Term("roof", {"roof": 1.0, "tile": 0.55}, 2.0),
    Term("leak", {"leak": 1.0}, 1.5),
    Term("pump", {"pump": 1.0, "sink": 0.6}, 0.7),
]


@dataclass
class _Made:
    """A note as a test writes it: a body with headings at the given places."""

    body: str = ""
    outline: list[tuple[int, str, int]] = field(default_factory=list)

    def cut(self, path: str, title: str, tags: list[str]) -> Cut:
        headings = [analyse(text) for _, text, _ in self.outline]
        heads = cut_heads([analyse(title), analyse(path)], [analyse(" ".join(tags))], headings)
        text = cut_text(self.outline, self.body)
        return Cut(title, json.dumps(tags), json.dumps(self.outline), len(self.body), heads, text)


def made(parts: list[tuple[str, int, list[str]]]) -> _Made:
    note = _Made()
    for heading, level, words in parts:
        if level:
            note.outline.append((level, heading, len(note.body)))
        note.body += f"{'#' * level} {heading}\n\n{' '.join(words)}\n\n"
    return note


words = st.sampled_from(WORDS)
# Long enough for several windows, and mostly words that nobody asked for.
texts = st.lists(st.one_of(st.just("filler"), st.just("filling"), words), max_size=60).map(lambda some: some * 6)
bodies = st.lists(st.tuples(words, st.integers(0, 3), texts), min_size=1, max_size=4).map(made)
candidates = st.lists(
    st.tuples(bodies, words, st.lists(words, max_size=2), st.floats(0.1, 9.0)), min_size=1, max_size=14
)


def fresh(some: list[tuple[_Made, str, list[str], float]], memory: Memory) -> list[Candidate]:
    found = []
    for number, (note, title, tags, bm25) in enumerate(some):
        path = f"folder/note {number}.md"
        cut = memory.recall(path, "r", marked=True)
        if cut is None:
            cut = note.cut(path, title, tags)
            memory.keep(path, "r", cut)
        found.append(Candidate(number, f"n{number:02}", "durable", "", cut, bm25))
    return found


def said(notes: list[Candidate]) -> list[tuple[str, float, float, tuple[int, int], str]]:
    return [(note.id, note.score, note.coverage, note.span, note.section) for note in notes]


@given(candidates, st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_the_best_few_are_the_first_of_all(some: list[tuple[_Made, str, list[str], float]], limit: int) -> None:
    """Leaving out what cannot win gives the same notes, scores and passages as judging everything."""
    memory = Memory()
    everything = best(fresh(some, memory), PLANNED, len(some))
    assert said(best(fresh(some, memory), PLANNED, limit)) == said(everything)[:limit]


@given(candidates)
@settings(max_examples=30, deadline=None)
def test_a_remembered_note_is_judged_as_a_new_one(some: list[tuple[_Made, str, list[str], float]]) -> None:
    """The second and the third meeting give the scores of the first."""
    memory = Memory()
    first = said(best(fresh(some, memory), PLANNED, 5))
    for _ in range(2):
        assert said(best(fresh(some, memory), PLANNED, 5)) == first


@given(bodies)
@settings(max_examples=30, deadline=None)
def test_sections_lie_where_they_say(note: _Made) -> None:
    """The terms up to the end of each section are those of the body between `start` and `end`."""
    cut = note.cut("a.md", "A", [])
    assert len(cut.sections()) == len(cut.ends()) == len(sections(note.outline, len(note.body)))
    low = 0
    for (start, end, _, _), high in zip(cut.sections(), cut.ends(), strict=True):
        text = cut.text[low:high]
        assert text.split() == cut_text([], note.body[start:end]).split()
        assert text[0] == text[-1] == " "
        low = high + 1


def test_a_longer_term_is_another_one() -> None:
    """In names, headings and text; also where the text is cut off after what is asked for."""

    def score(term: str) -> float:
        heads = cut_heads([term, "a"], [term], [term])
        cut = Cut(term, "[]", "[]", 100, heads, f" {term} filler {term} ")
        return best([Candidate(1, "a", "durable", "", cut, 1.0)], PLANNED, 5)[0].score

    assert score("leakage") == score("leak2") == score("filler") < score("leak")
    heads = cut_heads(["a"], [], [])
    whole, off = (Cut("a", "[]", "[]", 100, heads, text) for text in (" filler leak ", " filler leak"))
    first, second = (best([Candidate(1, "a", "durable", "", cut, 1.0)], PLANNED, 5)[0].score for cut in (whole, off))
    assert first > second == score("filler")


def test_the_passage_is_the_section_that_says_it() -> None:
    """A word in one of many sections names that section and its place in the body."""
    note = made(
        [("Doors", 2, ["filler"] * 40), ("Water", 2, ["filler", "leak", "roof"]), ("Lamps", 2, ["filler"] * 40)]
    )
    (hit,) = best(fresh([(note, "House", [], 1.0)], Memory()), PLANNED, 3)
    assert hit.section == "Water"
    assert note.body[slice(*hit.span)].split()[:3] == ["##", "Water", "filler"]


def test_memory_is_bounded_and_drops_what_was_not_used_for_longest() -> None:
    """Of more notes than fit, those met last stay; one note is kept even when it alone is too large."""
    note = made([("Doors", 2, ["filler"] * 40)])
    size = note.cut("a.md", "A", []).size
    memory = Memory(limit=4 * size)
    for name in "abc":
        memory.keep(name, "r", note.cut("a.md", "A", []))
    assert memory.recall("a", "r") is not None  # now `b` is the one not used for longest
    for name in "de":
        memory.keep(name, "r", note.cut("a.md", "A", []))
    assert memory.recall("b", "r") is None
    assert memory.recall("a", "r") is not None
    small = Memory(limit=1)
    small.keep("a", "r", note.cut("a.md", "A", []))
    assert small.recall("a", "r") is not None


def test_a_moved_note_is_not_taken_for_the_old_one() -> None:
    """The same bytes at another path have other names, so their terms are cut again."""
    memory = Memory()
    memory.keep("old.md", "r", made([]).cut("old.md", "Old", []))
    assert memory.recall("new.md", "r") is None
    assert memory.recall("old.md", "s") is None
