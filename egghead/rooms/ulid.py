"""ULIDs: ids that sort by time (github.com/ulid/spec), for log entries made by people and programs.

Only the generator belongs here. Entry ids that must be the same on every retry of one fact are derived from that fact
instead (a turn's id, for one), never from this.
"""

from __future__ import annotations

import os
import threading
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford base 32
_lock = threading.Lock()
_last = (-1, 0)  # milliseconds, the 80 random bits given for them


def ulid(milliseconds: int | None = None) -> str:
    """A new id of 26 characters; later calls in one process sort after earlier ones."""
    global _last
    with _lock:
        stamp = time.time_ns() // 1_000_000 if milliseconds is None else milliseconds
        if stamp <= _last[0]:
            # The same millisecond, or a clock that was set back: count on, so that the order of calls is kept.
            stamp, random = _last[0], _last[1] + 1
        else:
            random = int.from_bytes(os.urandom(10), "big") & ((1 << 79) - 1)  # room to count without overflow
        _last = (stamp, random)
    value = (stamp << 80) | random
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5))
