"""What the few candidates of a search are worth: pure, no SQL, no text, only terms.

FTS5 alone ranks long notes with common words high. Here a note is judged by how much of the query's weight (rare
words weigh more) it has at all, in its names, and together in one passage. A note that cannot be among the best,
whatever its passages say, is not looked at closely.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from records.text import analyse, in_place, may_hold, root, terms

MAX_SECTIONS = 400
SEPARATOR = "\x1e"  # no term contains it
READ = 120_000  # characters of a note that are looked at for its best passage
WINDOW = 600  # characters of joined terms in a passage: about 90 words
_ONCE, _OFTEN, _HEADED = 0.7, 0.3, 0.2  # what a word in a passage counts: there, said again and again, in its heading


@dataclass(slots=True)
class Term:
    """One thing asked for. `forms`: index term -> how well it stands for it, 0..1. `weight`: how much it says. `begun`: the first
    letters of a word, so few that they only rank."""

    word: str
    forms: dict[str, float] = field(default_factory=dict)
    weight: float = 0.0
    docs: int = 0
    begun: bool = False


class Section(NamedTuple):
    """`low` and `high`: where its terms lie in the text of the cut. `start` and `end`: where it lies in the body."""

    start: int
    end: int
    level: int
    heading: str
    low: int
    high: int


class Heads(NamedTuple):
    """What stands above the text of a note, as terms."""

    names: tuple[tuple[str, ...], ...]  # of title, last part of the path, aliases; each once
    labels: frozenset[str]  # of tags and folders
    headings: frozenset[str]


@dataclass(slots=True)
class Cut:
    """A note cut into terms, as ranking reads it. Names, tags and headings, which seldom have what is asked for, are cut when
    they may: see `heading`."""

    title: str
    tags: tuple[str, ...]
    path: str
    aliases: tuple[str, ...]
    sections: tuple[Section, ...]
    text: str  # the terms of all sections, a space before and after each: a tenth of the memory of lists
    heading: str  # title, path, aliases, tags and headings, folded in place (`records.text.in_place`)
    size: int
    marks: bytes = b""  # see `_mark`
    heads: Heads | None = None

    def cut_heads(self) -> Heads:
        """The terms of what stands above the text; found once."""
        if self.heads is None:
            folder, _, last = self.path.rpartition("/")
            names = (self.title, last.rpartition(".")[0], *self.aliases)
            self.heads = Heads(
                tuple([tuple(dict.fromkeys(terms(name))) for name in names]),
                frozenset(terms(" ".join((*self.tags, folder)))),
                frozenset(terms(" ".join([section.heading for section in self.sections]))),
            )
        return self.heads


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
Lookup = dict[str, Meanings]
Hits = list[tuple[int, Meanings]]  # (offset, what stands there)


@dataclass(slots=True)
class _Query:
    weights: list[float]
    weight: float
    lookup: Lookup
    needles: list[tuple[int, str, Meanings]]  # hash of an index term, the term between spaces, what it stands for
    roots: list[str]  # where none of these stands, no term does


@dataclass(slots=True)
class _Look:
    """A first look at a candidate: all that is known without its passages, and the most that it can score."""

    note: Candidate
    hits: Hits
    named: dict[int, float]
    tagged: dict[int, float]
    headed: bool
    outside: float  # the part of the score that passages and coverage do not touch
    most: float


def best(notes: Sequence[Candidate], planned: Sequence[Term], limit: int) -> list[Candidate]:
    """The `limit` best, best first, ties by id. The others are left unjudged."""
    lookup: Lookup = {}
    for place, term in enumerate(planned):
        for form, quality in term.forms.items():
            lookup.setdefault(form, []).append((place, quality))
    weights = [term.weight for term in planned]
    needles = [(hash(form), f" {form} ", found) for form, found in lookup.items()]
    query = _Query(weights, sum(weights) or 1.0, lookup, needles, list(dict.fromkeys(map(root, lookup))))
    top = max((note.bm25 for note in notes), default=0.0) or 1.0
    looks = [_look(note, query, note.bm25 / top) for note in notes]
    looks.sort(key=lambda look: -look.most)
    judged: list[Candidate] = []
    scores: list[float] = []
    for look in looks:
        if len(scores) == limit and look.most < scores[0] - 1e-5:
            break  # nor can any of those that follow
        _judge(look, query)
        judged.append(look.note)
        if len(scores) < limit:
            heapq.heappush(scores, look.note.score)
        else:
            heapq.heappushpop(scores, look.note.score)
    judged.sort(key=lambda note: (-round(note.score, 6), note.id))
    return judged[:limit]


def _found(tokens: Iterable[str], lookup: Lookup) -> dict[int, float]:
    """Query terms that stand among tokens, with the quality of the best form."""
    found: dict[int, float] = {}
    for token in tokens:
        if token in lookup:
            for place, quality in lookup[token]:
                if quality > found.get(place, 0.0):
                    found[place] = quality
    return found


def _share(found: dict[int, float], query: _Query) -> float:
    weights = query.weights
    return sum([weights[place] * quality for place, quality in found.items()]) / query.weight


# Weights found on two judged sets (tests/librarian); flat around these values.
def _score(outside: float, coverage: float, passage: float) -> float:
    return outside + 0.20 * coverage + 0.27 * passage


def _look(note: Candidate, query: _Query, bm25: float) -> _Look:
    cut, lookup, weights = note.cut, query.lookup, query.weights
    best_name = 0.0
    exact = False
    named: dict[int, float] = {}
    tagged: dict[int, float] = {}
    headed: dict[int, float] = {}
    if may_hold(cut.heading, query.roots):
        heads = cut.cut_heads()
        for name in heads.names:
            said = [token for token in name if token in lookup]
            if not said:
                continue
            found = _found(said, lookup)
            for place, quality in found.items():
                if quality > named.get(place, 0.0):
                    named[place] = quality
            part = len(said) / len(name)
            share = _share(found, query)
            best_name = max(best_name, share * (0.55 + 0.45 * part))
            # Somebody typed this very name: a long note that says its words often is not what is looked for.
            exact = exact or (part == 1.0 and share > 0.97)
        tagged = _found(lookup.keys() & heads.labels, lookup)
        headed = _found(lookup.keys() & heads.headings, lookup)
    hits, body, counts = _hits(cut, query.needles)
    outside = 0.25 * exact + 0.33 * best_name + 0.14 * bm25 + 0.04 * _share(tagged, query)
    # No passage says more than all of them together.
    passage = 0.0
    for place in body.keys() | headed.keys() | named.keys():
        quality = max(body.get(place, 0.0), headed.get(place, 0.0), 0.5 * named.get(place, 0.0))
        often = counts.get(place, 0.0)
        lift = _ONCE + _OFTEN * often / (often + 1.0) + (_HEADED if place in headed else 0.0)
        passage += weights[place] * quality * lift
    coverage = min(1.0, _share(_everywhere(body, named, tagged), query))
    most = _score(outside, coverage + 1e-4, passage / query.weight)
    return _Look(note, hits, named, tagged, bool(headed), outside, most)


def _everywhere(body: dict[int, float], named: dict[int, float], tagged: dict[int, float]) -> dict[int, float]:
    everywhere = dict(body)
    for extra, value in ((named, 1.0), (tagged, 0.9)):
        for place, quality in extra.items():
            everywhere[place] = max(everywhere.get(place, 0.0), quality * value)
    return everywhere


def _hits(cut: Cut, needles: list[tuple[int, str, Meanings]]) -> tuple[Hits, dict[int, float], dict[int, float]]:
    """Where wanted terms stand in joined terms, in order; the best quality of each query term; how often each is said.
    `str.find` runs in C: ten times faster than a look at every term."""
    marks = cut.marks
    if marks:
        mask = len(marks) - 1
        needles = [needle for needle in needles if marks[needle[0] & mask]]
    hits: Hits = []
    qualities: dict[int, float] = {}
    counts: dict[int, float] = {}
    find = cut.text.find
    for _, needle, meanings in needles:
        at = find(needle)
        if at < 0:
            continue
        before = len(hits)
        step = len(needle) - 1
        while at >= 0:
            hits.append((at, meanings))
            at = find(needle, at + step)
        times = len(hits) - before
        for place, quality in meanings:
            counts[place] = counts.get(place, 0.0) + times * quality
            if quality > qualities.get(place, 0.0):
                qualities[place] = quality
    hits.sort(key=_offset)
    return hits, qualities, counts


def _mark(text: str) -> bytes:
    """A byte for each slot that the hash of one of the terms falls into: most of the terms that a note does not have are
    ruled out by one look, without a search through its text."""
    found = set(text.split())
    marks = bytearray(1 << (4 * len(found) + 1).bit_length())
    mask = len(marks) - 1
    for value in map(hash, found):
        marks[value & mask] = 1
    return bytes(marks)


def _offset(hit: tuple[int, Meanings]) -> int:
    return hit[0]


def _judge(look: _Look, query: _Query) -> None:
    """Set score, coverage and best passage of a candidate."""
    note = look.note
    passage, body = _best_passage(look, query)
    note.coverage = round(min(1.0, _share(_everywhere(body, look.named, look.tagged), query)), 4)
    note.score = _score(look.outside, note.coverage, passage / query.weight)


def _best_passage(look: _Look, query: _Query) -> tuple[float, dict[int, float]]:
    """Weight of the query that one passage says (its headings and, at a discount, names count), and what the body says."""
    note, hits, weights, lookup = look.note, look.hits, query.weights, query.lookup
    everywhere: dict[int, float] = {}
    most = -1.0
    half = {place: 0.5 * quality for place, quality in look.named.items()}
    head: dict[int, float] = {}
    first = last = 0
    above: list[tuple[int, dict[int, float]]] = []  # what the headings say that a section is under, with their levels
    for section in note.cut.sections:
        first = last
        high = section.high
        while last < len(hits) and hits[last][0] < high:
            last += 1
        if look.headed:
            head = _headings(section, above, lookup)
        if first == last and not head and most >= 0.0:
            continue  # says what an earlier empty section said
        known = half
        if head:
            known = {place: max(head.get(place, 0.0), half.get(place, 0.0)) for place in head.keys() | half.keys()}
        for low, begin, end in _windows(hits, first, last, section):
            counts: dict[int, float] = {}
            found = known.copy()
            for _, meanings in hits[begin:end]:
                for place, quality in meanings:
                    counts[place] = counts.get(place, 0.0) + quality
                    if quality > found.get(place, 0.0):
                        found[place] = quality
                    if quality > everywhere.get(place, 0.0):
                        everywhere[place] = quality
            value = 0.0
            for place, quality in found.items():
                often = counts.get(place, 0.0)
                lift = _ONCE + _OFTEN * often / (often + 1.0) + (_HEADED if place in head else 0.0)
                value += weights[place] * quality * lift
            if value > most + 1e-9:
                most = value
                note.section = section.heading
                note.span = _window_span(section, low)
    return max(0.0, most), everywhere


def _headings(section: Section, above: list[tuple[int, dict[int, float]]], lookup: Lookup) -> dict[int, float]:
    """What the heading of a section and those above it say; `above` is kept for the next section."""
    if section.level:
        while above and above[-1][0] >= section.level:
            above.pop()
        above.append((section.level, _found(terms(section.heading), lookup)))
    head: dict[int, float] = {}
    for _, found in above:
        for place, quality in found.items():
            if quality > head.get(place, 0.0):
                head[place] = quality
    return head


def _windows(hits: Hits, first: int, last: int, section: Section) -> Iterator[tuple[int, int, int]]:
    """(offset in the section, first and last hit inside) of each window that has any; one without, for what the headings
    say, when none has. A window whose hits are all in the one before says nothing new and is left out."""
    base, size = section.low, section.high - section.low
    if size <= WINDOW or first == last:
        yield 0, first, last
        return
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


def _window_span(section: Section, low: int) -> tuple[int, int]:
    """Roughly where a window of terms lies in the body."""
    start, end, count = section.start, section.end, section.high - section.low
    if count <= WINDOW:
        return start, end
    size = end - start
    return start + size * low // count, min(end, start + size * (low + WINDOW) // count + 20)


# --- notes as terms ---


class Memory:
    """What a connection remembers between searches: document counts, and the notes it cut last. Bounded; drop it when
    the index changed (`forget`), since counts are of one state; cut notes are known by path and revision and stay."""

    def __init__(self, limit: int = 12_000_000) -> None:
        self.docs: dict[str, int] = {}
        self.total = -1
        self._limit = limit
        self._size = 0
        self._cuts: dict[tuple[str, str], Cut] = {}

    def forget(self) -> None:
        """The index has changed."""
        self.docs.clear()
        self.total = -1

    def recall(self, path: str, revision: str, *, marked: bool = False) -> Cut | None:
        """The note's terms, if they are remembered. `marked`: with marks, which pay when many terms are looked for."""
        cut = self._cuts.pop((path, revision), None)
        if cut is not None:
            self._cuts[path, revision] = cut  # at the end: the first is the one not used for longest
            if marked and not cut.marks:
                cut.marks = _mark(cut.text)
                cut.size += len(cut.marks)
                self._size += len(cut.marks)
        return cut

    def keep(self, path: str, revision: str, cut: Cut) -> None:
        """Remember a note's terms; those not used for longest go when it is too much."""
        self._size += cut.size
        self._cuts[path, revision] = cut
        while self._size > self._limit and len(self._cuts) > 1:
            self._size -= self._cuts.pop(next(iter(self._cuts))).size


