"""How well `local/librarian` finds: the questions of tests/librarian over real notes, through the real tool loop.

    scripts/bench librarian [--records DIR --questions FILE] [--show]

Without options both collections of the repository are asked; $EGGHEAD_FOAM may name another copy of the foam notes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from egghead.llm.librarian import Librarian, warm_up
from egghead.llm.librarian.answer import count_words
from egghead.llm.librarian.languages import PHRASES, phrase
from egghead.llm.shapes import event_data, request_from
from egghead.tools.monitor import Monitor
from egghead.tools.ports import Ask, Refusal
from records import Notes, RecordError

ROOT = Path(__file__).resolve().parents[2]
CITATION = re.compile(r"\[\[([^\]\[]+)\]\]")
MAX_STEPS = 6


@dataclass
class Tally:
    answerable: int = 0
    first: int = 0
    any: int = 0
    read: int = 0
    unanswerable: int = 0
    honest: int = 0
    silent: int = 0
    invented: int = 0
    unread: int = 0
    words: int = 0
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def run() -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(prog="bench librarian")
    parser.add_argument("--records", type=Path)
    parser.add_argument("--questions", type=Path)
    parser.add_argument("--show", action="store_true")
    given = parser.parse_args(sys.argv[1:])
    if (given.records is None) != (given.questions is None):
        parser.error("--records and --questions go together")
    rows: list[dict[str, Any]] = []
    for name, records, questions in sets(given.records, given.questions):
        tally = measure(records, json.loads(questions.read_text(encoding="utf-8")))
        rows += table(name, tally)
        if given.show:
            for line in tally.wrong:
                print(line)
    return rows


def sets(records: Path | None, questions: Path | None) -> Iterator[tuple[str, Path, Path]]:
    if records is not None and questions is not None:
        yield records.name, records, questions
        return
    here = ROOT / "tests" / "librarian"
    foam = [Path(os.environ.get("EGGHEAD_FOAM", "-")), ROOT / "tests" / "samples" / "foam" / "notes"]
    for folder in foam:
        if folder.is_dir():
            yield "foam", folder, here / "questions.json"
            yield "foam, hold-out", folder, here / "hold-out" / "foam-questions.json"
            break
    yield "multilingual", here / "multilingual" / "notes", here / "multilingual" / "questions.json"
    yield "hold-out", here / "hold-out" / "notes", here / "hold-out" / "questions.json"


def measure(records: Path, questions: list[dict[str, Any]]) -> Tally:
    tally = Tally()
    warm_up()
    with opened(records) as notes:
        known = {record["id"] for record in shelf(notes)}
        for question in questions:
            ask(notes, known, question, tally)
    return tally


@contextlib.contextmanager
def opened(records: Path) -> Iterator[Notes]:
    """The notes over a temporary copy: a benchmark leaves a person's folder alone."""
    with tempfile.TemporaryDirectory(prefix="egghead-bench-") as folder:
        copy = Path(folder) / "notes"
        shutil.copytree(records, copy, ignore=shutil.ignore_patterns(".egghead", ".git"))
        with contextlib.closing(Notes(copy)) as notes:
            yield notes


def shelf(notes: Notes) -> list[dict[str, Any]]:
    return [plain(row) for row in notes.index.list(limit=1_000_000)]


def plain(row: Any) -> dict[str, Any]:
    return dict(row) if isinstance(row, dict) else dict(row.to_dict())


def ask(notes: Notes, known: set[str], question: dict[str, Any], tally: Tally) -> None:
    started = time.perf_counter()
    text, read = asyncio.run(answer(notes, question["q"], tally))
    tally.seconds.append(time.perf_counter() - started)
    cited = CITATION.findall(text)
    tally.words = max(tally.words, len(text.split()), count_words(text))
    tally.invented += sum(id not in known for id in cited)
    tally.unread += sum(id not in read for id in cited)
    wanted = set(question["answers"])
    if question.get("unanswerable"):
        tally.unanswerable += 1
        silent = any(text.startswith(phrase(code, "silent")) for code in PHRASES)
        tally.honest += silent or not cited
        tally.silent += not cited
        if not silent and cited:
            tally.wrong.append(f"  answered  {question['q']} -> {cited}")
        return
    tally.answerable += 1
    tally.first += bool(cited) and cited[0] in wanted
    tally.any += bool(wanted & set(cited))
    tally.read += bool(wanted & read)
    if not cited or cited[0] not in wanted:
        kind = "second" if wanted & set(cited) else "missed" if wanted & read else "unread"
        tally.wrong.append(f"  {kind:<9} {question['q']} -> {cited}; wanted {sorted(wanted)}")


