"""Where a Markdown text is code or a comment, so that nothing in it is a link or a heading. Pure: text in, text out.

Most notes have only plain fences, which one pattern finds. Where code stands in a list, a quotation or by its indent alone, the
blocks of the text are followed line by line as CommonMark 0.31 says (5, and its appendix "A parsing strategy"). What a link
looks like belongs in `markdown`.
"""

from __future__ import annotations

import re
from bisect import bisect_left

MAX_CODE = 2000  # characters of code in a line
MAX_DEPTH = 64  # of lists and quotations in one another; each line is matched against all that are open

_FENCE = re.compile(r"(```+|~~~+)([^\n]*)$", re.M)  # not `{3,}: `re` looks for a literal far faster than for a repeat
# Before a fence that does not begin its line: quotation marks, list markers, footnotes and indents, in any order.
_BEFORE = re.compile(r"(?:[ \t>]|(?:[-*+]|\d{1,9}[.)])(?=[ \t])|\[\^[^\[\]]*\]:)*")
# What may be code by its indent and holds a bracket or `#`: at the start of a line, or behind a marker in it.
_INDENTED = re.compile(r"\n(?: {4}| {0,3}\t)[^\n]*[\[#]")
_MARKER = re.compile(r"[-*+>.):](?: {5}| {0,4}\t)")

_OPENS = re.compile(r"(`{3,})[^`]*$|(~{3,})")
_HEADING = re.compile(r"#{1,6}(?: |$)")
_SPACES = re.compile(" *")
_UNDERLINE = re.compile(r"(?:=+|-+) *$")
_RULE = re.compile(r"([-*_])(?: *\1){2,} *$")
_ITEM = re.compile(r"(?:[-*+]|(\d{1,9})[.)])(?= |$)")
_FOOTNOTE = re.compile(r"\[\^[^\[\]]*\]:")

# Code in a line ends with its paragraph: a new item, heading or row of a table does not go on with it.
_CODE = rf"(`{{1,32}})(?!`)(?:[^\n]|\n(?![ \t>]*(?:\n|(?:[-*+]|\d{{1,9}}[.)]|#{{1,6}})[ \t]|\||\[\^))){{1,{MAX_CODE}}}?(?<!`)\1(?!`)"
_ODD_HEADING = re.compile(r"\n {0,3}#{1,6}[ \t][^\n`]*`(?:[^\n`]*`[^\n`]*`)*[^\n`]*(?=\n)")
_SPAN = re.compile("(?<!`)" + _CODE)
# Whichever begins first holds the others: an escaped backtick, code in a line (or backticks that open none), HTML.
_PIECE = re.compile(r"\\[\\`]|(`+)|<(?:!--|(?i:(pre|script|style|textarea)(?=[\s>])))")
_TICKS = re.compile("`+")
_CODE_HERE = re.compile(_CODE)
_HTML = re.compile("<(?:!--|pre|script|style|textarea)", re.I)
_RAW_END = re.compile(r"</(?:pre|script|style|textarea)>[^\n]*", re.I)
REMARK = re.compile(r"%%(?:[^\n%]|%(?!%))+%%|^%%[ \t]*\n(?:(?!%%)[^\n]*\n)*?%%", re.M)  # Obsidian's comments
# TeX between dollars, as Obsidian and pandoc have it: no space inside them, no digit behind. And a block of it, which begins
# its line and holds no empty one.
_MATH = re.compile(
    r"(?<![\\$])\$(?![\s$])((?:[^$\n\\]|\\[^\n])*)(?<!\s)\$(?![\d$])"
    r"|^[ \t>]*\$\$(?:[^$\n]|\$(?!\$)|\n(?![ \t>]*\n)){1,5000}?\$\$",
    re.M,
)
_SERIES = re.compile(r"(?:^|[\w}\])])\[\[")  # `k[[x]]`: a link in a sentence about prices has a space before it
_ESCAPED = re.compile(r"\\[\\\[\]]")


def mask_code(text: str) -> str:
    """The text with code and comments as spaces; every other character keeps its position."""
    # Before anything within lines becomes spaces, which would look like an indent.
    text = _mask_blocks(text)
    # One character is found far faster than several, and most notes have none of these.
    if ("<" in text and _HTML.search(text)) or "\\`" in text or ("`" in text and _odd_heading(text)):
        text = _mask_pieces(text)
    elif "`" in text:
        text = _SPAN.sub(_blank, text)  # the same where there is nothing else, and faster
    if "%" in text and "%%" in text:
        text = REMARK.sub(_blank, text)
    if "$" in text and "[[" in text:
        text = _MATH.sub(_formula, text)
    if "\\" in text and ("\\[" in text or "\\]" in text):
        text = _ESCAPED.sub(lambda match: "  " if match.group() == "\\\\" else "\\ ", text)
    return text


