"""From a query to ranked hits: plan the terms, let FTS5 find candidates, have the few ranked, cut their snippets.

What a candidate is worth is said in `records.ranking`. No clock, no randomness: same index, same answer.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections import Counter
from dataclasses import replace
from typing import Any

from msgspec.json import decode

from records import index_sql, symbols, synonyms
from records.model import Hit
from records.query import Query
from records.ranking import READ, Candidate, Cut, Memory, Term, best
from records.relatives import LONGEST as SHORT_WORD
from records.relatives import relatives
from records.snippets import excerpt
from records.stopwords import PHRASES, ignorable
from records.text import Wanted, distance, fold, is_gram, is_weak_gram, kana, raw_words, stem, terms, word_terms

CANDIDATES = 40
MAX_TERMS = 40
MANY = 12  # index terms from which it pays to mark which ones a note has
ALL_OF = 4  # as many words are looked for together first
FEW = 2500  # notes that have some of the words
ENOUGH = 5  # notes that have them all; those that have some are not looked for then
_COMMON = 0.25  # a term in more than this share of a large store finds nobody, it only ranks
SYNONYM = 0.55
_LARGE = 3000  # notes
_WITHOUT_KEY = re.compile(r"([aou])e")
_PARTICLES = frozenset(
    "은는이가을를에의도로와과만"
)  # after a Korean word of one syllable, which is a term alone where it stands alone
SHORT = 8000  # characters of a body that is read with its terms: to find the note once more costs more than to read it
BEGINNING = 2000  # characters of a body that are shown when no passage is
NAMED = 400  # notes whose names have what is typed
BEGIN_SO = 400  # terms of one beginning that are read at once
TYPED = 5000  # notes that may have the one word that is being typed; it is asked for again with the next letter
KNOWN = "n.id, n.class, n.updated, n.path, n.revision, n.title, n.tags, n.outline"
AFFORDED = 12_000  # notes that the terms of one question to FTS5 may have: it scores each of them


def run(
    db: sqlite3.Connection, query: Query, class_: str | None, tags: tuple[str, ...], limit: int, since: str | None,
    memory: Memory,
) -> list[Hit]:  # fmt: skip
    """Hits, best first."""
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
    planned = plan(db, query, total, frequency)
    phrases = [found for phrase in query.phrases if (found := terms(phrase))]
    without = [found for word in query.excluded if (found := terms(word))]
    if not planned and not phrases:
        return _listed(db, where, values, limit) if where != "1" and not query.text.strip() else []
    wanted = limit + 10 if len(planned) == 1 and total >= _LARGE else max(CANDIDATES, limit + limit // 2)
    many = sum(len(term.forms) for term in planned) > MANY
    notes: list[Candidate] = []
    typed = planned[0] if query.unfinished and len(planned) == 1 and not phrases and not without else None
    if (
        typed is not None
        and total >= _LARGE
        and (typed.begun or sum(_docs(db, form, frequency) for form in typed.forms) > TYPED)
    ):
        # Somebody types a word that is, or begins, common ones. Names that have it are what can be meant by so little.
        notes = _named(db, query, where, values, wanted, memory, many)
        if len(notes) >= limit:
            return _hits(db, best(notes, planned, limit), planned)
        notes = []
    if total >= _LARGE and (len(planned) == 2 or (len(planned) <= ALL_OF and sum(t.docs for t in planned) > FEW)):
        # A few words: whoever has them all is better than whoever has some, and far fewer rows are read. Of three or more
        # one may be missing in the best note, so that those who have some are ranked too where they are few.
        expression = index_sql.match([list(term.forms) for term in planned if not term.begun], phrases, without)
        if expression:
            notes = _candidates(db, expression, where, values, limit + 4, memory, many)
    if len(notes) < min(limit, ENOUGH):
        expression = index_sql.match([_finders(planned, total)] if planned else [], phrases, without)
        notes = _candidates(db, expression, where, values, wanted, memory, many) if expression else notes
    if not notes and phrases and len(raw_words(query.text)) > 2:
        # A sentence with something in quotes, not a search for a phrase: its words are better than no answer.
        loose = replace(query, text=" ".join((query.text, *query.phrases)), phrases=(), unfinished=False)
        return run(db, loose, class_, tags, limit, since, memory)
    if not planned:
        planned = [Term(term, {term: 1.0}, 1.0) for term in dict.fromkeys(t for phrase in phrases for t in phrase)]
    return _hits(db, best(notes, planned, limit), planned)


# --- plan ---


def plan(db: sqlite3.Connection, query: Query, total: int, frequency: dict[str, int]) -> list[Term]:
    """The terms of a query with their weights and the index terms that stand for each."""
    words = _query_words(query.text)
    folded = [fold(word) for word in words]
    skip = ignorable(folded)
    chosen: list[Term] = []
    for place, word in enumerate(folded):
        last = query.unfinished and place == len(folded) - 1
        if skip[place] and not all(skip):
            continue
        for piece in word_terms(words[place]):
            if all(known.word != piece for known in chosen):
                chosen.append(_expand(db, piece, word, last, total, frequency))
    chosen = chosen[:MAX_TERMS]
    _join_neighbours(db, folded, skip, chosen, frequency)
    whole = any(not is_gram(term.word) for term in chosen)
    worded = not all(symbols.is_bare(term.word) for term in chosen)
    for term in chosen:
        # The root: a plain idf lets one odd word of a long question outweigh its subject.
        # A note that was indexed between the two counts may make more of the one than of the other.
        term.weight = math.log(1 + (max(total - term.docs, 0) + 0.5) / (term.docs + 0.5)) ** 0.5 + 0.05
        if is_gram(term.word):
            # Pairs across a word boundary say nothing; when nobody has them they must not count against a note.
            term.weight *= 0.0 if not term.forms else (0.25 if is_weak_gram(term.word) else (0.6 if whole else 0.8))
        elif symbols.is_signed(term.word):
            # A sign that nobody has was an ornament of the question; beside words it says less than they do.
            term.weight *= 0.0 if not term.forms else (0.5 if worded and symbols.is_bare(term.word) else 1.0)
        elif len(term.word) <= 2 and not term.word.isdigit():
            term.weight *= 0.5
    return [term for term in chosen if term.weight > 0]


def _query_words(text: str) -> list[str]:
    words = []
    for word in raw_words(text):
        if not word.isascii() and any(is_gram(character) for character in word):
            # Scripts without spaces: the words of questions are cut out, what is left falls into pieces.
            rest = word
            for phrase in PHRASES:
                if phrase in rest and (len(phrase) > 1 or len(rest) > 2):
                    rest = rest.replace(phrase, " ")
            pieces = [piece for piece in rest.split() if piece]
            words += pieces or [word]
        else:
            words.append(word)
    return words


def _docs(db: sqlite3.Connection, term: str, frequency: dict[str, int]) -> int:
    if term not in frequency:
        row = db.execute("SELECT doc FROM terms WHERE term = ?", (term,)).fetchone()
        frequency[term] = int(row[0]) if row else 0
    return frequency[term]


def _expand(db: sqlite3.Connection, term: str, word: str, last: bool, total: int, frequency: dict[str, int]) -> Term:
    found = Term(term)
    docs = _docs(db, term, frequency)
    if docs:
        found.forms[term] = 1.0
        found.docs = docs
    if symbols.is_signed(term):
        return found
    if is_gram(term):
        if len(term) == 1 and (not docs or "\uac00" <= term <= "\ud7a3"):
            _prefixes(db, found, term, term, 20, frequency)
        for other in kana(term):
            if _docs(db, other, frequency):
                found.forms.setdefault(other, 0.9)
        if len(term) == 2 and term[1] in _PARTICLES and _docs(db, term[0], frequency):
            found.forms.setdefault(term[0], 0.6)
        return found
    if last and len(word) == 2 and total >= _LARGE:
        _begun(db, found, word)
    elif last and len(word) >= 2:
        _prefixes(db, found, word, term, 24, frequency)
    least = 3 if "\u0590" <= term[0] <= "\u06ff" else 4  # roots of Hebrew and Arabic are short
    if len(term) >= least and docs < max(30, total // 50) and not any(character.isdigit() for character in term):
        _inflections(db, found, term, frequency)
    if 2 <= len(word) <= SHORT_WORD and docs < max(30, total // 50):
        _relatives(db, found, word, frequency)
    for other in sorted(synonyms.table().get(term, ())):
        if _docs(db, other, frequency):
            found.forms.setdefault(other, SYNONYM)
    if not found.forms and "e" in word[1:]:
        _respelled(db, found, word, frequency)
    if not found.forms and len(word) >= 4 and not word.isdigit():
        _typos(db, found, word, total, frequency)
    if not found.forms and len(word) >= 5:
        _hyphened(db, found, word, frequency)
    if not found.forms and len(word) >= 7:
        _halves(db, found, word, frequency)
    if not found.forms and len(term) >= 5:
        _beginnings(db, found, term, frequency)
    if not found.docs:
        # As rare as its best form, so that an inflection weighs what its word weighs.
        found.docs = max((_docs(db, form, frequency) for form in found.forms), default=0)
    return found


def _range(db: sqlite3.Connection, prefix: str, limit: int, frequency: dict[str, int]) -> list[str]:
    rows = db.execute(
        "SELECT term, doc FROM terms WHERE term >= ? AND term < ? LIMIT ?", (prefix, prefix + "\U0010ffff", limit)
    )
    found = []
    for term, docs in rows:
        frequency[term] = int(docs)
        found.append(str(term))
    return found


def _prefixes(
    db: sqlite3.Connection, term: Term, prefix: str, whole: str, most: int, frequency: dict[str, int]
) -> None:
    """The last word as somebody is typing it: what begins so. A cut ending (`publishi`) falls back to its stem."""
    found = _range(db, prefix, 200, frequency)
    if not found and prefix != whole and len(whole) >= 3:
        found = _range(db, whole, 200, frequency)
    found.sort(key=lambda form: (len(form), -frequency[form], form))
    for form in found[:most]:
        term.forms.setdefault(form, 0.9 if len(form) - len(prefix) <= 2 else 0.7)


def _begun(db: sqlite3.Connection, term: Term, prefix: str) -> None:
    """Two letters begin too many words to count them all: those that stand in names are meant."""
    term.begun = True
    rows = db.execute(index_sql.NAMED_SO, (prefix, prefix + "\U0010ffff"))
    for form in sorted({stem(word) for (word,) in rows}, key=lambda form: (len(form), form))[:24]:
        term.forms.setdefault(form, 0.9 if len(form) <= 4 else 0.7)


def _inflections(db: sqlite3.Connection, term: Term, word: str, frequency: dict[str, int]) -> None:
    """Other endings of the same word, and compounds that begin with it."""
    root = word[: max(4, len(word) - 2)] if len(word) >= 6 else word
    scored = []
    for form in _range(db, root, 300, frequency):
        common = 0
        for one, other in zip(word, form, strict=False):
            if one != other:
                break
            common += 1
        if form == word or common < len(root):
            continue
        ending = max(len(word), len(form)) - common
        if common == len(word) and ending > 3:
            # A compound (kaffee -> kaffeemaschine), or only the same beginning: the longer the shared part, the surer.
            quality = 0.55 if len(word) >= 6 else 0.35
        elif ending <= 3:
            quality = 0.85 - 0.1 * ending + (0.05 if common >= 6 else 0.0)
        elif common == len(form):
            quality = 0.55 if len(form) >= 5 else 0.3
        else:
            continue
        scored.append((-quality, form))
    scored.sort()
    for quality, form in scored[:12]:
        term.forms.setdefault(form, -quality)
    # The index term may be a shorter stem of this one: veroeffentlich <- veroeffentlichung, kitap <- kitaplarimiz.
    lowest = max(5, int(0.55 * len(word))) if not term.forms else max(5, len(word) - 3)
    for size in range(len(word) - 1, lowest - 1, -1):
        if _docs(db, word[:size], frequency):
            term.forms.setdefault(word[:size], 0.6 if len(word) - size <= 3 else 0.5)


def _relatives(db: sqlite3.Connection, term: Term, word: str, frequency: dict[str, int]) -> None:
    """Other forms of a short word, where the notes have them: surer where they do not have the word itself."""
    more = 0.0 if term.docs else 0.1
    found = relatives(word)
    beginnings = Counter(form[:3] for form in found if form not in frequency)
    for beginning, count in beginnings.items():
        # To read what begins so costs as much as three or four questions for one term; most forms are words of no language.
        if count >= 4 and len(_range(db, beginning, BEGIN_SO, frequency)) < BEGIN_SO:
            for form in found:
                if form.startswith(beginning):
                    frequency.setdefault(form, 0)
    for form, quality in found.items():
        if _docs(db, form, frequency):
            term.forms.setdefault(form, quality + more)


def _typos(db: sqlite3.Connection, term: Term, word: str, total: int, frequency: dict[str, int]) -> None:
    """Words of titles, aliases, tags and paths a slip away; in a small store of all words."""
    most = 1 if len(word) < 7 else 2
    near: dict[str, int] = {}
    swapped = {word[0], word[1]}
    for first in sorted(swapped):
        rows = db.execute(
            "SELECT DISTINCT word FROM words WHERE word >= ? AND word < ? AND length(word) BETWEEN ? AND ? LIMIT 20000",
            (first, first + "\U0010ffff", len(word) - most, len(word) + most),
        )
        for (known,) in rows:
            steps = distance(word, known, most)
            if steps <= most:
                near[stem(known)] = min(near.get(stem(known), 9), steps)
    if not near and total <= 20_000:
        short = stem(word)
        most = 1 if len(short) < 7 else 2  # two slips in a stem of four letters make any other word
        for known in _range(db, word[0], 50_000, frequency):
            if abs(len(known) - len(short)) <= most:
                steps = distance(short, known, most)
                if steps <= most:
                    near[known] = steps
    best = min(near.values(), default=0)
    for form in sorted(near, key=lambda form: (near[form], -_docs(db, form, frequency), form))[:4]:
        if near[form] == best and _docs(db, form, frequency):
            term.forms[form] = 0.8 - 0.15 * best


def _respelled(db: sqlite3.Connection, term: Term, word: str, frequency: dict[str, int]) -> None:
    """Ue for ü, as people write who have no such key: the note has the letter, which is folded to u."""
    other = _WITHOUT_KEY.sub(r"\1", word)
    if other == word:
        return
    short = stem(other)
    if _docs(db, short, frequency):
        term.forms[short] = 0.95
    elif len(short) >= 4:
        _inflections(db, term, short, frequency)


def _hyphened(db: sqlite3.Connection, term: Term, word: str, frequency: dict[str, int]) -> None:
    """`email`, `cooperate`, `obrien`, where the notes write e-mail, co-operate, O'Brien: the longer part stands for it."""
    for cut in (1, 2):
        tail = stem(word[cut:])
        if len(tail) >= 4 and _docs(db, word[:cut], frequency) and _docs(db, tail, frequency):
            term.forms[tail] = 0.7
            return


