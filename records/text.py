"""Text to search terms, the same for notes and for queries: fold, cut, strip endings. Pure, no language is asked for.

Words of scripts with spaces lose accents and a light ending, so that inflected forms meet; scripts without spaces
become overlapping pairs (Han, kana, Hangul) or triples (Thai, Lao, Khmer, Burmese). What is conflated too much
here is told apart again when the few candidates are ranked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping

from records import symbols, variants
from records.brahmic import stem_brahmic

VERSION = f"9/{unicodedata.unidata_version}"  # part of the index's schema: other terms, other index

# Letters, digits and the combining marks that `\w` leaves out (Indic vowels, Thai tones, points, accents, ZWNJ).
_MARKS = (
    "\u0300-\u036f\u0483-\u0489\u055a-\u055c\u055e\u055f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u0711\u0730-\u074a\u0900-\u0963\u0971-\u0df3\u0e31-\u0e3a"
    "\u0e47-\u0e4e\u0eb1-\u0ebc\u0ec8-\u0ecd\u0f18-\u0fbc\u102b-\u103e\u1056-\u109d\u17b4-\u17d3\u1ab0-\u1aff"
    "\u1dc0-\u1dff\u200c\u200d\u20d0-\u20ff\u3099\u309a\ufe20-\ufe2f"
)
# Of a text without underscores. One set of characters is three times faster than two, and what is said here to be a
# letter, though `\w` has it too, is found by one look at a table.
_WORD = re.compile(rf"[0-9A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02af\u0400-\u0481\w{_MARKS}]+")
_ASCII_WORD = re.compile(r"[A-Za-z0-9]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z]{3})(?=[0-9])")
_PAIRED = "\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_TRIPLED = "\u0e01-\u0e4e\u0e81-\u0edf\u1000-\u109f\u1780-\u17d3"
_RUNS = re.compile(rf"[{_PAIRED}]+|[{_TRIPLED}]+|[^{_PAIRED}{_TRIPLED}]+")
_GRAM = re.compile(rf"[{_PAIRED}{_TRIPLED}]")
_HIRAGANA = re.compile(r"[\u3040-\u309f\u30fc]+\Z")
_DROPPED = re.compile(
    "[\u02b9-\u02bf\u0300-\u036f\u0483-\u0489\u055a-\u055c\u055e\u055f\u0591-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06ed\u200c\u200d\ufe20-\ufe2f"
    f"{symbols.LOOKS}]"
)
_LETTERS = str.maketrans(
    {
        **variants.table(),
        "ł": "l", "ø": "o", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d", "ħ": "h", "ə": "e", "ɛ": "e", "ɔ": "o",
        "ŋ": "n", "ɓ": "b", "ɗ": "d", "ƙ": "k", "ґ": "г", "ә": "э", "ө": "о", "ү": "у", "ұ": "у", "қ": "к", "ғ": "г", "ң": "н", "ҳ": "х",
        "أ": "ا", "إ": "ا", "آ": "ا", "ٱ": "ا", "ى": "ي", "ی": "ي", "ے": "ي", "ئ": "ي", "ؤ": "و", "ة": "ه", "ہ": "ه", "ھ": "ه", "ۀ": "ه",
        "ں": "ن", "ک": "ك", "ς": "σ", "ँ": "ं",
    }
)  # fmt: skip
# Before a consonant, where others write a dot above the letter before.
_NASAL = re.compile("[\u0919\u091e\u0923\u0928\u092e]\u094d(?=[\u0915-\u0939])")


_TO_KATAKANA = {code: code + 0x60 for code in range(0x3041, 0x3097)}
_TO_HIRAGANA = {code + 0x60: code for code in range(0x3041, 0x3097)}


class _Known(dict[str, str]):
    """What texts are made of -> what is asked of it. A dict with `__missing__`, because then a whole text is one `map` in C.

    When it is full it begins anew and takes back what is asked for again: common words stay, and what stood once goes."""

    def __init__(self, make: Callable[[str], str]) -> None:
        self._make = make
        self._older: dict[str, str] = {}

    def __missing__(self, key: str) -> str:
        found = self._older.get(key)
        if found is None:
            found = self._make(key)
        if len(key) <= _LONGEST:
            if len(self) >= _CACHE_LIMIT:
                self._older = self.copy()
                self.clear()
            self[key] = found
        return found


# Twice as many are kept at most, some 200 bytes each. With half of this, ten thousand notes took a twelfth more time.
_CACHE_LIMIT = 120_000
_LONGEST = (
    64  # characters of a word; what is longer is a hash or base64. Scripts without spaces are no words in this sense
)


def fold(word: str) -> str:
    """Case, width, accents and points removed; Indic and Thai signs stay, since they are letters there."""
    if word.isascii():
        return word.lower()
    text = unicodedata.normalize("NFKD", word.casefold())
    text = _DROPPED.sub("", text).translate(_LETTERS)
    if "\u094d" in text:
        text = _NASAL.sub("\u0902", text)
    return unicodedata.normalize("NFC", text)


def analyse(text: str) -> str:
    """The terms of a text, joined by spaces, in order: what the full-text table stores."""
    # Cut at spaces, then known pieces: twice as fast as a pattern over the whole text. No word contains a space, and the
    # forms of an accent do not reach over one.
    return "".join(map(_PIECES.__getitem__, text.split()))[1:]


def _piece(piece: str) -> str:
    """The terms of a text without white space, a space before each."""
    if piece.isascii():
        if piece.isalnum():
            return " " + _terms(piece)  # one word, as most are
        if piece[:-1].isalnum() and piece[-1] != "#":
            return " " + _TERMS[piece[:-1]]  # one with a mark behind it, as most others are
    elif max(piece) <= "\u024f":  # so of Latin letters with accents, which are composed there
        if piece.isalpha():
            return " " + _TERMS[piece]
        if piece[:-1].isalpha() and piece[-1] in ",.;:!?)":
            return " " + _TERMS[piece[:-1]]
    return "".join([" " + found for word in _words(piece) if (found := _TERMS[word])])


def _words(text: str) -> list[str]:
    if text.isascii() and not (("." in text or "+" in text or "#" in text) and symbols.has(text)):
        return _ASCII_WORD.findall(text)
    return raw_words(text)


def terms(text: str) -> list[str]:
    """`analyse` as a list."""
    return analyse(text).split()


def term_set(text: str) -> set[str]:
    """The different terms of a text."""
    return set("".join(set(map(_PIECES.__getitem__, text.split()))).split())


def raw_words(text: str) -> list[str]:
    """The words of a query as they stand, unfolded; runs of scripts without spaces stay whole. Signs are words, see `symbols`."""
    text = unicodedata.normalize("NFC", text).replace("_", " ")
    return [word for _, _, word in symbols.cut(text, _WORD)] if symbols.has(text) else _WORD.findall(text)


def folded_words(text: str) -> Iterator[str]:
    """The words of a text, folded, as often as they stand."""
    return map(_FOLDED.__getitem__, _words(text))


class _Places(dict[str, list[tuple[int, int]]]):
    """Text without white space -> where in it something is wanted: the texts of one search share most of their words."""

    def __init__(self, find: Callable[[str], list[tuple[int, int]]]) -> None:
        self._find = find

    def __missing__(self, piece: str) -> list[tuple[int, int]]:
        found = self[piece] = self._find(piece)
        return found


class _Plain(dict[int, str]):
    """Character -> what folding makes of it, where that is one character whatever stands beside it: then a text is folded in
    C and all stays in its place. What is in no word is a space; `\0` stands for what cannot be folded so."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if code < 128 or symbols.SIGN.match(character):
            self[code] = character.lower()
            return self[code]
        found = fold(character) if _WORD.match(character) else " "
        if len(found) != 1 or unicodedata.category(found)[0] == "M" or "\u1100" <= found <= "\u137f":
            found = "\0"  # a mark, a letter that becomes two; jamo join to syllables, an Ethiopic stem has another last letter
        self[code] = found
        return found


