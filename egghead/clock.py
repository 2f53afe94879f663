"""The wall clock, as it is written in logs and ledgers. Nothing that waits may use it: it can be set."""

from __future__ import annotations

import datetime


def utc_now(ahead: float = 0.0) -> str:
    """RFC 3339, UTC, milliseconds; of the moment `ahead` seconds from now."""
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=ahead)
    return now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}Z"