def _odd_heading(text: str) -> bool:
    """Whether a backtick in a heading may open code that a later line seems to close."""
    return "#" in text and _ODD_HEADING.search(text if text[0] == "\n" else "\n" + text) is not None


def _mask_pieces(text: str) -> str:
    """Code in lines, comments and the HTML whose content is no Markdown (CommonMark 0.31, 4.6 and 6.1) blanked out."""
    out = []
    done = at = 0
    last = text.rfind("-->")
    runs: dict[int, list[int]] = {}  # of backticks: length -> where they begin
    for found in _TICKS.finditer(text):
        runs.setdefault(found.end() - found.start(), []).append(found.start())
    while (match := _PIECE.search(text, at)) is not None:
        begin, at = match.span()
        if text[begin] == "<":
            before = "\n" + text[max(0, begin - 4) : begin] if begin < 4 else text[begin - 4 : begin]
            starts = "\n" in before and not before[before.rindex("\n") :].strip(" \n")
            if match[2] is None and last >= begin + 2:
                at = text.index("-->", begin + 2) + 3
            elif not starts:
                continue  # a comment that never ends is text, and so is `<pre>` within a line
            else:
                end = _RAW_END.search(text, at) if match[2] is not None else None
                at = len(text) if end is None else end.end()
        else:
            code = None if match[1] is None else _code_at(text, begin, at, runs.get(at - begin, []))
            if code is None:
                continue
            if "\n" in code[0] and _HEADING.match(text[text.rfind("\n", 0, begin) + 1 : begin].lstrip(" ")):
                continue  # a heading is one line, and code in it too
            at = code.end()
        out += [text[done:begin], _spaces(text[begin:at])]
        done = at
    return "".join([*out, text[done:]]) if out else text


def _code_at(text: str, begin: int, end: int, runs: list[int]) -> re.Match[str] | None:
    """The code that the backticks from `begin` to `end` open. `runs`: where as many stand; without one that is near nothing
    need be tried, and thousands of them may be in a paragraph."""
    number = bisect_left(runs, end)
    if number == len(runs) or runs[number] - end > MAX_CODE:
        return None
    return _CODE_HERE.match(text, begin)


def _formula(match: re.Match[str]) -> str:
    """Math that holds what looks like a wikilink, blanked out: a rename would rewrite it."""
    inline = match[1]
    return match[0] if inline is not None and _SERIES.search(inline) is None else _spaces(match[0])


def _blank(match: re.Match[str]) -> str:
    return _spaces(match.group())


def _spaces(text: str) -> str:
    return "\n".join(" " * len(line) for line in text.split("\n")) if "\n" in text else " " * len(text)


def _mask_blocks(text: str) -> str:
    """Fenced and indented code blanked out."""
    plain: str | None = text
    if ("`" in text and "```" in text) or ("~" in text and "~~~" in text):
        plain = _mask_fences(text)
    if plain is None or _may_be_indented(plain):
        return _by_lines(text)
    return plain


def _may_be_indented(text: str) -> bool:
    if "    " not in text and "\t" not in text:
        return False
    return text.startswith((" ", "\t")) or _INDENTED.search(text) is not None or _marked(text)


def _marked(text: str) -> bool:
    """Whether a line has a marker with code's indent behind it, and then a bracket or `#`. One look at each line: a table
    with tabs has thousands of what may be markers."""
    match = _MARKER.search(text)
    while match is not None:
        end = text.find("\n", match.end())
        end = len(text) if end < 0 else end
        if text.find("[", match.end(), end) >= 0 or text.find("#", match.end(), end) >= 0:
            return True
        match = _MARKER.search(text, end)
    return False


def _mask_fences(text: str) -> str | None:
    """Fenced code that begins its lines blanked out; None: other fences are in the text too. By lines, because one pattern
    for a whole block backtracks over long runs of backticks."""
    out = []
    done = 0
    opened: tuple[int, str] | None = None  # where, by which marks
    for match in _FENCE.finditer(text):
        begin = match.start()
        if begin and text[begin - 1] != "\n":
            if _BEFORE.fullmatch(text, text.rfind("\n", 0, begin) + 1, begin):
                return None
            continue
        marks, rest = match.groups()
        if opened is None:
            if marks[0] == "~" or "`" not in rest:
                opened = (begin, marks)
        elif marks[0] == opened[1][0] and len(marks) >= len(opened[1]) and not rest.strip():
            out += [text[done : opened[0]], _spaces(text[opened[0] : match.end()])]
            done, opened = match.end(), None
    if opened is not None:
        out += [text[done : opened[0]], _spaces(text[opened[0] :])]
        done = len(text)
    return "".join([*out, text[done:]])