def in_place(text: str) -> str:
    """A text folded so that all stays in its place; `\0` where that cannot be."""
    if text.isascii():
        return text.lower()
    try:
        return text.encode("latin-1").translate(_LATIN_PLAIN).decode("latin-1")  # ten times faster than the others
    except UnicodeEncodeError:
        pass
    folded = text.lower()
    if len(folded) != len(text):
        return text.translate(_PLAIN)
    letters = set(folded).difference(_ASCII)
    if len(letters) > _FEW:
        return folded.translate(_PLAIN)
    for (
        letter
    ) in letters:  # a few accents: each is replaced everywhere in less time than a look at every character takes
        folded = folded.replace(letter, _PLAIN[ord(letter)])
    return folded


def root(term: str) -> str:
    """What stands, folded, in every word that has this term: `save` is the term of `saving` too, the only ending that a stem
    brings."""
    if not term.isascii() and symbols.is_signed(term):
        return symbols.spelled(term)
    return term[:-1] if 3 <= len(term) <= 4 and term[-1] == "e" else term


class Wanted:
    """Index terms with what each is worth, to be looked for in many texts as they stand.

    A word whose term is wanted has the root of that term in it, folded: where no root stands nothing has to be cut into terms."""

    def __init__(self, terms: Mapping[str, float]) -> None:
        self.terms = terms
        self.most = sum(terms.values())
        self._alone = {" " + term for term in terms}
        self._places = _Places(self._find)
        self._roots = set(map(root, terms))
        self._worth: dict[tuple[str, ...], float] = {}  # of the pieces of one line: lines hold the same few

    def pieces(self, text: str) -> list[tuple[int, str]]:
        """(where, which) of the parts of a text between white space that may have a wanted term, in order."""
        folded = in_place(text)
        found: dict[int, str] = {}
        if "\0" in folded:
            found = {match.start(): match.group() for match in _PIECE.finditer(text)}
        else:
            for root in self._roots:
                at = folded.find(root)
                while at >= 0:
                    low = text.rfind(" ", 0, at) + 1
                    high = text.find(" ", at)
                    high = high if high >= 0 else len(text)
                    if low not in found:
                        piece = text[low:high]
                        if piece.isprintable():  # no other white space: what most pieces are
                            found[low] = piece
                        else:
                            for match in _PIECE.finditer(text, low, high):
                                found[match.start()] = match.group()
                    at = folded.find(root, high)
        return sorted(found.items())

    def value(self, text: str) -> float:
        """What the different wanted terms that stand in a text are worth together."""
        return self.worth(piece for _, piece in self.pieces(text))

    def worth(self, pieces: Iterable[str]) -> float:
        """What the different wanted terms of some parts between white space are worth together."""
        held = tuple(pieces)
        known = self._worth.get(held)
        if known is None:
            said = set("".join(map(_PIECES.__getitem__, held)).split())
            known = sum([worth for term, worth in self.terms.items() if term in said]) if said else 0.0
            self._worth[held] = known
        return known

    def spans(self, text: str) -> tuple[tuple[int, int], ...]:
        """(start, end), in order, of the words of a text that are wanted or have a wanted part; in scripts without spaces of
        the characters. Offsets are of the text as it is."""
        return self.marks(self.pieces(text), 0)

    def marks(self, pieces: Iterable[tuple[int, str]], moved: int) -> tuple[tuple[int, int], ...]:
        """`spans` of the text that the pieces are of, with `moved` characters less before it."""
        return tuple(
            [(at - moved + start, at - moved + end) for at, piece in pieces for start, end in self._places[piece]]
        )

    def _find(self, piece: str) -> list[tuple[int, int]]:
        """Where the wanted words of a text without white space lie."""
        known = _PIECES[piece]
        if known not in self._alone and (known.find(" ", 1) < 0 or self.terms.keys().isdisjoint(known.split())):
            return []
        found: list[tuple[int, int]] = []
        for begin, end, word in symbols.cut(piece.replace("_", " "), _WORD):
            if self.terms.keys().isdisjoint(_TERMS[word].split()):
                continue
            if _GRAM.search(word) and len(folded := fold(word)) == len(word):
                # Character by character, as long as folding has left each in its place.
                found += [(begin + start, begin + stop) for start, stop in self._grams(folded)]
            elif not found or found[-1] != (begin, end):  # a word that is told with its sign and without
                found.append((begin, end))
        return found

    def _grams(self, folded: str) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        for run in _RUNS.finditer(folded):
            low, high = run.span()
            size = gram_size(folded[low]) or high - low
            for start in range(low, max(low + 1, high - size + 1)):
                end = min(start + size, high)
                if not self.terms.keys().isdisjoint(_run_terms(folded[start:end])):
                    if found and found[-1][1] >= start:
                        start = found.pop()[0]
                    found.append((start, end))
        return found


