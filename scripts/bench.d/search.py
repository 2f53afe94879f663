"""How well search finds: the judged queries of tests/search, ours beside plain FTS5 defaults in the same run.

    scripts/bench search [--show] [--set NAME]

Plain FTS5 is what a person would write first: title, tags and body, `unicode61`, bm25, all words and, when nobody has them all, any of
them. nDCG@10 with gains 2^grade - 1. `--show` prints the queries (not of the hold-out) whose best note is not first.
Totals are printed by split, by collection and split, and by language.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import sqlite3
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from records import Notes

ROOT = Path(__file__).resolve().parents[2]
JUDGED = ROOT / "tests" / "search" / "judged.json"
WORLD = ROOT / "tests" / "search" / "world"
EVERYDAY = ROOT / "tests" / "search" / "everyday"
FOLDERS = {
    "foam": ROOT / "tests" / "samples" / "foam" / "notes",
    "multilingual": ROOT / "tests" / "librarian" / "multilingual" / "notes",
    "hold-out": ROOT / "tests" / "librarian" / "hold-out" / "notes",
}
ORDER = ("split", "set", "language")
Search = Callable[[str], list[str]]


@dataclass
class Score:
    """Sums over queries."""

    count: int = 0
    ndcg: float = 0.0
    reciprocal: float = 0.0
    first: int = 0

    def add(self, found: list[str], want: dict[str, int]) -> None:
        self.count += 1
        self.ndcg += ndcg(found, want)
        best = max(want.values())
        place = next((n for n, id_ in enumerate(found[:10], 1) if want.get(id_, 0) >= 2), 0)
        self.reciprocal += 1 / place if place else 0.0
        self.first += bool(found) and want.get(found[0], 0) == best


@dataclass
class Scores:
    """Of ours and of plain FTS5, by split, by collection and split, and by language."""

    ours: dict[str, Score] = field(default_factory=lambda: defaultdict(Score))
    plain: dict[str, Score] = field(default_factory=lambda: defaultdict(Score))
    missed: list[str] = field(default_factory=list)


def ndcg(found: list[str], want: dict[str, int], most: int = 10) -> float:
    """Järvelin and Kekäläinen 2002, with gains 2^grade - 1; 1 is the best order there is."""
    gain = sum((2 ** want.get(id_, 0) - 1) / math.log2(place + 1) for place, id_ in enumerate(found[:most], 1))
    best = sorted(want.values(), reverse=True)[:most]
    return gain / sum((2**grade - 1) / math.log2(place + 1) for place, grade in enumerate(best, 1))


def plain_fts(notes: Notes) -> Search:
    """FTS5 as it comes, over the same notes."""
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE fts USING fts5(id UNINDEXED, title, tags, body)")
    for row in notes.index.list(limit=1_000_000):
        record = notes.get(row["id"])
        db.execute("INSERT INTO fts VALUES(?, ?, ?, ?)", (record.id, record.title, " ".join(record.tags), record.body))

    def search(text: str) -> list[str]:
        words = ['"' + word + '"' for word in re.findall(r"\w+", text)]
        for operator in (" AND ", " OR "):
            rows = db.execute(
                "SELECT id FROM fts WHERE fts MATCH ? ORDER BY bm25(fts), rowid LIMIT 10", (operator.join(words),)
            ).fetchall()
            if rows:
                return [id_ for (id_,) in rows]
        return []

    return search


def texts() -> dict[str, Path]:
    """The collections of one file a language."""
    return {"world": WORLD, "everyday": EVERYDAY}


def judged() -> list[dict[str, Any]]:
    """Every judged query: `{set, split, lang, q, want}`, `want` note id -> grade."""
    found: list[dict[str, Any]] = json.loads(JUDGED.read_text(encoding="utf-8"))
    for name, folder in texts().items():
        for file in sorted(folder.glob("*.txt")):
            for line in file.read_text(encoding="utf-8").splitlines():
                if line[:2] in ("? ", "! "):
                    text, _, grades = line[2:].rpartition(" => ")
                    graded = (one.split(":") for one in grades.split())
                    want = {f"{file.stem}/{note}": int(grade) for note, grade in graded}
                    split = "hold" if line[0] == "!" else "tune"
                    found.append({"set": name, "split": split, "lang": file.stem, "q": text, "want": want})
    return found


def place_notes(name: str, folder: Path) -> None:
    """Put the notes of a collection into an empty folder."""
    if name in FOLDERS:
        shutil.copytree(FOLDERS[name], folder, dirs_exist_ok=True)
        return
    for file in sorted(texts()[name].glob("*.txt")):
        (folder / file.stem).mkdir(parents=True)
        notes = re.split(r"^= ", re.split(r"^[?!] ", file.read_text(encoding="utf-8"), flags=re.M)[0], flags=re.M)[1:]
        for number, note in enumerate(notes, 1):
            first, _, body = note.partition("\n")
            title, _, tags = first.partition(" | ")
            text = f"---\ntitle: {json.dumps(title, ensure_ascii=False)}\ntags: [{tags}]\n---\n\n{body}"
            (folder / file.stem / f"{number}.md").write_text(text, encoding="utf-8")


def measure(queries: list[dict[str, Any]]) -> Scores:
    """Ask every query of both."""
    scores = Scores()
    for name in dict.fromkeys(query["set"] for query in queries):
        with tempfile.TemporaryDirectory(prefix="egghead-bench-") as place:
            folder = Path(place) / "notes"
            place_notes(name, folder)
            with Notes(folder) as notes:
                plain = plain_fts(notes)
                for query in (query for query in queries if query["set"] == name):
                    ours, theirs = [hit.id for hit in notes.search(query["q"], limit=10)], plain(query["q"])
                    for group in groups(query):
                        scores.ours[group].add(ours, query["want"])
                        scores.plain[group].add(theirs, query["want"])
                    if query["split"] != "hold" and (
                        not ours or query["want"].get(ours[0], 0) < max(query["want"].values())
                    ):
                        scores.missed.append(f"{query['lang']} {query['q']!r}: {ours[:3]}, wanted {query['want']}")
    return scores


def groups(query: dict[str, Any]) -> Iterator[str]:
    yield f"split {query['split']}"
    yield f"set {query['set']}, {query['split']}"
    yield f"language {query['lang']}"


def run() -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(prog="bench search")
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--set", choices=[*FOLDERS, *texts()], help="one collection only")
    given = parser.parse_args(sys.argv[1:])
    scores = measure([query for query in judged() if given.set in (None, query["set"])])
    rows = []
    for group in sorted(scores.ours, key=lambda group: (ORDER.index(group.split()[0]), group)):
        ours, plain = scores.ours[group], scores.plain[group]
        rows.append(
            row(f"{group} ({ours.count} queries): nDCG@10", ours.ndcg / ours.count, plain.ndcg / plain.count, goal=True)
        )
        if group.startswith("split"):
            rows.append(row(f"{group}: MRR", ours.reciprocal / ours.count, plain.reciprocal / plain.count))
            rows.append(row(f"{group}: success@1", ours.first / ours.count, plain.first / plain.count))
    if given.show:
        print("\n".join(scores.missed))
    return rows


def row(name: str, value: float, floor: float, goal: bool = False) -> dict[str, Any]:
    """`floor` is plain FTS5."""
    found: dict[str, Any] = {
        "name": f"search: {name}", "value": round(value, 3), "unit": "", "floor": round(floor, 3),
        "ratio": round(value / floor, 2) if floor else None,
    }  # fmt: skip
    return found | ({"goals": {"better than FTS5": value > floor or floor >= 1.0}} if goal else {})
