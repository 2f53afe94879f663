"""What a person typed into a search box, as a value. Total: any text gives a Query, no text raises. And the dates beside it. Pure."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime

from records.errors import InvalidValue

_PIECE = re.compile(
    r"""(?P<minus>(?<!\S)-)?(?:
        (?<![^\s-])(?P<key>tag|class|in):(?:"(?P<quoted>[^"]*)"|(?P<value>[^\s"]+))
      | "(?P<phrase>[^"]*)"
      | (?P<word>[^\s"]+)
    )""",
    re.VERBOSE | re.IGNORECASE,
)
MAX_TEXT = 4000  # characters that are looked at


@dataclass(frozen=True, slots=True)
class Query:
    """`text`: the free words; `phrases` must stand as they are; `excluded` must not stand; the rest are filters.

    `unfinished`: the last word may be the beginning of a longer one.
    """

    text: str
    phrases: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    without_tags: tuple[str, ...] = ()
    class_: str | None = None
    folder: str | None = None
    unfinished: bool = False


def search_query(text: str) -> Query:
    """Read a search: words, "phrases", -word, tag:x, -tag:x, class:x, in:folder. Anything else is words."""
    text = text[:MAX_TEXT].replace("\0", " ")
    words: list[str] = []
    phrases: list[str] = []
    excluded: list[str] = []
    tags: list[str] = []
    without: list[str] = []
    kind: str | None = None
    folder: str | None = None
    last = False
    for match in _PIECE.finditer(text):
        minus = match.group("minus") is not None
        last = False
        if match.group("key") is not None:
            value = (match.group("quoted") if match.group("quoted") is not None else match.group("value")) or ""
            key = match.group("key").lower()
            if not value.strip():
                continue
            if key == "tag":
                (without if minus else tags).append(value.lstrip("#"))
            elif key == "class" and not minus:
                kind = value
            elif key == "in" and not minus:
                folder = value.strip("/")
            else:
                words.append(value)
        elif match.group("phrase") is not None:
            (excluded if minus else phrases).append(match.group("phrase"))
        elif minus:
            excluded.append(match.group("word"))
        else:
            words.append(match.group("word"))
            last = match.end() == len(text)
    return Query(
        text=" ".join(words),
        phrases=tuple(phrase for phrase in phrases if phrase.strip()),
        excluded=tuple(word for word in excluded if word.strip()),
        tags=tuple(tags),
        without_tags=tuple(without),
        class_=kind,
        folder=folder,
        unfinished=last and bool(words) and _goes_on(words[-1][-1]),
    )


def _goes_on(character: str) -> bool:
    """Whether a word may go on behind a character: also behind a vowel sign, a point or an accent that is a character of
    its own (Hindi, Hebrew, what macOS hands over), and behind a joiner within a word (Persian)."""
    return character.isalnum() or unicodedata.category(character)[0] == "M" or character in "\u200c\u200d"


def moment(since: str | None) -> str | None:
    """A year, month, day or time (ISO 8601; without a zone it is UTC) as the index compares it. Raises InvalidValue."""
    if since is None or re.fullmatch(r"\d{4}(-(0[1-9]|1[0-2]))?", since):
        return since
    try:
        found = datetime.fromisoformat(since)
    except (ValueError, TypeError):
        raise InvalidValue(f"{since!r} is no date; write 2026-01-31 or 2026-01-31T08:00") from None
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", since):
        return since
    try:
        return (found.astimezone(UTC) if found.tzinfo else found).replace(tzinfo=None).isoformat(timespec="seconds")
    except OverflowError:
        return since  # a zone that leads before the first day or behind the last
