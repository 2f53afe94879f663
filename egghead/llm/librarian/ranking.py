"""Which note, and which of its passages, answers a question. Pure; deterministic.

A note is judged by how much of the question one stretch of it covers (a section under its headings), by its best
passage, by how much the whole note is about the question's words (BM25), by its title and path, and by what the search
engine thinks, which knows how rare a word is in the whole store. Whether that is enough to answer at all is `evidence`.
The weights were chosen on the judged questions in tests/librarian, from the middle of a wide plateau.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from egghead.llm.librarian.languages import asks_how, asks_what, defines, detect, foreign, stop_words
from egghead.llm.librarian.passages import Passage, passages
from egghead.llm.librarian.words import Term, Vocabulary, double_names, joined, tokens

SURE = 0.42  # evidence from which a note is quoted as the answer
CONFIDENT = 0.65  # evidence from which no more notes are read
ENOUGH = 0.5  # the same when the best note is clearly the best
CLEAR = 1.4  # times the next best's score
NEAR = 0.20  # evidence from which it is offered as the nearest thing the notes say
ALSO = 0.6  # share of the best score that makes another note worth naming
DOUBTFUL = 0.5  # the same when the best is not sure to be right
GLANCE = 400  # characters that tell a note's language
NAMELESS = 0.3  # score that is lost then: a note that has the name goes first
NAMED_AS = 0.6  # how sure a word must be to stand for a name in English
UNMET = 0.3  # evidence that is lost when a name that was asked for is not in the note
FOREIGN = 0.12  # evidence that a note in another language loses; three times that of its score
STEPS = 1.6  # what a step is worth more, as a quotation, when the question is how to do something
DEFINES = 1.3  # what a sentence that begins with the thing is worth more when the question is what it is
LEAD = 0.4  # what the beginning of a note is worth more when the question says its title: it is about that
WINDOW = 12  # passages of a section that are read together
HUB = 2  # notes that a list of notes links to at least
PAST_HUB = 0.85  # share of its score from which a note that it links to goes first
LEADING = 3  # passages that a note begins with
K1, B = 1.2, 0.6  # BM25 (Robertson & Zaragoza 2009), with a little less length penalty: notes are short


_LINKED = re.compile(r"(?<!!)\[\[([^\]|#]+)")
_URL = re.compile(r"https?://\S+")


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
    """A passage and what it is worth to this question: `score` as a quotation, `evidence` for its note."""

    passage: Passage
    score: float
    at: int  # its place in the note
    evidence: float


@dataclass(frozen=True)
class Signals:
    """What speaks for a note, each about 0..1."""

    stretch: float
    passage: float
    about: float
    named: float
    titled: float
    place: float
    found: float
    exact: float  # 1 when the title is the question
    lead: float  # of its names and first words
    length: float  # against the mean: long notes have every word somewhere

    def worth(self) -> float:
        return (
            1.2 * self.stretch
            + 0.95 * self.passage
            + 0.1 * self.about
            + 0.2 * self.named
            + 0.35 * self.titled
            + 0.55 * self.place
            + 1.1 * self.found
            + 0.4 * self.exact
            + 1.2 * self.lead
            - 0.3 * self.length
        )


@dataclass(frozen=True)
class Reading:
    """A note that was read against a question."""

    candidate: Candidate
    score: float
    covered: float  # share of the question's weight
    evidence: float
    passages: tuple[Scored, ...] = field(repr=False)
    signals: Signals


@dataclass(frozen=True)
class _Note:
    """What is the same for every question: a note's passages and words, kept between questions."""

    passages: tuple[Passage, ...]
    words: tuple[frozenset[str], ...]  # of each passage
    starts: tuple[tuple[str, ...], ...]  # the first words of each
    lengths: tuple[int, ...]
    sections: tuple[tuple[int, ...], ...]  # places of the passages of each section
    headings: Mapping[tuple[str, ...], frozenset[str]]
    title: frozenset[str]
    path: frozenset[str]
    counts: Mapping[str, int]
    length: int
    everything: frozenset[str]
    language: str


