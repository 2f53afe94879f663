"""What a note is in the tables of the index, as plain tuples. Pure: no SQL, no files.

Making a row costs more than writing it, so the process that reads the files does it, and the one that writes the index
gets rows: `Row` is made of nothing but texts, numbers and lists, and travels as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from records import cuts, graph
from records.ids import id_of, key_of
from records.markdown import MAX_LINKS, listed
from records.model import Heading, Record
from records.text import analyse, fold, folded_words

MAX_BODY = 12 * 2**20  # characters of one note that are searched: all of one of 10 MB


class Row(NamedTuple):
    """A note as its tables have it, all but its number. `note`, `tags`, `links`: what follows the number there; `names`: what
    stands before it. `cut`: the terms of the body, None: still to be found. `heads`: those of what stands above it; `labels`: of
    title, names, headings, tags."""

    path: str
    stem: str
    wanted: str
    note: Sequence[Any]
    size: int
    cut: str | None
    body: str
    heads: str
    labels: Sequence[str]
    names: Sequence[Sequence[Any]]
    words: Sequence[str]
    tags: Sequence[Sequence[str]]
    links: Sequence[Sequence[Any]]


def beyond(record: Record) -> str | None:
    """What of a note no search, and no list of links, has; None: nothing. The note itself is whole."""
    told = []
    if len(record.body) > MAX_BODY:
        told.append(f"the first {MAX_BODY:,} of its {len(record.body):,} characters are searched")
    if len(record.wikilinks) >= MAX_LINKS:
        told.append(f"the first {MAX_LINKS:,} of its links are known")
    return " and ".join(told) or None


def row_of(record: Record, *, cut: bool = True) -> Row:
    """A note as rows, with at most MAX_BODY characters of its body, which its error says then too. `cut` False: its terms are left to `with_terms`."""
    path, wanted, title, stat = record.path, record.id, record.title, record.stat
    body = record.body if len(record.body) <= MAX_BODY else record.body[:MAX_BODY]
    error, unseen = record.error, beyond(record)
    if unseen and unseen not in (error or ""):  # else it comes from an index, and says so already
        error = f"{error + '; ' if error else ''}{unseen}; split the note"
    stem = id_of(path)
    tags, aliases = (*record.tags, *record.inline_tags), record.aliases
    outline = record.outline
    terms = _Above(title, aliases, path, [heading.text for heading in record.outline], tags)
    note = (
        path, stem, wanted, wanted, title, record.class_, _strings(record.tags), _strings(record.links), _strings(aliases),
        record.created, record.updated, record.author, record.format, _outline(outline), _json(record.meta),
        _strings(record.inline_tags), record.revision, error, *(stat.mark if stat is not None else (0, 0, 0)),
    )  # fmt: skip
    links = [
        (place, link.kind, link.target, *_keys(link.target), link.fragment, link.display, link.position)
        for place, link in enumerate(record.wikilinks)
    ]
    if record.links:
        links += [
            (place, "listed", target, *_keys(listed(target)), "", "", -1)
            for place, target in enumerate(record.links, len(links))
        ]
    return Row(
        path, stem, wanted, note, len(body), cuts.cut_text(outline, body) if cut else None, body,
        terms.heads(), terms.labels(stem, wanted), graph.name_keys(path, stem, wanted, title, aliases),
        name_words(title, aliases, tags, stem), [(fold(tag), tag) for tag in tags], links,
    )  # fmt: skip


def with_terms(row: Row) -> Row:
    """A row with the terms of its body, whoever made it."""
    if row.cut is not None:
        return row
    return row._replace(cut=cuts.cut_text(json.loads(row.note[_OUTLINE]), row.body))


_OUTLINE = 13  # its place in `Row.note`


class _Above:
    """The terms of what stands above the text of a note, each part cut once."""

    def __init__(
        self, title: str, aliases: Iterable[str], path: str, headings: Iterable[str], tags: Iterable[str]
    ) -> None:
        folder, _, last = path.rpartition("/")
        self._path = path
        self._title = analyse(title)
        self._aliases = [analyse(alias) for alias in aliases]
        self._folder = analyse(folder)
        self._last = analyse(last.rpartition(".")[0])
        self._headings = [analyse(heading) for heading in headings]
        self._tags = analyse(" ".join(tags))

    def heads(self) -> str:
        """As ranking reads them, see `cuts.cut_heads`."""
        return cuts.cut_heads((self._title, self._last, *self._aliases), (self._tags, self._folder), self._headings)

    def labels(self, stem: str, wanted: str) -> tuple[str, str, str, str]:
        """The columns of the full-text table before the body: title, names, headings, tags."""
        names = [*self._aliases]
        names += (self._folder, self._last) if self._path.startswith(stem + ".") else (analyse(stem),)
        if wanted != stem:
            names.append(analyse(wanted))
        return self._title, _joined(names), _joined(self._headings), self._tags


def _joined(parts: Iterable[str]) -> str:
    return " ".join([part for part in parts if part])


def labels(
    title: str, aliases: Iterable[str], path: str, wanted: str, headings: Iterable[str], tags: Iterable[str]
) -> tuple[str, str, str, str]:
    """What `row_of` gave to the full-text table for a note of these."""
    return _Above(title, aliases, path, headings, tags).labels(id_of(path), wanted)


def name_words(title: str, aliases: Iterable[str], tags: Iterable[str], stem: str) -> list[str]:
    """Words that a slip of the hand is compared with, each once."""
    return list({word for word in folded_words(" ".join((title, *aliases, *tags, stem))) if 3 <= len(word) <= 40})


def _keys(target: str) -> tuple[str, str]:
    """What a link's target is compared by: all of it, and its last part."""
    key = key_of(target)
    return key, key.rpartition("/")[2]


def _json(value: Any) -> str:
    return _dumps(value) if value else ("{}" if isinstance(value, dict) else "[]")


def _strings(values: Sequence[str]) -> str:
    # `_json` makes an encoder each time, which costs more than all that these few strings do.
    return f"[{','.join(map(_string, values))}]" if values else "[]"


def _outline(outline: Iterable[Heading]) -> str:
    return f"[{','.join([f'[{level},{_string(text)},{position}]' for level, text, position in outline])}]"


_string = json.encoder.encode_basestring
_dumps = json.JSONEncoder(ensure_ascii=False, default=str, separators=(",", ":")).encode
