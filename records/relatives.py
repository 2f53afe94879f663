"""Other forms of a short word: `bilen` of `bil`, `kola` of `kolo`, `חלות` of `חלה`. Pure, no language is asked for.

`records.text` leaves words of three and four letters as they are, since an ending cut from them leaves too little: `note` and `nota`
would be one. So their forms are not one term, and are looked for when they are searched: what is proposed here is taken only where
the index has it, and weighs less than the word itself. What holds for words of every length belongs to `records.text`; words that
share no letters to `records.synonyms`.
"""

from __future__ import annotations

from collections.abc import Iterator

from records.text import stem

LONGEST = 8  # letters of a word that may be a form of a short one
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


def relatives(word: str) -> dict[str, float]:
    """Index terms that other forms of a folded word may have -> how sure it is that they are forms of it, 0 to 1. At most about a
    hundred, most of them words of no language."""
    if len(word) < 2 or word.isdigit():
        return {}
    found: dict[str, float] = {}
    for form, quality in _forms(word):
        term = stem(form)
        if len(term) >= 2 and quality > found.get(term, 0.0):
            found[term] = quality
    found.pop(stem(word), None)
    return found


def _forms(word: str) -> Iterator[tuple[str, float]]:
    first = word[0]
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
        for prefix, letter in _MALAY:
            if word.startswith(prefix) and len(word) - len(prefix) + len(letter) >= 4:
                yield letter + word.removeprefix(prefix), LIKELY
            if word.startswith(letter):
                form = prefix + word.removeprefix(letter)
                if (
                    len(form) - len(stem(form)) <= 3
                ):  # else endings are cut off what stood there: `mengdaten` is no `meng`
                    yield form, LIKELY


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
