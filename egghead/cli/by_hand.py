"""A person's own editor, on a file or on a text: which one it is, and what is said when it fails. What becomes of the text
is the caller's."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from egghead.errors import EggheadError

REMEDY = "say which to use, as in: export EDITOR=nano"


def editor() -> str:
    """What $VISUAL or $EDITOR says; else vi."""
    return next(filter(None, (os.environ.get(name, "").strip() for name in ("VISUAL", "EDITOR"))), "vi")


def open_file(path: Path) -> None:
    """Waits until the editor is done with the file. Raises EggheadError: there is no such editor, or it failed."""
    wanted = editor()
    try:
        done = subprocess.run([*shlex.split(wanted), str(path)], check=False).returncode
    except ValueError as error:
        raise EggheadError(f"the editor {wanted!r} is no command ({error}); {REMEDY}") from error
    except OSError as error:
        raise EggheadError(f"the editor {wanted!r} cannot be started ({error.strerror}); {REMEDY}") from error
    if done != 0:
        raise EggheadError(f"the editor {wanted!r} failed with status {done}")


def edited(text: str, suffix: str) -> tuple[str, Path] | None:
    """(what a person made of `text`, the file that it is in: the caller removes it once the text is safe elsewhere); None
    when it is as it was. Raises EggheadError, which names the file when there is something in it to lose."""
    handle, name = tempfile.mkstemp(suffix=suffix, prefix="egghead-")
    path, before = Path(name), text.encode("utf-8")
    with os.fdopen(handle, "wb") as file:
        file.write(before)
    try:
        open_file(path)
    except EggheadError as error:
        raise EggheadError(f"{error}; nothing was changed{_left(path, before)}") from error
    try:
        after = path.read_bytes()
    except OSError as error:
        raise EggheadError(
            f"the editor {editor()!r} left no text in {name!r} ({error.strerror}); nothing was changed"
        ) from error
    if after == before:
        path.unlink()
        return None
    try:
        return after.decode("utf-8"), path
    except UnicodeDecodeError as error:
        raise EggheadError(
            f"byte {error.start} of what was saved is no text; save it in UTF-8. Nothing was changed; your text is in {name!r}"
        ) from error


def _left(path: Path, before: bytes) -> str:
    """Where the text is that a failing editor left; an untouched file is removed."""
    with suppress(OSError):
        if path.read_bytes() != before:
            return f", your text is in {str(path)!r}"
        path.unlink()
    return ""
