"""The words of an answer: which passages are quoted, how they are joined, and never more than a hundred and twenty.

Here belong choosing and cutting what was ranked, and the word budget. Every line ends with the `[[id]]` of the note it
was read in; nothing else in an answer is in double brackets. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from egghead.llm.librarian.fold import UNSPACED
from egghead.llm.librarian.languages import phrase
from egghead.llm.librarian.passages import MAX_PASSAGE, Passage
from egghead.llm.librarian.ranking import ALSO, NEAR, SURE, Reading, Scored

MAX_WORDS = 110  # of a whole answer, citations too; promised are 120, and people count differently
FIRST_WORDS = 70  # of the quotation from the best note
OTHER_WORDS = 24  # of one from another note
NEAR_WORDS = 40  # of one that is only near
MAX_ALSO = 3


def count_words(text: str) -> int:
    """Words as a reader would count them; in scripts without spaces two signs make a word."""
    unspaced = sum(len(run) for run in UNSPACED.findall(text))
    return len(UNSPACED.sub(" ", text).split()) + (unspaced + 1) // 2


def cite(id: str) -> str:
    return f"[[{id}]]"


def compose(readings: Sequence[Reading], language: str) -> str | None:
    """The answer out of the notes that were read (best first); with little evidence, the nearest thing they say, said
    to be that; None when there is nothing near."""
    if not readings or readings[0].evidence < NEAR:
        return None
    best = readings[0]
    if best.evidence < SURE:
        opening = f"{phrase(language, 'silent')} {phrase(language, 'near')}"
        return f"{opening} {_quote(best, NEAR_WORDS)}"
    lines = [_quote(best, FIRST_WORDS)]
    spent = count_words(lines[0])
    named: list[str] = []
    for other in readings[1:]:
        if other.score < ALSO * best.score or other.covered < 0.5 * best.covered:
            continue
        near = other.score >= 0.85 * best.score and len(lines) < 2
        if near and spent + OTHER_WORDS + 8 <= MAX_WORDS - 10:
            lines.append(_quote(other, OTHER_WORDS))
            spent += count_words(lines[-1])
        elif len(named) < MAX_ALSO:
            named.append(cite(other.candidate.id))
    if named:
        lines.append(f"{phrase(language, 'also')} {', '.join(named)}")
    return within(lines, MAX_WORDS)


def within(lines: Sequence[str], words: int) -> str:
    """The lines joined, without those that would go over the budget. The first always fits: it was cut to fit."""
    kept: list[str] = []
    for line in lines:
        if kept and count_words("\n".join([*kept, line])) > words:
            break
        kept.append(line)
    return "\n".join(kept)


def _quote(reading: Reading, budget: int) -> str:
    """The best stretch of a note within the budget, with its citation."""
    id = cite(reading.candidate.id)
    budget -= count_words(id)
    if not reading.passages:
        return f"{clip(reading.candidate.title, budget)} {id}"
    chosen = _choose(reading.passages, budget)
    text = _join(chosen, budget)
    return f"{text}\n{id}" if "\n" in text else f"{text} {id}"


def _choose(scored: Sequence[Scored], budget: int) -> list[Passage]:
    """The best passage and its neighbours in the same section while they help and fit, in the note's order."""
    best = max(scored, key=lambda s: (s.score, -s.at))
    chosen = {best.at}
    left = budget - count_words(best.passage.text)
    leads = _introduces(best.passage)

    def fits(at: int) -> bool:
        nonlocal left
        if not 0 <= at < len(scored) or scored[at].passage.section != best.passage.section:
            return False
        words = count_words(scored[at].passage.text)
        if words > left:
            return False
        left -= words
        chosen.add(at)
        return True

    before = best.at - 1
    if best.passage.kind in ("item", "step", "row", "code"):
        lead = _lead(scored, best)
        if lead is not None:
            fits(lead)
        while best.passage.kind == "step" and before >= 0 and scored[before].passage.kind == "step":
            if not fits(before):
                break
            before -= 1
    after = best.at + 1
    while after < len(scored):
        follower = scored[after]
        continues = follower.passage.block == best.passage.block and follower.passage.kind in (
            "step",
            best.passage.kind,
        )
        led = leads and follower.passage.block <= best.passage.block + 2
        if not (led or continues or follower.score >= 0.6 * best.score) or not fits(after):
            break
        after += 1
    # What is left of the budget goes to the next best passages of the note, wherever they stand.
    for other in sorted(scored, key=lambda s: (-s.score, s.at)):
        words = count_words(other.passage.text)
        if other.score < 0.72 * best.score or left < 12:
            break
        plain = other.passage.kind != "code" and not _introduces(other.passage)
        if other.at not in chosen and words <= left and plain:
            left -= words
            chosen.add(other.at)
    # A sentence that introduces what is not quoted says nothing.
    order = [scored[at].passage for at in sorted(chosen)]
    followers = [*order[1:], None]
    return [p for p, after in zip(order, followers, strict=True) if p is best.passage or not _idle(p, after)]


def _idle(passage: Passage, after: Passage | None) -> bool:
    led = after is not None and after.section == passage.section and after.kind != "sentence"
    return _introduces(passage) and not led


def _introduces(passage: Passage) -> bool:
    return passage.text.rstrip().endswith((":", "："))


def _lead(scored: Sequence[Scored], best: Scored) -> int | None:
    """The sentence that introduces the list which the best passage is an item of."""
    for at in range(best.at - 1, max(-1, best.at - 8), -1):
        passage = scored[at].passage
        if passage.section != best.passage.section:
            return None
        if passage.kind == "sentence":
            return at if _introduces(passage) else None
    return None


_MARKS = {"item": "- ", "step": "- ", "row": "- ", "code": "", "sentence": ""}


def _join(chosen: Sequence[Passage], budget: int) -> str:
    """Sentences follow one another; items, steps, rows and code stand on lines of their own."""
    pieces: list[str] = []
    for at, passage in enumerate(chosen):
        text = clip(passage.text, budget)
        alone = passage.kind != "sentence"
        if len(chosen) == 1:
            return text
        mark = "`" + text + "`" if passage.kind == "code" and "`" not in text else _MARKS[passage.kind] + text
        if at:
            pieces.append("\n" if alone or chosen[at - 1].kind != "sentence" else " ")
        pieces.append(mark)
    return "".join(pieces)


def clip(text: str, words: int) -> str:
    """At most that many words, cut at a word (at a sign where there are none), and saying so with an ellipsis."""
    if count_words(text) <= words and len(text) <= MAX_PASSAGE:
        return text
    kept = ""
    for piece in re.findall(r"\S+\s*", text):
        if count_words(kept + piece) > words or len(kept + piece) > MAX_PASSAGE:
            room = max(0, min(2 * (words - count_words(kept)) - 2, MAX_PASSAGE - len(kept)))
            if UNSPACED.search(piece):
                kept += piece[:room]
            break
        kept += piece
    kept = kept.rstrip(" ,;:，、")
    return f"{kept}…" if kept else text[: min(MAX_PASSAGE, 40)] + "…"
