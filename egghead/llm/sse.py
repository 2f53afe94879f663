"""Server-sent events out of bytes, whatever the bytes are and wherever they were cut.

The law: `feed` never raises, and the events of a stream are a function of its bytes alone, not of how they came in
pieces. The format is that of the HTML standard ("9.2.6 Interpreting an event stream"); `retry` and `id` are read over,
because no provider's stream is ever resumed. What an event means belongs to the adapters.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_EVENT = 8 * 1024 * 1024  # bytes of one event; a larger one is no event of a model
MAX_VOID = 1024 * 1024  # bytes that say nothing, one after the other: signs of life for days

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Sse:
    """One event: its `event:` field ("" when there was none) and its `data:` lines, joined."""

    event: str
    data: str


class Decoder:
    """The state between two pieces. `flooded` is true once an event was larger than `limit` bytes: from then on
    nothing is kept and nothing comes out."""

    def __init__(self, limit: int = MAX_EVENT) -> None:
        self.flooded = False
        self.void = 0  # bytes of comments and the like, which are no event; the reader sets it back
        self._limit = limit
        self._line: list[bytes] = []  # the unfinished line, in pieces: joining at each piece would cost their square
        self._size = 0  # bytes of the unfinished event
        self._event = ""
        self._data: list[str] = []
        self._after_cr = False
        self._start = True

    def feed(self, piece: bytes) -> list[Sse]:
        """The events that end in this piece."""
        found: list[Sse] = []
        if self._after_cr and piece:
            self._after_cr = False
            piece = piece[1:] if piece.startswith(b"\n") else piece  # the rest of a line end that was cut in two
        if not piece:
            return found
        self._after_cr = piece.endswith(b"\r")
        if b"\r" in piece:
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = piece.split(b"\n")
        for line in lines:
            if self._line or self._start or self.flooded:
                self._keep(line)
                self._end_line(found)
            elif line:  # whole lines of a stream that has begun are nearly all there is: the short way
                self._size += len(line)
                if self._size > self._limit:
                    self._keep(b"")
                else:
                    self._field(line)
            else:
                self._end_event(found)
        self._keep(rest)
        return found

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._limit:
            self.flooded = True
        if self.flooded:
            self._line, self._data = [], []
        elif part:
            self._line.append(part)

    def _end_line(self, found: list[Sse]) -> None:
        line = b"".join(self._line)
        self._line = []
        if self._start:
            self._start = False
            line = line.removeprefix(_BOM)
        if line:
            self._field(line)
        else:
            self._end_event(found)

    def _end_event(self, found: list[Sse]) -> None:
        if self._data and not self.flooded:
            found.append(Sse(self._event, self._data[0] if len(self._data) == 1 else "\n".join(self._data)))
        else:
            self.void += self._size + 1
        self._event, self._data, self._size = "", [], 0

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" ").decode("utf-8", "replace"))
        elif name == b"event":
            self._event = value.removeprefix(b" ").decode("utf-8", "replace")
