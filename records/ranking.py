"""What the few candidates of a search are worth: pure, no SQL, no text, only terms.

FTS5 alone ranks long notes with common words high. Here a note is judged by how much of the query's weight (rare
words weigh more) it has at all, in its names, and together in one passage. A note that cannot be among the best,
whatever its passages say, is not looked at closely. What is only needed of a hit, or of a note whose names say
something, is taken apart when it is: most of a search is many small looks, and few of them find anything.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from records.cuts import PART, SEPARATOR, Cut

READ = 120_000  # characters of a note that are looked at for its best passage
BEGINNING = 300  # characters of joined terms that introduce a note: about 45 words
WINDOW = 600  # characters of joined terms in a passage: about 90 words
SPOKEN = 0.05  # score of a note that has all the ignored words of a question: several languages share its other words
AS_WRITTEN = (
    0.02  # of a title that spells the words of the question as it does: `Reunião` beside `Reunión`, 读 beside 讀
)
_ONCE, _OFTEN, _HEADED = 0.7, 0.3, 0.5  # what a word in a passage counts: there, said again and again, in its heading


@dataclass(slots=True)
class Term:
    """One thing asked for. `forms`: index term -> how well it stands for it, 0..1. `weight`: how much it says. `begun`: the first
    letters of a word, so few that they only rank."""

    word: str
    forms: dict[str, float] = field(default_factory=dict)
    weight: float = 0.0
    docs: int = 0
    begun: bool = False


@dataclass(slots=True)
class Candidate:
    """A note that may be a hit. What is set by `best`: score, coverage, section and span (of the body) of its passage."""

    note: int
    id: str
    kind: str
    updated: str
    cut: Cut
    bm25: float
    body: str = ""  # as much of it as was read with the terms
    score: float = 0.0
    coverage: float = 0.0
    span: tuple[int, int] = (0, 0)
    section: str = ""


Meanings = list[tuple[int, float]]  # (which term, how well)
Found = dict[int, float]  # which term -> how well
Hits = list[tuple[int, int]]  # (offset, which index term)
Said = tuple[int, ...]  # which index terms, in their order, as often as they stand
_NOTHING: Found = {}  # not to be changed


class _Query:
    """What is asked, and what was found out of it so far: notes have the same few terms in many places."""

    def __init__(self, planned: Sequence[Term], written: Sequence[str] = ()) -> None:
        self.written = written
        meanings: dict[str, Meanings] = {}
        for place, term in enumerate(planned):
            for form, quality in term.forms.items():
                meanings.setdefault(form, []).append((place, quality))
        self.weights = [term.weight for term in planned]
        self.weight = sum(self.weights) or 1.0
        self.meanings = list(meanings.values())
        self.lookup = meanings
        # What is looked for, and how long it is up to the space behind it. Without that space `str.find` is more than twice as
        # fast, since in terms every seventh character is one; a short form begins too many others.
        self.needles = [
            (which, f" {form}" if len(form) > 2 else f" {form} ", len(form) + 1) for which, form in enumerate(meanings)
        ]
        self.hashes = [hash(form) for form in meanings]
        self._counted: dict[Said, tuple[Found, Found]] = {}
        self._plain: dict[Said, tuple[float, float]] = {}

    def counted(self, said: Said) -> tuple[Found, Found]:
        """Of some index terms: the best quality of each query term; how often each is said."""
        known = self._counted.get(said)
        if known is None:
            qualities: Found = {}
            counts: Found = {}
            for which in said:
                for place, quality in self.meanings[which]:
                    counts[place] = counts.get(place, 0.0) + quality
                    if quality > qualities.get(place, 0.0):
                        qualities[place] = quality
            known = self._counted[said] = qualities, counts
        return known

    def passage(self, said: Said, known: Mapping[int, float], head: Mapping[int, float]) -> float:
        """The weight that a passage with some index terms says. `head`: what its headings say, `known`: and the names."""
        qualities, counts = self.counted(said)
        found = {**known, **{place: max(quality, known.get(place, 0.0)) for place, quality in qualities.items()}}
        value = 0.0
        for place, quality in found.items():
            often = counts.get(place, 0.0)
            lift = _ONCE + _OFTEN * often / (often + 1.0) + (_HEADED if place in head else 0.0)
            value += self.weights[place] * quality * lift
        return value

    def plain(self, said: Said) -> tuple[float, float]:
        """(`share`, `passage`) of some index terms where names and headings say nothing."""
        known = self._plain.get(said)
        if known is None:
            known = self._plain[said] = self.share(self.counted(said)[0]), self.passage(said, {}, {})
        return known

    def introduced(self, hits: Hits) -> float:
        """How much of the weight of the query is found where a note says what it is about."""
        if not hits or hits[0][0] >= BEGINNING:
            return 0.0
        return self.plain(_said(hits, 0, bisect_left(hits, (BEGINNING, 0))))[0]

    def share(self, found: Found) -> float:
        """How much of the weight of the query is found."""
        return min(1.0, sum([self.weights[place] * quality for place, quality in found.items()]) / self.weight)


class _Look(NamedTuple):
    """A first look at a candidate: all that is known without its passages, and the most that it can score."""

    most: float
    note: Candidate
    hits: Hits
    named: Found
    headed: dict[int, Found]  # what each heading says that has anything
    outside: float  # the part of the score that passages and coverage do not touch
    coverage: float


def best(
    notes: Sequence[Candidate],
    planned: Sequence[Term],
    limit: int,
    ignored: Sequence[str] = (),
    written: Sequence[str] = (),
) -> list[Candidate]:
    """The `limit` best, best first, ties by id. The others are left unjudged. `ignored`: index terms of words that carry no
    subject; a note that has them is in the language of the question. `written`: the words of the question as they were typed,
    case aside."""
    query = _Query(planned, written)
    top = max((note.bm25 for note in notes), default=0.0) or 1.0
    looks = [_look(note, query, note.bm25 / top) for note in notes]
    if ignored:
        needles = [f" {term} " for term in ignored]
        looks = [_spoken(look, needles) for look in looks]
    looks.sort(key=_most, reverse=True)
    judged: list[tuple[float, str, Candidate, int, int]] = []
    scores: list[float] = []
    for look in looks:
        if len(scores) == limit and look.most < scores[0] - 1e-5:
            break  # nor can any of those that follow
        note = look.note
        passage, section, low = _best_passage(look, query)
        note.coverage = round(look.coverage, 4)
        note.score = _score(look.outside, note.coverage, passage / query.weight)
        judged.append((-round(note.score, 6), note.id, note, section, low))
        if len(scores) < limit:
            heapq.heappush(scores, note.score)
        else:
            heapq.heappushpop(scores, note.score)
    judged.sort(key=_order)
    found = []
    for _, _, note, section, low in judged[:limit]:
        _place(note, section, low)
        found.append(note)
    return found


def _spoken(look: _Look, needles: list[str]) -> _Look:
    text = look.note.cut.text
    more = SPOKEN * any(needle in text for needle in needles)
    return look._replace(most=look.most + more, outside=look.outside + more)


def _most(look: _Look) -> float:
    return look.most


def _order(judged: tuple[float, str, Candidate, int, int]) -> tuple[float, str]:
    return judged[:2]


# Weights found on two judged sets (tests/librarian); flat around these values.
def _score(outside: float, coverage: float, passage: float) -> float:
    return outside + 0.18 * coverage + 0.27 * passage


def _look(note: Candidate, query: _Query, bm25: float) -> _Look:
    cut = note.cut
    hits, said = _hits(cut, query)
    above = cut.heads
    for _, needle, _ in query.needles:
        if needle in above:
            break
    else:
        share, passage = query.plain(said)
        outside = 0.14 * bm25 + 0.07 * query.introduced(hits)
        return _Look(_score(outside, share + 1e-4, passage / query.weight), note, hits, {}, {}, outside, share)
    return _look_above(note, query, bm25, hits, said)


def _look_above(note: Candidate, query: _Query, bm25: float, hits: Hits, said: Said) -> _Look:
    """A look at a candidate whose title, path, aliases, tags or headings have what is asked for."""
    above = _Above(note.cut.heads, query)
    best_name = 0.0
    exact = False
    named: Found = {}
    for size, has in above.names:
        found = query.counted(tuple(has))[0]
        for place, quality in found.items():
            if quality > named.get(place, 0.0):
                named[place] = quality
        part = len(set(has)) / size
        share = query.share(found)
        best_name = max(best_name, share * (0.55 + 0.45 * part))
        # Somebody typed this very name: a long note that says its words often is not what is looked for.
        exact = exact or (part == 1.0 and share > 0.97)
    tagged = query.counted(tuple(above.labels))[0]
    headed = {heading: query.counted(tuple(has))[0] for heading, has in above.headings.items()}
    under = _together(*headed.values())
    outside = 0.15 * exact + 0.60 * best_name + 0.14 * bm25 + 0.04 * query.share(tagged)
    outside += 0.07 * query.introduced(hits)
    if named and query.written:
        title = note.cut.title.casefold()
        outside += AS_WRITTEN * sum([word in title for word in query.written]) / len(query.written)
    # No passage says more than all of them together.
    passage = query.passage(said, _together(under, _times(0.5, named)), under)
    coverage = query.share(_together(query.counted(said)[0], named, _times(0.9, tagged)))
    most = _score(outside, coverage + 1e-4, passage / query.weight)
    return _Look(most, note, hits, named, headed, outside, coverage)


def _together(first: Found = _NOTHING, *others: Found) -> Found:
    """The best of several for each term."""
    found = dict(first)
    for other in others:
        for place, quality in other.items():
            if quality > found.get(place, 0.0):
                found[place] = quality
    return found


def _times(factor: float, found: Found) -> Found:
    return {place: factor * quality for place, quality in found.items()}


class _Above:
    """Which index terms stand in each of the names, in the labels, and in each of the headings of `cut_heads`."""

    def __init__(self, heads: str, query: _Query) -> None:
        self.names: list[tuple[int, list[int]]] = []  # (different terms of the name, those that are asked for)
        self.labels: list[int] = []
        self.headings: dict[int, list[int]] = {}
        names = heads.index(PART)
        labels = heads.index(PART, names + 1)
        in_names: dict[int, list[int]] = {}
        for which, needle, size in query.needles:
            at = heads.find(needle)
            while at >= 0:
                end = at + size
                if not heads.startswith(" ", end):
                    pass  # another word, which begins so
                elif at > labels:
                    self.headings.setdefault(heads.count(SEPARATOR, labels, at), []).append(which)
                elif at > names:
                    self.labels.append(which)
                else:
                    in_names.setdefault(heads.count(SEPARATOR, 0, at), []).append(which)
                at = heads.find(needle, end)
        if in_names:
            some = heads[:names].split(SEPARATOR)
            self.names = [(len(set(some[name].split())), has) for name, has in in_names.items()]


def _hits(cut: Cut, query: _Query) -> tuple[Hits, Said]:
    """Where wanted terms stand in joined terms, in order; and which. `str.find` runs in C: ten times faster than a look at
    every term."""
    needles = query.needles
    marks = cut.marks
    if marks:
        mask = len(marks) - 1
        needles = [needle for needle, value in zip(needles, query.hashes, strict=True) if marks[value & mask]]
    hits: Hits = []
    said: list[int] = []
    find, startswith = cut.text.find, cut.text.startswith
    for which, needle, size in needles:
        at = find(needle)
        while at >= 0:
            end = at + size
            if startswith(" ", end):
                hits.append((at, which))
                said.append(which)
            at = find(needle, end)
    hits.sort()
    return hits, tuple(said)


def _best_passage(look: _Look, query: _Query) -> tuple[float, int, int]:
    """Weight of the query that one passage says (its headings and, at a discount, names count); its section, and where in the
    terms of that it begins."""
    if look.headed:
        return _best_below(look, query)
    hits = look.hits
    half = _times(0.5, look.named)
    ends = look.note.cut.ends()
    most = -1.0
    section = begin = first = 0
    count = len(hits)
    if not hits or hits[0][0] >= ends[0]:
        most = query.passage((), half, {}) if half else 0.0
    while first < count:
        place = bisect_right(ends, hits[first][0])
        high = ends[place]
        last = first + 1
        while last < count and hits[last][0] < high:
            last += 1
        base = ends[place - 1] + 1 if place else 0
        for low, one, other in _windows(hits, first, last, base, high):
            said = _said(hits, one, other)
            value = query.passage(said, half, {}) if half else query.plain(said)[1]
            if value > most + 1e-9:
                most, section, begin = value, place, low
        first = last
    return most, section, begin


def _best_below(look: _Look, query: _Query) -> tuple[float, int, int]:
    """As `_best_passage`, where headings have what is asked for: every section counts, also one whose text has nothing."""
    cut, hits = look.note.cut, look.hits
    heading = -1
    half = _times(0.5, look.named)
    most = -1.0
    section = begin = first = last = base = 0
    above: list[tuple[int, Found]] = []  # what the headings say that a section is under, with their levels
    for place, (high, (_, _, level, _)) in enumerate(zip(cut.ends(), cut.sections(), strict=False)):
        first = last
        while last < len(hits) and hits[last][0] < high:
            last += 1
        if level:
            while above and above[-1][0] >= level:
                above.pop()
            heading += 1
            above.append((level, look.headed.get(heading, _NOTHING)))
        head = _together(*[found for _, found in above if found])
        if first < last or head or most < 0.0:
            known = _together(head, half)
            for low, one, other in _windows(hits, first, last, base, high):
                value = query.passage(_said(hits, one, other), known, head)
                if value > most + 1e-9:
                    most, section, begin = value, place, low
        base = high + 1
    return max(0.0, most), section, begin


def _said(hits: Hits, first: int, last: int) -> Said:
    if last - first == 1:
        return (hits[first][1],)
    return tuple(sorted([which for _, which in hits[first:last]]))


def _windows(hits: Hits, first: int, last: int, base: int, high: int) -> Iterator[tuple[int, int, int]]:
    """(offset in the section, first and last hit inside) of each window that has any; one without, for what the headings
    say, when none has. A window whose hits are all in the one before says nothing new and is left out."""
    size = high - base
    if size <= WINDOW or first == last:
        return iter(((0, first, last),))
    return _long_windows(hits, first, last, base, size)


def _long_windows(hits: Hits, first: int, last: int, base: int, size: int) -> Iterator[tuple[int, int, int]]:
    step = WINDOW // 2
    end = first
    start = (hits[first][0] - base) // step * step
    for low in range(start, max(start + 1, size - step), step):
        while first < last and hits[first][0] < base + low:
            first += 1
        if first == last:
            return
        before = end
        while end < last and hits[end][0] < base + low + WINDOW:
            end += 1
        if end > before:
            yield low, first, end


def _place(note: Candidate, place: int, low: int) -> None:
    """Say where in the body the passage lies that begins at an offset in the terms of a section; of a long one roughly."""
    ends, some = note.cut.ends(), note.cut.sections()
    if place >= len(some):
        return
    start, end, _, note.section = some[place]
    count = ends[place] - (ends[place - 1] + 1 if place else 0)
    if count > WINDOW:
        size = end - start
        start, end = start + size * low // count, min(end, start + size * (low + WINDOW) // count + 20)
    note.span = start, end
