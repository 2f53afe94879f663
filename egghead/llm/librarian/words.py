"""Words as the librarian compares them: which of a question's words carry it, and which words of a note they meet.

Here belong cutting a question into weighted terms and judging whether two words are forms of one. Where in a note the
terms are found, and what that is worth, is the business of `ranking`. Pure.

No stemmer is used: two words are taken for forms of one when what is left after their common beginning are endings of
the language. It needs no dictionary, works the same for thirty languages, and never changes a word into another.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from egghead.llm.librarian.fold import UNSPACED, WORD, fold
from egghead.llm.librarian.languages import detect, light_words, stop_words, unspaced_stop, weak_words
from egghead.llm.librarian.synonyms import expressions, synonyms

# English endings: what makes another form of the same word, and what makes a word of the same family.
_FORMS = ("s", "es", "ed", "d", "ing", "ies", "ied")
_FAMILY = ("er", "ers", "or", "ors", "ion", "ions", "ation", "ations", "ly", "al", "ally", "able", "ment", "ments", "ive",
           "ence", "ance", "ity", "est", "ness", "ier")  # fmt: skip
# Languages whose words grow long endings: one rule more lenient.
_AGGLUTINATIVE = frozenset({"fi", "et", "hu", "tr", "ko", "sw", "ta", "und"})
_PREFIXES = {
    "ar": ("ال", "وال", "بال", "كال", "فال", "لل", "و", "ب", "ل", "ف", "ك"),
    "he": ("ה", "ו", "ב", "ל", "מ", "ש", "כ", "וה", "שה", "מה", "לה", "בה"),
}

EXACT, INFLECTED, COMPOUND, LOOSE, TYPO = 1.0, 0.9, 0.6, 0.55, 0.7
WEAK_WEIGHT = 0.3
LIGHT_WEIGHT = 0.55
MAX_WORD = 64  # letters of a word that are compared; longer ones are keys, hashes and URLs
SYNONYM = 0.65  # what a synonym found is worth of the word itself


@dataclass(frozen=True)
class Term:
    """One carrying word of a question: its folded form, its weight before anything is known of the notes, whether it
    looks like a name (capital inside a sentence, digits), the other words it may appear as, how the person wrote it, and
    other spellings of it."""

    text: str
    weight: float
    name: bool = False
    alternatives: tuple[str, ...] = ()
    surface: str = ""
    spellings: tuple[str, ...] = ()


def _spellings(word: str) -> tuple[str, ...]:
    """The same word written on a keyboard without umlauts, or with the ligature apart: kaesespaetzle, kasespatzle."""
    plain = word.replace("ae", "a").replace("oe", "o").replace("ue", "u")
    return (plain,) if plain != word and len(plain) > 2 else ()


def tokens(text: str) -> list[str]:
    """The folded words of a text in order. Runs of a script without spaces come as overlapping pairs of signs (a
    single sign as itself), so that both sides of a comparison are cut alike."""
    if not text.isascii():
        text = text.translate(_TYPOGRAPHY)
    if text.isascii():
        return _ascii_tokens(text)
    found: list[str] = []
    for match in WORD.finditer(text):
        word = match[0]
        folded = fold(word)[:MAX_WORD]
        if not folded:
            continue
        if UNSPACED.match(word):
            found += pairs(fold(word))
        else:
            found.append(folded)
            if word[1:] != word[1:].lower():
                found += _camel(word)
    return found


# Signs between words that English texts are full of: without them most lines are plain ASCII, which is cut much faster.
_TYPOGRAPHY = {ord(sign): " " for sign in "‘’“”„«»–—…•·→←↔✓✅⚠📹\u00a0\u200b\u2060\ufe0f"}
_ASCII = re.compile("[A-Za-z0-9]+")


_INNER = re.compile("[A-Za-z0-9][A-Z]")


def _ascii_tokens(text: str) -> list[str]:
    if not _INNER.search(text):
        return [word[:MAX_WORD] for word in _ASCII.findall(text.lower())]
    found: list[str] = []
    for word in _ASCII.findall(text):
        lower = word.lower()
        found.append(lower[:MAX_WORD])
        if lower != word and lower[1:] != word[1:]:
            found += _camel(word)
    return found


def joined(text: str) -> list[str]:
    """Neighbouring words of a title as one: people write spellchecker, keyboard or Spell Checker as they please."""
    words = [fold(match[0]) for match in WORD.finditer(text) if not UNSPACED.match(match[0])]
    return [a + b for a, b in itertools.pairwise(words) if len(a) > 2 and len(b) > 2]


def _camel(word: str) -> list[str]:
    """The parts of groupBy or GitHub, which people write as two words."""
    parts = [] if word.isupper() else re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", word)
    return [part.lower() for part in parts if len(part) > 2] if len(parts) > 1 else []


def pairs(run: str) -> list[str]:
    """Overlapping pairs of a run of signs: 地下鉄 → 地下, 下鉄. Threes where a syllable takes several signs (Thai)."""
    size = 3 if "\u0e00" <= run[0] <= "\u17ff" else 2
    return [run] if len(run) <= size else [run[i : i + size] for i in range(len(run) - size + 1)]


def terms(question: str, language: str | None = None) -> tuple[Term, ...]:
    """The words that carry a question, each once, in order. Empty when it consists of function words only."""
    language = language or detect(question)
    stops, weak = stop_words(language), weak_words()
    found: dict[str, Term] = {}
    if language == "en":
        for match in expressions().finditer(question):
            word = str(match.lastgroup)
            found.setdefault(word, Term(word, 1.0, False, synonyms(word, language), match[0]))
        # Blanks of the same length: what is a name depends on where a word stands.
        question = expressions().sub(lambda match: " " * len(match[0]), question)
    for start, word in _words(question, language):
        folded = fold(word)[:MAX_WORD]
        if UNSPACED.match(word):
            for pair in pairs(folded):
                found.setdefault(pair, Term(pair, _pair_weight(pair), surface=pair))
            continue
        if folded in stops or not folded or (len(folded) < 2 and not folded.isdigit()):
            continue
        name = _is_name(word, start, question, language)
        weight = WEAK_WEIGHT if folded in weak or _weak_form(folded, weak) else 1.0
        if weight == 1.0 and language == "en" and not _bases(folded, _FORMS).isdisjoint(light_words()):
            weight = LIGHT_WEIGHT
        if name:
            weight = 1.2 if weight >= LIGHT_WEIGHT else 0.7
        found.setdefault(folded, Term(folded, weight, name, synonyms(folded, language), word, _spellings(folded)))
    return tuple(found.values())


def _weak_form(word: str, weak: frozenset[str]) -> bool:
    return len(word) > 4 and (word.removesuffix("s") in weak or word.removesuffix("ing") in weak)


def _words(question: str, language: str) -> Iterable[tuple[int, str]]:
    pattern = unspaced_stop(language)
    for match in WORD.finditer(question):
        word = match[0]
        if pattern is None or not UNSPACED.match(word):
            yield match.start(), word
            continue
        at = match.start()
        for piece in re.split(f"({pattern.pattern})", word):
            if piece and not pattern.fullmatch(piece):
                yield at, piece
            at += len(piece)


def _pair_weight(pair: str) -> float:
    """Kanji and katakana carry a Japanese question, hiragana mostly binds it; Thai pairs are halves of syllables."""
    if all("\u3041" <= char <= "\u309f" for char in pair):
        return 0.15
    if any("\u3041" <= char <= "\u309f" for char in pair):
        return 0.5
    if "\u0e00" <= pair[0] <= "\u17ff":
        return 0.35
    return 0.5 if len(pair) == 1 else 1.0


def _is_name(word: str, start: int, question: str, language: str) -> bool:
    if any(char.isdigit() for char in word):
        return any(char.isalpha() for char in word)
    if len(word) > 1 and word.isupper() and not question.isupper():
        return True
    if word[0].islower() and word[1:] != word[1:].lower():  # iCloud, macOS
        return True
    if language == "de":  # every noun has a capital
        return False
    before = question[:start].rstrip()
    inside = bool(before) and before[-1] not in '.!?:;"“„«(¿¡-–—•*\n'
    return inside and word[0].isupper() and not _titled(question)


def double_names(question: str, language: str) -> tuple[re.Pattern[str], ...]:
    """Patterns of names of two words (Foam Pro, Machu Picchu), in whatever form a note has them: both words being
    somewhere in a note is not the name being there."""
    found = []
    for before, after in itertools.pairwise(WORD.finditer(question)):
        names = all(_is_name(m[0], m.start(), question, language) for m in (before, after))
        if names and question[before.end() : after.start()] == " ":
            stems = [re.escape(m[0][: max(3, len(m[0]) - 2)]) for m in (before, after)]
            found.append(re.compile(rf"\b{stems[0]}\w*\W{{1,3}}{stems[1]}", re.IGNORECASE))
    return tuple(found)


def _titled(question: str) -> bool:
    """Whether Most Words Are Capitalised, so that capitals say nothing."""
    stops = stop_words("en")
    words = [word for word in WORD.findall(question) if word[0].isalpha() and len(word) > 2 and fold(word) not in stops]
    return len(words) > 2 and all(word[0].isupper() for word in words)


@lru_cache(maxsize=16384)
def related(asked: str, found: str, language: str) -> float:
    """How surely `found` is a form of `asked` (both folded): 1 the same, 0 another word."""
    if asked == found:
        return EXACT
    if len(asked) < 3 or len(found) < 3:
        return _short(asked, found)
    common = _common(asked, found)
    left, right = asked[common:], found[common:]
    longest = max(len(left), len(right))
    if language == "en":
        score = _english(asked, found, common, longest)
    elif common >= 3:
        score = _by_endings(left, right, common, len(asked), language)
    else:
        score = INFLECTED if language == "ko" and common == 2 and longest <= 3 else 0.0
    if score:
        return score
    for prefix in _PREFIXES.get(language, ()):
        if asked.startswith(prefix) and len(asked) - len(prefix) >= 3:
            score = _bare(asked[len(prefix) :], found)
            if score:
                return score
        if found.startswith(prefix) and len(found) - len(prefix) >= 3:
            score = _bare(asked, found[len(prefix) :])
            if score:
                return score
    return _compound(asked, found)


def _by_endings(left: str, right: str, common: int, asked: int, language: str) -> float:
    """Two words with a common beginning of three letters or more, and what is left of each, in any language."""
    longest, shortest = max(len(left), len(right)), min(len(left), len(right))
    if shortest == 0 and (longest <= 2 or (common >= 4 and longest <= 3)):
        return INFLECTED
    if shortest == 0 and common >= 5 and longest <= 6:
        return COMPOUND if longest > 4 else 0.75
    if common >= 4 and longest <= 3:
        return INFLECTED if longest <= 2 else 0.8
    if common >= 6 and language in _AGGLUTINATIVE and longest <= 8:
        return COMPOUND
    if common >= 4 and shortest <= 2 and longest <= 5 and common * 2 >= asked:
        return 0.7 if language in _AGGLUTINATIVE or common >= 5 else LOOSE
    return LOOSE if common == 3 and longest <= 2 and len(left) + len(right) <= 3 else 0.0


def _english(asked: str, found: str, common: int, longest: int) -> float:
    """English has few endings and many short words that differ by one letter (store, story; plan, plane): only its own
    endings make a form."""
    if common >= 3:
        if not _bases(asked, _FORMS).isdisjoint(_bases(found, _FORMS)):
            return INFLECTED
        if not _bases(asked, _FAMILY).isdisjoint(_bases(found, _FAMILY)):
            return 0.75
    if common >= 5 and longest <= 6 and common in (len(asked), len(found)):
        return COMPOUND
    return LOOSE if common >= 7 and longest <= 3 else 0.0


@lru_cache(maxsize=16384)
def _bases(word: str, endings: tuple[str, ...]) -> frozenset[str]:
    """What an English word may be a form of, itself too: running → run, creating → create, libraries → library."""
    bases = {word}
    words = [word] if endings is _FORMS else [word, *_bases(word, _FORMS)]
    for form in words:
        for ending in endings:
            stem = form.removesuffix(ending)
            if stem == form or len(stem) < (3 if endings is _FORMS else 4):
                continue
            if ending == "d":
                bases.update({stem} if stem.endswith("e") else ())
            elif ending in ("ies", "ied", "ier"):
                bases.add(stem + "y")
            else:
                bases.update((stem, stem + "e") if ending != "s" else (stem,))
                if stem[-1] == stem[-2]:
                    bases.add(stem[:-1])
    return frozenset(bases if endings is _FORMS else bases | _bases(word, _FORMS))


def _short(asked: str, found: str) -> float:
    """Two-letter words agree with one more ending only: 물 물을 (Korean syllables), db dbs."""
    if not asked or not found or not (found.startswith(asked) or asked.startswith(found)):
        return 0.0
    gap = abs(len(found) - len(asked))
    hangul = "\uac00" <= asked[0] <= "\ud7a3"
    if hangul:
        return INFLECTED if min(len(asked), len(found)) == 2 and gap <= 3 else (LOOSE if gap <= 1 else 0.0)
    return INFLECTED if len(asked) >= 2 and len(found) >= 2 and gap == 1 and (asked + found).count("s") else 0.0


def _bare(asked: str, found: str) -> float:
    """Semitic words after a prefix is taken off: the same but for a short ending."""
    common = _common(asked, found)
    longest = max(len(asked), len(found)) - common
    return INFLECTED if common >= 3 and longest <= 2 else 0.0


def _compound(asked: str, found: str) -> float:
    """One word inside the other at an edge: Plan in Bewässerungsplan, link in backlink."""
    small, large = (asked, found) if len(asked) < len(found) else (found, asked)
    if len(small) >= 4 and len(large) - len(small) >= 2:
        if large.endswith(small) or (len(small) >= 5 and large.startswith(small)):
            return COMPOUND
        if len(small) >= 6 and small in large:
            return 0.5
        # A compound's part may itself be inflected: Wohnungen in Ferienwohnung.
        if len(small) >= 7 and large.endswith(small[:-2]):
            return 0.5
    return 0.0


def _common(a: str, b: str) -> int:
    length = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        length += 1
    return length


def within_one_edit(a: str, b: str) -> bool:
    """Whether one letter added, dropped, changed, or two swapped turn `a` into `b`."""
    if a == b:
        return True
    if abs(len(a) - len(b)) > 1:
        return False
    common = _common(a, b)
    if len(a) == len(b):
        rest = a[common:], b[common:]
        swapped: bool = rest[0][:2] == rest[1][1::-1] and rest[0][2:] == rest[1][2:]
        return swapped or rest[0][1:] == rest[1][1:]
    longer, shorter = (a, b) if len(a) > len(b) else (b, a)
    return longer[common + 1 :] == shorter[common:]


class Vocabulary:
    """The words of some texts, ordered so that the forms of a term are found without looking at each of them."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = frozenset(words)
        self._starts: dict[str, list[str]] = {}
        for word in self.words:
            self._starts.setdefault(word[:2], []).append(word)
        self._all = "\n".join(["", *sorted(self.words), ""])

    def forms(self, term: Term, language: str) -> Mapping[str, float]:
        """Every word that may stand for the term → how surely (0 to 1)."""
        found = self._forms(term.text, language, term.name)
        for spelling in term.spellings:
            for word, sure in self._forms(spelling, language).items():
                found[word] = max(found.get(word, 0.0), sure)
        for other in term.alternatives:
            for word, sure in self._begins(other, language).items():
                found[word] = max(found.get(word, 0.0), sure * SYNONYM)
        return found

    def _forms(self, asked: str, language: str, name: bool = False) -> dict[str, float]:
        if UNSPACED.match(asked):
            return {asked: EXACT} if asked in self.words else {}
        found = self._begins(asked, language)
        if len(asked) >= 4:
            for word in self._around(asked):
                sure = related(asked, word, language)
                if sure:
                    found[word] = sure
        # A name is another word by one letter more often than it is misspelt: Slack, stack.
        return found or ({} if name and len(asked) < 7 else self._typos(asked))

    def _begins(self, asked: str, language: str) -> dict[str, float]:
        """Forms with the same beginning; in scripts with prefixes, any."""
        words: Iterable[str] = self.words if language in _PREFIXES else self._starts.get(asked[:2], ())
        return {word: sure for word in words if (sure := related(asked, word, language))}

    def _around(self, asked: str) -> set[str]:
        """Words that hold this one, and words that it holds: the other halves of compounds."""
        small = asked[:-2] if len(asked) >= 7 else asked
        found = set()
        at = self._all.find(small)
        while at >= 0:
            end = self._all.index("\n", at)
            found.add(self._all[self._all.rindex("\n", 0, at) + 1 : end])
            at = self._all.find(small, end)
        found.update(
            asked[start:end]
            for start in range(len(asked) - 3)
            for end in range(start + 4, len(asked) + 1)
            if asked[start:end] in self.words
        )
        return found

    def _typos(self, asked: str) -> dict[str, float]:
        if not 5 <= len(asked) <= MAX_WORD:
            return {}
        first = (w for start, words in self._starts.items() if start[:1] == asked[:1] for w in words)
        return {word: TYPO for word in first if len(word) >= 5 and within_one_edit(asked, word)}
