"""The tables of docs/supervisor.md are those of the code. Run this file as a module to print them anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.context import CHILD_EXIT_CODES
from supervisor.policy_engine import REPORT_KINDS, REPORTS
from supervisor.policy_events import EXIT_CODES
from supervisor.policy_rules import RESTARTED
from supervisor.spec import RESTARTS
from supervisor.treefile import _ROOT, _SUPERVISOR, _WORKER

PAGE = Path(__file__).parents[2] / "docs" / "supervisor.md"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def tables() -> dict[str, str]:
    """Every generated table by what it is about."""
    reasons = ["normal", "shutdown", "crash"]
    return {
        "restarted": table(
            ["restart", *reasons],
            [
                [kind, *("restarted" if RESTARTED[kind, reason] else "stays down" for reason in reasons)]
                for kind in RESTARTS
            ],  # type: ignore[index]
        ),
        "reports": table(
            ["state", *(f"report `{kind}`" for kind in REPORT_KINDS)],
            [[f"`{state}`", *row.values()] for state, row in REPORTS.items()],
        ),
        "exit codes of the root": table(
            ["code", "meaning"], [[str(code), meaning] for code, meaning in sorted(EXIT_CODES.items())]
        ),
        "exit codes of a child": table(
            ["code", "meaning"], [[str(code), meaning] for code, meaning in sorted(CHILD_EXIT_CODES.items())]
        ),
    }


@pytest.mark.parametrize("about", tables())
def test_tables(about: str) -> None:
    """The page shows this table as the code has it."""
    assert tables()[about] in PAGE.read_text(encoding="utf-8"), f"docs/supervisor.md should say:\n{tables()[about]}"


@pytest.mark.parametrize("key", sorted({*_ROOT, *_SUPERVISOR, *_WORKER}))
def test_keys(key: str) -> None:
    """Every key of the tree file is on the page."""
    assert f"`{key}`" in PAGE.read_text(encoding="utf-8")


if __name__ == "__main__":
    for about, text in tables().items():
        print(f"\n{about}\n\n{text}")
