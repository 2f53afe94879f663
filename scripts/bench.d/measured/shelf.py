"""A shelf of generated notes: real in size, form and mixture of words, the same ones for the same count.

Words follow Zipf's law, as those of a language do: a few stand in nearly every note, most in one or two. One note in eight
is in a script other than Latin. Notes link to each other and have tags, headings, lists, code and a frontmatter.
"""

from __future__ import annotations

import random
from bisect import bisect
from itertools import accumulate
from pathlib import Path

WORDS = 30_000
FOLDER = 1000  # notes in a folder
_LATIN = "ba be bi bo bu da de di do du fa fe ga go ka ke ki ko la le li lo ma me mi mo na ne no pa pe po ra re ri ro sa se so ta te ti to va ve wa wo za".split()  # fmt: skip  # noqa: SIM905 - a list of syllables
_CYRILLIC = "ба ве го да ме но по ра со ту жи ло ки за ли".split()  # noqa: SIM905 - as above
_GREEK = "κα λο με νη πα ρι σο τα θε φυ".split()  # noqa: SIM905 - as above
_HAN = "山水火木金土日月人口手心天地大小中上下東西南北春夏秋冬花鳥風雨雪雲石田力車門言食馬魚"
_ACCENTS = str.maketrans({"e": "é", "a": "ä", "o": "ø", "u": "ü"})


class Shelf:
    """`words`: the Latin vocabulary, common words first; `write` makes notes."""

    def __init__(self, seed: int = 7) -> None:
        self._random = random.Random(seed)
        self.words = self._vocabulary(_LATIN, WORDS)
        self.words = [word.translate(_ACCENTS) if n % 23 == 0 else word for n, word in enumerate(self.words)]
        self._others = [
            (self._vocabulary(_CYRILLIC, 3000), " "),
            (self._vocabulary(_GREEK, 2000), " "),
            (["".join(self._random.choices(_HAN, k=2)) for _ in range(2000)], ""),
        ]
        self._weights = {
            size: list(accumulate(1 / (rank + 3) for rank in range(size))) for size in (WORDS, 3000, 2000, 200)
        }

    def _vocabulary(self, syllables: list[str], count: int) -> list[str]:
        found: dict[str, None] = {}
        while len(found) < count:
            found["".join(self._random.choices(syllables, k=self._random.choice((1, 2, 2, 3, 3, 4))))] = None
        return list(found)

    def some(self, words: list[str], count: int) -> list[str]:
        """Words as they stand in a text: common ones often."""
        weights = self._weights[len(words)]
        top, draw = weights[-1], self._random.random
        return [words[min(bisect(weights, draw() * top), len(words) - 1)] for _ in range(count)]

    def note(self, number: int, count: int) -> str:
        """The text of a note: about 2.5 KB."""
        words, space = self.words, " "
        if number % 8 == 0:
            words, space = self._others[number // 8 % len(self._others)]
        pick = self._random.randrange
        title = space.join(self.some(words, 2 + pick(4)))
        tags = self.some(self.words[:200], 1 + pick(3))
        lines = [
            "---",
            f"title: {title}",
            f"tags: [{', '.join(tags)}]",
            f"created: 2024-{1 + pick(12):02}-{1 + pick(28):02}",
        ]
        if number % 5 == 0:
            lines += [f"aliases: [{self.some(words, 1)[0]}]", "status: open  # still", f"rating: {pick(10)}"]
        lines += ["---", "", f"# {title}", ""]
        for part in range(4):
            if part:
                lines += [f"## {space.join(self.some(words, 3))}", ""]
            body = self.some(words, 75)
            body[pick(70)] = f"**{body[3]}**"
            body[pick(70)] = f"[[n{pick(count)}]]"
            lines += [space.join(body) + ".", ""]
            if part == 1:
                lines += [f"- {space.join(self.some(words, 5))}" for _ in range(3)] + [""]
            if part == 2 and number % 4 == 0:
                lines += ["```python", f"{self.some(self.words, 1)[0]} = {pick(1000)}", "```", ""]
        lines.append(f"See [[n{pick(count)}|{words[pick(50)]}]] and [other](n{pick(count)}.md).")
        return "\n".join(lines) + "\n"

    def write(self, folder: Path, count: int, first: int = 0) -> None:
        """Notes number `first` to `first + count` below a folder, a thousand in each."""
        for number in range(first, first + count):
            below = folder / f"f{number // FOLDER}"
            if number % FOLDER == 0 or number == first:
                below.mkdir(parents=True, exist_ok=True)
            (below / f"n{number}.md").write_text(self.note(number, first + count), encoding="utf-8")

    def queries(self, count: int) -> dict[str, list[list[str]]]:
        """Kind of search -> words of each, `count` of a kind. `common`: among the first 60 words, `rare`: beyond the 2,000th."""
        pick = random.Random(3)
        plain = [word for word in self.words if word.isascii() and len(word) > 3]

        def of(*kinds: tuple[int, int]) -> list[list[str]]:
            return [[plain[pick.randrange(*kind)] for kind in kinds] for _ in range(count)]

        common, middle, rare = (5, 60), (60, 2000), (2000, 8000)
        return {
            "one word": of(middle),
            "one common word": of(common),
            "one rare word": of(rare),
            "two words": of(middle, middle),
            "two common words": of(common, common),
            "a common and a rare word": of(common, rare),
            "a question of seven words": of(common, common, middle, common, middle, rare, middle),
        }
