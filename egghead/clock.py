"""The wall clock, as it is written in logs and ledgers. Nothing that waits may use it: it can be set."""

from __future__ import annotations

import datetime


def utc_now() -> str:
    """RFC 3339, UTC, milliseconds."""
    now = datetime.datetime.now(datetime.UTC)
    return now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}Z"