def cut_note(
    path: str, title: str, tags: Sequence[str], aliases: Sequence[str], outline: list[Any], size: int, text: str
) -> Cut:
    """A note as ranking reads it. `size`: characters of its body; `text`: its terms as `cut_text` made them."""
    found = []
    parts = text.split(SEPARATOR)
    low = 0
    for (start, end, level, heading), part in zip(sections(outline, min(size, READ)), parts, strict=False):
        high = low + len(part) + 2
        found.append(Section(start, end, level, heading, low, high))
        low = high + 1
    joined = " " + f" {SEPARATOR} ".join(parts[: len(found)]) + " "
    heading = in_place("\n".join((title, path, *aliases, *tags, *[section.heading for section in found])))
    size = 700 + len(joined) + 3 * len(heading) + 200 * len(found)
    return Cut(title, tuple(tags), path, tuple(aliases), tuple(found), joined, heading, size)


def sections(outline: list[Any], size: int) -> list[tuple[int, int, int, str]]:
    """(start, end, level, heading) of each section of a body of `size` characters; level 0 before the first heading."""
    marks = [(int(position), int(level), str(text)) for level, text, position in outline if position < size]
    marks = marks[:MAX_SECTIONS]
    out = []
    if not marks or marks[0][0] > 0:
        out.append((0, marks[0][0] if marks else size, 0, ""))
    for place, (position, level, text) in enumerate(marks):
        end = marks[place + 1][0] if place + 1 < len(marks) else size
        out.append((position, end, level, text))
    return out


def cut_text(outline: list[Any], body: str) -> str:
    """The terms of a body, section by section: what is indexed, and what ranking reads instead of the text."""
    return SEPARATOR.join(analyse(body[start:end]) for start, end, _, _ in sections(outline, len(body)))
