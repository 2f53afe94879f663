"""The judged questions are well-formed: what they cite exists, and the shares of unanswerable ones hold.

What belongs here: checks of the data. What must not: running the librarian, which `scripts/bench librarian` does.
"""

import json
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
FOAM = HERE.parent / "samples" / "foam" / "notes"
MULTILINGUAL = HERE / "multilingual"
HOLD_OUT = HERE / "hold-out"


def load(path: Path) -> list[dict[str, Any]]:
    questions = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(questions, list)
    return questions


def note_ids(root: Path) -> set[str]:
    return {path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.md")}


@pytest.mark.parametrize(
    ("path", "least", "unanswerable"),
    [
        (HERE / "questions.json", 64, 10),
        (MULTILINGUAL / "questions.json", 50, 7),
        (HOLD_OUT / "foam-questions.json", 75, 14),
        (HOLD_OUT / "questions.json", 40, 4),
    ],
    ids=["foam", "multilingual", "hold-out-foam", "hold-out"],
)
def test_every_question_is_answerable_or_says_that_it_is_not(path: Path, least: int, unanswerable: int) -> None:
    """Each entry has a question of its own and either answers without repeats or the mark `unanswerable`."""
    questions = load(path)
    assert len(questions) >= least
    assert len({entry["q"] for entry in questions}) == len(questions)
    for entry in questions:
        assert set(entry) <= {"q", "answers", "unanswerable", "lang"}, entry
        assert entry["q"].strip()
        assert len(set(entry["answers"])) == len(entry["answers"]), entry
        assert bool(entry["answers"]) != entry.get("unanswerable", False), entry
    assert sum(entry.get("unanswerable", False) for entry in questions) == unanswerable


@pytest.mark.parametrize(
    ("path", "notes"),
    [
        (HERE / "questions.json", FOAM),
        (MULTILINGUAL / "questions.json", MULTILINGUAL / "notes"),
        (HOLD_OUT / "foam-questions.json", FOAM),
        (HOLD_OUT / "questions.json", HOLD_OUT / "notes"),
    ],
    ids=["foam", "multilingual", "hold-out-foam", "hold-out"],
)
def test_every_answer_names_a_note_that_exists(path: Path, notes: Path) -> None:
    """No answer id is misspelt: each is the path of a note without its suffix."""
    known = note_ids(notes)
    missing = {answer for entry in load(path) for answer in entry["answers"]} - known
    assert not missing


def test_the_multilingual_notes_are_in_many_languages_and_every_note_is_text() -> None:
    """The collection has about fifty notes, its questions span at least twelve languages, and no note is a stub."""
    notes = sorted((MULTILINGUAL / "notes").rglob("*.md"))
    assert len(notes) >= 50
    assert all(len(path.read_text(encoding="utf-8")) > 150 for path in notes)
    assert len({entry["lang"] for entry in load(MULTILINGUAL / "questions.json")}) >= 12