def _halves(db: sqlite3.Connection, term: Term, word: str, frequency: dict[str, int]) -> None:
    """An unknown compound whose two parts are known: each stands for half of it."""
    for cut in range(len(word) - 3, 2, -1):
        left, right = stem(word[:cut]), stem(word[cut:])
        if _docs(db, left, frequency) and _docs(db, right, frequency):
            term.forms[left] = term.forms[right] = 0.5
            return
    for cut in range(len(word) - 3, 3, -1):
        tail = stem(word[cut:])
        for form in _range(db, word[:cut], 60, frequency):
            if form.endswith(tail) and len(form) <= 2 * len(word):
                term.forms[form] = 0.5  # kinderrad: kinderfahrrad
                return
    for cut in range(len(word) - 3, 3, -1):
        for part in (stem(word[:cut]), stem(word[-cut:])):
            if len(part) >= 4 and _docs(db, part, frequency):
                term.forms[part] = 0.4
                return


def _beginnings(db: sqlite3.Connection, term: Term, word: str, frequency: dict[str, int]) -> None:
    """The last resort, in languages whose endings nobody here knows: words that begin as this one does, most of it."""
    size = max(4, (3 * len(word) + 4) // 5)
    near = [form for form in _range(db, word[:size], 100, frequency) if len(form) - size <= 4]
    for form in sorted(near, key=lambda form: (-frequency[form], form))[:4]:
        term.forms[form] = 0.35


def _join_neighbours(
    db: sqlite3.Connection, folded: list[str], skip: list[bool], chosen: list[Term], frequency: dict[str, int]
) -> None:
    """`git hub` also means `github`: a pair that is one word in the index stands for both of its parts."""
    known = {term.word: term for term in chosen}
    for place in range(len(folded) - 1):
        left, right = folded[place], folded[place + 1]
        if (skip[place] and skip[place + 1]) or is_gram(left) or is_gram(right):
            continue
        joined = stem(left + right)
        if len(joined) >= 5 and _docs(db, joined, frequency):
            for part in (left, right):
                term = known.get(stem(part))
                if term is not None:
                    term.forms.setdefault(joined, 0.95)


def _finders(planned: list[Term], total: int) -> list[str]:
    """Index terms that fetch candidates. In a large store common words only rank, so that a query reads little."""
    used = planned
    if total >= _LARGE:
        by_docs = sorted(planned, key=lambda term: term.docs)
        used, docs = by_docs[:2], sum(term.docs for term in by_docs[:2])
        for term in by_docs[2:]:
            docs += term.docs
            if docs <= AFFORDED and term.docs <= _COMMON * total:
                used.append(term)
        if used[0].docs <= _COMMON * total:
            used = [term for term in used if term.docs <= _COMMON * total]
    return list(dict.fromkeys(form for term in used for form in term.forms))


# --- candidates ---


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
    """Notes with a word in title, tags, aliases or path that is, or begins with, the one that is typed."""
    word = fold(raw_words(query.text)[-1])
    rows = db.execute(
        f"SELECT n.note, 0.0, {KNOWN} "
        f"FROM (SELECT DISTINCT note FROM words WHERE word >= ? AND word < ? LIMIT {NAMED}) w JOIN notes n USING(note) "
        f"WHERE {where} LIMIT ?",
        (word, word + "\U0010ffff", *values, wanted),
    ).fetchall()
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
                note.id, note.cut.title, note.kind, tuple(decode(note.cut.tags)), snippet, round(min(1.0, note.score), 4), note.updated,
                note.coverage, note.section, marks,
            )
        )  # fmt: skip
    return hits


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
