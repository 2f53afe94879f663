"""The command line: the table of commands, and the one place where an error becomes a line and an exit code.

A command's module is imported when the command runs, so `egghead --help` stays quick. Commands print; they decide
nothing that another client would have to decide again.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import select
import sys
from typing import Any

import click

from egghead import __version__
from egghead.errors import EggheadError, ExitCode

# name -> (module, attribute, one line). Help, completion and the near-miss hint come from this table.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "serve": ("serve", "serve", "Run a node in the foreground."),
    "chat": ("chat", "chat", "Talk in a room; with TEXT, one message and its answers."),
    "prompt": ("chat", "prompt", "Ask one agent, in a room of two."),
    "consult": ("consult", "consult", "Ask several agents; their answers in order."),
    "llm": ("llm", "llm", "The providers of models: list, models, test, add, remove; local ones: llm local."),
    "usage": ("usage", "usage", "What the models used: tokens and money."),
    "tree": ("tree", "tree", "The live supervision tree."),
    "ps": ("tree", "ps", "The processes of the node, one a line."),
    "status": ("tree", "status", "Is the node well? One screen."),
    "records": ("records", "records", "The notes: search, show, make, change, rename, trash, undo."),
    "agents": ("agents", "agents", "The agents: list, show, new, edit, grant, park, restart, approve."),
    "rooms": ("rooms", "rooms", "The live rooms: list, show, open, save, drop."),
    "logs": ("logs", "logs", "What the node's processes reported."),
    "doctor": ("doctor", "doctor", "Check this machine, the records and the node; say what to do."),
    "key": ("lan", "key", "This machine's key; with --server, its node's."),
    "clients": ("lan", "clients", "Who may connect from the network: list, add, remove."),
    "servers": ("lan", "servers", "Nodes on the network: list, trust, forget."),
    "config": ("config", "config", "Where the configuration is, and what it says."),
    "version": ("version", "version", "The version of Egghead."),
}


class Commands(click.Group):
    """The table above as a click group: modules are imported for the command that runs, not for the list."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"egghead.cli.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(unknown("command", args[0], COMMANDS), ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader (head, less) has left; that is its right. Click would end with 1 for this one.
            if not _reader_left():
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            raise click.exceptions.Exit(int(ExitCode.OK)) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


class Family(click.Group):
    """A command with commands of its own, such as `records`; one that is misspelt is told the nearest."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise click.UsageError(unknown("command", args[0], self.commands), ctx)
        return super().resolve_command(ctx, args)


def unknown(kind: str, name: str, known: Any) -> str:
    """`no such KIND 'name'`, with the nearest known name when there is one."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"no such {kind}: {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--records", metavar="DIR", help="The folder of notes (default: the running node's, else the config's).")
@click.option("--server", metavar="HOST[:PORT]", help="A node on another machine (also: EGGHEAD_SERVER).")
@click.option(
    "--accept-fingerprint", "fingerprint", metavar="FP", help="The fingerprint that an unknown server must have."
)
@click.option("--config", "config_path", metavar="FILE", help="The configuration file.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="egghead", message="%(prog)s %(version)s")
@click.pass_context
def cli(
    ctx: click.Context,
    records: str | None,
    server: str | None,
    fingerprint: str | None,
    config_path: str | None,
    debug: bool,
) -> None:
    """Egghead: a note store with a staff.

    Without a command: the chat of the default room, with a node of its own when none is running.
    """
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        ctx.color = False  # as https://no-color.org has it; commands below inherit it
    ctx.obj = {
        "records": records,
        "server": server,
        "fingerprint": fingerprint,
        "config": config_path,
        "debug": debug,
    }
    if ctx.invoked_subcommand is None:
        chat = ctx.command.get_command(ctx, "chat") if isinstance(ctx.command, click.Group) else None
        assert chat is not None
        ctx.invoke(chat)


def main() -> None:
    """The entry point of the command `egghead`. Exits with an `ExitCode`."""
    _tolerate_streams()
    debug = "--debug" in sys.argv
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        code = ExitCode.INTERRUPTED
    except EggheadError as error:
        if debug:
            raise
        _tell(f"egghead: {_harmless(error)}")
        code = error.exit_code
    except OSError as error:
        # A full disk behind stdout, a folder that went away: the system's own words are the sentence.
        if debug:
            raise
        where = f" ({error.filename!r})" if error.filename else ""
        _tell(f"egghead: {error.strerror or error}{where}")
        code = ExitCode.FAILED
    except UnicodeEncodeError as error:
        if debug:
            raise
        wrong = error.object[error.start : error.end]
        _tell(f"egghead: {wrong!r} at character {error.start + 1} is no text; write it in UTF-8")
        code = ExitCode.FAILED
    except Exception as error:  # the last net: a person gets one line, a developer gets the traceback by asking
        if debug:
            raise
        _tell(f"egghead: {type(error).__name__}: {_harmless(error)} (--debug shows where)")
        code = ExitCode.FAILED
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(int(code) if isinstance(code, int) else 0)


def _reader_left() -> bool:
    """Whether nobody reads stdout any more: another pipe that breaks is a failure."""
    poll = select.poll()
    poll.register(1, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _harmless(error: Exception) -> str:
    """What it says, with words of others in it: a title, a reason."""
    from egghead.client.tell import harmless

    return harmless(str(error))


def _tell(line: str) -> None:
    with contextlib.suppress(OSError):  # stderr may be what is full
        print(line, file=sys.stderr)


def _tolerate_streams() -> None:
    """Makes closed streams and locales without UTF-8 harmless: what cannot be shown is escaped, never an exception."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller; the descriptor must not be taken by the next socket
            fd = os.open(os.devnull, os.O_RDWR)
            if fd != number:
                os.dup2(fd, number)
                os.close(fd)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - lives as long as the process
        elif mode == "w":
            stream.reconfigure(errors="backslashreplace")
