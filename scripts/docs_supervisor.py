"""Writes the tables of docs/supervisor.md from those of the code, each between its two markers; all else is by hand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path

from supervisor.context import CHILD_EXIT_CODES
from supervisor.policy.changes import BIRTH
from supervisor.policy.events import EXIT_CODES
from supervisor.policy.rules import RESTARTED
from supervisor.policy.table import CALLS, CHILD_METHODS, EVENT_KINDS, PHASES, REFUSED, REPORT_KINDS, REPORTS, TIMERS
from supervisor.spec import RESTARTS, ChildSpec

PAGE = Path(__file__).resolve().parents[1] / "docs" / "supervisor.md"
_REASONS = ("normal", "shutdown", "crash")


def page() -> str:
    """The page with every table as the code has it. A table without its markers is an error: it would never change."""
    text = PAGE.read_text(encoding="utf-8")
    for name, table in tables().items():
        marked = re.compile(rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        if len(marked.findall(text)) != 1:
            raise SystemExit(f"{PAGE.name}: needs exactly one '<!-- table: {name} -->' with its '<!-- end -->'")
        text = marked.sub(lambda found, table=table: f"{found[1]}\n{table}\n\n{found[2]}", text)
    return text


def tables() -> dict[str, str]:
    """Every generated table by the name in its markers."""
    codes = {"exit codes": EXIT_CODES, "exit codes of a child": CHILD_EXIT_CODES}
    return {
        "restarted": _table(
            ["restart", *_REASONS],
            ([kind, *("restarted" if RESTARTED[kind, why] else "stays down" for why in _REASONS)] for kind in RESTARTS),  # type: ignore[index]  # keys are Literals
        ),
        **{
            name: _table(["code", "meaning"], ([str(code), codes[name][code]] for code in sorted(codes[name])))
            for name in codes
        },
        "phases": _matrix("tree", PHASES, EVENT_KINDS),
        "reports": _matrix("child", REPORTS, REPORT_KINDS),
        "calls": _matrix("child", CALLS, CHILD_METHODS),
        "refused": _table(
            ["supervisor", "call", "use instead"],
            ([kind, f"`{call}`", f"`{use}`"] for kind, calls in REFUSED.items() for call, use in calls.items()),
        ),
        "reload": _table(
            ["what changed of a worker", "what happens"],
            [
                [_listed(BIRTH), "another process: it is stopped, and started with the new spec"],
                ["`heartbeat`, where there was none", "the same: it was given no slot to beat on"],
                [_listed(_in_place()), "takes effect at once, the process goes on"],
            ],
        ),
        "timers": _table(
            ["timer", "armed while", "when it comes, the child is"],
            ([f"`{purpose}`", f"`{status}`", text] for purpose, (status, text) in TIMERS.items()),
        ),
    }


def _in_place() -> list[str]:
    return [field.name for field in fields(ChildSpec) if field.name not in ("id", *BIRTH)]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _matrix(what: str, rows: Mapping[str, Mapping[str, str]], columns: Iterable[str]) -> str:
    names = list(columns)
    body = ([f"`{state}`", *(row[name].replace("ignored", "·") for name in names)] for state, row in rows.items())
    return _table([what, *(f"`{name}`" for name in names)], body)


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])