def word_terms(word: str) -> list[str]:
    """The terms of one query word, without the parts of a CamelCase word."""
    if not word.isascii() and symbols.is_signed(word):
        return [word.casefold()[:_LONGEST]]
    return [term for run in _RUNS.findall(fold(word)) for term in _run_terms(run)]


def is_gram(term: str) -> bool:
    """Whether a term is a piece of a script without spaces."""
    return _GRAM.match(term) is not None


def is_weak_gram(term: str) -> bool:
    """Grams of hiragana only are endings and particles."""
    return _HIRAGANA.match(term) is not None


def kana(term: str) -> set[str]:
    """A gram with kana as somebody else would write it: all of it in the one or in the other."""
    return {term.translate(_TO_KATAKANA), term.translate(_TO_HIRAGANA)} - {term}


def _terms(word: str) -> str:
    if word.isascii() and word.islower():
        return stem(word) if len(word) <= _LONGEST else word[:_LONGEST]
    if word.isalpha() and word.islower() and max(word) <= "\xff":
        folded = word.encode("latin-1").translate(_LATIN_PLAIN).decode("latin-1")
        if "\0" not in folded:
            return stem(folded) if len(folded) <= _LONGEST else folded[:_LONGEST]
    out = word_terms(word)
    if 3 < len(word) <= _LONGEST and not word.islower():
        parts = _CAMEL.split(word)
        if len(parts) > 1:
            out += [stem(fold(part)) for part in parts if len(part) > 1]
    return " ".join(out)


