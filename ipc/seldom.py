"""Log lines that others can cause: at most a few a second of each kind and about each peer, and how many were left out.

A logging filter and nothing else. Whoever floods the bus with refused messages must not fill the disk with their refusals.
"""

from __future__ import annotations

import logging
from collections import OrderedDict

_KEPT = 1000


class Seldom(logging.Filter):
    """Lets `most` lines through in each second for each (message, first argument); the next one tells of the rest."""

    def __init__(self, most: int = 5) -> None:
        super().__init__()
        self._most = most
        self._seen: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()  # begin of the second, how many

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is written."""
        first = record.args[0] if isinstance(record.args, tuple) and record.args else ""
        key = (str(record.msg), str(first)[:100])
        began, count = self._seen.pop(key, (record.created, 0))
        if record.created - began >= 1.0:
            if count > self._most:
                record.msg = f"{record.msg} ({count - self._most} more like this were not written)"
            began, count = record.created, 0
        self._seen[key] = (began, count + 1)
        if len(self._seen) > _KEPT:
            self._seen.popitem(last=False)
        return count < self._most


def seldom(name: str) -> logging.Logger:
    """The logger of this name, with its lines bounded."""
    log = logging.getLogger(name)
    if not any(isinstance(known, Seldom) for known in log.filters):
        log.addFilter(Seldom())
    return log
