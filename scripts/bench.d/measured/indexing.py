"""One measured program: index a folder, or search what was indexed, and say what it cost, as one line of JSON.

    indexing.py floor FOLDER DB | ours FOLDER | warm FOLDER | search FOLDER DB QUERIES | typing FOLDER DB QUERIES

A program of its own each time, so that memory and CPU are of this work alone. `floor` is the least that any note store on
FTS5 does: read all, libyaml over the frontmatter, one insert each, one transaction. Nothing of ours is imported for it.
"""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

LIMIT = 20
# By `rank`, for which FTS5 sorts before it makes the columns: with ORDER BY bm25() there would be a snippet of every match.
_RANKED = f"FROM fts WHERE fts MATCH ? AND rank MATCH 'bm25(8.0, 1.0, 4.0)' ORDER BY rank LIMIT {LIMIT}"
RAW = f"SELECT rowid {_RANKED}"
CUT = f"SELECT rowid, title, snippet(fts, 1, '[', ']', '…', 24) {_RANKED}"


def floor(folder: str, db_path: str) -> dict[str, Any]:
    import yaml

    began, cpu = time.perf_counter(), time.process_time()
    texts = []
    for below, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".md"):
                with open(os.path.join(below, name), "rb") as file:
                    texts.append(file.read().decode())
    read = time.perf_counter() - began
    began = time.perf_counter()
    rows = []
    for text in texts:
        end = text.index("\n---", 4)
        keys = yaml.load(text[4:end], Loader=yaml.CSafeLoader)
        rows.append((keys["title"], text[end + 5 :], " ".join(keys["tags"])))
    parsed = time.perf_counter() - began
    db = sqlite3.connect(db_path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    db.execute("CREATE VIRTUAL TABLE fts USING fts5(title, body, tags)")
    began = time.perf_counter()
    db.execute("BEGIN")
    db.executemany("INSERT INTO fts(title, body, tags) VALUES(?, ?, ?)", rows)
    db.execute("COMMIT")
    inserted, spent = time.perf_counter() - began, time.process_time() - cpu
    db.close()
    return {"read": read, "yaml": parsed, "insert": inserted, "wall": read + parsed + inserted, "spent": spent}


def ours(folder: str) -> dict[str, Any]:
    from records import Notes

    began, cpu = time.perf_counter(), time.process_time()
    with Notes(folder) as notes:
        wall, spent = time.perf_counter() - began, time.process_time() - cpu
        return {"wall": wall, "spent": spent, "notes": notes.index.stats()["notes"]}


def warm(folder: str) -> dict[str, Any]:
    """A start with nothing changed; and one `stat` of each file, which is the least it can cost."""
    from records import Notes

    began = time.perf_counter()
    count = 0
    for below, _, names in os.walk(folder):
        for name in names:
            os.stat(os.path.join(below, name))
            count += 1
    least = time.perf_counter() - began
    began = time.perf_counter()
    with Notes(folder):
        return {"wall": time.perf_counter() - began, "stat": least, "files": count}


def search(folder: str, db_path: str, queries: str) -> dict[str, Any]:
    """Kind -> {raw, cut, any, ours, again: [p50, p95] in ms}. `raw`: rowids only; `cut`: with titles and FTS5's own
    snippets; `any`: rowids, OR instead of AND; `again`: ours for words that were searched before. Who asks a query
    first changes from one to the next, since the first reads pages for those that follow."""
    from records import Notes

    db = sqlite3.connect(db_path)
    out: dict[str, Any] = {}
    with Notes(folder, read_only=True) as notes:
        notes.search("warm up")
        _all(db, CUT, '"warm"')
        for kind, some in json.loads(Path(queries).read_text(encoding="utf-8")).items():
            times: dict[str, list[float]] = {}
            for turn, words in enumerate(some):
                every, either = (word.join(f'"{one}"' for one in words) for word in (" AND ", " OR "))
                ours = partial(notes.search, " ".join(words) + " ", limit=LIMIT)
                work = [("raw", partial(_all, db, RAW, every)), ("cut", partial(_all, db, CUT, every)), ("ours", ours)]
                if len(words) > 1:
                    work.append(("any", partial(_all, db, RAW, either)))
                first = turn % len(work)
                for who, done in (*work[first:], *work[:first], ("again", ours)):
                    times.setdefault(who, []).append(_timed(done))
            out[kind] = {who: _two(found) for who, found in times.items()}
    return out


def typing(folder: str, queries: str) -> dict[str, Any]:
    """Every keystroke of some searches, from the second letter on: [p50, p95] in ms."""
    from records import Notes

    times: list[float] = []
    with Notes(folder, read_only=True) as notes:
        notes.search("warm up")
        for words in json.loads(Path(queries).read_text(encoding="utf-8"))["two words"][:12]:
            text = " ".join(words)
            for end in range(2, len(text) + 1):
                times.append(_timed(partial(notes.search, text[:end], limit=10)))
    return {"ours": _two(times), "keys": len(times)}


def _all(db: sqlite3.Connection, sql: str, text: str) -> list[Any]:
    return db.execute(sql, (text,)).fetchall()


def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def _two(times: list[float]) -> list[float]:
    return [statistics.median(times), sorted(times)[min(len(times) - 1, int(len(times) * 0.95))]]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    work = {"floor": floor, "ours": ours, "warm": warm, "search": search, "typing": typing}[sys.argv[1]]
    found = work(*sys.argv[2:])
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({**found, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss / 1024}))
