"""Figures of `records`: first index, warm start, search, one note's way into the index; floors measured in the same run.

Floors use the same files in the same process: reading them, libyaml over their frontmatter, one FTS5 insert each.
`EGGHEAD_BENCH_NOTES` sets how many notes are made (default 5,000).
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from records import Notes
from records.keeper import Keeper
from records.store import Store

WORDS = 20_000
SYLLABLES = [
    "ba",
    "be",
    "bi",
    "bo",
    "bu",
    "da",
    "de",
    "di",
    "do",
    "du",
    "fa",
    "fe",
    "ga",
    "go",
    "ka",
    "ke",
    "ki",
    "ko",
    "la",
    "le",
    "li",
    "lo",
    "ma",
    "me",
    "mi",
    "mo",
    "na",
    "ne",
    "no",
    "pa",
    "pe",
    "po",
    "ra",
    "re",
    "ri",
    "ro",
    "sa",
    "se",
    "so",
    "ta",
    "te",
    "ti",
    "to",
    "va",
    "ve",
    "wa",
    "wo",
    "za",
]


def vocabulary(random_: random.Random) -> list[str]:
    """Words with the lengths of real ones."""
    return ["".join(random_.choices(SYLLABLES, k=random_.choice((2, 2, 3, 3, 4)))) for _ in range(WORDS)]


def make(folder: Path, count: int) -> list[str]:
    """`count` notes of about 2 KB in folders of 1,000, words by Zipf; returns the vocabulary, common words first."""
    random_ = random.Random(7)
    words = vocabulary(random_)
    weights = [1 / (rank + 5) for rank in range(WORDS)]
    for number in range(count):
        if number % 1000 == 0:
            (folder / f"f{number // 1000}").mkdir(parents=True, exist_ok=True)
        body = random_.choices(words, weights, k=300)
        text = (
            f"---\ntitle: {' '.join(body[:4])}\ntags: [{body[5]}, {body[6]}]\ncreated: 2024-01-0{number % 9 + 1}\n---\n"
        )
        for start in range(0, 300, 60):
            text += f"\n## {body[start]} {body[start + 1]}\n\n{' '.join(body[start : start + 60])} [[n{random_.randrange(count)}]]\n"
        (folder / f"f{number // 1000}" / f"n{number}.md").write_text(text)
    return words


def floors(folder: Path) -> tuple[float, float, float, sqlite3.Connection]:
    """Seconds to read all, to parse their YAML, to insert them into FTS5 in one transaction; and that database."""
    started = time.perf_counter()
    texts = [path.read_bytes().decode() for path in sorted(folder.rglob("*.md"))]
    read = time.perf_counter() - started
    started = time.perf_counter()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for text in texts:
        yaml.load(text[4 : text.index("\n---", 4)], Loader=loader)
    parsed = time.perf_counter() - started
    db = sqlite3.connect(folder.parent / "floor.db", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("CREATE VIRTUAL TABLE fts USING fts5(body)")
    started = time.perf_counter()
    db.execute("BEGIN")
    db.executemany("INSERT INTO fts VALUES(?)", ((text,) for text in texts))
    db.execute("COMMIT")
    return read, parsed, time.perf_counter() - started, db


def timed(work: Callable[[], Any], times: int) -> list[float]:
    """Milliseconds of each run."""
    out = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        out.append((time.perf_counter() - started) * 1000)
    return out


def row(name: str, value: float, unit: str, floor: float | None = None) -> dict[str, Any]:
    """One line of the report; `ratio` is value over floor."""
    ratio = round(value / floor, 2) if floor else None
    return {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "floor": round(floor, 3) if floor else None,
        "ratio": ratio,
    }


def run() -> list[dict[str, Any]]:
    """All figures as rows."""
    count = int(os.environ.get("EGGHEAD_BENCH_NOTES", "5000"))
    base = Path(tempfile.mkdtemp(prefix="egghead-bench-"))
    try:
        return _run(base, count)
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _run(base: Path, count: int) -> list[dict[str, Any]]:
    folder = base / "notes"
    folder.mkdir()
    words = make(folder, count)
    read, parsed, inserted, db = floors(folder)
    rows = [row("records: floor read + YAML + FTS5", count / (read + parsed + inserted), "notes/s")]
    started = time.perf_counter()
    notes = Notes(folder)
    first = time.perf_counter() - started
    rows.append(row(f"records: first index of {count} notes, one process", first, "s", read + parsed + inserted))
    rows.append(row("records: first index", count / first, "notes/s"))
    started = time.perf_counter()
    pieces = Keeper(Store(folder), notes.index.entries()).look()
    warm = time.perf_counter() - started
    stat = timed(lambda: [os.stat(path) for path in folder.rglob("*.md")], 1)[0] / 1000
    rows.append(row(f"records: warm start, nothing changed ({len(pieces)} pieces)", warm, "s", stat))
    random_ = random.Random(3)
    pairs = [(words[random_.randrange(20, 2000)], words[random_.randrange(20, 2000)]) for _ in range(60)]

    def raw(pair: tuple[str, str]) -> list[Any]:
        sql = "SELECT rowid, bm25(fts) FROM fts WHERE fts MATCH ? ORDER BY rank LIMIT 20"
        return db.execute(sql, (f'"{pair[0]}" AND "{pair[1]}"',)).fetchall()

    floor = statistics.median(timed(lambda pair=pair: raw(pair), 1)[0] for pair in pairs)
    found = sorted(timed(lambda pair=pair: notes.search(" ".join(pair) + " "), 1)[0] for pair in pairs)
    rows.append(row("records: search, two words, p50", statistics.median(found), "ms", floor))
    rows.append(row("records: search, two words, p95", found[int(len(found) * 0.95)], "ms"))
    asked = [" ".join(("how do I", *(words[random_.randrange(20, 4000)] for _ in range(5)))) + "?" for _ in range(60)]
    answered = sorted(timed(lambda text=text: notes.search(text, limit=12), 1)[0] for text in asked)
    rows.append(row("records: search, a question of eight words, p50", statistics.median(answered), "ms"))
    rows.append(row("records: search, a question of eight words, p95", answered[int(len(answered) * 0.95)], "ms"))
    typing = sorted(timed(lambda pair=pair: notes.search(pair[0] + " " + pair[1][:3]), 1)[0] for pair in pairs)
    rows.append(row("records: search as you type, p95", typing[int(len(typing) * 0.95)], "ms"))
    record = notes.create(title="One more", body="first")
    bodies = iter(range(100))
    times = timed(lambda: notes.update(record.id, {"body": f"word{next(bodies)}"}), 30)
    rows.append(row("records: update one note, written, synced and indexed, p50", statistics.median(times), "ms"))
    notes.close()
    db.close()
    return rows