async def answer(notes: Notes, question: str, tally: Tally) -> tuple[str, set[str]]:
    """The answer's text and the ids of the notes whose body was read for it."""
    librarian = Librarian()
    monitor = Monitor(asking(notes))
    tools = (await monitor.menu("index"))["tools"]
    messages: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": question}]}]
    read: set[str] = set()
    for _ in range(MAX_STEPS):
        request = request_from({"model": "local/librarian", "messages": messages, "tools": tools})
        began = time.process_time()
        events = [event_data(event) async for event in librarian.complete(request, "librarian")]
        tally.cpu.append(time.process_time() - began)
        uses = [event for event in events if event["type"] == "tool_use"]
        if not uses:
            return "".join(event["text"] for event in events if event["type"] == "text"), read
        messages.append({"role": "assistant", "content": uses})
        messages.append({"role": "user", "content": [await result(monitor, use, read) for use in uses]})
    raise RuntimeError(f"no answer after {MAX_STEPS} steps to {question!r}")


async def result(monitor: Monitor, use: dict[str, Any], read: set[str]) -> dict[str, Any]:
    """One tool call of the built-in agent `index`, through both gates, as the process `tools` makes it."""
    outcome = await monitor.run("index", use["name"], use["input"])
    if use["name"] == "get_record_body" and outcome.outcome == "ok":
        read.update(outcome.records)
    return {
        "type": "tool_result",
        "tool_use_id": use["id"],
        "content": outcome.content,
        "is_error": outcome.outcome != "ok",
    }


def asking(notes: Notes) -> Ask:
    """What the tools ask of `store` and `index`, answered by the library in this process."""

    async def ask(target: str, method: str, /, **params: Any) -> Any:
        given = {{"id": "id_", "class": "class_"}.get(key, key): value for key, value in params.items()}
        try:
            if target == "store":
                return notes.get(params["id"]).to_dict()
            found = getattr(notes.index, method)(**given)
        except RecordError as error:
            raise Refusal(type(error).__name__, error.message) from None
        return [hit.to_dict() for hit in found] if method == "search" else found

    return ask


def table(name: str, tally: Tally) -> list[dict[str, Any]]:
    def row(what: str, value: float | str, unit: str = "", limit: str | None = None) -> dict[str, Any]:
        return {"name": f"{name}: {what}", "value": value, "unit": unit, "floor": None, "ratio": None, "limit": limit}

    def share(part: int, whole: int) -> float:
        return 100.0 * part / whole if whole else 100.0

    return [
        row(f"first cited right, of {tally.answerable}", share(tally.first, tally.answerable), "%", "≥ 75"),
        row("any cited right", share(tally.any, tally.answerable), "%", "≥ 90"),
        row("a right note read", share(tally.read, tally.answerable), "%"),
        row(f"says that the notes do not, of {tally.unanswerable}", share(tally.honest, tally.unanswerable), "%"),
        row("… and cites nothing as near", share(tally.silent, tally.unanswerable), "%"),
        row("citations of notes that do not exist", tally.invented, "", "0"),
        row("citations of notes not read", tally.unread, "", "0"),
        row("words of the longest answer", tally.words, "words", "< 120"),
        row("time per answer, p50", 1000 * statistics.median(tally.seconds), "ms"),
        row("CPU per step, p50", 1000 * statistics.median(tally.cpu), "ms"),
        row("CPU per step, max", 1000 * max(tally.cpu), "ms", "< 30"),
    ]
