"""Who a text speaks to: `@` mentions against the people's names for agents.

Pure text work: given a text and the agents in the room, which are named, which broadcast word is used, which `@` hit
nobody. Whether the named agents then speak (muted, parked, budget) is `decide`'s business.

A mention is exact by id, then by last segment of the id, then by title, without regard to case; else a unique near
miss counts and is reported. An `@` in code, in a URL or in an e-mail address is not a mention.

Every reader of a room looks at every text, in its event loop: the work is linear in the length of a text, whatever was
pasted, and there is a most of mentions that are looked at.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

BROADCASTS = {"everyone": "huddle", "channel": "huddle", "jam": "jam"}
MOST_MENTIONS = 200  # of one text; what stands behind them is text
MOST_NEAR = 20  # different words for which near names are sought: each is held against every name of the room

# Possessive, so that a long run is not tried as each shorter one; behind one of backticks that ends in its line is text.
_FENCE = re.compile(
    r"^[ \t]*+(`{3,}+(?=[^`\n]*\n)|~{3,}+)[^\n]*+\n.*?(?:^[ \t]*+\1[`~]*+[ \t]*$|\Z)", re.MULTILINE | re.DOTALL
)
_INDENTED = re.compile(r" {4}| {0,3}\t")
_ITEM = re.compile(r" {0,3}(?:[-*+]|\d{1,9}[.)])(?:[ \t]|$)")
_TAG = re.compile(r"<(/?)(code|pre)\b[^<>\n]{0,200}>", re.IGNORECASE)
_TICKS = re.compile(r"`+|\n[ \t]*\n")
# Both begin where a run of their characters begins, or look a few characters far: else a long pasted word is read once
# for each of its letters.
_URL = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]{0,30}://|www\.|mailto:)[^\s<>]*")
_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
# A word with the marks that \w leaves out (vowel signs, accents, joiners), in pieces of an id; no id is longer.
_MARKS = (
    "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0900-\u0903\u093a-\u0963\u0980-\u0dff\u0e31-\u0e4e\u0eb1-\u0ece"
    "\u0f18-\u0fbc\u102b-\u109d\u1712-\u17d3\u200c\u200d"
)
_TOKEN = re.compile(rf"\w[\w{_MARKS}./-]{{0,255}}")
_CUT = re.compile(r"[./_-]+")
_BROADCAST_CUT = re.compile(r"[./]+")  # @jam-session and @channel_guide are names


@dataclass(frozen=True, slots=True)
class Addressed:
    """What a text says about whom it is for."""

    agents: tuple[str, ...] = ()  # in order of mention, each once
    broadcast: str | None = None  # huddle | jam
    near: tuple[tuple[str, str], ...] = ()  # (what was typed, the agent it was read as)
    unknown: tuple[str, ...] = ()  # mentions that name nobody here
    ambiguous: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (what was typed, whom it could mean)


def mentions(text: str, titles: Mapping[str, str], *, near: bool = True) -> Addressed:
    """Read a text. `titles`: agent id -> title, of everybody in the room. `near=False`: exact names only."""
    if "@" not in text and "＠" not in text:
        return Addressed()
    names = _names(tuple(titles.items()))
    agents: list[str] = []
    broadcast: str | None = None
    missed: list[tuple[str, str]] = []
    unknown: list[str] = []
    ambiguous: list[tuple[str, tuple[str, ...]]] = []
    sought: dict[str, tuple[str, ...]] = {}
    for typed, rest in _candidates(text):
        said = _broadcast(typed)
        found = names.exact(typed, rest, len(said))  # an agent called Jam Master has a longer name than the word
        if said and not found:
            broadcast = broadcast or BROADCASTS[said]
            continue
        if not found and near:
            if typed not in sought:
                sought[typed] = names.near(typed) if len(sought) < MOST_NEAR else ()
            found = sought[typed]
            if len(found) == 1:
                missed.append((typed, found[0]))
        if len(found) == 1:
            agents.append(found[0])
        elif found:
            ambiguous.append((typed, found))
        else:
            unknown.append(typed)
    return Addressed(
        tuple(dict.fromkeys(agents)),
        broadcast,
        tuple(dict.fromkeys(missed)),
        tuple(dict.fromkeys(unknown)),
        tuple(dict.fromkeys(ambiguous)),
    )


@dataclass(frozen=True, slots=True)
class Named:
    """Whom a name in a command means: one agent, or none with those it could be. `near`: it was typed otherwise."""

    agent: str | None = None
    near: bool = False
    could_be: tuple[str, ...] = ()


def named(typed: str, titles: Mapping[str, str], *, near: bool = True) -> Named:
    """Whom a whole word or title means, by the rules of a mention: id, last segment, title, unique near miss.

    Nothing is cut off: what stands behind a name is not left out, as it is in a message.
    """
    word = " ".join(_folded(typed).split()).removeprefix("@").removeprefix("agents/").casefold()
    names = _names(tuple(titles.items()))
    found = names.whole(word)
    if found or not near:
        return Named(found[0]) if len(found) == 1 else Named(could_be=found)
    close = names.close(word) if word else ()
    return Named(close[0], near=True) if len(close) == 1 else Named(could_be=close)


def _broadcast(typed: str) -> str:
    """The broadcast word that this begins with, folded; empty when it is none."""
    words = (prefix.casefold() for prefix in _prefixes(typed, _BROADCAST_CUT))
    return next((word for word in words if word in BROADCASTS), "")


def _candidates(text: str) -> Iterator[tuple[str, str]]:
    """What may be a mention: the word behind the `@`, and the text from that word on."""
    bare = _folded(text)
    # Same length, so that nothing outside the match moves; a non-word character, so that nothing is glued together.
    bare = _without_tagged(_without_spans(_without_indented(_FENCE.sub(_blank, bare))))
    for pattern in (_URL, _MAIL):
        bare = pattern.sub(_blank, bare)
    seen = end = 0  # end: of the mention before
    at = bare.find("@")
    while at >= 0 and seen < MOST_MENTIONS:
        if not _glued(bare, at, end):
            token = _TOKEN.match(bare, at + 1)
            typed = token.group().rstrip("./-_") if token is not None else ""
            if token is not None and typed:
                seen, end = seen + 1, token.end()
                yield typed, bare[at + 1 : at + 301]
        at = bare.find("@", at + 1)


def _folded(text: str) -> str:
    """A text or a name in one way of writing: accents put together, letters of full width as others, one apostrophe."""
    return unicodedata.normalize("NFKC", text).replace("’", "'")


def _blank(found: re.Match[str]) -> str:
    return "\x00" * len(found.group())


def _without_indented(text: str) -> str:
    """The text without code by indentation: lines of four spaces or a tab behind an empty line. In a list that is the text
    of an item."""
    if "\n    " not in text and "\t" not in text:
        return text
    lines = text.split("\n")
    fresh, item = False, False  # behind an empty line or such code; in a list
    for number, line in enumerate(lines):
        if not line.strip():
            fresh = True
        elif not _INDENTED.match(line):
            item = bool(_ITEM.match(line)) or (item and (not fresh or line.startswith(" ")))
            fresh = False
        elif fresh and not item:
            lines[number] = "\x00" * len(line)
    return "\n".join(lines)


def _without_tagged(text: str) -> str:
    """The text without what stands between `<code>` or `<pre>` and its end; a tag without an end is text."""
    if "</" not in text:
        return text
    parts: list[str] = []
    done = 0
    opened: re.Match[str] | None = None
    for tag in _TAG.finditer(text):
        if opened is None:
            opened = None if tag[1] else tag
        elif tag[1] and tag[2].casefold() == opened[2].casefold():
            parts += [text[done : opened.start()], "\x00" * (tag.end() - opened.start())]
            done, opened = tag.end(), None
    return "".join([*parts, text[done:]])


def _without_spans(text: str) -> str:
    """The text without inline code: from a run of backticks to the next run of that length in the same paragraph."""
    if "`" not in text:
        return text
    parts: list[str] = []
    done = 0
    paragraph: list[re.Match[str]] = []
    for found in [*_TICKS.finditer(text), None]:
        if found is not None and found.group()[0] == "`":
            paragraph.append(found)
            continue
        later: dict[int, list[re.Match[str]]] = {}
        for run in reversed(paragraph):
            later.setdefault(len(run.group()), []).append(run)
        for run in paragraph:
            others = later[len(run.group())]
            others.pop()  # this one
            if run.start() >= done and others:
                end = others[-1].end()
                parts += [text[done : run.start()], "\x00" * (end - run.start())]
                done = end
        paragraph = []
    return "".join([*parts, text[done:]])


def _glued(text: str, at: int, end: int) -> bool:
    """True when what stands before an `@` makes it part of something else: a word, a path, another address. `end`:
    where the mention before ends."""
    before = text[at - 1] if at else " "
    if before in "/&+" and end and at - end <= 1:
        return False  # @nib/@scout, @nib & co
    if before == "_":  # emphasis, unless a word goes on in it
        word = text[:at].rstrip("_")[-1:] if at < 2 or text[at - 2] == "_" else text[at - 2]
        return word.isalnum()
    if before in "@/\\+=#&%\x00":
        return True
    # Scripts that write without spaces put the mention right behind a letter.
    return before.isalnum() and not _unspaced(before)


def _unspaced(character: str) -> bool:
    return (
        bool(character)
        and not character.isascii()
        and unicodedata.name(character, "").startswith(
            ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI", "LAO", "KHMER", "MYANMAR", "HALFWIDTH KATAKANA")
        )
    )


def _prefixes(typed: str, cut: re.Pattern[str] = _CUT) -> Iterable[str]:
    """The word itself, then what is left when it is cut at separators and at a change of script, longest first."""
    cuts = {len(typed)}
    cuts.update(found.start() for found in cut.finditer(typed))
    cuts.update(at for at in range(1, len(typed)) if _unspaced(typed[at]) != _unspaced(typed[at - 1]))
    for end in sorted(cuts, reverse=True):
        if end:
            yield typed[:end]


def _unjoined(word: str) -> str:
    """A title of several words that was written as one."""
    return word.replace("_", " ").replace("-", " ")


# A thousand names take milliseconds to read, and a room's names change far less often than it is spoken in.
@functools.lru_cache(maxsize=4)
def _names(titles: tuple[tuple[str, str], ...]) -> _Names:
    return _Names(dict(titles))


class _Names:
    """The agents of a room by everything they can be called."""

    def __init__(self, titles: Mapping[str, str]) -> None:
        self.ids = {_folded(agent).casefold(): agent for agent in sorted(titles)}
        self.segments: dict[str, tuple[str, ...]] = {}
        self.titles: dict[str, tuple[str, ...]] = {}
        for agent in sorted(titles):
            segment = _folded(agent).rsplit("/", 1)[-1].casefold()
            self.segments[segment] = (*self.segments.get(segment, ()), agent)
            title = " ".join(_folded(titles[agent]).split()).casefold()
            if title:
                self.titles[title] = (*self.titles.get(title, ()), agent)
        # First character -> names that may go on behind the word, longest first: titles have spaces, and where a script
        # has none the sentence goes on right behind a name.
        unspaced = {name: found for name, found in self.segments.items() if _unspaced(name[-1:])}
        self._open = unspaced | self.titles
        self._by_first: dict[str, list[str]] = {}
        for name in sorted(self._open, key=len, reverse=True):
            self._by_first.setdefault(name[0], []).append(name)

    def exact(self, typed: str, rest: str, beyond: int = 0) -> tuple[str, ...]:
        """The agents whose id, last segment or title this is; `rest` is the text from the mention on, for titles of
        several words. Only names of more than `beyond` characters count."""
        prefixes = [prefix.casefold() for prefix in _prefixes(typed) if len(prefix) > beyond]
        for prefix in prefixes:
            name = prefix.removeprefix("agents/")
            if name in self.ids:
                return (self.ids[name],)
            if name in self.segments:
                return self.segments[name]
            titled = _unjoined(prefix)
            if titled != prefix and titled in self.titles:
                return self.titles[titled]  # @scout-two is Scout Two, not scout with something behind it
        following = " ".join(rest.split()).casefold()
        for name in self._by_first.get(following[:1], ()):
            after = following[len(name) : len(name) + 1]
            if len(name) > beyond and following.startswith(name) and not (after.isalnum() and not _unspaced(after)):
                return self._open[name]
        return ()

    def near(self, typed: str) -> tuple[str, ...]:
        """The agents within reach of a slip of the finger, only the closest ones."""
        for prefix in _prefixes(typed):
            found = self.close(prefix.casefold())
            if found:
                return found
        return ()

    def whole(self, word: str) -> tuple[str, ...]:
        """The agents whose id, else last segment, else title is exactly this folded word."""
        if word in self.ids:
            return (self.ids[word],)
        if word in self.segments:
            return self.segments[word]
        return self.titles.get(word) or self.titles.get(_unjoined(word), ())

    def close(self, word: str) -> tuple[str, ...]:
        """The agents with a name closest to this folded word, if that is within reach."""
        best: dict[str, int] = {}
        reach = 0 if len(word) < 3 else 1 if len(word) < 7 else 2
        letters = set(word)
        for name, agents in self._all():
            # One slip changes the set of letters by two at most: this spares a thousand agents the full distance.
            if abs(len(name) - len(word)) > reach or len(letters.symmetric_difference(name)) > 2 * reach:
                continue
            distance = slips(word, name, reach)
            if distance <= reach and reach:
                for agent in agents:
                    best[agent] = min(best.get(agent, reach), distance)
        closest = min(best.values(), default=0)
        return tuple(agent for agent in sorted(best) if best[agent] == closest)

    def _all(self) -> Iterable[tuple[str, tuple[str, ...]]]:
        for name, agent in self.ids.items():
            yield name, (agent,)
        yield from self.segments.items()
        yield from self.titles.items()


def slips(one: str, other: str, limit: int) -> int:
    """Typing slips between two words: insert, drop, replace, or swap neighbours (optimal string alignment).

    More than `limit` is returned as `limit + 1`.
    """
    if abs(len(one) - len(other)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        older, before, row = before, row, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
    return min(row[-1], limit + 1)
