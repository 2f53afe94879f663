"""What libzmq gives to the bus beside messages: handshakes to judge (ZAP, RFC 27), and subscription frames. Pure.

Total, as the codec is: any frames give a value or RemoteProtocolError. Who is let in is decided in `sessions`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ipc.errors import RemoteProtocolError
from ipc.limits import Bucket
from ipc.seldom import seldom

log = seldom("ipc.bus")

_FIELDS = 8  # route, empty, version, request, domain, address, identity, mechanism; credentials follow
_LONGEST = 255  # characters of a topic


@dataclass(frozen=True, slots=True)
class Handshake:
    """A request to judge a connection. `credentials`: what the mechanism sent (PLAIN: user name, password)."""

    route: bytes
    version: bytes
    request: bytes
    address: str
    mechanism: str
    credentials: tuple[bytes, ...]

    def answer(self, user: str | None) -> list[bytes]:
        """The frames that let the connection in as `user` (None: refuse it)."""
        code, text = (b"400", b"unknown name or credential") if user is None else (b"200", b"OK")
        return [self.route, b"", self.version, self.request, code, text, (user or "").encode(), b""]


def read_handshake(frames: Sequence[bytes]) -> Handshake:
    """A ZAP request with the route of its sender in front. Raises RemoteProtocolError."""
    if len(frames) < _FIELDS or frames[1] != b"":
        raise RemoteProtocolError(f"a ZAP request has at least {_FIELDS} frames and an empty second one: {frames!r}")
    route, _, version, request, _domain, address, _identity, mechanism, *credentials = frames
    if version != b"1.0":
        raise RemoteProtocolError(f"ZAP version {version!r} is not 1.0")
    return Handshake(
        route, version, request, address.decode(errors="replace"), mechanism.decode(errors="replace"),
        tuple(credentials),
    )  # fmt: skip


def read_subscription(frame: bytes) -> tuple[bool, str]:
    """(begins, prefix) of a subscription frame. Raises RemoteProtocolError."""
    if frame[:1] not in (b"\x00", b"\x01"):
        raise RemoteProtocolError(f"{frame[:40]!r} is no subscription: it begins with neither 0 nor 1")
    try:
        prefix = frame[1:].decode()
    except UnicodeDecodeError:
        raise RemoteProtocolError(f"the prefix {frame[1:41]!r} is not UTF-8") from None
    if len(prefix) > _LONGEST:
        raise RemoteProtocolError(f"a prefix has at most {_LONGEST} characters, not {len(prefix)}: {prefix[:40]!r}")
    return frame[:1] == b"\x01", prefix


class Guesses:
    """Slows down guessing: refused handshakes are answered at a bounded rate, accepted ones are not touched.

    Times are monotonic seconds. Whoever waits when too many do is not answered at all; libzmq ends that connection.
    """

    def __init__(self, now: float, rate: float = 20.0, burst: float = 50.0, most: int = 1000) -> None:
        self._bucket = Bucket(rate, burst, at=now)
        self._rate = rate
        self._waiting: deque[Handshake] = deque(maxlen=most)
        self._next = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, handshake: Handshake, now: float) -> bool:
        """Note a refused handshake; true when it may be answered now, otherwise `ready` gives it later."""
        if not self._waiting and self._bucket.take(now) >= 0:
            return True
        if not self._waiting:
            self._next = now + 1 / self._rate
        self._waiting.append(handshake)
        return False

    def due(self) -> float | None:
        """When the next one may be answered."""
        return self._next if self._waiting else None

    def ready(self, now: float) -> list[Handshake]:
        """Those that may be answered by now."""
        answered = []
        while self._waiting and now >= self._next:
            answered.append(self._waiting.popleft())
            self._next += 1 / self._rate
        return answered


class Refusals:
    """Tells of refused connections without letting whoever causes them write the log full."""

    def __init__(self) -> None:
        self._untold = 0
        self._again_at = 0.0

    def tell(self, who: str, address: str, now: float) -> None:
        """Log it, at most once a second; the next line says how many were not told."""
        if now < self._again_at:
            self._untold += 1
            return
        more = f" ({self._untold} more since the last line)" if self._untold else ""
        log.warning("refused: %s from %s%s", who, address or "somewhere", more)
        self._again_at, self._untold = now + 1.0, 0