@lru_cache(maxsize=64)
def _note(id: str, title: str, tags: tuple[str, ...], body: str) -> _Note:
    found = passages(body)
    words = [tokens(_URL.sub(" ", passage.text)) for passage in found]  # an address says nothing that its text does not
    trails = {passage.headings for passage in found}
    headings = {trail: frozenset(word for heading in trail for word in tokens(heading)) for trail in trails}
    counts = Counter(itertools.chain.from_iterable(words))
    heads = frozenset([*tokens(title), *joined(title), *(word for tag in tags for word in tokens(tag))])
    name = id.replace("-", " ").replace("_", " ")
    path = frozenset([*tokens(name), *joined(name)])
    sections: dict[int, list[int]] = {}
    for at, passage in enumerate(found):
        sections.setdefault(passage.section, []).append(at)
    return _Note(
        passages=found,
        words=tuple(frozenset(passage_words) for passage_words in words),
        starts=tuple(tuple(passage_words[:4]) for passage_words in words),
        lengths=tuple(len(passage_words) for passage_words in words),
        sections=tuple(tuple(places) for places in sections.values()),
        headings=headings,
        title=heads,
        path=path,
        counts=counts,
        length=sum(counts.values()) or 1,
        everything=frozenset(counts).union(heads, path, *headings.values()),
        language=detect(" ".join(passage.text for passage in found if passage.kind != "code")[:GLANCE]),
    )


def promising(candidates: Sequence[Candidate], terms: Sequence[Term], language: str) -> list[tuple[float, float]]:
    """How much of the question each candidate's title and path say, and how much these and its snippet, 0..1, before
    any of them is read."""
    names = [frozenset(tokens(f"{c.title} {c.id.replace('-', ' ').replace('_', ' ')}")) for c in candidates]
    glimpses = [said.union(tokens(c.snippet)) for said, c in zip(names, candidates, strict=True)]
    vocabulary = Vocabulary(frozenset().union(*glimpses))
    forms = [vocabulary.forms(term, language) for term in terms]
    total = sum(term.weight for term in terms) or 1.0

    def share(words: frozenset[str]) -> float:
        found = (max((sure for word, sure in form.items() if word in words), default=0.0) for form in forms)
        return sum(term.weight * sure for term, sure in zip(terms, found, strict=True)) / total

    return [(share(said), share(shown)) for said, shown in zip(names, glimpses, strict=True)]


class _Question:
    """The terms against all words of what was found: which word stands for which term, and how rare each term is."""

    def __init__(
        self, text: str, terms: Sequence[Term], language: str, notes: Sequence[_Note], unread: Sequence[Candidate]
    ) -> None:
        self.terms = terms
        self.language = language
        self.double_names = double_names(text, language)
        self.how = asks_how(text)
        self.what = asks_what(text)
        self.foreign = {note.language: foreign(text, language, note.language) for note in notes}
        glimpses = [frozenset(tokens(f"{c.title} {c.snippet}")) for c in unread]
        vocabulary = Vocabulary(frozenset().union(*(note.everything for note in notes), *glimpses))
        self.lookup: dict[str, list[tuple[int, float]]] = {}
        for place, term in enumerate(terms):
            for word, sure in vocabulary.forms(term, language).items():
                self.lookup.setdefault(word, []).append((place, sure))
        self._known = self.lookup.keys()
        self.nothing: Sequence[float] = (0.0,) * len(terms)
        total = len(notes) + len(glimpses)
        holding = [0] * len(terms)
        for words in (*(note.everything for note in notes), *glimpses):
            for place, sure in enumerate(self.cover(words)):
                holding[place] += sure > 0
        # How telling each term is among what was found: in all of it, less; in one note, more. Softer than usual: all of
        # it was found by these words, so the word that matters most is the one that they all have.
        self.weight = [
            term.weight * (0.6 + 0.5 * math.log(1 + (total - held + 0.5) / (held + 0.5)))
            for term, held in zip(terms, holding, strict=True)
        ]
        self.total = sum(self.weight) or 1.0

    def cover(self, words: frozenset[str]) -> Sequence[float]:
        """How surely each term is among these words."""
        known = self._known & words
        if not known:
            return self.nothing
        found = [0.0] * len(self.terms)
        for word in known:
            for place, sure in self.lookup[word]:
                if sure > found[place]:
                    found[place] = sure
        return found

    def worth(self, cover: Sequence[float]) -> float:
        """The weight of what is covered, as a share of the question's."""
        if cover is self.nothing:  # most passages of most notes
            return 0.0
        return sum(weight * sure for weight, sure in zip(self.weight, cover, strict=True)) / self.total


