"""The numbers that bound a bus, and the token bucket that slows a flood.

Pure: time is an argument. What happens when a bound is reached is decided in `switch`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MiB = 1024 * 1024
OVERHEAD = 128  # bytes a queued message costs beyond its frames; without it, empty messages would be free


@dataclass(frozen=True)
class Limits:
    """Bounds of one bus. Bytes unless said otherwise."""

    frame: int = 16 * MiB  # largest payload
    guest_frame: int = (
        4 * MiB
    )  # largest payload from the network: a stranger can have that much allocated before he is known
    budget: int = 32 * MiB  # waiting for one peer: above, new requests to it are refused
    hard_budget: int = 64 * MiB  # waiting for one peer: above, it is cut off
    event_budget: int = 16 * MiB  # events waiting for one subscriber: above, its event connection is cut
    total: int = 512 * MiB  # waiting for all peers together: above, requests to peers that do not read are refused
    window: int = 4 * MiB  # what a peer may have sent and the bus not yet read
    mark: int = 256 * 1024  # a peer is asked to acknowledge after so many bytes
    calls: int = 10_000  # calls and streams in flight of one caller (count)
    flights: int = 100_000  # calls and streams in flight in all: above, callers with many of them are refused (count)
    subscriptions: int = 1_000  # subscriptions and monitors of one peer (count)
    rate: float = 50_000.0  # messages a second that one peer may start (count)
    burst: float = 50_000.0  # and so many at once (count)
    settle: float = 1.0  # seconds a restarted bus waits for known peers before it says a snapshot is complete
    tail: float = 5.0  # seconds for which the last seq of a topic is repeated
    grace: float = 0.25  # seconds that a dead process's connection may take to end; its last words are in there
    guests: int = 256  # connections from the network (count)
    guest: int = 64  # of them with one key (count)
    strangers: int = 64  # connections from the network that have not said Hello yet (count)
    patience: float = 5.0  # seconds in which a connection from the network must have said Hello
    hold: float = 0.03  # seconds for which monitors wait for the supervisor's reason of an end


@dataclass
class Bucket:
    """Token bucket: `rate` tokens a second up to `burst`. Times are monotonic seconds."""

    rate: float
    burst: float
    tokens: float = field(init=False)
    at: float = 0.0

    def __post_init__(self) -> None:
        self.tokens = self.burst

    def take(self, now: float, cost: float = 1.0) -> float:
        """Take tokens. Returns those that are left; below zero means over the limit."""
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate) - cost
        self.at = now
        if self.tokens < -self.burst:
            self.tokens = -self.burst  # a flood must not be punished for longer than one burst after it ends
        return self.tokens
