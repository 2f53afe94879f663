"""From the words of a query to its terms: their weights, and the index terms that stand for each.

Here belongs what a word may also mean in this index: other endings, compounds, slips, synonyms. Which notes have the terms is
asked in `records.search`, what they are worth in `records.ranking`. Reads the index; no clock, no randomness.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable
from itertools import islice

from records import index_sql, symbols, synonyms
from records.query import Query
from records.ranking import Term
from records.relatives import DERIVED, relatives
from records.stopwords import PHRASES, ignorable, stop_terms
from records.text import distance, fold, gram_size, is_gram, is_weak_gram, kana, raw_words, stem, word_terms

MAX_TERMS = 40
TOLD = 4  # ignored words that are looked for in a note
SYNONYM = 0.55
LAST_PART = 0.4
CUT = 4  # letters of an ending, from which on what is left of the word may be that of another
RARE = 1  # notes with a word that may be there by chance, in another language or with another ending
SURE = 0.7  # from which a form of a word is the word
LARGE = 3000  # notes
BEGIN_SO = 400  # terms of one beginning that are read at once
_WITHOUT_KEY = re.compile(r"([aou])e")
# The end of a word that is being typed, of which the next letter may make the dot that `fold` makes of it (Devanagari).
_NASAL = re.compile("[\u0919\u091e\u0923\u0928\u092e]\u094d?\\Z")
_PARTICLES = frozenset(
    "은는이가을를에의도로와과만"
)  # after a Korean word of one syllable, which is a term alone where it stands alone


def plan(
    db: sqlite3.Connection, query: Query, total: int, frequency: dict[str, int], every: bool = False
) -> tuple[list[Term], tuple[str, ...]]:
    """The terms of a query with their weights and the index terms that stand for each; and the terms of words that are ignored,
    since they carry no subject, but tell the language of whoever asks. `every`: none but the common ones
    is ignored (German `See` is English, too), and a piece of Han that no note has may stand for one of its characters."""
    words = _query_words(query.text)
    folded = [fold(word) for word in words]
    skip = ignorable(words, folded)
    begun = query.unfinished and bool(folded) and len(folded[-1]) == 1 and all(skip[:-1])
    if every or begun:
        few = max(2, total // 20)
        skip = [
            ignored and docs_of(db, stem(word), frequency) > few for ignored, word in zip(skip, folded, strict=True)
        ]
    if begun:
        skip[-1] = False  # one letter says less than a small word before it that few notes have
    pieces: dict[str, int] = {}  # term -> which word it is first of
    for place, word in enumerate(words):
        if not skip[place] or all(skip):
            for piece in word_terms(word):
                pieces.setdefault(piece, place)
    pairs = _pairs(folded, skip)
    _ask(db, [*islice(pieces, MAX_TERMS), *(joined for joined, _ in pairs[:MAX_TERMS])], frequency)
    joined = _joined(db, pairs, frequency)
    chosen = [
        _expand(
            db, piece, folded[place], query.unfinished and place == len(folded) - 1, begun, total, frequency,
            joined.get(piece, ()), every,
        )
        for piece, place in islice(pieces.items(), MAX_TERMS)
    ]  # fmt: skip
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
    chosen = [term for term in chosen if term.weight > 0]
    ignored = dict.fromkeys(stem(word) for word, ignored in zip(folded, skip, strict=True) if ignored and len(word) > 1)
    return chosen, () if all(skip) else tuple(ignored)[:TOLD]


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


def docs_of(db: sqlite3.Connection, term: str, frequency: dict[str, int]) -> int:
    """How many notes have an index term; `frequency` remembers it."""
    if term not in frequency:
        row = db.execute("SELECT doc FROM terms WHERE term = ?", (term,)).fetchone()
        frequency[term] = int(row[0]) if row else 0
    return frequency[term]


def _ask(db: sqlite3.Connection, wanted: Iterable[str], frequency: dict[str, int]) -> None:
    """Have `frequency` know how many notes have each of some terms: one question, where one for each takes twice as long."""
    unknown = [term for term in dict.fromkeys(wanted) if term not in frequency]
    if len(unknown) > 1:
        rows = db.execute(f"SELECT term, doc FROM terms WHERE term IN ({', '.join('?' * len(unknown))})", unknown)
        frequency.update(dict.fromkeys(unknown, 0) | dict(rows.fetchall()))


def _expand(
    db: sqlite3.Connection,
    term: str,
    word: str,
    last: bool,
    alone: bool,
    total: int,
    frequency: dict[str, int],
    joined: tuple[str, ...],
    every: bool,
) -> Term:
    """A term with what stands for it. `last`: it is being typed; `alone`: nothing else is asked. `joined`: index terms that
    are this word and its neighbour in one. `every`: see `plan`."""
    found = Term(term)
    found.forms.update(dict.fromkeys(joined, 0.95))
    docs = docs_of(db, term, frequency)
    if docs:
        found.forms[term] = 1.0
        found.docs = docs
    if symbols.is_signed(term):
        return found
    if is_gram(term):
        # A piece that is not whole yet, whether or not some note has it standing alone.
        if len(term) < gram_size(term[0]) and (last or not docs or "\uac00" <= term <= "\ud7a3"):
            _prefixes(db, found, term, term, 20, frequency)
        if last and "\uac00" <= term[-1] <= "\ud7a3" and (ord(term[-1]) - 0xAC00) % 28 == 0:
            _closed(db, found, term, frequency)
        for other in kana(term):
            if docs_of(db, other, frequency):
                found.forms.setdefault(other, 0.9)
        if not found.forms and len(term) == 2 and "\u3400" <= term[0] <= "\u9fff":
            if "\u3041" <= term[1] <= "\u309f":
                _conjugated(db, found, term, frequency)
            elif every:
                _characters(db, found, term, frequency)
        if len(term) == 2 and term[1] in _PARTICLES and docs_of(db, term[0], frequency):
            found.forms.setdefault(term[0], 0.6)
        return found
    if last and ((len(word) == 2 and total >= LARGE) or (len(word) == 1 and alone)):
        _begun(db, found, word, frequency)
    elif last and len(word) >= 2:
        _prefixes(db, found, word, term, 24, frequency)
        if _NASAL.search(word):
            _prefixes(db, found, _NASAL.sub("\u0902", word), term, 24, frequency)
    least = 3 if "\u0590" <= term[0] <= "\u06ff" else 4  # roots of Hebrew and Arabic are short
    if len(term) >= least and docs < max(30, total // 50) and not any(character.isdigit() for character in term):
        _inflections(db, found, term, frequency)
    if not docs and max(found.forms.values(), default=0.0) < SURE:
        _last_part(db, found, term, frequency)
    if 2 <= len(word) <= DERIVED and docs < max(30, total // 50):
        _relatives(db, found, word, frequency)
    for other in sorted(synonyms.table().get(term, ())):
        if docs_of(db, other, frequency):
            found.forms.setdefault(other, SYNONYM)
    if not docs and not joined and "e" in word[1:]:
        _respelled(db, found, word, frequency)
    # A stem that is much shorter than the word is not the word: `vacinations` is no `vacina`.
    cut = docs <= RARE and len(word) - len(term) >= CUT
    doubtful = cut or (not docs and max(found.forms.values(), default=0.0) < SURE)
    if doubtful and len(word) >= 4 and not word.isdigit():
        _typos(db, found, word, total, frequency)
    if not found.forms and len(word) >= 5:
        _hyphened(db, found, word, frequency)
    if not found.forms and len(word) >= 7:
        _halves(db, found, word, frequency)
    if not found.forms and len(term) >= 5:
        _beginnings(db, found, term, frequency)
    if not found.docs:
        # As rare as its best form, so that an inflection weighs what its word weighs.
        found.docs = max((docs_of(db, form, frequency) for form in found.forms), default=0)
    return found


def _range(
    db: sqlite3.Connection, prefix: str, limit: int, frequency: dict[str, int], before: str | None = None
) -> list[str]:
    """The first terms that begin with `prefix`, or lie between it and `before`."""
    rows = db.execute(
        "SELECT term, doc FROM terms WHERE term >= ? AND term < ? LIMIT ?",
        (prefix, before or prefix + "\U0010ffff", limit),
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
        term.forms.setdefault(form, (0.9 if len(form) - len(prefix) <= 2 else 0.7) if form.startswith(prefix) else 0.5)
    if not found:
        # The term of the word that is meant may begin otherwise: without its article (Arabic), or cut.
        for form in _named_so(db, prefix)[:most]:
            term.forms.setdefault(form, 0.7)


def _closed(db: sqlite3.Connection, term: Term, open_: str, frequency: dict[str, int]) -> None:
    """A Korean syllable that is being typed: what ends it (27 letters may) comes with the next key, as 하 on the way to 한."""
    found = _range(db, open_, 200, frequency, open_[:-1] + chr(ord(open_[-1]) + 28))
    for form in sorted(found, key=lambda form: (len(form), -frequency[form], form))[:24]:
        term.forms.setdefault(form, 0.7)


def _conjugated(db: sqlite3.Connection, term: Term, pair: str, frequency: dict[str, int]) -> None:
    """A Japanese verb or adjective with another ending behind its Han: 買う for 買った."""
    found = [form for form in _range(db, pair[0], 200, frequency) if "\u3041" <= form[1:] <= "\u309f"]
    for form in found[:12]:
        term.forms.setdefault(form, 0.5)


def _characters(db: sqlite3.Connection, term: Term, pair: str, frequency: dict[str, int]) -> None:
    """Of two Han characters that stand together nowhere each alone: 腰疼 for 腰痛."""
    for character in dict.fromkeys(pair):
        found = _range(db, character, 200, frequency)
        for form in sorted(found, key=lambda form: (len(form), -frequency[form], form))[:12]:
            term.forms.setdefault(form, LAST_PART)


def _named_so(db: sqlite3.Connection, prefix: str) -> list[str]:
    """The terms of the words of names that begin so, the shortest first."""
    rows = db.execute(index_sql.NAMED_SO, (prefix, prefix + "\U0010ffff"))
    return sorted({stem(word) for (word,) in rows}, key=lambda form: (len(form), form))


def _begun(db: sqlite3.Connection, term: Term, prefix: str, frequency: dict[str, int]) -> None:
    """One letter or two begin too many words to count them all: those that stand in names are meant."""
    term.begun = True
    for form in _named_so(db, prefix)[:24]:
        term.forms.setdefault(form, 0.9 if len(form) <= 4 else 0.7)
    if not term.forms:
        _prefixes(db, term, prefix, prefix, 24, frequency)


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
        if docs_of(db, word[:size], frequency):
            term.forms.setdefault(word[:size], 0.6 if len(word) - size <= 3 else 0.5)


def _last_part(db: sqlite3.Connection, term: Term, word: str, frequency: dict[str, int]) -> None:
    """What a compound is a kind of, and a verb without its first part: `standardbrowser`, `ausdrucken`."""
    if "a" <= word[0] < "\u0530" and word.isalpha():
        for cut in range(3, len(word) - 3):
            tail, head = word[cut:], stem(word[:cut])
            if docs_of(db, tail, frequency) and (len(tail) >= 6 or docs_of(db, head, frequency)):
                term.forms.setdefault(tail, LAST_PART)
                if docs_of(db, head, frequency):
                    term.forms.setdefault(head, LAST_PART)
                return


def _relatives(db: sqlite3.Connection, term: Term, word: str, frequency: dict[str, int]) -> None:
    """Other forms of a short word, where the notes have them: surer where they do not have the word itself."""
    more = 0.0 if term.docs else 0.1
    found = relatives(word, term.docs <= RARE)
    beginnings = Counter(form[:3] for form in found if form not in frequency)
    for beginning, count in beginnings.items():
        # To read what begins so costs as much as three or four questions for one term; most forms are words of no language.
        if count >= 4 and len(_range(db, beginning, BEGIN_SO, frequency)) < BEGIN_SO:
            for form in found:
                if form.startswith(beginning):
                    frequency.setdefault(form, 0)
    _ask(db, found, frequency)
    for form, quality in found.items():
        if docs_of(db, form, frequency):
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
    if not near and not term.forms and total <= 20_000:
        short = stem(word)
        most = 1 if len(short) < 7 else 2  # two slips in a stem of four letters make any other word
        common = stop_terms()  # nobody looks for one of these, however near it is to a word that no note has
        for known in _range(db, word[0], 50_000, frequency):
            if abs(len(known) - len(short)) <= most and known not in common:
                steps = distance(short, known, most)
                if steps <= most:
                    near[known] = steps
    best = min(near.values(), default=0)
    for form in sorted(near, key=lambda form: (near[form], -docs_of(db, form, frequency), form))[:4]:
        if near[form] == best and docs_of(db, form, frequency):
            term.forms[form] = max(term.forms.get(form, 0.0), 0.8 - 0.15 * best)


def _respelled(db: sqlite3.Connection, term: Term, word: str, frequency: dict[str, int]) -> None:
    """Ue for ü, as people write who have no such key: the note has the letter, which is folded to u."""
    other = _WITHOUT_KEY.sub(r"\1", word)
    if other == word:
        return
    short = stem(other)
    if docs_of(db, short, frequency):
        term.forms[short] = 0.95
    elif len(short) >= 4:
        _inflections(db, term, short, frequency)


def _hyphened(db: sqlite3.Connection, term: Term, word: str, frequency: dict[str, int]) -> None:
    """`email`, `cooperate`, `obrien`, where the notes write e-mail, co-operate, O'Brien: the longer part stands for it."""
    for cut in (1, 2):
        tail = stem(word[cut:])
        if len(tail) >= 4 and docs_of(db, word[:cut], frequency) and docs_of(db, tail, frequency):
            term.forms[tail] = 0.7
            return


