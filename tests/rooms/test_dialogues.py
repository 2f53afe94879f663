"""Who speaks, as a written table of dialogues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.rooms.dialogue import expected, play
from tests.rooms.model import check_log

CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "dialogues.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_dialogue(case: dict[str, Any]) -> None:
    """The rounds, their order and their reasons are those of the table, and the log keeps its laws."""
    dialogue = play(case)
    found = dialogue.rounds()
    wanted = [expected(line) for line in case["expect"]]
    assert [what for what, _ in found] == [what for what, _ in wanted], dialogue.log
    for (_, reason), (_, part) in zip(found, wanted, strict=True):
        assert part in reason
    assert dialogue.state.quiet
    check_log(dialogue.log)


def test_the_table_is_long_enough() -> None:
    """There are at least sixty dialogues, each with a name of its own."""
    assert len({case["name"] for case in CASES}) == len(CASES) >= 60
