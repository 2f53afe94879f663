"""Which note, and which of its passages, answers a question. Pure; deterministic.

A note is judged by how much of the question one stretch of it covers (a section under its headings), by its best
passage, by how much the whole note is about the question's words (BM25), by its title and path, and by what the search
engine thinks, which knows how rare a word is in the whole store. Whether that is enough to answer at all is `evidence`.
The weights were chosen on the judged questions in tests/librarian, from the middle of a wide plateau.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from egghead.llm.librarian.passages import Passage, passages
from egghead.llm.librarian.words import Term, Vocabulary, joined, tokens

SURE = 0.42  # evidence from which a note is quoted as the answer
NEAR = 0.30  # evidence from which it is offered as the nearest thing the notes say
ALSO = 0.62  # share of the best score that makes another note worth naming
K1, B = 1.2, 0.6  # BM25 (Robertson & Zaragoza 2009), with a little less length penalty: notes are short


@dataclass(frozen=True)
class Candidate:
    """A note as found (`rank` counts from 0 in the best search that had it) and as read (`body` None: not read)."""

    id: str
    title: str
    rank: int
    snippet: str = ""
    tags: tuple[str, ...] = ()
    found: float = 0.0  # how well the search engine thinks it fits, 0..1; 0 when it does not say
    body: str | None = None


@dataclass(frozen=True)
class Scored:
    """A passage and what it is worth to this question."""

    passage: Passage
    score: float
    at: int  # its place in the note


@dataclass(frozen=True)
class Reading:
    """A note that was read against a question."""

    candidate: Candidate
    score: float
    covered: float  # share of the question's weight
    evidence: float
    passages: tuple[Scored, ...] = field(repr=False)


@dataclass(frozen=True)
class _Note:
    """What is the same for every question: a note's passages and words, kept between questions."""

    passages: tuple[Passage, ...]
    words: tuple[tuple[str, ...], ...]
    headings: Mapping[tuple[str, ...], frozenset[str]]
    title: frozenset[str]
    path: frozenset[str]
    counts: Mapping[str, int]
    length: int
    vocabulary: Vocabulary


@lru_cache(maxsize=64)
def _note(id: str, title: str, tags: tuple[str, ...], body: str) -> _Note:
    found = passages(body)
    words = tuple(tuple(tokens(passage.text)) for passage in found)
    headings = {p.headings: frozenset(w for h in p.headings for w in tokens(h)) for p in found}
    counts: dict[str, int] = {}
    for passage_words in words:
        for word in passage_words:
            counts[word] = counts.get(word, 0) + 1
    heads = frozenset([*tokens(title), *joined(title), *(word for tag in tags for word in tokens(tag))])
    name = id.replace("-", " ").replace("_", " ")
    path = frozenset([*tokens(name), *joined(name)])
    everything = {*counts, *heads, *path, *(word for names in headings.values() for word in names)}
    return _Note(found, words, headings, heads, path, counts, sum(counts.values()) or 1, Vocabulary(everything))


def read(candidates: Sequence[Candidate], terms: Sequence[Term], language: str) -> list[Reading]:
    """The notes that were read, best first. Ties by the engine's rank, then by id."""
    bodies = [c for c in candidates if c.body is not None]
    if not bodies or not terms:
        return []
    notes = [_note(c.id, c.title, c.tags, c.body or "") for c in bodies]
    forms = [{term: note.vocabulary.forms(term, language) for term in terms} for note in notes]
    idf = _rarity(candidates, terms, language, forms)
    mean = sum(note.length for note in notes) / len(notes)
    engine = max(c.found for c in candidates) or None
    readings = [
        _read(candidate, note, terms, found, idf, mean, engine)
        for candidate, note, found in zip(bodies, notes, forms, strict=True)
    ]
    return sorted(readings, key=lambda r: (-r.score, r.candidate.rank, r.candidate.id))


Forms = Mapping[Term, Mapping[str, float]]


def _rarity(
    candidates: Sequence[Candidate], terms: Sequence[Term], language: str, forms: Sequence[Forms]
) -> dict[Term, float]:
    """How telling each term is among what was found: in all of it, hardly; in one note, very. Notes that were not read
    are known by their title and snippet."""
    unread = [Vocabulary(tokens(f"{c.title} {c.snippet}")) for c in candidates if c.body is None]
    total = len(forms) + len(unread)
    rarity = {}
    for term in terms:
        holding = sum(1 for found in forms if found[term]) + sum(1 for v in unread if v.forms(term, language))
        rarity[term] = 0.25 + math.log(1 + (total - holding + 0.5) / (holding + 0.5))
    return rarity


