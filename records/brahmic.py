"""Endings of Bengali, Tamil, Telugu, Kannada and Malayalam, which stand at the word: of, in, to, with, and the plural.

Data, and the cutting of them; other scripts belong to `records.text`. Only ends are cut, so that a stem is always the beginning of
its word.
"""

from __future__ import annotations

import unicodedata

_VIRAMAS = "\u09cd\u0bcd\u0c4d\u0ccd\u0d4d"

# Endings that may leave two characters, and those that must leave three.
_BENGALI = ("য়ের ের ে", "গুলোর গুলোকে গুলোতে গুলো গুলির গুলিকে গুলি দের টির টিকে টার টাকে টি টা রা কে তে য়ে য়")
_TAMIL = (
    "ங்களிலிருந்து ங்களுக்கு ங்களில் ங்களின் ங்களால் ங்களை ங்கள் த்திலிருந்து த்துக்கு த்திற்கு த்தில் த்தின் த்தால் த்துடன் த்தை ம்",
    "க்களுக்கு க்களில் க்களின் க்களை க்கள் களிலிருந்து களுக்கு களில் களின் களுடன் களை கள் யிலிருந்து ிலிருந்து வுக்கு ுக்கு ிற்கு க்கு "
    "யில் ில் யின் ின் யுடன் ுடன் யால் ால் வை யை ை ு",
)
_TELUGU = ("ాలలో ాలను ాలకు ాలు ంలో ాన్ని ానికి ం", "లలో లను లకు లు లో కు కి ను ని తో ు")
_KANNADA = ("", "ಗಳಲ್ಲಿ ಗಳನ್ನು ಗಳಿಗೆ ಗಳು ಗಳ ದಲ್ಲಿ ವನ್ನು ಯನ್ನು ನ್ನು ಯಲ್ಲಿ ಲ್ಲಿ ಕ್ಕೆ ಗೆ ು")
_MALAYALAM = (
    "ങ്ങളിൽ ങ്ങളുടെ ങ്ങൾക്ക് ങ്ങളെ ങ്ങൾ ത്തിൽ ത്തിന്റെ ത്തെ ം",
    "കളിൽ കളുടെ കൾക്ക് കളെ കൾ യിൽ യുടെ ിൽ ിന്റെ ുടെ യ്ക്ക് ക്ക് ിന് യെ െ ു",
)
_SANDHI = tuple(f"{letter}\u0bcd" for letter in "கசதப")  # what Tamil puts between two words: மாடித் தோட்டம்


def _longest_first(some: tuple[str, str]) -> tuple[tuple[str, int], ...]:
    both = [
        (unicodedata.normalize("NFC", end), left)
        for text, left in zip(some, (2, 3), strict=True)
        for end in text.split()
    ]
    return tuple(sorted(both, key=lambda end: (-len(end[0]), end)))


_SCRIPTS = tuple(
    (low, high, _longest_first(some))
    for low, high, some in (
        ("\u0980", "\u09ff", _BENGALI),
        ("\u0b80", "\u0bff", _TAMIL),
        ("\u0c00", "\u0c7f", _TELUGU),
        ("\u0c80", "\u0cff", _KANNADA),
        ("\u0d00", "\u0d7f", _MALAYALAM),
    )
)


def stem_brahmic(word: str) -> str | None:
    """A folded word without its likely ending; None when it is of another script."""
    first = word[:1]
    for low, high, endings in _SCRIPTS:  # noqa: B007 - used below
        if low <= first <= high:
            break
    else:
        return None
    if len(word) >= 5 and word.endswith(_SANDHI):
        word = word[:-2]
    for _ in range(2 if low == "\u0980" else 1):
        for ending, left in endings:
            if len(word) - len(ending) >= left and word.endswith(ending):
                word = word[: -len(ending)]
                break
    if len(word) >= 3 and word[-1] in _VIRAMAS:
        word = word[:-1]
    if len(word) >= 4 and word[-2] in _VIRAMAS and word[-1] == word[-3]:
        word = word[:-2]  # வீட்ட -> வீட, as of வீடு
    return word