def _by_lines(text: str) -> str:
    """All code blocks blanked out, by following the blocks that are open."""
    blocks = _Blocks()
    return "\n".join(" " * len(line) if blocks.code(line) else line for line in text.split("\n"))


def _past(line: str, at: int) -> int:
    """Where the spaces that begin at `at` end."""
    match = _SPACES.match(line, at)
    assert match is not None  # no space is one, too
    return match.end()


class _Blocks:
    """The lists and quotations that are open, and how the last line ended in them."""

    def __init__(self) -> None:
        self._open: list[
            int
        ] = []  # how much further in than what it stands in the text of an item begins; 0: a quotation
        self._fence = ""  # the marks that opened the code we are in
        self._paragraph = False  # the last line was text, with which this one may go on
        self._empty = False  # the last line began an item and had no text

    def code(self, raw: str) -> bool:
        """Whether this line, the next of the text, is code."""
        line = raw.rstrip(" \t\r")
        line = line.expandtabs(4) if "\t" in line else line
        at, depth = self._go_on(line)
        if self._fence and depth == len(self._open):
            self._close_fence(line, at)
            return True
        self._fence = ""  # else its item or quotation has ended, and the code with it
        empty, self._empty = self._empty, False
        while (inside := self._begin(line, at, depth)) is not None:
            at, depth = inside, len(self._open)
            self._empty = self._open[-1] > 0  # until there is text
        begin = _past(line, at)
        code = text = False
        if begin == len(line):
            depth -= (
                empty and depth == len(self._open) and not self._empty
            )  # an item begins with one empty line at most
        elif begin - at > 3:
            text = self._paragraph
            code = not text
        elif opens := _OPENS.match(line, begin):
            self._fence, code = opens[1] or opens[2], True
        else:
            text = not (self._underlined(line, begin, depth) or _HEADING.match(line, begin) or _RULE.match(line, begin))
        if not (text and self._paragraph):  # text goes on with a paragraph wherever it begins: CommonMark's laziness
            del self._open[depth:]
        self._empty = self._empty and begin == len(line)
        self._paragraph = text
        return code

    def _close_fence(self, line: str, at: int) -> None:
        begin = _past(line, at)
        marks = line[begin:]
        if begin - at < 4 and len(marks) >= len(self._fence) and not marks.strip(self._fence[0]):
            self._fence = ""

    def _underlined(self, line: str, begin: int, depth: int) -> bool:
        """Whether this line makes a heading of the paragraph before it."""
        return self._paragraph and depth == len(self._open) and _UNDERLINE.match(line, begin) is not None

    def _go_on(self, line: str) -> tuple[int, int]:
        """How many of what is open this line is in, and where in it their marks end: (column, number)."""
        at = 0
        for depth, width in enumerate(self._open):
            begin = _past(line, at)
            if width == 0:
                if begin - at > 3 or not line.startswith(">", begin):
                    return at, depth
                at = begin + 1 + line.startswith(" ", begin + 1)
            elif begin == len(line):
                at = begin  # an empty line ends no item
            elif begin - at >= width:
                at += width
            else:
                return at, depth
        return at, len(self._open)

    def _begin(self, line: str, at: int, depth: int) -> int | None:
        """Open the quotation, item or footnote that begins here; the column of what is in it. None: none does."""
        begin = _past(line, at)
        if begin == len(line) or begin - at > 3 or depth >= MAX_DEPTH:
            return None
        if line.startswith(">", begin):
            width, end = 0, begin + 1 + line.startswith(" ", begin + 1)
        elif note := _FOOTNOTE.match(line, begin):
            width, end = begin - at + 4, _past(line, note.end())
        elif self._underlined(line, begin, depth) or _RULE.match(line, begin):
            return None
        elif item := _ITEM.match(line, begin):
            text = _past(line, item.end())
            going = self._paragraph and depth == len(self._open)
            if going and (text == len(line) or int(item[1] or 1) != 1):
                return None  # a number at the start of a line of prose
            end = text if text < len(line) and text - item.end() <= 4 else item.end() + 1
            width, end = end - at, min(end, len(line))
        else:
            return None
        del self._open[depth:]
        self._open.append(width)
        self._paragraph = False
        return end