def read(question: str, candidates: Sequence[Candidate], terms: Sequence[Term], language: str) -> list[Reading]:
    """The notes that were read, best first. Ties by the engine's rank, then by id."""
    bodies = [c for c in candidates if c.body is not None]
    if not bodies or not terms:
        return []
    notes = [_note(c.id, c.title, c.tags, c.body or "") for c in bodies]
    asked = _Question(question, terms, language, notes, [c for c in candidates if c.body is None])
    mean = sum(note.length for note in notes) / len(notes)
    engine = max(c.found for c in candidates) or None
    readings = [_read(c, note, asked, mean, engine) for c, note in zip(bodies, notes, strict=True)]
    return _past_hubs(sorted(readings, key=lambda r: (-r.score, r.candidate.rank, r.candidate.id)))


def _past_hubs(readings: list[Reading]) -> list[Reading]:
    """A list of notes that names the one that answers is not the answer: when the best note links to many and one of
    these says about as much, that one goes first."""
    if not readings:
        return []
    best = readings[0]
    linked = {name.rsplit("/", 1)[-1].lower() for name in _LINKED.findall(best.candidate.body or "")}
    if len(linked) < HUB:
        return readings
    for at, other in enumerate(readings[1:], 1):
        if other.score < PAST_HUB * best.score:
            break
        if other.candidate.id.rsplit("/", 1)[-1].lower() in linked and other.signals.lead >= best.signals.lead:
            return [other, *readings[:at], *readings[at + 1 :]]
    return readings


def in_doubt(readings: Sequence[Reading]) -> bool:
    """Whether more notes should be read before answering: little evidence, or two notes of nearly the same worth."""
    if not readings:
        return True
    best = readings[0]
    clear = len(readings) == 1 or best.score >= CLEAR * readings[1].score
    return best.evidence < (CONFIDENT if not clear else ENOUGH)


def _read(candidate: Candidate, note: _Note, question: _Question, mean: float, engine: float | None) -> Reading:
    titled, pathed = question.cover(note.title), question.cover(note.path)
    passages = [question.cover(words) for words in note.words]
    headings = {names: question.cover(words) for names, words in note.headings.items()}

    named = min(1.0, question.worth([t + 0.5 * p for t, p in zip(titled, pathed, strict=True)]))
    # A title of one word that every note has ("Foam") is said by every question: it counts as much as it tells.
    titled_share = _title_share(candidate.title, question) * min(1.0, 2 * named)
    scored = _passages(note, question, passages, headings, titled_share)
    stretch, covered = _stretch(note, question, passages, headings)
    anywhere = question.cover(note.everything)
    about = [max(title, 0.8 * path) for title, path in zip(titled, pathed, strict=True)]
    plain = sum(term.weight for term in question.terms) or 1.0
    share = sum(
        term.weight * max(here, there, 0.5 * somewhere)
        for term, here, there, somewhere in zip(question.terms, covered, about, anywhere, strict=True)
    )
    signals = Signals(
        stretch=stretch,
        passage=max((s.evidence for s in scored), default=0.0),
        about=_bm25(note, question, mean),
        named=named,
        titled=titled_share,
        place=1 / (2 + candidate.rank),
        found=candidate.found,
        exact=float(titled_share >= 0.99 and question.worth(titled) >= 0.9),
        lead=_lead(note, question, about, passages),
        length=math.log(1 + note.length / mean),
    )
    score = signals.worth()
    # A name that is only the end of another is not met: Evernote is not a note.
    least = NAMED_AS if question.language == "en" else 0.0
    met = [
        (here > 0 or there > 0) and (not term.name or somewhere > least)
        for term, here, there, somewhere in zip(question.terms, covered, about, anywhere, strict=True)
    ]
    evidence = _evidence(question.terms, met, share / plain, engine, signals)
    text = f"{candidate.title}\n{candidate.body}" if question.double_names else ""
    if any(not name.search(text) for name in question.double_names):
        evidence = _without_the_name(evidence)
    if any(term.name and not is_met for term, is_met in zip(question.terms, met, strict=True)):
        score -= NAMELESS
    if question.foreign[note.language]:
        score, evidence = score - 3 * FOREIGN, evidence - FOREIGN
    return Reading(candidate, score, share / plain, evidence, scored, signals)


def _evidence(
    terms: Sequence[Term], met: Sequence[bool], covered: float, engine: float | None, signals: Signals
) -> float:
    """How much speaks for the notes having an answer at all, about 0..1: the engine's best, what the note covers, that
    more than one carrying word is met, and that it begins with them; against it, that a name which was asked for is
    nowhere in the note."""
    strong = [is_met for term, is_met in zip(terms, met, strict=True) if term.weight >= 0.7]
    several = min(3, sum(strong)) / 3 if strong else covered
    unmet = any(term.name and not is_met for term, is_met in zip(terms, met, strict=True))
    witness = covered if engine is None else engine  # an engine that gives no score is no witness
    evidence = 0.5 * witness + 0.25 * covered + 0.25 * several + 0.3 * signals.lead + 0.1 * signals.passage - 0.11
    return _without_the_name(evidence) if unmet else evidence