def _read(
    candidate: Candidate,
    note: _Note,
    terms: Sequence[Term],
    forms: Forms,
    idf: Mapping[Term, float],
    mean: float,
    found: float | None,
) -> Reading:
    weight = {term: term.weight * idf[term] for term in terms}
    total = sum(weight.values()) or 1.0
    plain_total = sum(term.weight for term in terms) or 1.0

    bm25 = title = 0.0
    for term in terms:
        count = sum(note.counts.get(word, 0) * sure for word, sure in forms[term].items())
        bm25 += weight[term] * count * (K1 + 1) / (count + K1 * (1 - B + B * note.length / mean))
        title += weight[term] * _best(forms[term], note.title) + 0.5 * weight[term] * _best(forms[term], note.path)

    scored = _passages(note, weight, forms)
    stretch, covered = _stretch(note, terms, weight, forms)
    about = {term: max(_best(forms[term], note.title), 0.8 * _best(forms[term], note.path)) for term in terms}
    share = sum(
        term.weight * max(sure, about[term], 0.5 * _best(forms[term], note.counts)) for term, sure in covered.items()
    )
    score = (
        1.0 * stretch / total
        + 1.0 * max((s.score for s in scored), default=0.0) / total
        + 0.15 * bm25 / total
        + 0.5 * min(title / total, 1.0)
        + 0.5 * _title_share(candidate.title, terms, forms)
        + 0.2 / (2 + candidate.rank)
        + 1.3 * candidate.found
    )
    met = {term for term in terms if covered[term] or about[term]}
    return Reading(candidate, score, share / plain_total, _evidence(terms, met, share / plain_total, found), scored)


def _evidence(terms: Sequence[Term], met: set[Term], covered: float, found: float | None) -> float:
    """How much speaks for the notes having an answer at all, about 0..1: the engine's best, what the note covers, and
    that more than one carrying word is met; against it, that a name which was asked for is nowhere in the note."""
    strong = [term for term in terms if term.weight >= 0.7]
    several = min(3, sum(term in met for term in strong)) / 3 if strong else covered
    unmet = any(term.name and term not in met for term in terms)
    engine = covered if found is None else found  # an engine that gives no score is no witness
    return 0.5 * engine + 0.25 * covered + 0.25 * several - 0.3 * unmet


def _title_share(title: str, terms: Sequence[Term], forms: Forms) -> float:
    """How much of the title the question says: a title of two words that are both asked for is a good sign."""
    asked = {word for term in terms for word, sure in forms[term].items() if sure >= 0.6}
    words = [word for word in tokens(title) if len(word) > 2 or not word.isascii()]
    return sum(word in asked for word in words) / len(words) if words else 0.0


def _best(found: Mapping[str, float], words: frozenset[str] | Mapping[str, int]) -> float:
    return max((sure for word, sure in found.items() if word in words), default=0.0)


def _passages(note: _Note, weight: Mapping[Term, float], forms: Forms) -> tuple[Scored, ...]:
    """Each passage: its own words, its headings' at half, and a little of its neighbours'."""
    hits = [{term: sure for term in weight if (sure := _best(forms[term], frozenset(words)))} for words in note.words]
    scored = []
    for at, (passage, words) in enumerate(zip(note.passages, note.words, strict=True)):
        score = sum(weight[term] * sure for term, sure in hits[at].items())
        heading = note.headings[passage.headings]
        score += 0.5 * sum(weight[t] * _best(forms[t], heading) for t in weight if t not in hits[at])
        for near in (at - 1, at + 1):
            if 0 <= near < len(hits) and note.passages[near].section == passage.section:
                score += 0.2 * sum(weight[t] * sure for t, sure in hits[near].items() if t not in hits[at])
        scored.append(Scored(passage, score * _worth(passage, len(words)), at))
    return tuple(scored)


def _worth(passage: Passage, length: int) -> float:
    """Code is evidence, seldom an answer; three words say little; a very long line is seldom the point."""
    worth = {"sentence": 1.0, "item": 0.97, "step": 1.0, "row": 0.95, "code": 0.55}[passage.kind]
    if length < 4:
        worth *= 0.7
    if passage.text.rstrip().endswith((":", "：")):
        worth *= 0.85
    if passage.text.rstrip().endswith(("?", "？")):
        worth *= 0.8
    return worth / (1 + max(0, length - 60) / 200)


def _stretch(
    note: _Note, terms: Sequence[Term], weight: Mapping[Term, float], forms: Forms
) -> tuple[float, dict[Term, float]]:
    """The best section: how much of the question's weight it covers under its headings, more when it is covered close
    together. Returns that weight and, for each term, how surely the section has it."""
    best, best_cover = 0.0, dict.fromkeys(terms, 0.0)
    sections: dict[int, list[int]] = {}
    for at, passage in enumerate(note.passages):
        sections.setdefault(passage.section, []).append(at)
    for places in sections.values():
        for start in range(0, len(places), 6):
            window = places[start : start + 12]  # a long section is read in overlapping stretches
            words = frozenset(word for at in window for word in note.words[at])
            heading = note.headings[note.passages[window[0]].headings]
            cover = {term: max(_best(forms[term], words), 0.9 * _best(forms[term], heading)) for term in terms}
            close = max(
                sum(weight[term] * _best(forms[term], frozenset(note.words[at])) for term in terms) for at in window
            )
            score = 0.65 * sum(weight[term] * cover[term] for term in terms) + 0.35 * close
            if score > best:
                best, best_cover = score, cover
            if start + 12 >= len(places):
                break
    return best, best_cover
