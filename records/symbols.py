"""Signs that people search for as they do for words: emoji, arrows, currencies, ticks, and those that belong to a word, as in
C++, C#, .NET and +1. Pure.

A sign is a word of its own, without what only changes its looks: skin tones, the choice between a coloured and a plain
form, the sex behind a joiner. What is joined of several emoji is each of them, and a flag is one. The full-text table takes
no ASCII but letters and digits for a part of a term, so that signs which belong to a word are kept as others that no
folding touches.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Left out: what frames and bullets are drawn with (U+2500-259F, Braille, `•`, `·`), signs in a circle that are digits or
# letters, and those of ASCII, which are Markdown, TeX and code.
SIGNS = (
    "¢£¥§©®°±¬¶×÷\u2020\u2021\u2030\u203b\u2042\u20a0-\u20cf\u2190-\u2328\u232b-\u23ff\u25a0-\u2775\u2794-\u27ff\u2900-\u2bff\u3030\u303d"
    "\U0001f000-\U0001f0ff\U0001f10d-\U0001f1e5\U0001f200-\U0001f3fa\U0001f400-\U0001faff"
)
LOOKS = "\ufe0e\ufe0f\U0001f3fb-\U0001f3ff"  # plain, coloured, tones of skin
_FLAG = "\U0001f1e6-\U0001f1ff"
_PLUS, _SHARP, _DOT = "\u2214", "\u266f", "\u2219"
_SPELLED = str.maketrans({_PLUS: "+", _SHARP: "#", _DOT: "."})

# Each begins with one set of characters or a literal, which `re` looks for without trying the pattern at every place.
# An underscore, which `cut` is told as a space, parts words here too.
_SHARPED = re.compile(r"#(?<=[A-Za-z]#)(?<![^\W_][A-Za-z]#)(?!#|[^\W_])")
_PLUSSED = re.compile(r"\+(?:(?<=[A-Za-z0-9]\+)\+|(?<![^\W_]\+)(?<!\+\+)[0-9])")
_DOTTED = re.compile(r"\.(?<![^\W_]\.)(?<!\.\.)[A-Za-z]")
SIGN = re.compile(f"[{SIGNS}{_FLAG}]")
_SIGN = re.compile(
    rf"(?P<flag>[{_FLAG}]{{2}})"
    rf"|(?P<sign>[{SIGNS}{_FLAG}])[{LOOKS}]*(?:\u200d(?:[\u2640\u2642]\ufe0f?)?)?"
    r"|(?<!\w)(?P<sharp>[A-Za-z])[#\u266f](?![\w#])"
    r"|(?<!\w)(?P<plus>[A-Za-z][A-Za-z0-9]*)\+\+(?!\+)"
    r"|(?<![\w.])\.(?P<dot>[A-Za-z][A-Za-z0-9]*)"
    r"|(?<![\w+])\+(?P<added>[0-9]+)(?!\w)"
)


def has(text: str) -> bool:
    """Whether a text has signs that `cut` finds, or may have: it takes ten times as long, and few words have any."""
    return (
        (not text.isascii() and SIGN.search(text) is not None)
        or ("." in text and _DOTTED.search(text) is not None)
        or ("+" in text and _PLUSSED.search(text) is not None)
        or ("#" in text and _SHARPED.search(text) is not None)
    )


def cut(text: str, word: re.Pattern[str]) -> Iterator[tuple[int, int, str]]:
    """(start, end, which) of the signs and words of a text, in order. A word with a sign is told with it; where it means
    something without, which a single letter does not, without it too."""
    done = 0
    for match in _SIGN.finditer(text):
        start, end = match.span()
        yield from _words(text, word, done, start)
        done = end
        kind = match.lastgroup
        said = match[kind] if kind else ""
        if kind == "sharp":
            yield start, end, said + _SHARP
            continue
        if kind == "plus":
            yield start, end, said + _PLUS + _PLUS
        elif kind == "dot":
            yield start, end, _DOT + said
        elif kind == "added":
            yield start, end, _PLUS + said
        if kind != "plus" or len(said) > 1:
            yield start, end, said
    yield from _words(text, word, done, len(text))


def _words(text: str, word: re.Pattern[str], start: int, end: int) -> Iterator[tuple[int, int, str]]:
    for match in word.finditer(text, start, end):
        yield *match.span(), match.group()


def is_signed(word: str) -> bool:
    """Whether a word is a sign, or has one, as `cut` tells it."""
    return SIGN.match(word) is not None or word[-1:] in (_PLUS, _SHARP)


def is_bare(word: str) -> bool:
    """Whether a word is a sign and nothing else."""
    return SIGN.match(word) is not None and not any(map(str.isalnum, word))


def spelled(word: str) -> str:
    """A signed word as it stands in a text."""
    return word.translate(_SPELLED)
