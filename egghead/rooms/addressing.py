"""Who a text speaks to: `@` mentions against the people's names for agents.

Pure text work: given a text and the agents in the room, which are named, which broadcast word is used, which `@` hit
nobody. Whether the named agents then speak (muted, parked, budget) is `decide`'s business.

A mention is exact by id, then by last segment of the id, then by title, without regard to case; else a unique near
miss counts and is reported. An `@` in code, in a URL or in an e-mail address is not a mention.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

BROADCASTS = {"everyone": "huddle", "channel": "huddle", "jam": "jam"}

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n]*\n.*?(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
_URL = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://|www\.|mailto:)[^\s<>]*")
_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_TOKEN = re.compile(r"[\w][\w./-]*")
_CUT = re.compile(r"[./_-]+")


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
    names = _Names(titles)
    agents: list[str] = []
    broadcast: str | None = None
    missed: list[tuple[str, str]] = []
    unknown: list[str] = []
    ambiguous: list[tuple[str, tuple[str, ...]]] = []
    for rest in _candidates(text):
        token = _TOKEN.match(rest)
        if token is None:
            continue
        typed = token.group().rstrip("./-")
        word = broadcast_word(typed)
        if word is not None:
            broadcast = broadcast or word
            continue
        found = names.exact(typed, rest)
        if not found and near:
            found = names.near(typed)
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
    word = " ".join(typed.replace("＠", "@").split()).removeprefix("@").removeprefix("agents/").casefold()
    names = _Names(titles)
    found = names.whole(word)
    if found or not near:
        return Named(found[0]) if len(found) == 1 else Named(could_be=found)
    close = names.close(word) if word else ()
    return Named(close[0], near=True) if len(close) == 1 else Named(could_be=close)


def broadcast_word(typed: str) -> str | None:
    """`huddle` or `jam` when the word is one of the broadcast words."""
    for prefix in _prefixes(typed):
        if prefix.casefold() in BROADCASTS:
            return BROADCASTS[prefix.casefold()]
    return None


def _candidates(text: str) -> Iterable[str]:
    """What follows each `@` that may begin a mention."""
    bare = text.replace("＠", "@")
    for pattern in (_FENCE, _INLINE, _URL, _MAIL):
        # Same length, so that nothing outside the match moves; a non-word character, so that nothing is glued together.
        bare = pattern.sub(lambda found: "\x00" * len(found.group()), bare)
    for at, character in enumerate(bare):
        if character == "@" and not _glued(bare[at - 1] if at else " "):
            yield bare[at + 1 :]


def _glued(before: str) -> bool:
    """True when the character before an `@` makes it part of something else: a word, a path, another address."""
    if before in "@/\\.+=#&%\x00":
        return True
    if not (before.isalnum() or before == "_"):
        return False
    # Scripts that write without spaces put the mention right behind a letter.
    return not _unspaced(before)


def _unspaced(character: str) -> bool:
    return not character.isascii() and unicodedata.name(character, "").startswith(
        ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI", "LAO", "KHMER", "MYANMAR", "HALFWIDTH KATAKANA")
    )


def _prefixes(typed: str) -> Iterable[str]:
    """The word itself, then what is left when it is cut at separators and at a change of script, longest first."""
    cuts = {len(typed)}
    cuts.update(found.start() for found in _CUT.finditer(typed))
    cuts.update(at for at in range(1, len(typed)) if _unspaced(typed[at]) != _unspaced(typed[at - 1]))
    for cut in sorted(cuts, reverse=True):
        if cut:
            yield typed[:cut]


class _Names:
    """The agents of a room by everything they can be called."""

    def __init__(self, titles: Mapping[str, str]) -> None:
        self.ids = {agent.casefold(): agent for agent in sorted(titles)}
        self.segments: dict[str, tuple[str, ...]] = {}
        self.titles: dict[str, tuple[str, ...]] = {}
        for agent in sorted(titles):
            segment = agent.rsplit("/", 1)[-1].casefold()
            self.segments[segment] = (*self.segments.get(segment, ()), agent)
            title = " ".join(titles[agent].split()).casefold()
            if title:
                self.titles[title] = (*self.titles.get(title, ()), agent)

    def exact(self, typed: str, rest: str) -> tuple[str, ...]:
        """The agents whose id, last segment or title this is; `rest` is the text from the mention on, for titles of
        several words."""
        prefixes = [prefix.casefold() for prefix in _prefixes(typed)]
        for prefix in prefixes:
            if prefix in self.ids:
                return (self.ids[prefix],)
            if prefix in self.segments:
                return self.segments[prefix]
        following = " ".join(rest[:300].split()).casefold()
        for title in sorted(self.titles, key=len, reverse=True):
            after = following[len(title) : len(title) + 1]
            if following.startswith(title) and not (after.isalnum() and not _unspaced(after)):
                return self.titles[title]
        for prefix in prefixes:
            joined = prefix.replace("_", " ").replace("-", " ")
            if joined in self.titles:
                return self.titles[joined]
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
        return self.titles.get(word) or self.titles.get(word.replace("_", " ").replace("-", " "), ())

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