def _halves(db: sqlite3.Connection, term: Term, word: str, frequency: dict[str, int]) -> None:
    """An unknown compound whose two parts are known: each stands for half of it."""
    for cut in range(len(word) - 3, 2, -1):
        left, right = stem(word[:cut]), stem(word[cut:])
        if docs_of(db, left, frequency) and docs_of(db, right, frequency):
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
            if len(part) >= 4 and docs_of(db, part, frequency):
                term.forms[part] = 0.4
                return


def _beginnings(db: sqlite3.Connection, term: Term, word: str, frequency: dict[str, int]) -> None:
    """The last resort, in languages whose endings nobody here knows: words that begin as this one does, most of it."""
    size = max(4, (3 * len(word) + 4) // 5)
    common = stop_terms()
    near = [form for form in _range(db, word[:size], 100, frequency) if len(form) - size <= 4 and form not in common]
    for form in sorted(near, key=lambda form: (-frequency[form], form))[:4]:
        term.forms[form] = 0.35


def _pairs(folded: list[str], skip: list[bool]) -> list[tuple[str, tuple[str, str]]]:
    """Neighbours as the term of one word, with their own terms."""
    found = []
    for place in range(len(folded) - 1):
        left, right = folded[place], folded[place + 1]
        if (skip[place] and skip[place + 1]) or is_gram(left) or is_gram(right):
            continue
        joined = stem(left + right)
        if len(joined) >= 5:
            found.append((joined, (stem(left), stem(right))))
    return found


def _joined(
    db: sqlite3.Connection, pairs: list[tuple[str, tuple[str, str]]], frequency: dict[str, int]
) -> dict[str, tuple[str, ...]]:
    """`git hub` also means `github`: a pair that is one word in the index stands for both of its parts."""
    found: dict[str, tuple[str, ...]] = {}
    for joined, parts in pairs:
        if docs_of(db, joined, frequency):
            for part in parts:
                found[part] = (*found.get(part, ()), joined)
    return found
