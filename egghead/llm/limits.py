"""How long and how often a provider is tried: the keys of `limits` in the configuration, and the pause between tries.

Values and arithmetic only; the waiting is done in `wire`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from egghead.llm.errors import ProviderMissing


@dataclass(frozen=True)
class Limits:
    """Seconds, but `retries`. `backoff` is the pause before the first new try, doubled at each, half of it by chance;
    `longest_pause` bounds it, and what a provider may ask us to wait."""

    retries: int = 3
    backoff: float = 0.5
    longest_pause: float = 30.0
    connect_timeout: float = 10.0
    first_byte_timeout: float = 300.0  # a large model on one's own machine reads a long prompt for minutes
    idle_timeout: float = 120.0

    @classmethod
    def of(cls, given: Mapping[str, Any], provider: str) -> Limits:
        """Out of the configuration. Raises ProviderMissing for an unknown key or a number that cannot be meant."""
        known = [field.name for field in fields(cls)]
        for key, value in given.items():
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
                hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
                raise ProviderMissing(f"unknown key {key!r} in the limits of {provider!r}{hint}")
            if not value >= 0 or (value == 0 and key.endswith("timeout")):
                raise ProviderMissing(f"{key} in the limits of {provider!r} cannot be {value!r}")
        values: dict[str, Any] = {key: int(v) if key == "retries" else float(v) for key, v in given.items()}
        return cls(**values)

    def pause(self, tries: int, after: float | None, chance: float) -> float | None:
        """Seconds to wait after `tries` failures, or None when it is not tried again. `after`: what the provider asks
        for; when that is longer than we wait, it is not tried again. `chance` is in [0, 1)."""
        if tries > self.retries or (after is not None and after > self.longest_pause):
            return None
        own: float = min(self.backoff * 2 ** (tries - 1), self.longest_pause) * (0.5 + chance / 2)
        # Never earlier than asked, and a little apart: everybody was told the same moment.
        return own if after is None else max(own, after + min(own, 1.0) * chance)