def _run_terms(run: str) -> list[str]:
    size = gram_size(run[0])
    if not size:
        return [stem(run) if len(run) <= _LONGEST else run[:_LONGEST]]
    if len(run) <= size:
        return [run]
    return [run[place : place + size] for place in range(len(run) - size + 1)]


def gram_size(first: str) -> int:
    """How many characters of a run make a term; 0: it is one word."""
    if first < "\u0e01" or not _GRAM.match(first):
        return 0
    return 3 if "\u0e01" <= first <= "\u0edf" or "\u1000" <= first <= "\u109f" or "\u1780" <= first <= "\u17d3" else 2


_PIECE = re.compile(r"\S+")
_PLAIN = _Plain()
_LATIN_PLAIN = bytes(
    [
        code if code <= 255 else 0
        for code in (ord(_PLAIN[letter]) if letter > 127 else ord(chr(letter).lower()) for letter in range(256))
    ]
)
_ASCII = frozenset(map(chr, range(128)))
_FEW = 12
_TERMS = _Known(_terms)
_PIECES = _Known(_piece)
_FOLDED = _Known(fold)


# --- endings ---

_LATIN = ["izations", "ization", "ations", "ation", "ations", "ition", "itions", "ements", "ement", "ments", "ment", "nesses", "ness", "ables", "able", "ibles", "ible", "ingly", "aciones", "acion", "azioni", "azione", "acoes", "acao", "iciones", "icion", "izione", "izioni", "icoes", "icao", "ciones", "zione", "zioni", "coes", "amientos", "amiento", "imientos", "imiento", "mente", "ements", "eusement", "issement", "issements", "ateurs", "ateur", "atrice", "eurs", "eur", "euse", "andoli", "ando", "endo", "iendo", "ados", "adas", "ado", "ada", "idos", "idas", "ido", "ida", "aron", "ieron", "aban", "aba", "iamo", "iste", "aste", "aient", "aits", "ait", "aiez", "erons", "eront", "erez", "erai", "erais", "era", "eras", "ees", "ee", "es", "er", "ez", "ir", "ons", "ions", "ion", "iez", "ungen", "ung", "heiten", "heit", "keiten", "keit", "lichen", "licher", "liches", "liche", "lich", "ischen", "ischer", "isches", "ische", "isch", "enden", "ende", "endes", "ender", "ern", "em", "en", "er", "e", "es", "st", "te", "ten", "tet", "test", "arna", "orna", "erna", "ningar", "ningen", "ning", "arnas", "ernas", "ade", "at", "ar", "or", "et", "iden", "eista", "eissa", "eille", "illa", "issa", "ista", "ille", "ssa", "sta", "lla", "lta", "lle", "ksi", "tta", "ine", "iin", "aan", "een", "oita", "eita", "oja", "eja", "ja", "jen", "ien", "okat", "eket", "akat", "okban", "ekben", "ban", "ben", "nak", "nek", "val", "vel", "hoz", "hez", "bol", "rol", "tol", "ert", "okat", "ok", "ek", "ak", "ot", "et", "ott", "ett", "larinda", "lerinde", "larindan", "lerinden", "larin", "lerin", "larini", "lerini", "lari", "leri", "lar", "ler", "inda", "inde", "indan", "inden", "dan", "den", "tan", "da", "de", "ta", "iyor", "uyor", "mak", "mek", "maya", "meye", "ini", "unu", "nin", "nun", "in", "owego", "owej", "owych", "owymi", "owie", "owi", "ow", "ami", "ach", "om", "ego", "ej", "emu", "ych", "ymi", "ich", "imi", "iem", "em", "ie", "ac", "ic", "ova", "ove", "ovi", "ych", "eho", "emu", "ului", "elor", "ilor", "lor", "ul", "ele", "ii", "kannya", "kan", "nya", "an", "ings", "ing", "ed", "edly", "ly", "ies", "ied", "ie", "ers", "ors", "s", "y", "i", "a", "o", "u"]  # fmt: skip
_CYRILLIC = ["иями", "ями", "ами", "иях", "ях", "ах", "иям", "ям", "ам", "ием", "ем", "ом", "ов", "ев", "ей", "ой", "ий", "ый", "ая", "яя", "ое", "ее", "ые", "ие", "ого", "его", "ому", "ему", "ым", "им", "ых", "их", "ую", "юю", "ою", "ею", "ия", "ие", "ии", "ию", "иеи", "остью", "ости", "ость", "ении", "ения", "ение", "ению", "ением", "ании", "ания", "ание", "анию", "анием", "ировать", "овать", "ывать", "ивать", "ать", "ять", "еть", "ить", "уть", "ться", "ться", "ется", "ются", "утся", "атся", "ится", "ишь", "ешь", "ете", "ите", "ет", "ит", "ут", "ют", "ат", "ят", "ала", "ила", "ела", "али", "или", "ели", "ал", "ил", "ел", "ла", "ло", "ли", "л", "на", "но", "ны", "н", "ся", "сь", "а", "я", "о", "е", "и", "ы", "у", "ю", "ь", "і", "ї", "є", "ами", "ами", "ові", "еві", "ою", "ею", "ів", "їв", "іи", "ои", "ии", "ея", "ому", "ата", "ите", "ят", "ът", "та", "то", "те"]  # fmt: skip
_GREEK = ["ους", "ουσ", "ουν", "ουμε", "οντας", "ησεις", "ησει", "ησω", "ησεισ", "ωντας", "οντασ", "ωντασ", "ματα", "ματων", "ματος", "ματοσ", "εισ", "ουσ", "οσ", "ησ", "ασ", "εσ", "ων", "ον", "ου", "οι", "αι", "ει", "ω", "ο", "η", "α", "ε", "ι", "υ", "ιση", "ισης", "ισησ", "ωση", "ωσησ", "ση", "σησ", "σεισ", "σεων"]  # fmt: skip
_DEVANAGARI = ["ाओं", "ियों", "ियाँ", "ियां", "ाएँ", "ाएं", "ुओं", "ुएँ", "ुएं", "ाऊँ", "ाते", "ाता", "ाती", "ाना", "ाने", "ानी", "ेंगे", "ेगा", "ेगी", "ूंगा", "तें", "ते", "ता", "ती", "ना", "नी", "ने", "कर", "ाकर", "ों", "ें", "ीं", "ाँ", "ां", "े", "ो", "ि", "ी", "ा", "ु", "ू", "ं", "ँ"]  # fmt: skip
_GEORGIAN = ["ებისთვის", "ებიდან", "ებთან", "ებზე", "ებში", "ებად", "ებით", "ებმა", "ების", "ებს", "ები", "ისთვის", "ისგან", "იდან", "ასთან", "თვის", "დან", "თან", "ზე", "ში", "ად", "ით", "ის", "მა", "ას", "ს", "ი", "ა", "ო", "ე", "ც"]  # fmt: skip
_ARMENIAN = ["ներում", "ներից", "ներով", "ներին", "ների", "ներն", "ները", "ներ", "երում", "երից", "երով", "երին", "երի", "երն", "երը", "եր", "ում", "ից", "ով", "ին", "ի", "ը", "ն", "ս", "դ", "ու", "ան"]  # fmt: skip
_ARABIC_HEAD = ("وال", "بال", "كال", "فال", "ال", "لل", "و")
_ARABIC_TAIL = ("ها", "ان", "ات", "ون", "ين", "يه", "هم", "نا", "ه", "ي")
_ETHIOPIC_HEAD = "የለበከ"
_ETHIOPIC_TAIL = ("ዎችን", "ዎች", "ችን", "ን", "ና", "ም")
_ETHIOPIC_MANY = ("ቻቸው", "ቻ", "ቹ", "ች")
_HEBREW_HEAD = "והבלמשכ"
_HEBREW_TAIL = ("ים", "ות", "יות", "יה", "ה", "ת", "י")


