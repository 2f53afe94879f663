"""The line that is typed in a chat on a terminal: editing, history, completion, and a screen that others write to.

prompt_toolkit is imported here and only here. What others say comes above the line being typed; a paragraph that is
still being written stands right above it until it is whole, so that streamed text never runs through what is typed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import ANSI
from prompt_toolkit.history import History
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.utils import get_cwidth

from egghead.client.complete import Candidate, Wanted

KEPT = 1000  # lines of history
LONGEST = 10_000  # characters of one line of it
LIVE_ROWS = 8  # rows of an unfinished paragraph that are shown

Candidates = Callable[[str], "asyncio.Future[list[tuple[Wanted, Candidate]]]"]


class BoundedHistory(History):
    """What was typed, in a file of this user alone; the oldest lines go. A line that begins with a space is not kept.

    The chat goes on without it when the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def load_history_strings(self) -> Iterable[str]:
        """Newest first."""
        return reversed(self._read())

    def store_string(self, string: str) -> None:
        if not string.strip() or string[0].isspace() or len(string) > LONGEST:
            return
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            with os.fdopen(fd, "a", encoding="utf-8") as file:
                os.fchmod(file.fileno(), 0o600)  # of an older file too
                file.write(json.dumps(string, ensure_ascii=True) + "\n")
            self._shorten()

    def _read(self) -> list[str]:
        found = []
        with contextlib.suppress(OSError):
            for row in self._path.read_text(encoding="ascii", errors="replace").splitlines():
                with contextlib.suppress(ValueError):  # a row that was cut off by a full disk
                    value = json.loads(row)
                    if isinstance(value, str):
                        found.append(value)
        return found[-KEPT:]

    def _shorten(self) -> None:
        if self._path.stat().st_size < KEPT * 40:
            return
        with self._path.open("rb") as file:
            if sum(1 for _ in file) < 2 * KEPT:
                return
        kept = self._read()
        new = self._path.with_suffix(f".{os.getpid()}")
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "w", encoding="ascii") as out:
            out.writelines(json.dumps(row) + "\n" for row in kept)
        new.replace(self._path)


class _Completer(Completer):
    def __init__(self, editor: Editor) -> None:
        self._editor = editor

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        return ()  # asked asynchronously: the names are on the bus

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        offered = self._editor.candidates
        for what, one in await offered(document.text_before_cursor) if offered is not None else ():
            text = one.text
            if what.kind == "note" and not document.text_after_cursor.startswith("]"):
                text += "]]"
            yield Completion(text, start_position=-len(what.typed), display=one.text, display_meta=one.about)


class Editor:
    """One for a whole chat. `candidates`: what completion offers now, None while there is no node to ask."""

    echo = True  # the typed line is taken off the screen: the room's log says when it was said

    def __init__(self, history: Path) -> None:
        self.candidates: Candidates | None = None
        self._kept = ""  # typed and not sent when the node went away
        self._partial = ""
        self._whole: list[str] = []
        self._dirty = asyncio.Event()
        self._room = ""
        self._session: PromptSession[str] = PromptSession(
            history=BoundedHistory(history),
            completer=_Completer(self),
            complete_while_typing=False,
            reserve_space_for_menu=6,
            erase_when_done=True,
            key_bindings=_keys(),
        )

    def put(self, text: str, nl: bool = True) -> None:
        """Show text, which may have colours; without `nl` it goes on later."""
        self._partial += text + "\n" * nl
        if "\n" in self._partial:
            whole, _, self._partial = self._partial.rpartition("\n")
            self._whole.append(whole + "\n")
        self._dirty.set()

    @asynccontextmanager
    async def opened(self, room: str) -> AsyncIterator[None]:
        """Shows what is put, while the block runs."""
        self._room = room
        pump = asyncio.create_task(self._pump())
        try:
            yield
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
            self._flush()

    async def read(self) -> str | None:
        """The next line; None at the end. What is half typed when this is cancelled is there again the next time."""
        try:
            kept, self._kept = self._kept, ""
            return await self._session.prompt_async(self._message, default=kept)
        except (EOFError, KeyboardInterrupt):
            return None
        except asyncio.CancelledError:
            self._kept = self._session.default_buffer.text
            raise

    async def _pump(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            if self._whole:
                await run_in_terminal(self._flush)
            elif self._session.app.is_running:
                self._session.app.invalidate()

    def _flush(self) -> None:
        whole, self._whole = self._whole, []
        columns = shutil.get_terminal_size().columns
        sys.stdout.write("\n".join(_wrapped(line, columns) for line in "".join(whole).split("\n")))
        sys.stdout.flush()

    def _message(self) -> ANSI:
        live = "".join(f"{row}\n" for row in last_rows(self._partial, shutil.get_terminal_size().columns))
        return ANSI(f"{live}\x1b[2m{self._room}>\x1b[0m ")


def last_rows(text: str, columns: int, most: int = LIVE_ROWS) -> list[str]:
    """The last rows of a paragraph that still grows, as `_rows` breaks it."""
    return [row for row, _ in _rows(text, columns)][-most:] if text else []


def _wrapped(line: str, columns: int) -> str:
    """A whole line, broken between words. What is indented as code is left to the terminal."""
    return line if line.startswith(("    ", "\t")) else "".join(row + end for row, end in _rows(line, columns))


def _rows(text: str, columns: int) -> Iterator[tuple[str, str]]:
    """(row, what ends it) of one line on a terminal of this width: a line feed in the place of a space; nothing where a word is
    longer than a row, which the terminal then breaks, so that an address can be copied from it. Colours take no room."""
    columns = max(2, columns)
    row, width, at = "", 0, 0
    word, before = 0, 0  # where in the row its last word begins, and how wide the row is up to there
    while at < len(text):
        if text[at] == "\x1b":  # up to the letter that ends it
            end = next((n for n in range(at + 2, len(text)) if text[n].isalpha()), len(text) - 1) + 1
            row, at = row + text[at:end], end
            continue
        wide = get_cwidth(text[at])
        if width + wide > columns and text[at] == " ":
            yield row, "\n"
            row, width, word, before = "", 0, 0, 0
            while at < len(text) and text[at] == " ":
                at += 1
            continue
        if width + wide > columns and row[:word].strip(" "):
            yield row[:word].rstrip(" "), "\n"
            row, width, word, before = row[word:], width - before, 0, 0
            continue
        if width + wide > columns:
            yield row, ""
            row, width, word, before = "", 0, 0, 0
        row, width = row + text[at], width + wide
        if text[at] == " ":
            word, before = len(row), width
        at += 1
    yield row, ""


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("c-c")
    def _(event: KeyPressEvent) -> None:
        """Clears what is typed; with nothing typed, leaves."""
        if event.current_buffer.text:
            event.current_buffer.text = ""  # not reset(): that would forget the history until the next drawing
        else:
            event.app.exit(exception=KeyboardInterrupt)

    return keys
