"""A small model's answer, read as it comes: its words out of the JSON that it is held to, its citations checked. Pure.

The law: what comes out is a function of the whole text, however it was cut into pieces. A link to a note that the model was
not shown is no link any more, and the answer says so at its end.
"""

from __future__ import annotations

import json
import re
from typing import Any

from egghead.llm.local.small import CITED, folded

MOST_LINK = 610  # characters; what is longer is no link
SOURCES = "Notes that I was shown for this:"
LEFT_OUT = "(A link to a note that I was not shown was taken out.)"

_SAY = re.compile(r'\s*\{\s*"say"\s*:\s*"')
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_PLAIN = re.compile(r'[^"\\]+')
_PAIR = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_UNIT = re.compile(r"\\u([0-9a-fA-F]{4})")


class Said:
    """Reads `{"say": "…"}` in pieces. `feed` gives the words that are certain so far; `whole` is all that came."""

    def __init__(self) -> None:
        self.whole = ""
        self.ended = False
        self._at: int | None = None  # where the next character of the words is

    def feed(self, piece: str) -> str:
        self.whole += piece
        if self._at is None:
            found = _SAY.match(self.whole)
            if found is None:
                return ""
            self._at = found.end()
        words = []
        while not self.ended and self._at < len(self.whole):
            step = self._step(self._at)
            if step is None:
                break
            words.append(step[0])
            self._at = step[1]
        return "".join(words)

    def _step(self, at: int) -> tuple[str, int] | None:
        """The next words and where they end; None when it takes more to tell."""
        if plain := _PLAIN.match(self.whole, at):
            return plain[0], plain.end()
        if self.whole[at] == '"':
            self.ended = True
            return "", at + 1
        following = self.whole[at + 1 : at + 2]
        if following in _ESCAPES and following:
            return _ESCAPES[following], at + 2
        if following != "u":
            return ("", at + 2) if following else None  # no escape of JSON; the grammar writes none
        if pair := _PAIR.match(self.whole, at):
            high, low = int(pair[1], 16), int(pair[2], 16)
            return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)), pair.end()
        unit = _UNIT.match(self.whole, at)
        if unit is None:
            return None if len(self.whole) < at + 6 else ("\ufffd", at + 6)
        code = int(unit[1], 16)
        if 0xD800 <= code < 0xDC00 and _may_pair(self.whole[at + 6 : at + 12]):
            return None  # its other half may still come
        return ("\ufffd" if 0xD800 <= code < 0xE000 else chr(code)), at + 6

    def call(self) -> tuple[str, dict[str, Any]] | None:
        """The tool that was asked for instead, and its input; None when there is none, or not the whole of it."""
        try:
            data = json.loads(self.whole)
        except ValueError:
            return None
        if not isinstance(data, dict) or not isinstance(data.get("tool"), str):
            return None
        given = data.get("input")
        return data["tool"], given if isinstance(given, dict) else {}


def _may_pair(rest: str) -> bool:
    """Whether what follows half a pair, which is not six characters yet, may become its other half."""
    return len(rest) < 6 and (
        "\\u".startswith(rest[:2]) and re.fullmatch(r"(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?", rest[2:]) is not None
    )


class Citations:
    """Lets words through and links to notes that were given; of another link only its words."""

    def __init__(self, given: frozenset[str]) -> None:
        self.left_out = 0
        self.kept = 0
        self._given = given
        self._held = ""  # from a bracket on that may open a link

    def feed(self, words: str) -> str:
        text = self._held + words
        passed = []
        at = 0
        while (begin := text.find("[", at)) >= 0:
            passed.append(text[at:begin])
            end = self._end(text, begin)
            if end is None:
                self._held = text[begin:]
                return "".join(passed)
            passed.append(self._checked(text[begin:end]))
            at = end
        self._held = ""
        return "".join([*passed, text[at:]])

    def finish(self) -> str:
        """What was held back."""
        held, self._held = self._held, ""
        return held

    @staticmethod
    def _end(text: str, begin: int) -> int | None:
        """Where what begins with a bracket ends; None when that cannot be told yet."""
        if begin + 1 == len(text):
            return None
        if text[begin + 1] != "[":
            return begin + 1
        close = text.find("]]", begin)
        line = text.find("\n", begin)
        again = text.find("[", begin + 2)
        stop = min((place for place in (line, again, begin + MOST_LINK) if place >= 0), default=begin + MOST_LINK)
        if 0 <= close < stop:
            return close + 2
        return stop if stop < len(text) else None

    def _checked(self, piece: str) -> str:
        found = CITED.fullmatch(piece)
        if found is None:
            return piece
        if folded(found[1]) in self._given:
            self.kept += 1
            return piece
        self.left_out += 1
        _, bar, alias = piece[2:-2].partition("|")
        return alias.strip() if bar and alias.strip() else found[1].strip()
