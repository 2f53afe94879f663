"""Other forms of a short word: `bilen` of `bil`, `kola` of `kolo`, `חלות` of `חלה`. Pure, no language is asked for.

`records.text` leaves words of three and four letters as they are, since an ending cut from them leaves too little: `note` and `nota`
would be one. So their forms are not one term, and are looked for when they are searched: what is proposed here is taken only where
the index has it, and weighs less than the word itself. What holds for words of every length belongs to `records.text`; words that
share no letters to `records.synonyms`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from records.text import stem

LONGEST = 8  # letters of a word that may be a form of a short one
DERIVED = 12  # and with what Malay puts before and behind it
SURE = 0.65  # an ending that only inflects
LIKELY = 0.5  # a vowel, a prefix: often another word


def _list(text: str) -> list[str]:
    return text.split()


_VOWELS = "aeiouy"
_LATIN = _list(
    "a e i o u y n t s k en er et ar em om es ek ok ak ot at it ow ie in un an on am im is ne na te ta de da je "
    "ja ju ene arna erna ban ben bol nak nek val vel hoz lar ler dan den ami ach ou ul lor uri ului ei"
)
_TWO_LEFT = frozenset(_list("da de den dan lar ler ta te"))  # endings that follow words of two letters: ev, evde
_CYRILLIC = _list(
    "а у е ы и о і ю я ь ом ем ой ей ою ов ев ів ам ям ами ах ях ові ию ия ии ът та то те ата ове ища ят ья ьи ем"
)
_GREEK = _list("α η ο ι ε υ ω εσ ησ ασ οσ ισ υσ ου ων ουσ εισ εων ιου ια ιων ματα τα τοσ")
_SCRIPTS = (("\u0370", "\u03ff", "".join(_GREEK[:7]), _GREEK), ("\u0400", "\u052f", "аеиоуыіюяь", _CYRILLIC))

_HEBREW_HEADS = "והבלמשכ"
_HEBREW_TAILS = ("", "ה", "ת", "ות", "ים", "י")
_FINAL = dict(zip("כמנפצ", "ךםןףץ", strict=True))
_NOT_FINAL = str.maketrans({final: letter for letter, final in _FINAL.items()})

# Plurals and the like that change the end: (of the one, of the other), both ways.
_CHANGES = (
    ("z", "ces"), ("ao", "oes"), ("ao", "aes"), ("l", "is"), ("il", "eis"), ("al", "aux"), ("ail", "aux"), ("eu", "eux"), ("eau", "eaux"),
    ("f", "ves"), ("fe", "ves"), ("y", "ies"), ("x", "xes"), ("ch", "ches"), ("sh", "shes"), ("ca", "che"), ("ga", "ghe"), ("ka", "ce"),
    ("s", "zen"), ("f", "ven"),
)  # fmt: skip
# Vowels that come and go before the last consonant (pes, psa; bokor, bokrok; отец, отца; წყალი, წყლის): those that do,
# the endings behind which they go, and what may stand behind the one that stays.
_FLEETING = (
    ("a", "z", ("e", "o", "i", "u", "a", "ie"), "aeiouy", _list("a e i o u y ok ek ar em"), ("",)),
    ("\u0430", "\u0457", ("е", "о"), "аеиоуыіюяьъэ", _list("а е и о у ы і ю я ом ем ам"), ("", "ь")),
    ("\u10d0", "\u10f0", ("ა", "ე", "ო"), "აეიოუ", _list("ი ის ს ები"), ("",)),
)
# Finnish: what stands before the last vowel, in an open syllable and in a closed one (katu, kadun).
_GRADES = (
    ("nk", "ng"), ("nt", "nn"), ("mp", "mm"), ("lt", "ll"), ("rt", "rr"), ("kk", "k"), ("pp", "p"), ("tt", "t"), ("k", ""), ("p", "v"),
    ("t", "d"),
)  # fmt: skip
_CLOSED = _list("n t ssa sta lla lta lle ksi")
_SOUNDING = dict(zip("bdg", "ptk", strict=True))  # Turkish, before a vowel: kitap, kitabi
_MUTE = {mute: sounding for sounding, mute in _SOUNDING.items()}
# Swahili: one and many.
_CLASSES = (("ki", "vi"), ("ch", "vy"), ("m", "wa"), ("mw", "wa"), ("m", "mi"), ("", "ma"), ("ji", "ma"), ("ji", "me"))
# Malay: what the prefix of a verb makes of the first letter of the word.
_MALAY = (
    ("meny", "s"),
    ("meng", ""),
    ("meng", "k"),
    ("mem", ""),
    ("mem", "p"),
    ("men", ""),
    ("men", "t"),
    ("me", ""),
    ("di", ""),
    ("ber", ""),
)
_MALAY_NOUNS = (
    *_MALAY,
    ("bel", ""),
    ("peng", ""),
    ("peng", "k"),
    ("pem", "p"),
    ("pen", "t"),
    ("per", ""),
)


def relatives(word: str, unknown: bool = False) -> dict[str, float]:
    """Index terms that other forms of a folded word may have -> how sure it is that they are forms of it, 0 to 1. At most about a
    hundred, most of them words of no language. `unknown`: no note has the word, so that less likely ones are worth a look."""
    if len(word) < 2 or len(word) > (DERIVED if unknown else LONGEST) or word.isdigit():
        return {}
    found: dict[str, float] = {}
    for form, quality in chain(_forms(word), _changed(word) if unknown else ()):
        term = stem(form)
        if len(term) >= 2 and quality > found.get(term, 0.0):
            found[term] = quality
    found.pop(stem(word), None)
    return found


def _forms(word: str) -> Iterator[tuple[str, float]]:
    first = word[0]
    if len(word) > LONGEST:
        return
    if first < "\u0250":
        if word.isalpha():
            yield from _latin(word)
    elif "\u0590" <= first <= "\u05ff":
        yield from _hebrew(word)
    elif "\u0600" <= first <= "\u06ff":
        yield from _arabic(word)
    else:
        for low, high, vowels, endings in _SCRIPTS:
            if low <= first <= high:
                yield from _swapped(word, vowels, endings)


def _changed(word: str) -> Iterator[tuple[str, float]]:
    """Forms that differ in more than their end."""
    first = word[0]
    if first <= "z" and word.isalpha():
        yield from _malay(word, _MALAY_NOUNS)
    if len(word) > LONGEST:
        return
    if first <= "z" and word.isalpha():
        yield from _graded(word)
        yield from _voiced(word)
        yield from _classed(word)
    elif "\u0600" <= first <= "\u06ff":
        yield from _arabic_whole(word)
    for low, high, fleeting, all_vowels, endings, tails in _FLEETING:
        if low <= first <= high:
            yield from _fled(word, fleeting, all_vowels, endings, tails)


def _latin(word: str) -> Iterator[tuple[str, float]]:
    if len(word) <= 3:
        for ending in _LATIN:
            if len(word) == 3 or ending in _TWO_LEFT:
                yield word + ending, _sure(ending)
        if len(word) == 3 and word[-1] not in _VOWELS and word[-2] in _VOWELS:
            for ending in ("e", "en", "er", "ar", "et", "es"):
                yield word + word[-1] + ending, SURE  # kat, katten
    if len(word) == 4 and word[1] == word[2] and word[1] in _VOWELS and word[3] not in _VOWELS:
        yield word[:2] + word[3] + "en", SURE  # boom, bomen
    if 4 <= len(word) <= LONGEST:
        yield from _without_ending(word)
    if len(word) <= LONGEST:
        for one, other in _CHANGES:
            for old, new in ((one, other), (other, one)):
                if word.endswith(old) and len(word) - len(old) >= (1 if len(old) > 1 else 2):
                    yield word.removesuffix(old) + new, SURE
    if len(word) >= 4:
        yield from _malay(word, _MALAY)


def _malay(word: str, prefixes: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, float]]:
    for prefix, letter in prefixes:
        if word.startswith(prefix) and len(word) - len(prefix) + len(letter) >= 4:
            yield letter + word.removeprefix(prefix), LIKELY
        if word.startswith(letter) and len(word) <= LONGEST:
            form = prefix + word.removeprefix(letter)
            if len(form) - len(stem(form)) <= 3:  # else endings are cut off what stood there: `mengdaten` is no `meng`
                yield form, LIKELY


def _graded(word: str) -> Iterator[tuple[str, float]]:
    roots = [word] if len(word) >= 4 else []
    roots += [root for end in _CLOSED if len(root := word.removesuffix(end)) >= 3 and root != word]
    for root in roots:
        last = root.rstrip(_VOWELS)
        vowels = root[len(last) :]
        if not 1 <= len(vowels) <= 2 or not last:
            continue
        for open_, closed in _GRADES:
            for one, other in ((open_, closed), (closed, open_)):
                before = last.removesuffix(one)
                if one and before != last and before and (before[-1] in _VOWELS or (one, other) == ("k", "")):
                    yield before + other + vowels, LIKELY
                    yield before + other + vowels + "n", LIKELY


def _voiced(word: str) -> Iterator[tuple[str, float]]:
    if len(word) >= 4 and word[-1] in _MUTE and word[-2] in "aeioun":
        root = word[:-1] + _MUTE[word[-1]]
        for ending in ("", "i", "u", "im", "um"):
            yield root + ending, LIKELY
    for root in {stem(word), *(word.removesuffix(end) for end in ("i", "u", "a", "e", "im", "um", "in", "un"))}:
        if 4 <= len(root) < len(word) and root[-1] in _SOUNDING and root[-2] in "aeioun":
            yield root[:-1] + _SOUNDING[root[-1]], LIKELY


def _classed(word: str) -> Iterator[tuple[str, float]]:
    for one, many in _CLASSES:
        for old, new in ((one, many), (many, one)):
            if word.startswith(old) and len(word) - len(old) >= (2 if old in ("m", "mi", "wa") else 3):
                yield new + word.removeprefix(old), LIKELY


def _fled(
    word: str, fleeting: tuple[str, ...], vowels: str, endings: list[str], tails: tuple[str, ...]
) -> Iterator[tuple[str, float]]:
    whole = word.rstrip("ьი")
    for vowel in fleeting:
        before, last = whole[: -len(vowel) - 1], whole[-1:]
        if whole[-len(vowel) - 1 : -1] == vowel and last not in vowels and before and before[-1] not in vowels:
            yield before + last, LIKELY
            for ending in endings:
                yield before + last + ending, LIKELY
    for root in {word, *(word.removesuffix(ending) for ending in endings)}:
        if len(root) >= 2 and root[-1] not in vowels and (root[-2] not in vowels or root[-2] == "ь"):
            for vowel in fleeting:
                for tail in tails:
                    yield root[:-1].removesuffix("ь") + vowel + root[-1] + tail, LIKELY


def _without_ending(word: str) -> Iterator[tuple[str, float]]:
    for ending in _LATIN:
        root = word.removesuffix(ending)
        left = len(root)
        if root == word or left > 4 or left < (2 if ending in _TWO_LEFT else 3):
            continue
        yield root, _sure(ending)
        if left == 3 and ending in _VOWELS and root[-1] not in _VOWELS:
            for other in _LATIN:
                yield root + other, _sure(other)  # kola, kolo; buty, butow
        elif left == 3 and root[-1] not in _VOWELS:
            for vowel in "aeo":
                yield root + vowel, LIKELY  # kavou, kava
        if left == 4 and root[-1] == root[-2]:
            yield root[:-1], SURE  # katten, kat
        if left == 3 and ending == "en" and root[1] in _VOWELS and root[2] not in _VOWELS:
            yield root[:2] + root[1:], SURE  # bomen, boom


def _sure(ending: str) -> float:
    return LIKELY if len(ending) == 1 else SURE


def _swapped(word: str, vowels: str, endings: list[str]) -> Iterator[tuple[str, float]]:
    """Endings that take the place of each other, after the three or fewer letters that are left of a short word."""
    roots = {word} if len(word) == 3 else set()
    if 3 <= len(word) <= 4 and word[-1] in vowels:
        roots.add(word[:-1])
    roots.update(word[: -len(ending)] for ending in endings if word.endswith(ending) and len(word) - len(ending) == 3)
    for root in sorted(roots):
        if len(root) < 3 and word[-1] not in "иь":
            continue  # two letters begin anything; `чай`, folded `чаи`, is `ча` with an ending
        if len(root) == 3:
            yield root, SURE
            if root[1] in "оеі":
                for other in "оеі".replace(root[1], ""):
                    yield root[0] + other + root[2], LIKELY  # дім, дому
        for ending in endings:
            yield root + ending, _sure(ending)
            if len(root) == 3 and root[1] == "і":
                yield root[0] + "о" + root[2] + ending, LIKELY
    if (len(word) == 3 and word[2] in "яюе") or (len(word) == 4 and word.endswith("ем")):
        yield word[:2] + "и", LIKELY  # чая, чаем: чай, which is folded so


def _hebrew(word: str) -> Iterator[tuple[str, float]]:
    heads = [word]
    while len(heads) < 3 and len(heads[-1]) >= 3 and heads[-1][0] in _HEBREW_HEADS:
        heads.append(heads[-1][1:])
    for place, rest in enumerate(heads):
        quality = SURE if place == 0 else LIKELY
        for tail in _HEBREW_TAILS:
            root = rest.removesuffix(tail) if rest.endswith(tail) else ""
            if not 2 <= len(root) <= 4:
                continue
            for other in _HEBREW_TAILS:
                if other:
                    yield root.translate(_NOT_FINAL) + other, quality
                else:
                    yield root[:-1] + _FINAL.get(root[-1], root[-1]), quality


def _arabic(word: str) -> Iterator[tuple[str, float]]:
    """Plurals with other vowels: فعل, فعال, فعول and أفعال of each other."""
    root = word
    if root.startswith("ال") and len(root) >= 5:
        root = root[2:]
    if len(root) == 5 and root[0] == root[3] == "ا":
        root = root[1:3] + root[4]
    elif len(root) == 4 and root[2] in "اوي":
        root = root[:2] + root[3]
    if len(root) != 3:
        return
    one, two, three = tuple(root)
    for form in (root, one + two + "ا" + three, one + two + "و" + three, "ا" + one + two + "ا" + three):
        yield form, LIKELY
    if two in "اوي":
        for hollow in "اوي":
            yield one + hollow + three, LIKELY
            yield "ا" + one + hollow + "ا" + three, LIKELY


def _arabic_whole(word: str) -> Iterator[tuple[str, float]]:
    """Without what is written together with a word, and the plurals of longer ones: مدرسة مدارس, مفتاح مفاتيح, رسالة رسائل."""
    roots = [word]
    for head in ("ال", "لل", "بال", "ل", "ب", "ك", "ف"):
        if word.startswith(head) and len(word) - len(head) >= 3:
            roots.append(word.removeprefix(head))
            yield roots[1], LIKELY
            break
    for root in roots:
        for tail in ("تي", "تك", "ته", "تنا", "تها", "تهم"):
            if root.endswith(tail) and len(root) - len(tail) >= 2:
                yield root.removesuffix(tail) + "ه", LIKELY
                break
        whole = root.removesuffix("ه")
        if len(whole) == 3 and whole != root:
            yield from _arabic(whole)
        elif len(whole) == 4:
            if whole[2] in "او":
                yield whole[:2] + whole[3] + "ه", LIKELY
            yield (whole[:3] + "ي" + whole[3] if whole[2] == "ا" else whole[:2] + "ا" + whole[2:]), LIKELY
        elif len(whole) == 5 and whole[2] == "ا":
            for rest in (whole[:2] + whole[3:], *((whole[:3] + whole[4],) if whole[3] == "ي" else ())):
                yield rest, LIKELY
                yield rest + "ه", LIKELY
        elif len(whole) == 5 and whole[3] in "اوي":
            yield whole[:2] + "ا" + whole[2] + "ي" + whole[4], LIKELY
        elif len(whole) == 6 and whole[2] == "ا" and whole[4] == "ي":
            for vowel in "اوي":
                yield whole[:2] + whole[3] + vowel + whole[5], LIKELY