_Ends = dict[str, tuple[tuple[int, frozenset[str]], ...]]


def _by_last(endings: list[str]) -> _Ends:
    """Last letter -> (length, endings) of those that end with it, long ones first."""
    table: dict[str, dict[int, set[str]]] = {}
    for ending in endings:
        table.setdefault(ending[-1], {}).setdefault(len(ending), set()).add(ending)
    return {
        last: tuple((size, frozenset(some[size])) for size in sorted(some, reverse=True))
        for last, some in table.items()
    }


_LATIN_ENDS, _CYRILLIC_ENDS, _GREEK_ENDS, _DEVANAGARI_ENDS, _GEORGIAN_ENDS, _ARMENIAN_ENDS = map(
    _by_last, (_LATIN, _CYRILLIC, _GREEK, _DEVANAGARI, _GEORGIAN, _ARMENIAN)
)


def stem(word: str) -> str:
    """A folded word without its likely ending. Idempotence is not promised; equal in gives equal out."""
    first = word[:1]
    if "\u1200" <= first <= "\u135a" and len(word) >= 2:
        return _stem_ethiopic(word)
    if "\u0980" <= first <= "\u0d7f" and (known := stem_brahmic(word)) is not None:
        return known
    if len(word) < 4 or word[-1].isdigit():
        return word
    if first < "\u0250":
        return _stem_latin(word)
    if "\u0400" <= first <= "\u052f":
        return _strip(word, _CYRILLIC_ENDS, 4, 2)
    if "\u0370" <= first <= "\u03ff":
        return _strip(word, _GREEK_ENDS, 4, 2)
    if "\u10d0" <= first <= "\u10ff":
        return _strip(word, _GEORGIAN_ENDS, 3, 2)
    if "\u0561" <= first <= "\u0587":
        return _strip(word, _ARMENIAN_ENDS, 3, 2)
    if "\u0900" <= first <= "\u0dff":
        return _strip(word, _DEVANAGARI_ENDS, 3, 1)
    if "\u0600" <= first <= "\u06ff":
        return _stem_arabic(word)
    if "\u0590" <= first <= "\u05ff":
        return _stem_hebrew(word)
    return word


