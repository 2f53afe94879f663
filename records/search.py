"""From a query to ranked hits: let FTS5 find candidates for its terms, have the few ranked, cut their snippets.

What the terms are is said in `records.planning`, what a candidate is worth is said in `records.ranking`. No clock, no randomness: same index, same answer.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import Any

from msgspec.json import decode

from records import index_sql
from records.cuts import Cut, Memory
from records.model import Hit
from records.planning import LARGE, docs_of, plan
from records.query import Query
from records.ranking import READ, Candidate, Term, best
from records.snippets import excerpt
from records.text import Wanted, fold, raw_words, stem, terms

CANDIDATES = 40
MANY = 12  # index terms from which it pays to mark which ones a note has
ALL_OF = 4  # as many words are looked for together first
FEW = 2500  # notes that have some of the words
ENOUGH = 5  # notes that have them all; those that have some are not looked for then
_COMMON = 0.25  # a term in more than this share of a large store finds nobody, it only ranks
SHORT = 8000  # characters of a body that is read with its terms: to find the note once more costs more than to read it
STEEP = 0.9  # score up to which it is shown as it is
BEGINNING = 2000  # characters of a body that are shown when no passage is
WRITTEN = 8  # words whose spelling is compared with that of titles
NAMED = 400  # notes whose names have what is typed
TYPED = 5000  # notes that may have the one word that is being typed; it is asked for again with the next letter
KNOWN = "n.id, n.class, n.updated, n.path, n.revision, n.title, n.tags, n.outline"
SOME = 400  # notes with what surely stands for a word, from which on other forms of it must be few
AFFORDED = 12_000  # notes that the terms of one question to FTS5 may have: it scores each of them


def run(
    db: sqlite3.Connection, query: Query, class_: str | None, tags: tuple[str, ...], limit: int, since: str | None,
    memory: Memory, every: bool = False,
) -> list[Hit]:  # fmt: skip
    """Hits, best first. `every`: nothing is found otherwise."""
    where, values = index_sql.filters(
        class_=class_ or query.class_,
        tags=tuple(fold(tag) for tag in (*tags, *query.tags)),
        without_tags=tuple(fold(tag) for tag in query.without_tags),
        folder=query.folder,
        since=since,
    )
    if memory.total < 0:
        memory.total = int(db.execute("SELECT count(*) FROM notes").fetchone()[0])
    total, frequency = memory.total, memory.docs
    planned, ignored = plan(db, query, total, frequency, every)
    if not planned and query.text.strip() and not every:
        every = True
        planned, ignored = plan(db, query, total, frequency, every)
    phrases = [found for phrase in query.phrases if (found := terms(phrase))]
    without = [found for word in query.excluded if (found := terms(word))]
    if not planned and not phrases:
        return _listed(db, where, values, limit) if where != "1" and not query.text.strip() else []
    wanted = limit + 10 if len(planned) == 1 and total >= LARGE else max(CANDIDATES, limit + limit // 2)
    many = sum(len(term.forms) for term in planned) > MANY
    # What is being typed begins words of which each may be meant; the next letter tells.
    finding = [
        _affordable(term, frequency)
        if total >= LARGE and not (query.unfinished and term is planned[-1])
        else list(term.forms)
        for term in planned
    ]
    written = [word.casefold() for word in raw_words(query.text)[:WRITTEN]]
    notes: list[Candidate] = []
    typed = planned[0] if query.unfinished and len(planned) == 1 and not phrases and not without else None
    if (
        typed is not None
        and total >= LARGE
        and (typed.begun or sum(docs_of(db, form, frequency) for form in typed.forms) > TYPED)
    ):
        # Somebody types a word that is, or begins, common ones. Names that have it are what can be meant by so little.
        notes = _named(db, query, where, values, wanted, memory, many)
        if len(notes) >= limit:
            return _hits(db, best(notes, planned, limit, ignored, written), planned)
        notes = []
    if total >= LARGE and (len(planned) == 2 or (len(planned) <= ALL_OF and sum(t.docs for t in planned) > FEW)):
        # A few words: whoever has them all is better than whoever has some, and far fewer rows are read. Of three or more
        # one may be missing in the best note, so that those who have some are ranked too where they are few.
        expression = index_sql.match(
            [forms for term, forms in zip(planned, finding, strict=True) if not term.begun], phrases, without
        )
        if expression:
            notes = _candidates(db, expression, where, values, limit + 4, memory, many)
    if len(notes) < min(limit, ENOUGH):
        expression = index_sql.match([_finders(planned, finding, total)] if planned else [], phrases, without)
        notes = _candidates(db, expression, where, values, wanted, memory, many) if expression else notes
    if not notes and phrases and len(raw_words(query.text)) > 2:
        # A sentence with something in quotes, not a search for a phrase: its words are better than no answer.
        loose = replace(query, text=" ".join((query.text, *query.phrases)), phrases=(), unfinished=False)
        return run(db, loose, class_, tags, limit, since, memory)
    if not notes and planned and not every:
        return run(db, query, class_, tags, limit, since, memory, every=True)
    if not planned:
        planned = [Term(term, {term: 1.0}, 1.0) for term in dict.fromkeys(t for phrase in phrases for t in phrase)]
    return _hits(db, best(notes, planned, limit, ignored, written), planned)


# --- candidates ---


def _affordable(term: Term, frequency: dict[str, int]) -> list[str]:
    """Of what stands for a word that which fetches candidates in a large store: the surest first, as long as few notes have it.
    The forms of a short word may be in half of the notes, where it is in one of a hundred itself. All of them rank."""
    kept: list[str] = []
    notes = 0
    for form in sorted(term.forms, key=lambda form: (-term.forms[form], frequency.get(form, 0), form)):
        more = frequency.get(form, 0)
        if notes < SOME or notes + more <= AFFORDED:
            kept.append(form)
            notes += more
    return kept


def _finders(planned: list[Term], finding: list[list[str]], total: int) -> list[str]:
    """Index terms that fetch candidates. In a large store common words only rank, so that a query reads little. `finding`: the
    terms of each word that may."""
    forms = dict(zip(map(id, planned), finding, strict=True))
    used = planned
    if total >= LARGE:
        by_docs = sorted(planned, key=lambda term: term.docs)
        used, docs = by_docs[:2], sum(term.docs for term in by_docs[:2])
        for term in by_docs[2:]:
            docs += term.docs
            if docs <= AFFORDED and term.docs <= _COMMON * total:
                used.append(term)
        if used[0].docs <= _COMMON * total:
            used = [term for term in used if term.docs <= _COMMON * total]
    return list(dict.fromkeys(form for term in used for form in forms[id(term)]))


def _candidates(
    db: sqlite3.Connection, expression: str, where: str, values: list[str], wanted: int, memory: Memory, many: bool
) -> list[Candidate]:
    """What FTS5 thinks best. Only the terms of notes that are not remembered are read; no text is."""
    condition = "" if where == "1" else f" AND EXISTS(SELECT 1 FROM notes n WHERE n.note = fts.rowid AND {where})"
    rows = db.execute(
        f"SELECT f.note, f.value, {KNOWN} "
        f"FROM (SELECT rowid AS note, bm25(fts, 8.0, 4.0, 3.0, 4.0, 1.0) AS value FROM fts WHERE fts MATCH ?{condition} "
        "ORDER BY value, rowid LIMIT ?) f JOIN notes n USING(note)",
        (expression, *values, wanted),
    ).fetchall()
    return _met(db, rows, memory, many)


def _named(
    db: sqlite3.Connection, query: Query, where: str, values: list[str], wanted: int, memory: Memory, many: bool
) -> list[Candidate]:
    """Notes with a word in title, tags, aliases or path that is, or begins with, the one that is typed. Words of one letter
    or two (`Go`, `AI`, `R`) are in no list of their own: FTS5 finds them, and they come first."""
    word = fold(raw_words(query.text)[-1])
    rows: list[Any] = []
    if len(word) <= 2:
        rows = db.execute(
            f"SELECT n.note, 0.0, {KNOWN} FROM (SELECT rowid AS note FROM fts WHERE fts MATCH ? LIMIT {NAMED}) w "
            f"JOIN notes n USING(note) WHERE {where} LIMIT ?",
            (f"{{title names tags}} : {index_sql.quoted(stem(word))}", *values, wanted),
        ).fetchall()
    found = {row[0] for row in rows}
    rows += [
        row
        for row in db.execute(
            f"SELECT n.note, 0.0, {KNOWN} "
            f"FROM (SELECT DISTINCT note FROM words WHERE word >= ? AND word < ? LIMIT {NAMED}) w JOIN notes n USING(note) "
            f"WHERE {where} LIMIT ?",
            (word, word + "\U0010ffff", *values, wanted),
        )
        if row[0] not in found
    ]
    return _met(db, rows, memory, many)


def _met(db: sqlite3.Connection, rows: list[Any], memory: Memory, many: bool) -> list[Candidate]:
    """Rows (note, bm25, KNOWN) as candidates with their terms, in one look at the texts."""
    cuts = {row[0]: memory.recall(row[5], row[6], marked=many) for row in rows}
    missing = {row[0]: row[5:] for row in rows if cuts[row[0]] is None}
    bodies: dict[int, str] = {}
    if missing:
        some = ", ".join("?" * len(missing))
        for note, size, heads, text, body in db.execute(
            # `substr` counts characters, which takes longer than to read them.
            f"SELECT note, size, heads, CASE WHEN size <= {SHORT} THEN cut ELSE substr(cut, 1, {2 * READ}) END, "
            f"CASE WHEN size <= {SHORT} THEN body ELSE '' END FROM texts WHERE note IN ({some})",
            tuple(missing),
        ):
            path, revision, title, tags, outline = missing[note]
            made = cuts[note] = Cut(title, tags, outline, size, heads, text)
            memory.keep(path, revision, made)
            bodies[note] = body
    return [
        Candidate(row[0], row[2], row[3], row[4], cut, -row[1], bodies.get(row[0], ""))
        for row in rows
        if (cut := cuts[row[0]]) is not None
    ]


def _listed(db: sqlite3.Connection, where: str, values: list[str], limit: int) -> list[Hit]:
    """Only filters were given: the newest notes that pass."""
    rows = db.execute(
        f"SELECT n.id, n.title, n.class, n.tags, n.updated, substr(t.body, 1, {BEGINNING}) FROM notes n JOIN texts t USING(note) "
        f"WHERE {where} ORDER BY n.updated DESC, n.id LIMIT ?",
        (*values, limit),
    )
    return [
        Hit(id_, title, kind, tuple(decode(tags)), excerpt(body, Wanted({}))[0], 1.0, updated, 1.0)
        for id_, title, kind, tags, updated, body in rows
    ]


# --- hits ---


def _wanted(planned: list[Term]) -> Wanted:
    """Index terms and what each is worth in a snippet."""
    wanted: dict[str, float] = {}
    for term in planned:
        for form, quality in term.forms.items():
            wanted[form] = max(wanted.get(form, 0.0), term.weight * quality)
    return Wanted(wanted)


def _hits(db: sqlite3.Connection, notes: list[Candidate], planned: list[Term]) -> list[Hit]:
    wanted = _wanted(planned)
    texts = {note.note: note.body[slice(*note.span)] or note.body[:BEGINNING] for note in notes if note.body}
    rest = [note for note in notes if not note.body]
    texts |= _texts(db, [(note.note, note.span[0], min(note.span[1], READ)) for note in rest])
    hits = []
    for note in notes:
        snippet, marks = excerpt(texts[note.note], wanted)
        hits.append(
            Hit(
                note.id, note.cut.title, note.kind, tuple(decode(note.cut.tags)), snippet, shown_score(note.score), note.updated,
                note.coverage, note.section, marks,
            )
        )  # fmt: skip
    return hits


def shown_score(score: float) -> float:
    """What `ranking` finds a note worth, as people and programs are told: the same up to `STEEP`, and above it nearer and
    nearer to 1, so that of two good hits the better one says more."""
    if score > STEEP:
        room = 1.0 - STEEP
        over = score - STEEP
        score = STEEP + room * over / (over + room)
    return round(max(0.0, score), 4)


def _texts(db: sqlite3.Connection, places: list[tuple[int, int, int]]) -> dict[int, str]:
    """(note, start, end) -> that part of its body; its beginning, when there is nothing."""
    if not places:
        return {}
    rows = db.execute(
        f"WITH p(note, start, size) AS (VALUES {', '.join(['(?, ?, ?)'] * len(places))}) "
        "SELECT p.note, substr(t.body, p.start, p.size) FROM p JOIN texts t USING(note)",
        [value for note, start, end in places for value in (note, start + 1, end - start)],
    )
    found = {int(note): str(text) for note, text in rows}
    empty = [(note, 0, BEGINNING) for note, text in found.items() if not text]
    return found | _texts(db, [place for place in empty if (place[0], *place[1:]) not in places])
