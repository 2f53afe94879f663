"""How long, how often and how much a provider is asked: the keys of `limits` in the configuration, the pause between
tries, and what a provider's answers say of its own limits.

Values and arithmetic only; the waiting is done in `lane` and `wire`.
"""

from __future__ import annotations

import difflib
import email.utils
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from egghead.llm.errors import ProviderMissing
from egghead.llm.queueing import Bounds, Told

COUNTS = ("concurrent", "requests_per_minute", "tokens_per_minute")  # None: no bound
WHOLE = (*COUNTS, "retries", "waiting", "waiting_each")


@dataclass(frozen=True)
class Limits:
    """Seconds, but counts. `backoff` is the pause before the first new try, doubled at each, half of it by chance;
    `longest_pause` bounds it, and what a provider may ask us to wait. `concurrent` calls run at once, for all agents
    together; `waiting` calls wait, `waiting_each` of one agent."""

    retries: int = 3
    backoff: float = 0.5
    longest_pause: float = Bounds.longest_pause
    connect_timeout: float = 10.0
    first_byte_timeout: float = 300.0  # a large model on one's own machine reads a long prompt for minutes
    idle_timeout: float = 120.0
    concurrent: int | None = Bounds.concurrent
    requests_per_minute: int | None = Bounds.requests_per_minute
    tokens_per_minute: int | None = Bounds.tokens_per_minute
    waiting: int = Bounds.waiting
    waiting_each: int = Bounds.waiting_each

    @classmethod
    def of(cls, given: Mapping[str, Any], provider: str) -> Limits:
        """Out of the configuration; None is as if it were not there. Raises ProviderMissing for an unknown key or a number
        that cannot be meant."""
        given = {key: value for key, value in given.items() if value is not None}
        known = [field.name for field in fields(cls)]
        given = {key: value for key, value in given.items() if value is not None}
        for key, value in given.items():
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
                hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
                raise ProviderMissing(f"unknown key {key!r} in the limits of {provider!r}{hint}")
            least = 1 if key in WHOLE and key != "retries" else 0
            if not value >= least or (value == 0 and key.endswith("timeout")):
                raise ProviderMissing(f"{key} in the limits of {provider!r} cannot be {value!r}")
        values: dict[str, Any] = {key: int(v) if key in WHOLE else float(v) for key, v in given.items()}
        return cls(**values)

    def pause(self, tries: int, after: float | None, chance: float) -> float | None:
        """Seconds to wait after `tries` failures, or None when it is not tried again. `after`: what the provider asks
        for; when that is longer than we wait, it is not tried again. `chance` is in [0, 1)."""
        if tries > self.retries or (after is not None and after > self.longest_pause):
            return None
        own: float = min(self.backoff * 2 ** (tries - 1), self.longest_pause) * (0.5 + chance / 2)
        # Never earlier than asked, and a little apart: everybody was told the same moment.
        return own if after is None else max(own, after + min(own, 1.0) * chance)

    def bounds(self) -> Bounds:
        """What the line in front of the provider goes by."""
        return Bounds(**{field.name: getattr(self, field.name) for field in fields(Bounds)})

    def patience(self) -> int:
        """Failures in a row after which the provider is left alone: more than one call makes with all its tries."""
        return max(5, self.retries + 2)

    def shared(self) -> dict[str, int]:
        """The bounds that are set, for people."""
        return {name: value for name in COUNTS if (value := getattr(self, name)) is not None}


def told_by(headers: Mapping[str, str], now: float) -> Iterator[Told]:
    """What an answer says is left: Anthropic's `anthropic-ratelimit-*` (a time when all is there again) and the
    `x-ratelimit-*` of OpenAI and those like it (a duration). What cannot be read says nothing. `now`: the wall clock,
    for an answer that does not say what time it was there."""
    sent = moment(headers.get("date", ""))
    now = now if sent is None else sent  # our clock and theirs may be hours apart
    for what, anthropic in (("requests", "requests"), ("tokens", "tokens"), ("tokens", "input-tokens")):
        left = _count(headers.get(f"anthropic-ratelimit-{anthropic}-remaining"))
        if left is not None:
            limit = _count(headers.get(f"anthropic-ratelimit-{anthropic}-limit"))
            yield Told(what, left, limit, _until(headers.get(f"anthropic-ratelimit-{anthropic}-reset"), now))
    for what in ("requests", "tokens"):
        left = _count(headers.get(f"x-ratelimit-remaining-{what}"))
        if left is not None:
            limit = _count(headers.get(f"x-ratelimit-limit-{what}"))
            yield Told(what, left, limit, _duration(headers.get(f"x-ratelimit-reset-{what}")))


def moment(text: str) -> float | None:
    """Seconds since 1970 of a date as HTTP writes it, None for what is none."""
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"\d{1,15}", text.strip(), re.ASCII) else None


def _until(text: str | None, now: float) -> float | None:
    try:
        return max(0.0, datetime.fromisoformat((text or "").strip()).timestamp() - now) if text else None
    except (ValueError, OverflowError, OSError):
        return None


_PIECE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|h|m|s|)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}


def _duration(text: str | None) -> float | None:
    """Seconds of `1s`, `6m0s`, `17ms`, `1.5`; None for anything else."""
    given = (text or "").strip()
    if not re.fullmatch(rf"(?:{_PIECE.pattern})+", given, re.ASCII):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _PIECE.findall(given))
