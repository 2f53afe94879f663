"""A command of the installed program on a terminal of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios

import pyte

from tests.e2e.node import COMMAND, Home, until


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, home: Home, *arguments: str, **env: str) -> None:
        ours, theirs = pty.openpty()
        self.fd = ours
        self.said = ""
        self.process = subprocess.Popen(
            [*COMMAND, *arguments], env=home.env | {"TERM": "dumb"} | env, stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        os.set_blocking(ours, False)

    def read(self) -> str:
        with contextlib.suppress(BlockingIOError, OSError):
            while data := os.read(self.fd, 65536):
                self.said += data.decode(errors="replace")
        return self.said

    def expect(self, text: str, timeout: float = 20.0, times: int = 1) -> None:
        try:
            until(text, lambda: self.read().count(text) >= times, timeout)
        except AssertionError:
            raise AssertionError(f"{text!r} was not said {times} times:\n{self.said}") from None

    def type(self, line: str, end: str = "\n") -> None:
        os.write(self.fd, (line + end).encode())

    def close(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        os.close(self.fd)


class Drawn(Terminal):
    """A terminal that is drawn on, as a person sees it: 80 columns, 50 rows."""

    def __init__(self, home: Home, *arguments: str, **env: str) -> None:
        super().__init__(home, *arguments, TERM="xterm-256color", PROMPT_TOOLKIT_NO_CPR="1", **env)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 80, 0, 0))
        self._screen = pyte.Screen(80, 50)
        self._stream = pyte.Stream(self._screen)
        self._drawn = 0

    def rows(self) -> list[str]:
        """The rows of the screen now, without the empty ones at the end."""
        said = self.read()
        self._stream.feed(said[self._drawn :])
        self._drawn = len(said)
        rows = [row.rstrip() for row in self._screen.display]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    def shows(self, *rows: str, timeout: float = 20.0) -> None:
        """Waits until these rows stand one under the other somewhere on the screen."""

        def there() -> bool:
            now = self.rows()
            return any(tuple(now[at : at + len(rows)]) == rows for at in range(len(now)))

        try:
            until(f"{rows} on the screen", there, timeout)
        except AssertionError:
            raise AssertionError(f"{rows} is not on the screen:\n" + "\n".join(self.rows())) from None
