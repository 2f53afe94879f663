"""Writes docs/cli.md from the program's own tables, the tables of docs/supervisor.md and docs/lan.md. `--check` compares."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import docs_lan
import docs_supervisor

from egghead import errors
from egghead.cli import cli
from egghead.client.commands import TABLE

PAGE = ROOT / "docs" / "cli.md"


def page() -> str:
    lines = [
        "# The command line",
        "",
        "Made by `scripts/docs.py` from the program's own tables; do not edit.",
        "",
        "What is about notes or a node takes `--records DIR` (the folder of notes) or `--server HOST[:PORT]` (a node on another machine,",
        "[lan.md](lan.md); also `EGGHEAD_SERVER`). Results go to stdout, the rest to stderr; what",
        "lists or shows takes `--json`. `--debug` before the command shows the traceback of an error.",
        "",
    ]
    for name in cli.list_commands(click.Context(cli)):
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        lines += _command(command, f"egghead {name}")
    lines += [
        "## In a room",
        "",
        "In `egghead chat`, and as `egghead chat ROOM '/command'`. `//text` says `/text`.",
        "",
        "| command | |",
        "|---|---|",
    ]
    lines += [f"| `{command.shown}` | {command.line} |" for command in TABLE.values()]
    lines += ["| `/quit` | leave the chat (Ctrl-D) |"]
    lines += ["", "## Exit codes", "", "| code | name | |", "|---|---|---|"]
    lines += [f"| {code.value} | {code.name} | {text} |" for code, text in _codes()]
    return "\n".join(lines) + "\n"


def _command(command: click.Command, path: str) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            child = command.get_command(click.Context(command), name)
            assert child is not None
            yield from _command(child, f"{path} {name}")
        return
    arguments = [p.make_metavar(click.Context(command)) for p in command.params if isinstance(p, click.Argument)]
    yield f"## {' '.join([path, *arguments])}"
    yield ""
    yield re.sub(r"\n\s*", "\n", command.help or "").strip()
    yield ""
    for option in command.params:
        if (
            isinstance(option, click.Option)
            and not option.hidden
            and option.name not in ("records", "server", "as_json")
        ):
            yield f"- `{', '.join(option.opts)}{'' if option.is_flag else ' ' + (option.metavar or 'VALUE')}` {option.help or ''}".rstrip()
    if any(p.name == "as_json" for p in command.params):
        yield "- `--json`"
    yield ""


def _codes() -> Iterator[tuple[errors.ExitCode, str]]:
    """The codes with the comments beside them, which are their documentation."""
    source = Path(errors.__file__).read_text(encoding="utf-8")
    comments = dict(re.findall(r"^    ([A-Z_]+) = \d+  # (.*)$", source, re.MULTILINE))
    for code in errors.ExitCode:
        yield code, comments.get(code.name, "it worked")


if __name__ == "__main__":
    pages = {PAGE: page(), docs_supervisor.PAGE: docs_supervisor.page(), docs_lan.PAGE: docs_lan.page()}
    if "--check" in sys.argv:
        stale = [path.name for path, text in pages.items() if path.read_text(encoding="utf-8") != text]
        sys.exit(f"docs are not those of the code: {', '.join(stale)}; run scripts/docs.py" if stale else 0)
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")
