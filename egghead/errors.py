"""The one base class of the product's errors, and the exit codes of its commands. No logic."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's exit status means; `docs/cli.md` lists them from here."""

    OK = 0
    FAILED = 1  # the thing asked for could not be done; the line on stderr says why
    USAGE = 2  # the command line itself is wrong
    NOT_FOUND = 3  # a named record, agent, room, process or node does not exist
    NO_NODE = 4  # needs a running node and there is none
    REFUSED = 5  # somebody else holds it, or rights are missing
    TIMEOUT = 6  # the node did not answer in time
    NO_ANSWER = 7  # the round ended and nobody had an answer to give
    INTERRUPTED = 130  # Ctrl-C


class EggheadError(Exception):
    """A fault a person can act on: one line with what, which value, and what to do."""

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, exit_code: ExitCode | None = None) -> None:
        super().__init__(message)
        if exit_code is not None:
            self.exit_code = exit_code


class ConfigError(EggheadError):
    """The configuration file cannot be used; the message has one line for each fault."""


class NodeError(EggheadError):
    """A node cannot be started, found or reached."""