def _without_the_name(evidence: float) -> float:
    """A note without the name that was asked for is near at best, however much else of the question it has."""
    return min(evidence - UNMET, SURE - 0.01)


def _lead(note: _Note, question: _Question, about: Sequence[float], passages: Sequence[Sequence[float]]) -> float:
    """How much of the question a note says in its names and its first words: that is what it is about."""
    cover = list(about)
    for at in range(min(LEADING, len(passages))):
        if note.passages[at].section == note.passages[0].section:
            cover = [max(a, 0.8 * b) for a, b in zip(cover, passages[at], strict=True)]
    return question.worth(cover)


def _bm25(note: _Note, question: _Question, mean: float) -> float:
    counts = [0.0] * len(question.terms)
    for word in question.lookup.keys() & note.counts.keys():
        for place, sure in question.lookup[word]:
            counts[place] += note.counts[word] * sure
    norm = K1 * (1 - B + B * note.length / mean)
    return question.worth([count * (K1 + 1) / (count + norm) for count in counts])


def _title_share(title: str, question: _Question) -> float:
    """How much of the title the question says: a title of two words that are both asked for is a good sign."""
    stops = stop_words(question.language)
    words = [word for word in tokens(title) if word not in stops]
    asked = sum(any(sure >= 0.6 for _, sure in question.lookup.get(word, ())) for word in words)
    return asked / len(words) if words else 0.0


def _passages(
    note: _Note,
    question: _Question,
    covers: Sequence[Sequence[float]],
    headings: Mapping[tuple[str, ...], Sequence[float]],
    titled: float,
) -> tuple[Scored, ...]:
    """Each passage: its own words, its headings' at half, and a little of its neighbours'."""
    scored = []
    own = [question.worth(cover) for cover in covers]
    heads = {names: question.worth(cover) for names, cover in headings.items()}
    for at, passage in enumerate(note.passages):
        near = [
            other
            for other in (at - 1, at + 1)
            if 0 <= other < len(covers) and own[other] and note.passages[other].section == passage.section
        ]
        score = own[at]
        if not score and not near and not heads[passage.headings]:
            scored.append(Scored(passage, 0.0, at, 0.0))
            continue
        if heads[passage.headings]:
            score += 0.5 * question.worth(_beyond(headings[passage.headings], covers[at]))
        for other in near:
            score += 0.2 * question.worth(_beyond(covers[other], covers[at]))
        score *= _worth(passage, note.lengths[at])
        if question.what and defines(passage.text, question.language):
            score *= DEFINES if question.worth(question.cover(frozenset(note.starts[at]))) >= 0.5 else 1.0
        quotable = score
        if question.how and passage.kind == "step":
            quotable *= STEPS
        if passage.section == note.passages[0].section:
            quotable *= 1 + LEAD * titled
        scored.append(Scored(passage, quotable, at, score))
    return tuple(scored)


def _beyond(cover: Sequence[float], known: Sequence[float]) -> list[float]:
    """What a cover adds to another: only terms that the other has not at all."""
    return [0.0 if had else sure for sure, had in zip(cover, known, strict=True)]


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
    note: _Note,
    question: _Question,
    covers: Sequence[Sequence[float]],
    headings: Mapping[tuple[str, ...], Sequence[float]],
) -> tuple[float, list[float]]:
    """The best section: how much of the question's weight it covers under its headings, more when it is covered close
    together. Returns that share and, for each term, how surely the section has it."""
    best, best_cover = 0.0, [0.0] * len(question.terms)
    own = [question.worth(cover) for cover in covers]
    for places in note.sections:
        for start in range(0, len(places), WINDOW // 2):
            window = places[start : start + WINDOW]  # a long section is read in overlapping stretches
            close = max(own[at] for at in window)
            heading = headings[note.passages[window[0]].headings]
            cover = [0.9 * sure for sure in heading]
            for at in window:
                if own[at]:
                    cover = [max(a, b) for a, b in zip(cover, covers[at], strict=True)]
            score = 0.65 * question.worth(cover) + 0.35 * close
            if score > best:
                best, best_cover = score, cover
            if start + WINDOW >= len(places):
                break
    return best, best_cover
