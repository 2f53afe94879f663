"""Which of several near notes is meant: real manuals have hundreds that share their words."""

from __future__ import annotations

from pathlib import Path

from records import Notes

# Sentences without a word of the queries, so that notes are long and words have a frequency.
FILL = "Open the menu in the corner, choose the panel and follow what is shown there. "


def order(root: Path, notes: dict[str, str], query: str) -> list[str]:
    """Ids of the hits, best first, of notes given as their titles and bodies."""
    for id_, text in notes.items():
        title, _, body = text.partition("\n")
        (root / f"{id_}.md").write_text(f"# {title}\n\n{body or FILL}\n", encoding="utf-8")
    with Notes(root) as made:
        return [hit.id for hit in made.search(query)]


def test_a_note_named_after_the_subject_goes_before_a_rare_verb_in_passing(tmp_path: Path) -> None:
    """`swap password`: the note called `Change your password` wins over a long one that swaps something."""
    notes = {f"other-{n}": f"Panel {n}\n{FILL * 3}" for n in range(10)}
    notes |= {f"admin-{n}": f"Panel {n}\n{FILL * 3}The administrator knows the password." for n in range(8)}
    notes |= {f"colors-{n}": f"Colors {n}\n{FILL * 2}Swap the colors. {FILL * 2}" for n in range(2)}
    notes["password"] = f"Change your password\n{FILL * 2}Type the old one, then the new one. {FILL}"
    assert order(tmp_path, notes, "swap password")[0] == "password"
