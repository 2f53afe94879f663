"""The words of an answer: which passages are quoted, how they are joined, and never more than a hundred and twenty.

Here belong choosing and cutting what was ranked, and the word budget. Every line ends with the `[[id]]` of the note it
was read in; nothing else in an answer is in double brackets. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from egghead.llm.librarian.fold import UNSPACED
from egghead.llm.librarian.languages import phrase
from egghead.llm.librarian.passages import MAX_PASSAGE, Passage, harmless
from egghead.llm.librarian.ranking import ALSO, CONFIDENT, DOUBTFUL, NEAR, SURE, Reading, Scored

MAX_WORDS = 110  # of a whole answer, citations too; promised are 120, and people count differently
FIRST_WORDS = 70  # of the quotation from the best note
OTHER_WORDS = 24  # of one from another note
NEAR_WORDS = 40  # of one that is only near
MAX_CITED = 4  # notes in one answer
EXTRA = 0.72  # share of the best passage's score from which others of the note are quoted too


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
    also = ALSO if best.evidence >= CONFIDENT else DOUBTFUL
    for other in readings[1:]:
        if other.score < also * best.score or other.covered < 0.5 * best.covered:
            continue
        near = other.score >= 0.85 * best.score and len(lines) < 2
        if near and spent + OTHER_WORDS + 8 <= MAX_WORDS - 10:
            lines.append(_quote(other, OTHER_WORDS))
            spent += count_words(lines[-1])
        elif len(lines) + len(named) < MAX_CITED:
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
        return f"{clip(harmless(reading.candidate.title), budget)} {id}"
    chosen = _choose(reading.passages, budget)
    text = _join(chosen, budget)
    return f"{text}\n{id}" if "\n" in text else f"{text} {id}"


def _choose(scored: Sequence[Scored], budget: int) -> list[Scored]:
    """The best passage, its neighbours in the same section while they help and fit, and what else fits, in the note's
    order."""
    best = max(scored, key=lambda s: (s.score, -s.at))
    chosen = {best.at}
    left = budget - count_words(best.passage.text)

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

    lead = _lead(scored, best)
    if lead is not None:
        fits(lead)
    first, last = _run(scored, best.at)
    if any(scored[at].passage.kind == "step" for at in range(first, last + 1)):
        # Steps are quoted from the first one on: the third alone leads nowhere.
        at = best.at - 1
        while at >= first and fits(at):
            at -= 1
    after = best.at + 1
    while after < len(scored) and _follows(best, scored[after], last) and fits(after):
        after += 1
    for other in sorted(scored, key=lambda s: (-s.score, s.at)):
        words = count_words(other.passage.text)
        if other.score < EXTRA * best.score or left < 12:
            break
        if other.at not in chosen and words <= left and _stands_alone(other.passage):
            left -= words
            chosen.add(other.at)
    order = [scored[at] for at in sorted(chosen)]
    # A sentence that introduces what is not quoted says nothing.
    followers: list[Scored | None] = [*order[1:], None]
    return [s for s, after in zip(order, followers, strict=True) if s is best or not _idle(s, after)]


def _run(scored: Sequence[Scored], at: int) -> tuple[int, int]:
    """The first and last place of the list that the passage at `at` stands in; itself when it is in none."""
    listed = ("item", "step")
    if scored[at].passage.kind not in listed:
        return at, at
    section = scored[at].passage.section

    def inside(place: int) -> bool:
        passage = scored[place].passage
        return passage.kind in listed and passage.section == section

    first = last = at
    while first > 0 and inside(first - 1):
        first -= 1
    while last + 1 < len(scored) and inside(last + 1):
        last += 1
    return first, last


def _follows(best: Scored, follower: Scored, last: int) -> bool:
    """Whether what comes after the best passage belongs to the answer: what it introduces, the rest of its list, or
    what says nearly as much."""
    near = follower.passage.block <= best.passage.block + 2
    same = follower.passage.block == best.passage.block and follower.passage.kind == best.passage.kind
    return (_introduces(best.passage) and near) or follower.at <= last or same or follower.score >= 0.6 * best.score


def _stands_alone(passage: Passage) -> bool:
    """Whether a passage can be understood away from its neighbours."""
    return passage.kind != "code" and not _introduces(passage) and not passage.text[:1].islower()


def _introduces(passage: Passage) -> bool:
    return passage.text.rstrip().endswith((":", "："))


def _idle(scored: Scored, after: Scored | None) -> bool:
    passage = scored.passage
    led = after is not None and after.passage.section == passage.section and after.passage.kind != "sentence"
    return _introduces(passage) and not led


def _lead(scored: Sequence[Scored], best: Scored) -> int | None:
    """The sentence that introduces the list (table, code) which the best passage is in."""
    if best.passage.kind == "sentence":
        return None
    for at in range(best.at - 1, max(-1, best.at - 8), -1):
        passage = scored[at].passage
        if passage.section != best.passage.section:
            return None
        if passage.kind == "sentence":
            return at if _introduces(passage) else None
    return None


_MARKS = {"item": "- ", "step": "- ", "row": "- ", "code": "", "sentence": ""}


def _join(chosen: Sequence[Scored], budget: int) -> str:
    """Sentences of one paragraph follow one another; all else stands on lines of its own."""
    if len(chosen) == 1:
        return clip(chosen[0].passage.text, budget)
    pieces: list[str] = []
    for nth, scored in enumerate(chosen):
        passage = scored.passage
        text = clip(passage.text, budget)
        if nth:
            before = chosen[nth - 1]
            flows = passage.kind == before.passage.kind == "sentence" and scored.at == before.at + 1
            pieces.append(" " if flows else "\n")
        code = passage.kind == "code" and "`" not in text
        pieces.append(f"`{text}`" if code else _MARKS[passage.kind] + text)
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
