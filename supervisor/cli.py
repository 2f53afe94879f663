"""The command line: `python -m supervisor check|run|simulate`. The only place here that prints or decides an exit code.

What the commands do is elsewhere: this file reads arguments, and turns errors into lines and numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from supervisor.errors import EventsError, SupervisorError, TreeError
from supervisor.policy.events import EXIT_CODES, EXIT_USAGE

_CHECK_FAILED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    _fill_standard_streams()
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
        sys.stdout.flush()
        return code
    except TreeError as error:
        print(error, file=sys.stderr)
        return _CHECK_FAILED if options.command is _check else EXIT_USAGE
    except SupervisorError as error:
        print(f"supervisor: {error}", file=sys.stderr)
        return EXIT_USAGE
    except BrokenPipeError:
        # the reader left; without this Python complains once more when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _fill_standard_streams() -> None:
    """Put /dev/null where the caller closed 0, 1 or 2: else a file or socket of ours gets that number and is written to."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number: this one
        if getattr(sys, name) is None:  # what Python does for a closed one; it has no flush
            setattr(sys, name, os.fdopen(fd, "w" if fd else "r", closefd=False))


def _parser() -> argparse.ArgumentParser:
    codes = "\n".join(f"  {code}  {meaning}" for code, meaning in sorted(EXIT_CODES.items()))
    parser = argparse.ArgumentParser(
        prog="python -m supervisor",
        description="Supervise OS processes by OTP's rules, from a tree in YAML.",
        epilog=f"exit codes of run:\n{codes}\n\nThe tree file, the events and all else: docs/supervisor.md",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, help in (
        ("check", _check, "say everything that is wrong with a tree file; exit 0 if nothing is, else 1"),
        (
            "run",
            _run,
            "run a tree until it ends or is told to stop (SIGTERM, SIGINT; twice: at once); SIGHUP: read TREE again",
        ),
        ("simulate", _simulate, "show what a tree would do for a list of events, one JSON object a line"),
    ):
        sub = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        sub.add_argument("tree", metavar="TREE", help="the tree file (YAML)")
        if name == "simulate":
            sub.add_argument("events", metavar="EVENTS", help="a JSON list of events; - reads standard input")
        if name == "run":
            sub.add_argument("--status", metavar="FILE", help="keep the state of the tree in this JSON file")
        sub.add_argument(
            "--set",
            dest="variables",
            metavar="NAME=VALUE",
            action="append",
            default=[],
            type=_variable,
            help="fill ${NAME} in the tree file; may be given more than once",
        )
        sub.set_defaults(command=command)
    return parser


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, value


def _check(options: argparse.Namespace) -> int:
    from supervisor.treefile import load_tree

    tree = load_tree(options.tree, dict(options.variables))
    for warning in tree.warnings:
        print(f"{options.tree}: warning: {warning}", file=sys.stderr)
    supervisors, workers = sum(1 for _ in tree.supervisors()), sum(1 for _ in tree.workers())
    print(f"{options.tree}: good ({supervisors} supervisors, {workers} workers)")
    return 0


def _run(options: argparse.Namespace) -> int:
    import logging

    from supervisor.root import Root
    from supervisor.treefile import load_again, load_tree
    from supervisor.writer import Writer, WriterHandler

    tree = load_tree(options.tree, dict(options.variables))
    out, log = Writer(1), Writer(2)
    logging.basicConfig(handlers=[WriterHandler(log)], level=logging.INFO, format="%(asctime)s %(message)s")

    def say_ready(told: dict[str, object]) -> None:
        out.write(f"READY {tree.root.id}: {told['processes']} processes, confinement {told['level']}")

    try:
        root = Root(
            tree,
            status_path=options.status,
            on_ready=say_ready,
            reload=lambda: load_again(options.tree, dict(options.variables)),
        )
        return root.run()
    finally:
        for writer in (out, log):
            writer.close()


def _simulate(options: argparse.Namespace) -> int:
    from supervisor.simulate import simulate
    from supervisor.treefile import load_tree

    tree = load_tree(options.tree, dict(options.variables), unique_names=False)
    for line in simulate(tree, _events(options.events)):
        print(json.dumps(line, separators=(",", ":"), ensure_ascii=False))
    return 0


def _events(path: str) -> list[dict[str, object]]:
    try:
        if path == "-":
            events = json.load(sys.stdin)
        else:
            with open(path, encoding="utf-8") as file:
                events = json.load(file)
    except OSError as error:
        raise EventsError(f"cannot read the events {path!r}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise EventsError(f"{path}: not JSON: {error}") from None
    if not isinstance(events, list):
        raise EventsError(f"{path}: expected a JSON list of events, got {type(events).__name__}")
    return events