def _stem_ethiopic(word: str) -> str:
    """Without of, for, in, from before it; an ending turns the vowel of the last syllable, so that one is left out."""
    if len(word) >= 3 and word[0] in _ETHIOPIC_HEAD:
        word = word[1:]
    for tail in _ETHIOPIC_TAIL:
        if word.endswith(tail) and len(word) - len(tail) >= 2:
            word = word[: -len(tail)]
            break
    for tail in _ETHIOPIC_MANY:
        # The plural turns the vowel before it to o, or stands behind a wo of its own.
        if word.endswith(tail) and len(word) - len(tail) >= 2 and ord(word[-len(tail) - 1]) % 8 == 6:
            word = word[: -len(tail)]
            word = word[:-1] if word[-1] == "ዎ" and len(word) >= 3 else word
            break
    last = ord(word[-1])
    return word[:-1] + chr(last - last % 8 + 5) if 0x1200 <= last <= 0x1357 else word


def _strip(word: str, endings: _Ends, least: int, rounds: int) -> str:
    for _ in range(rounds):
        most = len(word) - least
        for size, known in endings.get(word[-1], ()):
            if size <= most and word[-size:] in known:
                word = word[:-size]
                break
        else:
            return word
    return word


def _stem_latin(word: str) -> str:
    if word.endswith(("ing", "ed")) and not word.endswith("eed"):
        root = word[:-3] if word.endswith("ing") else word[:-2]
        if 2 <= len(root) <= 3 and root[-1] not in "aeiouwxy" and root[-2] in "aeiouy":
            return root + "e"  # saving, saved -> save; used -> use
        if len(root) == 3 and root[0] in "aeiou":
            return root  # adding, asked
        if len(root) >= 4 and root[-1] == root[-2] and root[-1] not in "aeiouls":
            return root[:-1]  # tagging -> tag, running -> run
    if len(word) <= 5 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]  # notes -> note, tags -> tag
    if len(word) <= 4:
        return word
    word = _strip(word, _LATIN_ENDS, 4, 2)
    if len(word) > 5 and word[-1] == "t":
        word = word[:-1]
    if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "aeiou":
        word = word[:-1]
    return word


