"""The name that `ps` and `top` show for a process, so that a tree can be read with ordinary tools.

Only the mechanism: the kernel shows the bytes where the command line was put at exec, so they are overwritten there.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from supervisor.jail import linux

_short = ctypes.create_string_buffer(16)  # made once: a new ctypes buffer in a child costs it some fifty pages
_SHORT = ctypes.addressof(_short)


@dataclass
class Title:
    """The address range of the command line of this process and of all that are forked from it."""

    start: int
    end: int
    text: str = ""  # as last set

    @classmethod
    def find(cls) -> Title | None:
        """Read where the command line lies (fields 48 and 49 of /proc/self/stat). None when /proc does not say."""
        try:
            with open("/proc/self/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            start, end = int(fields[45]), int(fields[46])
        except (OSError, ValueError, IndexError):
            return None
        return cls(start, end) if 0 < start < end else None

    def set(self, text: str) -> None:
        """Show `text`, cut to what fits; also as the short name of the main thread (15 bytes, the last part)."""
        self.text = text
        size = self.end - self.start
        data = text.encode("utf-8", "replace")[: size - 1]
        ctypes.memmove(self.start, data.ljust(size, b"\0"), size)
        ctypes.memmove(_SHORT, data.rpartition(b" ")[2][-15:].ljust(16, b"\0"), 16)
        linux.prctl(linux.PR_SET_NAME, _SHORT)
