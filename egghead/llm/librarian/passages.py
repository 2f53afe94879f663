"""A note's body cut into what can be quoted: sentences, list items, steps and table rows, each under its headings.

Here belong reading Markdown (and plain text, and org well enough) line by line and making it plain: no link targets,
no emphasis, no HTML. Which passage answers a question is the business of `ranking`. Pure and total: any text gives
passages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from egghead.llm.librarian.fold import HAN, KANA
from records.code import REMARK
from records.lines import lines

Kind = Literal["sentence", "item", "step", "row", "code"]

MAX_BODY = 60_000  # characters of a body that are looked at: an answer within a blink, whatever the note
MAX_PASSAGE = 600  # characters; a longer sentence is cut at a word when quoted


@dataclass(frozen=True)
class Passage:
    """One quotable piece. `headings` from the outermost in; `section` counts sections, `block` paragraphs and lists:
    pieces with the same number stand together."""

    text: str
    kind: Kind
    headings: tuple[str, ...]
    section: int
    block: int


_FENCE = re.compile(r"^\s*(`{3,}|~{3,})")
_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*\s*$")
_ORG_HEADING = re.compile(r"^(\*{1,6})\s+(\S.*)$")
_ORG = re.compile(
    r"^(?:#\+\w+:|:PROPERTIES:|\*{2,} \S)", re.MULTILINE
)  # what Markdown never has at the start of a line
_ITEM = re.compile(r"^(\s*)([-+•]|\*(?=\s)|\d{1,3}[.)])\s+(?:\[[ xX]\]\s+)?(.*)$")
_RULE = re.compile(r"^\s*([-*_=]\s*){3,}$")
_DEFINITION = re.compile(r"^\s*\[[^\]]+\]:\s+\S+")
_ORG_META = re.compile(r"^\s*(#\+\w+:?|:[A-Z_]+:)", re.IGNORECASE)
_SIGNS = frozenset("#*-+•_=[:|")  # what a line that is not plain text begins with, but for digits
_SETEXT = re.compile(r"^\s*(=+|-+)\s*$")
_FRONT = re.compile(r"\A\ufeff?---\r?\n.*?\r?\n(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL)

_IMAGE = re.compile(r"!\[([^\]]*)\]\([^)]*\)")
_EMBED = re.compile(r"!\[\[[^\]]*\]\]")
_WIKI = re.compile(r"\[\[([^\]|]*)(?:\|([^\]]*))?\]\]")
_ORG_LINK = re.compile(r"\[\[([^\]]*)\]\[([^\]]*)\]\]")
_LINK = re.compile(r"\[([^\]\[]+)\](?:\([^)\s]*(?:\s+\"[^\"]*\")?\)|\[[^\]]*\])")
_AUTO = re.compile(r"<(https?://[^>\s]+)>")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<!--.*?-->")
_STRONG = re.compile(r"(\*\*\*|\*\*|__)(?=\S)(.+?)(?<=\S)\1")
_EMPHASIS = re.compile(r"(?<![\w*])([*_])(?=\S)([^*_]+?)(?<=\S)\1(?![\w*])")
_CODE = re.compile(r"(`+)(.+?)\1")
_MARKED = re.compile(r"[`*_\[\]<\x00]")
_SPACES = re.compile(r"\s+")
_CELLS = re.compile(r"(?<!\\)\|")
# Obsidian's: the name of a block, which ends its line; the kind of a callout, which begins its first; marked text.
_BLOCK = re.compile(r"(?:^|\s)\^[A-Za-z0-9-]+\s*$")
_CALLOUT = re.compile(r"^([>\s]*>\s*)\[![\w-]+\][+-]?")
_HIGHLIGHT = re.compile(r"==(?=[^\s=])(.+?)(?<=[^\s=])==")
_BREAK = re.compile(rf"(?<=[.!?…])[\"”»)\]]*\s+(?=[^\sa-z])|(?<=[。！？])(?=.)|(?<=[।؟۔])\s+|(?<=[{HAN}{KANA}][!?])\s*")
_ABBREVIATED = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|no|nr|dr|mr|mrs|ms|st|z\.\s?b|d\.\s?h|u\.\s?a|bzw|ca|ggf|inkl|min|max|p\.\s?ex"
    r"|env|np|tzw|tj|ul|godz|r|art|tel|sr|sra|av|fig|т\.\s?е|т\.\s?д|г|ул|см|руб|мин|ок|bl\.\s?a|t\.\s?ex|osv|pl|kb|stb"
    r"|örn|vb|σ|π\.\s?χ)|\b\w|^\d{1,3}|\b\d{1,2})\.$",
    re.IGNORECASE,
)


def plain(text: str) -> str:
    """A line of Markdown as a reader sees it, made harmless."""
    if not _MARKED.search(text) and "==" not in text:
        return harmless(_SPACES.sub(" ", text).strip())
    codes: list[str] = []

    def keep(match: re.Match[str]) -> str:
        codes.append(match[2].strip())
        return f"\x00{len(codes) - 1}\x00"

    text = text.replace("\x00", "")
    if "`" in text:
        text = _CODE.sub(keep, text)
    if "[" in text:
        text = _EMBED.sub("", text)
        text = _IMAGE.sub(r"\1", text)
        text = _ORG_LINK.sub(r"\2", text)
        text = _WIKI.sub(lambda m: m[2] or m[1].rsplit("/", 1)[-1], text)
        text = _LINK.sub(r"\1", text)
    if "<" in text:
        text = _AUTO.sub(r"\1", text)
        text = _TAG.sub(" ", text)
    if "*" in text or "_" in text:
        text = _STRONG.sub(r"\2", text)
        text = _EMPHASIS.sub(r"\2", text)
    if "==" in text:
        text = _HIGHLIGHT.sub(r"\1", text)
    if codes:
        text = re.sub("\x00(\\d+)\x00", lambda m: f"`{codes[int(m[1])]}`", text)
    return harmless(_SPACES.sub(" ", text).strip())


_CALL = re.compile(r"(?<![\w`/.@])([@＠])(?=\w)")


_HARM = re.compile(r"[@＠]|\[\[|\]\]")


def harmless(text: str) -> str:
    """Text in which nothing can be read as a link of ours or as calling somebody: a quoted `[[note]]` is no citation,
    a quoted @name wakes no agent. A word joiner, which nobody sees, parts the signs."""
    if not _HARM.search(text):
        return text
    return _CALL.sub("\\1\u2060", text.replace("[[", "[\u2060[").replace("]]", "]\u2060]"))


def passages(body: str) -> tuple[Passage, ...]:
    """The quotable pieces of a body, in order."""
    reader = _Reader(_ORG_HEADING if _ORG.search(body[:MAX_BODY]) else _HEADING)
    text = _FRONT.sub("", body[:MAX_BODY], count=1)
    for line in lines(REMARK.sub(" ", text) if "%%" in text else text):
        reader.line(line)
    reader.flush()
    return tuple(reader.found)


class _Reader:
    """Line by line; what is gathered is flushed where a paragraph, an item or a section ends."""

    def __init__(self, heading: re.Pattern[str]) -> None:
        self.heading = heading
        self.found: list[Passage] = []
        self.headings: list[tuple[int, str]] = []
        self.section = 0
        self.block = 0
        self.fence: str | None = None
        self.gathered: list[str] = []
        self.kind: Kind = "sentence"
        self.header: list[str] | None = None  # of the table we are in

    def line(self, line: str) -> None:
        if self._fenced(line):
            return
        if "^" in line:
            line = _BLOCK.sub("", line)
        if "[!" in line:
            line = _CALLOUT.sub(r"\1", line)
        if not line.strip():
            self.flush()
            self.block += self.kind == "sentence"
            self.kind = "sentence"
            self.header = None
            return
        first = line.lstrip()[:1]
        if first not in _SIGNS and not first.isdigit():
            self.gathered.append(line.lstrip("> \t"))
            return
        heading = self.heading.match(line)
        if heading:
            self._heading(heading)
        elif _SETEXT.match(line) and len(self.gathered) == 1 and self.kind == "sentence":
            title = plain(self.gathered.pop())
            self._enter(1 if "=" in line else 2, title)
        elif _RULE.match(line) or _DEFINITION.match(line) or _ORG_META.match(line):
            self.flush()
        elif line.lstrip().startswith("|"):
            self._row(line)
        elif item := _ITEM.match(line):
            self._item(item)
        else:
            self.gathered.append(line.lstrip("> \t"))

    def _fenced(self, line: str) -> bool:
        fence = _FENCE.match(line) if "```" in line or "~~~" in line else None
        if self.fence:
            if fence and fence[1].startswith(self.fence) and line.strip() == fence[1]:
                self.fence = None
                self.block += 1
            elif line.strip():
                self._add(harmless(line.strip()), "code")
            return True
        if fence:
            self.flush()
            self.fence = fence[1]
            self.block += 1
            return True
        return False

    def _heading(self, match: re.Match[str]) -> None:
        self.flush()
        self._enter(len(match[1]), plain(match[2]))

    def _enter(self, level: int, title: str) -> None:
        while self.headings and self.headings[-1][0] >= level:
            self.headings.pop()
        self.headings.append((level, title))
        self.section += 1
        self.block += 1

    def _row(self, line: str) -> None:
        cells = [plain(cell.replace("\\|", "|")) for cell in _CELLS.split(line.strip().strip("|"))]
        self.flush()
        if all(set(cell) <= set(":- ") for cell in cells):
            return
        if self.header is None:
            self.header = cells
            self.block += 1
            return
        named = len(self.header) == len(cells)
        parts = [
            f"{head}: {cell}" if named and head and at else cell
            for at, (head, cell) in enumerate(zip(self.header if named else cells, cells, strict=True))
            if cell
        ]
        self._add(", ".join(parts), "row")

    def _item(self, match: re.Match[str]) -> None:
        if self.kind == "sentence":
            self.flush()
            self.block += 1
        self.flush()
        self.kind = "step" if match[2][0].isdigit() else "item"
        self.gathered = [match[3]]

    def flush(self) -> None:
        if not self.gathered:
            return
        text = plain(" ".join(self.gathered))
        self.gathered = []
        if self.kind == "sentence":
            for sentence in sentences(text):
                self._add(sentence, "sentence")
        else:
            self._add(text, self.kind)

    def _add(self, text: str, kind: Kind) -> None:
        if text[:1].isalnum() or any(map(str.isalnum, text)):
            headings = tuple(title for _, title in self.headings)
            self.found.append(Passage(text, kind, headings, self.section, self.block))


def sentences(text: str) -> list[str]:
    """The sentences of a paragraph; abbreviations, initials and numbers do not end one."""
    found: list[str] = []
    start = 0
    for match in _BREAK.finditer(text):
        piece = text[start : match.start()]
        if _ABBREVIATED.search(piece) and not piece.endswith(("。", "！", "？")):
            continue
        found.append(text[start : match.end()].strip())
        start = match.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if sentence]
