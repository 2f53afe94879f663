"""Signs and words: folding away case and accents, and cutting text into runs. The lowest layer; it knows no language."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# Marks that vary without changing the word: Latin accents, Hebrew points, Arabic vowels, tatweel, Indic nukta is kept.
_MARKS = re.compile("[\u0300-\u036f\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670]")
_LETTERS = str.maketrans("łøđıðىةکیς", "lodidيهكيσ", "'’") | str.maketrans({"æ": "ae", "œ": "oe", "þ": "th"})

# Scripts written without spaces between words.
HAN = "\u3005\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
KANA = "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff"
SOUTHEAST = "\u0e01-\u0e3a\u0e40-\u0e4e\u0e80-\u0eff\u1000-\u109f\u1780-\u17d3"
_INDIC = "\u0900-\u0963\u0966-\u0dff"  # letters with their vowel signs, which \w does not match
_VARYING = "\u0300-\u036f\u0591-\u05bd\u05bf-\u05c7\u064b-\u065f\u0670"

UNSPACED = re.compile(f"[{HAN}{KANA}]+|[{SOUTHEAST}]+")
WORD = re.compile(f"[{HAN}{KANA}]+|[{SOUTHEAST}]+|(?:(?![{HAN}{KANA}{SOUTHEAST}])[^\\W_]|[{_VARYING}{_INDIC}])+")


@lru_cache(maxsize=16384)
def fold(word: str) -> str:
    """A word without case and accents, for comparing. Idempotent."""
    if word.isascii():
        return word.lower()
    # Twice: a mathematical 𝑨 is a capital only after it is taken apart.
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", word).casefold())
    folded = _MARKS.sub("", folded).translate(_LETTERS)
    return unicodedata.normalize("NFC", folded)