def _stem_arabic(word: str) -> str:
    for head in _ARABIC_HEAD:
        if word.startswith(head) and len(word) - len(head) >= 3:
            word = word[len(head) :]
            break
    for _ in range(2):
        for tail in _ARABIC_TAIL:
            if word.endswith(tail) and len(word) - len(tail) >= 3:
                word = word[: -len(tail)]
                break
        else:
            break
    return word


def _stem_hebrew(word: str) -> str:
    for _ in range(2):
        if len(word) >= 4 and word[0] in _HEBREW_HEAD:
            word = word[1:]
    for tail in _HEBREW_TAIL:
        if word.endswith(tail) and len(word) - len(tail) >= 3:
            return word[: -len(tail)]
    return word


def distance(one: str, other: str, most: int) -> int:
    """Edit distance with adjacent transpositions, or `most` + 1 when it is more."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    if len(set(one).difference(other)) > most or len(set(other).difference(one)) > most:
        return most + 1  # one step brings or takes one letter at most: this spares nearly all the work
    before: list[int] = []
    line = list(range(len(other) + 1))
    for row, left in enumerate(one, 1):
        earlier, before, line = before, line, [row]
        for column, right in enumerate(other, 1):
            cost = min(before[column] + 1, line[-1] + 1, before[column - 1] + (left != right))
            if row > 1 and column > 1 and left == other[column - 2] and one[row - 2] == right:
                cost = min(cost, earlier[column - 2] + 1)
            line.append(cost)
        if min(line) > most:
            return most + 1
    return min(line[-1], most + 1)
